package zohobooks

import (
	"context"
	"testing"

	"tieline/connectors"
)

// TestLook: what a person is shown of a record is what a write that made it would have left.
func TestLook(t *testing.T) {
	t.Parallel()
	_, c, _ := world(t)
	contact := made[CreatedContact](t)(runCreateContact(t.Context(), c, CreateContactInput{ContactNumber: "acme", Name: "Acme", Email: "a@b.test"}))
	item := made[CreatedItem](t)(runCreateItem(t.Context(), c, CreateItemInput{Name: "Gold", Rate: "1"}))
	invoice := made[CreatedInvoice](t)(runCreateInvoice(t.Context(), c, CreateInvoiceInput{
		CustomerID: contact.ContactID, ReferenceNumber: "r", Date: "2026-01-01", Currency: "usd", ExpectedTotal: "10", Lines: []InvoiceLine{{Name: "n", Amount: "10", ItemID: item.ItemID}},
	}))
	if err := markSent(t.Context(), c, invoice.InvoiceID); err != nil {
		t.Fatal(err)
	}
	payment := made[RecordedPayment](t)(runRecordPayment(t.Context(), c, RecordPaymentInput{ReferenceNumber: "pi_1", InvoiceID: invoice.InvoiceID, Amount: "10", Date: "2026-01-02"}))
	for name, look := range map[string]struct {
		at func(context.Context, connectors.Conn, string) (connectors.Ref, any, error)
		id string
		is string
	}{
		"contact": {lookAtContact, contact.ContactID, "Acme"}, "item": {lookAtItem, item.ItemID, "Gold"}, "invoice": {lookAtInvoice, invoice.InvoiceID, invoice.Number},
		"payment": {lookAtPayment, payment.PaymentID, "pi_1"},
	} {
		ref, record, err := look.at(t.Context(), c, look.id)
		if err != nil || ref.ID != look.id || ref.Name != look.is || record == nil {
			t.Errorf("%s: %+v %v (%v)", name, ref, record, err)
		}
		if _, _, err := look.at(t.Context(), c, "404"); connectors.KindOf(err) != connectors.NotFound {
			t.Errorf("no %s: %v", name, err)
		}
	}
}
