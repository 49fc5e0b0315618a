package graph

import (
	"context"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
)

func (r queryResolver) Viewer(ctx context.Context) (*model.Viewer, error) {
	v, _ := auth.FromContext(ctx)
	org, err := one(ctx, r.load(ctx).organizations, v.Org, func(o db.Organization) (*model.Organization, error) {
		return &model.Organization{ID: model.OrganizationID.Of(o.OrgID), Name: o.Name}, nil
	})
	return &model.Viewer{ID: "viewer_" + model.OrganizationID.Of(v.Org), Organization: org, Scopes: v.Scopes}, err
}

func (r viewerResolver) Token(ctx context.Context, _ *model.Viewer) (*model.APIToken, error) {
	v, _ := auth.FromContext(ctx)
	return r.token(ctx, v.Token)
}
