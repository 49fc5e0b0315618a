package flow_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tieline/connectors/stripe/stripesim"
	"tieline/connectors/togai/togaisim"
	"tieline/db"
	"tieline/jobs/flow"
)

// hears has Togai send its events, as a person sets it up in Togai's console.
func (w *world) hears() { w.togai.Target(w.hooks.URL+"/webhooks/togai/x", "") }

// console does in Togai what a person does there.
func (w *world) console(method, path string, body, into any) {
	w.t.Helper()
	must(w.t, w.togai.First().Console(method, path, body, into))
}

// billed makes an account in Togai with a currency.
func (w *world) billed(id, currency string) {
	w.t.Helper()
	_, err := w.togai.CreateAccount(map[string]any{"id": id, "name": "Account " + id, "primaryEmail": id + "@acme.test", "invoiceCurrency": currency})
	must(w.t, err)
}

// fee and metered are rate cards as a person makes them.
func fee(name string, rates map[string]float64) map[string]any {
	return map[string]any{"actionType": "CREATE", "rateCardName": name, "rateCard": map[string]any{
		"billableId": "addon.1", "type": "FIXED_FEE", "invoiceTiming": "IN_ADVANCE", "displayName": "The " + name,
		"rateCardDetails": map[string]any{"fixedFeeRateCard": map[string]any{"id": "addon.1", "enableProration": false, "rateValues": perCurrency(rates)}},
	}}
}

// once makes a fee one that is charged once.
func once(fee map[string]any) map[string]any {
	fee["rateCard"].(map[string]any)["rateCardDetails"].(map[string]any)["fixedFeeRateCard"].(map[string]any)["type"] = "ONE_TIME"
	return fee
}

func perCurrency(rates map[string]float64) (out []map[string]any) {
	for c, r := range rates {
		out = append(out, map[string]any{"currency": c, "rate": r})
	}
	return out
}

func metered(name, model string, slabs ...map[string]any) map[string]any {
	var rates []map[string]any
	for i, s := range slabs {
		rates = append(rates, map[string]any{"order": i + 1, "rate": s["rate"]})
		slabs[i] = map[string]any{"order": i + 1, "startAfter": s["startAfter"], "priceType": s["priceType"]}
	}
	return map[string]any{"actionType": "CREATE", "rateCardName": name, "rateCard": map[string]any{
		"billableId": "um.1", "type": "USAGE", "invoiceTiming": "IN_ARREARS", "displayName": "The " + name,
		"rateCardDetails": map[string]any{"usageRateCard": map[string]any{
			"usageMeterId": "um.1", "ratePlan": map[string]any{"pricingModel": model, "slabs": slabs}, "rateValues": []map[string]any{{"currency": "USD", "slabRates": rates}},
		}},
	}}
}

func slab(after int, kind string, rate float64) map[string]any {
	return map[string]any{"startAfter": after, "priceType": kind, "rate": rate}
}

// pricePlan makes an active price plan in Togai.
func (w *world) pricePlan(name, interval string, currencies []string, cards ...map[string]any) string {
	w.t.Helper()
	var made struct{ ID string }
	w.console("POST", "/v2/price_plans", map[string]any{
		"name": name, "type": "BILLING", "supportedCurrencies": currencies,
		"pricingCycleConfig": map[string]any{"interval": interval, "gracePeriod": 0, "startOffset": map[string]any{"dayOffset": "1", "monthOffset": "NIL"}},
	}, &made)
	w.console("POST", "/v2/price_plans/"+made.ID+"/rate_cards", map[string]any{"operations": cards}, nil)
	w.console("POST", "/v2/price_plans/"+made.ID+"/finalize", map[string]any{}, nil)
	return made.ID
}

// attach gives an account a price plan, from tomorrow on.
func (w *world) attach(account, plan string) {
	w.t.Helper()
	w.console("POST", "/v2/accounts/"+account+"/edit_schedules", map[string]any{"edits": []any{map[string]any{
		"mode": "ASSOCIATE", "effectiveFrom": time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly), "effectiveUntil": "9999-01-01",
		"associationConfig": map[string]any{"pricePlanId": plan},
	}}}, nil)
	w.console("POST", "/v2/accounts/"+account+"/finalize_schedules", map[string]any{}, nil)
}

// setting is the value of a Togai setting; empty when there is none.
func (w *world) setting(entity, id, name string) string {
	for _, s := range w.togai.Settings() {
		if strings.EqualFold(s.EntityType, entity) && s.EntityID == id && s.ID == name {
			return s.Value
		}
	}
	return ""
}

// sure checks that runs ended as they should, and that no effect is left open.
func (w *world) sure(runs []db.Run, states ...string) {
	w.t.Helper()
	var got []string
	for _, r := range runs {
		got = append(got, r.State)
	}
	if !slices.Equal(got, states) {
		w.dump()
		w.t.Fatalf("runs ended %v, want %v", got, states)
	}
	if n := w.count("SELECT count(*) FROM effects WHERE state NOT IN ('CONFIRMED', 'REFUSED', 'GIVEN_UP')"); n != 0 {
		w.dump()
		w.t.Errorf("%d effects without a settled state", n)
	}
}

// TestPricePlansOut: a plan gives one product with prices, however many accounts get it, and each account its own link.
func TestPricePlansOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hears()
	w.link("stripe.price_plans_out", nil)
	w.work()
	w.billed("acme", "USD")
	w.billed("beta", "EUR")
	plan := w.pricePlan("Gold", "QUARTERLY", []string{"USD", "EUR"}, fee("base", map[string]float64{"USD": 49.9, "EUR": 45}),
		once(fee("setup", map[string]float64{"USD": 99, "EUR": 90})),
		metered("calls", "TIERED", slab(0, "PER_UNIT", 0), slab(1000, "PER_UNIT", 0.0005), slab(5000, "FLAT", 10)))
	w.attach("acme", plan)
	w.settled(1)
	w.attach("beta", plan)
	w.sure(w.settled(2), flow.Succeeded, flow.Succeeded)

	products, prices, links := w.stripe.First().All("product"), w.stripe.First().All("price"), w.stripe.First().All("payment_link")
	if len(products) != 1 || products[0]["id"] != "togai_pp_"+plan || len(prices) != 5 || len(links) != 2 {
		t.Fatalf("%d products, %d prices, %d links: %v", len(products), len(prices), len(links), products)
	}
	got := map[string]string{}
	for _, p := range prices {
		r, _ := p["recurring"].(map[string]any) // nil of what is paid once
		got[strings.TrimPrefix(fmt.Sprint(p["lookup_key"]), "togai_pp_"+plan+":")] = fmt.Sprint(p["currency"], " ", p["unit_amount"], " ", r["interval"], " ", r["interval_count"], " ", r["usage_type"], " ", p["tiers_mode"])
	}
	want := map[string]string{
		"base:usd": "usd 4990 month 3 licensed <nil>", "base:eur": "eur 4500 month 3 licensed <nil>",
		"setup:usd": "usd 9900 <nil> <nil> <nil> <nil>", "setup:eur": "eur 9000 <nil> <nil> <nil> <nil>", "calls:usd": "usd <nil> month 3 metered graduated",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("prices %v, want %v", got, want)
	}
	for _, a := range []struct{ account, currency string }{{"acme", "usd"}, {"beta", "eur"}} {
		if url := w.setting("account", a.account, "StripePaymentLink"); !strings.Contains(url, "prefilled_email="+a.account+"%40acme.test") || !strings.Contains(url, "client_reference_id=") {
			t.Errorf("%s has the link %q", a.account, url)
		}
		i := slices.IndexFunc(links, func(l map[string]any) bool {
			return l["metadata"].(map[string]any)["togai_account_id"] == a.account
		})
		if i < 0 || links[i]["currency"] != a.currency {
			t.Errorf("the link of %s: %v", a.account, links)
		}
	}
}

// TestPlansThatStripeCannotSell: what has no price in Stripe is refused in a sentence, and a plan of usage alone is sold for
// nothing, as Togai bills the usage.
func TestPlansThatStripeCannotSell(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hears()
	w.link("stripe.price_plans_out", nil)
	w.work()
	w.billed("acme", "USD")
	w.billed("beta", "USD")
	w.attach("acme", w.pricePlan("Packages", "MONTHLY", []string{"USD"}, metered("calls", "VOLUME", slab(0, "PER_UNIT", 1), slab(10, "PACKAGE", 5))))
	runs := w.settled(1)
	w.sure(runs, flow.Failed)
	if want := "Rate card calls is priced by packages, which Stripe has no price for."; runs[0].Error != want {
		t.Errorf("it says %q, want %q", runs[0].Error, want)
	}
	w.attach("beta", w.pricePlan("Usage", "MONTHLY", []string{"USD"}, metered("calls", "VOLUME", slab(0, "PER_UNIT", 0.01))))
	w.sure(w.settled(2), flow.Failed, flow.Succeeded)
	if links := w.stripe.First().All("payment_link"); len(links) != 1 {
		t.Errorf("%d links", len(links))
	}
}

// TestCheckoutIn: what a buyer pays for is attached to the account, whose link it was; the customer that the checkout made
// becomes the account's, and no second account comes of it.
func TestCheckoutIn(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprintf("customer known %v", known), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.hears()
			if known {
				w.link("stripe.accounts_out", nil)
			}
			w.link("stripe.customers_in", map[string]any{"checkoutWait": 0.3})
			w.link("stripe.checkout_in", nil)
			w.work()
			w.billed("acme", "USD")
			n := 0
			if known {
				n = 2 // the account's, and the customer's echo
				w.settled(n)
			}
			plan := w.pricePlan("Gold", "MONTHLY", []string{"USD"}, fee("base", map[string]float64{"USD": 49}))
			session := w.stripe.First().Complete(stripesim.Checkout{
				Email: "buyer@acme.test", Name: "Buyer", Mode: "payment", Items: []stripesim.Item{{Description: "Gold", Quantity: 1, Amount: 4900}},
				Metadata: map[string]string{"togai_price_plan_id": plan, "togai_account_id": "acme"},
			})
			w.settled(n + 2)
			for _, r := range w.settled(n + 2) {
				if r.State == flow.Failed {
					w.dump()
					t.Fatal(r.Error)
				}
			}
			if accounts := w.togai.Accounts(); len(accounts) != 1 {
				t.Errorf("%d accounts", len(accounts))
			}
			if s := w.togai.First().Schedules(); len(s) != 1 || s[0].PricePlanID != plan || s[0].AccountID != "acme" {
				t.Errorf("schedules %+v", s)
			}
			role := w.count("SELECT count(*) FROM mapping_slots s JOIN mapping_slots a USING (org_id, mapping_id) WHERE a.entity = 'account' AND a.external_id = 'acme' AND s.entity = 'customer' AND s.external_id = ? AND s.role = ?",
				session["customer"], map[bool]string{false: "", true: "checkout:" + fmt.Sprint(session["id"])}[known])
			if role != 1 {
				w.dump()
				t.Error("the buyer is not linked to the account")
			}
		})
	}
}

// TestCheckoutOfNobody: a payment that belongs to no account is not dropped in silence.
func TestCheckoutOfNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.checkout_in", nil)
	w.work()
	w.stripe.First().Complete(stripesim.Checkout{Email: "a@b.test", Metadata: map[string]string{"togai_price_plan_id": "gold"}})
	w.stripe.First().Complete(stripesim.Checkout{Email: "c@d.test"}) // somebody else's link
	runs := w.settled(2)
	w.sure(runs, flow.Failed, flow.Succeeded)
	if !strings.HasPrefix(runs[0].Error, "The checkout names no Togai account") {
		t.Errorf("it says %q", runs[0].Error)
	}
}

func line(kind string, value any) togaisim.Line {
	var l togaisim.Line
	raw, _ := json.Marshal(map[string]any{"description": "Line " + kind, "type": kind, "value": value})
	if err := json.Unmarshal(raw, &l); err != nil {
		panic(err)
	}
	return l
}

func amount(s string) (a togaisim.Amount) {
	if err := json.Unmarshal([]byte(s), &a); err != nil {
		panic(err)
	}
	return a
}

// TestInvoicesOut: an invoice is the same in Stripe to the smallest unit, is mailed once, and its payment comes back once.
func TestInvoicesOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		currency string
		lines    []togaisim.Line
		discount string
		total    int64
		paid     string
	}{
		{"USD", []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 49.9), line("USAGE_RATE_CARD_AMOUNT", 0), line("MISCELLANEOUS_CHARGE", -1.05), line("TAX_AMOUNT", 8.34)}, "4.95", 5224, "52.24"},
		{"JPY", []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 5000), line("TAX_AMOUNT", 500)}, "0", 5500, "5500"},
		{"KWD", []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 12.34)}, "0", 12340, "12.340"},
	} {
		t.Run(c.currency, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.hears()
			w.link("stripe.invoices_out", nil)
			w.link("stripe.invoice_paid_in", nil)
			w.work()
			w.billed("acme", c.currency)
			inv, err := w.togai.Invoice(togaisim.NewInvoice{AccountID: "acme", Lines: c.lines, Discount: amount(c.discount)})
			must(t, err)
			w.sure(w.settled(1), flow.Succeeded)
			made := w.stripe.First().All("invoice")
			if len(made) != 1 || fmt.Sprint(made[0]["total"]) != fmt.Sprint(c.total) || made[0]["currency"] != strings.ToLower(c.currency) || made[0]["status"] != "open" {
				t.Fatalf("%v", made)
			}
			id := made[0]["id"].(string)
			if mails := w.stripe.First().Mails(id); len(mails) != 1 || mails[0] != "acme@acme.test" {
				t.Errorf("mailed to %v", mails)
			}
			if got := w.setting("invoice", inv.ID, "StripeInvoiceId"); got != id {
				t.Errorf("the Togai invoice names %q, want %s", got, id)
			}
			if w.setting("account", "acme", "StripeCustomerId") == "" || w.setting("invoice", inv.ID, "StripePaymentLink") == "" {
				t.Error("the customer or the page is not on the Togai side")
			}
			must(t, w.stripe.First().PayHosted(id))
			w.sure(w.settled(2), flow.Succeeded, flow.Succeeded)
			payments := w.togai.Payments()
			if len(payments) != 1 || payments[0].TotalAmount.String() != c.paid || payments[0].Currency != c.currency {
				t.Errorf("payments %+v", payments)
			}
			if now := w.togai.Invoices(); now[0].Status != "PAID" {
				t.Errorf("the Togai invoice is %s", now[0].Status)
			}
		})
	}
}

// TestInvoicesLeftOut: an invoice of nothing, and a group's, are not made in Stripe, and neither is a subscription's own paid
// invoice taken for one of Togai's.
func TestInvoicesLeftOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hears()
	w.link("stripe.invoices_out", nil)
	w.link("stripe.invoice_paid_in", nil)
	w.work()
	w.billed("acme", "USD")
	_, err := w.togai.Invoice(togaisim.NewInvoice{AccountID: "acme", Lines: []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 0)}})
	must(t, err)
	w.sure(w.settled(1), flow.Succeeded)
	cus, err := w.stripe.First().CreateCustomer(map[string]any{"name": "Other", "email": "o@acme.test"})
	must(t, err)
	w.stripe.First().Complete(stripesim.Checkout{Email: "x@y.test", Mode: "subscription", Items: []stripesim.Item{{Description: "Own", Quantity: 1, Amount: 100}}})
	w.until("Stripe's own invoice", "SELECT count(*) >= 1 FROM event_outcomes WHERE outcome = 'FILTERED'")
	if n := len(w.togai.Payments()); n != 0 {
		t.Errorf("%d payments, customer %v", n, cus["id"])
	}
	if n := w.count("SELECT count(*) FROM steps WHERE state <> 'SKIPPED'"); n != 0 {
		t.Errorf("%d steps were taken", n)
	}
}

// TestConditionThatFails: an event that a flow's condition cannot be worked out for is kept for a person.
func TestConditionThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.db.NewRaw(`UPDATE flow_versions SET definition = jsonb_set(definition, '{trigger,when}', '"trigger.total > trigger.none"') WHERE definition ->> 'key' = 'stripe.invoice_paid_in'`).Exec(t.Context())
	must(t, err)
	w.link("stripe.invoice_paid_in", nil)
	w.work()
	w.stripe.First().Complete(stripesim.Checkout{Email: "x@y.test", Mode: "subscription", Items: []stripesim.Item{{Description: "Own", Quantity: 1, Amount: 100}}})
	w.until("the held event", "SELECT count(*) = 1 FROM event_outcomes WHERE outcome = 'HELD' AND reason LIKE 'The flow''s condition cannot be worked out: %none%'")
}

// TestSecondInvoice: an account's customer is made by whatever comes first, once.
func TestSecondInvoice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hears()
	w.link("stripe.accounts_out", nil)
	w.link("stripe.invoices_out", nil)
	w.work()
	w.billed("acme", "USD")
	for range 3 {
		_, err := w.togai.Invoice(togaisim.NewInvoice{AccountID: "acme", Lines: []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 10)}})
		must(t, err)
	}
	w.sure(w.settled(4), flow.Succeeded, flow.Succeeded, flow.Succeeded, flow.Succeeded)
	if c, i := len(w.stripe.First().Customers()), len(w.stripe.First().All("invoice")); c != 1 || i != 3 {
		t.Errorf("%d customers, %d invoices", c, i)
	}
	if n := w.count("SELECT count(DISTINCT mapping_id) FROM mapping_slots WHERE entity = 'account'"); n != 1 {
		t.Errorf("the account is in %d mappings", n)
	}
	if n := w.count("SELECT count(*) FROM mappings m JOIN mapping_slots s ON s.org_id = m.org_id AND s.mapping_id = m.parent_id AND s.entity = 'account' WHERE m.entity = 'invoice'"); n != 3 {
		w.dump()
		t.Errorf("%d invoices hang below the account, want 3", n)
	}
}
