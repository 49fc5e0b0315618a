package stripe

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/apd/v3"

	"tieline/connectors"
	"tieline/connectors/sim"
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

// writers are the actions that write, each ready to run: what must be there is made over another connection.
var writers = map[string]func(*testing.T, *stripesim.Account, connectors.Conn) func(connectors.Conn) (any, error){
	"product.create": func(t *testing.T, _ *stripesim.Account, _ connectors.Conn) func(connectors.Conn) (any, error) {
		return func(c connectors.Conn) (any, error) { return runCreateProduct(t.Context(), c, gold) }
	},
	"payment_link.create": func(t *testing.T, _ *stripesim.Account, before connectors.Conn) func(connectors.Conn) (any, error) {
		in := link(priced(t, before))
		return func(c connectors.Conn) (any, error) { return runCreatePaymentLink(t.Context(), c, in) }
	},
	"invoice.create": func(t *testing.T, a *stripesim.Account, _ connectors.Conn) func(connectors.Conn) (any, error) {
		in := bill(billed(t, a))
		return func(c connectors.Conn) (any, error) { return runCreateInvoice(t.Context(), c, in) }
	},
	"invoice.finalize": func(t *testing.T, a *stripesim.Account, before connectors.Conn) func(connectors.Conn) (any, error) {
		id := drafted(t, a, before)
		return func(c connectors.Conn) (any, error) {
			return runFinalizeInvoice(t.Context(), c, FinalizeInvoiceInput{InvoiceID: id})
		}
	},
	"invoice.close": func(t *testing.T, a *stripesim.Account, before connectors.Conn) func(connectors.Conn) (any, error) {
		id := opening(t, a, before)
		return func(c connectors.Conn) (any, error) {
			return runCloseInvoice(t.Context(), c, CloseInvoiceInput{InvoiceID: id, Resolution: "paid_elsewhere", Reference: "bank 1"})
		}
	},
	"credit_note.create": func(t *testing.T, a *stripesim.Account, before connectors.Conn) func(connectors.Conn) (any, error) {
		id := opening(t, a, before)
		return func(c connectors.Conn) (any, error) {
			return runCreateCreditNote(t.Context(), c, CreateCreditNoteInput{InvoiceID: id, Reference: "cr.1", Amount: ptr[int64](1000), Reason: "duplicate"})
		}
	},
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

// Whichever of an action's writes goes wrong, and however: run again, it ends as if nothing had, and nothing is twice.
func TestWritesSettle(t *testing.T) {
	t.Parallel()
	for name, prepare := range writers {
		_, a, before, _ := opened(t)
		act := prepare(t, a, before)
		c, j := connect(t, a.Sim(), a.Key())
		if _, err := act(c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want, writes := left(a), len(j.Effects())
		if writes == 0 {
			t.Fatalf("%s makes no effects", name)
		}
		for n := range writes {
			for _, point := range []sim.Point{sim.Cut, sim.CutBefore, sim.AfterCommit, sim.Before, sim.HTML502, sim.RateLimit} {
				for _, resend := range []bool{false, true} {
					t.Run(fmt.Sprint(name, " write ", n+1, " ", point, " resend ", resend), func(t *testing.T) {
						t.Parallel()
						s, a, before, _ := opened(t, stripesim.WithSearchLag(time.Hour))
						act := prepare(t, a, before)
						c, j := connect(t, s, a.Key())
						j.Resend = resend
						s.Fault(sim.Fault{Method: "POST", Point: point, Skip: n})
						failures := 0
						for {
							_, err := act(c)
							if err == nil {
								break
							}
							failures++
							e := vendorError(err)
							if e == nil || failures > 3 || e.Kind != connectors.OutcomeUnknown && e.Kind != connectors.RateLimited {
								t.Fatalf("try %d: %v", failures, err)
							}
							if e.Replayed { // Stripe repeats the failure it once gave: the engine must look
								j.Resend = false
							}
						}
						if failures == 0 {
							t.Fatal("the fault did not fire")
						}
						if got := left(a); got != want {
							t.Errorf("left\n%s\nwant\n%s", got, want)
						}
						for _, e := range j.Effects() {
							if !e.Done {
								t.Errorf("not settled: %+v", e.Intent)
							}
						}
					})
				}
			}
		}
	}
}

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
