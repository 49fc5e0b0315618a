package db

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/uptrace/bun"
)

// Run is one execution of a flow version for an event.
type Run struct {
	bun.BaseModel `bun:"runs,alias:r"`

	OrgID         ID `bun:",pk"`
	ID            ID `bun:",pk"`
	FlowID        ID
	FlowVersionID ID
	FlowLinkID    ID
	ConnectionID  ID // the trigger's
	EventID       ID
	EventAt       time.Time // received_at of the event
	Source        string
	BusinessKey   string
	Replay        int
	Lane          string
	Entity        string
	RecordID      string
	RecordName    string
	VendorAt      time.Time
	MappingID     ID `bun:",nullzero"`
	State         string
	WaitingReason string    `bun:",nullzero"`
	WakeAt        time.Time `bun:",nullzero"` // what people see
	DueAt         time.Time `bun:",nullzero"` // what the sweeper goes by
	LeaseUntil    time.Time `bun:",nullzero"`
	Fence         int64     // a writer with an older one is refused
	Version       int64     // grows with every change that the feed tells of
	EchoOf        ID        `bun:",nullzero"`
	Chain         []ID      `bun:"type:uuid[],array"`
	FailedItems   int
	Progress      json.RawMessage `bun:",nullzero"`
	ErrorKind     string          `bun:",nullzero"`
	Error         string
	CreatedAt     time.Time `bun:",nullzero,default:now()"`
	StartedAt     time.Time `bun:",nullzero"`
	EndedAt       time.Time `bun:",nullzero"`
}

// Step is one action of a run.
type Step struct {
	bun.BaseModel `bun:"steps,alias:s"`

	OrgID           ID     `bun:",pk"`
	RunID           ID     `bun:",pk"`
	Key             string `bun:",pk"`
	Position        int
	App             string
	Action          string
	ConnectionID    ID
	VendorAccountID ID
	State           string
	WaitingReason   string    `bun:",nullzero"`
	WakeAt          time.Time `bun:",nullzero"`
	ReservedAt      time.Time `bun:",nullzero"` // the start that a budget gave, until it is used
	ReservedAccount ID        `bun:",nullzero"` // whose budget
	Tries           int
	Input           json.RawMessage `bun:",nullzero"`
	Output          json.RawMessage `bun:",nullzero"`
	Reason          string
	ErrorKind       string `bun:",nullzero"`
	Error           string
	StartedAt       time.Time `bun:",nullzero"`
	EndedAt         time.Time `bun:",nullzero"`
}

// GetRun reads a run.
func GetRun(ctx context.Context, idb bun.IDB, org, id ID) (Run, error) {
	var r Run
	err := idb.NewSelect().Model(&r).Where("org_id = ? AND id = ?", org, id).Scan(ctx)
	return r, found(err)
}

// Steps are a run's steps in order.
func Steps(ctx context.Context, idb bun.IDB, org, run ID) ([]Step, error) {
	var steps []Step
	err := idb.NewSelect().Model(&steps).Where("org_id = ? AND run_id = ?", org, run).OrderExpr("position").Scan(ctx)
	return steps, err
}

// LeaseRun gives a run that is due to the caller, with a new fence that turns older holders' writes away. ErrNotFound
// says that somebody has it, that it waits, or that it is over. A run told to cancel keeps that state.
func LeaseRun(ctx context.Context, d *DB, org, id ID, lease time.Duration) (Run, error) {
	var r Run
	err := d.NewRaw(`WITH r AS (
			UPDATE runs SET state = CASE state WHEN 'CANCELLING' THEN state ELSE 'RUNNING' END,
				waiting_reason = NULL, wake_at = NULL, fence = fence + 1, version = version + 1,
				lease_until = clock_timestamp() + make_interval(secs => ?0), due_at = clock_timestamp() + make_interval(secs => ?0),
				started_at = coalesce(started_at, now())
			WHERE org_id = ?1 AND id = ?2 AND ended_at IS NULL AND (
				state = 'QUEUED' OR (state = 'WAITING' AND wake_at <= clock_timestamp())
				OR (state IN ('RUNNING', 'CANCELLING') AND coalesce(lease_until, '-infinity') < clock_timestamp()))
			RETURNING *),
		told AS (
			INSERT INTO changes (org_id, run_id, flow_id, flow_link_id, connection_id, source, version, state)
			SELECT org_id, id, flow_id, flow_link_id, connection_id, source, version, state FROM r)
		SELECT * FROM r`,
		lease.Seconds(), org, id).Scan(ctx, &r)
	if err == nil {
		d.changes.announce()
	}
	return r, found(err)
}

// RenewLease keeps a run; ErrNotFound when the fence is old.
func RenewLease(ctx context.Context, idb bun.IDB, org, id ID, fence int64, lease time.Duration) (state string, err error) {
	err = idb.NewRaw(`UPDATE runs SET lease_until = clock_timestamp() + make_interval(secs => ?0), due_at = clock_timestamp() + make_interval(secs => ?0)
		WHERE org_id = ?1 AND id = ?2 AND fence = ?3 AND lease_until IS NOT NULL RETURNING state`, lease.Seconds(), org, id, fence).Scan(ctx, &state)
	return state, found(err)
}

// YieldRun ends a lease early; nothing happens when the fence is old.
func YieldRun(ctx context.Context, idb bun.IDB, org, id ID, fence int64) error {
	_, err := idb.NewRaw("UPDATE runs SET lease_until = NULL, due_at = now() WHERE org_id = ? AND id = ? AND fence = ? AND ended_at IS NULL", org, id, fence).Exec(ctx)
	return err
}

// HoldRun keeps others from changing a run until the transaction ends, and answers its state; ErrNotFound when the
// fence is old.
func HoldRun(ctx context.Context, idb bun.IDB, org, id ID, fence int64) (state string, err error) {
	err = idb.NewRaw("SELECT state FROM runs WHERE org_id = ? AND id = ? AND fence = ? AND ended_at IS NULL FOR NO KEY UPDATE", org, id, fence).Scan(ctx, &state)
	return state, found(err)
}

// Tell appends a change of the run to the feed, whose readers are woken after the commit. step may be nil.
func Tell(ctx context.Context, tx Tx, r Run, step *Step) error {
	*tx.told = true
	var key, state any
	if step != nil {
		key, state = step.Key, step.State
	}
	var wake, reason any
	if !r.WakeAt.IsZero() {
		wake = r.WakeAt
	}
	if r.WaitingReason != "" {
		reason = r.WaitingReason
	}
	_, err := tx.NewRaw(`INSERT INTO changes (org_id, run_id, flow_id, flow_link_id, connection_id, source, version, state, waiting_reason, wake_at, step, step_state)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.OrgID, r.ID, r.FlowID, r.FlowLinkID, r.ConnectionID, r.Source, r.Version, r.State, reason, wake, key, state).Exec(ctx)
	return err
}

// LockLane makes the caller the only one to change a lane's order until its transaction ends.
func LockLane(ctx context.Context, tx Tx, link ID, lane string) error {
	return run(ctx, tx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", link.String()+" "+lane)
}

// LaneBusy tells whether a lane has a run that is not over. Call it under LockLane.
func LaneBusy(ctx context.Context, tx Tx, org, link ID, lane string) (bool, error) {
	answer, err := in[struct{ Busy bool }](ctx, tx, "SELECT EXISTS (SELECT FROM runs WHERE org_id = $1 AND flow_link_id = $2 AND lane = $3 AND ended_at IS NULL) AS busy", org, link, lane)
	return answer.Busy, err
}

// PromoteLane queues the lane's next run, by vendor time. ErrNotFound when none waits, or one is live. Call it under LockLane.
func PromoteLane(ctx context.Context, tx Tx, org, link ID, lane string) (Run, error) {
	return in[Run](ctx, tx, `UPDATE runs SET state = 'QUEUED', waiting_reason = NULL, version = version + 1, due_at = now() + interval '10 seconds'
		WHERE org_id = $1 AND id = (SELECT id FROM runs WHERE org_id = $1 AND flow_link_id = $2 AND lane = $3 AND ended_at IS NULL
			AND state = 'WAITING' AND waiting_reason = 'LANE' ORDER BY vendor_at, id LIMIT 1)
		AND NOT EXISTS (SELECT FROM runs live WHERE live.org_id = $1 AND live.flow_link_id = $2 AND live.lane = $3 AND live.ended_at IS NULL
			AND live.waiting_reason IS DISTINCT FROM 'LANE')
		RETURNING *`, org, link, lane)
}

// WakeRuns queues runs that wait for one of these reasons, of a mapping or of a run.
func WakeRuns(ctx context.Context, idb bun.IDB, where string, args ...any) ([]Run, error) {
	var woken []Run
	err := idb.NewRaw(`UPDATE runs SET state = 'QUEUED', waiting_reason = NULL, wake_at = NULL, version = version + 1, due_at = now() + interval '10 seconds'
		WHERE state = 'WAITING' AND (`+where+`) RETURNING *`, args...).Scan(ctx, &woken)
	return woken, err
}

// SweepRuns answers runs that nobody has looked after in time, each no sooner again than ten seconds later, and ever
// later the longer it has been around, so that a backlog is not queued over and over.
func SweepRuns(ctx context.Context, idb bun.IDB, limit int) ([]Run, error) {
	var due []Run
	err := idb.NewRaw(`UPDATE runs r SET due_at = now() + least(greatest(interval '10 seconds', now() - r.created_at), interval '5 minutes')
		FROM (SELECT org_id, id FROM runs WHERE due_at <= now() ORDER BY due_at LIMIT ? FOR UPDATE SKIP LOCKED) d
		WHERE r.org_id = d.org_id AND r.id = d.id RETURNING r.org_id, r.id`, limit).Scan(ctx, &due)
	return due, err
}

// StartRun makes a run with its steps, notes it as what became of its event at its link, and tells of it; false when the
// same change has a run at this link already. With a lease it is the caller's. With last the event is dispatched by it.
func StartRun(ctx context.Context, tx Tx, r *Run, steps []Step, lease time.Duration, last bool) (bool, error) {
	type row struct {
		Key             string    `json:"key"`
		Position        int       `json:"position"`
		App             string    `json:"app"`
		Action          string    `json:"action"`
		ConnectionID    ID        `json:"connection_id"`
		VendorAccountID ID        `json:"vendor_account_id"`
		State           string    `json:"state"`
		Reason          string    `json:"reason"`
		EndedAt         time.Time `json:"ended_at,omitzero"`
	}
	rows := make([]row, len(steps))
	for i, s := range steps {
		rows[i] = row{s.Key, s.Position, s.App, s.Action, s.ConnectionID, s.VendorAccountID, s.State, s.Reason, s.EndedAt}
	}
	given, err := documents(rows)
	if err != nil {
		return false, err
	}
	made, err := in[Run](ctx, tx, `WITH made AS (
			INSERT INTO runs (org_id, id, flow_id, flow_version_id, flow_link_id, connection_id, event_id, event_at, source, business_key, replay, lane, entity, record_id,
				record_name, vendor_at, mapping_id, state, waiting_reason, echo_of, chain, started_at, ended_at, fence, lease_until, due_at)
			VALUES ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
				CASE WHEN $25::float8 > 0 THEN 1 ELSE 0 END, CASE WHEN $25 > 0 THEN clock_timestamp() + make_interval(secs => $25) END,
				CASE WHEN $25 > 0 THEN clock_timestamp() + make_interval(secs => $25) WHEN $19 = 'QUEUED' THEN now() + interval '10 seconds' END)
			ON CONFLICT (org_id, flow_link_id, business_key, replay) DO NOTHING RETURNING *),
		stepped AS (
			INSERT INTO steps (org_id, run_id, key, position, app, action, connection_id, vendor_account_id, state, reason, ended_at)
			SELECT m.org_id, m.id, x.key, x.position, x.app, x.action, x.connection_id, x.vendor_account_id, x.state, x.reason, x.ended_at
			FROM made m, jsonb_to_recordset($1::jsonb) AS x (key text, position int, app text, action text, connection_id uuid, vendor_account_id uuid,
				state text, reason text, ended_at timestamptz)),
		noted AS (
			INSERT INTO event_outcomes (org_id, event_id, flow_link_id, outcome, run_id)
			SELECT org_id, event_id, flow_link_id, 'RUN', id FROM made
			ON CONFLICT (org_id, event_id, flow_link_id) DO UPDATE SET outcome = 'RUN', reason = '', run_id = EXCLUDED.run_id WHERE event_outcomes.outcome = 'HELD'),
		told AS (
			INSERT INTO changes (org_id, run_id, flow_id, flow_link_id, connection_id, source, version, state, waiting_reason)
			SELECT org_id, id, flow_id, flow_link_id, connection_id, source, version, state, waiting_reason FROM made),
		dispatched AS (
			UPDATE events e SET entity = m.entity, record_id = m.record_id, record_name = m.record_name, echo_of = m.echo_of, dispatched_at = now(), due_at = NULL
			FROM made m WHERE $26 AND e.org_id = m.org_id AND e.id = m.event_id)
		SELECT * FROM made`, append(given,
		r.OrgID, r.ID, r.FlowID, r.FlowVersionID, r.FlowLinkID, r.ConnectionID, r.EventID, r.EventAt, r.Source, r.BusinessKey, r.Replay, r.Lane, r.Entity, r.RecordID,
		r.RecordName, r.VendorAt, orNull(r.MappingID), r.State, orNull(r.WaitingReason), orNull(r.EchoOf), r.Chain, orNull(r.StartedAt), orNull(r.EndedAt), lease.Seconds(), last)...)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	*tx.told, *r = true, made
	return true, nil
}

// RunOf names the first run that a link made for a change.
func RunOf(ctx context.Context, idb bun.IDB, org, link ID, businessKey string) (ID, error) {
	var id ID
	err := idb.NewRaw("SELECT id FROM runs WHERE org_id = ? AND flow_link_id = ? AND business_key = ? AND replay = 0", org, link, businessKey).Scan(ctx, &id)
	return id, found(err)
}

// LockRun reads a run for the caller alone, until its transaction ends.
func LockRun(ctx context.Context, idb bun.IDB, org, id ID) (Run, error) {
	var r Run
	err := idb.NewSelect().Model(&r).Where("org_id = ? AND id = ?", org, id).For("UPDATE").Scan(ctx)
	return r, found(err)
}

// MoveRun writes a state that was given from outside an activation. Call it with the run locked.
func MoveRun(ctx context.Context, idb bun.IDB, r *Run) error {
	return found(idb.NewUpdate().Model(r).Column("state", "waiting_reason", "wake_at", "due_at", "ended_at", "error", "error_kind").
		Set("version = version + 1").WherePK().Returning("version").Scan(ctx))
}

// CancelSteps ends the steps of a run that have not ended.
func CancelSteps(ctx context.Context, idb bun.IDB, org, run ID) error {
	_, err := idb.NewUpdate().Model((*Step)(nil)).Set("state = 'CANCELLED', reason = 'The run was cancelled.', waiting_reason = NULL, wake_at = NULL, ended_at = now()").
		Where("org_id = ? AND run_id = ? AND state IN ('PENDING', 'RUNNING', 'WAITING')", org, run).Exec(ctx)
	return err
}

// ReopenSteps makes the steps that failed or were cancelled pending again.
func ReopenSteps(ctx context.Context, idb bun.IDB, org, run ID) error {
	_, err := idb.NewUpdate().Model((*Step)(nil)).Set("state = 'PENDING', reason = '', tries = 0, error = '', error_kind = NULL, started_at = NULL, ended_at = NULL").
		Where("org_id = ? AND run_id = ? AND state IN ('FAILED', 'CANCELLED')", org, run).Exec(ctx)
	return err
}
