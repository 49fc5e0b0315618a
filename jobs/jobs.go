// Package jobs carries the engine's tasks on River: the kinds of job, the queue that adds them within transactions, a
// worker per kind, and the sweeper that brings back what a dead worker left. River executes; our rows keep time.
package jobs

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"tieline/db"
	"tieline/db/migrations"
	"tieline/jobs/flow"
)

// River's queues. They are apart, so that a flood of one kind of work leaves workers for the others.
const (
	queueRuns   = "runs"
	queueEvents = "events"
	queueCare   = "care"
)

const (
	// River notifies workers at most once per cooldown and process, when a job is inserted and not when it commits. A job
	// inserted within the cooldown of another and committed after that one was fetched waits for the poll, so both are short.
	fetchCooldown = 2 * time.Millisecond
	fetchPoll     = 250 * time.Millisecond

	sweepEvery   = time.Second
	softStop     = 10 * time.Second // for calls that are in the air; effects cut off are settled by whoever takes the run up
	keepFailed   = 24 * time.Hour   // of River's jobs: what went wrong is worth a look
	runWorkers   = 96
	sideWorkers  = 4 // for care; below the pool's size, as a worker in a transaction may want a second connection
	attempts     = 1 // the sweeper brings back what failed; River would do so in its own time
	finishWithin = 5 * time.Second
	finishTries  = 5
)

// Config is what Jobs are made of. DB and Engine are needed.
type Config struct {
	DB     *db.DB
	Engine *flow.Engine // its Queue becomes these Jobs
	Door   flow.Door    // what reading finds goes in here; not needed when InsertOnly
	Log    *slog.Logger // nil: no log

	Keep        Retention     // zero fields take DefaultRetention's
	InsertOnly  bool          // adds jobs and works none, for processes that only serve the API
	Workers     int           // runs begun, and runs gone on with, at once; 96 each unless given
	SideWorkers int           // connections looked after at once; 4 unless given
	SoftStop    time.Duration // how long Stop lets jobs finish; 10 s unless given
	SweepEvery  time.Duration // a second unless given
	FetchPoll   time.Duration // how late a job may start whose notification was lost; 250 ms unless given
}

// Jobs is a process's part in the work.
type Jobs struct {
	cfg   Config
	river *river.Client[pgx.Tx]

	mu    sync.Mutex
	sweep context.CancelFunc // nil while not started
	swept sync.WaitGroup
}

// New prepares Jobs and makes them the engine's queue. Start begins the work.
func New(cfg Config) (*Jobs, error) {
	switch {
	case cfg.DB == nil || cfg.Engine == nil:
		return nil, errors.New("jobs need a database and an engine")
	case cfg.Door == nil && !cfg.InsertOnly:
		return nil, errors.New("jobs need a door for what reading finds")
	}
	cfg.Workers, cfg.SideWorkers = cmp.Or(cfg.Workers, runWorkers), cmp.Or(cfg.SideWorkers, sideWorkers)
	cfg.Keep.complete()
	cfg.SoftStop, cfg.SweepEvery, cfg.FetchPoll = cmp.Or(cfg.SoftStop, softStop), cmp.Or(cfg.SweepEvery, sweepEvery), cmp.Or(cfg.FetchPoll, fetchPoll)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	j := &Jobs{cfg: cfg}
	client, err := river.NewClient(riverpgxv5.New(cfg.DB.Keyed), j.riverConfig())
	if err != nil {
		return nil, err
	}
	j.river = client
	cfg.Engine.Queue = j
	return j, nil
}

func (j *Jobs) riverConfig() *river.Config {
	c := &river.Config{
		Schema: migrations.RiverSchema, Logger: slog.New(warnings{j.cfg.Log.Handler()}), ErrorHandler: reporter{j.cfg.Log}, Workers: river.NewWorkers(),
		MaxAttempts: attempts, FetchCooldown: min(fetchCooldown, j.cfg.FetchPoll), FetchPollInterval: j.cfg.FetchPoll, SoftStopTimeout: j.cfg.SoftStop,
		CompletedJobRetentionPeriod: j.cfg.Keep.Jobs, CancelledJobRetentionPeriod: j.cfg.Keep.Jobs, DiscardedJobRetentionPeriod: max(keepFailed, j.cfg.Keep.Jobs),
	}
	river.AddWorker(c.Workers, &activate{engine: j.cfg.Engine, log: j.cfg.Log})
	river.AddWorker(c.Workers, &dispatch{engine: j.cfg.Engine, log: j.cfg.Log})
	river.AddWorker(c.Workers, &replay{engine: j.cfg.Engine})
	river.AddWorker(c.Workers, &care{engine: j.cfg.Engine, door: j.cfg.Door})
	if !j.cfg.InsertOnly {
		c.Queues = map[string]river.QueueConfig{
			queueRuns:   {MaxWorkers: j.cfg.Workers},
			queueEvents: {MaxWorkers: j.cfg.Workers},
			queueCare:   {MaxWorkers: j.cfg.SideWorkers},
		}
	}
	return c
}

// Start begins to work and to sweep, and returns. The end of ctx stops it as Stop does. Insert-only Jobs have nothing to start.
func (j *Jobs) Start(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cfg.InsertOnly || j.sweep != nil {
		return nil
	}
	if err := j.river.Start(ctx); err != nil {
		return err
	}
	ctx, j.sweep = context.WithCancel(ctx)
	j.swept.Go(func() { j.sweeps(ctx) })
	j.swept.Go(func() { j.prunes(ctx) })
	return nil
}

// Stop fetches no more jobs, lets those at work finish, and after SoftStop ends their contexts. It returns when they are
// done, or with ctx's error when that ends first. What was cut off is taken up by another process.
func (j *Jobs) Stop(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.sweep == nil {
		return nil
	}
	j.sweep()
	j.swept.Wait()
	if err := j.river.Stop(ctx); err != nil {
		return err
	}
	j.sweep = nil
	return nil
}

// warnings lets through what somebody should look at. River tells every few seconds how many jobs it had.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && w.Handler.Enabled(ctx, l)
}
func (w warnings) WithAttrs(a []slog.Attr) slog.Handler { return warnings{w.Handler.WithAttrs(a)} }
func (w warnings) WithGroup(g string) slog.Handler      { return warnings{w.Handler.WithGroup(g)} }

// reporter logs what jobs end with. They are not tried again: the rows they are about are swept.
type reporter struct{ log *slog.Logger }

func (r reporter) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	r.log.ErrorContext(ctx, "a job failed", "kind", job.Kind, "args", string(job.EncodedArgs), "error", err)
	return nil
}

func (r reporter) HandlePanic(ctx context.Context, job *rivertype.JobRow, panicked any, trace string) *river.ErrorHandlerResult {
	r.log.ErrorContext(ctx, "a job panicked", "kind", job.Kind, "args", string(job.EncodedArgs), "panic", panicked, "trace", trace)
	return nil
}
