package jobs

import (
	"context"
	"time"

	"tieline/db"
	"tieline/jobs/flow"
)

// sweepLimit bounds one look at each table, and so the transaction.
const sweepLimit = 500

// sweeps looks for what is due until ctx ends. Every worker process does: they skip what another has in hand.
func (j *Jobs) sweeps(ctx context.Context) {
	tick := time.NewTicker(j.cfg.SweepEvery)
	defer tick.Stop()
	var pruned time.Time
	for {
		if now := time.Now(); now.Sub(pruned) > pruneEvery {
			pruned = now
			if err := j.prune(ctx, now); err != nil && ctx.Err() == nil {
				j.cfg.Log.ErrorContext(ctx, "pruning failed", "error", err)
			}
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = j.sweepOnce(ctx); err != nil && ctx.Err() == nil {
				j.cfg.Log.ErrorContext(ctx, "sweeping failed", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sweepOnce gives workers what is due or was left behind: runs whose wait is over or whose worker died, events that were
// not dispatched, connections to be read. more says that there may be more of it.
func (j *Jobs) sweepOnce(ctx context.Context) (more bool, err error) {
	err = j.cfg.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		runs, err := db.SweepRuns(ctx, tx, sweepLimit)
		if err != nil {
			return err
		}
		events, err := db.SweepEvents(ctx, tx, sweepLimit)
		if err != nil {
			return err
		}
		conns, err := db.SweepCursors(ctx, tx, sweepLimit)
		if err != nil {
			return err
		}
		var tasks []flow.Task
		for _, r := range runs {
			tasks = append(tasks, flow.Task{Kind: flow.Activate, Org: r.OrgID, ID: r.ID})
		}
		for _, e := range events {
			tasks = append(tasks, flow.Task{Kind: flow.Dispatch, Org: e.OrgID, ID: e.ID})
		}
		for _, c := range conns {
			tasks = append(tasks, flow.Task{Kind: flow.Care, Org: c.OrgID, ID: c.ID})
		}
		more = len(runs) == sweepLimit || len(events) == sweepLimit
		return j.Add(ctx, tx, tasks...)
	})
	return more && err == nil, err
}
