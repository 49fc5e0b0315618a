package expr

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// order is a schema with one of everything.
const order = `{"type": "object", "additionalProperties": false, "required": ["id", "name", "amount", "total", "count", "paid", "lines", "tags", "address", "meta"], "properties": {
	"id": {"type": "string"}, "name": {"type": "string", "description": "Who ordered."}, "note": {"type": "string"},
	"amount": {"type": "string", "format": "decimal"}, "total": {"type": "number"}, "count": {"type": "integer"}, "paid": {"type": "boolean"},
	"lines": {"type": "array", "items": {"type": "object", "additionalProperties": false, "required": ["sku", "price", "quantity"], "properties": {
		"sku": {"type": "string"}, "price": {"type": "string", "format": "decimal"}, "quantity": {"type": "number"}}}},
	"tags": {"type": "array", "items": {"type": "string"}}, "amounts": {"type": "array", "items": {"type": "string", "format": "decimal"}},
	"address": {"type": "object", "additionalProperties": false, "required": ["city"], "properties": {"city": {"type": "string"}, "country": {"type": "string"}}},
	"meta": {"type": "object", "additionalProperties": {"type": "string"}}, "free": {}}}`

const orderValue = `{"id": "o1", "name": "Ann", "amount": "12.50", "total": 12.5, "count": 3, "paid": true, "lines": [{"sku": "a", "price": "0.10", "quantity": 2}, {"sku": "b", "price": "0.20", "quantity": 1.5}],
	"tags": ["x", "y"], "amounts": ["1.5", "2"], "address": {"city": "Ulm"}, "meta": {"k": "v"}, "free": [1, null]}`

func typedScope(t testing.TB) *Scope {
	t.Helper()
	shape, err := ShapeOf(json.RawMessage(order))
	if err != nil {
		t.Fatal(err)
	}
	s, err := TypedScope(map[string]*Shape{"trigger": shape, "steps": ObjectOf(map[string]*Shape{"first": shape}), "params": {Kind: Map}, "run": {Kind: Any}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func typedEnv(t testing.TB) Env {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(orderValue), &v); err != nil {
		t.Fatal(err)
	}
	return Env{Vars: map[string]any{"trigger": v, "steps": map[string]any{"first": v}, "params": map[string]any{"p": "q"}, "run": map[string]any{}},
		Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Mapped: testEnv().Mapped}
}

func TestTypedRender(t *testing.T) {
	t.Parallel()
	scope, env := typedScope(t), typedEnv(t)
	for source, want := range map[string]any{
		"trigger.amount": "12.50", "trigger.amount + decimal('0.1')": "12.60", "trigger.amount * 2": "25.00", "-trigger.amount": "-12.50",
		"trigger.amount > 12 && trigger.amount >= decimal('12.5') && trigger.amount == decimal('12.500')": true,
		"trigger.lines.map(l, l.price * int(l.quantity))[0]":                                              "0.20",
		"trigger.amounts[0] + trigger.amounts[1]":                                                         "3.5",
		"decimal('10').dividedBy(3, 2)":                                                                   "3.33",
		"decimal('2.345').round(2)":                                                                       "2.34",
		"decimal('0.1') + decimal('0.2') == decimal('0.3')":                                               true,
		"minor(trigger.amount, 'USD')":                                                                    int64(1250),
		"major(1250, 'USD') + trigger.amount":                                                             "25.00",
		"double(trigger.amount) > 0.0 && trigger.total > 0 && trigger.count + 1.0 == 4.0":                 true,
		"string(trigger.amount) + '!'":                                                                    "12.50!",
		"has(trigger.note) || has(trigger.address.country)":                                               false,
		"coalesce(trigger.note, trigger.address.country, trigger.name)":                                   "Ann",
		"trigger.?note.orValue('none')":                                                                   "none",
		"trigger.meta.k + trigger.meta['k']":                                                              "vv",
		"trigger.lines.filter(l, l.price > decimal('0.1')).map(l, l.sku).join('')":                        "b",
		"steps.first.address.city":                                                                        "Ulm",
		"day(now()) + day('2026-01-31T23:00:00-05:00')":                                                   "2026-03-012026-02-01",
		"encodeURL('a b&c')":                                                                              "a+b%26c",
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			compiled, problems := Compile("{{ "+source+" }}", scope)
			if problems != nil {
				t.Fatalf("%+v", problems)
			}
			if got, err := compiled.Render(t.Context(), env); err != nil || got != want {
				t.Errorf("got %#v, %v; want %#v", got, err, want)
			}
		})
	}
}

func TestTypedProblems(t *testing.T) {
	t.Parallel()
	scope := typedScope(t)
	for source, says := range map[string]string{
		"trigger.nmae":                 `There is no "nmae" in trigger; did you mean "name"?`,
		"trigger.address.citty":        `There is no "citty" in trigger.address; did you mean "city"?`,
		"trigger.lines.map(l, l.skuu)": `There is no "skuu" in l; did you mean "sku"?`,
		"trigger.lines.filter(x, x.sku == 'a').map(l, l.prize)": `There is no "prize" in l; did you mean "price"?`,
		"trigger.lines[0].zzz":            `There is no "zzz" in trigger.lines[]; it has price, quantity, sku.`,
		"steps.frist.id":                  `There is no "frist" in steps; did you mean "first"?`,
		"item.x":                          `Only a step with forEach has an "item"`,
		"trigger.amount + 0.1":            "amounts are exact",
		"trigger.amount == '12.50'":       "does not work with",
		"trigger.amount > trigger.total":  "amounts are exact",
		"trigger.name + 1":                `"+" does not work with (string, int)`,
		"trigger.address + 'x'":           `(trigger.address, string)`,
		"trigger.paid ? trigger.name : 1": "Both outcomes",
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			_, problems := Compile("{{ "+source+" }}", scope)
			if len(problems) == 0 || !strings.Contains(problems[0].Message, says) || problems[0].Column < 4 {
				t.Errorf("%+v does not say %q", problems, says)
			}
		})
	}
}

func TestMisfits(t *testing.T) {
	t.Parallel()
	scope := typedScope(t)
	want, err := ShapeOf(json.RawMessage(order))
	if err != nil {
		t.Fatal(err)
	}
	whole := func(more map[string]any) map[string]any {
		doc := map[string]any{"id": "x", "name": "x", "amount": "1.5", "total": 1.5, "count": 2.0, "paid": true, "lines": []any{}, "tags": []any{}, "address": map[string]any{"city": "x"}, "meta": map[string]any{}}
		for k, v := range more {
			doc[k] = v
		}
		return doc
	}
	for name, test := range map[string]struct {
		doc  any
		says string // empty: it fits
	}{
		"whole":                  {whole(nil), ""},
		"of expressions":         {whole(map[string]any{"name": "{{ trigger.name }}", "amount": "{{ trigger.amount }}", "count": "{{ size(trigger.lines) }}", "lines": "{{ trigger.lines }}", "address": "{{ trigger.address }}"}), ""},
		"decimal as text":        {whole(map[string]any{"name": "{{ trigger.amount }}", "amount": "{{ trigger.name }}"}), ""},
		"a coalesce":             {whole(map[string]any{"name": "{{ coalesce(trigger.note, mapped(trigger.id, 'a', 'b'), null) }}"}), ""},
		"made by map":            {whole(map[string]any{"lines": "{{ trigger.lines.map(l, {'sku': l.sku, 'price': l.price, 'quantity': 1}) }}"}), ""},
		"null left out":          {whole(map[string]any{"note": nil}), ""},
		"null where needed":      {whole(map[string]any{"name": nil}), `"name" is needed`},
		"null expression needed": {whole(map[string]any{"name": "{{ null }}"}), "This must be text, and is nothing"},
		"number for text":        {whole(map[string]any{"name": "{{ trigger.total }}"}), "write string(…)"},
		"number for amount":      {whole(map[string]any{"amount": 1.5}), "This must be an amount"},
		"word for amount":        {whole(map[string]any{"amount": "lots"}), "such as 12.50"},
		"text for list":          {whole(map[string]any{"tags": "{{ trigger.name }}"}), "must be a list of text, and is text"},
		"list of the wrong":      {whole(map[string]any{"tags": "{{ trigger.lines.map(l, l.quantity) }}"}), "must be text, and is a number"},
		"coalesce of the wrong":  {whole(map[string]any{"name": "{{ coalesce(trigger.total, 1) }}"}), "must be text"},
		"unknown field":          {whole(map[string]any{"nmae": "x"}), `did you mean "name"?`},
		"unknown in made":        {whole(map[string]any{"lines": "{{ trigger.lines.map(l, {'sku': l.sku, 'price': l.price, 'quantity': 1, 'prise': 1}) }}"}), `"[].prise"; did you mean "price"?`},
		"missing in made":        {whole(map[string]any{"lines": "{{ [{'sku': 'a'}] }}"}), `"[].price" is needed`},
		"fraction for whole":     {whole(map[string]any{"count": 1.5}), "must be a whole number"},
		"text of parts":          {whole(map[string]any{"paid": "{{ trigger.paid }}!"}), "must be true or false, and is text"},
		"problem and misfit":     {whole(map[string]any{"name": "{{ trigger.nmae }}", "paid": "yes"}), "must be true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, bad := CompileFor(test.doc, scope, want)
			said := ""
			for _, p := range bad {
				said += p.Message + "\n"
			}
			if (test.says == "") != (len(bad) == 0) || !strings.Contains(said, test.says) {
				t.Errorf("%+v, want %q", bad, test.says)
			}
		})
	}
}

// TestUnknown: what only a run will know is borne, and what does not read it is as it is.
func TestUnknown(t *testing.T) {
	t.Parallel()
	scope, env := typedScope(t).Partial(), typedEnv(t)
	env.Unknown = []string{"steps.first.id", "steps.first.lines"}
	for source, want := range map[string]string{
		"{{ steps.first.id }}": "unknown", "a {{ steps.first.id }}": "unknown", "{{ steps.first.name }}": "Ann", "{{ trigger.id + steps.first.id }}": "unknown",
		"{{ coalesce(steps.first.id, 'x') }}": "unknown", "{{ coalesce(trigger.id, steps.first.id) }}": "o1", "{{ steps.first.lines.map(l, l.sku) }}": "unknown",
		"{{ {'a': steps.first.id} }}": "unknown", "{{ trigger.paid || steps.first.id == 'x' }}": "true", "{{ [1].map(x, steps.first.id) }}": "unknown", "{{ size(steps.first.id) > 0 }}": "unknown",
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			compiled, problems := Compile(source, scope)
			if problems != nil {
				t.Fatal(problems)
			}
			v, err := compiled.Render(t.Context(), env)
			got := fmt.Sprint(v)
			if _, ok := v.(UnknownValue); ok {
				got = "unknown"
			}
			if err != nil || got != want {
				t.Errorf("got %s, %v; want %s", got, err, want)
			}
		})
	}
	c, problems := CompileCondition("steps.first.id == 'x'", scope)
	if problems != nil {
		t.Fatal(problems)
	}
	if _, err := c.Eval(t.Context(), env); !errors.Is(err, ErrUnknown) {
		t.Errorf("a condition: %v", err)
	}
}

// maker makes expressions of a kind at random.
type maker struct{ *rand.Rand }

func (m maker) pick(of ...string) string { return of[m.IntN(len(of))] }

func (m maker) expression(k Kind, depth int) string {
	sub := func(k Kind) string { return m.expression(k, depth-1) }
	if depth == 0 {
		switch k {
		case Text:
			return m.pick("trigger.name", "trigger.id", "'x'", "trigger.address.city", "trigger.lines[0].sku", "steps.first.name", "trigger.meta.k", `"a}}b"`)
		case Decimal:
			return m.pick("trigger.amount", "trigger.lines[1].price", "decimal('0.5')", "trigger.amounts[0]")
		case Number:
			return m.pick("trigger.total", "1.5", "double(size(trigger.tags))")
		case Whole:
			return m.pick("1", "size(trigger.lines)", "int(trigger.count)")
		case Bool:
			return m.pick("trigger.paid", "true", "has(trigger.note)")
		}
		return m.pick("trigger.tags", "['a']", "trigger.lines.map(l, l.sku)")
	}
	if m.IntN(4) == 0 {
		return "(" + sub(Bool) + " ? " + sub(k) + " : " + sub(k) + ")"
	}
	switch k {
	case Text:
		switch m.IntN(6) {
		case 0:
			return "(" + sub(Text) + " + " + sub(Text) + ")"
		case 1:
			return "string(" + sub(m.kind(Decimal, Number, Whole, Bool)) + ")"
		case 2:
			return "coalesce(" + sub(Text) + ", " + sub(Text) + ")"
		case 3:
			return sub(List) + ".join('-')"
		case 4:
			return "day(now())"
		}
		return sub(Text) + ".lowerAscii()"
	case Decimal:
		return m.pick("("+sub(Decimal)+" + "+sub(Decimal)+")", "("+sub(Decimal)+" * "+sub(Whole)+")", sub(Decimal)+".round(1)", "major("+sub(Whole)+", 'USD')")
	case Number:
		return m.pick("("+sub(Number)+" + "+sub(Number)+")", "("+sub(Number)+" * 2.0)")
	case Whole:
		return m.pick("size("+sub(List)+")", "("+sub(Whole)+" + "+sub(Whole)+")", "size("+sub(Text)+")")
	case Bool:
		return m.pick("("+sub(Decimal)+" > "+sub(Whole)+")", "("+sub(Text)+" == "+sub(Text)+")", "("+sub(Bool)+" && "+sub(Bool)+")", "!"+sub(Bool), "("+sub(Number)+" <= "+sub(Whole)+")", sub(List)+".exists(t, t == "+sub(Text)+")")
	}
	return m.pick(sub(List)+".map(t, t + "+sub(Text)+")", "("+sub(List)+" + "+sub(List)+")", sub(List)+".filter(t, "+sub(Bool)+")")
}

func (m maker) kind(of ...Kind) Kind { return of[m.IntN(len(of))] }

// is tells whether a value is what its shape has promised.
func is(v any, s *Shape) bool {
	if s == nil {
		return true
	}
	switch s.Kind {
	case Text:
		_, ok := v.(string)
		return ok
	case Decimal:
		text, _ := v.(string)
		_, err := newDecimal(text)
		return err == nil
	case Number, Whole:
		f, ok := float(v)
		return ok && (s.Kind == Number || f == float64(int64(f)))
	case Bool:
		_, ok := v.(bool)
		return ok
	case List:
		l, ok := v.([]any)
		for _, item := range l {
			ok = ok && is(item, s.Items)
		}
		return ok
	case Object, Map:
		_, ok := v.(map[string]any)
		return ok
	case nothing:
		return v == nil
	}
	return true
}

// TestTypesAreKept: whatever is made of well-typed parts is compiled, never panics, and renders what its types have promised.
func TestTypesAreKept(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := maker{rand.New(rand.NewPCG(seed, 1))}
	scope, env := typedScope(t), typedEnv(t)
	rendered := 0
	for range 400 {
		k := m.kind(Text, Decimal, Number, Whole, Bool, List)
		source := "{{ " + m.expression(k, m.IntN(4)) + " }}"
		want := &Shape{Kind: k}
		compiled, problems := CompileFor(map[string]any{"v": source, "t": "<" + source + ">"}, scope, &Shape{Kind: Object, Fields: map[string]*Shape{"v": want, "t": {Kind: Text}}})
		if len(problems) > 0 {
			t.Fatalf("%s as %s: %+v", source, k, problems)
		}
		promised := compiled.root.(object).values[1].(*expression).shape()
		v, err := compiled.Render(t.Context(), env)
		if err != nil {
			continue // a sum too large, a text too long
		}
		rendered++
		if got := v.(map[string]any)["v"]; !is(got, promised) || !is(got, want) {
			t.Fatalf("%s is %#v, and was to be %s", source, got, promised)
		}
	}
	if rendered < 300 {
		t.Errorf("only %d were rendered", rendered)
	}
}

func FuzzTyped(f *testing.F) {
	for _, s := range []string{"{{ trigger.amount + 0.1 }}", "{{ trigger.lines.map(l, l.price) }}", "{{ trigger.nmae }}", "{{ {'a': trigger} }}", "{{ coalesce(trigger.note, 1) }}", "{{ trigger.lines[0].?x }}",
		"{{ decimal('1e40') * decimal('1e40') }}", "{{ trigger.amount.round(-1) }}", "{{ [trigger].map(t, t.lines).flatten() }}", "{{ type(trigger) }}", "{{ steps.first == trigger }}"} {
		f.Add(s)
	}
	scope, env := typedScope(f), typedEnv(f)
	want, err := ShapeOf(json.RawMessage(order))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		compiled, problems := CompileFor(map[string]any{"name": s, "lines": s, "amount": s}, scope, want)
		for _, p := range problems {
			if p.Message == "" || p.Code == "" {
				t.Errorf("%+v says nothing", p)
			}
		}
		if compiled == nil {
			return
		}
		if _, err := compiled.Render(t.Context(), env); err != nil && strings.Contains(err.Error(), "internal error") {
			t.Error(err)
		}
	})
}
