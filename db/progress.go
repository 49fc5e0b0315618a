package db

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Progress is what an activation has to say at once, under its run's fence.
type Progress struct {
	Run      *Run      // gets the new version, and the state that others may have given it meanwhile
	Leaves   bool      // the run leaves the worker's hands: what Run says of its state is written, and the lease ends
	Steps    []*Step   // to write
	Attempts []Attempt // to keep
	Told     []Told    // for the feed, in order; each is a version of the run

	Fenced   bool // answered: the fence is old, and nothing of this was written
	Followed bool // answered of a run that leaves: another waits in its lane
}

// Told is a change for the feed. A change of the run itself has no step.
type Told struct {
	OrgID, RunID  ID
	Number        int // of those that a run tells at once, from 1
	State         string
	WaitingReason string    `bun:",nullzero"`
	WakeAt        time.Time `bun:",nullzero"`
	Step          string    `bun:",nullzero"`
	StepState     string    `bun:",nullzero"`
}

// progressed is a run's own row.
type progressed struct {
	Run
	Leaves bool
	Told   int
}

var (
	givenProgress = givenOf[progressed]("org_id", "id", "fence", "told", "leaves", "state", "waiting_reason", "awaits", "wake_at", "due_at", "error_kind", "error", "ended_at", "failed_items", "progress")
	givenSteps    = givenOf[Step]("org_id", "run_id", "key", "state", "waiting_reason", "wake_at", "reserved_at", "reserved_account", "reserved_bucket", "tries", "input", "output", "redacted", "reason", "error_kind", "error", "started_at", "ended_at")
	givenAttempts = givenOf[Attempt]("org_id", "id", "run_id", "step", "effect_id", "connection_id", "method", "path", "status", "error_kind", "error", "request_id", "at", "took_us")
	givenTold     = givenOf[Told]("org_id", "run_id", "number", "state", "waiting_reason", "wake_at", "step", "step_state")
)

// saveProgress leaves a run that goes on as it is, but for its version. That a run has not ended is said so that no index of
// those serves it: they are few when Postgres makes its plan, and may be very many later.
var saveProgress = fmt.Sprintf(`WITH held AS (
		UPDATE runs r SET version = r.version + x.told,
			state = CASE WHEN x.leaves THEN x.state ELSE r.state END, waiting_reason = CASE WHEN x.leaves THEN x.waiting_reason ELSE r.waiting_reason END,
			awaits = CASE WHEN x.leaves THEN x.awaits ELSE r.awaits END, wake_at = CASE WHEN x.leaves THEN x.wake_at ELSE r.wake_at END, due_at = CASE WHEN x.leaves THEN x.due_at ELSE r.due_at END,
			error_kind = CASE WHEN x.leaves THEN x.error_kind ELSE r.error_kind END, error = CASE WHEN x.leaves THEN x.error ELSE r.error END,
			ended_at = CASE WHEN x.leaves THEN x.ended_at ELSE r.ended_at END, failed_items = CASE WHEN x.leaves THEN x.failed_items ELSE r.failed_items END,
			progress = CASE WHEN x.leaves THEN x.progress ELSE r.progress END, lease_until = CASE WHEN x.leaves THEN NULL ELSE r.lease_until END
		FROM %s
		WHERE r.org_id = x.org_id AND r.id = x.id AND r.fence = x.fence AND coalesce(r.ended_at, 'infinity') = 'infinity'
		RETURNING r.org_id, r.id, r.flow_id, r.flow_link_id, r.lane, r.connection_id, r.source, r.version, r.state, x.told, x.leaves),
	saved AS (
		UPDATE steps s SET state = x.state, waiting_reason = x.waiting_reason, wake_at = x.wake_at, reserved_at = x.reserved_at,
			reserved_account = x.reserved_account, reserved_bucket = x.reserved_bucket, tries = x.tries, input = x.input, output = x.output, redacted = x.redacted, reason = x.reason,
			error_kind = x.error_kind, error = x.error, started_at = x.started_at, ended_at = x.ended_at
		FROM held h, %s
		WHERE h.org_id = x.org_id AND h.id = x.run_id AND s.org_id = x.org_id AND s.run_id = x.run_id AND s.key = x.key),
	made AS (
		INSERT INTO attempts (org_id, id, run_id, step, effect_id, connection_id, method, path, status, error_kind, error, request_id, at, took_us)
		SELECT h.org_id, x.id, h.id, x.step, x.effect_id, x.connection_id, x.method, x.path, x.status, x.error_kind, x.error, x.request_id, x.at, x.took_us
		FROM held h, %s WHERE h.org_id = x.org_id AND h.id = x.run_id),
	told AS (
		INSERT INTO changes (org_id, run_id, flow_id, flow_link_id, connection_id, source, version, state, waiting_reason, wake_at, step, step_state)
		SELECT h.org_id, h.id, h.flow_id, h.flow_link_id, h.connection_id, h.source, h.version - h.told + x.number, x.state, x.waiting_reason, x.wake_at, x.step, x.step_state
		FROM held h, %s WHERE h.org_id = x.org_id AND h.id = x.run_id ORDER BY x.n)
	SELECT id, version, state, leaves AND EXISTS (SELECT FROM runs w WHERE w.org_id = h.org_id AND w.flow_link_id = h.flow_link_id AND w.lane = h.lane
		AND w.ended_at IS NULL AND w.waiting_reason = 'LANE') AS followed FROM held h`,
	givenProgress.as("x", 1), givenSteps.as("x", 16), givenAttempts.as("x", 34), givenTold.as("x", 48))

// SaveProgress writes what activations have to say, in one statement. One whose fence is old says nothing.
func SaveProgress(ctx context.Context, tx Tx, all []*Progress) error {
	*tx.told = true
	var runs []progressed
	var steps []Step
	var attempts []Attempt
	var told []Told
	for _, p := range all {
		runs = append(runs, progressed{*p.Run, p.Leaves, len(p.Told)})
		for _, s := range p.Steps {
			steps = append(steps, *s)
		}
		attempts = append(attempts, p.Attempts...)
		for i, t := range p.Told {
			t.OrgID, t.RunID, t.Number = p.Run.OrgID, p.Run.ID, i+1
			told = append(told, t)
		}
	}
	type saved struct {
		ID       ID
		Version  int64
		State    string
		Followed bool
	}
	now, err := manyIn[saved](ctx, tx, saveProgress, slices.Concat(givenProgress.arrays(runs), givenSteps.arrays(steps), givenAttempts.arrays(attempts), givenTold.arrays(told))...)
	if err != nil {
		return err
	}
	byID := make(map[ID]saved, len(now))
	for _, s := range now {
		byID[s.ID] = s
	}
	for _, p := range all {
		s, held := byID[p.Run.ID]
		if p.Fenced = !held; held {
			p.Run.Version, p.Run.State, p.Followed = s.Version, s.State, s.Followed
		}
	}
	return nil
}
