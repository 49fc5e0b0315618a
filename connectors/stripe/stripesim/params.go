package stripesim

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// object is a record as it goes over the wire. One that is stored is never changed, only replaced.
type object = map[string]any

// kind checks one parameter and gives it its type. Input is a string, a list or an object of a form, or any JSON value.
type kind func(name string, v any) (any, *Error)

// params are the parameters a call knows.
type params map[string]kind

// read parses a form and checks it against the route.
func read(form url.Values, rt route) (object, *Error) {
	raw, e := nest(form)
	if e != nil {
		return nil, e
	}
	return rt.check(raw)
}

func (rt route) check(raw object) (object, *Error) {
	in, e := hash(rt.params)("", raw)
	if e != nil {
		return nil, e
	}
	for _, name := range rt.needs {
		if v, ok := in.(object)[name]; !ok || v == nil {
			return nil, invalid("parameter_missing", name, "Missing required param: %s.", name)
		}
	}
	return in.(object), nil
}

func text(name string, v any) (any, *Error) {
	s, ok := v.(string)
	if !ok && v != nil {
		return nil, invalid("", name, "Invalid string: %s", name)
	}
	if s == "" {
		return nil, nil
	}
	return s, nil
}

func textUpTo(n int) kind {
	return func(name string, v any) (any, *Error) {
		v, e := text(name, v)
		if s, _ := v.(string); len([]rune(s)) > n {
			return nil, invalid("", name, "Invalid string: %s has more than %d characters.", name, n)
		}
		return v, e
	}
}

func email(name string, v any) (any, *Error) {
	v, e := textUpTo(512)(name, v)
	if s, _ := v.(string); s != "" && (strings.Count(s, "@") != 1 || strings.HasPrefix(s, "@") || strings.HasSuffix(s, "@")) {
		return nil, invalid("email_invalid", name, "Invalid email address: %s", s)
	}
	return v, e
}

func integer(name string, v any) (any, *Error) {
	switch v := v.(type) {
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n, nil
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v), nil
		}
	}
	return nil, invalid("parameter_invalid_integer", name, "Invalid integer: %v", v)
}

func boolean(name string, v any) (any, *Error) {
	switch v {
	case "true", true:
		return true, nil
	case "false", false:
		return false, nil
	}
	return nil, invalid("", name, "Invalid boolean: %v", v)
}

func oneOf(values ...string) kind {
	return func(name string, v any) (any, *Error) {
		if s, ok := v.(string); ok && slices.Contains(values, s) {
			return s, nil
		}
		return nil, invalid("", name, "Invalid %s: must be one of %s", name, strings.Join(values, ", "))
	}
}

func list(item kind) kind {
	return func(name string, v any) (any, *Error) {
		if v == nil || v == "" {
			return []any{}, nil
		}
		in, ok := v.([]any)
		if !ok {
			return nil, invalid("", name, "Invalid array")
		}
		out := make([]any, len(in))
		for i, v := range in {
			var e *Error
			if out[i], e = item(name+"["+strconv.Itoa(i)+"]", v); e != nil {
				return nil, e
			}
		}
		return out, nil
	}
}

func hash(fields params) kind {
	return func(name string, v any) (any, *Error) {
		if v == nil || v == "" {
			return nil, nil
		}
		in, ok := v.(object)
		if !ok {
			return nil, invalid("", name, "Invalid object")
		}
		out := object{}
		for _, key := range slices.Sorted(maps.Keys(in)) {
			full := key
			if name != "" {
				full = name + "[" + key + "]"
			}
			k, known := fields[key]
			if !known {
				return nil, invalid("parameter_unknown", full, "Received unknown parameter: %s", full)
			}
			v, e := k(full, in[key])
			if e != nil {
				return nil, e
			}
			out[key] = v
		}
		return out, nil
	}
}

// anything lets nested parameters through that no resource here looks at.
func anything(_ string, v any) (any, *Error) { return v, nil }

// metadata is merged by the resource: an empty value deletes its key, an empty string all of them.
func metadata(name string, v any) (any, *Error) {
	if v == nil || v == "" {
		return nil, nil
	}
	in, ok := v.(object)
	if !ok {
		return nil, invalid("", name, "Invalid object")
	}
	for key, v := range in {
		s, ok := v.(string)
		switch {
		case !ok && v != nil:
			return nil, invalid("", name+"["+key+"]", "Metadata values must be strings.")
		case len(key) > 40 || strings.ContainsAny(key, "[]"):
			return nil, invalid("", name, "Metadata keys have at most 40 characters and no brackets: %s", key)
		case len([]rune(s)) > 500:
			return nil, invalid("", name+"["+key+"]", "Metadata values have at most 500 characters.")
		}
	}
	return in, nil
}

// moment is a time or a range of times.
func moment(name string, v any) (any, *Error) {
	if _, ok := v.(object); ok {
		return hash(params{"gt": integer, "gte": integer, "lt": integer, "lte": integer})(name, v)
	}
	return integer(name, v)
}

var address = hash(params{"line1": text, "line2": text, "city": text, "state": text, "postal_code": text, "country": text})

// nest turns a[b]=c into objects and a[0]=c or a[]=c into lists.
func nest(form url.Values) (object, *Error) {
	root := object{}
	for _, name := range slices.Sorted(maps.Keys(form)) {
		if open := strings.IndexByte(name, '['); open == 0 || open > 0 && !strings.HasSuffix(name, "]") {
			return nil, invalid("", name, "Invalid parameter name: %s", name)
		}
		path := strings.Split(strings.ReplaceAll(name, "]", ""), "[")
		at := root
		for _, part := range path[:len(path)-1] {
			next, ok := at[part].(object)
			if !ok {
				next = object{}
				at[part] = next
			}
			at = next
		}
		last, values := path[len(path)-1], form[name]
		if last == "" {
			for i, v := range values {
				at[strconv.Itoa(i)] = v
			}
			continue
		}
		at[last] = values[len(values)-1]
	}
	for k, v := range root { // the root and metadata have names, never indexes
		if k != "metadata" {
			root[k] = lists(v)
		}
	}
	return root, nil
}

func lists(v any) any {
	o, ok := v.(object)
	if !ok {
		return v
	}
	indexes, all := make([]int, 0, len(o)), len(o) > 0
	for k, v := range o {
		o[k] = lists(v)
		i, err := strconv.Atoi(k)
		all = all && err == nil
		indexes = append(indexes, i)
	}
	if !all {
		return o
	}
	slices.Sort(indexes)
	out := make([]any, len(indexes))
	for n, i := range indexes {
		out[n] = o[strconv.Itoa(i)]
	}
	return out
}

// with is a copy of p with more.
func with(p, more params) params {
	out := maps.Clone(p)
	maps.Copy(out, more)
	return out
}
