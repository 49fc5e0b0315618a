package graph

import (
	"context"

	"tieline/db"
	"tieline/graph/model"
)

var runItems = list[db.RunItem, model.RunItem]{"items", func(x *db.RunItem) db.ID { return x.ID }, sure(model.NewRunItem)}

func (r runResolver) Items(ctx context.Context, run *model.Run, state *model.RunItemState, first *int32, after *string, last *int32, before *string) (*model.RunItemConnection, error) {
	return runItems.page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.RunItem, error) {
		return r.load(ctx).itemsOfRun[string(given(state))].Load(ctx, paging[db.ID]{run.Row.ID, w})
	})
}

func (r runItemResolver) Mapping(ctx context.Context, x *model.RunItem) (*model.Mapping, error) {
	return r.mapping(ctx, x.Row.MappingID)
}
