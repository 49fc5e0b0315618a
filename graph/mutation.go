package graph

import (
	"context"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

// do sends a mutation of one object through the door. An id that is malformed names nothing.
func (r *Resolvers) do(ctx context.Context, kind model.Kind, id string, work func(ctx context.Context, tx db.Tx, org, id db.ID) error) (Done, error) {
	return r.Do(ctx, kind, func(ctx context.Context, tx db.Tx, v auth.Viewer) (db.ID, error) {
		of, err := kind.Parse(id)
		if err == nil {
			err = work(ctx, tx, v.Org, of)
		}
		if err != nil {
			return db.ID{}, err
		}
		return of, nil
	})
}

// way is how a mutation is done: through the door or, with dryRun, only tried.
func (r *Resolvers) way(dryRun *bool) func(context.Context, model.Kind, func(context.Context, db.Tx, auth.Viewer) (db.ID, error)) (Done, error) {
	if given(dryRun) {
		return r.Try
	}
	return r.Do
}

// call is do for work that calls a vendor. Without an id it makes the object.
func (r *Resolvers) call(ctx context.Context, kind model.Kind, id string, work func(ctx context.Context, org, id db.ID, commit flow.Commit) error) (Done, error) {
	return r.Call(ctx, kind, func(ctx context.Context, v auth.Viewer, commit flow.Commit) error {
		var of db.ID
		if id != "" {
			var err error
			if of, err = kind.Parse(id); err != nil {
				return err
			}
		}
		return work(ctx, v.Org, of, commit)
	})
}

// made shows what a mutation was about as it is now, and what stood in the way.
func made[M any](ctx context.Context, show func(context.Context, db.ID) (*M, error)) func(Done, error) (*M, []*flow.Problem, error) {
	return func(done Done, err error) (*M, []*flow.Problem, error) {
		if err != nil || done.ID == (db.ID{}) {
			return nil, done.Problems, err
		}
		m, err := show(ctx, done.ID)
		return m, done.Problems, err
	}
}

// deleted shows of what was deleted its id alone.
func deleted(kind model.Kind) func(context.Context, db.ID) (*string, error) {
	return func(_ context.Context, id db.ID) (*string, error) { return new(kind.Of(id)), nil }
}

// given is the value of an argument, or the zero value when it was left out.
func given[T any](v *T) T {
	if v == nil {
		return *new(T)
	}
	return *v
}
