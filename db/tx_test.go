package db_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"tieline/db"
	"tieline/db/dbtest"
	"tieline/db/migrations"
)

type errand struct {
	N int `json:"n" river:"unique"`
}

func (errand) Kind() string { return "errand" }

var once = &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}

var errOops = errors.New("oops")

type fixture struct {
	*db.DB
	river *river.Client[pgx.Tx]
}

// open makes a database with a table "note", and a River client that works nothing unless told how.
func open(t *testing.T, work func(context.Context, *db.DB, *river.Job[errand]) error) fixture {
	t.Helper()
	d := dbtest.New(t)
	if _, err := d.Pool.Exec(t.Context(), "CREATE TABLE note (text text CONSTRAINT note_text UNIQUE)"); err != nil {
		t.Fatal(err)
	}
	cfg := &river.Config{Schema: migrations.RiverSchema, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Workers: river.NewWorkers()}
	river.AddWorker(cfg.Workers, river.WorkFunc(func(ctx context.Context, job *river.Job[errand]) error { return work(ctx, d, job) }))
	if work != nil {
		cfg.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}}
		cfg.FetchPollInterval, cfg.FetchCooldown = 50*time.Millisecond, 10*time.Millisecond
	}
	client, err := river.NewClient(riverpgxv5.New(d.Pool), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		back := make(chan struct{})
		go func() { d.Pool.Close(); close(back) }() // it waits for all connections, the last of which may be rolled back just now
		select {
		case <-back:
		case <-time.After(10 * time.Second):
			t.Errorf("%d connections kept", d.Pool.Stat().AcquiredConns())
		}
	})
	return fixture{d, client}
}

func (f fixture) note(ctx context.Context, tx db.Tx, text string) error {
	_, err := tx.NewRaw("INSERT INTO note VALUES (?)", text).Exec(ctx)
	return err
}

func (f fixture) add(ctx context.Context, tx db.Tx, n int, opts *river.InsertOpts) (res *rivertype.JobInsertResult, err error) {
	err = tx.Pgx(func(p pgx.Tx) error {
		res, err = f.river.InsertTx(ctx, p, errand{n}, opts)
		return err
	})
	return res, err
}

// wantRows fails unless there are that many notes and jobs.
func (f fixture) wantRows(t *testing.T, notes, jobs int) {
	t.Helper()
	var n, j int
	err := f.NewRaw("SELECT (SELECT count(*) FROM note), (SELECT count(*) FROM river.river_job)").Scan(t.Context(), &n, &j)
	if err != nil || n != notes || j != jobs {
		t.Errorf("%d notes and %d jobs (%v), want %d and %d", n, j, err, notes, jobs)
	}
}

func TestRowsAndJobsCommitTogether(t *testing.T) {
	t.Parallel()
	f := open(t, nil)
	both := func(end error) func(context.Context, db.Tx) error {
		return func(ctx context.Context, tx db.Tx) error {
			if err := f.note(ctx, tx, "before"); err != nil {
				return err
			}
			if _, err := f.add(ctx, tx, 1, nil); err != nil {
				return err
			}
			return errors.Join(f.note(ctx, tx, "after"), end)
		}
	}
	if err := f.InTx(t.Context(), both(errOops)); !errors.Is(err, errOops) {
		t.Errorf("InTx: %v, want fn's error", err)
	}
	f.wantRows(t, 0, 0)
	if err := f.InTx(t.Context(), both(nil)); err != nil {
		t.Error(err)
	}
	f.wantRows(t, 2, 1)
}

func TestPanicRollsBack(t *testing.T) {
	t.Parallel()
	f := open(t, nil)
	ends := map[string]func(db.Tx){
		"panic":        func(db.Tx) { panic(errOops) },
		"lent, panic":  func(tx db.Tx) { tx.Pgx(func(pgx.Tx) error { panic(errOops) }) },
		"Goexit":       func(db.Tx) { runtime.Goexit() },
		"lent, Goexit": func(tx db.Tx) { tx.Pgx(func(pgx.Tx) error { runtime.Goexit(); return nil }) },
		"savepoint": func(tx db.Tx) {
			tx.Savepoint(t.Context(), func(_ context.Context, tx db.Tx) error {
				return tx.Pgx(func(pgx.Tx) error { panic(errOops) })
			})
		},
	}
	for name, end := range ends {
		var ended sync.WaitGroup
		ended.Add(1)
		go func() {
			defer ended.Done()
			defer func() {
				if r := recover(); r != errOops && !strings.HasSuffix(name, "Goexit") {
					t.Errorf("%s: recovered %v", name, r)
				}
			}()
			f.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
				if _, err := f.add(ctx, tx, 1, nil); err != nil {
					t.Error(err)
				}
				end(tx)
				return nil
			})
			t.Errorf("%s: InTx returned", name)
		}()
		ended.Wait()
		f.wantRows(t, 0, 0)
	}
}

func TestEndOfContextRollsBack(t *testing.T) {
	t.Parallel()
	f := open(t, nil)
	for range 100 { // database/sql rolls back from its own goroutine, anywhere in what goes on here
		ctx, cancel := context.WithCancel(t.Context())
		err := f.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
			if _, err := f.add(ctx, tx, 1, nil); err != nil {
				return err
			}
			go cancel()
			for {
				_, err := f.add(context.WithoutCancel(ctx), tx, 2, nil) // too late, or just in time: never outside
				if errors.Is(err, sql.ErrTxDone) {
					return nil
				}
				if err != nil {
					return err
				}
			}
		})
		if err == nil {
			t.Error("a cancelled transaction committed")
		}
	}
	f.wantRows(t, 0, 0)
}

func TestLateUseIsRefused(t *testing.T) {
	t.Parallel()
	f := open(t, nil)
	var late db.Tx
	if err := f.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error { late = tx; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := f.add(t.Context(), late, 1, nil); err == nil {
		t.Error("a job was added to an ended transaction")
	}
	err := f.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if err := tx.Tx.Rollback(); err != nil {
			return err
		}
		_, err := f.add(ctx, tx, 1, nil)
		return err
	})
	if !errors.Is(err, sql.ErrTxDone) {
		t.Errorf("after a rollback inside: %v, want sql.ErrTxDone", err)
	}
	f.wantRows(t, 0, 0)
}

func TestUniqueSkip(t *testing.T) {
	t.Parallel()
	f := open(t, nil)
	err := f.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		for i, skipped := range []bool{false, true} {
			res, err := f.add(ctx, tx, 7, once)
			if err != nil {
				return err
			}
			if res.UniqueSkippedAsDuplicate != skipped {
				t.Errorf("insert %d skipped: %v", i, !skipped)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	f.wantRows(t, 0, 1)
}

func TestInsertManyFast(t *testing.T) {
	t.Parallel()
	f := open(t, nil)
	add := func(ctx context.Context, tx db.Tx) error {
		return tx.Pgx(func(p pgx.Tx) error {
			n, err := f.river.InsertManyFastTx(ctx, p, []river.InsertManyParams{{Args: errand{1}}, {Args: errand{2}}})
			if n != 2 {
				t.Errorf("%d inserted, want 2", n)
			}
			return err
		})
	}
	if err := f.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error { return errors.Join(add(ctx, tx), errOops) }); !errors.Is(err, errOops) {
		t.Error(err)
	}
	f.wantRows(t, 0, 0)
	if err := f.InTx(t.Context(), add); err != nil {
		t.Error(err)
	}
	f.wantRows(t, 0, 2)
}

func TestSavepoints(t *testing.T) {
	t.Parallel()
	f := open(t, nil)
	err := f.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if _, err := f.add(ctx, tx, 1, nil); err != nil {
			return err
		}
		err := tx.Savepoint(ctx, func(ctx context.Context, tx db.Tx) error {
			if _, err := f.add(ctx, tx, 2, nil); err != nil {
				return err
			}
			return errors.Join(f.note(ctx, tx, "twice"), f.note(ctx, tx, "twice"))
		})
		if !db.IsUnique(err) || !db.IsUnique(err, "other", "note_text") || db.IsUnique(err, "other") || db.Retryable(err) {
			t.Errorf("savepoint: %v, want a violation of note_text", err)
		}
		return tx.Pgx(func(p pgx.Tx) error { // pgx's own, nested
			outer, err := p.Begin(ctx)
			if err != nil {
				return err
			}
			for _, keep := range []bool{true, false} {
				inner, err := outer.Begin(ctx)
				if err != nil {
					return err
				}
				if _, err := f.river.InsertTx(ctx, inner, errand{3}, nil); err != nil {
					return err
				}
				end := inner.Rollback
				if keep {
					end = inner.Commit
				}
				if err := end(ctx); err != nil {
					return err
				}
				if err := inner.Rollback(ctx); !errors.Is(err, pgx.ErrTxClosed) {
					t.Errorf("ended twice: %v", err)
				}
			}
			if p.Commit(ctx) == nil || p.Rollback(ctx) == nil {
				t.Error("the lent transaction could be ended")
			}
			return outer.Commit(ctx)
		})
	})
	if err != nil {
		t.Error(err)
	}
	f.wantRows(t, 0, 2)
}

func TestAbortedTransactionDoesNotCommit(t *testing.T) {
	t.Parallel()
	f := open(t, nil)
	err := f.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		tx.Pgx(func(p pgx.Tx) error { _, err := p.Exec(ctx, "SELECT 1/0"); return err })
		if _, err := f.add(ctx, tx, 1, nil); !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("in an aborted transaction: %v, want sql.ErrTxDone", err)
		}
		return nil // its errors swallowed
	})
	if err == nil {
		t.Error("no error from the commit of an aborted transaction")
	}
}

func TestWorkersEndJobsInTheirTransaction(t *testing.T) {
	t.Parallel()
	f := open(t, func(ctx context.Context, d *db.DB, job *river.Job[errand]) error {
		return d.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
			if _, err := tx.NewRaw("INSERT INTO note VALUES (?)", "worked").Exec(ctx); err != nil {
				return err
			}
			return tx.Pgx(func(p pgx.Tx) error {
				_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, p, job)
				return err
			})
		})
	})
	done, cancel := f.river.Subscribe(river.EventKindJobCompleted, river.EventKindJobFailed)
	defer cancel()
	if err := f.river.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer f.river.Stop(context.WithoutCancel(t.Context()))
	var later *rivertype.JobInsertResult
	err := f.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		if _, err = f.add(ctx, tx, 1, nil); err != nil {
			return err
		}
		later, err = f.add(ctx, tx, 2, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-done:
		if e.Kind != river.EventKindJobCompleted {
			t.Errorf("%s: %v", e.Kind, e.Job.Errors)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the job was not worked")
	}
	f.wantRows(t, 1, 2)

	cancelJob := func(end error) rivertype.JobState {
		f.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			return errors.Join(end, tx.Pgx(func(p pgx.Tx) error { _, err := f.river.JobCancelTx(ctx, p, later.Job.ID); return err }))
		})
		job, err := f.river.JobGet(t.Context(), later.Job.ID)
		if err != nil {
			t.Fatal(err)
		}
		return job.State
	}
	if s := cancelJob(errOops); s != rivertype.JobStateScheduled {
		t.Errorf("%s after a rolled back cancel", s)
	}
	if s := cancelJob(nil); s != rivertype.JobStateCancelled {
		t.Errorf("%s after a cancel", s)
	}
}

func TestRetryable(t *testing.T) {
	t.Parallel()
	f := open(t, nil)
	if _, err := f.Pool.Exec(t.Context(), "INSERT INTO note VALUES ('a')"); err != nil {
		t.Fatal(err)
	}
	// Both have read before either writes, so the second to write cannot be put in an order.
	var read, wrote sync.WaitGroup
	read.Add(2)
	errs := make([]error, 2)
	for i := range errs {
		wrote.Go(func() {
			errs[i] = f.InTxOpts(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead}, func(ctx context.Context, tx db.Tx) error {
				var text string
				err := tx.NewRaw("SELECT text FROM note").Scan(ctx, &text)
				read.Done()
				read.Wait()
				if err != nil {
					return err
				}
				_, err = tx.NewRaw("UPDATE note SET text = text || ?", text).Exec(ctx)
				return err
			})
		})
	}
	wrote.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("%v and %v, want one to fail", errs[0], errs[1])
	}
	if err := errors.Join(errs...); !db.Retryable(err) || db.IsUnique(err) {
		t.Errorf("%v is not retryable", err)
	}
}

// TestOtherQueryModes runs the bridge on a pool in pgx's default mode, prepared statements and all.
func TestOtherQueryModes(t *testing.T) {
	t.Parallel()
	d, err := db.Open(t.Context(), dbtest.URL(t), func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement })
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	client, err := river.NewClient(riverpgxv5.New(d.Pool), &river.Config{Schema: migrations.RiverSchema})
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{d, client}
	for range 3 {
		err := f.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error { _, err := f.add(ctx, tx, 1, once); return err })
		if err != nil {
			t.Error(err)
		}
	}
}
