package flow_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/schema"
	"tieline/jobs/flow"
	"tieline/jobs/flow/expr"
)

// form is as much of a JSON Schema as values and expressions are made from.
type form struct {
	Type       any             `json:"type"`
	Format     string          `json:"format"`
	Enum       []any           `json:"enum"`
	Properties map[string]form `json:"properties"`
	Required   []string        `json:"required"`
	Items      *form           `json:"items"`
}

func formOf(t *testing.T, s *schema.Schema) (f form) {
	t.Helper()
	if s != nil {
		must(t, json.Unmarshal(s.JSON(), &f))
	}
	return f
}

func (f form) kind() string {
	kind, _ := f.Type.(string)
	if f.Format == "decimal" {
		return "decimal"
	}
	return kind
}

// author writes documents at random, and the values that they read.
type author struct {
	*rand.Rand
	t    *testing.T
	apps []connectors.Connector
}

// value is one that a form allows, with all that it names.
func (a author) value(f form) any {
	if len(f.Enum) > 0 {
		return f.Enum[a.IntN(len(f.Enum))]
	}
	switch f.kind() {
	case "object":
		v := map[string]any{}
		for name, p := range f.Properties {
			v[name] = a.value(p)
		}
		return v
	case "array":
		if f.Items == nil {
			return []any{}
		}
		return []any{a.value(*f.Items), a.value(*f.Items)}
	case "decimal":
		return "12.50"
	case "integer", "number":
		return float64(a.IntN(30))
	case "boolean":
		return a.IntN(2) == 0
	case "string":
		switch f.Format {
		case "date":
			return "2026-03-01"
		case "date-time":
			return "2026-03-01T10:00:00Z"
		case "email":
			return "ada@example.com"
		case "uri":
			return "https://example.com/"
		}
		return []string{"Ada", "", "}} {{", "eur"}[a.IntN(4)]
	}
	return nil
}

// paths are the ways to what a form holds, by kind.
func paths(f form, at string, into map[string][]string) {
	for _, name := range slices.Sorted(maps.Keys(f.Properties)) {
		p := f.Properties[name]
		path := at + "." + name
		if into[p.kind()] = append(into[p.kind()], path); p.kind() == "object" {
			paths(p, path, into)
		}
	}
}

// expression is one of a kind, made of what can be read; empty when nothing of that kind can.
func (a author) expression(kind string, read map[string][]string) string {
	from := read[kind]
	if len(from) == 0 {
		return ""
	}
	path := from[a.IntN(len(from))]
	ways := map[string][]string{
		"string":  {path, path + ".lowerAscii()", "coalesce(" + path + ", 'x')", "(size(" + path + ") > 2 ? " + path + " : 'none')", "'a' + " + path},
		"decimal": {path, path + " + decimal('0.5')", path + ".round(1)", "coalesce(" + path + ", decimal('1'))"},
		"boolean": {path, "!" + path, path + " && true"},
	}[kind]
	if ways == nil {
		ways = []string{path}
	}
	return "{{ " + ways[a.IntN(len(ways))] + " }}"
}

// input fills a form in with expressions where there are some, else with values.
func (a author) input(f form, read map[string][]string) map[string]any {
	in := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(f.Properties)) {
		p := f.Properties[name]
		if !slices.Contains(f.Required, name) && a.IntN(2) == 0 {
			continue
		}
		if e := a.expression(p.kind(), read); e != "" && len(p.Enum) == 0 && a.IntN(4) > 0 {
			in[name] = e
		} else if p.kind() == "object" && len(p.Properties) > 0 {
			in[name] = a.input(p, read)
		} else if v := a.value(p); v != nil && fmt.Sprint(v) != "}} {{" {
			in[name] = v
		}
	}
	return in
}

// document is a flow of some trigger and some actions, with what it reads.
func (a author) document() ([]byte, expr.Env) {
	app := a.apps[a.IntN(len(a.apps))]
	for len(app.Triggers) == 0 {
		app = a.apps[a.IntN(len(a.apps))]
	}
	trigger := app.Triggers[a.IntN(len(app.Triggers))]
	f, read := formOf(a.t, trigger.Output), map[string][]string{}
	paths(f, "trigger", read)
	steps, outputs := []any{}, map[string]any{}
	for i := range 1 + a.IntN(4) {
		at := a.apps[a.IntN(len(a.apps))]
		if len(at.Actions) == 0 {
			continue
		}
		action, key := at.Actions[a.IntN(len(at.Actions))], fmt.Sprint("step", i)
		step := map[string]any{"key": key, "app": at.Key, "action": action.Key, "input": a.input(formOf(a.t, action.Input), read)}
		if when := a.expression("boolean", read); when != "" && a.IntN(3) == 0 {
			step["when"] = when[3 : len(when)-3]
		}
		steps = append(steps, step)
		out := formOf(a.t, action.Output)
		outputs[key] = a.value(out)
		paths(out, "steps."+key, read)
	}
	doc, err := json.Marshal(map[string]any{"name": "Random", "trigger": map[string]any{"app": app.Key, "key": trigger.Key}, "steps": steps})
	must(a.t, err)
	return doc, expr.Env{Now: time.Unix(1760000000, 0), Vars: map[string]any{
		"trigger": a.value(f), "steps": outputs, "params": map[string]any{}, "run": map[string]any{"id": "run_x", "source": "WEBHOOK", "replay": 0.0},
	}}
}

// TestRandomDocuments: whatever document the checker lets through is rendered without a panic, and what is rendered is of the
// types that the actions ask for.
func TestRandomDocuments(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	apps := allApps(t)
	a := author{rand.New(rand.NewPCG(seed, 7)), t, apps.Apps()}
	valid := 0
	for range 300 {
		doc, env := a.document()
		if len(flow.Examine(doc, apps).Errors()) > 0 {
			continue
		}
		valid++
		ready, err := flow.Ready(doc, apps)
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		bad, _ := errors.AsType[schema.Problems](ready.Check(t.Context(), env))
		for _, x := range bad {
			if x.Code == "TYPE" || x.Code == "UNKNOWN" || x.Code == "REQUIRED" {
				t.Errorf("%v: %s\n%s\n%v", x.Path, x.Message, doc, env.Vars)
			}
		}
	}
	if valid < 60 {
		t.Errorf("only %d documents were valid", valid)
	}
}
