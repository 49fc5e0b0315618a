package auth

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"tieline/db"
	"tieline/jobs/flow"
)

const noteUse = time.Minute // last_used_at is no more exact than this, so that reading stays reading

// Tokens verifies the bearer tokens that are kept in the database.
type Tokens struct {
	DB  *db.DB
	Log *slog.Logger
	Now func() time.Time // nil: time.Now
}

// Verify finds the holder of a token.
func (t Tokens) Verify(ctx context.Context, bearer string) (Viewer, error) {
	if !wellFormed(bearer) {
		return Viewer{}, ErrUnknown
	}
	row, err := db.TokenByHash(ctx, t.DB, Hash(bearer))
	if errors.Is(err, db.ErrNotFound) {
		return Viewer{}, ErrUnknown
	}
	if err != nil {
		return Viewer{}, err
	}
	now := time.Now
	if t.Now != nil {
		now = t.Now
	}
	switch {
	case !row.RevokedAt.IsZero():
		return Viewer{}, ErrRevoked
	case !row.ExpiresAt.IsZero() && !row.ExpiresAt.After(now()):
		return Viewer{}, ErrExpired
	}
	if now().Sub(row.LastUsedAt) > noteUse {
		if err := db.UseToken(ctx, t.DB, row.OrgID, row.ID, noteUse); err != nil {
			t.Log.WarnContext(ctx, "noting a token's use", "err", err) // no reason to turn its holder away
		}
	}
	return Viewer{Org: row.OrgID, Token: row.ID, Name: row.Name, Scopes: scopesOf(row.Scopes), Expires: row.ExpiresAt}, nil
}

// NewToken makes a token and the row to keep of it. A zero expires means never.
func NewToken(org db.ID, name string, scopes []Scope, expires time.Time) (secret string, row db.Token) {
	secret = NewSecret()
	row = db.Token{
		OrgID: org, ID: db.NewID(), Name: name, Hash: Hash(secret), Hint: Hint(secret), ExpiresAt: expires,
		Scopes: make([]string, len(scopes)),
	}
	for i, s := range scopes {
		row.Scopes[i] = string(s)
	}
	return secret, row
}

// MakeToken makes and keeps a token that a caller asks for. Its secret is not to be had again.
func MakeToken(ctx context.Context, tx db.Tx, org db.ID, name string, may []Scope, expires time.Time) (id db.ID, secret string, err error) {
	var bad flow.Problems
	if name = strings.TrimSpace(name); name == "" || utf8.RuneCountInString(name) > 100 {
		bad = append(bad, flow.Problem{Field: []string{"name"}, Code: flow.CodeInvalid, Message: "A name of 1 to 100 characters is needed."})
	}
	if len(may) == 0 {
		bad = append(bad, flow.Problem{Field: []string{"scopes"}, Code: flow.CodeRequired, Message: "A token needs at least one scope."})
	}
	if !expires.IsZero() && !expires.After(time.Now()) {
		bad = append(bad, flow.Problem{Field: []string{"expiresAt"}, Code: flow.CodeInvalid, Message: "This moment has passed."})
	}
	if expires.UTC().Year() > 9999 { // which no DateTime can show
		bad = append(bad, flow.Problem{Field: []string{"expiresAt"}, Code: flow.CodeInvalid, Message: "The last year is 9999."})
	}
	if len(bad) > 0 {
		return id, "", bad
	}
	slices.Sort(may)
	secret, row := NewToken(org, name, slices.Compact(may), expires)
	return row.ID, secret, db.AddToken(ctx, tx, row)
}

func scopesOf(names []string) []Scope {
	out := make([]Scope, len(names))
	for i, n := range names {
		out[i] = Scope(n)
	}
	return out
}
