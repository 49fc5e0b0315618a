// Package schema derives JSON Schemas from Go types and checks values against
// them, so that what a connector takes and gives is written once, as a struct.
//
// A field is described by its tags: json, doc (description), title or label,
// example, enum (a,b,c), format, min, max, minLength, maxLength, pattern,
// required (true or false) and secret (true). It is required unless it is a
// pointer or has omitempty or omitzero. On a slice, minLength and maxLength
// count items; enum, format and pattern are those of each item.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"sync"

	checker "github.com/santhosh-tekuri/jsonschema/v6"
)

// Schema is a compiled JSON Schema (2020-12) without references. It is safe for
// concurrent use.
type Schema struct {
	raw     json.RawMessage
	checker *checker.Schema
}

var derived sync.Map // reflect.Type → *Schema

// Of is the schema of a Go type, derived once. It panics when the type or its
// tags cannot be a schema: that is a mistake in the program, and shows at start.
func Of[T any]() *Schema {
	t := reflect.TypeFor[T]()
	if s, ok := derived.Load(t); ok {
		return s.(*Schema)
	}
	s, err := ofType(t)
	if err != nil {
		panic(fmt.Sprintf("schema of %s: %v", t, err))
	}
	kept, _ := derived.LoadOrStore(t, s)
	return kept.(*Schema)
}

func ofType(t reflect.Type) (*Schema, error) {
	node, err := reflectType(t)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(node)
	if err != nil {
		return nil, err
	}
	return Parse(raw)
}

// Parse compiles a schema that was written or stored as JSON.
func Parse(raw json.RawMessage) (*Schema, error) {
	doc, err := checker.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("reading schema: %w", err)
	}
	c := checker.NewCompiler()
	c.AssertFormat()
	c.RegisterFormat(&checker.Format{Name: "decimal", Validate: checkDecimal})
	c.UseLoader(checker.SchemeURLLoader{}) // a schema reaches nothing outside of itself
	const here = "urn:schema"
	if err := c.AddResource(here, doc); err != nil {
		return nil, fmt.Errorf("reading schema: %w", err)
	}
	compiled, err := c.Compile(here)
	if err != nil {
		return nil, fmt.Errorf("compiling schema: %w", err)
	}
	return &Schema{raw: slices.Clone(raw), checker: compiled}, nil
}

// JSON is the schema as JSON, its fields in the order of the Go type.
func (s *Schema) JSON() json.RawMessage { return slices.Clone(s.raw) }

// MarshalJSON writes what JSON answers.
func (s *Schema) MarshalJSON() ([]byte, error) { return s.raw, nil }

// With is the schema with another one for one of its properties, which keeps its place.
func (s *Schema) With(property string, is json.RawMessage) (*Schema, error) {
	var have struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(s.raw, &have); err != nil {
		return nil, fmt.Errorf("reading schema: %w", err)
	}
	key, err := json.Marshal(property)
	if err != nil {
		return nil, err
	}
	was := slices.Concat(key, []byte(":"), have.Properties[property])
	if have.Properties[property] == nil || bytes.Count(s.raw, was) != 1 {
		return nil, fmt.Errorf("the schema has no property %q, or not it alone", property)
	}
	return Parse(bytes.Replace(s.raw, was, slices.Concat(key, []byte(":"), is), 1))
}

// Enough digits for any amount, few enough to compute with.
var decimal = regexp.MustCompile(`^-?[0-9]{1,40}(\.[0-9]{1,40})?$`)

func checkDecimal(v any) error {
	if s, ok := v.(string); ok && !decimal.MatchString(s) {
		return fmt.Errorf("not a decimal")
	}
	return nil
}

// Validate lists every problem of a value, sorted by path. The value is raw
// JSON ([]byte or json.RawMessage) or anything encoding/json can write. A null
// in an optional field counts as left out: templates render what is missing so.
func (s *Schema) Validate(value any) []Problem {
	_, problems := s.check(value)
	return problems
}

// Decode validates a value and stores it where into points; its error is
// Problems when the value is at fault.
func (s *Schema) Decode(value, into any) error {
	plain, problems := s.check(value)
	if len(problems) > 0 {
		return Problems(problems)
	}
	raw, err := json.Marshal(plain)
	if err != nil {
		return fmt.Errorf("decoding: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return decodeError(err)
	}
	return nil
}

func (s *Schema) check(value any) (any, []Problem) {
	plain, err := plainJSON(value)
	if err != nil {
		return nil, []Problem{{Code: "INVALID", Message: "This is not JSON: " + err.Error() + "."}}
	}
	var odd []Problem
	plain = s.tidy(s.checker, plain, nil, &odd)
	if len(odd) > 0 {
		return nil, odd
	}
	return plain, s.problems(plain, s.checker.Validate(plain))
}
