package togaisim

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// PricePlan as the v2 calls answer it. Of a plan only its newest version is kept.
type PricePlan struct {
	ID                      string        `json:"id"`
	ReferenceID             string        `json:"referenceId"`
	Name                    string        `json:"name"`
	Description             string        `json:"description,omitempty"`
	Type                    string        `json:"type"`
	SupportedCurrencies     []string      `json:"supportedCurrencies"`
	PricingCycleConfig      *PricingCycle `json:"pricingCycleConfig,omitempty"`
	DeferredRevenue         bool          `json:"deferredRevenue"`
	AllowOngoingCycleUpdate bool          `json:"allowOngoingCycleUpdates"`
	Version                 int           `json:"version"`
	Status                  string        `json:"status"`
	CreatedAt               time.Time     `json:"createdAt"`
	UpdatedAt               time.Time     `json:"updatedAt"`

	RateCards []RateCard `json:"-"` // read apart
}

// PricingCycle says how often a plan bills.
type PricingCycle struct {
	Interval    string `json:"interval"`
	StartOffset *struct {
		DayOffset   string `json:"dayOffset"`
		MonthOffset string `json:"monthOffset"`
	} `json:"startOffset,omitempty"`
	GracePeriod      *int32 `json:"gracePeriod"`
	AnniversaryCycle *bool  `json:"anniversaryCycle,omitempty"`
}

// RateCard is one price of a plan. Details are kept as they came.
type RateCard struct {
	Name        string          `json:"name"`
	PricePlanID string          `json:"pricePlanId"`
	Reference   string          `json:"referenceId"`
	Kind        string          `json:"referenceType"`
	BillableID  string          `json:"billableId"`
	Type        string          `json:"type"`
	DisplayName string          `json:"displayName,omitempty"`
	Timing      string          `json:"invoiceTiming"`
	Details     json.RawMessage `json:"rateCardDetails"`
	Tag         string          `json:"tag,omitempty"`
}

func (p *PricePlan) id() string         { return p.ID }
func (p *PricePlan) updated() time.Time { return p.UpdatedAt }
func (p *PricePlan) has(string, string) bool {
	return false
}

// PricePlans returns a copy of all price plans, by id.
func (o *Organization) PricePlans() []PricePlan {
	return snapshot(o, func() map[string]*PricePlan { return o.plans })
}

// PricePlans returns the first organization's price plans.
func (s *Sim) PricePlans() []PricePlan { return s.First().PricePlans() }

func pricePlans(s *Sim) {
	s.handle("POST", "/v2/price_plans", http.StatusOK, (*call).createPricePlan)
	s.handle("GET", "/v2/price_plans", http.StatusOK, func(c *call) (any, error) { return list(c, c.org.plans) })
	s.handle("GET", "/v2/price_plans/{id}", http.StatusOK, func(c *call) (any, error) {
		if v := c.query.Get("version"); v != "" && v != "LATEST" && v != "ACTIVE" {
			if _, err := strconv.Atoi(v); err != nil {
				return nil, bad("version must be LATEST, ACTIVE or a number")
			}
		}
		return c.pricePlan()
	})
	s.handle("POST", "/v2/price_plans/{id}/rate_cards", http.StatusOK, (*call).changeRateCards)
	s.handle("GET", "/v2/price_plans/{id}/rate_cards", http.StatusOK, func(c *call) (any, error) {
		p, err := c.pricePlan()
		if err != nil {
			return nil, err
		}
		return page[RateCard]{Data: append([]RateCard{}, p.RateCards...)}, nil
	})
	s.handle("GET", "/price_plans", http.StatusOK, func(c *call) (any, error) { return list(c, c.oldPricePlans(), "type", "status", "status type") })
	s.handle("POST", "/v2/price_plans/{id}/finalize", http.StatusOK, (*call).finalizePricePlan)
}

func (c *call) pricePlan() (*PricePlan, error) {
	p, ok := c.org.plans[c.id]
	if !ok {
		return nil, missing("Price plan", c.id)
	}
	return p, nil
}

func (c *call) createPricePlan() (any, error) {
	var in struct {
		Name                    string        `json:"name"`
		Description             string        `json:"description"`
		Type                    string        `json:"type"`
		SupportedCurrencies     []string      `json:"supportedCurrencies"`
		PricingCycleConfig      *PricingCycle `json:"pricingCycleConfig"`
		DeferredRevenue         bool          `json:"deferredRevenue"`
		AllowOngoingCycleUpdate bool          `json:"allowOngoingCycleUpdates"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	err := first(length("name", in.Name, 1, 50), length("description", in.Description, 0, 255), among("type", in.Type, "BILLING", "PURCHASE"), in.PricingCycleConfig.check())
	if err != nil {
		return nil, err
	}
	if len(in.SupportedCurrencies) == 0 {
		return nil, bad("supportedCurrencies is required")
	}
	for i, cur := range in.SupportedCurrencies {
		if err := length("supportedCurrencies["+strconv.Itoa(i)+"]", cur, 3, 3); err != nil {
			return nil, err
		}
	}
	id := newID("pp")
	p := &PricePlan{
		ID: id, ReferenceID: id, Name: in.Name, Description: in.Description, Type: in.Type, SupportedCurrencies: in.SupportedCurrencies, PricingCycleConfig: in.PricingCycleConfig,
		DeferredRevenue: in.DeferredRevenue, AllowOngoingCycleUpdate: in.AllowOngoingCycleUpdate, Version: 1, Status: "DRAFT", CreatedAt: c.now, UpdatedAt: c.now,
	}
	c.org.plans[id] = p
	c.emit("price_plan.created", p)
	return p, nil
}

func (p *PricingCycle) check() error {
	switch {
	case p == nil:
		return nil
	case p.GracePeriod == nil:
		return bad("pricingCycleConfig.gracePeriod is required")
	}
	return among("pricingCycleConfig.interval", p.Interval, "WEEKLY", "MONTHLY", "QUARTERLY", "HALF_YEARLY", "ANNUALLY")
}

// detail names the part of rateCardDetails that a type of rate card needs.
var detail = map[string]string{
	"USAGE": "usageRateCard", "FIXED_FEE": "fixedFeeRateCard", "LICENSE": "licenseRateCard", "CREDIT_GRANT": "creditGrantRateCard",
	"BILLING_ENTITLEMENT": "billingEntitlementRateCard", "ENTITLEMENT_OVERAGE": "entitlementOverageRateCard", "MINIMUM_COMMITMENT": "minimumCommitmentRateCard",
}

// changeRateCards changes a plan's draft. On an active plan it begins the next version.
func (c *call) changeRateCards() (any, error) {
	p, err := c.pricePlan()
	if err != nil {
		return nil, err
	}
	var in struct {
		Operations []struct {
			ActionType   string `json:"actionType"`
			RateCardName string `json:"rateCardName"`
			RateCard     *struct {
				BillableID  string          `json:"billableId"`
				Type        string          `json:"type"`
				DisplayName string          `json:"displayName"`
				Timing      string          `json:"invoiceTiming"`
				Details     json.RawMessage `json:"rateCardDetails"`
				Tag         string          `json:"tag"`
			} `json:"rateCard"`
		} `json:"operations"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	cards := slices.Clone(p.RateCards)
	for _, op := range in.Operations {
		at := slices.IndexFunc(cards, func(r RateCard) bool { return r.Name == op.RateCardName })
		if err := first(among("actionType", op.ActionType, "CREATE", "UPDATE", "DELETE"), length("rateCardName", op.RateCardName, 1, 50)); err != nil {
			return nil, err
		}
		switch {
		case op.ActionType == "CREATE" && at >= 0:
			return nil, bad("Rate card %s already exists", op.RateCardName)
		case op.ActionType != "CREATE" && at < 0:
			return nil, bad("Rate card %s does not exist", op.RateCardName)
		case op.ActionType == "DELETE":
			cards = slices.Delete(cards, at, at+1)
			continue
		case op.RateCard == nil:
			return nil, bad("rateCard is required")
		}
		var parts map[string]json.RawMessage
		if detail[op.RateCard.Type] == "" {
			return nil, bad("type must be a type of rate card")
		}
		if json.Unmarshal(op.RateCard.Details, &parts) != nil || len(parts) != 1 || parts[detail[op.RateCard.Type]] == nil {
			return nil, bad("rateCardDetails must hold exactly %s", detail[op.RateCard.Type])
		}
		if err := first(length("billableId", op.RateCard.BillableID, 1, 50), among("invoiceTiming", op.RateCard.Timing, "IN_ADVANCE", "IN_ARREARS", "PREPAID")); err != nil {
			return nil, err
		}
		r := RateCard{op.RateCardName, p.ID, p.ID, "PRICE_PLAN", op.RateCard.BillableID, op.RateCard.Type, cmp.Or(op.RateCard.DisplayName, op.RateCardName), op.RateCard.Timing, op.RateCard.Details, op.RateCard.Tag}
		if at < 0 {
			cards = append(cards, r)
		} else {
			cards[at] = r
		}
	}
	if p.Status == "ACTIVE" {
		p.Version, p.Status = p.Version+1, "DRAFT"
	}
	p.RateCards, p.UpdatedAt = cards, c.now
	return map[string]any{"rateCards": cards}, nil
}

func (c *call) finalizePricePlan() (any, error) {
	p, err := c.pricePlan()
	if err != nil {
		return nil, err
	}
	var in struct {
		MigrationMode     *string `json:"migrationMode"`
		VersionsToMigrate *string `json:"versionsToMigrate"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	switch {
	case p.Status == "ACTIVE":
		return nil, bad("Price plan %s has no draft", p.ID)
	case len(p.RateCards) == 0:
		return nil, bad("Price plan %s has no rate cards", p.ID)
	}
	p.Status, p.UpdatedAt = "ACTIVE", c.now
	return success, nil
}

// oldPricePlans are the plans as the deprecated calls answer them.
func (c *call) oldPricePlans() map[string]*oldPlan {
	out := map[string]*oldPlan{}
	for id, p := range c.org.plans {
		out[id] = &oldPlan{
			ID: id, Name: p.Name, Version: p.Version, Description: p.Description, Status: p.Status, Type: p.Type, UsageMeters: []string{}, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
			Details: map[string]any{"supportedCurrencies": p.SupportedCurrencies, "activeCurrencies": p.SupportedCurrencies, "pricingCycleConfig": p.PricingCycleConfig},
		}
	}
	return out
}

type oldPlan struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Version     int            `json:"version"`
	Description string         `json:"description,omitempty"`
	Status      string         `json:"status"`
	Type        string         `json:"type"`
	UsageMeters []string       `json:"usageMeters"`
	Details     map[string]any `json:"pricePlanDetails"`
	CreatedAt   time.Time      `json:"createdAt"`
	UpdatedAt   time.Time      `json:"updatedAt"`
}

func (p *oldPlan) id() string         { return p.ID }
func (p *oldPlan) updated() time.Time { return p.UpdatedAt }
func (p *oldPlan) has(filter, value string) bool {
	return map[string]string{"type": p.Type, "status": p.Status}[filter] == value
}
