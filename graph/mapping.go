package graph

import (
	"context"
	"errors"

	"tieline/db"
	"tieline/graph/model"
)

var mappings = list[db.Mapping, model.Mapping]{"mappings", func(m *db.Mapping) db.ID { return m.ID }, sure(model.NewMapping)}

func (r *Resolvers) mapping(ctx context.Context, id db.ID) (*model.Mapping, error) {
	return one(ctx, r.load(ctx).mappings, id, sure(model.NewMapping))
}

func (r queryResolver) Mappings(ctx context.Context, filter *model.MappingFilter, first *int32, after *string, last *int32, before *string) (*model.MappingConnection, error) {
	in := given(filter)
	f := db.MappingFilter{Entity: given(in.Entity), Parent: model.MappingID.Narrow(in.ParentID)}
	return mappings.page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.Mapping, error) {
		if in.Entity != nil && f.Entity == "" {
			return nil, nil // no record is of no kind
		}
		return db.MappingsPage(ctx, r.DB, organization(ctx), f, w)
	})
}

func (r queryResolver) Mapping(ctx context.Context, id string) (*model.Mapping, error) {
	return r.mapping(ctx, model.MappingID.Find(id))
}

func (r queryResolver) MappingByExternalID(ctx context.Context, app, entity, externalID string, vendorAccountID *string) (*model.Mapping, error) {
	m, err := db.MappingByRecord(ctx, r.DB, organization(ctx), app, entity, externalID, model.VendorAccountID.Narrow(vendorAccountID))
	switch {
	case errors.Is(err, db.ErrNotFound):
		return nil, nil
	case errors.Is(err, db.ErrConflict):
		return nil, fail(BadUserInput, "several accounts of this app hold such a record; say which with vendorAccountId")
	case err != nil:
		return nil, err
	}
	return model.NewMapping(m), nil
}

func (r mappingResolver) Parent(ctx context.Context, m *model.Mapping) (*model.Mapping, error) {
	return r.mapping(ctx, m.Row.ParentID)
}

func (r mappingResolver) Slots(ctx context.Context, m *model.Mapping) ([]*model.MappingSlot, error) {
	return many(ctx, r.load(ctx).slots, m.Row.ID, model.NewSlot)
}

func (r slotResolver) VendorAccount(ctx context.Context, s *model.MappingSlot) (*model.VendorAccount, error) {
	return r.vendorAccount(ctx, s.Row.VendorAccountID)
}

func (r slotResolver) URL(ctx context.Context, s *model.MappingSlot) (*string, error) {
	url, err := one(ctx, r.load(ctx).accounts, s.Row.VendorAccountID, func(v db.VendorAccount) (*string, error) {
		return r.apps.RecordURL(v, s.Entity, s.Row.ExternalID), nil
	})
	return url, err
}

func (r provenanceResolver) Event(ctx context.Context, p *model.SlotProvenance) (*model.Event, error) {
	return r.event(ctx, p.Row.EventID)
}

func (r provenanceResolver) Run(ctx context.Context, p *model.SlotProvenance) (*model.Run, error) {
	return r.run(ctx, p.Row.RunID)
}

func (r provenanceResolver) Step(ctx context.Context, p *model.SlotProvenance) (*model.RunStep, error) {
	return r.step(ctx, p.Row.RunID, p.Row.Step)
}

func (r provenanceResolver) Effect(ctx context.Context, p *model.SlotProvenance) (*model.Effect, error) {
	return r.effect(ctx, p.Row.EffectID)
}
