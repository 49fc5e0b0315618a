package zuora

import "strings"

// Subscription is one as triggers and actions show it, in its latest version.
type Subscription struct {
	SubscriptionNumber string   `json:"subscription_number" doc:"What tells it from others in every version." minLength:"1"`
	SubscriptionID     string   `json:"subscription_id" doc:"Zuora's id of this version."`
	AccountID          string   `json:"account_id" doc:"Zuora's id of the account."`
	AccountNumber      string   `json:"account_number" doc:"The account's number."`
	AccountName        string   `json:"account_name" doc:"The account's name."`
	Version            int      `json:"version" doc:"Raised by each amendment; zero when not known."`
	Status             string   `json:"status" doc:"Draft, Pending Activation, Pending Acceptance, Active, Cancelled or Suspended."`
	TermType           string   `json:"term_type" doc:"TERMED or EVERGREEN."`
	StartDate          string   `json:"start_date" doc:"The first day; empty when not known."`
	EndDate            string   `json:"end_date" doc:"The day it ends; empty when it does not."`
	Currency           string   `json:"currency" doc:"ISO 4217."`
	Plans              []string `json:"plans" doc:"The names of its rate plans."`
	Charges            []Charge `json:"charges" doc:"What it charges for, of all its rate plans."`
}

// Charge is what a subscription charges for one thing.
type Charge struct {
	Number          string       `json:"number" doc:"What tells the charge from others: C-00000001."`
	ChargeID        string       `json:"charge_id" doc:"Zuora's id of the charge, which is the same in every version."`
	ProductChargeID string       `json:"product_charge_id" doc:"The charge of the catalogue that it was made of."`
	Plan            string       `json:"plan" doc:"The name of its rate plan."`
	Name            string       `json:"name" doc:"Its name."`
	Type            string       `json:"type" doc:"ONE_TIME, RECURRING or USAGE; Zuora's own word for any other."`
	Model           string       `json:"model" doc:"FLAT_FEE, PER_UNIT, TIERED or VOLUME; Zuora's own word for any other."`
	UOM             string       `json:"uom" doc:"The unit it counts; empty when it counts none."`
	Interval        string       `json:"interval" doc:"WEEKLY, MONTHLY, QUARTERLY, HALF_YEARLY or ANNUALLY; Zuora's own word for any other, empty when it has none."`
	Timing          string       `json:"timing" doc:"IN_ADVANCE or IN_ARREARS."`
	Currency        string       `json:"currency" doc:"ISO 4217."`
	Price           string       `json:"price" format:"decimal" doc:"The flat fee, or of each unit, in major units; zero where there are tiers."`
	Quantity        string       `json:"quantity" format:"decimal" doc:"How many units; zero where it counts none, or usage."`
	Amount          string       `json:"amount" format:"decimal" doc:"What it costs at its quantity: price and quantity, or tiers and quantity; zero for usage and for models that are Zuora's own word."`
	Tiers           []ChargeTier `json:"tiers" doc:"Prices by quantity, where there are any."`
	EndDate         string       `json:"end_date" doc:"The day it ends; empty when it does not."`
}

// ChargeTier is a price from a quantity on.
type ChargeTier struct {
	StartAfter string `json:"start_after" format:"decimal" doc:"The quantity above which it holds."`
	PriceType  string `json:"price_type" doc:"FLAT or PER_UNIT."`
	Rate       string `json:"rate" format:"decimal" doc:"In major units."`
}

// Words that Zuora writes in more than one way are compared without case, spaces and underscores.
var (
	chargeTypes  = map[string]string{"onetime": "ONE_TIME", "recurring": "RECURRING", "usage": "USAGE"}
	chargeModels = map[string]string{
		"flatfee": "FLAT_FEE", "flatfeepricing": "FLAT_FEE", "perunit": "PER_UNIT", "perunitpricing": "PER_UNIT", "tiered": "TIERED", "tieredpricing": "TIERED",
		"volume": "VOLUME", "volumepricing": "VOLUME",
	}
	intervals = map[string]string{"week": "WEEKLY", "month": "MONTHLY", "quarter": "QUARTERLY", "semiannual": "HALF_YEARLY", "annual": "ANNUALLY"}
)

func squeezed(word string) string {
	return strings.ToLower(strings.NewReplacer(" ", "", "_", "", "-", "").Replace(word))
}

func known(words map[string]string, word string) string {
	if w, ok := words[squeezed(word)]; ok {
		return w
	}
	return word
}

func (s subscription) plain() Subscription {
	out := Subscription{
		SubscriptionNumber: s.Number, SubscriptionID: s.ID, AccountID: s.AccountID, AccountNumber: s.Account, AccountName: s.Name, Version: s.Version, Status: s.Status,
		TermType: s.TermType, StartDate: s.Start, EndDate: s.End, Currency: s.Currency, Plans: []string{}, Charges: []Charge{},
	}
	for _, p := range s.RatePlans {
		if squeezed(p.LastChangeType) == "remove" {
			continue
		}
		out.Plans = append(out.Plans, p.Name)
		for _, c := range p.Charges {
			plain := c.plain(p.Name)
			if plain.Currency == "" {
				plain.Currency = s.Currency
			}
			if out.Currency == "" {
				out.Currency = plain.Currency
			}
			out.Charges = append(out.Charges, plain)
		}
	}
	return out
}

func (c charge) plain(plan string) Charge {
	out := Charge{
		Number: c.Number, ChargeID: c.OriginalID, ProductChargeID: c.ProductChargeID, Plan: plan, Name: c.Name, Type: known(chargeTypes, c.Type), Model: known(chargeModels, c.Model),
		UOM: c.UOM, Interval: known(intervals, c.BillingPeriod), Timing: "IN_ADVANCE", Currency: c.Currency, Price: c.Price.text(), Quantity: c.Quantity.text(), Tiers: []ChargeTier{}, EndDate: c.EffectiveEndDate,
	}
	if out.ChargeID == "" {
		out.ChargeID = c.ID
	}
	if squeezed(c.BillingTiming) == "inarrears" || out.Type == "USAGE" {
		out.Timing = "IN_ARREARS"
	}
	// A price may be for another time than that which is billed at once: per month, billed each year. The two are one only
	// where Zuora says nothing else.
	if base := squeezed(c.ListPriceBase); out.Type == "RECURRING" && base != "" && base != "perbillingperiod" && base != "per"+squeezed(c.BillingPeriod) {
		out.Model = out.Model + " priced " + c.ListPriceBase
	}
	for i, t := range c.Tiers {
		after := number("0")
		if i > 0 {
			after = c.Tiers[i-1].Ending
		}
		kind := "PER_UNIT"
		if squeezed(t.PriceFormat) == "flatfee" {
			kind = "FLAT"
		}
		out.Tiers = append(out.Tiers, ChargeTier{after.text(), kind, t.Price.text()})
	}
	out.Amount = c.amount(out).text()
	return out
}

// amount is what a charge costs at its quantity.
func (c charge) amount(p Charge) number {
	switch {
	case p.Type == "USAGE":
	case p.Model == "FLAT_FEE":
		return c.Price
	case p.Model == "PER_UNIT":
		return c.Price.times(c.Quantity)
	case p.Model == "TIERED":
		return c.tiered()
	case p.Model == "VOLUME":
		for i, t := range c.Tiers {
			if i == len(c.Tiers)-1 || c.Quantity.cmp(t.Ending) <= 0 {
				return t.at(c.Quantity)
			}
		}
	}
	return "0"
}

func (c charge) tiered() number {
	sum, below := number("0"), number("0")
	for i, t := range c.Tiers {
		if c.Quantity.cmp(below) <= 0 {
			break
		}
		upto := c.Quantity
		if i < len(c.Tiers)-1 && t.Ending.cmp(upto) < 0 {
			upto = t.Ending
		}
		sum, below = sum.plus(t.at(upto.minus(below))), upto
	}
	return sum
}

func (t tier) at(units number) number {
	if squeezed(t.PriceFormat) == "flatfee" {
		return t.Price
	}
	return t.Price.times(units)
}
