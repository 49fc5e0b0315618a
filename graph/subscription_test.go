package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
)

// told is what a client gets of one message.
type told struct {
	Cursor string
	Change struct{ Version int64 }
	Run    *struct {
		ID      string
		Version int64
	}
}

// follow subscribes with arguments for runUpdates.
func (w *wire) follow(id, args, fields string) {
	if args != "" {
		args = "(" + args + ")"
	}
	w.send(subscribeTo(id, "subscription{m:runUpdates"+args+"{cursor "+fields+"}}"))
}

func afterArg(c string) string { return fmt.Sprintf("after:%q", c) }

// told reads the next message, or the code that ended the subscription.
func (w *wire) told() (told, string) {
	w.t.Helper()
	m := w.want("next")
	var p struct {
		Data   *struct{ M told }
		Errors []struct {
			Extensions struct{ Code, RequestID string }
		}
	}
	if err := json.Unmarshal(m.Payload, &p); err != nil {
		w.t.Fatalf("%s: %v", m.Payload, err)
	}
	if len(p.Errors) > 0 {
		if p.Data != nil || p.Errors[0].Extensions.RequestID == "" {
			w.t.Errorf("an error with data, or without the request's id: %s", m.Payload)
		}
		w.want("complete")
		return told{}, p.Errors[0].Extensions.Code
	}
	return p.Data.M, ""
}

func (w *wire) cursor() string {
	w.t.Helper()
	m, code := w.told()
	if code != "" {
		w.t.Fatalf("ended with %s", code)
	}
	return m.Cursor
}

func (s *feedSite) cursors() (out []string) {
	s.t.Helper()
	for _, pos := range s.positions() {
		out = append(out, s.cursor(pos))
	}
	return out
}

// A client is cut off again and again and goes on at one of two processes, while others write: its log is the table's.
func TestResumeAfterACut(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	urls := []string{s.serve(s.feed(nil)), s.serve(s.feed(func(f *Feed) { f.page = 5 }))}
	stop := make(chan struct{})
	var writing sync.WaitGroup
	for w := range 8 {
		writing.Go(func() {
			for version := int64(1); ; version++ {
				select {
				case <-stop:
					return
				default:
				}
				c := db.Change{Version: version}
				if w == 0 {
					c.OrgID = s.other
				}
				if err := s.commit(c); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	log := []string{s.cursor(0)}
	session := func(url string, enough func() bool) {
		w := ready(t, url)
		w.follow("a", afterArg(log[len(log)-1]), "")
		for !enough() {
			log = append(log, w.cursor())
		}
		_ = w.conn.CloseNow() // no close frame: as a network that is gone
	}
	for n := range 30 {
		left := rand.IntN(60)
		session(urls[n%2], func() bool { left--; return left < 0 })
	}
	close(stop)
	writing.Wait()
	eventually(t, "all are numbered", func() bool {
		some, err := db.Unnumbered(t.Context(), s.db)
		return err == nil && !some
	})
	table := s.cursors()
	session(urls[0], func() bool { return len(log)-1 >= len(table) })
	if !slices.Equal(log[1:], table) {
		t.Errorf("the log of %d is not the table of %d", len(log)-1, len(table))
	}
}

func TestSubscribeFromNow(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	s.add(manyChanges(5)...)
	f := s.feed(nil)
	url := s.serve(f)
	for n, args := range []string{"", "after:null"} {
		w := ready(t, url)
		w.follow("a", args, "")
		eventually(t, "it follows", func() bool { return f.following() == n+1 })
		s.add(db.Change{})
		if got := w.cursor(); got != s.cursor(int64(6+n)) {
			t.Errorf("%q begins with %s", args, got)
		}
	}
}

func TestSubscriptionErrors(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	f := s.feed(nil)
	url := s.serve(f)
	mine, foreign := s.addRun(s.org), s.addRun(s.other)
	s.add(manyChanges(5)...)
	eventually(t, "all are numbered", func() bool { return len(s.positions()) == 5 && s.positions()[0] == 1 })
	if n, err := db.PruneChanges(t.Context(), s.db, time.Now().Add(time.Hour), 3); err != nil || n != 3 {
		t.Fatal(n, err)
	}
	w := ready(t, url)
	for field, want := range map[string]Code{
		`runUpdates(after:"nonsense")`:                                               BadUserInput,
		`runUpdates(after:"")`:                                                       BadUserInput,
		fmt.Sprintf(`runUpdates(after:%q)`, s.cursor(1)):                             CursorExpired,
		fmt.Sprintf(`runUpdated(id:%q)`, model.RunID.Of(db.NewID())):                 NotFound,
		fmt.Sprintf(`runUpdated(id:%q)`, model.RunID.Of(foreign.ID)):                 NotFound,
		fmt.Sprintf(`runUpdated(id:%q)`, model.FlowID.Of(mine.ID)):                   NotFound,
		`runUpdated(id:"nonsense")`:                                                  NotFound,
		fmt.Sprintf(`runUpdated(id:%q,after:"x")`, model.RunID.Of(mine.ID)):          BadUserInput,
		fmt.Sprintf(`runUpdated(id:%q,after:%q)`, model.RunID.Of(mine.ID), "ZmVlZA"): BadUserInput,
	} {
		w.send(subscribeTo("a", "subscription{m:"+field+"{cursor}}"))
		if _, code := w.told(); code != string(want) {
			t.Errorf("%s: %s, want %s", field, code, want)
		}
	}
	if n := f.following(); n != 0 {
		t.Errorf("%d follow", n)
	}
}

// addRun makes a run whose flow, link and event are not there.
func (s *feedSite) addRun(org db.ID) db.Run {
	s.t.Helper()
	r := db.Run{OrgID: org, ID: db.NewID(), State: "RUNNING", Source: "WEBHOOK", Version: 1, Chain: []db.ID{}, EventAt: time.Now(), VendorAt: time.Now()}
	r.BusinessKey = r.ID.String()
	check(s.t, s.db.InTx(s.t.Context(), func(ctx context.Context, tx db.Tx) error {
		if _, err := tx.ExecContext(ctx, "SET LOCAL session_replication_role = replica"); err != nil {
			return err
		}
		_, err := tx.NewInsert().Model(&r).Exec(ctx)
		return err
	}))
	return r
}

// step moves a run on and tells of it.
func (s *feedSite) step(r *db.Run) {
	s.t.Helper()
	check(s.t, s.db.InTx(s.t.Context(), func(ctx context.Context, tx db.Tx) error {
		if err := tx.NewRaw("UPDATE runs SET version = version + 1 WHERE org_id = ? AND id = ? RETURNING version", r.OrgID, r.ID).Scan(ctx, &r.Version); err != nil {
			return err
		}
		return db.Tell(ctx, tx, *r, nil)
	}))
}

// runUpdated tells of its run alone, and also once that is final.
func TestFollowOneRun(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	f := s.feed(nil)
	w := ready(t, s.serve(f))
	mine, other := s.addRun(s.org), s.addRun(s.org)
	w.send(subscribeTo("a", fmt.Sprintf("subscription{m:runUpdated(id:%q){cursor change{version} run{id version}}}", model.RunID.Of(mine.ID))))
	eventually(t, "it follows", func() bool { return f.following() == 1 })
	for range 3 {
		s.step(&other)
		s.step(&mine)
		if m, _ := w.told(); m.Change.Version != mine.Version || m.Run == nil || m.Run.ID != model.RunID.Of(mine.ID) || m.Run.Version < mine.Version {
			t.Errorf("%+v of version %d", m, mine.Version)
		}
		mine.State = "SUCCEEDED"
	}
	s.add(db.Change{RunID: mine.ID, Version: 99}) // as after a run was restored
	if m, _ := w.told(); m.Change.Version != 99 || m.Run == nil || m.Run.Version != mine.Version {
		t.Errorf("a run behind its change: %+v", m)
	}
}

// A run that many subscribers are shown is read once for all, and only for those who ask; one that is gone is null.
func TestRunsAreReadOnceForAll(t *testing.T) {
	t.Parallel()
	const sockets, each, changes = 5, 10, 40
	s := newFeedSite(t)
	f := s.feed(nil)
	url := s.serve(f)
	run := s.addRun(s.org)
	var reading sync.WaitGroup
	quiet := ready(t, url)
	quiet.follow("quiet", "", "change{version}")
	eventually(t, "it follows", func() bool { return f.following() == 1 })
	s.step(&run)
	quiet.cursor()
	if n := s.runQueries.Load(); n != 0 {
		t.Errorf("%d reads for a message without run", n)
	}
	for range sockets {
		w := ready(t, url)
		for i := range each {
			w.follow(fmt.Sprint(i), "", "change{version} run{id version}")
		}
		reading.Go(func() {
			for range each * (changes + 1) {
				m, code := w.told()
				switch {
				case code != "":
					t.Errorf("ended with %s", code)
				case m.Change.Version == 0 && m.Run != nil:
					t.Errorf("a run that is gone: %+v", m.Run)
				case m.Change.Version > 0 && (m.Run == nil || m.Run.Version < m.Change.Version || m.Run.ID != model.RunID.Of(run.ID)):
					t.Errorf("change %d shows %+v", m.Change.Version, m.Run)
				}
			}
		})
	}
	eventually(t, "all follow", func() bool { return f.following() == 1+sockets*each })
	for range changes {
		s.step(&run)
	}
	s.add(db.Change{RunID: db.NewID()})
	reading.Wait()
	n := s.runQueries.Load()
	t.Logf("%d reads for %d messages", n, sockets*each*(changes+1))
	if n > 2*(changes+1) {
		t.Errorf("%d reads of runs for %d changes", n, changes+1)
	}
}

// A client that does not read is told to resume, which it can, without gap or repeat, while another is not held up.
func TestSlowClientResumes(t *testing.T) {
	t.Parallel()
	const n = 800
	s := newFeedSite(t)
	f := s.feed(func(f *Feed) { f.lag = 50 })
	url := s.serve(f)
	w := ready(t, url)
	w.conn.SetReadLimit(1 << 20)
	w.follow("slow", "", "change{step}")
	eventually(t, "it follows", func() bool { return f.following() == 1 })
	quick := s.follow(f, db.FeedFilter{}, nil)
	for range n / 10 {
		some := manyChanges(10)
		for i := range some {
			some[i].Step = strings.Repeat("x", 30_000) // fills the network's buffers
		}
		s.add(some...)
		s.read(quick, 10)
	}
	eventually(t, "the slow one is dropped", func() bool { return f.following() == 1 })
	var log []string
	for {
		m, code := w.told()
		if code != "" {
			if code != string(SlowSubscriber) {
				t.Errorf("ended with %s", code)
			}
			break
		}
		log = append(log, m.Cursor)
	}
	got := len(log)
	if got == 0 || got == n {
		t.Fatalf("%d came before the end: the test proves nothing", got)
	}
	w.follow("again", afterArg(log[got-1]), "")
	for len(log) < n {
		log = append(log, w.cursor())
	}
	if !slices.Equal(log, s.cursors()) {
		t.Errorf("%d before and %d after are not the table", got, n-got)
	}
}

func TestFeedsEndIsTold(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	f, stop := s.stoppable(nil)
	w := ready(t, s.serve(f))
	w.follow("a", "", "")
	eventually(t, "it follows", func() bool { return f.following() == 1 })
	stop()
	if _, code := w.told(); code != string(Unavailable) {
		t.Errorf("ended with %s", code)
	}
	w.follow("a", "", "")
	if _, code := w.told(); code != string(Unavailable) {
		t.Errorf("begun after the end: %s", code)
	}
}

func TestTokensEndEndsFollowing(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	s.holders["reader"] = auth.Viewer{Org: s.org, Scopes: []auth.Scope{auth.Read}, Expires: time.Now().Add(3 * time.Second)}
	f := s.feed(nil)
	w := ready(t, s.serve(f))
	w.follow("a", "", "")
	eventually(t, "it follows", func() bool { return f.following() == 1 })
	w.wantClose(closeUnauthorized)
	eventually(t, "nobody follows", func() bool { return f.following() == 0 })
}

// Not parallel: it counts goroutines.
func TestSubscribersLeaveNothingBehind(t *testing.T) {
	const sockets, each = 10, 100
	s := newFeedSite(t)
	f := s.feed(nil)
	url := s.serve(f)
	idle := goroutines() // the reader
	var open []*wire
	for range sockets {
		w := ready(t, url)
		for i := range each {
			w.follow(fmt.Sprint(i), "", "run{id}")
		}
		open = append(open, w)
	}
	eventually(t, "1,000 follow", func() bool { return f.following() == sockets*each })
	s.add(db.Change{})
	for i, w := range open {
		for range each {
			w.cursor()
		}
		switch i % 3 {
		case 0: // one by one, politely
			for i := range each {
				w.send(fmt.Sprintf(`{"type":"complete","id":"%d"}`, i))
			}
		case 1:
			_ = w.conn.Close(1000, "")
		case 2: // cut
			_ = w.conn.CloseNow()
		}
	}
	eventually(t, "nobody follows", func() bool { return f.following() == 0 })
	for _, w := range open {
		_ = w.conn.CloseNow()
	}
	eventually(t, "no goroutine is left", func() bool { return goroutines() <= idle })
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.followers) != 0 || len(f.runs.young)+len(f.runs.old) != 0 {
		t.Errorf("left: %d organizations, %d runs", len(f.followers), len(f.runs.young)+len(f.runs.old))
	}
}

// BenchmarkLatency is from a change's commit to its message at a client.
func BenchmarkLatency(b *testing.B) {
	for _, fields := range []string{"", "run{version}"} {
		b.Run("with "+fields, func(b *testing.B) {
			s := newFeedSite(b)
			f := s.feed(nil)
			w := ready(b, s.serve(f))
			w.follow("a", "", fields)
			eventually(b, "it follows", func() bool { return f.following() == 1 })
			run := s.addRun(s.org)
			var took []time.Duration
			for b.Loop() {
				s.step(&run)
				begin := time.Now()
				w.cursor()
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-p50")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
		})
	}
}

// BenchmarkClients is what 100 clients over websockets get of changes that are there already.
func BenchmarkClients(b *testing.B) {
	for _, fields := range []string{"", "change{id version state step stepState at} run{id version state}"} {
		b.Run("with "+fields, func(b *testing.B) {
			const clients, changes = 100, 500
			s := newFeedSite(b)
			f := s.feed(nil)
			url := s.serve(f)
			run := s.addRun(s.org)
			n := 0
			var ws []*wire
			for range clients {
				w := ready(b, url)
				w.follow("a", "", fields)
				ws = append(ws, w)
			}
			eventually(b, "all follow", func() bool { return f.following() == clients })
			for b.Loop() {
				some := manyChanges(changes)
				for i := range some {
					some[i].RunID, some[i].Version = run.ID, 1
				}
				s.add(some...)
				var reading sync.WaitGroup
				for _, w := range ws {
					reading.Go(func() {
						for range changes {
							_, _, _ = w.conn.Read(b.Context())
						}
					})
				}
				reading.Wait()
				n += clients * changes
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "messages/s")
			b.ReportMetric(float64(s.runQueries.Load())/float64(b.N), "reads/op")
		})
	}
}
