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
	ev, err := db.GetEvent(ctx, e.DB, org, id)
	if err != nil || !ev.DispatchedAt.IsZero() {
		return err
	}
	conns, err := db.ConnectionsOf(ctx, e.DB, org, []db.ID{ev.ConnectionID})
	if err != nil {
		return err
	}
	conn := conns[ev.ConnectionID]
	occ, err := e.occurrence(ctx, conn, ev)
	if err != nil && !errors.Is(err, errUnreadable) {
		return err // a passing fault, or a process that is older than the trigger: the event is due again
	}
	if err != nil {
		e.Log.WarnContext(ctx, "an event cannot be read", "org", org, "event", id, "error", err)
		return db.EventUnreadable(ctx, e.DB, org, id, text(err.Error()))
	}
	return e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		ev, err := db.LockEvent(ctx, tx, org, id)
		if err != nil || !ev.DispatchedAt.IsZero() {
			return err
		}
		return e.dispatch(ctx, tx, ev, conn, occ)
	})
}

func (e *Engine) occurrence(ctx context.Context, conn db.Connection, ev db.Event) (connectors.Occurrence, error) {
	app, ok := e.Apps.App(conn.App)
	if !ok {
		return connectors.Occurrence{}, fmt.Errorf("no connector for app %q", conn.App)
	}
	t, ok := app.Trigger(ev.Trigger)
	if !ok {
		return connectors.Occurrence{}, fmt.Errorf("app %s has no trigger %q", conn.App, ev.Trigger)
	}
	body, err := db.EventBody(ctx, e.DB, ev.OrgID, ev.ID, ev.ReceivedAt)
	if errors.Is(err, db.ErrNotFound) {
		return connectors.Occurrence{}, fmt.Errorf("%w: its body is no longer kept", errUnreadable)
	}
	if err != nil {
		return connectors.Occurrence{}, err
	}
	occ, err := decode(t, ev.Source, body)
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

func (e *Engine) dispatch(ctx context.Context, tx db.Tx, ev db.Event, conn db.Connection, occ connectors.Occurrence) error {
	cause, err := e.cause(ctx, tx, ev, conn, occ)
	if err != nil {
		return err
	}
	if cause != nil {
		ev.EchoOf = cause.ID
		if err := e.confirmByEcho(ctx, tx, cause, conn, occ); err != nil {
			return err
		}
	}
	ev.Entity, ev.RecordID, ev.RecordName = occ.Record.Entity, occ.Record.ID, occ.Record.Name
	links, err := db.EnabledLinks(ctx, tx, ev.OrgID, conn.ID, ev.Trigger, ev.FlowLinkID)
	if err != nil {
		return err
	}
	var mapping db.ID
	if len(links) > 0 {
		if mapping, err = e.mapRecord(ctx, tx, ev, conn, occ, cause); err != nil {
			return err
		}
	}
	for _, link := range links {
		if err := e.dispatchTo(ctx, tx, link, ev, conn, occ, cause, mapping); err != nil {
			return err
		}
	}
	return db.EventDispatched(ctx, tx, ev)
}

// mapRecord finds the mapping of the event's record, and makes it when it is new. An echo brings its effect's.
func (e *Engine) mapRecord(ctx context.Context, tx db.Tx, ev db.Event, conn db.Connection, occ connectors.Occurrence, cause *db.Effect) (db.ID, error) {
	if cause != nil && cause.MappingID != (db.ID{}) {
		return cause.MappingID, nil
	}
	slot, err := db.MapRecord(ctx, tx, db.Slot{
		OrgID: ev.OrgID, VendorAccountID: conn.VendorAccountID, Entity: occ.Record.Entity, ExternalID: occ.Record.ID,
		Name: occ.Record.Name, EventID: ev.ID,
	})
	if err != nil || occ.Parent == nil {
		return slot.MappingID, err
	}
	parent, err := db.SlotByExternalID(ctx, tx, ev.OrgID, conn.VendorAccountID, occ.Parent.Entity, occ.Parent.ID)
	if err == nil {
		return slot.MappingID, db.SetParent(ctx, tx, ev.OrgID, slot.MappingID, parent.MappingID)
	}
	if !errors.Is(err, db.ErrNotFound) {
		return slot.MappingID, err
	}
	// The first account of its customer: they share a mapping, and later accounts point to it.
	made, err := db.FillSlot(ctx, tx, db.Slot{
		OrgID: ev.OrgID, MappingID: slot.MappingID, VendorAccountID: conn.VendorAccountID, Entity: occ.Parent.Entity, ExternalID: occ.Parent.ID,
		Name: occ.Parent.Name, EventID: ev.ID,
	})
	if err != nil || made {
		return slot.MappingID, err
	}
	// Another of its accounts was first; now that we have waited for it, its row shows.
	parent, err = db.SlotByExternalID(ctx, tx, ev.OrgID, conn.VendorAccountID, occ.Parent.Entity, occ.Parent.ID)
	if errors.Is(err, db.ErrNotFound) {
		return slot.MappingID, nil // this mapping belongs to another customer already
	}
	if err != nil {
		return slot.MappingID, err
	}
	return slot.MappingID, db.SetParent(ctx, tx, ev.OrgID, slot.MappingID, parent.MappingID)
}

func (e *Engine) dispatchTo(ctx context.Context, tx db.Tx, link db.FlowLink, ev db.Event, conn db.Connection, occ connectors.Occurrence, cause *db.Effect, mapping db.ID) error {
	out := db.EventOutcome{OrgID: ev.OrgID, EventID: ev.ID, FlowLinkID: link.ID, Outcome: OutcomeRun}
	if ev.Source == FromCatchUp && ev.VendorAt.Before(link.EnabledAt.Add(-skew)) {
		out.Outcome, out.Reason = OutcomeIgnored, "It happened before the link was enabled."
		return db.AddOutcome(ctx, tx, out)
	}
	version, err := db.NewestVersion(ctx, tx, ev.OrgID, link.FlowID)
	if err != nil {
		return err
	}
	p, err := e.plan(ctx, tx, ev.OrgID, version.ID)
	if err != nil {
		return err
	}
	run := db.Run{
		OrgID: ev.OrgID, ID: db.NewID(), FlowID: link.FlowID, FlowVersionID: version.ID, FlowLinkID: link.ID, ConnectionID: conn.ID,
		EventID: ev.ID, EventAt: ev.ReceivedAt, Source: ev.Source, BusinessKey: occ.BusinessKey,
		Lane: occ.Record.Entity + "/" + occ.Record.ID, Entity: occ.Record.Entity, RecordID: occ.Record.ID, RecordName: occ.Record.Name,
		VendorAt: ev.VendorAt, MappingID: mapping, State: Queued, Version: 1, Chain: []db.ID{}, DueAt: time.Now().Add(10 * time.Second),
	}
	if cause != nil {
		run.EchoOf, run.Chain = cause.ID, cause.Chain
	}
	steps, err := e.newSteps(ctx, tx, run, p)
	if err != nil {
		return err
	}
	if err := db.LockLane(ctx, tx, link.ID, run.Lane); err != nil {
		return err
	}
	if suppressed(steps) {
		run.State, run.DueAt, run.StartedAt, run.EndedAt = Suppressed, time.Time{}, time.Now(), time.Now()
	} else if busy, err := db.LaneBusy(ctx, tx, ev.OrgID, link.ID, run.Lane); err != nil {
		return err
	} else if busy {
		run.State, run.WaitingReason, run.DueAt = Waiting, ForLane, time.Time{}
	}
	made, err := db.AddRun(ctx, tx, &run, steps)
	if err != nil {
		return err
	}
	if !made {
		out.Outcome, out.Reason = OutcomeDuplicate, "The same change has a run already."
		if out.RunID, err = db.RunOf(ctx, tx, ev.OrgID, link.ID, run.BusinessKey); err != nil {
			return err
		}
		return db.AddOutcome(ctx, tx, out)
	}
	out.RunID = run.ID
	if err := db.AddOutcome(ctx, tx, out); err != nil {
		return err
	}
	switch run.State {
	case Queued:
		return e.queued(ctx, tx, run)
	case Suppressed:
		e.ended(run)
	}
	return db.Tell(ctx, tx, run, nil)
}

// newSteps are the steps of a new run. In one started by an echo, those whose target the change came through are done.
func (e *Engine) newSteps(ctx context.Context, tx db.Tx, run db.Run, p *plan) ([]db.Step, error) {
	chosen, err := db.FlowLinkSteps(ctx, tx, run.OrgID, run.FlowLinkID)
	if err != nil {
		return nil, err
	}
	ids, byStep := []db.ID{}, map[string]db.ID{}
	for _, c := range chosen {
		ids, byStep[c.Step] = append(ids, c.ConnectionID), c.ConnectionID
	}
	conns, err := db.ConnectionsOf(ctx, tx, run.OrgID, ids)
	if err != nil {
		return nil, err
	}
	steps := make([]db.Step, len(p.steps))
	for i, ps := range p.steps {
		conn, ok := conns[byStep[ps.Key]]
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
