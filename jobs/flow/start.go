package flow

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"tieline/db"
)

// skew is how far a vendor's clock, told in whole seconds, may lag behind ours.
const skew = 5 * time.Second

// begun is a run about to be made.
type begun struct {
	db.NewRun
	link db.BoundLink
	plan *plan
	made bool // it came to be; else the same change has a run already
}

// openAll reads the connections that the links' runs use.
func openAll(ctx context.Context, tx db.Tx, all []*dispatching) (map[db.Key]db.Connection, error) {
	wanted := map[db.Key]bool{}
	for _, d := range all {
		for _, l := range d.links {
			wanted[db.Key{OrgID: d.ev.OrgID, ID: d.ev.ConnectionID}] = true
			for _, id := range l.Connections {
				wanted[db.Key{OrgID: d.ev.OrgID, ID: id}] = true
			}
		}
	}
	return openKeys(ctx, tx, wanted)
}

func openKeys(ctx context.Context, tx db.Tx, wanted map[db.Key]bool) (map[db.Key]db.Connection, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	return db.OpenedConnections(ctx, tx, slices.Collect(maps.Keys(wanted))...)
}

// to prepares the run of one link, or notes why there is none.
func (d *dispatching) to(ctx context.Context, tx db.Tx, link db.BoundLink, conns map[db.Key]db.Connection) error {
	ev, occ := d.ev, d.occ
	out := db.EventOutcome{OrgID: ev.OrgID, EventID: ev.ID, FlowLinkID: link.ID}
	if ev.Source == FromCatchUp && ev.VendorAt.Before(link.EnabledAt.Add(-skew)) {
		out.Outcome, out.Reason = OutcomeIgnored, "It happened before the link was enabled."
		return db.AddOutcome(ctx, tx, out)
	}
	if d.held != "" {
		out.Outcome, out.Reason = OutcomeHeld, d.held
		return db.AddOutcome(ctx, tx, out)
	}
	p, err := d.e.plan(ctx, tx, ev.OrgID, link.VersionID)
	if err != nil {
		return err
	}
	switch why, err := d.e.unconcerned(ctx, p, link.FlowLink, occ); {
	case err != nil: // for a person: dropping it would lose it, and trying again changes nothing
		out.Outcome, out.Reason = OutcomeHeld, text("The flow's condition cannot be worked out: "+err.Error())
		return db.AddOutcome(ctx, tx, out)
	case why != "":
		out.Outcome, out.Reason = OutcomeFiltered, why
		return db.AddOutcome(ctx, tx, out)
	}
	run, err := d.begun(link, p, conns)
	if err != nil {
		return err
	}
	d.runs = append(d.runs, run)
	return nil
}

// begun is the run that a link's flow makes of the event.
func (d *dispatching) begun(link db.BoundLink, p *plan, conns map[db.Key]db.Connection) (begun, error) {
	ev, occ := d.ev, d.occ
	run := db.Run{
		OrgID: ev.OrgID, ID: db.NewID(), FlowID: link.FlowID, FlowVersionID: link.VersionID, FlowLinkID: link.ID, ConnectionID: link.TriggerConnectionID,
		EventID: ev.ID, EventAt: ev.ReceivedAt, Source: ev.Source, BusinessKey: occ.BusinessKey,
		Lane: p.lane(occ.Record), Entity: occ.Record.Entity, RecordID: occ.Record.ID, RecordName: occ.Record.Name,
		VendorAt: ev.VendorAt, MappingID: d.mapping.ID, State: Queued, Chain: []db.ID{},
	}
	if d.cause != nil {
		run.EchoOf, run.Chain = d.cause.ID, d.cause.Chain
	}
	steps, err := steps(run, p, link, conns)
	return begun{NewRun: db.NewRun{Run: &run, Steps: steps}, link: link, plan: p}, err
}

// begin makes the runs that were prepared. Those that can begin at once are queued, or in the hands of who wanted the first.
func (e *Engine) begin(ctx context.Context, tx db.Tx, all []*dispatching, conns map[db.Key]db.Connection) error {
	var lanes []db.Lane
	for _, d := range all {
		for _, r := range d.runs {
			lanes = append(lanes, laneOf(*r.Run))
		}
	}
	if len(lanes) == 0 {
		return nil
	}
	if err := db.LockLanes(ctx, tx, lanes...); err != nil {
		return err
	}
	busy, err := db.BusyLanes(ctx, tx, lanes...)
	if err != nil {
		return err
	}
	var rows []db.NewRun
	for _, d := range all {
		taken := !d.takes
		for i := range d.runs {
			r := &d.runs[i]
			switch {
			case suppressed(r.Steps):
				r.State, r.StartedAt, r.EndedAt = Suppressed, time.Now(), time.Now()
			case busy[laneOf(*r.Run)]:
				r.State, r.WaitingReason = Waiting, ForLane
			case !taken:
				r.State, r.StartedAt, r.Leased, taken = Running, time.Now(), true, true
			}
			rows = append(rows, r.NewRun)
		}
	}
	slices.SortFunc(rows, func(a, b db.NewRun) int {
		return cmp.Or(bytes.Compare(a.FlowLinkID[:], b.FlowLinkID[:]), cmp.Compare(a.BusinessKey, b.BusinessKey))
	})
	made, err := db.StartRuns(ctx, tx, e.timing().Lease, rows)
	if err != nil {
		return err
	}
	var tasks []Task
	for _, d := range all {
		for i := range d.runs {
			r := &d.runs[i]
			switch r.made = made[r.ID]; {
			case !r.made:
				if err := d.duplicate(ctx, tx, *r); err != nil {
					return err
				}
			case r.Leased:
				d.first, d.params = e.activation(*r.Run, r.plan, r.Steps, connsOf(*r.Run, r.Steps, conns), nil), r.link.Params
				d.first.fresh, d.first.redact = d.mapping.New, r.link.Redact
				if d.first.filter, err = r.plan.filter(r.link.FlowLink); err != nil {
					return err
				}
			case r.State == Queued:
				tasks = append(tasks, Task{Kind: Activate, Org: r.OrgID, ID: r.ID})
			case r.State == Suppressed:
				e.ended(*r.Run)
			}
		}
	}
	if len(tasks) == 0 {
		return nil
	}
	return e.Queue.Add(ctx, tx, tasks...)
}

// duplicate notes that the same change has a run already.
func (d *dispatching) duplicate(ctx context.Context, tx db.Tx, r begun) error {
	run, err := db.RunOf(ctx, tx, r.OrgID, r.FlowLinkID, r.BusinessKey)
	if err != nil {
		return err
	}
	return db.AddOutcome(ctx, tx, db.EventOutcome{
		OrgID: r.OrgID, EventID: r.EventID, FlowLinkID: r.FlowLinkID, Outcome: OutcomeDuplicate, Reason: "The same change has a run already.", RunID: run,
	})
}

// connsOf are the connections that a run and its steps use.
func connsOf(run db.Run, steps []db.Step, conns map[db.Key]db.Connection) map[db.ID]db.Connection {
	out := map[db.ID]db.Connection{run.ConnectionID: conns[db.Key{OrgID: run.OrgID, ID: run.ConnectionID}]}
	for _, s := range steps {
		out[s.ConnectionID] = conns[db.Key{OrgID: run.OrgID, ID: s.ConnectionID}]
	}
	return out
}

// steps are the steps of a new run. In one started by an echo, those whose target the change came through are done.
func steps(run db.Run, p *plan, link db.BoundLink, conns map[db.Key]db.Connection) ([]db.Step, error) {
	steps := make([]db.Step, len(p.steps))
	for i, ps := range p.steps {
		conn, ok := conns[db.Key{OrgID: run.OrgID, ID: link.Connections[ps.Key]}]
		if !ok {
			return nil, fmt.Errorf("flow link %s has no connection for step %q", run.FlowLinkID, ps.Key)
		}
		steps[i] = db.Step{
			OrgID: run.OrgID, RunID: run.ID, Key: ps.Key, Position: i, App: ps.App, Action: ps.Action,
			ConnectionID: conn.ID, VendorAccountID: conn.VendorAccountID, State: Pending,
		}
		if slices.Contains(run.Chain, conn.VendorAccountID) {
			steps[i].State, steps[i].Reason, steps[i].EndedAt = Adopted, cameFromHere, time.Now()
		}
	}
	return steps, nil
}

const cameFromHere = "The change came from this vendor account, so there is nothing to bring back."

func suppressed(steps []db.Step) bool {
	return !slices.ContainsFunc(steps, func(s db.Step) bool { return s.State != Adopted })
}
