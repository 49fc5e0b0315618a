package connectors

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Login is how an app gets the access token that its calls carry. The token's own calls are no effects: they change nothing
// that a vendor's users see.
type Login struct {
	// Fetch asks the vendor at url for a token. It answers an Error, as calls do. nil where a person must let us in first.
	Fetch func(ctx context.Context, client *http.Client, url string, c Credentials) (Token, error)
	// Consent is how a person lets us in, where the vendor wants one; nil where it gives tokens to whoever has the credentials.
	Consent *Consent
	// Refused says that an answer means the token is taken no more; the call is then sent once more with another. nil:
	// those of status 401.
	Refused func(status int, body []byte) bool
	// Early is how long before its end a token is not used any more.
	Early time.Duration
	// Timeout bounds one request for a token.
	Timeout time.Duration
}

func (l *Login) refused(status int, body []byte) bool {
	if l.Refused == nil {
		return status == http.StatusUnauthorized
	}
	return l.Refused(status, body)
}

// Token is an access token.
type Token struct {
	Access  string        `json:"access"`
	Refresh string        `json:"refresh,omitempty"` // of a Consent: what the next one is asked for with
	Scope   string        `json:"scope,omitempty"`   // what the vendor says it opens
	Life    time.Duration `json:"-"`                 // how long it may be used
	// Of names the credentials that it was given for.
	Of string `json:"of"`
}

// String hides the token.
func (t Token) String() string { return "token" }

// GoString is String.
func (t Token) GoString() string { return t.String() }

// Tokens keeps the token of one connection where all who use the connection find it.
type Tokens interface {
	// Token answers the token that is kept, while it may be used, was given for the credentials that of names, and is not
	// stale, which the vendor has refused. Else it has fetch ask for another in the place of what is kept, one caller at a time
	// over all processes, and keeps that before it is used.
	Token(ctx context.Context, of, stale string, fetch func(ctx context.Context, had Token) (Token, error)) (Token, error)
}

// NewTokens keeps a token in memory, to begin with the one that was just given, if any.
func NewTokens(given ...Token) Tokens {
	m := &memory{turn: make(chan struct{}, 1)}
	for _, t := range given {
		m.kept, m.until = t, time.Now().Add(t.Life)
	}
	return m
}

type memory struct {
	turn  chan struct{}
	mu    sync.Mutex
	kept  Token
	until time.Time
}

// Token implements Tokens.
func (m *memory) Token(ctx context.Context, of, stale string, fetch func(context.Context, Token) (Token, error)) (Token, error) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
	m.mu.Lock()
	kept, until := m.kept, m.until
	m.mu.Unlock()
	if kept.Usable(of, stale) && time.Now().Before(until) {
		return kept, nil
	}
	got, err := fetch(ctx, kept)
	if err != nil {
		return Token{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept, m.until = got, time.Now().Add(got.Life)
	return got, nil
}

// Usable says whether a token is there, for these credentials, and not the one that was refused.
func (t Token) Usable(of, stale string) bool {
	return t.Access != "" && t.Of == of && t.Access != stale
}

// authorize puts the credentials on a request, and answers the token that it carries then.
func (t *transport) authorize(ctx context.Context, r *http.Request, stale string) (Token, error) {
	token, err := t.token(ctx, stale)
	if err != nil {
		return token, err
	}
	if token.Access != "" {
		t.carried.Store(token.Access, nil)
	}
	return token, t.app.Authorize(ctx, header{r, token.Access}, t.creds)
}

// token is a token that may be used and is not stale.
func (t *transport) token(ctx context.Context, stale string) (Token, error) {
	l := t.app.Login
	if l == nil {
		return Token{}, nil
	}
	of := givenFor(t.app, t.url, t.creds)
	return t.tokens.Token(ctx, of, stale, func(ctx context.Context, had Token) (got Token, err error) {
		if l.Consent != nil {
			return Authority{App: t.app, Root: t.login, API: t.url, Base: t.base, Observe: t.observe}.Refresh(ctx, t.creds, had)
		}
		ctx, cancel := context.WithTimeout(ctx, l.Timeout)
		defer cancel()
		err = asked(t.app, t.observe, func() error {
			got, err = l.Fetch(ctx, &http.Client{
				Transport: t.base, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}, t.url, t.creds)
			return err
		})
		if err != nil {
			return Token{}, err
		}
		got.Of, got.Life = of, max(got.Life-l.Early, 0)
		return got, nil
	})
}

// asked tells metrics of one request for a token.
func asked(app Connector, observe func(Call), f func() error) error {
	call := Call{App: app.Key, Method: http.MethodPost, Path: "(token)", Started: time.Now()}
	err := f()
	if call.Took, call.Err = time.Since(call.Started), err; observe != nil {
		observe(call)
	}
	return err
}

// givenFor names the credentials that a token is given for and whom they are given to, and tells nothing of them. Of an app
// with a Consent they are those of the client: the rest of the form says what to do with the token.
func givenFor(app Connector, url string, c Credentials) string {
	h := sha256.New()
	keys := slices.Sorted(maps.Keys(c))
	if way := app.Login.Consent; way != nil {
		keys, url = []string{way.ClientID, way.ClientSecret}, ""
	}
	fmt.Fprintf(h, "%q", url)
	for _, k := range keys {
		fmt.Fprintf(h, "%q%q", k, c[k])
	}
	return hex.EncodeToString(h.Sum(nil))
}
