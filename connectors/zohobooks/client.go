package zohobooks

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tieline/connectors"
)

// root is where the API begins, below a data centre's address.
const root = "/books/v3"

// request is one call. The organization goes into its query by itself.
type request struct {
	method, path string
	query        url.Values
	in, out      any
}

func get(ctx context.Context, c connectors.Conn, path string, query url.Values, out any) error {
	return call(ctx, c, request{http.MethodGet, path, query, nil, out})
}

// call sends in as JSON and reads the answer into out. Either may be nil.
func call(ctx context.Context, c connectors.Conn, q request) error {
	var body bytes.Buffer
	if q.in != nil {
		if err := json.NewEncoder(&body).Encode(q.in); err != nil {
			return fmt.Errorf("writing the request: %w", err)
		}
	}
	query := url.Values{}
	for k, v := range q.query {
		query[k] = v
	}
	if q.path != "/organizations" && !query.Has("organization_id") {
		query.Set("organization_id", c.Credentials[organizationID])
	}
	r, err := http.NewRequestWithContext(ctx, q.method, c.URL+root+q.path+"?"+query.Encode(), &body)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	r.Header.Set("Accept", "application/json")
	if q.in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := c.HTTP.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the transport has said it already; what net/http adds is the URL
		}
		return err
	}
	defer res.Body.Close()
	write := q.method != http.MethodGet
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(res.Body); err != nil {
		return garbled(res.StatusCode, write)
	}
	if err := judge(c, res, raw.Bytes(), write); err != nil {
		return err
	}
	if q.out != nil && json.Unmarshal(raw.Bytes(), q.out) != nil {
		return garbled(res.StatusCode, write)
	}
	return nil
}

// envelope is what every answer says of its success: a code, which is 0 when all went well.
type envelope struct {
	Code    *int   `json:"code"`
	Message string `json:"message"`
}

// Zoho's codes that say more than their status does. Those from 44 on of the limits are documented, the others commonly met.
// https://www.zoho.com/books/api/v3/errors/
const (
	codeMinute    = 44   // more calls in a minute than the organization may make
	codeDay       = 45   // the day's calls are spent
	codeInProcess = 1070 // too many calls at once
	codeToken     = 57   // the token does not open this: it is old, or lacks a scope
	codeMissing   = 1002
	codeItemName  = 1001 // used already
	codeName      = 3062 // likewise, of a contact
	codeElsewhere = 6041 // the user is not in the organization
)

// day is how long it is waited before a spent day is asked after again: when it turns depends on the organization's zone.
const day = time.Hour

// judge takes an answer for good only where its status and its code are.
func judge(c connectors.Conn, res *http.Response, body []byte, write bool) error {
	var said envelope
	if json.Unmarshal(body, &said) != nil || said.Code == nil {
		return garbled(res.StatusCode, write)
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 && *said.Code == 0 {
		return nil
	}
	out := connectors.Errorf(kind(res.StatusCode, *said.Code, write), "Zoho Books: %s", c.Hide(cmp.Or(said.Message, http.StatusText(res.StatusCode))))
	out.Status, out.Code = res.StatusCode, strconv.Itoa(*said.Code)
	if out.Kind == connectors.RateLimited {
		if out.RetryAfter = retryAfter(res.Header); out.RetryAfter == 0 && *said.Code == codeDay {
			out.RetryAfter = day
		}
	}
	return out
}

func kind(status, code int, write bool) connectors.Kind {
	switch code {
	case codeMinute, codeDay, codeInProcess:
		return connectors.RateLimited
	case codeToken:
		return connectors.Unauthorized
	case codeMissing:
		return connectors.NotFound
	case codeName, codeItemName:
		return connectors.Invalid // whose it is, is looked up
	case codeElsewhere:
		return connectors.Forbidden
	}
	if status < 400 { // a failure that came with a status of success has done nothing
		return connectors.Invalid
	}
	return connectors.KindOfStatus(status, write)
}

// garbled is for answers that are not Zoho's JSON.
func garbled(status int, write bool) error {
	out := connectors.Errorf(connectors.KindOfStatus(max(status, 500), write), "Zoho Books: it answered %d, and not as its API does", status)
	out.Status = status
	return out
}

func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(n) * time.Second
}

func wrong(field, sentence string) error {
	e := connectors.Errorf(connectors.Invalid, "%s", sentence)
	e.Field = field
	return e
}

// path is made of segments; ids are digits, and whatever else somebody gives for one leads nowhere else.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		if s == "." || s == ".." {
			s = strings.ReplaceAll(s, ".", "%2E")
		} else {
			s = url.PathEscape(s)
		}
		b.WriteString("/" + s)
	}
	return b.String()
}

// missing tells that a record is not there.
func missing(err error) bool { return connectors.KindOf(err) == connectors.NotFound }

// perPage is the most that a list gives at once; what it gives unasked is told in two ways.
const perPage = 200

// listing reads a page of a list, whatever its rows are called, and says whether there are more.
func listing[T any](ctx context.Context, c connectors.Conn, path string, query url.Values, at int, names ...string) (rows []T, more bool, err error) {
	q := url.Values{"page": {strconv.Itoa(at)}, "per_page": {strconv.Itoa(perPage)}}
	for k, v := range query {
		q[k] = v
	}
	var out map[string]json.RawMessage
	if err := get(ctx, c, path, q, &out); err != nil {
		return nil, false, err
	}
	for _, n := range names {
		if raw, there := out[n]; there {
			if json.Unmarshal(raw, &rows) != nil {
				return nil, false, garbled(http.StatusOK, false)
			}
			return rows, hasMore(out["page_context"]) && len(rows) > 0, nil
		}
	}
	return nil, false, garbled(http.StatusOK, false)
}

// hasMore reads a page_context, which is an object and, by the description of one list, may be a list of one.
func hasMore(raw json.RawMessage) bool {
	type pageContext struct {
		More bool `json:"has_more_page"`
	}
	var one pageContext
	if json.Unmarshal(raw, &one) == nil {
		return one.More
	}
	var several []pageContext
	return json.Unmarshal(raw, &several) == nil && len(several) > 0 && several[0].More
}

// each goes through a whole list until do has seen enough.
func each[T any](ctx context.Context, c connectors.Conn, path string, query url.Values, do func(T) (enough bool, err error), names ...string) error {
	for at := 1; ; at++ {
		rows, more, err := listing[T](ctx, c, path, query, at, names...)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if enough, err := do(r); enough || err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// orFound looks when a create was refused, for what it names may be in use by what we made before.
func orFound(ctx context.Context, key string, probe connectors.Probe, refusal error) (connectors.Ref, error) {
	if k := connectors.KindOf(refusal); k != connectors.Invalid && k != connectors.Conflict {
		return connectors.Ref{}, refusal
	}
	ref, found, err := probe(ctx, key)
	switch {
	case connectors.KindOf(err) == connectors.Conflict || found:
		return ref, err
	case err != nil: // it may be there; the engine looks again
		return connectors.Ref{}, connectors.Errorf(connectors.Conflict, "%w; whether it is there could not be read: %w", refusal, err)
	}
	return connectors.Ref{}, refusal // something else is wrong with the input
}
