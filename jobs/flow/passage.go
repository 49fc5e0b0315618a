package flow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tieline/connectors"
	"tieline/db"
)

const (
	itemsAtOnce = 4           // records worked on side by side; each may want a connection of the pool
	tellEvery   = time.Second // progress is told no more often
	leftAtOnce  = 50          // records taken up again at once
)

// counts are how many records of a run came to what.
type counts struct {
	Listed             int `json:"listed"`
	Created            int `json:"created"`
	AlreadyLinked      int `json:"alreadyLinked"`
	PossibleDuplicates int `json:"possibleDuplicates"`
	Failed             int `json:"failed"`
}

// place is where a passage stands. It is saved after each page, so that whoever goes on begins with the page that was at hand.
type place struct {
	Known  int    `json:"known"`          // lists of the other side that are read whole
	List   string `json:"list,omitempty"` // where the next of them goes on
	At     string `json:"at,omitempty"`   // the cursor of the list that is walked through
	Listed bool   `json:"listed"`         // all pages are through; what is left is in run_items
	Counts counts `json:"counts"`         // of pages that are through
}

// passage is a run on its way through what one of its steps lists.
type passage struct {
	a       *Activation
	step    *db.Step
	plan    planStep
	first   int // index of the first step that is done for each record
	in      []byte
	at      place
	conn    connectors.Conn
	through db.ID // the connection that what stopped it came through
	told    time.Time
	until   time.Time
	moved   bool // it stands elsewhere than at first: whoever has a turn gets on by a page at least

	cancelling atomic.Bool // somebody has seen that the run is to be cancelled
}

// errTurn says that others have their turn now.
var errTurn = errors.New("others have their turn")

// pass takes the records that step i lists through the steps that are done for each. It answers where the run goes when that
// is not to the step after them.
func (a *Activation) pass(ctx context.Context, i int) (*Next, error) {
	now := time.Now()
	w := &passage{a: a, step: &a.steps[i], plan: a.plan.steps[i], first: i + 1, told: now, until: now.Add(a.e.timing().Turn), through: a.steps[i].ConnectionID}
	err := w.run(ctx)
	if errors.Is(err, errTurn) {
		return &Next{state: Queued}, nil
	}
	if err != nil {
		return a.stopped(ctx, w.stoppedAt(), w.through, err)
	}
	for k := i + w.plan.items; k >= i; k-- {
		s := &a.steps[k]
		if !stepFinal(s.State) {
			a.close(s, Succeeded, "")
		}
		if k > i {
			a.done = append(a.done, s)
		}
	}
	return nil, nil
}

func (w *passage) run(ctx context.Context) error {
	skip, err := w.begin(ctx)
	if err != nil || skip {
		return err
	}
	if w.a.run.State == Cancelling {
		return w.settle(ctx)
	}
	for _, phase := range []func(context.Context) error{w.know, w.pages, w.left, w.end} {
		if err := phase(ctx); errors.Is(err, errCancelled) {
			return w.settle(ctx)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// begin makes the list ready to be read. skip says that the step's condition does not hold.
func (w *passage) begin(ctx context.Context) (skip bool, err error) {
	a, s := w.a, w.step
	conn, ok := a.conns[s.ConnectionID]
	if !ok || !conn.DeletedAt.IsZero() {
		return false, connectors.Errorf(connectors.Invalid, "the connection of this step was deleted")
	}
	if s.StartedAt.IsZero() {
		s.StartedAt = time.Now()
	}
	if w.plan.when != nil {
		if yes, err := w.plan.when.Eval(ctx, a.env()); err != nil {
			return false, err
		} else if !yes {
			for k := range w.plan.items + 1 {
				a.close(&a.steps[w.first-1+k], Skipped, "Its condition does not hold.")
			}
			return true, nil
		}
	}
	in, err := w.plan.input.Render(ctx, a.env())
	if err != nil {
		return false, err
	}
	if w.in, err = storable(in); err != nil {
		return false, err
	}
	s.Input, s.Redacted = shown(w.in, func(text string) string { return text }, a.redact)
	if bad := w.plan.action.Input.Validate(in); len(bad) > 0 {
		return false, connectors.Errorf(connectors.Invalid, "%s: %s", strings.Join(bad[0].Path, "."), bad[0].Message)
	}
	if len(s.Walk) > 0 {
		if err := json.Unmarshal(s.Walk, &w.at); err != nil {
			return false, err
		}
	}
	if w.conn, err = w.open(s, conn); err != nil {
		return false, err
	}
	return false, w.show(ctx)
}

// show lets the steps be seen to be at work.
func (w *passage) show(ctx context.Context) error {
	a := w.a
	for k := range w.plan.items + 1 {
		x := &a.steps[w.first-1+k]
		if x.State == Running || stepFinal(x.State) {
			continue
		}
		x.State, x.WaitingReason, x.WakeAt = Running, "", time.Time{}
		if x.StartedAt.IsZero() {
			x.StartedAt = w.step.StartedAt
		}
		a.done = append(a.done, x)
	}
	if len(a.done) > 0 {
		if err := a.commit(ctx); err != nil {
			return err
		}
	}
	if len(a.run.Progress) > 0 {
		return nil
	}
	return w.save(ctx, counts{}, false, nil)
}

// stoppedAt is the step that stopped the passage: the one whose connection was used.
func (w *passage) stoppedAt() *db.Step {
	for k := range w.plan.items {
		if s := &w.a.steps[w.first+k]; w.through != w.step.ConnectionID && s.ConnectionID == w.through {
			return s
		}
	}
	return w.step
}

// open makes a connection ready for reading lists.
func (w *passage) open(s *db.Step, conn db.Connection) (connectors.Conn, error) {
	if conn.State == ConnNeedsReauth {
		return connectors.Conn{}, &errWait{reason: ForReauth, for_: -1, why: "the connection's credentials do not work; repair it and the run goes on"}
	}
	j := w.a.journal(s, conn)
	j.quiet = true
	return w.a.e.open(conn, j)
}

// save commits where the walk stands, with what more adds, under the run's fence. shown is what people see of it.
func (w *passage) save(ctx context.Context, shown counts, tell bool, more func(ctx context.Context, tx db.Tx) error) error {
	a := w.a
	at, err := json.Marshal(w.at)
	if err != nil {
		return err
	}
	if a.run.Progress, err = json.Marshal(shown); err != nil {
		return err
	}
	a.run.FailedItems = shown.Failed
	err = a.e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		err := db.SaveWalk(ctx, tx, db.Walk{Run: &a.run, Step: w.step.Key, At: at, Tell: tell})
		if errors.Is(err, db.ErrNotFound) {
			return errFenced
		}
		if err != nil || more == nil {
			return err
		}
		return more(ctx, tx)
	})
	if err != nil {
		return err
	}
	w.moved = w.moved || len(w.step.Walk) > 0 && !bytes.Equal(w.step.Walk, at)
	w.step.Walk = at
	if a.run.State == Cancelling {
		w.cancelling.Store(true)
	}
	if tell {
		w.told = time.Now()
	}
	return nil
}

// due tells whether progress may be told again.
func (w *passage) due() bool { return time.Since(w.told) >= tellEvery }

// stop answers what ends the walk between two pages: the run is being cancelled, or others have their turn.
func (w *passage) stop(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case w.cancelling.Load() || w.a.run.State == Cancelling:
		return errCancelled
	case w.moved && time.Now().After(w.until):
		return errTurn
	}
	return nil
}

// pages takes the list's pages, one after another, and each page's records together.
func (w *passage) pages(ctx context.Context) error {
	for !w.at.Listed {
		if err := w.stop(ctx); err != nil {
			return err
		}
		w.through = w.step.ConnectionID
		page, err := w.plan.action.Walk.Page(ctx, w.conn, w.in, w.at.At)
		if err != nil {
			return err
		}
		items := make([]*item, len(page.Entries))
		for i, e := range page.Entries {
			items[i] = &item{entry: e, since: time.Now()}
		}
		next := w.at
		next.At, next.Listed = page.Cursor, !page.More
		next.Counts.Listed += len(items)
		if err := w.take(ctx, items, next); err != nil {
			return err
		}
		if err := w.futile(items); err != nil {
			return err
		}
	}
	return nil
}

// futile stops the walk where a whole page came to nothing: going on would bring the same for every page.
func (w *passage) futile(items []*item) error {
	tried, reason := 0, ""
	for _, it := range items {
		switch {
		case it.state == itemPending, it.state == itemFailed && it.kind == connectors.Forbidden:
			tried, reason = tried+1, it.message
			if it.kind == connectors.Forbidden {
				w.through = it.through
			}
		case it.state != itemDuplicate:
			w.step.Tries = 0
			return nil
		}
	}
	switch {
	case tried == 0:
		return nil
	case items[0].kind == connectors.Forbidden:
		return connectors.Errorf(connectors.Forbidden, "%s", reason)
	}
	w.step.Tries++
	return &errWait{reason: ForRetry, for_: w.a.e.timing().backoff(w.step.Tries), why: "no record of the last page could be dealt with: " + reason}
}

// left takes up again what could not be dealt with at once, until nothing waits any more.
func (w *passage) left(ctx context.Context) error {
	for {
		if err := w.stop(ctx); err != nil {
			return err
		}
		due, next, err := db.PendingItems(ctx, w.a.e.DB, w.a.run.OrgID, w.a.run.ID, w.step.Key, leftAtOnce)
		if err != nil {
			return err
		}
		if len(due) == 0 && next.IsZero() {
			return nil
		}
		if len(due) == 0 {
			return &errWait{reason: ForRetry, for_: max(time.Until(next), w.a.e.timing().Retry), why: "some records are tried again then"}
		}
		items := make([]*item, len(due))
		for i, row := range due {
			items[i] = &item{row: &due[i], tries: row.Tries, since: row.CreatedAt, entry: connectors.Entry{Record: connectors.Subject{Entity: row.Entity, ID: row.Key, Name: row.Name}}}
		}
		if err := w.take(ctx, items, w.at); err != nil {
			return err
		}
	}
}

// end forgets what the run knew of the other side. What failed shows, and can be taken up again.
func (w *passage) end(ctx context.Context) (err error) {
	w.at.Known = 0
	if w.step.Output, err = json.Marshal(w.at.Counts); err != nil {
		return err
	}
	return w.save(ctx, w.at.Counts, false, func(ctx context.Context, tx db.Tx) error { return db.DropKnown(ctx, tx, w.a.run.OrgID, w.a.run.ID) })
}

// settle finds out what became of the writes that nobody knows the outcome of, for a run that is being cancelled, and ends
// it then.
func (w *passage) settle(ctx context.Context) error {
	a := w.a
	for try := 0; ; try++ {
		open, err := db.RunEffects(ctx, a.e.DB, a.run.OrgID, a.run.ID)
		if err != nil {
			return err
		}
		var mappings []db.ID
		for _, ef := range open {
			if (ef.State == EffectSent || ef.State == EffectUnknown) && a.plan.of(ef.Step, w.step.Key) {
				mappings = append(mappings, ef.MappingID)
			}
		}
		if len(mappings) == 0 {
			for key, ef := range a.effects {
				if a.plan.of(ef.Step, w.step.Key) {
					delete(a.effects, key)
				}
			}
			return errCancelled
		}
		if try > 0 {
			return &errWait{reason: ForRetry, for_: a.e.timing().Retry, why: "what became of a write is looked up before the run is cancelled"}
		}
		records, err := db.RecordsOf(ctx, a.e.DB, a.run.OrgID, a.conns[w.step.ConnectionID].VendorAccountID, w.plan.action.Entity, mappings)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(records, leftAtOnce) {
			items := make([]*item, len(part))
			for i, id := range part {
				items[i] = &item{row: &db.RunItem{Key: id}, settles: true, since: time.Now(), entry: connectors.Entry{Record: connectors.Subject{Entity: w.plan.action.Entity, ID: id}}}
			}
			if err := w.work(ctx, items, nil); err != nil && !errors.Is(err, errCancelled) {
				return err
			}
		}
	}
}

// know reads what the other side holds, each list once: a record that is there already is known by it.
func (w *passage) know(ctx context.Context) error {
	lists, err := w.lists(ctx)
	if err != nil {
		return err
	}
	for w.at.Known < len(lists) {
		if err := w.stop(ctx); err != nil {
			return err
		}
		l := lists[w.at.Known]
		w.through = l.conn.ID
		c, err := w.open(w.step, l.conn)
		if err != nil {
			return err
		}
		page, err := l.action.Walk.Page(ctx, c, []byte("{}"), w.at.List)
		if err != nil {
			return fmt.Errorf("reading what is there already: %w", err)
		}
		known := make([]db.Known, len(page.Entries))
		for i, e := range page.Entries {
			known[i] = db.Known{Entity: e.Record.Entity, ExternalID: e.Record.ID, ParentID: e.Parent, Email: db.HashEmail(e.Email)}
		}
		if w.at.List = page.Cursor; !page.More {
			w.at.Known, w.at.List = w.at.Known+1, ""
		}
		if err := w.save(ctx, w.shown(), false, func(ctx context.Context, tx db.Tx) error {
			return db.KeepKnown(ctx, tx, w.a.run.OrgID, w.a.run.ID, l.conn.VendorAccountID, known)
		}); err != nil {
			return err
		}
	}
	return nil
}

// shown is the progress that people have been told of.
func (w *passage) shown() counts {
	var c counts
	_ = json.Unmarshal(w.a.run.Progress, &c) // we wrote it
	return c
}

// knownList is a list that is read whole.
type knownList struct {
	conn   db.Connection
	action connectors.Action
}

// lists are those that records are matched with, and the list itself where an e-mail address must be unique on both sides.
func (w *passage) lists(ctx context.Context) ([]knownList, error) {
	var out []knownList
	for k := range w.plan.items {
		p := w.a.plan.steps[w.first+k]
		if p.match == nil {
			continue
		}
		for _, action := range p.match.lists {
			out = append(out, knownList{w.a.conns[w.a.steps[w.first+k].ConnectionID], action})
		}
		if links, err := p.match.links(ctx, w.a.env()); err != nil {
			return nil, err
		} else if links {
			out = append(out, knownList{w.a.conns[w.step.ConnectionID], w.plan.action})
		}
	}
	return out, nil
}
