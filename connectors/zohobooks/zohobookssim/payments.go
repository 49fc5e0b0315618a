package zohobookssim

import (
	"fmt"
	"net/http"
	"slices"
)

// Payment is one as it is kept.
type Payment struct {
	ID          string    `json:"payment_id"`
	Org         string    `json:"organization_id"`
	Number      string    `json:"payment_number"`
	CustomerID  string    `json:"customer_id"`
	Mode        string    `json:"payment_mode"`
	Amount      Amount    `json:"amount"`
	Date        string    `json:"date"`
	Reference   string    `json:"reference_number"`
	Description string    `json:"description"`
	AccountID   string    `json:"account_id"`
	Invoices    []Applied `json:"invoices"`
}

// Applied is what a payment pays of an invoice.
type Applied struct {
	InvoiceID string `json:"invoice_id"`
	Amount    Amount `json:"amount_applied"`
}

var paymentModes = []string{"check", "cash", "creditcard", "banktransfer", "bankremittance", "autotransaction", "others"}

func payments(s *Sim) {
	s.handle("POST", "/customerpayments", "customerpayments", func(c *call) (reply, error) {
		x := &Payment{}
		if err := c.decode(x); err != nil {
			return reply{}, err
		}
		x.Org = c.org.ID
		if err := c.pay(x); err != nil {
			return reply{}, err
		}
		return reply{status: http.StatusCreated, message: "The payment has been created.", fields: map[string]any{"payment": c.showPayment(x)}}, nil
	})
	s.handle("GET", "/customerpayments", "customerpayments", func(c *call) (reply, error) {
		rows := []map[string]any{}
		for _, x := range slices.Backward(s.payments) {
			is := func(filter, value string) bool { return c.query.Get(filter) == "" || c.query.Get(filter) == value }
			if x.Org == c.org.ID && is("reference_number", x.Reference) && is("customer_id", x.CustomerID) {
				rows = append(rows, map[string]any{"payment_id": x.ID, "payment_number": x.Number, "amount": x.Amount, "date": x.Date, "payment_mode": x.Mode})
			}
		}
		return c.listed("customerpayments", rows)
	})
	s.handle("GET", "/customerpayments/{}", "customerpayments", func(c *call) (reply, error) {
		i := slices.IndexFunc(s.payments, func(x *Payment) bool { return x.ID == c.id && x.Org == c.org.ID })
		if i < 0 {
			return reply{}, refuse(http.StatusNotFound, notThere, "Payment does not exist.")
		}
		return reply{fields: map[string]any{"payment": c.showPayment(s.payments[i])}}, nil
	})
}

// pay books a payment. Sim.mu is held.
func (c *call) pay(x *Payment) error {
	of, err := c.contact(x.CustomerID)
	if err != nil {
		return err
	}
	switch {
	case !slices.Contains(paymentModes, x.Mode):
		return refuse(http.StatusBadRequest, badValue, "Invalid value passed for payment_mode")
	case x.Amount.sign() <= 0 || x.Date == "" || !date(x.Date) || len(x.Invoices) == 0:
		return refuse(http.StatusBadRequest, missingField, "A payment needs an amount, a date and its invoices")
	case x.AccountID != "" && !slices.ContainsFunc(c.org.Ledger, func(l Ledger) bool { return l.ID == x.AccountID && (l.Type == "cash" || l.Type == "bank") }):
		return refuse(http.StatusBadRequest, badValue, "Invalid value passed for account_id")
	}
	left := x.Amount
	var paid []*Invoice
	for _, a := range x.Invoices {
		inv, err := c.invoice(a.InvoiceID)
		if err != nil {
			return err
		}
		if left = left.minus(a.Amount); inv.CustomerID != of.ID || a.Amount.cmp(inv.Balance) > 0 || left.sign() < 0 || inv.Status == "void" {
			return refuse(http.StatusBadRequest, badValue, "The amount applied is more than the balance due of %s", inv.Number)
		}
		paid = append(paid, inv)
	}
	for i, inv := range paid {
		inv.Balance, inv.UpdatedAt, inv.Status = inv.Balance.minus(x.Invoices[i].Amount), c.now, "partially_paid"
		if inv.Balance.sign() == 0 {
			inv.Status = "paid"
		}
	}
	c.org.numbers["PAY"]++
	x.ID, x.Number = c.sim.nextID(), fmt.Sprint(c.org.numbers["PAY"])
	c.sim.payments = append(c.sim.payments, x)
	return nil
}

// showPayment is a payment as GET has it. Sim.mu is held.
func (c *call) showPayment(x *Payment) map[string]any {
	of := []map[string]any{}
	for _, a := range x.Invoices {
		if inv, err := c.invoice(a.InvoiceID); err == nil {
			of = append(of, map[string]any{"invoice_id": a.InvoiceID, "invoice_number": inv.Number, "amount_applied": a.Amount, "balance_amount": inv.Balance, "invoice_amount": inv.Total})
		}
	}
	return map[string]any{
		"payment_id": x.ID, "payment_mode": x.Mode, "amount": x.Amount, "date": x.Date, "status": "success", "reference_number": x.Reference, "description": x.Description,
		"customer_id": x.CustomerID, "invoices": of,
	}
}
