package graph

import (
	"context"
	"sync"

	"tieline/db"
	"tieline/graph/model"
)

// follower is one subscriber of the feed. It reads the table page by page until it is near the end, joins those whom
// the reader tells, reads what lies between, and goes on with what it was told meanwhile: nothing is missing, since it
// joined before it read the rest, and nothing comes twice, since positions say what it has had.
type follower struct {
	feed   *Feed
	org    db.ID
	filter db.FeedFilter

	after  int64 // everything up to it was answered
	upTo   int64 // how far to read the table
	joined bool
	live   bool

	mu    sync.Mutex
	queue []*news
	ended *Error
	told  chan struct{} // a token when queue or ended have changed
}

// subscribe follows an organization's changes: those after a cursor, or from now on without one. Whoever gets a
// follower calls its leave at last.
func (f *Feed) subscribe(ctx context.Context, org db.ID, filter db.FeedFilter, after *string) (*follower, error) {
	var from int64
	var err error
	if after != nil {
		if from, err = f.readCursor(org, *after); err != nil {
			return nil, err
		}
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.begun:
	}
	oldest, newest, err := db.FeedHead(ctx, f.db)
	switch {
	case err != nil:
		return nil, err
	case after == nil:
		from = newest
	case !kept(from, oldest) || from > newest: // the latter is of a table that was set back
		return nil, expired()
	}
	s := &follower{feed: f, org: org, filter: filter, after: from, upTo: newest, told: make(chan struct{}, 1)}
	return s, s.approach()
}

// kept tells whether everything after a position can still be read.
func kept(after, oldest int64) bool { return after+1 >= oldest }

// news is a change on its way to those who follow, as all of them are told it.
type news struct {
	db.Change
	once   sync.Once
	update *model.RunUpdate
	err    error
	texts  sync.Map // how messages show it, by what was asked: unique.Handle[string] → json.RawMessage
}

// newsOf are changes just read.
func newsOf(rows []db.Change) []*news {
	all, out := make([]news, len(rows)), make([]*news, len(rows))
	for i := range rows {
		all[i].Change = rows[i]
		out[i] = &all[i]
	}
	return out
}

// next answers the changes that follow, at least one. It waits for them.
func (s *follower) next(ctx context.Context) ([]*news, error) {
	for !s.live {
		page, err := s.catchUp(ctx)
		if err != nil || len(page) > 0 {
			return page, err
		}
	}
	for {
		changes, ended := s.take()
		if len(changes) > 0 {
			return changes, nil
		}
		if ended != nil {
			return nil, ended
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.told:
		}
	}
}

// approach joins once a page is enough for the rest, so that what comes in meanwhile does not pile up.
func (s *follower) approach() (err error) {
	if !s.joined && s.upTo-s.after <= int64(s.feed.page) {
		s.joined = true
		s.upTo, err = s.feed.join(s)
	}
	s.live = s.joined && s.after >= s.upTo // beyond it is where another process' reader was already
	return err
}

// catchUp reads a page of the table, which may hold nothing that passes the filter.
func (s *follower) catchUp(ctx context.Context) ([]*news, error) {
	rows, err := db.ChangesOf(ctx, s.feed.db, s.org, s.filter, s.after, s.upTo, s.feed.page)
	if err != nil {
		return nil, err
	}
	oldest, newest, err := db.FeedHead(ctx, s.feed.db)
	if err != nil {
		return nil, err
	}
	if !kept(s.after, oldest) { // only afterwards it is sure that nothing was pruned before it was read
		return nil, expired()
	}
	if len(rows) == s.feed.page {
		s.after = rows[len(rows)-1].Pos
	} else {
		s.after = s.upTo
	}
	if !s.joined {
		s.upTo = newest
	}
	return newsOf(rows), s.approach()
}

// push adds what passes the filter; false when that is more than may wait, which ends s.
func (s *follower) push(changes []*news, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := len(s.queue)
	for _, c := range changes {
		if s.filter.Match(&c.Change) {
			s.queue = append(s.queue, c)
		}
	}
	if len(s.queue) > most {
		s.queue, s.ended = nil, tooSlow()
	}
	if len(s.queue) != had {
		s.tell()
	}
	return s.ended == nil
}

func (s *follower) end(why *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = why
	s.tell()
}

func (s *follower) tell() {
	select {
	case s.told <- struct{}{}:
	default:
	}
}

// take empties the queue of what is new.
func (s *follower) take() ([]*news, *Error) {
	s.mu.Lock()
	changes, ended := s.queue, s.ended
	s.queue = nil
	s.mu.Unlock()
	for len(changes) > 0 && changes[0].Pos <= s.after {
		changes = changes[1:]
	}
	if len(changes) > 0 {
		s.after = changes[len(changes)-1].Pos
	}
	return changes, ended
}

func (s *follower) leave() { s.feed.leave(s) }
