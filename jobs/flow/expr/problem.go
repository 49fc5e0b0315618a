package expr

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/interpreter"
)

// Problem is one reason a document cannot be compiled.
type Problem struct {
	Path       []string // of the string in the document
	Expression string   // its source, "" when the string itself is wrong
	Line       int      // in the string, from 1
	Column     int      // in code points, from 1
	Message    string   // a plain sentence

	Code     Code
	Expected string // what would fit, where that can be said
	Found    string // likewise, what is there
	Instead  string // a name that was perhaps meant
}

// Code sorts problems.
type Code string

// The codes.
const (
	Syntax   Code = "SYNTAX"   // it cannot be read
	Unknown  Code = "UNKNOWN"  // it names what is not there
	Mismatch Code = "MISMATCH" // it is of another type than what is needed
	Missing  Code = "MISSING"  // something that is needed is not given
)

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
	undefinedField = regexp.MustCompile(`^undefined field '(.*)'$`)

	undeclared = regexp.MustCompile(`^undeclared reference to '@?([^']*)'`)
	noOverload = regexp.MustCompile(`^found no matching overload for '@?([^']*)' applied to '(.*)'$`)
	operator   = regexp.MustCompile(`^[_@]*([^_@]+)[_@]*$`)
	expecting  = regexp.MustCompile(` expecting \{.*\}$`)
)

// explain puts what the checker says of an expression into words.
func (s *Scope) explain(parsed *ast.AST, id int64, message string) Problem {
	message = strings.ReplaceAll(message, "@", "") // of what our macros call, and our types
	if m := undeclared.FindStringSubmatch(message); m != nil {
		return s.unknown(m[1])
	}
	if m := undefinedField.FindStringSubmatch(message); m != nil {
		return s.noField(parsed, id, m[1])
	}
	if m := noOverload.FindStringSubmatch(message); m != nil {
		return misfit(m[1], m[2])
	}
	if rest, ok := strings.CutPrefix(message, "Syntax error: "); ok {
		if strings.Contains(rest, "<EOF>") {
			return Problem{Code: Syntax, Message: "The expression ends too early."}
		}
		return Problem{Code: Syntax, Message: "This cannot be read as an expression: " + expecting.ReplaceAllString(rest, "") + "."}
	}
	return Problem{Code: Mismatch, Message: sentence(message)}
}

// misfit is a function or operator whose arguments do not fit.
func misfit(name, arguments string) Problem {
	if op := operator.FindStringSubmatch(name); op != nil {
		name = op[1]
	}
	p := Problem{Code: Mismatch, Found: arguments}
	switch {
	case name == "_?_:_":
		p.Message = "Both outcomes of a ? : must be of one type."
	case strings.Contains(arguments, "decimal") && strings.Contains(arguments, "double"):
		p.Expected = "(decimal, decimal)"
		p.Message = fmt.Sprintf("%q does not take an amount with another number, %s: %s.", name, arguments, errDecimal)
	default:
		p.Message = fmt.Sprintf("%q does not work with %s.", name, arguments)
	}
	return p
}

func (s *Scope) unknown(name string) Problem {
	p := Problem{Code: Unknown}
	switch {
	case slices.Contains(s.functions, name):
		p.Message = fmt.Sprintf("%q is a function: write %s(…).", name, name)
	case nearest(name, s.names) != "":
		p.Instead = nearest(name, s.names)
		p.Message = fmt.Sprintf("There is no %q; did you mean %q?", name, p.Instead)
	case nearest(name, s.functions) != "":
		p.Instead = nearest(name, s.functions) + "()"
		p.Message = fmt.Sprintf("There is no %q; did you mean %q?", name, p.Instead)
	case name == "item":
		p.Message = `Only a step with forEach has an "item": the record that it is done for.`
	default:
		p.Message = fmt.Sprintf("There is no %q. An expression can read %s.", name, strings.Join(s.names, ", "))
	}
	return p
}

// noField is a field that an object does not have.
func (s *Scope) noField(parsed *ast.AST, id int64, name string) Problem {
	p := Problem{Code: Unknown, Message: fmt.Sprintf("There is no field %q here.", name)}
	where, of := s.objectAt(parsed, id)
	if of == nil {
		return p
	}
	fields := of.names()
	p.Expected = strings.Join(fields[:min(len(fields), 40)], ", ")
	p.Instead = nearest(name, fields)
	switch {
	case p.Instead != "":
		p.Message = fmt.Sprintf("There is no %q in %s; did you mean %q?", name, where, p.Instead)
	case len(fields) == 0:
		p.Message = fmt.Sprintf("There is no %q in %s, which has no fields here.", name, where)
	default:
		p.Message = fmt.Sprintf("There is no %q in %s; it has %s.", name, where, p.Expected)
	}
	return p
}

// Nearest is the name among others that was perhaps meant, or empty.
func Nearest(name string, among []string) string { return nearest(name, among) }

// Nearest is the name of a field that a document should perhaps have where it has one that is not known.
func (s *Shape) Nearest(path []string) string {
	for _, key := range path[:max(len(path)-1, 0)] {
		switch {
		case s == nil:
			return ""
		case s.Kind == List || s.Kind == Map:
			s = s.Items
		default:
			s = s.Fields[key]
		}
	}
	if s == nil || len(path) == 0 {
		return ""
	}
	return nearest(path[len(path)-1], s.names())
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
