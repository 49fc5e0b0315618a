package stripe

import (
	"context"
	"testing"

	"tieline/connectors"
)

// TestLook: what a person is shown of a record is what is there, told apart by what the write that made it left.
func TestLook(t *testing.T) {
	t.Parallel()
	_, a, c, _ := opened(t)
	product := priced(t, c)
	bought, err := runCreatePaymentLink(t.Context(), c, link(product))
	if err != nil {
		t.Fatal(err)
	}
	customer := billed(t, a)
	invoice := opening(t, a, c)
	note, err := runCreateCreditNote(t.Context(), c, CreateCreditNoteInput{InvoiceID: invoice, Amount: ptr[int64](700)})
	if err != nil {
		t.Fatal(err)
	}
	line := a.All("invoiceitem")[0]["id"].(string)
	want, err := gold.Prices[0].terms(0)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		look   func(context.Context, connectors.Conn, string) (connectors.Ref, any, error)
		id     string
		attr   string
		is     string
		field  string
		showed any
	}{
		"customer":     {lookAtCustomer, customer, "", "", "name", "Acme"},
		"product":      {lookAtProduct, product.ProductID, "", "", "active", true},
		"price":        {lookAtPrice, product.Prices[0].PriceID, attrTerms, want.String(), "product_id", product.ProductID},
		"payment link": {lookAtPaymentLink, bought.PaymentLinkID, attrURL, bought.URL, "active", true},
		"invoice":      {lookAtInvoice, invoice, "", "", "total", int64(11001)},
		"invoice line": {lookAtInvoiceItem, line, "", "", "amount", a.All("invoiceitem")[0]["amount"]},
		"credit note":  {lookAtCreditNote, note.CreditNoteID, attrTotal, "700", "invoice_id", invoice},
	} {
		t.Run(name, func(t *testing.T) {
			ref, record, err := x.look(t.Context(), c, x.id)
			if err != nil {
				t.Fatal(err)
			}
			if shown := record.(map[string]any); ref.ID != x.id || ref.Attributes[x.attr] != x.is || shown["id"] != x.id || shown[x.field] != x.showed {
				t.Errorf("%+v, %v", ref, shown)
			}
			if _, _, err := x.look(t.Context(), c, "nothing"); connectors.KindOf(err) != connectors.NotFound {
				t.Errorf("of nothing: %v", err)
			}
		})
	}
}
