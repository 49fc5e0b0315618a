package flow_test

import (
	"testing"

	"tieline/jobs/flow"
)

// TestCustomersIn: a customer made in Stripe by a person becomes one customer and account in Togai; what Togai tells of
// it is an echo that makes no second customer.
func TestCustomersIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.link("stripe.accounts_out", nil)
	w.work()
	_, err := w.stripe.First().CreateCustomer(map[string]any{"name": "Acme", "email": "billing@acme.test"})
	must(t, err)
	w.settled(1)
	w.read()
	runs := w.settled(2)
	w.whole(1)
	if runs[0].State != flow.Succeeded || runs[1].State != flow.Suppressed || runs[1].EchoOf == (runs[0].ID) {
		w.dump()
		t.Errorf("states %s, %s", runs[0].State, runs[1].State)
	}
}

// TestAccountsOut is the other way round.
func TestAccountsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.link("stripe.accounts_out", nil)
	w.work()
	_, err := w.togai.CreateAccount(map[string]any{"id": "acme", "name": "Acme", "primaryEmail": "billing@acme.test"})
	must(t, err)
	w.read()
	runs := w.settled(2)
	w.whole(1)
	if runs[0].State != flow.Succeeded || runs[1].State != flow.Suppressed {
		w.dump()
		t.Errorf("states %s, %s", runs[0].State, runs[1].State)
	}
}

// whole checks from outside that n records are there exactly once in each system, linked, with nothing left open.
func (w *world) whole(n int) {
	w.t.Helper()
	if got := len(w.stripe.First().Customers()); got != n {
		w.t.Errorf("%d Stripe customers, want %d", got, n)
	}
	if got := len(w.togai.Customers()); got != n {
		w.t.Errorf("%d Togai customers, want %d", got, n)
	}
	if got := len(w.togai.Accounts()); got != n {
		w.t.Errorf("%d Togai accounts, want %d", got, n)
	}
	for _, c := range w.stripe.First().Customers() {
		meta, _ := c["metadata"].(map[string]any)
		if meta["togai_account_id"] == nil {
			w.t.Errorf("Stripe customer %v does not name its Togai account", c["id"])
		}
	}
	for what, query := range map[string]string{
		"effects without a settled state": "SELECT count(*) FROM effects WHERE state NOT IN ('CONFIRMED', 'REFUSED', 'GIVEN_UP')",
		"slots without an id":             "SELECT count(*) FROM mapping_slots WHERE external_id IS NULL",
		"mappings without three slots":    "SELECT count(*) FROM (SELECT mapping_id FROM mapping_slots GROUP BY mapping_id HAVING count(*) <> 3) x",
		"requests kept of final effects":  "SELECT count(*) FROM effects WHERE request IS NOT NULL AND state IN ('CONFIRMED', 'REFUSED')",
	} {
		var count int
		must(w.t, w.db.NewRaw(query).Scan(w.t.Context(), &count))
		if count != 0 {
			w.dump()
			w.t.Errorf("%d %s", count, what)
		}
	}
}
