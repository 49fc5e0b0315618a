package graph

import (
	"context"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

func (r *Resolvers) replay(ctx context.Context, id db.ID) (*model.Replay, error) {
	return one(ctx, r.load(ctx).replays, id, model.NewReplay)
}

func (r mutationResolver) ReplayRuns(ctx context.Context, in model.ReplayRunsInput) (*model.ReplayRunsPayload, error) {
	out := &model.ReplayRunsPayload{}
	done, err := r.way(in.DryRun)(ctx, model.ReplayID, func(ctx context.Context, tx db.Tx, v auth.Viewer) (db.ID, error) {
		f, err := replayOf(in.Filter)
		if err != nil {
			return db.ID{}, err
		}
		if given(in.DryRun) {
			n, err := r.engine.CountReplay(ctx, tx, v.Org, f)
			out.Matched = new(int32(n))
			return db.ID{}, err
		}
		rp, err := r.engine.StartReplay(ctx, tx, v.Org, f, in.Expected)
		if err == nil {
			out.Matched = new(int32(rp.Matched))
		}
		return rp.ID, err
	})
	out.Replay, out.UserErrors, err = made(ctx, r.replay)(done, err)
	return out, err
}

func (r mutationResolver) CancelReplay(ctx context.Context, in model.CancelReplayInput) (*model.CancelReplayPayload, error) {
	replay, problems, err := made(ctx, r.replay)(r.do(ctx, model.ReplayID, in.ID, r.engine.CancelReplay))
	return &model.CancelReplayPayload{Replay: replay, UserErrors: problems}, err
}

// replayOf is which runs are meant, in the database's terms.
func replayOf(in *model.ReplayFilter) (db.ReplayFilter, error) {
	f := db.ReplayFilter{RunFilter: db.RunFilter{
		Flow: model.FlowID.Narrow(in.FlowID), Link: model.FlowLinkID.Narrow(in.FlowLinkID), Connection: model.ConnectionID.Narrow(in.ConnectionID),
		Event: model.EventID.Narrow(in.EventID), Mapping: model.MappingID.Narrow(in.MappingID), State: string(given(in.State)),
	}, Since: given(in.Since), Until: given(in.Until)}
	for _, id := range in.RunIds {
		f.Runs = append(f.Runs, model.RunID.Find(id))
	}
	wrong := func(code, message string, field ...string) error {
		return flow.Problems{{Field: append([]string{"filter"}, field...), Code: code, Message: message}}
	}
	switch {
	case in.RunIds != nil && (len(f.Runs) == 0 || len(f.Runs) > maxPage):
		return f, wrong(flow.CodeInvalid, "Name 1 to 100 runs, or say by the other fields which are meant.", "runIds")
	case f.State != "" && f.State != flow.Succeeded && f.State != flow.Failed && f.State != flow.Cancelled:
		return f, wrong(flow.CodeInvalid, "Only runs that SUCCEEDED, FAILED or were CANCELLED can be replayed.", "state")
	case f.RunFilter == db.RunFilter{} && len(f.Runs) == 0 && f.Since.IsZero() && f.Until.IsZero():
		return f, wrong(flow.CodeRequired, "Say which runs are meant: at least one field is needed.")
	}
	return f, nil
}
