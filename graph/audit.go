package graph

import (
	"context"

	"tieline/db"
	"tieline/graph/model"
)

var audits = list[db.Audit, model.AuditEntry]{"auditLog", func(a *db.Audit) db.ID { return a.ID }, sure(model.NewAudit)}

func (r queryResolver) AuditLog(ctx context.Context, filter *model.AuditFilter, first *int32, after *string, last *int32, before *string) (*model.AuditEntryConnection, error) {
	in := given(filter)
	f := db.AuditFilter{Token: model.TokenID.Narrow(in.TokenID), Field: given(in.Field), Object: given(in.ObjectID)}
	return audits.page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.Audit, error) {
		if in.Field != nil && f.Field == "" || in.ObjectID != nil && f.Object == "" {
			return nil, nil // nothing has no name
		}
		return db.AuditPage(ctx, r.DB, organization(ctx), f, w)
	})
}

func (r auditResolver) Token(ctx context.Context, a *model.AuditEntry) (*model.APIToken, error) {
	return r.token(ctx, a.Row.TokenID)
}
