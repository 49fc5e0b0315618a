package zohobooks

import (
	"context"
	"fmt"
	"net/http"

	"tieline/connectors"
)

// EmailInvoiceInput is an invoice to be mailed.
type EmailInvoiceInput struct {
	InvoiceID string   `json:"invoice_id" pattern:"^[0-9]{1,30}$" doc:"Zoho Books' id of the invoice."`
	To        []string `json:"to,omitempty" maxLength:"10" doc:"E-mail addresses; that of the contact's primary person if not given."`
	Subject   string   `json:"subject,omitempty" maxLength:"200" doc:"The organization's own if not given."`
	Body      string   `json:"body,omitempty" maxLength:"5000" doc:"The organization's own if not given."`
}

func emailInvoice() connectors.Action {
	return connectors.Do("invoice.email", "Mail invoice", runEmailInvoice, EmailInvoiceInput{InvoiceID: sampleInvoiceID, To: []string{"billing@acme.example"}}, func(a *connectors.Action) {
		a.Description, a.Entity = "Has Zoho Books mail an invoice, once.", "invoice"
		a.Options = map[string]connectors.Offer{"invoice_id": offerInvoices}
		a.Help = "An invoice that Zoho Books has mailed already is not mailed again. A draft is open afterwards."
	})
}

func runEmailInvoice(ctx context.Context, c connectors.Conn, in EmailInvoiceInput) (SentInvoice, error) {
	mailed := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		x, err := fetchInvoice(ctx, c, in.InvoiceID)
		return connectors.Ref{ID: in.InvoiceID, Name: x.Number}, err == nil && x.Emailed, err
	}
	_, err := c.Effect(ctx, connectors.Append("mail", in.InvoiceID), mailed, func(ctx context.Context, _ string) (connectors.Ref, error) {
		x, err := fetchInvoice(ctx, c, in.InvoiceID)
		if err != nil || x.Emailed {
			return connectors.Ref{ID: in.InvoiceID, Name: x.Number, Adopted: true}, err
		}
		to := in.To
		if len(to) == 0 {
			of, err := fetchContact(ctx, c, string(x.CustomerID))
			if err != nil {
				return connectors.Ref{}, err
			}
			if to = []string{of.primary().Email}; to[0] == "" {
				return connectors.Ref{}, wrong("to", "The contact "+of.Name+" has no e-mail address in Zoho Books, and none is given.")
			}
		}
		body := map[string]any{"to_mail_ids": to, "send_from_org_email_id": false}
		given(body, "subject", in.Subject, "body", in.Body)
		return connectors.Ref{ID: in.InvoiceID, Name: x.Number}, call(ctx, c, request{http.MethodPost, path("invoices", in.InvoiceID, "email"), nil, body, nil})
	})
	if err != nil {
		return SentInvoice{}, fmt.Errorf("mailing invoice %s: %w", in.InvoiceID, err)
	}
	return SentInvoice{in.InvoiceID}, nil
}
