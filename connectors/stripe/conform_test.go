package stripe

import (
	"fmt"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/stripe/stripesim"
)

func TestConforms(t *testing.T) {
	t.Parallel()
	suite().Run(t)
}

func suite() conntest.Suite[*stripesim.Account] {
	type before = func(*testing.T, *stripesim.Account, connectors.Conn) map[string]string
	in := func(sample string, made func(*testing.T, *stripesim.Account, connectors.Conn) string) before {
		return func(t *testing.T, a *stripesim.Account, c connectors.Conn) map[string]string {
			return map[string]string{sample: made(t, a, c)}
		}
	}
	customer := in("cus_NffrFeUfNV2Hib", func(t *testing.T, a *stripesim.Account, _ connectors.Conn) string { return billed(t, a) })
	customers := map[string]conntest.Choice[*stripesim.Account]{"customer_id": {Page: pageSize, Search: "acme 7", Many: func(t *testing.T, a *stripesim.Account, _ connectors.Conn, n int) {
		for i := range n {
			makes(t, a, map[string]any{"name": fmt.Sprint("Acme ", i), "email": "billing@acme.test"})
		}
	}}}
	prices := map[string]conntest.Choice[*stripesim.Account]{"line_items.price_id": {Page: pageSize, Search: "gold 1", Many: func(t *testing.T, _ *stripesim.Account, c connectors.Conn, n int) {
		for i := range n {
			product := CreateProductInput{TogaiPricePlanID: fmt.Sprint("p", i), Name: fmt.Sprint("Gold ", i), Prices: []PriceInput{{Key: "base", Currency: "usd", UnitAmount: ptr(int64(i)), Interval: "month"}}}
			if _, err := runCreateProduct(t.Context(), fresh(t, c), product); err != nil {
				t.Fatal(err)
			}
		}
	}}}
	invoices := func(open bool) map[string]conntest.Choice[*stripesim.Account] {
		return map[string]conntest.Choice[*stripesim.Account]{"invoice_id": {Page: pageSize, Search: "acme 7", Many: func(t *testing.T, a *stripesim.Account, c connectors.Conn, n int) {
			for i := range n {
				invoiceOf(t, a, fresh(t, c), fmt.Sprint("Acme ", i), open)
			}
		}}}
	}
	open := in("in_1MtHbELkdIwHu7ixl4OzzPMv", opening)
	return conntest.Suite[*stripesim.Account]{
		App: Connector(),
		World: func(t *testing.T, o conntest.Options) (*stripesim.Account, conntest.Site) {
			opts := []stripesim.Option{stripesim.WithSearchLag(time.Hour)} // so that nothing relies on search
			if o.EmptyLastPage {
				opts = []stripesim.Option{stripesim.WithSearchLag(0), stripesim.WithExtraPage()}
			}
			s := stripesim.New(t, opts...)
			a := s.Account()
			return a, conntest.Site{URL: s.URL, Credentials: connectors.Credentials{apiKey: a.Key(), accountID: a.ID}}
		},
		Kinds: map[int]connectors.Kind{402: connectors.Invalid, 409: connectors.Busy, 424: connectors.Invalid},
		Actions: map[string]conntest.Action[*stripesim.Account]{
			"customer.create": {},
			"customer.update": {Before: customer, Options: customers},
			"customer.find":   {Options: customers},
			"customer.list": {Page: 10, Many: func(t *testing.T, a *stripesim.Account, _ connectors.Conn, n int) any {
				for range n {
					billed(t, a)
				}
				return ListCustomersInput{PageSize: 10}
			}},
			"product.create": {},
			"payment_link.create": {Options: prices, Before: in("price_1MoBy5LkdIwHu7ixZhnattbh", func(t *testing.T, _ *stripesim.Account, c connectors.Conn) string {
				return priced(t, c).Prices[0].PriceID
			})},
			"invoice.create":     {Before: customer, Options: customers},
			"invoice.finalize":   {Before: in("in_1MtHbELkdIwHu7ixl4OzzPMv", drafted), Options: invoices(false)},
			"invoice.close":      {Before: open, Options: invoices(true)},
			"credit_note.create": {Before: open, Options: invoices(true)},
		},
		Triggers: map[string]conntest.Trigger[*stripesim.Account]{
			"customer.created": {Page: pageSize, Happen: func(t *testing.T, a *stripesim.Account, _ connectors.Conn) string { return billed(t, a) }},
			"checkout.completed": {Page: pageSize, Happen: func(_ *testing.T, a *stripesim.Account, _ connectors.Conn) string {
				return a.Complete(stripesim.Checkout{Items: []stripesim.Item{{Description: "x", Amount: 100}}})["id"].(string)
			}},
			"invoice.paid": {Page: pageSize, Happen: func(t *testing.T, a *stripesim.Account, c connectors.Conn) string {
				id := invoiceOf(t, a, fresh(t, c), "Acme", true)
				if err := a.PayHosted(id); err != nil {
					t.Fatal(err)
				}
				return id
			}},
		},
	}
}

// fresh is the same connection in another process.
func fresh(t *testing.T, c connectors.Conn) connectors.Conn {
	t.Helper()
	other, _ := conntest.OpenJournal(t, c.App, c.URL, c.Credentials)
	return other
}

// invoiceOf is another invoice of another customer each time.
func invoiceOf(t *testing.T, a *stripesim.Account, c connectors.Conn, name string, open bool) string {
	t.Helper()
	in := bill(makes(t, a, map[string]any{"name": name, "email": "billing@acme.test"}))
	in.TogaiInvoiceID, in.Lines, in.ExpectedTotal = "inv."+in.CustomerID, in.Lines[:1], nil
	out, err := runCreateInvoice(t.Context(), c, in)
	if err != nil {
		t.Fatal(err)
	}
	if open {
		if _, err := runFinalizeInvoice(t.Context(), c, FinalizeInvoiceInput{InvoiceID: out.InvoiceID, SendEmail: ptr(false)}); err != nil {
			t.Fatal(err)
		}
	}
	return out.InvoiceID
}
