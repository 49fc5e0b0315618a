package flow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Formats of a flow's document as a file.
const (
	JSON = "JSON"
	YAML = "YAML"
)

// Export writes a document as a file: the fields in the order in which they are described, those of the user's own making
// by name, so that two exports of one flow differ only where the flow does.
func Export(doc json.RawMessage, format string) (string, error) {
	v, err := exactly(doc)
	if err != nil {
		return "", err
	}
	inOrder := arrange(v, reflect.TypeFor[Definition]())
	var b bytes.Buffer
	if format == YAML {
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		if err := e.Encode(yamlOf(inOrder)); err != nil {
			return "", err
		}
		return b.String(), e.Close()
	}
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err = e.Encode(inOrder)
	return b.String(), err
}

// Import reads a file that Export wrote, or that somebody wrote by hand: JSON or YAML.
func Import(text string) (json.RawMessage, error) {
	if len(text) > maxDefinition {
		return nil, fmt.Errorf("the document is larger than %d bytes", maxDefinition)
	}
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		v, err := exactly([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("this is no JSON: %w", err)
		}
		return json.Marshal(v)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, fmt.Errorf("this is neither JSON nor YAML: %w", err)
	}
	v, err := plainYAML(&doc)
	if err != nil {
		return nil, err
	}
	if _, ok := v.(map[string]any); !ok {
		return nil, fmt.Errorf("a flow is an object: name, trigger, steps")
	}
	return json.Marshal(v)
}

// exactly decodes one JSON value and keeps the digits of its numbers.
func exactly(raw []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the document")
	}
	return v, nil
}

// member is a field of an object whose fields have an order.
type member struct {
	key   string
	value any
}

type members []member

// MarshalJSON implements json.Marshaler.
func (all members) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, m := range all {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := e.Encode(m.key); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := e.Encode(m.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// arrange puts an object's fields into the order of a type's, where it has one, with what the type does not know behind.
func arrange(v any, t reflect.Type) any {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	of := func(kind reflect.Kind) reflect.Type {
		if t != nil && t.Kind() == kind {
			return t.Elem()
		}
		return nil
	}
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = arrange(v[i], of(reflect.Slice))
		}
		return out
	case map[string]any:
		var out members
		known := map[string]bool{}
		if t != nil && t.Kind() == reflect.Struct {
			for i := range t.NumField() {
				name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
				known[name] = true
				if value, ok := v[name]; ok {
					out = append(out, member{name, arrange(value, t.Field(i).Type)})
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if !known[name] {
				out = append(out, member{name, arrange(v[name], of(reflect.Map))})
			}
		}
		return out
	}
	return v
}

func yamlOf(v any) *yaml.Node {
	scalar := func(tag, text string) *yaml.Node {
		n := &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text}
		if tag == "!!str" {
			n.SetString(text)
		}
		return n
	}
	switch v := v.(type) {
	case members:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, m := range v {
			n.Content = append(n.Content, scalar("!!str", m.key), yamlOf(m.value))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, item := range v {
			n.Content = append(n.Content, yamlOf(item))
		}
		return n
	case string:
		return scalar("!!str", v)
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return scalar("!!float", v.String())
		}
		return scalar("!!int", v.String())
	case bool:
		return scalar("!!bool", fmt.Sprint(v))
	}
	return scalar("!!null", "null")
}

// plainYAML makes JSON values of YAML. What JSON has no word for is refused, or taken as the text that it is.
func plainYAML(n *yaml.Node) (any, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("line %d, column %d: %s", n.Line, n.Column, fmt.Sprintf(format, args...))
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return plainYAML(n.Content[0])
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, item := range n.Content {
			var err error
			if out[i], err = plainYAML(item); err != nil {
				return nil, err
			}
		}
		return out, nil
	case yaml.MappingNode:
		out := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
				return nil, bad("the names of fields are texts here")
			}
			if _, twice := out[key.Value]; twice {
				return nil, bad("the field %q is there twice", key.Value)
			}
			value, err := plainYAML(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			out[key.Value] = value
		}
		return out, nil
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return nil, nil
		case "!!bool":
			return n.Value == "true" || n.Value == "True" || n.Value == "TRUE", nil
		case "!!int", "!!float":
			var number json.Number
			if json.Unmarshal([]byte(n.Value), &number) != nil {
				return nil, bad("%s is no number that JSON has; put quotes around it to mean the text", n.Value)
			}
			return number, nil
		}
		return n.Value, nil
	case yaml.AliasNode:
		return nil, bad("references (*%s) are not taken; write the value out", n.Value)
	}
	return nil, bad("there is nothing here")
}
