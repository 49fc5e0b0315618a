// Package sim is what the vendors' simulators share: a server with a clock, fault dials, a request log,
// webhook deliveries and a control API under /_sim/. A simulator embeds a Core and adds one vendor's behaviour.
package sim

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// T is the part of testing.TB that simulators need; naming it keeps package testing out of the server's binary.
type T interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Answer is a whole reply, kept as a value so that it can be stored, replayed, replaced or thrown away.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Handler answers one request whose body has been read already.
type Handler func(*http.Request) Answer

// Config is what a simulator tells its Core.
type Config struct {
	API   Handler                              // everything outside of /_sim/; runs what writes inside Core.Commit
	Error func(status int, code string) Answer // an error as this vendor words it; code may be empty
	State func() any                           // the answer of GET /_sim/state
	Reset func()                               // forgets the vendor's records, keeps accounts and keys

	// Backoff is the wait before each repeat of a refused delivery; after the last one it has failed.
	Backoff []time.Duration
}

// Stages of a request at which OnRequest is told.
const (
	Arrived   = "arrived"   // read, nothing done
	Committed = "committed" // done; the answer is not yet kept under its idempotency key
	Replying  = "replying"  // the next thing is the reply, or its loss
)

// Core serves one simulator.
type Core struct {
	URL   string
	Clock Clock

	cfg     Config
	control *http.ServeMux
	server  *http.Server
	post    *courier
	hook    atomic.Pointer[func(stage, method, path string)]
	closed  chan struct{}
	close   sync.Once

	mu     sync.Mutex
	faults []*Fault
	log    []*Request
}

// New makes a Core; it serves after Listen.
func New(cfg Config) *Core {
	if cfg.Backoff == nil {
		cfg.Backoff = defaultBackoff()
	}
	c := &Core{cfg: cfg, control: http.NewServeMux(), post: newCourier(cfg.Backoff), closed: make(chan struct{})}
	c.routes()
	return c
}

// Listen serves on addr until Close. Port 0 takes a free one; URL says which.
func (c *Core) Listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	c.URL = "http://" + l.Addr().String()
	c.server = &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second}
	go c.server.Serve(l) // ends with Close
	return nil
}

// ListenFor serves on loopback for the length of a test.
func (c *Core) ListenFor(t T) {
	t.Helper()
	if err := c.Listen("127.0.0.1:0"); err != nil {
		t.Fatalf("starting a simulator: %v", err)
	}
	t.Cleanup(c.Close)
}

// Close drops every connection and stops the deliveries.
func (c *Core) Close() {
	c.close.Do(func() {
		close(c.closed)
		if c.server != nil {
			c.server.Close()
		}
		c.post.close()
	})
}

// OnRequest calls f at each stage of each request, in the request's own goroutine: f may block it, or end the process.
func (c *Core) OnRequest(f func(stage, method, path string)) { c.hook.Store(&f) }

func (c *Core) tell(stage string, r *http.Request) {
	if f := c.hook.Load(); f != nil && *f != nil {
		(*f)(stage, r.Method, r.URL.Path)
	}
}

func (c *Core) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_sim/") {
		c.serveControl(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 8<<20))
	if err != nil { // the caller went away, or sends a film
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	entry, fault := c.arrive(r, body)
	c.tell(Arrived, r)
	answer, ok := c.answer(r.WithContext(context.WithValue(r.Context(), faultKey{}, fault)), fault)
	c.tell(Replying, r)
	if !ok {
		drop(w)
		return
	}
	c.mu.Lock()
	entry.Status = answer.Status
	c.mu.Unlock()
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.Status)
	w.Write(answer.Body)
}

// drop ends the connection after the first bytes of a reply. Had it sent none, Go's client would repeat
// a request that carries an Idempotency-Key by itself, and a fault meant once would never be seen.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	io.WriteString(conn, "HTTP/1.1 ")
	conn.Close()
}

// wait is not cut short by a caller that gives up: the vendor's server would not notice either.
func (c *Core) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-c.closed:
	}
}

// Reset forgets records, requests, faults, deliveries and the advanced clock.
func (c *Core) Reset() {
	c.mu.Lock()
	c.faults, c.log = nil, nil
	c.mu.Unlock()
	c.post.reset()
	c.Clock.reset()
	if c.cfg.Reset != nil {
		c.cfg.Reset()
	}
}
