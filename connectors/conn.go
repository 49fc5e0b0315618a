package connectors

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Conn is an open connection: what an action, a trigger or a probe speaks to its vendor through.
type Conn struct {
	App  Connector
	URL  string // root of the vendor's API, without a trailing slash
	Mode Mode
	HTTP *http.Client // authorizes, paces, journals and bounds every call

	Credentials Credentials
	journal     Journal
	transport   *transport
}

// Token is the access token that calls carry, as the vendor gave it; the zero value where the app has no Login.
func (c Conn) Token(ctx context.Context) (Token, error) { return c.transport.token(ctx, "") }

// Effect makes a write through the journal. See Intent, Probe and Send.
func (c Conn) Effect(ctx context.Context, in Intent, probe Probe, send Send) (Ref, error) {
	return c.journal.Effect(ctx, in, probe, send)
}

// Hide takes the connection's secrets out of a text that came from outside, such as a vendor's message.
func (c Conn) Hide(text string) string {
	for _, f := range c.App.Auth {
		if v := strings.TrimSpace(c.Credentials[f.Key]); f.Secret && v != "" {
			text = strings.ReplaceAll(text, v, "(secret)")
		}
	}
	c.transport.carried.Range(func(token, _ any) bool {
		text = strings.ReplaceAll(text, token.(string), "(secret)")
		return true
	})
	return text
}

// Adopt links a record that was found instead of making one, where the intent would have made it.
func (c Conn) Adopt(ctx context.Context, in Intent, ref Ref) (Ref, error) {
	return c.journal.Adopt(ctx, in, ref)
}

// Credentials are a connection's form as filled in, by field key. Printing them prints the keys alone.
type Credentials map[string]string

// String names the fields, not the values.
func (c Credentials) String() string {
	return "credentials{" + strings.Join(slices.Sorted(maps.Keys(c)), " ") + "}"
}

// GoString is String.
func (c Credentials) GoString() string { return c.String() }

// Format keeps every verb from printing values.
func (c Credentials) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, c.String()) }

// LogValue is String, for slog.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON refuses: credentials leave memory only sealed.
func (c Credentials) MarshalJSON() ([]byte, error) {
	return nil, fmt.Errorf("credentials are not to be marshalled")
}

// Requester is a request as Authorize may change it.
type Requester interface {
	SetHeader(key, value string)
	// Token is the access token of an app that has a Login.
	Token() string
}

// Options are what Open needs beside the descriptor.
type Options struct {
	URL     string            // replaces the descriptor's BaseURL
	Login   string            // replaces the root of its Consent
	Journal Journal           // keeps effects, attempts and the pace
	Tokens  Tokens            // keeps access tokens; nil: for this Conn alone
	Base    http.RoundTripper // nil: http.DefaultTransport
	Log     *slog.Logger      // nil: no log
	Observe func(Call)        // metrics; nil: none
}

// Open makes a Conn. It makes no call.
func Open(app Connector, creds Credentials, o Options) (Conn, error) {
	mode, err := app.Mode(creds)
	if err != nil {
		return Conn{}, err
	}
	url := o.URL
	if url == "" && app.BaseURL != nil {
		url = app.BaseURL(creds)
	}
	if o.Base == nil {
		o.Base = http.DefaultTransport
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Tokens == nil {
		o.Tokens = NewTokens()
	}
	url = strings.TrimRight(url, "/")
	t := &transport{app: app, creds: creds, url: url, login: o.Login, base: o.Base, journal: o.Journal, tokens: o.Tokens, log: o.Log, observe: o.Observe}
	return Conn{
		App: app, URL: url, Mode: mode, Credentials: creds, journal: o.Journal, transport: t,
		HTTP: &http.Client{
			Transport:     t, // which keeps the timeout: the client's own would hide what a lost call means
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Call is one call to a vendor, for history, logs and metrics. It holds no secret and no body.
type Call struct {
	App, Method, Path string
	Write             bool
	Status            int // zero when no answer came
	RequestID         string
	Started           time.Time
	Took              time.Duration
	Ease              time.Duration // how long the account's next call had better wait, by what the answer told
	Err               error         // the transport's; a refusal by status is the connector's to read
}
