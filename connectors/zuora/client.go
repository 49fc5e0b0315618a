package zuora

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
	"unicode/utf8"

	"tieline/connectors"
)

// request is one call. key goes with POST alone: Zuora refuses a PUT that has one.
type request struct {
	method, path string
	key          string
	in, out      any
}

func get(ctx context.Context, c connectors.Conn, path string, out any) (time.Time, error) {
	return call(ctx, c, request{method: http.MethodGet, path: path, out: out})
}

// call sends in as JSON and reads the answer into out. Either may be nil. It answers the vendor's time.
func call(ctx context.Context, c connectors.Conn, q request) (time.Time, error) {
	var body bytes.Buffer
	if q.in != nil {
		raw, err := json.Marshal(q.in)
		if err != nil {
			return time.Time{}, fmt.Errorf("writing the request: %w", err)
		}
		body.Write(narrow(raw))
	}
	r, err := http.NewRequestWithContext(ctx, q.method, c.URL+q.path, &body)
	if err != nil {
		return time.Time{}, fmt.Errorf("making the request: %w", err)
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Zuora-Version", cmp.Or(c.Credentials[apiVersion], pinned))
	if q.in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if q.key != "" && q.method == http.MethodPost {
		r.Header.Set("Idempotency-Key", q.key)
	}
	res, err := c.HTTP.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the transport has said it already; what net/http adds is the URL
		}
		return time.Time{}, err
	}
	defer res.Body.Close()
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(res.Body); err != nil {
		return time.Time{}, garbled(res.StatusCode, writes(q.method, q.path))
	}
	if err := judge(c, q, res, raw.Bytes()); err != nil {
		return time.Time{}, err
	}
	if q.out != nil && json.Unmarshal(raw.Bytes(), q.out) != nil {
		return time.Time{}, garbled(res.StatusCode, writes(q.method, q.path))
	}
	at, _ := http.ParseTime(res.Header.Get("Date"))
	return at, nil
}

func writes(method, path string) bool {
	return method != http.MethodGet && !strings.HasPrefix(path, "/v1/action/query")
}

// narrow leaves out what Zuora does not take in texts: characters of four bytes, such as emoji.
func narrow(body []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if utf8.RuneLen(r) == 4 {
			return -1
		}
		return r
	}, body)
}

// answer is what Zuora's four kinds of answer say of success: /v1/* names success and reasons, /v1/object/* the same with
// capitals and as errors, which is one thing to Go, /events and /notifications a code and a message, and the gateway a message alone.
type answer struct {
	Success   *bool           `json:"success"`
	Reasons   []reason        `json:"reasons"`
	Errors    []reason        `json:"errors"`
	Code      json.RawMessage `json:"code"`
	Message   string          `json:"message"`
	ProcessID string          `json:"processId"`
}

type reason struct {
	Code    json.RawMessage `json:"code"` // a number, or a text
	Message string          `json:"message"`
}

// judge reads a body before it believes a status: a failure may come with 200.
func judge(c connectors.Conn, q request, res *http.Response, body []byte) error {
	good := res.StatusCode >= 200 && res.StatusCode < 300
	var said answer
	if json.Unmarshal(body, &said) != nil {
		if good && q.out == nil && !mustShow(q) {
			return nil // 204
		}
		return garbled(res.StatusCode, writes(q.method, q.path))
	}
	switch {
	case good && said.Success != nil && *said.Success:
		return nil
	case good && said.Success == nil && len(said.Reasons)+len(said.Errors) == 0 && !mustShow(q):
		return nil
	case good && said.Success == nil: // a write whose answer says neither that it was done nor that it was not
		return garbled(res.StatusCode, true)
	}
	kind, first := said.kind(res.StatusCode, q.method)
	if !writes(q.method, q.path) && kind == connectors.OutcomeUnknown {
		kind = connectors.Unavailable
	}
	out := connectors.Errorf(kind, "Zuora: %s", c.Hide(cmp.Or(first.Message, said.Message, http.StatusText(res.StatusCode))))
	out.Status, out.Code, out.RequestID = res.StatusCode, strings.Trim(string(first.Code), `"`), cmp.Or(res.Header.Get("Zuora-Request-Id"), said.ProcessID)
	if kind == connectors.RateLimited {
		out.RetryAfter = retryAfter(res.Header)
	}
	return out
}

// ease spreads what is left of the tenant's calls over the time until its window ends, and waits until the number of those in
// flight, which is told anew each second, is another, when there can be no more.
// https://developer.zuora.com/docs/guides/rate-limits/
func ease(h http.Header) (d time.Duration) {
	left, err := strconv.Atoi(h.Get("Ratelimit-Remaining"))
	if reset, rerr := strconv.Atoi(h.Get("Ratelimit-Reset")); err == nil && rerr == nil && left >= 0 && reset > 0 {
		d = time.Duration(reset) * time.Second / time.Duration(left+1)
	}
	if h.Get("Concurrency-Limit-Remaining") == "0" {
		d = max(d, time.Second)
	}
	return d
}

// mustShow says whether the answer to a write is one that names its success.
func mustShow(q request) bool { return writes(q.method, q.path) && strings.HasPrefix(q.path, "/v1/") }

// kind sorts a refusal by the categories of its codes. It is tried again only when each of its reasons allows that.
func (a answer) kind(status int, method string) (connectors.Kind, reason) {
	write := method != http.MethodGet
	switch {
	case status == http.StatusTooManyRequests:
		return connectors.RateLimited, a.first()
	case status == http.StatusConflict && write: // the first call under this key is still being worked on
		return connectors.Busy, a.first()
	case status >= 500 || status == http.StatusUnauthorized || status == http.StatusForbidden:
		return connectors.KindOfStatus(status, write), a.first()
	}
	kind, said := connectors.Kind(""), a.first()
	for _, r := range append(a.Reasons, a.Errors...) {
		k := category(strings.Trim(string(r.Code), `"`))
		switch {
		case k == connectors.Unavailable && method == http.MethodPost:
			// The refusal is kept under the key and repeated for a day, so that another key is needed, which is given to a
			// write once a look has found nothing of it.
			k = connectors.OutcomeUnknown
		case k == "":
			k = connectors.KindOfStatus(max(status, 400), write)
		}
		if kind == "" || passing(kind) && !passing(k) {
			kind, said = k, r
		}
	}
	return cmp.Or(kind, connectors.KindOfStatus(max(status, 400), write)), said
}

func passing(k connectors.Kind) bool {
	return k == connectors.Unavailable || k == connectors.OutcomeUnknown || k == connectors.RateLimited
}

func (a answer) first() reason {
	for _, r := range append(a.Reasons, a.Errors...) {
		return r
	}
	return reason{a.Code, a.Message}
}

// category reads the last two of a code's eight digits, or one of the older words. Empty: the status must tell.
// https://developer.zuora.com/v1-api-reference/error-handling/section/error-codes/
func category(code string) connectors.Kind {
	switch code {
	case "90000011", "INVALID_SESSION":
		return connectors.Unauthorized
	case "LOCK_COMPETITION", "REQUEST_REJECTED", "SERVER_UNAVAILABLE", "UNKNOWN_ERROR":
		return connectors.Unavailable
	case "REQUEST_EXCEEDED_LIMIT", "REQUEST_EXCEEDED_RATE":
		return connectors.RateLimited
	}
	if len(code) != 8 || strings.Trim(code, "0123456789") != "" {
		return ""
	}
	switch code[6:] {
	case "10":
		return connectors.Forbidden
	case "11":
		return connectors.Unauthorized
	case "20", "21", "22", "23", "27", "30", "45", "90":
		return connectors.Invalid
	case "40":
		return connectors.NotFound
	case "50", "60", "61", "99":
		return connectors.Unavailable
	case "70":
		return connectors.RateLimited
	}
	return ""
}

// garbled is for answers that are not Zuora's JSON.
func garbled(status int, write bool) error {
	out := connectors.Errorf(connectors.Unavailable, "Zuora: it answered %d, and not as its API does", status)
	if out.Status = status; write {
		out.Kind = connectors.OutcomeUnknown
	}
	return out
}

// path is made of segments; ids and numbers may be any text.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		if s == "." || s == ".." {
			s = strings.ReplaceAll(s, ".", "%2E")
		} else {
			s = url.PathEscape(s)
		}
		b.WriteString(s)
	}
	return b.String()
}

// missing tells that a record is not there.
func missing(err error) bool { return connectors.KindOf(err) == connectors.NotFound }

// orFound looks when a create was refused, for its number may be in use by what we made before.
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

// batch is how many records a query answers at once, of the 2,000 it may.
const batch = 200

// query reads a stretch of what a ZOQL query finds, its beginning or what goes on at locator, and the vendor's time.
func query[T any](ctx context.Context, c connectors.Conn, zoql, locator string) (rows []T, next string, at time.Time, err error) {
	var out struct {
		Records      []T    `json:"records"`
		Done         *bool  `json:"done"`
		QueryLocator string `json:"queryLocator"`
	}
	q := request{method: http.MethodPost, path: "/v1/action/query", in: map[string]any{"queryString": zoql, "conf": map[string]int{"batchSize": batch}}, out: &out}
	if locator != "" {
		q.path, q.in = "/v1/action/queryMore", map[string]any{"queryLocator": locator, "conf": map[string]int{"batchSize": batch}}
	}
	if at, err = call(ctx, c, q); err != nil {
		return nil, "", at, err
	}
	if out.Done == nil {
		return nil, "", at, garbled(http.StatusOK, false)
	}
	if !*out.Done {
		next = out.QueryLocator
	}
	return out.Records, next, at, nil
}

// quoted is a text in a ZOQL query.
func quoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}
