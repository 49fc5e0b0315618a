package graph

import (
	"context"
	"errors"

	"tieline/db"
	"tieline/graph/model"
)

func (r queryResolver) PaymentLink(ctx context.Context, accountID, pricePlanID string, vendorAccountID *string) (*model.PaymentLink, error) {
	l, err := r.engine.PaymentLink(ctx, organization(ctx), accountID, pricePlanID, model.VendorAccountID.Narrow(vendorAccountID))
	switch {
	case errors.Is(err, db.ErrNotFound):
		return nil, nil
	case errors.Is(err, db.ErrConflict):
		return nil, fail(BadUserInput, "several Togai accounts hold a price plan of this id; say which with vendorAccountId")
	case err != nil:
		return nil, err
	}
	return model.NewPaymentLink(l)
}
