package conntest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Spec is a vendor's OpenAPI file, of version 3.0, as JSON.
type Spec struct {
	root map[string]any
	// Nulls are fields that may be null although the file does not say so: the vendor's other documentation does.
	Nulls []string
}

// ReadSpec reads one.
func ReadSpec(t *testing.T, file string) Spec {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s Spec
	if err := json.Unmarshal(raw, &s.root); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return s
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

// operation finds one by method and path, with {} for ids. What all operations of a path have in common is part of each.
func (s Spec) operation(method, path string) map[string]any {
	paths, _ := s.root["paths"].(map[string]any)
	for p, item := range paths {
		if placeholder.ReplaceAllString(p, "{}") != path {
			continue
		}
		all, _ := item.(map[string]any)
		op, ok := all[strings.ToLower(method)].(map[string]any)
		if !ok {
			return nil
		}
		op = maps.Clone(op)
		op["parameters"] = slices.Concat(s.list(all, "parameters"), s.list(op, "parameters"))
		return op
	}
	return nil
}

// resolve follows references.
func (s Spec) resolve(v any) map[string]any {
	node, _ := v.(map[string]any)
	for {
		ref, ok := node["$ref"].(string)
		if !ok {
			return node
		}
		var at any = s.root
		for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			object, _ := at.(map[string]any)
			at = object[strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")]
		}
		node, _ = at.(map[string]any)
	}
}

// content is the schema of a body.
func (s Spec) content(body any) map[string]any {
	kinds, _ := s.resolve(body)["content"].(map[string]any)
	for _, kind := range []string{"application/json", "application/x-www-form-urlencoded"} {
		if media, ok := kinds[kind].(map[string]any); ok {
			return s.resolve(media["schema"])
		}
	}
	return nil
}

// answer is the schema of an operation's answer.
func (s Spec) answer(op map[string]any, status int) map[string]any {
	responses, _ := op["responses"].(map[string]any)
	return s.content(responses[fmt.Sprint(status)])
}

// CheckTable has a table say what the specification says: that each operation, parameter and field is known, which must be
// there, and what an answer has. With rewrite the table is written anew.
func (s Spec) CheckTable(t *testing.T, file string, rewrite bool) {
	t.Helper()
	table := Facts(t, file)
	for i, f := range table {
		op := s.operation(f.Method, f.Path)
		if op == nil {
			t.Errorf("%s is not in the specification", f.name())
			continue
		}
		if responses, _ := op["responses"].(map[string]any); responses[fmt.Sprint(f.Status)] == nil {
			t.Errorf("%s: %d is none of its answers", f.name(), f.Status)
		}
		want := f
		want.Query, want.Body = s.marked(t, f, f.Query, s.parameters(op)), s.marked(t, f, f.Body, s.fields(s.content(op["requestBody"])))
		want.Answer = strings.Join(s.required(s.answer(op, f.Status), "", 2), " ")
		if table[i] = want; !rewrite && want != f {
			t.Errorf("%s: the table has\n%+v, the specification\n%+v", f.name(), f, want)
		}
	}
	if rewrite {
		out := []string{}
		for _, f := range table {
			line, err := json.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, "  "+string(line))
		}
		if err := os.WriteFile(file, []byte("[\n"+strings.Join(out, ",\n")+"\n]\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// marked are names of a table, with a star for those that must be there. Those that must be and are not named are added.
func (s Spec) marked(t *testing.T, f Fact, names string, known map[string]bool) string {
	t.Helper()
	var out []string
	seen := map[string]bool{}
	for name := range strings.FieldsSeq(names) {
		name = strings.TrimSuffix(name, "*")
		must, ok := known[name]
		if !ok && !strings.HasSuffix(name, "~") {
			t.Errorf("%s does not know %s", f.name(), name)
		}
		if seen[name] = true; must {
			name += "*"
		}
		out = append(out, name)
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		holder, _, below := cutLast(name)
		if known[name] && !seen[name] && (!below || seen[holder]) {
			seen[name] = true
			out = append(out, name+"*")
		}
	}
	return strings.Join(out, " ")
}

func cutLast(name string) (before, after string, found bool) {
	i := strings.LastIndex(name, ".")
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

// parameters are those of the query, and whether they must be there.
func (s Spec) parameters(op map[string]any) map[string]bool {
	out := map[string]bool{}
	list, _ := op["parameters"].([]any)
	for _, p := range list {
		if node := s.resolve(p); node["in"] == "query" {
			out[node["name"].(string)] = node["required"] == true
		}
	}
	return out
}

// fields are those of a body, three objects deep, and whether they must be there.
func (s Spec) fields(schema map[string]any) map[string]bool {
	out := map[string]bool{}
	var look func(node map[string]any, at string, depth int)
	look = func(node map[string]any, at string, depth int) {
		if depth == 0 {
			return
		}
		if items := s.resolve(node["items"]); items != nil {
			look(items, at, depth)
		}
		must, properties := s.object(node)
		for name, p := range properties {
			out[at+name] = out[at+name] || slices.Contains(must, name)
			look(s.resolve(p), at+name+".", depth-1)
		}
	}
	look(schema, "", 3)
	return out
}

// object is what an object has, of all that it is made of together.
func (s Spec) object(node map[string]any) (must []string, properties map[string]any) {
	properties = map[string]any{}
	own, _ := node["properties"].(map[string]any)
	maps.Copy(properties, own)
	list, _ := node["required"].([]any)
	for _, name := range list {
		must = append(must, name.(string))
	}
	parts, _ := node["allOf"].([]any)
	for _, p := range parts {
		more, below := s.object(s.resolve(p))
		must = append(must, more...)
		maps.Copy(properties, below)
	}
	return must, properties
}

// required are the fields that an answer must have, with their types, some objects deep.
func (s Spec) required(node map[string]any, at string, depth int) (out []string) {
	if items := s.resolve(node["items"]); items != nil {
		return s.required(items, at, depth)
	}
	must, properties := s.object(node)
	slices.Sort(must)
	for _, name := range slices.Compact(must) {
		p := s.resolve(properties[name])
		kind, ok := p["type"].(string)
		if !ok {
			kind = "any"
			if len(s.list(p, "allOf")) > 0 || p["properties"] != nil {
				kind = "object"
			}
		}
		if p["nullable"] == true {
			kind += "?"
		}
		out = append(out, at+name+":"+kind)
		if depth > 1 {
			out = append(out, s.required(p, at+name+".", depth-1)...)
		}
	}
	return out
}

func (s Spec) list(node map[string]any, name string) []any {
	list, _ := node[name].([]any)
	return list
}

// CheckAnswers has the simulator's answers be as the specification wants them, whole.
func (s Spec) CheckAnswers(t *testing.T, table []Fact, calls []Exchange) {
	t.Helper()
	seen := map[string]bool{}
	for _, x := range calls {
		i := slices.IndexFunc(table, func(f Fact) bool { return f.is(x) })
		if i < 0 || x.Status != table[i].Status {
			continue
		}
		f := table[i]
		var answer any
		_ = json.Unmarshal(x.Answer, &answer) // what is no JSON, the table's own test says
		for _, p := range s.wrong(s.answer(s.operation(f.Method, f.Path), f.Status), answer, "") {
			if !seen[f.name()+p] {
				t.Errorf("%s: the simulator's answer: %s", f.name(), p)
			}
			seen[f.name()+p] = true
		}
	}
}

// wrong says where a value does not fit a schema: missing fields, types and enumerations.
func (s Spec) wrong(node map[string]any, v any, at string) (out []string) {
	node = s.resolve(node)
	if node == nil || v == nil && node["nullable"] == true {
		return nil
	}
	for _, choice := range []string{"anyOf", "oneOf"} {
		options := s.list(node, choice)
		if len(options) == 0 {
			continue
		}
		var first []string
		for i, o := range options {
			p := s.wrong(s.resolve(o), v, at)
			if len(p) == 0 {
				return nil
			}
			if i == 0 {
				first = p
			}
		}
		return first
	}
	for _, part := range s.list(node, "allOf") {
		out = append(out, s.wrong(s.resolve(part), v, at)...)
	}
	if kind, ok := node["type"].(string); ok {
		if got := kindOf(v); got != kind && !(kind == "number" && got == "integer") {
			return append(out, fmt.Sprintf("%s is %s, want %s", at, got, kind))
		}
	}
	if enum := s.list(node, "enum"); len(enum) > 0 && !slices.Contains(enum, v) {
		out = append(out, fmt.Sprintf("%s is %v, want one of %v", at, v, enum))
	}
	if list, ok := v.([]any); ok {
		for _, item := range list {
			out = append(out, s.wrong(s.resolve(node["items"]), item, at+"[]")...)
		}
		return out
	}
	object, ok := v.(map[string]any)
	if !ok {
		return out
	}
	must, properties := s.object(map[string]any{"properties": node["properties"], "required": node["required"]})
	for _, name := range must {
		if _, there := object[name]; !there {
			out = append(out, at+"."+name+" is missing")
		}
	}
	for name, below := range properties {
		if value, there := object[name]; there && (value != nil || !slices.Contains(s.Nulls, name)) {
			out = append(out, s.wrong(s.resolve(below), value, at+"."+name)...)
		}
	}
	return out
}
