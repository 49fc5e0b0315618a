package stripesim

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tieline/connectors/sim"
)

// call is one request on its way through a resource. Sim.mu is held while it runs.
type call struct {
	sim        *Sim
	book       *book
	id         string // the {id} of the path
	in         object // parameters, typed; a null unsets
	request    string // null for what buyers and people in the dashboard do
	idempotent string
	now        time.Time
}

// route is one method and path of the API.
type route struct {
	params params
	needs  []string // parameters that must be there
	run    func(*call) (any, error)
}

// router finds the route and the {id}.
type router struct{ mux http.ServeMux }

func (rt *router) handle(pattern string, r route) {
	rt.mux.Handle(pattern, r)
}

// ServeHTTP is never called: the mux only matches.
func (route) ServeHTTP(http.ResponseWriter, *http.Request) {}

func (rt *router) find(r *http.Request) (found route, id string, ok bool) {
	h, pattern := rt.mux.Handler(r)
	found, ok = h.(route)
	if !ok {
		return found, "", false
	}
	want, got := strings.Split(pattern, "/"), strings.Split(r.Method+" "+r.URL.Path, "/")
	for i, part := range want {
		if part == "{id}" {
			id = got[i]
		}
	}
	return found, id, true
}

// serve is the protocol around every call: key, permission, rate, idempotency, headers.
func (s *Sim) serve(r *http.Request) sim.Answer {
	a := s.admitted(r)
	a.Header = a.Header.Clone() // a stored answer is replayed with headers of its own
	a.Header.Set("Request-Id", requestID(r))
	a.Header.Set("Stripe-Version", cmp.Or(r.Header.Get("Stripe-Version"), apiVersion))
	if k := r.Header.Get("Idempotency-Key"); k != "" {
		a.Header.Set("Idempotency-Key", k)
	}
	return a
}

func (s *Sim) admitted(r *http.Request) sim.Answer {
	r.Header.Set(requestHeader, "req_"+random(14))
	key, _, ok := r.BasicAuth()
	if !ok {
		key, _ = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	s.mu.Lock()
	g, known := s.keys[key]
	s.mu.Unlock()
	if !known {
		return failed(unauthorized(key))
	}
	rt, id, ok := s.router.find(r)
	if !ok {
		return failed(&Error{Status: http.StatusNotFound, Message: "Unrecognized request URL (" + r.Method + ": " + r.URL.Path + ")."})
	}
	if need, ok := g.allows(r); !ok {
		return failed(&Error{Status: http.StatusForbidden, Message: "The key " + masked(key) + " of account " + g.book.account.ID +
			" lacks a permission this call needs. Giving it '" + need + "' would let the call through."})
	}
	if !g.book.limit.Take(s.Clock.Now()) {
		return failed(&Error{Status: http.StatusTooManyRequests})
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return failed(invalid("", "", "The body cannot be read."))
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return failed(invalid("", "", "The body is not a form."))
	}
	for k, v := range r.URL.Query() {
		form[k] = append(form[k], v...)
	}
	return s.once(r, g.book, form, s.Commit(func(r *http.Request) sim.Answer {
		in, e := read(form, rt)
		if e != nil {
			return failed(e)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		c := &call{sim: s, book: g.book, id: id, in: in, request: requestID(r), idempotent: r.Header.Get("Idempotency-Key"), now: s.Clock.Now()}
		return c.answer(rt)
	}))
}

func (c *call) answer(rt route) sim.Answer {
	out, err := rt.run(c)
	if err == nil {
		out, err = c.expand(out)
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return failed(e)
	case err != nil:
		return failed(&Error{Status: http.StatusInternalServerError, Message: err.Error()})
	}
	return render(http.StatusOK, out)
}

// requestHeader carries the request's id through the layers; callers' values are overwritten.
const requestHeader = "X-Sim-Request"

func requestID(r *http.Request) string { return r.Header.Get(requestHeader) }

func render(status int, v any) sim.Answer {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		panic(err) // our own values
	}
	return sim.Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: b.Bytes()}
}

func unauthorized(key string) *Error {
	if key == "" {
		return &Error{Status: http.StatusUnauthorized, Message: "No API key was sent. Put one in the Authorization header, as a bearer token or as the basic user name."}
	}
	return &Error{Status: http.StatusUnauthorized, Message: "Invalid API Key provided: " + masked(key)}
}

func masked(key string) string {
	if len(key) < 12 {
		return strings.Repeat("*", len(key))
	}
	return key[:8] + strings.Repeat("*", len(key)-12) + key[len(key)-4:]
}

// allows tells the permission a call needs and whether the key has it; write includes read.
func (g grant) allows(r *http.Request) (string, bool) {
	resource := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/"), "/")[0]
	if resource == "checkout" {
		resource = "checkout_session"
	}
	name := "rak_" + strings.TrimSuffix(strings.TrimSuffix(resource, "_endpoints"), "s")
	if r.Method == http.MethodGet {
		return name + "_read", !g.denied[name+"_read"]
	}
	return name + "_write", !g.denied[name+"_write"] && !g.denied[name+"_read"]
}
