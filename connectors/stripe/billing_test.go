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

func TestCreateProduct(t *testing.T) {
	t.Parallel()
	_, a, c, j := opened(t)
	out := priced(t, c)
	if out.ProductID != "togai_pp_plan.1x" || !out.Created || len(out.Prices) != 3 || len(j.Effects()) != 4 {
		t.Fatalf("%+v", out)
	}
	p := a.All("product")[0]
	if p["name"] != "Gold" || p["unit_label"] != "seat" || p["metadata"].(map[string]any)["k"] != "v" || p["metadata"].(map[string]any)[metaEffect] == "forged" {
		t.Errorf("%v", p)
	}
	prices := a.All("price")
	if prices[0]["unit_amount"] != int64(5000) || prices[1]["unit_amount_decimal"] != "1000.5" || prices[1]["unit_amount"] != nil ||
		prices[0]["lookup_key"] != "togai_pp_plan.1x:base" || out.Prices[0].Type != "recurring" || out.Prices[1].Type != "one_time" || out.Prices[2].Usage != "metered" {
		t.Errorf("%v, %+v", prices, out)
	}
	tiers := prices[2]["tiers"].([]map[string]any)
	if tiers[0]["unit_amount_decimal"] != "0.0000125" || tiers[0]["flat_amount"] != int64(10) || tiers[1]["up_to"] != nil {
		t.Errorf("%v", tiers)
	}
	again := priced(t, c)
	if fmt.Sprint(again) != fmt.Sprint(out) || len(a.All("price")) != 3 {
		t.Errorf("again: %+v", again)
	}
	// Another system finds all of it, by the ids and keys that we chose, long after any idempotency key has died.
	other, k := connect(t, a.Sim(), a.Key())
	there := priced(t, other)
	if there.Created || there.Prices[2].PriceID != out.Prices[2].PriceID || len(a.All("product"))+len(a.All("price")) != 4 {
		t.Errorf("elsewhere: %+v", there)
	}
	for _, e := range k.Effects() {
		if e.Sent != 0 {
			t.Errorf("sent %+v", e.Intent)
		}
	}
	// A price that costs something else is not taken for it.
	changed := gold
	changed.Prices = []PriceInput{{Key: "base", Currency: "usd", UnitAmount: ptr[int64](6000), Interval: "month"}}
	for name, c := range map[string]connectors.Conn{"same": c, "other": other} {
		if _, err := runCreateProduct(t.Context(), c, changed); connectors.KindOf(err) != connectors.Invalid || !strings.Contains(err.Error(), "another key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	next := gold
	next.TogaiPricePlanID = "plan.2"
	if _, err := runCreateProduct(t.Context(), c, next); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("another plan for the same record: %v", err)
	}
}

func TestPricesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	one := ptr[int64](1)
	for field, p := range map[string]PriceInput{
		"unit_amount":          {},
		"unit_amount ":         {UnitAmount: one, UnitAmountDecimal: dec("1")},
		"usage":                {UnitAmount: one, Usage: "metered"},
		"interval_count":       {UnitAmount: one, IntervalCount: 2},
		"tiers":                {Tiers: []TierInput{{UnitAmount: one}}, TiersMode: "volume"},
		"tiers_mode":           {Tiers: []TierInput{{UnitAmount: one}}, Interval: "month"},
		"tiers_mode ":          {UnitAmount: one, TiersMode: "volume"},
		"tiers[0].up_to":       {Tiers: []TierInput{{UnitAmount: one, UpTo: one}}, TiersMode: "volume", Interval: "day"},
		"tiers[1].up_to":       {Tiers: []TierInput{{UnitAmount: one, UpTo: ptr[int64](5)}, {UnitAmount: one, UpTo: ptr[int64](5)}, {UnitAmount: one}}, TiersMode: "volume", Interval: "day"},
		"tiers[0]":             {Tiers: []TierInput{{}}, TiersMode: "volume", Interval: "day"},
		"unit_amount  ":        {UnitAmountDecimal: dec("-1")},
		"unit_amount   ":       {UnitAmountDecimal: dec("0.1234567890123")},
		"tiers[0].unit_amount": {Tiers: []TierInput{{UnitAmountDecimal: dec("-1")}}, TiersMode: "volume", Interval: "day"},
		"tiers[0].flat_amount": {Currency: "kwd", Tiers: []TierInput{{FlatAmount: ptr[int64](1001)}}, TiersMode: "volume", Interval: "day"},
	} {
		s, _, c, _ := opened(t)
		p.Key = "k"
		if p.Currency == "" {
			p.Currency = "usd"
		}
		_, err := runCreateProduct(t.Context(), c, CreateProductInput{TogaiPricePlanID: "p", Name: "P", Prices: []PriceInput{p}})
		if e := vendorError(err); e == nil || e.Kind != connectors.Invalid || e.Field != "prices[0]."+strings.TrimSpace(field) {
			t.Errorf("%s: %+v", field, err)
		}
		if len(s.Requests()) != 0 {
			t.Errorf("%s: a call was made", field)
		}
	}
}

func TestCreatePaymentLink(t *testing.T) {
	t.Parallel()
	s, a, c, _ := opened(t)
	p := priced(t, c)
	in := link(p)
	out, err := runCreatePaymentLink(t.Context(), c, in)
	if err != nil {
		t.Fatal(err)
	}
	if !out.Active || out.URL == "" || out.ShareURL != out.URL+"?client_reference_id="+reference("Ac me/1")+"&prefilled_email=b%2B1%40acme.test" {
		t.Errorf("%+v", out)
	}
	l := a.All("payment_link")[0]
	if m := l["metadata"].(map[string]any); m[metaPlan] != "plan.1x" || m[metaAccount] != "Ac me/1" || m["k"] != "v" {
		t.Errorf("%v", m)
	}
	if l["subscription_data"].(map[string]any)["trial_period_days"] != int64(14) || l["restrictions"] == nil || l["customer_creation"] != "always" {
		t.Errorf("%v", l)
	}
	changed := in
	changed.LineItems = changed.LineItems[:1]
	if _, err := runCreatePaymentLink(t.Context(), c, changed); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("other prices: %v", err)
	}
	once := CreatePaymentLinkInput{LineItems: []LinkItem{{PriceID: p.Prices[1].PriceID}}, TogaiPricePlanID: "plan.1x", TogaiAccountID: "b"}
	if _, err := runCreatePaymentLink(t.Context(), c, once); err != nil || a.All("payment_link")[1]["customer_creation"] != "always" {
		t.Errorf("sold once: %v", err)
	}

	euro := gold
	euro.TogaiPricePlanID, euro.Prices = "eur", []PriceInput{{Key: "e", Currency: "eur", UnitAmount: ptr[int64](1)}, {Key: "y", Currency: "usd", UnitAmount: ptr[int64](1), Interval: "year"}}
	fresh, _ := connect(t, s, a.Key())
	q, err := runCreateProduct(t.Context(), fresh, euro)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		ids  []string
		says string
		in   CreatePaymentLinkInput
	}{
		"metered":    {[]string{p.Prices[2].PriceID}, "metered", CreatePaymentLinkInput{}},
		"currencies": {[]string{p.Prices[0].PriceID, q.Prices[0].PriceID}, "one currency", CreatePaymentLinkInput{}},
		"intervals":  {[]string{p.Prices[0].PriceID, q.Prices[1].PriceID}, "one interval", CreatePaymentLinkInput{}},
		"unknown":    {[]string{"price_none"}, "no price", CreatePaymentLinkInput{}},
		"trial":      {[]string{p.Prices[1].PriceID}, "recurs", CreatePaymentLinkInput{TrialPeriodDays: 3}},
		"address":    {[]string{p.Prices[1].PriceID}, "address", CreatePaymentLinkInput{AfterCompletionURL: "javascript:alert(1)"}},
	} {
		c, _ := connect(t, s, a.Key())
		x.in.TogaiPricePlanID = "plan.1x"
		for _, id := range x.ids {
			x.in.LineItems = append(x.in.LineItems, LinkItem{PriceID: id})
		}
		if _, err := runCreatePaymentLink(t.Context(), c, x.in); connectors.KindOf(err) != connectors.Invalid || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(a.All("payment_link")); n != 2 {
		t.Errorf("%d links", n)
	}
}

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

func TestListCustomers(t *testing.T) {
	t.Parallel()
	s, a, c, _ := opened(t)
	var ids []string
	for i := range 25 {
		if i == 20 {
			s.Clock.Advance(time.Hour)
		}
		ids = append(ids, makes(t, a, map[string]any{"name": fmt.Sprint("n", i), "email": fmt.Sprint(i%5, "@acme.test"), "metadata": map[string]any{"i": fmt.Sprint(i)}}))
	}
	slices.Reverse(ids)
	cut := time.Now().Add(30 * time.Minute)
	for name, x := range map[string]struct {
		in       ListCustomersInput
		want     []string
		complete bool
		calls    int
	}{
		"all":         {ListCustomersInput{}, ids, true, 1},
		"small pages": {ListCustomersInput{PageSize: 10}, ids, true, 3},
		"some":        {ListCustomersInput{PageSize: 4, Max: 6}, ids[:6], false, 2},
		"as many":     {ListCustomersInput{Max: 25}, ids, true, 1},
		"go on":       {ListCustomersInput{StartingAfter: ids[19], Max: 10}, ids[20:], true, 1},
		"by e-mail":   {ListCustomersInput{Email: "0@acme.test"}, []string{ids[4], ids[9], ids[14], ids[19], ids[24]}, true, 1},
		"other case":  {ListCustomersInput{Email: "0@Acme.test"}, nil, true, 1},
		"made after":  {ListCustomersInput{CreatedAfter: &cut}, ids[:5], true, 1},
		"made before": {ListCustomersInput{CreatedBefore: &cut}, ids[5:], true, 1},
	} {
		before := s.Count("GET", "/v1/customers")
		out, err := runListCustomers(t.Context(), c, x.in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		for _, cus := range out.Customers {
			got = append(got, cus.CustomerID)
		}
		last := ""
		if len(x.want) > 0 {
			last = x.want[len(x.want)-1]
		}
		if !slices.Equal(got, x.want) || out.Count != len(got) || out.Complete != x.complete || out.LastID != last || s.Count("GET", "/v1/customers")-before != x.calls {
			t.Errorf("%s: %+v", name, out)
		}
	}
	out, _ := runListCustomers(t.Context(), c, ListCustomersInput{Max: 1})
	if one := out.Customers[0]; one.Name != "n24" || one.Email != "4@acme.test" || one.Metadata["i"] != "24" || one.Created.Before(sampleTime) {
		t.Errorf("%+v", one)
	}
	if _, err := runListCustomers(t.Context(), c, ListCustomersInput{StartingAfter: "cus_none"}); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("a cursor that is gone: %v", err)
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
