package flow_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/scheduler"
	"tieline/connectors/stripe"
	"tieline/connectors/stripe/stripesim"
	"tieline/connectors/togai"
	"tieline/connectors/togai/togaisim"
	"tieline/connectors/zohobooks"
	"tieline/connectors/zuora"
	"tieline/db"
	"tieline/db/dbtest"
	"tieline/db/seal"
	"tieline/jobs/flow"
)

// world is an organization with Stripe and Togai connected, and workers that look at the rows instead of a queue.
type world struct {
	t      *testing.T
	db     *db.DB
	engine *flow.Engine
	org    db.ID
	stripe *stripesim.Sim
	togai  *togaisim.Sim
	hooks  *httptest.Server
	keys   string // as TIELINE_KEYS has them

	stripeConn, togaiConn, zuoraConn, booksConn db.Connection
	workers                                     sync.WaitGroup
	cancel                                      context.CancelFunc
}

// deadline bounds every wait of these tests.
const deadline = 30 * time.Second

// A call may take longer than a busy machine needs for it, but where answers are lost or late on purpose: there a test would
// wait for as long.
const (
	unhurried = 5 * time.Second
	hurried   = 400 * time.Millisecond
	settle    = 20 * time.Millisecond
)

// newWorld is one whose calls may take as long as within says, or unhurried.
func newWorld(t *testing.T, within ...time.Duration) *world {
	t.Helper()
	calls := append(within, unhurried)[0]
	w := &world{t: t, db: dbtest.New(t), keys: seal.Generate(), stripe: stripesim.New(t, stripesim.WithBackoff(20*time.Millisecond, 50*time.Millisecond, 200*time.Millisecond)), togai: togaisim.New(t)}
	w.hooks = httptest.NewServer(http.HandlerFunc(w.webhook))
	t.Cleanup(w.hooks.Close)
	keys, err := seal.Parse(w.keys)
	must(t, err)
	vendors := []connectors.Connector{stripe.Connector(), togai.Connector(), zuora.Connector(), zohobooks.Connector()}
	for i := range vendors {
		vendors[i].Timeout, vendors[i].Settle = calls, settle
		vendors[i].Rate = func(connectors.Mode) connectors.Rate { return connectors.Rate{PerSecond: 10000, Burst: 10000} }
	}
	apps, err := connectors.NewRegistry(append(vendors, scheduler.Connector())...)
	must(t, err)
	level := slog.LevelError + 4
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	w.engine = &flow.Engine{
		DB: w.db, Apps: apps, Keys: keys, Queue: nothing{}, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
		URLs: map[string]string{"stripe": w.stripe.URL, "togai": w.togai.URL}, PublicURL: w.hooks.URL, Base: &http.Transport{},
		Timing: flow.Timing{Lease: time.Second, Retry: 20 * time.Millisecond, RetryMax: 300 * time.Millisecond},
	}
	o, err := db.CreateOrganization(t.Context(), w.db, "test")
	must(t, err)
	w.org = o.OrgID
	must(t, w.engine.Ship(t.Context(), w.org))
	w.stripeConn = w.connect("stripe", "Stripe", map[string]string{"api_key": w.stripe.Key()})
	w.togaiConn = w.connect("togai", "Togai", map[string]string{"environment": "sandbox", "api_token": w.togai.Token(), "organization_id": "org_1"})
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func uncommitted(context.Context, db.Tx, db.ID) error { return nil }

func (w *world) connect(app, name string, creds map[string]string) db.Connection {
	w.t.Helper()
	c, err := w.engine.Connect(w.t.Context(), w.org, flow.ConnectionInput{App: app, Name: &name, Credentials: creds}, uncommitted)
	must(w.t, err)
	return c
}

// link makes and enables a link of a shipped flow.
func (w *world) link(key string, params map[string]any) db.FlowLink {
	w.t.Helper()
	var f db.Flow
	must(w.t, w.db.NewSelect().Model(&f).Where("org_id = ? AND key = ?", w.org, key).Scan(w.t.Context()))
	v, err := db.NewestVersion(w.t.Context(), w.db, w.org, f.ID)
	must(w.t, err)
	var d flow.Definition
	must(w.t, json.Unmarshal(v.Definition, &d))
	conns := map[string]db.ID{"stripe": w.stripeConn.ID, "togai": w.togaiConn.ID, "zuora": w.zuoraConn.ID, "zohobooks": w.booksConn.ID}
	in := flow.LinkInput{FlowID: f.ID, Name: key, Params: params, Connections: map[string]db.ID{"trigger": conns[d.Trigger.App]}}
	for _, s := range d.Steps {
		in.Connections[s.Key] = conns[s.App]
	}
	var l db.FlowLink
	must(w.t, w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		l, err = w.engine.CreateLink(ctx, tx, w.org, in)
		return err
	}))
	l, err = w.engine.EnableLink(w.t.Context(), w.org, l.ID, w, uncommitted)
	must(w.t, err)
	return l
}

// webhook is the shortest intake that is right: verified, stored once, dispatched by the workers.
func (w *world) webhook(rw http.ResponseWriter, r *http.Request) {
	conn := w.stripeConn
	for app, c := range map[string]db.Connection{"togai": w.togaiConn, "zuora": w.zuoraConn} {
		if strings.Contains(r.URL.Path, "/"+app+"/") {
			conn = c
		}
	}
	body := make([]byte, r.ContentLength)
	_, _ = io.ReadFull(r.Body, body) // what is short does not match its signature
	app, _ := w.engine.Apps.App(conn.App)
	row, err := db.GetConnection(r.Context(), w.db, w.org, conn.ID)
	if err == nil {
		var secrets []string
		if secrets, err = w.engine.WebhookSecrets(row); err == nil {
			var env connectors.Envelope
			if env, err = app.Webhook.Open(connectors.Delivery{Header: r.Header, Query: r.URL.Query(), Body: body, ReceivedAt: time.Now()}, secrets); err == nil && env.Trigger != "" {
				if env.Body != "" {
					body = []byte(env.Body)
				}
				_, err = w.Take(r.Context(), row, flow.FromWebhook, []connectors.Item{{Envelope: env, Body: body}})
			}
		}
	}
	ask, asked := errors.AsType[connectors.NoProof](err)
	switch {
	case asked:
		rw.Header().Set("WWW-Authenticate", string(ask))
		rw.WriteHeader(http.StatusUnauthorized)
	case err != nil:
		http.Error(rw, err.Error(), http.StatusServiceUnavailable)
	}
}

// Take implements flow.Door.
func (w *world) Take(ctx context.Context, conn db.Connection, source string, items []connectors.Item) (int, error) {
	fresh := 0
	for _, i := range items {
		now := time.Now().UTC().Truncate(time.Microsecond)
		if i.At.IsZero() {
			i.At = now
		}
		e := db.Event{OrgID: conn.OrgID, ID: db.NewID(), ConnectionID: conn.ID, Trigger: i.Trigger, DedupeKey: i.DedupeKey, Source: source, VendorType: i.Type, VendorAt: i.At, ReceivedAt: now, DueAt: now}
		if source == flow.FromBaseline {
			e.DispatchedAt, e.DueAt = now, time.Time{}
		}
		err := w.db.InTx(ctx, func(ctx context.Context, tx db.Tx) error { return db.AddEvent(ctx, tx, e, i.Body) })
		if err == nil {
			fresh++
		} else if !db.IsUnique(err) {
			return fresh, err
		}
	}
	return fresh, nil
}

// work starts two workers; they end with the test.
func (w *world) work() {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	for range 2 {
		w.workers.Go(func() { w.worker(ctx) })
	}
	w.t.Cleanup(w.rest)
}

func (w *world) rest() {
	w.cancel()
	w.workers.Wait()
}

func (w *world) worker(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		var events, runs []db.ID
		_ = w.db.NewRaw("SELECT id FROM events WHERE dispatched_at IS NULL ORDER BY id LIMIT 5").Scan(ctx, &events)
		for _, id := range events {
			first, err := w.engine.TakeUp(ctx, w.org, id)
			if err != nil && ctx.Err() == nil {
				w.t.Errorf("dispatch: %v", err)
			}
			if first != nil {
				w.carry(ctx, first)
			}
		}
		_ = w.db.NewRaw(`SELECT id FROM runs WHERE state = 'QUEUED' OR (state = 'WAITING' AND wake_at <= now())
			OR (state IN ('RUNNING', 'CANCELLING') AND coalesce(lease_until, '-infinity') < now()) ORDER BY id LIMIT 5`).Scan(ctx, &runs)
		for _, id := range runs {
			w.activate(ctx, id)
		}
		if len(events)+len(runs) == 0 {
			<-tick.C
		}
	}
}

func (w *world) activate(ctx context.Context, id db.ID) {
	a, err := w.engine.Lease(ctx, w.org, id)
	if err != nil && ctx.Err() == nil {
		w.t.Errorf("lease: %v", err)
	}
	if a != nil {
		w.carry(ctx, a)
	}
}

func (w *world) carry(ctx context.Context, a *flow.Activation) {
	leased, release := a.Hold(ctx)
	defer release()
	next, err := w.engine.Advance(leased, a)
	if err == nil {
		err = w.engine.Finish(ctx, a, next, nil)
	}
	if err != nil && ctx.Err() == nil {
		w.t.Errorf("activation of %s: %v", a.Run().ID, err)
	}
}

// settled waits until at least n runs are there and every run is final, and every event dispatched.
func (w *world) settled(n int) []db.Run {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), deadline)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var runs []db.Run
		open := 0
		must(w.t, w.db.NewSelect().Model(&runs).OrderExpr("id").Scan(w.t.Context()))
		must(w.t, w.db.NewRaw("SELECT count(*) FROM events WHERE dispatched_at IS NULL").Scan(w.t.Context(), &open))
		for _, r := range runs {
			if r.EndedAt.IsZero() {
				open++
			}
		}
		if len(runs) >= n && open == 0 {
			return runs
		}
		select {
		case <-ctx.Done():
			w.dump()
			w.t.Fatalf("not settled after %s: %d runs, %d open", deadline, len(runs), open)
		case <-tick.C:
		}
	}
}

// dump shows what the rows say, for a test that failed.
func (w *world) dump() {
	var lines []string
	_ = w.db.NewRaw(`SELECT concat_ws(' ', 'run', r.id, r.state, r.waiting_reason, r.error) FROM runs r
		UNION ALL SELECT concat_ws(' ', 'step', run_id, key, state, waiting_reason, error) FROM steps
		UNION ALL SELECT concat_ws(' ', 'effect', id, kind, key, state, external_id, error) FROM effects
		UNION ALL SELECT concat_ws(' ', 'slot', mapping_id, entity, external_id, own_id, effect_id) FROM mapping_slots
		UNION ALL SELECT concat_ws(' ', 'event', id, trigger, dedupe_key, source, error) FROM events
		UNION ALL SELECT concat_ws(' ', 'attempt', method, path, status, error_kind, error) FROM attempts`).Scan(context.Background(), &lines)
	w.t.Log("\n" + strings.Join(lines, "\n"))
}

// read asks Togai for new accounts, as the poller does.
func (w *world) read() {
	w.t.Helper()
	_, err := w.db.NewRaw("UPDATE cursors SET read_at = NULL WHERE connection_id = ?", w.togaiConn.ID).Exec(w.t.Context())
	must(w.t, err)
	must(w.t, w.engine.Read(w.t.Context(), w.org, w.togaiConn.ID, w))
}

type nothing struct{}

func (nothing) Add(context.Context, db.Tx, ...flow.Task) error { return nil }
