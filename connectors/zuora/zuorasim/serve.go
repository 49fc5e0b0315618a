package zuorasim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tieline/connectors/sim"
)

// Error is a refusal; Zuora may send one with status 200.
type Error struct {
	Status  int
	Code    string
	Message string
	style   string
}

func (e *Error) Error() string { return e.Message }

func refuse(status, code int, format string, args ...any) *Error {
	return &Error{Status: status, Code: strconv.Itoa(code), Message: fmt.Sprintf(format, args...)}
}

// Codes: six digits of the resource, two of the category.
const (
	noRight   = 50000010
	badValue  = 50000020
	noField   = 50000022
	rule      = 50000030
	notThere  = 50000040
	internal  = 50000060
	temporary = 50000061
	tooMany   = 50000070
	badToken  = 90000011
)

// codes are those of the statuses that a fault may ask for.
var codes = map[int]int{400: badValue, 401: badToken, 403: noRight, 404: notThere, 409: rule, 422: rule, 429: tooMany, 500: internal, 503: temporary}

// refusal is an error as /v1 words it. code may be Zuora's own, with a status of 200, too.
func refusal(status int, code string) sim.Answer {
	if code == "" {
		code = strconv.Itoa(codes[status])
	}
	return render(status, (&Error{Status: status, Code: code, Message: "Refused: " + http.StatusText(status) + "."}).body())
}

func (e *Error) body() any {
	var code any = e.Code
	if n, err := strconv.Atoi(e.Code); err == nil {
		code = n
	}
	switch e.style {
	case "object":
		return map[string]any{"Success": false, "Errors": []any{map[string]any{"Code": "INVALID_VALUE", "Message": e.Message}}}
	case "events":
		return map[string]any{"reasons": []any{map[string]any{"code": "BadRequest", "message": e.Message}}}
	}
	return map[string]any{"success": false, "processId": "CBCFED6580B4E076", "reasons": []any{map[string]any{"code": code, "message": e.Message}}}
}

func render(status int, v any) sim.Answer {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own values
	}
	return sim.Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}, "Zuora-Request-Id": {newID()}}, Body: b}
}

// call is one request on its way through a resource. Sim.mu is held while it runs.
type call struct {
	sim     *Sim
	id      string // the {} of the path
	query   url.Values
	body    []byte
	now     time.Time
	version string
}

// route answers what run returns.
type route struct {
	method string
	path   []string
	run    func(*call) (any, error)
}

func (s *Sim) handle(method, path string, run func(*call) (any, error)) {
	s.routes = append(s.routes, route{method, strings.Split(path, "/"), run})
}

func (s *Sim) find(r *http.Request) (route, string, bool) {
	got := strings.Split(r.URL.EscapedPath(), "/")
next:
	for _, rt := range s.routes {
		if rt.method != r.Method || len(rt.path) != len(got) {
			continue
		}
		id := ""
		for i, want := range rt.path {
			if want == "{}" {
				id, _ = url.PathUnescape(got[i]) // a request's path is well escaped
			} else if want != got[i] {
				continue next
			}
		}
		return rt, id, true
	}
	return route{}, "", false
}

// serve is the protocol around every call: token, limits, key, route.
func (s *Sim) serve(r *http.Request) sim.Answer {
	if r.URL.Path == "/oauth/token" {
		return s.Commit(s.token)(r)
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	until, ok := s.tokens[token]
	s.flying++
	flying := s.flying
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.flying--
		s.mu.Unlock()
	}()
	now := s.Clock.Now()
	if !ok || now.After(until) {
		return refusal(http.StatusUnauthorized, "")
	}
	if len(s.entities) > 1 && r.Header.Get("Zuora-Entity-Ids") == "" {
		return render(http.StatusBadRequest, refuse(400, badValue, "Name an entity.").body())
	}
	if flying > s.atOnce || !s.limit.Take(now) {
		a := refusal(http.StatusTooManyRequests, "")
		a.Header.Set("Retry-After", "1")
		return a
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return refusal(http.StatusBadRequest, "")
	}
	rt, id, ok := s.find(r)
	if !ok {
		return render(http.StatusNotFound, map[string]string{"message": "no Route matched with those values"})
	}
	run := func(r *http.Request) sim.Answer {
		s.mu.Lock()
		defer s.mu.Unlock()
		c := &call{sim: s, id: id, query: r.URL.Query(), body: body, now: s.Clock.Now().UTC(), version: r.Header.Get("Zuora-Version")}
		out, err := rt.run(c)
		var e *Error
		switch {
		case errors.As(err, &e):
			if strings.HasPrefix(r.URL.Path, "/v1/object/") {
				e.style = "object"
			}
			if strings.HasPrefix(r.URL.Path, "/events/") || strings.HasPrefix(r.URL.Path, "/notifications/") {
				e.style = "events"
			}
			return render(e.Status, e.body())
		case err != nil:
			return refusal(http.StatusInternalServerError, "")
		}
		if out == nil {
			return sim.Answer{Status: http.StatusNoContent, Header: http.Header{"Zuora-Request-Id": {newID()}}}
		}
		return render(http.StatusOK, out)
	}
	return s.tells(s.keyed(r, body, s.Commit(run)), flying)
}

// tells puts into an answer what is left of the tenant's limits.
func (s *Sim) tells(a sim.Answer, flying int) sim.Answer {
	s.mu.Lock()
	o := s.others
	s.mu.Unlock()
	a.Header.Set("Concurrency-Limit-Type", "Default")
	a.Header.Set("Concurrency-Limit-Limit", strconv.Itoa(s.atOnce))
	a.Header.Set("Concurrency-Limit-Remaining", strconv.Itoa(max(s.atOnce-flying-o.Flying, 0)))
	if o.Reset > 0 {
		a.Header.Set("Ratelimit-Limit", "50000, 50000;w=60, 2250000;w=3600, 27000000;w=86400")
		a.Header.Set("Ratelimit-Remaining", strconv.Itoa(o.Left))
		a.Header.Set("Ratelimit-Reset", strconv.Itoa(int(o.Reset.Seconds())))
	}
	return a
}

// decode reads the body; a field that is not known is left out, as Zuora does.
func (c *call) decode(into any) error {
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return refuse(400, 50000090, "The body cannot be read: %v.", err)
	}
	for _, r := range string(c.body) {
		if r > 0xffff {
			return refuse(400, badValue, "Characters of four bytes are not taken.")
		}
	}
	return nil
}

// kept is what an idempotency key remembers.
type kept struct {
	what    string
	running bool
	answer  sim.Answer
}

// keyed answers a repeated key with the first answer, whatever that was. Only POST and PATCH take one.
func (s *Sim) keyed(r *http.Request, _ []byte, run sim.Handler) sim.Answer {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		return run(r)
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPatch {
		return refusal(http.StatusBadRequest, "")
	}
	what := r.Method + " " + r.URL.Path
	s.mu.Lock()
	k, known := s.keys[key]
	if !known {
		k = &kept{what: what, running: true}
		s.keys[key] = k
	}
	answer, running := k.answer, k.running
	s.mu.Unlock()
	switch {
	case known && k.what != what:
		return refusal(http.StatusUnprocessableEntity, "")
	case known && running:
		return refusal(http.StatusConflict, "")
	case known:
		answer.Header = answer.Header.Clone()
		return answer
	}
	a := run(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	k.answer, k.running = sim.Answer{Status: a.Status, Header: a.Header.Clone(), Body: a.Body}, false
	return a
}

// token gives an access token for client credentials, which are in the body.
func (s *Sim) token(r *http.Request) sim.Answer {
	body, _ := io.ReadAll(r.Body) // it has been read already
	form, err := url.ParseQuery(string(body))
	s.mu.Lock()
	defer s.mu.Unlock()
	secret, ok := s.clients[form.Get("client_id")]
	if err != nil || r.Method != http.MethodPost || !ok || secret != form.Get("client_secret") || form.Get("grant_type") != "client_credentials" || r.Header.Get("Authorization") != "" {
		return render(http.StatusUnauthorized, map[string]string{"message": "Unauthorized"})
	}
	token := newID() + newID()
	s.asked++
	s.tokens[token] = s.Clock.Now().Add(s.life)
	scope := "user.1"
	for _, e := range s.entities {
		scope += " entity." + e
	}
	return render(http.StatusOK, map[string]any{"access_token": token, "token_type": "bearer", "expires_in": s.life.Seconds() - 0.5, "scope": scope + " tenant.4711", "jti": newID()})
}
