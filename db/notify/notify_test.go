package notify_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"tieline/db"
	"tieline/db/dbtest"
	"tieline/db/notify"
)

const soon = 10 * time.Second

func listen(t *testing.T, d *db.DB, channels ...string) *notify.Listener {
	t.Helper()
	l := notify.New(d.Pool, slog.New(slog.DiscardHandler), channels...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(soon):
			t.Error("Run goes on after its context")
		}
	})
	return l
}

func woken(t *testing.T, wake <-chan struct{}, why string) {
	t.Helper()
	select {
	case <-wake:
	case <-time.After(soon):
		t.Fatalf("not woken: %s", why)
	}
}

func asleep(t *testing.T, wake <-chan struct{}, why string) {
	t.Helper()
	select {
	case <-wake:
		t.Fatalf("woken: %s", why)
	case <-time.After(100 * time.Millisecond):
	}
}

func exec(t *testing.T, d *db.DB, sql string) {
	t.Helper()
	if _, err := d.Pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func TestWakes(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	l := listen(t, d, "runs", "Other Channel")
	runs, cancel := l.Subscribe("runs")
	also, _ := l.Subscribe("runs")
	other, _ := l.Subscribe("Other Channel")
	for _, wake := range []<-chan struct{}{runs, also, other} {
		woken(t, wake, "by the first connect")
	}

	exec(t, d, "SELECT pg_notify('runs', i::text) FROM generate_series(1, 50) i")
	exec(t, d, "SELECT pg_notify('Other Channel', '')")
	woken(t, other, "by its own channel") // and notifications come in order
	woken(t, runs, "by notifications")
	asleep(t, runs, "fifty notifications nobody took leave one token")
	woken(t, also, "by notifications")

	exec(t, d, `SELECT pg_notify('Other Channel', '')`)
	woken(t, other, "by its own channel")
	asleep(t, runs, "by another channel")

	cancel()
	cancel()
	exec(t, d, "SELECT pg_notify('runs', '')")
	woken(t, also, "after another's cancel")
	asleep(t, runs, "after its cancel")
}

func TestConnectsAgain(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	l := listen(t, d, "runs")
	wake, _ := l.Subscribe("runs")
	woken(t, wake, "by the first connect")
	for range 2 {
		var killed int
		err := d.NewRaw(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND query LIKE 'LISTEN%'`).Scan(t.Context(), &killed)
		if err != nil || killed != 1 {
			t.Fatalf("%d listening backends (%v), want 1", killed, err)
		}
		woken(t, wake, "by the reconnect")
		exec(t, d, "SELECT pg_notify('runs', '')")
		woken(t, wake, "after the reconnect")
	}
}

func TestUnknownChannelPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	notify.New(dbtest.New(t).Pool, slog.New(slog.DiscardHandler), "runs").Subscribe("rums")
}
