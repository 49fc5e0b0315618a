package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
)

// hidden is an extension that keeps the schema from those who ask for it: __schema is refused, and __type knows no type,
// which is what it says of a name that is none.
type hidden struct{}

var _ graphql.RootFieldInterceptor = hidden{}

func (hidden) ExtensionName() string                   { return "Hidden" }
func (hidden) Validate(graphql.ExecutableSchema) error { return nil }

// InterceptRootField answers __type. For __schema gqlgen has an error, as introspection is off unless switched on.
func (hidden) InterceptRootField(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
	if graphql.GetRootFieldContext(ctx).Field.Name == "__type" {
		return graphql.Null
	}
	return next(ctx)
}
