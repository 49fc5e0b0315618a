package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"
)

// RunItem is a record of a run over many that could not be dealt with, or not yet.
type RunItem struct {
	bun.BaseModel `bun:"run_items,alias:ri"`

	OrgID     ID `bun:",pk"`
	ID        ID `bun:",pk"`
	RunID     ID
	Step      string // the one that lists
	Entity    string
	Key       string // the record's id
	Name      string
	State     string
	ErrorKind string `bun:",nullzero"`
	Message   string
	RequestID string    // the vendor's
	MappingID ID        `bun:",nullzero"`
	Tries     int       // those that count
	DueAt     time.Time `bun:",nullzero"` // when it is tried again
	CreatedAt time.Time `bun:",nullzero,default:now()"`
	UpdatedAt time.Time `bun:",nullzero,default:now()"`
}

// Walk is how far a run has come through what a step of it lists.
type Walk struct {
	Run  *Run // gets the state that others may have given it meanwhile; its progress and failed items are written
	Step string
	At   json.RawMessage // where it stands; nil: as before
	Tell bool            // the feed is told of the progress
}

// SaveWalk writes how far a run has come, under its fence. ErrNotFound when that is old.
func SaveWalk(ctx context.Context, tx Tx, w Walk) error {
	r := w.Run
	type saved struct {
		Version int64
		State   string
	}
	now, err := in[saved](ctx, tx, `WITH held AS (
			UPDATE runs SET version = version + CASE WHEN $5 THEN 1 ELSE 0 END, progress = $6, failed_items = $7
			WHERE org_id = $1 AND id = $2 AND fence = $3 AND ended_at IS NULL RETURNING *),
		stood AS (
			UPDATE steps s SET walk = coalesce($8, s.walk) FROM held WHERE s.org_id = held.org_id AND s.run_id = held.id AND s.key = $4),
		told AS (
			INSERT INTO changes (org_id, run_id, flow_id, flow_link_id, connection_id, source, version, state, progress)
			SELECT org_id, id, flow_id, flow_link_id, connection_id, source, version, state, progress FROM held WHERE $5)
		SELECT version, state FROM held`, r.OrgID, r.ID, r.Fence, w.Step, w.Tell, r.Progress, r.FailedItems, w.At)
	if err != nil {
		return err
	}
	if w.Tell {
		*tx.told = true
	}
	r.Version, r.State = now.Version, now.State
	return nil
}

var (
	givenItems = givenOf[RunItem]("org_id", "id", "run_id", "step", "entity", "key", "name", "state", "error_kind", "message", "request_id", "mapping_id", "tries", "due_at")
	putItems   = `INSERT INTO run_items (org_id, id, run_id, step, entity, key, name, state, error_kind, message, request_id, mapping_id, tries, due_at)
		SELECT org_id, id, run_id, step, entity, key, name, state, error_kind, message, request_id, mapping_id, tries, due_at FROM ` + givenItems.as("x", 1) + ` ORDER BY n
		ON CONFLICT (org_id, run_id, step, key) DO UPDATE SET name = EXCLUDED.name, state = EXCLUDED.state, error_kind = EXCLUDED.error_kind, message = EXCLUDED.message,
			request_id = EXCLUDED.request_id, mapping_id = EXCLUDED.mapping_id, tries = EXCLUDED.tries, due_at = EXCLUDED.due_at, updated_at = now()`
)

// PutItems writes items of a run, new or not.
func PutItems(ctx context.Context, tx Tx, items []RunItem) error {
	if len(items) == 0 {
		return nil
	}
	return run(ctx, tx, putItems, givenItems.arrays(items)...)
}

// DropItems removes items of a run that have been dealt with.
func DropItems(ctx context.Context, tx Tx, org, of ID, step string, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	return run(ctx, tx, "DELETE FROM run_items WHERE org_id = $1 AND run_id = $2 AND step = $3 AND key = ANY($4)", org, of, step, keys)
}

// PendingItems are a run's items that are due to be tried again, those that have waited longest first, and when the next
// one is due; zero when none waits.
func PendingItems(ctx context.Context, d *DB, org, of ID, step string, limit int) (due []RunItem, next time.Time, err error) {
	found, err := many[RunItem](ctx, d.Pool, `SELECT * FROM run_items WHERE org_id = $1 AND run_id = $2 AND step = $3 AND state = 'PENDING' ORDER BY due_at, id LIMIT $4`, org, of, step, limit)
	if err != nil || len(found) == 0 {
		return nil, next, err
	}
	now, err := Now(ctx, d)
	for _, x := range found {
		if !x.DueAt.After(now) {
			due = append(due, x)
		}
	}
	return due, found[0].DueAt, err
}

// ReopenItems has a run deal again with those of its items that failed, and with nothing else: the steps named are pending.
func ReopenItems(ctx context.Context, tx Tx, org, of ID, steps []string) error {
	return run(ctx, tx, `WITH items AS (
			UPDATE run_items SET state = 'PENDING', tries = 0, due_at = now(), updated_at = now() WHERE org_id = $1 AND run_id = $2 AND state = 'FAILED'),
		again AS (
			UPDATE steps SET state = 'PENDING', reason = '', tries = 0, error = '', error_kind = NULL, started_at = NULL, ended_at = NULL,
				walk = CASE WHEN walk IS NOT NULL THEN jsonb_set(walk, '{counts,failed}', '0') END
			WHERE org_id = $1 AND run_id = $2 AND key = ANY($3))
		UPDATE runs SET failed_items = 0, progress = jsonb_set(progress, '{failed}', '0') WHERE org_id = $1 AND id = $2`, org, of, steps)
}

// ItemEffects are the effects of a run about these mappings that still count.
func ItemEffects(ctx context.Context, d *DB, org, of ID, mappings []ID) ([]Effect, error) {
	return many[Effect](ctx, d.Pool, `SELECT * FROM effects WHERE org_id = $1 AND run_id = $2 AND mapping_id = ANY($3) AND state NOT IN ('REFUSED', 'GIVEN_UP') ORDER BY id`,
		org, of, mappings)
}

var (
	givenPlain   = givenOf[Effect]("org_id", "id", "external_id", "ref")
	confirmPlain = `UPDATE effects e SET state = 'CONFIRMED', external_id = x.external_id, ref = x.ref, request = NULL, absent_at = NULL, error_kind = NULL, error = '', updated_at = now()
		FROM ` + givenPlain.as("x", 1) + ` WHERE e.org_id = x.org_id AND e.id = x.id`
)

// ConfirmPlain writes that effects happened which claim no slots.
func ConfirmPlain(ctx context.Context, tx Tx, effects []*Effect) error {
	if len(effects) == 0 {
		return nil
	}
	rows := make([]Effect, len(effects))
	for i, e := range effects {
		rows[i] = *e
	}
	return run(ctx, tx, confirmPlain, givenPlain.arrays(rows)...)
}
