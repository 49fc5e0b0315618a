package graph

import (
	"context"
	"sync/atomic"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// endings is an extension that lets a stream end with an error: its last response has errors alone, as if the field had
// failed at once. gqlgen's way, transport.AddSubscriptionError, works under its websocket transport only, and races with
// the context's end.
type endings struct{}

var (
	_ graphql.OperationInterceptor = endings{}
	_ graphql.ResponseInterceptor  = endings{}
)

type endingKey struct{}

// endWith makes err the last that a stream says. Call it before closing the stream's channel.
func endWith(ctx context.Context, err error) {
	if e, ok := ctx.Value(endingKey{}).(*atomic.Pointer[error]); ok {
		e.Store(&err)
	}
}

func (endings) ExtensionName() string                   { return "Endings" }
func (endings) Validate(graphql.ExecutableSchema) error { return nil }

// InterceptOperation makes room for an ending.
func (endings) InterceptOperation(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	if graphql.GetOperationContext(ctx).Operation.Operation == ast.Subscription {
		ctx = context.WithValue(ctx, endingKey{}, new(atomic.Pointer[error]))
	}
	return next(ctx)
}

// InterceptResponse puts the ending after the last response, once.
func (endings) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	response := next(ctx)
	if response != nil || ctx.Err() != nil {
		return response
	}
	e, ok := ctx.Value(endingKey{}).(*atomic.Pointer[error])
	if !ok {
		return nil
	}
	why := e.Swap(nil)
	if why == nil {
		return nil
	}
	graphql.AddError(ctx, *why)
	return &graphql.Response{Errors: graphql.GetErrors(ctx)}
}
