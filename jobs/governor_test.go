package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
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

// refusals counts the vendors' answers of 429, and all their answers.
func (w *world) refusals() (refused, all int) {
	for _, r := range slices.Concat(w.stripe.Requests(), w.togai.Requests()) {
		if all++; r.Status == http.StatusTooManyRequests {
			refused++
		}
	}
	return refused, all
}

// unrefused makes sure that vendors took the calls, all of them on a machine that keeps up. On one that stands still for a
// moment, calls that were drawn apart leave together, and a vendor that counts exactly refuses some of those. Without a budget
// so much is refused that the live runs are not through in time.
func (w *world) unrefused(t *testing.T, refusedBefore, allBefore int) {
	t.Helper()
	refused, all := w.refusals()
	refused, all = refused-refusedBefore, all-allBefore
	if t.Logf("vendors refused %d of %d calls", refused, all); refused > all/10 {
		t.Errorf("vendors refused %d of %d calls", refused, all)
	}
}

// production is how a process runs that serves people.
func production(c *Config) {
	c.SweepEvery, c.FetchPoll, c.Engine.Timing = sweepEvery, fetchPoll, flow.DefaultTiming
}

// TestLiveBesideBulk: vendors that refuse all that is more than they allow, two processes, thousands of calls of bulk work
// queued, which take minutes. What people wait for is through at once, calls are not refused, and bulk runs begin when they
// said. The bounds are for the slowest machine; the log says what it was.
func TestLiveBesideBulk(t *testing.T) {
	t.Parallel()
	const bulk, live = 800, 16
	w := openWith(t, stripesim.New(t, stripesim.WithRateLimit(25)), togaisim.New(t, togaisim.WithRateLimit(10)))
	w.link(t)
	bodies := w.customers(t, 1+live+bulk)
	refused, all := w.refusals()
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
	w.unrefused(t, refused, all)
	w.punctual(t)
	w.nobodyStays(t, bodies[0])
}

// TestLiveBesideImport: vendors that refuse all that is more than they allow, two processes, and an import that will take
// far longer than the test. What people wait for is through at once, calls are not refused, and the import is told to go.
//
//	go test ./jobs -run TestLiveBesideImport -v -import.customers=50000
func TestLiveBesideImport(t *testing.T) {
	t.Parallel()
	const live = 16
	w := openWith(t, stripesim.New(t, stripesim.WithRateLimit(25)), togaisim.New(t, togaisim.WithRateLimit(10)))
	w.link(t)
	imported := w.importLink(t)
	bodies := w.customers(t, live)
	for i := range *importCustomers {
		if _, err := w.stripe.First().CreateCustomer(map[string]any{"name": fmt.Sprint("Imported ", i), "email": fmt.Sprintf("i%d@example.com", i)}); err != nil {
			t.Fatal(err)
		}
	}
	refused, all := w.refusals()
	w.start(t, production)
	w.start(t, production)
	run := w.begin(t, imported)
	w.until(t, "the import under way", "SELECT (progress->>'created')::int > 20 FROM runs WHERE id = ?", run)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for _, body := range bodies {
		<-tick.C
		w.arrives(t, body, true)
	}
	w.until(t, "the live runs", "SELECT count(*) = ? FROM runs WHERE id <> ? AND state = 'SUCCEEDED'", live, run)
	var took []float64
	if err := w.NewRaw("SELECT extract(epoch FROM ended_at - event_at) FROM runs WHERE id <> ? ORDER BY 1", run).Scan(t.Context(), &took); err != nil {
		t.Fatal(err)
	}
	r, err := db.GetRun(t.Context(), w.DB, w.org, run)
	if err != nil || !r.EndedAt.IsZero() {
		t.Fatalf("the import is %s (%v)", r.State, err)
	}
	t.Logf("live runs took %v beside an import at %s", took, r.Progress)
	if took[live/2] > 5 {
		t.Errorf("live runs took %.1f", took)
	}
	w.unrefused(t, refused, all)
	if err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := w.engine.Cancel(ctx, tx, w.org, run)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	w.until(t, "the end of the import", "SELECT state = 'CANCELLED' FROM runs WHERE id = ?", run)
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

// TestLineThatNobodyKeeps: of a line in which no call was made for a second, although places are taken far beyond, the first
// runs begin now, and it ends behind the last one that stands in it. A line that is kept is left alone, and the gauge of budgets
// tells how long each is.
func TestLineThatNobodyKeeps(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.link(t)
	const n = 5
	for _, body := range w.customers(t, n) {
		if err := w.engine.Dispatch(t.Context(), w.org, w.arrives(t, body, false)); err != nil {
			t.Fatal(err)
		}
	}
	exec := func(sql string) {
		t.Helper()
		if _, err := w.Pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`UPDATE runs SET state = 'WAITING', waiting_reason = 'RATE', wake_at = now() + interval '1 hour', due_at = now() + interval '1 hour'`)
	exec(`UPDATE steps s SET state = 'WAITING', waiting_reason = 'RATE', reserved_at = now() + x.n * interval '10 minutes', reserved_account = s.vendor_account_id, reserved_bucket = 'bulk'
		FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM runs) x WHERE s.run_id = x.id AND s.position = 0`)
	exec(`INSERT INTO buckets (org_id, vendor_account_id, bucket, line, tat) SELECT org_id, id, 'bulk', now() + interval '2 hours', now() FROM vendor_accounts WHERE app = 'togai'
		ON CONFLICT (org_id, vendor_account_id, bucket) DO UPDATE SET line = EXCLUDED.line, tat = EXCLUDED.tat`)
	sweep := func() (ids []db.ID) {
		t.Helper()
		runs, err := db.SweepLines(t.Context(), w.DB, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range runs {
			ids = append(ids, r.ID)
		}
		slices.SortFunc(ids, func(a, b db.ID) int { return bytes.Compare(a[:], b[:]) })
		return ids
	}
	minutes := func() int {
		t.Helper()
		all, err := db.Readings(t.Context(), w.DB)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			if r.Name == "budget_wait_seconds" && *r.A == "togai" && *r.B == "bulk" {
				return int(math.Round(r.Value / 60))
			}
		}
		t.Fatalf("no gauge in %+v", all)
		return 0
	}
	if got := sweep(); len(got) > 0 || minutes() != 120 {
		t.Errorf("of a line in which somebody calls, %d are called; it is %d minutes long", len(got), minutes())
	}
	var all []db.ID
	if err := w.NewRaw("SELECT id FROM runs ORDER BY id").Scan(t.Context(), &all); err != nil || len(all) != n {
		t.Fatal(all, err)
	}
	for i := 0; i < n; i += 2 {
		exec("UPDATE buckets SET tat = now() - interval '2 seconds'")
		if got, want := sweep(), all[i:min(i+2, n)]; !slices.Equal(got, want) {
			t.Errorf("%v are called, want %v", got, want)
		}
		if i == 0 && minutes() != 10*n {
			t.Errorf("the line is %d minutes long, want %d: to the last that stands in it", minutes(), 10*n)
		}
	}
	if got := w.count(t, "SELECT count(*) FROM runs WHERE wake_at <= now() AND due_at <= now() + interval '10 seconds'"); got != n {
		t.Errorf("%d runs begin", got)
	}
	exec("UPDATE buckets SET line = now() + interval '2 hours', tat = now() - interval '2 seconds'; UPDATE steps SET reserved_at = NULL")
	if got := sweep(); len(got) > 0 || minutes() != 0 {
		t.Errorf("of a line in which nobody stands, %d are called; it is %d minutes long", len(got), minutes())
	}
}
