package togaisim

import (
	"net/http"
	"time"
)

// Schedule is a price plan on an account for a time, as GET answers it.
type Schedule struct {
	ID                      string            `json:"id"`
	AccountID               string            `json:"accountId"`
	PricePlanID             string            `json:"pricePlanId"`
	Version                 int               `json:"version"`
	DeferredRevenue         bool              `json:"deferredRevenue"`
	PricePlanInfo           map[string]string `json:"pricePlanInfo"`
	AccountScheduleInfo     ScheduleInfo      `json:"accountScheduleInfo"`
	StartDate               time.Time         `json:"startDate"`
	EndDate                 time.Time         `json:"endDate"`
	AllowOngoingCycleUpdate bool              `json:"allowOngoingCycleUpdates"`
	IsOverridden            bool              `json:"isOverridden"`

	Draft  bool      `json:"-"`
	Remove bool      `json:"-"` // a draft that takes the plan away
	Made   time.Time `json:"-"`
}

// ScheduleInfo is what a schedule takes from its plan.
type ScheduleInfo struct {
	SupportedCurrencies []string      `json:"supportedCurrencies"`
	PricingCycleConfig  *PricingCycle `json:"pricingCycleConfig"`
}

func (o *Schedule) id() string         { return o.ID }
func (o *Schedule) updated() time.Time { return o.Made }
func (o *Schedule) has(filter, value string) bool {
	mode := "ACTIVE"
	if o.Draft {
		mode = "DRAFT"
	}
	return filter == "mode" && value == mode
}

// Schedules returns a copy of all schedules, drafts too, by id.
func (o *Organization) Schedules() []Schedule {
	return snapshot(o, func() map[string]*Schedule { return o.schedules })
}

// Schedules returns the first organization's schedules.
func (s *Sim) Schedules() []Schedule { return s.First().Schedules() }

func schedules(s *Sim) {
	s.handle("POST", "/v2/accounts/{id}/edit_schedules", http.StatusOK, (*call).editSchedules)
	s.handle("POST", "/v2/accounts/{id}/finalize_schedules", http.StatusOK, (*call).finalizeSchedules)
	s.handle("GET", "/v2/accounts/{id}/schedules", http.StatusOK, func(c *call) (any, error) {
		if _, err := c.account(); err != nil {
			return nil, err
		}
		if c.query.Get("nextToken") == "" {
			if err := among("mode", c.query.Get("mode"), "ACTIVE", "DRAFT"); err != nil {
				return nil, err
			}
		}
		return list(c, c.ofAccount(), "mode")
	})
	s.handle("DELETE", "/v2/accounts/{id}/discard_schedules", http.StatusOK, func(c *call) (any, error) {
		if _, err := c.account(); err != nil {
			return nil, err
		}
		for id, o := range c.ofAccount() {
			if o.Draft {
				delete(c.org.schedules, id)
			}
		}
		return success, nil
	})
}

func (c *call) ofAccount() map[string]*Schedule {
	out := map[string]*Schedule{}
	for id, o := range c.org.schedules {
		if o.AccountID == c.id {
			out[id] = o
		}
	}
	return out
}

// editSchedules makes drafts.
func (c *call) editSchedules() (any, error) {
	a, err := c.account()
	if err != nil {
		return nil, err
	}
	var in struct {
		Edits []struct {
			Mode              string `json:"mode"`
			EffectiveFrom     string `json:"effectiveFrom"`
			EffectiveUntil    string `json:"effectiveUntil"`
			AssociationConfig *struct {
				PricePlanID        string        `json:"pricePlanId"`
				ScheduleID         string        `json:"scheduleId"`
				Override           *PricingCycle `json:"pricingCycleConfigOverride"`
				RetainStartOffsets *bool         `json:"retainStartOffsets"`
			} `json:"associationConfig"`
			MergeSchedules *bool `json:"mergeSchedules"`
		} `json:"edits"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if n := len(in.Edits); n < 1 || n > 10 {
		return nil, bad("edits must have 1 to 10 items")
	}
	var made []*Schedule
	for _, e := range in.Edits {
		from, err1 := time.Parse(time.DateOnly, e.EffectiveFrom)
		until, err2 := time.Parse(time.DateOnly, e.EffectiveUntil)
		if err1 != nil || err2 != nil || !until.After(from) {
			return nil, bad("effectiveFrom and effectiveUntil must be dates, in this order")
		}
		if from.Before(c.now.Truncate(24 * time.Hour)) {
			return nil, bad("effectiveFrom must not lie in the past")
		}
		if e.Mode == "DISASSOCIATE" {
			made = append(made, &Schedule{ID: newID("sch"), AccountID: a.ID, StartDate: from, EndDate: until, Draft: true, Remove: true, Made: c.now})
			continue
		}
		if e.AssociationConfig == nil || e.AssociationConfig.PricePlanID == "" {
			return nil, bad("associationConfig.pricePlanId is required")
		}
		p := c.org.plans[e.AssociationConfig.PricePlanID]
		if p == nil {
			return nil, missing("Price plan", e.AssociationConfig.PricePlanID)
		}
		if p.Status == "DRAFT" && p.Version == 1 {
			return nil, bad("Price plan %s is not active", p.ID)
		}
		o := &Schedule{
			ID: newID("sch"), AccountID: a.ID, PricePlanID: p.ID, Version: p.Version, PricePlanInfo: map[string]string{"name": p.Name}, Draft: true, Made: c.now,
			AccountScheduleInfo: ScheduleInfo{p.SupportedCurrencies, p.PricingCycleConfig}, StartDate: from, EndDate: until,
		}
		if e.AssociationConfig.Override != nil {
			o.AccountScheduleInfo.PricingCycleConfig = e.AssociationConfig.Override
		}
		made = append(made, o)
	}
	type edited struct {
		ID            string    `json:"id"`
		PricePlanID   string    `json:"pricePlanId"`
		PricePlanName string    `json:"pricePlanName"`
		StartDate     time.Time `json:"startDate"`
		EndDate       time.Time `json:"endDate"`
	}
	out := []edited{}
	for _, o := range made {
		c.org.schedules[o.ID] = o
		out = append(out, edited{o.ID, o.PricePlanID, o.PricePlanInfo["name"], o.StartDate, o.EndDate})
	}
	return map[string]any{"accountId": a.ID, "accountName": a.Name, "pricingSchedules": out}, nil
}

// finalizeSchedules makes the drafts live. An account has at most one plan at a time: what the drafts cover, they replace.
func (c *call) finalizeSchedules() (any, error) {
	if _, err := c.account(); err != nil {
		return nil, err
	}
	var in struct {
		MergeSchedules *bool `json:"mergeSchedules"`
		PreActions     []any `json:"preActions"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	var drafts []*Schedule
	for _, o := range c.ofAccount() {
		if o.Draft {
			drafts = append(drafts, o)
		}
	}
	if len(drafts) == 0 {
		return nil, bad("Account %s has no draft schedules", c.id)
	}
	for _, d := range drafts {
		for id, o := range c.ofAccount() {
			if o.Draft || !o.StartDate.Before(d.EndDate) || !d.StartDate.Before(o.EndDate) {
				continue
			}
			if o.EndDate.After(d.EndDate) { // what lies behind the draft goes on
				rest := *o
				rest.ID, rest.StartDate = newID("sch"), d.EndDate
				c.org.schedules[rest.ID] = &rest
			}
			if o.EndDate = d.StartDate; !o.StartDate.Before(o.EndDate) {
				delete(c.org.schedules, id)
			}
		}
		if d.Remove {
			delete(c.org.schedules, d.ID)
			continue
		}
		d.Draft = false
		c.emit("price_plan.attached", d)
	}
	c.query = map[string][]string{"mode": {"ACTIVE"}}
	return list(c, c.ofAccount(), "mode")
}
