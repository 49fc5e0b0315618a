package graph

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"slices"

	"github.com/99designs/gqlgen/graphql"

	"tieline/db"
	"tieline/db/seal"
	"tieline/graph/generated"
	"tieline/graph/model"
)

const runsAtOnce = 100 // read ahead of the messages that show them

type subscriptionResolver struct{ *Resolvers }

// Subscription are the resolvers of what can be followed.
func (r *Resolvers) Subscription() generated.SubscriptionResolver { return subscriptionResolver{r} }

// RunUpdates follows all runs that pass the filter.
func (r subscriptionResolver) RunUpdates(ctx context.Context, filter *model.RunUpdateFilter, after *string) (<-chan *model.RunUpdate, error) {
	return r.feed.stream(ctx, feedFilter(filter), after)
}

// RunUpdated follows one run.
func (r subscriptionResolver) RunUpdated(ctx context.Context, id string, after *string) (<-chan *model.RunUpdate, error) {
	run, err := model.RunID.Parse(id)
	if err != nil {
		return nil, err
	}
	if _, err := db.GetRun(ctx, r.DB, organization(ctx), run); err != nil {
		return nil, err
	}
	return r.feed.stream(ctx, db.FeedFilter{Run: run}, after)
}

// Run is the run of a message, read once for all who are told of the change.
func (r updateResolver) Run(ctx context.Context, u *model.RunUpdate) (*model.Run, error) {
	row, ok, err := r.feed.runs.get(ctx, organization(ctx), u.RunID, int64(u.Change.Version))
	if err != nil || !ok {
		return nil, err
	}
	return model.NewRun(row)
}

// feedFilter reads a filter.
func feedFilter(in *model.RunUpdateFilter) db.FeedFilter {
	if in == nil {
		return db.FeedFilter{}
	}
	f := db.FeedFilter{Flow: model.FlowID.Narrow(in.FlowID), Link: model.FlowLinkID.Narrow(in.FlowLinkID), Connection: model.ConnectionID.Narrow(in.ConnectionID)}
	if in.Origin != nil {
		f.Source = string(*in.Origin)
	}
	return f
}

// stream sends the caller's changes as messages until ctx ends, or until it cannot go on.
func (f *Feed) stream(ctx context.Context, filter db.FeedFilter, after *string) (<-chan *model.RunUpdate, error) {
	s, err := f.subscribe(ctx, organization(ctx), filter, after)
	if err != nil {
		return nil, err
	}
	withRun := slices.ContainsFunc(graphql.CollectFieldsCtx(ctx, []string{"RunUpdate"}), func(c graphql.CollectedField) bool { return c.Name == "run" })
	out := make(chan *model.RunUpdate)
	go func() {
		defer close(out)
		defer s.leave()
		if err := f.send(ctx, s, out, withRun); err != nil && ctx.Err() == nil {
			endWith(ctx, err)
		}
	}()
	return out, nil
}

func (f *Feed) send(ctx context.Context, s *follower, out chan<- *model.RunUpdate, withRun bool) (err error) {
	defer func() {
		if p := recover(); p != nil { // gqlgen guards its own goroutines, not this one
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	for {
		changes, err := s.next(ctx)
		if err != nil {
			return err
		}
		for some := range slices.Chunk(changes, runsAtOnce) {
			if withRun {
				if err := f.runs.load(ctx, s.org, some); err != nil {
					return err
				}
			}
			for _, c := range some {
				u, err := f.told(c)
				if err != nil {
					return err
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case out <- u:
				}
			}
		}
	}
}

// told is a change as all are told it, made once.
func (f *Feed) told(c *news) (*model.RunUpdate, error) {
	c.once.Do(func() { c.update, c.err = f.update(&c.Change) })
	return c.update, c.err
}

// update shows a change.
func (f *Feed) update(c *db.Change) (*model.RunUpdate, error) {
	at := f.keys.Veil(uint64(c.Pos), place(c.OrgID))
	progress, err := model.NewProgress(model.RunID.Of(c.RunID), c.Progress)
	return &model.RunUpdate{
		ID: placed("upd", at), Cursor: veiledCursor(at), RunID: c.RunID,
		Change: &model.RunChange{
			ID: placed("chg", at), Version: int32(min(c.Version, math.MaxInt32)), State: model.RunState(c.State),
			WaitingReason: optional[model.WaitingReason](c.WaitingReason), Step: optional[string](c.Step),
			StepState: optional[model.StepState](c.StepState), Progress: progress, At: c.At,
		},
	}, err
}

// placed is the id of what has a place in the feed and no id of its own.
func placed(kind string, at seal.Veiled) string { return db.FormatID(kind, db.ID(at)) }

func optional[T ~string](s string) *T {
	if s == "" {
		return nil
	}
	v := T(s)
	return &v
}
