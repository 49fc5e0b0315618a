package flow_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
	"tieline/connectors/togai/togaisim"
	"tieline/db"
	"tieline/jobs/flow"
)

// guide goes through the whole Stripe guide: a plan is attached to acme, which gives a product and a link; beta buys it, which
// attaches it there and gives beta its link; an invoice of acme is billed, mailed, paid and the payment brought back. A run
// that failed is retried, as a person would.
func (w *world) guide() {
	w.t.Helper()
	w.hears()
	for _, key := range []string{"stripe.price_plans_out", "stripe.checkout_in", "stripe.invoices_out", "stripe.invoice_paid_in"} {
		w.link(key, nil)
	}
	w.work()
	w.billed("acme", "USD")
	w.billed("beta", "USD")
	plan := w.pricePlan("Gold", "MONTHLY", []string{"USD"}, fee("base", map[string]float64{"USD": 49}))
	w.attach("acme", plan)
	w.mended(1)
	w.stripe.First().Complete(stripesim.Checkout{
		Email: "buyer@beta.test", Name: "Buyer", Mode: "payment", Items: []stripesim.Item{{Description: "Gold", Quantity: 1, Amount: 4900}},
		Metadata: map[string]string{"togai_price_plan_id": plan, "togai_account_id": "beta"},
	})
	w.mended(2) // the checkout's, by which beta gets the plan
	w.mended(3)
	_, err := w.togai.Invoice(togaisim.NewInvoice{AccountID: "acme", Lines: []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 49), line("TAX_AMOUNT", 9.31)}})
	must(w.t, err)
	w.mended(4)
	for _, inv := range w.stripe.First().All("invoice") {
		if inv["status"] == "open" {
			must(w.t, w.stripe.First().PayHosted(inv["id"].(string)))
		}
	}
	w.mended(5)
}

// mended waits until n runs have ended, and retries those that failed until none has.
func (w *world) mended(n int) {
	w.t.Helper()
	for range 5 {
		failed := false
		for _, r := range w.settled(n) {
			if r.State != flow.Failed {
				continue
			}
			failed = true
			must(w.t, w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) error {
				_, err := w.engine.Retry(ctx, tx, w.org, r.ID)
				return err
			}))
		}
		if !failed {
			return
		}
	}
	w.dump()
	w.t.Fatal("runs fail again and again")
}

// guided checks from outside that all of it is there once.
func (w *world) guided() {
	w.t.Helper()
	stripe := w.stripe.First()
	for kind, want := range map[string]int{"product": 1, "price": 1, "payment_link": 2, "customer": 2, "invoice": 1, "invoiceitem": 2, "mail": 1} {
		if got := stripe.All(kind); len(got) != want {
			w.dump()
			w.t.Errorf("%d of %s, want %d: %v", len(got), kind, want, got)
		}
	}
	if inv := stripe.All("invoice"); len(inv) == 1 && (inv[0]["status"] != "paid" || fmt.Sprint(inv[0]["total"]) != "5831") {
		w.t.Errorf("the invoice is %v over %v", inv[0]["status"], inv[0]["total"])
	}
	owners := map[string]int{}
	for _, s := range w.togai.First().Schedules() {
		owners[s.AccountID]++
	}
	if owners["acme"] != 1 || owners["beta"] != 1 {
		w.t.Errorf("price plans of %v", owners)
	}
	if p := w.togai.Payments(); len(p) != 1 || p[0].TotalAmount.String() != "58.31" {
		w.t.Errorf("payments %+v", p)
	}
	if inv := w.togai.Invoices(); len(inv) != 1 || inv[0].Status != "PAID" {
		w.t.Errorf("Togai's invoices %+v", inv)
	}
	for _, a := range []string{"acme", "beta"} {
		if w.setting("account", a, "StripePaymentLink") == "" {
			w.t.Errorf("%s has no payment link", a)
		}
	}
	runs := w.settled(5)
	for _, r := range runs {
		if r.State != flow.Succeeded {
			w.dump()
			w.t.Errorf("run %s is %s: %s", r.RecordID, r.State, r.Error)
		}
	}
	if len(runs) != 5 {
		w.t.Errorf("%d runs, want 5", len(runs))
	}
	if n := w.count("SELECT count(*) FROM effects WHERE state NOT IN ('CONFIRMED', 'REFUSED', 'GIVEN_UP')"); n != 0 {
		w.dump()
		w.t.Errorf("%d effects without a settled state", n)
	}
}

// TestGuideFaults breaks each write of the guide: its answer is lost, or the vendor refuses half-way.
func TestGuideFaults(t *testing.T) {
	t.Parallel()
	for _, write := range []string{
		"stripe /v1/products", "stripe /v1/prices", "stripe /v1/payment_links", "stripe /v1/customers", "stripe /v1/customers/*", "stripe /v1/invoices",
		"stripe /v1/invoiceitems", "stripe /v1/invoices/*/finalize", "stripe /v1/invoices/*/send",
		"togai /settings", "togai /v2/accounts/*/edit_schedules", "togai /v2/accounts/*/finalize_schedules", "togai /payments",
	} {
		for _, f := range []sim.Fault{{Point: "cut"}, {Point: "after_commit", Status: 500}, {Point: "before", Status: 400}} {
			t.Run(fmt.Sprintf("%s/%s", write, f.Point), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				app, path, _ := strings.Cut(write, " ")
				f.Method, f.Path = "POST", path
				dial := w.stripe.Fault
				if app == "togai" {
					dial = w.togai.Fault
				}
				if strings.HasSuffix(path, "_schedules") { // the first ones are the person's own
					f.Path = strings.Replace(path, "*", "beta", 1)
				}
				dial(f)
				w.guide()
				w.guided()
			})
		}
	}
}

// TestGuideTwice: what vendors tell again, and what reading finds again, changes nothing.
func TestGuideTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.guide()
	for _, e := range w.stripe.First().All("event") {
		must(t, w.stripe.Resend(e["id"].(string)))
	}
	for _, conn := range []db.ID{w.togaiConn.ID, w.stripeConn.ID} {
		_, err := w.db.NewRaw("UPDATE cursors SET read_at = NULL WHERE connection_id = ?", conn).Exec(t.Context())
		must(t, err)
		must(t, w.engine.Read(t.Context(), w.org, conn, w))
	}
	w.guided()
}

// TestPaidBeforeAnswered: the buyer pays while Stripe has not yet answered that the invoice is final; the payment is known
// before the run that made the invoice has ended.
func TestPaidBeforeAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hears()
	w.link("stripe.invoices_out", nil)
	w.link("stripe.invoice_paid_in", nil)
	w.stripe.OnRequest(func(stage, method, path string) {
		if stage == "replying" && strings.HasSuffix(path, "/finalize") {
			for _, inv := range w.stripe.First().All("invoice") {
				must(t, w.stripe.First().PayHosted(inv["id"].(string)))
			}
			w.until("the payment", "SELECT count(*) = 1 FROM runs r JOIN flows f ON f.id = r.flow_id WHERE f.key = 'stripe.invoice_paid_in' AND r.state = 'SUCCEEDED'")
		}
	})
	w.work()
	w.billed("acme", "USD")
	_, err := w.togai.Invoice(togaisim.NewInvoice{AccountID: "acme", Lines: []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 49)}})
	must(t, err)
	w.sure(w.settled(2), flow.Succeeded, flow.Succeeded)
	if p := w.togai.Payments(); len(p) != 1 {
		t.Errorf("%d payments", len(p))
	}
}
