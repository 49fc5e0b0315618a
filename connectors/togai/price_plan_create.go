package togai

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"tieline/connectors"
)

// A price plan has no id of our choice, no metadata and no idempotency key, and whether names are unique is not
// documented. So the key of the effect that made it stands at the end of its description, where people see it too.
var markOfPlan = regexp.MustCompile(`\s*\[(tl_[A-Za-z0-9_]+)\]$`)

const maxDescription = 255

func marked(description, key string) string {
	mark := "[" + key + "]"
	runes := []rune(description)
	return strings.TrimSpace(string(runes[:min(len(runes), maxDescription-1-len(mark))]) + " " + mark)
}

func markIn(description string) string {
	if m := markOfPlan.FindStringSubmatch(description); m != nil {
		return m[1]
	}
	return ""
}

func withoutMark(description string) string { return markOfPlan.ReplaceAllString(description, "") }

// CreatePricePlanInput is a price plan to be made.
type CreatePricePlanInput struct {
	Name        string          `json:"name" minLength:"1" maxLength:"50" doc:"Its name. A plan of this name that is there already waits for a person to tell."`
	Description string          `json:"description,omitempty" maxLength:"200" doc:"What it is for."`
	Type        string          `json:"type,omitempty" enum:"BILLING,PURCHASE" doc:"BILLING, which recurs, if not given."`
	Currencies  []string        `json:"currencies" minLength:"1" pattern:"^[A-Za-z]{3}$" doc:"ISO 4217."`
	Interval    string          `json:"interval,omitempty" enum:"WEEKLY,MONTHLY,QUARTERLY,HALF_YEARLY,ANNUALLY" doc:"How often it bills; MONTHLY if not given. A plan that is bought once has none."`
	GraceDays   int             `json:"grace_days,omitempty" min:"0" doc:"Days after a cycle in which usage may still come in."`
	RateCards   []RateCardInput `json:"rate_cards,omitempty" doc:"What it charges for; more can be added later."`
	Finalize    bool            `json:"finalize,omitempty" doc:"Makes it active, so that it can be attached to accounts. It needs a rate card then."`
}

// RateCardInput is what a plan is to charge for one thing.
type RateCardInput struct {
	Name       string       `json:"name" minLength:"1" maxLength:"50" doc:"Unique in its plan."`
	Title      string       `json:"title,omitempty" maxLength:"255" doc:"As invoices show it; the name if not given."`
	Type       string       `json:"type" enum:"USAGE,FIXED_FEE,LICENSE" doc:"What kind of price it is."`
	BillableID string       `json:"billable_id,omitempty" maxLength:"50" doc:"The id of the usage meter, or of the add-on for fees and licences."`
	Billable   string       `json:"billable_name,omitempty" maxLength:"255" doc:"Instead of an id: the name of the usage meter, which must be there, or of the add-on, which is made unless it is there."`
	Timing     string       `json:"timing,omitempty" enum:"IN_ADVANCE,IN_ARREARS,PREPAID" doc:"When it is billed; usage IN_ARREARS, the rest IN_ADVANCE if not given."`
	OneTime    bool         `json:"one_time,omitempty" doc:"For fixed fees: charged once."`
	Prorate    bool         `json:"prorate,omitempty" doc:"For fees and licences: a part of a cycle costs a part."`
	Model      string       `json:"model,omitempty" enum:"TIERED,VOLUME" doc:"Where prices depend on the quantity: TIERED, each part of it at its own price, if not given; VOLUME, all of it at one."`
	Prices     []PriceInput `json:"prices" minLength:"1" doc:"One for each currency."`
}

// PriceInput is a price in one currency.
type PriceInput struct {
	Currency string `json:"currency" pattern:"^[A-Za-z]{3}$" doc:"ISO 4217."`
	Amount   string `json:"amount,omitempty" format:"decimal" doc:"In major units: of the fee, or for each unit."`
	Slabs    []Slab `json:"slabs,omitempty" doc:"Instead of an amount: prices by quantity, for usage and licences. The first begins at 0, and those of all currencies begin alike."`
}

// ChangedPricePlan is what writing a plan leaves.
type ChangedPricePlan struct {
	PricePlanID string `json:"price_plan_id" doc:"Togai's id of the plan."`
	Name        string `json:"name" doc:"Its name."`
	Created     bool   `json:"created" doc:"Whether this made it."`
	Active      bool   `json:"active" doc:"Whether this made it active."`
}

var sampleRateCard = RateCardInput{Name: "fee", Title: "Basic fee", Type: "FIXED_FEE", BillableID: "addon.1zYnFJIWzUF.cUSf4", Prices: []PriceInput{{Currency: "USD", Amount: "49.00"}}}

func createPricePlan() connectors.Action {
	return connectors.Do("price_plan.create", "Create price plan", runCreatePricePlan, CreatePricePlanInput{
		Name: "Basic", Currencies: []string{"USD"}, Interval: "MONTHLY", RateCards: []RateCardInput{sampleRateCard}, Finalize: true,
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Makes a price plan with its rate cards, and makes it active if asked to.", "price_plan"
		a.Options = map[string]connectors.Offer{"rate_cards.billable_id": offerBillables}
		a.Help = "The plan's description ends with a mark by which it is found again when Togai's answer is lost."
	})
}

// newPricePlan is the body of POST /v2/price_plans.
type newPricePlan struct {
	Name                string        `json:"name"`
	Description         string        `json:"description"`
	Type                string        `json:"type"`
	SupportedCurrencies []string      `json:"supportedCurrencies"`
	PricingCycleConfig  *pricingCycle `json:"pricingCycleConfig,omitempty"`
}

// wholeCycle is the offset of a cycle that begins with the interval; parts that an interval does not use are NIL. That
// weeks begin on day 1 is an assumption, as is the need for an offset at all.
func wholeCycle(interval string) *startOffset {
	if interval == "WEEKLY" || interval == "MONTHLY" {
		return &startOffset{DayOffset: "1", MonthOffset: "NIL"}
	}
	return &startOffset{DayOffset: "1", MonthOffset: "1"}
}

func (in CreatePricePlanInput) wire(key string) newPricePlan {
	out := newPricePlan{Name: in.Name, Description: marked(in.Description, key), Type: cmp.Or(in.Type, "BILLING")}
	for _, c := range in.Currencies {
		out.SupportedCurrencies = append(out.SupportedCurrencies, upper(c))
	}
	if out.Type == "BILLING" {
		interval := cmp.Or(in.Interval, "MONTHLY")
		out.PricingCycleConfig = &pricingCycle{Interval: interval, StartOffset: wholeCycle(interval), GracePeriod: in.GraceDays}
	}
	return out
}

func runCreatePricePlan(ctx context.Context, c connectors.Conn, in CreatePricePlanInput) (ChangedPricePlan, error) {
	cards, err := resolveRateCards(ctx, c, in.RateCards) // before the plan is written
	if err != nil {
		return ChangedPricePlan{}, err
	}
	look := func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		for p, err := range all[pricePlan](ctx, c, "v2/price_plans", pageSize, nil) {
			switch {
			case err != nil:
				return connectors.Ref{}, false, fmt.Errorf("looking for the price plan: %w", err)
			case markIn(p.Description) == key:
				return connectors.Ref{ID: p.ID, Name: p.Name}, true, nil
			}
		}
		return connectors.Ref{}, false, nil
	}
	ref, err := c.Effect(ctx, connectors.Create("price_plan"), look, func(ctx context.Context, key string) (connectors.Ref, error) {
		for p, err := range all[pricePlan](ctx, c, "v2/price_plans", pageSize, nil) {
			if err != nil {
				return connectors.Ref{}, fmt.Errorf("looking for a plan of this name: %w", err)
			}
			if p.Name == in.Name && markIn(p.Description) != key {
				return connectors.Ref{}, connectors.Errorf(connectors.Conflict, "a price plan called %s is there already (%s) and may or may not be the one that was meant", p.Name, p.ID)
			}
		}
		var made pricePlan
		if _, err := call(ctx, c, http.MethodPost, "/v2/price_plans", in.wire(key), &made); err != nil {
			return connectors.Ref{}, err
		}
		if made.ID == "" {
			return connectors.Ref{}, garbled(http.StatusOK, true)
		}
		return connectors.Ref{ID: made.ID, Name: made.Name}, nil
	})
	if err != nil {
		return ChangedPricePlan{}, fmt.Errorf("creating price plan %s: %w", in.Name, err)
	}
	out := ChangedPricePlan{PricePlanID: ref.ID, Name: cmp.Or(ref.Name, in.Name), Created: !ref.Adopted}
	if len(cards) > 0 {
		if err := setRateCards(ctx, c, ref.ID, cards); err != nil {
			return ChangedPricePlan{}, err
		}
	}
	if in.Finalize {
		if out.Active, err = finalize(ctx, c, ref.ID, ""); err != nil {
			return ChangedPricePlan{}, err
		}
	}
	return out, nil
}
