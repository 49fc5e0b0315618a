package togai

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"tieline/connectors"
)

// SetRateCardsInput is what a plan is to charge for.
type SetRateCardsInput struct {
	PricePlanID string          `json:"price_plan_id" minLength:"1" maxLength:"50" doc:"Togai's id of the plan."`
	RateCards   []RateCardInput `json:"rate_cards" minLength:"1" doc:"Those of a name that is there are replaced, others are added, and what is not named stays."`
	Finalize    bool            `json:"finalize,omitempty" doc:"Makes the change active."`
}

func setRateCard() connectors.Action {
	return connectors.Do("rate_card.set", "Set rate cards", func(ctx context.Context, c connectors.Conn, in SetRateCardsInput) (ChangedPricePlan, error) {
		cards, err := resolveRateCards(ctx, c, in.RateCards)
		if err != nil {
			return ChangedPricePlan{}, err
		}
		out := ChangedPricePlan{PricePlanID: in.PricePlanID}
		if err := setRateCards(ctx, c, in.PricePlanID, cards); err != nil {
			return ChangedPricePlan{}, err
		}
		if in.Finalize {
			out.Active, err = finalize(ctx, c, in.PricePlanID, "")
		}
		return out, err
	}, SetRateCardsInput{PricePlanID: samplePlan.ID, RateCards: []RateCardInput{sampleRateCard}}, func(a *connectors.Action) {
		a.Description, a.Entity = "Adds or replaces rate cards of a price plan.", "price_plan"
		a.Options = map[string]connectors.Offer{"price_plan_id": offerPricePlans, "rate_cards.billable_id": offerBillables}
		a.Help = "Rate cards that are there already with the same prices are left as they are. The change is a draft until the plan is finalized."
	})
}

// FinalizePricePlanInput names a plan whose draft is ready.
type FinalizePricePlanInput struct {
	PricePlanID   string `json:"price_plan_id" minLength:"1" maxLength:"50" doc:"Togai's id of the plan."`
	MigrationMode string `json:"migration_mode,omitempty" enum:"IMMEDIATE,IMMEDIATE_IGNORE_OVERRIDE,NEXT_CYCLE,NEXT_CYCLE_IGNORE_OVERRIDE,NONE,START_OF_CURRENT_CYCLE" doc:"When accounts that have an older version get the new one; as Togai sees fit if not given."`
}

func finalizePricePlan() connectors.Action {
	return connectors.Do("price_plan.finalize", "Finalize price plan", func(ctx context.Context, c connectors.Conn, in FinalizePricePlanInput) (ChangedPricePlan, error) {
		active, err := finalize(ctx, c, in.PricePlanID, in.MigrationMode)
		return ChangedPricePlan{PricePlanID: in.PricePlanID, Active: active}, err
	}, FinalizePricePlanInput{PricePlanID: samplePlan.ID}, func(a *connectors.Action) {
		a.Description, a.Entity = "Makes the draft of a price plan active. One that is active already stays as it is.", "price_plan"
		a.Options = map[string]connectors.Offer{"price_plan_id": offerPricePlans}
		a.Help = "A plan without a rate card cannot be made active."
	})
}

// operation is one of POST /v2/price_plans/{id}/rate_cards.
type operation struct {
	ActionType   string    `json:"actionType"`
	RateCardName string    `json:"rateCardName"`
	RateCard     *rateCard `json:"rateCard"`
}

// resolveRateCards finds or makes what rate cards charge for that name no id. It looks at all of them before it makes anything.
func resolveRateCards(ctx context.Context, c connectors.Conn, in []RateCardInput) ([]operation, error) {
	if _, err := wireRateCards(in); err != nil {
		return nil, err
	}
	in = slices.Clone(in)
	for i := range in {
		r := &in[i]
		if r.BillableID == "" && r.Type == "USAGE" {
			m, err := meterNamed(ctx, c, r.Billable)
			if err != nil {
				return nil, fmt.Errorf("rate card %s: %w", r.Name, err)
			}
			r.BillableID, r.Billable = m.ID, ""
		}
	}
	for i := range in {
		r := &in[i]
		if r.BillableID == "" {
			made, err := runCreateAddOn(ctx, c, CreateAddOnInput{Name: r.Billable, Type: r.Type, Title: r.Title, Role: r.Name})
			if err != nil {
				return nil, err
			}
			r.BillableID, r.Billable = made.AddOnID, ""
		}
	}
	return wireRateCards(in)
}

// meterNamed finds a usage meter.
func meterNamed(ctx context.Context, c connectors.Conn, name string) (usageMeter, error) {
	for m, err := range all[usageMeter](ctx, c, "usage_meters", pageSize, active) {
		if err != nil {
			return m, fmt.Errorf("looking for the usage meter: %w", err)
		}
		if m.Name == name {
			return m, nil
		}
	}
	return usageMeter{}, wrong("billable_name", "Togai has no active usage meter called "+name+".")
}

func wireRateCards(in []RateCardInput) ([]operation, error) {
	var out []operation
	for i, r := range in {
		if slices.ContainsFunc(out, func(o operation) bool { return o.RateCardName == r.Name }) {
			return nil, wrong(fmt.Sprintf("rate_cards[%d].name", i), "Two rate cards are called "+r.Name+".")
		}
		if (r.BillableID == "") == (r.Billable == "") {
			return nil, wrong(fmt.Sprintf("rate_cards[%d].billable_id", i), "A rate card names what it charges for by its id or by its name.")
		}
		card, err := r.wire()
		if err != nil {
			return nil, fmt.Errorf("rate card %s: %w", r.Name, err)
		}
		out = append(out, operation{RateCardName: r.Name, RateCard: &card})
	}
	return out, nil
}

func (in RateCardInput) wire() (rateCard, error) {
	timing := "IN_ADVANCE"
	if in.Type == "USAGE" {
		timing = "IN_ARREARS"
	}
	out := rateCard{BillableID: in.BillableID, Type: in.Type, DisplayName: cmp.Or(in.Title, in.Name), InvoiceTiming: cmp.Or(in.Timing, timing)}
	plan := ratePlan{PricingModel: cmp.Or(in.Model, "TIERED")}
	var flat []rate
	var slabs []slabRates
	for _, p := range in.Prices {
		if len(p.Slabs) == 0 {
			p.Slabs = []Slab{{StartAfter: "0", PriceType: "PER_UNIT", Rate: p.Amount}}
		} else if p.Amount != "" || in.Type == "FIXED_FEE" {
			return rateCard{}, wrong("slabs", "A price has an amount or slabs, and that of a fee has an amount.")
		}
		rates := slabRates{Currency: upper(p.Currency)}
		begins := make([]slab, 0, len(p.Slabs))
		for i, s := range p.Slabs {
			after, err := parseNumber(s.StartAfter)
			amount, err2 := parseNumber(s.Rate)
			if err != nil || err2 != nil {
				return rateCard{}, wrong("amount", "The amount must be a decimal, such as 19.90.")
			}
			begins = append(begins, slab{Order: i + 1, StartAfter: after, PriceType: cmp.Or(s.PriceType, "PER_UNIT")})
			rates.SlabRates = append(rates.SlabRates, slabRate{i + 1, amount})
			if i > 0 && after.decimal().Cmp(begins[i-1].StartAfter.decimal()) <= 0 || i == 0 && after.decimal().Sign() != 0 {
				return rateCard{}, wrong("slabs", "The first slab begins at 0, and each later one after the one before it.")
			}
		}
		if plan.Slabs != nil && !slices.EqualFunc(plan.Slabs, begins, slab.same) {
			return rateCard{}, wrong("slabs", "The slabs of all currencies must begin alike.")
		}
		plan.Slabs, slabs, flat = begins, append(slabs, rates), append(flat, rate{rates.Currency, rates.SlabRates[0].Rate})
	}
	switch in.Type {
	case "USAGE":
		out.Details.Usage = &usageRateCard{in.BillableID, plan, slabs}
	case "LICENSE":
		out.Details.License = &licenseRateCard{in.BillableID, plan, slabs, in.Prorate}
	default:
		kind := "RECURRING"
		if in.OneTime {
			kind = "ONE_TIME"
		}
		out.Details.FixedFee = &fixedRateCard{in.BillableID, kind, flat, in.Prorate}
	}
	return out, nil
}

func (s slab) same(o slab) bool {
	return s.Order == o.Order && s.PriceType == o.PriceType && s.StartAfter.equal(o.StartAfter)
}

// same compares what a plan has with what is wanted, by value: 49 is 49.00.
func (r rateCard) same(o rateCard) bool {
	a, b := r.plain(), o.plain()
	a.Name, b.Name = "", ""
	for _, p := range [][]Price{a.Prices, b.Prices} {
		for i := range p {
			p[i].Amount = reduced(p[i].Amount)
			for j := range p[i].Slabs {
				p[i].Slabs[j].Rate, p[i].Slabs[j].StartAfter = reduced(p[i].Slabs[j].Rate), reduced(p[i].Slabs[j].StartAfter)
			}
		}
	}
	x, _ := json.Marshal(a) // texts and lists of texts
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

// setRateCards writes what is not there yet, or otherwise. It looks before it writes, so that a second time changes nothing.
func setRateCards(ctx context.Context, c connectors.Conn, plan string, want []operation) error {
	missingOf := func(ctx context.Context) (todo []operation, err error) {
		p, err := fetchPricePlan(ctx, c, plan)
		if err != nil {
			return nil, err
		}
		for _, op := range want {
			at := slices.IndexFunc(p.RateCards, func(r rateCard) bool { return r.Name == op.RateCardName })
			switch {
			case at < 0:
				op.ActionType = "CREATE"
			case p.RateCards[at].same(*op.RateCard):
				continue
			default:
				op.ActionType = "UPDATE"
			}
			todo = append(todo, op)
		}
		return todo, nil
	}
	_, err := c.Effect(ctx, connectors.Set("price_plan", plan, "rate cards"), func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		todo, err := missingOf(ctx)
		return connectors.Ref{ID: plan}, err == nil && len(todo) == 0, err
	}, func(ctx context.Context, _ string) (connectors.Ref, error) {
		todo, err := missingOf(ctx)
		if err != nil || len(todo) == 0 {
			return connectors.Ref{ID: plan, Adopted: true}, err
		}
		_, err = call(ctx, c, http.MethodPost, path("v2", "price_plans", plan, "rate_cards"), map[string]any{"operations": todo}, nil)
		return connectors.Ref{ID: plan}, err
	})
	if err != nil {
		return fmt.Errorf("setting the rate cards of price plan %s: %w", plan, err)
	}
	return nil
}

// finalize makes a plan's draft active, and says whether it was this that did.
func finalize(ctx context.Context, c connectors.Conn, plan, mode string) (bool, error) {
	isActive := func(ctx context.Context) (bool, error) {
		p, err := newestPricePlan(ctx, c, plan)
		return p.Status == "ACTIVE", err
	}
	ref, err := c.Effect(ctx, connectors.Set("price_plan", plan, "finalize"), func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		active, err := isActive(ctx)
		return connectors.Ref{ID: plan}, active, err
	}, func(ctx context.Context, _ string) (connectors.Ref, error) {
		active, err := isActive(ctx)
		if err != nil || active {
			return connectors.Ref{ID: plan, Adopted: true}, err
		}
		body := struct {
			MigrationMode string `json:"migrationMode,omitempty"`
		}{mode}
		_, err = call(ctx, c, http.MethodPost, path("v2", "price_plans", plan, "finalize"), body, nil)
		return connectors.Ref{ID: plan}, err
	})
	if err != nil {
		return false, fmt.Errorf("finalizing price plan %s: %w", plan, err)
	}
	return !ref.Adopted, nil
}
