package stripe

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// lookAtCustomer reads a customer for a person to see.
func lookAtCustomer(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	cus, err := getCustomer(ctx, c, id)
	if err != nil {
		return connectors.Ref{}, nil, err
	}
	ref, err := written(cus)
	return ref, map[string]any{
		"id": cus.ID, "name": cus.Name, "email": cus.Email, "description": cus.Description, "metadata": notes(cus.Metadata), "created": moment(cus.Created),
	}, err
}

func lookAtProduct(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	p, err := getProduct(ctx, c, id)
	if err != nil {
		return connectors.Ref{}, nil, err
	}
	if p == nil {
		return connectors.Ref{}, nil, connectors.Errorf(connectors.NotFound, "there is no product %s", id)
	}
	return CreateProductInput{TogaiPricePlanID: p.Metadata[metaPlan]}.ref(p), map[string]any{
		"id": p.ID, "name": p.Name, "description": p.Description, "active": p.Active, "metadata": notes(p.Metadata), "created": moment(p.Created),
	}, nil
}

func lookAtInvoice(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	inv, err := getInvoice(ctx, c, id)
	if err != nil {
		return connectors.Ref{}, nil, err
	}
	total := inv.Total
	if err := fromWires(string(inv.Currency), &total); err != nil {
		return connectors.Ref{}, nil, err
	}
	shown := map[string]any{
		"id": inv.ID, "number": inv.Number, "status": inv.Status, "total": total, "currency": inv.Currency, "metadata": notes(inv.Metadata), "created": moment(inv.Created),
	}
	if inv.Customer != nil {
		shown["customer_id"] = inv.Customer.ID
	}
	return CreateInvoiceInput{TogaiInvoiceID: inv.Metadata[metaInvoice]}.ref(inv.ID), shown, nil
}

// lookAtPrice shows what a price costs as Stripe counts it, which its attributes are compared by.
func lookAtPrice(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	p := &stripe.PriceParams{Params: read(ctx)}
	p.AddExpand("tiers")
	got, err := api(c).Prices.Get(id, p)
	if err != nil {
		return connectors.Ref{}, nil, fmt.Errorf("reading price %s: %w", id, failed(c, err, false))
	}
	var x price
	if err := json.Unmarshal(got.LastResponse.RawJSON, &x); err != nil {
		return connectors.Ref{}, nil, garbled(err, false)
	}
	if x.ID == "" {
		return connectors.Ref{}, nil, garbled(errNoID, false)
	}
	shown := map[string]any{
		"id": x.ID, "nickname": got.Nickname, "active": x.Active, "lookup_key": x.LookupKey, "type": x.terms().kind(), "usage": x.terms().usage(),
		"currency": x.Currency, "stripe_unit_amount": x.terms().Unit, "stripe_tiers": x.terms().Tiers, "metadata": notes(x.Metadata), "created": moment(got.Created),
	}
	if got.Product != nil {
		shown["product_id"] = got.Product.ID
	}
	return connectors.Ref{ID: x.ID, Name: got.Nickname, Attributes: map[string]string{attrLookup: x.LookupKey, attrTerms: x.terms().String()}}, shown, nil
}

func lookAtPaymentLink(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	l, err := api(c).PaymentLinks.Get(id, &stripe.PaymentLinkParams{Params: read(ctx)})
	if err != nil {
		return connectors.Ref{}, nil, fmt.Errorf("reading payment link %s: %w", id, failed(c, err, false))
	}
	if l.ID == "" {
		return connectors.Ref{}, nil, garbled(errNoID, false)
	}
	return connectors.Ref{ID: l.ID, Attributes: map[string]string{attrURL: l.URL, attrActive: fmt.Sprint(l.Active)}}, map[string]any{
		"id": l.ID, "url": l.URL, "active": l.Active, "currency": l.Currency, "metadata": notes(l.Metadata),
	}, nil
}

// lookAtCreditNote does not tell what was asked for, which a total with tax does not say.
func lookAtCreditNote(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	n, err := api(c).CreditNotes.Get(id, &stripe.CreditNoteParams{Params: read(ctx)})
	if err != nil {
		return connectors.Ref{}, nil, fmt.Errorf("reading credit note %s: %w", id, failed(c, err, false))
	}
	if n.ID == "" {
		return connectors.Ref{}, nil, garbled(errNoID, false)
	}
	total, err := fromWire(n.Total, string(n.Currency))
	if err != nil {
		return connectors.Ref{}, nil, err
	}
	ref := connectors.Ref{ID: n.ID, Name: n.Number, Attributes: map[string]string{attrStatus: string(n.Status), attrTotal: strconv.FormatInt(total, 10), attrNotePDF: n.PDF}}
	shown := map[string]any{
		"id": n.ID, "number": n.Number, "status": n.Status, "total": total, "currency": n.Currency, "reason": n.Reason, "memo": n.Memo, "metadata": notes(n.Metadata), "created": moment(n.Created),
	}
	if n.Invoice != nil {
		shown["invoice_id"], ref.Attributes[attrOf] = n.Invoice.ID, n.Invoice.ID
	}
	return ref, shown, nil
}

func lookAtInvoiceItem(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	item, err := api(c).InvoiceItems.Get(id, &stripe.InvoiceItemParams{Params: read(ctx)})
	if err != nil {
		return connectors.Ref{}, nil, fmt.Errorf("reading invoice line %s: %w", id, failed(c, err, false))
	}
	if item.ID == "" {
		return connectors.Ref{}, nil, garbled(errNoID, false)
	}
	amount, err := fromWire(item.Amount, string(item.Currency))
	if err != nil {
		return connectors.Ref{}, nil, err
	}
	shown := map[string]any{"id": item.ID, "description": item.Description, "amount": amount, "currency": item.Currency, "metadata": notes(item.Metadata)}
	if item.Invoice != nil {
		shown["invoice_id"] = item.Invoice.ID
	}
	return connectors.Ref{ID: item.ID}, shown, nil
}
