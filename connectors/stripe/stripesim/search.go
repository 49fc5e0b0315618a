package stripesim

import (
	"regexp"
	"strconv"
	"strings"
)

// clause is one condition of Stripe's search language: -field:'v', field~'part', metadata['k']:'v', created>1.
var clause = regexp.MustCompile(`^\s*(-?)(?:(metadata)\[(?:'((?:[^'\\]|\\.)+)'|"((?:[^"\\]|\\.)+)")\]|([a-z_]+))\s*(:|~|>=|<=|>|<)\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(null|-?\d+))\s*`)

var joint = regexp.MustCompile(`(?i)^(and|or)\s+`)

var quoted = strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\"`, `"`)

// query compiles a search. AND and OR may not be mixed.
func query(q string) (func(object) bool, *Error) {
	var clauses []func(object) bool
	operator, rest := "", q
	for {
		m := clause.FindStringSubmatch(rest)
		if m == nil {
			return nil, invalid("", "query", "We were unable to parse your search query: %s", q)
		}
		clauses = append(clauses, condition(m))
		rest = rest[len(m[0]):]
		if rest == "" {
			break
		}
		j := joint.FindStringSubmatch(rest)
		if j == nil || operator != "" && !strings.EqualFold(operator, j[1]) {
			return nil, invalid("", "query", "We were unable to parse your search query: %s", q)
		}
		operator, rest = j[1], rest[len(j[0]):]
	}
	any := strings.EqualFold(operator, "or")
	return func(o object) bool {
		for _, ok := range clauses {
			if ok(o) == any {
				return any
			}
		}
		return !any
	}, nil
}

func condition(m []string) func(object) bool {
	negated, field, op := m[1] == "-", m[5], m[6]
	key, want := quoted.Replace(m[3]+m[4]), quoted.Replace(m[7]+m[8])
	if m[9] != "" {
		want = m[9]
	}
	return func(o object) bool {
		v := o[field]
		if m[2] != "" {
			data, _ := o["metadata"].(object)
			v = data[key]
		}
		return holds(v, op, want, m[9] == "null") != negated
	}
}

func holds(v any, op, want string, null bool) bool {
	if null {
		return v == nil
	}
	switch v := v.(type) {
	case string:
		if op == "~" {
			return strings.Contains(strings.ToLower(v), strings.ToLower(want))
		}
		return strings.EqualFold(v, want) && op == ":"
	case int64:
		n, err := strconv.ParseInt(want, 10, 64)
		return err == nil && compare(v, op, n)
	}
	return false
}
