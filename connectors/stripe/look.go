package stripe

import (
	"context"

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
