package graph

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tieline/db"
	"tieline/db/notify"
	"tieline/db/seal"
)

const (
	feedBatch  = 1000             // changes read at a time
	feedLag    = 4096             // changes a subscriber may be behind by before it is told to resume
	feedCheck  = time.Second      // how often the table is looked at without being told to
	feedRetry  = time.Second      // after the database failed
	feedWithin = 30 * time.Second // one look at the table
)

// Feed tells subscribers of every change of a run, in order. One reader per process numbers what is new, reads it and
// fans it out in memory; being told by the database only makes it look at once.
type Feed struct {
	db   *db.DB
	wake *notify.Listener
	log  *slog.Logger
	keys *seal.Keys // veil positions
	runs *runCache
	lag  int
	page int // of a subscriber that catches up

	located bool          // the reader has a position; its own
	begun   chan struct{} // closed once it has, or never will
	begin   func()

	mu        sync.Mutex
	pos       int64                            // everything up to it was fanned out
	over      bool                             // the reader has ended
	followers map[db.ID]map[*follower]struct{} // by organization, so that tenants never meet
}

// NewFeed makes a feed; Run makes it work. The listener must listen on db.ChangesChannel.
func NewFeed(d *db.DB, l *notify.Listener, log *slog.Logger, keys *seal.Keys) *Feed {
	begun := make(chan struct{})
	return &Feed{
		db: d, wake: l, log: log, keys: keys, runs: newRunCache(d), lag: feedLag, page: feedBatch / 2,
		begun: begun, begin: sync.OnceFunc(func() { close(begun) }), followers: map[db.ID]map[*follower]struct{}{},
	}
}

// Run reads until ctx ends, whose error it returns, and then ends all subscriptions. It may run once.
func (f *Feed) Run(ctx context.Context) error {
	wake, cancel := f.wake.Subscribe(db.ChangesChannel)
	defer cancel()
	defer f.stop()
	for untold := true; ; {
		wait := feedCheck
		if err := f.look(ctx, untold); err != nil && ctx.Err() == nil {
			f.log.ErrorContext(ctx, "reading the feed", "err", err, "again_in", feedRetry)
			wait = feedRetry
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
			untold = false
		case <-time.After(wait):
			untold = true
		}
	}
}

// look numbers and fans out what is new. Where nobody told us to, it also makes sure that our position is still one.
func (f *Feed) look(ctx context.Context, untold bool) error {
	ctx, cancel := context.WithTimeout(ctx, feedWithin)
	defer cancel()
	for {
		more, err := number(ctx, f.db)
		if err != nil {
			return err
		}
		if untold || !f.located {
			if err := f.locate(ctx); err != nil {
				return err
			}
		}
		if err := f.read(ctx); err != nil || !more {
			return err
		}
	}
}

// number gives new changes their places, and answers whether it left some that were there before it. What comes in
// meanwhile is told of anew: waiting for an end of it would hold up everything that has its place.
func number(ctx context.Context, d *db.DB) (more bool, err error) {
	some, err := db.Unnumbered(ctx, d)
	if err != nil || !some {
		return false, err
	}
	err = d.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		more, err = db.NumberChanges(ctx, tx)
		return err
	})
	return more, err
}

// read fans out everything that has its place.
func (f *Feed) read(ctx context.Context) error {
	for {
		rows, err := db.ChangesAfter(ctx, f.db, f.pos, feedBatch)
		if err != nil {
			return err
		}
		f.publish(rows)
		if len(rows) < feedBatch {
			return nil
		}
	}
}

// locate takes the position to read on from, at first and when the table was set back, as by a restored backup.
func (f *Feed) locate(ctx context.Context) error {
	_, newest, err := db.FeedHead(ctx, f.db)
	if err != nil {
		return err
	}
	if f.located && newest >= f.pos {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.located {
		f.log.ErrorContext(ctx, "the feed was set back", "from", f.pos, "to", newest)
		f.endAll(expired())
	}
	f.pos, f.located = newest, true
	f.begin()
	return nil
}

// publish hands on what was read. Places have no holes: one that is missing was pruned before it was read, and who
// follows must read anew.
func (f *Feed) publish(rows []db.Change) {
	if len(rows) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	last := rows[len(rows)-1].Pos
	if last-f.pos != int64(len(rows)) {
		f.log.Error("the feed was pruned before it was read", "after", f.pos, "to", last)
		f.endAll(expired())
	}
	f.pos = last
	if len(f.followers) == 0 {
		return
	}
	byOrg := map[db.ID][]*news{}
	for _, c := range newsOf(rows) {
		if len(f.followers[c.OrgID]) > 0 {
			byOrg[c.OrgID] = append(byOrg[c.OrgID], c)
		}
	}
	for org, changes := range byOrg {
		for s := range f.followers[org] {
			if !s.push(changes, f.lag) {
				f.drop(s)
			}
		}
	}
}

// join lets s hear of everything after the position that it answers.
func (f *Feed) join(s *follower) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return 0, stopped()
	}
	if f.followers[s.org] == nil {
		f.followers[s.org] = map[*follower]struct{}{}
	}
	f.followers[s.org][s] = struct{}{}
	return f.pos, nil
}

// leave forgets s. It may be called twice.
func (f *Feed) leave(s *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(s)
}

func (f *Feed) drop(s *follower) {
	delete(f.followers[s.org], s)
	if len(f.followers[s.org]) == 0 {
		delete(f.followers, s.org)
	}
	if len(f.followers) == 0 {
		f.runs.clear()
	}
}

func (f *Feed) endAll(why *Error) {
	for _, of := range f.followers {
		for s := range of {
			s.end(why)
			f.drop(s)
		}
	}
}

func (f *Feed) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	f.endAll(stopped())
	f.begin()
}

func expired() *Error {
	return fail(CursorExpired, "the feed is not kept that far back; read the runs anew and go on from their feedCursor")
}

func tooSlow() *Error {
	return fail(SlowSubscriber, "this subscription did not keep up; go on from the last cursor you have seen")
}

func stopped() *Error {
	return fail(Unavailable, "the service is going away; go on from the last cursor you have seen")
}
