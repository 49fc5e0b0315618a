package expr

import (
	"errors"
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// TypedScope declares variables whose shapes are known, so that an expression is checked against them before it is run.
func TypedScope(variables map[string]*Shape) (*Scope, error) {
	base, err := base()
	if err != nil {
		return nil, fmt.Errorf("preparing expressions: %w", err)
	}
	p := &provider{Provider: base.CELTypeProvider(), objects: map[string]*Shape{}}
	declared := make(map[string]*cel.Type, len(variables))
	for name, shape := range variables {
		declared[name] = p.declare("@"+name, shape)
	}
	s, err := NewScope(declared, cel.CustomTypeProvider(p))
	if err != nil {
		return nil, err
	}
	s.shapes = variables
	return s, nil
}

// provider tells CEL of objects' fields. An object's type is named by where it is, @trigger.address, with what no expression can
// write, which would else be read as the type's name.
type provider struct {
	types.Provider
	objects map[string]*Shape
}

// declare makes the CEL type of a shape. All numbers are doubles, as they are in JSON.
func (p *provider) declare(name string, s *Shape) *cel.Type {
	if s == nil {
		return cel.DynType
	}
	switch s.Kind {
	case Text:
		return cel.StringType
	case Decimal:
		return decimalType
	case Number, Whole:
		return cel.DoubleType
	case Bool:
		return cel.BoolType
	case List:
		return cel.ListType(p.declare(name+"[]", s.Items))
	case Map:
		return cel.MapType(cel.StringType, p.declare(name+".*", s.Items))
	case Object:
		p.objects[name] = s
		for field, shape := range s.Fields {
			p.declare(name+"."+field, shape)
		}
		return cel.ObjectType(name)
	}
	return cel.DynType
}

// FindStructType implements types.Provider.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.objects[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	if s, ok := p.objects[name]; ok {
		return s.names(), true
	}
	return p.Provider.FindStructFieldNames(name)
}

// FindStructFieldType implements types.Provider.
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	s, ok := p.objects[name]
	if !ok {
		return p.Provider.FindStructFieldType(name, field)
	}
	of, ok := s.Fields[field]
	if !ok && !s.Open {
		return nil, false
	}
	return &types.FieldType{
		Type: p.declare(name+"."+field, of),
		IsSet: func(object any) bool {
			m, _ := object.(map[string]any)
			_, there := m[field]
			return there
		},
		GetFrom: func(object any) (any, error) {
			m, _ := object.(map[string]any)
			v, there := m[field]
			if !there {
				return nil, errors.New("no such key: " + field)
			}
			return lift(v, of)
		},
	}, true
}

// NewValue implements types.Provider: expressions make maps, not objects of our types.
func (p *provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if _, ok := p.objects[name]; ok {
		return types.NewErr("%s cannot be made here; write a map, {'field': value}", name)
	}
	return p.Provider.NewValue(name, fields)
}

// lift makes decimals of the texts that are amounts.
func lift(v any, s *Shape) (any, error) {
	if s == nil || v == nil {
		return v, nil
	}
	switch s.Kind {
	case Decimal:
		if text, ok := v.(string); ok && text != "" {
			return newDecimal(text)
		}
	case List:
		list, ok := v.([]any)
		if !ok || !s.Items.lifts() {
			return v, nil
		}
		out := make([]any, len(list))
		for i := range list {
			var err error
			if out[i], err = lift(list[i], s.Items); err != nil {
				return nil, err
			}
		}
		return out, nil
	case Map:
		m, ok := v.(map[string]any)
		if !ok || !s.Items.lifts() {
			return v, nil
		}
		out := make(map[string]any, len(m))
		for key := range m {
			var err error
			if out[key], err = lift(m[key], s.Items); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

// lifts tells whether a value of the shape is read as something else than JSON has.
func (s *Shape) lifts() bool {
	return s != nil && (s.Kind == Decimal || (s.Kind == List || s.Kind == Map) && s.Items.lifts())
}
