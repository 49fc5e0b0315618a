package togai

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/sim"
	"tieline/connectors/togai/togaisim"
)

// world is an organization with an account, an active plan and an invoice over 49.00 that is due.
type world struct {
	*togaisim.Sim
	plan, invoice string
}

func newWorld(t *testing.T, opts ...togaisim.Option) (world, connectors.Conn) {
	t.Helper()
	s, c, _ := opened(t, opts...)
	if _, err := s.CreateAccount(map[string]any{"id": "acme", "name": "Acme", "invoiceCurrency": "USD", "netTermDays": 14}); err != nil {
		t.Fatal(err)
	}
	p, err := runCreatePricePlan(t.Context(), c, CreatePricePlanInput{Name: "There", Currencies: []string{"USD"}, RateCards: []RateCardInput{sampleRateCard}, Finalize: true})
	if err != nil {
		t.Fatal(err)
	}
	inv, err := s.Invoice(togaisim.NewInvoice{AccountID: "acme", PricePlanID: p.PricePlanID, Lines: []togaisim.Line{fee("49.00")}})
	if err != nil {
		t.Fatal(err)
	}
	other, _ := connect(t, s) // which knows nothing of what was made
	return world{s, p.PricePlanID, inv.ID}, other
}

func fee(amount string) togaisim.Line {
	return togaisim.Line{Description: "Fee", Type: "FIXED_FEE_RATE_CARD_AMOUNT", Value: togaisim.NewAmount(amount)}
}

var (
	gold   = CreatePricePlanInput{Name: "Gold", Description: "For large ones", Currencies: []string{"usd", "eur"}, RateCards: []RateCardInput{sampleRateCard}, Finalize: true}
	stripe = PaymentSource{TransactionNumber: "pi_1"}
	usage  = IngestEventInput{EventID: "e1", Schema: "calls", AccountID: "acme", Timestamp: time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC), Attributes: map[string]string{"n": "1.50"}}
)

// writes are the writes whose answers may be lost. left says what of them there is.
var writes = map[string]struct {
	path string
	run  func(*testing.T, world, connectors.Conn) error
	want string
	left func(world) string
}{
	"an add-on": {"/addons", func(t *testing.T, w world, c connectors.Conn) error {
		out, err := runCreateAddOn(t.Context(), c, CreateAddOnInput{Name: "Fee", Type: "FIXED_FEE", Title: "Basic fee", Role: "charge_1"})
		if err == nil && (!out.Created || out.AddOnID != w.AddOns()[0].ID) {
			t.Errorf("%+v", out)
		}
		return err
	}, "1 Basic fee", func(w world) string { return fmt.Sprint(len(w.AddOns()), " ", w.AddOns()[0].DisplayName) }},
	"a price plan": {"/v2/price_plans", runGold, "1 Gold v1 ACTIVE with 1", plansCalledGold},
	"rate cards":   {"/v2/price_plans/*/rate_cards", runGold, "1 Gold v1 ACTIVE with 1", plansCalledGold},
	"finalizing":   {"/v2/price_plans/*/finalize", runGold, "1 Gold v1 ACTIVE with 1", plansCalledGold},
	"drafting":     {"/v2/accounts/*/edit_schedules", runAttach, "1 live of 1", schedules},
	"publishing":   {"/v2/accounts/*/finalize_schedules", runAttach, "1 live of 1", schedules},
	"a payment": {"/payments", func(t *testing.T, w world, c connectors.Conn) error {
		out, err := runRecordPayment(t.Context(), c, RecordPaymentInput{InvoiceID: w.invoice, Amount: "49.0", Currency: "usd", PaymentSource: stripe})
		if err == nil && (!out.Recorded || !slices.ContainsFunc(w.Payments(), func(p togaisim.Payment) bool { return p.ID == out.PaymentID })) {
			t.Errorf("%+v", out)
		}
		return err
	}, "1 payments, PAID 49.0", paid},
	"a payment of what is open": {"/payments", func(t *testing.T, w world, c connectors.Conn) error {
		_, err := runRecordPayment(t.Context(), c, RecordPaymentInput{InvoiceID: w.invoice, PaymentSource: stripe})
		return err
	}, "1 payments, PAID 49.00", paid},
	"a wallet's credit": {"/payments", func(t *testing.T, _ world, c connectors.Conn) error {
		_, err := runCreditWallet(t.Context(), c, CreditWalletInput{AccountID: "acme", Amount: "100.10", Currency: "USD", PaymentSource: stripe})
		return err
	}, "1 payments, 100.10", func(w world) string { return fmt.Sprintf("%d payments, %s", len(w.Payments()), w.Wallets()[0].Balance) }},
	"a credit": {"/credits", func(t *testing.T, w world, c connectors.Conn) error {
		out, err := runGrantCredit(t.Context(), c, GrantCreditInput{AccountID: "acme", ReferenceID: "cn_1", Amount: "12.345", Purpose: "Goodwill"})
		if err == nil && out.CreditID != w.Credits()[0].ID {
			t.Errorf("%+v", out)
		}
		return err
	}, "1 credits, 12.345", func(w world) string {
		return fmt.Sprintf("%d credits, %s", len(w.Credits()), w.Credits()[0].CreditAmount)
	}},
	"much usage": {"/ingestBatch", func(t *testing.T, _ world, c connectors.Conn) error {
		second := usage
		second.EventID = "e9"
		_, err := runIngestEvents(t.Context(), c, IngestEventsInput{BatchID: "b1", Events: []IngestEventInput{usage, second}})
		return err
	}, "2 events, 1.50", func(w world) string {
		return fmt.Sprintf("%d events, %s", len(w.Events()), w.Events()[1].Payload.Attributes[0].Value)
	}},
	"usage": {"/ingest", func(t *testing.T, _ world, c connectors.Conn) error {
		_, err := runIngestEvent(t.Context(), c, usage)
		return err
	}, "1 events, 1.50", func(w world) string {
		return fmt.Sprintf("%d events, %s", len(w.Events()), w.Events()[0].Payload.Attributes[0].Value)
	}},
}

func paid(w world) string {
	return fmt.Sprintf("%d payments, %s %s", len(w.Payments()), w.Invoices()[0].Status, w.Invoices()[0].PaidAmount)
}

func runGold(t *testing.T, _ world, c connectors.Conn) error {
	_, err := runCreatePricePlan(t.Context(), c, gold)
	return err
}

func plansCalledGold(w world) string {
	n, last := 0, togaisim.PricePlan{}
	for _, p := range w.PricePlans() {
		if p.Name == "Gold" {
			n, last = n+1, p
		}
	}
	return fmt.Sprintf("%d %s v%d %s with %d", n, last.Name, last.Version, last.Status, len(last.RateCards))
}

func runAttach(t *testing.T, w world, c connectors.Conn) error {
	out, err := runAttachPricePlan(t.Context(), c, AttachPricePlanInput{AccountID: "acme", PricePlanID: w.plan})
	if err == nil && (out.ScheduleID == "" || out.ScheduleID != w.Schedules()[0].ID) {
		t.Errorf("%+v", out)
	}
	return err
}

func schedules(w world) string {
	live := 0
	for _, s := range w.Schedules() {
		if !s.Draft {
			live++
		}
	}
	return fmt.Sprintf("%d live of %d", live, len(w.Schedules()))
}

func TestPaymentOfAnotherHand(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		number, amount string
		in             RecordPaymentInput
		want           connectors.Kind
		out            RecordedPayment // of the payment there was, if any, its id is filled in
	}{
		"the same payment":           {"pi_1", "49", RecordPaymentInput{Amount: "49.00"}, "", RecordedPayment{Recorded: false}},
		"its number, another amount": {"pi_1", "12", RecordPaymentInput{Amount: "37.00"}, connectors.Conflict, RecordedPayment{}},
		"what is left":               {"pi_0", "12", RecordPaymentInput{}, "", RecordedPayment{Recorded: true}},
		"of an invoice that is paid": {"pi_0", "49", RecordPaymentInput{}, "", RecordedPayment{Recorded: false}},
		"in another currency":        {"pi_0", "1", RecordPaymentInput{Currency: "EUR"}, connectors.Invalid, RecordedPayment{}},
		"of less than nothing":       {"pi_0", "1", RecordPaymentInput{Amount: "-1"}, connectors.Invalid, RecordedPayment{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, c := newWorld(t)
			post(t, c, "/payments", `{"accountId":"acme","currency":"USD","totalAmount":`+x.amount+`,"externalPaymentReference":{"sourceName":"Stripe","sourceType":"GATEWAY","transactionNumber":"`+
				x.number+`"},"lineItemRecords":[{"type":"INVOICE","order":1,"togaiId":"`+w.invoice+`","amount":`+x.amount+`}]}`)
			in := x.in
			in.InvoiceID, in.PaymentSource = w.invoice, stripe
			out, err := runRecordPayment(t.Context(), c, in)
			if connectors.KindOf(err) != x.want || err == nil && out.Recorded != x.out.Recorded {
				t.Fatalf("%+v, %v", out, err)
			}
			left := w.Invoices()[0]
			if n := len(w.Payments()); x.out.Recorded != (n == 2) || x.out.Recorded && (left.Status != "PAID" || left.PaidAmount.String() != "49.00") {
				t.Errorf("%d payments, %s %s", n, left.Status, left.PaidAmount)
			}
		})
	}
}

// What the engine knows is answered without a call.
func TestRecordedPaymentIsRemembered(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t)
	in := RecordPaymentInput{InvoiceID: w.invoice, PaymentSource: stripe}
	first, err := runRecordPayment(t.Context(), c, in)
	if err != nil || !first.Recorded {
		t.Fatal(first, err)
	}
	calls := len(w.Requests())
	if again, err := runRecordPayment(t.Context(), c, in); err != nil || again != first || len(w.Requests()) != calls {
		t.Errorf("%+v, %v after %d calls", again, err, len(w.Requests())-calls)
	}
	in.InvoiceID, in.TransactionNumber = "inv.gone", "pi_9"
	if _, err := runRecordPayment(t.Context(), c, in); connectors.KindOf(err) != connectors.NotFound {
		t.Errorf("of no invoice: %v", err)
	}
}

func TestCreditKeyRefused(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t, togaisim.WithRepeatedCreditRefused())
	j := connTo(t, w)
	w.Fault(sim.Fault{Method: "POST", Path: "/credits", Point: sim.Cut})
	if err := writes["a credit"].run(t, w, j); connectors.KindOf(err) != connectors.OutcomeUnknown {
		t.Fatal(err)
	}
	if err := writes["a credit"].run(t, w, j); err != nil || len(w.Credits()) != 1 {
		t.Errorf("%v, %d credits", err, len(w.Credits()))
	}
	if _, err := runGrantCredit(t.Context(), c, GrantCreditInput{AccountID: "nobody", ReferenceID: "cn_2", Amount: "1", Purpose: "x"}); connectors.KindOf(err) != connectors.NotFound {
		t.Errorf("of nobody: %v", err)
	}
}

// connTo is a connection whose lost writes are sent again rather than looked for.
func connTo(t *testing.T, w world) connectors.Conn {
	t.Helper()
	c, j := connect(t, w.Sim)
	j.Resend = true
	return c
}

func TestAttachPricePlan(t *testing.T) {
	t.Parallel()
	day := func(n int) string { return time.Now().UTC().AddDate(0, 0, n).Format(time.DateOnly) }
	attach := func(t *testing.T, w world, in AttachPricePlanInput) (AttachedPricePlan, error) {
		c, _ := connect(t, w.Sim) // another process
		in.AccountID, in.PricePlanID = "acme", w.plan
		return runAttachPricePlan(t.Context(), c, in)
	}
	t.Run("what is there stays", func(t *testing.T) {
		t.Parallel()
		w, _ := newWorld(t)
		first, err := attach(t, w, AttachPricePlanInput{})
		if err != nil || !first.Attached {
			t.Fatal(first, err)
		}
		if s := w.Schedules()[0]; s.StartDate.Format(time.DateOnly) != day(1) || s.EndDate.Year() != 9999 {
			t.Errorf("%+v", s)
		}
		again, err := attach(t, w, AttachPricePlanInput{From: day(3)})
		if err != nil || again.Attached || again.ScheduleID != first.ScheduleID || w.Count("POST", "/v2/accounts/**") != 2 {
			t.Errorf("%+v, %v", again, err)
		}
		if earlier, err := attach(t, w, AttachPricePlanInput{From: day(0)}); err != nil || !earlier.Attached {
			t.Errorf("%+v, %v", earlier, err)
		}
	})
	t.Run("somebody's draft", func(t *testing.T) {
		t.Parallel()
		w, c := newWorld(t)
		post(t, c, "/v2/accounts/acme/edit_schedules", `{"edits":[{"mode":"ASSOCIATE","effectiveFrom":"`+day(9)+`","effectiveUntil":"`+day(12)+`","associationConfig":{"pricePlanId":"`+w.plan+`"}}]}`)
		_, err := attach(t, w, AttachPricePlanInput{})
		if connectors.KindOf(err) != connectors.Conflict || !contains(err, "nobody published") || schedules(w) != "0 live of 1" {
			t.Errorf("%v, %s", err, schedules(w))
		}
	})
	t.Run("a day that has passed", func(t *testing.T) {
		t.Parallel()
		w, _ := newWorld(t)
		if _, err := attach(t, w, AttachPricePlanInput{From: day(-2)}); connectors.KindOf(err) != connectors.Invalid || !contains(err, "past") {
			t.Errorf("%v", err)
		}
	})
}

func TestCreatePricePlan(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t)
	in := gold
	in.Name = "There"
	if _, err := runCreatePricePlan(t.Context(), c, in); connectors.KindOf(err) != connectors.Conflict || len(w.PricePlans()) != 1 {
		t.Errorf("a name that is taken: %v", err)
	}
	in.Name, in.RateCards = "Silver", []RateCardInput{sampleRateCard, sampleRateCard}
	if _, err := runCreatePricePlan(t.Context(), c, in); connectors.KindOf(err) != connectors.Invalid || w.Count("POST", "/v2/price_plans") != 1 {
		t.Errorf("two rate cards of a name: %v", err)
	}
	in.RateCards = []RateCardInput{
		{Name: "calls", Type: "USAGE", BillableID: "um.1", Prices: []PriceInput{{Currency: "usd", Amount: "0.001"}, {Currency: "EUR", Amount: "0.00090"}}},
		{Name: "seats", Type: "LICENSE", BillableID: "addon.1", Prices: []PriceInput{{Currency: "USD", Amount: "12"}}, Prorate: true},
		{Name: "setup", Type: "FIXED_FEE", BillableID: "addon.2", OneTime: true, Prices: []PriceInput{{Currency: "USD", Amount: "5"}}},
	}
	made, err := runCreatePricePlan(t.Context(), c, in)
	if err != nil || !made.Created || !made.Active {
		t.Fatal(made, err)
	}
	p, err := fetchPricePlan(t.Context(), c, made.PricePlanID)
	if err != nil || markIn(p.Description) == "" {
		t.Fatal(p, err)
	}
	got := p.plain()
	if got.Description != "For large ones" || fmt.Sprint(got.Currencies) != "[USD EUR]" || got.Interval != "MONTHLY" || got.Status != "ACTIVE" || len(got.RateCards) != 3 {
		t.Errorf("%+v", got)
	}
	if r := got.RateCards[0]; r.Timing != "IN_ARREARS" || r.Model != "TIERED" || fmt.Sprint(r.Prices) != "[{USD 0.001 []} {EUR 0.00090 []}]" {
		t.Errorf("%+v", r)
	}
	if r := got.RateCards[2]; !r.OneTime || r.Timing != "IN_ADVANCE" || r.Prices[0].Amount != "5" {
		t.Errorf("%+v", r)
	}
	// Other prices are another version; equal ones, written otherwise, change nothing.
	set := SetRateCardsInput{PricePlanID: made.PricePlanID, Finalize: true, RateCards: []RateCardInput{{Name: "setup", Type: "FIXED_FEE", BillableID: "addon.2", OneTime: true, Prices: []PriceInput{{Currency: "USD", Amount: "5.00"}}}}}
	for _, x := range []struct {
		price   string
		version int
	}{{"5.00", 1}, {"6.50", 2}} {
		c, _ := connect(t, w.Sim)
		set.RateCards[0].Prices[0].Amount = x.price
		act, _ := c.App.Action("rate_card.set")
		if _, err := act.Run(t.Context(), c, mustJSON(t, set)); err != nil {
			t.Fatal(err)
		}
		if p, err := fetchPricePlan(t.Context(), c, made.PricePlanID); err != nil || p.Version != x.version || p.Status != "ACTIVE" || len(p.RateCards) != 3 {
			t.Errorf("%s: %+v, %v", x.price, p, err)
		}
	}
	if long := marked(string(make([]byte, 400)), "tl_1"); len([]rune(long)) > maxDescription || markIn(long) != "tl_1" {
		t.Errorf("%d characters", len(long))
	}
}

func TestIngestedByAnother(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t)
	post(t, c, "/ingest", `{"event":{"id":"e1","schemaName":"other","timestamp":"2026-01-15T12:00:00Z","accountId":"acme","attributes":[],"dimensions":{}}}`)
	w.Fault(sim.Fault{Method: "POST", Path: "/ingest", Point: sim.Cut})
	_, _ = runIngestEvent(t.Context(), c, usage)
	if _, err := runIngestEvent(t.Context(), c, usage); connectors.KindOf(err) != connectors.Conflict {
		t.Errorf("%v", err)
	}
	bad := usage
	bad.Attributes = map[string]string{"n": "many"}
	_, err := runIngestEvent(t.Context(), c, bad)
	if e, ok := errors.AsType[*connectors.Error](err); !ok || e.Field != "attributes" {
		t.Errorf("%v", err)
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t)
	for name, n := range map[string]int{"none": 0, "two of an id": 2, "too many": maxBatch + 1} {
		in := IngestEventsInput{BatchID: name}
		for i := range n {
			e := usage
			if n > 2 {
				e.EventID = fmt.Sprint("e", i)
			}
			in.Events = append(in.Events, e)
		}
		if _, err := runIngestEvents(t.Context(), c, in); connectors.KindOf(err) != connectors.Invalid || w.Count("POST", "/ingestBatch") != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	in := IngestEventsInput{BatchID: "refused", Events: []IngestEventInput{usage}}
	w.Fault(sim.Fault{Method: "POST", Path: "/ingestBatch", Point: sim.Before, Status: 422})
	if _, err := runIngestEvents(t.Context(), c, in); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("%v", err)
	}
	bad := usage
	bad.EventID, bad.AccountID = "e2", ""
	in.Events = append(in.Events, bad)
	if _, err := runIngestEvents(t.Context(), c, in); connectors.KindOf(err) != connectors.Invalid || !contains(err, "1 of 2") || len(w.Events()) != 1 {
		t.Errorf("taken in part: %v", err)
	}
}

func TestAddOnOfTheName(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t)
	first, err := runCreateAddOn(t.Context(), c, CreateAddOnInput{Name: "Fee", Type: "FIXED_FEE"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"FIXED_FEE": false, "LICENSE": true} {
		c, _ := connect(t, w.Sim)
		out, err := runCreateAddOn(t.Context(), c, CreateAddOnInput{Name: "Fee", Type: name})
		if err != nil || out.Created != want || (out.AddOnID == first.AddOnID) == want {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
}
