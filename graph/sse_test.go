package graph

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/generated"
	"tieline/graph/model"
)

const onAll = "subscription{runUpdates{cursor change{version}}}"

// eventEdge serves the stub by HTTP/1.1 or HTTP/2.
func eventEdge(t testing.TB, two bool, change func(*Config), tune ...func(*httptest.Server)) (*httptest.Server, *Handler) {
	t.Helper()
	c := Config{Resolvers: rootStub{}, Verifier: everyone, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&c)
	}
	h, err := New(c)
	check(t, err)
	srv := httptest.NewUnstartedServer(h)
	for _, f := range tune {
		f(srv)
	}
	if srv.EnableHTTP2 = two; two {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Errorf("closing: %v", err)
		}
		srv.Close()
	})
	return srv, h
}

// listener reads an answer of events.
type listener struct {
	t    testing.TB
	res  *http.Response
	text *bufio.Reader
	cut  context.CancelFunc
}

// listen asks for events by POST; header lines replace the usual ones.
func listen(t testing.TB, srv *httptest.Server, doc string, header ...string) *listener {
	t.Helper()
	return request(t, srv.Client(), http.MethodPost, srv.URL, query(doc), header...)
}

func request(t testing.TB, c *http.Client, method, url, body string, header ...string) *listener {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	check(t, err)
	for _, line := range append([]string{"Authorization: Bearer reader", "Content-Type: " + plainJSON, "Accept: " + eventStream}, header...) {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	res, err := c.Do(r)
	check(t, err)
	t.Cleanup(func() { res.Body.Close() })
	return &listener{t, res, bufio.NewReader(res.Body), cancel}
}

// event reads the next one: its name and data, ":" and the text for a comment, "" at the end.
func (l *listener) event() (name, data string) {
	l.t.Helper()
	for {
		line, err := l.text.ReadString('\n')
		switch {
		case err == io.EOF && line == "" && name == "":
			return "", ""
		case err != nil:
			l.t.Fatalf("after %q: %v", line, err)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "\n":
			return name, data
		case field == "event":
			name = value
		case field == "data":
			data = value
		case field == "":
			name, data = ":", value
		}
	}
}

// next reads the next event that is no comment.
func (l *listener) next() (name, data string) {
	l.t.Helper()
	for name = ":"; name == ":"; {
		name, data = l.event()
	}
	return name, data
}

func (l *listener) want(name, part string) {
	l.t.Helper()
	if got, data := l.next(); got != name || !strings.Contains(data, part) {
		l.t.Fatalf("%q %s, want %q with %s", got, data, name, part)
	}
}

func versions(t *testing.T, f func(*testing.T, bool)) {
	t.Parallel()
	for _, two := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[two], func(t *testing.T) {
			t.Parallel()
			f(t, two)
		})
	}
}

func TestEvents(t *testing.T) {
	versions(t, func(t *testing.T, two bool) {
		updates := make(chan *model.RunUpdate)
		srv, _ := eventEdge(t, two, func(c *Config) { c.Resolvers = rootStub{stub: stub{updates: updates}} })
		l := listen(t, srv, onAll)
		for name, want := range map[string]string{"Content-Type": eventStream, "Cache-Control": "no-store, no-transform", "Connection": "", "X-Accel-Buffering": "no"} {
			if got := l.res.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if l.res.StatusCode != 200 || l.res.ProtoMajor == 2 != two {
			t.Errorf("%s over %s", l.res.Status, l.res.Proto)
		}
		if name, _ := l.event(); name != ":" {
			t.Errorf("the first sign is %q", name)
		}
		l.want("next", `{"data":{"runUpdates":{"cursor":"c","change":{"version":1}}}}`)
		updates <- nil
		l.want("next", `"version":2`)
		// By GET, and from a client that takes anything, as long as it is a subscription that it wants.
		get := request(t, srv.Client(), http.MethodGet, srv.URL+"?query="+url.QueryEscape(onAll), "", "Accept: application/graphql-response+json, application/json, text/event-stream, multipart/mixed")
		get.want("next", `"version":1`)
	})
}

func TestEventsOfWhatEnds(t *testing.T) {
	versions(t, func(t *testing.T, two bool) {
		srv, _ := eventEdge(t, two, nil)
		for doc, want := range map[string]string{
			"{viewer{id}}":             `{"data":{"viewer":{"id":"viewer"}}}`,
			"{nonsense}":               `{"errors":[`,
			"{":                        string(ParseFailed),
			`{app(key:"panic"){id}}`:   string(Internal),
			"mutation{__typename}":     `{"data":{"__typename":"Mutation"}}`,
			"subscription{nonsense}":   string(ValidationFailed),
			`subscription{m:nothing}`:  string(ValidationFailed),
			"{viewer{id}} {viewer{id}": string(ParseFailed),
		} {
			l := listen(t, srv, doc)
			if l.res.StatusCode != 200 {
				t.Errorf("%s: %s", doc, l.res.Status)
			}
			l.want("next", want)
			l.want("complete", "")
			l.want("", "")
		}
		l := listen(t, srv, "subscription{runUpdates{cursor}}", "Authorization: Bearer trigger")
		l.want("next", string(Forbidden))
		l.want("complete", "")
		// Whoever reads JSON as well gets JSON.
		if l := listen(t, srv, "{viewer{id}}", "Accept: text/event-stream, application/json;q=0.1"); l.res.Header.Get("Content-Type") != plainJSON+"; charset=utf-8" {
			t.Errorf("%v", l.res.Header)
		}
	})
}

// A cut stream has no complete, so that its client comes back.
func TestEventsEndWithTheirToken(t *testing.T) {
	versions(t, func(t *testing.T, two bool) {
		t.Run("expired", func(t *testing.T) {
			t.Parallel()
			srv, _ := eventEdge(t, two, func(c *Config) {
				c.Verifier = holders{"reader": {Org: db.NewID(), Scopes: []auth.Scope{auth.Read}, Expires: time.Now().Add(2 * time.Second)}}
			})
			l := listen(t, srv, onAll)
			l.want("next", `"version":1`)
			if name, data := l.event(); name != ":" || data != auth.ErrExpired.Error() {
				t.Errorf("%q %s", name, data)
			}
			l.want("", "")
		})
		for _, why := range []error{auth.ErrRevoked, auth.ErrExpired} {
			t.Run(why.Error(), func(t *testing.T) {
				t.Parallel()
				v := changing{everyone, new(atomic.Pointer[error])}
				srv, _ := eventEdge(t, two, func(c *Config) { c.Verifier, c.Limits.Reverify = v, 10*time.Millisecond })
				l := listen(t, srv, onAll)
				l.want("next", `"version":1`)
				v.why.Store(&why)
				if name, data := l.event(); name != ":" || data != why.Error() {
					t.Errorf("%q %s", name, data)
				}
				l.want("", "")
			})
		}
		t.Run("not to be found out", func(t *testing.T) {
			t.Parallel()
			updates := make(chan *model.RunUpdate)
			looks := make(chan struct{})
			srv, _ := eventEdge(t, two, func(c *Config) {
				c.Resolvers, c.Verifier, c.Limits.Reverify = rootStub{stub: stub{updates: updates}}, &failing{looks: looks}, time.Millisecond
			})
			l := listen(t, srv, onAll)
			l.want("next", `"version":1`)
			for range 3 {
				<-looks
			}
			updates <- nil
			l.want("next", `"version":2`)
		})
	})
}

// failing knows the reader once, and cannot find out again.
type failing struct {
	asked atomic.Bool
	looks chan struct{}
}

func (f *failing) Verify(ctx context.Context, bearer string) (auth.Viewer, error) {
	if !f.asked.Swap(true) {
		return everyone.Verify(ctx, bearer)
	}
	select {
	case f.looks <- struct{}{}:
	case <-ctx.Done():
	}
	return auth.Viewer{}, io.ErrUnexpectedEOF
}

func TestCloseCutsEvents(t *testing.T) {
	versions(t, func(t *testing.T, two bool) {
		srv, h := eventEdge(t, two, nil)
		l := listen(t, srv, onAll)
		l.want("next", `"version":1`)
		check(t, h.Close(t.Context()))
		l.want("", "")
		if l := listen(t, srv, onAll); l.res.StatusCode != 503 {
			t.Errorf("once closed: %s", l.res.Status)
		}
		if l := listen(t, srv, "{viewer{id}}", "Accept: application/json"); l.res.StatusCode != 200 {
			t.Errorf("a plain request: %s", l.res.Status)
		}
	})
}

// A server's limit for reading a request is none for a stream, nor is the one for a body.
func TestEventsOutliveTheirRequest(t *testing.T) {
	versions(t, func(t *testing.T, two bool) {
		const within = 500 * time.Millisecond
		srv, _ := eventEdge(t, two, func(c *Config) { c.Limits.Keepalive, c.Limits.Upload = within/10, within },
			func(s *httptest.Server) { s.Config.ReadTimeout = within })
		for _, l := range []*listener{listen(t, srv, onAll), request(t, srv.Client(), http.MethodGet, srv.URL+"?query="+url.QueryEscape(onAll), "")} {
			l.want("next", `"version":1`)
			for range 30 { // three times as long
				if name, _ := l.event(); name != ":" {
					t.Fatalf("%q instead of a sign of life", name)
				}
			}
		}
	})
}

// Signs of life as fast as they go, on streams that end and on those that are left. Under -race a write after the
// handler's return shows.
func TestSignsOfLifeEndWithTheStream(t *testing.T) {
	versions(t, func(t *testing.T, two bool) {
		srv, _ := eventEdge(t, two, func(c *Config) { c.Limits.Keepalive = 20 * time.Microsecond })
		for range 100 {
			l := listen(t, srv, "{viewer{id}}")
			l.want("next", "viewer")
			l.want("complete", "")
			l = listen(t, srv, onAll)
			l.want("next", `"version":1`)
			l.cut()
		}
	})
}

// flood is a subscription that always has something to say; gone is closed when its subscriber is.
type flood struct {
	rootStub
	gone chan struct{}
}

func (f flood) Subscription() generated.SubscriptionResolver { return f }

func (f flood) RunUpdates(ctx context.Context, _ *model.RunUpdateFilter, _ *string) (<-chan *model.RunUpdate, error) {
	out := make(chan *model.RunUpdate)
	go func() {
		defer close(f.gone)
		defer close(out)
		update := &model.RunUpdate{ID: "upd", Cursor: strings.Repeat("x", 100_000), Change: &model.RunChange{ID: "chg", State: model.RunStateRunning}}
		for {
			select {
			case out <- update:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func (f flood) RunUpdated(context.Context, string, *string) (<-chan *model.RunUpdate, error) {
	return nil, nil
}

// A peer that does not read is left, and so is what it subscribed to.
func TestEventsLeaveWhoDoesNotRead(t *testing.T) {
	versions(t, func(t *testing.T, two bool) {
		f := flood{gone: make(chan struct{})}
		srv, _ := eventEdge(t, two, func(c *Config) { c.Resolvers, c.Limits.Write = f, 300*time.Millisecond })
		l := listen(t, srv, onAll)
		if name, _ := l.event(); name != ":" {
			t.Fatal(name)
		}
		select {
		case <-f.gone:
		case <-time.After(15 * time.Second):
			t.Error("the subscription of a peer that does not read goes on")
		}
	})
}

// A body that trickles holds a request no longer than its limit.
func TestASlowBodyIsRefused(t *testing.T) {
	t.Parallel()
	srv, _ := eventEdge(t, false, func(c *Config) { c.Limits.Upload = 200 * time.Millisecond })
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer reader\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	check(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	check(t, err)
	raw, err := io.ReadAll(res.Body)
	check(t, err)
	if res.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(raw), string(Timeout)) {
		t.Errorf("%s %s", res.Status, raw)
	}
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection goes on: %v", err)
	}
}

// As TestResumeAfterACut, by events.
func TestResumeEvents(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	f := s.feed(nil)
	srv, _ := eventEdge(t, true, func(c *Config) { c.Resolvers, c.Verifier = s.resolvers(f), s.holders })
	log := []string{s.cursor(0)}
	for n := range 20 {
		l := listen(t, srv, "subscription{m:runUpdates("+afterArg(log[len(log)-1])+"){cursor}}")
		s.add(manyChanges(20)...)
		for left := 1 + rand.IntN(20); left > 0 || n == 19 && len(log)-1 < 400; left-- {
			name, data := l.next()
			var p struct{ Data struct{ M told } }
			if err := json.Unmarshal([]byte(data), &p); name != "next" || err != nil {
				t.Fatalf("%q %s: %v", name, data, err)
			}
			log = append(log, p.Data.M.Cursor)
		}
		l.cut()
	}
	if !slices.Equal(log[1:], s.cursors()) {
		t.Errorf("the log of %d is not the table of %d", len(log)-1, len(s.cursors()))
	}
	eventually(t, "nobody follows", func() bool { return f.following() == 0 })
}
