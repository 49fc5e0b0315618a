package auth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"tieline/db"
)

// Viewer is who calls: a token and the one organization it belongs to.
type Viewer struct {
	Org     db.ID
	Token   db.ID  // or an id of who signed in
	Name    string // of the token or the person, for the audit log
	Scopes  []Scope
	Expires time.Time // zero: it does not
}

// May reports whether the viewer holds a scope.
func (v Viewer) May(s Scope) bool {
	return slices.Contains(v.Scopes, s) || slices.Contains(v.Scopes, Admin)
}

// Verifier knows who holds a bearer token. A refusal is one of this package's errors; any other error says that it
// could not be found out.
type Verifier interface {
	Verify(ctx context.Context, bearer string) (Viewer, error)
}

// Why a caller is refused. The texts are shown to the caller.
var (
	ErrMissing = errors.New("a token is needed: send it as Authorization: Bearer tl_…")
	ErrUnknown = errors.New("the token is not known")
	ErrExpired = errors.New("the token has expired")
	ErrRevoked = errors.New("the token was revoked")

	ErrNoOrganization = errors.New("the token names no organization of ours: its claim tieline_org should be an organization's id")
)

// ErrUnavailable says that whoever issued the token cannot be asked. It is no refusal.
var ErrUnavailable = errors.New("the issuer of tokens does not answer")

// Refused reports whether err is a refusal, and not a failure to find out.
func Refused(err error) bool {
	return slices.ContainsFunc([]error{ErrMissing, ErrUnknown, ErrExpired, ErrRevoked, ErrNoOrganization}, func(r error) bool { return errors.Is(err, r) })
}

// Bearer takes the token out of an Authorization header's value, empty when it holds none.
func Bearer(authorization string) string {
	scheme, token, ok := strings.Cut(strings.TrimSpace(authorization), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// FromRequest finds out who makes a request.
func FromRequest(v Verifier, r *http.Request) (Viewer, error) {
	bearer := Bearer(r.Header.Get("Authorization"))
	if bearer == "" {
		return Viewer{}, ErrMissing
	}
	return v.Verify(r.Context(), bearer)
}

type viewerKey struct{}

// WithViewer puts the viewer into a context.
func WithViewer(ctx context.Context, v Viewer) context.Context {
	return context.WithValue(ctx, viewerKey{}, v)
}

// FromContext is who calls; false when nobody is known to.
func FromContext(ctx context.Context) (Viewer, bool) {
	v, ok := ctx.Value(viewerKey{}).(Viewer)
	return v, ok
}
