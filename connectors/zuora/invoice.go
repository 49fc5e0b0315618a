package zuora

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"

	"tieline/connectors"
)

// invoice as GET answers it.
type invoice struct {
	ID        string `json:"id"`
	Number    string `json:"invoiceNumber"`
	AccountID string `json:"accountId"`
	Status    string `json:"status"`
	Amount    number `json:"amount"`
	Balance   number `json:"balance"`
	Date      string `json:"invoiceDate"`
	DueDate   string `json:"dueDate"`
	Currency  string `json:"currency"`
	Comments  string `json:"comments"`
}

// Invoice is one as actions show it.
type Invoice struct {
	InvoiceID string `json:"invoice_id" doc:"Zuora's id of the invoice."`
	Number    string `json:"number" doc:"Its number."`
	AccountID string `json:"account_id" doc:"Zuora's id of the account."`
	Status    string `json:"status" doc:"Draft, Posted, Canceled or Error."`
	Amount    string `json:"amount" format:"decimal" doc:"In major units, taxes included."`
	Balance   string `json:"balance" format:"decimal" doc:"What of it is not paid."`
	Currency  string `json:"currency" doc:"ISO 4217; empty when Zuora does not say."`
	Date      string `json:"date" doc:"Its date."`
	DueDate   string `json:"due_date" doc:"When it is to be paid; empty when not known."`
}

func (i invoice) plain() Invoice {
	return Invoice{i.ID, i.Number, i.AccountID, i.Status, i.Amount.text(), i.Balance.text(), i.Currency, i.Date, i.DueDate}
}

func fetchInvoice(ctx context.Context, c connectors.Conn, key string) (invoice, error) {
	var i invoice
	if _, err := get(ctx, c, path("v1", "invoices", key), &i); err != nil {
		return i, fmt.Errorf("reading invoice %s: %w", key, err)
	}
	if i.ID == "" {
		return i, garbled(http.StatusOK, false)
	}
	return i, nil
}

// GetInvoiceInput names an invoice.
type GetInvoiceInput struct {
	InvoiceID string `json:"invoice_id" minLength:"1" maxLength:"64" doc:"The invoice's id or number."`
}

var sampleInvoiceID = "2c92a0fd7f3b2d7a017f3f4a5b6c7d91"

func getInvoice() connectors.Action {
	return connectors.Do("invoice.get", "Get invoice", func(ctx context.Context, c connectors.Conn, in GetInvoiceInput) (Invoice, error) {
		i, err := fetchInvoice(ctx, c, in.InvoiceID)
		return i.plain(), err
	}, GetInvoiceInput{InvoiceID: sampleInvoiceID}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Reads one invoice; a missing one is an error.", "invoice", true
		a.Help = "It answers the invoice as Zuora has it now."
	})
}

// CreateInvoiceInput is a standalone invoice, which bills no subscription.
type CreateInvoiceInput struct {
	AccountID     string        `json:"account_id" minLength:"1" maxLength:"64" doc:"Zuora's id of the account."`
	Number        string        `json:"number" pattern:"^[A-Za-z0-9_-]{1,32}$" doc:"Its number, such as the one elsewhere; unique in the tenant."`
	Date          string        `json:"date" format:"date" doc:"Its date."`
	DueDate       string        `json:"due_date,omitempty" format:"date" doc:"When it is to be paid; by the account's payment term if not given."`
	Currency      string        `json:"currency,omitempty" pattern:"^[A-Za-z]{3}$" doc:"ISO 4217; the account's if not given. Another needs multiple currencies in the tenant."`
	Lines         []InvoiceLine `json:"lines" minLength:"1" maxLength:"1000" doc:"What it is made of."`
	ExpectedTotal string        `json:"expected_total,omitempty" format:"decimal" doc:"What the lines must sum to; nothing is written when they do not."`
	Comments      string        `json:"comments,omitempty" maxLength:"200" doc:"Shown on it."`
	Post          bool          `json:"post,omitempty" doc:"Makes it final; it is a draft if not given."`
}

// InvoiceLine is one amount of an invoice.
type InvoiceLine struct {
	Name        string `json:"name" minLength:"1" maxLength:"255" doc:"What it is for."`
	Description string `json:"description,omitempty" maxLength:"500" doc:"More about it."`
	Amount      string `json:"amount" format:"decimal" doc:"In major units; may be negative."`
	From        string `json:"from,omitempty" format:"date" doc:"The first day of what it bills; the invoice's date if not given."`
	Until       string `json:"until,omitempty" format:"date" doc:"The last day of what it bills."`
}

// CreatedInvoice is what creating an invoice leaves.
type CreatedInvoice struct {
	InvoiceID string `json:"invoice_id" doc:"Zuora's id of the invoice."`
	Number    string `json:"number" doc:"Its number."`
	Status    string `json:"status" doc:"Draft or Posted."`
	Amount    string `json:"amount" format:"decimal" doc:"In major units, as Zuora has it: taxes that the tenant adds are in it."`
}

// Attributes of Refs, from which outputs are made.
const (
	attrStatus = "status"
	attrAmount = "amount"
)

func createInvoice() connectors.Action {
	return connectors.Do("invoice.create", "Create standalone invoice", runCreateInvoice, CreateInvoiceInput{
		AccountID: sampleAccount.BasicInfo.ID, Number: "INV-00042", Date: "2026-02-01", Lines: []InvoiceLine{{Name: "Gold, January", Amount: "49.00"}}, ExpectedTotal: "49.00", Post: true,
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Makes an invoice of its own, which bills no subscription.", "invoice"
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts}
		a.Help = "It needs Zuora's permission for standalone invoices. A number that is taken by an invoice that was not made here waits for a person to tell. Its comments end with a mark by which it is found again."
	})
}

type newInvoice struct {
	AccountID string        `json:"accountId"`
	Number    string        `json:"invoiceNumber"`
	Date      string        `json:"invoiceDate"`
	DueDate   string        `json:"dueDate,omitempty"`
	Currency  string        `json:"currency,omitempty"`
	Comments  string        `json:"comments"`
	Status    string        `json:"status"`
	AutoPay   bool          `json:"autoPay"`
	Items     []invoiceItem `json:"invoiceItems"`
}

type invoiceItem struct {
	Amount      number `json:"amount"`
	ChargeName  string `json:"chargeName"`
	Description string `json:"description,omitempty"`
	From        string `json:"serviceStartDate"`
	Until       string `json:"serviceEndDate,omitempty"`
}

// wire checks the sum before anything is written.
func (in CreateInvoiceInput) wire(key string) (newInvoice, error) {
	out := newInvoice{
		AccountID: in.AccountID, Number: in.Number, Date: in.Date, DueDate: in.DueDate, Currency: strings.ToUpper(in.Currency), Comments: marked(in.Comments, key), Status: "Draft",
	}
	if in.Post {
		out.Status = "Posted"
	}
	sum := number("0")
	for i, l := range in.Lines {
		amount, err := parseNumber(l.Amount)
		if err != nil {
			return out, wrong(fmt.Sprintf("lines[%d].amount", i), "The amount must be a decimal, such as 19.90.")
		}
		sum = sum.plus(amount)
		out.Items = append(out.Items, invoiceItem{amount, l.Name, l.Description, cmp.Or(l.From, in.Date), l.Until})
	}
	if in.ExpectedTotal != "" {
		if want, err := parseNumber(in.ExpectedTotal); err != nil || sum.cmp(want) != 0 {
			return out, wrong("expected_total", fmt.Sprintf("The lines sum to %s, not to %s.", sum.text(), in.ExpectedTotal))
		}
	}
	return out, nil
}

func runCreateInvoice(ctx context.Context, c connectors.Conn, in CreateInvoiceInput) (CreatedInvoice, error) {
	if _, err := in.wire(""); err != nil {
		return CreatedInvoice{}, err
	}
	probe := func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		i, err := fetchInvoice(ctx, c, in.Number)
		switch {
		case missing(err):
			return connectors.Ref{}, false, nil
		case err != nil:
			return connectors.Ref{}, false, err
		case markIn(i.Comments) != key:
			return connectors.Ref{}, false, connectors.Errorf(connectors.Conflict, "invoice %s over %s is there already and may or may not be the one that was meant", i.Number, i.Amount.text())
		}
		return i.ref(), true, nil
	}
	ref, err := c.Effect(ctx, connectors.Create("invoice"), probe, func(ctx context.Context, key string) (connectors.Ref, error) {
		body, err := in.wire(key)
		if err != nil {
			return connectors.Ref{}, err
		}
		var made invoice
		if _, err := call(ctx, c, request{http.MethodPost, "/v1/invoices", key, body, &made}); err != nil {
			return orFound(ctx, key, probe, err)
		}
		if made.ID == "" {
			return connectors.Ref{}, garbled(http.StatusOK, true)
		}
		return made.ref(), nil
	})
	if err != nil {
		return CreatedInvoice{}, fmt.Errorf("creating invoice %s: %w", in.Number, err)
	}
	return CreatedInvoice{ref.ID, cmp.Or(ref.Name, in.Number), ref.Attributes[attrStatus], cmp.Or(ref.Attributes[attrAmount], "0")}, nil
}

func (i invoice) ref() connectors.Ref {
	return connectors.Ref{ID: i.ID, Name: i.Number, Attributes: map[string]string{attrNumber: i.Number, attrStatus: i.Status, attrAmount: i.Amount.text()}}
}
