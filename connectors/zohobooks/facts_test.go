package zohobooks

import (
	"slices"
	"strings"
	"testing"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/sim"
	"tieline/connectors/zohobooks/zohobookssim"
)

const factsFile = "testdata/facts.json"

// recorded is all that the connector can do, and what the simulator answered. What is documented on Zoho's pages and not in
// its specification is left out.
func recorded(t *testing.T) []conntest.Exchange {
	t.Helper()
	var tape conntest.Tape
	s := zohobookssim.New(t, zohobookssim.WithExtraPage(), zohobookssim.WithOrganization(zohobookssim.Organization{
		Name: "A", Edition: "uk", Currency: "GBP", Fields: []zohobookssim.Field{{Entity: "contact", APIName: "cf_a", Label: "A", Type: "string"}, {Entity: "invoice", APIName: "cf_b", Label: "B", Type: "string"}},
	}))
	at := site(t, s, filled(s))
	connected := func() connectors.Conn {
		c, _ := conntest.OpenSite(t, Connector(), at)
		return tape.Record(c)
	}
	c, terms, taxID := connected(), 30, s.Organization().Taxes[0].ID
	made[connectors.Identity](t)(identify(t.Context(), c))
	contact := made[CreatedContact](t)(runCreateContact(t.Context(), c, CreateContactInput{
		ContactNumber: "acme", Name: "Acme", OtherName: "Acme 2", Company: "Acme", FirstName: "A", Email: "a@b.test", Address: &Address{Line1: "1 Road"}, Currency: "CHF", AddCurrency: true,
		PaymentTerms: &terms, TaxDetails: TaxDetails{VATTreatment: "uk", VATNumber: "1"}, CustomFields: map[string]string{"cf_a": "x"},
	}))
	made[FoundContact](t)(runFindContact(t.Context(), c, FindContactInput{Email: "a@b.test"}))
	made[FoundContact](t)(runFindContact(t.Context(), c, FindContactInput{ContactNumber: "acme"}))
	made[UpdatedContact](t)(runUpdateContact(t.Context(), c, UpdateContactInput{
		ContactID: contact.ContactID, Name: "Acme Inc.", Company: "Acme Inc.", Address: &Address{Line1: "2 Road"}, PaymentTerms: new(int), CustomFields: map[string]string{"cf_a": "y"},
	}))
	item := made[CreatedItem](t)(runCreateItem(t.Context(), c, CreateItemInput{Name: "Gold", Rate: "1", Description: "d", SKU: "s", Type: "goods", AccountID: s.Organization().Ledger[0].ID, TaxID: taxID}))
	s.Fault(sim.Fault{Method: "POST", Path: "/books/v3/invoices", Point: sim.Cut})
	in := CreateInvoiceInput{
		CustomerID: contact.ContactID, ReferenceNumber: "r", Number: "I-1", Date: "2026-01-01", DueDate: "2026-02-01", Currency: "gbp", ExchangeRate: "1", Discount: "1", Adjustment: "-1", ExpectedTotal: "9.81",
		Lines: []InvoiceLine{{Name: "n", Description: "d", Amount: "10.01", ItemID: item.ItemID, TaxID: taxID}}, MarkSent: true, Notes: "n", Terms: "t", TaxDetails: TaxDetails{VATTreatment: "uk"},
		CustomFields: map[string]string{"cf_b": "x"},
	}
	lost := connected()
	if _, err := runCreateInvoice(t.Context(), lost, in); connectors.KindOf(err) != connectors.OutcomeUnknown {
		t.Fatal(err)
	}
	inv := made[CreatedInvoice](t)(runCreateInvoice(t.Context(), lost, in))
	p := made[prepared](t)(in.prepare(t.Context(), c))
	p.want = p.want.plus("0.01")
	made[string](t)(p.settle(t.Context(), c, inv))
	made[SentInvoice](t)(runEmailInvoice(t.Context(), c, EmailInvoiceInput{InvoiceID: inv.InvoiceID, Subject: "s", Body: "b"}))
	pay := RecordPaymentInput{ReferenceNumber: "pi_1", InvoiceID: inv.InvoiceID, Amount: "1", Date: "2026-02-01", AccountID: s.Organization().Ledger[1].ID, Description: "d"}
	s.Fault(sim.Fault{Method: "POST", Path: "/books/v3/customerpayments", Point: sim.Cut})
	if _, err := runRecordPayment(t.Context(), lost, pay); connectors.KindOf(err) != connectors.OutcomeUnknown {
		t.Fatal(err)
	}
	made[RecordedPayment](t)(runRecordPayment(t.Context(), lost, pay))
	for _, offer := range []connectors.Offer{offerContacts, offerItems, offerTaxes, offerInvoices} {
		made[connectors.OptionPage](t)(offer(t.Context(), c, "x", ""))
	}
	var out []conntest.Exchange
	for _, x := range tape.Exchanges() {
		if x.Path = strings.TrimPrefix(x.Path, root); !slices.Contains([]string{"/settings/fields", "/chartofaccounts"}, x.Path) {
			out = append(out, x)
		}
	}
	return out
}

// Every request of every action is one that Zoho documents, with what it requires; what the simulator answers has what Zoho's
// answers have; and the table holds nothing that we do not use.
func TestRequestsAreDocumented(t *testing.T) {
	t.Parallel()
	conntest.CheckFacts(t, conntest.Facts(t, factsFile), recorded(t))
}
