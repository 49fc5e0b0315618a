package stripe

import (
	"net/http"
	"testing"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
)

const factsFile = "testdata/facts.json"

// everything does all that the connector can do, once, in one account.
func everything(t *testing.T, a *stripesim.Account, open func() connectors.Conn) {
	t.Helper()
	ok := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	c := open()
	ok(identify(t.Context(), c))
	ok(register(t.Context(), c, connectors.Endpoint{ConnectionID: "con_1", URL: "https://tieline.test/hook", Events: Connector().Events(), Generation: 1}))
	ok(nil, remove(t.Context(), c, connectors.Endpoint{ConnectionID: "con_1"}))
	made, err := runCreateCustomer(t.Context(), c, acme)
	ok(nil, err)
	ok(acme.lookUp(t.Context(), c, "tl_1"))
	_, _, err = CreateCustomerInput{TogaiAccountID: "none", Name: "None"}.probe(c)(t.Context(), "tl_1")
	ok(nil, err)
	ok(runUpdateCustomer(t.Context(), c, UpdateCustomerInput{CustomerID: made.CustomerID, Name: ptr("New"), Email: ptr("b@acme.test"), Phone: ptr("1"), Description: ptr("d"),
		Address: &Address{City: "Bern"}, PreferredLocales: []string{"de"}, Metadata: map[string]string{"a": "b"}}))
	ok(runFindCustomer(t.Context(), c, FindCustomerInput{TogaiAccountID: "acme"}))
	ok(runListCustomers(t.Context(), c, ListCustomersInput{CreatedAfter: &sampleTime, Email: "b@acme.test", PageSize: 3, StartingAfter: made.CustomerID}))

	plan := gold
	plan.Description, plan.Active = "Best", ptr(true)
	plan.Prices[0].Nickname, plan.Prices[0].TaxBehavior = "Base", "exclusive"
	product, err := runCreateProduct(t.Context(), c, plan)
	ok(nil, err)
	if err != nil {
		return
	}
	buy := link(product)
	buy.AllowPromotionCodes, buy.BillingAddressCollection = ptr(true), "required"
	l, err := runCreatePaymentLink(t.Context(), c, buy)
	ok(nil, err)
	_, _, err = buy.probe(c)(t.Context(), "tl_1")
	ok(nil, err)
	once := CreatePaymentLinkInput{TogaiPricePlanID: "plan.1x", LineItems: []LinkItem{{PriceID: product.Prices[1].PriceID}}}
	ok(runCreatePaymentLink(t.Context(), c, once))

	session := a.Complete(stripesim.Checkout{Link: l.PaymentLinkID, Items: make([]stripesim.Item, 12)})
	a.Complete(stripesim.Checkout{Items: make([]stripesim.Item, 12)})
	bare := func(typ string) connectors.Occurrence {
		o, err := decodeCheckout(told(t, a, typ))
		ok(nil, err)
		return o
	}
	ok(readCheckout(t.Context(), c, bare(eventCheckout)))
	ok(explainCustomerCreated(t.Context(), c, connectors.Occurrence{Record: connectors.Subject{ID: session["customer"].(string)}}))
	ok(listEvents(eventCheckout)(t.Context(), c, ""))
	first, err := listEvents(eventCheckout)(t.Context(), c, `{"floor":1,"from":1}`)
	ok(nil, err)
	ok(listEvents(eventCheckout)(t.Context(), c, cursor{Floor: 1, From: 1, After: first.Items[0].DedupeKey}.String()))

	in := bill(made.CustomerID)
	in.Footer, in.Number = "f", "T-1"
	for range 10 {
		in.Lines = append(in.Lines, InvoiceLine{Description: "nothing"})
	}
	draft, err := runCreateInvoice(t.Context(), c, in)
	ok(nil, err)
	if err != nil {
		return
	}
	due := a.Sim().Clock.Now().AddDate(0, 1, 0)
	wrong := bill(made.CustomerID)
	wrong.TogaiInvoiceID, wrong.AutomaticTax, wrong.DaysUntilDue, wrong.DueDate = "inv.2", true, nil, &due
	if _, err := runCreateInvoice(t.Context(), open(), wrong); connectors.KindOf(err) != connectors.Invalid { // which deletes it
		t.Error(err)
	}
	ok(runFinalizeInvoice(t.Context(), c, FinalizeInvoiceInput{InvoiceID: draft.InvoiceID}))
	ok(wasMailed(t.Context(), c, draft.InvoiceID, 1))
	var lines []map[string]any
	for _, i := range a.All("invoice") {
		if i["id"] == draft.InvoiceID {
			lines = i["lines"].(map[string]any)["data"].([]map[string]any)
		}
	}
	ok(runCreateCreditNote(t.Context(), c, CreateCreditNoteInput{InvoiceID: draft.InvoiceID, Memo: "m", Reason: "duplicate",
		Lines: []CreditLine{{InvoiceLineItem: lines[0]["id"].(string), Amount: 10}, {Description: "x", Amount: 5}}}))
	ok(runCloseInvoice(t.Context(), c, CloseInvoiceInput{InvoiceID: draft.InvoiceID, Resolution: "uncollectible"}))
	ok(runCloseInvoice(t.Context(), open(), CloseInvoiceInput{InvoiceID: draft.InvoiceID, Resolution: "paid_elsewhere", Reference: "r"}))
	ok(runCreateCreditNote(t.Context(), c, CreateCreditNoteInput{InvoiceID: draft.InvoiceID, Reference: "r", Amount: ptr[int64](30), CreditAmount: ptr[int64](10), RefundAmount: ptr[int64](10), OutOfBandAmount: ptr[int64](10)}))
	other := bill(made.CustomerID)
	other.TogaiInvoiceID = "inv.3"
	d := open()
	void, err := runCreateInvoice(t.Context(), d, other)
	ok(nil, err)
	ok(runFinalizeInvoice(t.Context(), d, FinalizeInvoiceInput{InvoiceID: void.InvoiceID}))
	ok(runCloseInvoice(t.Context(), d, CloseInvoiceInput{InvoiceID: void.InvoiceID, Resolution: "void"}))

	// What is offered for a field.
	for _, offer := range []connectors.Offer{offerCustomers, offerPrices, offerInvoices(""), offerInvoices("draft")} {
		for _, search := range []string{"", "acme"} {
			ok(offer(t.Context(), c, search, ""))
		}
	}
	for _, x := range []struct {
		offer connectors.Offer
		after string
	}{{offerCustomers, made.CustomerID}, {offerPrices, product.Prices[0].PriceID}, {offerInvoices(""), draft.InvoiceID}} {
		ok(x.offer(t.Context(), c, "", x.after))
	}
	for range pageSize + 1 { // so that what is found has another page
		billed(t, a)
	}
	found, err := offerCustomers(t.Context(), c, "acme", "")
	ok(nil, err)
	ok(offerCustomers(t.Context(), c, "acme", found.After))

	// A line whose answer was lost is looked for.
	other.TogaiInvoiceID = "inv.4"
	d = open()
	a.Sim().Fault(sim.Fault{Method: "POST", Path: "/v1/invoiceitems", Point: sim.Cut})
	if _, err := runCreateInvoice(t.Context(), d, other); connectors.KindOf(err) != connectors.OutcomeUnknown {
		t.Error(err)
	}
	ok(runCreateInvoice(t.Context(), d, other))
}

// recorded is all that the connector can do, and what the simulator answered.
func recorded(t *testing.T) []conntest.Exchange {
	t.Helper()
	s := stripesim.New(t, stripesim.WithSearchLag(0))
	a := s.Account()
	var tape conntest.Tape
	everything(t, a, func() connectors.Conn {
		c, _ := connect(t, s, a.Key())
		return tape.Record(c)
	})
	return tape.Exchanges()
}

// Every call is one that Stripe knows, with parameters that it knows, and none of those it needs is missing; what the
// simulator answers has what Stripe's answers have; and the table holds nothing that we do not use.
func TestCallsAreStripes(t *testing.T) {
	t.Parallel()
	calls := recorded(t)
	conntest.CheckFacts(t, conntest.Facts(t, factsFile), calls)
	for _, x := range calls {
		if x.Method == http.MethodPost && x.Header.Get("Idempotency-Key") == "" {
			t.Errorf("%s %s without a key", x.Method, x.Path)
		}
	}
}
