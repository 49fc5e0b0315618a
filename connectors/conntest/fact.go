package conntest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"tieline/connectors"
)

// Fact is one operation as the vendor's specification has it, as far as we use it. In what is asked, names with a star
// must be there; a dotted one where what holds it is there; one with a tilde is documented elsewhere. In the answer, each field has a type, and a question mark where
// it may be null; a field is there in each item of a list.
type Fact struct {
	Method string `json:"method"`
	Path   string `json:"path"` // {} stands for one id
	Status int    `json:"status"`
	Query  string `json:"query,omitempty"`
	Body   string `json:"body,omitempty"`
	Answer string `json:"answer,omitempty"` // id:string data.amount:integer?
}

// Facts reads a table of them.
func Facts(t *testing.T, file string) (all []Fact) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

// Exchange is one call with its answer.
type Exchange struct {
	Method, Path, Query string
	Header              http.Header
	Body                []byte
	Status              int // 0 when no answer came
	Answer              []byte
}

// Tape keeps the calls of connections.
type Tape struct {
	mu  sync.Mutex
	all []Exchange
}

// Record keeps what a connection sends and is answered.
func (t *Tape) Record(c connectors.Conn) connectors.Conn {
	c.HTTP.Transport = recorder{c.HTTP.Transport, t}
	return c
}

// Exchanges are all that were kept.
func (t *Tape) Exchanges() []Exchange {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.all)
}

type recorder struct {
	base http.RoundTripper
	tape *Tape
}

func (r recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	x := Exchange{Method: q.Method, Path: q.URL.EscapedPath(), Query: q.URL.RawQuery, Header: q.Header.Clone()}
	if q.Body != nil {
		x.Body, _ = io.ReadAll(q.Body)
		q.Body = io.NopCloser(bytes.NewReader(x.Body))
	}
	res, err := r.base.RoundTrip(q)
	if err == nil {
		x.Status = res.StatusCode
		x.Answer, _ = io.ReadAll(res.Body)
		res.Body = io.NopCloser(bytes.NewReader(x.Answer))
	}
	r.tape.mu.Lock()
	defer r.tape.mu.Unlock()
	r.tape.all = append(r.tape.all, x)
	return res, err
}

// CheckFacts has every call be one of the table, with what it must have and nothing that is unknown, and every answer of the
// simulator have what the vendor's has. Nothing in the table may be unused.
func CheckFacts(t *testing.T, table []Fact, calls []Exchange) {
	t.Helper()
	used := map[string]bool{}
	for _, x := range calls {
		i := slices.IndexFunc(table, func(f Fact) bool { return f.is(x) })
		if i < 0 {
			t.Errorf("%s %s is not in the table", x.Method, x.Path)
			continue
		}
		f := table[i]
		used[f.name()] = true
		query, err := url.ParseQuery(x.Query)
		if err != nil {
			t.Fatal(err)
		}
		asked := map[string]map[string]any{"query": form(query), "body": x.body(t)}
		for what, given := range asked {
			names := map[string]string{"query": f.Query, "body": f.Body}[what]
			for _, p := range problems(names, given) {
				t.Errorf("%s: %s, in %s %s", f.name(), p, what, x.Query+string(x.Body))
			}
			for name := range given {
				used[f.name()+" "+what+" "+name] = true
			}
		}
		if x.Status < 200 || x.Status > 299 {
			continue
		}
		if x.Status != f.Status {
			t.Errorf("%s answers %d, documented is %d", f.name(), x.Status, f.Status)
		}
		var answer any
		if len(x.Answer) > 0 && json.Unmarshal(x.Answer, &answer) != nil {
			t.Errorf("%s answers %s", f.name(), x.Answer)
		}
		for field := range strings.FieldsSeq(f.Answer) {
			path, kind, _ := strings.Cut(field, ":")
			if wrong := lacks(answer, strings.Split(path, "."), kind); wrong != "" {
				t.Errorf("%s: the simulator's answer: %s %s", f.name(), path, wrong)
			}
		}
	}
	for _, f := range table {
		if !used[f.name()] {
			t.Errorf("%s was not tried", f.name())
		}
		for what, names := range map[string]string{"query": f.Query, "body": f.Body} {
			for name := range strings.FieldsSeq(names) {
				name = strings.TrimSuffix(strings.TrimRight(name, "*~"), "[]")
				if used[f.name()] && !strings.Contains(name, ".") && !used[f.name()+" "+what+" "+name] {
					t.Errorf("%s: %s is in the table and was not tried", f.name(), name)
				}
			}
		}
	}
}

func (f Fact) name() string { return f.Method + " " + f.Path }

// is says whether a call is the one that a fact is about. A path without ids goes before one with.
func (f Fact) is(x Exchange) bool {
	want, got := strings.Split(f.Path, "/"), strings.Split(x.Path, "/")
	if f.Method != x.Method || len(want) != len(got) {
		return false
	}
	for i, s := range want {
		if s != got[i] && s != "{}" {
			return false
		}
	}
	return true
}

// body are the fields of a body: a form's by their first names, or JSON's.
func (x Exchange) body(t *testing.T) map[string]any {
	t.Helper()
	if len(x.Body) == 0 {
		return nil
	}
	if strings.HasPrefix(x.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		values, err := url.ParseQuery(string(x.Body))
		if err != nil {
			t.Fatal(err)
		}
		return form(values)
	}
	var body map[string]any
	if err := json.Unmarshal(x.Body, &body); err != nil {
		t.Fatalf("%s %s: %v in %s", x.Method, x.Path, err, x.Body)
	}
	return body
}

func form(values url.Values) map[string]any {
	out := map[string]any{}
	for name := range values {
		name, _, _ = strings.Cut(name, "[")
		out[name] = true
	}
	return out
}

// problems are what is asked without being known, and what is missing.
func problems(names string, given map[string]any) (out []string) {
	known := map[string]bool{}
	for name := range strings.FieldsSeq(names) {
		plain, must := strings.CutSuffix(name, "*")
		known[strings.TrimSuffix(strings.TrimSuffix(plain, "~"), "[]")] = true
		// A token to go on with stands for all that was asked for at first.
		if must && given["nextToken"] == nil && lacks(any(given), strings.Split(plain, "."), "any?") != "" {
			out = append(out, "it lacks "+plain)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !known[name] {
			out = append(out, "it has "+name)
		}
	}
	return out
}

// lacks says what is wrong with a field, in each item of a list, wherever what holds it is.
func lacks(v any, steps []string, kind string) string {
	if list, ok := v.([]any); ok {
		for _, item := range list {
			if wrong := lacks(item, steps, kind); wrong != "" {
				return wrong
			}
		}
		return ""
	}
	object, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	below, there := object[steps[0]]
	switch {
	case !there && len(steps) == 1:
		return "is missing"
	case !there:
		return ""
	case len(steps) > 1:
		return lacks(below, steps[1:], kind)
	}
	kind, nullable := strings.CutSuffix(kind, "?")
	if got := kindOf(below); !(kind == "any" && got != "null" || kind == got || got == "null" && nullable || kind == "number" && got == "integer") {
		return fmt.Sprintf("is %s, want %s", got, kind)
	}
	return ""
}

// kindOf is what JSON Schema calls a value.
func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}
