package jobs

import (
	"context"
	"log/slog"
	"testing"
	"time"
)

// heard is a log that tells of each line.
type heard struct {
	slog.Handler
	lines chan string
}

func (h heard) Handle(_ context.Context, r slog.Record) error {
	select {
	case h.lines <- r.Message:
	default:
	}
	return nil
}

func (h heard) WithAttrs([]slog.Attr) slog.Handler { return h }

// TestAwayAndBack: connections are read when a process starts and when the database is back, not due as they are.
func TestAwayAndBack(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.link(t)
	exec := func(sql string) {
		t.Helper()
		if _, err := w.Pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	await := func(what string, signal <-chan string, want string) {
		t.Helper()
		for late := time.After(20 * time.Second); ; {
			select {
			case got := <-signal:
				if got == want {
					return
				}
			case <-late:
				t.Fatalf("no %s", what)
			}
		}
	}
	exec("UPDATE cursors SET read_at = now(), due_at = now() + interval '1 hour'; UPDATE connections SET webhook_seen_at = now(), webhook_state = 'REGISTERED'")
	read, lines := make(chan string, 100), make(chan string, 100)
	w.stripe.OnRequest(func(stage, method, path string) {
		if stage == "arrived" {
			read <- path
		}
	})
	w.start(t, func(c *Config) {
		c.Log = slog.New(heard{slog.NewTextHandler(t.Output(), nil), lines})
	})
	await("reading at the start", read, "/v1/events")
	exec("ALTER TABLE events RENAME TO elsewhere")
	await("sweep that failed", lines, "sweeping failed")
	for len(read) > 0 {
		<-read
	}
	exec("ALTER TABLE elsewhere RENAME TO events")
	await("reading when the database is back", read, "/v1/events")
}
