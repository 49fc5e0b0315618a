package zohobooks

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/sim"
	"tieline/connectors/zohobooks/zohobookssim"
)

var quiet = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// TestContactsThatAreThere: who is meant goes by the number, then by name and e-mail address together; names are unique, and
// somebody else's name is no reason to take them for the one that is meant.
func TestContactsThatAreThere(t *testing.T) {
	t.Parallel()
	person := func(email string) []any { return []any{map[string]any{"last_name": "A", "email": email}} }
	for _, c := range []struct {
		name  string
		there map[string]any
		other string // other_name
		want  string // the name of the contact that comes of it; empty: a person must tell
		made  bool
	}{
		{"nobody", nil, "", "Acme", true},
		{"the number, renamed", map[string]any{"contact_name": "Acme Holding", "contact_number": "acme"}, "", "Acme Holding", false},
		{"name and e-mail", map[string]any{"contact_name": "ACME", "contact_number": "CUS-7", "contact_persons": person("A@acme.test")}, "", "ACME", false},
		{"name alone", map[string]any{"contact_name": "Acme", "contact_persons": person("b@acme.test")}, "", "", false},
		{"name alone, and another name", map[string]any{"contact_name": "Acme", "contact_persons": person("b@acme.test")}, "Acme (acme)", "Acme (acme)", true},
		{"name and e-mail of another that we made", map[string]any{"contact_name": "Acme", "contact_number": "beta", "notes": "x [tl_1]", "contact_persons": person("a@acme.test")}, "Acme (acme)", "Acme (acme)", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, conn, _ := world(t)
			if c.there != nil {
				made[zohobookssim.Contact](t)(s.CreateContact(c.there))
			}
			out, err := runCreateContact(t.Context(), conn, CreateContactInput{ContactNumber: "acme", Name: "Acme", OtherName: c.other, Email: "a@acme.test"})
			if c.want == "" {
				if connectors.KindOf(err) != connectors.Conflict {
					t.Errorf("%+v, %v", out, err)
				}
				return
			}
			if err != nil || out.Name != c.want || out.Created != c.made || len(s.Contacts()) != map[bool]int{true: 1, false: 0}[c.there != nil]+map[bool]int{true: 1, false: 0}[c.made] {
				t.Errorf("%+v, %v, %d contacts", out, err, len(s.Contacts()))
			}
		})
	}
}

// TestShortNumbers: a number that is part of many others costs no more calls than a minute has.
func TestShortNumbers(t *testing.T) {
	t.Parallel()
	s, c, _ := world(t)
	for i := range 60 {
		contactOf(t, s, fmt.Sprint("1", i))
	}
	before := len(s.Requests())
	made[CreatedContact](t)(runCreateContact(t.Context(), c, CreateContactInput{ContactNumber: "1", Name: "One"}))
	if n := len(s.Requests()) - before; n > most+5 {
		t.Errorf("%d calls", n)
	}
}

// TestContactIsWhole: what a contact is made with is there, and reads back without our mark.
func TestContactIsWhole(t *testing.T) {
	t.Parallel()
	for _, numeric := range []bool{false, true} {
		opts := []zohobookssim.Option{zohobookssim.WithOrganization(zohobookssim.Organization{
			Name: "A", Edition: "in", Fields: []zohobookssim.Field{{Entity: "contact", APIName: "cf_togai", Label: "Togai", Type: "string", Needed: true}, {Entity: "contact", APIName: "cf_kind", Label: "Kind", Type: "dropdown", Values: []string{"a", "b"}}},
		})}
		if numeric {
			opts = append(opts, zohobookssim.WithNumericIDs())
		}
		s, c, _ := world(t, opts...)
		terms := 14
		in := CreateContactInput{
			ContactNumber: "acme", Name: "Acme", FirstName: "Ada", LastName: "Acme", Email: "a@acme.test", Phone: "1", Address: &Address{Line1: "1 Road", City: "Pune", Country: "IN"}, Currency: "usd",
			PaymentTerms: &terms, Notes: "Togai account acme", TaxDetails: TaxDetails{GSTTreatment: "business_gst", GSTNumber: "27AAPFU0939F1ZV", Place: "MH"}, CustomFields: map[string]string{"cf_togai": "acme", "Kind": "b"},
		}
		out := made[CreatedContact](t)(runCreateContact(t.Context(), c, in))
		got := made[Contact](t)(fetched(t, c, out.ContactID))
		want := Contact{
			ContactID: s.Contacts()[0].ID, ContactNumber: "acme", Name: "Acme", Status: "active", Currency: "USD", FirstName: "Ada", LastName: "Acme", Email: "a@acme.test", Phone: "1", PaymentTerms: 14, Notes: "Togai account acme",
			Address: Address{Line1: "1 Road", City: "Pune", Country: "IN"}, CustomFields: map[string]string{"cf_togai": "acme", "cf_kind": "b"},
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || len(got.ContactID) < 17 {
			t.Errorf("numeric %v:\n%+v, want\n%+v", numeric, got, want)
		}
		if tax := s.Contacts()[0].Tax; tax["gst_treatment"] != "business_gst" || tax["place_of_contact"] != "MH" {
			t.Errorf("taxes %v", tax)
		}
		in.ContactNumber, in.Name, in.CustomFields = "beta", "Beta", map[string]string{"cf_nothing": "x"}
		other, _ := conntest.OpenSite(t, Connector(), site(t, s, filled(s)))
		if _, err := runCreateContact(t.Context(), other, in); fieldOf(err) != "custom_fields" || !strings.Contains(err.Error(), "cf_togai, cf_kind") {
			t.Errorf("an unknown field: %v", err)
		}
	}
}

func fetched(t *testing.T, c connectors.Conn, key string) (Contact, error) {
	x, err := fetchContact(t.Context(), c, key)
	return x.plain(), err
}

// TestCurrencies: one that the organization lacks is an error that says so, or is added once.
func TestCurrencies(t *testing.T) {
	t.Parallel()
	s, c, _ := world(t)
	in := CreateContactInput{ContactNumber: "acme", Name: "Acme", Currency: "CHF"}
	if _, err := runCreateContact(t.Context(), c, in); fieldOf(err) != "currency" {
		t.Errorf("lacking: %v", err)
	}
	in.AddCurrency = true
	for i := range 2 {
		in.ContactNumber, in.Name = fmt.Sprint("acme", i), fmt.Sprint("Acme ", i)
		c, _ := conntest.OpenSite(t, Connector(), site(t, s, filled(s)))
		made[CreatedContact](t)(runCreateContact(t.Context(), c, in))
	}
	n := 0
	for _, x := range s.Organization().Currencies {
		if x.Code == "CHF" {
			n++
		}
	}
	if n != 1 || s.Contacts()[1].Currency != "CHF" {
		t.Errorf("CHF is there %d times", n)
	}
}

// TestInvoicesToTheCent: whatever the edition's taxes, the currency and the discounts are, an invoice comes to what is
// expected, or nothing is written.
func TestInvoicesToTheCent(t *testing.T) {
	t.Parallel()
	line := func(name, amount string, taxed bool) InvoiceLine {
		return InvoiceLine{Name: name, Amount: amount, TaxID: map[bool]string{true: "tax"}[taxed]}
	}
	for _, c := range []struct {
		name, edition, rate string
		in                  CreateInvoiceInput
		total, tax, adjust  string
		field               string
	}{
		{"tax as a line", "us", "", CreateInvoiceInput{Currency: "USD", Lines: []InvoiceLine{line("Gold", "49.90", false), line("Sales tax", "4.12", false)}, ExpectedTotal: "54.02"}, "54.02", "0", "0", ""},
		{"value added tax", "uk", "20", CreateInvoiceInput{Currency: "GBP", Lines: []InvoiceLine{line("Gold", "49.90", true), line("Calls", "0.37", true)}, ExpectedTotal: "60.32"}, "60.32", "10.05", "0", ""},
		{"rounded line by line elsewhere", "uk", "20", CreateInvoiceInput{Currency: "GBP", Lines: []InvoiceLine{line("A", "0.02", true), line("B", "0.02", true), line("C", "0.02", true)}, ExpectedTotal: "0.06"}, "0.06", "0.01", "-0.01", ""},
		{"discount before tax", "in", "18", CreateInvoiceInput{Currency: "INR", Lines: []InvoiceLine{line("Gold", "1000", true), line("Credits", "-100", true)}, ExpectedTotal: "1062.00", TaxDetails: TaxDetails{GSTTreatment: "consumer", Place: "MH"}}, "1062", "162", "0", ""},
		{"discount after tax", "in", "18", CreateInvoiceInput{Currency: "INR", Lines: []InvoiceLine{line("Gold", "1000", true)}, Discount: "100", DiscountAfterTax: true, ExpectedTotal: "1080.00", TaxDetails: TaxDetails{GSTTreatment: "consumer", Place: "MH"}}, "1080", "180", "0", ""},
		{"paid in part", "gcc", "5", CreateInvoiceInput{Currency: "AED", Lines: []InvoiceLine{line("Gold", "200", true)}, Adjustment: "-60", AdjustmentLabel: "Paid already", ExpectedTotal: "150"}, "150", "10", "-60", ""},
		{"yen", "us", "", CreateInvoiceInput{Currency: "JPY", Lines: []InvoiceLine{line("Gold", "5000", false), line("Tax", "500", false)}, ExpectedTotal: "5500"}, "5500", "0", "0", ""},
		{"three decimals", "gcc", "5", CreateInvoiceInput{Currency: "KWD", Lines: []InvoiceLine{line("Gold", "12.345", true)}, ExpectedTotal: "12.962"}, "12.962", "0.617", "0", ""},
		{"the wrong tax", "uk", "20", CreateInvoiceInput{Currency: "GBP", Lines: []InvoiceLine{line("Gold", "49.90", true)}, ExpectedTotal: "52.40"}, "", "", "", "expected_total"},
		{"below zero", "us", "", CreateInvoiceInput{Currency: "USD", Lines: []InvoiceLine{line("Gold", "10", false), line("Credits", "-11", false)}}, "", "", "", "lines"},
		{"too fine", "us", "", CreateInvoiceInput{Currency: "USD", Lines: []InvoiceLine{line("Gold", "10.001", false)}}, "", "", "", "lines[0].amount"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, conn, _ := world(t, zohobookssim.WithOrganization(zohobookssim.Organization{Name: "A", Edition: c.edition}))
			contact := contactOf(t, s, "acme")
			in := c.in
			in.CustomerID, in.ReferenceNumber, in.MarkSent = contact.ID, "inv.1", true
			for i := range in.Lines {
				if in.Lines[i].TaxID != "" {
					in.Lines[i].TaxID = s.Organization().Taxes[0].ID
				}
			}
			out, err := runCreateInvoice(t.Context(), conn, in)
			if c.field != "" {
				if fieldOf(err) != c.field || len(s.Invoices()) != 0 {
					t.Errorf("%+v, %v", out, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := s.Invoices()[0]
			if got.Total.String() != c.total || got.Tax.String() != c.tax || got.Adjustment.String() != c.adjust || got.Status != "sent" || got.Currency != in.Currency || number(out.Total).cmp(number(c.total)) != 0 {
				t.Errorf("total %s, tax %s, adjustment %s, %s; it says %+v", got.Total, got.Tax, got.Adjustment, got.Status, out)
			}
		})
	}
}

// TestInvoiceRoundedOtherwise: where Zoho Books makes another total of the lines than we did, by rounding, that is put right
// while the invoice is a draft; a total that is another altogether is left a draft, and said.
func TestInvoiceRoundedOtherwise(t *testing.T) {
	t.Parallel()
	s, c, _ := world(t, zohobookssim.WithOrganization(zohobookssim.Organization{Name: "A", Edition: "uk"}))
	contact := contactOf(t, s, "acme")
	in := CreateInvoiceInput{CustomerID: contact.ID, ReferenceNumber: "inv.1", Currency: "GBP", Lines: []InvoiceLine{{Name: "A", Amount: "0.02", TaxID: s.Organization().Taxes[0].ID}, {Name: "B", Amount: "0.03", TaxID: s.Organization().Taxes[0].ID}}}
	made[CreatedInvoice](t)(runCreateInvoice(t.Context(), c, in))
	p := made[prepared](t)(in.prepare(t.Context(), c))
	for want, field := range map[number]string{"0.07": "", "0.50": "expected_total"} {
		p.want = want
		x := s.Invoices()[0]
		total, err := p.settle(t.Context(), c, CreatedInvoice{InvoiceID: x.ID, Number: x.Number, Total: x.Total.String()})
		if field != "" && fieldOf(err) != field || field == "" && (err != nil || number(total).cmp(want) != 0 || s.Invoices()[0].Total.String() != "0.07") {
			t.Errorf("%s: %s, %v; it is %s", want, total, err, s.Invoices()[0].Total)
		}
	}
}

// TestInvoiceThatIsThere: the contact's invoice of the reference number is used when it is over the same; another total, or two
// of them, are for a person.
func TestInvoiceThatIsThere(t *testing.T) {
	t.Parallel()
	for there, want := range map[string]connectors.Kind{"49": "", "50": connectors.Conflict, "49 49": connectors.Conflict} {
		s, c, _ := world(t)
		contact, other := contactOf(t, s, "acme"), contactOf(t, s, "beta")
		invoiceOf(t, s, other.ID, "inv.1") // of another contact
		for amount := range strings.FieldsSeq(there) {
			made[zohobookssim.Invoice](t)(s.CreateInvoice(map[string]any{"customer_id": contact.ID, "reference_number": "inv.1", "line_items": []any{map[string]any{"name": "Gold", "rate": amount}}}))
		}
		out, err := runCreateInvoice(t.Context(), c, CreateInvoiceInput{CustomerID: contact.ID, ReferenceNumber: "inv.1", Currency: "USD", Lines: []InvoiceLine{{Name: "Gold", Amount: "49"}}})
		if connectors.KindOf(err) != want || want == "" && (err != nil || out.Created || len(s.Invoices()) != 2) {
			t.Errorf("%s: %+v, %v", there, out, err)
		}
	}
}

// TestMailAndPayment: an invoice is mailed to whoever it says, once, and paid once.
func TestMailAndPayment(t *testing.T) {
	t.Parallel()
	s, c, _ := world(t)
	contact := contactOf(t, s, "acme")
	inv := invoiceOf(t, s, contact.ID, "r")
	made[SentInvoice](t)(runEmailInvoice(t.Context(), c, EmailInvoiceInput{InvoiceID: inv.ID}))
	again, _ := conntest.OpenSite(t, Connector(), site(t, s, filled(s)))
	made[SentInvoice](t)(runEmailInvoice(t.Context(), again, EmailInvoiceInput{InvoiceID: inv.ID}))
	if mails := s.Mails(); len(mails) != 1 || fmt.Sprint(mails[0].To) != "[acme@acme.example]" {
		t.Errorf("mails %+v", mails)
	}
	pay := RecordPaymentInput{ReferenceNumber: "pi_1", InvoiceID: inv.ID, Amount: "20.5", Date: "2026-01-01", Mode: "creditcard"}
	made[RecordedPayment](t)(runRecordPayment(t.Context(), c, pay))
	made[RecordedPayment](t)(runRecordPayment(t.Context(), again, pay))
	if x := s.Invoices()[0]; len(s.Payments()) != 1 || x.Status != "partially_paid" || x.Balance.String() != "28.5" {
		t.Errorf("%d payments, %s open", len(s.Payments()), x.Balance)
	}
	pay.Amount = "21"
	other, _ := conntest.OpenSite(t, Connector(), site(t, s, filled(s)))
	if _, err := runRecordPayment(t.Context(), other, pay); connectors.KindOf(err) != connectors.Conflict {
		t.Errorf("another amount: %v", err)
	}
	pay.ReferenceNumber, pay.Amount = "pi_2", "100"
	if _, err := runRecordPayment(t.Context(), c, pay); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("too much: %v", err)
	}
}

// TestLimits: what Zoho says of its limits, and how long it is then left alone.
func TestLimits(t *testing.T) {
	t.Parallel()
	for code, wait := range map[string]time.Duration{"44": 0, "45": time.Hour, "1070": 0} {
		s, c, _ := world(t)
		s.Fault(sim.Fault{Method: "POST", Point: sim.RateLimit, Code: code})
		_, err := runCreateContact(t.Context(), c, CreateContactInput{ContactNumber: "acme", Name: "Acme"})
		e, _ := err.(interface{ Unwrap() error })
		if connectors.KindOf(err) != connectors.RateLimited || e == nil || len(s.Contacts()) != 0 {
			t.Fatalf("%s: %v", code, err)
		}
		if got := e.Unwrap().(*connectors.Error); got.RetryAfter != wait || got.Code != code {
			t.Errorf("%s: it waits %s, want %s", code, got.RetryAfter, wait)
		}
		if out, err := runCreateContact(t.Context(), c, CreateContactInput{ContactNumber: "acme", Name: "Acme"}); err != nil || !out.Created {
			t.Errorf("%s, then: %+v, %v", code, out, err)
		}
	}
	s := zohobookssim.New(t, zohobookssim.WithRate(60))
	c, _ := conntest.OpenSite(t, Connector(), site(t, s, filled(s)))
	refused := 0
	for range 70 {
		if _, err := organizations(t.Context(), c); connectors.KindOf(err) == connectors.RateLimited {
			refused++
		}
	}
	if refused == 0 {
		t.Error("seventy calls in a minute that may have sixty")
	}
}

// TestFailureWithStatusOfSuccess: the code counts, not the status.
func TestFailureWithStatusOfSuccess(t *testing.T) {
	t.Parallel()
	s, c, _ := world(t)
	s.Fault(sim.Fault{Method: "POST", Point: sim.Before, Status: 200, Code: "2"})
	if _, err := runCreateContact(t.Context(), c, CreateContactInput{ContactNumber: "acme", Name: "Acme"}); connectors.KindOf(err) != connectors.Invalid {
		t.Error(err)
	}
}
