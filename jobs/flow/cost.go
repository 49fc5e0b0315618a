package flow

import (
	"context"
	"sync"
	"time"

	"tieline/db"
)

// cost is how many calls to a vendor account those make who begin there, by what they made lately. It decides nothing but
// how far apart they are expected to start, so each process learns for itself.
type cost struct {
	mu           sync.Mutex
	begun, calls float64
}

const (
	costAtFirst = 2  // before anything is known
	costMost    = 30 // who makes more has calls all along, and others find room between them
	costMemory  = 50 // starts
)

func (c *cost) count(first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls++; !first {
		return
	}
	if c.begun++; c.begun > costMemory {
		c.begun, c.calls = c.begun/2, c.calls/2
	}
}

func (c *cost) estimate() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return min(max(1, (c.calls+costAtFirst)/(c.begun+1)), costMost)
}

// costOf is what it costs an account to have something done: a flow's version, a connection's reading.
func (e *Engine) costOf(what, account db.ID) *cost {
	c, _ := e.costs.LoadOrStore([2]db.ID{what, account}, &cost{})
	return c.(*cost)
}

// overPause is how long calls that are over are collected before their leases are given back.
const overPause = 20 * time.Millisecond

// over are leases of calls that are over.
type over struct {
	mu     sync.Mutex
	leases []db.Lease
}

// callOver gives a call's lease back, soon and with others. One that is lost ends by itself.
func (e *Engine) callOver(l db.Lease) {
	if l.N == 0 {
		return
	}
	e.over.mu.Lock()
	defer e.over.mu.Unlock()
	if e.over.leases = append(e.over.leases, l); len(e.over.leases) == 1 {
		time.AfterFunc(overPause, e.giveBack)
	}
}

func (e *Engine) giveBack() {
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
