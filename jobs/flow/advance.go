package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// Next is where a run goes when an activation ends. Finish commits it.
type Next struct {
	state, reason string
	wait          time.Duration // of WAITING; negative: until somebody wakes it
	awaits        db.ID         // the mapping that it waits for
	kind          connectors.Kind
	message       string
	step          *db.Step // the step that decided it and is not saved yet
	all           bool     // every step changed, not only that one
	through       db.ID    // the connection it stopped at
	refused       bool     // whose credentials the vendor refuses
	beside        []Next   // of WAITING: where other steps wait
}

// Advance takes the run's steps until it ends or must wait. What a step has left is committed with the next write that is
// sent, before anything else that takes time, or by Finish. An error means that nothing more may be written: the lease is
// lost, or the process is stopping.
func (e *Engine) Advance(ctx context.Context, a *Activation) (Next, error) {
	if a.run.State == Cancelling && !a.unsettled() {
		return a.cancelled(), nil
	}
	if a.broken != nil {
		return a.cannotGoOn(ctx)
	}
	if next, err := a.begin(ctx); err != nil {
		return Next{}, err
	} else if next != nil {
		return *next, nil
	}
	return a.through(ctx)
}

// through takes the steps in order. One that waits or fails keeps those after it from being begun, unless its onError lets
// those go on that read nothing of it.
func (a *Activation) through(ctx context.Context) (Next, error) {
	var (
		stops []Next
		last  *db.Step // of the run, when it got through just now
		all   bool     // steps were ended that have not been begun
		early = a.early()
	)
	for i := range a.steps {
		s, p := &a.steps[i], a.plan.steps[i]
		if stepFinal(s.State) || a.run.State == Cancelling && !a.unsettledIn(s.Key) {
			continue
		}
		if why := a.hopeless(i); why != "" {
			a.close(s, Cancelled, why)
			all = true
			continue
		}
		if a.blocked(i) {
			continue
		}
		if !early && !due(s) {
			stops = append(stops, a.left(s))
		} else {
			next, err := a.step(ctx, i)
			switch {
			case err != nil:
				return Next{}, err
			case next == nil && i == len(a.steps)-1:
				last = s
			case next == nil:
				a.done = append(a.done, s)
			case next.state == Failed:
				last, all = s, true
			case next.state == Waiting:
				stops = append(stops, *next)
			default: // others have their turn, or it was cancelled
				for _, n := range stops {
					a.done = append(a.done, n.stepsOf()...)
				}
				return *next, nil
			}
		}
		if !stepFinal(s.State) && p.OnError != GoOn {
			break
		}
	}
	if len(stops) == 0 {
		if a.run.State == Cancelling && slices.ContainsFunc(a.steps, func(s db.Step) bool { return !stepFinal(s.State) }) {
			return a.cancelled(), nil
		}
		next := a.ended(last)
		next.all = next.all || all
		return next, nil
	}
	if last != nil {
		a.done = append(a.done, last)
	}
	next := earliest(stops)
	next.all = all
	return next, nil
}

// cannotGoOn ends a run that lacks what it would need.
func (a *Activation) cannotGoOn(ctx context.Context) (Next, error) {
	i := slices.IndexFunc(a.steps, func(s db.Step) bool { return !stepFinal(s.State) })
	if i < 0 {
		return a.ended(nil), nil
	}
	next, err := a.stoppedWhole(ctx, &a.steps[i], a.broken)
	if err != nil {
		return Next{}, err
	}
	return *next, nil
}

// stoppedWhole is stopped for what all steps need, at the first of them that has not ended.
func (a *Activation) stoppedWhole(ctx context.Context, s *db.Step, err error) (*Next, error) {
	next, err := a.stopped(ctx, s, a.run.ConnectionID, err)
	if next != nil && next.state == Failed {
		a.closeRest(Cancelled, notBegun)
	}
	return next, err
}

// step takes one step. It answers where the run goes when the step did not get through.
func (a *Activation) step(ctx context.Context, i int) (*Next, error) {
	s, p := &a.steps[i], a.plan.steps[i]
	if slices.Contains(a.run.Chain, s.VendorAccountID) {
		a.close(s, Adopted, cameFromHere)
		return nil, nil
	}
	if through, err := a.recall(ctx, i); err != nil {
		return a.stopped(ctx, s, through, err)
	}
	if p.items > 0 {
		return a.pass(ctx, i)
	}
	if err := a.act(ctx, s, p); err != nil {
		return a.stopped(ctx, s, s.ConnectionID, err)
	}
	return nil, nil
}

// stopped says where the run goes when a step did not get through, called through a connection. An error means that
// nothing may be written.
func (a *Activation) stopped(ctx context.Context, s *db.Step, through db.ID, err error) (*Next, error) {
	if cause := context.Cause(ctx); cause != nil { // stopping, or another worker has the run: it goes on elsewhere
		return nil, cause
	}
	if errors.Is(err, errFenced) {
		return nil, err
	}
	if errors.Is(err, errCancelled) {
		next := a.cancelled()
		return &next, nil
	}
	t := a.timing(s.Key)
	v := t.judge(err, s.Tries)
	if v.state == Failed && a.unsettledIn(s.Key) {
		v = t.keepLooking(v)
	}
	if v.kind == connectors.RateLimited {
		if err := a.slowDown(ctx, through, v); err != nil {
			return nil, err
		}
	}
	if v.kind == "" && !v.free {
		a.e.Log.ErrorContext(ctx, "a step failed on our side", "run", a.run.ID, "step", s.Key, "error", err)
	}
	if !v.free {
		s.Tries++
	}
	v.message = text(v.message)
	s.ErrorKind, s.Error = string(v.kind), v.message
	a.reserve(s)
	next := &Next{state: v.state, reason: v.reason, wait: v.wait, awaits: v.awaits, kind: v.kind, message: v.message, step: s, through: through, refused: v.reauth}
	if v.state == Failed {
		a.close(s, Failed, "")
		next.all = true
		return next, nil
	}
	s.State, s.WaitingReason, s.WakeAt = Waiting, v.reason, time.Time{}
	if v.wait >= 0 {
		s.WakeAt = time.Now().Add(v.wait)
	}
	return next, nil
}

// act renders a step's input and runs its action.
func (a *Activation) act(ctx context.Context, s *db.Step, p planStep) error {
	if s.StartedAt.IsZero() {
		s.StartedAt = time.Now()
	}
	conn, err := a.opened(s)
	if err != nil {
		return err
	}
	if p.when != nil {
		yes, err := p.when.Eval(ctx, a.env())
		if err != nil {
			return err
		}
		if !yes {
			a.close(s, Skipped, "Its condition does not hold.")
			return nil
		}
	}
	j := a.journal(s, conn)
	c, err := a.e.open(conn, j)
	if err != nil {
		return err
	}
	in, err := p.input.Render(ctx, a.env())
	if err != nil {
		return err
	}
	raw, err := storable(in)
	if err != nil {
		return fmt.Errorf("rendering the input: %w", err)
	}
	s.Input, s.Redacted = shown(raw, c.Hide, a.redact)
	if bad := p.action.Input.Validate(in); len(bad) > 0 && !a.item.isThere(s, p) {
		return connectors.Errorf(connectors.Invalid, "%s: %s", strings.Join(bad[0].Path, "."), bad[0].Message)
	}
	if p.record != nil {
		if j.mapping, err = a.about(ctx, s, p); err != nil {
			return err
		}
	}
	out, err := runAction(ctx, p.action, c, raw)
	if err != nil {
		return err
	}
	a.reserve(s)
	if err := a.leave(s, out, c.Hide); err != nil {
		return err
	}
	state := Succeeded
	if j.adopted && !j.wrote {
		state = Adopted
	}
	a.close(s, state, "")
	return nil
}

// opened is the connection that a step goes through.
func (a *Activation) opened(s *db.Step) (db.Connection, error) {
	conn, ok := a.conns[s.ConnectionID]
	switch {
	case !ok || !conn.DeletedAt.IsZero():
		return conn, connectors.Errorf(connectors.Invalid, "the connection of this step was deleted")
	case conn.State == ConnNeedsReauth:
		return conn, &errWait{reason: ForReauth, for_: -1, why: "the connection's credentials do not work; repair it and the run goes on"}
	}
	return conn, nil
}

// leave keeps what a step leaves for others. hide takes secrets out of what the history shows of it.
func (a *Activation) leave(s *db.Step, out any, hide func(string) string) error {
	raw, err := storable(out)
	if err != nil {
		return err
	}
	if err := a.keep(s, raw, hide); err != nil {
		return err
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return err
	}
	a.vars["steps"].(map[string]any)[s.Key] = value
	return nil
}

// runAction runs an action; its panic is an error of ours, tried again like any other.
func runAction(ctx context.Context, action connectors.Action, c connectors.Conn, in []byte) (out any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("action %s panicked: %v\n%s", action.Key, p, debug.Stack())
		}
	}()
	return action.Run(ctx, c, in)
}

// slowDown lets everybody's calls to the account wait: the vendor asked for it.
func (a *Activation) slowDown(ctx context.Context, through db.ID, v verdict) error {
	p, ok := a.pacers[a.conns[through].VendorAccountID]
	if !ok {
		return nil
	}
	return p.slow(ctx, v.wait, v.narrow)
}

func (a *Activation) close(s *db.Step, state, reason string) {
	s.ReservedAt, s.ReservedAccount, s.ReservedBucket = time.Time{}, db.ID{}, ""
	s.State, s.Reason, s.WaitingReason, s.WakeAt, s.EndedAt = state, reason, "", time.Time{}, time.Now()
	if state != Failed {
		s.ErrorKind, s.Error = "", ""
	}
}

// ended says how a run ends whose steps are through, or one of which failed.
func (a *Activation) ended(last *db.Step) Next {
	n := Next{state: Suppressed, step: last}
	for _, s := range a.steps {
		switch s.State {
		case Failed:
			n.state, n.kind, n.message = Failed, connectors.Kind(s.ErrorKind), s.Error
			return n
		case Adopted:
		default:
			n.state = Succeeded
		}
	}
	if n.state == Suppressed && len(a.run.Chain) == 0 {
		n.state = Succeeded // everything was there already, but this was news and no echo
	}
	return n
}

func (a *Activation) cancelled() Next {
	a.closeRest(Cancelled, "The run was cancelled.")
	return Next{state: Cancelled, all: true}
}

// closeRest ends the steps that have not ended: a run is final when every step is.
func (a *Activation) closeRest(state, reason string) {
	for i := range a.steps {
		if s := &a.steps[i]; !stepFinal(s.State) {
			a.close(s, state, reason)
		}
	}
}

// unsettled tells whether a write of this run may have happened without our knowing.
func (a *Activation) unsettled() bool {
	return slices.ContainsFunc(a.steps, func(s db.Step) bool { return a.unsettledIn(s.Key) })
}

func (a *Activation) unsettledIn(step string) bool {
	for _, ef := range a.effects {
		if (ef.Step == step || a.plan.of(ef.Step, step)) && (ef.State == EffectSent || ef.State == EffectUnknown) {
			return true
		}
	}
	return false
}
