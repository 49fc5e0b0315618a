package graph

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"tieline/graph/auth"
)

// requireScope is the directive @scope.
func requireScope(ctx context.Context, _ any, next graphql.Resolver, needs auth.Scope) (any, error) {
	viewer, ok := auth.FromContext(ctx)
	switch {
	case !ok:
		return nil, fail(Unauthenticated, auth.ErrMissing.Error())
	case !viewer.May(needs):
		return nil, fail(Forbidden, fmt.Sprintf("this needs a token with the scope %s", needs))
	}
	return next(ctx)
}

// checkScopes refuses a schema in which a root field says not who may use it: what is not allowed is denied, and what
// was forgotten shows at the start, not when somebody finds it.
func checkScopes(s *ast.Schema) error {
	var open []string
	for _, root := range []*ast.Definition{s.Query, s.Mutation, s.Subscription} {
		if root == nil {
			continue
		}
		for _, f := range root.Fields {
			if !strings.HasPrefix(f.Name, "__") && f.Directives.ForName("scope") == nil {
				open = append(open, root.Name+"."+f.Name)
			}
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("schema: without @scope: %s", strings.Join(open, ", "))
	}
	return nil
}

// payloads is an extension that keeps mutations from being used to read. Without READ a payload shows what the mutation
// was about by its plain values and its parts, which hold plain values alone; a field that leads on to other objects is
// refused, before anything is done.
type payloads struct{ schema *ast.Schema }

var _ graphql.OperationContextMutator = payloads{}

func (payloads) ExtensionName() string                   { return "Payloads" }
func (payloads) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationContext implements graphql.OperationContextMutator; it changes nothing.
func (p payloads) MutateOperationContext(ctx context.Context, op *graphql.OperationContext) *gqlerror.Error {
	viewer, ok := auth.FromContext(ctx)
	if !ok || viewer.May(auth.Read) || op.Operation.Operation != ast.Mutation {
		return nil
	}
	if f := p.beyond(op.Operation.SelectionSet, 0, map[*ast.FragmentDefinition]bool{}); f != nil {
		err := fail(Forbidden, fmt.Sprintf("%s leads on from what the mutation was about, so it needs a token with the scope %s as well", f.Name, auth.Read)).gql()
		err.Locations = []gqlerror.Location{{Line: f.Position.Line, Column: f.Position.Column}}
		return err
	}
	return nil
}

// beyond finds a field that leads on from a payload's object. above counts the fields above the selection: the mutation,
// and the payload's field. A fragment is looked at once: it is on one type, so always as far down.
func (p payloads) beyond(set ast.SelectionSet, above int, seen map[*ast.FragmentDefinition]bool) *ast.Field {
	for _, sel := range set {
		var found *ast.Field
		switch s := sel.(type) {
		case *ast.Field:
			if above >= 2 && p.leadsOn(s) {
				return s
			}
			found = p.beyond(s.SelectionSet, above+1, seen)
		case *ast.InlineFragment:
			found = p.beyond(s.SelectionSet, above, seen)
		case *ast.FragmentSpread:
			if !seen[s.Definition] {
				seen[s.Definition] = true
				found = p.beyond(s.Definition.SelectionSet, above, seen)
			}
		}
		if found != nil {
			return found
		}
	}
	return nil
}

// leadsOn reports whether a field is of anything but plain values, or an object of plain values that has no page of its own.
func (p payloads) leadsOn(f *ast.Field) bool {
	of := p.schema.Types[f.Definition.Type.Name()]
	return of.IsCompositeType() && (slices.Contains(of.Interfaces, "Node") || slices.ContainsFunc(of.Fields, func(f *ast.FieldDefinition) bool {
		return !strings.HasPrefix(f.Name, "__") && p.schema.Types[f.Type.Name()].IsCompositeType()
	}))
}
