package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"tieline/connectors"
	"tieline/connectors/catalog"
	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
	"tieline/connectors/togai/togaisim"
	"tieline/db"
	"tieline/db/dbtest"
	"tieline/db/notify"
	"tieline/db/seal"
	"tieline/jobs/flow"
)

var errOops = errors.New("oops")

// world is an organization whose Stripe customers go to Togai, and as many processes as a test wants.
type world struct {
	*db.DB
	url    string
	apps   *connectors.Registry
	keys   *seal.Keys
	stripe *stripesim.Sim
	togai  *togaisim.Sim
	org    db.ID
	conn   db.Connection // Stripe's
	wake   <-chan struct{}
	engine *flow.Engine // of the test itself, whose jobs others work
	jobs   *Jobs
}

func open(t *testing.T) *world {
	t.Helper()
	return openWith(t, stripesim.New(t), togaisim.New(t))
}

func openWith(t *testing.T, stripe *stripesim.Sim, togai *togaisim.Sim) *world {
	t.Helper()
	w := &world{url: dbtest.URL(t), stripe: stripe, togai: togai}
	var err error
	if w.apps, err = catalog.New(); err != nil {
		t.Fatal(err)
	}
	if w.keys, err = seal.Parse(seal.Generate()); err != nil {
		t.Fatal(err)
	}
	w.jobs = w.process(t, func(c *Config) { c.InsertOnly = true })
	w.DB, w.engine = w.jobs.cfg.DB, w.jobs.cfg.Engine
	org, err := db.CreateOrganization(t.Context(), w.DB, "Acme")
	if err != nil {
		t.Fatal(err)
	}
	w.org = org.OrgID
	l := notify.New(w.Pool, slog.New(slog.DiscardHandler), db.ChangesChannel)
	w.wake, _ = l.Subscribe(db.ChangesChannel)
	ctx, cancel := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	listening.Go(func() { l.Run(ctx) })
	t.Cleanup(func() { cancel(); listening.Wait() })
	return w
}

// process is one more, with pool and engine of its own. Start it, or not.
func (w *world) process(t *testing.T, opts ...func(*Config)) *Jobs {
	t.Helper()
	d, err := db.Open(t.Context(), w.url, db.MaxConns(8))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg := Config{
		DB: d, Log: log, SweepEvery: 20 * time.Millisecond, FetchPoll: 20 * time.Millisecond, SoftStop: 20 * time.Millisecond, Door: door{},
		Engine: &flow.Engine{
			DB: d, Apps: w.apps, Keys: w.keys, Log: log, URLs: map[string]string{"stripe": w.stripe.URL, "togai": w.togai.URL},
			Timing: flow.Timing{Lease: 300 * time.Millisecond, Retry: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond},
		},
	}
	for _, o := range opts {
		o(&cfg)
	}
	j, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Stop(context.WithoutCancel(t.Context())) })
	return j
}

func (w *world) start(t *testing.T, opts ...func(*Config)) *Jobs {
	t.Helper()
	j := w.process(t, opts...)
	if err := j.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return j
}

// door stands open: these tests look at what is due, and not at what is found.
type door struct{}

func (door) Take(context.Context, db.Connection, string, []connectors.Item) (int, error) {
	return 0, nil
}

// link connects both apps and switches customers in on.
func (w *world) link(t *testing.T) {
	t.Helper()
	alone := func(context.Context, db.Tx, db.ID) error { return nil }
	conns := map[string]db.ID{}
	for app, creds := range map[string]map[string]string{
		"stripe": {"api_key": w.stripe.Key()},
		"togai":  {"environment": "sandbox", "api_token": w.togai.Token(), "organization_id": "acme"},
	} {
		c, err := w.engine.Connect(t.Context(), w.org, flow.ConnectionInput{App: app, Name: &app, Credentials: creds}, alone)
		if err != nil {
			t.Fatal(err)
		}
		if conns[app] = c.ID; app == "stripe" {
			w.conn = c
		}
	}
	if _, err := w.NewRaw("UPDATE cursors SET due_at = NULL, based_at = now()").Exec(t.Context()); err != nil { // nobody reads
		t.Fatal(err)
	}
	if err := w.engine.Ship(t.Context(), w.org); err != nil {
		t.Fatal(err)
	}
	var link db.FlowLink
	err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		var f db.Flow
		if err := tx.NewSelect().Model(&f).Where("org_id = ? AND key = 'stripe.customers_in'", w.org).Scan(ctx); err != nil {
			return err
		}
		var err error
		link, err = w.engine.CreateLink(ctx, tx, w.org, flow.LinkInput{FlowID: f.ID, Name: "in", Connections: map[string]db.ID{
			flow.TriggerSlot: conns["stripe"], "account": conns["togai"], "note": conns["stripe"],
		}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.engine.EnableLink(t.Context(), w.org, link.ID, door{}, alone); err != nil {
		t.Fatal(err)
	}
}

// customer makes one in Stripe, and stores its event as intake does, with or without its job.
func (w *world) customer(t *testing.T, n int, job bool) db.ID {
	t.Helper()
	if _, err := w.stripe.First().CreateCustomer(map[string]any{"name": fmt.Sprintf("Customer %d", n), "email": fmt.Sprintf("c%d@example.com", n)}); err != nil {
		t.Fatal(err)
	}
	page, err := http.NewRequest("GET", w.stripe.URL+"/v1/events?limit=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	page.Header.Set("Authorization", "Bearer "+w.stripe.Key())
	body := newest(t, page)
	id := db.NewID()
	err = w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
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

// reached is closed when a write to an existing Stripe customer is at the vendor: the flow's last step.
func (w *world) reached() <-chan struct{} {
	at := make(chan struct{})
	var once sync.Once
	w.stripe.OnRequest(func(_, method, path string) {
		if method == "POST" && strings.HasPrefix(path, "/v1/customers/") {
			once.Do(func() { close(at) })
		}
	})
	return at
}

// newest is the body of an event that a list has first, as it would be delivered.
func newest(t *testing.T, list *http.Request) []byte {
	t.Helper()
	resp, err := http.DefaultClient.Do(list)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var page struct{ Data []json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil || len(page.Data) != 1 {
		t.Fatalf("no event (%v)", err)
	}
	return page.Data[0]
}

// until waits on the feed until the query answers true.
func (w *world) until(t *testing.T, what, query string, args ...any) {
	t.Helper()
	late := time.After(30 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond) // not everything is told by the feed: jobs are not
	defer tick.Stop()
	for {
		var yes bool
		if err := w.NewRaw("SELECT coalesce(("+query+"), false)", args...).Scan(t.Context(), &yes); err != nil {
			t.Fatal(err)
		}
		if yes {
			return
		}
		select {
		case <-w.wake:
		case <-tick.C:
		case <-late:
			var state string
			w.NewRaw(`SELECT (SELECT coalesce(string_agg(state || ' ' || coalesce(waiting_reason, '') || ' ' || error, '; '), '') FROM runs) || ' | ' ||
				(SELECT coalesce(string_agg(kind || ' ' || state || ' ' || coalesce(errors::text, ''), '; '), '') FROM river.river_job)`).Scan(t.Context(), &state)
			t.Fatalf("not in time: %s: %s", what, state)
		}
	}
}

func TestAddIsTransactional(t *testing.T) {
	t.Parallel()
	w := open(t)
	tasks := []flow.Task{{Kind: flow.Activate, Org: w.org, ID: db.NewID()}, {Kind: flow.Dispatch, Org: w.org, ID: db.NewID()}, {Kind: flow.Care, Org: w.org, ID: db.NewID()}}
	many := slices.Repeat(tasks, 100)
	for _, c := range []struct {
		tasks []flow.Task
		end   error
		want  int // jobs there are then
	}{{nil, nil, 0}, {tasks, errOops, 0}, {many, errOops, 0}, {tasks, nil, 3}, {many, nil, 303}, {[]flow.Task{{Kind: "dance"}}, nil, 303}} {
		err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error { return errors.Join(w.jobs.Add(ctx, tx, c.tasks...), c.end) })
		if (err == nil) != (c.end == nil && !strings.Contains(fmt.Sprint(c.tasks), "dance")) {
			t.Errorf("%d tasks: %v", len(c.tasks), err)
		}
		var n int
		if err := w.NewRaw("SELECT count(*) FROM river.river_job").Scan(t.Context(), &n); err != nil || n != c.want {
			t.Errorf("%d jobs (%v), want %d", n, err, c.want)
		}
	}
	var queues []string
	if err := w.NewRaw("SELECT DISTINCT kind || ' in ' || queue FROM river.river_job ORDER BY 1").Scan(t.Context(), &queues); err != nil {
		t.Fatal(err)
	}
	if want := []string{"activate in runs", "care in care", "dispatch in events"}; !slices.Equal(queues, want) {
		t.Errorf("%q, want %q", queues, want)
	}
	if err := w.jobs.Start(t.Context()); err != nil || w.jobs.sweep != nil {
		t.Errorf("insert-only jobs began to work (%v)", err)
	}
}

// TestTwoProcesses gives two processes each activation three times over: every run is carried by one of them at a time.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.link(t)
	const customers = 8
	for n := range customers {
		if err := w.engine.Dispatch(t.Context(), w.org, w.customer(t, n, true)); err != nil {
			t.Fatal(err)
		}
	}
	var runs []db.Run
	if err := w.NewSelect().Model(&runs).Scan(t.Context()); err != nil || len(runs) != customers {
		t.Fatalf("%d runs (%v), want %d", len(runs), err, customers)
	}
	err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		for _, r := range slices.Repeat(runs, 2) {
			if err := w.jobs.Add(ctx, tx, flow.Task{Kind: flow.Activate, Org: w.org, ID: r.ID}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.start(t)
	w.start(t)
	w.until(t, "all runs succeeded", "SELECT bool_and(state = 'SUCCEEDED') FROM runs")
	w.until(t, "all jobs completed", "SELECT bool_and(state = 'completed') FROM river.river_job")
	if n := len(w.togai.Customers()); n != customers {
		t.Errorf("%d customers in Togai, want %d", n, customers)
	}
	if n := w.togai.Count("POST", "/customers"); n != customers {
		t.Errorf("%d calls to make a customer, want %d", n, customers)
	}
}

// TestSweeper starts from rows alone, as workers that died leave them.
func TestSweeper(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.link(t)
	w.customer(t, 1, false)
	if err := w.engine.Dispatch(t.Context(), w.org, w.customer(t, 2, false)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Pool.Exec(t.Context(), "DELETE FROM river.river_job; UPDATE events SET due_at = now() WHERE due_at IS NOT NULL; UPDATE runs SET due_at = now()"); err != nil {
		t.Fatal(err)
	}
	w.start(t)
	w.start(t)
	w.until(t, "both runs succeeded", "SELECT count(*) = 2 AND bool_and(state = 'SUCCEEDED') FROM runs")
	w.until(t, "nothing due", "SELECT NOT EXISTS (SELECT FROM runs WHERE due_at IS NOT NULL) AND NOT EXISTS (SELECT FROM events WHERE due_at IS NOT NULL)")
}

func TestSweepIsShared(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.link(t)
	dbtest.Listen(t, w.DB, w.org)
	for n := range 4 {
		w.customer(t, n, false)
	}
	if _, err := w.Pool.Exec(t.Context(), "UPDATE events SET due_at = now(); UPDATE cursors SET due_at = now()"); err != nil {
		t.Fatal(err)
	}
	count := func() (dispatches, cares int) {
		t.Helper()
		if err := w.NewRaw("SELECT count(*) FILTER (WHERE kind = 'dispatch'), count(*) FILTER (WHERE kind = 'care') FROM river.river_job").Scan(t.Context(), &dispatches, &cares); err != nil {
			t.Fatal(err)
		}
		return dispatches, cares
	}
	other := w.process(t)
	err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if mine, err := db.SweepEvents(ctx, tx, 3); err != nil || len(mine) != 3 {
			t.Errorf("%d events (%v), want 3", len(mine), err)
		}
		if _, err := other.sweepOnce(ctx); err != nil { // sees what the other has in hand, and does not wait for it
			t.Error(err)
		}
		return errOops // and dies
	})
	if !errors.Is(err, errOops) {
		t.Fatal(err)
	}
	if d, c := count(); d != 1 || c != 2 {
		t.Errorf("%d dispatches and %d connections, want 1 and 2", d, c)
	}
	if _, err := other.sweepOnce(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := other.sweepOnce(t.Context()); err != nil {
		t.Error(err)
	}
	if d, c := count(); d != 4 || c != 2 {
		t.Errorf("%d dispatches and %d connections, want each once: 4 and 2", d, c)
	}
}

// TestFailedJobKeepsItsRun has a job that ends with an error of ours; the run comes back by its row.
func TestFailedJobKeepsItsRun(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.link(t)
	if err := w.engine.Dispatch(t.Context(), w.org, w.customer(t, 1, true)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Pool.Exec(t.Context(), "ALTER TABLE event_bodies RENAME TO elsewhere"); err != nil {
		t.Fatal(err)
	}
	w.start(t)
	w.until(t, "the job failed", "SELECT bool_or(state = 'discarded') FROM river.river_job WHERE kind = 'activate'")
	if _, err := w.Pool.Exec(t.Context(), "ALTER TABLE elsewhere RENAME TO event_bodies"); err != nil {
		t.Fatal(err)
	}
	w.until(t, "the run succeeded", "SELECT bool_and(state = 'SUCCEEDED') FROM runs")
}

// TestStop cuts a call off; another process goes on.
func TestStop(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.link(t)
	w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/customers/*", Point: sim.Hang})
	reached := w.reached()
	first := w.start(t)
	w.customer(t, 1, true)
	select {
	case <-reached:
	case <-time.After(20 * time.Second):
		t.Fatal("the call was not made")
	}
	begun := time.Now()
	if err := first.Stop(t.Context()); err != nil || time.Since(begun) > 10*time.Second {
		t.Errorf("stopped after %s: %v", time.Since(begun), err)
	}
	kept, patience := time.NewTicker(5*time.Millisecond), time.After(5*time.Second) // one that was cut off is closed in its own time
	defer kept.Stop()
	for first.cfg.DB.Pool.Stat().AcquiredConns() != 0 {
		select {
		case <-kept.C:
		case <-patience:
			t.Fatal("connections are kept")
		}
	}
	if err := first.Stop(t.Context()); err != nil {
		t.Errorf("stopped again: %v", err)
	}
	var state string
	if err := w.NewRaw("SELECT state FROM runs").Scan(t.Context(), &state); err != nil || state != flow.Running {
		t.Errorf("the run is %s (%v), want it left as it was", state, err)
	}
	w.start(t)
	w.until(t, "the run succeeded", "SELECT bool_and(state = 'SUCCEEDED') FROM runs")
	if n := len(w.togai.Customers()); n != 1 {
		t.Errorf("%d customers in Togai, want 1", n)
	}
}

// TestLostLease takes a run away from a worker in the middle of a call: it ends without a word, and the run goes on.
func TestLostLease(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.link(t)
	w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/customers/*", Point: sim.Hang})
	reached := w.reached()
	w.start(t)
	w.customer(t, 1, true)
	<-reached
	if _, err := w.NewRaw("UPDATE runs SET fence = fence + 1").Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.until(t, "the run succeeded", "SELECT bool_and(state = 'SUCCEEDED') FROM runs")
	w.until(t, "all jobs completed", "SELECT bool_and(state = 'completed') FROM river.river_job")
}

func TestAgain(t *testing.T) {
	t.Parallel()
	deadlock := &pgconn.PgError{Code: "40P01"}
	for _, c := range []struct {
		errs []error
		want error
	}{{[]error{nil}, nil}, {[]error{deadlock, deadlock, nil}, nil}, {[]error{errOops}, errOops}, {slices.Repeat([]error{deadlock}, finishTries), deadlock}} {
		n := 0
		if err := again(t.Context(), func() error { n++; return c.errs[n-1] }); err != c.want || n != len(c.errs) {
			t.Errorf("%v: %v after %d tries", c.errs, err, n)
		}
	}
}

// TestStopLetsFinish has a slow call; there is time for it.
func TestStopLetsFinish(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.link(t)
	w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/customers/*", Point: sim.Slow, Delay: 200 * time.Millisecond})
	reached := w.reached()
	j := w.start(t, func(c *Config) { c.SoftStop = 20 * time.Second })
	w.customer(t, 1, true)
	<-reached
	if err := j.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	var run, job string
	if err := w.NewRaw("SELECT (SELECT state FROM runs), (SELECT string_agg(DISTINCT state::text, ' ') FROM river.river_job WHERE kind = 'dispatch')").Scan(t.Context(), &run, &job); err != nil ||
		run != flow.Succeeded || job != "completed" {
		t.Errorf("run %s, job %s (%v)", run, job, err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{"nothing": {}, "no door": {DB: &db.DB{}, Engine: &flow.Engine{}}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestFloodGoesLast: who has little waiting goes before another's flood, however the flood came.
func TestFloodGoesLast(t *testing.T) {
	t.Parallel()
	w := open(t)
	other, err := db.CreateOrganization(t.Context(), w.DB, "Other")
	if err != nil {
		t.Fatal(err)
	}
	var tasks []flow.Task
	for range 120 {
		tasks = append(tasks, flow.Task{Kind: flow.Dispatch, Org: w.org, ID: db.NewID()})
	}
	tasks = append(tasks, flow.Task{Kind: flow.Dispatch, Org: other.OrgID, ID: db.NewID()}, flow.Task{Kind: flow.Dispatch, Org: w.org, ID: db.NewID(), Behind: 500})
	if err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error { return w.jobs.Add(ctx, tx, tasks...) }); err != nil {
		t.Fatal(err)
	}
	got := w.rows(t, "SELECT priority || ' ' || count(*) || CASE WHEN args->>'org' = ? THEN ' other' ELSE '' END FROM river.river_job GROUP BY priority, args->>'org' ORDER BY 1", other.OrgID)
	if want := []string{"1 1 other", "1 10", "2 90", "3 20", "4 1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
