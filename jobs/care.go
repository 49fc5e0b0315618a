package jobs

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"tieline/db"
	"tieline/jobs/flow"
)

type careArgs struct {
	Org        db.ID `json:"org"`
	Connection db.ID `json:"connection"`
}

func (careArgs) Kind() string { return string(flow.Care) }

func (careArgs) InsertOpts() river.InsertOpts { return river.InsertOpts{Queue: queueCare} }

type care struct {
	river.WorkerDefaults[careArgs]
	engine *flow.Engine
	door   flow.Door
}

// Timeout is none: a first walk through a large account takes as long as the vendor's budget makes it, page by page
// under a lease.
func (*care) Timeout(*river.Job[careArgs]) time.Duration { return -1 }

// Work looks after a connection. What it leaves undone stays due, and the sweeper brings it back.
func (w *care) Work(ctx context.Context, job *river.Job[careArgs]) error {
	return w.engine.Read(ctx, job.Args.Org, job.Args.Connection, w.door)
}
