package jobs

import (
	"context"

	"github.com/riverqueue/river"

	"tieline/db"
	"tieline/jobs/flow"
)

type dispatchArgs struct {
	Org   db.ID `json:"org"`
	Event db.ID `json:"event"`
}

func (dispatchArgs) Kind() string { return string(flow.Dispatch) }

func (dispatchArgs) InsertOpts() river.InsertOpts { return river.InsertOpts{Queue: queueEvents} }

type dispatch struct {
	river.WorkerDefaults[dispatchArgs]
	engine *flow.Engine
}

// Work turns an event into runs. One that fails is due again, and the sweeper brings it back.
func (w *dispatch) Work(ctx context.Context, job *river.Job[dispatchArgs]) error {
	return again(ctx, func() error { return w.engine.Dispatch(ctx, job.Args.Org, job.Args.Event) })
}
