package zohobooks

import (
	"context"
	"fmt"
	"net/http"

	"tieline/connectors"
)

// invoice as GET answers it.
type invoice struct {
	ID         id       `json:"invoice_id"`
	Number     string   `json:"invoice_number"`
	Reference  string   `json:"reference_number"`
	CustomerID id       `json:"customer_id"`
	Status     string   `json:"status"`
	Date       string   `json:"date"`
	DueDate    string   `json:"due_date"`
	Currency   string   `json:"currency_code"`
	SubTotal   number   `json:"sub_total"`
	Tax        number   `json:"tax_total"`
	Adjustment number   `json:"adjustment"`
	Total      number   `json:"total"`
	Balance    number   `json:"balance"`
	Emailed    bool     `json:"is_emailed"`
	URL        string   `json:"invoice_url"`
	Custom     []custom `json:"custom_fields"`
}

// Invoice is one as actions show it.
type Invoice struct {
	InvoiceID       string            `json:"invoice_id" doc:"Zoho Books' id of the invoice."`
	Number          string            `json:"number" doc:"Its number."`
	ReferenceNumber string            `json:"reference_number" doc:"Its id elsewhere; empty when it has none."`
	CustomerID      string            `json:"customer_id" doc:"Zoho Books' id of the contact."`
	Status          string            `json:"status" doc:"draft, sent, viewed, overdue, unpaid, partially_paid, paid or void."`
	Date            string            `json:"date" doc:"Its date."`
	DueDate         string            `json:"due_date" doc:"When it is to be paid; empty when not known."`
	Currency        string            `json:"currency" doc:"ISO 4217."`
	Tax             string            `json:"tax" format:"decimal" doc:"What of it is tax, in major units."`
	Total           string            `json:"total" format:"decimal" doc:"In major units."`
	Balance         string            `json:"balance" format:"decimal" doc:"What of it is not paid."`
	Mailed          bool              `json:"mailed" doc:"Whether Zoho Books has mailed it."`
	URL             string            `json:"url" doc:"Where the customer sees it; empty when Zoho Books does not say."`
	CustomFields    map[string]string `json:"custom_fields" doc:"Fields that the organization has added, by API name."`
}

func (x invoice) plain() Invoice {
	return Invoice{
		string(x.ID), x.Number, x.Reference, string(x.CustomerID), x.Status, x.Date, x.DueDate, x.Currency, x.Tax.text(), x.Total.text(), x.Balance.text(), x.Emailed, x.URL, values(x.Custom),
	}
}

func fetchInvoice(ctx context.Context, c connectors.Conn, key string) (invoice, error) {
	var out struct {
		Invoice invoice `json:"invoice"`
	}
	if err := get(ctx, c, path("invoices", key), nil, &out); err != nil {
		return invoice{}, fmt.Errorf("reading invoice %s: %w", key, err)
	}
	if out.Invoice.ID == "" {
		return invoice{}, garbled(http.StatusOK, false)
	}
	return out.Invoice, nil
}

const sampleInvoiceID = "18446744000000239"

// GetInvoiceInput names an invoice.
type GetInvoiceInput struct {
	InvoiceID string `json:"invoice_id" pattern:"^[0-9]{1,30}$" doc:"Zoho Books' id of the invoice."`
}

func getInvoice() connectors.Action {
	return connectors.Do("invoice.get", "Get invoice", func(ctx context.Context, c connectors.Conn, in GetInvoiceInput) (Invoice, error) {
		x, err := fetchInvoice(ctx, c, in.InvoiceID)
		return x.plain(), err
	}, GetInvoiceInput{InvoiceID: sampleInvoiceID}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Reads one invoice; a missing one is an error.", "invoice", true
		a.Options = map[string]connectors.Offer{"invoice_id": offerInvoices}
		a.Help = "It answers the invoice as Zoho Books has it now."
	})
}

// MarkSentInput names an invoice.
type MarkSentInput struct {
	InvoiceID string `json:"invoice_id" pattern:"^[0-9]{1,30}$" doc:"Zoho Books' id of the invoice."`
}

// SentInvoice is what marking or mailing an invoice leaves.
type SentInvoice struct {
	InvoiceID string `json:"invoice_id" doc:"Zoho Books' id of the invoice."`
}

func markInvoiceSent() connectors.Action {
	return connectors.Do("invoice.mark_sent", "Mark invoice as sent", func(ctx context.Context, c connectors.Conn, in MarkSentInput) (SentInvoice, error) {
		return SentInvoice(in), markSent(ctx, c, in.InvoiceID)
	}, MarkSentInput{InvoiceID: sampleInvoiceID}, func(a *connectors.Action) {
		a.Description, a.Entity = "Makes a draft an invoice that is open, without mailing it.", "invoice"
		a.Options = map[string]connectors.Offer{"invoice_id": offerInvoices}
		a.Help = "An invoice that is no draft any more stays as it is."
	})
}

func markSent(ctx context.Context, c connectors.Conn, key string) error {
	is := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		x, err := fetchInvoice(ctx, c, key)
		return connectors.Ref{ID: key, Name: x.Number}, err == nil && x.Status != "draft", err
	}
	_, err := c.Effect(ctx, connectors.Set("invoice", key, "sent"), is, func(ctx context.Context, k string) (connectors.Ref, error) {
		ref, sent, err := is(ctx, k)
		if err != nil || sent {
			ref.Adopted = true
			return ref, err
		}
		return ref, call(ctx, c, request{method: http.MethodPost, path: path("invoices", key, "status", "sent")})
	})
	if err != nil {
		return fmt.Errorf("marking invoice %s as sent: %w", key, err)
	}
	return nil
}
