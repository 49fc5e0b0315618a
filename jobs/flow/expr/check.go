package expr

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Kinds of what expressions answer beside what JSON has.
const (
	nothing Kind = "nothing" // null
	never   Kind = "never"   // it always fails
)

// misfits says where what a node renders cannot be what is wanted. What only a run can tell is let pass.
func misfits(n node, want *Shape, path []string) (bad []Problem) {
	if want == nil || want.Kind == Any {
		return nil
	}
	switch n := n.(type) {
	case *expression:
		return n.misfits(want)
	case object:
		return n.misfits(want, path)
	case list:
		if want.Kind != List {
			return []Problem{wrong(&Shape{Kind: List}, want, path)}
		}
		for i, item := range n {
			bad = append(bad, misfits(item, want.Items, child(path, strconv.Itoa(i)))...)
		}
		return bad
	case text:
		if len(n) == 1 {
			return misfits(n[0], want, path)
		}
		return fits(&Shape{Kind: Text}, want, path, "")
	case literal:
		return fits(literalShape(n.value), want, path, "")
	}
	return nil
}

func (o object) misfits(want *Shape, path []string) (bad []Problem) {
	if want.Kind != Object && want.Kind != Map {
		return []Problem{wrong(&Shape{Kind: Object}, want, path)}
	}
	given := map[string]bool{}
	for i, key := range o.keys {
		at := child(path, key)
		if l, ok := o.values[i].(literal); ok && l.value == nil { // as good as left out
			continue
		}
		given[key] = true
		of := want.field(key)
		if of == nil && want.Kind == Object {
			if !want.Open {
				bad = append(bad, unknownField(key, want, at, ""))
			}
			continue
		}
		bad = append(bad, misfits(o.values[i], of, at)...)
	}
	for _, name := range want.Required {
		if !given[name] {
			bad = append(bad, missing(name, want, child(path, name), ""))
		}
	}
	return bad
}

func (e *expression) misfits(want *Shape) []Problem {
	found := fits(e.shape(), want, e.path, "")
	line, column := position(e.whole, e.at, 1, 0)
	for i := range found {
		found[i].Expression, found[i].Line, found[i].Column = e.source, line, column
	}
	return found
}

// fits compares what there is with what is wanted. inside is where in it, for a value that one expression makes whole.
func fits(have, want *Shape, path []string, inside string) (bad []Problem) {
	if want == nil || want.Kind == Any || have == nil || have.Kind == Any || have.Kind == never {
		return nil
	}
	one := func() []Problem {
		p := wrong(have, want, path)
		if inside != "" {
			p.Message = fmt.Sprintf("%q in it: %s", inside, p.Message)
		}
		return []Problem{p}
	}
	in := func(name string) string { return strings.TrimPrefix(inside+"."+name, ".") }
	switch want.Kind {
	case Text:
		if have.Kind != Text && have.Kind != Decimal || !have.among(want) {
			return one()
		}
	case Decimal:
		if have.Kind != Text && have.Kind != Decimal || !have.decimals() {
			return one()
		}
	case Number:
		if have.Kind != Number && have.Kind != Whole || !have.among(want) {
			return one()
		}
	case Whole:
		if have.Kind != Number && have.Kind != Whole || !have.whole() || !have.among(want) {
			return one()
		}
	case Bool:
		if have.Kind != Bool {
			return one()
		}
	case List:
		if have.Kind != List {
			return one()
		}
		return fits(have.Items, want.Items, path, in("[]"))
	case Map:
		switch have.Kind {
		case Map:
			return fits(have.Items, want.Items, path, in("*"))
		case Object:
			for _, name := range have.names() {
				bad = append(bad, fits(have.Fields[name], want.Items, path, in(name))...)
			}
			return bad
		}
		return one()
	case Object:
		if have.Kind == Map {
			return nil
		}
		if have.Kind != Object {
			return one()
		}
		for _, name := range have.names() {
			if of, ok := want.Fields[name]; ok {
				bad = append(bad, fits(have.Fields[name], of, path, in(name))...)
			} else if !want.Open {
				bad = append(bad, unknownField(name, want, path, in(name)))
			}
		}
		for _, name := range want.Required {
			if have.Fields[name] == nil && !have.Open {
				bad = append(bad, missing(name, want, path, in(name)))
			}
		}
	}
	return bad
}

// among tells whether a value is one of those that are allowed, as far as it is known.
func (s *Shape) among(want *Shape) bool {
	return len(want.Enum) == 0 || !slices.ContainsFunc(s.Enum, func(v any) bool {
		return !slices.ContainsFunc(want.Enum, func(w any) bool { return same(v, w) })
	})
}

func same(a, b any) bool {
	x, okX := float(a)
	y, okY := float(b)
	return okX && okY && x == y || reflect.DeepEqual(a, b)
}

func float(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	}
	return 0, false
}

func (s *Shape) decimals() bool {
	return !slices.ContainsFunc(s.Enum, func(v any) bool {
		text, ok := v.(string)
		_, err := newDecimal(text)
		return ok && err != nil
	})
}

func (s *Shape) whole() bool {
	return !slices.ContainsFunc(s.Enum, func(v any) bool {
		f, ok := float(v)
		return ok && f != float64(int64(f))
	})
}

// literalShape is the shape of a value as it stands in the document.
func literalShape(v any) *Shape {
	s := &Shape{Kind: Any, Enum: []any{v}}
	switch v := v.(type) {
	case nil:
		return &Shape{Kind: nothing}
	case string:
		s.Kind = Text
	case bool:
		s.Kind = Bool
	default:
		if f, ok := float(v); ok {
			if s.Kind = Number; f == float64(int64(f)) {
				s.Kind = Whole
			}
		}
	}
	return s
}

func wrong(have, want *Shape, path []string) Problem {
	p := Problem{Path: path, Code: Mismatch, Expected: want.String(), Found: have.String()}
	if have.Kind == nothing {
		p.Code = Missing
	}
	switch {
	case len(have.Enum) == 1 && have.Kind == want.Kind && len(want.Enum) > 0:
		p.Expected, p.Found = "one of "+values(want.Enum), values(have.Enum)
		p.Message = fmt.Sprintf("This must be %s, not %s.", p.Expected, p.Found)
		if text, ok := have.Enum[0].(string); ok {
			var names []string
			for _, v := range want.Enum {
				names = append(names, fmt.Sprint(v))
			}
			p.Instead = nearest(text, names)
		}
	case len(have.Enum) == 1 && want.Kind == Decimal && have.Kind == Text:
		p.Found = values(have.Enum)
		p.Message = fmt.Sprintf("This must be an amount such as 12.50, not %s.", p.Found)
	case want.Kind == Decimal && (have.Kind == Number || have.Kind == Whole):
		p.Message = `This must be an amount, which is a text such as "12.50" or a decimal; a number is not exact.`
	case want.Kind == Text && (have.Kind == Number || have.Kind == Whole || have.Kind == Bool):
		p.Message = fmt.Sprintf("This must be text, and is %s; write string(…) to make text of it.", article(have))
	default:
		p.Message = fmt.Sprintf("This must be %s, and is %s.", article(want), article(have))
	}
	return p
}

func values(of []any) string {
	words := make([]string, len(of))
	for i, v := range of {
		raw, _ := json.Marshal(v) // it came from JSON
		words[i] = string(raw)
	}
	return strings.Join(words, ", ")
}

func article(s *Shape) string {
	switch s.Kind {
	case Any, Text, nothing, Bool:
		return s.String()
	case Object:
		return "an object"
	}
	return "a " + s.String()
}

func unknownField(name string, want *Shape, path []string, inside string) Problem {
	fields := want.names()
	p := Problem{Path: path, Code: Unknown, Found: name, Expected: strings.Join(fields, ", "), Instead: nearest(name, fields)}
	if inside == "" {
		inside = name
	}
	if p.Instead != "" {
		p.Message = fmt.Sprintf("There is no field %q; did you mean %q?", inside, p.Instead)
	} else {
		p.Message = fmt.Sprintf("There is no field %q; it can have %s.", inside, p.Expected)
	}
	return p
}

func missing(name string, want *Shape, path []string, inside string) Problem {
	of := want.Fields[name]
	p := Problem{Path: path, Code: Missing, Expected: of.String()}
	if inside == "" {
		inside = name
	}
	p.Message = fmt.Sprintf("%q is needed: %s.", inside, of)
	if of != nil && of.Description != "" {
		p.Message += " " + of.Description
	}
	return p
}
