package conntest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"tieline/connectors"
)

// action tries one action.
func (s Suite[W]) action(t *testing.T, a connectors.Action, how Action[W]) {
	calls := s.sample(t, a, how)
	t.Run("outside of an effect", func(t *testing.T) { s.outside(t, a, how) })
	s.cancelled(t, "", func(w *watched) func(*testing.T) error {
		return func(t *testing.T) error {
			_, err := a.Run(ended(t), w.Conn, a.Sample)
			return err
		}
	})
	s.refusals(t, "", func(t *testing.T) (*watched, func() error) {
		st := s.stage(t, a, how)
		w := s.watch(t, st.site)
		return w, func() error {
			_, err := a.Run(t.Context(), w.Conn, st.input)
			return err
		}
	})
	s.dials(t, a, how, calls)
	s.looks(t, a, how, calls)
	if how.Many != nil {
		for _, extra := range []bool{false, true} {
			t.Run(fmt.Sprint("pages, an empty last one: ", extra), func(t *testing.T) {
				t.Parallel()
				s.pages(t, a, how, extra)
			})
		}
	}
	s.options(t, a, how)
}

// sample runs the sample twice, and answers the calls that the first time made.
func (s Suite[W]) sample(t *testing.T, a connectors.Action, how Action[W]) []request {
	t.Helper()
	st := s.stage(t, a, how)
	before := len(st.sim.requests())
	w := s.watch(t, st.site)
	out, err := a.Run(t.Context(), w.Conn, st.input)
	if w.hear(err) != nil {
		t.Fatalf("the sample: %v", err)
	}
	if p := a.Output.Validate(out); len(p) > 0 {
		t.Errorf("the output %+v does not fit its schema: %v", out, p)
	}
	calls, writes := st.sim.requests()[before:], 0
	for _, r := range calls {
		if !s.reads(r) {
			writes++
		}
	}
	effects := w.Effects()
	if a.Reads != (len(effects) == 0) || writes > len(effects) {
		t.Errorf("it reads: %v; it made %d writes in %d effects", a.Reads, writes, len(effects))
	}
	for _, e := range effects {
		if !e.Probed {
			t.Errorf("nothing can look for %+v", e.Intent)
		}
		if e.Sent > 0 && s.App.ReplaysKeys > 0 && e.Request.Header.Get("Idempotency-Key") != e.Key {
			t.Errorf("%s %s is sent with the key %q, want %q", e.Request.Method, e.Request.Path, e.Request.Header.Get("Idempotency-Key"), e.Key)
		}
	}
	left := st.sim.left()
	again, err := a.Run(t.Context(), w.Conn, st.input)
	if w.hear(err) != nil || !a.Reads && text(t, again) != text(t, out) {
		t.Errorf("asked again: %s, %v, want %s", text(t, again), err, text(t, out))
	}
	if now := st.sim.left(); fmt.Sprint(now) != fmt.Sprint(left) {
		t.Errorf("asked again, there are %v, want %v", now, left)
	}
	return calls
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// unguarded is a journal that gives nobody the right to write.
type unguarded struct {
	*Journal
	asked int
}

// Effect implements connectors.Journal.
func (j *unguarded) Effect(ctx context.Context, _ connectors.Intent, _ connectors.Probe, send connectors.Send) (connectors.Ref, error) {
	j.asked++
	return send(ctx, "tl_test_none")
}

// outside checks that every write of an action passes the transport, which refuses it outside of an effect.
func (s Suite[W]) outside(t *testing.T, a connectors.Action, how Action[W]) {
	st := s.stage(t, a, how)
	j := &unguarded{Journal: &Journal{effects: map[string]*Effect{}}}
	c, err := connectors.Open(s.App, st.site.Credentials, connectors.Options{URL: st.site.URL, Login: st.site.Login, Journal: j, Tokens: st.site.Tokens})
	if err != nil {
		t.Fatal(err)
	}
	left, before := st.sim.left(), len(st.sim.requests())
	_, err = a.Run(t.Context(), c, st.input)
	switch {
	case a.Reads && (err != nil || j.asked > 0):
		t.Errorf("it only reads, and asks for %d effects: %v", j.asked, err)
	case !a.Reads && !errors.Is(err, connectors.ErrWriteOutsideEffect):
		t.Errorf("a write outside of an effect: %v", err)
	}
	for _, r := range st.sim.requests()[before:] {
		if !s.reads(r) {
			t.Errorf("%s %s was sent", r.Method, r.Path)
		}
	}
	if now := st.sim.left(); fmt.Sprint(now) != fmt.Sprint(left) {
		t.Errorf("there are %v, want %v", now, left)
	}
}

// ended is the context of a caller that has gone.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// cancelled checks that nothing is asked for a caller that has gone.
func (s Suite[W]) cancelled(t *testing.T, what string, run func(*watched) func(*testing.T) error) {
	t.Helper()
	_, site := s.World(t, Options{})
	w, sim := s.watch(t, site), control{t, site.URL}
	before := len(sim.requests())
	if err := w.hear(run(w)(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("%s, cancelled: %v", what, err)
	}
	if n := len(sim.requests()) - before; n != 0 {
		t.Errorf("%s, cancelled: %d calls", what, n)
	}
}

// pages makes more records than two pages hold and lists them to the end. Where the last page is full, a vendor may say
// that there is one more.
func (s Suite[W]) pages(t *testing.T, a connectors.Action, how Action[W], extra bool) {
	for _, n := range []int{2*how.Page + 1, 2 * how.Page} {
		w, site := s.World(t, Options{EmptyLastPage: extra})
		in := how.Many(t, w, s.other(t, site), n)
		c, sim := s.watch(t, site), control{t, site.URL}
		before := len(sim.requests())
		out, err := a.Run(t.Context(), c.Conn, []byte(text(t, in)))
		if err != nil {
			t.Fatal(err)
		}
		items := listed(t, out)
		seen := map[string]bool{}
		for _, x := range items {
			seen[string(x)] = true
		}
		if len(items) != n || len(seen) != n {
			t.Errorf("%d records, %d different ones, want %d", len(items), len(seen), n)
		}
		if calls := len(sim.requests()) - before; calls < (n+how.Page-1)/how.Page {
			t.Errorf("%d calls for %d records", calls, n)
		}
	}
}

// listed is the list in an output: the one field that holds objects.
func listed(t *testing.T, out any) (items []json.RawMessage) {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text(t, out)), &fields); err != nil {
		t.Fatal(err)
	}
	lists := 0
	for _, f := range fields {
		var list []json.RawMessage
		if json.Unmarshal(f, &list) == nil && string(f) != "null" {
			items, lists = list, lists+1
		}
	}
	if lists != 1 {
		t.Fatalf("the output has %d lists", lists)
	}
	return items
}
