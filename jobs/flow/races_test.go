package flow_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/sim"
	"tieline/db"
	"tieline/jobs/flow"
)

// tuned changes the world's apps.
func (w *world) tuned(change func(*connectors.Connector)) {
	w.t.Helper()
	apps := w.engine.Apps.Apps()
	for i := range apps {
		change(&apps[i])
	}
	r, err := connectors.NewRegistry(apps...)
	must(w.t, err)
	w.engine.Apps = r
}

// within says how long a call may take.
func (w *world) within(d time.Duration) {
	w.t.Helper()
	w.tuned(func(c *connectors.Connector) { c.Timeout = d })
}

func (w *world) lease(id db.ID) (*flow.Activation, context.Context, func()) {
	w.t.Helper()
	a, err := w.engine.Lease(w.t.Context(), w.org, id)
	must(w.t, err)
	if a == nil {
		w.t.Fatal("the run could not be leased")
	}
	ctx, release := a.Hold(w.t.Context())
	return a, ctx, release
}

func (w *world) finish(a *flow.Activation, n flow.Next) {
	w.t.Helper()
	must(w.t, w.engine.Finish(w.t.Context(), a, n, nil))
}

// told runs an operation on the only run.
func (w *world) told(do func(context.Context, db.Tx, db.ID, db.ID) (db.Run, error)) (r db.Run) {
	w.t.Helper()
	must(w.t, w.db.NewSelect().Model(&r).Limit(1).OrderExpr("id").Scan(w.t.Context()))
	must(w.t, w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		r, err = do(ctx, tx, w.org, r.ID)
		return err
	}))
	return r
}

func (w *world) account(id string) {
	w.t.Helper()
	_, err := w.togai.CreateAccount(map[string]any{"id": id, "name": "Acme " + id, "primaryEmail": id + "@acme.test"})
	must(w.t, err)
}

// TestBacklogMovesOn: a queue much longer than a worker may sleep, for steps of several calls, gets shorter at the
// budget's pace.
func TestBacklogMovesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tuned(func(c *connectors.Connector) {
		if c.Key == "togai" {
			c.Rate = func(connectors.Mode) connectors.Rate { return connectors.Rate{PerSecond: 50, Burst: 10} }
		}
	})
	w.engine.Timing.Pause = 50 * time.Millisecond
	w.link("stripe.accounts_out", nil)
	const n = 40
	for i := range n {
		w.account(fmt.Sprintf("acme%d", i))
	}
	w.read()
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	for range 20 {
		w.workers.Go(func() { w.worker(ctx) })
	}
	t.Cleanup(w.rest)
	w.settled(n)
	w.whole(n)
}

// TestCancelIsKept: a cancel between the last look at the run and its end is not overwritten.
func TestCancelIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	r := w.queued()
	w.togai.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: "rate_limit"})
	a, ctx, release := w.lease(r.ID)
	next, err := w.engine.Advance(ctx, a)
	must(t, err)
	release()
	w.told(w.engine.Cancel)
	w.finish(a, next)
	w.work()
	if got := w.settled(1)[0].State; got != flow.Cancelled || len(w.togai.Customers()) != 0 {
		t.Errorf("%s with %d customers", got, len(w.togai.Customers()))
	}
}

// TestCancelBeforeSending: no write starts after a cancel.
func TestCancelBeforeSending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	r := w.queued()
	a, ctx, release := w.lease(r.ID)
	w.told(w.engine.Cancel)
	next, err := w.engine.Advance(ctx, a)
	must(t, err)
	release()
	w.finish(a, next)
	if n := w.togai.Count("POST", "/customers"); n != 0 || w.count("SELECT count(*) FROM runs WHERE state = 'CANCELLED'") != 1 {
		t.Errorf("%d writes after the cancel", n)
	}
	if w.count("SELECT count(*) FROM mapping_slots WHERE external_id IS NULL") != 0 {
		t.Error("a slot stayed claimed")
	}
}

// TestOneLivePerLane: cancelling a run that waits for its lane starts no other beside the live one.
func TestOneLivePerLane(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link("stripe.customers_in", nil)
	for range 3 {
		w.byHand(l.ID, "cus_lane")
	}
	var runs []db.Run
	must(t, w.db.NewSelect().Model(&runs).OrderExpr("id").Scan(t.Context()))
	_, _, release := w.lease(runs[0].ID)
	defer release()
	must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := w.engine.Cancel(ctx, tx, w.org, runs[1].ID)
		return err
	}))
	if n := w.count("SELECT count(*) FROM runs WHERE state IN ('QUEUED', 'RUNNING')"); n != 1 {
		t.Errorf("%d live runs in one lane", n)
	}
}

// byHand starts a link for a customer, as far as its run being queued.
func (w *world) byHand(link db.ID, customer string) {
	w.t.Helper()
	must(w.t, w.engine.Dispatch(w.t.Context(), w.org, w.handed(link, customer)))
}

// handed is the event of a link that was started by hand for a customer.
func (w *world) handed(link db.ID, customer string) db.ID {
	w.t.Helper()
	payload := fmt.Sprintf(`{"event_id":"e","occurred_at":"2026-01-01T00:00:00Z","livemode":false,"customer_id":%q,"name":"Acme","email":"a@acme.test","phone":"","description":"","currency":"","address":{},"metadata":{}}`, customer)
	var ev db.Event
	must(w.t, w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		ev, err = w.engine.TriggerNow(ctx, tx, w.org, link, []byte(payload))
		return err
	}))
	return ev.ID
}

// TestTwoLooksEachTime: every new generation of a write is preceded by two looks, the first after its predecessor can no
// longer be in the air.
func TestTwoLooksEachTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const timeout, settle = 300 * time.Millisecond, 100 * time.Millisecond
	w.tuned(func(c *connectors.Connector) { c.Timeout, c.Settle = timeout, settle })
	w.link("stripe.customers_in", nil)
	var mu sync.Mutex
	var sent []time.Time
	w.togai.OnRequest(func(stage, method, path string) {
		if stage == "arrived" && method == "POST" && path == "/customers" {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, time.Now())
		}
	})
	w.togai.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: "cut_before", Count: 2})
	w.work()
	w.person("Acme")
	w.settled(1)
	w.whole(1)
	if len(sent) != 3 {
		t.Fatalf("sent %d times", len(sent))
	}
	for i := 1; i < len(sent); i++ {
		if d := sent[i].Sub(sent[i-1]); d < timeout+settle {
			t.Errorf("generation %d was sent %s after its predecessor", i, d)
		}
	}
}

// TestUnknownStaysUnknown: a resend that is turned away says nothing of the first send, which had been done.
func TestUnknownStaysUnknown(t *testing.T) {
	t.Parallel()
	for _, f := range []sim.Fault{{Point: "before", Status: 403}, {Point: "before", Status: 400}, {Point: "rate_limit", RetryAfter: time.Second}, {Point: "before", Status: 401}} {
		t.Run(fmt.Sprintf("%s-%d", f.Point, f.Status), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.link("stripe.accounts_out", nil)
			w.hooks.Close() // no event of Stripe's comes to help
			w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/customers", Point: "cut"})
			f.Method, f.Path = "POST", "/v1/customers"
			w.stripe.Fault(f)
			w.work()
			w.account("acme")
			w.read()
			if f.Status == 401 {
				w.until("a parked run", "SELECT count(*) = 1 FROM runs WHERE waiting_reason = 'REAUTH'")
				_, err := w.engine.UpdateConnection(t.Context(), w.org, w.stripeConn.ID, flow.ConnectionInput{Credentials: map[string]string{"api_key": w.stripe.First().Key()}}, uncommitted)
				must(t, err)
			}
			if r := w.settled(1)[0]; r.State != flow.Succeeded {
				w.dump()
				t.Errorf("%s: %s", r.State, r.Error)
			}
			w.whole(1)
			if n := w.count("SELECT count(*) FROM effects WHERE run_id IS NOT NULL AND kind = 'CREATE'"); n != 1 {
				t.Errorf("%d effects for one customer", n)
			}
		})
	}
}

// TestCancelKnowsOfUnknown: cancelling a run whose write may have been done looks first.
func TestCancelKnowsOfUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.accounts_out", nil)
	w.hooks.Close()
	w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/customers", Point: "cut"})
	w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/customers", Point: "rate_limit", RetryAfter: time.Hour})
	w.work()
	w.account("acme")
	w.read()
	w.until("a run that waits", "SELECT count(*) = 1 FROM runs WHERE waiting_reason = 'RATE'")
	_, err := w.db.NewRaw("UPDATE buckets SET tat = '-infinity'").Exec(t.Context())
	must(t, err)
	if r := w.told(w.engine.Cancel); r.State != flow.Cancelling {
		t.Errorf("cancelled at once, as %s", r.State)
	}
	if r := w.settled(1)[0]; r.State != flow.Cancelled {
		t.Errorf("ended as %s", r.State)
	}
	if w.count("SELECT count(*) FROM mapping_slots ms JOIN vendor_accounts va ON va.id = ms.vendor_account_id WHERE va.app = 'stripe' AND ms.external_id IS NOT NULL") != 1 {
		w.dump()
		t.Error("the customer that was made is not linked")
	}
}

// TestRepairWinsOverRefusal: a refusal of the old credentials that comes in late does not park the run for ever.
func TestRepairWinsOverRefusal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	r := w.queued()
	token := w.togai.Token()
	_, err := w.engine.UpdateConnection(t.Context(), w.org, w.togaiConn.ID, flow.ConnectionInput{Credentials: map[string]string{"api_token": token}}, uncommitted)
	must(t, err)
	w.togai.Revoke(token)
	a, ctx, release := w.lease(r.ID)
	next, err := w.engine.Advance(ctx, a)
	must(t, err)
	release()
	_, err = w.engine.UpdateConnection(t.Context(), w.org, w.togaiConn.ID, flow.ConnectionInput{Credentials: map[string]string{"api_token": w.togai.Token()}}, uncommitted)
	must(t, err)
	w.finish(a, next)
	if n := w.count("SELECT count(*) FROM connections WHERE state <> 'ACTIVE'"); n != 0 {
		t.Error("the repaired connection was marked again")
	}
	w.work()
	if r := w.settled(1)[0]; r.State != flow.Succeeded {
		t.Errorf("%s: %s", r.State, r.Error)
	}
}

// TestLooksOutlastOutages: a run does not fail while nobody knows what became of its write, however long looking fails.
func TestLooksOutlastOutages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.engine.Timing.Tries = 3
	w.togai.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: "cut"})
	w.togai.Fault(sim.Fault{Method: "GET", Path: "/customers/*", Point: "before", Status: 503, Count: 8})
	w.work()
	w.person("Acme")
	if r := w.settled(1)[0]; r.State != flow.Succeeded {
		t.Errorf("%s: %s", r.State, r.Error)
	}
	w.whole(1)
}

// TestStrangersRecord: somebody else's customer that names our account, made while our call is in the air, is news and
// not taken for ours.
func TestStrangersRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.link("stripe.accounts_out", nil)
	var once sync.Once
	w.stripe.OnRequest(func(stage, method, path string) {
		if stage != "arrived" || method != "POST" || path != "/v1/customers" {
			return
		}
		once.Do(func() {
			_, err := w.stripe.First().CreateCustomer(map[string]any{"name": "Staging", "email": "x@acme.test", "metadata": map[string]any{"togai_account_id": "acme", "tieline_effect": "tl_01890000000070008000000000"}})
			must(t, err)
			w.until("their event", "SELECT count(*) = 1 FROM events WHERE trigger = 'customer.created' AND dispatched_at IS NOT NULL")
		})
	})
	w.work()
	w.account("acme")
	w.read()
	w.settled(3)
	if n := w.count("SELECT count(*) FROM runs WHERE record_name = 'Staging' AND state = 'SUCCEEDED' AND echo_of IS NULL"); n != 1 {
		w.dump()
		t.Error("somebody else's customer was taken for our own")
	}
	if n := w.count("SELECT count(*) FROM effects e JOIN mapping_slots ms ON ms.effect_id = e.id AND ms.entity = e.entity WHERE ms.external_id IS DISTINCT FROM e.external_id"); n != 0 {
		t.Error("a slot holds another record than its effect made")
	}
}

// TestPersonLooksAgain: what cannot be told apart waits for a person, whose retry looks again.
func TestPersonLooksAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hurried)
	w.link("stripe.customers_in", nil)
	w.togai.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: "before", Status: 409})
	w.togai.Fault(sim.Fault{Method: "GET", Path: "/customers/*", Point: "before", Status: 409, Count: 3})
	w.work()
	w.person("Acme")
	w.until("a run that waits for a person", "SELECT count(*) = 1 FROM runs WHERE waiting_reason = 'PERSON'")
	w.togai.ClearFaults()
	w.told(w.engine.Retry)
	if r := w.settled(1)[0]; r.State != flow.Succeeded {
		w.dump()
		t.Errorf("%s: %s", r.State, r.Error)
	}
	w.whole(1)
}

// TestTwoRegistrations: two requests that register one webhook at once end with one endpoint, and no panic.
func TestTwoRegistrations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.db.NewRaw("UPDATE connections SET webhook_state = 'MISSING', webhook_id = '', webhook_generation = 7 WHERE app = 'stripe'").Exec(t.Context())
	must(t, err)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if _, err := w.engine.TestConnection(context.Background(), w.org, w.stripeConn.ID, uncommitted); err != nil && !strings.Contains(err.Error(), "changed it meanwhile") {
				t.Error(err)
			}
		})
	}
	both.Wait()
	c, err := w.engine.TestConnection(t.Context(), w.org, w.stripeConn.ID, uncommitted)
	if err != nil || c.WebhookState != flow.WebhookRegistered || len(w.stripe.First().All("webhook_endpoint")) != 1 {
		t.Errorf("%s (%s) %v with %d endpoints", c.WebhookState, c.WebhookError, err, len(w.stripe.First().All("webhook_endpoint")))
	}
}

// TestEventOutlivesFaults: a passing fault while an event is dispatched does not make it unreadable.
func TestEventOutlivesFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.person("Acme")
	w.until("the event", "SELECT count(*) = 1 FROM events WHERE trigger = 'customer.created'")
	var id db.ID
	must(t, w.db.NewRaw("SELECT id FROM events WHERE trigger = 'customer.created'").Scan(t.Context(), &id))
	whole := w.engine.Apps
	older, err := connectors.NewRegistry(func() connectors.Connector { g, _ := whole.App("togai"); return g }())
	must(t, err)
	w.engine.Apps = older
	if err := w.engine.Dispatch(t.Context(), w.org, id); err == nil {
		t.Error("a process that does not know the trigger dispatched its event")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = w.engine.Dispatch(ended, w.org, id)
	w.engine.Apps = whole
	w.work()
	w.settled(1)
	w.whole(1)
}
