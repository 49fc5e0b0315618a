package conntest

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"tieline/connectors"
)

// trigger tries one trigger.
func (s Suite[W]) trigger(t *testing.T, tr connectors.Trigger, how Trigger[W]) {
	const all = 1000 // of the next deliveries, as one happening may be told of in several
	dials := map[string]deliveries{"as usual": {}, "dropped": {Drop: all}}
	if s.App.Webhook != nil && !how.Quiet {
		maps.Copy(dials, map[string]deliveries{"told twice": {Duplicate: all}, "told in another order": {Reorder: all}, "told late": {DelayMS: 50}})
		if !s.App.Webhook.Unsigned {
			dials["signed over other bytes"] = deliveries{BadSignature: 1}
		}
		if !s.App.Webhook.Unsigned && !s.Untimed {
			maps.Copy(dials, map[string]deliveries{"signed long ago": {OldTime: 1}, "signed in the future": {FutureTime: 1}})
		}
	}
	for name, d := range dials {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.told(t, tr, how, d)
		})
	}
	if tr.List != nil {
		for _, extra := range []bool{false, true} {
			if how.Page == 0 {
				break
			}
			t.Run(map[bool]string{true: "pages, an empty last one", false: "pages"}[extra], func(t *testing.T) {
				t.Parallel()
				s.walks(t, tr, how, extra)
			})
		}
		s.listing(t, tr, how)
	}
	if tr.Read != nil {
		s.rereading(t, tr, how)
	}
}

// heard is one delivery as it was opened.
type heard struct {
	connectors.Envelope
	body []byte
	err  error
}

// hook listens where the vendor delivers.
func (s Suite[W]) hook(t *testing.T, w W, c connectors.Conn) <-chan heard {
	t.Helper()
	got := make(chan heard, 1000)
	var secrets []string
	ready := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		<-ready
		e, err := s.App.Webhook.Open(connectors.Delivery{Header: r.Header, Body: body, ReceivedAt: time.Now()}, secrets)
		if err != nil {
			rw.WriteHeader(http.StatusBadRequest)
		}
		got <- heard{e, body, err}
	}))
	t.Cleanup(server.Close)
	if s.App.Webhook.Register == nil {
		secrets = s.Hook(t, w, server.URL)
	} else {
		made, err := s.App.Webhook.Register(t.Context(), c, connectors.Endpoint{ConnectionID: "con_1", URL: server.URL, Events: s.App.Events(), Generation: 1})
		if err != nil || made.Secret == "" {
			t.Fatalf("registering the webhook: %+v, %v", made, err)
		}
		secrets = []string{made.Secret}
	}
	close(ready)
	return got
}

// told has the trigger happen, and checks that what is delivered and what is found by reading is the same news.
func (s Suite[W]) told(t *testing.T, tr connectors.Trigger, how Trigger[W], d deliveries) {
	w, site := s.World(t, Options{})
	c, sim := s.watch(t, site), control{t, site.URL}
	known, cursor := map[string]bool{}, ""
	if tr.List != nil {
		var base []connectors.Item
		base, cursor, _ = walk(t, tr, c.Conn, "")
		for _, i := range base {
			known[i.DedupeKey] = true
		}
	}
	var got <-chan heard
	if s.App.Webhook != nil && !how.Quiet {
		got = s.hook(t, w, s.other(t, site))
	}
	sim.dial(d)
	records := []string{how.Happen(t, w, s.other(t, site))}
	if d.Reorder > 0 {
		records = append(records, how.Happen(t, w, s.other(t, site)))
		sim.dial(deliveries{}) // what was gathered goes, last first
	}
	news := map[string][]byte{} // by dedupe key
	if tr.List != nil {
		items, _, _ := walk(t, tr, c.Conn, cursor)
		for _, i := range items {
			if i.Trigger != tr.Key || i.At.IsZero() {
				t.Errorf("found %+v", i.Envelope)
			}
			if !known[i.DedupeKey] {
				news[i.DedupeKey] = i.Body
			}
		}
		if len(news) != len(records) {
			t.Fatalf("%d are news of %d found, want %d", len(news), len(items), len(records))
		}
	}
	if got != nil && d.Drop == 0 {
		for key, body := range s.deliveries(t, tr, got, d, len(records)) {
			if tr.List != nil && news[key] == nil {
				t.Errorf("told of %s, and found %v", key, slices.Sorted(maps.Keys(news)))
			}
			s.decoded(t, tr, c, body, records)
		}
	}
	for _, body := range news {
		s.decoded(t, tr, c, body, records)
	}
}

// deliveries waits for the trigger's own, by their dedupe keys.
func (s Suite[W]) deliveries(t *testing.T, tr connectors.Trigger, got <-chan heard, d deliveries, n int) map[string][]byte {
	t.Helper()
	refused, times, bodies := 0, map[string]int{}, map[string][]byte{}
	enough := func() bool {
		total := 0
		for _, k := range times {
			total += k
		}
		return len(times) >= n && total >= n+min(d.Duplicate, 1) && refused >= d.BadSignature+d.OldTime+d.FutureTime
	}
	timeout := time.After(30 * time.Second)
	for !enough() {
		select {
		case h := <-got:
			switch {
			case h.err != nil:
				refused++
				want := map[bool]error{d.BadSignature > 0: connectors.ErrBadSignature, d.OldTime > 0: connectors.ErrTooOld, d.FutureTime > 0: connectors.ErrTooNew}[true]
				if h.err != want {
					t.Fatalf("refused with %v, want %v", h.err, want)
				}
			case h.Trigger == tr.Key:
				times[h.DedupeKey]++
				bodies[h.DedupeKey] = h.body
			}
		case <-timeout:
			t.Fatalf("told of %v, %d refused", times, refused)
		}
	}
	return bodies
}

// decoded checks what an event says, and what the record says when it is read again.
func (s Suite[W]) decoded(t *testing.T, tr connectors.Trigger, c *watched, body []byte, records []string) {
	t.Helper()
	o, err := tr.Decode(body)
	if err != nil || o.BusinessKey == "" || o.Record.Entity != tr.Entity || !slices.Contains(records, o.Record.ID) || o.At.IsZero() {
		t.Fatalf("%+v, %v, want one of %v", o, err, records)
	}
	if (o.Thin || o.Vague) && tr.Read == nil {
		t.Errorf("it says too little, and nothing reads it again")
	}
	if tr.Read != nil {
		now, err := tr.Read(t.Context(), c.Conn, o)
		if c.hear(err) != nil || now.Thin || now.Vague || !o.Vague && (now.Record.ID != o.Record.ID || now.BusinessKey != o.BusinessKey) || !now.At.Equal(o.At) {
			t.Fatalf("read again: %+v, %v", now, err)
		}
		o = now
	}
	if p := tr.Output.Validate(o.Payload); len(p) > 0 {
		t.Errorf("the payload does not fit its schema: %v", p)
	}
}

// walk reads a trigger's list from a cursor to its end, and answers where the next walk begins.
func walk(t *testing.T, tr connectors.Trigger, c connectors.Conn, cursor string) (items []connectors.Item, next string, pages int) {
	t.Helper()
	for {
		p, err := tr.List(t.Context(), c, cursor)
		if err != nil {
			t.Fatal(err)
		}
		if p.More && p.Cursor == cursor || p.Cursor == "" {
			t.Fatalf("from %q it goes on at %q", cursor, p.Cursor)
		}
		items, cursor, pages = append(items, p.Items...), p.Cursor, pages+1
		if !p.More {
			return items, cursor, pages
		}
	}
}

// walks has the trigger happen more often than two pages of its list hold, and finds all of it.
func (s Suite[W]) walks(t *testing.T, tr connectors.Trigger, how Trigger[W], extra bool) {
	n := 2*how.Page + 1
	if extra {
		n = 2 * how.Page
	}
	w, site := s.World(t, Options{EmptyLastPage: extra})
	c, other := s.watch(t, site), s.other(t, site)
	known := map[string]bool{}
	base, cursor, _ := walk(t, tr, c.Conn, "")
	for _, i := range base {
		known[i.DedupeKey] = true
	}
	records := map[string]bool{}
	for range n {
		records[how.Happen(t, w, other)] = true
	}
	items, next, pages := walk(t, tr, c.Conn, cursor)
	found := map[string]bool{}
	for _, i := range items {
		o, err := tr.Decode(i.Body)
		if err != nil {
			t.Fatal(err)
		}
		if !known[i.DedupeKey] && records[o.Record.ID] {
			found[i.DedupeKey] = true
		}
	}
	if len(found) != n || pages < 2 {
		t.Errorf("%d of %d found, on %d pages", len(found), n, pages)
	}
	again, _, _ := walk(t, tr, c.Conn, next)
	for _, i := range again {
		if !known[i.DedupeKey] && !found[i.DedupeKey] {
			t.Errorf("the next walk has %s as news", i.DedupeKey)
		}
	}
}

// listing checks what refusals mean to a list, from its beginning and from a cursor.
func (s Suite[W]) listing(t *testing.T, tr connectors.Trigger, how Trigger[W]) {
	for _, baseline := range []bool{true, false} {
		what := map[bool]string{true: "baseline", false: "list"}[baseline]
		s.refusals(t, what, func(t *testing.T) (*watched, func() error) {
			w, site := s.World(t, Options{})
			how.Happen(t, w, s.other(t, site))
			c, cursor := s.watch(t, site), ""
			if !baseline {
				_, cursor, _ = walk(t, tr, s.other(t, site), "")
			}
			return c, func() error {
				_, err := tr.List(t.Context(), c.Conn, cursor)
				return err
			}
		})
	}
	s.cancelled(t, "list", func(c *watched) func(*testing.T) error {
		return func(t *testing.T) error {
			_, err := tr.List(ended(t), c.Conn, "")
			return err
		}
	})
}

// rereading checks what refusals mean to a record that is read again, and to what is asked about it.
func (s Suite[W]) rereading(t *testing.T, tr connectors.Trigger, how Trigger[W]) {
	if tr.List == nil {
		return
	}
	occurrence := func(t *testing.T) (*watched, connectors.Occurrence) {
		w, site := s.World(t, Options{})
		known := map[string]bool{}
		base, cursor, _ := walk(t, tr, s.other(t, site), "")
		for _, i := range base {
			known[i.DedupeKey] = true
		}
		how.Happen(t, w, s.other(t, site))
		items, _, _ := walk(t, tr, s.other(t, site), cursor)
		for _, i := range items {
			if !known[i.DedupeKey] {
				o, err := tr.Decode(i.Body)
				if err != nil {
					t.Fatal(err)
				}
				return s.watch(t, site), o
			}
		}
		t.Fatal("it is not found")
		return nil, connectors.Occurrence{}
	}
	for what, run := range map[string]func(context.Context, *watched, connectors.Occurrence) error{
		"read": func(ctx context.Context, c *watched, o connectors.Occurrence) error {
			_, err := tr.Read(ctx, c.Conn, o)
			return err
		},
		"explain": func(ctx context.Context, c *watched, o connectors.Occurrence) error {
			_, err := tr.Explain(ctx, c.Conn, o)
			return err
		},
	} {
		if what == "explain" && tr.Explain == nil {
			continue
		}
		s.refusals(t, what, func(t *testing.T) (*watched, func() error) {
			c, o := occurrence(t)
			return c, func() error { return run(t.Context(), c, o) }
		})
		t.Run(what+", cancelled", func(t *testing.T) {
			t.Parallel()
			c, o := occurrence(t)
			sim := control{t, c.URL}
			before := len(sim.requests())
			if err := c.hear(run(ended(t), c, o)); !errors.Is(err, context.Canceled) || len(sim.requests()) != before {
				t.Errorf("%v after %d calls", err, len(sim.requests())-before)
			}
		})
	}
}
