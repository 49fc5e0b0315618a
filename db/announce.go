package db

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	announceEvery  = 10 * time.Millisecond
	announceWithin = time.Second // readers have looked by themselves by then
)

// announcer wakes the feed's readers after changes were committed. It does so beside the transactions that made them:
// Postgres lets one transaction at a time commit that notifies, so that in each of them a NOTIFY would make all that
// tell of something queue for the disk. What is left unannounced, because the process dies, the pool is exhausted or
// the database fails, its readers find by looking.
type announcer struct {
	pool *pgxpool.Pool

	mu      sync.Mutex
	busy    bool
	more    bool
	closed  bool
	running sync.WaitGroup
}

func (a *announcer) announce() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.more = true
	if !a.busy {
		a.busy = true
		a.running.Go(a.run)
	}
}

// close takes no more, and returns when what was told is announced, or cannot be. The pool must still be open.
func (a *announcer) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.running.Wait()
}

func (a *announcer) run() {
	for a.next() {
		ctx, cancel := context.WithTimeout(context.Background(), announceWithin)
		_, _ = a.pool.Exec(ctx, "SELECT pg_notify($1, '')", ChangesChannel)
		cancel()
		time.Sleep(announceEvery)
	}
}

// next says whether something was told since the last time.
func (a *announcer) next() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy, a.more = a.more, false
	return a.busy
}
