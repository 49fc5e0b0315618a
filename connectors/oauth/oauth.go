// Package oauth is how a person lets us into their account at a vendor: the address that a browser is sent to, with PKCE,
// the exchange of the code that it brings back, further access tokens, and what a refusal means. RFC 6749, 7009 and 7636.
package oauth

import (
	"cmp"
	"context"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
)

// Client is an application as a vendor's authorization server knows it.
type Client struct {
	ID, Secret  string
	AuthURL     string
	TokenURL    string
	RevokeURL   string // empty: grants cannot be given back
	RedirectURL string // empty: the code came from the vendor's console, not by a browser

	Scopes    []string
	Separator string            // between scopes; empty: a space
	Params    map[string]string // what the vendor wants at AuthURL besides
	Header    bool              // the client proves itself by Basic authentication instead of in the body

	Dead []string // error codes that mean what invalid_grant does
	Slow string   // a part of the description by which the vendor says that there were too many requests

	HTTP *http.Client
}

// Grant is what a vendor answers a code or a refresh token with.
type Grant struct {
	Access  string
	Refresh string // the one that was used, where the vendor gives no new one
	Scope   string
	Life    time.Duration            // of Access
	Said    func(name string) string // further values of the answer
}

// String hides the tokens.
func (Grant) String() string { return "grant" }

// GoString is String.
func (g Grant) GoString() string { return g.String() }

// defaultLife is used where the vendor does not say how long a token lives: it is refused when that was too long.
const defaultLife = time.Hour

// NewVerifier makes the secret of one authorization, which only its beginner can exchange the code with (RFC 7636).
func NewVerifier() string { return oauth2.GenerateVerifier() }

// URL is where a person's browser is sent to. state and what is proven by the verifier come back with the code.
func (c Client) URL(state, verifier string) string {
	opts := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
	if len(c.Scopes) > 0 {
		opts = append(opts, oauth2.SetAuthURLParam("scope", strings.Join(c.Scopes, cmp.Or(c.Separator, " "))))
	}
	for k, v := range c.Params {
		opts = append(opts, oauth2.SetAuthURLParam(k, v))
	}
	return c.config().AuthCodeURL(state, opts...)
}

// Exchange turns a code into a grant. The verifier is empty for a code that was not asked for by URL.
func (c Client) Exchange(ctx context.Context, code, verifier string) (Grant, error) {
	var opts []oauth2.AuthCodeOption
	if verifier != "" {
		opts = append(opts, oauth2.VerifierOption(verifier))
	}
	return c.ask(ctx, func(ctx context.Context) (*oauth2.Token, error) { return c.config().Exchange(ctx, code, opts...) })
}

// Refresh asks for another access token. A vendor that answers with another refresh token takes the old one no more.
func (c Client) Refresh(ctx context.Context, refresh string) (Grant, error) {
	return c.ask(ctx, func(ctx context.Context) (*oauth2.Token, error) {
		return c.config().TokenSource(ctx, &oauth2.Token{RefreshToken: refresh}).Token()
	})
}

func (c Client) config() *oauth2.Config {
	style := oauth2.AuthStyleInParams // keeps the secret out of addresses, and so out of logs
	if c.Header {
		style = oauth2.AuthStyleInHeader
	}
	return &oauth2.Config{
		ClientID: c.ID, ClientSecret: c.Secret, RedirectURL: c.RedirectURL,
		Endpoint: oauth2.Endpoint{AuthURL: c.AuthURL, TokenURL: c.TokenURL, AuthStyle: style},
	}
}

func (c Client) ask(ctx context.Context, call func(context.Context) (*oauth2.Token, error)) (Grant, error) {
	var left atomic.Bool // set once a byte may have left
	traced := httptrace.WithClientTrace(context.WithValue(ctx, oauth2.HTTPClient, c.client()), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { left.Store(true) },
	})
	got, err := call(traced)
	if err != nil {
		return Grant{}, c.refusal(err, left.Load())
	}
	said := func(name string) string { v, _ := got.Extra(name).(string); return v }
	g := Grant{Access: got.AccessToken, Refresh: got.RefreshToken, Scope: said("scope"), Life: defaultLife, Said: said}
	if !got.Expiry.IsZero() {
		g.Life = time.Until(got.Expiry)
	}
	return g, nil
}

// client follows no redirect: what it sends is for one server alone.
func (c Client) client() *http.Client {
	out := http.Client{}
	if c.HTTP != nil {
		out = *c.HTTP
	}
	out.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &out
}
