package flow

import (
	"context"
	"maps"
	"slices"
	"time"

	"tieline/db"
)

// begin deals with what comes before the first step. It answers where the run goes when that is not to its steps.
func (a *Activation) begin(ctx context.Context) (*Next, error) {
	i := slices.IndexFunc(a.steps, func(s db.Step) bool { return !stepFinal(s.State) })
	if i < 0 {
		return nil, nil
	}
	s := &a.steps[i]
	err := a.prepareRecord(ctx, s)
	if err != nil {
		return a.stoppedWhole(ctx, s, err)
	}
	if s.State == Skipped {
		next := a.ended(s)
		next.all = true
		return &next, nil
	}
	return nil, nil
}

// prepareRecord waits out the flow's hold, asks whether something else explains the event, reads a thin record, and looks
// whether the flow's condition holds for what it read.
func (a *Activation) prepareRecord(ctx context.Context, s *db.Step) error {
	hold, err := a.holdSeconds(ctx)
	if err != nil {
		return err
	}
	asks := hold > 0
	reads := a.subj.Thin && a.plan.trigger.Read != nil
	if !asks && !reads {
		return nil
	}
	if until := a.run.CreatedAt.Add(time.Duration(hold * float64(time.Second))); asks && time.Now().Before(until) {
		return &errWait{reason: ForDependency, for_: time.Until(until), why: "something else may explain the event; it is looked for then"}
	}
	conn := a.conns[a.run.ConnectionID]
	if conn.State == ConnNeedsReauth {
		return &errWait{reason: ForReauth, for_: -1, why: "the connection's credentials do not work; repair it and the run goes on"}
	}
	c, err := a.e.open(conn, a.journal(s, conn))
	if err != nil {
		return err
	}
	if asks {
		why, err := a.plan.trigger.Explain(ctx, c, a.subj)
		if err != nil {
			return err
		}
		if why != "" {
			a.closeRest(Skipped, "Nothing to do: "+why+".")
			return nil
		}
	}
	if reads {
		if a.subj, err = a.plan.trigger.Read(ctx, c, a.subj); err != nil {
			return err
		}
		if a.vars["trigger"], err = asJSON(a.subj.Payload); err != nil || len(a.effects) > 0 {
			return err // what has begun goes on
		}
		why, err := unmet(ctx, a.plan.when, a.filter, a.env())
		if err == nil && why != "" {
			a.closeRest(Skipped, why)
		}
		return err
	}
	return nil
}

// holdSeconds is how long to wait for an explanation: not at all when the trigger has none to offer, the run was started
// by an echo, or it has begun to write.
func (a *Activation) holdSeconds(ctx context.Context) (float64, error) {
	if a.plan.hold == nil || a.plan.trigger.Explain == nil || len(a.run.Chain) > 0 || len(a.effects) > 0 {
		return 0, nil
	}
	env := a.env()
	if slices.Contains(a.plan.hold.Reads(), "run") {
		neighbours, err := a.e.neighbours(ctx, a.run.OrgID, a.conns[a.run.ConnectionID].VendorAccountID)
		if err != nil {
			return 0, err
		}
		run := maps.Clone(env.Vars["run"].(map[string]any))
		run["neighbours"] = neighbours
		env.Vars = maps.Clone(env.Vars)
		env.Vars["run"] = run
	}
	return a.plan.holdSeconds(ctx, env)
}

// neighbours are the keys of the flows that are on for a vendor account. What was known some seconds ago will do: what they
// make takes longer.
func (e *Engine) neighbours(ctx context.Context, org, account db.ID) ([]any, error) {
	type known struct {
		flows []any
		until time.Time
	}
	if k, ok := e.near.Load(account); ok && time.Now().Before(k.(known).until) {
		return k.(known).flows, nil
	}
	keys, err := db.FlowsOn(ctx, e.DB, org, account)
	if err != nil {
		return nil, err
	}
	k := known{make([]any, len(keys)), time.Now().Add(5 * time.Second)}
	for i := range keys {
		k.flows[i] = keys[i]
	}
	e.near.Store(account, k)
	return k.flows, nil
}
