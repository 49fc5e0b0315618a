package jobs

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"tieline/db"
	"tieline/jobs/flow"
)

type replayArgs struct {
	Org    db.ID `json:"org"`
	Replay db.ID `json:"replay"`
}

func (replayArgs) Kind() string { return string(flow.Replay) }

func (replayArgs) InsertOpts() river.InsertOpts { return river.InsertOpts{Queue: queueCare} }

type replay struct {
	river.WorkerDefaults[replayArgs]
	engine *flow.Engine
}

// Timeout is none: a turn is bounded by the engine.
func (*replay) Timeout(*river.Job[replayArgs]) time.Duration { return -1 }

// Work goes on with a replay of many runs. What it leaves undone stays due, and the sweeper brings it back.
func (w *replay) Work(ctx context.Context, job *river.Job[replayArgs]) error {
	return again(ctx, func() error { return w.engine.Replay(ctx, job.Args.Org, job.Args.Replay) })
}
