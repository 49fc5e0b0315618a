package db_test

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"tieline/db"
	"tieline/db/dbtest"
)

// purse is a vendor account to draw from.
type purse struct {
	t       testing.TB
	db      *db.DB
	org, id db.ID
}

func newPurse(t testing.TB, d *db.DB) purse {
	t.Helper()
	org, err := db.CreateOrganization(t.Context(), d, "Acme")
	if err != nil {
		t.Fatal(err)
	}
	account, err := db.ClaimVendorAccount(t.Context(), d, db.VendorAccount{OrgID: org.OrgID, App: "stripe", ExternalID: "acct_1", Mode: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return purse{t, d, org.OrgID, account.ID}
}

func (p purse) draw(w db.Draw) db.Drawn {
	p.t.Helper()
	w.OrgID, w.AccountID = p.org, p.id
	got, err := db.DrawCall(p.t.Context(), p.db, w)
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

func (p purse) exec(sql string, args ...any) {
	p.t.Helper()
	if _, err := p.db.NewRaw(sql, args...).Exec(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// away is how far away a start is, to half a second.
func away(d db.Drawn) time.Duration { return max(0, d.Start.Sub(d.Now)).Round(500 * time.Millisecond) }

const second = time.Second

// TestDrawCall follows single buckets: a draw is what is asked for, and the wait it gets.
func TestDrawCall(t *testing.T) {
	t.Parallel()
	own := db.Bucket{Every: second, Burst: 3}
	bulk := db.Bucket{Name: "bulk", Every: 2 * second, Burst: 1}
	type step struct {
		draw  db.Draw
		ok    bool
		wait  time.Duration
		round time.Duration // of the wait; half a second unless given
		sql   string        // done before
	}
	call := func(b db.Bucket) db.Draw { return db.Draw{Bucket: b, Near: time.Hour} }
	begin := func(b db.Bucket) db.Draw { return db.Draw{Bucket: b, Near: second, Line: true} }
	known := func(calls int) string { return fmt.Sprintf("UPDATE buckets SET begun = 1, calls = %d / 1.1", calls) }
	for name, steps := range map[string][]step{
		"a burst, then one by one": {{draw: call(own), ok: true}, {draw: call(own), ok: true}, {draw: call(own), ok: true}, {draw: call(own), ok: true, wait: second}, {draw: call(own), ok: true, wait: 2 * second}},
		"refilled": {
			{draw: call(own), ok: true}, {draw: call(own), ok: true}, {draw: call(own), ok: true}, {draw: call(own), ok: true, wait: second},
			{sql: "UPDATE buckets SET tat = tat - interval '2 seconds'", draw: call(own), ok: true}, {draw: call(own), ok: true, wait: second},
		},
		"full for long holds no more than a burst": {
			{draw: call(own), ok: true}, {sql: "UPDATE buckets SET tat = tat - interval '1 day'", draw: call(own), ok: true}, {draw: call(own), ok: true}, {draw: call(own), ok: true},
			{draw: call(own), ok: true, wait: second},
		},
		"what is too far away is not taken": {
			{draw: call(own), ok: true, sql: ""}, {sql: "UPDATE buckets SET tat = clock_timestamp() + interval '10 seconds'", draw: db.Draw{Bucket: own, Near: second}, wait: 8 * second},
			{draw: db.Draw{Bucket: own, Near: second}, wait: 8 * second}, {draw: call(own), ok: true, wait: 8 * second}, {draw: call(own), ok: true, wait: 9 * second},
		},
		"two buckets are apart": {{draw: call(own), ok: true}, {draw: call(bulk), ok: true}, {draw: call(bulk), ok: true, wait: 2 * second}, {draw: call(own), ok: true}},
		"both must allow it": {
			{draw: db.Draw{Bucket: own, Part: bulk, Near: second}, ok: true}, {draw: db.Draw{Bucket: own, Part: bulk, Near: second}, wait: 2 * second}, // and nothing was taken of own
			{draw: call(own), ok: true}, {draw: call(own), ok: true}, {draw: db.Draw{Bucket: own, Part: bulk, Near: time.Hour}, ok: true, wait: 2 * second}, {draw: call(own), ok: true, wait: 2 * second},
		},
		"several at once, or none": {
			{draw: db.Draw{Bucket: own, Near: time.Hour, Calls: 4}, ok: true}, {draw: call(own), ok: true, wait: 2 * second}, // after the fourth, a second away
			{sql: known(1), draw: db.Draw{Bucket: own, Near: 3 * second, Line: true, Calls: 2}, wait: 3 * second}, {draw: call(own), ok: true, wait: 3 * second},
		},
		"a line": {
			{draw: call(own), ok: true}, {sql: known(4), draw: begin(own), ok: true}, // one call is made, and three are to come
			{draw: begin(own), wait: 2 * second}, {draw: begin(own), wait: 6 * second}, {sql: known(100), draw: begin(own), wait: 10 * second}, {draw: begin(own), wait: 43 * second},
			{draw: call(own), ok: true}, // who has begun goes on
		},
		"a place is not taken twice": {
			{draw: call(own), ok: true}, {sql: "UPDATE buckets SET line = clock_timestamp() + interval '1 hour'", draw: db.Draw{Bucket: own, Near: second, After: time.Now().Add(-second)}, ok: true},
			{draw: db.Draw{Bucket: own, Near: second, After: time.Now().Add(time.Hour)}, wait: time.Hour, round: time.Minute},
		},
		"a line in which nobody stands": {
			{draw: begin(own), ok: true}, {sql: "UPDATE buckets SET line = clock_timestamp() + interval '1 hour'", draw: begin(own), wait: 3598 * second},
			{sql: "UPDATE buckets SET tat = clock_timestamp()", draw: begin(own), ok: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPurse(t, dbtest.New(t))
			for i, s := range steps {
				if s.sql != "" {
					p.exec(s.sql)
				}
				got := p.draw(s.draw)
				if wait := max(0, got.Start.Sub(got.Now)).Round(cmp.Or(s.round, 500*time.Millisecond)); got.OK != s.ok || wait != s.wait {
					t.Errorf("draw %d: %t in %s, want %t in %s", i, got.OK, wait, s.ok, s.wait)
				}
			}
		})
	}
}

// TestDrawCallConcurrently: what many connections draw at once are different starts, a call's time apart, and no place in
// the line is given twice.
func TestDrawCallConcurrently(t *testing.T) {
	t.Parallel()
	p := newPurse(t, dbtest.New(t))
	const n, every = 200, 10 * time.Millisecond
	b := db.Bucket{Every: every, Burst: 1}
	for name, w := range map[string]db.Draw{
		"calls":  {Bucket: b, Near: time.Hour},
		"places": {Bucket: db.Bucket{Name: "line", Every: every, Burst: 1}, Line: true},
	} {
		p.draw(db.Draw{Bucket: w.Bucket, Near: time.Hour})
		p.exec("UPDATE buckets SET tat = clock_timestamp() + interval '1 hour' WHERE bucket = 'line'") // so that all must wait
		var mu sync.Mutex
		var starts []time.Time
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				for range n / 20 {
					got := p.draw(w)
					mu.Lock()
					starts = append(starts, got.Start)
					mu.Unlock()
				}
			})
		}
		all.Wait()
		slices.SortFunc(starts, time.Time.Compare)
		for i := 1; i < n; i++ {
			if d := starts[i].Sub(starts[i-1]); d < every {
				t.Errorf("%s: %d comes %s after its predecessor", name, i, d)
			}
		}
	}
}

// TestCallLeases: no more calls are in the air than may be, one that is over or timed out makes room, and its lease is not
// another's.
func TestCallLeases(t *testing.T) {
	t.Parallel()
	p := newPurse(t, dbtest.New(t))
	w := db.Draw{Bucket: db.Bucket{Every: time.Microsecond, Burst: 1000}, Near: second, Parallel: 3, Lease: time.Minute}
	var mu sync.Mutex
	var held []db.Lease
	full := 0
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			got := p.draw(w)
			mu.Lock()
			defer mu.Unlock()
			if got.OK {
				held = append(held, got.Lease)
			} else if got.Full {
				full++
			}
		})
	}
	all.Wait()
	if len(held) != 3 || full != 9 {
		t.Fatalf("%d calls of 3 are in the air, %d found it full", len(held), full)
	}
	if err := db.FreeCalls(t.Context(), p.db, held[:1]); err != nil {
		t.Fatal(err)
	}
	next := p.draw(w)
	if !next.OK || next.Lease.N != held[0].N {
		t.Errorf("a call that was over made no room: %+v", next)
	}
	if err := db.FreeCalls(t.Context(), p.db, held[:1]); err != nil { // late: another has it
		t.Fatal(err)
	}
	if got := p.draw(w); got.OK {
		t.Error("a lease was given back that another holds")
	}
	p.exec("UPDATE call_leases SET lease_until = clock_timestamp() WHERE n = ?", held[1].N) // its process was killed
	if got := p.draw(w); !got.OK || got.Lease.N != held[1].N {
		t.Errorf("a call that can no longer be in the air made no room: %+v", got)
	}
	w.Parallel = 4 // a newer version knows better
	if got := p.draw(w); !got.OK || got.Lease.N != 4 {
		t.Errorf("there is no fourth lease: %+v", got)
	}
}

// TestDelayCalls: everybody waits when the vendor asks for it, also who takes a place in the line from then on, and asking
// twice at once is asking once.
func TestDelayCalls(t *testing.T) {
	t.Parallel()
	p := newPurse(t, dbtest.New(t))
	own, other := db.Bucket{Every: second, Burst: 3}, db.Bucket{Name: "ingest", Every: second, Burst: 1}
	begin := db.Draw{Bucket: own, Near: second, Line: true}
	p.draw(db.Draw{Bucket: other})
	p.draw(begin)
	p.exec("UPDATE buckets SET calls = 5 * begun / 1.1")
	p.draw(begin)
	if got := p.draw(begin); away(got) != 5*second {
		t.Fatalf("a place in %s", away(got))
	}
	for range 2 {
		if err := db.DelayCalls(t.Context(), p.db, p.org, p.id, own, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.draw(db.Draw{Bucket: own, Near: second}); got.OK || away(got) != time.Minute {
		t.Errorf("a call %t in %s, want none for a minute", got.OK, away(got))
	}
	// The next place was 10 s away.
	if got := p.draw(begin); away(got) < time.Minute+9*second || away(got) > time.Minute+11*second {
		t.Errorf("a place in %s", away(got))
	}
	if got := p.draw(db.Draw{Bucket: other, Near: second}); !got.OK || away(got) != second {
		t.Errorf("a bucket that was not meant: %t in %s", got.OK, away(got))
	}
}

// BenchmarkDrawCall is what each call costs, while 8 others draw from the same account.
func BenchmarkDrawCall(b *testing.B) {
	d, err := db.Open(b.Context(), dbtest.Durable(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { d.Close() })
	own, part, bulk := db.Bucket{Every: time.Microsecond, Burst: 1}, db.Bucket{Name: "part", Every: time.Microsecond, Burst: 1}, db.Bucket{Name: "bulk", Every: time.Microsecond, Burst: 1}
	for name, w := range map[string]db.Draw{
		"own": {Bucket: own, Near: time.Hour, Line: true}, "part": {Bucket: own, Part: part, Near: time.Hour}, "leased": {Bucket: own, Part: bulk, Near: time.Hour, Parallel: 20, Lease: time.Millisecond},
	} {
		b.Run(name, func(b *testing.B) {
			p := newPurse(b, d)
			dbtest.Load(b, 8, "draws/s", func(int, int) error { p.draw(w); return nil })
		})
	}
}
