package togaisim

import (
	"net/http"
	"slices"
	"time"
)

// Payment as GET answers it: the reference has another name than in the request.
type Payment struct {
	ID              string           `json:"id"`
	Description     string           `json:"description,omitempty"`
	Notes           string           `json:"notes,omitempty"`
	AccountID       string           `json:"accountId"`
	Reference       PaymentReference `json:"externalPaymentReferences"`
	LineItemRecords []PaymentLine    `json:"lineItemRecords"`
	TotalAmount     Amount           `json:"totalAmount"`
	Currency        string           `json:"currency"`
	Version         int              `json:"version"`
	CreatedBy       string           `json:"createdBy"`
	CreatedAt       time.Time        `json:"createdAt"`
}

// PaymentReference names a payment where it was made.
type PaymentReference struct {
	SourceName        string         `json:"sourceName"`
	SourceType        string         `json:"sourceType"`
	TransactionNumber string         `json:"transactionNumber"`
	Description       string         `json:"description,omitempty"`
	Metadata          map[string]any `json:"metadata,omitempty"`
}

// PaymentLine says what a part of a payment is for.
type PaymentLine struct {
	Type    string  `json:"type"`
	TogaiID string  `json:"togaiId,omitempty"`
	Amount  *Amount `json:"amount,omitempty"`
	Order   *int32  `json:"order"`
}

func (o *Payment) id() string         { return o.ID }
func (o *Payment) updated() time.Time { return o.CreatedAt }
func (o *Payment) has(filter, value string) bool {
	return map[string]string{"id": o.ID, "account_id": o.AccountID}[filter] == value
}

// Payments returns a copy of all payments, by id.
func (o *Organization) Payments() []Payment {
	return snapshot(o, func() map[string]*Payment { return o.payments })
}

// Payments returns the first organization's payments.
func (s *Sim) Payments() []Payment { return s.First().Payments() }

func payments(s *Sim) {
	s.handle("POST", "/payments", http.StatusCreated, (*call).createPayment)
	s.handle("GET", "/payments", http.StatusOK, func(c *call) (any, error) { return listSized(c, ledger, c.org.payments, "id", "account_id") })
	s.handle("GET", "/payments/{id}", http.StatusOK, func(c *call) (any, error) {
		o, ok := c.org.payments[c.id]
		if !ok {
			return nil, missing("Payment", c.id)
		}
		return o, nil
	})
}

// createPayment has no key of any kind: the same request twice pays twice.
func (c *call) createPayment() (any, error) {
	var in struct {
		Description string            `json:"description"`
		Notes       string            `json:"notes"`
		AccountID   string            `json:"accountId"`
		Reference   *PaymentReference `json:"externalPaymentReference"`
		Lines       []PaymentLine     `json:"lineItemRecords"`
		Currency    string            `json:"currency"`
		TotalAmount *Amount           `json:"totalAmount"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	switch a := c.org.accounts[in.AccountID]; {
	case a == nil:
		return nil, missing("Account", in.AccountID)
	case in.Reference == nil || in.TotalAmount == nil || len(in.Lines) == 0:
		return nil, bad("externalPaymentReference, totalAmount and lineItemRecords are required")
	case a.InvoiceCurrency != "" && a.InvoiceCurrency != in.Currency:
		return nil, bad("The account's currency is %s", a.InvoiceCurrency)
	}
	err := first(length("externalPaymentReference.sourceName", in.Reference.SourceName, 1, 255), length("externalPaymentReference.transactionNumber", in.Reference.TransactionNumber, 1, 255),
		among("externalPaymentReference.sourceType", in.Reference.SourceType, "GATEWAY", "CASH", "CHEQUE", "BANK_TRANSFER", "CARD"), length("notes", in.Notes, 0, 512), length("currency", in.Currency, 3, 3))
	if err != nil {
		return nil, err
	}
	if err := c.checkLines(in.AccountID, in.Lines); err != nil {
		return nil, err
	}
	o := &Payment{newID("payment"), in.Description, in.Notes, in.AccountID, *in.Reference, in.Lines, *in.TotalAmount, in.Currency, 1, "api", c.now}
	c.org.payments[o.ID] = o
	c.apply(o)
	return o, nil
}

func (c *call) checkLines(account string, lines []PaymentLine) error {
	for _, l := range lines {
		if err := among("type", l.Type, "INVOICE", "CREDIT", "WALLET_CREDIT"); err != nil {
			return err
		}
		if l.Order == nil {
			return bad("order is required")
		}
		if l.Type != "INVOICE" {
			continue
		}
		inv, err := c.invoice(l.TogaiID)
		if err != nil {
			return err
		}
		if inv.OwnerID != account {
			return bad("Invoice %s belongs to another account", inv.ID)
		}
		if !slices.Contains([]string{"DUE", "PARTIALLY_PAID", "UN_COLLECTIBLE"}, inv.Status) {
			return bad("Invoice %s is %s", inv.ID, inv.Status)
		}
	}
	return nil
}

// apply moves what the lines are for. A line without an amount takes the whole payment.
func (c *call) apply(o *Payment) {
	for _, l := range o.LineItemRecords {
		amount := o.TotalAmount
		if l.Amount != nil {
			amount = *l.Amount
		}
		switch l.Type {
		case "INVOICE":
			inv := c.org.invoices[l.TogaiID]
			inv.PaidAmount, inv.Status, inv.UpdatedAt = plus(inv.PaidAmount, amount), "PARTIALLY_PAID", c.now
			if inv.PaidAmount.cmp(inv.TotalAmount) >= 0 {
				inv.Status = "PAID"
			}
			c.emit("invoice.updated", inv)
		case "WALLET_CREDIT":
			w := c.wallet(c.org.accounts[o.AccountID])
			w.Balance, w.UpdatedAt = plus(w.Balance, amount), c.now
		}
	}
}
