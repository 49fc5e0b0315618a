package stripe

import (
	"context"
	"fmt"
	"strconv"
	"time"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// CloseInvoiceInput says how an open invoice ends.
type CloseInvoiceInput struct {
	InvoiceID  string `json:"invoice_id" minLength:"1" doc:"Stripe's id of the invoice."`
	Resolution string `json:"resolution" enum:"paid_elsewhere,void,uncollectible" doc:"Paid outside of Stripe, void, or given up as uncollectible."`
	Reference  string `json:"reference,omitempty" maxLength:"500" doc:"Why, such as the number of a bank transfer; kept in the metadata."`
}

// ClosedInvoice is what invoice.close leaves.
type ClosedInvoice struct {
	InvoiceID     string    `json:"invoice_id" doc:"Stripe's id of the invoice."`
	Status        string    `json:"status" doc:"paid, void or uncollectible."`
	PaidOutOfBand bool      `json:"paid_out_of_band" doc:"Whether it is marked as paid elsewhere. False for one that was paid in Stripe before."`
	ClosedAt      time.Time `json:"closed_at" doc:"When it ended."`
}

func closeInvoice() connectors.Action {
	return connectors.Do("invoice.close", "Close invoice", runCloseInvoice, CloseInvoiceInput{
		InvoiceID: "in_1MtHbELkdIwHu7ixl4OzzPMv", Resolution: "paid_elsewhere", Reference: "transfer 4711",
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Marks an open invoice as paid elsewhere, void or uncollectible.", "invoice"
		a.Options = map[string]connectors.Offer{"invoice_id": offerInvoices(stripe.InvoiceStatusOpen)}
		a.Help = "An invoice that ended in this way already is left as it is. A draft must be finalized first."
	})
}

const (
	metaClosing = "togai_closing_reference"

	attrOutOfBand = "paid_out_of_band"
	attrClosed    = "closed_at"
)

// ends are the status that each resolution leads to.
var ends = map[string]stripe.InvoiceStatus{
	"paid_elsewhere": stripe.InvoiceStatusPaid, "void": stripe.InvoiceStatusVoid, "uncollectible": stripe.InvoiceStatusUncollectible,
}

func runCloseInvoice(ctx context.Context, c connectors.Conn, in CloseInvoiceInput) (ClosedInvoice, error) {
	done := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		inv, err := getInvoice(ctx, c, in.InvoiceID)
		if err != nil || inv.Status != ends[in.Resolution] {
			return connectors.Ref{}, false, err
		}
		return closed(inv), true, nil
	}
	ref, err := c.Effect(ctx, connectors.Set("invoice", in.InvoiceID, "close"), done, func(ctx context.Context, key string) (connectors.Ref, error) {
		if ref, is, err := done(ctx, key); err != nil || is {
			return ref, err
		}
		inv, err := in.call(ctx, c, key)
		if err != nil {
			return connectors.Ref{}, failed(c, err, true)
		}
		if inv.ID == "" {
			return connectors.Ref{}, garbled(errNoID, true)
		}
		return closed(inv), nil
	})
	if err != nil {
		return ClosedInvoice{}, fmt.Errorf("closing invoice %s: %w", in.InvoiceID, err)
	}
	if in.Reference != "" {
		if err := in.note(ctx, c); err != nil {
			return ClosedInvoice{}, fmt.Errorf("noting the reference at invoice %s: %w", in.InvoiceID, err)
		}
	}
	out := ClosedInvoice{InvoiceID: ref.ID, Status: ref.Attributes[attrStatus], PaidOutOfBand: ref.Attributes[attrOutOfBand] == "true"}
	if at, err := strconv.ParseInt(ref.Attributes[attrClosed], 10, 64); err == nil {
		out.ClosedAt = moment(at)
	}
	return out, nil
}

func (in CloseInvoiceInput) call(ctx context.Context, c connectors.Conn, key string) (*stripe.Invoice, error) {
	switch in.Resolution {
	case "void":
		return api(c).Invoices.VoidInvoice(in.InvoiceID, &stripe.InvoiceVoidInvoiceParams{Params: write(ctx, key)})
	case "uncollectible":
		return api(c).Invoices.MarkUncollectible(in.InvoiceID, &stripe.InvoiceMarkUncollectibleParams{Params: write(ctx, key)})
	}
	return api(c).Invoices.Pay(in.InvoiceID, &stripe.InvoicePayParams{Params: write(ctx, key), PaidOutOfBand: stripe.Bool(true)})
}

// note keeps the reference once the invoice is closed, so that an open one never carries it.
func (in CloseInvoiceInput) note(ctx context.Context, c connectors.Conn) error {
	noted := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		inv, err := getInvoice(ctx, c, in.InvoiceID)
		if err != nil || inv.Metadata[metaClosing] != in.Reference {
			return connectors.Ref{}, false, err
		}
		return connectors.Ref{ID: inv.ID}, true, nil
	}
	_, err := c.Effect(ctx, connectors.Set("invoice", in.InvoiceID, "reference"), noted, func(ctx context.Context, key string) (connectors.Ref, error) {
		inv, err := api(c).Invoices.Update(in.InvoiceID, &stripe.InvoiceParams{Params: write(ctx, key), Metadata: map[string]string{metaClosing: in.Reference}})
		if err != nil {
			return connectors.Ref{}, failed(c, err, true)
		}
		return connectors.Ref{ID: inv.ID}, nil
	})
	return err
}

func closed(inv *stripe.Invoice) connectors.Ref {
	at := int64(0)
	if t := inv.StatusTransitions; t != nil {
		at = map[stripe.InvoiceStatus]int64{
			stripe.InvoiceStatusPaid: t.PaidAt, stripe.InvoiceStatusVoid: t.VoidedAt, stripe.InvoiceStatusUncollectible: t.MarkedUncollectibleAt,
		}[inv.Status]
	}
	return connectors.Ref{ID: inv.ID, Name: inv.Number, Attributes: map[string]string{
		attrStatus: string(inv.Status), attrOutOfBand: strconv.FormatBool(inv.PaidOutOfBand), attrClosed: strconv.FormatInt(at, 10),
	}}
}
