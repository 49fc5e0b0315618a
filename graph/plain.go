package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"tieline/graph/model"
)

// plain is an extension that writes what a field answers at once, where nothing below it needs a resolver. gqlgen gives
// each field of each object a context, closures and often a goroutine, which for a page of runs is most of the work.
// What plain cannot write it leaves to gqlgen as it is: arguments, interfaces, what is to be read first, and whatever is
// an error, so that there is one place that tells of those.
type plain struct{ schema *ast.Schema }

var _ graphql.OperationContextMutator = plain{}

func (plain) ExtensionName() string                   { return "Plain" }
func (plain) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationContext puts plain behind the resolvers of an operation.
func (p plain) MutateOperationContext(_ context.Context, op *graphql.OperationContext) *gqlerror.Error {
	w := &writing{schema: p.schema, op: op}
	resolve := op.ResolverMiddleware
	op.ResolverMiddleware = func(ctx context.Context, next graphql.Resolver) (any, error) {
		v, err := resolve(ctx, next)
		if err != nil || v == nil {
			return v, err
		}
		if text, ok := w.write(graphql.GetFieldContext(ctx).Field, v); ok {
			return text, nil
		}
		return v, nil
	}
	return nil
}

// written is an answer's text, which gqlgen takes in place of a field's value.
type written []byte

// MarshalGQL implements graphql.Marshaler.
func (w written) MarshalGQL(to io.Writer) { _, _ = to.Write(w) }

// writing is what plain knows of an operation.
type writing struct {
	schema *ast.Schema
	op     *graphql.OperationContext
	plans  sync.Map // *ast.Field → plan
}

// plan is how a field's value is written. One that nothing can be done for has no write.
type plan struct {
	of    reflect.Type
	sel   ast.SelectionSet // a fragment's field may be merged with others in one place and not in another
	write writer
}

// writer appends a value; false when it is gqlgen's to show.
type writer func(b []byte, v reflect.Value) ([]byte, bool)

func (w *writing) write(f graphql.CollectedField, v any) (written, bool) {
	if len(f.Selections) == 0 {
		return nil, false
	}
	known, ok := w.plans.Load(f.Field)
	if !ok {
		known, _ = w.plans.LoadOrStore(f.Field, w.plan(f, reflect.TypeOf(v)))
	}
	p := known.(plan)
	if p.of != reflect.TypeOf(v) || !slices.Equal(p.sel, f.Selections) {
		p = w.plan(f, reflect.TypeOf(v))
	}
	if p.write == nil {
		return nil, false
	}
	return p.write(nil, reflect.ValueOf(v))
}

func (w *writing) plan(f graphql.CollectedField, of reflect.Type) plan {
	return plan{of, f.Selections, w.value(f.Definition.Type, of, f.Selections)}
}

// value is how values of a type are written; nil when they cannot be.
func (w *writing) value(of *ast.Type, t reflect.Type, sel ast.SelectionSet) writer {
	def := w.schema.Types[of.Name()]
	switch {
	case t.Kind() == reflect.Pointer:
		return pointer(w.value(of, t.Elem(), sel), of.NonNull)
	case of.Elem != nil && t.Kind() == reflect.Slice:
		return array(w.value(of.Elem, t.Elem(), sel), of.NonNull)
	case of.Elem != nil:
		return nil
	case def.Kind == ast.Object && t.Kind() == reflect.Struct:
		return w.object(def, t, sel)
	case def.Name == "DateTime" && t == reflect.TypeFor[time.Time]():
		return func(b []byte, v reflect.Value) ([]byte, bool) {
			return model.AppendDateTime(b, v.Interface().(time.Time)), true
		}
	case def.Name == "JSON" && t == reflect.TypeFor[json.RawMessage]():
		return func(b []byte, v reflect.Value) ([]byte, bool) {
			if v.Len() == 0 {
				return null(b, of.NonNull)
			}
			return append(b, v.Bytes()...), true
		}
	case def.Name == "Int" && t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		return func(b []byte, v reflect.Value) ([]byte, bool) { return strconv.AppendInt(b, v.Int(), 10), true }
	case def.Name == "Boolean" && t.Kind() == reflect.Bool:
		return func(b []byte, v reflect.Value) ([]byte, bool) { return strconv.AppendBool(b, v.Bool()), true }
	case (def.Name == "String" || def.Name == "ID" || def.Kind == ast.Enum) && t.Kind() == reflect.String:
		return func(b []byte, v reflect.Value) ([]byte, bool) { return quoted(b, v.String()), true }
	}
	return nil
}

// object is how objects are written; nil when a field of theirs cannot be.
func (w *writing) object(def *ast.Definition, t reflect.Type, sel ast.SelectionSet) writer {
	type field struct {
		name  []byte
		at    []int
		ahead bool
		write writer
	}
	is := []string{def.Name}
	for _, i := range w.schema.Implements[def.Name] {
		is = append(is, i.Name)
	}
	var fields []field
	seen := map[string]bool{}
	for _, f := range graphql.CollectFields(w.op, sel, is) {
		if f.IsDeferred() || seen[f.Alias] {
			return nil
		}
		seen[f.Alias] = true
		name := append(quoted(nil, f.Alias), ':')
		if f.Name == "__typename" {
			fields = append(fields, field{name: append(name, quoted(nil, def.Name)...)})
			continue
		}
		at, ok := goFieldsOf(t)[strings.ToLower(f.Name)]
		if !ok || len(f.Definition.Arguments) > 0 || f.Definition.Directives.ForName("scope") != nil {
			return nil
		}
		write := w.value(f.Definition.Type, t.FieldByIndex(at.index).Type, f.Selections)
		if write == nil {
			return nil
		}
		fields = append(fields, field{name, at.index, at.ahead, write})
	}
	return func(b []byte, v reflect.Value) ([]byte, bool) {
		b = append(b, '{')
		for i, f := range fields {
			if i > 0 {
				b = append(b, ',')
			}
			if b = append(b, f.name...); f.write == nil {
				continue
			}
			x := v.FieldByIndex(f.at)
			if f.ahead && x.IsNil() {
				return nil, false
			}
			var ok bool
			if b, ok = f.write(b, x); !ok {
				return nil, false
			}
		}
		return append(b, '}'), true
	}
}

func pointer(to writer, nonNull bool) writer {
	if to == nil {
		return nil
	}
	return func(b []byte, v reflect.Value) ([]byte, bool) {
		if v.IsNil() {
			return null(b, nonNull)
		}
		return to(b, v.Elem())
	}
}

func array(of writer, nonNull bool) writer {
	if of == nil {
		return nil
	}
	return func(b []byte, v reflect.Value) ([]byte, bool) {
		if v.IsNil() && !nonNull {
			return null(b, nonNull)
		}
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			var ok bool
			if b, ok = of(b, v.Index(i)); !ok {
				return nil, false
			}
		}
		return append(b, ']'), true
	}
}

func null(b []byte, nonNull bool) ([]byte, bool) { return append(b, "null"...), !nonNull }

// quoted appends a text as gqlgen writes it.
func quoted(b []byte, s string) []byte {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == '"' || s[i] == '\\' {
			var out bytes.Buffer
			graphql.MarshalString(s).MarshalGQL(&out)
			return append(b, out.Bytes()...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// goField is where a Go struct has a field of the schema. What is there ahead of its resolver is nil until it was read.
type goField struct {
	index []int
	ahead bool
}

var goFields sync.Map // reflect.Type → map[string]goField, by names in lower case

// goFieldsOf finds the fields of a struct that gqlgen would bind by name. What has a method by the name is the method's.
func goFieldsOf(t reflect.Type) map[string]goField {
	if known, ok := goFields.Load(t); ok {
		return known.(map[string]goField)
	}
	out := map[string]goField{}
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() && !f.Anonymous {
			out[strings.ToLower(f.Name)] = goField{f.Index, f.Tag.Get("json") == "-"}
		}
	}
	for m := range reflect.PointerTo(t).Methods() {
		delete(out, strings.ToLower(m.Name))
	}
	goFields.Store(t, out)
	return out
}
