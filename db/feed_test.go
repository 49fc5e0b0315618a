package db_test

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"tieline/db"
	"tieline/db/dbtest"
)

func addChange(t testing.TB, idb bun.IDB, c db.Change) db.Change {
	t.Helper()
	c.State = "RUNNING"
	if c.Source == "" {
		c.Source = "WEBHOOK"
	}
	if _, err := idb.NewInsert().Model(&c).Returning("id").Exec(t.Context()); err != nil {
		t.Error(err)
	}
	return c
}

func numberAll(t testing.TB, d *db.DB) {
	t.Helper()
	for more := true; more; {
		err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
			more, err = db.NumberChanges(ctx, tx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func changesAfter(t testing.TB, d *db.DB, pos int64) []db.Change {
	t.Helper()
	rows, err := db.ChangesAfter(t.Context(), d, pos, 1e6)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// Sixteen writers commit in another order than they wrote in, and sometimes not at all, while three number and one
// follows: what it saw is what the table says in the end, without a hole.
func TestFeedOrderUnderConcurrency(t *testing.T) {
	t.Parallel()
	const writers, rounds, atLeastOpen = 16, 25, 8
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	d, err := db.Open(t.Context(), dbtest.URL(t), db.MaxConns(writers+6))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })

	undo := errors.New("rolled back")
	written := make(chan chan error) // a writer that has written waits here for what its transaction ends with
	var kept sync.Map                // ids of rows that were committed
	var work, watch sync.WaitGroup
	tickets := make(chan struct{}, writers*rounds)
	for range cap(tickets) {
		tickets <- struct{}{}
	}
	close(tickets)
	for range writers {
		dice := rand.New(rand.NewPCG(dice.Uint64(), 0))
		work.Go(func() {
			run, version := db.NewID(), int64(0)
			for range tickets {
				var ids []int64
				err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
					for range 1 + dice.IntN(3) {
						version++
						ids = append(ids, addChange(t, tx, db.Change{OrgID: run, RunID: run, Version: version}).ID)
					}
					end := make(chan error)
					written <- end
					return <-end
				})
				if err != nil && err != undo {
					t.Error(err)
				}
				for _, id := range ids {
					if err == nil {
						kept.Store(id, true)
					}
				}
			}
		})
	}
	done := make(chan struct{})
	for range 3 {
		watch.Go(func() {
			for last := false; !last; {
				select {
				case <-done:
					last = true
				default:
				}
				numberAll(t, d)
			}
		})
	}
	var seen []db.Change
	watch.Go(func() {
		for last := false; !last; {
			select {
			case <-done:
				numberAll(t, d)
				last = true
			default:
			}
			rows, err := db.ChangesAfter(t.Context(), d, int64(len(seen)), 50)
			if err != nil {
				t.Error(err)
				return
			}
			last = last && len(rows) == 0
			seen = append(seen, rows...)
		}
	})
	// Transactions end in a random order, with others open that wrote before and after.
	var open []chan error
	for ended := 0; ended < writers*rounds; {
		if len(open) < min(atLeastOpen, writers*rounds-ended) {
			open = append(open, <-written)
			continue
		}
		i := dice.IntN(len(open))
		end := open[i]
		open = slices.Delete(open, i, i+1)
		if ended++; dice.IntN(10) == 0 {
			end <- undo
		} else {
			end <- nil
		}
	}
	work.Wait()
	close(done)
	watch.Wait()
	if t.Failed() {
		return
	}

	table := changesAfter(t, d, 0)
	if len(seen) != len(table) {
		t.Fatalf("the reader saw %d, the table has %d", len(seen), len(table))
	}
	version, disorder := map[db.ID]int64{}, 0
	for i, c := range table {
		if c.Pos != int64(i+1) || seen[i].ID != c.ID || seen[i].Pos != c.Pos {
			t.Fatalf("at %d: the table has %d at %d, the reader saw %d at %d", i+1, c.ID, c.Pos, seen[i].ID, seen[i].Pos)
		}
		if _, ok := kept.LoadAndDelete(c.ID); !ok {
			t.Fatalf("row %d was not committed, or comes twice", c.ID)
		}
		if version[c.RunID] >= c.Version {
			t.Fatalf("run %s goes from version %d to %d", c.RunID, version[c.RunID], c.Version)
		}
		version[c.RunID] = c.Version
		if i > 0 && table[i-1].ID > c.ID {
			disorder++
		}
	}
	kept.Range(func(id, _ any) bool {
		t.Errorf("row %v has no place", id)
		return true
	})
	if disorder == 0 {
		t.Error("all were committed in the order they were written in: the test proves nothing")
	}
}

func TestNumberingNeedsReadCommitted(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	err := d.InTxOpts(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead}, func(ctx context.Context, tx db.Tx) error {
		_, err := db.NumberChanges(ctx, tx)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "repeatable read") {
		t.Errorf("%v", err)
	}
}

// A process that stands still in the middle of numbering holds the others up for seconds, not for ever.
func TestFrozenNumbererIsPassed(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	addChange(t, d, db.Change{})
	holds, thaw, late := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		late <- d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, err := db.NumberChanges(ctx, tx)
			close(holds)
			<-thaw
			return err
		})
	}()
	<-holds
	begin := time.Now()
	numberAll(t, d)
	if took := time.Since(begin); took < time.Second || took > 20*time.Second {
		t.Errorf("the next waited %v", took)
	}
	close(thaw)
	if err := <-late; err == nil {
		t.Error("the frozen one committed")
	}
	if rows := changesAfter(t, d, 0); len(rows) != 1 || rows[0].Pos != 1 {
		t.Errorf("%+v", rows)
	}
}

func TestChangesOf(t *testing.T) {
	t.Parallel()
	d, ctx := dbtest.New(t), t.Context()
	org, run, flow, link, con := db.NewID(), db.NewID(), db.NewID(), db.NewID(), db.NewID()
	addChange(t, d, db.Change{OrgID: org})
	addChange(t, d, db.Change{OrgID: db.NewID(), RunID: run, FlowID: flow, FlowLinkID: link, ConnectionID: con, Source: "MANUAL"}) // a stranger's
	addChange(t, d, db.Change{OrgID: org, RunID: run})
	addChange(t, d, db.Change{OrgID: org, FlowID: flow})
	addChange(t, d, db.Change{OrgID: org, FlowLinkID: link})
	addChange(t, d, db.Change{OrgID: org, ConnectionID: con})
	addChange(t, d, db.Change{OrgID: org, Source: "MANUAL"})
	numberAll(t, d)
	for _, c := range []struct {
		filter      db.FeedFilter
		after, upTo int64
		limit       int
		want        []int64
	}{
		{db.FeedFilter{}, 0, 9, 9, []int64{1, 3, 4, 5, 6, 7}},
		{db.FeedFilter{}, 3, 6, 9, []int64{4, 5, 6}},
		{db.FeedFilter{}, 0, 9, 2, []int64{1, 3}},
		{db.FeedFilter{Run: run}, 0, 9, 9, []int64{3}},
		{db.FeedFilter{Flow: flow}, 0, 9, 9, []int64{4}},
		{db.FeedFilter{Link: link}, 0, 9, 9, []int64{5}},
		{db.FeedFilter{Connection: con}, 0, 9, 9, []int64{6}},
		{db.FeedFilter{Source: "MANUAL"}, 0, 9, 9, []int64{7}},
		{db.FeedFilter{Run: run, Flow: flow}, 0, 9, 9, nil},
	} {
		rows, err := db.ChangesOf(ctx, d, org, c.filter, c.after, c.upTo, c.limit)
		var got []int64
		for i := range rows {
			got = append(got, rows[i].Pos)
			if !c.filter.Match(&rows[i]) {
				t.Errorf("%+v finds in the table what it does not match: %+v", c.filter, rows[i])
			}
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v after %d up to %d: %v %v, want %v", c.filter, c.after, c.upTo, got, err, c.want)
		}
		for _, other := range changesAfter(t, d, 0) {
			if matched := other.OrgID == org && c.filter.Match(&other) && other.Pos > c.after && other.Pos <= c.upTo; matched != slices.Contains(c.want, other.Pos) && c.limit == 9 {
				t.Errorf("%+v and row %d: matches %v", c.filter, other.Pos, matched)
			}
		}
	}
}

func TestPruneChanges(t *testing.T) {
	t.Parallel()
	d, ctx := dbtest.New(t), t.Context()
	head := func() (oldest, newest int64) {
		t.Helper()
		oldest, newest, err := db.FeedHead(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		return oldest, newest
	}
	if oldest, newest := head(); oldest != 0 || newest != 0 {
		t.Errorf("an empty feed begins at %d and ends at %d", oldest, newest)
	}
	now := time.Now()
	for _, age := range []time.Duration{5, 4, 1, 5, 5, 0} { // the fourth was written before the third and committed later
		addChange(t, d, db.Change{At: now.Add(-age * time.Hour)})
	}
	numberAll(t, d)
	addChange(t, d, db.Change{At: now.Add(-9 * time.Hour)}) // not numbered: nobody was told
	prune := func(age time.Duration, limit int, want int64) {
		t.Helper()
		if n, err := db.PruneChanges(ctx, d, now.Add(-age), limit); err != nil || n != want {
			t.Errorf("pruned %d, %v, want %d", n, err, want)
		}
	}
	prune(3*time.Hour, 1, 1)
	prune(3*time.Hour, 10, 1)
	prune(3*time.Hour, 10, 0) // no hole behind the third
	if oldest, newest := head(); oldest != 3 || newest != 6 {
		t.Errorf("kept from %d to %d", oldest, newest)
	}
	prune(-time.Hour, 10, 3)
	prune(-time.Hour, 10, 0)
	numberAll(t, d)
	if oldest, newest := head(); oldest != 6 || newest != 7 {
		t.Errorf("kept from %d to %d: the newest must stay", oldest, newest)
	}
}
