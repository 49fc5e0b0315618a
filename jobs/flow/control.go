package flow

import (
	"context"
	"errors"
	"time"

	"tieline/db"
)

// Cancel stops a run. A call that is under way is let finish and recorded, and a write nobody knows the outcome of is
// settled first; nothing after it starts.
func (e *Engine) Cancel(ctx context.Context, tx db.Tx, org, id db.ID) (db.Run, error) {
	r, err := e.lockInLane(ctx, tx, org, id)
	if err != nil {
		return r, err
	}
	if final(r.State) {
		return r, problem(CodeState, "The run is over ("+r.State+"), so there is nothing to cancel.", "id")
	}
	if r.State == Cancelling {
		return r, nil
	}
	open, err := db.EffectIn(ctx, tx, org, id, EffectSent, EffectUnknown)
	if err != nil {
		return r, err
	}
	if r.State == Running || open {
		running := r.State == Running
		r.State, r.WaitingReason = Cancelling, ""
		if !running {
			r.WakeAt, r.DueAt = time.Time{}, time.Now().Add(10*time.Second)
		}
		if err := db.MoveRun(ctx, tx, &r); err != nil {
			return r, err
		}
		if running {
			return r, db.Tell(ctx, tx, r, nil)
		}
		return r, e.queued(ctx, tx, r)
	}
	r.State, r.WaitingReason, r.WakeAt, r.DueAt, r.EndedAt = Cancelled, "", time.Time{}, time.Time{}, time.Now()
	if err := db.CancelSteps(ctx, tx, org, id); err != nil {
		return r, err
	}
	if err := db.MoveRun(ctx, tx, &r); err != nil {
		return r, err
	}
	if err := db.Tell(ctx, tx, r, nil); err != nil {
		return r, err
	}
	return r, e.afterEnd(ctx, tx, r, true)
}

// Retry goes on with a run that failed or was cancelled, from the step it stopped at, in its lane's turn; one that waits
// for its next try does not wait any longer, and one that waits for a person looks again whether the matter has cleared. Of
// a run over many records those that failed are dealt with again.
// What it has done already is not done again.
func (e *Engine) Retry(ctx context.Context, tx db.Tx, org, id db.ID) (db.Run, error) {
	return e.retry(ctx, tx, org, id, e.reopen)
}

// Restart is Retry from the first step on: what steps read is read anew. What was written is not written again.
func (e *Engine) Restart(ctx context.Context, tx db.Tx, org, id db.ID) (db.Run, error) {
	return e.retry(ctx, tx, org, id, func(ctx context.Context, tx db.Tx, r db.Run) error {
		switch {
		case len(r.Progress) > 0:
			return problem(CodeState, "A run over many records begins anew with triggerFlow. Without `from`, retryRun takes up those that failed.", "from")
		case r.State == Succeeded:
			return problem(CodeState, noRetry(r), "id")
		}
		return db.RestartSteps(ctx, tx, r.OrgID, r.ID)
	})
}

func (e *Engine) retry(ctx context.Context, tx db.Tx, org, id db.ID, reopen func(context.Context, db.Tx, db.Run) error) (db.Run, error) {
	r, err := e.lockInLane(ctx, tx, org, id)
	if err != nil {
		return r, err
	}
	switch {
	case r.State == Waiting && (r.WaitingReason == ForRetry || r.WaitingReason == ForPerson):
		if err := reopen(ctx, tx, r); err != nil {
			return r, err
		}
	case r.State == Failed || r.State == Cancelled || r.State == Succeeded && r.FailedItems > 0:
		if err := reopen(ctx, tx, r); err != nil {
			return r, err
		}
	default:
		return r, problem(CodeState, noRetry(r), "id")
	}
	busy := false
	if final(r.State) {
		lane := laneOf(r)
		in, err := db.BusyLanes(ctx, tx, lane)
		if err != nil {
			return r, err
		}
		busy = in[lane]
	}
	r.State, r.WaitingReason, r.WakeAt, r.EndedAt, r.Error, r.ErrorKind = Queued, "", time.Time{}, time.Time{}, "", ""
	r.DueAt = time.Now().Add(10 * time.Second)
	if busy {
		r.State, r.WaitingReason, r.DueAt = Waiting, ForLane, time.Time{}
	}
	if err := db.MoveRun(ctx, tx, &r); err != nil {
		return r, err
	}
	if busy {
		return r, db.Tell(ctx, tx, r, nil)
	}
	return r, e.queued(ctx, tx, r)
}

// reopen makes what failed of a run pending again: its steps, and its records.
func (e *Engine) reopen(ctx context.Context, tx db.Tx, r db.Run) error {
	if !final(r.State) {
		return nil
	}
	if err := db.ReopenSteps(ctx, tx, r.OrgID, r.ID); err != nil || r.FailedItems == 0 {
		return err
	}
	p, err := e.plan(ctx, tx, r.OrgID, r.FlowVersionID)
	if err != nil {
		return err
	}
	return db.ReopenItems(ctx, tx, r.OrgID, r.ID, p.itemSteps())
}

// Release lets an event go that was held: its runs begin.
func (e *Engine) Release(ctx context.Context, tx db.Tx, org, id db.ID) error {
	err := db.ReleaseEvent(ctx, tx, org, id)
	if errors.Is(err, db.ErrNotFound) {
		if _, err := db.GetEvent(ctx, tx, org, id); err != nil {
			return err
		}
		return problem(CodeState, "No flow link holds this event. Only an event with an outcome HELD can be released.", "id")
	}
	if err != nil {
		return err
	}
	return e.Queue.Add(ctx, tx, Task{Kind: Dispatch, Org: org, ID: id})
}

// noRetry says why a run is not retried, and what to do in place of it.
func noRetry(r db.Run) string {
	switch r.State {
	case Queued, Running:
		return "The run is being worked on (" + r.State + "). Wait until it ends, and retry it if it fails."
	case Cancelling:
		return "The run is being cancelled. Retry it once it is CANCELLED."
	case Waiting:
		switch r.WaitingReason {
		case ForRate:
			return "The run waits for its turn within the vendor's limit of calls (RATE) and goes on by itself at waitingUntil. There is nothing to do."
		case ForLane:
			return "The run waits for an earlier run of the same record (LANE) and goes on by itself once that is final. If that one is stuck, retry or cancel it."
		case ForDependency:
			return "The run waits for a record that another run makes or links (DEPENDENCY) and goes on by itself once it is there. If that one failed, retry it."
		case ForReauth:
			return "The run waits for working credentials (REAUTH). Repair the connection with updateConnection or authorizeConnection; the run then goes on by itself."
		}
		return "The run is WAITING and goes on by itself."
	}
	return "The run is over (" + r.State + ") and nothing of it failed, so there is nothing to retry. To have it all done once more, use replayRuns."
}

// lockInLane takes a run and its lane, in the order that everyone takes them.
func (e *Engine) lockInLane(ctx context.Context, tx db.Tx, org, id db.ID) (db.Run, error) {
	r, err := db.GetRun(ctx, tx, org, id)
	if err != nil {
		return r, err
	}
	if err := db.LockLanes(ctx, tx, laneOf(r)); err != nil {
		return r, err
	}
	return db.LockRun(ctx, tx, org, id)
}

func laneOf(r db.Run) db.Lane {
	return db.Lane{OrgID: r.OrgID, FlowLinkID: r.FlowLinkID, Lane: r.Lane}
}
