package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	checker "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Problem is one thing wrong with a value.
type Problem struct {
	Path    []string // such as ["lines", "0", "amount"]; empty for the value itself
	Code    string   // INVALID REQUIRED UNKNOWN TYPE ENUM FORMAT PATTERN RANGE LENGTH
	Message string   // a sentence that says what was expected and what was found
}

// Problems is all that is wrong with a value, as an error.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = strings.TrimPrefix(strings.Join(p.Path, ".")+": "+p.Message, ": ")
	}
	return strings.Join(lines, " ")
}

// problems puts the checker's tree of errors into a sorted list.
func (s *Schema) problems(value any, err error) []Problem {
	var failed *checker.ValidationError
	if !errors.As(err, &failed) {
		return nil
	}
	var found []Problem
	var visit func(*checker.ValidationError)
	visit = func(e *checker.ValidationError) {
		if len(e.Causes) == 0 {
			found = append(found, s.explain(value, e)...)
		}
		for _, cause := range e.Causes {
			visit(cause)
		}
	}
	visit(failed)
	slices.SortStableFunc(found, func(a, b Problem) int {
		if c := slices.CompareFunc(a.Path, b.Path, compareKeys); c != 0 {
			return c
		}
		return strings.Compare(a.Code+a.Message, b.Code+b.Message)
	})
	return found
}

func compareKeys(a, b string) int {
	i, errA := strconv.Atoi(a)
	j, errB := strconv.Atoi(b)
	if errA == nil && errB == nil && i != j {
		return i - j
	}
	return strings.Compare(a, b)
}

func (s *Schema) explain(value any, e *checker.ValidationError) []Problem {
	at := append([]string(nil), e.InstanceLocation...)
	nodes := s.nodesOn(at)
	node := nodes[len(nodes)-1]
	found := quote(valueAt(value, at), slices.ContainsFunc(nodes, func(n *checker.Schema) bool { return n != nil && n.WriteOnly }))
	one := func(code, format string, args ...any) []Problem {
		return []Problem{{Path: at, Code: code, Message: s.name(at) + " " + fmt.Sprintf(format, args...) + "."}}
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		var all []Problem
		for _, key := range k.Missing {
			path := append(slices.Clone(at), key)
			all = append(all, Problem{Path: path, Code: "REQUIRED", Message: s.name(path) + " is required."})
		}
		return all
	case *kind.AdditionalProperties:
		var all []Problem
		for _, key := range k.Properties {
			all = append(all, Problem{Path: append(slices.Clone(at), key), Code: "UNKNOWN", Message: unknown(key, node)})
		}
		return all
	case *kind.Type:
		return one("TYPE", "must be %s, not %s", nameType(k.Want), nameType([]string{k.Got}))
	case *kind.Enum:
		return one("ENUM", "must be one of %s, not %s", list(k.Want), found)
	case *kind.Const:
		return one("ENUM", "must be %s, not %s", list([]any{k.Want}), found)
	case *kind.Format:
		return one("FORMAT", "must be %s, not %s", formatName(k.Want), found)
	case *kind.Pattern:
		return one("PATTERN", "must match the pattern %s; %s does not", k.Want, found)
	case *kind.Minimum:
		return one("RANGE", "must be at least %s, not %s", number(k.Want), found)
	case *kind.Maximum:
		return one("RANGE", "must be at most %s, not %s", number(k.Want), found)
	case *kind.MinLength:
		return one("LENGTH", "must have at least %s, not %d", count(k.Want, "character"), k.Got)
	case *kind.MaxLength:
		return one("LENGTH", "must have at most %s, not %d", count(k.Want, "character"), k.Got)
	case *kind.MinItems:
		return one("LENGTH", "must have at least %s, not %d", count(k.Want, "item"), k.Got)
	case *kind.MaxItems:
		return one("LENGTH", "must have at most %s, not %d", count(k.Want, "item"), k.Got)
	}
	// Of the rest, which only schemas from elsewhere use, the rule's name must do.
	return one("INVALID", "does not meet the rule %q", strings.Join(e.ErrorKind.KeywordPath(), "."))
}

// name is what people call the field at path: its title, else its key.
func (s *Schema) name(path []string) string {
	nodes := s.nodesOn(path)
	if last := nodes[len(nodes)-1]; last != nil && last.Title != "" {
		return last.Title
	}
	for i := len(path) - 1; i >= 0; i-- {
		if _, err := strconv.Atoi(path[i]); err != nil {
			if i < len(path)-1 {
				return fmt.Sprintf("Item %s of %q", path[len(path)-1], path[i])
			}
			return fmt.Sprintf("%q", path[i])
		}
	}
	return "This"
}

func unknown(key string, node *checker.Schema) string {
	const most = 40
	message := fmt.Sprintf("There is no field %q here", shorten(key))
	if node == nil || len(node.Properties) == 0 {
		return message + "."
	}
	known := slices.Sorted(maps.Keys(node.Properties))
	if len(known) > most {
		known = append(known[:most], "…")
	}
	return message + "; it can have " + strings.Join(known, ", ") + "."
}

func valueAt(v any, path []string) any {
	for _, key := range path {
		switch parent := v.(type) {
		case map[string]any:
			v = parent[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(parent) {
				return nil
			}
			v = parent[i]
		}
	}
	return v
}

// quote shows a value found, shortened, or only its kind when it is secret.
func quote(v any, secret bool) string {
	if secret {
		return "what was given"
	}
	switch v := v.(type) {
	case string:
		return strconv.Quote(shorten(v))
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	}
	raw, _ := json.Marshal(v) // it came from JSON
	return shorten(string(raw))
}

func shorten(s string) string {
	const most = 40
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

func list(values []any) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = quote(v, false)
	}
	return strings.Join(words, ", ")
}

func number(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	return strings.TrimRight(r.FloatString(12), "0")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

var typeNames = map[string]string{
	"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false",
	"object": "an object", "array": "a list", "null": "empty",
}

func nameType(types []string) string {
	words := make([]string, len(types))
	for i, t := range types {
		words[i] = typeNames[t]
	}
	return strings.Join(words, " or ")
}

func formatName(format string) string {
	switch format {
	case "date-time":
		return "a date and time such as 2026-01-31T12:00:00Z"
	case "date":
		return "a date such as 2026-01-31"
	case "email":
		return "an e-mail address"
	case "uri":
		return "a URL such as https://example.com"
	case "decimal":
		return "a decimal number such as 12.50"
	}
	return "of the format " + format
}

// decodeError is for what JSON Schema lets through and Go does not: an integer
// too large for its type, a text of our own types' making.
func decodeError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return Problems{{Path: strings.FieldsFunc(wrong.Field, func(r rune) bool { return r == '.' }), Code: "RANGE",
			Message: fmt.Sprintf("%q does not fit: it must be a smaller %s.", wrong.Field, wrong.Type.Kind())}}
	}
	return fmt.Errorf("decoding: %w", err)
}
