package zohobooks

import (
	"context"

	"tieline/connectors"
)

func lookAtContact(ctx context.Context, c connectors.Conn, key string) (connectors.Ref, any, error) {
	x, err := fetchContact(ctx, c, key)
	return x.ref(), x.plain(), err
}

func lookAtItem(ctx context.Context, c connectors.Conn, key string) (connectors.Ref, any, error) {
	x, err := fetchItem(ctx, c, key)
	return x.ref(), x.plain(), err
}

func lookAtInvoice(ctx context.Context, c connectors.Conn, key string) (connectors.Ref, any, error) {
	x, err := fetchInvoice(ctx, c, key)
	return x.ref(), x.plain(), err
}

func lookAtPayment(ctx context.Context, c connectors.Conn, key string) (connectors.Ref, any, error) {
	x, err := fetchPayment(ctx, c, key)
	if err != nil {
		return connectors.Ref{}, nil, err
	}
	invoices := []string{}
	for _, of := range x.Invoices {
		invoices = append(invoices, string(of.InvoiceID))
	}
	return x.ref(), map[string]any{"payment_id": string(x.ID), "amount": x.Amount.text(), "reference_number": x.Reference, "invoice_ids": invoices}, nil
}
