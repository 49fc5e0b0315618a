package zuorasim

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Account is one as it is kept.
type Account struct {
	ID        string            `json:"id"`
	Number    string            `json:"number"`
	Name      string            `json:"name"`
	Currency  string            `json:"currency"`
	CrmID     string            `json:"crm_id"`
	Notes     string            `json:"notes"`
	Term      string            `json:"term"`
	BillTo    map[string]any    `json:"bill_to"`
	Custom    map[string]string `json:"custom"`
	CreatedAt time.Time         `json:"created_at"`
	UpdatedAt time.Time         `json:"updated_at"`
}

// Accounts returns a copy of all accounts, oldest first.
func (s *Sim) Accounts() []Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copied(s.accounts)
}

// account finds one by id or number. s.mu is held.
func (s *Sim) account(key string) (*Account, error) {
	i := slices.IndexFunc(s.accounts, func(a *Account) bool { return key != "" && (a.ID == key || a.Number == key) })
	if i < 0 {
		return nil, refuse(404, notThere, "Cannot find entity by key: '%s'.", key)
	}
	return s.accounts[i], nil
}

func accounts(s *Sim) {
	s.handle("POST", "/v1/accounts", func(c *call) (any, error) {
		a, err := c.newAccount()
		if err != nil {
			return nil, err
		}
		return map[string]any{"success": true, "accountId": a.ID, "accountNumber": a.Number, "billToContactId": newID(), "soldToContactId": newID()}, nil
	})
	s.handle("GET", "/v1/accounts/{}", func(c *call) (any, error) {
		a, err := c.sim.account(c.id)
		if err != nil {
			return nil, err
		}
		basic := map[string]any{"id": a.ID, "name": a.Name, "accountNumber": a.Number, "status": "Active", "crmId": a.CrmID, "batch": "Batch1", "notes": a.Notes}
		for k, v := range a.Custom {
			basic[k] = v
		}
		return map[string]any{
			"success": true, "basicInfo": basic, "billingAndPayment": map[string]any{"currency": a.Currency, "billCycleDay": "1", "autoPay": false, "paymentTerm": a.Term},
			"metrics": map[string]any{"balance": "0", "contractedMrr": "0"}, "billToContact": a.BillTo, "soldToContact": a.BillTo,
		}, nil
	})
	s.handle("PUT", "/v1/accounts/{}", func(c *call) (any, error) {
		a, err := c.sim.account(c.id)
		if err != nil {
			return nil, err
		}
		var in map[string]any
		if err := c.decode(&in); err != nil {
			return nil, err
		}
		for k, v := range in {
			text, _ := v.(string)
			switch {
			case k == "name":
				a.Name = text
			case k == "crmId":
				a.CrmID = text
			case k == "paymentTerm":
				a.Term = text
			case k == "notes":
				a.Notes = text
			case strings.HasSuffix(k, "__c"):
				a.Custom[k] = text
			}
		}
		a.UpdatedAt = c.now
		return map[string]any{"success": true}, nil
	})
}

func (c *call) newAccount() (*Account, error) {
	var in struct {
		AccountNumber, Name, Currency, CrmID, Notes, PaymentTerm string
		BillCycleDay                                             *json.Number
		BillToContact                                            map[string]any
	}
	var all map[string]any
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := c.decode(&all); err != nil {
		return nil, err
	}
	first, _ := in.BillToContact["firstName"].(string)
	last, _ := in.BillToContact["lastName"].(string)
	email, _ := in.BillToContact["workEmail"].(string)
	taken, _ := c.sim.account(in.AccountNumber)
	switch {
	case in.Name == "" || in.Currency == "" || first == "" || last == "" || in.BillCycleDay == nil:
		return nil, refuse(200, noField, "A required field is missing.")
	case len(in.Name) > 255 || len(first) > 100 || len(last) > 100 || len(in.AccountNumber) > 50 || len(email) > 80 || len(in.Currency) != 3:
		return nil, refuse(400, badValue, "A field is too long or no such value.")
	case in.AccountNumber != "" && taken != nil:
		return nil, refuse(200, rule, "The account number %s is used already.", in.AccountNumber)
	}
	a := &Account{
		ID: newID(), Number: in.AccountNumber, Name: in.Name, Currency: in.Currency, CrmID: in.CrmID, Notes: in.Notes, Term: in.PaymentTerm, BillTo: in.BillToContact,
		Custom: map[string]string{}, CreatedAt: c.now, UpdatedAt: c.now,
	}
	if a.Number == "" {
		a.Number = c.sim.number("A")
	}
	if a.Term == "" {
		a.Term = "Due Upon Receipt"
	}
	for k, v := range all {
		if text, ok := v.(string); ok && strings.HasSuffix(k, "__c") {
			a.Custom[k] = text
		}
	}
	c.sim.accounts = append(c.sim.accounts, a)
	c.sim.tell("Account", a.fields(), nil)
	return a, nil
}

// fields are the account's as queries and callouts name them.
func (a *Account) fields() map[string]any {
	return map[string]any{
		"Id": a.ID, "Name": a.Name, "AccountNumber": a.Number, "Currency": a.Currency, "Notes": a.Notes, "CrmId": a.CrmID, "CreatedDate": a.CreatedAt, "UpdatedDate": a.UpdatedAt,
	}
}
