package expr

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
)

// Scope says which variables an expression may read and of what type. Making
// one is dear and using it is not: keep it.
type Scope struct {
	env       *cel.Env
	names     []string
	functions []string
	shapes    map[string]*Shape // of a typed scope's variables
	partial   bool              // see Partial
}

// NewScope declares variables beside the functions every expression has.
func NewScope(variables map[string]*cel.Type, options ...cel.EnvOption) (*Scope, error) {
	s := &Scope{names: slices.Sorted(maps.Keys(variables))}
	for _, name := range s.names {
		options = append(options, cel.Variable(name, variables[name]))
	}
	base, err := base()
	if err != nil {
		return nil, fmt.Errorf("preparing expressions: %w", err)
	}
	if s.env, err = base.Extend(options...); err != nil {
		return nil, fmt.Errorf("declaring variables: %w", err)
	}
	for name := range s.env.Functions() {
		if isNamePart(name[0]) && !strings.ContainsAny(name, "@_[") {
			s.functions = append(s.functions, name)
		}
	}
	s.functions = append(s.functions, "now", "mapped", "coalesce", "has")
	slices.Sort(s.functions)
	return s, nil
}

func (s *Scope) has(name string) bool {
	_, found := slices.BinarySearch(s.names, name)
	return found
}

// Untyped is the scope of a flow before its schemas are known: trigger, steps,
// item, params and run may hold anything.
var Untyped = sync.OnceValue(func() *Scope {
	s, err := NewScope(map[string]*cel.Type{"trigger": cel.DynType, "steps": cel.DynType,
		"item": cel.DynType, "params": cel.DynType, "run": cel.DynType})
	if err != nil {
		panic(err) // the declarations above are wrong, which every test shows
	}
	return s
})

var base = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.OptionalTypes(),
		ext.Strings(ext.StringsMaxPrecision(30)),
		ext.Math(),
		ext.Lists(ext.ListsMaxRangeSize(10_000)),
		ext.Encoders(),
		library(),
		cel.CustomTypeAdapter(adapter{types.DefaultTypeAdapter}),
		cel.CrossTypeNumericComparisons(true), // a number of JSON is more than 0 as well as 0.0
		cel.ParserExpressionSizeLimit(maxSource),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ExpressionNestingDepthLimit(maxDepth),
		cel.ParserRecursionLimit(maxDepth),
	)
})

// Env is what a run gives its expressions.
type Env struct {
	// Vars holds trigger, steps, item, params and run as JSON values. One that
	// is left out is missing, as a missing field is.
	Vars map[string]any
	// Now is what now() answers, the same all through a run.
	Now time.Time
	// Mapped answers mapped(): the external id a record has in an app, false
	// when it has none. Its error ends the rendering.
	Mapped func(ctx context.Context, id, entity, app string) (string, bool, error)
	// Unknown names what is not known yet, by its path: steps.account, or steps.account.account_id. Expressions of a
	// partial scope bear it.
	Unknown []string
}

// evaluation is one rendering; CEL carries it as a value to reach mapped().
type evaluation struct {
	opaque
	ctx    context.Context
	env    Env
	vars   map[string]any
	input  any   // vars, or with what is unknown of them
	failed error // by mapped
}

func newEvaluation(ctx context.Context, env Env) *evaluation {
	ev := &evaluation{ctx: ctx, env: env, vars: make(map[string]any, len(env.Vars)+2)}
	maps.Copy(ev.vars, env.Vars)
	ev.vars[nowVar], ev.vars[envVar] = env.Now.UTC(), ev
	ev.input = ev.vars
	if len(env.Unknown) > 0 {
		if partial, err := cel.PartialVars(ev.vars, env.unknowns()...); err == nil {
			ev.input = partial
		}
	}
	return ev
}
