package stripe

import (
	"strings"
	"testing"

	"tieline/connectors"
)

func TestCreateCreditNote(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		state string
		in    CreateCreditNoteInput
		total int64
		field string
	}{
		"open":             {"open", CreateCreditNoteInput{Amount: ptr[int64](1000)}, 1000, ""},
		"own line":         {"open", CreateCreditNoteInput{Lines: []CreditLine{{Description: "Sorry", Amount: 300}, {Description: "Again", Amount: 7}}}, 307, ""},
		"paid, split":      {"paid", CreateCreditNoteInput{Amount: ptr[int64](1000), CreditAmount: ptr[int64](400), OutOfBandAmount: ptr[int64](600)}, 1000, ""},
		"paid, no split":   {"paid", CreateCreditNoteInput{Amount: ptr[int64](1000)}, 0, "credit_amount"},
		"paid, bad split":  {"paid", CreateCreditNoteInput{Amount: ptr[int64](1000), RefundAmount: ptr[int64](999)}, 0, "amount"},
		"open, split":      {"open", CreateCreditNoteInput{Amount: ptr[int64](1000), RefundAmount: ptr[int64](1000)}, 0, "credit_amount"},
		"draft":            {"draft", CreateCreditNoteInput{Amount: ptr[int64](1000)}, 0, "invoice_id"},
		"nothing":          {"open", CreateCreditNoteInput{}, 0, "amount"},
		"both":             {"open", CreateCreditNoteInput{Amount: ptr[int64](1), Lines: []CreditLine{{Description: "x", Amount: 1}}}, 0, "amount"},
		"line of no words": {"open", CreateCreditNoteInput{Lines: []CreditLine{{Amount: 1}}}, 0, "lines[0].description"},
		"too much":         {"open", CreateCreditNoteInput{Amount: ptr[int64](99999)}, 0, "amount"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, a, c, _ := opened(t)
			if x.state == "draft" {
				x.in.InvoiceID = drafted(t, a, c)
			} else {
				x.in.InvoiceID = opening(t, a, c)
			}
			if x.state == "paid" {
				if err := a.PayHosted(x.in.InvoiceID); err != nil {
					t.Fatal(err)
				}
			}
			out, err := runCreateCreditNote(t.Context(), c, x.in)
			if x.field != "" {
				if e := vendorError(err); e == nil || e.Kind != connectors.Invalid || e.Field != x.field || len(a.All("credit_note")) != 0 {
					t.Errorf("%+v", err)
				}
				return
			}
			if err != nil || out.Total != x.total || out.Status != "issued" || out.Number == "" || out.PDF == "" || out.InvoiceID != x.in.InvoiceID {
				t.Fatalf("%+v, %v", out, err)
			}
			due := a.All("invoice")[0]["amount_due"].(int64)
			if x.state == "open" && due != 11001-x.total {
				t.Errorf("still due: %d", due)
			}
		})
	}
}

func TestCreditNotesApart(t *testing.T) {
	t.Parallel()
	s, a, c, _ := opened(t)
	in := CreateCreditNoteInput{InvoiceID: opening(t, a, c), Amount: ptr[int64](100)}
	for range 2 { // the same credit
		if _, err := runCreateCreditNote(t.Context(), c, in); err != nil {
			t.Fatal(err)
		}
	}
	in.Amount = ptr[int64](200)
	if _, err := runCreateCreditNote(t.Context(), c, in); connectors.KindOf(err) != connectors.Invalid || !strings.Contains(err.Error(), "reference") {
		t.Errorf("another credit without a name: %v", err)
	}
	in.Reference = "cr.2"
	if _, err := runCreateCreditNote(t.Context(), c, in); err != nil {
		t.Error(err)
	}
	other, _ := connect(t, s, a.Key())
	if _, err := runCreateCreditNote(t.Context(), other, in); connectors.KindOf(err) != connectors.Conflict {
		t.Errorf("given by somebody else: %v", err)
	}
	if n := len(a.All("credit_note")); n != 2 {
		t.Errorf("%d credit notes", n)
	}
	// A line of the invoice.
	lines := a.All("invoice")[0]["lines"].(map[string]any)["data"].([]map[string]any)
	by := CreateCreditNoteInput{InvoiceID: in.InvoiceID, Reference: "cr.3", Lines: []CreditLine{{InvoiceLineItem: lines[0]["id"].(string), Amount: 50}}}
	if out, err := runCreateCreditNote(t.Context(), c, by); err != nil || out.Total != 50 {
		t.Errorf("%+v, %v", out, err)
	}
}
