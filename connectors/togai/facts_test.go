package togai

import (
	"strings"
	"testing"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/sim"
	"tieline/connectors/togai/togaisim"
)

// full are all the details that an account may have.
var full = AccountDetails{
	Currency: "EUR", Email: "a@b.test", Address: &Address{City: "Bern"}, NetTermDays: new(int), Metadata: map[string]string{"a": "b"}, Tags: []string{"big"}, Status: "DRAFT",
}

const factsFile = "testdata/facts.json"

// recorded is all that the connector can do, and what the simulator answered.
func recorded(t *testing.T) []conntest.Exchange {
	t.Helper()
	var tape conntest.Tape
	w, c := newWorld(t, togaisim.WithExtraPage()) // so that every list is gone on with
	c = tape.Record(c)
	connected := func() connectors.Conn {
		other, _ := connect(t, w.Sim)
		return tape.Record(other)
	}
	for name, x := range writes {
		if strings.HasPrefix(name, "a payment of") { // of an invoice that is paid by then
			continue
		}
		other := connected()
		if name == "a wallet's credit" {
			if _, err := runCreditWallet(t.Context(), other, CreditWalletInput{AccountID: "acme", Amount: "1", Currency: "USD", PaymentSource: PaymentSource{TransactionNumber: "py_2"}}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if name == "rate cards" || name == "finalizing" || name == "publishing" { // as the one before them
			continue
		}
		if err := x.run(t, w, other); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	customer := acme
	customer.ID, customer.Account = "other", nil
	if _, err := runCreateCustomer(t.Context(), c, customer); err != nil {
		t.Fatal(err)
	}
	if _, err := runCreateAccount(t.Context(), c, CreateAccountInput{ID: "second", CustomerID: "other", Name: "Second", AccountDetails: full, Settings: map[string]string{"x": "y"}}); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"1", "2"} {
		if _, err := runSetSetting(t.Context(), tape.Record(connTo(t, w)), SetSettingInput{GetSettingInput{"account", "acme", "zuora_account_id"}, value}); err != nil {
			t.Fatal(err)
		}
	}
	w.Fault(sim.Fault{Method: "POST", Path: "/ingest", Point: sim.Cut})
	again := usage
	again.EventID = "e2"
	_, _ = runIngestEvent(t.Context(), c, again)
	if _, err := runIngestEvent(t.Context(), c, again); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateAccount(map[string]any{"id": "bare", "name": "Bare"}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"customer.get", "customer.list", "account.list", "price_plan.list", "invoice.list", "payment.list", "credit.list", "setting.get"} {
		act, _ := c.App.Action(key)
		if _, err := act.Run(t.Context(), c, []byte(strings.ReplaceAll(string(act.Sample), "acme", "other"))); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
	}
	if _, err := runListPricePlans(t.Context(), c, ListPricePlansInput{Deprecated: true}); err != nil {
		t.Fatal(err)
	}
	for range 60 { // so that pages are followed
		invoiced(t, w, togaisim.NewInvoice{})
	}
	for _, tr := range c.App.Triggers {
		walk(t, tr, c, "")
	}
	for _, read := range []string{"acme", "bare"} {
		if _, err := accountCreated().Read(t.Context(), c, occurrence(account{ID: read})); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := runListAccounts(t.Context(), c, ListAccountsInput{CustomerID: "other", Status: "DRAFT"}); err != nil {
		t.Fatal(err)
	}
	note := connected()
	inv := invoiced(t, w, togaisim.NewInvoice{})
	if _, err := runRecordPayment(t.Context(), note, RecordPaymentInput{InvoiceID: inv, PaymentSource: PaymentSource{TransactionNumber: "pi_77", Notes: "by bank"}}); err != nil {
		t.Fatal(err)
	}
	plan, err := runCreatePricePlan(t.Context(), note, CreatePricePlanInput{Name: "Another", Description: "d", Currencies: []string{"USD"}, RateCards: []RateCardInput{sampleRateCard}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := finalize(t.Context(), note, plan.PricePlanID, "NEXT_CYCLE"); err != nil {
		t.Fatal(err)
	}
	for range pageSize + 1 {
		w.UsageMeter("Calls")
	}
	for _, offer := range []connectors.Offer{offerCustomers, offerAccounts, offerPricePlans, offerInvoices, offerBillables} {
		for after, more := "", true; more; more = after != "" {
			p, err := offer(t.Context(), c, "", after)
			if err != nil {
				t.Fatal(err)
			}
			after = p.After
		}
	}
	return tape.Exchanges()
}

// Every request of every action and every trigger is one that the vendor documents, with what it requires; what the
// simulator answers has what Togai's answers have; and the table holds nothing that we do not use.
func TestRequestsAreDocumented(t *testing.T) {
	t.Parallel()
	conntest.CheckFacts(t, conntest.Facts(t, factsFile), recorded(t))
}
