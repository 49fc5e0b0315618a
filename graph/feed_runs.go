package graph

import (
	"context"
	"math"
	"sync"
	"time"

	"tieline/db"
)

const runKept = time.Second // at least, at most twice that

// runCache reads the runs that messages show, once for all subscribers that are told of the same change. A run that is
// as far as the change will do; it is kept for a moment, so that what changes without a version shows soon. One read is
// under way at a time, and whoever comes meanwhile shares the next.
type runCache struct {
	db *db.DB

	mu         sync.Mutex
	young, old map[runKey]db.Run
	turned     time.Time
	next       *runRead // being gathered
	reading    bool
}

type runKey struct{ org, id db.ID }

type runRead struct {
	ids  map[db.ID]map[db.ID]struct{} // by organization
	done chan struct{}
	err  error
}

func newRunCache(d *db.DB) *runCache { return &runCache{db: d, young: map[runKey]db.Run{}} }

// get answers a run that is at least as far as version; false when it is gone.
func (c *runCache) get(ctx context.Context, org, id db.ID, version int64) (db.Run, bool, error) {
	for want := version; ; want = 0 { // what was read just now will do
		c.mu.Lock()
		r, ok := c.find(org, id, want)
		c.mu.Unlock()
		if ok {
			return r, r.ID == id, nil
		}
		if err := c.load(ctx, org, newsOf([]db.Change{{OrgID: org, RunID: id, Version: version}})); err != nil {
			return db.Run{}, false, err
		}
	}
}

// load makes sure that the runs of changes are there to get.
func (c *runCache) load(ctx context.Context, org db.ID, changes []*news) error {
	c.mu.Lock()
	var r *runRead
	for _, ch := range changes {
		if _, ok := c.find(org, ch.RunID, ch.Version); !ok {
			r = c.gather(org, ch.RunID)
		}
	}
	if r != nil && !c.reading {
		c.reading = true
		go c.work()
	}
	c.mu.Unlock()
	if r == nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.done:
		return r.err
	}
}

func (c *runCache) find(org, id db.ID, version int64) (db.Run, bool) {
	if now := time.Now(); now.Sub(c.turned) > runKept {
		c.old, c.turned = c.young, now
		c.young = map[runKey]db.Run{}
	}
	key := runKey{org, id}
	r, ok := c.young[key]
	if !ok {
		r, ok = c.old[key]
	}
	return r, ok && r.Version >= version
}

func (c *runCache) gather(org, id db.ID) *runRead {
	if c.next == nil {
		c.next = &runRead{ids: map[db.ID]map[db.ID]struct{}{}, done: make(chan struct{})}
	}
	if c.next.ids[org] == nil {
		c.next.ids[org] = map[db.ID]struct{}{}
	}
	c.next.ids[org][id] = struct{}{}
	return c.next
}

// work reads what was gathered until nothing is.
func (c *runCache) work() {
	for {
		c.mu.Lock()
		r := c.next
		c.next, c.reading = nil, r != nil
		c.mu.Unlock()
		if r == nil {
			return
		}
		r.err = c.read(r)
		close(r.done)
	}
}

func (c *runCache) read(r *runRead) (err error) {
	defer func() {
		if p := recover(); p != nil { // nothing guards this goroutine, and whoever waits must be told
			err = recovered(context.Background(), p)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), feedWithin) // for all who wait, not for one
	defer cancel()
	for org, of := range r.ids {
		ids := make([]db.ID, 0, len(of))
		for id := range of {
			ids = append(ids, id)
		}
		rows, err := db.RunsOf(ctx, c.db, org, ids)
		if err != nil {
			return err
		}
		c.keep(org, ids, rows)
	}
	return nil
}

func (c *runCache) keep(org db.ID, ids []db.ID, rows map[db.ID]db.Run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		run, ok := rows[id]
		if !ok {
			run.Version = math.MaxInt64 // gone, which no later version undoes
		}
		c.young[runKey{org, id}] = run
	}
}

// clear forgets all runs. A read may be under way, and puts what it finds into the new map.
func (c *runCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.young, c.old, c.turned = map[runKey]db.Run{}, nil, time.Time{}
}
