package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"
)

// Effect is one write to a third party, kept before it is sent.
type Effect struct {
	bun.BaseModel `bun:"effects,alias:ef"`

	OrgID           ID `bun:",pk"`
	ID              ID `bun:",pk"`
	VendorAccountID ID
	ConnectionID    ID
	RunID           ID     `bun:",nullzero"` // none for an effect of the connection itself
	Step            string `bun:",nullzero"`
	MappingID       ID     `bun:",nullzero"`
	Kind            string
	Key             string // what it is: no second live effect can have it
	Generation      int    // of an intended re-send
	State           string
	Entity          string
	ExternalID      string          `bun:",nullzero"`
	Ref             json.RawMessage `bun:",nullzero"`
	Request         []byte          // sealed; removed when the effect is final
	SentAt          time.Time       `bun:",nullzero"`
	SendUntil       time.Time       `bun:",nullzero"` // after this the call can no longer be in the air
	AbsentAt        time.Time       `bun:",nullzero"` // when the first probe found nothing
	Chain           []ID            `bun:"type:uuid[],array"`
	ErrorKind       string          `bun:",nullzero"`
	Error           string
	CreatedAt       time.Time `bun:",nullzero,default:now()"`
	UpdatedAt       time.Time `bun:",nullzero,default:now()"`
}

// Attempt is one call made for a step.
type Attempt struct {
	bun.BaseModel `bun:"attempts,alias:a"`

	OrgID        ID `bun:",pk"`
	ID           ID `bun:",pk"`
	RunID        ID
	Step         string
	EffectID     ID `bun:",nullzero"`
	ConnectionID ID `bun:",nullzero"` // that it was made through; none of calls that were made before this was kept
	Method       string
	Path         string
	Status       int    // HTTP; zero when no answer came
	ErrorKind    string `bun:",nullzero"`
	Error        string
	RequestID    string // the vendor's
	At           time.Time
	TookUS       int64 `bun:"took_us"` // microseconds
}

// GetEffect reads an effect.
func GetEffect(ctx context.Context, idb bun.IDB, org, id ID) (Effect, error) {
	var e Effect
	err := idb.NewSelect().Model(&e).Where("org_id = ? AND id = ?", org, id).Scan(ctx)
	return e, found(err)
}

// LockEffect reads an effect for the caller alone, until its transaction ends. Its run must be locked before.
func LockEffect(ctx context.Context, tx Tx, org, id ID) (Effect, error) {
	return in[Effect](ctx, tx, "SELECT * FROM effects WHERE org_id = $1 AND id = $2 FOR UPDATE", org, id)
}

// RunEffects are a run's effects that still count, oldest first. Of a run over many records those about the records are left
// out, as far as it is known what became of them.
func RunEffects(ctx context.Context, idb bun.IDB, org, run ID) ([]Effect, error) {
	var all []Effect
	err := idb.NewSelect().Model(&all).Where("org_id = ? AND run_id = ? AND state NOT IN ('REFUSED', 'GIVEN_UP')", org, run).
		Where("state IN ('SENT', 'UNKNOWN') OR NOT " + ofItem).OrderExpr("id").Scan(ctx)
	return all, err
}

// ofItem tells an effect of a run over many records that is about one of them.
const ofItem = `EXISTS (SELECT FROM runs r WHERE r.org_id = ef.org_id AND r.id = ef.run_id AND r.progress IS NOT NULL AND ef.mapping_id IS DISTINCT FROM r.mapping_id)`

// LiveEffect finds the effect that is this one, whoever planned it; ErrNotFound when none lives.
func LiveEffect(ctx context.Context, d *DB, org, account ID, key string) (Effect, error) {
	return one[Effect](ctx, d.Pool, "SELECT * FROM effects WHERE org_id = $1 AND vendor_account_id = $2 AND key = $3 AND state NOT IN ('REFUSED', 'GIVEN_UP')", org, account, key)
}

// SettleEffect writes what is known of an effect now. One that an echo confirmed meanwhile stays confirmed: ErrConflict.
func SettleEffect(ctx context.Context, idb bun.IDB, e *Effect) error {
	err := found(idb.NewUpdate().Model(e).Column("state", "external_id", "ref", "request", "absent_at", "error_kind", "error").
		Set("updated_at = now()").
		Where("org_id = ?org_id AND id = ?id AND (state <> 'CONFIRMED' OR ?state = 'CONFIRMED')").
		Returning("updated_at").Scan(ctx))
	if err == ErrNotFound {
		return ErrConflict
	}
	return err
}

// Seen is a record that an event reports as made.
type Seen struct {
	Record
	Open bool // it may be one that a CREATE of ours is about to make under this id, which we chose
}

var (
	givenSeen  = givenOf[Seen]("org_id", "vendor_account_id", "entity", "external_id", "open")
	creatorsOf = `SELECT x.n AS place, ef.* FROM ` + givenSeen.as("x", 1) + ` CROSS JOIN LATERAL (
		SELECT ef.* FROM mapping_slots ms JOIN effects ef ON ef.org_id = ms.org_id AND ef.id = ms.effect_id
		WHERE ms.org_id = x.org_id AND ms.vendor_account_id = x.vendor_account_id AND ms.entity = x.entity AND ef.kind = 'CREATE'
			AND (ms.external_id = x.external_id OR (x.open AND ms.external_id IS NULL AND ms.own_id = x.external_id)) LIMIT 1) ef`
)

// CreatorsOf finds the CREATEs of ours that made records, by the places of the records.
func CreatorsOf(ctx context.Context, tx Tx, records ...Seen) (map[int]Effect, error) {
	type row struct {
		Effect
		Place int
	}
	rows, err := manyIn[row](ctx, tx, creatorsOf, givenSeen.arrays(records)...)
	out := make(map[int]Effect, len(rows))
	for _, r := range rows {
		out[r.Place-1] = r.Effect
	}
	return out, err
}

var writesOn = "SELECT x.id, (SELECT count(*) FROM (SELECT FROM effects e WHERE e.org_id = x.org_id AND e.mapping_id = x.id AND e.id > $1 LIMIT $2) w) AS writes FROM " + givenKeys.as("x", 3)

// WritesOn counts by mapping what was written about it lately, up to most.
func WritesOn(ctx context.Context, tx Tx, lately time.Duration, most int, mappings ...Key) (map[ID]int, error) {
	type row struct {
		ID     ID
		Writes int
	}
	rows, err := manyIn[row](ctx, tx, writesOn, append([]any{firstID(time.Now().Add(-lately)), most}, givenKeys.arrays(mappings)...)...)
	out := make(map[ID]int, len(rows))
	for _, r := range rows {
		out[r.ID] = r.Writes
	}
	return out, err
}

// Making finds a CREATE of another run that was sent before this one began, and of which nobody knows yet what it made;
// ErrNotFound when there is none.
func Making(ctx context.Context, d *DB, r Run, account ID, entity string) (Effect, error) {
	return one[Effect](ctx, d.Pool, `SELECT * FROM effects WHERE org_id = $1 AND state IN ('SENT', 'UNKNOWN') AND vendor_account_id = $2 AND entity = $3 AND kind = 'CREATE'
		AND run_id <> $4 AND sent_at <= $5 ORDER BY id LIMIT 1`, r.OrgID, account, entity, r.ID, r.CreatedAt)
}

// EffectIn tells whether the run has an effect in one of these states.
func EffectIn(ctx context.Context, idb bun.IDB, org, run ID, states ...string) (bool, error) {
	return idb.NewSelect().Model((*Effect)(nil)).Where("org_id = ? AND run_id = ? AND state IN (?)", org, run, bun.List(states)).Exists(ctx)
}

// UnsettledThrough tells whether a write through the connection may have happened without our knowing.
func UnsettledThrough(ctx context.Context, idb bun.IDB, org, connection ID) (bool, error) {
	return idb.NewSelect().Model((*Effect)(nil)).Where("org_id = ? AND connection_id = ? AND run_id IS NOT NULL AND state IN ('SENT', 'UNKNOWN')", org, connection).Exists(ctx)
}

// OwnUnsettled are the effects of a connection itself, of which nobody knows what became.
func OwnUnsettled(ctx context.Context, idb bun.IDB, org, connection ID) ([]Effect, error) {
	var open []Effect
	err := idb.NewSelect().Model(&open).Where("org_id = ? AND connection_id = ? AND run_id IS NULL AND state IN ('SENT', 'UNKNOWN', 'ABSENT')", org, connection).
		OrderExpr("id").Scan(ctx)
	return open, err
}

// MarkConflict notes that what an effect made cannot be linked.
func MarkConflict(ctx context.Context, idb bun.IDB, e *Effect) error {
	_, err := idb.NewUpdate().Model(e).Column("state", "error").Set("updated_at = now()").WherePK().Exec(ctx)
	return err
}

// Now is the database's time, which leases and deadlines go by.
func Now(ctx context.Context, idb bun.IDB) (time.Time, error) {
	var now time.Time
	err := idb.NewRaw("SELECT clock_timestamp()").Scan(ctx, &now)
	return now, err
}

// GiveUpEffects ends what a run had planned and surely not done, and what no person has settled, and releases their slots. It
// answers the mappings that those were about.
func GiveUpEffects(ctx context.Context, idb bun.IDB, org, run ID) ([]ID, error) {
	var about []ID
	err := idb.NewRaw(`WITH given_up AS (
			UPDATE effects SET state = 'GIVEN_UP', request = NULL, updated_at = now()
			WHERE org_id = ?0 AND run_id = ?1 AND state IN ('PLANNED', 'ABSENT', 'CONFLICT') RETURNING id, mapping_id),
		released AS (DELETE FROM mapping_slots WHERE org_id = ?0 AND external_id IS NULL AND effect_id IN (SELECT id FROM given_up))
		SELECT DISTINCT mapping_id FROM given_up WHERE mapping_id IS NOT NULL`, org, run).Scan(ctx, &about)
	return about, err
}
