package flow_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tieline/db"
	"tieline/jobs/flow"
)

// replay asks for a replay and does it, by two workers at once.
func (w *world) replay(f db.ReplayFilter) db.Replay {
	w.t.Helper()
	var rp db.Replay
	must(w.t, w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		rp, err = w.engine.StartReplay(ctx, tx, w.org, f, nil)
		return err
	}))
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := w.engine.Replay(context.Background(), w.org, rp.ID); err != nil {
				w.t.Error(err)
			}
		})
	}
	both.Wait()
	of, err := db.ReplaysOf(w.t.Context(), w.db, w.org, []db.ID{rp.ID})
	must(w.t, err)
	return of[rp.ID]
}

// TestReplay: a hundred runs that are made again, and again, make no second record of anything.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link("stripe.customers_in", nil)
	w.work()
	const n = 110 // three transactions
	for i := range n {
		w.person(fmt.Sprint("Person ", i))
	}
	w.settled(n)
	rp := w.replay(db.ReplayFilter{RunFilter: db.RunFilter{Link: l.ID}})
	if rp.Matched != n || rp.Made != n || string(rp.Skips) != "{}" || rp.FinishedAt.IsZero() {
		t.Fatalf("%+v %s", rp, rp.Skips)
	}
	w.settled(2 * n)
	w.whole(n)
	if got := w.togai.Count("POST", "/customers"); got != n {
		t.Errorf("%d customers were sent", got)
	}
	for what, query := range map[string]string{
		"replays that did not succeed":           "SELECT count(*) FROM runs WHERE replay = 1 AND state <> 'SUCCEEDED'",
		"steps that made a record again":         "SELECT count(*) FROM steps s JOIN runs r ON r.id = s.run_id WHERE r.replay = 1 AND s.key = 'account' AND s.state <> 'ADOPTED'",
		"replays beyond the first":               "SELECT count(*) FROM runs WHERE replay > 1",
		"events with another outcome than a run": "SELECT count(*) FROM event_outcomes WHERE outcome <> 'RUN'",
	} {
		if got := w.count(query); got != 0 {
			t.Errorf("%d %s", got, what)
		}
	}
	// Of a change that was replayed the newest run counts.
	again := w.replay(db.ReplayFilter{RunFilter: db.RunFilter{Link: l.ID}})
	if again.Matched != n || again.Made != n {
		t.Errorf("again: %+v", again)
	}
	w.settled(3 * n)
	w.whole(n)
}

// TestReplayCancelled: a replay that is cancelled makes no more runs, and those that it has made come to their end.
func TestReplayCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.work()
	const n = 52 // two more than are made in one transaction
	for i := range n {
		w.person(fmt.Sprint("Person ", i))
	}
	w.settled(n)
	w.rest()
	w.engine.Timing.Turn = time.Nanosecond // a turn makes as many as one transaction does
	start := func() (rp db.Replay) {
		must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
			rp, err = w.engine.StartReplay(ctx, tx, w.org, db.ReplayFilter{RunFilter: db.RunFilter{State: flow.Succeeded}}, nil)
			return err
		}))
		return rp
	}
	cancel := func(id db.ID) error {
		return w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error { return w.engine.CancelReplay(ctx, tx, w.org, id) })
	}
	rp := start()
	must(t, w.engine.Replay(t.Context(), w.org, rp.ID))
	must(t, cancel(rp.ID))
	must(t, cancel(rp.ID))
	must(t, w.engine.Replay(t.Context(), w.org, rp.ID))
	now, err := db.ReplaysOf(t.Context(), w.db, w.org, []db.ID{rp.ID})
	must(t, err)
	if got := now[rp.ID]; !got.Cancelled || got.FinishedAt.IsZero() || !got.DueAt.IsZero() || got.Made != n-2 {
		t.Errorf("%+v", got)
	}
	if got := w.count("SELECT count(*) FROM runs WHERE replay = 1"); got != n-2 {
		t.Errorf("%d runs were made", got)
	}
	whole := start()
	for range 3 {
		must(t, w.engine.Replay(t.Context(), w.org, whole.ID))
	}
	if got := problemOf(cancel(whole.ID)); got != "id WRONG_STATE" {
		t.Errorf("a finished replay: %s", got)
	}
	if err := cancel(db.NewID()); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("no replay: %v", err)
	}
}

// TestReplayMended: what failed is made again with the link as it is now, and what has no place any more is told.
func TestReplayMended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link("stripe.customers_in", nil)
	w.work()
	_, err := w.stripe.First().CreateCustomer(map[string]any{"name": "No mail"})
	must(t, err)
	if r := w.settled(1)[0]; r.State != flow.Failed {
		t.Fatalf("%s", r.State)
	}
	in := flow.LinkChange{Params: map[string]any{"emailWhenMissing": "nobody@acme.test"}}
	if _, err := w.engine.UpdateLink(t.Context(), w.org, l.ID, in, false, w, uncommitted); err != nil {
		t.Fatal(err)
	}
	rp := w.replay(db.ReplayFilter{RunFilter: db.RunFilter{State: flow.Failed}})
	if rp.Made != 1 {
		t.Fatalf("%+v %s", rp, rp.Skips)
	}
	if r := w.settled(2)[1]; r.State != flow.Succeeded || r.Replay != 1 {
		w.dump()
		t.Errorf("%s %d: %s", r.State, r.Replay, r.Error)
	}
	w.whole(1)
	must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := w.engine.DeleteLink(ctx, tx, w.org, l.ID)
		return err
	}))
	if rp := w.replay(db.ReplayFilter{RunFilter: db.RunFilter{Link: l.ID}}); rp.Made != 0 || !strings.Contains(string(rp.Skips), "deleted") {
		t.Errorf("%+v %s", rp, rp.Skips)
	}
	err = w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := w.engine.StartReplay(ctx, tx, w.org, db.ReplayFilter{RunFilter: db.RunFilter{Link: l.ID}}, new(int32(7)))
		return err
	})
	if got := problemOf(err); got != "expected WRONG_STATE" || !strings.Contains(err.Error(), "1 runs match now, not 7") {
		t.Errorf("another number than expected: %v", err)
	}
}
