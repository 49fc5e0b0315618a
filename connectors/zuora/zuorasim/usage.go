package zuorasim

import (
	"encoding/json"
	"strings"
)

// Usage is one record.
type Usage struct {
	ID           string      `json:"id"`
	AccountID    string      `json:"account_id"`
	Quantity     json.Number `json:"quantity"`
	UOM          string      `json:"uom"`
	Start        string      `json:"start"`
	Subscription string      `json:"subscription"`
	Charge       string      `json:"charge"`
	Description  string      `json:"description"`
}

// Usage returns a copy of all records of usage, oldest first.
func (s *Sim) Usage() []Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copied(s.usage)
}

func (u *Usage) fields() map[string]any {
	return map[string]any{"Id": u.ID, "AccountId": u.AccountID, "UOM": u.UOM, "Description": u.Description, "Quantity": u.Quantity.String()}
}

func usage(s *Sim) {
	s.handle("POST", "/v1/object/usage", func(c *call) (any, error) {
		var in struct {
			AccountId, UOM, StartDateTime, SubscriptionId, SubscriptionNumber, ChargeId, ChargeNumber, Description string
			Quantity                                                                                               json.Number
		}
		if err := c.decode(&in); err != nil {
			return nil, err
		}
		a, err := c.sim.account(in.AccountId)
		if err != nil || in.UOM == "" || in.StartDateTime == "" || in.Quantity == "" || strings.HasPrefix(in.Quantity.String(), "-") || len(in.Description) > 200 {
			return nil, refuse(400, badValue, "A required field is missing or no such value.")
		}
		u := &Usage{newID(), a.ID, in.Quantity, in.UOM, in.StartDateTime, in.SubscriptionId + in.SubscriptionNumber, in.ChargeId + in.ChargeNumber, in.Description}
		c.sim.usage = append(c.sim.usage, u)
		return map[string]any{"Success": true, "Id": u.ID}, nil
	})
}
