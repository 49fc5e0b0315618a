package expr

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/interpreter"
)

// Problem is one reason a document cannot be compiled.
type Problem struct {
	Path       []string // of the string in the document
	Expression string   // its source, "" when the string itself is wrong
	Line       int      // in the string, from 1
	Column     int      // in code points, from 1
	Message    string   // a plain sentence
}

// Error is why rendering stopped. It unwraps to its cause: the context's error,
// or what Env.Mapped returned.
type Error struct {
	Path       []string
	Expression string
	Err        error
}

// refusal is what a flow itself says by fail().
type refusal string

func (r refusal) Error() string { return string(r) }

func (e *Error) Error() string {
	if r, ok := errors.AsType[refusal](e.Err); ok {
		return string(r)
	}
	where := ""
	if len(e.Path) > 0 {
		where = strings.Join(e.Path, ".") + ": "
	}
	return fmt.Sprintf("%s{{ %s }}: %s", where, e.Expression, reason(e.Err))
}

func (e *Error) Unwrap() error { return e.Err }

// reason puts CEL's run-time errors into words.
func reason(err error) string {
	message := err.Error()
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded:
		return "it takes too many steps to work out"
	case strings.HasPrefix(message, "no such key: "):
		key := strings.TrimPrefix(message, "no such key: ")
		return fmt.Sprintf("there is no %q here; if it may be missing, write .?%s.orValue(…) or coalesce(…)", key, key)
	case strings.HasPrefix(message, "no such attribute"):
		return "it names something that is not known here"
	case strings.HasPrefix(message, "no such overload"):
		return "it puts values together that do not fit; numbers from JSON are decimals, so write 2.0 where you mean the number 2"
	}
	return message
}

// isMissing says whether an evaluation found nothing where it looked, as
// opposed to failing. CEL has no exported type for it.
func isMissing(err error) bool {
	message := err.Error()
	return strings.HasPrefix(message, "no such key: ") || strings.HasPrefix(message, "index out of bounds: ") ||
		strings.HasPrefix(message, "no such attribute")
}

var (
	undeclared = regexp.MustCompile(`^undeclared reference to '@?([^']*)'`)
	noOverload = regexp.MustCompile(`^found no matching overload for '@?([^']*)' applied to '(.*)'$`)
	operator   = regexp.MustCompile(`^[_@]*([^_@]+)[_@]*$`)
	expecting  = regexp.MustCompile(` expecting \{.*\}$`)
)

// explain puts the checker's message into words; syntax says it is the parser's.
func (s *Scope) explain(message string) (plain string, syntax bool) {
	if m := undeclared.FindStringSubmatch(message); m != nil {
		return s.unknown(m[1]), false
	}
	if m := noOverload.FindStringSubmatch(message); m != nil {
		name := m[1]
		if op := operator.FindStringSubmatch(name); op != nil {
			name = op[1]
		}
		if name == "?_:" {
			return "Both outcomes of a ? : must be of one type.", false
		}
		return fmt.Sprintf("%q does not work with %s.", name, m[2]), false
	}
	if rest, ok := strings.CutPrefix(message, "Syntax error: "); ok {
		if strings.Contains(rest, "<EOF>") {
			return "The expression ends too early.", true
		}
		return "This cannot be read as an expression: " + expecting.ReplaceAllString(rest, "") + ".", true
	}
	return sentence(message), false
}

func (s *Scope) unknown(name string) string {
	switch {
	case slices.Contains(s.functions, name):
		return fmt.Sprintf("%q is a function: write %s(…).", name, name)
	case nearest(name, s.names) != "":
		return fmt.Sprintf("There is no %q; did you mean %q?", name, nearest(name, s.names))
	case nearest(name, s.functions) != "":
		return fmt.Sprintf("There is no %q; did you mean %q?", name, nearest(name, s.functions)+"()")
	}
	return fmt.Sprintf("There is no %q. An expression can read %s.", name, strings.Join(s.names, ", "))
}

// nearest is the name a typing error or two away, or "".
func nearest(name string, among []string) string {
	best, least := "", 1+min(2, len(name)/2)
	for _, candidate := range among {
		if d := distance(strings.ToLower(name), strings.ToLower(candidate)); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance counts the letters to insert, drop or change between a and b.
func distance(a, b string) int {
	if len(a) > 40 { // nothing we know has such a name
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

func typeName(t *cel.Type) string {
	switch t.String() {
	case "string":
		return "text"
	case "int", "uint", "double":
		return "a number"
	}
	return "of type " + t.String()
}
