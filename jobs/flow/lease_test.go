package flow_test

import (
	"context"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/db"
	"tieline/jobs/flow"
)

// queued makes a run that nobody works on yet.
func (w *world) queued() db.Run {
	w.t.Helper()
	w.person("Acme")
	w.until("the event", "SELECT count(*) > 0 FROM events WHERE trigger = 'customer.created'")
	var ids []db.ID
	must(w.t, w.db.NewRaw("SELECT id FROM events WHERE dispatched_at IS NULL").Scan(w.t.Context(), &ids))
	for _, id := range ids {
		must(w.t, w.engine.Dispatch(w.t.Context(), w.org, id))
		must(w.t, w.engine.Dispatch(w.t.Context(), w.org, id)) // River may call it twice
	}
	var r db.Run
	must(w.t, w.db.NewSelect().Model(&r).Scan(w.t.Context()))
	return r
}

// TestFence: a worker that lost its lease while it slept is turned away, before it writes to a vendor and after.
func TestFence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	r := w.queued()
	zombie, err := w.engine.Lease(t.Context(), w.org, r.ID) // it sleeps: nothing renews its lease
	must(t, err)
	if zombie == nil {
		t.Fatal("a queued run could not be leased")
	}
	if again, err := w.engine.Lease(t.Context(), w.org, r.ID); err != nil || again != nil {
		t.Fatalf("leased twice at once: %v", err)
	}
	w.until("the end of the lease", "SELECT lease_until < clock_timestamp() FROM runs")
	other, ctx, release := w.lease(r.ID)
	if _, err := w.engine.Advance(context.Background(), zombie); !flow.Lost(err) {
		t.Errorf("the zombie went on: %v", err)
	}
	if n := w.togai.Count("POST", "/customers"); n != 0 {
		t.Errorf("the zombie sent %d writes", n)
	}
	next, err := w.engine.Advance(ctx, other)
	must(t, err)
	release()
	must(t, w.engine.Finish(t.Context(), other, next, nil))
	if err := w.engine.Finish(t.Context(), zombie, next, nil); !flow.Lost(err) {
		t.Errorf("the zombie finished: %v", err)
	}
	w.whole(1)
}

// TestRenew: a lease outlives a call that takes longer, as long as its worker lives.
func TestRenew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.engine.Timing.Lease = 500 * time.Millisecond
	w.togai.OnRequest(func(stage, method, path string) {
		if stage == "committed" && method == "POST" {
			w.until("two renewals", "SELECT lease_until > started_at + interval '1500 milliseconds' FROM runs")
		}
	})
	w.work()
	w.person("Acme")
	w.settled(1)
	w.whole(1)
	if n := w.count("SELECT count(*) FROM runs WHERE fence = 1"); n != 1 {
		t.Error("the run changed hands")
	}
}

// TestYield: a run handed back is taken up at once.
func TestYield(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	r := w.queued()
	a, err := w.engine.Lease(t.Context(), w.org, r.ID)
	must(t, err)
	must(t, w.engine.Yield(t.Context(), a))
	if again, err := w.engine.Lease(t.Context(), w.org, r.ID); err != nil || again == nil {
		t.Errorf("a run that was handed back could not be leased: %v", err)
	}
}

// TestRate: over budget a run waits with the start it was given, which is not drawn again, and the vendor is never
// called faster than its budget.
func TestRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const perSecond = 20
	apps := w.engine.Apps.Apps()
	for i := range apps {
		if apps[i].Key == "togai" {
			apps[i].Rate = func(connectors.Mode) connectors.Rate { return connectors.Rate{PerSecond: perSecond, Burst: 1} }
		}
	}
	registry, err := connectors.NewRegistry(apps...)
	must(t, err)
	w.engine.Apps, w.engine.Timing.Pause = registry, time.Millisecond
	w.link("stripe.customers_in", nil)
	for _, name := range []string{"Anna", "Berta", "Clara", "Dora", "Emil", "Frieda"} {
		w.person(name)
	}
	w.until("six events", "SELECT count(*) = 6 FROM events WHERE trigger = 'customer.created'")
	began := time.Now()
	w.work()
	w.settled(6)
	w.whole(6)
	if w.count("SELECT count(*) FROM changes WHERE waiting_reason = 'RATE' AND wake_at IS NOT NULL") == 0 {
		t.Error("no run told when it expects to start")
	}
	calls := w.count("SELECT count(*) FROM attempts a JOIN steps s ON s.run_id = a.run_id AND s.key = a.step WHERE s.app = 'togai'")
	if least := time.Duration(calls-1) * time.Second / perSecond; time.Since(began) < least {
		t.Errorf("%d calls within %s, budget allows that in %s", calls, time.Since(began), least)
	}
	// A start drawn twice would leave gaps: what was drawn is what was called, but for the checks of the connection.
	if w.count("SELECT count(*) FROM steps WHERE reserved_at IS NOT NULL") != 0 {
		t.Error("a reserved start was never used")
	}
}
