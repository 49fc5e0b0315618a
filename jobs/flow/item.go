package flow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// What became of a record of a run over many. The first two are only counted.
const (
	itemCreated   = "CREATED"
	itemLinked    = "LINKED"
	itemPending   = "PENDING" // it is tried again
	itemDuplicate = "POSSIBLE_DUPLICATE"
	itemFailed    = "FAILED"
)

// item is one record on its way through the steps that are done for each.
type item struct {
	entry   connectors.Entry
	row     *db.RunItem // of one that is taken up again
	settles bool        // it is looked at only to learn what became of a write
	tries   int
	since   time.Time

	mapping db.ID
	slots   []db.Slot // of its mapping, as they were when its page was begun
	match   *matched
	effects []db.Effect // of this run about it

	state, message, requestID string
	kind                      connectors.Kind
	wait                      time.Duration // of one that is tried again
	through                   db.ID         // the connection that was used last
	settled                   []*db.Effect  // that happened, and are noted with the page
}

// matched is the record that an item is on the other side, although no mapping says so.
type matched struct {
	account db.ID
	entity  string
	ref     connectors.Ref
}

// matches tells whether what an item is on the other side is a record of this kind in this account.
func (it *item) matches(account db.ID, entity string) bool {
	return it.match != nil && it.match.account == account && it.match.entity == entity
}

// itemKey tells the effects of one step for several records apart.
func (a *Activation) itemKey() string {
	if a.item == nil {
		return ""
	}
	return "/" + a.item.entry.Record.ID
}

// slot is the item's own in an account, with or without a record in it; nil when its mapping has none.
func (it *item) slot(account db.ID, entity string) *db.Slot {
	i := slices.IndexFunc(it.slots, func(o db.Slot) bool { return o.VendorAccountID == account && o.Entity == entity && o.Role == "" })
	if i < 0 {
		return nil
	}
	return &it.slots[i]
}

// isThere tells whether a step would make what is known to be there already, so that it need not have all it would take.
func (it *item) isThere(s *db.Step, p planStep) bool {
	if it == nil || p.match == nil {
		return false
	}
	o := it.slot(s.VendorAccountID, p.action.Entity)
	return it.matches(s.VendorAccountID, p.action.Entity) || o != nil && o.ExternalID != ""
}

// ofItem answers the record that an item is known to be already.
func (j *journal) ofItem(ctx context.Context, in connectors.Intent, key string) (connectors.Ref, bool, error) {
	if j.a == nil || j.a.item == nil || j.mapping != j.a.item.mapping || in.Kind != connectors.CreateEffect {
		return connectors.Ref{}, false, nil
	}
	if _, ours := j.a.effects[j.conn.VendorAccountID.String()+key]; ours {
		return connectors.Ref{}, false, nil
	}
	it, ref := j.a.item, connectors.Ref{Adopted: true}
	for i, s := range in.Slots {
		k := slices.IndexFunc(it.slots, func(o db.Slot) bool {
			return o.VendorAccountID == j.conn.VendorAccountID && o.Entity == s.Entity && o.Role == s.Role && o.ExternalID != ""
		})
		switch {
		case k >= 0 && i == 0:
			ref.ID, ref.Name, ref.Attributes = it.slots[k].ExternalID, it.slots[k].Name, it.slots[k].Attributes
		case k >= 0:
			ref.With = append(ref.With, connectors.Slot{Entity: s.Entity, Role: s.Role, ID: it.slots[k].ExternalID})
		case i == 0 && it.matches(j.conn.VendorAccountID, s.Entity):
			ref, err := j.Adopt(ctx, in, it.match.ref)
			return ref, err == nil, err
		case i == 0:
			return connectors.Ref{}, false, nil
		}
	}
	j.adopted = true
	return ref, true, nil
}

// take takes records through their steps and saves what became of them together with where the passage stands then. What
// stops it leaves the place as it was: the same records come again, and what was done for them already is not done twice.
func (w *passage) take(ctx context.Context, items []*item, next place) error {
	so := next.Counts
	err := w.work(ctx, items, func(it *item) error {
		so.add(it)
		if !w.due() || so.through() < w.shown().through() {
			return nil
		}
		return w.save(ctx, so, true, nil)
	})
	var settled []*db.Effect
	for _, it := range items {
		settled = append(settled, it.settled...)
	}
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, errFenced) && len(settled) > 0 {
			err = errors.Join(err, w.save(ctx, w.shown(), false, func(ctx context.Context, tx db.Tx) error { return db.ConfirmPlain(ctx, tx, settled) }))
		}
		return err
	}
	next.Counts = so
	was := w.at
	w.at = next
	err = w.save(ctx, so, w.due(), func(ctx context.Context, tx db.Tx) error {
		if err := db.ConfirmPlain(ctx, tx, settled); err != nil {
			return err
		}
		rows, gone := w.rows(items)
		if err := db.PutItems(ctx, tx, rows); err != nil {
			return err
		}
		return db.DropItems(ctx, tx, w.a.run.OrgID, w.a.run.ID, w.step.Key, gone)
	})
	if err != nil {
		w.at = was
	}
	return err
}

// add counts what became of a record.
func (c *counts) add(it *item) {
	switch it.state {
	case itemCreated:
		c.Created++
	case itemLinked:
		c.AlreadyLinked++
	case itemDuplicate:
		c.PossibleDuplicates++
	case itemFailed:
		c.Failed++
	}
}

func (c counts) through() int { return c.Created + c.AlreadyLinked + c.PossibleDuplicates + c.Failed }

// rows are the items to keep, and the keys of those that were kept and have been dealt with now.
func (w *passage) rows(items []*item) (keep []db.RunItem, gone []string) {
	for _, it := range items {
		if it.state == itemCreated || it.state == itemLinked {
			if it.row != nil {
				gone = append(gone, it.entry.Record.ID)
			}
			continue
		}
		r := it.entry.Record
		row := db.RunItem{
			OrgID: w.a.run.OrgID, ID: db.NewID(), RunID: w.a.run.ID, Step: w.step.Key, Entity: r.Entity, Key: r.ID, Name: text(r.Name), State: it.state,
			ErrorKind: string(it.kind), Message: text(it.message), RequestID: it.requestID, MappingID: it.mapping, Tries: it.tries,
		}
		if it.state == itemPending {
			row.DueAt = time.Now().Add(it.wait)
		}
		keep = append(keep, row)
	}
	return keep, gone
}

// work takes records through their steps, some side by side, and tells done of each. An error says why it stopped before
// all were through; those that were begun are let finish.
func (w *passage) work(ctx context.Context, items []*item, done func(*item) error) error {
	base := w.a.run
	again := slices.DeleteFunc(slices.Clone(items), func(it *item) bool { return it.row == nil })
	if err := w.abreast(ctx, again, func(ctx context.Context, it *item) error { return w.read(ctx, it, base) }, nil); err != nil {
		return err
	}
	if err := w.prepare(ctx, items); err != nil {
		return err
	}
	return w.abreast(ctx, items, func(ctx context.Context, it *item) error { return w.do(ctx, it, base) }, done)
}

func (w *passage) abreast(ctx context.Context, items []*item, do func(context.Context, *item) error, done func(*item) error) (first error) {
	type result struct {
		it  *item
		err error
	}
	var (
		workers sync.WaitGroup
		taken   atomic.Int64
		halt    atomic.Bool
	)
	results := make(chan result)
	for range min(itemsAtOnce, len(items)) {
		workers.Go(func() {
			for !halt.Load() {
				n := int(taken.Add(1))
				if n > len(items) {
					return
				}
				err := guarded(ctx, items[n-1], do)
				if err != nil {
					halt.Store(true)
				}
				results <- result{items[n-1], err}
			}
		})
	}
	go func() { workers.Wait(); close(results) }()
	for r := range results {
		if r.err == nil && done != nil && first == nil {
			if r.err = done(r.it); r.err != nil {
				halt.Store(true)
			}
		}
		if r.err != nil && first == nil {
			first = r.err
			if r.it.through != (db.ID{}) {
				w.through = r.it.through
			}
		}
	}
	return first
}

// guarded keeps a panic from ending the process: nothing else guards these goroutines.
func guarded(ctx context.Context, it *item, do func(context.Context, *item) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("record %s panicked: %v\n%s", it.entry.Record.ID, p, debug.Stack())
		}
	}()
	return do(ctx, it)
}

// read reads a record again that was left.
func (w *passage) read(ctx context.Context, it *item, base db.Run) error {
	it.through = w.step.ConnectionID
	a := w.part(it, base)
	s := *w.step
	conn := a.conns[s.ConnectionID]
	a.pacers = w.pacers(conn)
	c, err := a.e.open(conn, a.journal(&s, conn))
	if err != nil {
		return err
	}
	e, err := w.plan.action.Walk.Read(ctx, c, it.entry.Record.ID)
	if err != nil {
		return w.judge(ctx, it, a, &s, err)
	}
	it.entry = e
	return nil
}

// part is the part of the run that one record is: with the record's mapping, and everything that it writes for itself.
func (w *passage) part(it *item, run db.Run) *Activation {
	run.MappingID, run.Chain = it.mapping, append(slices.Clip(run.Chain), w.a.conns[w.step.ConnectionID].VendorAccountID)
	a := w.a.e.activation(run, w.a.plan, w.a.steps, w.a.conns, it.effects)
	a.item, a.subj = it, w.a.subj
	a.vars = maps.Clone(w.a.vars)
	outputs, _ := a.vars["steps"].(map[string]any)
	a.vars["steps"] = maps.Clone(outputs)
	if said, ok := a.vars["run"].(map[string]any); ok {
		said = maps.Clone(said)
		said["linked"] = w.linked(it)
		a.vars["run"] = said
	}
	return a
}

// pacers let each call of a record wait for its turn behind what people wait for, however long that takes: there are others
// to be worked on meanwhile.
func (w *passage) pacers(conn db.Connection) map[db.ID]*pacer {
	app, _ := w.a.e.Apps.App(conn.App)
	p := w.a.e.pacer(app, *conn.VendorAccount)
	p.bulk = true
	return map[db.ID]*pacer{conn.VendorAccountID: p}
}

// do takes one record through its steps. An error stops the run; what is wrong with the record itself is on the item.
func (w *passage) do(ctx context.Context, it *item, base db.Run) error {
	if it.state != "" {
		return nil
	}
	if w.cancelling.Load() && !it.settles {
		return errCancelled
	}
	a := w.part(it, base)
	value, err := asJSON(it.entry.Value)
	if err != nil {
		return err
	}
	a.vars["item"] = value
	for k := range w.plan.items {
		s := w.a.steps[w.first+k]
		s.State, s.StartedAt, s.Tries = Running, it.since, it.tries
		it.through = s.ConnectionID
		if conn := w.a.conns[s.ConnectionID]; conn.VendorAccount != nil {
			a.pacers = w.pacers(conn)
		}
		if err := a.act(ctx, &s, w.a.plan.steps[w.first+k]); err != nil {
			return w.judge(ctx, it, a, &s, err)
		}
	}
	it.state, it.kind, it.message, it.requestID = itemLinked, "", "", ""
	if a.made() {
		it.state = itemCreated
	}
	return w.keep(ctx, it, a)
}

// linked tells whether a record had its counterpart, as far as its steps make one, before this run. Whoever takes the run up
// again sees the same.
func (w *passage) linked(it *item) bool {
	for k := range w.plan.items {
		s, p := w.a.steps[w.first+k], w.a.plan.steps[w.first+k]
		if p.match == nil {
			continue
		}
		if o := it.slot(s.VendorAccountID, p.action.Entity); o != nil && o.ExternalID != "" && o.RunID != w.a.run.ID {
			return true
		}
	}
	return false
}

// made tells whether this run made a record for the item.
func (a *Activation) made() bool {
	for _, ef := range a.effects {
		if ef.Kind != string(connectors.CreateEffect) || ef.State != EffectConfirmed || ef.RunID != a.run.ID {
			continue
		}
		if ref, err := refOf(ef); err == nil && !ref.Adopted {
			return true
		}
	}
	return false
}

// keep commits what was made for a record; what merely changed one is noted with the page, since doing it again would
// change nothing.
func (w *passage) keep(ctx context.Context, it *item, a *Activation) error {
	if slices.ContainsFunc(a.settled, func(ef *db.Effect) bool { return ef.Kind != string(connectors.SetEffect) }) {
		if err := a.commit(ctx); err != nil {
			return err
		}
	}
	it.settled = append(it.settled, a.settled...)
	if a.run.State == Cancelling {
		w.cancelling.Store(true)
	}
	return nil
}

// judge says what an error means for a record, or answers it when it means that the run cannot go on.
func (w *passage) judge(ctx context.Context, it *item, a *Activation, s *db.Step, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if errors.Is(err, errFenced) {
		return err
	}
	if kerr := w.keep(ctx, it, a); kerr != nil {
		return kerr
	}
	if errors.Is(err, errCancelled) {
		return err
	}
	t := a.timing(s.Key)
	v := t.judge(err, it.tries)
	if v.state == Failed && a.unsettledIn(s.Key) {
		v = t.keepLooking(v)
	}
	switch {
	case v.reason == ForReauth, v.reason == ForRate:
		return err
	case v.state == Failed, v.reason == ForPerson:
		it.state = itemFailed
	default:
		it.state, it.wait = itemPending, max(v.wait, 0)
		if !v.free {
			it.tries++
		}
	}
	if v.kind == "" && !v.free {
		w.a.e.Log.ErrorContext(ctx, "a record failed on our side", "run", a.run.ID, "step", s.Key, "record", it.entry.Record.ID, "error", err)
	}
	it.kind, it.message = v.kind, v.message
	return nil
}

// prepare finds out what is known of records already, and gives each that goes on a mapping.
func (w *passage) prepare(ctx context.Context, items []*item) error {
	a, from := w.a, w.a.conns[w.step.ConnectionID]
	open := slices.DeleteFunc(slices.Clone(items), func(it *item) bool { return it.state != "" })
	if len(open) == 0 {
		return nil
	}
	entity, ids := open[0].entry.Record.Entity, make([]string, len(open))
	for i, it := range open {
		ids[i] = it.entry.Record.ID
	}
	slots, err := db.SlotsOfRecords(ctx, a.e.DB, a.run.OrgID, from.VendorAccountID, entity, ids)
	if err != nil {
		return err
	}
	for _, it := range open {
		it.slots = slots[it.entry.Record.ID]
	}
	if err := w.recognise(ctx, open); err != nil {
		return err
	}
	var want []db.Slot
	var mappings []db.ID
	for _, it := range open {
		if it.state == "" {
			want = append(want, db.Slot{OrgID: a.run.OrgID, VendorAccountID: from.VendorAccountID, Entity: entity, ExternalID: it.entry.Record.ID, Name: text(it.entry.Record.Name)})
		}
	}
	var of map[db.Record]db.Mapped
	if err := a.e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		of, err = db.MapRecords(ctx, tx, want...)
		return err
	}); err != nil {
		return err
	}
	for _, it := range open {
		it.mapping = of[db.Record{OrgID: a.run.OrgID, VendorAccountID: from.VendorAccountID, Entity: entity, ExternalID: it.entry.Record.ID}].ID
		if it.mapping != (db.ID{}) {
			mappings = append(mappings, it.mapping)
		}
	}
	effects, err := db.ItemEffects(ctx, a.e.DB, a.run.OrgID, a.run.ID, mappings)
	if err != nil {
		return err
	}
	by := map[db.ID][]db.Effect{}
	for _, ef := range effects {
		by[ef.MappingID] = append(by[ef.MappingID], ef)
	}
	for _, it := range open {
		it.effects = by[it.mapping]
	}
	return nil
}
