package flow

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"tieline/db"
)

// shareWithin bounds a transaction that several share: none of them may hold the others up for longer.
const shareWithin = 5 * time.Second

// page is what one run has to say at once, under its fence: how far it has come, what its effects have left, which effect is
// about to be sent, and where it goes when it leaves its worker's hands. An effect of a connection itself has no run.
type page struct {
	a    *Activation
	step *db.Step // at hand
	send *writer  // its effect is about to be sent
	next *Next    // it leaves
	done func(context.Context, db.Tx) error

	progress *db.Progress
	leaving  db.Run // what a run that leaves becomes
	err      error  // why this page alone is not kept
}

// keep commits a page, with those of others that come at the same moment.
func (e *Engine) keep(ctx context.Context, p *page) error {
	err, failed := e.pages.Take(ctx, p.org(), p, func(ctx context.Context, all []*page) []error {
		return together(ctx, e.DB, all, e.writePages)
	})
	if err := cmp.Or(failed, err, p.err); err != nil {
		return err
	}
	if p.a != nil {
		p.a.done, p.a.settled, p.a.attempts, p.a.outputs = nil, nil, nil, nil
	}
	return nil
}

func (p *page) org() db.ID {
	if p.a == nil {
		return p.send.ef.OrgID
	}
	return p.a.run.OrgID
}

// together does all in one transaction. When one of them spoils it, each is done in one of its own, so that it fails alone.
// After any other error nobody knows whether the transaction came to be, and nothing is done twice.
func together[T any](ctx context.Context, d *db.DB, all []T, do func(context.Context, db.Tx, []T) error) []error {
	once := func(some []T) error {
		ctx, cancel := context.WithTimeout(ctx, shareWithin)
		defer cancel()
		return d.InShared(ctx, func(ctx context.Context, tx db.Tx) error { return do(ctx, tx, some) })
	}
	errs := make([]error, len(all))
	err := once(all)
	for i := range all {
		if errs[i] = err; err != nil && len(all) > 1 && spoils(err) {
			errs[i] = once(all[i : i+1])
		}
	}
	return errs
}

// spoils tells whether an error is due to one of those who share a transaction, or to their meeting, and undid it for sure.
func spoils(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return slices.Contains([]string{"22", "23", "40", "55"}, pg.Code[:2])
	}
	return errors.Is(err, errClaimed) || errors.Is(err, errCancelled)
}

// writePages takes locks in the order that everyone takes them: lanes, runs, what belongs to runs, links.
func (e *Engine) writePages(ctx context.Context, tx db.Tx, all []*page) error {
	var lanes []db.Lane
	for _, p := range all {
		if p.err = nil; p.ends() {
			lanes = append(lanes, laneOf(p.a.run))
		}
	}
	if len(lanes) > 0 {
		if err := db.LockLanes(ctx, tx, lanes...); err != nil {
			return err
		}
	}
	all, err := e.saveProgress(ctx, tx, all)
	if err != nil {
		return err
	}
	if err := e.sendEffects(ctx, tx, all); err != nil {
		return err
	}
	return e.endRuns(ctx, tx, all)
}

// ends tells whether a page is the run's last.
func (p *page) ends() bool { return p.next != nil && final(p.next.state) }

// saveProgress writes how far runs have come and what their effects have left. It answers the pages whose fences are good.
func (e *Engine) saveProgress(ctx context.Context, tx db.Tx, all []*page) ([]*page, error) {
	var saved []*db.Progress
	for _, p := range all {
		if p.a == nil {
			continue
		}
		if p.next != nil && !p.ends() {
			if p.err = p.a.hold(ctx, tx); errors.Is(p.err, errFenced) {
				continue
			}
			if p.err != nil {
				return nil, p.err
			}
			n, err := p.a.lookAgainEach(ctx, tx, *p.next)
			if err != nil {
				return nil, err
			}
			p.next = &n
		}
		saved = append(saved, p.say())
	}
	if len(saved) > 0 {
		if err := db.SaveProgress(ctx, tx, saved); err != nil {
			return nil, err
		}
	}
	var good []*page
	var settled []*db.Effect
	var outputs []db.StepOutput
	for _, p := range all {
		if p.a != nil && p.err == nil && p.progress.Fenced {
			p.err = errFenced
		}
		if p.err != nil {
			continue
		}
		if good = append(good, p); p.a != nil {
			settled, outputs = append(settled, p.a.settled...), append(outputs, p.a.outputs...)
		}
	}
	if len(outputs) > 0 {
		if err := db.KeepOutputs(ctx, tx, outputs); err != nil {
			return nil, err
		}
	}
	if len(settled) == 0 {
		return good, nil
	}
	return good, e.confirm(ctx, tx, settled...)
}

// say puts what a run has to say into the database's words.
func (p *page) say() *db.Progress {
	a := p.a
	if p.next == nil {
		steps := a.done
		if p.step != nil && a.item == nil { // the steps that are done for each record have one row for all
			steps = append(slices.Clip(steps), p.step)
		}
		p.progress = &db.Progress{Run: &a.run, Steps: steps, Told: a.told(steps), Attempts: a.attempts}
		return p.progress
	}
	p.leaving = a.run
	a.e.apply(&p.leaving, *p.next)
	told := a.told(a.done)
	for _, n := range append(slices.Clone(p.next.beside), *p.next) { // the one that decided it comes last
		now := db.Told{State: p.leaving.State, WaitingReason: p.leaving.WaitingReason, WakeAt: p.leaving.WakeAt}
		if s := n.step; s != nil {
			now.Step, now.StepState = s.Key, s.State
		}
		told = append(told, now)
	}
	p.progress = &db.Progress{
		Run: &p.leaving, Leaves: true, Steps: append(slices.Clip(a.done), a.changed(*p.next)...), Told: told, Attempts: a.attempts,
	}
	return p.progress
}

// sendEffects writes which effects are about to be sent.
func (e *Engine) sendEffects(ctx context.Context, tx db.Tx, all []*page) error {
	var fresh []db.Sending
	for _, p := range all {
		w := p.send
		if w == nil {
			continue
		}
		if p.a != nil && p.a.run.State == Cancelling && w.was != EffectSent && w.was != EffectUnknown { // told just now
			return errCancelled
		}
		if w.insert {
			fresh = append(fresh, db.Sending{Effect: w.ef, Timeout: w.j.app.Timeout.Seconds(), Slots: w.claims()})
			continue
		}
		if err := db.ResendEffect(ctx, tx, w.ef, w.j.app.Timeout); err != nil {
			return claimed(err)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	slices.SortFunc(fresh, func(a, b db.Sending) int {
		return cmp.Or(bytes.Compare(a.VendorAccountID[:], b.VendorAccountID[:]), cmp.Compare(a.Key, b.Key))
	})
	return claimed(db.SendEffects(ctx, tx, fresh))
}

func claimed(err error) error {
	if errors.Is(err, db.ErrNotFound) || errors.Is(err, db.ErrConflict) {
		return errClaimed
	}
	return err
}

// endRuns does what comes with the end of runs, and of their jobs.
func (e *Engine) endRuns(ctx context.Context, tx db.Tx, all []*page) error {
	var ran []db.LinkRan
	for _, p := range all {
		if r := p.leaving; p.ends() {
			if err := e.afterEnd(ctx, tx, r, p.progress.Followed); err != nil {
				return err
			}
			if done := r.State == Suppressed || r.State == Succeeded && r.FailedItems == 0; done && slices.ContainsFunc(p.a.steps, func(s db.Step) bool { return s.Redacted }) {
				if err := db.DropOutputs(ctx, tx, r.OrgID, r.ID); err != nil {
					return err
				}
			}
			if out := (db.LinkRan{OrgID: r.OrgID, FlowLinkID: r.FlowLinkID, Failed: r.State == Failed}); r.State != Cancelled && !slices.Contains(ran, out) {
				ran = append(ran, out)
			}
		}
		if p.next != nil && p.next.state == Queued {
			if err := e.Queue.Add(ctx, tx, Task{Kind: Activate, Org: p.leaving.OrgID, ID: p.leaving.ID}); err != nil {
				return err
			}
		}
		if p.done != nil {
			if err := p.done(ctx, tx); err != nil {
				return err
			}
		}
	}
	if len(ran) == 0 {
		return nil
	}
	return db.LinkOutcomes(ctx, tx, ran...)
}
