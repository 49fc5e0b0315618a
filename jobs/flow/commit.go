package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// commit saves what is known now, while the run goes on.
func (a *Activation) commit(ctx context.Context, s *db.Step) error {
	if err := a.e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error { return a.save(ctx, tx, s) }); err != nil {
		return err
	}
	a.saved()
	return nil
}

// save writes the step, what its effects left and the calls it made, under the run's fence, and tells the feed.
// Call saved once the transaction is committed.
func (a *Activation) save(ctx context.Context, tx db.Tx, s *db.Step) error {
	err := db.Touch(ctx, tx, &a.run)
	if errors.Is(err, db.ErrNotFound) {
		return errFenced
	}
	if err != nil {
		return err
	}
	if err := a.keep(ctx, tx, s); err != nil {
		return err
	}
	return db.Tell(ctx, tx, a.run, s)
}

func (a *Activation) saved() { a.settled, a.attempts = nil, nil }

// keep writes steps and what belongs to them.
func (a *Activation) keep(ctx context.Context, tx db.Tx, steps ...*db.Step) error {
	for _, s := range steps {
		if s == nil {
			continue
		}
		if err := db.SaveStep(ctx, tx, s); err != nil {
			return err
		}
	}
	for _, ef := range a.settled {
		if err := db.SettleEffect(ctx, tx, ef); err != nil {
			return err
		}
		if ef.Kind == string(connectors.CreateEffect) {
			if err := a.e.fill(ctx, tx, ef); err != nil {
				return err
			}
		}
	}
	return db.AddAttempts(ctx, tx, a.attempts)
}

// fill puts what an effect made into the slots it had claimed, and wakes who waited for them.
func (e *Engine) fill(ctx context.Context, tx db.Tx, ef *db.Effect) error {
	var ref connectors.Ref
	if err := json.Unmarshal(ef.Ref, &ref); err != nil {
		return err
	}
	_, role, _ := splitCreateKey(ef.Key)
	slots := []db.Slot{{Entity: ef.Entity, Role: role, ExternalID: ref.ID, Name: ref.Name, Attributes: ref.Attributes}}
	for _, w := range ref.With {
		slots = append(slots, db.Slot{Entity: w.Entity, Role: w.Role, ExternalID: w.ID, Name: ref.Name})
	}
	for _, s := range slots {
		s.OrgID, s.VendorAccountID, s.EffectID = ef.OrgID, ef.VendorAccountID, ef.ID
		if err := db.FillClaimed(ctx, tx, s); err != nil && !errors.Is(err, db.ErrConflict) {
			return err
		} else if err != nil {
			e.Log.WarnContext(ctx, "a record is mapped elsewhere already", "org", ef.OrgID, "effect", ef.ID, "entity", s.Entity, "id", s.ExternalID)
			ef.State, ef.Error = EffectConflict, fmt.Sprintf("%s %s is linked to another record already", s.Entity, s.ExternalID)
			if err := db.MarkConflict(ctx, tx, ef); err != nil {
				return err
			}
		}
	}
	return e.wakeDependents(ctx, tx, ef.OrgID, ef.MappingID)
}

// Yield gives a run back that could not be brought to a stop in order, as when the process stops: another worker takes
// it up at once, not when the lease ends.
func (e *Engine) Yield(ctx context.Context, a *Activation) error {
	return db.YieldRun(ctx, e.DB, a.run.OrgID, a.run.ID, a.run.Fence)
}

// Finish commits where the run goes: its state, what it left and the lane's next run. Whoever carried the run ends its
// job in the same transaction. It may be called again with a new transaction when one failed.
func (e *Engine) Finish(ctx context.Context, tx db.Tx, a *Activation, n Next) error {
	over := final(n.state)
	if over {
		if err := db.LockLane(ctx, tx, a.run.FlowLinkID, a.run.Lane); err != nil {
			return err
		}
	}
	if err := a.hold(ctx, tx); err != nil {
		return err
	}
	n, err := a.lookAgain(ctx, tx, n)
	if err != nil {
		return err
	}
	r := a.run
	e.apply(&r, n)
	if err := db.SaveRun(ctx, tx, &r); err != nil {
		return err
	}
	if err := a.keep(ctx, tx, a.changed(n)...); err != nil {
		return err
	}
	if err := db.Tell(ctx, tx, r, n.step); err != nil {
		return err
	}
	if !over {
		return nil
	}
	return e.afterEnd(ctx, tx, r)
}

// lookAgain makes sure that what the run is about to wait for has not come meanwhile, when nobody would wake it again.
// Who repairs a connection or settles an effect takes the same rows.
func (a *Activation) lookAgain(ctx context.Context, tx db.Tx, n Next) (Next, error) {
	waits, err := true, error(nil)
	switch n.reason {
	case ForReauth:
		conn := a.conns[n.through]
		waits, err = db.AwaitReauth(ctx, tx, conn, n.refused, n.message)
	case ForPerson:
		if n.kind == connectors.Conflict {
			waits, err = db.EffectIn(ctx, tx, a.run.OrgID, a.run.ID, EffectConflict)
		}
	}
	if err != nil || waits {
		return n, err
	}
	n.reason, n.wait = ForRetry, 0
	if n.step != nil {
		n.step.WaitingReason, n.step.WakeAt = ForRetry, time.Now()
	}
	return n, nil
}

// apply gives a run the state an activation ended with.
func (e *Engine) apply(r *db.Run, n Next) {
	cancelling := r.State == Cancelling
	r.State, r.WaitingReason, r.WakeAt, r.DueAt = n.state, n.reason, time.Time{}, time.Time{}
	r.ErrorKind, r.Error = string(n.kind), n.message
	if final(n.state) {
		r.EndedAt = time.Now()
		return
	}
	if n.wait >= 0 {
		r.WakeAt = time.Now().Add(n.wait)
		r.DueAt = r.WakeAt
	}
	if cancelling { // a write of it is not settled yet; it is cancelled then
		r.State, r.WaitingReason = Cancelling, ""
		if r.DueAt.IsZero() {
			r.DueAt = time.Now().Add(e.timing().RetryMax)
		}
	}
}

func (a *Activation) changed(n Next) []*db.Step {
	if !n.all {
		return []*db.Step{n.step}
	}
	all := make([]*db.Step, len(a.steps))
	for i := range a.steps {
		all[i] = &a.steps[i]
	}
	return all
}

// afterEnd gives up what the run had only planned, promotes the lane's next run and notes the link's health.
func (e *Engine) afterEnd(ctx context.Context, tx db.Tx, r db.Run) error {
	e.ended(r)
	if r.State == Failed || r.State == Cancelled {
		if err := db.GiveUpEffects(ctx, tx, r.OrgID, r.ID); err != nil {
			return err
		}
		if err := e.wakeDependents(ctx, tx, r.OrgID, r.MappingID); err != nil {
			return err
		}
	}
	if r.State != Cancelled {
		if err := db.LinkOutcome(ctx, tx, r.OrgID, r.FlowLinkID, r.State == Failed); err != nil {
			return err
		}
	}
	next, err := db.PromoteLane(ctx, tx, r.OrgID, r.FlowLinkID, r.Lane)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return e.queued(ctx, tx, next)
}

func (e *Engine) ended(r db.Run) {
	if e.Ended != nil {
		e.Ended(r.State)
	}
}

// wakeDependents queues runs that wait for a slot of the mapping.
func (e *Engine) wakeDependents(ctx context.Context, tx db.Tx, org, mapping db.ID) error {
	woken, err := db.WakeRuns(ctx, tx, "org_id = ? AND mapping_id = ? AND waiting_reason = 'DEPENDENCY'", org, mapping)
	if err != nil {
		return err
	}
	return e.queued(ctx, tx, woken...)
}

// queued tells the feed of runs that became QUEUED and gives them to workers.
func (e *Engine) queued(ctx context.Context, tx db.Tx, runs ...db.Run) error {
	tasks := make([]Task, 0, len(runs))
	for _, r := range runs {
		if err := db.Tell(ctx, tx, r, nil); err != nil {
			return err
		}
		tasks = append(tasks, Task{Activate, r.OrgID, r.ID})
	}
	if len(tasks) == 0 {
		return nil
	}
	return e.Queue.Add(ctx, tx, tasks...)
}
