package flow

import (
	"context"
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
		return a.stopped(ctx, s, a.run.ConnectionID, err)
	}
	if s.State == Skipped {
		next := a.ended(s)
		next.all = true
		return &next, nil
	}
	return nil, nil
}

// prepareRecord waits out the flow's hold, asks whether something else explains the event, and reads a thin record.
func (a *Activation) prepareRecord(ctx context.Context, s *db.Step) error {
	hold, err := a.plan.holdSeconds(ctx, a.env())
	if err != nil {
		return err
	}
	asks := hold > 0 && a.plan.trigger.Explain != nil && len(a.run.Chain) == 0 && len(a.effects) == 0
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
		a.vars["trigger"], err = asJSON(a.subj.Payload)
	}
	return err
}
