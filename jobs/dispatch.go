package jobs

import (
	"context"
	"log/slog"
	"time"

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
	log    *slog.Logger
}

// Timeout is none, as for an activation.
func (*dispatch) Timeout(*river.Job[dispatchArgs]) time.Duration { return -1 }

// Work turns an event into runs, and goes on with the first itself: a job less for each run, and nobody to wait for. One
// that fails is due again, and the sweeper brings it back. The job ends by itself: done again, it finds nothing to do.
func (w *dispatch) Work(ctx context.Context, job *river.Job[dispatchArgs]) error {
	var first *flow.Activation
	err := again(ctx, func() (err error) {
		first, err = w.engine.TakeUp(ctx, job.Args.Org, job.Args.Event)
		return err
	})
	if err != nil || first == nil {
		return err
	}
	return carry(ctx, w.engine, w.log, first, nil)
}
