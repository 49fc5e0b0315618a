package stripe

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tieline/connectors"
	"tieline/connectors/stripe/stripesim"
)

// told is the newest event of a type, as Stripe delivers it.
func told(t *testing.T, a *stripesim.Account, typ string) []byte {
	t.Helper()
	var body []byte
	for _, e := range a.All("event") {
		if e["type"] == typ {
			body = jsonOf(t, e)
		}
	}
	if body == nil {
		t.Fatalf("no event %s", typ)
	}
	return body
}

func decoded[P any](t *testing.T, decode func([]byte) (connectors.Occurrence, error), body []byte) (connectors.Occurrence, P) {
	t.Helper()
	o, err := decode(body)
	if err != nil {
		t.Fatal(err)
	}
	return o, o.Payload.(P)
}

func TestCheckoutOfALink(t *testing.T) {
	t.Parallel()
	_, a, c, _ := opened(t)
	p := priced(t, c)
	l, err := runCreatePaymentLink(t.Context(), c, link(p))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(l.ShareURL+"&name=Bea", "", nil) // the buyer follows the link that the customer was given
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	res.Body.Close()
	session := a.All("checkout.session")[0]
	body := told(t, a, eventCheckout)
	if e, err := envelope(body); err != nil || e.Trigger != "checkout.completed" || e.Ignored != "" {
		t.Fatalf("%+v, %v", e, err)
	}
	o, got := decoded[CheckoutCompleted](t, decodeCheckout, body)
	if !o.Thin || o.BusinessKey != session["id"] || o.Record.Name != "Bea" || o.Cause != (connectors.Cause{}) || got.TogaiAccountID != "Ac me/1" || got.TogaiPricePlanID != "plan.1x" {
		t.Errorf("%+v", o)
	}
	o, err = readCheckout(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	got = o.Payload.(CheckoutCompleted)
	if o.Thin || len(got.LineItems) != 2 || got.LineItems[0] != (CheckoutLine{p.Prices[0].PriceID, p.ProductID, "togai_pp_plan.1x:base", "Gold", 1, 5000}) || got.PaymentLinkID != l.PaymentLinkID ||
		got.Mode != "subscription" || got.SubscriptionID == "" || got.CustomerID == "" || got.CustomerEmail != "b+1@acme.test" || got.AmountTotal != 5000 || got.EventID == "" || got.Metadata["k"] != "v" {
		t.Errorf("%+v", got)
	}
	tr, _ := Connector().Trigger("checkout.completed")
	if p := tr.Output.Validate(got); len(p) > 0 {
		t.Errorf("%v", p)
	}
}

// A payment that takes days completes the checkout unpaid, which is no news, and is told later under the same session.
func TestCheckoutPaidLate(t *testing.T) {
	t.Parallel()
	_, a, c, _ := opened(t)
	session := a.Complete(stripesim.Checkout{Delayed: true})
	if e, err := envelope(told(t, a, eventCheckout)); err != nil || e.Trigger != "" || !strings.Contains(e.Ignored, "on its way") {
		t.Errorf("unpaid: %+v, %v", e, err)
	}
	if err := a.SettleCheckout(session["id"].(string), true); err != nil {
		t.Fatal(err)
	}
	body := told(t, a, eventCheckoutLate)
	if e, err := envelope(body); err != nil || e.Trigger != "checkout.completed" || e.Ignored != "" {
		t.Errorf("%+v, %v", e, err)
	}
	o, got := decoded[CheckoutCompleted](t, decodeCheckout, body)
	if o.BusinessKey != session["id"] || got.PaymentStatus != "paid" {
		t.Errorf("%+v", o)
	}
	base, err := listEvents(eventCheckout, eventCheckoutLate)(t.Context(), c, `{"floor":1,"from":1}`)
	if err != nil || len(base.Items) != 1 || base.Items[0].Type != eventCheckoutLate {
		t.Errorf("listed: %+v, %v", base, err)
	}
	failed := a.Complete(stripesim.Checkout{Delayed: true})
	if err := a.SettleCheckout(failed["id"].(string), false); err != nil {
		t.Fatal(err)
	}
	if e, err := envelope(told(t, a, "checkout.session.async_payment_failed")); err != nil || e.Trigger != "" {
		t.Errorf("failed: %+v, %v", e, err)
	}
}

func TestCheckoutOfManyThings(t *testing.T) {
	t.Parallel()
	_, a, c, _ := opened(t)
	var items []stripesim.Item
	for i := range 20 {
		items = append(items, stripesim.Item{Description: fmt.Sprint("thing ", i), Amount: int64(i + 1)})
	}
	a.Complete(stripesim.Checkout{Items: items})
	o, _ := decoded[CheckoutCompleted](t, decodeCheckout, told(t, a, eventCheckout))
	o, err := readCheckout(t.Context(), c, o)
	if err != nil || len(o.Payload.(CheckoutCompleted).LineItems) != 20 {
		t.Errorf("%+v, %v", o.Payload, err)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	plan := map[string]string{metaPlan: "p", metaAccount: "from metadata"}
	for name, x := range map[string]struct {
		reference string
		metadata  map[string]string
		want      string
	}{
		"ours":                  {reference("a.b/ü"), plan, "a.b/ü"},
		"none":                  {"", plan, "from metadata"},
		"no link of ours":       {reference("acme"), nil, ""},
		"not encoded":           {"order-4711!", plan, "from metadata"},
		"not a text":            {"_w", plan, "from metadata"},
		"of control characters": {reference("a\x00b"), plan, "from metadata"},
	} {
		_, a, _, _ := opened(t)
		a.Complete(stripesim.Checkout{ClientReferenceID: x.reference, Metadata: x.metadata})
		if _, got := decoded[CheckoutCompleted](t, decodeCheckout, told(t, a, eventCheckout)); got.TogaiAccountID != x.want {
			t.Errorf("%s: %q, want %q", name, got.TogaiAccountID, x.want)
		}
	}
	if reference(strings.Repeat("x", 150)) == "" || len(reference(strings.Repeat("x", 150))) > 200 || reference(strings.Repeat("x", 151)) != "" {
		t.Error("the longest")
	}
}

// Who paid decides whether it is news: a buyer and Stripe itself make news, our own closing of an invoice is an echo.
func TestInvoicePaid(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		pay  func(*testing.T, *stripesim.Account, connectors.Conn, string)
		echo bool
		paid int64
	}{
		"buyer": {func(t *testing.T, a *stripesim.Account, _ connectors.Conn, id string) {
			if err := a.PayHosted(id); err != nil {
				t.Fatal(err)
			}
		}, false, 11001},
		"closed": {func(t *testing.T, _ *stripesim.Account, c connectors.Conn, id string) {
			if _, err := runCloseInvoice(t.Context(), c, CloseInvoiceInput{InvoiceID: id, Resolution: "paid_elsewhere"}); err != nil {
				t.Fatal(err)
			}
		}, true, 11001},
		"credited": {func(t *testing.T, _ *stripesim.Account, c connectors.Conn, id string) {
			if _, err := runCreateCreditNote(t.Context(), c, CreateCreditNoteInput{InvoiceID: id, Amount: ptr[int64](11001)}); err != nil {
				t.Fatal(err)
			}
		}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, a, c, _ := opened(t)
			id := opening(t, a, c)
			x.pay(t, a, c, id)
			o, p := decoded[InvoicePaid](t, decodeInvoicePaid, told(t, a, eventInvoicePaid))
			if o.Thin || o.BusinessKey != id || (o.Cause.IdempotencyKey != "") != x.echo || o.Cause.Creation {
				t.Errorf("%+v", o)
			}
			if p.TogaiInvoiceID != "inv.1" || p.Total != 11001 || p.AmountPaid != x.paid || p.AmountRemaining != 0 || p.Status != "paid" || p.Number == "" || p.CustomerEmail != "billing@acme.test" ||
				p.PaidOutOfBand != (name == "closed") || p.PaidAt.Before(sampleTime) || p.CustomerID == "" || p.HostedInvoiceURL == "" {
				t.Errorf("%+v", p)
			}
			tr, _ := Connector().Trigger("invoice.paid")
			if bad := tr.Output.Validate(p); len(bad) > 0 {
				t.Errorf("%v", bad)
			}
		})
	}
}

// What a balance has covered is paid by our own call, and news all the same: nobody has told Togai.
func TestInvoicePaidByBalance(t *testing.T) {
	t.Parallel()
	_, a, c, _ := opened(t)
	id := drafted(t, a, c)
	if _, err := a.UpdateCustomer(a.Customers()[0]["id"].(string), map[string]any{"balance": float64(-20000)}); err != nil {
		t.Fatal(err)
	}
	if _, err := runFinalizeInvoice(t.Context(), c, FinalizeInvoiceInput{InvoiceID: id}); err != nil {
		t.Fatal(err)
	}
	o, p := decoded[InvoicePaid](t, decodeInvoicePaid, told(t, a, eventInvoicePaid))
	if o.Cause != (connectors.Cause{}) || p.AmountPaid != 0 || p.Total != 11001 {
		t.Errorf("%+v", o)
	}
}

// An endpoint of a newer version tells of invoices in a shape that this library reads as empty, without an error.
func TestInvoicePaidOfAnotherVersion(t *testing.T) {
	t.Parallel()
	_, a, c, _ := opened(t)
	id := opening(t, a, c)
	if _, err := runCloseInvoice(t.Context(), c, CloseInvoiceInput{InvoiceID: id, Resolution: "paid_elsewhere"}); err != nil {
		t.Fatal(err)
	}
	body := []byte(fmt.Sprintf(`{"id":"evt_9","object":"event","type":"invoice.paid","api_version":"2025-03-31.basil","created":1800000000,"livemode":false,
		"request":{"id":"req_1","idempotency_key":"tl_1"},"data":{"object":{"id":%q,"object":"invoice","status":"paid","currency":"usd","payments":{"data":[]}}}}`, id))
	o, _ := decoded[InvoicePaid](t, decodeInvoicePaid, body)
	if !o.Thin || o.Cause.IdempotencyKey != "tl_1" {
		t.Errorf("%+v", o)
	}
	o, err := readInvoicePaid(t.Context(), c, o)
	if p := o.Payload.(InvoicePaid); err != nil || o.Thin || p.Total != 11001 || !p.PaidOutOfBand || p.EventID != "evt_9" || p.TogaiInvoiceID != "inv.1" {
		t.Errorf("%+v, %v", o, err)
	}
	_, b, d, _ := opened(t)
	o.Record.ID = opening(t, b, d)
	if _, err := readInvoicePaid(t.Context(), d, o); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("an open one: %v", err)
	}
}

func TestTriggersByHand(t *testing.T) {
	t.Parallel()
	for _, tr := range Connector().Triggers {
		o, err := tr.Manual(tr.Sample)
		if err != nil || o.Mode != connectors.Test || !o.At.Equal(sampleTime) {
			t.Errorf("%s: %+v, %v", tr.Key, o, err)
		}
		for _, e := range tr.Events {
			if triggerOf[e] != tr.Key {
				t.Errorf("%s is not told of %s", tr.Key, e)
			}
		}
	}
	if n := len(triggerOf); n != len(Connector().Events()) {
		t.Errorf("%d event types are known, %d asked for", n, len(Connector().Events()))
	}
}
