package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// commit saves what is known now, while the run goes on.
func (a *Activation) commit(ctx context.Context) error {
	if err := a.e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error { return a.save(ctx, tx, nil) }); err != nil {
		return err
	}
	a.saved()
	return nil
}

// save writes the steps that are done and the one at hand, if any, with what their effects left and the calls they made,
// under the run's fence, and tells the feed. Call saved once the transaction is committed.
func (a *Activation) save(ctx context.Context, tx db.Tx, s *db.Step) error {
	steps := a.done
	if s != nil {
		steps = append(slices.Clip(steps), s)
	}
	return a.write(ctx, tx, &db.Progress{Run: &a.run, Steps: steps, Told: a.told(steps)})
}

func (a *Activation) saved() { a.done, a.settled, a.attempts = nil, nil, nil }

// told are the changes that steps tell of, while the run is as it was.
func (a *Activation) told(steps []*db.Step) []db.Told {
	out := make([]db.Told, len(steps))
	for i, s := range steps {
		out[i] = db.Told{State: a.run.State, Step: s.Key, StepState: s.State}
	}
	return out
}

// write writes progress with what has piled up since the last time.
func (a *Activation) write(ctx context.Context, tx db.Tx, p *db.Progress) error {
	p.Attempts = a.attempts
	err := db.SaveProgress(ctx, tx, p)
	if errors.Is(err, db.ErrNotFound) {
		return errFenced
	}
	if err != nil {
		return err
	}
	for _, ef := range a.settled {
		if err := a.e.confirm(ctx, tx, ef); err != nil {
			return err
		}
	}
	return nil
}

// confirm writes that an effect happened, puts what it made into the slots it had claimed, and wakes who waited for them.
func (e *Engine) confirm(ctx context.Context, tx db.Tx, ef *db.Effect) error {
	slots, err := slotsOf(ef)
	if err != nil {
		return err
	}
	woken, err := db.ConfirmEffect(ctx, tx, ef, slots)
	if errors.Is(err, db.ErrConflict) {
		err = e.fillEach(ctx, tx, ef, slots)
	}
	if err != nil {
		return err
	}
	return e.queued(ctx, tx, woken...)
}

// slotsOf are the slots that an effect has claimed, with what it made.
func slotsOf(ef *db.Effect) ([]db.Slot, error) {
	if ef.Kind != string(connectors.CreateEffect) || ef.MappingID == (db.ID{}) {
		return nil, nil
	}
	var ref connectors.Ref
	if err := json.Unmarshal(ef.Ref, &ref); err != nil {
		return nil, err
	}
	_, role, _ := splitCreateKey(ef.Key)
	slots := []db.Slot{{Entity: ef.Entity, Role: role, ExternalID: ref.ID, Name: ref.Name, Attributes: ref.Attributes}}
	for _, w := range ref.With {
		slots = append(slots, db.Slot{Entity: w.Entity, Role: w.Role, ExternalID: w.ID, Name: ref.Name})
	}
	for i := range slots {
		slots[i].OrgID, slots[i].VendorAccountID, slots[i].EffectID = ef.OrgID, ef.VendorAccountID, ef.ID
	}
	return slots, nil
}

// fillEach fills slots one by one when not all can be, and marks the effect.
func (e *Engine) fillEach(ctx context.Context, tx db.Tx, ef *db.Effect, slots []db.Slot) error {
	for _, s := range slots {
		err := db.FillClaimed(ctx, tx, s)
		if err == nil {
			continue
		}
		if !errors.Is(err, db.ErrConflict) {
			return err
		}
		e.Log.WarnContext(ctx, "a record is mapped elsewhere already", "org", ef.OrgID, "effect", ef.ID, "entity", s.Entity, "id", s.ExternalID)
		ef.State, ef.Error = EffectConflict, fmt.Sprintf("%s %s is linked to another record already", s.Entity, s.ExternalID)
		if err := db.MarkConflict(ctx, tx, ef); err != nil {
			return err
		}
	}
	return nil
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
	} else {
		if err := a.hold(ctx, tx); err != nil {
			return err
		}
		var err error
		if n, err = a.lookAgain(ctx, tx, n); err != nil {
			return err
		}
	}
	r := a.run
	e.apply(&r, n)
	last := db.Told{State: r.State, WaitingReason: r.WaitingReason, WakeAt: r.WakeAt}
	if n.step != nil {
		last.Step, last.StepState = n.step.Key, n.step.State
	}
	p := &db.Progress{Run: &r, Leaves: true, Steps: append(slices.Clip(a.done), a.changed(n)...), Told: append(a.told(a.done), last)}
	if err := a.write(ctx, tx, p); err != nil {
		return err
	}
	if !over {
		return nil
	}
	return e.afterEnd(ctx, tx, r, p.Followed)
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
	switch {
	case !n.all && n.step == nil:
		return nil
	case !n.all:
		return []*db.Step{n.step}
	}
	all := make([]*db.Step, len(a.steps))
	for i := range a.steps {
		all[i] = &a.steps[i]
	}
	return all
}

// afterEnd gives up what the run had only planned, notes the link's health, and promotes the lane's next run when followed
// says that there may be one.
func (e *Engine) afterEnd(ctx context.Context, tx db.Tx, r db.Run, followed bool) error {
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
	if !followed {
		return nil
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
		tasks = append(tasks, Task{Kind: Activate, Org: r.OrgID, ID: r.ID})
	}
	if len(tasks) == 0 {
		return nil
	}
	return e.Queue.Add(ctx, tx, tasks...)
}
