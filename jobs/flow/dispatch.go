package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"tieline/connectors"
	"tieline/db"
)

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
	if err := cmp.Or(failed, err, d.err); err != nil || !d.vague {
		return err
	}
	if there, err := e.clarify(ctx, d); err != nil || !there {
		return err
	}
	return e.dispatch(ctx, d)
}

// clarify reads the record of an event whose body leaves open which one it is, or whose doing it was. Where there is none,
// nothing is made of the event.
func (e *Engine) clarify(ctx context.Context, d *dispatching) (there bool, err error) {
	conn, err := db.GetConnection(ctx, e.DB, d.key.OrgID, d.ev.ConnectionID)
	if err != nil {
		return false, err
	}
	if conn.State == ConnNeedsReauth {
		return false, connectors.Errorf(connectors.Unauthorized, "event %s waits until its connection is repaired", d.key.ID)
	}
	app, _ := e.Apps.App(conn.App)
	t, _ := app.Trigger(d.ev.Trigger)
	pace := e.pacer(app, *conn.VendorAccount)
	pace.within = personWaits
	c, err := e.open(conn, &caller{pace: pace})
	if err != nil {
		return false, err
	}
	occ, err := t.Read(ctx, c, d.occ)
	if err == nil {
		occ, err = sound(occ)
	}
	switch x := errorOf(err); {
	case err == nil:
		d.read = &occ
		return true, nil
	case errors.Is(err, errUnreadable) || x.Kind == connectors.NotFound: // should it come to be there, listing finds it
		return false, db.EventUnreadable(ctx, e.DB, d.key.OrgID, d.key.ID, text(err.Error()))
	case x.Kind == connectors.RateLimited:
		return false, errors.Join(err, pace.slow(ctx, max(x.RetryAfter, e.timing().Retry), x.Narrow))
	case x.Kind == connectors.Unauthorized:
		return false, errors.Join(err, e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
			_, err := db.AwaitReauth(ctx, tx, conn, true, x.Error())
			return err
		}))
	}
	return false, fmt.Errorf("reading the record of event %s: %w", d.key.ID, err)
}

// dispatching is one event being turned into runs.
type dispatching struct {
	e     *Engine
	key   db.Key
	takes bool // the first run that can begin at once is wanted

	vague bool                   // its record must be read before anything is made of it
	read  *connectors.Occurrence // which was done

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

// dispatchAll turns events into runs, in one transaction. It takes locks in the order that everyone takes them: events,
// mappings, lanes.
func (e *Engine) dispatchAll(ctx context.Context, tx db.Tx, all []*dispatching) error {
	all, err := e.readAll(ctx, tx, all)
	if err != nil {
		return err
	}
	conns := map[db.Key]db.Connection{}
	if err := e.findLinks(ctx, tx, all); err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(d *dispatching) bool {
		d.vague = d.occ.Vague && len(d.links) > 0
		return d.vague
	})
	for _, do := range []func() error{
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
		*d = dispatching{e: e, key: d.key, takes: d.takes, read: d.read}
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
		if d.read != nil {
			d.occ = *d.read
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
	if occ, err = sound(occ); err != nil {
		return occ, err
	}
	if t.Occasion { // it was named when it was stored
		occ.Record = connectors.Subject{Entity: ev.Entity, ID: ev.RecordID, Name: ev.RecordName}
	}
	if ev.Source == FromHand || t.Occasion {
		occ.BusinessKey = ev.DedupeKey // started by hand, so it may run again
	}
	return occ, nil
}

// sound is an occurrence as Postgres can keep it.
func sound(occ connectors.Occurrence) (connectors.Occurrence, error) {
	occ.Record.Name = text(occ.Record.Name)
	if occ.Parent != nil {
		occ.Parent.Name = text(occ.Parent.Name)
	}
	if strings.Contains(occ.Record.ID+occ.BusinessKey, "\x00") {
		return occ, fmt.Errorf("%w: its record's id is no text", errUnreadable)
	}
	return occ, nil
}

// errUnreadable says that an event can never be dispatched, by whatever process.
var errUnreadable = errors.New("the event cannot be read")

// findLinks finds the links that the events concern: of one that was released, those that held it; of one that is heard again,
// those that had not heard it.
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
		if d.links = links[d.listener()]; d.ev.ReleasedAt.IsZero() && d.ev.ReheardAt.IsZero() {
			continue
		}
		before, err := db.OutcomesAt(ctx, tx, d.ev.OrgID, d.ev.ID)
		if err != nil {
			return err
		}
		d.links = slices.DeleteFunc(slices.Clone(d.links), func(l db.BoundLink) bool {
			was, heard := before[l.ID]
			return !(was == OutcomeHeld && !d.ev.ReleasedAt.IsZero()) && (heard || d.ev.ReheardAt.IsZero())
		})
	}
	return nil
}

func (d *dispatching) listener() db.Listener {
	return db.Listener{OrgID: d.ev.OrgID, ConnectionID: d.ev.ConnectionID, Trigger: d.ev.Trigger, FlowLinkID: d.ev.FlowLinkID}
}
