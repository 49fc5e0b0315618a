package flow_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
	"tieline/db"
	"tieline/jobs/flow"
)

func (w *world) person(name string) string {
	w.t.Helper()
	c, err := w.stripe.First().CreateCustomer(map[string]any{"name": name, "email": strings.ToLower(name) + "@acme.test"})
	must(w.t, err)
	return c["id"].(string)
}

// until waits for a query to answer true.
func (w *world) until(what, query string, args ...any) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), deadline)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		var ok bool
		must(w.t, w.db.NewRaw(query, args...).Scan(w.t.Context(), &ok))
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			w.dump()
			w.t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

func (w *world) count(query string, args ...any) int {
	w.t.Helper()
	var n int
	must(w.t, w.db.NewRaw(query, args...).Scan(w.t.Context(), &n))
	return n
}

// TestEchoBeforeAnswer: Stripe tells of the customer before it answers the call that makes it.
func TestEchoBeforeAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.link("stripe.accounts_out", nil)
	w.stripe.OnRequest(func(stage, method, path string) {
		if stage == "replying" && method == "POST" && path == "/v1/customers" {
			w.until("the echo", "SELECT count(*) = 1 FROM events WHERE trigger = 'customer.created' AND echo_of IS NOT NULL AND dispatched_at IS NOT NULL")
		}
	})
	w.work()
	_, err := w.togai.CreateAccount(map[string]any{"id": "acme", "name": "Acme", "primaryEmail": "billing@acme.test"})
	must(t, err)
	w.read()
	checkEnds(t, w, w.settled(2))
	w.whole(1)
	if n := w.count("SELECT count(*) FROM runs r JOIN effects e ON e.id = r.echo_of JOIN runs cause ON cause.id = e.run_id WHERE r.state = 'SUPPRESSED' AND cause.state = 'SUCCEEDED'"); n != 1 {
		t.Errorf("the suppressed run does not lead to its cause")
	}
}

// TestEchoSettles: the answer is lost and the vendor repeats nothing, but its event tells; nothing is sent again.
func TestEchoSettles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.link("stripe.accounts_out", nil)
	w.togai.Target(w.hooks.URL+"/webhooks/togai/x", "")
	w.togai.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: "cut"})
	w.work()
	w.person("Acme")
	checkEnds(t, w, w.settled(2))
	w.whole(1)
	if n := w.togai.Count("POST", "/customers"); n != 1 {
		t.Errorf("sent %d times", n)
	}
}

// TestTwoKeys: two keys of one Stripe account are two connections and one vendor account; each hears of the customer,
// and one counterpart is made.
func TestTwoKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.stripeConn
	l1 := w.link("stripe.customers_in", nil)
	w.stripeConn = w.connect("stripe", "Second key", map[string]string{"api_key": w.stripe.First().Key()})
	if first.VendorAccountID != w.stripeConn.VendorAccountID {
		t.Fatal("two keys of one account open two vendor accounts")
	}
	var f db.FlowLink
	must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		f, err = w.engine.CreateLink(ctx, tx, w.org, flow.LinkInput{FlowID: l1.FlowID, Name: "second", Connections: map[string]db.ID{"trigger": w.stripeConn.ID, "account": w.togaiConn.ID, "note": w.stripeConn.ID}})
		return err
	}))
	_, err := w.engine.EnableLink(t.Context(), w.org, f.ID, w, uncommitted)
	must(t, err)
	id := w.person("Acme")
	w.until("the first delivery", "SELECT count(*) >= 1 FROM events WHERE trigger = 'customer.created'")
	// The harness hears one connection; give the event to the other one too, as its endpoint would.
	_, err = w.db.NewRaw(`WITH e AS (INSERT INTO events (org_id, id, connection_id, trigger, dedupe_key, source, vendor_type, vendor_at, received_at)
		SELECT org_id, ?, CASE connection_id WHEN ? THEN ?::uuid ELSE ?::uuid END, trigger, dedupe_key, source, vendor_type, vendor_at, received_at FROM events WHERE trigger = 'customer.created' LIMIT 1 RETURNING *)
		INSERT INTO event_bodies SELECT e.org_id, e.id, e.received_at, b.body FROM e, event_bodies b`, db.NewID(), first.ID, w.stripeConn.ID, first.ID).Exec(t.Context())
	must(t, err)
	w.work()
	runs := w.settled(2)
	w.whole(1)
	states := map[string]int{}
	for _, r := range runs {
		states[r.State]++
		if r.RecordID != id {
			t.Errorf("run of %s", r.RecordID)
		}
	}
	if states[flow.Succeeded] != 2 || w.togai.Count("POST", "/customers") != 1 || w.count("SELECT count(*) FROM mappings") != 1 {
		w.dump()
		t.Errorf("states %v", states)
	}
}

// TestLane: runs of one record go one at a time, by the vendor's time; other records do not wait.
func TestLane(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link("stripe.customers_in", nil)
	now := time.Now()
	for _, at := range []int{0, 3, 1, 2} {
		payload := `{"event_id":"e","occurred_at":"` + now.Add(time.Duration(at)*time.Minute).UTC().Format(time.RFC3339) + `","livemode":false,"customer_id":"cus_lane","name":"Acme","email":"a@acme.test","phone":"","description":"","currency":"","address":{},"metadata":{}}`
		must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			ev, err := w.engine.TriggerNow(ctx, tx, w.org, l.ID, []byte(payload))
			if err == nil {
				_, err = tx.NewRaw("UPDATE events SET vendor_at = ? WHERE id = ?", now.Add(time.Duration(at)*time.Minute), ev.ID).Exec(ctx)
			}
			return err
		}))
	}
	var live atomic.Int32
	w.togai.OnRequest(func(stage, method, path string) {
		switch stage {
		case "arrived":
			if live.Add(1) > 1 {
				t.Error("two runs of a lane at once")
			}
		case "replying":
			live.Add(-1)
		}
	})
	// All four are in the lane before the first runs.
	var ids []db.ID
	must(t, w.db.NewRaw("SELECT id FROM events ORDER BY id").Scan(t.Context(), &ids))
	for _, id := range ids {
		must(t, w.engine.Dispatch(t.Context(), w.org, id))
	}
	if n := w.count("SELECT count(*) FROM runs WHERE waiting_reason = 'LANE'"); n != 3 {
		t.Fatalf("%d runs wait for the lane", n)
	}
	w.work()
	w.settled(4)
	var order []time.Time
	must(t, w.db.NewRaw("SELECT vendor_at FROM runs ORDER BY ended_at").Scan(t.Context(), &order))
	for i := 1; i < len(order); i++ {
		if order[i].Before(order[i-1]) {
			t.Errorf("ended in the order %v", order)
		}
	}
	if w.togai.Count("POST", "/customers") != 1 {
		t.Error("more than one customer was sent")
	}
}

// TestReauth: refused credentials park runs; after the repair they go on. Credentials of another account are refused.
func TestReauth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	token := w.togai.Token()
	_, err := w.engine.UpdateConnection(t.Context(), w.org, w.togaiConn.ID, flow.ConnectionInput{Credentials: map[string]string{"api_token": token}}, uncommitted)
	must(t, err)
	w.togai.Revoke(token)
	w.work()
	w.person("Acme")
	w.until("a parked run", "SELECT count(*) = 1 FROM runs WHERE waiting_reason = 'REAUTH'")
	w.person("Beta")
	w.until("two parked runs", "SELECT count(*) = 2 FROM runs WHERE waiting_reason = 'REAUTH'")
	c, err := db.GetConnection(t.Context(), w.db, w.org, w.togaiConn.ID)
	must(t, err)
	if c.State != flow.ConnNeedsReauth {
		t.Errorf("the connection is %s", c.State)
	}
	if _, err := w.engine.UpdateConnection(t.Context(), w.org, c.ID, flow.ConnectionInput{Credentials: map[string]string{"api_token": w.togai.Token(), "organization_id": "other"}}, uncommitted); err == nil || !strings.Contains(err.Error(), "other") {
		t.Errorf("another account: %v", err)
	}
	_, err = w.engine.UpdateConnection(t.Context(), w.org, c.ID, flow.ConnectionInput{Credentials: map[string]string{"api_token": w.togai.Token()}}, uncommitted)
	must(t, err)
	for _, r := range w.settled(2) {
		if r.State != flow.Succeeded {
			t.Errorf("%s: %s", r.State, r.Error)
		}
	}
	w.whole(2)
}

// TestRefused: what the vendor refuses fails with its words and releases the slot; repaired and retried, the run goes on.
func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.work()
	_, err := w.stripe.First().CreateCustomer(map[string]any{"name": "No mail"})
	must(t, err)
	runs := w.settled(1)
	if runs[0].State != flow.Failed || !strings.Contains(runs[0].Error, "email") {
		t.Fatalf("%s: %s", runs[0].State, runs[0].Error)
	}
	if w.count("SELECT count(*) FROM mapping_slots WHERE external_id IS NULL") != 0 {
		t.Error("a slot stayed claimed")
	}
	// The link's parameter is the way out that the sentence names.
	_, err = w.db.NewRaw(`UPDATE flow_links SET params = '{"emailWhenMissing": "billing@acme.test"}'`).Exec(t.Context())
	must(t, err)
	must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := w.engine.Retry(ctx, tx, w.org, runs[0].ID)
		return err
	}))
	if r := w.settled(1)[0]; r.State != flow.Succeeded {
		t.Errorf("%s: %s", r.State, r.Error)
	}
	w.whole(1)
}

// TestCancel: a call under way is let finish and recorded, and nothing after it starts.
func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	var run db.ID
	w.togai.OnRequest(func(stage, method, path string) {
		if stage != "arrived" || method != "POST" {
			return
		}
		must(t, w.db.NewRaw("SELECT id FROM runs").Scan(context.Background(), &run))
		must(t, w.db.InTx(context.Background(), func(ctx context.Context, tx db.Tx) error {
			r, err := w.engine.Cancel(ctx, tx, w.org, run)
			if err == nil && r.State != flow.Cancelling {
				t.Errorf("a running run is %s", r.State)
			}
			return err
		}))
	})
	w.work()
	w.person("Acme")
	runs := w.settled(1)
	if runs[0].State != flow.Cancelled || len(w.togai.Customers()) != 1 {
		w.dump()
		t.Errorf("%s with %d customers", runs[0].State, len(w.togai.Customers()))
	}
	if w.count("SELECT count(*) FROM effects WHERE run_id IS NOT NULL AND state = 'CONFIRMED'") != 1 || w.stripe.Count("POST", "/v1/customers/*") != 0 {
		t.Error("the call under way was not recorded, or another followed")
	}
	// Taken up again it ends what it began.
	must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error { _, err := w.engine.Retry(ctx, tx, w.org, run); return err }))
	if r := w.settled(1)[0]; r.State != flow.Succeeded {
		t.Errorf("%s: %s", r.State, r.Error)
	}
	w.whole(1)
}

// TestCheckoutWait: a customer that a checkout made for a Togai account becomes no second account.
func TestCheckoutWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", map[string]any{"checkoutWait": 0.3})
	w.work()
	w.stripe.First().Complete(stripesim.Checkout{Email: "b@acme.test", ClientReferenceID: "YWNtZQ", Mode: "payment", Currency: "usd"})
	r := w.settled(1)[0]
	if r.State != flow.Succeeded || len(w.togai.Customers()) != 0 {
		w.dump()
		t.Errorf("%s with %d customers", r.State, len(w.togai.Customers()))
	}
	if w.count("SELECT count(*) FROM steps WHERE state = 'SKIPPED' AND reason LIKE '%checkout session%'") != 2 {
		t.Error("the steps do not say why")
	}
	w.person("Acme")
	w.settled(2)
	if len(w.togai.Customers()) != 1 {
		t.Error("a customer without a checkout was not brought over")
	}
}

// TestBaseline: what is there before a link is enabled is not news.
func TestBaseline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.togai.CreateAccount(map[string]any{"id": "old", "name": "Older", "primaryEmail": "o@acme.test"})
	must(t, err)
	w.link("stripe.accounts_out", nil)
	_, err = w.togai.CreateAccount(map[string]any{"id": "new", "name": "Newer", "primaryEmail": "n@acme.test"})
	must(t, err)
	w.work()
	w.read()
	runs := w.settled(1)
	if len(runs) != 1 || runs[0].RecordID != "new" {
		t.Errorf("%d runs", len(runs))
	}
}

// TestOddTexts: what people call themselves is brought over as it is, whatever it would mean in SQL, JSON or CEL.
func TestOddTexts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.work()
	names := []string{`x\u0000y`, "a\x00b c", `'; DROP TABLE runs; --`, `{{ trigger.email }}`, `back\slash "and" quotes`, "Zoë 😀 日本"}
	for _, name := range names {
		_, err := w.stripe.First().CreateCustomer(map[string]any{"name": name, "email": "a@acme.test"})
		must(t, err)
	}
	for _, r := range w.settled(len(names)) {
		if r.State != flow.Succeeded {
			t.Errorf("%q: %s: %s", r.RecordName, r.State, r.Error)
		}
	}
	w.whole(len(names))
	for _, c := range w.togai.Customers() {
		if name := strings.ReplaceAll(c.Name, "\uFFFD", "\x00"); !slices.Contains(names, name) {
			t.Errorf("somebody is called %q in Togai", c.Name)
		}
	}
}
