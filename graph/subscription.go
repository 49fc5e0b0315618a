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

// stream makes the caller's changes the messages of its subscription, until ctx ends or it cannot go on.
func (f *Feed) stream(ctx context.Context, filter db.FeedFilter, after *string) (<-chan *model.RunUpdate, error) {
	s, err := f.subscribe(ctx, organization(ctx), filter, after)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, s.leave)
	withRun := slices.ContainsFunc(graphql.CollectFieldsCtx(ctx, []string{"RunUpdate"}), func(c graphql.CollectedField) bool { return c.Name == "run" })
	return tell(ctx, f.messages(s, withRun)), nil
}

// messages answers what a follower is told, one after the other. It waits for each.
func (f *Feed) messages(s *follower, withRun bool) func(context.Context) (*news, error) {
	var ready, queue []*news
	return func(ctx context.Context) (c *news, err error) {
		defer func() {
			if p := recover(); p != nil { // gqlgen guards what it calls itself
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		if len(ready) == 0 {
			if len(queue) == 0 {
				if queue, err = s.next(ctx); err != nil {
					return nil, err
				}
			}
			n := min(len(queue), runsAtOnce)
			ready, queue = queue[:n], queue[n:]
			if withRun {
				if err := f.runs.load(ctx, s.org, ready); err != nil {
					return nil, err
				}
			}
		}
		c, ready = ready[0], ready[1:]
		_, err = f.told(c)
		return c, err
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
