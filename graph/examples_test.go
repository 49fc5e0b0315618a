package graph

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"

	"tieline/db"
	follow "tieline/graph/examples/go"
)

// line passes bytes on to a server, and cuts each connection somewhere in what comes back.
func line(t *testing.T, addr string) (url string, cuts func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	var mu sync.Mutex
	var passing sync.WaitGroup
	n := 0
	passing.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", addr)
			if err != nil {
				near.Close()
				continue
			}
			passing.Go(func() {
				_, _ = io.Copy(far, near)
				far.Close()
			})
			passing.Go(func() {
				_, _ = io.CopyN(near, far, 500+rand.Int64N(6000))
				near.Close()
				far.Close()
				mu.Lock()
				n++
				mu.Unlock()
			})
		}
	})
	t.Cleanup(passing.Wait)
	t.Cleanup(func() { l.Close() })
	return "ws://" + l.Addr().String(), func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// The example for Go follows over a line that is cut again and again, while others write: its log is the table.
func TestExampleInGo(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	url, cuts := line(t, strings.TrimPrefix(s.serve(s.feed(nil)), "ws://"))
	const all = 400
	var writing sync.WaitGroup
	for range 4 {
		writing.Go(func() {
			for i := range all / 4 {
				if err := s.commit(db.Change{Version: int64(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	enough := errors.New("enough")
	var log []string
	err := follow.Runs(t.Context(), url, "reader", s.cursor(0), func(u follow.Update) error {
		if log = append(log, u.Cursor); len(log) == all {
			return enough
		}
		return nil
	})
	writing.Wait()
	if table := s.cursors(); !errors.Is(err, enough) || strings.Join(log, " ") != strings.Join(table, " ") {
		t.Errorf("the log of %d is not the table of %d (%v)", len(log), len(table), err)
	}
	if cuts() < 5 {
		t.Errorf("the line was cut %d times", cuts())
	}
	expired := s.cursor(1 << 40)
	for name, args := range map[string][2]string{"refused": {"revoked", ""}, "expired": {"reader", expired}} {
		if err := follow.Runs(t.Context(), s.serve(s.feed(nil)), args[0], args[1], func(follow.Update) error { return nil }); !errors.Is(err, follow.ErrFinal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
