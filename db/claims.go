package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"
)

// Claim is a mutation's hold on its idempotency key, and afterwards what came of it.
type Claim struct {
	bun.BaseModel `bun:"claims,alias:cl"`

	OrgID          ID `bun:",pk"`
	ID             ID `bun:",pk"`
	TokenID        ID
	Field          string
	IdempotencyKey string
	InputHash      []byte
	LeaseUntil     time.Time `bun:",nullzero"` // while a call to a vendor is made, outside of a transaction
	DoneAt         time.Time `bun:",nullzero"`
	ObjectID       string    `bun:",nullzero"`
	CreatedAt      time.Time `bun:",nullzero,default:now()"`
}

// TakeClaim takes a key for the caller, who then holds c, or answers who has it. One whose holder's lease ended without
// a result is taken over under a new id, so that the old holder can no longer finish. Without a lease the claim must be
// finished in the same transaction; a second caller waits for that. ErrConflict says that the key went from hand to hand
// while we looked: repeat it later.
func TakeClaim(ctx context.Context, idb bun.IDB, c Claim, lease time.Duration) (held Claim, mine bool, err error) {
	for range claimTries {
		c.ID = NewID()
		if err = found(insertClaim(ctx, idb, &c, lease)); err != ErrNotFound {
			return c, err == nil, err
		}
		held = Claim{}
		err = found(idb.NewSelect().Model(&held).Where("org_id = ? AND token_id = ? AND field = ? AND idempotency_key = ?",
			c.OrgID, c.TokenID, c.Field, c.IdempotencyKey).Scan(ctx))
		if err != ErrNotFound {
			return held, false, err
		}
	} // its holder gave it back in between
	return Claim{}, false, ErrConflict
}

const claimTries = 4 // the first, and three when the holder gave the key back before we saw whose it was

func insertClaim(ctx context.Context, idb bun.IDB, c *Claim, lease time.Duration) error {
	insert := idb.NewInsert().Model(c)
	if lease > 0 {
		insert.Value("lease_until", "clock_timestamp() + make_interval(secs => ?)", lease.Seconds())
	}
	return insert.On("CONFLICT (org_id, token_id, field, idempotency_key) DO UPDATE").
		Set("id = EXCLUDED.id, lease_until = EXCLUDED.lease_until").
		Where("cl.done_at IS NULL AND cl.input_hash = EXCLUDED.input_hash AND cl.lease_until < clock_timestamp()").
		Returning("id").Scan(ctx)
}

// FinishClaim keeps what came of it. ErrConflict says that the claim was taken over: undo everything.
func FinishClaim(ctx context.Context, idb bun.IDB, c Claim) error {
	res, err := idb.NewUpdate().Model(&c).Column("object_id").Set("done_at = now(), lease_until = NULL").
		Where("org_id = ?org_id AND id = ?id AND done_at IS NULL").Exec(ctx)
	if err == nil && affected(res) == 0 {
		return ErrConflict
	}
	return err
}

// DropClaim gives a key back, of a call that did nothing.
func DropClaim(ctx context.Context, idb bun.IDB, c Claim) error {
	_, err := idb.NewDelete().Model(&c).Where("org_id = ?org_id AND id = ?id AND done_at IS NULL").Exec(ctx)
	return err
}

// Audit is one entry of the audit log: who did what.
type Audit struct {
	bun.BaseModel `bun:"audit_log,alias:al"`

	OrgID     ID        `bun:",pk"`
	ID        ID        `bun:",pk"`
	At        time.Time `bun:",nullzero,default:now()"`
	TokenID   ID        `bun:",nullzero"`
	Actor     string
	Field     string
	ObjectID  string          `bun:",nullzero"`
	Input     json.RawMessage `bun:"type:jsonb,nullzero"` // without secrets
	Outcome   string
	RequestID string
}

// AddAudit keeps an entry.
func AddAudit(ctx context.Context, idb bun.IDB, a Audit) error {
	a.ID = NewID()
	_, err := idb.NewInsert().Model(&a).Exec(ctx)
	return err
}
