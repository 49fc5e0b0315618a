package graph

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"tieline/graph/auth"
)

// httpTransport is GraphQL over HTTP for POST and GET. gqlgen's own transports fail six of the public audits, have no
// limit of the body and do not negotiate.
type httpTransport struct {
	verifier  auth.Verifier
	bodyLimit int64
	timeout   time.Duration
}

var _ graphql.Transport = httpTransport{}

// Supports takes whatever no transport before it took.
func (t httpTransport) Supports(*http.Request) bool { return true }

// Do answers one request: refused, with the status that says why and no data, or run, with 200.
func (t httpTransport) Do(w http.ResponseWriter, r *http.Request, exec graphql.GraphExecutor) {
	media, acceptable := negotiate(r)
	if !acceptable {
		media = plainJSON
	}
	h := w.Header()
	h.Set("Content-Type", media+"; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept")
	ctx, cancel := context.WithTimeout(r.Context(), t.timeout)
	defer cancel()
	refuse := func(ctx context.Context, errs ...*gqlerror.Error) {
		answer := exec.DispatchError(ctx, errs)
		code, _ := answer.Errors[0].Extensions["code"].(string)
		write(w, statusOf(media, Code(code)), refusal{answer.Errors})
	}

	params, ctx, problem := t.read(ctx, w, r, acceptable)
	if problem != nil {
		refuse(ctx, problem.gql())
		return
	}
	op, errs := exec.CreateOperationContext(ctx, params)
	if len(errs) > 0 {
		refuse(graphql.WithOperationContext(ctx, op), errs...)
		return
	}
	if problem := fits(w, r, op.Operation.Operation); problem != nil {
		refuse(graphql.WithOperationContext(ctx, op), problem.gql())
		return
	}
	responses, ctx := exec.DispatchOperation(ctx, op)
	write(w, http.StatusOK, responses(ctx))
}

// read gets parameters and viewer out of a request, or says what is wrong with it: the method first, since without a
// right one nothing else means anything.
func (t httpTransport) read(ctx context.Context, w http.ResponseWriter, r *http.Request, acceptable bool) (*graphql.RawParams, context.Context, *Error) {
	switch {
	case r.Method != http.MethodPost && r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET, POST")
		return nil, ctx, fail(MethodNotAllowed, "use POST, or GET for queries")
	case !acceptable:
		return nil, ctx, failf(NotAcceptable, "answers are %s or %s", responseJSON, plainJSON)
	case r.Method == http.MethodPost && !isJSON(r):
		return nil, ctx, fail(UnsupportedMedia, "the body must be application/json in UTF-8")
	}
	viewer, err := auth.FromRequest(t.verifier, r)
	if err != nil {
		w.Header().Set("WWW-Authenticate", challenge(err))
		return nil, ctx, classify(err, &gqlerror.Error{})
	}
	ctx = auth.WithViewer(ctx, viewer)
	if r.Method == http.MethodGet {
		params, problem := getParams(r)
		return params, ctx, problem
	}
	params, problem := postParams(w, r, t.bodyLimit)
	return params, ctx, problem
}

// fits refuses operations the method cannot carry.
func fits(w http.ResponseWriter, r *http.Request, kind ast.Operation) *Error {
	switch {
	case kind == ast.Subscription:
		return fail(BadRequest, "subscriptions need a websocket with the protocol graphql-transport-ws")
	case kind == ast.Mutation && r.Method == http.MethodGet:
		w.Header().Set("Allow", "POST")
		return fail(MethodNotAllowed, "mutations need POST")
	}
	return nil
}

func challenge(err error) string {
	if errors.Is(err, auth.ErrMissing) {
		return `Bearer realm="tieline"`
	}
	return `Bearer realm="tieline", error="invalid_token"`
}

// refusal is a response without data, which an answer to a request that was not run must not have.
type refusal struct {
	Errors gqlerror.List `json:"errors"`
}

func write(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // the caller hung up: there is nobody left to tell
}
