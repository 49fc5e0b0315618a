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
}

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
		ID: newID(), Number: in.Number, AccountID: a.ID, Version: 1, Status: cmp.Or(in.Status, "Active"), Start: cmp.Or(in.Start, now.Format(time.DateOnly)), CreatedAt: now,
	}
	if sub.Number == "" {
		sub.Number = s.number("A-S")
	}
	for _, c := range in.Charges {
		c = maps.Clone(c)
		c["id"], c["number"] = newID(), s.number("C-")
		c["originalChargeId"] = c["id"]
		if c["currency"] == nil {
			c["currency"] = a.Currency
		}
		sub.Charges = append(sub.Charges, c)
	}
	s.add(sub, a)
	return *sub, nil
}

// Amend changes a subscription, which makes a version of another id.
func (s *Sim) Amend(number string, change func(*Subscription)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.latest(number)
	if old == nil {
		return fmt.Errorf("no subscription %q", number)
	}
	sub := *old
	sub.ID, sub.Version, sub.CreatedAt = newID(), old.Version+1, s.Clock.Now().UTC()
	change(&sub)
	a, err := s.account(sub.AccountID)
	if err != nil {
		return err
	}
	s.add(&sub, a)
	return nil
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

func subscriptions(s *Sim) {
	s.handle("GET", "/v1/subscriptions/{}", func(c *call) (any, error) {
		sub := c.sim.latest(c.id)
		for _, x := range c.sim.subs {
			if x.ID == c.id {
				sub = x
			}
		}
		if sub == nil {
			return nil, refuse(404, notThere, "Cannot find entity by key: '%s'.", c.id)
		}
		a, err := c.sim.account(sub.AccountID)
		if err != nil {
			return nil, err
		}
		return map[string]any{
			"success": true, "id": sub.ID, "subscriptionNumber": sub.Number, "accountId": a.ID, "accountNumber": a.Number, "accountName": a.Name, "version": sub.Version,
			"status": sub.Status, "termType": "EVERGREEN", "subscriptionStartDate": sub.Start, "subscriptionEndDate": nil, "currency": a.Currency, "isLatestVersion": c.sim.latest(sub.Number) == sub,
			"ratePlans": []any{map[string]any{"id": newID(), "productName": "Product", "productRatePlanId": newID(), "ratePlanName": "Plan", "ratePlanCharges": sub.Charges}},
		}, nil
	})
}
