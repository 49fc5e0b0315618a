package sim

import (
	"net/http"
	"time"
)

// Request is one call that was received.
type Request struct {
	At     time.Time   `json:"at"`
	Method string      `json:"method"`
	Path   string      `json:"path"`
	Query  string      `json:"query,omitempty"`
	Header http.Header `json:"header"` // without credentials
	Body   string      `json:"body,omitempty"`
	Fault  Point       `json:"fault,omitempty"`
	Status int         `json:"status"` // 0 while it runs, and when no reply went out
}

const maxRequests = 100_000 // a simulator that runs for days must not grow for ever

func (c *Core) arrive(r *http.Request, body []byte) (*Request, Fault) {
	h := r.Header.Clone()
	h.Del("Authorization")
	e := &Request{At: c.Clock.Now(), Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: h, Body: string(body)}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.pick(r.Method, r.URL.Path)
	e.Fault = f.Point
	if len(c.log) == maxRequests {
		c.log = append([]*Request(nil), c.log[maxRequests/2:]...)
	}
	c.log = append(c.log, e)
	return e, f
}

// Requests returns the calls received so far, oldest first, those of the control API left out.
func (c *Core) Requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Request, len(c.log))
	for i, e := range c.log {
		out[i] = *e
	}
	return out
}

// Count returns how many calls of this method and path pattern were received; empty means any.
func (c *Core) Count(method, path string) (n int) {
	f := Fault{Method: method, Path: path}
	for _, e := range c.Requests() {
		if f.matches(e.Method, e.Path) {
			n++
		}
	}
	return n
}
