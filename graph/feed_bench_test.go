package graph

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coderws "github.com/coder/websocket"
	"github.com/jackc/pgx/v5"

	"tieline/db"
	"tieline/db/dbtest"
)

const (
	watchers       = 1000
	changesASecond = 50
)

// BenchmarkFeed has 1,000 follow 50 changes a second, committed one by one. Its bound does the least that could be called
// the same by hand: a row and its NOTIFY in a transaction, and one message that is written to every socket.
//
//	go test ./graph -run '^$' -bench Feed -benchtime 500x -count 3
func BenchmarkFeed(b *testing.B) {
	for _, transport := range []string{"websocket", "events"} {
		b.Run(transport, func(b *testing.B) {
			s := feedSiteAt(b, dbtest.Durable(b))
			f := s.feed(nil)
			watch(b, s.serve(f), transport, f.following, func(version int) error {
				return s.db.InTx(b.Context(), func(ctx context.Context, tx db.Tx) error {
					return db.Tell(ctx, tx, db.Run{OrgID: s.org, ID: db.NewID(), FlowID: db.NewID(), Source: "WEBHOOK", State: "RUNNING", Version: int64(version)},
						&db.Step{Key: "customer", State: "SUCCEEDED"})
				})
			})
		})
	}
	b.Run("bound", func(b *testing.B) {
		url := dbtest.Durable(b)
		conn, err := pgx.Connect(b.Context(), url)
		check(b, err)
		defer conn.Close(context.Background())
		_, err = conn.Exec(b.Context(), "CREATE TABLE told (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text NOT NULL)")
		check(b, err)
		h := &hub{writers: map[chan []byte]struct{}{}}
		srv := httptest.NewServer(h)
		defer srv.Close()
		ears, err := pgx.Connect(b.Context(), url)
		check(b, err)
		ctx, stop := context.WithCancel(b.Context())
		var listening sync.WaitGroup
		defer listening.Wait()
		defer stop()
		_, err = ears.Exec(ctx, "LISTEN told")
		check(b, err)
		listening.Go(func() {
			defer ears.Close(context.Background())
			for {
				n, err := ears.WaitForNotification(ctx)
				if err != nil {
					return
				}
				h.publish([]byte(n.Payload))
			}
		})
		watch(b, srv.URL, "websocket", h.following, func(version int) error {
			text := fmt.Sprintf(`{"id":"1","type":"next","payload":{"data":{"runUpdates":{"cursor":"0123456789012345678901","change":{"version":%d,"state":"RUNNING","step":"customer","stepState":"SUCCEEDED","at":"2026-11-24T14:00:00.000000Z"}}}}}`, version)
			_, err := conn.Exec(b.Context(), "WITH t AS (INSERT INTO told (text) VALUES ($1) RETURNING text) SELECT pg_notify('told', text) FROM t", text)
			return err
		})
	})
}

// hub is the bound's way from a change to those who follow.
type hub struct {
	mu      sync.Mutex
	writers map[chan []byte]struct{}
}

func (h *hub) following() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.writers)
}

func (h *hub) publish(text []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.writers {
		c <- text
	}
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := coderws.Accept(w, r, &coderws.AcceptOptions{Subprotocols: []string{protocol}})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for range 2 { // connection_init, subscribe
		if _, _, err := conn.Read(r.Context()); err != nil {
			return
		}
	}
	mine := make(chan []byte, 64)
	h.mu.Lock()
	h.writers[mine] = struct{}{}
	h.mu.Unlock()
	go func() {
		for text := range mine {
			_ = conn.Write(context.Background(), coderws.MessageText, text)
		}
	}()
	_, _, _ = conn.Read(r.Context())
	h.mu.Lock()
	delete(h.writers, mine)
	h.mu.Unlock()
	close(mine)
}

// watch has a crowd follow b.N changes, and reports what it says.
func watch(b *testing.B, url, transport string, following func() int, tell func(version int) error) {
	before := resident(b)
	c := newCrowd(b, url, transport, watchers, b.N)
	eventually(b, "all follow", func() bool { return following() == watchers })
	each := float64(resident(b)-before) / watchers
	committed := make([]int64, b.N)
	due := time.NewTicker(time.Second / changesASecond)
	defer due.Stop()
	b.ResetTimer()
	for n := range b.N {
		<-due.C
		if err := tell(n + 1); err != nil {
			b.Fatal(err)
		}
		committed[n] = time.Now().UnixNano()
	}
	got := c.received(b.N)
	b.StopTimer()
	if len(got) != watchers {
		b.Fatalf("%d were told", len(got))
	}
	var took []time.Duration
	for _, times := range got {
		for n, at := range times {
			took = append(took, max(0, time.Duration(at-committed[n])))
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "delivered/s")
	b.ReportMetric(took[len(took)/2].Seconds()*1e3, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "p99-ms")
	b.ReportMetric(each, "kB/subscriber")
}

// resident is the memory of this process in kilobytes, after what can be given back was: each collection halves stacks
// that have become too large.
func resident(t testing.TB) (kb int) {
	t.Helper()
	for range 5 {
		debug.FreeOSMemory()
	}
	text, err := os.ReadFile("/proc/self/status")
	check(t, err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			_, err = fmt.Sscan(rest, &kb)
			check(t, err)
		}
	}
	return kb
}
