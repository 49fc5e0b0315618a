package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

// Code is extensions.code of a top-level error. Clients switch on it: the list is the schema's.
type Code = model.ErrorCode

// The codes.
const (
	ParseFailed      = model.ErrorCodeGraphqlParseFailed
	ValidationFailed = model.ErrorCodeGraphqlValidationFailed
	BadUserInput     = model.ErrorCodeBadUserInput
	BadRequest       = model.ErrorCodeBadRequest
	Unauthenticated  = model.ErrorCodeUnauthenticated
	Forbidden        = model.ErrorCodeForbidden
	NotFound         = model.ErrorCodeNotFound
	MethodNotAllowed = model.ErrorCodeMethodNotAllowed
	NotAcceptable    = model.ErrorCodeNotAcceptable
	UnsupportedMedia = model.ErrorCodeUnsupportedMediaType
	PayloadTooLarge  = model.ErrorCodePayloadTooLarge
	TooLarge         = model.ErrorCodeTooLarge
	TooManyTokens    = model.ErrorCodeTokenLimitExceeded
	TooDeep          = model.ErrorCodeDepthLimitExceeded
	TooComplex       = model.ErrorCodeComplexityLimitExceeded
	TooManyStreams   = model.ErrorCodeSubscriptionLimitExceeded
	CursorExpired    = model.ErrorCodeCursorExpired
	SlowSubscriber   = model.ErrorCodeSlowSubscriber
	NoIntrospection  = model.ErrorCodeIntrospectionDisabled
	Unavailable      = model.ErrorCodeUnavailable
	Timeout          = model.ErrorCodeTimeout
	Internal         = model.ErrorCodeInternal
)

// Error is a top-level error whose text is meant for the caller.
type Error struct {
	Code    Code
	Message string
}

func (e *Error) Error() string { return e.Message }

func fail(code Code, message string) *Error { return &Error{code, message} }

func failf(code Code, format string, args ...any) *Error {
	return fail(code, fmt.Sprintf(format, args...))
}

// gql is the error as gqlgen's extension points want it.
func (e *Error) gql() *gqlerror.Error {
	return &gqlerror.Error{Message: e.Message, Extensions: map[string]any{"code": string(e.Code)}, Err: e}
}

// presenter makes every error what callers see: one code, one sentence, the request's id. What it does not know is
// INTERNAL, its detail logged and not told.
func presenter(log *slog.Logger) graphql.ErrorPresenterFunc {
	return func(ctx context.Context, err error) *gqlerror.Error {
		out := graphql.DefaultErrorPresenter(ctx, err)
		known := classify(err, out)
		if known.Code == Internal && ctx.Err() == nil {
			log.ErrorContext(ctx, "graphql", "err", err, "path", out.Path.String(), "request", requestID(ctx))
		}
		return &gqlerror.Error{
			Message: known.Message, Path: out.Path, Locations: out.Locations,
			Extensions: map[string]any{"code": string(known.Code), "requestId": requestID(ctx)},
		}
	}
}

func classify(err error, shown *gqlerror.Error) *Error {
	if ours, ok := errors.AsType[*Error](err); ok {
		return ours
	}
	if input, ok := errors.AsType[*model.InputError](err); ok {
		return fail(BadUserInput, input.Error())
	}
	if problems, ok := errors.AsType[flow.Problems](err); ok && len(problems) > 0 {
		if problems[0].Code == flow.CodeUnavailable {
			return fail(Unavailable, problems[0].Message)
		}
		return fail(BadUserInput, problems[0].Message)
	}
	if number, ok := errors.AsType[*graphql.NumberOverflowError](err); ok {
		if n := len(shown.Path); n > 0 {
			if name, _ := shown.Path[n-1].(ast.PathName); name == "first" || name == "last" {
				return pageSizeError(string(name), number.Value)
			}
		}
		return fail(BadUserInput, number.Error())
	}
	var unreachable *pgconn.ConnectError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fail(Timeout, "this took too long; ask for less at a time")
	case auth.Refused(err):
		return fail(Unauthenticated, err.Error())
	case errors.Is(err, auth.ErrUnavailable):
		return fail(Unavailable, "whoever issued the token does not answer; try again")
	case errors.Is(err, db.ErrNotFound):
		return fail(NotFound, "not found")
	case errors.As(err, &unreachable):
		return fail(Unavailable, "the service cannot answer right now; try again")
	}
	code, _ := shown.Extensions["code"].(string)
	switch {
	case strings.HasPrefix(shown.Message, "exceeded token limit"): // gqlparser has no type for it
		return fail(TooManyTokens, shown.Message)
	case Code(code).IsValid():
		return fail(Code(code), shown.Message) // of gqlgen's own: parse, validation, complexity
	case shown.Message == "introspection disabled":
		return fail(NoIntrospection, "this service does not show its schema")
	}
	return fail(Internal, "something went wrong here; name the requestId when you ask about it")
}

// recovered turns a panic into an error with its stack, for the log alone.
func recovered(_ context.Context, p any) error {
	return fmt.Errorf("panic: %v\n%s", p, debug.Stack())
}
