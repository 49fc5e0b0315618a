package stripe

import (
	"fmt"
	"strings"
	"testing"

	"tieline/connectors"
)

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
