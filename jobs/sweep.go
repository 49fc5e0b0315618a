package jobs

import (
	"context"
	"slices"
	"time"

	"tieline/db"
	"tieline/jobs/flow"
)

// sweepLimit bounds one look at each table, and so the transaction.
const sweepLimit = 500

// sweepLine is how many runs of one line are called forward at once: about what an account's budget takes in a second.
const sweepLine = 5

// sweeps looks for what is due until ctx ends. Every worker process does: they skip what another has in hand.
func (j *Jobs) sweeps(ctx context.Context) {
	tick := time.NewTicker(j.cfg.SweepEvery)
	defer tick.Stop()
	away := true // this process, or the database
	for {
		var err error
		if away { // webhooks may have been refused meanwhile
			err = db.AskAll(ctx, j.cfg.DB)
		}
		for more := err == nil; more && ctx.Err() == nil; {
			more, err = j.sweepOnce(ctx)
		}
		if err != nil && ctx.Err() == nil {
			j.cfg.Log.ErrorContext(ctx, "sweeping failed", "error", err)
		}
		away = err != nil && (away || !db.Retryable(err)) // a deadlock is no absence
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sweepOnce gives workers what is due or was left behind: runs whose wait is over or whose worker died, events that were
// not dispatched, schedules whose time has come, connections to be read or whose endpoint is to be looked at, replays that nobody goes on with, runs whose turn
// comes early because those before them are gone. more says that there may be more of it.
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
		cared, err := db.SweepCare(ctx, tx, sweepLimit)
		if err != nil {
			return err
		}
		replays, err := db.SweepReplays(ctx, tx, sweepLimit)
		if err != nil {
			return err
		}
		called, err := db.SweepLines(ctx, tx, sweepLine)
		if err != nil {
			return err
		}
		tasks, fired, err := j.cfg.Engine.Fire(ctx, tx, sweepLimit)
		if err != nil {
			return err
		}
		for _, r := range append(runs, called...) {
			tasks = append(tasks, flow.Task{Kind: flow.Activate, Org: r.OrgID, ID: r.ID})
		}
		for _, e := range events {
			tasks = append(tasks, flow.Task{Kind: flow.Dispatch, Org: e.OrgID, ID: e.ID})
		}
		for _, r := range replays {
			tasks = append(tasks, flow.Task{Kind: flow.Replay, Org: r.OrgID, ID: r.ID})
		}
		for _, c := range distinct(conns, cared) {
			tasks = append(tasks, flow.Task{Kind: flow.Care, Org: c.OrgID, ID: c.ID})
		}
		more = len(runs) == sweepLimit || len(events) == sweepLimit || fired == sweepLimit
		return j.Add(ctx, tx, tasks...)
	})
	return more && err == nil, err
}

// distinct are the connections of both lists, each once.
func distinct(a, b []db.Connection) []db.Connection {
	return append(a, slices.DeleteFunc(b, func(c db.Connection) bool {
		return slices.ContainsFunc(a, func(o db.Connection) bool { return o.ID == c.ID && o.OrgID == c.OrgID })
	})...)
}
