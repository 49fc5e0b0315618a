package flow_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"tieline/db"
	"tieline/jobs/flow"
)

// blocked runs do while a row is locked by somebody else, who lets it go when do returns.
func (w *world) blocked(table string, id db.ID, do func()) {
	w.t.Helper()
	must(w.t, w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) error {
		if _, err := tx.NewRaw("SELECT FROM "+table+" WHERE id = ? FOR UPDATE", id).Exec(ctx); err != nil {
			return err
		}
		do()
		return nil
	}))
}

// eventually waits until something in this process is so.
func (w *world) eventually(what string, so func() bool) {
	w.t.Helper()
	for end := time.Now().Add(deadline); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// customers makes customers at Stripe, and answers their events.
func (w *world) customers(n int) (ids []db.ID) {
	w.t.Helper()
	for i := range n {
		w.person(fmt.Sprintf("Acme%d", i))
	}
	w.until("the events", "SELECT count(*) = ? FROM events WHERE trigger = 'customer.created'", n)
	must(w.t, w.db.NewRaw("SELECT id FROM events WHERE trigger = 'customer.created' ORDER BY id").Scan(w.t.Context(), &ids))
	return ids
}

// TestOnePageSpoilsNobodyElses: of runs that are written together, one that lost its lease, one whose slot somebody else has
// claimed, one that the database refuses and one whose worker gave up keep the others from nothing, and send nothing.
func TestOnePageSpoilsNobodyElses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.engine.Timing.Lease = time.Minute // nobody takes over here
	const first, fenced, claimed, refused, gone, n = 0, 1, 2, 3, 4, 8
	var runs []*flow.Activation
	for _, id := range w.customers(n) {
		a, err := w.engine.TakeUp(t.Context(), w.org, id)
		must(t, err)
		runs = append(runs, a)
	}
	w.exec("INSERT INTO mapping_slots (org_id, mapping_id, vendor_account_id, entity) VALUES (?, ?, ?, 'account')", w.org, runs[claimed].Run().MappingID, w.togaiConn.VendorAccountID)
	must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := tx.NewRaw("SET LOCAL session_replication_role = replica; DELETE FROM mappings WHERE id = ?", runs[refused].Run().MappingID).Exec(ctx)
		return err
	}))
	errs := make([]error, n)
	var working sync.WaitGroup
	leaving, leave := context.WithCancel(t.Context())
	start := func(i int) {
		working.Go(func() {
			ctx := t.Context()
			if i == gone {
				ctx = leaving
			}
			next, err := w.engine.Advance(ctx, runs[i])
			if err == nil {
				err = w.engine.Finish(ctx, runs[i], next, nil)
			}
			errs[i] = err
		})
	}
	w.blocked("runs", runs[first].Run().ID, func() {
		start(first)
		w.until("the first to wait for its row", "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
		for i := 1; i < n; i++ {
			start(i)
		}
		w.eventually("all to be in line", func() bool { _, pages := w.engine.InLine(); return pages == n-1 })
		w.exec("UPDATE runs SET fence = fence + 1 WHERE id = ?", runs[fenced].Run().ID)
		leave()
		w.eventually("one to leave the line", func() bool { _, pages := w.engine.InLine(); return pages == n-2 })
	})
	working.Wait()
	for i, want := range []string{first: "SUCCEEDED ", fenced: "RUNNING ", claimed: "WAITING DEPENDENCY", refused: "WAITING RETRY", gone: "RUNNING ", 5: "SUCCEEDED ", 6: "SUCCEEDED ", 7: "SUCCEEDED "} {
		var got string
		must(t, w.db.NewRaw("SELECT state || ' ' || coalesce(waiting_reason, '') FROM runs WHERE id = ?", runs[i].Run().ID).Scan(t.Context(), &got))
		lost, cut := i == fenced, i == gone
		if got != want || flow.Lost(errs[i]) != lost || errors.Is(errs[i], context.Canceled) != cut || errs[i] != nil && !lost && !cut {
			t.Errorf("run %d is %q (%v), want %q", i, got, errs[i], want)
		}
		effects := w.count("SELECT count(*) FROM effects WHERE run_id = ?", runs[i].Run().ID)
		if sent := want == "SUCCEEDED "; sent != (effects == 2) || !sent && effects > 0 {
			t.Errorf("run %d has %d effects", i, effects)
		}
	}
	if got := len(w.togai.Customers()); got != n-4 {
		t.Errorf("%d customers at Togai, want %d", got, n-4)
	}
}

// TestOneEventSpoilsNobodyElses: of events that are dispatched together, two of one record, one told twice, one that cannot be
// read, one that is not there and one whose worker gave up keep the others from nothing.
func TestOneEventSpoilsNobodyElses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link("stripe.customers_in", nil)
	const first, same, bad, gone, n = 0, 2, 3, 4, 7
	ids := w.customers(n)
	w.exec("UPDATE event_bodies SET body = (SELECT body FROM event_bodies WHERE event_id = ?), at = at WHERE event_id = ?", ids[1], ids[same])
	w.exec("UPDATE event_bodies SET body = '{' WHERE event_id = ?", ids[bad])
	missing, hand := db.NewID(), []db.ID{w.handed(l.ID, "cus_hand"), w.handed(l.ID, "cus_hand")}
	asked := slices.Concat(ids[1:], []db.ID{ids[5], missing}, hand)
	errs, taken := map[db.ID]error{}, map[db.ID]int{}
	var mu sync.Mutex
	var working sync.WaitGroup
	leaving, leave := context.WithCancel(t.Context())
	start := func(id db.ID) {
		working.Go(func() {
			ctx := t.Context()
			if id == ids[gone] {
				ctx = leaving
			}
			a, err := w.engine.TakeUp(ctx, w.org, id)
			mu.Lock()
			defer mu.Unlock()
			if errs[id] = errors.Join(errs[id], err); a != nil {
				taken[id]++
			}
		})
	}
	w.blocked("events", ids[first], func() {
		start(ids[first])
		w.until("the first to wait for its row", "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
		for _, id := range asked {
			start(id)
		}
		w.eventually("all to be in line", func() bool { events, _ := w.engine.InLine(); return events == len(asked) })
		leave()
		w.eventually("one to leave the line", func() bool { events, _ := w.engine.InLine(); return events == len(asked)-1 })
	})
	working.Wait()
	for i, id := range ids {
		want := 1
		if i == bad || i == gone || i == same || i == 1 {
			want = 0
		}
		if i != same && i != 1 && taken[id] != want || (errs[id] != nil) != (i == gone) {
			t.Errorf("event %d was taken up %d times (%v), want %d", i, taken[id], errs[id], want)
		}
	}
	if taken[ids[1]]+taken[ids[same]] != 1 {
		t.Errorf("of two events of one record, %d began", taken[ids[1]]+taken[ids[same]])
	}
	if taken[hand[0]]+taken[hand[1]] != 1 {
		t.Errorf("of two runs of one lane, %d began", taken[hand[0]]+taken[hand[1]])
	}
	if !errors.Is(errs[missing], db.ErrNotFound) {
		t.Errorf("an event that is not there: %v", errs[missing])
	}
	for what, query := range map[string]string{
		"runs":            "SELECT count(*) - 6 FROM runs",
		"duplicates":      "SELECT count(*) - 1 FROM event_outcomes WHERE outcome = 'DUPLICATE'",
		"unreadable":      "SELECT count(*) - 1 FROM events WHERE error <> ''",
		"not dispatched":  "SELECT count(*) - 1 FROM events WHERE dispatched_at IS NULL",
		"waiting in lane": "SELECT count(*) - 1 FROM runs WHERE waiting_reason = 'LANE'",
	} {
		if got := w.count(query); got != 0 {
			w.dump()
			t.Errorf("%s: %d more than there should be", what, got)
		}
	}
}

// TestRunsAreWrittenTogether: events that come while one is dispatched share the next transaction, and so do runs that have
// something to say while one is written.
func TestRunsAreWrittenTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.engine.Timing.Lease = time.Minute // nobody takes over here
	const n = 8
	ids := w.customers(n)
	runs, waits := make([]*flow.Activation, n), "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
	var working sync.WaitGroup
	take := func(i int) {
		working.Go(func() {
			var err error
			if runs[i], err = w.engine.TakeUp(t.Context(), w.org, ids[i]); err != nil || runs[i] == nil {
				t.Errorf("event %d: %v", i, err)
			}
		})
	}
	w.blocked("events", ids[0], func() {
		take(0)
		w.until("the first to wait for its row", waits)
		for i := 1; i < n; i++ {
			take(i)
		}
		w.eventually("all to be in line", func() bool { events, _ := w.engine.InLine(); return events == n-1 })
	})
	working.Wait()
	advance := func(i int) {
		working.Go(func() {
			next, err := w.engine.Advance(t.Context(), runs[i])
			if err == nil {
				err = w.engine.Finish(t.Context(), runs[i], next, nil)
			}
			if err != nil {
				t.Errorf("run %d: %v", i, err)
			}
		})
	}
	w.blocked("runs", runs[0].Run().ID, func() {
		advance(0)
		w.until("the first to wait for its row", waits)
		for i := 1; i < n; i++ {
			advance(i)
		}
		w.eventually("all to be in line", func() bool { _, pages := w.engine.InLine(); return pages == n-1 })
	})
	working.Wait()
	for what, query := range map[string]string{
		"dispatched": "SELECT count(DISTINCT xmin::text) FROM event_outcomes WHERE outcome = 'RUN'",
		"first sent": "SELECT count(DISTINCT xmin::text) FROM changes WHERE step = 'account' AND step_state = 'RUNNING'",
	} {
		if got := w.count(query); got != 2 {
			t.Errorf("%s in %d transactions, want that of the first and that of all others", what, got)
		}
	}
	w.whole(n)
}

// TestTwoProcessesShare: two processes that are given the same events in any order, many at once, dispatch each once and
// write each record once.
func TestTwoProcessesShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	const n = 30
	ids := w.customers(n)
	two := []*flow.Engine{w.engine, w.engineWith(w.engine.Keys)}
	var working sync.WaitGroup
	for _, e := range two {
		for _, i := range rand.Perm(n) {
			working.Go(func() {
				a, err := e.TakeUp(t.Context(), w.org, ids[i])
				if err != nil {
					t.Errorf("event %d: %v", i, err)
				}
				if a == nil {
					return
				}
				leased, release := a.Hold(t.Context())
				defer release()
				next, err := e.Advance(leased, a)
				if err == nil {
					err = e.Finish(t.Context(), a, next, nil)
				}
				if err != nil {
					t.Errorf("run of event %d: %v", i, err)
				}
			})
		}
	}
	working.Wait()
	w.work()
	if runs := w.settled(n); len(runs) != n {
		t.Errorf("%d runs, want %d", len(runs), n)
	}
	w.whole(n)
}
