package db

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	announceEvery  = 10 * time.Millisecond
	announceWithin = 5 * time.Second
)

// announcer wakes the feed's readers after changes were committed. It does so beside the transactions that made them:
// Postgres lets one transaction at a time commit that notifies, so that in each of them a NOTIFY would make all that
// tell of something queue for the disk. What a process that dies leaves unannounced its readers find by looking.
type announcer struct {
	pool *pgxpool.Pool

	mu   sync.Mutex
	busy bool
	more bool
}

func (a *announcer) announce() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.more = true
	if !a.busy {
		a.busy = true
		go a.run()
	}
}

func (a *announcer) run() {
	for a.next() {
		ctx, cancel := context.WithTimeout(context.Background(), announceWithin)
		_, _ = a.pool.Exec(ctx, "SELECT pg_notify($1, '')", ChangesChannel) // readers look by themselves, too
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
