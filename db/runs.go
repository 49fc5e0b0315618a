package db

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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
	Awaits        ID `bun:",nullzero"` // the mapping for which it waits, when it does: its own, or another's
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
	ReservedAt      time.Time `bun:",nullzero"` // its place in the line of a budget, until it is used
	ReservedAccount ID        `bun:",nullzero"` // whose budget
	ReservedBucket  string    // which of its buckets
	Tries           int
	Input           json.RawMessage `bun:",nullzero"`
	Output          json.RawMessage `bun:",nullzero"`
	Redacted        bool            // input or output are not the whole
	Reason          string
	ErrorKind       string `bun:",nullzero"`
	Error           string
	StartedAt       time.Time       `bun:",nullzero"`
	EndedAt         time.Time       `bun:",nullzero"`
	Walk            json.RawMessage `bun:",nullzero"` // how far a step that lists has come
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
// says that somebody has it, that it waits, or that it is over. A run told to cancel keeps that state. One whose turn at a
// vendor comes soon may be taken a little earlier, so that it is there when it comes.
func LeaseRun(ctx context.Context, d *DB, org, id ID, lease time.Duration) (Run, error) {
	var r Run
	err := d.NewRaw(`WITH r AS (
			UPDATE runs SET state = CASE state WHEN 'CANCELLING' THEN state ELSE 'RUNNING' END,
				waiting_reason = NULL, wake_at = NULL, fence = fence + 1, version = version + 1,
				lease_until = clock_timestamp() + make_interval(secs => ?0), due_at = clock_timestamp() + make_interval(secs => ?0),
				started_at = coalesce(started_at, now())
			WHERE org_id = ?1 AND id = ?2 AND ended_at IS NULL AND (
				state = 'QUEUED' OR (state = 'WAITING' AND wake_at <= clock_timestamp() + CASE waiting_reason WHEN 'RATE' THEN interval '600 milliseconds' ELSE interval '0' END)
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

// Lane is where runs of a record happen one at a time, in order.
type Lane struct {
	OrgID, FlowLinkID ID
	Lane              string
}

var givenLanes = givenOf[Lane]("org_id", "flow_link_id", "lane")

// LockLanes makes the caller the only one to change the order of lanes until its transaction ends.
func LockLanes(ctx context.Context, tx Tx, lanes ...Lane) error {
	keys := make([]string, len(lanes))
	for i, l := range lanes {
		keys[i] = l.FlowLinkID.String() + " " + l.Lane
	}
	slices.Sort(keys) // or two who take several wait for each other
	return run(ctx, tx, "SELECT pg_advisory_xact_lock(hashtextextended(key, 0)) FROM unnest($1::text[]) AS key", slices.Compact(keys))
}

var busyLanes = "SELECT x.* FROM " + givenLanes.as("x", 1) + ` WHERE EXISTS (
	SELECT FROM runs r WHERE r.org_id = x.org_id AND r.flow_link_id = x.flow_link_id AND r.lane = x.lane AND r.ended_at IS NULL OFFSET 0)`

// BusyLanes answers those of the lanes that have a run that is not over. Call it under LockLanes.
func BusyLanes(ctx context.Context, tx Tx, lanes ...Lane) (map[Lane]bool, error) {
	busy, err := manyIn[Lane](ctx, tx, busyLanes, givenLanes.arrays(lanes)...)
	out := make(map[Lane]bool, len(busy))
	for _, l := range busy {
		out[l] = true
	}
	return out, err
}

// PromoteLane queues the lane's next run, by vendor time. ErrNotFound when none waits, or one is live. Call it under LockLanes.
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
	err := idb.NewRaw(`UPDATE runs SET state = 'QUEUED', waiting_reason = NULL, wake_at = NULL, awaits = NULL, version = version + 1, due_at = now() + interval '10 seconds'
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

// NewRun is a run to be made, with its steps.
type NewRun struct {
	*Run
	Leased bool // it is the caller's at once
	Steps  []Step
}

var (
	givenRuns = givenOf[NewRun]("org_id", "id", "flow_id", "flow_version_id", "flow_link_id", "connection_id", "event_id", "event_at", "source", "business_key", "replay", "lane", "entity",
		"record_id", "record_name", "vendor_at", "mapping_id", "state", "waiting_reason", "echo_of", "chain", "started_at", "ended_at", "leased")
	givenNewSteps = givenOf[Step]("org_id", "run_id", "key", "position", "app", "action", "connection_id", "vendor_account_id", "state", "reason", "ended_at")
)

var startRuns = fmt.Sprintf(`WITH made AS (
		INSERT INTO runs (org_id, id, flow_id, flow_version_id, flow_link_id, connection_id, event_id, event_at, source, business_key, replay, lane, entity, record_id,
			record_name, vendor_at, mapping_id, state, waiting_reason, echo_of, chain, started_at, ended_at, fence, lease_until, due_at)
		SELECT org_id, id, flow_id, flow_version_id, flow_link_id, connection_id, event_id, event_at, source, business_key, replay, lane, entity, record_id,
			record_name, vendor_at, mapping_id, state, waiting_reason, echo_of, chain::uuid[], started_at, ended_at,
			CASE WHEN leased THEN 1 ELSE 0 END, CASE WHEN leased THEN clock_timestamp() + make_interval(secs => $1) END,
			CASE WHEN leased THEN clock_timestamp() + make_interval(secs => $1) WHEN state = 'QUEUED' THEN now() + interval '10 seconds' END
		FROM %s
		ON CONFLICT (org_id, flow_link_id, business_key, replay) DO NOTHING
		RETURNING org_id, id, flow_id, flow_link_id, connection_id, event_id, source, version, state, waiting_reason, fence, lease_until, due_at, created_at),
	stepped AS (
		INSERT INTO steps (org_id, run_id, key, position, app, action, connection_id, vendor_account_id, state, reason, ended_at)
		SELECT m.org_id, m.id, x.key, x.position, x.app, x.action, x.connection_id, x.vendor_account_id, x.state, x.reason, x.ended_at
		FROM made m, %s WHERE m.org_id = x.org_id AND m.id = x.run_id),
	noted AS (
		INSERT INTO event_outcomes (org_id, event_id, flow_link_id, outcome, run_id)
		SELECT org_id, event_id, flow_link_id, 'RUN', id FROM made
		ON CONFLICT (org_id, event_id, flow_link_id) DO UPDATE SET outcome = 'RUN', reason = '', run_id = EXCLUDED.run_id WHERE event_outcomes.outcome = 'HELD'),
	told AS (
		INSERT INTO changes (org_id, run_id, flow_id, flow_link_id, connection_id, source, version, state, waiting_reason)
		SELECT org_id, id, flow_id, flow_link_id, connection_id, source, version, state, waiting_reason FROM made)
	SELECT id, version, fence, lease_until, due_at, created_at FROM made`, givenRuns.as("x", 2), givenNewSteps.as("x", 26))

// StartRuns makes runs with their steps, notes them as what became of their events at their links, and tells of them. It
// answers by id which it made: others' changes have a run at their link already.
func StartRuns(ctx context.Context, tx Tx, lease time.Duration, runs []NewRun) (map[ID]bool, error) {
	var steps []Step
	for _, r := range runs {
		steps = append(steps, r.Steps...)
	}
	rows, err := manyIn[Run](ctx, tx, startRuns, slices.Concat([]any{lease.Seconds()}, givenRuns.arrays(runs), givenNewSteps.arrays(steps))...)
	if err != nil {
		return nil, err
	}
	*tx.told = true
	made, byID := make(map[ID]bool, len(rows)), make(map[ID]*Run, len(runs))
	for _, r := range runs {
		byID[r.ID] = r.Run
	}
	for _, m := range rows {
		r := byID[m.ID]
		made[m.ID] = true
		r.Version, r.Fence, r.LeaseUntil, r.DueAt, r.CreatedAt = m.Version, m.Fence, m.LeaseUntil, m.DueAt, m.CreatedAt
	}
	return made, nil
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
	_, err := idb.NewUpdate().Model((*Step)(nil)).Set("state = 'CANCELLED', reason = 'The run was cancelled.', waiting_reason = NULL, wake_at = NULL, reserved_at = NULL, reserved_account = NULL, ended_at = now()").
		Where("org_id = ? AND run_id = ? AND state IN ('PENDING', 'RUNNING', 'WAITING')", org, run).Exec(ctx)
	return err
}

// FailStep ends a step that has not ended. Call it with the run locked.
func FailStep(ctx context.Context, tx Tx, org, of ID, key, kind, why string) error {
	return run(ctx, tx, `UPDATE steps SET state = 'FAILED', error_kind = $4, error = $5, waiting_reason = NULL, wake_at = NULL, reserved_at = NULL, reserved_account = NULL, ended_at = now()
		WHERE org_id = $1 AND run_id = $2 AND key = $3 AND state IN ('PENDING', 'RUNNING', 'WAITING')`, org, of, key, kind, why)
}

// RestartSteps makes all steps of a run pending again, as if none had begun.
func RestartSteps(ctx context.Context, tx Tx, org, of ID) error {
	return run(ctx, tx, `UPDATE steps SET state = 'PENDING', reason = '', tries = 0, output = NULL, redacted = false, error = '', error_kind = NULL, waiting_reason = NULL, wake_at = NULL,
			reserved_at = NULL, reserved_account = NULL, started_at = NULL, ended_at = NULL WHERE org_id = $1 AND run_id = $2`, org, of)
}

// ReopenSteps makes the steps that failed or were cancelled pending again.
func ReopenSteps(ctx context.Context, idb bun.IDB, org, run ID) error {
	_, err := idb.NewUpdate().Model((*Step)(nil)).Set("state = 'PENDING', reason = '', tries = 0, error = '', error_kind = NULL, started_at = NULL, ended_at = NULL").
		Where("org_id = ? AND run_id = ? AND state IN ('FAILED', 'CANCELLED')", org, run).Exec(ctx)
	return err
}
