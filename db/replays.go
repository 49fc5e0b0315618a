package db

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// Replay is a wish to have many runs made again, and how far that has come.
type Replay struct {
	bun.BaseModel `bun:"replays,alias:rp"`

	OrgID      ID `bun:",pk"`
	ID         ID `bun:",pk"`
	Filter     json.RawMessage
	Matched    int
	Made       int
	Skips      json.RawMessage `bun:",nullzero"` // how many were left out, by the reason
	At         ID              `bun:",nullzero"` // the last run that was dealt with
	DueAt      time.Time       `bun:",nullzero"`
	FinishedAt time.Time       `bun:",nullzero"`
	Cancelled  bool            // it was finished by a person
	CreatedAt  time.Time       `bun:",nullzero,default:now()"`
}

// ReplayFilter says which runs are meant: all conditions hold.
type ReplayFilter struct {
	RunFilter
	Runs         []ID      // these alone
	Since, Until time.Time // by when the run was made; Until is exclusive
}

// replayable is a run that is over, is no echo's, and has not been replayed since: of a change that was replayed before, its
// newest run counts.
func (f ReplayFilter) replayable(org ID, asked time.Time) *conditions {
	c := &conditions{args: []any{org}}
	c.text.WriteString(`r.org_id = $1 AND r.ended_at IS NOT NULL AND r.state IN ('SUCCEEDED', 'FAILED', 'CANCELLED')`)
	c.and("r.created_at <= ?0", asked)
	c.and(`NOT EXISTS (SELECT FROM runs n WHERE n.org_id = r.org_id AND n.flow_link_id = r.flow_link_id AND n.business_key = r.business_key
		AND n.replay > r.replay AND n.created_at <= ?0)`, asked)
	equal(c, "r.flow_id", f.Flow)
	equal(c, "r.flow_link_id", f.Link)
	equal(c, "r.connection_id", f.Connection)
	equal(c, "r.event_id", f.Event)
	equal(c, "r.mapping_id", f.Mapping)
	equal(c, "r.state", f.State)
	if len(f.Runs) > 0 {
		c.and("r.id = ANY(?0)", f.Runs)
	}
	if !f.Since.IsZero() {
		c.and("r.created_at >= ?0", f.Since)
	}
	if !f.Until.IsZero() {
		c.and("r.created_at < ?0", f.Until)
	}
	return c
}

// CountReplayable counts the runs that a replay asked for at a time would make again.
func CountReplayable(ctx context.Context, tx Tx, org ID, f ReplayFilter, asked time.Time) (int, error) {
	c := f.replayable(org, asked)
	n, err := in[struct{ Count int }](ctx, tx, "SELECT count(*) AS count FROM runs r WHERE "+c.text.String(), c.args...)
	return n.Count, err
}

// Replayable are the next runs that a replay makes again, oldest first.
func Replayable(ctx context.Context, tx Tx, rp Replay, f ReplayFilter, limit int) ([]Run, error) {
	c := f.replayable(rp.OrgID, rp.CreatedAt)
	if rp.At != (ID{}) {
		c.and("r.id > ?0", rp.At)
	}
	c.args = append(c.args, limit)
	return manyIn[Run](ctx, tx, "SELECT r.* FROM runs r WHERE "+c.text.String()+" ORDER BY r.id LIMIT "+fmt.Sprint("$", len(c.args)), c.args...)
}

// AddReplay inserts a replay, due at once.
func AddReplay(ctx context.Context, tx Tx, rp *Replay) error {
	_, err := tx.NewInsert().Model(rp).Value("due_at", "now() + interval '10 seconds'").Returning("created_at, due_at").Exec(ctx)
	return err
}

// LockReplay reads a replay that is not finished for the caller alone, until its transaction ends.
func LockReplay(ctx context.Context, tx Tx, org, id ID) (Replay, error) {
	return in[Replay](ctx, tx, "SELECT * FROM replays WHERE org_id = $1 AND id = $2 AND finished_at IS NULL FOR UPDATE", org, id)
}

// SaveReplay writes how far a replay has come. Done, it is finished; else somebody must go on with it within ten seconds.
func SaveReplay(ctx context.Context, tx Tx, rp Replay, done bool) error {
	return run(ctx, tx, `UPDATE replays SET made = $3, skips = $4, at = $5, finished_at = CASE WHEN $6 THEN now() END,
			due_at = CASE WHEN NOT $6 THEN now() + interval '10 seconds' END
		WHERE org_id = $1 AND id = $2`, rp.OrgID, rp.ID, rp.Made, rp.Skips, orNull(rp.At), done)
}

// CancelReplay finishes a replay that is not finished, once whoever is making runs of it has done so. One that is finished stays
// as it is.
func CancelReplay(ctx context.Context, tx Tx, org, id ID) (Replay, error) {
	return in[Replay](ctx, tx, `UPDATE replays SET cancelled = cancelled OR finished_at IS NULL, finished_at = coalesce(finished_at, now()), due_at = NULL
		WHERE org_id = $1 AND id = $2 RETURNING *`, org, id)
}

// SweepReplays answers replays that nobody goes on with, each no sooner again than ten seconds later.
func SweepReplays(ctx context.Context, idb bun.IDB, limit int) ([]Replay, error) {
	var due []Replay
	err := idb.NewRaw(`UPDATE replays r SET due_at = now() + interval '10 seconds'
		FROM (SELECT org_id, id FROM replays WHERE due_at <= now() ORDER BY due_at LIMIT ? FOR UPDATE SKIP LOCKED) d
		WHERE r.org_id = d.org_id AND r.id = d.id RETURNING r.org_id, r.id`, limit).Scan(ctx, &due)
	return due, err
}

// ReplaysOf reads replays by id.
func ReplaysOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]Replay, error) {
	return byID(ctx, idb, org, ids, func(r *Replay) ID { return r.ID })
}

// PruneReplays removes replays that were finished before a time, some at a time, and answers how many went.
func PruneReplays(ctx context.Context, idb bun.IDB, org ID, before time.Time, limit int) (int64, error) {
	res, err := idb.NewRaw("DELETE FROM replays WHERE org_id = ?0 AND id IN (SELECT id FROM replays WHERE org_id = ?0 AND id < ?1 AND finished_at < ?2 ORDER BY id LIMIT ?3 FOR UPDATE SKIP LOCKED)",
		org, firstID(before), before, limit).Exec(ctx)
	return affected(res), err
}
