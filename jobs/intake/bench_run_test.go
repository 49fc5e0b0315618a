package intake_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"tieline/connectors"
	"tieline/connectors/togai/togaisim"
	"tieline/db"
	"tieline/db/dbtest"
	"tieline/db/migrations"
	"tieline/jobs"
	"tieline/jobs/flow"
)

// warm is how many runs there are before it counts. Then Postgres knows its tables: a minute after its installation it does.
const warm = 300

// BenchmarkRuns measures customers in from webhooks to runs that are over, two calls each, with all its history, effects and
// mappings. Its bound is a program of a table for events, runs and steps each, that keeps a run's history and no effects:
// it verifies the webhook, commits event, run and job at once, and writes each step as it is done.
//
//	go test ./jobs/intake -run '^$' -bench Runs -benchtime 3000x -count 5
func BenchmarkRuns(b *testing.B) {
	b.Run("tieline", func(b *testing.B) {
		v := newVendors(b)
		w := working(b, v)
		url := w.front.URL + w.path(b, w.conn)
		flood(b, url, "warm", warm)
		w.finished(b, warm)
		w.analyze(b)
		b.ResetTimer()
		flood(b, url, "evt", b.N)
		v.answered(warm + b.N)
		w.finished(b, warm+b.N)
		report(b, v)
	})
	b.Run("bound=no-effects", func(b *testing.B) {
		v := newVendors(b)
		url, finished := minimal(b, v)
		flood(b, url, "warm", warm)
		finished(warm)
		b.ResetTimer()
		flood(b, url, "evt", b.N)
		v.answered(warm + b.N)
		finished(warm + b.N)
		report(b, v)
	})
}

// BenchmarkLatency measures the time from a webhook's being sent to the second call's arriving, at two events a second.
//
//	go test ./jobs/intake -run '^$' -bench Latency -benchtime 60x -count 3
func BenchmarkLatency(b *testing.B) {
	trickle := func(b *testing.B, url string, v *vendorStub) {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for range warm {
			<-v.second
		}
		b.ResetTimer()
		took := make([]time.Duration, b.N)
		for i := range b.N {
			<-tick.C
			start := time.Now()
			hook(b, http.DefaultClient, url, fmt.Sprintf("%d", i))
			took[i] = (<-v.second).Sub(start)
		}
		b.StopTimer()
		slices.Sort(took)
		b.ReportMetric(took[b.N/2].Seconds()*1e3, "p50-ms")
		b.ReportMetric(took[b.N*99/100].Seconds()*1e3, "p99-ms")
	}
	b.Run("tieline", func(b *testing.B) {
		v := newVendors(b)
		w := working(b, v)
		flood(b, w.front.URL+w.path(b, w.conn), "warm", warm)
		w.finished(b, warm)
		w.analyze(b)
		trickle(b, w.front.URL+w.path(b, w.conn), v)
	})
	b.Run("bound=no-effects", func(b *testing.B) {
		v := newVendors(b)
		url, finished := minimal(b, v)
		flood(b, url, "warm", warm)
		finished(warm)
		trickle(b, url, v)
	})
}

// BenchmarkNeighbour measures what another organization's burst does to one's own time from webhook to second call: five
// events a second, beside nothing, and beside a flood from 16 clients.
//
//	go test ./jobs/intake -run '^$' -bench Neighbour -benchtime 100x -count 3
func BenchmarkNeighbour(b *testing.B) {
	for name, flooded := range map[string]bool{"quiet": false, "flood": true} {
		b.Run(name, func(b *testing.B) {
			v := newVendors(b)
			v.only = "cus_quiet_"
			w := prepared(b, v)
			own := w.another(b, v)
			w.start(b)
			url := w.front.URL + w.path(b, w.conn)
			flood(b, url, "warm", warm)
			w.finished(b, warm)
			w.analyze(b)
			stop := make(chan struct{})
			var flooding sync.WaitGroup
			if flooded {
				for client := range 16 {
					flooding.Go(func() {
						for i := 0; ; i++ {
							select {
							case <-stop:
								return
							default:
								hook(b, http.DefaultClient, url, fmt.Sprintf("flood_%d_%d", client, i))
							}
						}
					})
				}
			}
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			took := make([]time.Duration, b.N)
			b.ResetTimer()
			for i := range b.N {
				<-tick.C
				start := time.Now()
				hook(b, http.DefaultClient, own.front.URL+own.path(b, own.conn), fmt.Sprintf("quiet_%d", i))
				took[i] = (<-v.second).Sub(start)
			}
			b.StopTimer()
			close(stop)
			flooding.Wait()
			slices.Sort(took)
			b.ReportMetric(took[b.N/2].Seconds()*1e3, "p50-ms")
			b.ReportMetric(took[b.N*99/100].Seconds()*1e3, "p99-ms")
		})
	}
}

// vendorStub answers both calls of customers in at once, and tells when it got the second.
type vendorStub struct {
	url    string
	calls  atomic.Int64
	only   string // the customers, by how their ids begin, whose second calls are told
	second chan time.Time
}

func newVendors(b *testing.B) *vendorStub {
	debug.SetGCPercent(200) // as serve does; the bounds have it too
	v := &vendorStub{second: make(chan time.Time, warm+b.N)}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := time.Now()
		body, _ := io.ReadAll(r.Body)
		v.calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if id, ok := strings.CutPrefix(r.URL.Path, "/v1/customers/"); ok {
			fmt.Fprintf(w, `{"id":%q,"object":"customer","name":"Ada","email":"ada@example.com","livemode":false,"metadata":{}}`, id)
			if strings.HasPrefix(id, v.only) {
				v.second <- at
			}
			return
		}
		var in struct {
			ID string `json:"id"`
		}
		_ = json.Unmarshal(body, &in)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"id":%q,"name":"Ada","togaiCustomerId":"c_%[1]s","primaryEmail":"ada@example.com","account":{"id":%[1]q,"togaiAccountId":"a_%[1]s","customerId":%[1]q}}`, in.ID)
	}))
	b.Cleanup(front.Close)
	v.url = front.URL
	return v
}

// answered waits until the stub has had the calls of n runs. Asking a database all the time would cost what is measured.
func (v *vendorStub) answered(n int) {
	for v.calls.Load() < int64(2*n) {
		time.Sleep(10 * time.Millisecond)
	}
}

func report(b *testing.B, v *vendorStub) {
	b.StopTimer()
	if got := v.calls.Load(); got != int64(2*(warm+b.N)) {
		b.Errorf("%d calls, want %d", got, 2*(warm+b.N))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
}

func flood(b *testing.B, url, name string, n int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(n) {
					return
				}
				hook(b, client, url, fmt.Sprintf("%s_%d", name, i))
			}
		})
	}
	all.Wait()
}

// hook reports a customer of its own.
func hook(b *testing.B, client *http.Client, url, id string) {
	body := strings.Replace(created("evt_"+id), `"id":"cus_1"`, `"id":"cus_`+id+`","name":"Ada Lovelace","email":"ada@example.com"`, 1)
	req, err := http.NewRequestWithContext(b.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		b.Error(err)
		return
	}
	req.Header.Set("Stripe-Signature", sign(secret, time.Now(), body))
	resp, err := client.Do(req)
	if err != nil {
		b.Error(err)
		return
	}
	defer resp.Body.Close()
	if said, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
		b.Errorf("%s %s", resp.Status, said)
	}
}

// working is a world with customers in switched on and a worker, whose calls go to the stub.
func working(b *testing.B, v *vendorStub) *world {
	w := prepared(b, v)
	w.start(b)
	return w
}

func prepared(b *testing.B, v *vendorStub) *world {
	w := openOn(b, dbtest.Durable(b), 24)
	w.switchOn(b, v)
	return w
}

func (w *world) start(b *testing.B) {
	w.engine.Base = &http.Transport{MaxIdleConnsPerHost: 128}
	wide := func(connectors.Mode) connectors.Rate { return connectors.Rate{PerSecond: 1e6, Burst: 1e6} }
	list := w.engine.Apps.Apps()
	for i := range list {
		list[i].Rate = wide
	}
	var err error
	if w.engine.Apps, err = connectors.NewRegistry(list...); err != nil {
		b.Fatal(err)
	}
	worker, err := jobs.New(jobs.Config{DB: w.DB, Engine: w.engine, Door: w.in})
	if err != nil {
		b.Fatal(err)
	}
	if err := worker.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { worker.Stop(context.WithoutCancel(b.Context())) })
}

// another is a second organization in the same processes.
func (w *world) another(b *testing.B, v *vendorStub) *world {
	o := *w
	org, err := db.CreateOrganization(b.Context(), w.DB, "Other")
	if err != nil {
		b.Fatal(err)
	}
	o.org = org.OrgID
	w.engine.URLs["stripe"] = w.sim.URL
	o.conn = o.connect(b, "Stripe", secret)
	o.switchOn(b, v)
	return &o
}

// switchOn connects Togai and switches customers in on. From then on the vendors are the stub, which has no list to read;
// their budgets are drawn from, and are no bound.
func (w *world) switchOn(b *testing.B, v *vendorStub) {
	account := togaisim.New(b)
	w.engine.URLs = map[string]string{"stripe": w.sim.URL, "togai": account.URL}
	name := "Togai"
	to, err := w.engine.Connect(b.Context(), w.org, flow.ConnectionInput{App: "togai", Name: &name, Credentials: map[string]string{
		"environment": "sandbox", "api_token": account.Token(), "organization_id": "acme",
	}}, alone)
	if err != nil {
		b.Fatal(err)
	}
	if err := w.engine.Ship(b.Context(), w.org); err != nil {
		b.Fatal(err)
	}
	var link db.FlowLink
	if err := w.InTx(b.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		var f db.Flow
		if err := tx.NewSelect().Model(&f).Where("org_id = ? AND key = 'stripe.customers_in'", w.org).Scan(ctx); err != nil {
			return err
		}
		link, err = w.engine.CreateLink(ctx, tx, w.org, flow.LinkInput{FlowID: f.ID, Name: "in", Connections: map[string]db.ID{
			flow.TriggerSlot: w.conn.ID, "account": to.ID, "note": w.conn.ID,
		}})
		return err
	}); err != nil {
		b.Fatal(err)
	}
	if _, err := w.engine.EnableLink(b.Context(), w.org, link.ID, w.in, alone); err != nil {
		b.Fatal(err)
	}
	if _, err := w.NewRaw("UPDATE cursors SET due_at = NULL").Exec(b.Context()); err != nil {
		b.Fatal(err)
	}
	w.engine.URLs = map[string]string{"stripe": v.url, "togai": v.url}
}

func (w *world) analyze(b *testing.B) {
	if _, err := w.Pool.Exec(b.Context(), "VACUUM ANALYZE"); err != nil {
		b.Fatal(err)
	}
}

// finished waits until n runs are over, and fails unless they did what they should.
func (w *world) finished(b *testing.B, n int) {
	for open := -1; open != 0; {
		if err := w.NewRaw("SELECT ? - count(*) FROM runs WHERE ended_at IS NOT NULL", n).Scan(b.Context(), &open); err != nil {
			b.Fatal(err)
		}
		if open > 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	var good, effects, slots int
	if err := w.NewRaw(`SELECT (SELECT count(*) FROM runs WHERE state = 'SUCCEEDED'), (SELECT count(*) FROM effects WHERE state = 'CONFIRMED'),
		(SELECT count(*) FROM mapping_slots WHERE external_id IS NOT NULL)`).Scan(b.Context(), &good, &effects, &slots); err != nil || good != n || effects != 2*n || slots != 3*n {
		b.Errorf("%d runs succeeded, %d effects, %d slots (%v), want %d, %d and %d", good, effects, slots, err, n, 2*n, 3*n)
	}
}

type minimalArgs struct {
	Run int64 `json:"run"`
}

func (minimalArgs) Kind() string { return "minimal" }

type minimalWorker struct {
	river.WorkerDefaults[minimalArgs]
	pool   *pgxpool.Pool
	client *http.Client
	url    string
}

func (m *minimalWorker) call(ctx context.Context, path string, in any) (int, string, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return 0, "", err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", m.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s", resp.Status)
	}
	return resp.StatusCode, string(said), err
}

func (m *minimalWorker) Work(ctx context.Context, job *river.Job[minimalArgs]) error {
	var body []byte
	if err := m.pool.QueryRow(ctx, "SELECT e.body FROM bound_runs r JOIN bound_events e ON e.id = r.event_id WHERE r.id = $1", job.Args.Run).Scan(&body); err != nil {
		return err
	}
	var e struct {
		Data struct{ Object map[string]any }
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return err
	}
	const keep = "INSERT INTO bound_steps (run_id, position, state, status, output, took) VALUES ($1, $2, 'SUCCEEDED', $3, $4, $5) ON CONFLICT DO NOTHING"
	start := time.Now()
	status, said, err := m.call(ctx, "/customers", map[string]any{"id": e.Data.Object["id"], "name": e.Data.Object["name"]})
	if err != nil {
		return err
	}
	if _, err := m.pool.Exec(ctx, keep, job.Args.Run, 1, status, said, time.Since(start).Milliseconds()); err != nil {
		return err
	}
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(said), &made); err != nil {
		return err
	}
	start = time.Now()
	if status, said, err = m.call(ctx, "/v1/customers/"+made.ID, map[string]any{"metadata": made}); err != nil {
		return err
	}
	_, err = m.pool.Exec(ctx, "WITH s AS ("+keep+") UPDATE bound_runs SET state = 'SUCCEEDED', ended_at = now() WHERE id = $1",
		job.Args.Run, 2, status, said, time.Since(start).Milliseconds())
	return err
}

// minimal is the program of the bound; it answers where its webhook is, and how to wait until it has nothing left to do.
func minimal(b *testing.B, v *vendorStub) (url string, finished func(n int)) {
	cfg, err := pgxpool.ParseConfig(dbtest.Durable(b))
	if err != nil {
		b.Fatal(err)
	}
	cfg.MaxConns = 24
	pool, err := pgxpool.NewWithConfig(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	if _, err := pool.Exec(b.Context(), `CREATE TABLE bound_events (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, connection_id bigint NOT NULL, external_id text NOT NULL,
			body text NOT NULL, at timestamptz NOT NULL DEFAULT now(), UNIQUE (connection_id, external_id));
		CREATE TABLE bound_runs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id bigint NOT NULL, state text NOT NULL,
			created_at timestamptz NOT NULL DEFAULT now(), ended_at timestamptz);
		CREATE TABLE bound_steps (run_id bigint NOT NULL, position int NOT NULL, state text NOT NULL, status int, output text, took int,
			PRIMARY KEY (run_id, position))`); err != nil {
		b.Fatal(err)
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &minimalWorker{pool: pool, url: v.url, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}})
	queue, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Schema: migrations.RiverSchema, Logger: slog.New(slog.DiscardHandler), Workers: workers, FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 100 * time.Millisecond,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 64}},
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := queue.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { queue.Stop(context.WithoutCancel(b.Context())) })
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var e struct{ ID string }
		if err != nil || !signed(r, body) || json.Unmarshal(body, &e) != nil {
			http.Error(w, "bad", 400)
			return
		}
		if err = pgx.BeginFunc(r.Context(), pool, func(tx pgx.Tx) error {
			var run int64
			if err := tx.QueryRow(r.Context(), `WITH e AS (INSERT INTO bound_events (connection_id, external_id, body) VALUES (1, $1, $2) ON CONFLICT DO NOTHING RETURNING id)
				INSERT INTO bound_runs (event_id, state) SELECT id, 'QUEUED' FROM e RETURNING id`, e.ID, string(body)).Scan(&run); err != nil {
				return err
			}
			_, err := queue.InsertTx(r.Context(), tx, minimalArgs{run}, nil)
			return err
		}); err != nil {
			http.Error(w, err.Error(), 500)
		}
	}))
	b.Cleanup(front.Close)
	return front.URL, func(n int) {
		for open := -1; open != 0; {
			if err := pool.QueryRow(b.Context(), "SELECT $1 - count(*) FROM bound_runs WHERE ended_at IS NOT NULL", n).Scan(&open); err != nil {
				b.Fatal(err)
			}
			if open > 0 {
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
}
