package zuorasim

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// ordered is a rate plan of the catalogue as a subscription takes it.
type ordered struct {
	Date      string           `json:"contractEffectiveDate"`
	Plan      string           `json:"productRatePlanId"`
	Overrides []map[string]any `json:"chargeOverrides"` // by productRatePlanChargeId
}

// subscribe makes a subscription of rate plans of the catalogue.
func (c *call) subscribe() (any, error) {
	var in struct {
		AccountKey, TermType, ContractEffectiveDate, SubscriptionNumber string
		RenewalTerm, InitialTerm                                        *int
		SubscribeToRatePlans                                            []ordered
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	switch {
	case in.AccountKey == "" || in.ContractEffectiveDate == "" || in.RenewalTerm == nil || len(in.SubscribeToRatePlans) == 0 || in.TermType == "TERMED" && in.InitialTerm == nil:
		return nil, refuse(400, noField, "A required field is missing.")
	case in.TermType != "TERMED" && in.TermType != "EVERGREEN" || !day(in.ContractEffectiveDate):
		return nil, refuse(400, badValue, "The term's type or the date is no such value.")
	case c.sim.latest(in.SubscriptionNumber) != nil:
		return nil, refuse(200, rule, "The subscription number %s is used already.", in.SubscriptionNumber)
	}
	a, err := c.sim.account(in.AccountKey)
	if err != nil {
		return nil, err
	}
	sub := &Subscription{ID: newID(), Number: in.SubscriptionNumber, AccountID: a.ID, Version: 1, Status: "Active", Start: in.ContractEffectiveDate, CreatedAt: c.now, plan: newID()}
	if err := c.order(sub, a, in.SubscribeToRatePlans); err != nil {
		return nil, err
	}
	sub.Number = cmp.Or(sub.Number, c.sim.number("A-S"))
	c.sim.add(sub, a)
	return map[string]any{"success": true, "subscriptionId": sub.ID, "subscriptionNumber": sub.Number, "contractedMrr": 0, "totalContractedValue": 0}, nil
}

// order adds rate plans of the catalogue to a subscription.
func (c *call) order(sub *Subscription, a *Account, plans []ordered) error {
	for _, o := range plans {
		i := slices.IndexFunc(c.sim.products, func(p *Product) bool { return p.ID+"p" == o.Plan })
		if i < 0 {
			return refuse(404, notThere, "Cannot find product rate plan '%s'.", o.Plan)
		}
		plan := newID()
		for _, x := range c.sim.products[i].Charges {
			made := maps.Clone(x)
			delete(made, "productRatePlanChargeNumber")
			made["productRatePlanChargeId"] = x["id"]
			for _, over := range o.Overrides {
				if over["productRatePlanChargeId"] == x["id"] {
					maps.Copy(made, over)
				}
			}
			made[inPlan] = plan
			sub.Charges = append(sub.Charges, c.sim.charge(made, a))
		}
	}
	return nil
}

// amend adds, changes or removes rate plans, which makes a version.
func (c *call) amend() (any, error) {
	var in struct {
		Add    []ordered `json:"add"`
		Remove []struct {
			Date string `json:"contractEffectiveDate"`
			Plan string `json:"ratePlanId"`
		} `json:"remove"`
		Update []struct {
			Date    string           `json:"contractEffectiveDate"`
			Plan    string           `json:"ratePlanId"`
			Charges []map[string]any `json:"chargeUpdateDetails"` // by ratePlanChargeId
		} `json:"update"`
	}
	sub, a, err := c.change(&in)
	if err != nil {
		return nil, err
	}
	for _, o := range in.Add {
		if !day(o.Date) {
			return nil, refuse(400, noField, "contractEffectiveDate is missing.")
		}
	}
	if err := c.order(sub, a, in.Add); err != nil {
		return nil, err
	}
	of := func(plan string) func(map[string]any) bool {
		return func(x map[string]any) bool { return x[inPlan] == plan || x[inPlan] == nil && plan == sub.plan }
	}
	for _, u := range in.Update {
		if !day(u.Date) || !slices.ContainsFunc(sub.Charges, of(u.Plan)) {
			return nil, refuse(400, badValue, "There is no rate plan '%s', or contractEffectiveDate is missing.", u.Plan)
		}
		for i, x := range sub.Charges {
			for _, change := range u.Charges {
				if of(u.Plan)(x) && x["id"] == change["ratePlanChargeId"] {
					sub.Charges[i] = maps.Clone(x)
					maps.Copy(sub.Charges[i], change)
				}
			}
		}
	}
	for _, r := range in.Remove {
		if !day(r.Date) || !slices.ContainsFunc(sub.Charges, of(r.Plan)) {
			return nil, refuse(400, badValue, "There is no rate plan '%s', or contractEffectiveDate is missing.", r.Plan)
		}
		sub.Charges = slices.DeleteFunc(sub.Charges, of(r.Plan))
	}
	c.sim.add(sub, a)
	return map[string]any{"success": true, "subscriptionId": sub.ID, "totalDeltaMrr": 0, "totalDeltaTcv": 0}, nil
}

// cancel ends a subscription.
func (c *call) cancel() (any, error) {
	var in struct{ CancellationPolicy, CancellationEffectiveDate string }
	sub, a, err := c.change(&in)
	switch {
	case err != nil:
		return nil, err
	case in.CancellationPolicy == "":
		return nil, refuse(400, noField, "cancellationPolicy is missing.")
	case !slices.Contains([]string{"EndOfCurrentTerm", "EndOfLastInvoicePeriod", "SpecificDate"}, in.CancellationPolicy), in.CancellationPolicy == "SpecificDate" && !day(in.CancellationEffectiveDate):
		return nil, refuse(400, badValue, "The policy or its date is no such value.")
	}
	sub.Status = "Cancelled"
	c.sim.add(sub, a)
	return map[string]any{"success": true, "subscriptionId": sub.ID, "cancelledDate": cmp.Or(in.CancellationEffectiveDate, c.now.Format(time.DateOnly)), "totalDeltaMrr": 0, "totalDeltaTcv": 0}, nil
}

// change reads one, and makes the version that it will be of the latest of the subscription.
func (c *call) change(in any) (*Subscription, *Account, error) {
	if len(c.body) == 0 {
		return nil, nil, refuse(415, badValue, "A body is needed, if only {}.")
	}
	if err := c.decode(in); err != nil {
		return nil, nil, err
	}
	named, err := c.sim.key(c.id)
	if err != nil {
		return nil, nil, err
	}
	old := c.sim.latest(named.Number)
	if old.Status == "Cancelled" {
		return nil, nil, refuse(200, rule, "Subscription %s is cancelled.", old.Number)
	}
	a, err := c.sim.account(old.AccountID)
	if err != nil {
		return nil, nil, err
	}
	return c.sim.next(old), a, nil
}

func day(text string) bool {
	_, err := time.Parse(time.DateOnly, text)
	return err == nil
}
