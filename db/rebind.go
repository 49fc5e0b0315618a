package db

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// What is below changes what a flow link is bound to.

// SaveFlowLink writes what a user may change of a link. ErrConflict says that somebody else changed it since it was read.
func SaveFlowLink(ctx context.Context, idb bun.IDB, l *FlowLink, anew bool) error {
	err := found(idb.NewUpdate().Model(l).Column("name", "trigger_connection_id", "trigger", "params", "filter", "redact", "pinned_version_id").
		Set("updated_at = clock_timestamp()").Set("enabled_at = CASE WHEN enabled AND ? THEN now() ELSE enabled_at END", anew).
		Where("org_id = ?org_id AND id = ?id AND deleted_at IS NULL AND updated_at = ?updated_at").Returning("updated_at, enabled, enabled_at").Scan(ctx))
	if err == ErrNotFound {
		return ErrConflict
	}
	return err
}

// BindStep has a step of a link use a connection.
func BindStep(ctx context.Context, tx Tx, s FlowLinkStep) error {
	return run(ctx, tx, `INSERT INTO flow_link_steps (org_id, flow_link_id, step, connection_id) VALUES ($1, $2, $3, $4)
		ON CONFLICT (org_id, flow_link_id, step) DO UPDATE SET connection_id = EXCLUDED.connection_id`, s.OrgID, s.FlowLinkID, s.Step, s.ConnectionID)
}

// UnbindSteps forgets the connections of steps that a link's flow has no more. Runs hold what they use themselves.
func UnbindSteps(ctx context.Context, tx Tx, org, link ID, steps []string) error {
	return run(ctx, tx, "DELETE FROM flow_link_steps WHERE org_id = $1 AND flow_link_id = $2 AND step <> ALL ($3)", org, link, steps)
}

// RebindRuns has the runs of a link that have not ended go on with another connection to the same vendor account, in the steps of
// a key that have not ended.
func RebindRuns(ctx context.Context, tx Tx, org, link ID, step string, from, to ID) error {
	return run(ctx, tx, `UPDATE steps s SET connection_id = $5 FROM runs r WHERE r.org_id = $1 AND r.flow_link_id = $2 AND r.ended_at IS NULL
		AND s.org_id = r.org_id AND s.run_id = r.id AND s.key = $3 AND s.connection_id = $4 AND s.state IN ('PENDING', 'RUNNING', 'WAITING')`, org, link, step, from, to)
}

// RebindTriggers has the runs of a link that have not ended read their record through another connection to the same account.
func RebindTriggers(ctx context.Context, tx Tx, org, link, from, to ID) error {
	return run(ctx, tx, "UPDATE runs SET connection_id = $4 WHERE org_id = $1 AND flow_link_id = $2 AND connection_id = $3 AND ended_at IS NULL", org, link, from, to)
}

// Rehear has events of a connection dispatched again that came in since a time and that a link did not hear. It answers them.
func Rehear(ctx context.Context, tx Tx, l FlowLink, since time.Time) ([]Event, error) {
	return manyIn[Event](ctx, tx, `UPDATE events e SET reheard_at = now(), dispatched_at = NULL, due_at = now() + interval '10 seconds'
		WHERE e.org_id = $1 AND e.connection_id = $2 AND e.trigger = $3 AND e.id >= $4 AND e.dispatched_at IS NOT NULL AND e.source IN ('WEBHOOK', 'CATCH_UP') AND e.error = ''
			AND NOT EXISTS (SELECT FROM event_outcomes o WHERE o.org_id = e.org_id AND o.event_id = e.id AND o.flow_link_id = $5)
		RETURNING e.*`, l.OrgID, l.TriggerConnectionID, l.Trigger, firstID(since), l.ID)
}

// MappedApart counts the mappings that hold a record in one vendor account and none in another.
func MappedApart(ctx context.Context, idb bun.IDB, org, from, to ID) (int, error) {
	var n int
	err := idb.NewRaw(`SELECT count(DISTINCT a.mapping_id) FROM mapping_slots a WHERE a.org_id = ?0 AND a.vendor_account_id = ?1 AND a.external_id IS NOT NULL
		AND NOT EXISTS (SELECT FROM mapping_slots b WHERE b.org_id = a.org_id AND b.mapping_id = a.mapping_id AND b.vendor_account_id = ?2 AND b.external_id IS NOT NULL)`, org, from, to).Scan(ctx, &n)
	return n, err
}

// Waiting is what a link has not dealt with yet.
type Waiting struct {
	Runs   int // that have not ended
	Events int // that came in and were not looked into
}

// WaitingAt counts what a link has not dealt with yet.
func WaitingAt(ctx context.Context, tx Tx, l FlowLink) (Waiting, error) {
	return in[Waiting](ctx, tx, `SELECT (SELECT count(*) FROM runs WHERE org_id = $1 AND flow_link_id = $2 AND ended_at IS NULL) AS runs,
		(SELECT count(*) FROM events WHERE org_id = $1 AND connection_id = $3 AND trigger = $4 AND due_at IS NOT NULL AND (flow_link_id IS NULL OR flow_link_id = $2)) AS events`,
		l.OrgID, l.ID, l.TriggerConnectionID, l.Trigger)
}
