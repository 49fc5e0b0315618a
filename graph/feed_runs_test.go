package graph

import (
	"context"
	"testing"

	"tieline/db"
	"tieline/graph/model"
)

// The last follower leaves, and with it what was kept of runs, while they are being read.
func TestTheLastFollowerLeavesDuringARead(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	f := s.feed(nil)
	last, err := f.subscribe(t.Context(), s.org, db.FeedFilter{}, nil)
	check(t, err)
	read := make(chan error)
	check(t, s.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if _, err := tx.ExecContext(ctx, "LOCK TABLE runs IN ACCESS EXCLUSIVE MODE"); err != nil {
			return err
		}
		go func() {
			read <- f.runs.load(t.Context(), s.org, newsOf([]db.Change{{OrgID: s.org, RunID: db.NewID()}}))
		}()
		eventually(t, "the read is under way", func() bool { return s.runQueries.Load() > 0 })
		last.leave()
		return nil
	}))
	if err := <-read; err != nil {
		t.Error(err)
	}
}

// What panics in a goroutine of ours ends a request, and not the process.
func TestNodesSurvivesAPanic(t *testing.T) {
	t.Parallel()
	r := queryResolver{&Resolvers{}} // has no loaders
	if _, err := r.Nodes(t.Context(), []string{model.RunID.Of(db.NewID())}); err == nil {
		t.Error("no error")
	}
}
