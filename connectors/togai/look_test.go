package togai

import (
	"context"
	"testing"

	"tieline/connectors"
)

// TestLook: a payment or credit whose answer was lost can be looked at.
func TestLook(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t)
	paid, err := runRecordPayment(t.Context(), c, RecordPaymentInput{InvoiceID: w.invoice, Amount: "9.00", PaymentSource: stripe})
	if err != nil {
		t.Fatal(err)
	}
	credit, err := runGrantCredit(t.Context(), c, GrantCreditInput{AccountID: "acme", ReferenceID: "cn_1", Amount: "12.345", Purpose: "Goodwill"})
	if err != nil {
		t.Fatal(err)
	}
	see := func(look func(context.Context, connectors.Conn, string) (connectors.Ref, any, error), id, name string) any {
		t.Helper()
		ref, record, err := look(t.Context(), c, id)
		if err != nil || ref.ID != id || ref.Name != name {
			t.Fatalf("%+v, %v", ref, err)
		}
		if _, _, err := look(t.Context(), c, "nothing"); connectors.KindOf(err) != connectors.NotFound {
			t.Errorf("of nothing: %v", err)
		}
		return record
	}
	if p := see(lookAtPayment, paid.PaymentID, "pi_1").(Payment); p.Amount != "9.00" || len(p.InvoiceIDs) != 1 || p.InvoiceIDs[0] != w.invoice {
		t.Errorf("%+v", p)
	}
	if x := see(lookAtCredit, credit.CreditID, "Goodwill").(Credit); x.Amount != "12.345" || x.AccountID != "acme" {
		t.Errorf("%+v", x)
	}
}
