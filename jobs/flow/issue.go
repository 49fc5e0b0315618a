package flow

import (
	"fmt"
	"slices"
	"strings"

	"tieline/jobs/flow/expr"
)

// Issue is one thing that is wrong with a flow's document, or odd about it.
type Issue struct {
	Path    []string // in the document: ["steps", "0", "input", "name"]
	Warning bool     // it does not keep the flow from being published
	Code    string   // one of the codes of problems, or of the list below
	Message string   // a plain sentence

	Expression   string // at fault; empty when the document itself is
	Line, Column int    // in the text that holds it, from 1; zero when there is no such place
	Expected     string // what would fit, where that can be said
	Found        string // what is there
	Suggestion   string // a name that was perhaps meant
}

// Codes that only issues have.
const (
	CodeSyntax   = "SYNTAX"         // an expression cannot be read
	CodeUnknown  = "UNKNOWN_NAME"   // an expression names what is not there
	CodeMismatch = "TYPE_MISMATCH"  // a value is of another type than what is needed
	CodeOrder    = "STEP_ORDER"     // a step reads itself, or one that comes later
	CodeNoTogai  = "NO_TOGAI_STEP"  // nothing of what comes in reaches Togai
	CodeLoop     = "LOOP"           // what it writes may start it again
	CodeLinks    = "LINKS_LEFT_OUT" // flow links cannot follow to this version
)

// Issues are all that is wrong or odd, in the order of the document.
type Issues []Issue

// Errors are those that keep the flow from being published.
func (all Issues) Errors() Issues {
	return slices.DeleteFunc(slices.Clone(all), func(i Issue) bool { return i.Warning })
}

// problems are the errors, as a refusal of an input whose field is given.
func (all Issues) problems(field ...string) Problems {
	var bad Problems
	for _, i := range all.Errors() {
		bad = append(bad, problem(i.Code, i.String(), append(slices.Clip(field), i.Path...)...)...)
	}
	return bad
}

func (all Issues) err() error { return all.problems().or() }

// String is the message, with where it is in the expression.
func (i Issue) String() string {
	if i.Expression == "" {
		return i.Message
	}
	return fmt.Sprintf("%s (in {{ %s }}, line %d, column %d)", i.Message, i.Expression, i.Line, i.Column)
}

// issueOf makes an issue of what is wrong with an expression at a place of the document.
func issueOf(p expr.Problem, at []string) Issue {
	codes := map[expr.Code]string{expr.Syntax: CodeSyntax, expr.Unknown: CodeUnknown, expr.Mismatch: CodeMismatch, expr.Missing: CodeRequired}
	i := Issue{
		Path: append(slices.Clip(at), p.Path...), Code: codes[p.Code], Message: p.Message, Expression: p.Expression, Line: p.Line, Column: p.Column,
		Expected: p.Expected, Found: p.Found, Suggestion: p.Instead,
	}
	if p.Code == expr.Unknown && p.Expression == "" {
		i.Code = CodeUnknownField
	}
	return i
}

// sorted puts issues into the order of the document, steps by number.
func (all Issues) sorted() Issues {
	slices.SortStableFunc(all, func(a, b Issue) int {
		return slices.CompareFunc(a.Path, b.Path, func(x, y string) int {
			if len(x) != len(y) && isNumber(x) && isNumber(y) {
				return len(x) - len(y)
			}
			return strings.Compare(x, y)
		})
	})
	return all
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
