package flow

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
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
	return e.dispatch(ctx, &dispatching{e: e, key: db.Key{OrgID: org, ID: id}})
}

// TakeUp is Dispatch by a worker, who gets the first of the runs that can begin at once, leased. The others are queued.
// It answers nil when there is none.
func (e *Engine) TakeUp(ctx context.Context, org, id db.ID) (*Activation, error) {
	d := &dispatching{e: e, key: db.Key{OrgID: org, ID: id}, takes: true}
	if err := e.dispatch(ctx, d); err != nil || d.first == nil {
		return nil, err
	}
	return d.first, d.first.bind(d.params, d.occ)
}

// dispatch dispatches an event, with others that come at the same moment.
func (e *Engine) dispatch(ctx context.Context, d *dispatching) error {
	err, failed := e.events.Take(ctx, d.key.OrgID, d, func(ctx context.Context, all []*dispatching) []error {
		errs := together(ctx, e.DB, all, e.dispatchAll)
		for i, d := range all {
			if errs[i] == nil && d.aside {
				errs[i] = together(ctx, e.DB, all[i:i+1], e.dispatchAll)[0]
			}
		}
		return errs
	})
	return cmp.Or(failed, err, d.err)
}

// dispatching is one event being turned into runs.
type dispatching struct {
	e     *Engine
	key   db.Key
	takes bool // the first run that can begin at once is wanted

	ev      db.Stored
	occ     connectors.Occurrence
	cause   *db.Effect // when it is an echo
	links   []db.BoundLink
	mapping db.Mapped // of its record
	held    string    // why its runs are not begun
	runs    []begun

	first  *Activation
	params []byte // of its link
	aside  bool   // it does not go with the others
	err    error  // why this event alone is not dispatched
}

// begun is a run about to be made.
type begun struct {
	db.NewRun
	link db.BoundLink
	plan *plan
}

// dispatchAll turns events into runs, in one transaction. It takes locks in the order that everyone takes them: events,
// mappings, lanes.
func (e *Engine) dispatchAll(ctx context.Context, tx db.Tx, all []*dispatching) error {
	all, err := e.readAll(ctx, tx, all)
	if err != nil {
		return err
	}
	conns := map[db.Key]db.Connection{}
	for _, do := range []func() error{
		func() error { return e.findLinks(ctx, tx, all) },
		func() error { return e.mapRecords(ctx, tx, all) },
		func() (err error) {
			conns, err = openAll(ctx, tx, all)
			return err
		},
	} {
		if err := do(); err != nil {
			return err
		}
	}
	for _, d := range all {
		for _, link := range d.links {
			if err := d.to(ctx, tx, link, conns); err != nil {
				return err
			}
		}
	}
	if err := e.begin(ctx, tx, all, conns); err != nil {
		return err
	}
	events := make([]db.Event, len(all))
	for i, d := range all {
		events[i] = d.ev.Event
	}
	if len(events) == 0 {
		return nil
	}
	return db.EventsDispatched(ctx, tx, events...)
}

// readAll reads events that are not dispatched yet. Those that cannot go with the others are left aside: a second event of
// a record, which must see what the first has made, and an echo, which takes the row of its effect's run.
func (e *Engine) readAll(ctx context.Context, tx db.Tx, all []*dispatching) ([]*dispatching, error) {
	byKey, keys := map[db.Key]*dispatching{}, make([]db.Key, 0, len(all))
	for _, d := range all {
		*d = dispatching{e: e, key: d.key, takes: d.takes}
		if d.aside = byKey[d.key] != nil; !d.aside {
			byKey[d.key], keys = d, append(keys, d.key)
		}
	}
	stored, err := db.LockEvents(ctx, tx, keys...)
	if err != nil {
		return nil, err
	}
	var left []*dispatching
	records := map[db.Record]bool{}
	for _, ev := range stored {
		d := byKey[db.Key{OrgID: ev.OrgID, ID: ev.ID}]
		delete(byKey, d.key)
		if d.ev = ev; !ev.DispatchedAt.IsZero() {
			continue
		}
		if d.occ, err = e.occurrence(ev); errors.Is(err, errUnreadable) {
			e.Log.WarnContext(ctx, "an event cannot be read", "org", ev.OrgID, "event", ev.ID, "error", err)
			if err := db.EventUnreadable(ctx, tx, ev.OrgID, ev.ID, text(err.Error())); err != nil {
				return nil, err
			}
			continue
		}
		if d.err = err; err != nil {
			continue // this process is older than the trigger: the event is due again
		}
		if d.aside = records[d.record()]; !d.aside {
			records[d.record()], left = true, append(left, d)
		}
	}
	for _, d := range byKey {
		d.err = db.ErrNotFound
	}
	if err := e.causes(ctx, tx, left); err != nil {
		return nil, err
	}
	left = slices.DeleteFunc(left, func(d *dispatching) bool {
		d.aside = d.cause != nil && len(all) > 1
		return d.aside
	})
	for _, d := range left {
		d.ev.Entity, d.ev.RecordID, d.ev.RecordName = d.occ.Record.Entity, d.occ.Record.ID, d.occ.Record.Name
		if d.cause == nil {
			continue
		}
		d.ev.EchoOf = d.cause.ID
		if err := e.confirmByEcho(ctx, tx, d.cause, d.occ); err != nil {
			return nil, err
		}
	}
	return left, nil
}

func (d *dispatching) record() db.Record {
	return db.Record{OrgID: d.ev.OrgID, VendorAccountID: d.ev.VendorAccountID, Entity: d.occ.Record.Entity, ExternalID: d.occ.Record.ID}
}

func (e *Engine) occurrence(ev db.Stored) (occ connectors.Occurrence, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reading event %s panicked: %v\n%s", ev.ID, p, debug.Stack())
		}
	}()
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
	if occ, err = decode(t, ev.Source, ev.Body); err != nil {
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

// findLinks finds the links that the events concern: of one that was released, those that held it.
func (e *Engine) findLinks(ctx context.Context, tx db.Tx, all []*dispatching) error {
	var listeners []db.Listener
	for _, d := range all {
		if l := d.listener(); !slices.Contains(listeners, l) {
			listeners = append(listeners, l)
		}
	}
	if len(listeners) == 0 {
		return nil
	}
	links, err := db.EnabledLinks(ctx, tx, listeners...)
	if err != nil {
		return err
	}
	for _, of := range links {
		for _, l := range of {
			if err := db.LinkSawEvent(ctx, tx, l.FlowLink); err != nil {
				return err
			}
		}
	}
	for _, d := range all {
		if d.links = links[d.listener()]; d.ev.ReleasedAt.IsZero() {
			continue
		}
		held, err := db.HeldBy(ctx, tx, d.ev.OrgID, d.ev.ID)
		if err != nil {
			return err
		}
		d.links = slices.DeleteFunc(slices.Clone(d.links), func(l db.BoundLink) bool { return !slices.Contains(held, l.ID) })
	}
	return nil
}

func (d *dispatching) listener() db.Listener {
	return db.Listener{OrgID: d.ev.OrgID, ConnectionID: d.ev.ConnectionID, Trigger: d.ev.Trigger, FlowLinkID: d.ev.FlowLinkID}
}

// mapRecords finds the mappings of the events' records, and makes those of new ones. An echo brings its effect's.
func (e *Engine) mapRecords(ctx context.Context, tx db.Tx, all []*dispatching) error {
	var slots []db.Slot
	var children []*dispatching
	for _, d := range all {
		if len(d.links) == 0 {
			continue
		}
		if d.cause != nil && d.cause.MappingID != (db.ID{}) {
			d.mapping.ID = d.cause.MappingID
			continue
		}
		r := d.record()
		slots = append(slots, db.Slot{OrgID: r.OrgID, VendorAccountID: r.VendorAccountID, Entity: r.Entity, ExternalID: r.ExternalID, Name: d.occ.Record.Name, EventID: d.ev.ID})
		if d.occ.Parent != nil {
			children = append(children, d)
		}
	}
	if len(slots) > 0 {
		mapped, err := db.MapRecords(ctx, tx, slots...)
		if err != nil {
			return err
		}
		for _, d := range all {
			if d.mapping.ID == (db.ID{}) {
				d.mapping = mapped[d.record()]
			}
		}
	}
	if err := e.suspect(ctx, tx, all); err != nil {
		return err
	}
	slices.SortFunc(children, func(a, b *dispatching) int {
		return cmp.Or(cmp.Compare(a.occ.Parent.Entity, b.occ.Parent.Entity), cmp.Compare(a.occ.Parent.ID, b.occ.Parent.ID))
	})
	for _, d := range children {
		if err := d.mapParent(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// suspect holds what looks like a loop: so many writes about one record, in so little time, are hardly anybody's doing. It is
// the net below the recognition of echoes. What a person has started or released goes on.
func (e *Engine) suspect(ctx context.Context, tx db.Tx, all []*dispatching) error {
	t := e.timing()
	var suspects []*dispatching
	var mappings []db.Key
	for _, d := range all {
		if len(d.links) > 0 && !d.mapping.New && d.ev.Source != FromHand && d.ev.ReleasedAt.IsZero() {
			suspects, mappings = append(suspects, d), append(mappings, db.Key{OrgID: d.ev.OrgID, ID: d.mapping.ID})
		}
	}
	if len(mappings) == 0 {
		return nil
	}
	writes, err := db.WritesOn(ctx, tx, t.Loop, t.Writes, mappings...)
	for _, d := range suspects {
		if n := writes[d.mapping.ID]; err == nil && n >= t.Writes {
			d.held = fmt.Sprintf("Tieline made %d writes about this record within %s, which looks like a loop between flows. See to the flow, then use releaseEvent.", n, t.Loop)
		}
	}
	return err
}

// mapParent points the mapping of a record to that of the one it belongs to.
func (d *dispatching) mapParent(ctx context.Context, tx db.Tx) error {
	ev, occ := d.ev, d.occ
	parent, err := db.SlotByExternalID(ctx, tx, ev.OrgID, ev.VendorAccountID, occ.Parent.Entity, occ.Parent.ID)
	if err == nil {
		return db.SetParent(ctx, tx, ev.OrgID, d.mapping.ID, parent.MappingID)
	}
	if !errors.Is(err, db.ErrNotFound) {
		return err
	}
	if !occ.Together {
		mapped, err := db.MapRecords(ctx, tx, db.Slot{
			OrgID: ev.OrgID, VendorAccountID: ev.VendorAccountID, Entity: occ.Parent.Entity, ExternalID: occ.Parent.ID, Name: occ.Parent.Name, EventID: ev.ID,
		})
		if err != nil {
			return err
		}
		for _, parent := range mapped {
			err = db.SetParent(ctx, tx, ev.OrgID, d.mapping.ID, parent.ID)
		}
		return err
	}
	// The first account of its customer: they share a mapping, and later accounts point to it.
	made, err := db.FillSlot(ctx, tx, db.Slot{
		OrgID: ev.OrgID, MappingID: d.mapping.ID, VendorAccountID: ev.VendorAccountID, Entity: occ.Parent.Entity, ExternalID: occ.Parent.ID,
		Name: occ.Parent.Name, EventID: ev.ID,
	})
	if err != nil || made {
		return err
	}
	// Another of its accounts was first; now that we have waited for it, its row shows.
	parent, err = db.SlotByExternalID(ctx, tx, ev.OrgID, ev.VendorAccountID, occ.Parent.Entity, occ.Parent.ID)
	if errors.Is(err, db.ErrNotFound) {
		return nil // this mapping belongs to another customer already
	}
	if err != nil {
		return err
	}
	return db.SetParent(ctx, tx, ev.OrgID, d.mapping.ID, parent.MappingID)
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
	switch concerned, err := p.concerns(ctx, occ, link.Params); {
	case err != nil: // for a person: dropping it would lose it, and trying again changes nothing
		out.Outcome, out.Reason = OutcomeHeld, text("The flow's condition cannot be worked out: "+err.Error())
		return db.AddOutcome(ctx, tx, out)
	case !concerned:
		out.Outcome, out.Reason = OutcomeFiltered, notConcerned
		return db.AddOutcome(ctx, tx, out)
	}
	run := db.Run{
		OrgID: ev.OrgID, ID: db.NewID(), FlowID: link.FlowID, FlowVersionID: link.VersionID, FlowLinkID: link.ID, ConnectionID: ev.ConnectionID,
		EventID: ev.ID, EventAt: ev.ReceivedAt, Source: ev.Source, BusinessKey: occ.BusinessKey,
		Lane: occ.Record.Entity + "/" + occ.Record.ID, Entity: occ.Record.Entity, RecordID: occ.Record.ID, RecordName: occ.Record.Name,
		VendorAt: ev.VendorAt, MappingID: d.mapping.ID, State: Queued, Chain: []db.ID{},
	}
	if d.cause != nil {
		run.EchoOf, run.Chain = d.cause.ID, d.cause.Chain
	}
	steps, err := steps(run, p, link, conns)
	if err != nil {
		return err
	}
	d.runs = append(d.runs, begun{db.NewRun{Run: &run, Steps: steps}, link, p})
	return nil
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
		for _, r := range d.runs {
			switch {
			case !made[r.ID]:
				if err := d.duplicate(ctx, tx, r); err != nil {
					return err
				}
			case r.Leased:
				d.first, d.params = e.activation(*r.Run, r.plan, r.Steps, connsOf(*r.Run, r.Steps, conns), nil), r.link.Params
				d.first.fresh = d.mapping.New
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
