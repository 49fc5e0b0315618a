package expr

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Shape is what is known of a value before it is there: a JSON Schema, read for the little that types need.
type Shape struct {
	Kind        Kind
	Description string
	Fields      map[string]*Shape // of Object
	Required    []string          // those of the fields that are always there
	Open        bool              // of Object: it may have other fields, too
	Items       *Shape            // of List and Map; nil: anything
	Enum        []any
}

// Kind sorts shapes.
type Kind string

// The kinds.
const (
	Any     Kind = "anything"
	Text    Kind = "text"
	Decimal Kind = "decimal" // an amount: text in JSON, and never a double
	Number  Kind = "number"
	Whole   Kind = "whole number"
	Bool    Kind = "true or false"
	Object  Kind = "object"
	List    Kind = "list"
	Map     Kind = "map" // an object with any keys, whose values have one shape
)

// jsonSchema is as much of a JSON Schema as shapes need.
type jsonSchema struct {
	Type                 any                        `json:"type"`
	Format               string                     `json:"format"`
	Title                string                     `json:"title"`
	Description          string                     `json:"description"`
	Properties           map[string]json.RawMessage `json:"properties"`
	Required             []string                   `json:"required"`
	Items                json.RawMessage            `json:"items"`
	AdditionalProperties json.RawMessage            `json:"additionalProperties"`
	Enum                 []any                      `json:"enum"`
}

// ShapeOf reads a JSON Schema without references. What it cannot tell is Any.
func ShapeOf(schema json.RawMessage) (*Shape, error) {
	var always bool
	if len(schema) == 0 || json.Unmarshal(schema, &always) == nil {
		return &Shape{Kind: Any}, nil
	}
	var s jsonSchema
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, fmt.Errorf("reading a schema: %w", err)
	}
	out := &Shape{Kind: Any, Description: s.Description, Enum: s.Enum}
	if out.Description == "" {
		out.Description = s.Title
	}
	var err error
	switch kindName(s.Type) {
	case "string":
		if out.Kind = Text; s.Format == "decimal" {
			out.Kind = Decimal
		}
	case "number":
		out.Kind = Number
	case "integer":
		out.Kind = Whole
	case "boolean":
		out.Kind = Bool
	case "array":
		out.Kind = List
		out.Items, err = ShapeOf(s.Items)
	case "object":
		if len(s.Properties) == 0 {
			if string(s.AdditionalProperties) == "false" {
				out.Kind = Object
				return out, nil
			}
			out.Kind = Map
			out.Items, err = ShapeOf(s.AdditionalProperties)
			return out, err
		}
		out.Kind, out.Required, out.Open = Object, s.Required, string(s.AdditionalProperties) != "false"
		out.Fields = make(map[string]*Shape, len(s.Properties))
		for name, property := range s.Properties {
			if out.Fields[name], err = ShapeOf(property); err != nil {
				return nil, err
			}
		}
	}
	return out, err
}

// kindName is the one type that a schema names beside null; empty when it names none or several.
func kindName(of any) string {
	switch of := of.(type) {
	case string:
		return of
	case []any:
		of = slices.DeleteFunc(slices.Clone(of), func(v any) bool { return v == "null" })
		if len(of) == 1 {
			name, _ := of[0].(string)
			return name
		}
	}
	return ""
}

// ObjectOf is an object that has all of these fields.
func ObjectOf(fields map[string]*Shape) *Shape {
	return &Shape{Kind: Object, Fields: fields, Required: slices.Sorted(maps.Keys(fields))}
}

// names are the names of an object's fields, in order.
func (s *Shape) names() []string { return slices.Sorted(maps.Keys(s.Fields)) }

func (s *Shape) needs(field string) bool { return slices.Contains(s.Required, field) }

// String names the shape for people.
func (s *Shape) String() string {
	switch {
	case s == nil:
		return string(Any)
	case s.Kind == List:
		return "list of " + s.Items.String()
	case s.Kind == Map:
		return "map of " + s.Items.String()
	}
	return string(s.Kind)
}
