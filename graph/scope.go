package graph

import (
	"context"
	"fmt"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

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
