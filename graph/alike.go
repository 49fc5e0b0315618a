package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"unique"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"tieline/graph/auth"
	"tieline/graph/model"
)

// alike is an extension that has a message of the feed written once for all subscribers who asked in the same words: a
// thousand who watch the same page cost little more than one. The first of them has gqlgen write it, the others are given
// what it wrote.
type alike struct{}

var _ graphql.OperationInterceptor = alike{}

func (alike) ExtensionName() string                   { return "Alike" }
func (alike) Validate(graphql.ExecutableSchema) error { return nil }

// InterceptOperation makes a subscriber one of an audience. It is alone where its variables have a say in what a message shows.
func (alike) InterceptOperation(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	op := graphql.GetOperationContext(ctx)
	if op.Operation.Operation != ast.Subscription {
		return next(ctx)
	}
	a := &audience{alone: slices.ContainsFunc(op.Operation.SelectionSet, func(s ast.Selection) bool {
		root, plain := s.(*ast.Field)
		return !plain || len(root.Directives) > 0 || varies(root.SelectionSet)
	})}
	v, _ := auth.FromContext(ctx)
	a.asked = unique.Make(fmt.Sprintf("%s\n%s\n%v", op.RawQuery, op.Operation.Name, v.Scopes))
	write := next(context.WithValue(ctx, audienceKey{}, a))
	return func(ctx context.Context) *graphql.Response { return a.respond(ctx, write) }
}

// varies tells whether variables decide what a selection shows.
func varies(sel ast.SelectionSet) bool {
	return slices.ContainsFunc(sel, func(s ast.Selection) bool {
		switch s := s.(type) {
		case *ast.Field:
			return directed(s.Directives) || slices.ContainsFunc(s.Arguments, variable) || varies(s.SelectionSet)
		case *ast.InlineFragment:
			return directed(s.Directives) || varies(s.SelectionSet)
		case *ast.FragmentSpread:
			return directed(s.Directives) || varies(s.Definition.SelectionSet)
		}
		return true
	})
}

func directed(all ast.DirectiveList) bool {
	return slices.ContainsFunc(all, func(d *ast.Directive) bool { return slices.ContainsFunc(d.Arguments, variable) })
}

func variable(a *ast.Argument) bool { return holdsVariable(a.Value) }

func holdsVariable(v *ast.Value) bool {
	return v.Kind == ast.Variable || slices.ContainsFunc(v.Children, func(c *ast.ChildValue) bool { return holdsVariable(c.Value) })
}

type audienceKey struct{}

// audience is a subscriber, who shares what is written with all who asked the same.
type audience struct {
	asked unique.Handle[string]
	alone bool
	next  func(context.Context) (*news, error) // what it is told next; nil while it follows nothing
	out   chan *model.RunUpdate                // to gqlgen, which writes what nobody has had written yet
	ended bool
}

// tell makes what next answers the messages of a subscription. gqlgen reads from the channel.
func tell(ctx context.Context, next func(context.Context) (*news, error)) <-chan *model.RunUpdate {
	a := ctx.Value(audienceKey{}).(*audience)
	a.next, a.out = next, make(chan *model.RunUpdate, 1)
	return a.out
}

func (a *audience) respond(ctx context.Context, write graphql.ResponseHandler) *graphql.Response {
	if a.next == nil || a.ended {
		return write(ctx)
	}
	c, err := a.next(ctx)
	if err != nil { // the last response says so
		endWith(ctx, err)
		a.ended = true
		close(a.out)
		return write(ctx)
	}
	if text, written := c.texts.Load(a.asked); written && !a.alone {
		return &graphql.Response{Data: text.(json.RawMessage)}
	}
	a.out <- c.update
	r := write(ctx)
	if r != nil && len(r.Errors) == 0 && len(r.Extensions) == 0 && !a.alone {
		c.texts.Store(a.asked, json.RawMessage(bytes.Clone(r.Data)))
	}
	return r
}
