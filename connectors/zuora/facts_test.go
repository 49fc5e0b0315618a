package zuora

import (
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/sim"
	"tieline/connectors/zuora/zuorasim"
)

const factsFile = "testdata/facts.json"

// recorded is all that the connector can do, and what the simulator answered.
func recorded(t *testing.T) []conntest.Exchange {
	t.Helper()
	var tape conntest.Tape
	s := zuorasim.New(t, zuorasim.WithPlanURLs(), zuorasim.WithExtraPage())
	connected := func() connectors.Conn {
		c, _ := connect(t, s)
		return tape.Record(c)
	}
	c := connected()
	if _, err := identify(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	account, err := runCreateAccount(t.Context(), c, CreateAccountInput{
		AccountNumber: "acme", Name: "Acme", Currency: "usd", Email: "a@b.test", Address: &Address{Line1: "1 Road", City: "Bern"}, PaymentTerm: "Net 30", CrmID: "crm", Notes: "n",
	})
	if err != nil {
		t.Fatal(err)
	}
	id := account.AccountID
	if _, err := runUpdateAccount(t.Context(), c, UpdateAccountInput{AccountID: id, Name: "Acme Inc.", CrmID: "other", PaymentTerm: "Net 60"}); err != nil {
		t.Fatal(err)
	}
	sub, err := s.Subscribe(zuorasim.NewSubscription{Account: id, Charges: []map[string]any{{"name": "Calls", "type": "Usage", "model": "PerUnit", "uom": "Each", "price": 1}}})
	if err != nil {
		t.Fatal(err)
	}
	charge := s.Product("Credits", flat("Credit"))[0]
	for range productsPage {
		s.Product("More", flat("Fee"))
	}
	lost := connected()
	s.Fault(sim.Fault{Method: "POST", Path: "/v1/object/usage", Point: sim.Cut})
	s.Fault(sim.Fault{Method: "POST", Path: "/v1/credit-memos", Point: sim.Cut})
	s.Fault(sim.Fault{Method: "POST", Path: "/v1/invoices", Point: sim.Cut})
	for range 2 {
		day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		_, usageErr := runCreateUsage(t.Context(), lost, CreateUsageInput{Records: []UsageRecord{{UsageID: "u", Subscription: sub.Number, Quantity: "1.5", Start: day, End: day, Description: "d"}}})
		_, memoErr := runCreateCreditMemo(t.Context(), lost, CreateCreditMemoInput{ReferenceID: "r", AccountID: id, Amount: "1", Currency: "usd", Date: "2026-01-01", ChargeID: charge, ReasonCode: "Goodwill", Comment: "c", Post: true})
		_, err = runCreateInvoice(t.Context(), lost, CreateInvoiceInput{
			AccountID: id, Number: "INV-1", Date: "2026-01-01", DueDate: "2026-02-01", Currency: "usd", Comments: "c", Post: true,
			Lines: []InvoiceLine{{Name: "n", Description: "d", Amount: "1", From: "2026-01-01", Until: "2026-01-31"}},
		})
		if (usageErr == nil) != (err == nil) || (memoErr == nil) != (err == nil) {
			t.Fatal(usageErr, memoErr, err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for range batch + 1 {
		a, err := s.CreateAccount(nil)
		if err != nil {
			t.Fatal(err)
		}
		subscribed(t, s, a.ID)
	}
	for _, tr := range c.App.Triggers {
		cur := `{"since":"2020-01-01T00:00:00Z"}`
		if _, err := tr.List(t.Context(), c, ""); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			p, err := tr.List(t.Context(), c, cur)
			if err != nil {
				t.Fatal(err)
			}
			cur, more = p.Cursor, p.More
		}
	}
	for _, offer := range []connectors.Offer{offerAccounts, offerCharges} {
		for after, more := "", true; more; more = after != "" {
			p, err := offer(t.Context(), c, "", after)
			if err != nil {
				t.Fatal(err)
			}
			after = p.After
		}
	}
	e := connectors.Endpoint{ConnectionID: "con_1", Root: "https://t.test", URL: "https://t.test/hook", Generation: 1}
	if _, err := register(t.Context(), c, e); err != nil {
		t.Fatal(err)
	}
	s.Fault(sim.Fault{Method: "DELETE", Point: sim.Cut})
	for range 2 {
		err = remove(t.Context(), c, e)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tape.Exchanges()
}

// Every request of every action and every trigger is one that Zuora documents, with what it requires; what the simulator
// answers has what Zuora's answers have; and the table holds nothing that we do not use.
func TestRequestsAreDocumented(t *testing.T) {
	t.Parallel()
	conntest.CheckFacts(t, conntest.Facts(t, factsFile), recorded(t))
}
