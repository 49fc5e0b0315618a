package graph

import (
	"context"
	"errors"

	"tieline/connectors"
	"tieline/db"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

var effects = list[db.Effect, model.Effect]{"effects", func(e *db.Effect) db.ID { return e.ID }, sure(model.NewEffect)}

func (r *Resolvers) effect(ctx context.Context, id db.ID) (*model.Effect, error) {
	return one(ctx, r.load(ctx).effects, id, sure(model.NewEffect))
}

func (r queryResolver) Effects(ctx context.Context, filter *model.EffectFilter, first *int32, after *string, last *int32, before *string) (*model.EffectConnection, error) {
	in := given(filter)
	f := db.EffectFilter{
		Run: model.RunID.Narrow(in.RunID), Mapping: model.MappingID.Narrow(in.MappingID), Connection: model.ConnectionID.Narrow(in.ConnectionID),
		VendorAccount: model.VendorAccountID.Narrow(in.VendorAccountID), State: string(given(in.State)),
	}
	return effects.page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.Effect, error) {
		return db.EffectsPage(ctx, r.DB, organization(ctx), f, w)
	})
}

func (r queryResolver) Effect(ctx context.Context, id string) (*model.Effect, error) {
	return r.effect(ctx, model.EffectID.Find(id))
}

func (r effectResolver) VendorAccount(ctx context.Context, e *model.Effect) (*model.VendorAccount, error) {
	return r.vendorAccount(ctx, e.Row.VendorAccountID)
}

func (r effectResolver) Run(ctx context.Context, e *model.Effect) (*model.Run, error) {
	return r.run(ctx, e.Row.RunID)
}

func (r effectResolver) Step(ctx context.Context, e *model.Effect) (*model.RunStep, error) {
	return r.step(ctx, e.Row.RunID, e.Row.Step)
}

func (r effectResolver) Slots(ctx context.Context, e *model.Effect) ([]*model.MappingSlot, error) {
	return many(ctx, r.load(ctx).effectSlots, e.Row.ID, model.NewSlot)
}

func (r effectResolver) Attempts(ctx context.Context, e *model.Effect) ([]*model.Attempt, error) {
	return many(ctx, r.load(ctx).attempts, e.Row.ID, sure(model.NewAttempt))
}

func (r queryResolver) EffectConflict(ctx context.Context, id string, externalID *string) (*model.EffectConflict, error) {
	c, err := r.engine.Conflict(ctx, organization(ctx), model.EffectID.Find(id), given(externalID))
	if errors.Is(err, db.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := model.NewEffectConflict(c)
	if out.Mapping, err = r.mapping(ctx, c.Holder); err != nil || c.ExternalID == "" {
		return out, err
	}
	out.URL, err = one(ctx, r.load(ctx).accounts, c.Effect.VendorAccountID, func(v db.VendorAccount) (*string, error) {
		return r.apps.RecordURL(v, c.Effect.Entity, c.ExternalID), nil
	})
	return out, err
}

func (r mutationResolver) ResolveEffect(ctx context.Context, in model.ResolveEffectInput) (*model.ResolveEffectPayload, error) {
	decided := flow.ResolveInput{How: flow.Resolution(in.Resolution), ExternalID: given(in.ExternalID)}
	for _, w := range in.With {
		decided.With = append(decided.With, connectors.Slot{Entity: w.Entity, Role: given(w.Role), ID: w.ExternalID})
	}
	e, problems, err := made(ctx, r.effect)(r.call(ctx, model.EffectID, in.ID, func(ctx context.Context, org, id db.ID, commit flow.Commit) error {
		return r.engine.ResolveEffect(ctx, org, id, decided, commit)
	}))
	return &model.ResolveEffectPayload{Effect: e, UserErrors: problems}, err
}
