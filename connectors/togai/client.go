package togai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tieline/connectors"
)

// pageSize is the most that Togai gives at once of customers, accounts and settings.
const pageSize = 100

// call sends in as JSON and reads the answer into out. Either may be nil. It answers the vendor's time.
func call(ctx context.Context, c connectors.Conn, method, path string, in, out any) (time.Time, error) {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return time.Time{}, fmt.Errorf("writing the request: %w", err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.URL+path, &body)
	if err != nil {
		return time.Time{}, fmt.Errorf("making the request: %w", err)
	}
	r.Header.Set("Accept", "application/json")
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := c.HTTP.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the transport has said it already; what net/http adds is the URL
		}
		return time.Time{}, err
	}
	defer res.Body.Close()
	write := method != http.MethodGet
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(res.Body); err != nil {
		return time.Time{}, garbled(res.StatusCode, write)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return time.Time{}, refused(c, res, answer.Bytes(), write)
	}
	// Changing a setting may answer 204: https://github.com/zuora/togai-mintlify-docs
	if out != nil && answer.Len() > 0 && json.Unmarshal(answer.Bytes(), out) != nil {
		return time.Time{}, garbled(res.StatusCode, write)
	}
	at, _ := http.ParseTime(res.Header.Get("Date"))
	return at, nil
}

// refused reads Togai's error, which is a message and nothing else.
func refused(c connectors.Conn, res *http.Response, body []byte, write bool) error {
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) != nil {
		if res.StatusCode >= 500 || res.StatusCode < 400 { // a proxy's page, a redirect
			return garbled(res.StatusCode, write)
		}
		said.Message = ""
	}
	if said.Message == "" {
		said.Message = http.StatusText(res.StatusCode)
	}
	out := connectors.Errorf(connectors.KindOfStatus(res.StatusCode, write), "Togai: %s", c.Hide(said.Message))
	out.Status = res.StatusCode
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n > 0 {
		out.RetryAfter = time.Duration(n) * time.Second // not documented; honoured should it come
	}
	return out
}

// garbled is for answers that are not Togai's JSON.
func garbled(status int, write bool) error {
	out := connectors.Errorf(connectors.Unavailable, "Togai: it answered %d, and not as its API does", status)
	if out.Status = status; write {
		out.Kind = connectors.OutcomeUnknown
	}
	return out
}

// missing tells that a record is not there.
func missing(err error) bool { return connectors.KindOf(err) == connectors.NotFound }

// taken tells that a create may have been refused because its id is in use. Which status Togai gives is not documented:
// 400 and 409 are both plausible, and so is 422. Whoever asks must look.
func taken(err error) bool {
	k := connectors.KindOf(err)
	return k == connectors.Conflict || k == connectors.Invalid
}

// path joins segments; ids are free text and may hold a slash.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		if s == "." || s == ".." { // ids may be any text, and these mean something else in a path
			s = strings.ReplaceAll(s, ".", "%2E")
		} else {
			s = url.PathEscape(s)
		}
		b.WriteString(s)
	}
	return b.String()
}

// page is a stretch of a list. The token holds page size, filters and order.
type page[T any] struct {
	Data      []T     `json:"data"`
	NextToken *string `json:"nextToken"`
}

func (p page[T]) next() string {
	if p.NextToken == nil || len(p.Data) == 0 { // a full last page may still have a token
		return ""
	}
	return *p.NextToken
}

// getPage reads a page of as many as there may be: the first one when token is empty.
func getPage[T any](ctx context.Context, c connectors.Conn, list, token string, filters url.Values) (page[T], time.Time, error) {
	return getPageOf[T](ctx, c, list, token, pageSize, filters)
}

func getPageOf[T any](ctx context.Context, c connectors.Conn, list, token string, size int, filters url.Values) (page[T], time.Time, error) {
	var p page[T]
	where := "/" + list
	if q := sized(token, size, filters); len(q) > 0 {
		where += "?" + q.Encode()
	}
	at, err := call(ctx, c, http.MethodGet, where, nil, &p)
	return p, at, err
}

// all reads a list to its end. After an error there is nothing more.
func all[T any](ctx context.Context, c connectors.Conn, list string, size int, filters url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for token := ""; ; {
			p, _, err := getPageOf[T](ctx, c, list, token, size, filters)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, x := range p.Data {
				if !yield(x, nil) {
					return
				}
			}
			if token = p.next(); token == "" {
				return
			}
		}
	}
}

// upTo reads a list until its end or until it has enough; complete says which.
func upTo[T any](ctx context.Context, c connectors.Conn, list string, filters url.Values, enough int) (found []T, complete bool, err error) {
	return upToOf[T](ctx, c, list, pageSize, filters, enough)
}

func upToOf[T any](ctx context.Context, c connectors.Conn, list string, size int, filters url.Values, enough int) (found []T, complete bool, err error) {
	for token := ""; ; {
		p, _, err := getPageOf[T](ctx, c, list, token, size, filters)
		if err != nil {
			return nil, false, err
		}
		found, token = append(found, p.Data...), p.next()
		switch {
		case len(found) > enough:
			return found[:enough], false, nil
		case token == "":
			return found, true, nil
		case len(found) == enough:
			return found, false, nil
		}
	}
}
