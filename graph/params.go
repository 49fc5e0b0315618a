package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/99designs/gqlgen/graphql"
)

// readBody reads a body of a bounded size in a bounded time.
func readBody(w http.ResponseWriter, r *http.Request, l Limits) ([]byte, *Error) {
	wire := http.NewResponseController(w)
	_ = wire.SetReadDeadline(time.Now().Add(l.Upload)) // a recorder in a test has none
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, l.Body))
	tooLarge, ok := errors.AsType[*http.MaxBytesError](err)
	switch {
	case ok:
		return nil, failf(PayloadTooLarge, "the body is larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, failf(Timeout, "the body did not come in within %s", l.Upload)
	case err != nil:
		return nil, fail(BadRequest, "the body ended too early")
	}
	// The server goes on reading, to see the peer leave: what passes a deadline there ends the request's context.
	_ = wire.SetReadDeadline(time.Time{})
	return body, nil
}

// postParams reads the parameters of a POST, checking the type of each: the specification leaves no room for guesses.
func postParams(w http.ResponseWriter, r *http.Request, l Limits) (*graphql.RawParams, *Error) {
	body, problem := readBody(w, r, l)
	if problem != nil {
		return nil, problem
	}
	var in struct{ Query, OperationName, Variables, Extensions json.RawMessage }
	if err := strictly(body, &in); err != nil || len(body) == 0 || bytes.TrimLeft(body, " \t\r\n")[0] != '{' {
		return nil, fail(BadRequest, "the body must be one JSON object with the parameter query")
	}
	out := &graphql.RawParams{Headers: r.Header}
	if strictly(in.Query, &out.Query) != nil || out.Query == "" {
		return nil, fail(BadRequest, "the parameter query is needed and must be a string")
	}
	if in.OperationName != nil && strictly(in.OperationName, &out.OperationName) != nil {
		return nil, fail(BadRequest, "the parameter operationName must be a string")
	}
	if in.Variables != nil && strictly(in.Variables, &out.Variables) != nil {
		return nil, fail(BadRequest, "the parameter variables must be an object")
	}
	if in.Extensions != nil && strictly(in.Extensions, &out.Extensions) != nil {
		return nil, fail(BadRequest, "the parameter extensions must be an object")
	}
	return out, nil
}

// getParams reads the parameters of a GET.
func getParams(r *http.Request) (*graphql.RawParams, *Error) {
	q := r.URL.Query()
	out := &graphql.RawParams{Query: q.Get("query"), OperationName: q.Get("operationName"), Headers: r.Header}
	if out.Query == "" {
		return nil, fail(BadRequest, "the parameter query is needed")
	}
	if v := q.Get("variables"); v != "" && strictly([]byte(v), &out.Variables) != nil {
		return nil, fail(BadRequest, "the parameter variables must be a JSON object")
	}
	if v := q.Get("extensions"); v != "" && strictly([]byte(v), &out.Extensions) != nil {
		return nil, fail(BadRequest, "the parameter extensions must be a JSON object")
	}
	return out, nil
}

// strictly decodes one JSON value and nothing after it, keeping the digits of numbers.
func strictly(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("something follows the value")
	}
	return nil
}
