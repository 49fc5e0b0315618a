package db_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"tieline/db"
)

// counter is a desk whose clerk shows what it serves together, and goes on when it is let.
type counter struct {
	db.Desk[string, string]
	served chan []string
	goOn   chan struct{}
}

func openDesk() *counter {
	return &counter{served: make(chan []string, 100), goOn: make(chan struct{})}
}

func (c *counter) serve(_ context.Context, all []string) []string {
	c.served <- all
	<-c.goOn
	out := make([]string, len(all))
	for i, s := range all {
		if s == "panic" {
			panic("as asked")
		}
		out[i] = "served " + s
	}
	return out
}

func (c *counter) ask(ctx context.Context, t *testing.T, org db.ID, what string) (string, error) {
	t.Helper()
	return c.Take(ctx, org, what, c.serve)
}

func TestDeskServesTogetherWhoComesMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openDesk()
		c.Most = 3
		many, few := db.NewID(), db.NewID()
		var all sync.WaitGroup
		ask := func(org db.ID, what string) {
			all.Go(func() {
				if got, err := c.ask(t.Context(), t, org, what); err != nil || got != "served "+what {
					t.Errorf("%q: %q, %v", what, got, err)
				}
			})
			synctest.Wait()
		}
		ask(many, "alone")
		for _, what := range []string{"a", "b", "c", "d"} {
			ask(many, what)
		}
		ask(few, "quiet")
		close(c.goOn)
		all.Wait()
		for _, want := range [][]string{{"alone"}, {"a", "quiet", "b"}, {"c", "d"}} {
			if got := <-c.served; !slices.Equal(got, want) {
				t.Errorf("served %q, want %q", got, want)
			}
		}
	})
}

func TestDeskLeavesTheLineOrHearsTheOutcome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openDesk()
		c.Size, c.Line = func(s string) int { return len(s) }, 10
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if got, err := c.ask(ctx, t, db.ID{}, "begun"); err != nil || got != "served begun" {
				t.Errorf("who was being served when its context ended heard %q, %v", got, err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			if got, err := c.ask(ctx, t, db.ID{}, "waits"); !errors.Is(err, context.Canceled) {
				t.Errorf("who waited when its context ended heard %q, %v", got, err)
			}
		})
		synctest.Wait()
		if _, err := c.ask(t.Context(), t, db.ID{}, "too long"); !errors.Is(err, db.ErrFull) {
			t.Errorf("a full line: %v", err)
		}
		cancel()
		synctest.Wait()
		all.Go(func() {
			if got, err := c.ask(t.Context(), t, db.ID{}, "room"); err != nil || got != "served room" {
				t.Errorf("who came where there is room again heard %q, %v", got, err)
			}
		})
		synctest.Wait()
		close(c.goOn)
		all.Wait()
		for _, want := range []string{"begun", "room"} {
			if got := <-c.served; !slices.Equal(got, []string{want}) {
				t.Errorf("served %q, want %q alone", got, want)
			}
		}
	})
}

func TestDeskOutlivesPanics(t *testing.T) {
	t.Parallel()
	c := openDesk()
	close(c.goOn)
	if _, err := c.ask(t.Context(), t, db.ID{}, "panic"); err == nil || !strings.Contains(err.Error(), "as asked") {
		t.Errorf("a panic is answered %v", err)
	}
	if got, err := c.ask(t.Context(), t, db.ID{}, "next"); err != nil || got != "served next" {
		t.Errorf("the next heard %q, %v", got, err)
	}
}
