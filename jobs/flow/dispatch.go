package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// skew is how far a vendor's clock, told in whole seconds, may lag behind ours.
const skew = 5 * time.Second

// Dispatch turns a stored event into runs: one for each enabled link of its trigger. Doing it twice changes nothing.
func (e *Engine) Dispatch(ctx context.Context, org, id db.ID) error {
	_, err := e.dispatch(ctx, org, id, 0)
	return err
}

// TakeUp is Dispatch by a worker, who gets the first of the runs that can begin at once, leased. The others are queued.
// It answers nil when there is none.
func (e *Engine) TakeUp(ctx context.Context, org, id db.ID) (*Activation, error) {
	return e.dispatch(ctx, org, id, e.timing().Lease)
}

func (e *Engine) dispatch(ctx context.Context, org, id db.ID, lease time.Duration) (first *Activation, err error) {
	err = e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		ev, err := db.LockEvent(ctx, tx, org, id)
		if err != nil || !ev.DispatchedAt.IsZero() {
			return err
		}
		occ, err := e.occurrence(ev)
		if errors.Is(err, errUnreadable) {
			e.Log.WarnContext(ctx, "an event cannot be read", "org", org, "event", id, "error", err)
			return db.EventUnreadable(ctx, tx, org, id, text(err.Error()))
		}
		if err != nil {
			return err // this process is older than the trigger: the event is due again
		}
		d := &dispatching{e: e, tx: tx, ev: ev, occ: occ, lease: lease}
		err = d.run(ctx)
		first = d.first
		return err
	})
	if err != nil {
		return nil, err
	}
	return first, nil
}

func (e *Engine) occurrence(ev db.Stored) (connectors.Occurrence, error) {
	app, ok := e.Apps.App(ev.App)
	if !ok {
		return connectors.Occurrence{}, fmt.Errorf("no connector for app %q", ev.App)
	}
	t, ok := app.Trigger(ev.Trigger)
	if !ok {
		return connectors.Occurrence{}, fmt.Errorf("app %s has no trigger %q", ev.App, ev.Trigger)
	}
	if ev.Body == nil {
		return connectors.Occurrence{}, fmt.Errorf("%w: its body is no longer kept", errUnreadable)
	}
	occ, err := decode(t, ev.Source, ev.Body)
	if err != nil {
		return occ, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	occ.Record.Name = text(occ.Record.Name)
	if occ.Parent != nil {
		occ.Parent.Name = text(occ.Parent.Name)
	}
	if strings.Contains(occ.Record.ID+occ.BusinessKey, "\x00") {
		return occ, fmt.Errorf("%w: its record's id is no text", errUnreadable)
	}
	if ev.Source == FromHand {
		occ.BusinessKey = ev.DedupeKey // started by hand, so it may run again
	}
	return occ, nil
}

// errUnreadable says that an event can never be dispatched, by whatever process.
var errUnreadable = errors.New("the event cannot be read")

// dispatching is one event being turned into runs, in a transaction.
type dispatching struct {
	e     *Engine
	tx    db.Tx
	ev    db.Stored
	occ   connectors.Occurrence
	lease time.Duration // for the first run that can begin at once; 0 when none is wanted

	cause   *db.Effect // when it is an echo
	mapping db.ID      // of its record
	held    string     // why its runs are not begun
	over    bool       // it is noted as dispatched
	conns   map[db.ID]db.Connection
	first   *Activation
}

func (d *dispatching) run(ctx context.Context) (err error) {
	if d.cause, err = d.e.cause(ctx, d.tx, d.ev, d.occ); err != nil {
		return err
	}
	if d.cause != nil {
		d.ev.EchoOf = d.cause.ID
		if err := d.e.confirmByEcho(ctx, d.tx, d.cause, d.occ); err != nil {
			return err
		}
	}
	d.ev.Entity, d.ev.RecordID, d.ev.RecordName = d.occ.Record.Entity, d.occ.Record.ID, d.occ.Record.Name
	links, err := db.EnabledLinks(ctx, d.tx, d.ev.OrgID, d.ev.ConnectionID, d.ev.Trigger, d.ev.FlowLinkID)
	if err != nil {
		return err
	}
	if !d.ev.ReleasedAt.IsZero() {
		if links, err = d.holders(ctx, links); err != nil {
			return err
		}
	}
	if len(links) > 0 {
		if err := d.mapRecord(ctx); err != nil {
			return err
		}
		if err := d.open(ctx, links); err != nil {
			return err
		}
	}
	for i, link := range links {
		if err := d.to(ctx, link, i == len(links)-1); err != nil {
			return err
		}
	}
	if d.over {
		return nil
	}
	return db.EventDispatched(ctx, d.tx, d.ev.Event)
}

// holders are those of the links that hold an event which was released.
func (d *dispatching) holders(ctx context.Context, links []db.BoundLink) ([]db.BoundLink, error) {
	held, err := db.HeldBy(ctx, d.tx, d.ev.OrgID, d.ev.ID)
	return slices.DeleteFunc(links, func(l db.BoundLink) bool { return !slices.Contains(held, l.ID) }), err
}

// suspect holds what looks like a loop: so many writes about one record, in so little time, are hardly anybody's doing. It is
// the net below the recognition of echoes. What a person has started or released goes on.
func (d *dispatching) suspect(ctx context.Context) error {
	t := d.e.timing()
	if d.ev.Source == FromHand || !d.ev.ReleasedAt.IsZero() {
		return nil
	}
	n, err := db.WritesOn(ctx, d.tx, d.ev.OrgID, d.mapping, t.Loop, t.Writes)
	if err == nil && n >= t.Writes {
		d.held = fmt.Sprintf("Tieline made %d writes about this record within %s, which looks like a loop between flows. See to the flow, then use releaseEvent.", n, t.Loop)
	}
	return err
}

// mapRecord finds the mapping of the event's record, and makes it when it is new. An echo brings its effect's.
func (d *dispatching) mapRecord(ctx context.Context) (err error) {
	if d.cause != nil && d.cause.MappingID != (db.ID{}) {
		d.mapping = d.cause.MappingID
		return d.suspect(ctx)
	}
	ev, occ := d.ev, d.occ
	isNew := false
	d.mapping, isNew, err = db.MapRecord(ctx, d.tx, db.Slot{
		OrgID: ev.OrgID, VendorAccountID: ev.VendorAccountID, Entity: occ.Record.Entity, ExternalID: occ.Record.ID,
		Name: occ.Record.Name, EventID: ev.ID,
	})
	if err == nil && !isNew {
		err = d.suspect(ctx)
	}
	if err != nil || occ.Parent == nil {
		return err
	}
	parent, err := db.SlotByExternalID(ctx, d.tx, ev.OrgID, ev.VendorAccountID, occ.Parent.Entity, occ.Parent.ID)
	if err == nil {
		return db.SetParent(ctx, d.tx, ev.OrgID, d.mapping, parent.MappingID)
	}
	if !errors.Is(err, db.ErrNotFound) {
		return err
	}
	if !occ.Together {
		parent.MappingID, _, err = db.MapRecord(ctx, d.tx, db.Slot{
			OrgID: ev.OrgID, VendorAccountID: ev.VendorAccountID, Entity: occ.Parent.Entity, ExternalID: occ.Parent.ID, Name: occ.Parent.Name, EventID: ev.ID,
		})
		if err != nil {
			return err
		}
		return db.SetParent(ctx, d.tx, ev.OrgID, d.mapping, parent.MappingID)
	}
	// The first account of its customer: they share a mapping, and later accounts point to it.
	made, err := db.FillSlot(ctx, d.tx, db.Slot{
		OrgID: ev.OrgID, MappingID: d.mapping, VendorAccountID: ev.VendorAccountID, Entity: occ.Parent.Entity, ExternalID: occ.Parent.ID,
		Name: occ.Parent.Name, EventID: ev.ID,
	})
	if err != nil || made {
		return err
	}
	// Another of its accounts was first; now that we have waited for it, its row shows.
	parent, err = db.SlotByExternalID(ctx, d.tx, ev.OrgID, ev.VendorAccountID, occ.Parent.Entity, occ.Parent.ID)
	if errors.Is(err, db.ErrNotFound) {
		return nil // this mapping belongs to another customer already
	}
	if err != nil {
		return err
	}
	return db.SetParent(ctx, d.tx, ev.OrgID, d.mapping, parent.MappingID)
}

// open reads the connections that the links' runs use.
func (d *dispatching) open(ctx context.Context, links []db.BoundLink) (err error) {
	ids := []db.ID{d.ev.ConnectionID}
	for _, l := range links {
		for _, id := range l.Connections {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	d.conns, err = db.OpenedConnections(ctx, d.tx, d.ev.OrgID, ids)
	return err
}

// to makes the run of one link, or notes why there is none. It is told whether the link is the last.
func (d *dispatching) to(ctx context.Context, link db.BoundLink, last bool) error {
	if err := db.LinkSawEvent(ctx, d.tx, link.FlowLink); err != nil {
		return err
	}
	ev, occ := d.ev, d.occ
	out := db.EventOutcome{OrgID: ev.OrgID, EventID: ev.ID, FlowLinkID: link.ID}
	if ev.Source == FromCatchUp && ev.VendorAt.Before(link.EnabledAt.Add(-skew)) {
		out.Outcome, out.Reason = OutcomeIgnored, "It happened before the link was enabled."
		return db.AddOutcome(ctx, d.tx, out)
	}
	if d.held != "" {
		out.Outcome, out.Reason = OutcomeHeld, d.held
		return db.AddOutcome(ctx, d.tx, out)
	}
	p, err := d.e.plan(ctx, d.tx, ev.OrgID, link.VersionID)
	if err != nil {
		return err
	}
	switch concerned, err := p.concerns(ctx, occ, link.Params); {
	case err != nil: // for a person: dropping it would lose it, and trying again changes nothing
		out.Outcome, out.Reason = OutcomeHeld, text("The flow's condition cannot be worked out: "+err.Error())
		return db.AddOutcome(ctx, d.tx, out)
	case !concerned:
		out.Outcome, out.Reason = OutcomeFiltered, notConcerned
		return db.AddOutcome(ctx, d.tx, out)
	}
	run := db.Run{
		OrgID: ev.OrgID, ID: db.NewID(), FlowID: link.FlowID, FlowVersionID: link.VersionID, FlowLinkID: link.ID, ConnectionID: ev.ConnectionID,
		EventID: ev.ID, EventAt: ev.ReceivedAt, Source: ev.Source, BusinessKey: occ.BusinessKey,
		Lane: occ.Record.Entity + "/" + occ.Record.ID, Entity: occ.Record.Entity, RecordID: occ.Record.ID, RecordName: occ.Record.Name,
		VendorAt: ev.VendorAt, MappingID: d.mapping, State: Queued, Chain: []db.ID{},
	}
	if d.cause != nil {
		run.EchoOf, run.Chain = d.cause.ID, d.cause.Chain
	}
	steps, err := d.steps(run, p, link)
	if err != nil {
		return err
	}
	if err := db.LockLane(ctx, d.tx, link.ID, run.Lane); err != nil {
		return err
	}
	lease := time.Duration(0)
	if suppressed(steps) {
		run.State, run.StartedAt, run.EndedAt = Suppressed, time.Now(), time.Now()
	} else if busy, err := db.LaneBusy(ctx, d.tx, ev.OrgID, link.ID, run.Lane); err != nil {
		return err
	} else if busy {
		run.State, run.WaitingReason = Waiting, ForLane
	} else if d.lease > 0 && d.first == nil {
		run.State, run.StartedAt, lease = Running, time.Now(), d.lease
	}
	made, err := db.StartRun(ctx, d.tx, &run, steps, lease, last)
	d.over = made && last
	switch {
	case err != nil:
		return err
	case !made:
		out.Outcome, out.Reason = OutcomeDuplicate, "The same change has a run already."
		if out.RunID, err = db.RunOf(ctx, d.tx, ev.OrgID, link.ID, run.BusinessKey); err != nil {
			return err
		}
		return db.AddOutcome(ctx, d.tx, out)
	case lease > 0:
		a := d.e.activation(run, p, steps, d.conns, nil)
		d.first = a
		return a.bind(link.Params, occ)
	case run.State == Queued:
		return d.e.Queue.Add(ctx, d.tx, Task{Kind: Activate, Org: run.OrgID, ID: run.ID})
	case run.State == Suppressed:
		d.e.ended(run)
	}
	return nil
}

// steps are the steps of a new run. In one started by an echo, those whose target the change came through are done.
func (d *dispatching) steps(run db.Run, p *plan, link db.BoundLink) ([]db.Step, error) {
	steps := make([]db.Step, len(p.steps))
	for i, ps := range p.steps {
		conn, ok := d.conns[link.Connections[ps.Key]]
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
