package stripe

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// FinalizeInvoiceInput names a draft.
type FinalizeInvoiceInput struct {
	InvoiceID   string `json:"invoice_id" minLength:"1" doc:"Stripe's id of the invoice."`
	SendEmail   *bool  `json:"send_email,omitempty" doc:"Whether Stripe mails it to the customer: yes when left out, unless auto_advance is on. What was paid at once is not mailed."`
	AutoAdvance bool   `json:"auto_advance,omitempty" doc:"Whether Stripe collects and mails by its own rules afterwards. Not together with send_email: the customer might get two mails."`
}

// FinalizedInvoice is what invoice.finalize leaves.
type FinalizedInvoice struct {
	InvoiceID        string     `json:"invoice_id" doc:"Stripe's id of the invoice."`
	Number           string     `json:"number" doc:"The number that the customer sees."`
	Status           string     `json:"status" doc:"open; paid where nothing was left to pay."`
	AmountDue        int64      `json:"amount_due" doc:"What is to be paid, in the currency's smallest unit (ISO 4217)."`
	DueDate          *time.Time `json:"due_date,omitempty" doc:"When it must be paid."`
	HostedInvoiceURL string     `json:"hosted_invoice_url" doc:"Where the customer sees and pays it."`
	InvoicePDF       string     `json:"invoice_pdf" doc:"Where it can be downloaded."`
	EmailRequested   bool       `json:"email_requested" doc:"Whether Stripe was told to mail it. In test mode it mails nobody."`
}

func finalizeInvoice() connectors.Action {
	return connectors.Do("invoice.finalize", "Finalize and send invoice", runFinalizeInvoice, FinalizeInvoiceInput{InvoiceID: "in_1MtHbELkdIwHu7ixl4OzzPMv"}, func(a *connectors.Action) {
		a.Description, a.Entity = "Gives a draft its number, opens it for payment and has Stripe mail it, once.", "invoice"
		a.Options = map[string]connectors.Offer{"invoice_id": offerInvoices(stripe.InvoiceStatusDraft)}
		a.Help = "An invoice of nothing, or one that the customer's balance covers, is paid at once and not mailed."
	})
}

// Attributes of a finalized invoice's Ref.
const (
	attrNumber    = "number"
	attrStatus    = "status"
	attrDue       = "amount_due"
	attrDueDate   = "due_date"
	attrPage      = "hosted_invoice_url"
	attrPDF       = "invoice_pdf"
	attrFinalized = "finalized_at"
	attrMailable  = "mailable"
)

func runFinalizeInvoice(ctx context.Context, c connectors.Conn, in FinalizeInvoiceInput) (FinalizedInvoice, error) {
	mail := !in.AutoAdvance
	if in.SendEmail != nil {
		mail = *in.SendEmail
	}
	if mail && in.AutoAdvance {
		return FinalizedInvoice{}, wrongInput("send_email", "and auto_advance together may mail the customer twice: choose one of them")
	}
	ref, err := in.finalize(ctx, c)
	if err != nil {
		return FinalizedInvoice{}, fmt.Errorf("finalizing invoice %s: %w", in.InvoiceID, err)
	}
	out := finalizedFrom(ref)
	if mail && ref.Attributes[attrMailable] == "true" {
		if out.EmailRequested, err = mailInvoice(ctx, c, ref); err != nil {
			return FinalizedInvoice{}, fmt.Errorf("mailing invoice %s: %w", in.InvoiceID, err)
		}
	}
	return out, nil
}

// finalize may be asked for twice: an invoice that is no draft any more is left as it is.
func (in FinalizeInvoiceInput) finalize(ctx context.Context, c connectors.Conn) (connectors.Ref, error) {
	done := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		inv, err := getInvoice(ctx, c, in.InvoiceID)
		if err != nil || inv.Status == stripe.InvoiceStatusDraft {
			return connectors.Ref{}, false, err
		}
		ref, err := finalized(inv)
		return ref, err == nil, err
	}
	return c.Effect(ctx, connectors.Set("invoice", in.InvoiceID, "finalize"), done, func(ctx context.Context, key string) (connectors.Ref, error) {
		if ref, is, err := done(ctx, key); err != nil || is {
			return ref, err
		}
		inv, err := api(c).Invoices.FinalizeInvoice(in.InvoiceID, &stripe.InvoiceFinalizeInvoiceParams{Params: write(ctx, key), AutoAdvance: stripe.Bool(in.AutoAdvance)})
		if err != nil {
			return connectors.Ref{}, failed(c, err, true)
		}
		if inv.ID == "" {
			return connectors.Ref{}, garbled(errNoID, true)
		}
		return finalized(inv)
	})
}

func finalized(inv *stripe.Invoice) (connectors.Ref, error) {
	if inv.Status == stripe.InvoiceStatusVoid {
		return connectors.Ref{}, connectors.Errorf(connectors.Invalid, "invoice %s is void", inv.ID)
	}
	due, err := fromWire(inv.AmountDue, string(inv.Currency))
	if err != nil {
		return connectors.Ref{}, fmt.Errorf("invoice %s: %w", inv.ID, err)
	}
	a := map[string]string{
		attrNumber: inv.Number, attrStatus: string(inv.Status), attrDue: strconv.FormatInt(due, 10), attrPage: inv.HostedInvoiceURL, attrPDF: inv.InvoicePDF,
		// With auto_advance on, mailing is Stripe's own business, and ours would be the second.
		attrMailable: strconv.FormatBool(inv.Status == stripe.InvoiceStatusOpen && inv.CollectionMethod == sendInvoice && !inv.AutoAdvance),
	}
	if inv.DueDate != 0 {
		a[attrDueDate] = strconv.FormatInt(inv.DueDate, 10)
	}
	if t := inv.StatusTransitions; t != nil && t.FinalizedAt != 0 {
		a[attrFinalized] = strconv.FormatInt(t.FinalizedAt, 10)
	}
	return connectors.Ref{ID: inv.ID, Name: inv.Number, Attributes: a}, nil
}

func finalizedFrom(r connectors.Ref) FinalizedInvoice {
	a := r.Attributes
	out := FinalizedInvoice{InvoiceID: r.ID, Number: a[attrNumber], Status: a[attrStatus], HostedInvoiceURL: a[attrPage], InvoicePDF: a[attrPDF]}
	out.AmountDue, _ = strconv.ParseInt(a[attrDue], 10, 64) // as written above
	if at, err := strconv.ParseInt(a[attrDueDate], 10, 64); err == nil {
		due := moment(at)
		out.DueDate = &due
	}
	return out
}

// mailInvoice has Stripe mail an invoice, once in its life; false when it is not open any more.
func mailInvoice(ctx context.Context, c connectors.Conn, inv connectors.Ref) (bool, error) {
	since, _ := strconv.ParseInt(inv.Attributes[attrFinalized], 10, 64) // 0 where it is not known
	sent := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		was, err := wasMailed(ctx, c, inv.ID, since)
		return connectors.Ref{ID: inv.ID}, was, err
	}
	ref, err := c.Effect(ctx, connectors.Append("invoice_mail", inv.ID), sent, func(ctx context.Context, key string) (connectors.Ref, error) {
		now, err := getInvoice(ctx, c, inv.ID)
		if err != nil {
			return connectors.Ref{}, err
		}
		if now.Status != stripe.InvoiceStatusOpen { // paid or void in the meantime
			return connectors.Ref{ID: inv.ID, Attributes: map[string]string{attrStatus: string(now.Status)}}, nil
		}
		if _, err := api(c).Invoices.SendInvoice(inv.ID, &stripe.InvoiceSendInvoiceParams{Params: write(ctx, key)}); err != nil {
			return connectors.Ref{}, failed(c, err, true)
		}
		return connectors.Ref{ID: inv.ID}, nil
	})
	return ref.Attributes[attrStatus] == "", err
}

// wasMailed looks for the event that a mail leaves: the invoice itself does not tell. Events are kept for 30 days.
func wasMailed(ctx context.Context, c connectors.Conn, id string, since int64) (bool, error) {
	p := &stripe.EventListParams{ListParams: list(ctx), Types: stripe.StringSlice([]string{"invoice.sent"})}
	if since > 0 {
		p.CreatedRange = &stripe.RangeQueryParams{GreaterThanOrEqual: since}
	}
	it := api(c).Events.List(p)
	for it.Next() {
		var about struct {
			ID string `json:"id"`
		}
		if d := it.Event().Data; d != nil && json.Unmarshal(d.Raw, &about) == nil && about.ID == id {
			return true, nil
		}
	}
	if err := it.Err(); err != nil {
		return false, fmt.Errorf("looking for the mail of invoice %s among the events: %w", id, failed(c, err, false))
	}
	return false, nil
}
