package graph

import (
	"context"

	"tieline/db"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

var attention = list[db.Attention, model.AttentionItem]{"attention", func(a *db.Attention) db.ID { return a.ID }, sure(model.NewAttention)}

func (r queryResolver) Attention(ctx context.Context, kind *model.AttentionKind, first *int32, after *string, last *int32, before *string) (*model.AttentionItemConnection, error) {
	page, err := attention.page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.Attention, error) {
		return r.engine.Attention(ctx, r.DB, organization(ctx), string(given(kind)), w)
	})
	if err != nil {
		return nil, err
	}
	out := &model.AttentionItemConnection{Page: *page}
	if asked(ctx, "counts") {
		counts, err := r.engine.CountAttention(ctx, r.DB, organization(ctx))
		if err != nil {
			return nil, err
		}
		out.Counts = model.NewAttentionCounts(counts)
	}
	return out, nil
}

// Subject is read with the others of its page.
func (r attentionResolver) Subject(ctx context.Context, a *model.AttentionItem) (model.Node, error) {
	switch a.Row.Kind {
	case db.AttentionConflict:
		return node(r.effect(ctx, a.Row.ID))
	case db.AttentionPerson:
		return node(r.run(ctx, a.Row.ID))
	case db.AttentionDuplicate:
		return node(r.run(ctx, a.Row.RunID))
	case db.AttentionHeld:
		return node(r.event(ctx, a.Row.ID))
	case db.AttentionFailing:
		return node(r.liveFlowLink(ctx, a.Row.ID))
	}
	return node(r.liveConnection(ctx, a.Row.ID))
}

func (r queryResolver) Explain(ctx context.Context, externalID string, app, entity, vendorAccountID *string) ([]*model.Explanation, error) {
	q := flow.ExplainQuery{ExternalID: externalID, App: given(app), Entity: given(entity), Account: model.VendorAccountID.Narrow(vendorAccountID)}
	found, err := r.engine.Explain(ctx, organization(ctx), q)
	if err != nil {
		return nil, err
	}
	return all(found, model.NewExplanation)
}

func (r explanationResolver) Mapping(ctx context.Context, x *model.Explanation) (*model.Mapping, error) {
	return r.mapping(ctx, x.Row.MappingID)
}

func (r explanationResolver) Event(ctx context.Context, x *model.Explanation) (*model.Event, error) {
	return r.event(ctx, x.Row.EventID)
}

func (r explanationResolver) Run(ctx context.Context, x *model.Explanation) (*model.Run, error) {
	return r.run(ctx, x.Row.RunID)
}

func (r explanationResolver) Step(ctx context.Context, x *model.Explanation) (*model.RunStep, error) {
	return r.step(ctx, x.Row.RunID, x.Row.Step)
}

func (r explanationResolver) Effect(ctx context.Context, x *model.Explanation) (*model.Effect, error) {
	return r.effect(ctx, x.Row.EffectID)
}
