package stripe

import (
	"context"
	"fmt"
	"strconv"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// CreateCreditNoteInput is a credit on a finalized invoice. Amounts are in the smallest unit of the invoice's currency.
type CreateCreditNoteInput struct {
	InvoiceID       string            `json:"invoice_id" minLength:"1" doc:"Stripe's id of the invoice."`
	Reference       string            `json:"reference,omitempty" maxLength:"400" doc:"Our id of what is credited. Two credit notes of one invoice need two references: without, or with the same one, there is only ever one."`
	Amount          *int64            `json:"amount,omitempty" min:"1" doc:"What is credited, in the currency's smallest unit (ISO 4217). This or lines."`
	Lines           []CreditLine      `json:"lines,omitempty" maxLength:"250" doc:"What is credited, line by line. This or amount."`
	CreditAmount    *int64            `json:"credit_amount,omitempty" min:"0" doc:"For a paid invoice: the part that goes to the customer's balance."`
	RefundAmount    *int64            `json:"refund_amount,omitempty" min:"0" doc:"For a paid invoice: the part that Stripe pays back."`
	OutOfBandAmount *int64            `json:"out_of_band_amount,omitempty" min:"0" doc:"For a paid invoice: the part that is paid back outside of Stripe."`
	Reason          string            `json:"reason,omitempty" enum:"duplicate,fraudulent,order_change,product_unsatisfactory" doc:"Why."`
	Memo            string            `json:"memo,omitempty" maxLength:"5000" doc:"Shown on the credit note."`
	Metadata        map[string]string `json:"metadata,omitempty" doc:"More notes to keep at the credit note."`
}

// CreditLine credits a line of the invoice, or something else.
type CreditLine struct {
	InvoiceLineItem string `json:"invoice_line_item,omitempty" doc:"The line of the invoice (il_…). Left out, it is a line of its own."`
	Description     string `json:"description,omitempty" maxLength:"500" doc:"Shown on the credit note; needed for a line of its own."`
	Amount          int64  `json:"amount" min:"1" doc:"In the currency's smallest unit (ISO 4217)."`
}

// CreditNote is what credit_note.create leaves.
type CreditNote struct {
	CreditNoteID string `json:"credit_note_id" doc:"Stripe's id of the credit note."`
	Number       string `json:"number" doc:"The number that the customer sees."`
	Status       string `json:"status" doc:"issued or void."`
	Total        int64  `json:"total" doc:"What was credited, with tax, in the currency's smallest unit (ISO 4217)."`
	InvoiceID    string `json:"invoice_id" doc:"The invoice it is for."`
	PDF          string `json:"pdf" doc:"Where it can be downloaded."`
}

func createCreditNote() connectors.Action {
	amount := int64(500)
	return connectors.Do("credit_note.create", "Create credit note", runCreateCreditNote, CreateCreditNoteInput{
		InvoiceID: "in_1MtHbELkdIwHu7ixl4OzzPMv", Reference: "credit.1", Amount: &amount, Reason: "order_change",
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Credits a finalized invoice, in part or whole.", "credit_note"
		a.Options = map[string]connectors.Offer{"invoice_id": offerInvoices("")}
		a.Help = "On an open invoice it lowers what is to be paid. On a paid one say where the money goes: credit_amount, refund_amount and out_of_band_amount add up to the total."
	})
}

const (
	metaReference = "togai_reference"

	attrTotal   = "total"
	attrAsked   = "asked"
	attrOf      = "invoice"
	attrNotePDF = "pdf"
)

func runCreateCreditNote(ctx context.Context, c connectors.Conn, in CreateCreditNoteInput) (CreditNote, error) {
	asked, err := in.check()
	if err != nil {
		return CreditNote{}, err
	}
	probe := func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		n, err := in.there(ctx, c, func(n *stripe.CreditNote) bool { return n.Metadata[metaEffect] == key })
		if err != nil || n == nil {
			return connectors.Ref{}, false, err
		}
		ref, err := in.ref(n, asked)
		return ref, err == nil, err
	}
	ref, err := c.Effect(ctx, connectors.Append("credit_note", in.InvoiceID+"/"+in.Reference), probe, func(ctx context.Context, key string) (connectors.Ref, error) {
		inv, err := getInvoice(ctx, c, in.InvoiceID)
		if err != nil {
			return connectors.Ref{}, err
		}
		mine, err := in.there(ctx, c, func(n *stripe.CreditNote) bool { return n.Metadata[metaEffect] == key })
		if err != nil {
			return connectors.Ref{}, err
		}
		if mine == nil { // a repeat learns what the first call answered, whatever has become of the invoice since
			if err := in.fits(inv, asked); err != nil {
				return connectors.Ref{}, err
			}
			if err := in.unique(ctx, c); err != nil {
				return connectors.Ref{}, err
			}
		}
		p, err := in.params(ctx, key, string(inv.Currency))
		if err != nil {
			return connectors.Ref{}, err
		}
		n, err := api(c).CreditNotes.New(p)
		if err != nil {
			return connectors.Ref{}, failed(c, err, true)
		}
		if n.ID == "" {
			return connectors.Ref{}, garbled(errNoID, true)
		}
		return in.ref(n, asked)
	})
	if err != nil {
		return CreditNote{}, fmt.Errorf("creating credit note for invoice %s: %w", in.InvoiceID, err)
	}
	if had := ref.Attributes[attrAsked]; had != "" && had != strconv.FormatInt(asked, 10) {
		return CreditNote{}, wrongInput("reference", fmt.Sprintf("is that of credit note %s over another amount (%s): give this credit a reference of its own", ref.ID, had))
	}
	out := CreditNote{CreditNoteID: ref.ID, Number: ref.Name, Status: ref.Attributes[attrStatus], InvoiceID: ref.Attributes[attrOf], PDF: ref.Attributes[attrNotePDF]}
	out.Total, _ = strconv.ParseInt(ref.Attributes[attrTotal], 10, 64) // as written below
	return out, nil
}

// check answers what is to be credited.
func (in CreateCreditNoteInput) check() (int64, error) {
	if (in.Amount == nil) == (len(in.Lines) == 0) {
		return 0, wrongInput("amount", "or lines is needed, and one of them only")
	}
	if in.Amount != nil {
		return *in.Amount, nil
	}
	sum := int64(0)
	for i, l := range in.Lines {
		switch {
		case l.InvoiceLineItem == "" && l.Description == "":
			return 0, wrongInput(fmt.Sprintf("lines[%d].description", i), "is needed for what is no line of the invoice")
		case l.Amount > maxAmount:
			return 0, wrongInput(fmt.Sprintf("lines[%d].amount", i), "is too large")
		}
		sum += l.Amount
	}
	return sum, nil
}

// fits refuses what Stripe would, in words that name the way out. It counts lines without the tax that Stripe may add.
func (in CreateCreditNoteInput) fits(inv *stripe.Invoice, asked int64) error {
	split, parts := int64(0), 0
	for _, p := range []*int64{in.CreditAmount, in.RefundAmount, in.OutOfBandAmount} {
		if p != nil {
			split, parts = split+*p, parts+1
		}
	}
	switch {
	case inv.Status == stripe.InvoiceStatusDraft || inv.Status == stripe.InvoiceStatusVoid:
		return wrongInput("invoice_id", fmt.Sprintf("names an invoice that is %s: only a finalized one can be credited", inv.Status))
	case inv.Status == stripe.InvoiceStatusPaid && parts == 0:
		return wrongInput("credit_amount", "or refund_amount or out_of_band_amount is needed: the invoice is paid, so say where the money goes")
	case inv.Status == stripe.InvoiceStatusPaid && in.Amount != nil && split != asked:
		return wrongInput("amount", fmt.Sprintf("is %d, but credit_amount, refund_amount and out_of_band_amount add up to %d", asked, split))
	case inv.Status != stripe.InvoiceStatusPaid && split != 0:
		return wrongInput("credit_amount", "and refund_amount and out_of_band_amount are for paid invoices: this one is "+string(inv.Status))
	}
	return nil
}

// unique refuses a credit that somebody else has given already, such as a copy of this system.
func (in CreateCreditNoteInput) unique(ctx context.Context, c connectors.Conn) error {
	if in.Reference == "" {
		return nil
	}
	n, err := in.there(ctx, c, func(n *stripe.CreditNote) bool {
		return n.Metadata[metaReference] == in.Reference && n.Status != stripe.CreditNoteStatusVoid
	})
	if err == nil && n != nil {
		return connectors.Errorf(connectors.Conflict, "credit note %s of invoice %s has the reference %s already, and was not made by this run: void it, or give this credit another reference", n.ID, in.InvoiceID, in.Reference)
	}
	return err
}

// there is the invoice's first credit note that matches, nil when none does. The list is consistent.
func (in CreateCreditNoteInput) there(ctx context.Context, c connectors.Conn, match func(*stripe.CreditNote) bool) (*stripe.CreditNote, error) {
	it := api(c).CreditNotes.List(&stripe.CreditNoteListParams{ListParams: list(ctx), Invoice: stripe.String(in.InvoiceID)})
	for it.Next() {
		if n := it.CreditNote(); match(n) {
			return n, nil
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("listing the credit notes of invoice %s: %w", in.InvoiceID, failed(c, err, false))
	}
	return nil, nil
}

func (in CreateCreditNoteInput) params(ctx context.Context, key, currency string) (*stripe.CreditNoteParams, error) {
	own := map[string]string{}
	if in.Reference != "" {
		own[metaReference] = in.Reference
	}
	p := &stripe.CreditNoteParams{
		Params: write(ctx, key), Invoice: stripe.String(in.InvoiceID), Reason: given(in.Reason), Memo: given(in.Memo), Metadata: marked(in.Metadata, own, key),
	}
	for _, part := range []struct {
		field string
		from  *int64
		to    **int64
	}{
		{"amount", in.Amount, &p.Amount}, {"credit_amount", in.CreditAmount, &p.CreditAmount}, {"refund_amount", in.RefundAmount, &p.RefundAmount}, {"out_of_band_amount", in.OutOfBandAmount, &p.OutOfBandAmount},
	} {
		if part.from == nil {
			continue
		}
		n, err := toWire(*part.from, currency, part.field)
		if err != nil {
			return nil, err
		}
		*part.to = &n
	}
	for i, l := range in.Lines {
		n, err := toWire(l.Amount, currency, fmt.Sprintf("lines[%d].amount", i))
		if err != nil {
			return nil, err
		}
		line := &stripe.CreditNoteLineParams{Type: stripe.String("invoice_line_item"), InvoiceLineItem: given(l.InvoiceLineItem), Description: given(l.Description), Amount: &n}
		if l.InvoiceLineItem == "" {
			line.Type, line.Amount, line.UnitAmount, line.Quantity = stripe.String("custom_line_item"), nil, &n, stripe.Int64(1)
		}
		p.Lines = append(p.Lines, line)
	}
	return p, nil
}

func (in CreateCreditNoteInput) ref(n *stripe.CreditNote, asked int64) (connectors.Ref, error) {
	total, err := fromWire(n.Total, string(n.Currency))
	if err != nil {
		return connectors.Ref{}, fmt.Errorf("credit note %s: %w", n.ID, err)
	}
	return connectors.Ref{ID: n.ID, Name: n.Number, Attributes: map[string]string{
		attrStatus: string(n.Status), attrTotal: strconv.FormatInt(total, 10), attrAsked: strconv.FormatInt(asked, 10), attrOf: in.InvoiceID, attrNotePDF: n.PDF,
	}}, nil
}
