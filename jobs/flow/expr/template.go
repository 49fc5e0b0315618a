// Package expr evaluates CEL inside JSON templates: a string may hold
// {{ expression }}, and one that is nothing but an expression keeps its type.
// It reads the variables it is given, asks Env for what only the run knows, and
// reaches nothing else. https://cel.dev
package expr

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Template is a compiled JSON document. It is safe for concurrent use.
type Template struct {
	root  node
	reads []string
}

// Compile reads a document of JSON values, as encoding/json decodes them, or
// raw JSON. It answers with every problem, in the order of their paths; then
// the template is nil.
func Compile(doc any, scope *Scope) (*Template, []Problem) {
	c := compiler{scope: scope, reads: map[string]bool{}}
	root := c.compile(doc, nil)
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	return &Template{root: root, reads: slices.Sorted(maps.Keys(c.reads))}, nil
}

// CompileFor is Compile for what is to be of a shape, and also says where it cannot be: all that is wrong with it at once.
func CompileFor(doc any, scope *Scope, want *Shape) (*Template, []Problem) {
	c := compiler{scope: scope, reads: map[string]bool{}}
	root := c.compile(doc, nil)
	t := &Template{root: root, reads: slices.Sorted(maps.Keys(c.reads))}
	if len(c.problems) > 0 {
		return nil, append(c.problems, misfits(root, want, nil)...)
	}
	return t, misfits(root, want, nil)
}

// Render evaluates the template to a new tree of map[string]any, []any, string,
// float64, int64, json.Number, bool and nil. Its error is an *Error.
func (t *Template) Render(ctx context.Context, env Env) (any, error) {
	return t.root.render(newEvaluation(ctx, env))
}

// Reads lists what the template depends on, sorted: "trigger", "item",
// "params", "run", "steps.<key>", and "steps" where the step is only known when
// it runs.
func (t *Template) Reads() []string { return slices.Clone(t.reads) }

// Use is one expression of a template, and what it reads.
type Use struct {
	Path         []string
	Expression   string
	Line, Column int
	Reads        []string
}

// Uses are the template's expressions, in the order of their paths. A nil template has none.
func (t *Template) Uses() (all []Use) {
	if t == nil {
		return nil
	}
	var visit func(node)
	visit = func(n node) {
		switch n := n.(type) {
		case *expression:
			all = append(all, n.use())
		case list:
			for _, item := range n {
				visit(item)
			}
		case text:
			for _, item := range n {
				visit(item)
			}
		case object:
			for _, item := range n.values {
				visit(item)
			}
		}
	}
	visit(t.root)
	return all
}

func (e *expression) use() Use {
	reads := map[string]bool{}
	e.addReads(reads)
	line, column := position(e.whole, e.at, 1, 0)
	return Use{Path: e.path, Expression: e.source, Line: line, Column: column, Reads: slices.Sorted(maps.Keys(reads))}
}

type compiler struct {
	scope    *Scope
	reads    map[string]bool
	problems []Problem
}

func (c *compiler) problem(p Problem) node {
	c.problems = append(c.problems, p)
	return broken{}
}

func (c *compiler) compile(doc any, path []string) node {
	switch v := doc.(type) {
	case nil, bool, float64, json.Number, int, int64:
		return literal{v}
	case string:
		return c.text(v, path)
	case []any:
		l := make(list, len(v))
		for i, item := range v {
			l[i] = c.compile(item, child(path, strconv.Itoa(i)))
		}
		return l
	case map[string]any:
		o := object{keys: slices.Sorted(maps.Keys(v))}
		for _, key := range o.keys {
			at := child(path, key)
			if strings.Contains(key, "{{") {
				c.problem(Problem{Path: at, Code: Syntax, Message: "Only values can hold expressions, not the names of fields."})
			}
			o.values = append(o.values, c.compile(v[key], at))
		}
		return o
	default:
		plain, err := decoded(v)
		if err != nil {
			return c.problem(Problem{Path: slices.Clone(path), Code: Syntax, Message: fmt.Sprintf("This is not JSON: %v.", err)})
		}
		return c.compile(plain, path)
	}
}

// decoded turns any other Go value, raw JSON among them, into JSON values.
func decoded(v any) (plain any, err error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return plain, d.Decode(&plain)
}

func (c *compiler) text(s string, path []string) node {
	parts, bad := split(s)
	if bad >= 0 {
		line, column := position(s, bad, 1, 0)
		return c.problem(Problem{Path: slices.Clone(path), Line: line, Column: column, Code: Syntax,
			Message: `This "{{" is never closed by "}}"; to mean the braces themselves, write \{{.`})
	}
	var t text
	for _, p := range parts {
		if !p.isExpr {
			t = append(t, literal{p.text})
			continue
		}
		e, problems := compileExpression(c.scope, s, p.at, p.text, path)
		c.problems = append(c.problems, problems...)
		if e == nil {
			if len(parts) == 1 {
				return broken{}
			}
			t = append(t, broken{})
			continue
		}
		e.addReads(c.reads)
		if len(parts) == 1 {
			return e
		}
		t = append(t, e)
	}
	return t
}

func child(path []string, key string) []string { return append(slices.Clone(path), key) }

type node interface {
	render(*evaluation) (any, error)
}

type (
	broken  struct{} // what could not be compiled
	literal struct{ value any }
	list    []node
	text    []node
	object  struct {
		keys   []string
		values []node
	}
)

func (broken) render(*evaluation) (any, error) { return nil, errors.New("it was not compiled") }

func (l literal) render(*evaluation) (any, error) { return l.value, nil }

func (l list) render(e *evaluation) (any, error) {
	out := make([]any, len(l))
	for i, n := range l {
		var err error
		if out[i], err = n.render(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (o object) render(e *evaluation) (any, error) {
	out := make(map[string]any, len(o.keys))
	for i, n := range o.values {
		v, err := n.render(e)
		if err != nil {
			return nil, err
		}
		out[o.keys[i]] = v
	}
	return out, nil
}

func (t text) render(e *evaluation) (any, error) {
	var b strings.Builder
	var unknown []string
	for _, n := range t {
		v, err := n.render(e)
		if err != nil {
			return nil, err
		}
		if u, ok := v.(UnknownValue); ok {
			unknown = append(unknown, u.Expression)
		}
		b.WriteString(stringify(v))
	}
	if len(unknown) > 0 {
		return UnknownValue{strings.Join(unknown, ", ")}, nil
	}
	return b.String(), nil
}

// Condition is a compiled `when` or filter. It is safe for concurrent use.
type Condition struct{ expression *expression }

// CompileCondition reads an expression that is true or false, with or without
// braces around it.
func CompileCondition(s string, scope *Scope) (*Condition, []Problem) {
	source, at := s, 0
	if trimmed := strings.TrimSpace(s); strings.HasPrefix(trimmed, "{{") {
		parts, bad := split(trimmed)
		if bad >= 0 || len(parts) != 1 {
			return nil, []Problem{{Line: 1, Column: 1, Code: Syntax, Message: `A condition is one expression: write it alone, or alone between "{{" and "}}".`}}
		}
		source, at = parts[0].text, strings.Index(s, "{{")+2
	}
	e, problems := compileExpression(scope, s, at, source, nil)
	if e != nil && !e.mayBeBool() {
		line, column := position(s, at, 1, 0)
		problems = append(problems, Problem{Expression: e.source, Line: line, Column: column, Code: Mismatch, Expected: string(Bool), Found: typeName(e.output),
			Message: "A condition must be true or false; this is " + typeName(e.output) + "."})
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return &Condition{e}, nil
}

// Eval says whether the condition holds. Anything but true or false is an error.
func (c *Condition) Eval(ctx context.Context, env Env) (bool, error) {
	v, err := c.expression.render(newEvaluation(ctx, env))
	if err != nil {
		return false, err
	}
	if _, unknown := v.(UnknownValue); unknown {
		return false, c.expression.fail(ErrUnknown)
	}
	b, ok := v.(bool)
	if !ok {
		return false, c.expression.fail(fmt.Errorf("must be true or false, and is %s", cmp.Or(describe(v), "nothing")))
	}
	return b, nil
}

// Uses is the condition's expression; a nil one has none.
func (c *Condition) Uses() []Use {
	if c == nil {
		return nil
	}
	return []Use{c.expression.use()}
}

// Reads lists what the condition depends on, as Template.Reads does.
func (c *Condition) Reads() []string {
	reads := map[string]bool{}
	c.expression.addReads(reads)
	return slices.Sorted(maps.Keys(reads))
}
