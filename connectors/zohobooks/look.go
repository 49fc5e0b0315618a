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
