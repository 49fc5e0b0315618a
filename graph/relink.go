package graph

import (
	"cmp"
	"context"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

func (r mutationResolver) CreateMapping(ctx context.Context, in model.CreateMappingInput) (*model.CreateMappingPayload, error) {
	out := &model.CreateMappingPayload{}
	done, err := r.way(in.DryRun)(ctx, model.MappingID, func(ctx context.Context, tx db.Tx, v auth.Viewer) (db.ID, error) {
		asked := flow.MappingInput{Entity: in.Entity, Name: in.Name, Set: recordsOf(in.Slots), Actor: v.Name}
		if in.ParentID != nil {
			asked.Parent = new(parent(*in.ParentID))
		}
		m, change, err := r.engine.CreateMapping(ctx, tx, v.Org, asked)
		if err == nil {
			out.Change = model.NewMappingChange(change)
		}
		return m.ID, err
	})
	if err = cmp.Or(err, r.lookUp(ctx, in.DryRun, in.Slots, out.Change)); err != nil {
		return out, err
	}
	out.Mapping, out.UserErrors, err = made(ctx, r.mapping)(done, err)
	return out, err
}

func (r mutationResolver) UpdateMapping(ctx context.Context, in model.UpdateMappingInput) (*model.UpdateMappingPayload, error) {
	out := &model.UpdateMappingPayload{}
	done, err := r.relink(ctx, in.DryRun, in.ID, &out.Change, func(ctx context.Context, tx db.Tx, v auth.Viewer, id db.ID) (flow.Relinked, error) {
		asked := flow.MappingInput{Name: in.Name, Set: recordsOf(in.Set), Remove: placesOf(in.Remove), Actor: v.Name}
		if p, given := in.ParentID.ValueOK(); given {
			asked.Parent = new(db.ID)
			if p != nil {
				*asked.Parent = parent(*p)
			}
		}
		return r.engine.UpdateMapping(ctx, tx, v.Org, id, asked)
	})
	if err = cmp.Or(err, r.lookUp(ctx, in.DryRun, in.Set, out.Change)); err != nil {
		return out, err
	}
	out.Mapping, out.UserErrors, err = made(ctx, r.mapping)(done, err)
	return out, err
}

func (r mutationResolver) MergeMappings(ctx context.Context, in model.MergeMappingsInput) (*model.MergeMappingsPayload, error) {
	out := &model.MergeMappingsPayload{}
	done, err := r.relink(ctx, in.DryRun, in.ID, &out.Change, func(ctx context.Context, tx db.Tx, v auth.Viewer, id db.ID) (flow.Relinked, error) {
		return r.engine.MergeMappings(ctx, tx, v.Org, id, model.MappingID.Find(in.OtherID))
	})
	out.Mapping, out.UserErrors, err = made(ctx, r.mapping)(done, err)
	return out, err
}

func (r mutationResolver) SplitMapping(ctx context.Context, in model.SplitMappingInput) (*model.SplitMappingPayload, error) {
	out := &model.SplitMappingPayload{}
	done, err := r.way(in.DryRun)(ctx, model.MappingID, func(ctx context.Context, tx db.Tx, v auth.Viewer) (db.ID, error) {
		id, err := model.MappingID.Parse(in.ID)
		if err != nil {
			return db.ID{}, err
		}
		m, change, err := r.engine.SplitMapping(ctx, tx, v.Org, id, placesOf(in.Slots), given(in.Name))
		if err == nil {
			out.Change = model.NewMappingChange(change)
		}
		return m.ID, err
	})
	out.Mapping, out.UserErrors, err = made(ctx, r.mapping)(done, err)
	return out, err
}

func (r mutationResolver) DeleteMapping(ctx context.Context, in model.DeleteMappingInput) (*model.DeleteMappingPayload, error) {
	out := &model.DeleteMappingPayload{}
	done, err := r.relink(ctx, in.DryRun, in.ID, &out.Change, func(ctx context.Context, tx db.Tx, v auth.Viewer, id db.ID) (flow.Relinked, error) {
		return r.engine.DeleteMapping(ctx, tx, v.Org, id)
	})
	out.DeletedID, out.UserErrors, err = made(ctx, deleted(model.MappingID))(done, err)
	return out, err
}

// lookUp adds to what a change would touch, when it is only tried, which of its records their apps do not have.
func (r mutationResolver) lookUp(ctx context.Context, dryRun *bool, records []*model.MappingSlotInput, change *model.MappingChange) error {
	if !given(dryRun) || change == nil {
		return nil
	}
	v, _ := auth.FromContext(ctx)
	notes, err := r.engine.LookUp(ctx, v.Org, recordsOf(records))
	change.Notes = append(change.Notes, notes...)
	return err
}

// relink sends a change of one mapping through the door, or tries it, and shows what it touches.
func (r mutationResolver) relink(ctx context.Context, dryRun *bool, id string, change **model.MappingChange, work func(context.Context, db.Tx, auth.Viewer, db.ID) (flow.Relinked, error)) (Done, error) {
	return r.way(dryRun)(ctx, model.MappingID, func(ctx context.Context, tx db.Tx, v auth.Viewer) (db.ID, error) {
		of, err := model.MappingID.Parse(id)
		if err != nil {
			return db.ID{}, err
		}
		touched, err := work(ctx, tx, v, of)
		if err != nil {
			return db.ID{}, err
		}
		*change = model.NewMappingChange(touched)
		return of, nil
	})
}

// parent is a mapping to hang below. One that is malformed is as one that is not there.
func parent(id string) db.ID { return model.MappingID.Narrow(&id) }

func recordsOf(in []*model.MappingSlotInput) []flow.Placed {
	out := make([]flow.Placed, len(in))
	for i, s := range in {
		out[i] = flow.Placed{SlotPlace: db.SlotPlace{VendorAccountID: model.VendorAccountID.Find(s.VendorAccountID), Entity: s.Entity, Role: given(s.Role)}, ExternalID: s.ExternalID}
	}
	return out
}

func placesOf(in []*model.MappingPlaceInput) []db.SlotPlace {
	out := make([]db.SlotPlace, len(in))
	for i, s := range in {
		out[i] = db.SlotPlace{VendorAccountID: model.VendorAccountID.Find(s.VendorAccountID), Entity: s.Entity, Role: given(s.Role)}
	}
	return out
}
