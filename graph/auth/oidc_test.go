package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"

	"tieline/db"
	"tieline/db/dbtest"
)

// provider is where people sign in.
type provider struct {
	web   *httptest.Server
	keys  atomic.Pointer[oidctest.Server]
	key   crypto.Signer
	kid   string
	asked atomic.Int32 // for its keys
}

// newProvider makes one that answers nothing before its first key.
func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{}
	p.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := p.keys.Load()
		if s == nil {
			http.Error(w, "starting", http.StatusServiceUnavailable)
			return
		}
		if r.URL.Path == "/keys" {
			p.asked.Add(1)
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(p.web.Close)
	return p
}

func (p *provider) issuer() string { return p.web.URL }

// rotate has the provider sign with a new key, and know no other.
func (p *provider) rotate(t *testing.T, kid string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: key.Public(), KeyID: kid, Algorithm: oidc.ES256}}, Algorithms: []string{oidc.ES256, "HS256", "none"}}
	s.SetIssuer(p.issuer())
	p.keys.Store(s)
	p.key, p.kid = key, kid
}

// claims of somebody who may read and write; change says what is different about them.
func (p *provider) claims(org db.ID, change map[string]any) string {
	c := map[string]any{
		"iss": p.issuer(), "aud": "tieline", "sub": "ada", "email": "ada@example.com", "exp": time.Now().Add(time.Hour).Unix(),
		"tieline_org": db.FormatID("org", org), "scope": "openid tieline:read tieline:write admin",
	}
	maps.Copy(c, change)
	text, _ := json.Marshal(c)
	return string(text)
}

func (p *provider) token(org db.ID, change map[string]any) string {
	return oidctest.SignIDToken(p.key, p.kid, oidc.ES256, p.claims(org, change))
}

func TestOIDC(t *testing.T) {
	t.Parallel()
	d, ctx := dbtest.New(t), t.Context()
	org, err := db.CreateOrganization(ctx, d, "Acme")
	if err != nil {
		t.Fatal(err)
	}
	p, stranger := newProvider(t), newProvider(t)
	stranger.rotate(t, "k1")
	o := &OIDC{Tokens: Tokens{DB: d, Log: slog.New(slog.DiscardHandler)}, DB: d, Issuer: p.issuer(), Audience: "tieline", Again: time.Nanosecond}

	// Before the provider is there: nobody can tell, and our own tokens work.
	if _, err := o.Verify(ctx, stranger.token(org.OrgID, nil)); !errors.Is(err, ErrUnavailable) || Refused(err) {
		t.Errorf("while the provider is away: %v", err)
	}
	secret, row := NewToken(org.OrgID, "ci", []Scope{Read}, time.Time{})
	if err := db.AddToken(ctx, d, row); err != nil {
		t.Fatal(err)
	}
	if v, err := o.Verify(ctx, secret); err != nil || v.Token != row.ID {
		t.Errorf("our own token meanwhile: %+v, %v", v, err)
	}
	p.rotate(t, "k1")

	v, err := o.Verify(ctx, p.token(org.OrgID, nil))
	if err != nil || v.Org != org.OrgID || v.Name != "ada@example.com" || !slices.Equal(v.Scopes, []Scope{Read, Write}) || time.Until(v.Expires) > time.Hour || v.Expires.IsZero() {
		t.Fatalf("%+v, %v", v, err)
	}
	other, err := o.Verify(ctx, p.token(org.OrgID, map[string]any{"sub": "grace", "email": "", "scope": []string{"tieline:ADMIN"}}))
	if err != nil || other.Token == v.Token || other.Name != "grace" || !other.May(Trigger) {
		t.Errorf("somebody else: %+v, %v", other, err)
	}
	if again, err := o.Verify(ctx, p.token(org.OrgID, map[string]any{"email": "new@example.com"})); err != nil || again.Token != v.Token {
		t.Errorf("the same person again: %+v, %v", again, err)
	}
	if none, err := o.Verify(ctx, p.token(org.OrgID, map[string]any{"scope": nil})); err != nil || none.May(Read) {
		t.Errorf("without scopes: %+v, %v", none, err)
	}

	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	good := p.token(org.OrgID, nil)
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"expired":              {p.token(org.OrgID, map[string]any{"exp": time.Now().Add(-time.Second).Unix()}), ErrExpired},
		"without an end":       {p.token(org.OrgID, map[string]any{"exp": nil}), ErrUnknown},
		"not yet":              {p.token(org.OrgID, map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), ErrUnknown},
		"for somebody else":    {p.token(org.OrgID, map[string]any{"aud": "console"}), ErrUnknown},
		"of another issuer":    {stranger.token(org.OrgID, nil), ErrUnknown},
		"as if of this issuer": {stranger.token(org.OrgID, map[string]any{"iss": p.issuer()}), ErrUnknown},
		"of an unknown key":    {oidctest.SignIDToken(stranger.key, "k9", oidc.ES256, p.claims(org.OrgID, nil)), ErrUnknown},
		"unsigned":             {part(`{"alg":"none"}`) + "." + part(p.claims(org.OrgID, nil)) + ".", ErrUnknown},
		"by a shared secret":   {oidctest.SignIDToken([]byte(strings.Repeat("k", 32)), "k1", "HS256", p.claims(org.OrgID, nil)), ErrUnknown},
		"changed":              {good[:len(good)/2] + "A" + good[len(good)/2+1:], ErrUnknown},
		"huge":                 {p.token(org.OrgID, map[string]any{"x": strings.Repeat("x", longestJWT)}), ErrUnknown},
		"no JWT":               {"a.b.c", ErrUnknown},
		"nonsense":             {"nonsense", ErrUnknown},
		"of no organization":   {p.token(org.OrgID, map[string]any{"tieline_org": nil}), ErrNoOrganization},
		"of a strange one":     {p.token(db.NewID(), nil), ErrNoOrganization},
		"nobody's":             {p.token(org.OrgID, map[string]any{"sub": ""}), ErrUnknown},
	} {
		if v, err := o.Verify(ctx, c.token); !errors.Is(err, c.want) || !Refused(err) || v.Org != (db.ID{}) {
			t.Errorf("%s: %+v, %v, want %v", name, v, err, c.want)
		}
	}

	// Keys change, and what was signed with an old one ends.
	p.rotate(t, "k2")
	if _, err := o.Verify(ctx, p.token(org.OrgID, nil)); err != nil {
		t.Errorf("after a new key: %v", err)
	}
	if _, err := o.Verify(ctx, good); !errors.Is(err, ErrUnknown) {
		t.Errorf("a token of the old key: %v", err)
	}

	// Without the provider, known keys go on working, and of others nobody can tell.
	p.web.Close()
	if _, err := o.Verify(ctx, p.token(org.OrgID, nil)); err != nil {
		t.Errorf("with a known key, the provider away: %v", err)
	}
	if _, err := o.Verify(ctx, oidctest.SignIDToken(stranger.key, "k3", oidc.ES256, p.claims(org.OrgID, nil))); !errors.Is(err, ErrUnavailable) || Refused(err) {
		t.Errorf("with an unknown key, the provider away: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := o.Verify(ended, p.token(org.OrgID, nil)); err == nil || Refused(err) {
		t.Errorf("for somebody who has gone: %v", err)
	}
}

// TestOIDCSpares: strangers' tokens do not have the provider asked each time.
func TestOIDCSpares(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	p := newProvider(t)
	p.rotate(t, "k1")
	o := &OIDC{DB: d, Issuer: p.issuer(), Audience: "tieline", Again: time.Hour}
	for range 20 {
		if _, err := o.Verify(t.Context(), oidctest.SignIDToken(p.key, db.NewID().String(), oidc.ES256, p.claims(db.NewID(), nil))); !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
	}
	if n := p.asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
}
