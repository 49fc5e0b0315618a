package jobs

import (
	"context"
	"errors"
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

// Timeout is none: each call is bounded by its connector, and a turn of reading by the engine.
func (*care) Timeout(*river.Job[careArgs]) time.Duration { return -1 }

// Work looks after a connection: its endpoint at the vendor, and what webhooks may have missed. What it leaves undone stays
// due, and the sweeper brings it back.
func (w *care) Work(ctx context.Context, job *river.Job[careArgs]) error {
	a := job.Args
	return errors.Join(w.engine.Care(ctx, a.Org, a.Connection), w.engine.Read(ctx, a.Org, a.Connection, w.door))
}
