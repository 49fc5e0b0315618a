package zuorasim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Subscription is one version of a subscription.
type Subscription struct {
	ID        string           `json:"id"`
	Number    string           `json:"number"`
	AccountID string           `json:"account_id"`
	Version   int              `json:"version"`
	Status    string           `json:"status"`
	Start     string           `json:"start"`
	Charges   []map[string]any `json:"-"`
	CreatedAt time.Time        `json:"created_at"`

	plan string // the id of the rate plan of charges that name none
}

// inPlan is where a charge keeps the id of its rate plan.
const inPlan = "_plan"

// NewSubscription is what a subscription is made with by hand. Charges are as GET answers them.
type NewSubscription struct {
	Account string           `json:"account"` // id or number
	Number  string           `json:"number"`
	Start   string           `json:"start"`
	Status  string           `json:"status"`
	Charges []map[string]any `json:"charges"`
}

// Subscribe makes a subscription, as a person does.
func (s *Sim) Subscribe(in NewSubscription) (Subscription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.account(in.Account)
	if err != nil {
		return Subscription{}, err
	}
	now := s.Clock.Now().UTC()
	sub := &Subscription{
		ID: newID(), Number: in.Number, AccountID: a.ID, Version: 1, Status: cmp.Or(in.Status, "Active"), Start: cmp.Or(in.Start, now.Format(time.DateOnly)), CreatedAt: now, plan: newID(),
	}
	if sub.Number == "" {
		sub.Number = s.number("A-S")
	}
	for _, c := range in.Charges {
		sub.Charges = append(sub.Charges, s.charge(c, a))
	}
	s.add(sub, a)
	return *sub, nil
}

// charge is one of an account's subscription as it is made. s.mu is held.
func (s *Sim) charge(c map[string]any, a *Account) map[string]any {
	c = maps.Clone(c)
	c["id"], c["number"] = newID(), s.number("C-")
	c["originalChargeId"] = c["id"]
	if c["currency"] == nil {
		c["currency"] = a.Currency
	}
	return c
}

// plans are the rate plans as GET answers them.
func (x *Subscription) plans() []any {
	ids, by := []string{x.plan}, map[string][]any{x.plan: {}}
	for _, c := range x.Charges {
		id, _ := c[inPlan].(string)
		if id = cmp.Or(id, x.plan); by[id] == nil {
			ids = append(ids, id)
		}
		c = maps.Clone(c)
		delete(c, inPlan)
		by[id] = append(by[id], c)
	}
	if len(ids) > 1 && len(by[x.plan]) == 0 {
		ids = ids[1:]
	}
	out := []any{}
	for _, id := range ids {
		out = append(out, map[string]any{"id": id, "productName": "Product", "productRatePlanId": newID(), "ratePlanName": "Plan", "ratePlanCharges": by[id]})
	}
	return out
}

// Amend changes a subscription, which makes a version of another id.
func (s *Sim) Amend(number string, change func(*Subscription)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.latest(number)
	if old == nil {
		return fmt.Errorf("no subscription %q", number)
	}
	sub := s.next(old)
	change(sub)
	return s.addTo(sub)
}

// next is a version that comes after another, and is not there yet. s.mu is held.
func (s *Sim) next(old *Subscription) *Subscription {
	sub := *old
	sub.ID, sub.Version, sub.CreatedAt = newID(), old.Version+1, s.Clock.Now().UTC()
	sub.Charges = slices.Clone(old.Charges)
	return &sub
}

func (s *Sim) addTo(sub *Subscription) error {
	a, err := s.account(sub.AccountID)
	if err == nil {
		s.add(sub, a)
	}
	return err
}

// CancelSubscription cancels one.
func (s *Sim) CancelSubscription(number string) error {
	return s.Amend(number, func(x *Subscription) { x.Status = "Cancelled" })
}

// add keeps a version and tells of it. s.mu is held.
func (s *Sim) add(sub *Subscription, a *Account) {
	s.subs = append(s.subs, sub)
	s.tell("Subscription", sub.fields(), a.fields())
}

func (x *Subscription) fields() map[string]any {
	return map[string]any{"Id": x.ID, "Name": x.Number, "AccountId": x.AccountID, "Version": x.Version, "Status": x.Status, "CreatedDate": x.CreatedAt}
}

// latest is the newest version of a number. s.mu is held.
func (s *Sim) latest(number string) *Subscription {
	for _, x := range slices.Backward(s.subs) {
		if x.Number == number {
			return x
		}
	}
	return nil
}

// key finds a version by its id, or the latest by the number. s.mu is held.
func (s *Sim) key(key string) (*Subscription, error) {
	for _, x := range s.subs {
		if x.ID == key {
			return x, nil
		}
	}
	if x := s.latest(key); x != nil {
		return x, nil
	}
	return nil, refuse(404, notThere, "Cannot find entity by key: '%s'.", key)
}

func subscriptions(s *Sim) {
	s.handle("GET", "/v1/subscriptions/{}", func(c *call) (any, error) {
		sub, err := c.sim.key(c.id)
		if err != nil {
			return nil, err
		}
		a, err := c.sim.account(sub.AccountID)
		if err != nil {
			return nil, err
		}
		return map[string]any{
			"success": true, "id": sub.ID, "subscriptionNumber": sub.Number, "accountId": a.ID, "accountNumber": a.Number, "accountName": a.Name, "version": sub.Version,
			"status": sub.Status, "termType": "EVERGREEN", "subscriptionStartDate": sub.Start, "subscriptionEndDate": nil, "currency": a.Currency, "isLatestVersion": c.sim.latest(sub.Number) == sub,
			"ratePlans": sub.plans(),
		}, nil
	})
	s.handle("POST", "/v1/subscriptions", (*call).subscribe)
	s.handle("PUT", "/v1/subscriptions/{}", (*call).amend)
	s.handle("PUT", "/v1/subscriptions/{}/cancel", (*call).cancel)
}
