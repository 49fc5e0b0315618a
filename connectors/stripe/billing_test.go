package stripe

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/apd/v3"

	"tieline/connectors"
	"tieline/connectors/stripe/stripesim"
)

func dec(s string) *apd.Decimal {
	d, _, err := apd.NewFromString(s)
	if err != nil {
		panic(err)
	}
	return d
}

var gold = CreateProductInput{TogaiPricePlanID: "plan.1x", Name: "Gold", UnitLabel: "seat", Metadata: map[string]string{"k": "v", metaEffect: "forged"}, Prices: []PriceInput{
	{Key: "base", Currency: "USD", UnitAmount: ptr[int64](5000), Interval: "month"},
	{Key: "setup", Currency: "usd", UnitAmountDecimal: dec("1000.50")},
	{Key: "usage", Currency: "usd", Interval: "month", Usage: "metered", TiersMode: "graduated", Tiers: []TierInput{
		{UpTo: ptr[int64](1000), UnitAmountDecimal: dec("0.0000125"), FlatAmount: ptr[int64](10)}, {UnitAmount: ptr[int64](1)}}},
}}

// bill is an invoice of Togai for a customer.
func bill(customer string) CreateInvoiceInput {
	from, to := sampleTime, sampleTime.AddDate(0, 1, 0)
	return CreateInvoiceInput{CustomerID: customer, TogaiInvoiceID: "inv.1", Currency: "USD", DaysUntilDue: ptr[int64](14), ExpectedTotal: ptr[int64](11001), Memo: "thanks",
		CustomFields: []CustomField{{"PO", "4711"}}, Metadata: map[string]string{metaEffect: "forged"}, Lines: []InvoiceLine{
			{Description: "Calls", Amount: 12000, PeriodStart: &from, PeriodEnd: &to}, {Description: "Discount", Amount: -2000}, {Description: "Free", Amount: 0}, {Description: "Tax", Amount: 1001},
		}}
}

// billed are customers that can be billed.
func billed(t *testing.T, a *stripesim.Account) string {
	t.Helper()
	return makes(t, a, map[string]any{"name": "Acme", "email": "billing@acme.test"})
}

func drafted(t *testing.T, a *stripesim.Account, c connectors.Conn) string {
	t.Helper()
	out, err := runCreateInvoice(t.Context(), c, bill(billed(t, a)))
	if err != nil {
		t.Fatal(err)
	}
	return out.InvoiceID
}

func opening(t *testing.T, a *stripesim.Account, c connectors.Conn) string {
	t.Helper()
	id := drafted(t, a, c)
	if _, err := runFinalizeInvoice(t.Context(), c, FinalizeInvoiceInput{InvoiceID: id}); err != nil {
		t.Fatal(err)
	}
	return id
}

func priced(t *testing.T, c connectors.Conn) ProductWithPrices {
	t.Helper()
	out, err := runCreateProduct(t.Context(), c, gold)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func link(p ProductWithPrices) CreatePaymentLinkInput {
	return CreatePaymentLinkInput{LineItems: []LinkItem{{PriceID: p.Prices[0].PriceID}, {PriceID: p.Prices[1].PriceID, Quantity: 2}}, TogaiPricePlanID: "plan.1x",
		TogaiAccountID: "Ac me/1", PrefilledEmail: "b+1@acme.test", AfterCompletionURL: "https://acme.test/ok?a=b", SingleUse: true, TrialPeriodDays: 14, Metadata: map[string]string{"k": "v"}}
}

// left says what is there in the end, but for ids and times.
func left(a *stripesim.Account) string {
	var out []string
	for _, kind := range []string{"customer", "product", "price", "payment_link", "invoice", "invoiceitem", "credit_note", "mail"} {
		for _, o := range a.All(kind) {
			line := kind
			for _, f := range []string{"status", "amount", "total", "amount_due", "lookup_key", "description", "paid_out_of_band", "number"} {
				if v, ok := o[f]; ok && (f != "number" || v == nil) {
					line += fmt.Sprintf(" %s=%v", f, v)
				}
			}
			if m, ok := o["metadata"].(map[string]any); ok {
				line += fmt.Sprint(slices.Sorted(maps.Keys(m)))
			}
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
