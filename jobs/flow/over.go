package flow

import (
	"context"
	"sync"
	"time"

	"tieline/db"
)

// overPause is how long calls that are over are collected before their leases are given back.
const overPause = 20 * time.Millisecond

// over are leases of calls that are over.
type over struct {
	mu     sync.Mutex
	leases []db.Lease
	giving sync.WaitGroup
}

// callOver gives a call's lease back, soon and with others. One that is lost ends by itself.
func (e *Engine) callOver(l db.Lease) {
	if l.N == 0 {
		return
	}
	e.over.mu.Lock()
	defer e.over.mu.Unlock()
	if e.over.leases = append(e.over.leases, l); len(e.over.leases) == 1 {
		e.over.giving.Add(1)
		time.AfterFunc(overPause, e.giveBack)
	}
}

// Rest waits until what the engine does by the way is done. Nothing may be asked of it any more.
func (e *Engine) Rest() { e.over.giving.Wait() }

func (e *Engine) giveBack() {
	defer e.over.giving.Done()
	e.over.mu.Lock()
	leases := e.over.leases
	e.over.leases = nil
	e.over.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := db.FreeCalls(ctx, e.DB, leases); err != nil {
		e.Log.WarnContext(ctx, "leases of calls could not be given back; they end by themselves", "error", err)
	}
}
