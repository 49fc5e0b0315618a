package schema

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/apd/v3"
	"github.com/invopop/jsonschema"
)

var (
	decimalType = reflect.TypeFor[apd.Decimal]()
	timeType    = reflect.TypeFor[time.Time]()
	rawType     = reflect.TypeFor[json.RawMessage]()
	textType    = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// reflectType has the library read the types and adds what our tags say.
func reflectType(t reflect.Type) (node *jsonschema.Schema, err error) {
	if err := finite(t, nil); err != nil {
		return nil, err
	}
	defer func() { // the library panics on what JSON cannot hold: channels, functions
		if r := recover(); r != nil {
			node, err = nil, fmt.Errorf("%v", r)
		}
	}()
	r := jsonschema.Reflector{Anonymous: true, DoNotReference: true, Mapper: special}
	node = r.ReflectFromType(t)
	node.Version = ""
	return node, annotate(node, t)
}

// special is the schema of types that are not what their kind says.
func special(t reflect.Type) *jsonschema.Schema {
	switch {
	case t == decimalType:
		return &jsonschema.Schema{Type: "string", Format: "decimal"}
	case t == timeType:
		return &jsonschema.Schema{Type: "string", Format: "date-time"}
	case t == rawType || t.Kind() == reflect.Interface:
		return &jsonschema.Schema{}
	case reflect.PointerTo(t).Implements(textType):
		return &jsonschema.Schema{Type: "string"}
	}
	return nil
}

// finite refuses types that hold themselves: written out, they never end.
func finite(t reflect.Type, above []reflect.Type) error {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return finite(t.Elem(), above)
	case reflect.Struct:
		if slices.Contains(above, t) {
			return fmt.Errorf("%s holds itself", t)
		}
		if special(t) != nil {
			return nil
		}
		for i := range t.NumField() {
			if err := finite(t.Field(i).Type, append(above, t)); err != nil {
				return err
			}
		}
	}
	return nil
}

func annotate(node *jsonschema.Schema, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case node == nil || node == jsonschema.FalseSchema || special(t) != nil:
		return nil
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Array:
		return annotate(node.Items, t.Elem())
	case t.Kind() == reflect.Map:
		return annotate(node.AdditionalProperties, t.Elem())
	case reflect.Uint <= t.Kind() && t.Kind() <= reflect.Uint64:
		node.Minimum = "0"
	case t.Kind() == reflect.Struct:
		return annotateFields(node, t)
	}
	return nil
}

func annotateFields(node *jsonschema.Schema, t reflect.Type) error {
	node.Required = nil
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" && options == "" || !f.IsExported() || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		property, ok := node.Properties.Get(name)
		if !ok {
			continue
		}
		if err := annotate(property, f.Type); err != nil {
			return err
		}
		if err := tags(property, f.Tag); err != nil {
			return fmt.Errorf("%s.%s: %w", t, f.Name, err)
		}
		optional := f.Type.Kind() == reflect.Pointer || slices.ContainsFunc(strings.Split(options, ","), func(o string) bool {
			return o == "omitempty" || o == "omitzero"
		})
		if required, err := boolTag(f.Tag, "required", !optional); err != nil {
			return fmt.Errorf("%s.%s: %w", t, f.Name, err)
		} else if required {
			node.Required = append(node.Required, name)
		}
	}
	return nil
}

func tags(p *jsonschema.Schema, tag reflect.StructTag) (err error) {
	p.Description = tag.Get("doc")
	if p.Title = tag.Get("title"); p.Title == "" {
		p.Title = tag.Get("label")
	}
	if p.WriteOnly, err = boolTag(tag, "secret", false); err != nil {
		return err
	}
	value := p // what enum, format and pattern speak of
	if p.Type == "array" {
		value = p.Items
	}
	if s, ok := tag.Lookup("format"); ok {
		value.Format = s
	}
	if s, ok := tag.Lookup("pattern"); ok {
		value.Pattern = s
	}
	if s, ok := tag.Lookup("enum"); ok {
		for item := range strings.SplitSeq(s, ",") {
			v, err := literal(value.Type, strings.TrimSpace(item))
			if err != nil {
				return fmt.Errorf("enum: %w", err)
			}
			value.Enum = append(value.Enum, v)
		}
	}
	if s, ok := tag.Lookup("example"); ok {
		v, err := literal(p.Type, s)
		if err != nil {
			return fmt.Errorf("example: %w", err)
		}
		p.Examples = []any{v}
	}
	return bounds(p, tag)
}

func bounds(p *jsonschema.Schema, tag reflect.StructTag) error {
	for name, at := range map[string]*json.Number{"min": &p.Minimum, "max": &p.Maximum} {
		if s, ok := tag.Lookup(name); ok {
			if _, err := strconv.ParseFloat(s, 64); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			*at = json.Number(s)
		}
	}
	least, most := &p.MinLength, &p.MaxLength
	if p.Type == "array" {
		least, most = &p.MinItems, &p.MaxItems
	}
	for name, at := range map[string]**uint64{"minLength": least, "maxLength": most} {
		if s, ok := tag.Lookup(name); ok {
			n, err := strconv.ParseUint(s, 10, 31)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			*at = &n
		}
	}
	return nil
}

func boolTag(tag reflect.StructTag, name string, otherwise bool) (bool, error) {
	s, ok := tag.Lookup(name)
	if !ok {
		return otherwise, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

// literal reads what a tag says as a value of a type.
func literal(kind, s string) (v any, err error) {
	if kind == "string" {
		return s, nil
	}
	return plainJSON([]byte(s))
}
