package graph

import (
	"cmp"
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

// httpTransport is GraphQL over HTTP for POST and GET, and graphql-sse for those who ask for events. gqlgen's own
// transports fail six of the public audits, have no limit of the body and do not negotiate.
type httpTransport struct {
	vigil   *vigil
	limits  Limits
	open    *streams
	closing context.Context // ends when streams must go
}

var _ graphql.Transport = httpTransport{}

// Supports takes whatever no transport before it took.
func (t httpTransport) Supports(*http.Request) bool { return true }

// Do answers one request: refused, with the status that says why and no data, or run, with 200.
func (t httpTransport) Do(w http.ResponseWriter, r *http.Request, exec graphql.GraphExecutor) {
	wish := negotiate(r)
	media := cmp.Or(wish.media, plainJSON)
	h := w.Header()
	h.Set("Content-Type", media+"; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept")
	refuse := func(ctx context.Context, errs ...*gqlerror.Error) {
		answer := exec.DispatchError(ctx, errs)
		code, _ := answer.Errors[0].Extensions["code"].(string)
		t.write(w, statusOf(media, Code(code)), refusal{answer.Errors})
	}

	params, viewer, problem := t.read(w, r, wish)
	if problem != nil {
		refuse(r.Context(), problem.gql())
		return
	}
	ctx := auth.WithViewer(r.Context(), viewer)
	op, errs := exec.CreateOperationContext(ctx, params)
	ctx = graphql.WithOperationContext(ctx, op)
	switch {
	case len(errs) > 0 && wish.media == "": // a document that cannot be run is the stream's news, not a failure of the stream
		out := startEvents(w, t.limits.Write)
		if out.next(encode(refusal{exec.DispatchError(ctx, errs).Errors})) == nil {
			_ = out.complete()
		}
		return
	case len(errs) > 0:
		refuse(ctx, errs...)
		return
	}
	kind := op.Operation.Operation
	if problem := fits(w, r, kind, wish); problem != nil {
		refuse(ctx, problem.gql())
		return
	}
	if kind == ast.Subscription || wish.media == "" {
		if problem := t.stream(w, r, exec, op, viewer); problem != nil {
			refuse(ctx, problem.gql())
		}
		return
	}
	responses, ctx := exec.DispatchOperation(ctx, op)
	t.write(w, http.StatusOK, responses(ctx))
}

// read gets parameters and viewer out of a request, or says what is wrong with it: the method first, since without a
// right one nothing else means anything.
//
// Nothing here can be sent by a page of another origin without a preflight: the token travels in a header that needs
// one, never in a cookie, and a body must be JSON.
func (t httpTransport) read(w http.ResponseWriter, r *http.Request, wish wish) (*graphql.RawParams, auth.Viewer, *Error) {
	switch {
	case r.Method != http.MethodPost && r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET, POST")
		return nil, auth.Viewer{}, fail(MethodNotAllowed, "use POST, or GET for queries")
	case wish.media == "" && !wish.events:
		return nil, auth.Viewer{}, failf(NotAcceptable, "answers are %s, %s or %s", responseJSON, plainJSON, eventStream)
	case r.Method == http.MethodPost && !isJSON(r):
		return nil, auth.Viewer{}, fail(UnsupportedMedia, "the body must be application/json in UTF-8")
	}
	ctx, cancel := context.WithTimeout(r.Context(), t.limits.Timeout)
	defer cancel()
	viewer, err := auth.FromRequest(t.vigil.verifier, r.WithContext(ctx))
	if err != nil {
		w.Header().Set("WWW-Authenticate", challenge(err))
		return nil, viewer, classify(err, &gqlerror.Error{})
	}
	if r.Method == http.MethodGet {
		params, problem := getParams(r)
		return params, viewer, problem
	}
	params, problem := postParams(w, r, t.limits)
	return params, viewer, problem
}

// fits refuses operations that the method or the answer cannot carry.
func fits(w http.ResponseWriter, r *http.Request, kind ast.Operation, wish wish) *Error {
	switch {
	case kind == ast.Subscription && !wish.events:
		return failf(NotAcceptable, "subscriptions need Accept: %s, or a websocket with the protocol %s", eventStream, protocol)
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

// write answers a request. A peer that does not take the answer holds it no longer than the request could last.
func (t httpTransport) write(w http.ResponseWriter, status int, body any) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(t.limits.Timeout))
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // the caller hung up: there is nobody left to tell
}
