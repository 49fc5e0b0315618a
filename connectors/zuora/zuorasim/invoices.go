package zuorasim

import (
	"cmp"
	"encoding/json"
	"math/big"
	"regexp"
	"slices"
)

// Invoice is a standalone one.
type Invoice struct {
	ID        string           `json:"id"`
	Number    string           `json:"number"`
	AccountID string           `json:"account_id"`
	Status    string           `json:"status"`
	Amount    json.Number      `json:"amount"`
	Date      string           `json:"date"`
	DueDate   string           `json:"due_date"`
	Currency  string           `json:"currency"`
	Comments  string           `json:"comments"`
	Items     []map[string]any `json:"-"`
}

// Invoices returns a copy of all invoices, oldest first.
func (s *Sim) Invoices() []Invoice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copied(s.invoices)
}

func (i *Invoice) wire() map[string]any {
	return map[string]any{
		"success": true, "id": i.ID, "invoiceNumber": i.Number, "accountId": i.AccountID, "status": i.Status, "amount": i.Amount.String(), "balance": i.Amount.String(), "invoiceDate": i.Date,
		"dueDate": i.DueDate, "currency": i.Currency, "comments": i.Comments, "autoPay": false,
	}
}

var invoiceNumber = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

func invoices(s *Sim) {
	s.handle("POST", "/v1/invoices", func(c *call) (any, error) {
		var in struct {
			AccountID, InvoiceNumber, InvoiceDate, DueDate, Currency, Comments, Status string
			InvoiceItems                                                               []map[string]any
		}
		if err := c.decode(&in); err != nil {
			return nil, err
		}
		a, err := c.sim.account(in.AccountID)
		if err != nil {
			return nil, err
		}
		switch {
		case in.InvoiceDate == "" || len(in.InvoiceItems) == 0:
			return nil, refuse(400, noField, "A required field is missing.")
		case in.InvoiceNumber != "" && !invoiceNumber.MatchString(in.InvoiceNumber):
			return nil, refuse(400, badValue, "The invoice number may have 32 letters, digits, - and _.")
		case slices.ContainsFunc(c.sim.invoices, func(i *Invoice) bool { return i.Number == in.InvoiceNumber }):
			return nil, refuse(200, rule, "The invoice number %s is used already.", in.InvoiceNumber)
		}
		sum := new(big.Rat)
		for _, x := range in.InvoiceItems {
			amount, ok := x["amount"].(json.Number)
			if !ok || x["chargeName"] == nil || x["serviceStartDate"] == nil {
				return nil, refuse(400, noField, "An item needs an amount, a charge name and a service start date.")
			}
			v, _ := new(big.Rat).SetString(amount.String())
			sum.Add(sum, v)
		}
		i := &Invoice{
			ID: newID(), Number: in.InvoiceNumber, AccountID: a.ID, Status: cmp.Or(in.Status, "Draft"), Amount: json.Number(sum.FloatString(2)), Date: in.InvoiceDate, DueDate: in.DueDate,
			Currency: cmp.Or(in.Currency, a.Currency), Comments: in.Comments, Items: in.InvoiceItems,
		}
		if i.Number == "" {
			i.Number = c.sim.number("INV")
		}
		c.sim.invoices = append(c.sim.invoices, i)
		return i.wire(), nil
	})
	s.handle("GET", "/v1/invoices/{}", func(c *call) (any, error) {
		for _, i := range c.sim.invoices {
			if i.ID == c.id || i.Number == c.id {
				return i.wire(), nil
			}
		}
		return nil, refuse(404, notThere, "Cannot find entity by key: '%s'.", c.id)
	})
}
