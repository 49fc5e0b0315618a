package auth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/uuid"

	"tieline/db"
)

const (
	providerWithin = 5 * time.Second // an answer of the provider
	providerAgain  = 5 * time.Second // between two questions of one kind, whoever asks with whatever token
	longestJWT     = 16 << 10
	longestName    = 100
	scopePrefix    = "tieline:" // so that another API's "admin" is none of ours
)

// OIDC verifies the JWTs of people who signed in at an OpenID Connect provider, and leaves our own tokens to Tokens. The
// claim tieline_org names the organization, scope has tieline:read and so on.
type OIDC struct {
	Tokens           Verifier
	DB               *db.DB
	Issuer, Audience string
	Again            time.Duration // between two questions to the provider; 5 s unless given

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier // nil until the provider has answered
	asked    time.Time
	failure  error
}

// Verify finds out who signed in.
func (o *OIDC) Verify(ctx context.Context, bearer string) (Viewer, error) {
	if strings.HasPrefix(bearer, prefix) {
		return o.Tokens.Verify(ctx, bearer)
	}
	if strings.Count(bearer, ".") != 2 || len(bearer) > longestJWT {
		return Viewer{}, ErrUnknown
	}
	verifier, err := o.provider()
	if err != nil {
		return Viewer{}, unavailable(err)
	}
	var unasked error
	token, err := verifier.Verify(context.WithValue(ctx, unaskedKey{}, &unasked), bearer)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return Viewer{}, ErrExpired
	case unasked != nil:
		return Viewer{}, unavailable(unasked)
	case ctx.Err() != nil:
		return Viewer{}, ctx.Err()
	case err != nil: // go-oidc says why in terms of the token, which is nobody's business but its sender's
		return Viewer{}, ErrUnknown
	}
	return o.viewer(ctx, token)
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

func (o *OIDC) viewer(ctx context.Context, token *oidc.IDToken) (Viewer, error) {
	var claims struct {
		Org   string `json:"tieline_org"`
		Scope words  `json:"scope"`
		Email string `json:"email"`
		Name  string `json:"name"`
	}
	if token.Claims(&claims) != nil || token.Subject == "" {
		return Viewer{}, ErrUnknown
	}
	org, err := db.ParseID("org", claims.Org)
	if err != nil {
		return Viewer{}, ErrNoOrganization
	}
	there, err := db.OrganizationExists(ctx, o.DB, org)
	if err != nil {
		return Viewer{}, err
	}
	if !there {
		return Viewer{}, ErrNoOrganization
	}
	v := Viewer{Org: org, Token: uuid.NewSHA1(uuid.NameSpaceURL, []byte(token.Issuer+"\n"+token.Subject)), Expires: token.Expiry, Scopes: []Scope{}}
	v.Name = cmp.Or(claims.Email, claims.Name, token.Subject)
	if r := []rune(v.Name); len(r) > longestName {
		v.Name = string(r[:longestName])
	}
	v.Name = strings.ReplaceAll(strings.ToValidUTF8(v.Name, "?"), "\x00", "?") // it goes into the audit log
	for _, w := range claims.Scope {
		if name, ours := strings.CutPrefix(w, scopePrefix); ours {
			if s := Scope(strings.ToUpper(name)); slices.Contains(scopes, s) && !slices.Contains(v.Scopes, s) {
				v.Scopes = append(v.Scopes, s)
			}
		}
	}
	return v, nil
}

// words are a claim that is a list, or one text with blanks between.
type words []string

func (w *words) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*w = strings.Fields(one)
		return nil
	}
	return json.Unmarshal(text, (*[]string)(w))
}

// provider learns of the provider when it is first needed: it may be away when we start.
func (o *OIDC) provider() (*oidc.IDTokenVerifier, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	again := cmp.Or(o.Again, providerAgain)
	if o.verifier != nil || time.Since(o.asked) < again && o.failure != nil {
		return o.verifier, o.failure
	}
	client := &http.Client{Timeout: providerWithin}
	ctx := oidc.ClientContext(context.Background(), client) // not the request's: others wait for the answer, too
	p, err := oidc.NewProvider(ctx, o.Issuer)
	if o.asked = time.Now(); err != nil {
		o.failure = fmt.Errorf("asking %s what it is: %w", o.Issuer, err)
		return nil, o.failure
	}
	var at struct {
		Keys string   `json:"jwks_uri"`
		Algs []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := p.Claims(&at); err != nil {
		o.failure = err
		return nil, err
	}
	client = &http.Client{Timeout: providerWithin, Transport: &sparing{again: again}}
	algs := slices.DeleteFunc(at.Algs, func(a string) bool { return strings.HasPrefix(a, "HS") || a == "none" })
	set := keySet{oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), client), at.Keys)}
	o.verifier, o.failure = oidc.NewVerifier(o.Issuer, set, &oidc.Config{ClientID: o.Audience, SupportedSigningAlgs: algs}), nil
	return o.verifier, nil
}

type unaskedKey struct{}

// keySet tells that the provider could not be asked for its keys, which go-oidc words like a bad signature.
type keySet struct{ *oidc.RemoteKeySet }

func (k keySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.RemoteKeySet.VerifySignature(ctx, jwt)
	if cause := errors.Unwrap(err); cause != nil {
		if at, ok := ctx.Value(unaskedKey{}).(*error); ok {
			*at = cause
		}
	}
	return payload, err
}

// sparing repeats an answer for a while: every token with an unknown key would have the provider asked.
type sparing struct {
	again time.Duration

	mu   sync.Mutex
	at   time.Time
	body []byte
	head http.Header
	code int
}

// RoundTrip implements http.RoundTripper. It is for one address.
func (s *sparing) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() || time.Since(s.at) > s.again {
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		if err != nil {
			return nil, err
		}
		s.at, s.body, s.head, s.code = time.Now(), body, res.Header, res.StatusCode
	}
	return &http.Response{
		Status: http.StatusText(s.code), StatusCode: s.code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: s.head,
		Body: io.NopCloser(bytes.NewReader(s.body)), ContentLength: int64(len(s.body)), Request: r,
	}, nil
}
