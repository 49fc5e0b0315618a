package model

import (
	"tieline/db"
	"tieline/graph/auth"
)

// NewToken shows what is kept of a token.
func NewToken(t db.Token) *APIToken {
	out := &APIToken{
		ID: TokenID.Of(t.ID), Name: t.Name, Hint: t.Hint, Scopes: make([]auth.Scope, len(t.Scopes)), CreatedAt: t.CreatedAt,
		ExpiresAt: moment(t.ExpiresAt), RevokedAt: moment(t.RevokedAt), LastUsedAt: moment(t.LastUsedAt),
	}
	for i, s := range t.Scopes {
		out.Scopes[i] = auth.Scope(s)
	}
	return out
}
