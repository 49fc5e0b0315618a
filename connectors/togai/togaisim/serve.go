package togaisim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tieline/connectors/sim"
)

// Error is all that Togai says about a failure, with its status.
type Error struct {
	Status  int    `json:"-"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

func bad(format string, args ...any) *Error {
	return &Error{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func missing(what, id string) *Error {
	return &Error{http.StatusNotFound, fmt.Sprintf("%s %s not found", what, id)}
}

func plainError(status int, code string) sim.Answer {
	if code == "" {
		code = http.StatusText(status)
	}
	return render(status, &Error{Message: code})
}

func render(status int, v any) sim.Answer {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own values
	}
	return sim.Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: b}
}

// call is one request on its way through a resource. Sim.mu is held while it runs.
type call struct {
	sim   *Sim
	org   *Organization
	id    string // the {id} of the path
	token string
	query url.Values
	body  []byte
	now   time.Time
}

// route answers status and what run returns.
type route struct {
	method string
	path   []string
	status int
	run    func(*call) (any, error)
}

func (s *Sim) handle(method, path string, status int, run func(*call) (any, error)) {
	s.routes = append(s.routes, route{method, segments(path), status, run})
}

// find is the route of a call, with the id in its escaped path.
func (s *Sim) find(method, path string) (route, string, bool) {
	got := segments(path) // ids are free text, slashes included
next:
	for _, rt := range s.routes {
		if rt.method != method || len(rt.path) != len(got) {
			continue
		}
		id := ""
		for i, want := range rt.path {
			if want == "{id}" {
				id, _ = url.PathUnescape(got[i]) // a request's path is well escaped
			} else if want != got[i] {
				continue next
			}
		}
		return rt, id, true
	}
	return route{}, "", false
}

// serve is the protocol around every call: token, rate, route.
func (s *Sim) serve(r *http.Request) sim.Answer {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	g, ok := s.tokens[token]
	s.mu.Unlock()
	now := s.Clock.Now()
	if !ok || !g.expires.IsZero() && now.After(g.expires) {
		return plainError(http.StatusUnauthorized, "Invalid or expired token")
	}
	if !g.org.limit.Take(now) {
		return plainError(http.StatusTooManyRequests, "Too many requests")
	}
	rt, id, ok := s.find(r.Method, r.URL.EscapedPath())
	if !ok {
		return plainError(http.StatusNotFound, "No such path")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return plainError(http.StatusBadRequest, "The body cannot be read")
	}
	return s.Commit(func(r *http.Request) sim.Answer {
		s.mu.Lock()
		defer s.mu.Unlock()
		c := &call{sim: s, org: g.org, id: id, token: token, query: r.URL.Query(), body: body, now: s.Clock.Now().UTC()}
		out, err := rt.run(c)
		var e *Error
		switch {
		case errors.As(err, &e):
			return render(e.Status, e)
		case err != nil:
			return plainError(http.StatusInternalServerError, err.Error())
		}
		if p, ok := out.(partial); ok {
			return render(http.StatusMultiStatus, p)
		}
		return render(rt.status, out)
	})(r)
}

// decode reads the body and refuses what the call does not know.
func (c *call) decode(into any) error {
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return bad("Invalid request: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// partial is the answer where some of a batch was refused.
type partial struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
}

// success is what a deletion answers.
var success = map[string]bool{"success": true}

func authenticate(s *Sim) {
	s.handle("POST", "/authenticate", http.StatusOK, func(c *call) (any, error) {
		token := c.token
		if strings.Count(token, ".") != 2 { // a JWT gets itself back
			token = random(20) + "." + random(60) + "." + random(40)
			s.tokens[token] = grant{c.org, c.now.Add(24 * time.Hour)}
		}
		return map[string]string{"token": token}, nil
	})
}
