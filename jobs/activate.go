package jobs

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"tieline/db"
	"tieline/jobs/flow"
)

type activateArgs struct {
	Org db.ID `json:"org"`
	Run db.ID `json:"run"`
}

func (activateArgs) Kind() string { return string(flow.Activate) }

func (activateArgs) InsertOpts() river.InsertOpts { return river.InsertOpts{Queue: queueRuns} }

type activate struct {
	river.WorkerDefaults[activateArgs]
	engine *flow.Engine
	log    *slog.Logger
}

// Timeout is none: the lease says how long a worker has the run, and each call is bounded by its connector.
func (*activate) Timeout(*river.Job[activateArgs]) time.Duration { return -1 }

// Work is one activation of a run. River may call it twice or late; the lease and its fence say who counts.
func (w *activate) Work(ctx context.Context, job *river.Job[activateArgs]) error {
	a, err := w.engine.Lease(ctx, job.Args.Org, job.Args.Run)
	if err != nil || a == nil {
		return err
	}
	return carry(ctx, w.engine, w.log, a, func(tctx context.Context, tx db.Tx) error {
		// It wants the worker's context, whose end must not spoil what others have in the transaction.
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(tctx, cancel)()
		return tx.Pgx(func(p pgx.Tx) error {
			_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, p, job)
			if errors.Is(err, rivertype.ErrNotFound) { // an operator deleted it
				return nil
			}
			return err
		})
	})
}

// carry takes a leased run as far as it goes now. What done does is committed with where the run goes.
func carry(ctx context.Context, e *flow.Engine, log *slog.Logger, a *flow.Activation, done func(context.Context, db.Tx) error) error {
	leased, release := a.Hold(ctx)
	defer release()
	next, err := e.Advance(leased, a)
	release() // a lease renewed after Finish would move the run's due_at
	if err == nil {
		err = finish(ctx, e, a, next, done)
	}
	if err != nil && (flow.Lost(err) || flow.Lost(context.Cause(leased))) { // nothing more may be written here
		log.InfoContext(ctx, "a run was taken over", "org", a.Run().OrgID, "run", a.Run().ID)
		return nil
	}
	if err != nil && ctx.Err() != nil { // the process stops: another takes the run up at once
		return errors.Join(err, e.Yield(context.WithoutCancel(ctx), a))
	}
	return err
}

// finish commits where the run goes. What is known by now is worth keeping, so a process that stops still commits it.
func finish(ctx context.Context, e *flow.Engine, a *flow.Activation, next flow.Next, done func(context.Context, db.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
	defer cancel()
	return again(ctx, func() error { return e.Finish(ctx, a, next, done) })
}

// again repeats a transaction that a deadlock or a serialization failure ended.
func again(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || !db.Retryable(err) || try == finishTries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(time.Duration(try) * 10 * time.Millisecond)): // so that the two do not meet again
		}
	}
}
