package zohobookssim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"tieline/connectors/sim"
)

// Error is a refusal.
type Error struct {
	Status, Code int
	Message      string
}

func (e *Error) Error() string { return e.Message }

func refuse(status, code int, format string, args ...any) *Error {
	return &Error{status, code, fmt.Sprintf(format, args...)}
}

// Zoho's codes.
const (
	badValue     = 2
	tooMany      = 44
	dayOver      = 45
	badToken     = 57
	badURL       = 5
	badMethod    = 37
	internal     = 1000
	taken        = 1001
	notThere     = 1002
	inProcess    = 1070
	nameTaken    = 3062
	notInside    = 6041
	missingField = 4
)

// codes are those of the statuses that a fault may ask for.
var codes = map[int]int{400: badValue, 401: badToken, 404: notThere, 405: badMethod, 429: tooMany}

// refusal is an error as the API words it. code may be one of Zoho's.
func refusal(status int, code string) sim.Answer {
	n, err := strconv.Atoi(code)
	if err != nil {
		if n = codes[status]; n == 0 {
			n = internal
		}
	}
	return (&Error{status, n, "Refused: " + http.StatusText(status) + "."}).answer()
}

func (e *Error) answer() sim.Answer {
	return plain(e.Status, map[string]any{"code": e.Code, "message": e.Message})
}

// call is one request on its way through a resource. Sim.mu is held while it runs.
type call struct {
	sim   *Sim
	org   *Organization
	id    string // the {} of the path
	query url.Values
	body  []byte
	now   time.Time
}

// reply is what a resource answers; status 0 is 200.
type reply struct {
	status  int
	message string
	fields  map[string]any
}

type route struct {
	method string
	path   []string
	scope  string // contacts
	run    func(*call) (reply, error)
}

func (s *Sim) handle(method, path, scope string, run func(*call) (reply, error)) {
	s.routes = append(s.routes, route{method, strings.Split("/books/v3"+path, "/"), scope, run})
}

func (s *Sim) find(r *http.Request) (found route, id string, there, other bool) {
	got := strings.Split(r.URL.Path, "/")
next:
	for _, rt := range s.routes {
		if len(rt.path) != len(got) {
			continue
		}
		of := ""
		for i, want := range rt.path {
			if want == "{}" {
				of = got[i]
			} else if want != got[i] {
				continue next
			}
		}
		if rt.method == r.Method {
			return rt, of, true, false
		}
		other = true
	}
	return route{}, "", false, other
}

// verbs are what a scope must allow for a method.
var verbs = map[string]string{"GET": "READ", "POST": "CREATE", "PUT": "UPDATE", "DELETE": "DELETE"}

// serve is the protocol around every call: token, scope, organization, limits, route.
func (s *Sim) serve(r *http.Request) sim.Answer {
	access, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Zoho-oauthtoken ")
	s.mu.Lock()
	t := s.tokens[access]
	s.flying++
	flying := s.flying
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.flying--
		s.mu.Unlock()
	}()
	now := s.Clock.Now()
	unauthorized := refuse(http.StatusUnauthorized, badToken, "You are not authorized to perform this operation").answer()
	if !ok || t == nil || now.After(t.until) {
		return unauthorized
	}
	rt, id, there, other := s.find(r)
	switch {
	case other:
		return refusal(http.StatusMethodNotAllowed, "")
	case !there:
		return refuse(http.StatusNotFound, badURL, "Invalid URL Passed").answer()
	case rt.scope != "" && !slices.Contains(t.of.scopes, "ZohoBooks."+rt.scope+".ALL") && !slices.Contains(t.of.scopes, "ZohoBooks."+rt.scope+"."+verbs[r.Method]):
		return unauthorized
	case flying > s.atOnce:
		return refuse(http.StatusTooManyRequests, inProcess, "The maximum number of in process requests for your organization has been exceeded.").answer()
	case !s.limit.Take(now):
		return refuse(http.StatusTooManyRequests, tooMany, "You have made too many requests within one minute.").answer()
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return refusal(http.StatusBadRequest, "")
	}
	c := &call{sim: s, id: id, query: r.URL.Query(), body: body, now: now.UTC()}
	run := func(*http.Request) sim.Answer {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := c.enter(rt); err != nil {
			return err.answer()
		}
		out, err := rt.run(c)
		var e *Error
		switch {
		case errors.As(err, &e):
			return e.answer()
		case err != nil:
			return refusal(http.StatusInternalServerError, "")
		}
		return s.render(out)
	}
	if r.Method == http.MethodGet {
		return run(r)
	}
	return s.Commit(run)(r)
}

// enter finds the organization. Sim.mu is held.
func (c *call) enter(rt route) *Error {
	if rt.scope == "" || strings.HasPrefix(strings.Join(rt.path, "/"), "/books/v3/organizations") {
		return nil
	}
	want := c.query.Get("organization_id")
	for _, o := range c.sim.organizations {
		if o.ID == want && o.Active {
			c.org = o
			return nil
		}
	}
	if want == "" {
		return refuse(http.StatusBadRequest, badValue, "Invalid value passed for organization_id")
	}
	return refuse(http.StatusBadRequest, notInside, "This user is not associated with the CompanyID/CompanyName:%s.", want)
}

var ids = regexp.MustCompile(`"([a-z_]*_id)":"(\d+)"`)

func (s *Sim) render(out reply) sim.Answer {
	body := map[string]any{"code": 0, "message": "success"}
	if out.message != "" {
		body["message"] = out.message
	}
	for k, v := range out.fields {
		body[k] = v
	}
	if out.status == 0 {
		out.status = http.StatusOK
	}
	a := plain(out.status, body)
	if s.numeric {
		a.Body = ids.ReplaceAll(a.Body, []byte(`"$1":$2`))
	}
	return a
}

// decode reads the body; a field that is not known is left out.
func (c *call) decode(into any) error {
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return refuse(http.StatusBadRequest, badValue, "Invalid JSON: %v", err)
	}
	return nil
}

// listed is a page of rows.
func (c *call) listed(key string, rows []map[string]any) (reply, error) {
	at, size := number(c.query.Get("page"), 1), number(c.query.Get("per_page"), 10)
	if size > 200 {
		size = 200
	}
	from := min((at-1)*size, len(rows))
	until := min(from+size, len(rows))
	more := until < len(rows) || c.sim.extra && until-from == size
	return reply{fields: map[string]any{
		key: append([]map[string]any{}, rows[from:until]...), "page_context": map[string]any{
			"page": at, "per_page": size, "has_more_page": more, "report_name": key, "applied_filter": "Status.All", "sort_column": "created_time", "sort_order": "D",
		},
	}}, nil
}

func number(text string, otherwise int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return otherwise
	}
	return n
}

// stamp is how Zoho writes a time.
func stamp(t time.Time) string { return t.Format("2006-01-02T15:04:05-0700") }
