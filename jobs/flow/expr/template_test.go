package expr

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testEnv() Env {
	return Env{
		Vars: map[string]any{
			"trigger": map[string]any{
				"email": "ann@example.com", "amount": 1250.0, "rate": 19.99, "none": nil, "empty": "", "ok": true,
				"id": json.Number("9007199254740993"), "count": json.Number("3"), "huge": json.Number("18446744073709551615"),
				"lines": []any{map[string]any{"sku": "a"}, map[string]any{"sku": "b", "qty": 2.0}},
			},
			"steps":  map[string]any{"customer": map[string]any{"id": "cus_1"}},
			"params": map[string]any{"app": "stripe"},
		},
		Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Mapped: func(_ context.Context, id, entity, app string) (string, bool, error) {
			if id == "broken" {
				return "", false, errMapping
			}
			return strings.Join([]string{app, entity, id}, "/"), id != "unknown", nil
		},
	}
}

var errMapping = errors.New("no database")

func TestRender(t *testing.T) {
	t.Parallel()
	for template, want := range map[string]any{
		"plain }} text":             "plain }} text",
		"":                          "",
		"{{ trigger.amount }}":      1250.0,
		"{{ trigger.ok }}":          true,
		"{{ trigger.none }}":        nil,
		"{{ trigger.id }}":          int64(9007199254740993),
		"{{ trigger.huge }}":        json.Number("18446744073709551615"),
		"{{ trigger.count + 1.0 }}": 4.0,
		"{{ 1 + 1 }}":               int64(2),
		"{{ trigger.lines }}":       []any{map[string]any{"sku": "a"}, map[string]any{"sku": "b", "qty": 2.0}},
		"{{ trigger.lines.map(l, l.?qty.orValue(1.0)) }}": []any{1.0, 2.0},
		"a{{ trigger.amount }}b{{ trigger.rate }}":        "a1250b19.99",
		"<{{ trigger.none }}>":                            "<>",
		"n={{ 1e21 }} {{ 1e-7 }}":                         "n=1000000000000000000000 0.0000001",
		" {{ trigger.id }}":                               " 9007199254740993",
		"{{ 'x' }}{{ trigger.ok }}":                       "xtrue",
		"j={{ {'a': ['<', 1]} }}":                         `j={"a":["<",1]}`,
		`{{ {'a': {'b': 1}}.a.b }}`:                       int64(1),
		`{{{'a':1}}}`:                                     map[string]any{"a": int64(1)},
		`{{ "}}" }}`:                                      "}}",
		`{{ '\'}}' + "\"}}" }}`:                           `'}}"}}`,
		`{{ r'\' }}!`:                                     `\!`,
		`{{ """a"}}" """ }}`:                              `a"}}" `,
		"{{ 1 // }}\n }}":                                 int64(1),
		`\{{ not }}`:                                      "{{ not }}",
		`\\{{ 'x' }}`:                                     `\x`,
		`C:\{x}`:                                          `C:\{x}`,
		"{{ now() }}":                                     "2026-03-01T12:00:00Z",
		"{{ now() + duration('1h') - now() }}":            "3600s",
		"{{ trigger.?email.orValue('x') }}":               "ann@example.com",
		"{{ trigger.?gone.?deep.orValue('x') }}":          "x",
		"{{ trigger.?none.?deep }}":                       nil,
		"{{ has(trigger.gone) }}":                         false,
		"{{ item.x }}":                                    errMissing,
		"{{ coalesce(item.x, 'd') }}":                     "d",
		"{{ coalesce(trigger.none, trigger.empty, trigger.gone.deep, 'd') }}":         "d",
		"{{ coalesce(trigger.lines[7].sku, trigger.none.x, trigger['no'], 'd') }}":    "d",
		"{{ coalesce(trigger.email, mapped('broken', 'a', 'b')) }}":                   "ann@example.com",
		"{{ coalesce(trigger.gone, trigger.none) }}":                                  nil,
		"{{ coalesce(trigger.gone, '') }}":                                            "",
		"{{ coalesce(trigger.gone) }}":                                                nil,
		"{{ coalesce(trigger.?gone, trigger.?email) }}":                               "ann@example.com",
		"{{ coalesce(trigger.gone, 0) }}":                                             int64(0),
		"{{ mapped('1', 'customer', params.app) }}":                                   "stripe/customer/1",
		"{{ mapped(trigger.id, 'customer', 'togai') }}":                               "togai/customer/9007199254740993",
		"{{ mapped('unknown', 'customer', 'togai') }}":                                nil,
		"{{ mapped(trigger.none, 'customer', 'togai') }}":                             nil,
		"{{ coalesce(mapped('unknown', 'a', 'b'), 'd') }}":                            "d",
		"{{ ['a', 'b'].map(x, mapped(x, 'e', 'p')) }}":                                []any{"p/e/a", "p/e/b"},
		"{{ trigger.lines.map(l, l.sku).join('-') }}":                                 "a-b",
		"{{ 'a-b-c'.replace('-', '+', 1) + 'aa'.replace('a', 'b') }}":                 "a+b-cbb",
		"{{ '%s: %d'.format(['x', 3]) }}":                                             "x: 3",
		"{{ [3, 1, 2, 1].distinct().sort() }}":                                        []any{int64(1), int64(2), int64(3)},
		"{{ math.greatest(1, 2) }}":                                                   int64(2),
		"{{ encode64url('a?>') }} {{ decode64url('YT8-') }} {{ encode64url(b'a') }}!": "YT8- a?> YQ!",
		"{{ base64.encode(b'a') }}":                                                   "YQ==",
		"{{ [{'k': dyn(1u)}] }}":                                                      []any{map[string]any{"k": int64(1)}},
		"{{ trigger.lines == [{'sku': 'a'}, {'sku': 'b', 'qty': 2.0}] }}":             true,
		"{{ trigger.email in ['x', 'ann@example.com'] && trigger.ok != false }}":      true,
		"{{ 'sku' in trigger.lines[0] }}":                                             true,
		"{{ b'a' }}":                                                                  "YQ==",
	} {
		t.Run(template, func(t *testing.T) {
			t.Parallel()
			compiled, problems := Compile(template, Untyped())
			if problems != nil {
				t.Fatalf("problems: %+v", problems)
			}
			got, err := compiled.Render(t.Context(), testEnv())
			if want == errMissing {
				if err == nil {
					t.Fatalf("got %#v, want an error", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

var errMissing = errors.New("missing")

func TestRenderDocument(t *testing.T) {
	t.Parallel()
	raw := json.RawMessage(`{"name": "{{ trigger.email }}", "n": 12345678901234567890, "list": ["x", "{{ 1 }}", null, true]}`)
	compiled, problems := Compile(raw, Untyped())
	if problems != nil {
		t.Fatal(problems)
	}
	got, err := compiled.Render(t.Context(), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"name": "ann@example.com", "n": json.Number("12345678901234567890"), "list": []any{"x", int64(1), nil, true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMoney(t *testing.T) {
	t.Parallel()
	env := testEnv()
	env.Vars["trigger"] = map[string]any{"cents": 0.1, "exact": json.Number("19.99")}
	for expression, want := range map[string]any{
		"minor(12.5, 'USD')":                      int64(1250),
		"minor(trigger.exact, 'usd')":             int64(1999),
		"minor('0.29', 'USD')":                    int64(29),
		"minor(-1, 'EUR')":                        int64(-100),
		"minor(500, 'JPY')":                       int64(500),
		"minor('1.234', 'KWD')":                   int64(1234),
		"minor('1.5E+3', 'USD')":                  int64(150000),
		"minor('1.50', 'JPY')":                    nil,
		"minor('1.005', 'USD')":                   nil,
		"minor(trigger.cents + 0.2, 'USD')":       nil,
		"minor('1e999999999', 'USD')":             nil,
		"minor('9223372036854775807', 'USD')":     nil,
		"minor('NaN', 'USD')":                     nil,
		"minor('1,000', 'USD')":                   nil,
		"minor(true, 'USD')":                      nil,
		"minor(1, 'dollars')":                     nil,
		"minorDecimal('0.0005', 'USD')":           "0.05",
		"minorDecimal('49.00', 'usd')":            "4900",
		"minorDecimal('1.5E+3', 'USD')":           "150000",
		"minorDecimal('12', 'JPY')":               "12",
		"minorDecimal('0', 'USD')":                "0",
		"minorDecimal('x', 'USD')":                nil,
		"major(1250, 'USD')":                      "12.50",
		"major(-5, 'usd')":                        "-0.05",
		"major(500, 'JPY')":                       "500",
		"major('1234', 'KWD')":                    "1.234",
		"major(trigger.cents, 'USD')":             nil,
		"major(minor(trigger.exact,'USD'),'USD')": "19.99",
	} {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			compiled, problems := Compile("{{ "+expression+" }}", Untyped())
			if problems != nil {
				t.Fatal(problems)
			}
			got, err := compiled.Render(t.Context(), env)
			if (err != nil) != (want == nil) || got != want {
				t.Errorf("got %v, %v; want %v", got, err, want)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	doc := map[string]any{
		"a":     "{{ triger.email }}",
		"b":     []any{"fine", "é\nx {{ 1 + }}"},
		"c":     "{{ upperAscii }}",
		"d":     "open {{ trigger.x }",
		"e":     "{{ }}",
		"f":     "{{ mapped(1) }} {{ nonsense(1) }}",
		"g":     "{{ 1 + 'a' }}",
		"h":     "{{ now }}",
		"{{i}}": 1,
	}
	_, problems := Compile(doc, Untyped())
	want := []Problem{
		{Path: []string{"a"}, Expression: "triger.email", Line: 1, Column: 4, Message: `There is no "triger"; did you mean "trigger"?`, Code: Unknown, Instead: "trigger"},
		{Path: []string{"b", "1"}, Expression: "1 +", Line: 2, Column: 10, Message: "The expression ends too early.", Code: Syntax},
		{Path: []string{"c"}, Expression: "upperAscii", Line: 1, Column: 4, Message: `"upperAscii" is a function: write upperAscii(…).`, Code: Unknown},
		{Path: []string{"d"}, Line: 1, Column: 6, Message: `This "{{" is never closed by "}}"; to mean the braces themselves, write \{{.`, Code: Syntax},
		{Path: []string{"e"}, Line: 1, Column: 3, Message: "There is no expression here.", Code: Syntax},
		{Path: []string{"f"}, Expression: "mapped(1)", Line: 1, Column: 3, Message: "Write mapped(id, entity, app), for instance mapped(trigger.id, 'customer', 'stripe').", Code: Mismatch},
		{Path: []string{"f"}, Expression: "nonsense(1)", Line: 1, Column: 28, Message: `There is no "nonsense". An expression can read item, params, run, steps, trigger.`, Code: Unknown},
		{Path: []string{"g"}, Expression: "1 + 'a'", Line: 1, Column: 6, Message: `"+" does not work with (int, string).`, Code: Mismatch, Found: "(int, string)"},
		{Path: []string{"h"}, Expression: "now", Line: 1, Column: 4, Message: `"now" is a function: write now(…).`, Code: Unknown},
		{Path: []string{"{{i}}"}, Message: "Only values can hold expressions, not the names of fields.", Code: Syntax},
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Error(diff)
	}
}

func TestRenderErrors(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		ctx      context.Context
		template string
		says     string
		is       error
	}{
		{template: "{{ trigger.gone }}", says: `there is no "gone"`},
		{template: "{{ trigger.amount + 1 }}", says: "write 2.0"},
		{template: "{{ mapped('broken', 'a', 'b') }}", says: "no database", is: errMapping},
		{template: "{{ mapped('broken', 'a', 'b') == 'x' || true }}", says: "no database", is: errMapping},
		{template: "{{ coalesce(mapped('broken', 'a', 'b'), 'x') }}", says: "no database", is: errMapping},
		{template: "{{ coalesce(1 / 0, 1) }}", says: "division by zero"},
		{template: "{{ 0.0 / 0.0 }}", says: "not a number"},
		{template: "{{ type(1) }}", says: "cannot be written as JSON"},
		{template: "{{ lists.range(10000).map(x, lists.range(10000)) }}", says: "too many steps"},
		{template: "{{ [['x']].map(x, x+x)" + strings.Repeat(".map(x, x+x)", 20) + " }}", says: "too many steps"},
		{template: "{{ ['x']" + strings.Repeat(".map(x, x+x)", 30) + " }}", says: "too many steps"},
		{template: "{{ ['" + strings.Repeat("x", 1000) + "'].map(x, x.replace('x', x)).map(x, x.replace('x', x))[0] }}", says: "too"},
		{template: "{{ [1]" + strings.Repeat(".map(x, [x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x])", 7) + " }}", says: "too large"},
		{template: "{{ [1]" + strings.Repeat(".map(x, [x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x])", 9) + ".map(x, x == x) }}", says: "too"},
		{template: "{{ [1]" + strings.Repeat(".map(x, [x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x])", 9) + ".map(x, x in [x]) }}", says: "too"},
		{template: "{{ [1]" + strings.Repeat(".map(x, [x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x])", 3) + ".map(x, lists.range(500).map(y, x == x)) }}", says: "too many"},
		{ctx: cancelled, template: "{{ 1 }}", says: "canceled", is: context.Canceled},
	} {
		t.Run(test.template[:min(60, len(test.template))], func(t *testing.T) {
			t.Parallel()
			compiled, problems := Compile(map[string]any{"f": []any{test.template}}, Untyped())
			if problems != nil {
				t.Fatal(problems)
			}
			ctx := test.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			got, err := compiled.Render(ctx, testEnv())
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), test.says) || !slices.Equal(e.Path, []string{"f", "0"}) {
				t.Fatalf("got %.200v, %v; want an error that says %q", got, err, test.says)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
		})
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	env := testEnv()
	env.Mapped = func(context.Context, string, string, string) (string, bool, error) {
		cancel()
		return "", false, nil
	}
	compiled, problems := Compile("{{ lists.range(5000).map(x, mapped(x, 'a', 'b')) }}", Untyped())
	if problems != nil {
		t.Fatal(problems)
	}
	if _, err := compiled.Render(ctx, env); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCondition(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"trigger.ok":                       "true",
		" {{ trigger.amount > 1000.0 }} ":  "true",
		"trigger.email == '{{'":            "false",
		"trigger.?gone.orValue(false)":     "false",
		"trigger.?gone":                    "error",
		"trigger.email":                    "error",
		"trigger.gone":                     "error",
		"'text'":                           "problem",
		"":                                 "problem",
		"{{ trigger.ok }} and {{ true }}":  "problem",
		"{{ trigger.ok":                    "problem",
		"{{ true }}{{ false }}":            "problem",
		"size(trigger.lines) == 2 && true": "true",
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			got := "problem"
			if c, problems := CompileCondition(source, Untyped()); problems == nil {
				ok, err := c.Eval(t.Context(), testEnv())
				switch {
				case err != nil:
					got = "error"
				case ok:
					got = "true"
				default:
					got = "false"
				}
			}
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	for template, want := range map[string][]string{
		"text": nil,
		"{{ steps.a.id + steps['b c'].id + steps.?c.?id.orValue('') + steps[?'d'].orValue('') }}": {"steps.a", "steps.b c", "steps.c", "steps.d"},
		"{{ steps[params.key].id }}":                             {"params", "steps"},
		"{{ has(steps.a) && coalesce(steps.b.x, now()) != '' }}": {"steps.a", "steps.b"},
		"{{ trigger }}{{ item.x.map(i, mapped(i, 'a', 'b')) }}":  {"item", "trigger"},
		"{{ size(steps) }}":                                      {"steps"},
	} {
		compiled, problems := Compile(template, Untyped())
		if problems != nil {
			t.Fatal(problems)
		}
		if diff := cmp.Diff(want, compiled.Reads()); diff != "" {
			t.Errorf("%s: %s", template, diff)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"a {{ b }} c", `{{ "}}" }}`, "{{ {'a': {}}.a }}", `\{{`, `\\{{ x }}`, `{{ r'''\'''}}`, "{{ // \n }}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parts, bad := split(s)
		if bad >= len(s) || bad < 0 && len(parts) == 0 {
			t.Fatalf("split(%q) = %v, %d", s, parts, bad)
		}
		for _, p := range parts {
			if p.isExpr && s[p.at:p.at+len(p.text)] != p.text {
				t.Errorf("part %+v is not where it says in %q", p, s)
			}
			if p.isExpr && !strings.HasPrefix(s[p.at+len(p.text):], "}}") {
				t.Errorf("part %+v of %q is not closed", p, s)
			}
		}
	})
}

func FuzzRender(f *testing.F) {
	for _, s := range []string{"{{ trigger.email }}", "{{ coalesce(trigger.x, minor('1', 'USD')) }}", "{{ [1, 2].map(x, x * 2).join(',') }}",
		"{{ '%s'.format([1]) }}", "{{ mapped(1, '', '') }}", "{{ trigger.?a[?0].orValue(now()) }}", "{{ b'\\xff' }}", "{{ decode64url('_') }}",
		"{{ math.bitShiftLeft(1, 70) }}", "{{ {1: 2, true: 3} }}", "{{ 'a'.substring(5) }}", "{{ duration('1h') }}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if c, problems := CompileCondition(s, Untyped()); problems == nil {
			_, _ = c.Eval(ctx, testEnv())
		}
		compiled, problems := Compile(map[string]any{"k": s}, Untyped())
		if (compiled == nil) != (len(problems) > 0) {
			t.Fatalf("%v with %v", compiled, problems)
		}
		if compiled == nil {
			return
		}
		got, err := compiled.Render(ctx, testEnv())
		if err != nil {
			if strings.Contains(err.Error(), "internal error") {
				t.Error(err)
			}
			return
		}
		if _, err := json.Marshal(got); err != nil {
			t.Errorf("%q rendered what JSON cannot hold: %v", s, err)
		}
	})
}

func BenchmarkRender(b *testing.B) {
	for name, doc := range map[string]any{
		"whole":   "{{ trigger.email }}",
		"text":    "Hello {{ trigger.email }}, you owe {{ major(1250, 'USD') }}",
		"literal": map[string]any{"a": []any{1.0, "b"}},
		"document": map[string]any{"email": "{{ trigger.email }}", "amount": "{{ minor(trigger.rate, 'USD') }}",
			"name": "{{ coalesce(trigger.name, trigger.email) }}", "lines": "{{ trigger.lines.map(l, l.sku) }}"},
	} {
		compiled, problems := Compile(doc, Untyped())
		if problems != nil {
			b.Fatal(problems)
		}
		env := testEnv()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := compiled.Render(b.Context(), env); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	scope := Untyped()
	for b.Loop() {
		Compile("{{ coalesce(trigger.name, trigger.email) }}", scope)
	}
}
