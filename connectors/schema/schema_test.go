package schema

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/apd/v3"
	"github.com/google/go-cmp/cmp"
)

type address struct {
	Country string   `json:"country" title:"Country" enum:"US,IN"`
	Lines   []string `json:"lines,omitempty" maxLength:"2" pattern:"^[^;]*$"`
}

type audit struct {
	By string `json:"by,omitempty"`
}

type customer struct {
	audit2
	Name    string             `json:"name" doc:"Shown on invoices." label:"Name" example:"Acme" minLength:"2" maxLength:"5"`
	Email   *string            `json:"email" format:"email"`
	Amount  string             `json:"amount,omitempty" format:"decimal"`
	Exact   *apd.Decimal       `json:"exact"`
	Count   int                `json:"count,omitempty" min:"1" max:"10" example:"3"`
	Small   uint8              `json:"small,omitempty"`
	Key     string             `json:"key,omitempty" secret:"true" pattern:"^sk_"`
	At      time.Time          `json:"at,omitzero"`
	Address *address           `json:"address"`
	Many    []address          `json:"many,omitempty"`
	Labels  map[string]string  `json:"labels,omitempty"`
	Any     json.RawMessage    `json:"any,omitempty"`
	Free    map[string]any     `json:"free,omitempty"`
	Rates   map[string]float64 `json:"rates,omitempty"`
	Must    *bool              `json:"must" required:"true"`
	May     bool               `json:"may" required:"false"`
	Hidden  string             `json:"-"`
}

type audit2 = Audit

// Audit is embedded, so its fields are the customer's own.
type Audit audit

func TestJSON(t *testing.T) {
	t.Parallel()
	const want = `{"properties":{"by":{"type":"string"},` +
		`"name":{"type":"string","maxLength":5,"minLength":2,"title":"Name","description":"Shown on invoices.","examples":["Acme"]},` +
		`"email":{"type":"string","format":"email"},"amount":{"type":"string","format":"decimal"},"exact":{"type":"string","format":"decimal"},` +
		`"count":{"type":"integer","maximum":10,"minimum":1,"examples":[3]},"small":{"type":"integer","minimum":0},` +
		`"key":{"type":"string","pattern":"^sk_","writeOnly":true},"at":{"type":"string","format":"date-time"},` +
		`"address":{"properties":{"country":{"type":"string","enum":["US","IN"],"title":"Country"},"lines":{"items":{"type":"string","pattern":"^[^;]*$"},"type":"array","maxItems":2}},"additionalProperties":false,"type":"object","required":["country"]},` +
		`"many":{"items":{"properties":{"country":{"type":"string","enum":["US","IN"],"title":"Country"},"lines":{"items":{"type":"string","pattern":"^[^;]*$"},"type":"array","maxItems":2}},"additionalProperties":false,"type":"object","required":["country"]},"type":"array"},` +
		`"labels":{"additionalProperties":{"type":"string"},"type":"object"},"any":true,"free":{"type":"object"},` +
		`"rates":{"additionalProperties":{"type":"number"},"type":"object"},"must":{"type":"boolean"},"may":{"type":"boolean"}},` +
		`"additionalProperties":false,"type":"object","required":["name","must"]}`
	if diff := cmp.Diff(want, string(Of[customer]().JSON())); diff != "" {
		t.Error(diff)
	}
	if first, second := Of[customer](), Of[customer](); first != second {
		t.Error("derived twice")
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][]Problem{
		`{"name": "Acme", "must": true}`: nil,
		`{"name": "Acme", "must": true, "email": null, "address": null, "count": 2.0, "any": {"x": null}, "free": {"y": [1]}, "labels": {"a": "b"}}`: nil,
		`{"name": null, "must": true}`: {{[]string{"name"}, "TYPE", "Name must be text, not empty."}},
		`{"adress": {}, "address": {"country": "XX", "lines": ["a;b", "c", "d"]}, "many": [{}, {"country": 5}]}`: {
			{[]string{"address", "country"}, "ENUM", `Country must be one of "US", "IN", not "XX".`},
			{[]string{"address", "lines"}, "LENGTH", `"lines" must have at most 2 items, not 3.`},
			{[]string{"address", "lines", "0"}, "PATTERN", `Item 0 of "lines" must match the pattern ^[^;]*$; "a;b" does not.`},
			{[]string{"adress"}, "UNKNOWN", `There is no field "adress" here; it can have address, amount, any, at, by, count, email, exact, free, key, labels, many, may, must, name, rates, small.`},
			{[]string{"many", "0", "country"}, "REQUIRED", "Country is required."},
			{[]string{"many", "1", "country"}, "TYPE", "Country must be text, not a number."},
			{[]string{"must"}, "REQUIRED", `"must" is required.`},
			{[]string{"name"}, "REQUIRED", "Name is required."},
		},
		`{"must": 1, "name": "A", "amount": "1,5", "exact": "NaN", "email": "x", "count": 11, "at": "today", "rates": {"a": "b"}, "small": -1}`: {
			{[]string{"amount"}, "FORMAT", `"amount" must be a decimal number such as 12.50, not "1,5".`},
			{[]string{"at"}, "FORMAT", `"at" must be a date and time such as 2026-01-31T12:00:00Z, not "today".`},
			{[]string{"count"}, "RANGE", `"count" must be at most 10, not 11.`},
			{[]string{"email"}, "FORMAT", `"email" must be an e-mail address, not "x".`},
			{[]string{"exact"}, "FORMAT", `"exact" must be a decimal number such as 12.50, not "NaN".`},
			{[]string{"must"}, "TYPE", `"must" must be true or false, not a number.`},
			{[]string{"name"}, "LENGTH", "Name must have at least 2 characters, not 1."},
			{[]string{"rates", "a"}, "TYPE", `"a" must be a number, not text.`},
			{[]string{"small"}, "RANGE", `"small" must be at least 0, not -1.`},
		},
		`{"must": true, "name": "Acme", "key": "hunter2"}`: {
			{[]string{"key"}, "PATTERN", `"key" must match the pattern ^sk_; what was given does not.`},
		},
		`{"must": true, "name": "Acme", "count": 1e999999999, "any": [1e-999999999]}`: {
			{[]string{"any", "0"}, "RANGE", "This number is too large or too long."},
			{[]string{"count"}, "RANGE", "This number is too large or too long."},
		},
		`[]`:    {{nil, "TYPE", "This must be an object, not a list."}},
		``:      {{nil, "INVALID", "This is not JSON: it is empty."}},
		`{} {}`: {{nil, "INVALID", "This is not JSON: something follows the value."}},
	} {
		t.Run(value[:min(30, len(value))], func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(want, Of[customer]().Validate([]byte(value))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestValidateGoValues(t *testing.T) {
	t.Parallel()
	yes := true
	for name, value := range map[string]any{
		"struct": customer{Name: "Acme", Must: &yes, Exact: apd.New(125, -1)},
		"map":    map[string]any{"name": "Acme", "must": true, "count": int64(3), "small": 2.0},
	} {
		if problems := Of[customer]().Validate(value); problems != nil {
			t.Errorf("%s: %v", name, problems)
		}
	}
	if problems := Of[customer]().Validate(math.NaN()); len(problems) != 1 {
		t.Errorf("NaN: %v", problems)
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	var c customer
	err := Of[customer]().Decode([]byte(`{"name":"Acme","must":true,"count":3.0,"email":null,"exact":"1.50","free":{"id":12345678901234567890}}`), &c)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "Acme" || c.Count != 3 || c.Email != nil || c.Exact.Text('f') != "1.50" || c.Free["id"] != json.Number("12345678901234567890") {
		t.Errorf("decoded %+v", c)
	}
	var problems Problems
	for _, raw := range []string{`{"name":"Acme"}`, `{"name":"Acme","must":true,"small":256}`, `{"name":"Acme","must":true,"other":1}`} {
		if err := Of[customer]().Decode([]byte(raw), &c); !errors.As(err, &problems) || len(problems) != 1 {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestBadTypesPanic(t *testing.T) {
	t.Parallel()
	type self struct{ Next []*self }
	for name, derive := range map[string]func(){
		"recursive": func() { Of[self]() },
		"channel":   func() { Of[struct{ C chan int }]() },
		"enum": func() {
			Of[struct {
				N int `enum:"a"`
			}]()
		},
		"bound": func() {
			Of[struct {
				N int `min:"x"`
			}]()
		},
		"required": func() {
			Of[struct {
				N int `required:"maybe"`
			}]()
		},
		"pattern": func() {
			Of[struct {
				S string `pattern:"("`
			}]()
		},
	} {
		func() {
			defer func() {
				if r := recover(); r == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			derive()
		}()
	}
}

func TestScalarsAndMaps(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		string(Of[[]int]().JSON()):        `{"items":{"type":"integer"},"type":"array"}`,
		string(Of[map[int]uint]().JSON()): `{"patternProperties":{"^[0-9]+$":{"type":"integer"}},"additionalProperties":false,"type":"object"}`,
		string(Of[any]().JSON()):          `true`,
		string(Of[struct{}]().JSON()):     `{"properties":{},"additionalProperties":false,"type":"object"}`,
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestParseReachesNothing(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{`{"$ref":"file:///etc/passwd"}`, `{"$ref":"http://127.0.0.1/x"}`, `{"type":"nonsense"}`, `{`} {
		if _, err := Parse(json.RawMessage(raw)); err == nil {
			t.Errorf("%s compiles", raw)
		}
	}
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if problems := Of[customer]().Validate([]byte(`{"x":1}`)); len(problems) != 3 {
					t.Errorf("%v", problems)
				}
			}
		})
	}
	wg.Wait()
}

func TestWith(t *testing.T) {
	t.Parallel()
	s := Of[struct {
		Name   string            `json:"name"`
		Fields map[string]string `json:"fields,omitempty"`
		Last   int               `json:"last"`
	}]()
	with, err := s.With("fields", json.RawMessage(`{"type":"object","required":["a"],"additionalProperties":false,"properties":{"a":{"type":"string"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for value, fits := range map[string]bool{`{"name":"n","last":1}`: true, `{"name":"n","last":1,"fields":{"a":"x"}}`: true, `{"name":"n","last":1,"fields":{"b":"x"}}`: false, `{"fields":{"a":"x"}}`: false} {
		if got := len(with.Validate([]byte(value))) == 0; got != fits {
			t.Errorf("%s fits: %v", value, got)
		}
	}
	if text := string(with.JSON()); strings.Index(text, `"fields"`) > strings.Index(text, `"last"`) {
		t.Errorf("its place is another: %s", text)
	}
	if _, err := s.With("nothing", json.RawMessage("{}")); err == nil {
		t.Error("a property that is not there")
	}
}

func FuzzValidate(f *testing.F) {
	for _, s := range []string{`{"name":"Acme","must":true}`, `{"address":{"lines":[1]}}`, `{"count":1e400}`, `{"0":{"a":[]}}`, `{"key":"hunter2"}`, `[[`} {
		f.Add(s)
	}
	s := Of[customer]()
	f.Fuzz(func(t *testing.T, raw string) {
		var c customer
		problems := s.Validate([]byte(raw))
		err := s.Decode([]byte(raw), &c)
		if len(problems) > 0 && err == nil {
			t.Errorf("%q decodes in spite of %v", raw, problems)
		}
		for _, p := range problems {
			if !strings.HasSuffix(p.Message, ".") {
				t.Errorf("%q: %q", raw, p.Message)
			}
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	s := Of[customer]()
	for b.Loop() {
		s.Validate([]byte(`{"name":"Acme","must":true,"address":{"country":"US","lines":["a"]}}`))
	}
}
