package graph

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coderws "github.com/coder/websocket"

	"tieline/db"
	"tieline/graph/auth"
)

const hello = `{"type":"connection_init","payload":{"authorization":"Bearer reader"}}`

func subscribeTo(id, doc string) string {
	return fmt.Sprintf(`{"id":%q,"type":"subscribe","payload":{"query":%q}}`, id, doc)
}

// wire is a raw socket.
type wire struct {
	t    testing.TB
	conn *coderws.Conn
}

func dial(t testing.TB, url string, header ...string) (*wire, *http.Response, error) {
	t.Helper()
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	conn, res, err := coderws.Dial(t.Context(), url, &coderws.DialOptions{Subprotocols: []string{protocol}, HTTPHeader: h})
	if err == nil {
		t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return &wire{t, conn}, res, err
}

func (w *wire) send(messages ...string) {
	w.t.Helper()
	for _, m := range messages {
		if err := w.conn.Write(w.t.Context(), coderws.MessageText, []byte(m)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// next reads a message, or tells the code that the socket was closed with.
func (w *wire) next() (message, coderws.StatusCode) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	_, raw, err := w.conn.Read(ctx)
	if err != nil {
		if code := coderws.CloseStatus(err); code != -1 {
			return message{}, code
		}
		w.t.Fatal(err)
	}
	var m message
	if err := json.Unmarshal(raw, &m); err != nil {
		w.t.Fatalf("%s: %v", raw, err)
	}
	return m, 0
}

func (w *wire) want(kind string) message {
	w.t.Helper()
	m, code := w.next()
	if m.Type != kind {
		w.t.Fatalf("wanted %s, got %+v %s, close code %d", kind, m, m.Payload, code)
	}
	return m
}

func (w *wire) wantClose(code coderws.StatusCode) {
	w.t.Helper()
	for {
		if m, got := w.next(); got == code {
			return
		} else if got != 0 {
			w.t.Fatalf("closed with %d, want %d", got, code)
		} else if m.Type == "error" {
			w.t.Fatalf("error %s, want to be closed with %d", m.Payload, code)
		}
	}
}

func socketEdge(t testing.TB, change func(*Config)) string {
	srv, _ := edge(t, change)
	return "ws" + strings.TrimPrefix(srv.URL, "http")
}

func ready(t testing.TB, url string) *wire {
	t.Helper()
	w, _, err := dial(t, url)
	if err != nil {
		t.Fatal(err)
	}
	w.send(hello)
	w.want("connection_ack")
	return w
}

func TestCloseCodes(t *testing.T) {
	t.Parallel()
	url := socketEdge(t, func(c *Config) { c.Limits.Handshake = 300 * time.Millisecond })
	twin := subscribeTo("twin", "subscription{runUpdates{cursor}}")
	for name, c := range map[string]struct {
		code int
		send []string
	}{
		"silence":                 {closeInitTimeout, nil},
		"no token":                {closeUnauthorized, []string{`{"type":"connection_init"}`}},
		"null payload":            {closeUnauthorized, []string{`{"type":"connection_init","payload":null}`}},
		"unknown token":           {closeForbidden, []string{`{"type":"connection_init","payload":{"Authorization":"Bearer nobody"}}`}},
		"revoked token":           {closeForbidden, []string{`{"type":"connection_init","payload":{"Authorization":"Bearer revoked"}}`}},
		"verifier down":           {closeTryLater, []string{`{"type":"connection_init","payload":{"Authorization":"Bearer down"}}`}},
		"payload no object":       {closeBadMessage, []string{`{"type":"connection_init","payload":[1]}`}},
		"subscribe before init":   {closeUnauthorized, []string{twin}},
		"second init":             {closeSecondInit, []string{hello, hello}},
		"not JSON":                {closeBadMessage, []string{hello, "nonsense"}},
		"unknown type":            {closeBadMessage, []string{hello, `{"type":"start"}`}},
		"server's type":           {closeBadMessage, []string{hello, `{"type":"next","id":"1","payload":{}}`}},
		"subscribe without id":    {closeBadMessage, []string{hello, `{"type":"subscribe","payload":{"query":"{viewer{id}}"}}`}},
		"subscribe without query": {closeBadMessage, []string{hello, `{"id":"1","type":"subscribe","payload":{}}`}},
		"variables in a list":     {closeBadMessage, []string{hello, `{"id":"1","type":"subscribe","payload":{"query":"{viewer{id}}","variables":[1]}}`}},
		"name that is a number":   {closeBadMessage, []string{hello, `{"id":"1","type":"subscribe","payload":{"query":"{viewer{id}}","operationName":1}}`}},
		"id that is a number":     {closeBadMessage, []string{hello, `{"id":1,"type":"subscribe","payload":{"query":"{viewer{id}}"}}`}},
		"complete without id":     {closeBadMessage, []string{hello, `{"type":"complete"}`}},
		"two under one id":        {closeSameID, []string{hello, twin, twin}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _, err := dial(t, url)
			if err != nil {
				t.Fatal(err)
			}
			w.send(c.send...)
			w.wantClose(coderws.StatusCode(c.code))
		})
	}
}

func TestHandshakes(t *testing.T) {
	t.Parallel()
	url := socketEdge(t, func(c *Config) { c.Origins = []string{"https://console.example.com"} })
	for origin, want := range map[string]int{"https://console.example.com": 101, "https://evil.example.com": 403} {
		if _, res, _ := dial(t, url, "Origin", origin); res == nil || res.StatusCode != want {
			t.Errorf("from %s: %+v, want %d", origin, res, want)
		}
	}
	for _, offered := range [][]string{nil, {"graphql-ws"}, {"something"}} {
		if _, res, err := coderws.Dial(t.Context(), url, &coderws.DialOptions{Subprotocols: offered}); err == nil || res.StatusCode != 400 {
			t.Errorf("offering %v: %v", offered, err)
		}
	}
}

func TestOperationsOnASocket(t *testing.T) {
	t.Parallel()
	w := ready(t, socketEdge(t, func(c *Config) { c.Limits.Subscriptions = 2 }))
	w.send(`{"type":"ping","payload":{"a":1}}`)
	if m := w.want("pong"); string(m.Payload) != `{"a":1}` {
		t.Errorf("pong %s", m.Payload)
	}
	for range 2 { // an id is free again once its operation ended
		w.send(`{"id":"q","type":"subscribe","payload":{"query":"{viewer{id}}","operationName":null,"variables":null,"extensions":{}}}`)
		w.want("next")
		w.want("complete")
	}
	w.send(subscribeTo("bad", "{nonsense}"), subscribeTo("deep", strings.Repeat("{viewer", 30)+strings.Repeat("}", 30)), `{"type":"ping"}`)
	seen := map[string]int{}
	for range 3 {
		m, _ := w.next()
		seen[m.Type]++
	}
	if seen["error"] != 2 || seen["pong"] != 1 {
		t.Errorf("after two documents that cannot be run: %v", seen)
	}
	w.send(subscribeTo("a", "subscription{runUpdates{change{version}}}"))
	w.want("next")
	w.send(subscribeTo("b", "subscription{runUpdates{change{version}}}"))
	w.want("next")
	w.send(subscribeTo("c", "subscription{runUpdates{cursor}}"))
	if m := w.want("error"); *m.ID != "c" || !strings.Contains(string(m.Payload), string(TooManyStreams)) {
		t.Errorf("%s", m.Payload)
	}
	// Stopped and begun again under the same id, without waiting: the old one says nothing more.
	w.send(`{"type":"complete","id":"a"}`, `{"type":"complete","id":"never"}`, subscribeTo("a", "subscription{runUpdates{cursor}}"))
	if m := w.want("next"); *m.ID != "a" || !strings.Contains(string(m.Payload), "cursor") {
		t.Errorf("%+v %s", m, m.Payload)
	}
}

func TestScopeOfASubscription(t *testing.T) {
	t.Parallel()
	w, _, err := dial(t, socketEdge(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	w.send(`{"type":"connection_init","payload":{"authorization":"bearer trigger"}}`)
	w.want("connection_ack")
	w.send(subscribeTo("a", "subscription{runUpdates{cursor}}"))
	if m := w.want("next"); !strings.Contains(string(m.Payload), string(Forbidden)) {
		t.Errorf("%s", m.Payload)
	}
	w.want("complete")
}

func TestSocketEndsWithItsToken(t *testing.T) {
	t.Parallel()
	url := socketEdge(t, func(c *Config) {
		c.Verifier = holders{"reader": {Org: db.NewID(), Scopes: []auth.Scope{auth.Read}, Expires: time.Now().Add(2 * time.Second)}}
	})
	w := ready(t, url)
	w.send(subscribeTo("a", "subscription{runUpdates{cursor}}"))
	w.want("next")
	w.wantClose(closeUnauthorized)
}

func TestCloseSendsSocketsElsewhere(t *testing.T) {
	t.Parallel()
	h, err := New(Config{Resolvers: rootStub{}, Verifier: everyone, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	w := ready(t, "ws"+strings.TrimPrefix(srv.URL, "http"))
	w.send(subscribeTo("a", "subscription{runUpdates{cursor}}"))
	w.want("next")
	closed := make(chan error)
	go func() { closed <- h.Close(t.Context()) }()
	w.wantClose(closeRestart)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// changing is a verifier whose tokens may be revoked meanwhile.
type changing struct {
	holders
	why *atomic.Pointer[error]
}

func (c changing) Verify(ctx context.Context, bearer string) (auth.Viewer, error) {
	if why := c.why.Load(); why != nil {
		return auth.Viewer{}, *why
	}
	return c.holders.Verify(ctx, bearer)
}

func TestARevokedTokenEndsItsSocket(t *testing.T) {
	t.Parallel()
	for why, code := range map[error]coderws.StatusCode{auth.ErrRevoked: closeForbidden, auth.ErrExpired: closeUnauthorized} {
		for name, every := range map[string]time.Duration{"operation": time.Hour, "stream": 10 * time.Millisecond} {
			t.Run(name+" "+why.Error(), func(t *testing.T) {
				t.Parallel()
				v := changing{everyone, new(atomic.Pointer[error])}
				w := ready(t, socketEdge(t, func(c *Config) { c.Verifier, c.Limits.Reverify = v, every }))
				w.send(subscribeTo("a", "subscription{runUpdates{cursor}}"))
				w.want("next")
				v.why.Store(&why)
				if name == "operation" {
					w.send(subscribeTo("b", "{viewer{id}}"))
				}
				if m, got := w.next(); got != code {
					t.Errorf("%+v, closed with %d, want %d", m, got, code)
				}
			})
		}
	}
}

// unanswered is a verifier that is asked and never answers.
type unanswered struct{ asked chan struct{} }

func (u unanswered) Verify(ctx context.Context, _ string) (auth.Viewer, error) {
	close(u.asked)
	<-ctx.Done()
	return auth.Viewer{}, ctx.Err()
}

func TestClosingWhileATokenIsVerified(t *testing.T) {
	t.Parallel()
	u := unanswered{make(chan struct{})}
	h, err := New(Config{Resolvers: rootStub{}, Verifier: u, Log: slog.New(slog.DiscardHandler)})
	check(t, err)
	srv := httptest.NewServer(h)
	defer srv.Close()
	w, _, err := dial(t, "ws"+strings.TrimPrefix(srv.URL, "http"))
	check(t, err)
	w.send(hello)
	<-u.asked
	closed := make(chan error, 1)
	go func() { closed <- h.Close(context.Background()) }()
	w.wantClose(closeRestart)
	check(t, <-closed)
}

func TestAClosedHandlerTakesNoSocket(t *testing.T) {
	t.Parallel()
	h, err := New(Config{Resolvers: rootStub{}, Verifier: everyone, Log: slog.New(slog.DiscardHandler)})
	check(t, err)
	srv := httptest.NewServer(h)
	defer srv.Close()
	check(t, h.Close(t.Context()))
	if _, res, err := dial(t, "ws"+strings.TrimPrefix(srv.URL, "http")); err == nil || res == nil || res.StatusCode != 503 {
		t.Errorf("%+v, %v", res, err)
	}
	if r := send(t, "POST", srv.URL, query("{viewer{id}}")); r.Status != 200 {
		t.Errorf("a plain request: %s", r.Raw)
	}
}

// A peer that is there and answers stays; one that does not answer is cut.
func TestPings(t *testing.T) {
	t.Parallel()
	url := socketEdge(t, func(c *Config) { c.Limits.Keepalive = 50 * time.Millisecond })
	w := ready(t, url)
	for range 5 {
		w.want("ping")
		w.send(`{"type":"pong"}`)
	}
	w.send(subscribeTo("a", "{viewer{id}}"))
	for kind := ""; kind != "next"; {
		m, code := w.next()
		if kind = m.Type; code != 0 {
			t.Fatalf("closed with %d", code)
		}
	}
	dead := ready(t, url)
	for pings := 0; ; pings++ {
		if _, _, err := dead.conn.Read(t.Context()); err != nil {
			if pings < 1 || pings > 3 {
				t.Errorf("cut after %d pings", pings)
			}
			return
		}
	}
}

// A peer that does not read is left, though no ping that it could fail to answer gets through to it.
func TestASocketLeavesWhoDoesNotRead(t *testing.T) {
	t.Parallel()
	f := flood{gone: make(chan struct{})}
	w := ready(t, socketEdge(t, func(c *Config) { // on a busy machine a peer needs a while to answer, and is not left for that
		c.Resolvers, c.Limits.Write, c.Limits.Keepalive = f, 300*time.Millisecond, 3*time.Second
	}))
	w.want("ping")
	w.send(`{"type":"pong"}`, subscribeTo("a", onAll))
	select {
	case <-f.gone:
	case <-time.After(time.Minute): // it takes so many messages to fill what lies between the two
		t.Error("the subscription of a peer that does not read goes on")
	}
}

func TestAHugeMessageClosesTheSocket(t *testing.T) {
	t.Parallel()
	w := ready(t, socketEdge(t, func(c *Config) { c.Limits.Body = 2000 }))
	w.send(subscribeTo("a", "{viewer{id}}#"+strings.Repeat("x", 2000)))
	w.wantClose(coderws.StatusMessageTooBig)
}

// What a peer sends before it has its answer is part of what it says.
func TestAnEarlyMessage(t *testing.T) {
	t.Parallel()
	_, addr, _ := strings.Cut(socketEdge(t, nil), "://")
	conn, err := net.Dial("tcp", addr)
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	var said bytes.Buffer
	early := frames{conn: noted{conn, &said}, in: bufio.NewReader(conn)}
	early.send(hello)
	early.send(`{"type":"ping","payload":{"filler":"` + strings.Repeat("x", 1000) + `"}}`) // more than a socket's buffer
	upgrade := "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: " + protocol + "\r\n\r\n"
	_, err = conn.Write(append([]byte(upgrade), said.Bytes()...))
	check(t, err)
	res, err := http.ReadResponse(early.in, nil)
	check(t, err)
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res.Status)
	}
	for _, want := range []string{"connection_ack", "pong"} {
		if text, err := early.read(); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// noted is a connection on which nothing is sent.
type noted struct {
	net.Conn
	said *bytes.Buffer
}

func (n noted) Write(p []byte) (int, error) { return n.said.Write(p) }
