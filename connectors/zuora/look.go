package zuora

import (
	"context"
	"fmt"
	"net/http"

	"tieline/connectors"
)

// lookAtAccount reads an account for a person to see, by its id or number.
func lookAtAccount(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	a, err := fetchAccount(ctx, c, id)
	return connectors.Ref{ID: a.BasicInfo.ID, Name: a.BasicInfo.Name, Attributes: map[string]string{attrNumber: a.BasicInfo.AccountNumber}}, a.plain(), err
}

func lookAtSubscription(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	s, err := fetchSubscription(ctx, c, id)
	return connectors.Ref{ID: s.Number, Name: s.Number}, s.plain(), err
}

func lookAtInvoice(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	i, err := fetchInvoice(ctx, c, id)
	return i.ref(), i.plain(), err
}

func lookAtCreditMemo(ctx context.Context, c connectors.Conn, id string) (connectors.Ref, any, error) {
	var m memo
	if _, err := get(ctx, c, path("v1", "credit-memos", id), &m); err != nil {
		return connectors.Ref{}, nil, fmt.Errorf("reading credit memo %s: %w", id, err)
	}
	if m.ID == "" {
		return connectors.Ref{}, nil, garbled(http.StatusOK, false)
	}
	return m.ref(), map[string]any{"id": m.ID, "number": m.Number, "status": m.Status, "amount": m.Amount.text(), "comment": m.Comment}, nil
}
