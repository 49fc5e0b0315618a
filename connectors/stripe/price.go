package stripe

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"
	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// maxLookupKey is Stripe's bound. https://docs.stripe.com/api/prices
const maxLookupKey = 200

// PriceInput is one price of a product. Exactly one of unit_amount, unit_amount_decimal and tiers says what it costs.
type PriceInput struct {
	Key               string       `json:"key" minLength:"1" maxLength:"100" doc:"Tells it from the plan's other prices, and finds it again."`
	Currency          string       `json:"currency" pattern:"^[A-Za-z]{3}$" doc:"ISO 4217."`
	UnitAmount        *int64       `json:"unit_amount,omitempty" min:"0" doc:"For one, in the currency's smallest unit (ISO 4217)."`
	UnitAmountDecimal *apd.Decimal `json:"unit_amount_decimal,omitempty" doc:"For one, in the currency's smallest unit, with up to 12 decimals."`
	Tiers             []TierInput  `json:"tiers,omitempty" maxLength:"100" doc:"Other amounts for other quantities. Only for prices with an interval."`
	TiersMode         string       `json:"tiers_mode,omitempty" enum:"graduated,volume" doc:"Whether each unit costs what its own tier says (graduated), or all what the last one's says (volume)."`
	Interval          string       `json:"interval,omitempty" enum:"one_time,day,week,month,year" doc:"How often it is billed: once (default), or each day, week, month or year."`
	IntervalCount     int64        `json:"interval_count,omitempty" min:"1" doc:"Billed each so many intervals: 1 when left out."`
	Usage             string       `json:"usage,omitempty" enum:"licensed,metered" doc:"Whether a quantity is bought (licensed, default) or usage is counted (metered)."`
	Nickname          string       `json:"nickname,omitempty" maxLength:"250" doc:"Shown in the dashboard only."`
	TaxBehavior       string       `json:"tax_behavior,omitempty" enum:"inclusive,exclusive,unspecified" doc:"Whether tax is in the amount."`
}

// TierInput is one tier of a price.
type TierInput struct {
	UpTo              *int64       `json:"up_to,omitempty" min:"1" doc:"The last unit of the tier; left out for the last tier, which has no end."`
	UnitAmount        *int64       `json:"unit_amount,omitempty" min:"0" doc:"For one, in the currency's smallest unit (ISO 4217)."`
	UnitAmountDecimal *apd.Decimal `json:"unit_amount_decimal,omitempty" doc:"For one, in the currency's smallest unit, with up to 12 decimals."`
	FlatAmount        *int64       `json:"flat_amount,omitempty" min:"0" doc:"For the whole tier, in the currency's smallest unit (ISO 4217)."`
}

// PriceMade is one price of a product as it is in Stripe.
type PriceMade struct {
	Key       string `json:"key" doc:"As in the input."`
	PriceID   string `json:"price_id" doc:"Stripe's id of the price."`
	LookupKey string `json:"lookup_key" doc:"By which it is found in Stripe."`
	Type      string `json:"type" doc:"one_time or recurring."`
	Usage     string `json:"usage" doc:"licensed or metered. Payment links take licensed prices only."`
}

// Attributes of a price's Ref.
const (
	attrLookup = "lookup_key"
	attrTerms  = "terms"
)

// lookupKey is unique among an account's active prices.
func lookupKey(plan, key string) string { return productID(plan) + ":" + key }

// terms are what a price costs, as Stripe counts it: what cannot be changed once it is made.
type terms struct {
	Currency, Unit, Mode, Interval, Tax string
	Count                               int64
	Metered                             bool
	Tiers                               []tier
}

type tier struct {
	UpTo       int64 // 0: no end
	Unit, Flat string
}

func (t terms) String() string {
	b, _ := json.Marshal(t) // texts and numbers
	return string(b)
}

func (t terms) kind() string {
	if t.Interval == "" {
		return "one_time"
	}
	return "recurring"
}

func (t terms) usage() string {
	if t.Metered {
		return "metered"
	}
	return "licensed"
}

// terms reads the input; i is its place among the prices.
func (p PriceInput) terms(i int) (terms, error) {
	at := func(f string) string { return fmt.Sprintf("prices[%d].%s", i, f) }
	t := terms{Currency: strings.ToLower(p.Currency), Mode: p.TiersMode, Tax: p.TaxBehavior, Metered: p.Usage == "metered", Count: p.IntervalCount}
	if p.Interval != "one_time" {
		t.Interval = p.Interval
	}
	if t.Interval != "" && t.Count == 0 {
		t.Count = 1
	}
	if t.Tax == "" {
		t.Tax = "unspecified"
	}
	ways := 0
	for _, is := range []bool{p.UnitAmount != nil, p.UnitAmountDecimal != nil, len(p.Tiers) > 0} {
		if is {
			ways++
		}
	}
	switch {
	case ways != 1:
		return t, wrongInput(at("unit_amount"), "or unit_amount_decimal or tiers is needed, and one of them only")
	case t.Interval == "" && t.Metered:
		return t, wrongInput(at("usage"), "is metered, which needs an interval")
	case t.Interval == "" && t.Count != 0:
		return t, wrongInput(at("interval_count"), "needs an interval")
	case len(p.Tiers) > 0 && t.Interval == "":
		return t, wrongInput(at("tiers"), "need an interval: Stripe has tiers for recurring prices only")
	case len(p.Tiers) > 0 && p.TiersMode == "":
		return t, wrongInput(at("tiers_mode"), "is needed with tiers")
	case len(p.Tiers) == 0 && p.TiersMode != "":
		return t, wrongInput(at("tiers_mode"), "is for prices with tiers")
	}
	var err error
	if len(p.Tiers) == 0 {
		t.Unit, err = unit(p.UnitAmount, p.UnitAmountDecimal, p.Currency, at("unit_amount"))
		return t, err
	}
	for n, in := range p.Tiers {
		field := at(fmt.Sprintf("tiers[%d]", n))
		one, err := in.terms(p.Currency, field)
		if err != nil {
			return t, err
		}
		last := n == len(p.Tiers)-1
		if (one.UpTo == 0) != last || n > 0 && !last && one.UpTo <= t.Tiers[n-1].UpTo {
			return t, wrongInput(field+".up_to", "must grow from tier to tier, and the last tier alone has none")
		}
		t.Tiers = append(t.Tiers, one)
	}
	return t, nil
}

func (in TierInput) terms(currency, field string) (t tier, err error) {
	if in.UpTo != nil {
		t.UpTo = *in.UpTo
	}
	if in.UnitAmount != nil && in.UnitAmountDecimal != nil {
		return t, wrongInput(field, "has both unit_amount and unit_amount_decimal")
	}
	if in.UnitAmount == nil && in.UnitAmountDecimal == nil && in.FlatAmount == nil {
		return t, wrongInput(field, "needs unit_amount, unit_amount_decimal or flat_amount")
	}
	if t.Unit, err = unit(in.UnitAmount, in.UnitAmountDecimal, currency, field+".unit_amount"); err != nil {
		return t, err
	}
	t.Flat, err = unit(in.FlatAmount, nil, currency, field+".flat_amount")
	return t, err
}

// unit is an amount for one as Stripe counts it; what is not given is 0.
func unit(whole *int64, part *apd.Decimal, currency, field string) (string, error) {
	if part != nil {
		return decimalToWire(part, currency, field)
	}
	if whole == nil {
		return "0", nil
	}
	n, err := toWire(*whole, currency, field)
	return strconv.FormatInt(n, 10), err
}

func createPrice(ctx context.Context, c connectors.Conn, product, plan string, i int, in PriceInput) (PriceMade, error) {
	want, err := in.terms(i)
	if err != nil {
		return PriceMade{}, err
	}
	lookup := lookupKey(plan, in.Key)
	made := func(id string) connectors.Ref {
		return connectors.Ref{ID: id, Name: in.Nickname, Attributes: map[string]string{attrLookup: lookup, attrTerms: want.String()}}
	}
	intent := connectors.Create("price", in.Key)
	probe := func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		there, err := priceOf(ctx, c, product, func(p price) bool { return p.Metadata[metaEffect] == key })
		if err != nil || there == nil {
			return connectors.Ref{}, false, err
		}
		return made(there.ID), true, nil
	}
	ref, err := c.Effect(ctx, intent, probe, func(ctx context.Context, key string) (connectors.Ref, error) {
		there, err := priceOf(ctx, c, product, func(p price) bool { return p.Active && p.LookupKey == lookup })
		switch {
		case err != nil:
			return connectors.Ref{}, err
		case there == nil || there.Metadata[metaEffect] == key:
		case there.terms().String() != want.String():
			return connectors.Ref{}, otherTerms(i, there.ID)
		default:
			return c.Adopt(ctx, intent, made(there.ID))
		}
		p, err := api(c).Prices.New(in.params(ctx, product, plan, key, want))
		if err != nil {
			return connectors.Ref{}, failed(c, err, true)
		}
		if p.ID == "" {
			return connectors.Ref{}, garbled(errNoID, true)
		}
		return made(p.ID), nil
	})
	if err != nil {
		return PriceMade{}, fmt.Errorf("creating price %s: %w", in.Key, err)
	}
	if had := ref.Attributes[attrLookup]; had != "" && had != lookup {
		return PriceMade{}, wrongInput(fmt.Sprintf("prices[%d].key", i), fmt.Sprintf("names price %s of another price plan (%s) in the mapping of this run's record", ref.ID, had))
	}
	if had := ref.Attributes[attrTerms]; had != "" && had != want.String() {
		return PriceMade{}, otherTerms(i, ref.ID)
	}
	return PriceMade{Key: in.Key, PriceID: ref.ID, LookupKey: lookup, Type: want.kind(), Usage: want.usage()}, nil
}

func otherTerms(i int, id string) error {
	return wrongInput(fmt.Sprintf("prices[%d].key", i), fmt.Sprintf("names price %s, which costs something else, and a price cannot be changed in Stripe: give the new one another key", id))
}

func (in PriceInput) params(ctx context.Context, product, plan, key string, t terms) *stripe.PriceParams {
	p := &stripe.PriceParams{
		Params: write(ctx, key), Product: stripe.String(product), Currency: stripe.String(t.Currency), LookupKey: stripe.String(lookupKey(plan, in.Key)),
		Nickname: given(in.Nickname), TaxBehavior: given(in.TaxBehavior),
		Metadata: marked(nil, map[string]string{metaPlan: plan, "togai_price_key": in.Key}, key),
	}
	if t.Interval != "" {
		p.Recurring = &stripe.PriceRecurringParams{Interval: stripe.String(t.Interval), IntervalCount: stripe.Int64(t.Count), UsageType: stripe.String(t.usage())}
	}
	if len(t.Tiers) == 0 {
		amount(&p.Params, "", t.Unit)
		return p
	}
	p.BillingScheme, p.TiersMode = stripe.String(string(stripe.PriceBillingSchemeTiered)), stripe.String(t.Mode)
	for n, one := range t.Tiers {
		tp := &stripe.PriceTierParams{UpTo: stripe.Int64(one.UpTo)}
		if one.UpTo == 0 {
			tp = &stripe.PriceTierParams{UpToInf: stripe.Bool(true)}
		}
		if in.Tiers[n].FlatAmount != nil {
			flat, _ := strconv.ParseInt(one.Flat, 10, 64) // from an integer
			tp.FlatAmount = stripe.Int64(flat)
		}
		p.Tiers = append(p.Tiers, tp)
		if in.Tiers[n].UnitAmount != nil || in.Tiers[n].UnitAmountDecimal != nil {
			amount(&p.Params, fmt.Sprintf("tiers[%d]", n), one.Unit)
		}
	}
	return p
}

// amount puts a unit amount into a request as the text it is. The library would have decimals as floats.
func amount(p *stripe.Params, in, value string) {
	name := "unit_amount"
	if strings.Contains(value, ".") {
		name = "unit_amount_decimal"
	}
	if in != "" {
		name = in + "[" + name + "]"
	}
	p.AddExtra(name, value)
}

// price is what we read of one, its decimals as the texts they are.
type price struct {
	ID        string            `json:"id"`
	Active    bool              `json:"active"`
	Currency  string            `json:"currency"`
	LookupKey string            `json:"lookup_key"`
	Metadata  map[string]string `json:"metadata"`
	Tax       string            `json:"tax_behavior"`
	Unit      string            `json:"unit_amount_decimal"`
	Mode      string            `json:"tiers_mode"`
	Tiers     []struct {
		UpTo int64  `json:"up_to"`
		Unit string `json:"unit_amount_decimal"`
		Flat string `json:"flat_amount_decimal"`
	} `json:"tiers"`
	Recurring *struct {
		Interval string `json:"interval"`
		Count    int64  `json:"interval_count"`
		Usage    string `json:"usage_type"`
	} `json:"recurring"`
}

func (p price) terms() terms {
	t := terms{Currency: p.Currency, Mode: p.Mode, Tax: p.Tax}
	if t.Tax == "" {
		t.Tax = "unspecified"
	}
	if r := p.Recurring; r != nil {
		t.Interval, t.Count, t.Metered = r.Interval, r.Count, r.Usage == "metered"
	}
	if p.Mode == "" {
		t.Unit = reduced(p.Unit)
	}
	for _, one := range p.Tiers {
		t.Tiers = append(t.Tiers, tier{UpTo: one.UpTo, Unit: reduced(one.Unit), Flat: reduced(one.Flat)})
	}
	return t
}

// reduced is a decimal without zeros at its end; what is not there is 0.
func reduced(s string) string {
	d, _, err := apd.NewFromString(s)
	if err != nil || d.Form != apd.Finite || d.Exponent > maxPlaces || d.Exponent < -40 {
		if s == "" {
			return "0"
		}
		return s
	}
	d.Reduce(d)
	return d.Text('f')
}

// priceOf finds the first of a product's prices that matches; nil when none does. The list is consistent.
func priceOf(ctx context.Context, c connectors.Conn, product string, match func(price) bool) (*price, error) {
	after := ""
	for {
		p := &stripe.PriceListParams{ListParams: first(ctx, pageSize), Product: stripe.String(product)}
		p.AddExpand("data.tiers")
		p.StartingAfter = given(after)
		it := api(c).Prices.List(p)
		if err := it.Err(); err != nil {
			return nil, fmt.Errorf("listing the prices of product %s: %w", product, failed(c, err, false))
		}
		var page struct {
			Data    []price `json:"data"`
			HasMore bool    `json:"has_more"`
		}
		if err := json.Unmarshal(it.PriceList().LastResponse.RawJSON, &page); err != nil {
			return nil, garbled(err, false)
		}
		for _, one := range page.Data {
			if match(one) {
				return &one, nil
			}
			after = one.ID
		}
		if !page.HasMore || len(page.Data) == 0 {
			return nil, nil
		}
	}
}
