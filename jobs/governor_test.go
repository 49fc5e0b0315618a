package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"tieline/connectors/stripe/stripesim"
	"tieline/connectors/togai/togaisim"
	"tieline/db"
	"tieline/jobs/flow"
)

// customers makes customers in Stripe and answers their events, in any order.
func (w *world) customers(t *testing.T, n int) (bodies [][]byte) {
	t.Helper()
	for i := range n {
		if _, err := w.stripe.First().CreateCustomer(map[string]any{"name": fmt.Sprintf("Customer %d", i), "email": fmt.Sprintf("c%d@example.com", i)}); err != nil {
			t.Fatal(err)
		}
	}
	key := w.stripe.Key()
	for after := ""; len(bodies) < n; {
		r, err := http.NewRequest("GET", w.stripe.URL+"/v1/events?limit=100"+after, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+key)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var page struct{ Data []json.RawMessage }
		err = json.NewDecoder(res.Body).Decode(&page)
		res.Body.Close()
		if err != nil || len(page.Data) == 0 {
			t.Fatalf("no events (%v, %s)", err, res.Status)
		}
		for _, body := range page.Data {
			bodies = append(bodies, body)
		}
		var last struct{ ID string }
		if err := json.Unmarshal(page.Data[len(page.Data)-1], &last); err != nil {
			t.Fatal(err)
		}
		after = "&starting_after=" + last.ID
	}
	return bodies
}

// arrives stores an event as intake does, with or without its job.
func (w *world) arrives(t *testing.T, body []byte, job bool) db.ID {
	t.Helper()
	id := db.NewID()
	err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if _, err := db.TakeEvents(ctx, tx, flow.FromWebhook, []db.Arrival{{
			OrgID: w.org, ID: id, ConnectionID: w.conn.ID, Trigger: "customer.created", DedupeKey: id.String(), VendorAt: time.Now(), Body: body,
		}}); err != nil || !job {
			return err
		}
		return w.jobs.Add(ctx, tx, flow.Task{Kind: flow.Dispatch, Org: w.org, ID: id})
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// refusals counts the vendors' answers of 429.
func (w *world) refusals() (n int) {
	for _, r := range slices.Concat(w.stripe.Requests(), w.togai.Requests()) {
		if r.Status == http.StatusTooManyRequests {
			n++
		}
	}
	return n
}

// production is how a process runs that serves people.
func production(c *Config) {
	c.SweepEvery, c.FetchPoll, c.Engine.Timing = sweepEvery, fetchPoll, flow.DefaultTiming
}

// TestLiveBesideBulk: vendors that refuse all that is more than they allow, two processes, thousands of calls of bulk work
// queued, which take minutes. What people wait for is through at once, no call is refused, and bulk runs begin when they said.
// The bounds are for the slowest machine; the log says what it was.
func TestLiveBesideBulk(t *testing.T) {
	t.Parallel()
	const bulk, live = 800, 16
	w := openWith(t, stripesim.New(t, stripesim.WithRateLimit(25)), togaisim.New(t, togaisim.WithRateLimit(10)))
	w.link(t)
	bodies := w.customers(t, 1+live+bulk)
	refused := w.refusals()
	for _, body := range bodies[1+live:] {
		if err := w.engine.Dispatch(t.Context(), w.org, w.arrives(t, body, false)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.NewRaw("UPDATE runs SET replay = 1").Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The line begins when all stand in it: taking their places is work that would delay those whose turn it is.
	if _, err := w.NewRaw(`INSERT INTO buckets (org_id, vendor_account_id, bucket, line)
		SELECT org_id, id, 'bulk', clock_timestamp() + interval '10 seconds' FROM vendor_accounts WHERE app = 'togai'`).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.start(t, production)
	w.start(t, production)
	w.until(t, "bulk runs in line", "SELECT bool_and(state <> 'QUEUED') AND count(*) FILTER (WHERE waiting_reason = 'RATE') > 300 FROM runs")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for _, body := range bodies[1 : 1+live] {
		<-tick.C
		w.arrives(t, body, true)
	}
	w.until(t, "the live runs", "SELECT count(*) = ? FROM runs WHERE replay = 0 AND state = 'SUCCEEDED'", live)
	var took []float64
	if err := w.NewRaw("SELECT extract(epoch FROM ended_at - event_at) FROM runs WHERE replay = 0 ORDER BY 1").Scan(t.Context(), &took); err != nil {
		t.Fatal(err)
	}
	t.Logf("live runs took %v", took)
	if took[live/2] > 5 {
		t.Errorf("live runs took %.1f", took)
	}
	if n := w.refusals() - refused; n > 0 {
		t.Errorf("vendors refused %d calls", n)
	}
	w.punctual(t)
	w.nobodyStays(t, bodies[0])
}

// nobodyStays cancels all bulk runs: the next one does not stand behind those.
func (w *world) nobodyStays(t *testing.T, body []byte) {
	t.Helper()
	var waiting []db.ID
	if err := w.NewRaw("SELECT id FROM runs WHERE waiting_reason = 'RATE' ORDER BY wake_at DESC").Scan(t.Context(), &waiting); err != nil || len(waiting) < 200 {
		t.Fatalf("%d runs wait (%v)", len(waiting), err)
	}
	for _, id := range waiting {
		err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			if r, err := db.GetRun(ctx, tx, w.org, id); err != nil || r.State != flow.Waiting { // its turn has come
				return err
			}
			_, err := w.engine.Cancel(ctx, tx, w.org, id)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	one := w.process(t, func(c *Config) { c.InsertOnly = true })
	one.cfg.Engine.Queue = unheard{}
	if err := one.cfg.Engine.Dispatch(t.Context(), w.org, w.arrives(t, body, false)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.NewRaw("UPDATE runs SET replay = 1, due_at = now() WHERE state = 'QUEUED'").Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.until(t, "no run left", "SELECT bool_and(ended_at IS NOT NULL) FROM runs")
	if d := time.Since(began); d > 10*time.Second { // in their places it would be a minute
		t.Errorf("a run waited %s after everybody before it had gone", d)
	}
	w.until(t, "a line that ends where nobody stands", "SELECT bool_and(line < clock_timestamp() + interval '3 seconds') FROM buckets")
	if n := w.count(t, "SELECT count(*) FROM steps WHERE reserved_at IS NOT NULL"); n > 0 {
		t.Errorf("%d places are kept by runs that are over", n)
	}
}

// unheard is a queue whose tasks come to be by the sweeper alone.
type unheard struct{}

func (unheard) Add(context.Context, db.Tx, ...flow.Task) error { return nil }

func (w *world) count(t *testing.T, query string) (n int) {
	t.Helper()
	if err := w.NewRaw(query).Scan(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// punctual makes sure that runs began when they had said.
func (w *world) punctual(t *testing.T) {
	t.Helper()
	var late []float64
	err := w.NewRaw(`WITH told AS (SELECT DISTINCT ON (run_id) run_id, id, at, wake_at FROM changes WHERE waiting_reason = 'RATE' ORDER BY run_id, id)
		SELECT extract(epoch FROM b.at - f.wake_at) AS late FROM told f
		JOIN LATERAL (SELECT at FROM changes r WHERE r.run_id = f.run_id AND r.state = 'RUNNING' AND r.step IS NULL AND r.id > f.id ORDER BY r.id DESC LIMIT 1) b ON true
		WHERE f.wake_at > (SELECT max(at) FROM told)
		ORDER BY late`).Scan(t.Context(), &late)
	if err != nil || len(late) < 5 {
		t.Fatalf("%d runs waited and began (%v)", len(late), err)
	}
	t.Logf("%d runs that waited began between %.2f and %.2f s after the time they told, half of them by %.2f s", len(late), late[0], late[len(late)-1], late[len(late)/2])
	// Who is refused at its turn, as after a machine's hiccup, stands in line once more: those are late.
	if late[0] < -1 || late[len(late)/2] > 3 {
		t.Errorf("%.1f", late)
	}
}
