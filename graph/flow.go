package graph

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/vikstrous/dataloadgen"

	"tieline/db"
	"tieline/graph/model"
)

var flows = list[db.Flow, model.Flow]{"flows", func(f *db.Flow) db.ID { return f.ID }, sure(model.NewFlow)}

func (r *Resolvers) flow(ctx context.Context, id db.ID) (*model.Flow, error) {
	return one(ctx, r.load(ctx).flows, id, sure(model.NewFlow))
}

func (r queryResolver) Flows(ctx context.Context, filter *model.FlowFilter, first *int32, after *string, last *int32, before *string) (*model.FlowConnection, error) {
	in := given(filter)
	f := db.FlowFilter{Kind: string(given(in.Kind)), Direction: string(given(in.Direction))}
	return flows.page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.Flow, error) {
		return db.FlowsPage(ctx, r.DB, organization(ctx), f, w)
	})
}

func (r queryResolver) Flow(ctx context.Context, id string) (*model.Flow, error) {
	return r.flow(ctx, model.FlowID.Find(id))
}

// version is the newest published version of a flow, which its fields are about; the draft while there is none.
func (r *Resolvers) version(ctx context.Context, f *model.Flow) (*model.Version, error) {
	v, err := r.load(ctx).newest.Load(ctx, f.Row.ID)
	if errors.Is(err, dataloadgen.ErrNotFound) {
		return model.ReadDraft(f.Row), nil
	}
	return v, err
}

func (r flowResolver) Version(ctx context.Context, f *model.Flow) (int32, error) {
	v, err := r.version(ctx, f)
	if err != nil {
		return 0, err
	}
	return int32(v.Number), nil
}

func (r flowResolver) UpdatedAt(ctx context.Context, f *model.Flow) (*time.Time, error) {
	v, err := r.version(ctx, f)
	if err != nil {
		return nil, err
	}
	return &v.CreatedAt, nil
}

func (r flowResolver) Trigger(ctx context.Context, f *model.Flow) (*model.Trigger, error) {
	v, err := r.version(ctx, f)
	if err != nil {
		return nil, err
	}
	return r.apps.Trigger(v.Doc.Trigger.App, v.Doc.Trigger.Key), nil
}

func (r flowResolver) Condition(ctx context.Context, f *model.Flow) (*string, error) {
	v, err := r.version(ctx, f)
	if err != nil || v.Doc.Trigger.When == "" {
		return nil, err
	}
	return &v.Doc.Trigger.When, nil
}

func (r flowResolver) Steps(ctx context.Context, f *model.Flow) ([]*model.FlowStep, error) {
	v, err := r.version(ctx, f)
	if err != nil {
		return nil, err
	}
	return r.apps.Steps(v)
}

func (r flowResolver) ParamsSchema(ctx context.Context, f *model.Flow) (json.RawMessage, error) {
	v, err := r.version(ctx, f)
	if err != nil {
		return nil, err
	}
	return v.ParamsSchema()
}

func (r flowResolver) Links(ctx context.Context, f *model.Flow, first *int32, after *string, last *int32, before *string) (*model.FlowLinkConnection, error) {
	return flowLinks.page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.FlowLink, error) {
		return r.load(ctx).linksOfFlow.Load(ctx, paging[db.ID]{f.Row.ID, w})
	})
}
