package togai

import (
	"context"

	"tieline/connectors"
)

// lookAtCustomer reads a customer for a person to see.
func lookAtCustomer(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	x, err := fetchCustomer(ctx, c, id)
	return connectors.Ref{ID: x.ID, Name: x.Name, Attributes: attributes(attrTogaiCustomer, x.TogaiCustomerID, attrEmail, x.PrimaryEmail)}, x.plain(), err
}

func lookAtAccount(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	a, err := fetchAccount(ctx, c, id)
	return accountRef(a, ours), a.plain(), err
}

func lookAtPricePlan(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	p, err := fetchPricePlan(ctx, c, id)
	return connectors.Ref{ID: p.ID, Name: p.Name}, p.plain(), err
}

func lookAtInvoice(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	inv, err := fetchInvoice(ctx, c, id)
	return connectors.Ref{ID: inv.ID, Name: inv.SequenceID}, inv.plain(), err
}

func lookAtPayment(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	p, err := fetch[payment](ctx, c, "payment", "payments", id)
	return connectors.Ref{ID: p.ID, Name: p.Reference.TransactionNumber}, p.plain(), err
}

func lookAtCredit(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	x, err := fetch[credit](ctx, c, "credit", "credits", id)
	return connectors.Ref{ID: x.ID, Name: x.Purpose}, x.plain(), err
}
