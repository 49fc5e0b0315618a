package expr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Limits of one evaluation. CEL counts a step as one and a character of text
// handled as a tenth; the widest of our own flows needs some hundreds.
const (
	maxCost    = 100_000
	maxSource  = 10_000 // code points
	maxNodes   = 2_000
	maxDepth   = 100
	checkEvery = 100 // rounds of a comprehension between looks at the context
)

// expression is one compiled piece of CEL and the place it came from.
type expression struct {
	source  string
	path    []string
	whole   string // the text that holds it
	at      int    // where in that
	program cel.Program
	ast     *ast.AST
	output  *cel.Type
	scope   *Scope
}

func compileExpression(scope *Scope, whole string, at int, source string, path []string) (e *expression, problems []Problem) {
	path = slices.Clone(path)
	source = strings.ToValidUTF8(source, "\uFFFD")
	report := func(line, column int, p Problem) {
		p.Line, p.Column = position(whole, at, line, column)
		p.Path, p.Expression = path, strings.TrimSpace(source)
		problems = append(problems, p)
	}
	defer func() { // a parser that fails on strange input must not take the process with it
		if r := recover(); r != nil {
			e = nil
			report(1, 0, Problem{Code: Syntax, Message: "This expression cannot be read."})
		}
	}()
	if strings.TrimSpace(source) == "" {
		report(1, 0, Problem{Code: Syntax, Message: "There is no expression here."})
		return nil, problems
	}
	parsed, issues := scope.env.Parse(source)
	checked := parsed
	if issues.Err() == nil {
		checked, issues = scope.env.Check(parsed)
	}
	if issues.Err() != nil {
		for _, issue := range issues.Errors() {
			var tree *ast.AST
			if parsed != nil {
				tree = parsed.NativeRep()
			}
			p := scope.explain(tree, issue.ExprID, issue.Message)
			report(max(issue.Location.Line(), 1), max(issue.Location.Column(), 0), p)
			if p.Code == Syntax { // what follows the first is noise
				break
			}
		}
		return nil, problems
	}
	options := []cel.ProgramOption{cel.CostLimit(maxCost), costs, cel.InterruptCheckFrequency(checkEvery)}
	if scope.partial {
		options = append(options, cel.EvalOptions(cel.OptPartialEval))
	}
	program, err := scope.env.Program(checked, options...)
	if err != nil {
		report(1, 0, Problem{Code: Syntax, Message: sentence(err.Error())})
		return nil, problems
	}
	return &expression{source: strings.TrimSpace(source), path: path, whole: whole, at: at, program: program,
		ast: checked.NativeRep(), output: checked.OutputType(), scope: scope}, nil
}

func (e *expression) render(ev *evaluation) (any, error) {
	if err := context.Cause(ev.ctx); err != nil {
		return nil, e.fail(err)
	}
	v, _, err := e.program.ContextEval(ev.ctx, ev.input)
	if ev.failed != nil { // CEL's || and && would let it pass
		return nil, e.fail(ev.failed)
	}
	if err != nil {
		return nil, e.fail(err)
	}
	if _, ok := v.(*types.Unknown); ok {
		return UnknownValue{e.source}, nil
	}
	budget := maxResult
	out, err := fromCEL(v, &budget)
	if errors.Is(err, ErrUnknown) {
		return UnknownValue{e.source}, nil
	}
	if err != nil {
		return nil, e.fail(err)
	}
	return out, nil
}

func (e *expression) fail(err error) error {
	return &Error{Path: e.path, Expression: e.source, Err: err}
}

func (e *expression) mayBeBool() bool {
	return e.output.IsExactType(cel.BoolType) || e.output.Kind() == types.DynKind ||
		e.output.Kind() == types.OpaqueKind || e.output.IsAssignableType(cel.NullableType(cel.BoolType))
}

// addReads collects the variables the expression names. A comprehension's own
// variable of the same name counts too: claiming one read too many is safe.
func (e *expression) addReads(reads map[string]bool) {
	for _, id := range ast.MatchDescendants(ast.NavigateAST(e.ast), ast.KindMatcher(ast.IdentKind)) {
		name := id.AsIdent()
		if !e.scope.has(name) {
			continue
		}
		if key, ok := stepKey(id); ok && name == "steps" {
			name = fmt.Sprint("steps.", key)
		}
		reads[name] = true
	}
}

// stepKey is the constant key an identifier is asked for: steps.key,
// steps["key"] and their optional forms.
func stepKey(id ast.NavigableExpr) (string, bool) {
	parent, ok := id.Parent()
	if !ok {
		return "", false
	}
	switch parent.Kind() {
	case ast.SelectKind:
		return parent.AsSelect().FieldName(), true
	case ast.CallKind:
		call := parent.AsCall()
		switch call.FunctionName() {
		case operators.Index, operators.OptIndex, operators.OptSelect:
			args := call.Args()
			if args[0].ID() != id.ID() || args[1].Kind() != ast.LiteralKind {
				return "", false
			}
			key, ok := args[1].AsLiteral().(types.String)
			return string(key), ok
		}
	}
	return "", false
}
