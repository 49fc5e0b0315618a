package connectors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// maxBody bounds what we send and what we read, in bytes.
const maxBody = 16 << 20

// Request is a write as it will be sent, without its Authorization. It is what an effect keeps for a resend.
type Request struct {
	Method string      `json:"method"`
	Path   string      `json:"path"` // with its query, below the vendor's root
	Header http.Header `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"`
}

// kept are the headers of a write that belong to what it says; the rest are the transport's own affair.
var kept = []string{"Content-Type", "Accept", "Idempotency-Key", "Stripe-Version", "Zuora-Version"}

// requestIDs are the headers in which vendors name a call.
var requestIDs = []string{"Request-Id", "X-Request-Id", "Zuora-Request-Id", "X-Correlation-Id"}

type transport struct {
	app     Connector
	creds   Credentials
	url     string
	login   string // replaces the root of the app's Consent
	base    http.RoundTripper
	journal Journal
	tokens  Tokens
	log     *slog.Logger
	observe func(Call)
	carried sync.Map // access tokens that calls carried
}

func (t *transport) reads(r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	return t.app.IsRead != nil && t.app.IsRead(r.Method, r.URL.Path)
}

// RoundTrip paces the call, hands a write to the journal before a byte leaves, and says honestly whether a call
// that failed can have reached the vendor.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	r = r.Clone(ctx)
	write := !t.reads(r)
	done, err := t.journal.Pace(ctx, Call{App: t.app.Key, Method: r.Method, Path: r.URL.Path, Write: write})
	if err != nil {
		return nil, err
	}
	defer done()
	token, err := t.authorize(ctx, r, "") // before the commit: it may call for a token, and fail
	if err != nil {
		return nil, err
	}
	// The time runs from before the commit, so that no byte of a write leaves once its send_until has passed, even from a
	// process that slept in between.
	ctx, cancel := context.WithTimeout(ctx, t.app.Timeout)
	defer cancel()
	if write {
		if r, err = t.commit(ctx, r); err != nil {
			return nil, err
		}
	}
	again, err := t.repeatable(r)
	if err != nil {
		return nil, err
	}
	res, body, err := t.send(ctx, r, write)
	if err != nil || t.app.Login == nil || !t.app.Login.refused(res.StatusCode, body) {
		return res, err
	}
	// A call whose token is refused has done nothing, so it is sent once more with another one.
	r = again()
	if _, err := t.authorize(ctx, r, token.Access); err != nil {
		return nil, err
	}
	res, _, err = t.send(ctx, r, write)
	return res, err
}

// repeatable answers how a request is made once more. Only apps with a Login need that.
func (t *transport) repeatable(r *http.Request) (func() *http.Request, error) {
	if t.app.Login == nil || r.Body == nil {
		return func() *http.Request { return r.Clone(r.Context()) }, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	_ = r.Body.Close()
	fresh := func(r *http.Request) *http.Request {
		r.Body, r.ContentLength, r.GetBody = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
		return r
	}
	fresh(r)
	return func() *http.Request { return fresh(r.Clone(r.Context())) }, nil
}

// commit lets the journal keep the write, and gives back what it wants sent.
func (t *transport) commit(ctx context.Context, r *http.Request) (*http.Request, error) {
	w, ok := ctx.Value(writerKey{}).(Writer)
	if !ok {
		return nil, fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, ErrWriteOutsideEffect)
	}
	rendered := Request{Method: r.Method, Path: r.URL.RequestURI(), Header: http.Header{}}
	for _, k := range kept {
		if v := r.Header.Values(k); len(v) > 0 {
			rendered.Header[k] = v
		}
	}
	if r.Body != nil {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
		_ = r.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("reading the request: %w", err)
		}
		if len(body) > maxBody {
			return nil, Errorf(Invalid, "the request is larger than %d bytes", maxBody)
		}
		rendered.Body = body
	}
	stored, err := w.Sending(ctx, rendered)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(stored.Path)
	if err != nil {
		return nil, fmt.Errorf("reading the stored request: %w", err)
	}
	r.Method, r.URL.Path, r.URL.RawPath, r.URL.RawQuery = stored.Method, u.Path, u.RawPath, u.RawQuery
	for _, k := range kept {
		r.Header.Del(k)
		for _, v := range stored.Header[k] {
			r.Header.Add(k, v)
		}
	}
	// Without GetBody, and with a body even where it is empty, net/http never repeats a write by itself, which it else does
	// when the request has an Idempotency-Key and a kept connection turns out to be dead.
	r.Body, r.ContentLength, r.GetBody = io.NopCloser(bytes.NewReader(stored.Body)), int64(len(stored.Body)), nil
	return r, nil
}

type writesKey struct{}

// Writes tells the wire, by the context of a request, whether it is a write: a preview lets none pass.
func Writes(ctx context.Context) bool {
	write, _ := ctx.Value(writesKey{}).(bool)
	return write
}

func (t *transport) send(ctx context.Context, r *http.Request, write bool) (*http.Response, []byte, error) {
	var left atomic.Bool // set once a byte may have left
	ctx = context.WithValue(ctx, writesKey{}, write)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { left.Store(true) }})
	call := Call{App: t.app.Key, Method: r.Method, Path: r.URL.Path, Write: write, Started: time.Now()}
	var body []byte
	res, err := t.base.RoundTrip(r.WithContext(ctx))
	if err == nil {
		call.Status = res.StatusCode
		if t.app.Ease != nil {
			call.Ease = t.app.Ease(res.Header)
		}
		for _, h := range requestIDs {
			if call.RequestID = res.Header.Get(h); call.RequestID != "" {
				break
			}
		}
		// The reply is read here, so that one that breaks off is the transport's failure and the call's time is whole.
		body, err = io.ReadAll(io.LimitReader(res.Body, maxBody+1))
		_ = res.Body.Close()
		res.Body = io.NopCloser(bytes.NewReader(body))
		if err == nil && len(body) > maxBody {
			err = errTooLarge
		}
	}
	call.Took = time.Since(call.Started)
	cause := err
	if err != nil {
		err = t.lost(ctx, err, left.Load(), write)
		call.Err = err
	}
	t.journal.Called(r.Context(), call)
	if t.observe != nil {
		t.observe(call)
	}
	t.log.LogAttrs(r.Context(), slog.LevelDebug, "vendor call", slog.String("app", call.App), slog.String("method", call.Method),
		slog.String("path", call.Path), slog.Int("status", call.Status), slog.Duration("took", call.Took), slog.String("request_id", call.RequestID), slog.Any("error", cause))
	if err != nil {
		return nil, nil, err
	}
	return res, body, nil
}

// errTooLarge is an answer that nobody should read to its end.
var errTooLarge = fmt.Errorf("the reply is larger than %d bytes", maxBody)

// lost says what a call without an answer means, in words for people; the cause is for the log. reached tells that there
// was a connection to the vendor.
func (t *transport) lost(ctx context.Context, err error, reached, write bool) error {
	kind := Unavailable
	if write && reached {
		kind = OutcomeUnknown
	}
	why := "the connection broke off before the answer was there"
	switch {
	case errors.Is(err, errTooLarge):
		why = errTooLarge.Error()
	case errors.Is(ctx.Err(), context.Canceled):
		why = "the call was given up"
	case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded):
		why = fmt.Sprintf("no answer came in time (%s)", t.app.Timeout)
	case !reached:
		why = "a connection could not be made"
	}
	return &Error{Kind: kind, Err: plain{t.app.Name + ": " + why, err}}
}

// plain is an error in words for people.
type plain struct {
	said  string
	cause error
}

func (p plain) Error() string { return p.said }
func (p plain) Unwrap() error { return p.cause }

type header struct {
	r     *http.Request
	token string
}

func (h header) Token() string { return h.token }

func (h header) SetHeader(k, v string) { h.r.Header.Set(k, v) }
