package graph

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tieline/db"
	"tieline/db/dbtest"
	"tieline/db/notify"
	"tieline/db/seal"
	"tieline/graph/auth"
)

// feedSite is a database whose changes are written by hand, for two organizations.
type feedSite struct {
	t          testing.TB
	db         *db.DB
	org, other db.ID
	keys       *seal.Keys
	holders    holders
	runQueries atomic.Int64
}

func newFeedSite(t testing.TB) *feedSite {
	t.Helper()
	return feedSiteAt(t, dbtest.URL(t))
}

func feedSiteAt(t testing.TB, url string) *feedSite {
	t.Helper()
	s := &feedSite{t: t, org: db.NewID(), other: db.NewID()}
	d, err := db.Open(t.Context(), url, db.MaxConns(24), func(c *pgxpool.Config) { c.ConnConfig.Tracer = runCounter{&s.runQueries} })
	check(t, err)
	t.Cleanup(func() { d.Close() })
	s.db = d
	s.keys, err = seal.Parse(seal.Generate())
	check(t, err)
	s.holders = holders{"reader": {Org: s.org, Scopes: []auth.Scope{auth.Read}}}
	return s
}

// runCounter counts the statements that read runs.
type runCounter struct{ n *atomic.Int64 }

func (c runCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if strings.Contains(q.SQL, "FROM runs ") {
		c.n.Add(1)
	}
	return ctx
}
func (runCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// add commits changes of the organization, told as the engine tells them.
func (s *feedSite) add(changes ...db.Change) {
	s.t.Helper()
	check(s.t, s.commit(changes...))
}

func (s *feedSite) commit(changes ...db.Change) error {
	for i := range changes {
		c := &changes[i]
		c.State = "RUNNING"
		if (c.OrgID == db.ID{}) {
			c.OrgID = s.org
		}
		if c.Source == "" {
			c.Source = "WEBHOOK"
		}
	}
	_, err := s.db.NewInsert().Model(&changes).Returning("pg_notify(?, '')", db.ChangesChannel).Exec(s.t.Context(), new([]string))
	return err
}

// many is n changes with versions from 1.
func manyChanges(n int) []db.Change {
	out := make([]db.Change, n)
	for i := range out {
		out[i].Version = int64(i + 1)
	}
	return out
}

// number gives all that was added its place.
func (s *feedSite) number() {
	s.t.Helper()
	more, err := number(s.t.Context(), s.db)
	check(s.t, err)
	if more {
		s.t.Fatal("more than one numbering is needed")
	}
}

// positions are those of the organization's changes in the table.
func (s *feedSite) positions() []int64 {
	s.t.Helper()
	var out []int64
	check(s.t, s.db.NewRaw("SELECT pos FROM changes WHERE org_id = ? ORDER BY pos", s.org).Scan(s.t.Context(), &out))
	return out
}

// feed is what one process has: a listener and a reader.
func (s *feedSite) feed(change func(*Feed)) *Feed {
	s.t.Helper()
	f, stop := s.stoppable(change)
	s.t.Cleanup(stop)
	return f
}

func (s *feedSite) stoppable(change func(*Feed)) (*Feed, func()) {
	s.t.Helper()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	l := notify.New(s.db.Pool, log, db.ChangesChannel)
	f := NewFeed(s.db, l, log, s.keys)
	if change != nil {
		change(f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = l.Run(ctx) })
	running.Go(func() {
		if err := f.Run(ctx); !errors.Is(err, context.Canceled) {
			s.t.Errorf("the feed ended with %v", err)
		}
	})
	<-f.begun
	return f, func() {
		cancel()
		running.Wait()
	}
}

func (s *feedSite) resolvers(f *Feed) *Resolvers {
	return &Resolvers{Door: &Door{DB: s.db}, feed: f, wait: gather}
}

// serve is one process: the handler with the feed, and its address.
func (s *feedSite) serve(f *Feed) string {
	s.t.Helper()
	h, err := New(Config{Resolvers: s.resolvers(f), Verifier: s.holders, Log: slog.New(slog.DiscardHandler)})
	check(s.t, err)
	srv := httptest.NewServer(h)
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			s.t.Errorf("closing: %v", err)
		}
		srv.Close()
	})
	return "ws" + strings.TrimPrefix(srv.URL, "http")
}

func (f *Feed) following() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, of := range f.followers {
		n += len(of)
	}
	return n
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 20 seconds: ", what)
		}
	}
}

// read takes n changes from a follower.
func (s *feedSite) read(sub *follower, n int) (got []int64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	for len(got) < n {
		changes, err := sub.next(ctx)
		if err != nil {
			s.t.Fatalf("after %d of %d: %v", len(got), n, err)
		}
		for _, c := range changes {
			got = append(got, c.Pos)
		}
	}
	return got
}

func (s *feedSite) follow(f *Feed, filter db.FeedFilter, after *string) *follower {
	s.t.Helper()
	sub, err := f.subscribe(s.t.Context(), s.org, filter, after)
	check(s.t, err)
	s.t.Cleanup(sub.leave)
	return sub
}

// cursor is a place as the organization's clients see it.
func (s *feedSite) cursor(pos int64) string { return (&Feed{keys: s.keys}).cursor(s.org, pos) }

func (s *feedSite) after(pos int64) *string { return new(s.cursor(pos)) }

// Followers come and go at random places of two feeds while sixteen write and commit in whatever order: each has
// exactly what the table has after the place it began at.
func TestFollowersMissNothing(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	feeds := []*Feed{s.feed(nil), s.feed(func(f *Feed) { f.page = 3 })}
	const each = 60
	var writing, reading sync.WaitGroup
	for w := range 16 {
		writing.Go(func() {
			for i := range each {
				c := db.Change{Version: int64(i)}
				if w%4 == 0 {
					c.OrgID = s.other
				}
				if err := s.commit(c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	const mine = 12 * each
	var mu sync.Mutex
	logs := map[int64][][]int64{} // by where they began
	for r := range 12 {
		reading.Go(func() {
			for from, had := int64(0), 0; from >= 0 && had < mine; {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				sub, err := feeds[rand.IntN(2)].subscribe(ctx, s.org, db.FeedFilter{}, s.after(from))
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				want, begin := 1+rand.IntN(100), from
				var got []int64
				for len(got) < want && had+len(got) < mine {
					changes, err := sub.next(ctx)
					if err != nil {
						t.Errorf("reader %d after %d: %v", r, from, err)
						from = -1
						break
					}
					for _, c := range changes {
						got = append(got, c.Pos)
					}
				}
				sub.leave()
				cancel()
				mu.Lock()
				logs[begin] = append(logs[begin], got)
				mu.Unlock()
				if from < 0 {
					return
				}
				had += len(got)
				from = got[len(got)-1]
			}
		})
	}
	writing.Wait()
	reading.Wait()
	table := s.positions()
	if len(table) != mine {
		t.Fatalf("the table has %d", len(table))
	}
	for from, all := range logs {
		i, _ := slices.BinarySearch(table, from+1)
		for _, got := range all {
			if !slices.Equal(got, table[i:i+len(got)]) {
				t.Fatalf("after %d: %v, want %v", from, got, table[i:i+len(got)])
			}
		}
	}
	for _, f := range feeds {
		if n := f.following(); n != 0 {
			t.Errorf("%d followers are left", n)
		}
	}
}

func TestFollowFromNow(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	s.add(manyChanges(10)...)
	f := s.feed(nil)
	sub := s.follow(f, db.FeedFilter{}, nil)
	s.add(manyChanges(3)...)
	if got := s.read(sub, 3); !slices.Equal(got, []int64{11, 12, 13}) {
		t.Errorf("from now: %v", got)
	}
}

// Where changes come in faster than they are numbered, what has its place is told all the same.
func TestFeedUnderAFlood(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	_, err := s.db.NewRaw(`CREATE FUNCTION flood() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO changes (org_id, run_id, flow_id, flow_link_id, connection_id, source, version, state)
			SELECT org_id, run_id, flow_id, flow_link_id, connection_id, source, version + 1, state FROM changes WHERE pos = (SELECT max(pos) FROM changes);
			RETURN NULL;
		END $$;
		CREATE TRIGGER flood AFTER UPDATE ON changes EXECUTE FUNCTION flood()`).Exec(t.Context())
	check(t, err)
	f := s.feed(nil)
	sub := s.follow(f, db.FeedFilter{}, nil)
	s.add(db.Change{Version: 1})
	if got := s.read(sub, 2); !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("a flood's first two: %v", got)
	}
}

// A cursor may be of a process whose reader is further than ours.
func TestFollowAheadOfTheReader(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	log := slog.New(slog.DiscardHandler)
	late := NewFeed(s.db, notify.New(s.db.Pool, log, db.ChangesChannel), log, s.keys) // looks when we say so
	check(t, late.look(t.Context(), true))
	s.add(manyChanges(5)...)
	s.number()
	behind, ahead := s.follow(late, db.FeedFilter{}, s.after(2)), s.follow(late, db.FeedFilter{}, s.after(5))
	s.add(manyChanges(2)...)
	check(t, late.look(t.Context(), false))
	if got := s.read(behind, 5); !slices.Equal(got, []int64{3, 4, 5, 6, 7}) {
		t.Errorf("after 2: %v", got)
	}
	if got := s.read(ahead, 2); !slices.Equal(got, []int64{6, 7}) {
		t.Errorf("after 5: %v", got)
	}
}

// Between a look at the table and joining, the reader goes on: what it told of meanwhile is read from the table.
func TestFollowBehindTheReader(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	log := slog.New(slog.DiscardHandler)
	f := NewFeed(s.db, notify.New(s.db.Pool, log, db.ChangesChannel), log, s.keys)
	check(t, f.look(t.Context(), true))
	s.add(manyChanges(5)...)
	check(t, f.look(t.Context(), false))
	sub := &follower{feed: f, org: s.org, after: 3, upTo: 3, told: make(chan struct{}, 1)} // 3 was the newest then
	check(t, sub.approach())
	s.add(manyChanges(2)...)
	check(t, f.look(t.Context(), false))
	if got := s.read(sub, 4); !slices.Equal(got, []int64{4, 5, 6, 7}) {
		t.Errorf("after 3: %v", got)
	}
}

func TestFiltersInTableAndLive(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	f := s.feed(func(f *Feed) { f.page = 2 })
	run, flow, link, con := db.NewID(), db.NewID(), db.NewID(), db.NewID()
	kinds := []db.Change{
		{OrgID: s.other, RunID: run, FlowID: flow, FlowLinkID: link, ConnectionID: con, Source: "MANUAL"},
		{RunID: run}, {FlowID: flow}, {FlowLinkID: link}, {ConnectionID: con}, {Source: "MANUAL"}, {},
	}
	filters := map[*follower][]int64{
		s.follow(f, db.FeedFilter{}, s.after(0)):                       {2, 3, 4, 5, 6, 7},
		s.follow(f, db.FeedFilter{Run: run}, s.after(0)):               {2},
		s.follow(f, db.FeedFilter{Flow: flow}, s.after(0)):             {3},
		s.follow(f, db.FeedFilter{Link: link}, s.after(0)):             {4},
		s.follow(f, db.FeedFilter{Connection: con}, s.after(0)):        {5},
		s.follow(f, db.FeedFilter{Source: "MANUAL"}, s.after(0)):       {6},
		s.follow(f, db.FeedFilter{Run: db.NewID()}, s.after(0)):        nil,
		s.follow(f, db.FeedFilter{Run: run, Flow: flow}, s.after(0)):   nil,
		s.follow(f, db.FeedFilter{Source: "SCHEDULE"}, s.after(0)):     nil,
		s.follow(f, db.FeedFilter{Connection: run}, s.after(0)):        nil,
		s.follow(f, db.FeedFilter{Run: run, Source: "X"}, s.after(0)):  nil,
		s.follow(f, db.FeedFilter{Link: link, Flow: link}, s.after(0)): nil,
	}
	s.add(slices.Clone(kinds)...)
	for sub, want := range filters {
		if got := s.read(sub, len(want)); !slices.Equal(got, want) {
			t.Errorf("%+v live: %v, want %v", sub.filter, got, want)
		}
		again := s.follow(f, sub.filter, s.after(0))
		if got := s.read(again, len(want)); !slices.Equal(got, want) {
			t.Errorf("%+v from the table: %v, want %v", sub.filter, got, want)
		}
		for !again.live {
			page, err := again.catchUp(t.Context())
			if err != nil || len(page) > 0 {
				t.Errorf("%+v: %d more, %v", sub.filter, len(page), err)
			}
		}
		if more, _ := sub.take(); len(more) > 0 {
			t.Errorf("%+v: %d more", sub.filter, len(more))
		}
	}
}

// wantEnd reads on until the follower is told why it ended.
func (s *feedSite) wantEnd(sub *follower, code Code) (got []int64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	for {
		changes, err := sub.next(ctx)
		for _, c := range changes {
			got = append(got, c.Pos)
		}
		if err != nil {
			if ours, ok := errors.AsType[*Error](err); !ok || ours.Code != code {
				s.t.Errorf("ended with %v, want %s", err, code)
			}
			return got
		}
	}
}

func TestSlowFollowerEndsAndResumes(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	f := s.feed(func(f *Feed) { f.lag = 10 })
	slow, quick := s.follow(f, db.FeedFilter{}, nil), s.follow(f, db.FeedFilter{}, nil)
	s.add(manyChanges(8)...)
	s.read(quick, 8)
	s.add(manyChanges(8)...)
	s.read(quick, 8) // nobody waits for the other
	if got := s.wantEnd(slow, SlowSubscriber); got != nil {
		t.Errorf("what was dropped came: %v", got)
	}
	if n := f.following(); n != 1 {
		t.Errorf("%d follow", n)
	}
	if got := s.read(s.follow(f, db.FeedFilter{}, s.after(0)), 16); len(got) != 16 || got[0] != 1 {
		t.Errorf("resumed: %v", got)
	}
}

func TestCursorExpires(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	f := s.feed(func(f *Feed) { f.page = 2 })
	s.add(manyChanges(10)...)
	eventually(t, "all are numbered", func() bool { return len(s.positions()) == 10 && s.positions()[9] == 10 })
	under := s.follow(f, db.FeedFilter{}, s.after(0))
	if got, err := under.next(t.Context()); err != nil || len(got) != 2 {
		t.Fatalf("%d, %v", len(got), err)
	}
	if _, err := db.PruneChanges(t.Context(), s.db, time.Now().Add(-time.Hour), 100); err != nil {
		t.Fatal(err)
	}
	prune := func(n int) {
		t.Helper()
		if got, err := db.PruneChanges(t.Context(), s.db, time.Now().Add(time.Hour), n); err != nil || got != int64(n) {
			t.Fatalf("pruned %d, %v", got, err)
		}
	}
	prune(4)
	s.wantEnd(under, CursorExpired) // it was reading the table
	for pos, want := range map[int64]Code{0: CursorExpired, 3: CursorExpired, 4: "", 10: "", 11: CursorExpired, 1 << 40: CursorExpired} {
		sub, err := f.subscribe(t.Context(), s.org, db.FeedFilter{}, s.after(pos))
		if ours, _ := errors.AsType[*Error](err); (ours == nil) != (want == "") || (ours != nil && ours.Code != want) {
			t.Errorf("after %d, 5 to 10 being kept: %v, want %q", pos, err, want)
		}
		if err == nil {
			sub.leave()
		}
	}
	for _, bad := range []string{"", "nonsense", cursor("feed", ""), cursor("feed", "-1"), cursor("feed", "+1"), cursor("feed", "01"), cursor("run", "1"), cursor("feed", "99999999999999999999"), cursor("run", "0123456789abcdef")} {
		_, err := f.subscribe(t.Context(), s.org, db.FeedFilter{}, &bad)
		if ours, ok := errors.AsType[*Error](err); !ok || ours.Code != BadUserInput {
			t.Errorf("%q: %v", bad, err)
		}
	}
	theirs := f.cursor(s.other, 6)
	if _, err := f.subscribe(t.Context(), s.org, db.FeedFilter{}, &theirs); theirs == s.cursor(6) || !isExpired(err) {
		t.Errorf("another organization's cursor: %v", err)
	}
	if n := f.following(); n != 0 {
		t.Errorf("%d follow", n)
	}
}

func isExpired(err error) bool {
	ours, ok := errors.AsType[*Error](err)
	return ok && ours.Code == CursorExpired
}

// What cannot be told any more ends those who follow: rows pruned before they were read, a table that was set back,
// a reader that has ended.
func TestFollowersHearOfALoss(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	log := slog.New(slog.DiscardHandler)
	f := NewFeed(s.db, notify.New(s.db.Pool, log, db.ChangesChannel), log, s.keys)
	look := func(untold bool) {
		t.Helper()
		check(t, f.look(t.Context(), untold))
	}
	look(true)
	sub := s.follow(f, db.FeedFilter{}, nil)
	s.add(manyChanges(3)...)
	look(false)
	s.add(manyChanges(3)...)
	s.number()
	_, err := s.db.NewRaw("DELETE FROM changes WHERE pos <= 4").Exec(t.Context())
	check(t, err)
	look(false)
	if got := s.wantEnd(sub, CursorExpired); !slices.Equal(got, []int64{1, 2, 3}) {
		t.Errorf("before the hole: %v", got)
	}
	sub = s.follow(f, db.FeedFilter{}, nil)
	_, err = s.db.NewRaw("DELETE FROM changes WHERE pos > 5").Exec(t.Context())
	check(t, err)
	look(true)
	s.wantEnd(sub, CursorExpired)
	s.add(manyChanges(1)...)
	sub = s.follow(f, db.FeedFilter{}, s.after(5))
	look(false)
	if got := s.read(sub, 1); !slices.Equal(got, []int64{6}) {
		t.Errorf("after it was set back: %v", got)
	}
	f.stop()
	s.wantEnd(sub, Unavailable)
	if _, err := f.subscribe(t.Context(), s.org, db.FeedFilter{}, nil); err == nil {
		t.Error("a feed that has ended takes subscribers")
	}
	if n := f.following(); n != 0 {
		t.Errorf("%d follow", n)
	}
}

// The reader goes on when the database comes back.
func TestFeedOutlivesItsConnections(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	f := s.feed(nil)
	sub := s.follow(f, db.FeedFilter{}, nil)
	for n := range int64(3) {
		_, err := s.db.NewRaw("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").Exec(t.Context())
		check(t, err)
		eventually(t, "a change is committed", func() bool { return s.commit(db.Change{}) == nil })
		if got := s.read(sub, 1); got[0] != n+1 {
			t.Errorf("%v", got)
		}
	}
}

// goroutines counts those that run one of our feed's functions.
func goroutines() int {
	buf := make([]byte, 64<<20)
	n := 0
	for _, one := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(one, "graph.(*Feed)") || strings.Contains(one, "graph.(*follower)") || strings.Contains(one, "transport.(*wsConnection)") {
			n++
		}
	}
	return n
}

// BenchmarkFanOut is what the reader can hand on: messages to 100 followers that only take them.
func BenchmarkFanOut(b *testing.B) {
	f := NewFeed(nil, nil, slog.New(slog.DiscardHandler), nil)
	f.lag = 1 << 30
	org := db.NewID()
	var subs []*follower
	for range 100 {
		s := &follower{feed: f, org: org, live: true, told: make(chan struct{}, 1)}
		if _, err := f.join(s); err != nil {
			b.Fatal(err)
		}
		subs = append(subs, s)
	}
	const batch = 100
	pos := int64(0)
	for b.Loop() {
		rows := make([]db.Change, batch)
		for i := range rows {
			pos++
			rows[i] = db.Change{OrgID: org, Pos: pos}
		}
		f.publish(rows)
		for _, s := range subs {
			if got, _ := s.take(); len(got) != batch {
				b.Fatal(len(got))
			}
		}
	}
	b.ReportMetric(float64(b.N)*batch*100/b.Elapsed().Seconds(), "messages/s")
}

// What a process that died has committed and not announced is found by those who look, within about a second.
func TestChangesThatNobodyAnnounces(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	sub := s.follow(s.feed(nil), db.FeedFilter{}, nil)
	for n := range int64(3) {
		_, err := s.db.NewInsert().Model(&db.Change{OrgID: s.org, State: "RUNNING", Source: "WEBHOOK"}).Exec(t.Context())
		check(t, err)
		begun := time.Now()
		if got := s.read(sub, 1); got[0] != n+1 || time.Since(begun) > 4*feedCheck {
			t.Errorf("%v after %s", got, time.Since(begun))
		}
	}
}
