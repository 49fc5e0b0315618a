package graph

import (
	"runtime"
	"testing"
)

// Five thousand follow in silence, and go as a process does that is killed: nothing is left of them. It runs alone, since
// it counts goroutines.
func TestFiveThousandIdle(t *testing.T) {
	idle := 5000
	if raced {
		idle = 1000 // the race detector knows 8,128 goroutines, of which each has four or five
	}
	for _, transport := range []string{"websocket", "events"} {
		t.Run(transport, func(t *testing.T) {
			s := newFeedSite(t)
			f := s.feed(nil)
			url := s.serve(f)
			before := runtime.NumGoroutine()
			c := newCrowd(t, url, transport, idle, 1)
			eventually(t, "all follow", func() bool { return f.following() == idle })
			if n := s.db.Pool.Stat().AcquiredConns(); n > 2 { // the reader may be looking, and numbering
				t.Errorf("%d connections are held", n)
			}
			if n := runtime.NumGoroutine() - before; n < idle {
				t.Errorf("%d goroutines more", n)
			}
			c.leave()
			eventually(t, "all have left", func() bool { return f.following() == 0 })
			eventually(t, "their goroutines have ended", func() bool { return runtime.NumGoroutine() <= before+5 }) // some of the pool's, for a moment
			var rows int
			if err := s.db.NewRaw("SELECT (SELECT count(*) FROM changes) + (SELECT count(*) FROM claims) + (SELECT count(*) FROM audit_log)").Scan(t.Context(), &rows); err != nil || rows != 0 {
				t.Errorf("%d rows are left (%v)", rows, err)
			}
		})
	}
}
