package graph

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// Limits bound what one request may cost. The zero value of a field is its default.
type Limits struct {
	Body          int64         // bytes of a body or a websocket message; 1 MiB
	Tokens        int           // lexical tokens of a document; 4,000
	Depth         int           // fields below each other; 20
	Fields        int           // fields of a document with its fragments spread out; 5,000
	Complexity    int           // objects an operation may have to answer with, at worst; 25,000
	Timeout       time.Duration // for a query or mutation; a minute, since some call vendors
	Upload        time.Duration // for a body to come in; 30 seconds
	Write         time.Duration // for a peer to take a message of a stream; 30 seconds
	Keepalive     time.Duration // between signs of life on a stream; 15 seconds
	Reverify      time.Duration // between looks whether a stream's token was revoked; 15 seconds
	Handshake     time.Duration // for a websocket's connection_init; 10 seconds
	Subscriptions int           // at a time on one websocket; 100
}

func (l Limits) withDefaults() Limits {
	or(&l.Body, 1<<20)
	or(&l.Tokens, 4_000)
	or(&l.Depth, 20)
	or(&l.Fields, 5_000)
	or(&l.Complexity, 25_000)
	or(&l.Timeout, time.Minute)
	or(&l.Upload, 30*time.Second)
	or(&l.Write, 30*time.Second)
	or(&l.Keepalive, 15*time.Second)
	or(&l.Reverify, 15*time.Second)
	or(&l.Handshake, 10*time.Second)
	or(&l.Subscriptions, 100)
	return l
}

func or[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// shape refuses documents that are too deep, or that fragments of fragments blow up, and subscriptions to more than one
// thing. It must come before anything that walks the document field by field, and itself looks at each fragment once.
type shape struct{ depth, fields int }

func (shape) ExtensionName() string                   { return "Shape" }
func (shape) Validate(graphql.ExecutableSchema) error { return nil }
func (s shape) MutateOperationContext(_ context.Context, op *graphql.OperationContext) *gqlerror.Error {
	depth, fields := measure(op.Operation.SelectionSet, map[string][2]int{})
	if depth > s.depth {
		return failf(TooDeep, "the document is %d fields deep, more than %d", depth, s.depth).gql()
	}
	if fields > s.fields {
		return failf(TooComplex, "the document has more than %d fields", s.fields).gql()
	}
	// Validation counts names, not what is asked for: one field under two aliases, or one that is skipped, gets past it.
	if op.Operation.Operation == ast.Subscription && len(graphql.CollectFields(op, op.Operation.SelectionSet, []string{"Subscription"})) != 1 {
		return fail(ValidationFailed, "a subscription selects exactly one field; send one subscription for each").gql()
	}
	return nil
}

// patience ends queries and mutations that take too long, whatever transport they came by. Subscriptions may last.
type patience time.Duration

var _ graphql.ResponseInterceptor = patience(0)

func (patience) ExtensionName() string                   { return "Patience" }
func (patience) Validate(graphql.ExecutableSchema) error { return nil }

// InterceptResponse bounds the time in which the response is made.
func (p patience) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	if !graphql.HasOperationContext(ctx) { // it was refused
		return next(ctx)
	}
	if op := graphql.GetOperationContext(ctx).Operation; op == nil || op.Operation == ast.Subscription {
		return next(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p))
	defer cancel()
	return next(ctx)
}

// measure gives the depth and the number of fields of a selection. Introspection nests by itself and is not counted:
// validation bounds it.
func measure(set ast.SelectionSet, seen map[string][2]int) (depth, fields int) {
	for _, sel := range set {
		var d, n int
		switch s := sel.(type) {
		case *ast.Field:
			if strings.HasPrefix(s.Name, "__") {
				continue
			}
			d, n = measure(s.SelectionSet, seen)
			d, n = d+1, n+1
		case *ast.InlineFragment:
			d, n = measure(s.SelectionSet, seen)
		case *ast.FragmentSpread:
			known, ok := seen[s.Name]
			if !ok {
				known[0], known[1] = measure(s.Definition.SelectionSet, seen)
				seen[s.Name] = known
			}
			d, n = known[0], known[1]
		}
		depth, fields = max(depth, d), min(fields+n, math.MaxInt32)
	}
	return depth, fields
}

// priced prices every list by its size, whatever the schema grows by: a page costs what each of its nodes costs, times
// the page's size; a list without pages is taken for listSize long.
type priced struct{ graphql.ExecutableSchema }

const listSize = 4 // of steps in a run, effects in a step, slots in a mapping

// Complexity is asked for each field, children first.
func (p priced) Complexity(_ context.Context, typeName, field string, child int, args map[string]any) (int, bool) {
	def := p.Schema().Types[typeName].Fields.ForName(field)
	if def == nil || strings.HasSuffix(typeName, "Connection") {
		return 0, false // edges and nodes: the page was counted above them
	}
	named := def.Type.Name()
	switch {
	case strings.HasSuffix(named, "Connection"):
		return 1 + times(child, pageSize(args)), true
	case args["ids"] != nil:
		ids, _ := args["ids"].([]any)
		return 1 + times(child, len(ids)), true
	case def.Type.Elem != nil && p.Schema().Types[named].Kind == ast.Object:
		return times(child+1, listSize), true
	}
	return 0, false
}

func pageSize(args map[string]any) int {
	for _, name := range []string{"first", "last"} {
		var size int64
		switch n := args[name].(type) {
		case int64:
			size = n
		case int:
			size = int64(n)
		case json.Number:
			size, _ = n.Int64()
		default:
			continue
		}
		if size < 1 || size > maxPage {
			return 1 // it will be refused, by the argument's name
		}
		return int(size)
	}
	return defaultPage
}

func times(a, b int) int {
	if a <= 0 || b <= 0 {
		return 1
	}
	if a > math.MaxInt32/b {
		return math.MaxInt32
	}
	return a * b
}
