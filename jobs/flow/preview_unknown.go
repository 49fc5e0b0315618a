package flow

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tieline/jobs/flow/expr"
)

// shown makes of a rendered input what people see of it, and what the action is given: texts that only the run will know are
// told apart by a mark. runnable is false when something else than a text is not known.
func (view *viewing) shown(v any, want *expr.Shape, path []string, step string, unknown *[]string, runnable *bool) (seen, given any) {
	field := func(name string) *expr.Shape {
		switch {
		case want == nil:
			return nil
		case want.Kind == expr.List || want.Kind == expr.Map:
			return want.Items
		}
		return want.Fields[name]
	}
	switch v := v.(type) {
	case expr.UnknownValue:
		*unknown = append(*unknown, strings.Join(path, "."))
		if want == nil || want.Kind != expr.Text || len(want.Enum) > 0 {
			*runnable = false
		}
		mark := unknownMark + step + "_" + strings.Join(path, "_") + "_"
		view.marks = append(view.marks, mark, v.String())
		return v.String(), mark
	case map[string]any:
		a, b := make(map[string]any, len(v)), make(map[string]any, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			a[name], b[name] = view.shown(v[name], field(name), append(slices.Clip(path), name), step, unknown, runnable)
		}
		return a, b
	case []any:
		a, b := make([]any, len(v)), make([]any, len(v))
		for i := range v {
			a[i], b[i] = view.shown(v[i], field(""), append(slices.Clip(path), strconv.Itoa(i)), step, unknown, runnable)
		}
		return a, b
	}
	return v, v
}

// unknownIn are the paths of an output that tell nothing yet.
func unknownIn(v any, shape *expr.Shape, path string, tells func(any) bool) (paths []string) {
	if shape == nil || shape.Kind != expr.Object {
		if !tells(v) {
			return []string{path}
		}
		return nil
	}
	m, _ := v.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(shape.Fields)) {
		paths = append(paths, unknownIn(m[name], shape.Fields[name], path+"."+name, tells)...)
	}
	return paths
}

// tellsAll is so of each value of a record that is there, but of what only a run will look for.
func tellsAll(v any) bool { return !strings.Contains(fmt.Sprint(v), unknownMark) }

// tellsOfNews is so of the values of a record that is only about to be made: what is empty or left out is not known yet.
func tellsOfNews(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case string:
		return v != "" && tellsAll(v)
	case bool:
		return v
	case float64:
		return v != 0
	case []any:
		return len(v) > 0 && tellsAll(v)
	case map[string]any:
		return len(v) > 0 && tellsAll(v)
	}
	return true
}

// forget takes what is not known out of an output.
func forget(v any, paths []string) {
	for _, path := range paths {
		m, _ := v.(map[string]any)
		name, rest, deeper := strings.Cut(path, ".")
		for deeper && m != nil {
			m, _ = m[name].(map[string]any)
			name, rest, deeper = strings.Cut(rest, ".")
		}
		delete(m, name)
	}
}
