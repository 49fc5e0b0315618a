package togai

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"tieline/connectors"
)

// pricePlan as the v2 calls answer it. Its rate cards are read apart.
type pricePlan struct {
	ID           string        `json:"id"`
	Name         string        `json:"name"`
	Description  string        `json:"description"`
	Type         string        `json:"type"`
	Status       string        `json:"status"`
	Version      int           `json:"version"`
	Currencies   []string      `json:"supportedCurrencies"`
	PricingCycle *pricingCycle `json:"pricingCycleConfig"`
	CreatedAt    time.Time     `json:"createdAt"`
	RateCards    []rateCard    `json:"-"`
}

// pricingCycle on the wire.
type pricingCycle struct {
	Interval         string       `json:"interval"`
	StartOffset      *startOffset `json:"startOffset,omitempty"`
	GracePeriod      int          `json:"gracePeriod"` // days
	AnniversaryCycle *bool        `json:"anniversaryCycle,omitempty"`
}

type startOffset struct {
	DayOffset   string `json:"dayOffset"`
	MonthOffset string `json:"monthOffset"`
}

// rateCard on the wire, as far as we write and read it: what has usage prices, fixed fees and licences.
type rateCard struct {
	Name          string          `json:"name,omitempty"` // in answers
	BillableID    string          `json:"billableId"`
	Type          string          `json:"type"`
	DisplayName   string          `json:"displayName,omitempty"`
	InvoiceTiming string          `json:"invoiceTiming"`
	Details       rateCardDetails `json:"rateCardDetails"`
	Tag           string          `json:"tag,omitempty"`
}

type rateCardDetails struct {
	Usage    *usageRateCard   `json:"usageRateCard,omitempty"`
	FixedFee *fixedRateCard   `json:"fixedFeeRateCard,omitempty"`
	License  *licenseRateCard `json:"licenseRateCard,omitempty"`
	Minimum  *minimumRateCard `json:"minimumCommitmentRateCard,omitempty"`
}

type usageRateCard struct {
	UsageMeterID string      `json:"usageMeterId"`
	RatePlan     ratePlan    `json:"ratePlan"`
	RateValues   []slabRates `json:"rateValues"`
}

type licenseRateCard struct {
	ID              string      `json:"id"`
	RatePlan        ratePlan    `json:"ratePlan"`
	RateValues      []slabRates `json:"rateValues"`
	EnableProration bool        `json:"enableProration"`
}

type fixedRateCard struct {
	ID              string `json:"id"`
	Type            string `json:"type,omitempty"`
	RateValues      []rate `json:"rateValues"`
	EnableProration bool   `json:"enableProration"`
}

type minimumRateCard struct {
	DisplayName string `json:"displayName"`
	RateValues  []rate `json:"rateValues"`
}

type ratePlan struct {
	PricingModel string `json:"pricingModel"`
	Slabs        []slab `json:"slabs"`
}

type slab struct {
	Order      int               `json:"order"`
	StartAfter number            `json:"startAfter"`
	PriceType  string            `json:"priceType"`
	SlabConfig map[string]string `json:"slabConfig,omitempty"`
}

type slabRates struct {
	Currency  string     `json:"currency"`
	SlabRates []slabRate `json:"slabRates"`
}

type slabRate struct {
	Order int    `json:"order"`
	Rate  number `json:"rate"`
}

type rate struct {
	Currency string `json:"currency"`
	Rate     number `json:"rate"`
}

// PricePlan is one as triggers and actions show it.
type PricePlan struct {
	PricePlanID string     `json:"price_plan_id" doc:"Togai's id of the plan." minLength:"1"`
	Name        string     `json:"name" doc:"Its name."`
	Description string     `json:"description" doc:"Empty when it has none."`
	Type        string     `json:"type" doc:"BILLING, which recurs, or PURCHASE, which is bought once."`
	Status      string     `json:"status" doc:"DRAFT or ACTIVE, of the newest version."`
	Version     int        `json:"version" doc:"Its newest version."`
	Currencies  []string   `json:"currencies" doc:"ISO 4217."`
	Interval    string     `json:"interval" doc:"WEEKLY, MONTHLY, QUARTERLY, HALF_YEARLY or ANNUALLY; empty when it does not recur."`
	RateCards   []RateCard `json:"rate_cards" doc:"What it charges for. Empty in lists and where there is none yet."`
}

// RateCard is what a plan charges for one thing.
type RateCard struct {
	Name       string  `json:"name" doc:"Unique in its plan."`
	Title      string  `json:"title" doc:"As invoices show it."`
	Type       string  `json:"type" doc:"USAGE, FIXED_FEE, LICENSE, or another of Togai's types, whose prices are not shown."`
	BillableID string  `json:"billable_id" doc:"The usage meter, add-on or feature."`
	Timing     string  `json:"timing" doc:"IN_ADVANCE, IN_ARREARS or PREPAID."`
	OneTime    bool    `json:"one_time" doc:"Charged once: such a fee, or anything of a plan that does not recur."`
	Interval   string  `json:"interval" doc:"Charged each week, month or year, or so many of them; empty when it is charged once."`
	Intervals  int     `json:"intervals" doc:"How many of them: a quarter is 3 months. Zero when it is charged once."`
	Model      string  `json:"model" doc:"TIERED or VOLUME where the price depends on the quantity, else empty."`
	Prices     []Price `json:"prices" doc:"One for each currency."`
}

// Price is what a rate card costs in one currency.
type Price struct {
	Currency string `json:"currency" doc:"ISO 4217."`
	Amount   string `json:"amount" format:"decimal" doc:"In major units: of a fixed fee, or for each unit; zero where it depends on the quantity."`
	Slabs    []Slab `json:"slabs" doc:"By quantity, where that matters; else empty."`
}

// Slab is a price from a quantity on.
type Slab struct {
	StartAfter string `json:"start_after" format:"decimal" doc:"The quantity above which it holds."`
	PriceType  string `json:"price_type" doc:"FLAT, PER_UNIT or PACKAGE."`
	Rate       string `json:"rate" format:"decimal" doc:"In major units."`
}

func (p pricePlan) plain() PricePlan {
	out := PricePlan{
		PricePlanID: p.ID, Name: p.Name, Description: withoutMark(p.Description), Type: p.Type, Status: p.Status, Version: p.Version,
		Currencies: append([]string{}, p.Currencies...), RateCards: []RateCard{},
	}
	if p.PricingCycle != nil {
		out.Interval = p.PricingCycle.Interval
	}
	for _, r := range p.RateCards {
		card := r.plain()
		if card.OneTime = card.OneTime || out.Interval == ""; !card.OneTime {
			card.Interval, card.Intervals = intervals[out.Interval].unit, intervals[out.Interval].count
		}
		out.RateCards = append(out.RateCards, card)
	}
	return out
}

// intervals are Togai's in the units that others count in.
var intervals = map[string]struct {
	unit  string
	count int
}{"WEEKLY": {"week", 1}, "MONTHLY": {"month", 1}, "QUARTERLY": {"month", 3}, "HALF_YEARLY": {"month", 6}, "ANNUALLY": {"year", 1}}

func (r rateCard) plain() RateCard {
	out := RateCard{Name: r.Name, Title: r.DisplayName, Type: r.Type, BillableID: r.BillableID, Timing: r.InvoiceTiming, Prices: []Price{}}
	flat := func(rates []rate) {
		for _, v := range rates {
			out.Prices = append(out.Prices, Price{Currency: v.Currency, Amount: v.Rate.text(), Slabs: []Slab{}})
		}
	}
	slabs := func(plan ratePlan, rates []slabRates) {
		out.Model = plan.PricingModel
		for _, v := range rates {
			out.Prices = append(out.Prices, plan.price(v))
		}
	}
	switch d := r.Details; {
	case d.FixedFee != nil:
		out.OneTime = d.FixedFee.Type == "ONE_TIME"
		flat(d.FixedFee.RateValues)
	case d.Minimum != nil:
		flat(d.Minimum.RateValues)
	case d.Usage != nil:
		slabs(d.Usage.RatePlan, d.Usage.RateValues)
	case d.License != nil:
		slabs(d.License.RatePlan, d.License.RateValues)
	}
	return out
}

func (p ratePlan) price(v slabRates) Price {
	rates := map[int]number{}
	for _, r := range v.SlabRates {
		rates[r.Order] = r.Rate
	}
	out := Price{Currency: v.Currency, Amount: "0", Slabs: []Slab{}}
	for _, s := range p.Slabs {
		out.Slabs = append(out.Slabs, Slab{s.StartAfter.text(), s.PriceType, rates[s.Order].text()})
	}
	if len(out.Slabs) == 1 && out.Slabs[0].PriceType == "PER_UNIT" {
		out.Amount, out.Slabs = out.Slabs[0].Rate, []Slab{}
	}
	return out
}

// newestPricePlan reads a plan without its rate cards. Which version is read when none is named is not documented.
func newestPricePlan(ctx context.Context, c connectors.Conn, id string) (pricePlan, error) {
	var p pricePlan
	if _, err := call(ctx, c, http.MethodGet, path("v2", "price_plans", id)+"?version=LATEST", nil, &p); err != nil {
		return p, fmt.Errorf("reading price plan %s: %w", id, err)
	}
	if p.ID == "" {
		return p, garbled(http.StatusOK, false)
	}
	return p, nil
}

// fetchPricePlan reads a plan with its rate cards. That these are the newest version's too is an assumption.
func fetchPricePlan(ctx context.Context, c connectors.Conn, id string) (pricePlan, error) {
	p, err := newestPricePlan(ctx, c, id)
	if err != nil {
		return p, err
	}
	for r, err := range all[rateCard](ctx, c, path("v2", "price_plans", id, "rate_cards")[1:], pageSize, nil) {
		if err != nil {
			return p, fmt.Errorf("reading the rate cards of price plan %s: %w", id, err)
		}
		p.RateCards = append(p.RateCards, r)
	}
	return p, nil
}

var samplePlan = pricePlan{
	ID: "pp.1zYnFJIWzUF.cUSf4", Name: "Basic", Type: "BILLING", Status: "ACTIVE", Version: 1, Currencies: []string{"USD"}, PricingCycle: &pricingCycle{Interval: "MONTHLY"},
	RateCards: []rateCard{{
		Name: "seat", DisplayName: "Basic fee", BillableID: "addon.1zYnFJIWzUF.cUSf4", Type: "FIXED_FEE", InvoiceTiming: "IN_ADVANCE",
		Details: rateCardDetails{FixedFee: &fixedRateCard{RateValues: []rate{{"USD", "49.00"}}}},
	}},
}

func pricePlanCreated() connectors.Trigger {
	l := listing{event: "price_plan.created", list: "v2/price_plans", size: pageSize, newest: true}
	return connectors.On("price_plan.created", "Price plan created", decodes(pricePlanOccurrence), l.walk, samplePlan.plain(), func(t *connectors.Trigger) {
		t.Description = "A price plan was made in Togai; it may still be a draft."
		t.Entity, t.Events = "price_plan", []string{"price_plan.created"}
		t.Read = rereads(func(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (pricePlan, error) {
			return fetchPricePlan(ctx, c, o.Record.ID)
		}, pricePlanOccurrence)
		t.Every, t.Calm = 5*time.Minute, 15*time.Minute
	}, connectors.ByHand(func(p PricePlan) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: "price_plan", ID: p.PricePlanID, Name: p.Name}, Thin: true}
	}))
}

func pricePlanOccurrence(p pricePlan) connectors.Occurrence {
	return connectors.Occurrence{
		Payload: p.plain(), Record: connectors.Subject{Entity: "price_plan", ID: p.ID, Name: p.Name}, BusinessKey: p.ID,
		Cause: connectors.Cause{Mark: markIn(p.Description), Creation: true},
	}
}

// GetPricePlanInput names a price plan.
type GetPricePlanInput struct {
	PricePlanID string `json:"price_plan_id" minLength:"1" maxLength:"50" doc:"Togai's id of the plan."`
}

func getPricePlan() connectors.Action {
	return connectors.Do("price_plan.get", "Get price plan", func(ctx context.Context, c connectors.Conn, in GetPricePlanInput) (PricePlan, error) {
		p, err := fetchPricePlan(ctx, c, in.PricePlanID)
		return p.plain(), err
	}, GetPricePlanInput{PricePlanID: samplePlan.ID}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Reads one price plan with its prices; a missing one is an error.", "price_plan", true
		a.Options = map[string]connectors.Offer{"price_plan_id": offerPricePlans}
		a.Help = "It answers the newest version of the plan, which may be a draft."
	})
}

// ListPricePlansInput narrows the list.
type ListPricePlansInput struct {
	Limit      int  `json:"limit,omitempty" min:"1" max:"1000" doc:"How many at most; 100 if not given."`
	Deprecated bool `json:"deprecated,omitempty" doc:"Lists by Togai's older calls, which also show archived plans and those made before December 2024."`
}

// ListPricePlansOutput is what was listed, last changed first.
type ListPricePlansOutput struct {
	PricePlans []PricePlan `json:"price_plans" doc:"Last changed first, without their rate cards."`
	Count      int         `json:"count" doc:"How many these are."`
	Complete   bool        `json:"complete" doc:"False when the limit cut the list off."`
}

func listPricePlans() connectors.Action {
	return connectors.Do("price_plan.list", "List price plans", runListPricePlans, ListPricePlansInput{Limit: 20}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Lists price plans, last changed first.", "price_plan", true
		a.Help = "What a plan charges for is not in the list: price_plan.get reads it."
	})
}

// oldPricePlan is what the older list calls a plan: what v2 keeps in the plan, it keeps in its details.
type oldPricePlan struct {
	pricePlan
	Details struct {
		Currencies   []string      `json:"supportedCurrencies"`
		PricingCycle *pricingCycle `json:"pricingCycleConfig"`
	} `json:"pricePlanDetails"`
}

func runListPricePlans(ctx context.Context, c connectors.Conn, in ListPricePlansInput) (ListPricePlansOutput, error) {
	list := "v2/price_plans"
	if in.Deprecated {
		list = "price_plans"
	}
	found, complete, err := upTo[oldPricePlan](ctx, c, list, nil, limit(in.Limit))
	if err != nil {
		return ListPricePlansOutput{}, fmt.Errorf("listing price plans: %w", err)
	}
	out := ListPricePlansOutput{PricePlans: []PricePlan{}, Count: len(found), Complete: complete}
	for _, p := range found {
		if in.Deprecated {
			p.Currencies, p.PricingCycle = p.Details.Currencies, p.Details.PricingCycle
		}
		out.PricePlans = append(out.PricePlans, p.plain())
	}
	return out, nil
}
