package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	checker "github.com/santhosh-tekuri/jsonschema/v6"
)

// plainJSON makes a fresh tree of JSON values, its numbers as they were written.
func plainJSON(value any) (plain any, err error) {
	var raw []byte
	switch v := value.(type) {
	case []byte:
		raw = v
	case json.RawMessage:
		raw = v
	default:
		if raw, err = json.Marshal(value); err != nil {
			return nil, err
		}
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&plain); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the value")
	}
	return plain, nil
}

// tidy drops the nulls of optional fields and writes whole numbers as integers,
// in place. A number too far out to compute with is a problem already: the
// checker would work out all its digits.
func (s *Schema) tidy(node *checker.Schema, v any, path []string, odd *[]Problem) any {
	switch v := v.(type) {
	case json.Number:
		n, ok := tidyNumber(v)
		if !ok {
			*odd = append(*odd, Problem{Path: slices.Clone(path), Code: "RANGE", Message: "This number is too large or too long."})
		}
		return n
	case []any:
		items := itemsOf(node)
		for i := range v {
			v[i] = s.tidy(items, v[i], append(path, strconv.Itoa(i)), odd)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			property := propertyOf(node, key)
			if v[key] == nil && isOptional(node, key) && !takesNull(property) {
				delete(v, key)
				continue
			}
			v[key] = s.tidy(property, v[key], append(path, key), odd)
		}
	}
	return v
}

func tidyNumber(n json.Number) (json.Number, bool) {
	const longest, exact = 400, 1 << 53
	text := n.String()
	if !strings.ContainsAny(text, ".eE") {
		return n, len(text) <= longest
	}
	f, err := n.Float64()
	if err != nil || len(text) > longest {
		return n, false
	}
	if _, exponent, ok := strings.Cut(strings.ToLower(text), "e"); ok {
		if e, err := strconv.Atoi(exponent); err != nil || e < -longest {
			return n, false
		}
	}
	if f == math.Trunc(f) && math.Abs(f) <= exact && f != 0 {
		return json.Number(strconv.FormatInt(int64(f), 10)), true
	}
	return n, true
}

// isOptional says whether node knows the field and does not insist on it.
func isOptional(node *checker.Schema, key string) bool {
	return node != nil && node.Properties[key] != nil && !slices.Contains(node.Required, key)
}

func takesNull(node *checker.Schema) bool {
	return node == nil || node.Types.IsEmpty() || slices.Contains(node.Types.ToStrings(), "null")
}

func propertyOf(node *checker.Schema, key string) *checker.Schema {
	if node == nil {
		return nil
	}
	if p := node.Properties[key]; p != nil {
		return p
	}
	additional, _ := node.AdditionalProperties.(*checker.Schema)
	return additional
}

func itemsOf(node *checker.Schema) *checker.Schema {
	if node == nil {
		return nil
	}
	return node.Items2020
}

// nodesOn lists the schemas from the root to what stands at path; a part no
// schema speaks of is nil.
func (s *Schema) nodesOn(path []string) []*checker.Schema {
	nodes := []*checker.Schema{s.checker}
	for _, key := range path {
		node := nodes[len(nodes)-1]
		if items := itemsOf(node); items != nil {
			nodes = append(nodes, items)
		} else {
			nodes = append(nodes, propertyOf(node, key))
		}
	}
	return nodes
}
