package db

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// Token is what is kept of a bearer token: its hash, and what its holder may do.
type Token struct {
	bun.BaseModel `bun:"api_tokens,alias:t"`

	OrgID      ID `bun:",pk"`
	ID         ID `bun:",pk"`
	Name       string
	Hash       []byte
	Hint       string
	Scopes     []string  `bun:"type:text[],array"`
	ExpiresAt  time.Time `bun:",nullzero"`
	LastUsedAt time.Time `bun:",nullzero"`
	RevokedAt  time.Time `bun:",nullzero"`
	CreatedAt  time.Time `bun:",nullzero,default:now()"`
}

// AddToken keeps a token.
func AddToken(ctx context.Context, idb bun.IDB, t Token) error {
	_, err := idb.NewInsert().Model(&t).Exec(ctx)
	return err
}

// TokenByHash finds a token in any organization, revoked and expired ones too.
func TokenByHash(ctx context.Context, idb bun.IDB, hash []byte) (Token, error) {
	rows, err := rowsOf[Token](ctx, idb, tableOf[Token]().read+" WHERE hash = $1", hash)
	if err == nil && len(rows) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Token{}, err
	}
	return rows[0], nil
}

// UseToken notes that a token was used, at most once in every.
func UseToken(ctx context.Context, idb bun.IDB, org, id ID, every time.Duration) error {
	_, err := idb.NewUpdate().Model((*Token)(nil)).Set("last_used_at = now()").
		Where("org_id = ? AND id = ? AND coalesce(last_used_at, '-infinity') < now() - make_interval(secs => ?)", org, id, every.Seconds()).Exec(ctx)
	return err
}

// RevokeToken ends a token; one that is revoked already stays so since then.
func RevokeToken(ctx context.Context, idb bun.IDB, org, id ID) error {
	var at time.Time
	err := idb.NewUpdate().Model((*Token)(nil)).Set("revoked_at = coalesce(revoked_at, now())").
		Where("org_id = ? AND id = ?", org, id).Returning("revoked_at").Scan(ctx, &at)
	return found(err)
}
