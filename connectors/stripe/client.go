package stripe

import (
	"context"
	"net/http"

	stripe "github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"

	"tieline/connectors"
)

// apiVersion is the one this release of stripe-go is pinned to; our webhook endpoint asks for the same.
const apiVersion = stripe.APIVersion

// pageSize is the most that Stripe gives at once. https://docs.stripe.com/api/pagination
const pageSize = 100

// noKey stands where stripe-go wants an API key. The real one never reaches the library: the transport puts it on last.
const noKey = "set-by-the-transport"

// backend makes no retries, because the engine does; it logs nothing, because at its debug level that would be whole
// bodies, secrets included.
func backend(c connectors.Conn) stripe.Backend {
	return stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL:               stripe.String(c.URL),
		HTTPClient:        c.HTTP,
		MaxNetworkRetries: stripe.Int64(0),
		EnableTelemetry:   stripe.Bool(false),
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
	})
}

func api(c connectors.Conn) *client.API {
	return client.New(noKey, &stripe.Backends{API: backend(c)})
}

// read are the parameters of a call that reads.
func read(ctx context.Context) stripe.Params { return stripe.Params{Context: ctx} }

// write are those of one that writes.
func write(ctx context.Context, key string) stripe.Params {
	return stripe.Params{Context: ctx, IdempotencyKey: stripe.String(key)}
}

// list are those of a list that is read to its end, page by page.
func list(ctx context.Context) stripe.ListParams {
	return stripe.ListParams{Context: ctx, Limit: stripe.Int64(pageSize)}
}

// first are those of a list of which one page is enough.
func first(ctx context.Context, n int64) stripe.ListParams {
	return stripe.ListParams{Context: ctx, Limit: stripe.Int64(n), Single: true}
}

// get reads what the library offers no context for.
func get(ctx context.Context, c connectors.Conn, path string, into stripe.LastResponseSetter) error {
	p := &stripe.AccountParams{Params: read(ctx)}
	return failed(c, backend(c).Call(http.MethodGet, path, noKey, p, into), false)
}
