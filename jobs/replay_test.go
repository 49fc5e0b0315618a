package jobs

import (
	"context"
	"testing"

	"tieline/db"
	"tieline/jobs/flow"
)

// TestReplayJob: a replay whose job is lost is gone on with by the sweeper, by two processes, and makes each run again once.
func TestReplayJob(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.link(t)
	const n = 5
	for i := range n {
		w.customer(t, i, true)
	}
	first, second := w.start(t), w.start(t)
	w.until(t, "the runs", "SELECT count(*) = ? AND bool_and(state = 'SUCCEEDED') FROM runs", n)
	for i, lost := range []bool{false, true} {
		queue := w.engine.Queue
		if lost {
			w.engine.Queue = nowhere{}
		}
		var rp db.Replay
		err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
			if rp, err = w.engine.StartReplay(ctx, tx, w.org, db.ReplayFilter{RunFilter: db.RunFilter{State: flow.Succeeded}}, nil); err == nil && lost {
				_, err = tx.NewRaw("UPDATE replays SET due_at = now() WHERE id = ?", rp.ID).Exec(ctx)
			}
			return err
		})
		if w.engine.Queue = queue; err != nil {
			t.Fatal(err)
		}
		if rp.Matched != n {
			t.Errorf("%d matched", rp.Matched)
		}
		w.until(t, "the end of the replay", "SELECT finished_at IS NOT NULL AND made = ? AND due_at IS NULL FROM replays WHERE id = ?", n, rp.ID)
		w.until(t, "the runs that it made", "SELECT count(*) = ? AND bool_and(state = 'SUCCEEDED') AND max(replay) = ? FROM runs", (i+2)*n, i+1)
	}
	if got := len(w.togai.Customers()); got != n {
		t.Errorf("%d customers", got)
	}
	for _, j := range []*Jobs{first, second} {
		if err := j.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// nowhere is a queue that loses what it is given.
type nowhere struct{}

func (nowhere) Add(context.Context, db.Tx, ...flow.Task) error { return nil }
