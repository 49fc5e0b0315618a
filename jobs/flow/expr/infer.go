package expr

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// shape is what an expression answers, as far as that can be told. It sees more than CEL's types do: the fields of a map that
// is written out, and what coalesce chooses among.
func (e *expression) shape() *Shape { return e.of(e.ast.Expr()) }

func (e *expression) of(x ast.Expr) *Shape {
	switch x.Kind() {
	case ast.LiteralKind:
		return e.literal(x)
	case ast.ListKind:
		out := &Shape{Kind: List, Items: &Shape{Kind: never}}
		for _, item := range x.AsList().Elements() {
			out.Items = oneOf(out.Items, e.of(item))
		}
		if out.Items.Kind == never {
			out.Items = nil
		}
		return out
	case ast.MapKind:
		return e.written(x.AsMap())
	case ast.ComprehensionKind:
		if item := e.collected(x.AsComprehension()); item != nil {
			return &Shape{Kind: List, Items: e.of(item)}
		}
	case ast.CallKind:
		if s := e.call(x.AsCall()); s != nil {
			return s
		}
	}
	return e.typed(e.ast.GetType(x.ID()))
}

func (e *expression) literal(x ast.Expr) *Shape {
	switch v := x.AsLiteral().(type) {
	case types.Null:
		return &Shape{Kind: nothing}
	case types.String:
		return &Shape{Kind: Text, Enum: []any{string(v)}}
	case types.Int:
		return &Shape{Kind: Whole, Enum: []any{int64(v)}}
	case types.Double:
		return literalShape(float64(v))
	}
	return e.typed(e.ast.GetType(x.ID()))
}

// written is a map that is written out: an object, unless a key is only known later.
func (e *expression) written(m ast.MapExpr) *Shape {
	out := &Shape{Kind: Object, Fields: map[string]*Shape{}}
	for _, entry := range m.Entries() {
		key, ok := types.String(""), false
		if k := entry.AsMapEntry().Key(); k.Kind() == ast.LiteralKind {
			key, ok = k.AsLiteral().(types.String)
		}
		if !ok {
			return &Shape{Kind: Map}
		}
		value := e.of(entry.AsMapEntry().Value())
		if value.Kind == nothing || value.Kind == never && entry.AsMapEntry().IsOptional() {
			continue
		}
		if out.Fields[string(key)] = value; !entry.AsMapEntry().IsOptional() {
			out.Required = append(out.Required, string(key))
		}
	}
	return out
}

// collected is what map() and filter() put into their list for each item; nil for other loops.
func (e *expression) collected(c ast.ComprehensionExpr) ast.Expr {
	step := c.LoopStep()
	if c.AccuInit().Kind() != ast.ListKind || step.Kind() != ast.CallKind {
		return nil
	}
	call := step.AsCall()
	if call.FunctionName() == operators.Conditional {
		if step = call.Args()[1]; step.Kind() != ast.CallKind {
			return nil
		}
		call = step.AsCall()
	}
	if call.FunctionName() != operators.Add || len(call.Args()) != 2 || call.Args()[1].Kind() != ast.ListKind || call.Args()[1].AsList().Size() != 1 {
		return nil
	}
	return call.Args()[1].AsList().Elements()[0]
}

func (e *expression) call(c ast.CallExpr) *Shape {
	args := c.Args()
	switch c.FunctionName() {
	case operators.Conditional:
		return oneOf(e.of(args[1]), e.of(args[2]))
	case "dyn", "@bounded", "@last", "@present", "optional.of":
		return e.of(args[0])
	case "optional.none", "fail":
		return &Shape{Kind: never}
	case "@mapped":
		return &Shape{Kind: Text}
	case "or", "orValue":
		if c.IsMemberFunction() {
			return oneOf(e.of(c.Target()), e.of(args[0]))
		}
	case "distinct", "sort":
		if c.IsMemberFunction() {
			return e.of(c.Target())
		}
	case "flatten":
		if of := e.of(c.Target()); of.Kind == List && of.Items != nil && of.Items.Kind == List && len(args) == 0 {
			return of.Items
		}
	case operators.Add:
		if a, b := e.of(args[0]), e.of(args[1]); a.Kind == List && b.Kind == List {
			return oneOf(a, b)
		}
	}
	return nil
}

// typed is the shape of a CEL type.
func (e *expression) typed(t *cel.Type) *Shape {
	if t == nil {
		return &Shape{Kind: Any}
	}
	switch t.Kind() {
	case types.StringKind, types.TimestampKind, types.DurationKind, types.BytesKind:
		return &Shape{Kind: Text}
	case types.BoolKind:
		return &Shape{Kind: Bool}
	case types.IntKind, types.UintKind:
		return &Shape{Kind: Whole}
	case types.DoubleKind:
		return &Shape{Kind: Number}
	case types.NullTypeKind:
		return &Shape{Kind: nothing}
	case types.ListKind:
		return &Shape{Kind: List, Items: e.typed(t.Parameters()[0])}
	case types.MapKind:
		return &Shape{Kind: Map, Items: e.typed(t.Parameters()[1])}
	case types.OpaqueKind:
		if t.TypeName() == "optional_type" {
			return e.typed(t.Parameters()[0])
		}
	case types.StructKind:
		if t.TypeName() == decimalType.TypeName() {
			return &Shape{Kind: Decimal}
		}
		if p, ok := e.scope.env.CELTypeProvider().(*provider); ok && p.objects[t.TypeName()] != nil {
			return p.objects[t.TypeName()]
		}
	}
	return &Shape{Kind: Any}
}

// oneOf is what is one of two.
func oneOf(a, b *Shape) *Shape {
	switch {
	case a == nil || b == nil:
		return nil
	case a.Kind == never || a.Kind == nothing:
		return b
	case b.Kind == never || b.Kind == nothing:
		return a
	case a == b:
		return a
	}
	out := &Shape{Kind: a.Kind}
	if len(a.Enum) > 0 && len(b.Enum) > 0 {
		out.Enum = append(append([]any{}, a.Enum...), b.Enum...)
	}
	number := func(s *Shape) bool { return s.Kind == Number || s.Kind == Whole }
	switch {
	case number(a) && number(b):
		if a.Kind != b.Kind {
			out.Kind = Number
		}
	case a.Kind != b.Kind:
		return &Shape{Kind: Any}
	case a.Kind == List || a.Kind == Map:
		out.Items = either(a.Items, b.Items)
	case a.Kind == Object:
		out.Fields, out.Open = map[string]*Shape{}, a.Open || b.Open
		for name, of := range a.Fields {
			out.Fields[name] = of
			if other, ok := b.Fields[name]; ok {
				out.Fields[name] = oneOf(of, other)
			}
			if a.needs(name) && b.needs(name) {
				out.Required = append(out.Required, name)
			}
		}
		for name, of := range b.Fields {
			if _, ok := a.Fields[name]; !ok {
				out.Fields[name] = of
			}
		}
	}
	return out
}

// either joins what lists hold; an empty list says nothing.
func either(a, b *Shape) *Shape {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	return oneOf(a, b)
}
