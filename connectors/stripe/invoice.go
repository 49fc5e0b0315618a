package stripe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// InvoicePaid is the payload of invoice.paid.
type InvoicePaid struct {
	EventID          string            `json:"event_id" doc:"Stripe's id of the event."`
	OccurredAt       time.Time         `json:"occurred_at" doc:"When Stripe told it."`
	Livemode         bool              `json:"livemode" doc:"False for test data."`
	InvoiceID        string            `json:"invoice_id" doc:"Stripe's id of the invoice." minLength:"1" example:"in_1MtHbELkdIwHu7ixl4OzzPMv"`
	Number           string            `json:"number" doc:"The number that the customer sees."`
	Status           string            `json:"status" doc:"paid."`
	BillingReason    string            `json:"billing_reason" doc:"Why it was made: manual, subscription_cycle and so on."`
	CustomerID       string            `json:"customer_id" doc:"Whom it is for."`
	CustomerEmail    string            `json:"customer_email" doc:"As the invoice has it; empty when not known."`
	Currency         string            `json:"currency" doc:"ISO 4217 in lower case."`
	Total            int64             `json:"total" doc:"Of all lines with tax and discounts, in the currency's smallest unit (ISO 4217). Record this as paid: what a balance has covered is not in amount_paid."`
	AmountDue        int64             `json:"amount_due" doc:"What was to be paid after the customer's balance."`
	AmountPaid       int64             `json:"amount_paid" doc:"What was paid in Stripe."`
	AmountRemaining  int64             `json:"amount_remaining" doc:"What is left."`
	PaidOutOfBand    bool              `json:"paid_out_of_band" doc:"Whether it was marked as paid elsewhere."`
	PaidAt           time.Time         `json:"paid_at" doc:"When it was paid."`
	PaymentIntentID  string            `json:"payment_intent_id,omitempty" doc:"The payment."`
	ChargeID         string            `json:"charge_id,omitempty" doc:"The charge."`
	SubscriptionID   string            `json:"subscription_id,omitempty" doc:"The subscription that it bills."`
	HostedInvoiceURL string            `json:"hosted_invoice_url" doc:"Where the customer sees it."`
	InvoicePDF       string            `json:"invoice_pdf" doc:"Where it can be downloaded."`
	Metadata         map[string]string `json:"metadata" doc:"Notes at the invoice."`
	TogaiInvoiceID   string            `json:"togai_invoice_id,omitempty" doc:"The Togai invoice it was made of, from the metadata. Invoices without it, such as a subscription's own, are not Togai's."`
}

func invoicePaid() connectors.Trigger {
	return connectors.On("invoice.paid", "Invoice paid", decodeInvoicePaid, listEvents(eventInvoicePaid), InvoicePaid{
		EventID: "evt_1NG8Du2eZvKYlo2CUI79vXWy", OccurredAt: sampleTime, InvoiceID: "in_1MtHbELkdIwHu7ixl4OzzPMv", Number: "ABCD-0001", Status: "paid",
		BillingReason: "manual", CustomerID: "cus_NffrFeUfNV2Hib", CustomerEmail: "jenny@example.com", Currency: "usd", Total: 12500, AmountDue: 12500,
		AmountPaid: 12500, PaidAt: sampleTime, HostedInvoiceURL: "https://invoice.stripe.com/i/acct_1/test_1", InvoicePDF: "https://pay.stripe.com/invoice/acct_1/test_1/pdf",
		Metadata: map[string]string{metaInvoice: "inv.1"}, TogaiInvoiceID: "inv.1",
	}, func(t *connectors.Trigger) {
		t.Description = "An invoice was paid: by the customer, from a balance, or marked as paid elsewhere."
		t.Entity, t.Events, t.Read = "invoice", []string{eventInvoicePaid}, readInvoicePaid
		t.Reach, t.Every, t.Calm = eventLife, time.Minute, 15*time.Minute
	}, connectors.ByHand(func(p InvoicePaid) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: "invoice", ID: p.InvoiceID, Name: p.Number}, At: p.OccurredAt, Mode: modeOf(p.Livemode)}
	}))
}

func decodeInvoicePaid(body []byte) (connectors.Occurrence, error) {
	e, err := parse(body)
	if err != nil {
		return connectors.Occurrence{}, err
	}
	var inv stripe.Invoice
	if err := json.Unmarshal(e.Data.Object, &inv); err != nil || inv.ID == "" || !bytes.HasPrefix(bytes.TrimSpace(e.Data.Object), []byte("{")) {
		return connectors.Occurrence{}, fmt.Errorf("event %s names no invoice: %w", e.ID, connectors.ErrMalformed)
	}
	p, err := InvoicePaid{EventID: e.ID, OccurredAt: e.at(), Livemode: e.mode() == connectors.Live}.with(&inv)
	if err != nil {
		return connectors.Occurrence{}, fmt.Errorf("event %s: %w: %w", e.ID, err, connectors.ErrMalformed)
	}
	o := connectors.Occurrence{
		Payload: p, Record: connectors.Subject{Entity: "invoice", ID: inv.ID, Name: inv.Number}, BusinessKey: inv.ID, At: e.at(),
		// Judged by its status when read again; of other versions this library reads most fields as empty.
		Thin: e.APIVersion != apiVersion || inv.Status != stripe.InvoiceStatusPaid,
	}
	if e.APIVersion != apiVersion || closedByCall(&inv) {
		o.Cause.IdempotencyKey = e.idempotencyKey()
	}
	return o, nil
}

// closedByCall says whether the call that caused the event was meant to settle the invoice: to mark it as paid elsewhere,
// or to credit it. One that merely finalized it, and Stripe then had nothing to collect, makes the payment news.
func closedByCall(inv *stripe.Invoice) bool {
	return inv.PaidOutOfBand || inv.PrePaymentCreditNotesAmount != 0
}

func (p InvoicePaid) with(inv *stripe.Invoice) (InvoicePaid, error) {
	p.InvoiceID, p.Number, p.Status, p.BillingReason, p.CustomerEmail = inv.ID, inv.Number, string(inv.Status), string(inv.BillingReason), inv.CustomerEmail
	p.Currency, p.Total, p.AmountDue, p.AmountPaid, p.AmountRemaining = string(inv.Currency), inv.Total, inv.AmountDue, inv.AmountPaid, inv.AmountRemaining
	p.PaidOutOfBand, p.HostedInvoiceURL, p.InvoicePDF = inv.PaidOutOfBand, inv.HostedInvoiceURL, inv.InvoicePDF
	p.Metadata, p.TogaiInvoiceID, p.PaidAt = notes(inv.Metadata), inv.Metadata[metaInvoice], p.OccurredAt
	if t := inv.StatusTransitions; t != nil && t.PaidAt != 0 {
		p.PaidAt = moment(t.PaidAt)
	}
	if inv.Customer != nil {
		p.CustomerID = inv.Customer.ID
	}
	if inv.PaymentIntent != nil {
		p.PaymentIntentID = inv.PaymentIntent.ID
	}
	if inv.Charge != nil {
		p.ChargeID = inv.Charge.ID
	}
	if inv.Subscription != nil {
		p.SubscriptionID = inv.Subscription.ID
	}
	return p, fromWires(p.Currency, &p.Total, &p.AmountDue, &p.AmountPaid, &p.AmountRemaining)
}

// readInvoicePaid takes the invoice as it is now, in our API version.
func readInvoicePaid(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (connectors.Occurrence, error) {
	p, ok := o.Payload.(InvoicePaid)
	if !ok {
		return o, fmt.Errorf("reading invoice %s: the payload is a %T", o.Record.ID, o.Payload)
	}
	inv, err := getInvoice(ctx, c, o.Record.ID)
	if err != nil {
		return o, err
	}
	if inv.Status != stripe.InvoiceStatusPaid {
		return o, connectors.Errorf(connectors.Invalid, "invoice %s is not paid: Stripe says it is %s", inv.ID, inv.Status)
	}
	if p, err = p.with(inv); err != nil {
		return o, fmt.Errorf("invoice %s: %w", inv.ID, err)
	}
	o.Payload, o.Record.Name, o.Thin = p, inv.Number, false
	return o, nil
}

// getInvoice reads one.
func getInvoice(ctx context.Context, c connectors.Conn, id string) (*stripe.Invoice, error) {
	inv, err := api(c).Invoices.Get(id, &stripe.InvoiceParams{Params: read(ctx)})
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading invoice %s: %w", id, failed(c, err, false))
	case inv.ID == "":
		return nil, garbled(errNoID, false)
	}
	return inv, nil
}

func moment(unix int64) time.Time { return time.Unix(unix, 0).UTC() }
