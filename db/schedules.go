package db

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// DueLink is a flow link whose schedule says that its time has come.
type DueLink struct {
	FlowLink
	App string // of its trigger
}

// DueLinks answers links whose schedule is due, for the caller alone until the transaction ends, and the time of the
// database. Those that somebody else has in hand are left to them.
func DueLinks(ctx context.Context, tx Tx, limit int) (due []DueLink, now time.Time, err error) {
	due, err = manyIn[DueLink](ctx, tx, `SELECT l.*, c.app FROM flow_links l JOIN connections c ON c.org_id = l.org_id AND c.id = l.trigger_connection_id
		WHERE l.schedule_due_at <= now() AND l.enabled AND l.deleted_at IS NULL ORDER BY l.schedule_due_at LIMIT $1 FOR NO KEY UPDATE OF l SKIP LOCKED`, limit)
	if err != nil || len(due) == 0 {
		return nil, now, err
	}
	err = tx.NewRaw("SELECT now()").Scan(ctx, &now)
	return due, now, err
}

// SetNextRun notes when a link's schedule fires next; never, when at is zero.
func SetNextRun(ctx context.Context, tx Tx, l *FlowLink, at time.Time) error {
	next, err := in[FlowLink](ctx, tx, `UPDATE flow_links SET next_run_at = $3, schedule_due_at = $3 WHERE org_id = $1 AND id = $2 RETURNING *`, l.OrgID, l.ID, orNull(at))
	if err == nil {
		l.NextRunAt = next.NextRunAt
	}
	return err
}

// PutOff has a link's schedule looked at again after a while.
func PutOff(ctx context.Context, tx Tx, l FlowLink, d time.Duration) error {
	return run(ctx, tx, "UPDATE flow_links SET schedule_due_at = now() + make_interval(secs => $3) WHERE org_id = $1 AND id = $2", l.OrgID, l.ID, d.Seconds())
}

// AddEventOnce stores an event and its body, unless one with its dedupe key is there: then it answers false.
func AddEventOnce(ctx context.Context, idb bun.IDB, e Event, body []byte) (bool, error) {
	res, err := idb.NewInsert().Model(&e).On("CONFLICT (org_id, connection_id, dedupe_key) DO NOTHING").Exec(ctx)
	if err != nil || affected(res) == 0 {
		return false, err
	}
	_, err = idb.NewRaw("INSERT INTO event_bodies (org_id, event_id, at, body) VALUES (?, ?, ?, ?)", e.OrgID, e.ID, e.ReceivedAt, body).Exec(ctx)
	return err == nil, err
}
