package connectors_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/conntest"
)

const secret = "key-that-must-not-show"

// vendor is a descriptor with nothing but what the transport needs.
func vendor() connectors.Connector {
	return connectors.Connector{
		Key: "vendor", Name: "Vendor", Timeout: 10 * time.Second,
		Auth:    []connectors.Field{{Key: "token", Label: "Token", Help: "A token.", Secret: true}},
		BaseURL: func(connectors.Credentials) string { return "https://api.vendor.test" },
		Mode:    func(connectors.Credentials) (connectors.Mode, error) { return connectors.Test, nil },
		Authorize: func(_ context.Context, r connectors.Requester, c connectors.Credentials) error {
			r.SetHeader("Authorization", "Bearer "+c["token"])
			return nil
		},
		IsRead: func(_, path string) bool { return path == "/query" },
	}
}

func serve(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func opened(t *testing.T, url string) (connectors.Conn, *conntest.Journal) {
	return conntest.OpenJournal(t, vendor(), url, connectors.Credentials{"token": secret})
}

func do(ctx context.Context, c connectors.Conn, method, path, body string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.URL+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	res, err := c.HTTP.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return fmt.Sprint(res.StatusCode, " ", string(b)), err
}

// effect makes one write within an effect, and says nothing of it to a probe.
func effect(ctx context.Context, c connectors.Conn, path, body string) error {
	_, err := c.Effect(ctx, connectors.Set("thing", "1"), func(context.Context, string) (connectors.Ref, bool, error) { return connectors.Ref{}, false, nil },
		func(ctx context.Context, _ string) (connectors.Ref, error) {
			_, err := do(ctx, c, http.MethodPost, path, body)
			return connectors.Ref{}, err
		})
	return err
}

func TestWritesNeedAnEffect(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	c, _ := opened(t, serve(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	for _, m := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if _, err := do(t.Context(), c, m, "/things", ""); !errors.Is(err, connectors.ErrWriteOutsideEffect) {
			t.Errorf("%s: %v, want a refusal", m, err)
		}
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d writes reached the vendor", n)
	}
	for _, read := range []struct{ method, path string }{{"GET", "/things"}, {"HEAD", "/things"}, {"POST", "/query"}} {
		if _, err := do(t.Context(), c, read.method, read.path, ""); err != nil {
			t.Errorf("%s %s: %v", read.method, read.path, err)
		}
	}
}

func TestOneWriteInAnEffect(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	c, _ := opened(t, serve(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	_, err := c.Effect(t.Context(), connectors.Create("thing"), nil, func(ctx context.Context, _ string) (connectors.Ref, error) {
		if _, err := do(ctx, c, http.MethodPost, "/things", "1"); err != nil {
			t.Errorf("first write: %v", err)
		}
		_, err := do(ctx, c, http.MethodPost, "/things", "2")
		return connectors.Ref{}, err
	})
	if err == nil || calls.Load() != 1 {
		t.Errorf("error %v after %d writes, want a refusal of the second", err, calls.Load())
	}
}

func TestWhatALostCallMeans(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	hijack := func(say string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				io.WriteString(conn, say)
				conn.Close()
			}
		}
	}
	hang := func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // else the server would not notice that the caller has gone
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	for name, x := range map[string]struct {
		url         string
		timeout     time.Duration
		write, read connectors.Kind
		says        string
	}{
		"nobody listens":        {"http://" + closed.Addr().String(), time.Second * 10, connectors.Unavailable, connectors.Unavailable, "a connection could not be made"},
		"cut before the answer": {serve(t, hijack("H")), time.Second * 10, connectors.OutcomeUnknown, connectors.Unavailable, "broke off"},
		"cut in the answer":     {serve(t, hijack("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal")), time.Second * 10, connectors.OutcomeUnknown, connectors.Unavailable, "broke off"},
		"no answer in time":     {serve(t, hang), 50 * time.Millisecond, connectors.OutcomeUnknown, connectors.Unavailable, "no answer came in time (50ms)"},
		"an endless answer": {serve(t, func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, io.LimitReader(endless{}, 17<<20)) }),
			time.Minute, connectors.OutcomeUnknown, connectors.Unavailable, "larger"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := vendor()
			app.Timeout = x.timeout
			c, j := conntest.OpenJournal(t, app, x.url, connectors.Credentials{"token": secret})
			_, readErr := do(t.Context(), c, http.MethodGet, "/things", "")
			writeErr := effect(t.Context(), c, "/things", "body")
			for what, got := range map[string]struct {
				err  error
				want connectors.Kind
			}{"read": {readErr, x.read}, "write": {writeErr, x.write}} {
				if connectors.KindOf(got.err) != got.want || !strings.Contains(got.err.Error(), x.says) {
					t.Errorf("%s: %q %v, want %q and %q", what, connectors.KindOf(got.err), got.err, got.want, x.says)
				}
				for _, jargon := range []string{"dial", "tcp", "EOF", "context", "://", "127.0.0.1"} {
					if said, _ := errors.AsType[*connectors.Error](got.err); said == nil || strings.Contains(said.Error(), jargon) {
						t.Errorf("%s: %q is no plain sentence", what, got.err)
					}
				}
			}
			if len(j.Calls) != 2 || j.Calls[0].Err == nil || j.Calls[0].Write || !j.Calls[1].Write {
				t.Errorf("the journal was told of %+v", j.Calls)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	arrived := make(chan struct{})
	c, _ := opened(t, serve(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // else the server would not notice that the caller has gone
		calls.Add(1)
		close(arrived)
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	if err := effect(ctx, c, "/things", "body"); connectors.KindOf(err) != connectors.OutcomeUnknown {
		t.Errorf("given up in the air: %v", err)
	}
	if _, err := do(ctx, c, http.MethodGet, "/things", ""); !errors.Is(err, context.Canceled) || calls.Load() != 1 {
		t.Errorf("given up before: %v after %d calls", err, calls.Load())
	}
}

func TestResendIsTheStoredRequest(t *testing.T) {
	t.Parallel()
	var seen []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen = append(seen, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Content-Type")+" "+string(b))
		if len(seen) == 1 {
			panic(http.ErrAbortHandler)
		}
	})
	c, j := opened(t, url)
	if err := effect(t.Context(), c, "/things/a%2Fb?x=1", "first"); connectors.KindOf(err) != connectors.OutcomeUnknown {
		t.Fatal(err)
	}
	if err := effect(t.Context(), c, "/other", "rendered anew"); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || seen[0] != seen[1] {
		t.Errorf("sent %q", seen)
	}
	if e := j.Effects(); len(e) != 1 || e[0].Request.Path != "/things/a%2Fb?x=1" || string(e[0].Request.Body) != "first" {
		t.Errorf("kept %+v", e)
	}
}

func TestSecretsStayIn(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var told []connectors.Call
	j := &recorder{}
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+secret {
			t.Errorf("authorization %q", r.Header.Get("Authorization"))
		}
		w.Header().Set("Request-Id", "req_1")
		if r.URL.Path == "/cut" {
			panic(http.ErrAbortHandler)
		}
	})
	c, err := connectors.Open(vendor(), connectors.Credentials{"token": secret}, connectors.Options{
		URL: url + "/", Journal: j, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), Observe: func(c connectors.Call) { told = append(told, c) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := connectors.WithWriter(t.Context(), j)
	_, ok := do(ctx, c, http.MethodPost, "/things", "body")
	_, cut := do(ctx, c, http.MethodPost, "/cut", "body")
	if ok != nil || cut == nil || len(told) != 2 || told[0].RequestID != "req_1" || told[0].Status != 200 || told[1].Err == nil {
		t.Errorf("errors %v and %v, observed %+v", ok, cut, told)
	}
	slog.New(slog.NewTextHandler(&log, nil)).Info("connection", "credentials", c.Credentials)
	all := fmt.Sprintf("%s %v %+v %+v %+v %#v", log.String(), cut, told, j.calls, j.requests, c.Credentials)
	if strings.Contains(all, secret) {
		t.Errorf("the secret shows: %s", all)
	}
	if !strings.Contains(log.String(), "vendor call") {
		t.Error("nothing was logged")
	}
	if _, err := c.Credentials.MarshalJSON(); err == nil {
		t.Error("credentials become JSON")
	}
	if got := c.Hide("your key " + secret + " is bad"); got != "your key (secret) is bad" {
		t.Errorf("hidden: %q", got)
	}
}

// recorder is a journal and a writer that keeps what it is handed.
type recorder struct {
	calls    []connectors.Call
	requests []connectors.Request
}

func (j *recorder) Effect(ctx context.Context, _ connectors.Intent, _ connectors.Probe, send connectors.Send) (connectors.Ref, error) {
	return send(connectors.WithWriter(ctx, j), "key")
}

func (j *recorder) Adopt(_ context.Context, _ connectors.Intent, ref connectors.Ref) (connectors.Ref, error) {
	return ref, nil
}

func (j *recorder) Called(_ context.Context, c connectors.Call) { j.calls = append(j.calls, c) }

func (j *recorder) Pace(context.Context, connectors.Call) (func(), error) { return func() {}, nil }

func (j *recorder) Sending(_ context.Context, r connectors.Request) (connectors.Request, error) {
	j.requests = append(j.requests, r)
	return r, nil
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var stolen atomic.Int32
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { stolen.Add(1) })
	c, _ := opened(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
	}))
	got, err := do(t.Context(), c, http.MethodGet, "/things", "")
	if err != nil || !strings.HasPrefix(got, "307") || stolen.Load() != 0 {
		t.Errorf("%q %v, and %d calls went elsewhere", got, err, stolen.Load())
	}
	if err := effect(t.Context(), c, "/things", "body"); err != nil || stolen.Load() != 0 {
		t.Errorf("%v, and %d calls went elsewhere", err, stolen.Load())
	}
}

func TestLargeRequest(t *testing.T) {
	t.Parallel()
	c, j := opened(t, serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") }))
	if err := effect(t.Context(), c, "/things", strings.Repeat("x", 17<<20)); connectors.KindOf(err) != connectors.Invalid || len(j.Calls) != 0 {
		t.Errorf("%v after %d calls", err, len(j.Calls))
	}
}

func TestKindOfStatus(t *testing.T) {
	t.Parallel()
	for status, want := range map[int][2]connectors.Kind{ // read, write
		400: {connectors.Invalid, connectors.Invalid}, 401: {connectors.Unauthorized, connectors.Unauthorized}, 403: {connectors.Forbidden, connectors.Forbidden},
		404: {connectors.NotFound, connectors.NotFound}, 409: {connectors.Conflict, connectors.Conflict}, 422: {connectors.Invalid, connectors.Invalid},
		423: {connectors.Busy, connectors.Busy}, 429: {connectors.RateLimited, connectors.RateLimited},
		500: {connectors.Unavailable, connectors.OutcomeUnknown}, 503: {connectors.Unavailable, connectors.OutcomeUnknown},
	} {
		if got := [2]connectors.Kind{connectors.KindOfStatus(status, false), connectors.KindOfStatus(status, true)}; got != want {
			t.Errorf("%d: %q, want %q", status, got, want)
		}
	}
	if k := connectors.KindOf(errors.New("plain")); k != "" {
		t.Errorf("a plain error is of kind %q", k)
	}
}
