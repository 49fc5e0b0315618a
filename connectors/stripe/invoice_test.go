package stripe

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
)

func TestCreateInvoice(t *testing.T) {
	t.Parallel()
	s, a, c, j := opened(t)
	in := bill(billed(t, a))
	for i := range 20 {
		in.Lines = append(in.Lines, InvoiceLine{Description: fmt.Sprint("more ", i), Amount: 1})
	}
	in.ExpectedTotal = ptr[int64](11021)
	out, err := runCreateInvoice(t.Context(), c, in)
	if err != nil || out.Status != "draft" || out.Total != 11021 || out.AmountDue != 11021 || out.Subtotal != 11021 || out.Currency != "usd" || out.LineCount != 24 {
		t.Fatalf("%+v, %v", out, err)
	}
	inv := a.All("invoice")[0]
	if inv["auto_advance"] != false || inv["collection_method"] != "send_invoice" || inv["metadata"].(map[string]any)[metaInvoice] != "inv.1" || inv["description"] != "thanks" {
		t.Errorf("%v", inv)
	}
	for _, i := range a.All("invoiceitem") {
		if i["invoice"] != out.InvoiceID {
			t.Errorf("a line floats: %v", i)
		}
	}
	if len(j.Effects()) != 25 {
		t.Errorf("%d effects", len(j.Effects()))
	}
	// A copy of this system, that knows nothing of it, neither bills it again nor adds to a draft of somebody else's.
	other, _ := connect(t, s, a.Key())
	if _, err := runCreateInvoice(t.Context(), other, in); connectors.KindOf(err) != connectors.Conflict {
		t.Errorf("a draft of somebody else: %v", err)
	}
	if _, err := runFinalizeInvoice(t.Context(), c, FinalizeInvoiceInput{InvoiceID: out.InvoiceID}); err != nil {
		t.Fatal(err)
	}
	there, err := runCreateInvoice(t.Context(), other, in)
	if err != nil || there.InvoiceID != out.InvoiceID || there.Status != "open" || there.LineCount != 24 || len(a.All("invoice")) != 1 || len(a.All("invoiceitem")) != 24 {
		t.Errorf("adopted: %+v, %v", there, err)
	}
	next := in
	next.TogaiInvoiceID = "inv.2"
	if _, err := runCreateInvoice(t.Context(), c, next); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("another invoice for the same record: %v", err)
	}
}

func TestCreateInvoiceRefusals(t *testing.T) {
	t.Parallel()
	past := sampleTime
	for name, x := range map[string]struct {
		change func(*CreateInvoiceInput, *testing.T, *stripesim.Account)
		field  string
	}{
		"other total": {func(in *CreateInvoiceInput, _ *testing.T, _ *stripesim.Account) { *in.ExpectedTotal++ }, "expected_total"},
		"no due date": {func(in *CreateInvoiceInput, _ *testing.T, _ *stripesim.Account) { in.DaysUntilDue = nil }, "days_until_due"},
		"due when paid": {func(in *CreateInvoiceInput, _ *testing.T, _ *stripesim.Account) {
			in.CollectionMethod = "charge_automatically"
		}, "days_until_due"},
		"due in the past": {func(in *CreateInvoiceInput, _ *testing.T, _ *stripesim.Account) {
			in.DaysUntilDue, in.DueDate = nil, &past
		}, "due_date"},
		"half a period": {func(in *CreateInvoiceInput, _ *testing.T, _ *stripesim.Account) { in.Lines[0].PeriodEnd = nil }, "lines[0].period_start"},
		"third decimal": {func(in *CreateInvoiceInput, _ *testing.T, _ *stripesim.Account) { in.Currency = "KWD" }, "lines[3].amount"},
		"no e-mail": {func(in *CreateInvoiceInput, t *testing.T, a *stripesim.Account) {
			in.CustomerID = makes(t, a, map[string]any{"name": "Silent"})
		}, "customer_id"},
		"other currency": {func(in *CreateInvoiceInput, t *testing.T, a *stripesim.Account) {
			c, _ := connect(t, a.Sim(), a.Key())
			euro := bill(in.CustomerID)
			euro.Currency, euro.TogaiInvoiceID = "eur", "inv.0"
			if _, err := runCreateInvoice(t.Context(), c, euro); err != nil {
				t.Fatal(err)
			}
		}, "currency"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, a, c, _ := opened(t)
			in := bill(billed(t, a))
			x.change(&in, t, a)
			before := left(a)
			_, err := runCreateInvoice(t.Context(), c, in)
			if e := vendorError(err); e == nil || e.Kind != connectors.Invalid || e.Field != x.field {
				t.Errorf("%+v", err)
			}
			if got := left(a); got != before {
				t.Errorf("left %s", got)
			}
		})
	}
}

// What Stripe adds by itself is found before the customer sees it.
func TestCreateInvoiceOfAnotherTotal(t *testing.T) {
	t.Parallel()
	_, a, c, j := opened(t)
	in := bill(billed(t, a))
	in.AutomaticTax = true
	_, err := runCreateInvoice(t.Context(), c, in)
	if e := vendorError(err); e == nil || e.Kind != connectors.Invalid || e.Field != "expected_total" || !strings.Contains(err.Error(), "12101") {
		t.Fatal(err)
	}
	if n := len(a.All("invoice")) + len(a.All("invoiceitem")); n != 0 {
		t.Errorf("%d are left", n)
	}
	if _, err := runCreateInvoice(t.Context(), c, in); connectors.KindOf(err) != connectors.NotFound || !strings.Contains(err.Error(), "mapping") {
		t.Errorf("again: %v", err)
	}
	if len(j.Effects()) != 6 { // the invoice, its lines, and its end
		t.Errorf("%d effects", len(j.Effects()))
	}
}

func TestInvoiceCurrencies(t *testing.T) {
	t.Parallel()
	for currency, x := range map[string]struct{ amount, wire int64 }{"JPY": {1200, 1200}, "KWD": {12340, 12340}, "UGX": {500, 50000}, "ISK": {7, 700}, "MGA": {1200, 12}, "EUR": {999, 999}} {
		_, a, c, _ := opened(t)
		in := bill(billed(t, a))
		in.Currency, in.ExpectedTotal, in.Lines = currency, ptr(x.amount), []InvoiceLine{{Description: "All", Amount: x.amount}}
		out, err := runCreateInvoice(t.Context(), c, in)
		if err != nil || out.Total != x.amount || a.All("invoice")[0]["total"] != x.wire {
			t.Errorf("%s: %+v, %v; Stripe has %v", currency, out, err, a.All("invoice"))
		}
	}
}

func TestFinalizeInvoice(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		in      FinalizeInvoiceInput
		balance int64
		lines   []InvoiceLine
		status  string
		due     int64
		mails   int
	}{
		"usual":           {FinalizeInvoiceInput{}, 0, nil, "open", 11001, 1},
		"no mail":         {FinalizeInvoiceInput{SendEmail: ptr(false)}, 0, nil, "open", 11001, 0},
		"auto_advance":    {FinalizeInvoiceInput{AutoAdvance: true}, 0, nil, "open", 11001, 0},
		"part of it":      {FinalizeInvoiceInput{}, -1000, nil, "open", 10001, 1},
		"balance":         {FinalizeInvoiceInput{}, -20000, nil, "paid", 0, 0},
		"nothing":         {FinalizeInvoiceInput{}, 0, []InvoiceLine{{Description: "a", Amount: 10}, {Description: "b", Amount: -10}}, "paid", 0, 0},
		"a credit":        {FinalizeInvoiceInput{}, 0, []InvoiceLine{{Description: "b", Amount: -10}}, "paid", 0, 0},
		"under the least": {FinalizeInvoiceInput{}, 0, []InvoiceLine{{Description: "a", Amount: 10}}, "paid", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, a, c, _ := opened(t)
			in := bill(billed(t, a))
			if _, err := a.UpdateCustomer(in.CustomerID, map[string]any{"balance": float64(x.balance)}); err != nil {
				t.Fatal(err)
			}
			if x.lines != nil {
				in.Lines, in.ExpectedTotal = x.lines, nil
			}
			made, err := runCreateInvoice(t.Context(), c, in)
			if err != nil {
				t.Fatal(err)
			}
			x.in.InvoiceID = made.InvoiceID
			for range 2 {
				out, err := runFinalizeInvoice(t.Context(), c, x.in)
				if err != nil || out.Status != x.status || out.AmountDue != x.due || out.EmailRequested != (x.mails > 0) || out.Number == "" || out.DueDate == nil || out.HostedInvoiceURL == "" || out.InvoicePDF == "" {
					t.Fatalf("%+v, %v", out, err)
				}
			}
			if got := a.Mails(made.InvoiceID); len(got) != x.mails {
				t.Errorf("mailed to %v", got)
			}
		})
	}
	_, _, c, _ := opened(t)
	if _, err := runFinalizeInvoice(t.Context(), c, FinalizeInvoiceInput{InvoiceID: "in_1", SendEmail: ptr(true), AutoAdvance: true}); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("two mails: %v", err)
	}
}

// A mail whose answer was lost is found by its event, also when no key is remembered any more, and never sent twice.
func TestInvoiceIsMailedOnce(t *testing.T) {
	t.Parallel()
	s, a, c, _ := opened(t)
	id := drafted(t, a, c)
	s.Fault(sim.Fault{Method: "POST", Path: "/v1/invoices/*/send", Point: sim.Cut})
	if _, err := runFinalizeInvoice(t.Context(), c, FinalizeInvoiceInput{InvoiceID: id}); connectors.KindOf(err) != connectors.OutcomeUnknown {
		t.Fatal(err)
	}
	s.Clock.Advance(48 * time.Hour)
	out, err := runFinalizeInvoice(t.Context(), c, FinalizeInvoiceInput{InvoiceID: id})
	if err != nil || !out.EmailRequested || len(a.Mails(id)) != 1 || s.Count("POST", "/v1/invoices/*/send") != 1 {
		t.Errorf("%+v, %v, %v", out, err, a.Mails(id))
	}
}

func TestCloseInvoice(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		first, then string // resolutions; a buyer pays for "paid"
		status      string
		elsewhere   bool
		fails       connectors.Kind
	}{
		"paid elsewhere":     {"", "paid_elsewhere", "paid", true, ""},
		"void":               {"", "void", "void", false, ""},
		"uncollectible":      {"", "uncollectible", "uncollectible", false, ""},
		"paid in the end":    {"uncollectible", "paid_elsewhere", "paid", true, ""},
		"paid in Stripe":     {"paid", "paid_elsewhere", "paid", false, ""},
		"void after payment": {"paid", "void", "", false, connectors.Invalid},
		"paid after void":    {"void", "paid_elsewhere", "", false, connectors.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, a, c, _ := opened(t)
			id := opening(t, a, c)
			switch x.first {
			case "":
			case "paid":
				if err := a.PayHosted(id); err != nil {
					t.Fatal(err)
				}
			default:
				if _, err := runCloseInvoice(t.Context(), c, CloseInvoiceInput{InvoiceID: id, Resolution: x.first}); err != nil {
					t.Fatal(err)
				}
			}
			again, _ := connect(t, s, a.Key())
			out, err := runCloseInvoice(t.Context(), again, CloseInvoiceInput{InvoiceID: id, Resolution: x.then, Reference: "bank 1"})
			if connectors.KindOf(err) != x.fails || out.Status != x.status || out.PaidOutOfBand != x.elsewhere || err == nil && out.ClosedAt.Before(sampleTime) {
				t.Fatalf("%+v, %v", out, err)
			}
			if noted := a.All("invoice")[0]["metadata"].(map[string]any)[metaClosing]; (noted == "bank 1") != (err == nil) {
				t.Errorf("noted %v", noted)
			}
		})
	}
}
