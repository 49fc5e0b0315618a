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
func (a *Activation) commit(ctx context.Context) error { return a.e.keep(ctx, &page{a: a}) }

// Finish commits where the run goes: its state, what it left and the lane's next run. Whoever carried the run ends its
// job with done, in the same transaction; nil: nothing. It may be called again when it failed.
func (e *Engine) Finish(ctx context.Context, a *Activation, n Next, done func(context.Context, db.Tx) error) error {
	return e.keep(ctx, &page{a: a, next: &n, done: done})
}

// told are the changes that steps tell of, while the run is as it was.
func (a *Activation) told(steps []*db.Step) []db.Told {
	out := make([]db.Told, len(steps))
	for i, s := range steps {
		out[i] = db.Told{State: a.run.State, Step: s.Key, StepState: s.State}
	}
	return out
}

// confirm writes that effects happened, puts what they made into the slots they had claimed, and wakes who waited for them.
func (e *Engine) confirm(ctx context.Context, tx db.Tx, effects ...*db.Effect) error {
	rows, slots := make([]db.Effect, len(effects)), []db.Slot(nil)
	for i, ef := range effects {
		fills, err := slotsOf(ef)
		if err != nil {
			return err
		}
		rows[i], slots = *ef, append(slots, fills...)
	}
	woken, err := db.ConfirmEffects(ctx, tx, rows, slots)
	if errors.Is(err, db.ErrConflict) {
		err = nil
		for _, ef := range effects {
			err = errors.Join(err, e.fillEach(ctx, tx, ef))
		}
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
func (e *Engine) fillEach(ctx context.Context, tx db.Tx, ef *db.Effect) error {
	slots, err := slotsOf(ef)
	if err != nil || len(slots) == 0 {
		return err
	}
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
	return e.wakeDependents(ctx, tx, ef.OrgID, ef.MappingID)
}

// Yield gives a run back that could not be brought to a stop in order, as when the process stops: another worker takes
// it up at once, not when the lease ends.
func (e *Engine) Yield(ctx context.Context, a *Activation) error {
	return db.YieldRun(ctx, e.DB, a.run.OrgID, a.run.ID, a.run.Fence)
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

// lookAgainEach is lookAgain for each step that waits.
func (a *Activation) lookAgainEach(ctx context.Context, tx db.Tx, n Next) (Next, error) {
	if len(n.beside) == 0 {
		return a.lookAgain(ctx, tx, n)
	}
	all := append(slices.Clone(n.beside), n)
	for i := range all {
		var err error
		if all[i], err = a.lookAgain(ctx, tx, all[i]); err != nil {
			return n, err
		}
		all[i].beside = nil
	}
	out := earliest(all)
	out.all = n.all
	return out, nil
}

// apply gives a run the state an activation ended with.
func (e *Engine) apply(r *db.Run, n Next) {
	cancelling := r.State == Cancelling
	r.State, r.WaitingReason, r.Awaits, r.WakeAt, r.DueAt = n.state, n.reason, n.awaits, time.Time{}, time.Time{}
	r.ErrorKind, r.Error = string(n.kind), n.message
	if final(n.state) {
		r.EndedAt = time.Now()
		return
	}
	if n.state == Queued { // it goes on at once, when others have had their turn
		r.DueAt = time.Now().Add(10 * time.Second)
	} else if n.wait >= 0 {
		r.WakeAt = time.Now().Add(n.wait)
		r.DueAt = r.WakeAt
		if n.reason == ForRate { // its worker waits for its turn
			r.DueAt = r.WakeAt.Add(-time.Duration(wakeLead * float64(e.timing().Pause)))
		}
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
	case !n.all:
		return n.stepsOf()
	}
	all := make([]*db.Step, len(a.steps))
	for i := range a.steps {
		all[i] = &a.steps[i]
	}
	return all
}

// afterEnd gives up what the run had only planned, and promotes the lane's next run when followed says that there may be one.
func (e *Engine) afterEnd(ctx context.Context, tx db.Tx, r db.Run, followed bool) error {
	e.ended(r)
	if r.State == Failed || r.State == Cancelled {
		about, err := db.GiveUpEffects(ctx, tx, r.OrgID, r.ID)
		if err != nil {
			return err
		}
		for _, mapping := range about {
			if err := e.wakeDependents(ctx, tx, r.OrgID, mapping); err != nil {
				return err
			}
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

// wakeDependents queues runs that wait for a slot of the mapping, whose record is theirs or another's.
func (e *Engine) wakeDependents(ctx context.Context, tx db.Tx, org, mapping db.ID) error {
	woken, err := db.WakeRuns(ctx, tx, "org_id = ? AND awaits = ?", org, mapping)
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
