package stripe

import (
	"fmt"
	"testing"

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
	open := in("in_1MtHbELkdIwHu7ixl4OzzPMv", opening)
	return conntest.Suite[*stripesim.Account]{
		App: Connector(),
		World: func(t *testing.T, o conntest.Options) (*stripesim.Account, conntest.Site) {
			opts := []stripesim.Option{stripesim.WithSearchLag(0)}
			if o.EmptyLastPage {
				opts = append(opts, stripesim.WithExtraPage())
			}
			s := stripesim.New(t, opts...)
			a := s.Account()
			return a, conntest.Site{URL: s.URL, Credentials: connectors.Credentials{apiKey: a.Key(), accountID: a.ID}}
		},
		Kinds: map[int]connectors.Kind{402: connectors.Invalid, 409: connectors.Busy, 424: connectors.Invalid},
		Actions: map[string]conntest.Action[*stripesim.Account]{
			"customer.create": {},
			"customer.update": {Before: customer},
			"customer.find":   {},
			"customer.list": {Page: 10, Many: func(t *testing.T, a *stripesim.Account, _ connectors.Conn, n int) any {
				for range n {
					billed(t, a)
				}
				return ListCustomersInput{PageSize: 10}
			}},
			"product.create": {},
			"payment_link.create": {Before: in("price_1MoBy5LkdIwHu7ixZhnattbh", func(t *testing.T, _ *stripesim.Account, c connectors.Conn) string {
				return priced(t, c).Prices[0].PriceID
			})},
			"invoice.create":     {Before: customer},
			"invoice.finalize":   {Before: in("in_1MtHbELkdIwHu7ixl4OzzPMv", drafted)},
			"invoice.close":      {Before: open},
			"credit_note.create": {Before: open},
		},
		Triggers: map[string]conntest.Trigger[*stripesim.Account]{
			"customer.created": {Page: pageSize, Happen: func(t *testing.T, a *stripesim.Account, _ connectors.Conn) string { return billed(t, a) }},
			"checkout.completed": {Page: pageSize, Happen: func(_ *testing.T, a *stripesim.Account, _ connectors.Conn) string {
				return a.Complete(stripesim.Checkout{Items: []stripesim.Item{{Description: "x", Amount: 100}}})["id"].(string)
			}},
			"invoice.paid": {Page: pageSize, Happen: func(t *testing.T, a *stripesim.Account, c connectors.Conn) string {
				id := paidInvoice(t, a, c)
				return id
			}},
		},
	}
}

// paidInvoice is another one each time.
func paidInvoice(t *testing.T, a *stripesim.Account, c connectors.Conn) string {
	t.Helper()
	in := bill(billed(t, a))
	in.TogaiInvoiceID = fmt.Sprint("inv.", len(a.All("invoice")))
	other, _ := connect(t, a.Sim(), a.Key())
	in.Lines, in.ExpectedTotal = in.Lines[:1], nil
	out, err := runCreateInvoice(t.Context(), other, in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := runFinalizeInvoice(t.Context(), other, FinalizeInvoiceInput{InvoiceID: out.InvoiceID, SendEmail: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	if err := a.PayHosted(out.InvoiceID); err != nil {
		t.Fatal(err)
	}
	return out.InvoiceID
}
