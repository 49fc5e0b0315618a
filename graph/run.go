package graph

import (
	"context"
	"errors"
	"maps"
	"slices"

	"tieline/db"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

// runList is a list of runs, whose pages may carry a position of the feed.
type runList struct{ list[db.Run, model.Run] }

var runs = runList{list[db.Run, model.Run]{"runs", func(r *db.Run) db.ID { return r.ID }, model.NewRun}}

func (l runList) connection(args pageArgs, read func(db.Window) ([]db.Run, error)) (*model.RunConnection, error) {
	p, err := l.page(args, read)
	if err != nil {
		return nil, err
	}
	return &model.RunConnection{Page: *p}, nil
}

func (r *Resolvers) run(ctx context.Context, id db.ID) (*model.Run, error) {
	return one(ctx, r.load(ctx).runs, id, model.NewRun)
}

// step is a step of a run.
func (r *Resolvers) step(ctx context.Context, run db.ID, key string) (*model.RunStep, error) {
	if run == (db.ID{}) {
		return nil, nil
	}
	return one(ctx, r.load(ctx).steps, run, func(rows []db.Step) (*model.RunStep, error) {
		for _, s := range rows {
			if s.Key == key {
				return r.apps.Step(s), nil
			}
		}
		return nil, nil
	})
}

// Runs and the feed's position are of one moment, so that whoever goes on from there misses nothing.
func (r queryResolver) Runs(ctx context.Context, filter *model.RunFilter, first *int32, after *string, last *int32, before *string) (*model.RunConnection, error) {
	in, at := given(filter), int64(0)
	f := db.RunFilter{
		Flow: model.FlowID.Narrow(in.FlowID), Link: model.FlowLinkID.Narrow(in.FlowLinkID), Connection: model.ConnectionID.Narrow(in.ConnectionID),
		Event: model.EventID.Narrow(in.EventID), Mapping: model.MappingID.Narrow(in.MappingID), State: string(given(in.State)),
	}
	followed := asked(ctx, "feedCursor")
	page, err := runs.connection(pageArgs{first, last, after, before}, func(w db.Window) (rows []db.Run, err error) {
		if !followed {
			return db.RunsPage(ctx, r.DB, organization(ctx), f, w)
		}
		err = r.DB.Snapshot(ctx, func(ctx context.Context, tx db.Tx, pos int64) (err error) {
			at = pos
			rows, err = db.RunsPage(ctx, tx, organization(ctx), f, w)
			return err
		})
		return rows, err
	})
	if err != nil {
		return nil, err
	}
	if followed {
		page.FeedCursor = new(r.feed.cursor(organization(ctx), at))
	}
	return page, r.below(ctx, page.Nodes)
}

// below reads at once what lists of runs mostly show with each: loaders would first wait for the last run to ask.
func (r *Resolvers) below(ctx context.Context, of []*model.Run) error {
	if len(of) == 0 {
		return nil
	}
	ids, byFlow := make([]db.ID, len(of)), map[db.ID]*model.Flow{}
	for i, run := range of {
		ids[i], byFlow[run.Row.FlowID] = run.Row.ID, nil
	}
	if asked(ctx, "nodes", "steps") || asked(ctx, "edges", "node", "steps") {
		steps, err := db.StepsByRun(ctx, r.DB, organization(ctx), ids)
		if err != nil {
			return err
		}
		for _, run := range of {
			run.Steps, _ = all(steps[run.Row.ID], sure(r.apps.Step))
			r.load(ctx).steps.Prime(run.Row.ID, steps[run.Row.ID]) // a run's error is that of a step
		}
	}
	if asked(ctx, "nodes", "flow") || asked(ctx, "edges", "node", "flow") {
		flows, err := db.FlowsOf(ctx, r.DB, organization(ctx), slices.Collect(maps.Keys(byFlow)))
		if err != nil {
			return err
		}
		for id, row := range flows {
			byFlow[id] = model.NewFlow(row)
		}
		for _, run := range of {
			run.Flow = byFlow[run.Row.FlowID]
		}
	}
	return nil
}

func (r queryResolver) Run(ctx context.Context, id string) (*model.Run, error) {
	of := model.RunID.Find(id)
	if of == (db.ID{}) {
		return nil, nil
	}
	var run *model.Run
	err := r.DB.Snapshot(ctx, func(ctx context.Context, tx db.Tx, pos int64) error {
		row, err := db.GetRun(ctx, tx, organization(ctx), of)
		if err != nil {
			return err
		}
		if run, err = model.NewRun(row); err == nil {
			run.FeedCursor = new(r.feed.cursor(organization(ctx), pos))
		}
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		return nil, nil
	}
	return run, err
}

func (r runResolver) Flow(ctx context.Context, run *model.Run) (*model.Flow, error) {
	if run.Flow != nil {
		return run.Flow, nil
	}
	return r.flow(ctx, run.Row.FlowID)
}

func (r runResolver) FlowVersion(ctx context.Context, run *model.Run) (int32, error) {
	n, err := r.load(ctx).numbers.Load(ctx, run.Row.FlowVersionID)
	return int32(n), err
}

func (r runResolver) FlowLink(ctx context.Context, run *model.Run) (*model.FlowLink, error) {
	return r.flowLink(ctx, run.Row.FlowLinkID)
}

func (r runResolver) Event(ctx context.Context, run *model.Run) (*model.Event, error) {
	return r.event(ctx, run.Row.EventID)
}

func (r runResolver) Steps(ctx context.Context, run *model.Run) ([]*model.RunStep, error) {
	if run.Steps != nil {
		return run.Steps, nil
	}
	return many(ctx, r.load(ctx).steps, run.Row.ID, sure(r.apps.Step))
}

func (r runResolver) Cause(ctx context.Context, run *model.Run) (*model.Effect, error) {
	return r.effect(ctx, run.Row.EchoOf)
}

func (r runResolver) Mapping(ctx context.Context, run *model.Run) (*model.Mapping, error) {
	return r.mapping(ctx, run.Row.MappingID)
}

func (r mutationResolver) CancelRun(ctx context.Context, in model.CancelRunInput) (*model.CancelRunPayload, error) {
	run, problems, err := r.steer(ctx, in.ID, r.engine.Cancel)
	return &model.CancelRunPayload{Run: run, UserErrors: problems}, err
}

func (r mutationResolver) RetryRun(ctx context.Context, in model.RetryRunInput) (*model.RetryRunPayload, error) {
	how := r.engine.Retry
	if given(in.From) == model.RetryFromStart {
		how = r.engine.Restart
	}
	run, problems, err := r.steer(ctx, in.ID, how)
	return &model.RetryRunPayload{Run: run, UserErrors: problems}, err
}

// steer changes the course of a run. One that is in no state for it is shown as it is, beside the reason.
func (r mutationResolver) steer(ctx context.Context, id string, how func(ctx context.Context, tx db.Tx, org, id db.ID) (db.Run, error)) (*model.Run, []*flow.Problem, error) {
	done, err := r.do(ctx, model.RunID, id, func(ctx context.Context, tx db.Tx, org, id db.ID) error {
		_, err := how(ctx, tx, org, id)
		return err
	})
	if len(done.Problems) > 0 && done.Problems[0].Code == flow.CodeState {
		done.ID = model.RunID.Find(id)
	}
	return made(ctx, r.run)(done, err)
}
