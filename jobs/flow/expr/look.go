package expr

import (
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// objectAt is the object that the selection of an expression looks into, and what it is called there; nil when it cannot be
// told. It works on what was only parsed: what is being looked for is why it could not be checked.
func (s *Scope) objectAt(parsed *ast.AST, id int64) (where string, of *Shape) {
	if parsed == nil {
		return "", nil
	}
	for _, e := range ast.MatchDescendants(ast.NavigateAST(parsed), func(e ast.NavigableExpr) bool { return e.ID() == id }) {
		var operand ast.Expr
		switch e.Kind() {
		case ast.SelectKind:
			operand = e.AsSelect().Operand()
		case ast.CallKind: // a.?b
			if args := e.AsCall().Args(); len(args) > 0 {
				operand = args[0]
			}
		}
		if operand == nil {
			continue
		}
		where, of = s.shapeOf(e, operand)
		if of != nil && of.Kind == Object {
			return where, of
		}
	}
	return "", nil
}

// shapeOf tells what an expression stands for, as far as that is a place in a variable. at is where it is used.
func (s *Scope) shapeOf(at ast.NavigableExpr, e ast.Expr) (where string, of *Shape) {
	switch e.Kind() {
	case ast.IdentKind:
		name := e.AsIdent()
		if of, ok := s.loop(at, name); ok {
			return name, of
		}
		return name, s.shapes[name]
	case ast.SelectKind:
		where, of := s.shapeOf(at, e.AsSelect().Operand())
		return where + "." + e.AsSelect().FieldName(), of.field(e.AsSelect().FieldName())
	case ast.ComprehensionKind: // of a filter: some of what it goes over
		return s.shapeOf(at, e.AsComprehension().IterRange())
	case ast.CallKind:
		call := e.AsCall()
		args := call.Args()
		switch call.FunctionName() {
		case operators.OptSelect:
			if name, ok := args[1].AsLiteral().(types.String); ok {
				where, of := s.shapeOf(at, args[0])
				return where + "." + string(name), of.field(string(name))
			}
		case operators.Index, operators.OptIndex:
			where, of := s.shapeOf(at, args[0])
			if of != nil && (of.Kind == List || of.Kind == Map) {
				return where + "[]", of.Items
			}
		case "@bounded", "@last", "@present":
			return s.shapeOf(at, args[0])
		}
	}
	return "", nil
}

// loop is what a loop's variable stands for, if the expression is in a loop with one of this name.
func (s *Scope) loop(at ast.NavigableExpr, name string) (*Shape, bool) {
	for e, ok := at.Parent(); ok; e, ok = e.Parent() {
		if e.Kind() != ast.ComprehensionKind || e.AsComprehension().IterVar() != name {
			continue
		}
		_, of := s.shapeOf(e, e.AsComprehension().IterRange())
		if of != nil && of.Kind == List {
			return of.Items, true
		}
		return nil, true
	}
	return nil, false
}

func (s *Shape) field(name string) *Shape {
	if s == nil {
		return nil
	}
	if s.Kind == Map {
		return s.Items
	}
	return s.Fields[name]
}

// Name is something that an expression can read, with what is known of it.
type Name struct {
	Name        string // as it is written: trigger.address.city
	Type        string
	Description string
	Optional    bool // it may be missing: write coalesce(…), has(…) or .?
}

// Names lists what expressions of a typed scope can read, down to where lists and maps begin. A step that comes later can be
// left out.
func (s *Scope) Names(without func(name string) bool) []Name {
	var all []Name
	for _, name := range s.names {
		all = s.shapes[name].list(all, name, false, without)
	}
	return all
}

const deepest = 6

func (s *Shape) list(all []Name, name string, optional bool, without func(string) bool) []Name {
	if without(name) {
		return all
	}
	n := Name{Name: name, Type: s.String(), Optional: optional}
	if s != nil {
		n.Description = s.Description
	}
	all = append(all, n)
	if s == nil || strings.Count(name, ".") > deepest {
		return all
	}
	if s.Kind == List && s.Items != nil && s.Items.Kind == Object {
		name += "[0]"
		s = s.Items
	}
	for _, field := range s.names() {
		all = s.Fields[field].list(all, name+"."+field, optional || !s.needs(field), without)
	}
	return all
}

// Functions are the functions that every expression has, with how each is written and what it is good for.
func (s *Scope) Functions() []Function { return documented }
