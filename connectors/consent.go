package connectors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tieline/connectors/oauth"
)

// Consent is how a person lets us into their account: in a browser, or with a code that the vendor's console gave them. What
// comes of either is a refresh token, with which access tokens are had until somebody takes it back.
type Consent struct {
	// Root is the server that asks people and gives tokens, for these credentials: "https://accounts.example.com". A setting
	// replaces it (TIELINE_ZOHO_ACCOUNTS_URL).
	Root func(Credentials) string
	// Authorize, Token and Revoke are paths below Root. Revoke is empty where a grant cannot be given back.
	Authorize, Token, Revoke string

	// ClientID and ClientSecret are the keys of the form's fields for what the vendor knows us by.
	ClientID, ClientSecret string
	// Code is the key of the form's field for a code of the vendor's console. It is used up at once and not kept. Empty: the
	// vendor gives none.
	Code string

	Scopes    []string
	Separator string            // between scopes; empty: a space
	Params    map[string]string // what the vendor wants at Authorize besides, such as access_type
	Header    bool              // the client proves itself by Basic authentication instead of in the body

	Dead  []string      // error codes that mean what invalid_grant does
	Slow  string        // a part of the description by which the vendor says that there were too many token requests
	Pause time.Duration // how long it is left alone then; zero: as it says

	// Told reads what the vendor tells about the account besides: of the address that a browser came back by, and then of the
	// answer with the tokens. It answers values of fields, which are kept with the connection: a data centre, the API's root.
	// A host must be one of the vendor's, or of ours, which settings put in their place; an error ends the authorization.
	// nil: nothing is told.
	Told func(c Credentials, said func(name string) string, ours ...string) (map[string]string, error)
}

// Authority is an app's authorization server, ready to be asked.
type Authority struct {
	App     Connector         // has a Consent
	Root    string            // replaces the Consent's
	API     string            // replaces the app's BaseURL
	Base    http.RoundTripper // nil: http.DefaultTransport
	Observe func(Call)        // metrics; nil: none
}

// Visit is one person's way through the vendor's pages. The zero value is that of a code of the vendor's console.
type Visit struct {
	Redirect string // where their browser comes back to
	Verifier string // proves that who exchanges the code has asked for it
}

// URL is where a person's browser is sent to.
func (a Authority) URL(c Credentials, by Visit, state string) string {
	return a.client(c, by.Redirect).URL(state, by.Verifier)
}

// Exchange turns a code into a token, and answers the credentials with what the vendor told beside it. back are the values
// that a browser came back with.
func (a Authority) Exchange(ctx context.Context, c Credentials, by Visit, code string, back url.Values) (Token, Credentials, error) {
	c, err := a.told(c, back.Get)
	if err != nil {
		return Token{}, c, err
	}
	got, err := a.ask(ctx, c, by.Redirect, func(ctx context.Context, o oauth.Client) (oauth.Grant, error) {
		return o.Exchange(ctx, code, by.Verifier)
	})
	switch e, _ := errors.AsType[*oauth.Error](err); {
	case err == nil:
	case e != nil && e.Reason == oauth.Dead:
		return Token{}, c, a.errorf(Invalid, e, "takes this code no more, or it is another server's. A code lives for minutes and works once: get a new one")
	case e != nil && e.Reason == oauth.Lost:
		return Token{}, c, a.errorf(Unavailable, e, "did not answer, and the code may be used up by now: get a new one")
	default:
		return Token{}, c, a.refusal(err)
	}
	if got.Refresh == "" {
		return Token{}, c, a.errorf(Invalid, nil, "gave no refresh token, without which the connection would end within the hour: take back what was allowed before, at %s, and authorize again", a.App.Name)
	}
	if c, err = a.told(c, got.Said); err != nil {
		return Token{}, c, err
	}
	return a.token(c, got), c, nil
}

// Refresh asks for another access token in the place of one that is kept.
func (a Authority) Refresh(ctx context.Context, c Credentials, had Token) (Token, error) {
	if had.Refresh == "" {
		return Token{}, a.errorf(Unauthorized, nil, "was not authorized: authorize the connection with authorizeConnection")
	}
	got, err := a.ask(ctx, c, "", func(ctx context.Context, o oauth.Client) (oauth.Grant, error) { return o.Refresh(ctx, had.Refresh) })
	if err != nil {
		return Token{}, a.refusal(err)
	}
	got.Scope = cmp.Or(got.Scope, had.Scope)
	return a.token(c, got), nil
}

// Revoke gives a grant back.
func (a Authority) Revoke(ctx context.Context, c Credentials, t Token) error {
	ctx, cancel := context.WithTimeout(ctx, a.App.Login.Timeout)
	defer cancel()
	if err := a.client(c, "").Revoke(ctx, t.Refresh); err != nil {
		return a.refusal(err)
	}
	return nil
}

func (a Authority) told(c Credentials, said func(string) string) (Credentials, error) {
	if a.App.Login.Consent.Told == nil {
		return c, nil
	}
	var ours []string
	for _, root := range []string{a.Root, a.API} {
		if root != "" {
			ours = append(ours, root)
		}
	}
	more, err := a.App.Login.Consent.Told(c, said, ours...)
	if err != nil || len(more) == 0 {
		return c, err
	}
	c = maps.Clone(c)
	maps.Copy(c, more)
	return c, nil
}

func (a Authority) token(c Credentials, got oauth.Grant) Token {
	return Token{
		Access: got.Access, Refresh: got.Refresh, Scope: got.Scope, Life: max(got.Life-a.App.Login.Early, 0), Of: givenFor(a.App, "", c),
	}
}

func (a Authority) ask(ctx context.Context, c Credentials, redirect string, call func(context.Context, oauth.Client) (oauth.Grant, error)) (oauth.Grant, error) {
	// The answer may hold the only refresh token that is taken from then on, so it is waited for also when the caller leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.App.Login.Timeout)
	defer cancel()
	var got oauth.Grant
	err := asked(a.App, a.Observe, func() (err error) {
		got, err = call(ctx, a.client(c, redirect))
		return err
	})
	return got, err
}

func (a Authority) client(c Credentials, redirect string) oauth.Client {
	g := a.App.Login.Consent
	root := strings.TrimRight(a.Root, "/")
	if root == "" {
		root = g.Root(c)
	}
	o := oauth.Client{
		ID: strings.TrimSpace(c[g.ClientID]), Secret: strings.TrimSpace(c[g.ClientSecret]), AuthURL: root + g.Authorize, TokenURL: root + g.Token, RedirectURL: redirect,
		Scopes: g.Scopes, Separator: g.Separator, Params: g.Params, Header: g.Header, Dead: g.Dead, Slow: g.Slow,
		HTTP: &http.Client{Transport: a.Base},
	}
	if g.Revoke != "" {
		o.RevokeURL = root + g.Revoke
	}
	return o
}

// refusal says in words for people what became of a token request.
func (a Authority) refusal(err error) error {
	e, ok := errors.AsType[*oauth.Error](err)
	if !ok {
		return err
	}
	switch e.Reason {
	case oauth.Dead:
		return a.errorf(Unauthorized, e, "takes this authorization no more: it was taken back, or it ended. Authorize the connection again with authorizeConnection")
	case oauth.Refused:
		return a.errorf(Unauthorized, e, "does not take this client ID and secret, or what they ask for")
	case oauth.Slow:
		out := a.errorf(RateLimited, e, "was asked for tokens too often; it is left alone for a while")
		out.RetryAfter, out.Narrow = max(e.RetryAfter, a.App.Login.Consent.Pause), true // the account's other connections have tokens of their own
		return out
	}
	return a.errorf(Unavailable, e, "gave no access token: %s", e)
}

func (a Authority) errorf(k Kind, e *oauth.Error, format string, args ...any) *Error {
	out := Errorf(k, "%s: its authorization server %s", a.App.Name, fmt.Sprintf(format, args...))
	if e != nil {
		out.Status, out.Code, out.RetryAfter = e.Status, e.Code, e.RetryAfter
	}
	return out
}
