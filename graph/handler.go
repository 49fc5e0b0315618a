// Package graph is the GraphQL edge: the schema's fields, who may use them, what they may cost, and how they travel.
// A resolver is a few lines; what happens is decided in jobs/flow, and rows are read in db.
package graph

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/complexity"
	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"

	"tieline/graph/auth"
	"tieline/graph/generated"
)

// Config is what the edge is made of.
type Config struct {
	Resolvers generated.ResolverRoot
	Verifier  auth.Verifier
	Log       *slog.Logger
	Origins   []string // web pages beside our own whose scripts may call
	Limits    Limits
	Hidden    bool // the schema: no introspection, and no names suggested for wrong ones
}

// Handler serves GraphQL by POST, GET, graphql-sse and graphql-transport-ws.
type Handler struct {
	serve http.Handler
	close context.CancelFunc
	open  *streams
}

// New makes the handler. It refuses a schema in which a root field does not say who may use it.
func New(c Config) (*Handler, error) {
	schema := executable(c.Resolvers)
	if err := checkScopes(schema.Schema()); err != nil {
		return nil, err
	}
	registerCodes()
	limits, pages := c.Limits.withDefaults(), normalized(c.Origins)
	closing, stop := context.WithCancel(context.Background())
	open, tokens := &streams{}, newVigil(c.Verifier, limits)

	srv := handler.New(schema)
	srv.AddTransport(newSocketTransport(tokens, pages, limits, open, closing, c.Log))
	srv.AddTransport(httpTransport{tokens, limits, open, closing})
	srv.SetErrorPresenter(presenter(c.Log))
	srv.SetRecoverFunc(recovered)
	srv.SetParserTokenLimit(limits.Tokens)
	srv.SetQueryCache(documents{lru.New[*ast.QueryDocument](1000)})
	srv.Use(texts{})
	srv.Use(alike{})
	srv.Use(endings{})
	srv.Use(shape{limits.Depth, limits.Fields})
	srv.Use(patience(limits.Timeout))
	srv.Use(payloads{schema.Schema()})
	srv.Use(plain{schema.Schema()})
	srv.Use(extension.FixedComplexityLimit(limits.Complexity, complexity.WithFixedScalarValue(0)))
	if r, ok := c.Resolvers.(*Resolvers); ok {
		srv.AroundResponses(r.respond)
		srv.AroundRootFields(r.resolveRoot)
	}
	srv.SetDisableSuggestion(c.Hidden)
	if c.Hidden {
		srv.Use(hidden{})
	} else {
		srv.Use(extension.Introspection{}) // for those with a token: nobody else gets this far
	}

	h := &Handler{close: stop, open: open}
	h.serve = pages.wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		srv.ServeHTTP(w, withRequestID(w, r))
	}))
	return h, nil
}

func executable(r generated.ResolverRoot) graphql.ExecutableSchema {
	return priced{generated.NewExecutableSchema(generated.Config{
		Resolvers:  r,
		Directives: generated.DirectiveRoot{Scope: requireScope},
	})}
}

// ServeHTTP serves one request or socket.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.serve.ServeHTTP(w, r) }

// Close tells open streams to come back elsewhere (1012 on a socket), refuses new ones and waits for them to end. Call it
// before http.Server.Shutdown, which waits for events without ending them and knows nothing of sockets.
func (h *Handler) Close(ctx context.Context) error {
	h.open.shut()
	h.close()
	done := make(chan struct{})
	go func() {
		h.open.all.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SDL is the schema as a text.
func SDL() string {
	var b strings.Builder
	formatter.NewFormatter(&b, formatter.WithIndent("  ")).FormatSchema(executable(nil).Schema())
	return b.String()
}

// registerCodes tells gqlgen which of our codes refuse a document, so that a socket answers them with error. Its table
// is a global one, so once.
var registerCodes = sync.OnceFunc(func() {
	for _, c := range []Code{TooManyTokens, TooDeep, TooComplex} {
		errcode.RegisterErrorType(string(c), errcode.KindProtocol)
	}
})

// documents keeps parsed documents of a reasonable size; the key is the whole text.
type documents struct {
	graphql.Cache[*ast.QueryDocument]
}

const cachedDocument = 16 << 10 // bytes

// Add keeps a document, unless its text is huge.
func (d documents) Add(ctx context.Context, text string, doc *ast.QueryDocument) {
	if len(text) <= cachedDocument {
		d.Cache.Add(ctx, text, doc)
	}
}

func normalized(list []string) origins {
	out := make(origins, len(list))
	for i, o := range list {
		out[i] = strings.ToLower(strings.TrimRight(o, "/"))
	}
	return out
}
