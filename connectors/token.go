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
	// Fetch asks the vendor at url for a token. It answers an Error, as calls do.
	Fetch func(ctx context.Context, client *http.Client, url string, c Credentials) (Token, error)
	// Refused says that an answer means the token is taken no more; the call is then sent once more with another. nil:
	// those of status 401.
	Refused func(status int, body []byte) bool
	// Early is how long before its end a token is not used any more.
	Early time.Duration
	// Timeout bounds Fetch.
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
	Access string        `json:"access"`
	Scope  string        `json:"scope,omitempty"` // what the vendor says it opens
	Life   time.Duration `json:"-"`               // how long it may be used
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
	// stale, which the vendor has refused. Else it has fetch ask for another, one caller at a time over all processes, and
	// keeps that before it is used.
	Token(ctx context.Context, of, stale string, fetch func(context.Context) (Token, error)) (Token, error)
}

// NewTokens keeps a token in memory.
func NewTokens() Tokens { return &memory{turn: make(chan struct{}, 1)} }

type memory struct {
	turn  chan struct{}
	mu    sync.Mutex
	kept  Token
	until time.Time
}

// Token implements Tokens.
func (m *memory) Token(ctx context.Context, of, stale string, fetch func(context.Context) (Token, error)) (Token, error) {
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
	got, err := fetch(ctx)
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
	of := t.fingerprint()
	return t.tokens.Token(ctx, of, stale, func(ctx context.Context) (Token, error) {
		ctx, cancel := context.WithTimeout(ctx, l.Timeout)
		defer cancel()
		call := Call{App: t.app.Key, Method: http.MethodPost, Path: "(token)", Started: time.Now()}
		got, err := l.Fetch(ctx, &http.Client{
			Transport: t.base, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}, t.url, t.creds)
		if call.Took, call.Err = time.Since(call.Started), err; t.observe != nil {
			t.observe(call)
		}
		if err != nil {
			return Token{}, err
		}
		got.Of, got.Life = of, max(got.Life-l.Early, 0)
		return got, nil
	})
}

// fingerprint names the credentials and whom they are given to, and tells nothing of them.
func (t *transport) fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", t.url)
	for _, k := range slices.Sorted(maps.Keys(t.creds)) {
		fmt.Fprintf(h, "%q%q", k, t.creds[k])
	}
	return hex.EncodeToString(h.Sum(nil))
}
