package intake_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
	"tieline/db"
	"tieline/db/dbtest"
	"tieline/jobs"
	"tieline/jobs/flow"
	"tieline/jobs/intake"
)

// foundWithin is how soon after an outage everything must be there.
const foundWithin = 30 * time.Second

// telling is an intake that tells when something was taken in.
type telling struct {
	*intake.Intake
	told chan struct{}
}

func (d telling) Take(ctx context.Context, conn db.Connection, source string, items []connectors.Item) (int, error) {
	defer d.tell()
	return d.Intake.Take(ctx, conn, source, items)
}

func (d telling) tell() {
	select {
	case d.told <- struct{}{}:
	default:
	}
}

// TestOutage: what happened at the vendor while we took nothing in is there soon afterwards, none of it twice, whether
// a delivery gets through again or a process starts, and while the load goes on. The vendor sends nothing again.
func TestOutage(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	w := openOn(t, url, 4)
	w.sim = stripesim.New(t, stripesim.WithBackoff())
	w.engine.URLs["stripe"] = w.sim.URL
	if _, err := w.NewRaw("DELETE FROM cursors").Exec(t.Context()); err != nil { // of the connection that this test does not use
		t.Fatal(err)
	}
	door := telling{w.in, make(chan struct{}, 1)}
	var down atomic.Bool
	mux := http.NewServeMux()
	mux.Handle(intake.Path, w.in)
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if down.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(rw, r)
		door.tell()
	}))
	t.Cleanup(front.Close)
	w.engine.PublicURL = front.URL
	conn := w.connect(t, "Registered", "")
	if conn.WebhookState != flow.WebhookRegistered {
		t.Fatal(conn.WebhookError)
	}
	if err := w.engine.Ship(t.Context(), w.org); err != nil {
		t.Fatal(err)
	}
	dbtest.Listen(t, w.DB, w.org)
	process := func() *jobs.Jobs {
		d, err := db.Open(t.Context(), url, db.MaxConns(12))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		e := &flow.Engine{DB: d, Apps: w.engine.Apps, Keys: w.engine.Keys, Log: slog.New(slog.DiscardHandler), URLs: w.engine.URLs, PublicURL: front.URL}
		j, err := jobs.New(jobs.Config{DB: d, Engine: e, Door: telling{intake.New(e), door.told}, FetchPoll: 50 * time.Millisecond, SweepEvery: 200 * time.Millisecond, SoftStop: time.Second})
		if err == nil {
			err = j.Start(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { j.Stop(context.WithoutCancel(t.Context())) })
		return j
	}
	made := 0
	burst := func(n int) {
		t.Helper()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range n / 4 {
					if _, err := w.sim.First().CreateCustomer(map[string]any{"name": "Somebody"}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		made += n
		if err := w.sim.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	there := func(why string) {
		t.Helper()
		began := time.Now()
		late := time.After(foundWithin)
		for {
			var events, distinct int
			if err := w.NewRaw("SELECT count(*), count(DISTINCT dedupe_key) FROM events WHERE connection_id = ?", conn.ID).Scan(t.Context(), &events, &distinct); err != nil {
				t.Fatal(err)
			}
			if events == made && distinct == made {
				t.Logf("%s: %d events after %s", why, events, time.Since(began))
				return
			}
			select {
			case <-door.told:
			case <-late:
				t.Fatalf("%s: %d events of %d after %s", why, events, made, foundWithin)
			}
		}
	}
	based := func() {
		t.Helper()
		for late := time.After(foundWithin); ; {
			var done bool
			if err := w.NewRaw("SELECT bool_and(based_at IS NOT NULL AND asked_at IS NULL AND lease_until IS NULL AND due_at > now()) FROM cursors").Scan(t.Context(), &done); err != nil || done {
				return
			}
			select {
			case <-door.told:
			case <-time.After(20 * time.Millisecond): // the cursor is saved after the door was asked
			case <-late:
				t.Fatal("the connection is not read")
			}
		}
	}
	first := process()
	based()
	burst(100)
	there("before")
	based()
	down.Store(true)
	burst(200)
	if _, err := w.NewRaw("UPDATE connections SET webhook_seen_at = now() - interval '1 minute' WHERE id = ?", conn.ID).Exec(t.Context()); err != nil { // it lasts a minute
		t.Fatal(err)
	}
	down.Store(false)
	burst(100)
	there("deliveries get through again")
	based()
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	down.Store(true)
	burst(200)
	down.Store(false)
	process()
	there("a process starts")
	// The workers look after the endpoint, too, also after the connection was deleted.
	done := make(chan string, 100)
	w.sim.OnRequest(func(stage, method, path string) {
		if stage == "committed" {
			done <- method
		}
	})
	await := func(method string) {
		t.Helper()
		for late := time.After(foundWithin); ; {
			select {
			case got := <-done:
				if got == method {
					return
				}
			case <-late:
				t.Fatalf("no %s of an endpoint within %s", method, foundWithin)
			}
		}
	}
	remove, err := http.NewRequestWithContext(t.Context(), "DELETE", w.sim.URL+"/v1/webhook_endpoints/"+conn.WebhookID, nil)
	if err != nil {
		t.Fatal(err)
	}
	remove.Header.Set("Authorization", "Bearer "+w.sim.Key())
	if res, err := http.DefaultClient.Do(remove); err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	await("DELETE")
	due := func() {
		t.Helper()
		if _, err := w.NewRaw("UPDATE connections SET care_at = now() WHERE id = ?", conn.ID).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	due()
	await("POST")
	burst(20)
	there("the endpoint is made anew")
	w.sim.Fault(sim.Fault{Method: "GET", Path: "/v1/webhook_endpoints", Point: sim.Before, Status: http.StatusServiceUnavailable, Count: -1})
	if _, err := w.NewRaw("UPDATE flow_links SET enabled = false").Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.engine.DeleteConnection(t.Context(), w.org, conn.ID, alone); err != nil {
		t.Fatal(err)
	}
	if n := len(w.sim.First().All("webhook_endpoint")); n != 1 {
		t.Fatalf("%d endpoints while the vendor is away", n)
	}
	w.sim.ClearFaults()
	due()
	await("DELETE")
	var read int
	if err := w.NewRaw("SELECT count(*) FROM events WHERE source = 'CATCH_UP'").Scan(t.Context(), &read); err != nil || read < 400 {
		t.Errorf("%d were found by reading (%v), want the 400 that nobody took in", read, err)
	}
}
