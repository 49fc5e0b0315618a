package intake_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tieline/connectors"
	"tieline/connectors/catalog"
	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
	"tieline/connectors/togai/togaisim"
	"tieline/db"
	"tieline/db/dbtest"
	"tieline/db/seal"
	"tieline/jobs"
	"tieline/jobs/flow"
	"tieline/jobs/intake"
)

const secret = "whsec_of_a_test"

// world is an organization with a Stripe connection, and the front of its webhooks. Jobs are added and not worked.
type world struct {
	*db.DB
	engine *flow.Engine
	in     *intake.Intake
	sim    *stripesim.Sim
	front  *httptest.Server
	org    db.ID
	conn   db.Connection
	trace  *trace
}

func open(t *testing.T) *world { return openOn(t, dbtest.URL(t), 4) }

func openOn(t testing.TB, url string, conns int) *world {
	t.Helper()
	tr := &trace{}
	d, err := db.Open(t.Context(), url, db.MaxConns(conns), func(c *pgxpool.Config) { c.ConnConfig.Tracer = tr })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	apps, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Parse(seal.Generate())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{DB: d, sim: stripesim.New(t), trace: tr}
	w.engine = &flow.Engine{DB: d, Apps: apps, Keys: keys, Log: slog.New(slog.DiscardHandler), URLs: map[string]string{"stripe": w.sim.URL}}
	if _, err := jobs.New(jobs.Config{DB: d, Engine: w.engine, InsertOnly: true}); err != nil {
		t.Fatal(err)
	}
	org, err := db.CreateOrganization(t.Context(), d, "Acme")
	if err != nil {
		t.Fatal(err)
	}
	w.org, w.in = org.OrgID, intake.New(w.engine)
	w.conn = w.connect(t, "Stripe", secret)
	mux := http.NewServeMux()
	mux.Handle(intake.Path, w.in)
	w.front = httptest.NewServer(mux)
	t.Cleanup(w.front.Close)
	return w
}

func (w *world) connect(t testing.TB, name, secret string) db.Connection {
	t.Helper()
	in := flow.ConnectionInput{App: "stripe", Name: &name, Credentials: map[string]string{"api_key": w.sim.Key()}}
	if secret != "" {
		in.WebhookSecret = &secret
	}
	conn, err := w.engine.Connect(t.Context(), w.org, in, alone)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func alone(context.Context, db.Tx, db.ID) error { return nil }

// path is that of a connection's webhook URL.
func (w *world) path(t testing.TB, conn db.Connection) string {
	t.Helper()
	path, err := w.engine.WebhookURL(conn)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (w *world) delivery(t *testing.T, body string) intake.Delivery {
	path := strings.Split(w.path(t, w.conn), "/")
	return intake.Delivery{App: "stripe", Token: path[len(path)-1], Delivery: connectors.Delivery{
		Header: http.Header{"Stripe-Signature": {sign(secret, time.Now(), body)}}, Body: []byte(body), ReceivedAt: time.Now(),
	}}
}

func sign(secret string, at time.Time, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil)))
}

// event is one as Stripe sends it.
func event(id, typ string, live bool) string {
	quoted, _ := json.Marshal(id) // a NUL becomes \u0000, which JSON allows and Postgres does not
	return fmt.Sprintf(`{"id":%s,"object":"event","api_version":"2023-10-16","created":%d,"livemode":%v,"type":%q,"data":{"object":{"id":"cus_1","object":"customer"}}}`,
		quoted, time.Now().Unix(), live, typ)
}

func created(id string) string { return event(id, "customer.created", false) }

func (w *world) post(t *testing.T, path, body, signature string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.front.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if signature != "" {
		req.Header.Set("Stripe-Signature", signature)
	}
	return send(t, req)
}

func send(t *testing.T, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]struct{ Code, Message string }
	if err := json.Unmarshal(said, &out); err != nil || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("answered %q", said)
	}
	return resp, out["error"].Code + out["delivery"].Code
}

// want fails unless there are that many events, bodies and jobs, and what was counted on the connection.
func (w *world) want(t *testing.T, events, ignored, refused int) {
	t.Helper()
	var e, b, j, i, r int
	err := w.NewRaw(`SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM event_bodies),
		(SELECT count(*) FROM river.river_job WHERE kind = 'dispatch' AND queue = 'events' AND max_attempts = 1 AND state = 'available'),
		(SELECT sum(ignored) FROM connections), (SELECT sum(refused) FROM connections)`).Scan(context.Background(), &e, &b, &j, &i, &r)
	if err != nil || e != events || b != events || j != events || i != ignored || r != refused {
		t.Errorf("%d events, %d bodies, %d jobs, %d ignored, %d refused (%v), want %d events, %d ignored, %d refused", e, b, j, i, r, err, events, ignored, refused)
	}
}

func TestTaken(t *testing.T) {
	t.Parallel()
	w := open(t)
	body := created("evt_1") + "\n " // kept to the byte
	resp, code := w.post(t, w.path(t, w.conn), body, sign(secret, time.Now(), body))
	if resp.StatusCode != 200 || code != intake.Taken {
		t.Fatalf("%s %s", resp.Status, code)
	}
	w.want(t, 1, 0, 0)
	var e db.Event
	if err := w.NewSelect().Model(&e).Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.Trigger != "customer.created" || e.DedupeKey != "evt_1" || e.Source != flow.FromWebhook || e.VendorType != "customer.created" ||
		time.Since(e.VendorAt) > time.Minute || e.Repeats != 0 || !e.DispatchedAt.IsZero() || e.DueAt.Sub(e.ReceivedAt) != 10*time.Second {
		t.Errorf("stored as %+v", e)
	}
	kept, err := db.EventBody(t.Context(), w.DB, w.org, e.ID, e.ReceivedAt)
	if err != nil || string(kept) != body {
		t.Errorf("body %q (%v), want %q", kept, err, body)
	}
	conn, err := db.GetConnection(t.Context(), w.DB, w.org, w.conn.ID)
	if err != nil || !conn.WebhookSeenAt.Equal(e.ReceivedAt) || !conn.LastEventAt.Equal(e.ReceivedAt) {
		t.Errorf("connection seen %v, last event %v (%v), want %v", conn.WebhookSeenAt, conn.LastEventAt, err, e.ReceivedAt)
	}
	again := created("evt_2")
	w.post(t, w.path(t, w.conn), again, sign(secret, time.Now(), again))
	conn2, err := db.GetConnection(t.Context(), w.DB, w.org, w.conn.ID)
	if err != nil || !conn2.WebhookSeenAt.Equal(conn.WebhookSeenAt) {
		t.Errorf("the connection's row is written by every delivery (%v)", err)
	}
}

func TestBadCalls(t *testing.T) {
	t.Parallel()
	w := open(t)
	good := w.path(t, w.conn)
	unset := w.path(t, w.connect(t, "without secret", ""))
	gone := w.connect(t, "deleted", secret)
	if _, err := w.engine.DeleteConnection(t.Context(), w.org, gone.ID, alone); err != nil {
		t.Fatal(err)
	}
	off := w.connect(t, "off", secret)
	if _, err := w.NewRaw("UPDATE connections SET state = 'DISABLED' WHERE id = ?", off.ID).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	thin := `{"id":"evt_thin","object":"v2.core.event","type":"v1.billing.meter.error_report_triggered","created":"2026-11-24T00:00:00Z","livemode":false}`
	huge := `{"id":"` + strings.Repeat("x", 2<<20) + `"}`
	now := time.Now()
	for _, c := range []struct {
		name, path, body, signature string
		status                      int
		code                        string
		ignored, refused            int
	}{
		{"no signature", good, created("e"), "", 400, intake.BadSig, 0, 1},
		{"junk signature", good, created("e"), "v1", 400, intake.BadSig, 0, 1},
		{"other secret", good, created("e"), sign("whsec_other", now, created("e")), 400, intake.BadSig, 0, 1},
		{"empty secret", good, created("e"), sign("", now, created("e")), 400, intake.BadSig, 0, 1},
		{"body altered", good, created("e") + " ", sign(secret, now, created("e")), 400, intake.BadSig, 0, 1},
		{"stale", good, created("e"), sign(secret, now.Add(-6*time.Minute), created("e")), 400, intake.TooOld, 0, 1},
		{"from the future", good, created("e"), sign(secret, now.Add(6*time.Minute), created("e")), 400, intake.TooNew, 0, 1},
		{"not JSON", good, "hello", sign(secret, now, "hello"), 400, intake.Malformed, 0, 1},
		{"empty", good, "", sign(secret, now, ""), 400, intake.Malformed, 0, 1},
		{"NUL in its id", good, created("e\x00"), sign(secret, now, created("e\x00")), 400, intake.Malformed, 0, 1},
		{"endless id", good, created(strings.Repeat("e", 3000)), sign(secret, now, created(strings.Repeat("e", 3000))), 400, intake.Malformed, 0, 1},
		{"no secret yet", unset, created("e"), sign(secret, now, created("e")), 400, intake.NoSecret, 0, 1},
		{"huge", good, huge, sign(secret, now, huge), 413, "TOO_LARGE", 0, 0},
		{"unknown token", "/webhooks/stripe/wh_unknown", created("e"), sign(secret, now, created("e")), 404, intake.NotFound, 0, 0},
		{"endless token", "/webhooks/stripe/" + strings.Repeat("x", 5000), created("e"), sign(secret, now, created("e")), 404, intake.NotFound, 0, 0},
		{"other app's URL", strings.Replace(good, "stripe", "togai", 1), created("e"), sign(secret, now, created("e")), 404, intake.NotFound, 0, 0},
		{"unknown app", strings.Replace(good, "stripe", "paypal", 1), created("e"), sign(secret, now, created("e")), 404, intake.NotFound, 0, 0},
		{"deleted connection", w.path(t, gone), created("e"), sign(secret, now, created("e")), 404, intake.NotFound, 0, 0},
		{"switched off", w.path(t, off), created("e"), sign(secret, now, created("e")), 200, intake.Ignored, 1, 0},
		{"wrong mode", good, event("e", "customer.created", true), sign(secret, now, event("e", "customer.created", true)), 200, intake.Ignored, 1, 0},
		{"unused type", good, event("e", "payout.paid", false), sign(secret, now, event("e", "payout.paid", false)), 200, intake.Ignored, 1, 0},
		{"thin", good, thin, sign(secret, now, thin), 200, intake.Ignored, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := w.NewRaw("UPDATE connections SET ignored = 0, refused = 0").Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
			resp, code := w.post(t, c.path, c.body, c.signature)
			if resp.StatusCode != c.status || code != c.code {
				t.Errorf("%s %s, want %d %s", resp.Status, code, c.status, c.code)
			}
			w.want(t, 0, c.ignored, c.refused)
		})
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "OPTIONS"} {
		req, err := http.NewRequestWithContext(t.Context(), method, w.front.URL+good, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 405 || resp.Header.Get("Allow") != "POST" {
			t.Errorf("%s: %s, Allow %q", method, resp.Status, resp.Header.Get("Allow"))
		}
	}
}

// TestForgeries: bad signatures, and none that is good, have the endpoint looked at; what is wrong in another way does not.
func TestForgeries(t *testing.T) {
	t.Parallel()
	w := open(t)
	path, good := w.path(t, w.conn), created("evt_good")
	send := func(body, signature, want string) {
		t.Helper()
		if _, code := w.post(t, path, body, signature); code != want {
			t.Errorf("%s, want %s", code, want)
		}
	}
	stands := func(refused int, due bool) {
		t.Helper()
		var n int
		var now bool
		if err := w.NewRaw("SELECT webhook_refused, care_at <= clock_timestamp() FROM connections WHERE id = ?", w.conn.ID).Scan(t.Context(), &n, &now); err != nil || n != refused || now != due {
			t.Errorf("%d bad signatures, a look is due %v (%v), want %d and %v", n, now, err, refused, due)
		}
	}
	if _, err := w.NewRaw("UPDATE connections SET care_at = now() + interval '5 minutes'").Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range db.BadSignatures {
		send("hello", sign(secret, time.Now(), "hello"), intake.Malformed)
	}
	stands(0, false)
	for range db.BadSignatures - 1 {
		send(good, sign("whsec_other", time.Now(), good), intake.BadSig)
	}
	stands(db.BadSignatures-1, false)
	send(good, sign(secret, time.Now(), good), intake.Taken)
	stands(0, false)
	for range db.BadSignatures {
		send(good, sign("whsec_other", time.Now(), good), intake.BadSig)
	}
	stands(db.BadSignatures, true)
}

func TestConcurrentDuplicates(t *testing.T) {
	t.Parallel()
	w := open(t)
	body := created("evt_1")
	path, signature := w.path(t, w.conn), sign(secret, time.Now(), body)
	var fresh, known atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			switch resp, code := w.post(t, path, body, signature); {
			case resp.StatusCode != 200:
				t.Errorf("%s %s", resp.Status, code)
			case code == intake.Taken:
				fresh.Add(1)
			case code == intake.Repeated:
				known.Add(1)
			}
		})
	}
	all.Wait()
	if fresh.Load() != 1 || known.Load() != 49 {
		t.Errorf("%d taken and %d repeated, want 1 and 49", fresh.Load(), known.Load())
	}
	w.want(t, 1, 0, 0)
	w.wantRepeats(t, 49)
}

func (w *world) wantRepeats(t *testing.T, want int) {
	t.Helper()
	var n int
	if err := w.NewRaw("SELECT sum(repeats) FROM events").Scan(t.Context(), &n); err != nil || n != want {
		t.Errorf("%d repeats (%v), want %d", n, err, want)
	}
}

func TestPoisonedBatch(t *testing.T) {
	t.Parallel()
	w := open(t)
	var batch []intake.Delivery
	for _, id := range []string{"evt_b", "evt_a", "evt_\x00", "evt_b", "evt_c"} {
		batch = append(batch, w.delivery(t, created(id)))
	}
	forged := w.delivery(t, created("evt_d"))
	forged.Body = []byte(created("evt_e"))
	batch = append(batch, forged)
	want := []string{intake.Taken, intake.Taken, intake.Malformed, intake.Repeated, intake.Taken, intake.BadSig}
	for i, a := range w.in.Receive(t.Context(), batch) {
		if a.Code != want[i] {
			t.Errorf("delivery %d: %s, want %s", i, a.Code, want[i])
		}
	}
	w.want(t, 3, 0, 2)
	w.wantRepeats(t, 1)
	for i, a := range w.in.Receive(t.Context(), batch[:2]) {
		if a.Code != intake.Repeated {
			t.Errorf("delivery %d: %s, want %s", i, a.Code, intake.Repeated)
		}
	}
	w.wantRepeats(t, 3)
}

// TestBatchesMeet has batches of the same events in all orders at once: sorted, they queue up and no two wait for each other.
func TestBatchesMeet(t *testing.T) {
	t.Parallel()
	w := open(t)
	const batches, size = 20, 30
	var all sync.WaitGroup
	for n := range batches {
		batch := make([]intake.Delivery, size)
		for i := range batch {
			batch[i] = w.delivery(t, created(fmt.Sprintf("evt_%d", (i*(2*(n%7)+1)+n)%size)))
		}
		all.Go(func() {
			for _, a := range w.in.Receive(t.Context(), batch) {
				if a.Status != 200 {
					t.Errorf("%+v", a)
				}
			}
		})
	}
	all.Wait()
	var stored, told int
	if err := w.NewRaw("SELECT count(*), sum(repeats + 1) FROM events").Scan(t.Context(), &stored, &told); err != nil || stored > size || told != batches*size {
		t.Errorf("%d events told %d times (%v), want at most %d and %d", stored, told, err, size, batches*size)
	}
	w.want(t, stored, 0, 0)
}

func TestJobAndEventTogether(t *testing.T) {
	t.Parallel()
	w := open(t)
	move := func(from, to string) {
		if _, err := w.Pool.Exec(t.Context(), "ALTER TABLE river."+from+" RENAME TO "+to); err != nil {
			t.Fatal(err)
		}
	}
	move("river_job", "elsewhere")
	body := created("evt_1")
	resp, code := w.post(t, w.path(t, w.conn), body, sign(secret, time.Now(), body))
	if resp.StatusCode != 503 || code != intake.Unavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("without a queue: %s %s, Retry-After %q", resp.Status, code, resp.Header.Get("Retry-After"))
	}
	move("elsewhere", "river_job")
	w.want(t, 0, 0, 0)
	if resp, code := w.post(t, w.path(t, w.conn), body, sign(secret, time.Now(), body)); resp.StatusCode != 200 || code != intake.Taken {
		t.Errorf("sent again: %s %s", resp.Status, code)
	}
	w.want(t, 1, 0, 0)
}

func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	w := open(t)
	cfg := w.Pool.Config().ConnConfig.Copy()
	name := cfg.Database
	cfg.Database, cfg.Tracer = "postgres", nil
	admin, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.WithoutCancel(t.Context()))
	do := func(sql string) {
		t.Helper()
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	do("ALTER DATABASE " + name + " ALLOW_CONNECTIONS false")
	do("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '" + name + "'")
	body := created("evt_1")
	for range 3 {
		resp, code := w.post(t, w.path(t, w.conn), body, sign(secret, time.Now(), body))
		if resp.StatusCode != 503 || code != intake.Unavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s, Retry-After %q", resp.Status, code, resp.Header.Get("Retry-After"))
		}
	}
	do("ALTER DATABASE " + name + " ALLOW_CONNECTIONS true")
	if resp, code := w.post(t, w.path(t, w.conn), body, sign(secret, time.Now(), body)); resp.StatusCode != 200 || code != intake.Taken {
		t.Errorf("once it is back: %s %s", resp.Status, code)
	}
	w.Pool.Reset() // or looking would meet a connection that was ended
	w.want(t, 1, 0, 0)
}

func TestDoor(t *testing.T) {
	t.Parallel()
	w := open(t)
	conn, err := db.GetConnection(t.Context(), w.DB, w.org, w.conn.ID)
	if err != nil {
		t.Fatal(err)
	}
	items := func(from, to int) (items []connectors.Item) {
		for i := from; i < to; i++ {
			items = append(items, connectors.Item{Body: []byte("{}"), Envelope: connectors.Envelope{
				Trigger: "customer.created", Type: "customer.created", DedupeKey: fmt.Sprintf("evt_%d", i), At: time.Now(),
			}})
		}
		return items
	}
	take := func(source string, list []connectors.Item, want int) {
		t.Helper()
		if n, err := w.in.Take(t.Context(), conn, source, list); n != want || err != nil {
			t.Errorf("%s: %d fresh (%v), want %d", source, n, err, want)
		}
	}
	take(flow.FromBaseline, items(0, 1201), 1201)
	var known, bodies, queued int
	if err := w.NewRaw(`SELECT (SELECT count(*) FROM events WHERE dispatched_at IS NOT NULL AND due_at IS NULL), (SELECT count(*) FROM event_bodies),
		(SELECT count(*) FROM river.river_job)`).Scan(t.Context(), &known, &bodies, &queued); err != nil || known != 1201 || bodies != 0 || queued != 0 {
		t.Errorf("baseline: %d known, %d bodies, %d jobs (%v)", known, bodies, queued, err)
	}
	if _, err := w.NewRaw("DELETE FROM events").Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	bad := items(7, 8)
	bad[0].Type = "\x00"
	take(flow.FromCatchUp, append(append(items(0, 5), items(2, 4)...), bad...), 5)
	w.want(t, 5, 0, 0)
	take(flow.FromCatchUp, items(0, 6), 1)
	w.want(t, 6, 0, 0)
	w.wantRepeats(t, 2) // of one page; what is read again is no repeat
	body := created("evt_3")
	if _, code := w.post(t, w.path(t, w.conn), body, sign(secret, time.Now(), body)); code != intake.Repeated {
		t.Errorf("what was read first: %s, want %s", code, intake.Repeated)
	}
	w.want(t, 6, 0, 0)
}

// TestVendorsDeliver has the simulators call: Stripe at the endpoint we registered, signed by itself, Togai unsigned.
func TestVendorsDeliver(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.engine.PublicURL = w.front.URL
	registered := w.connect(t, "registered", "")
	if registered.WebhookState != flow.WebhookRegistered {
		t.Fatalf("webhook %s: %s", registered.WebhookState, registered.WebhookError)
	}
	if _, err := w.sim.First().CreateCustomer(map[string]any{"email": "ada@example.com"}); err != nil {
		t.Fatal(err)
	}
	togai := togaisim.New(t)
	w.engine.URLs["togai"] = togai.URL
	name := "Togai"
	unsigned, err := w.engine.Connect(t.Context(), w.org, flow.ConnectionInput{App: "togai", Name: &name, Credentials: map[string]string{
		"environment": "sandbox", "api_token": togai.Token(), "organization_id": "acme",
	}}, alone)
	if err != nil {
		t.Fatal(err)
	}
	togai.Target(w.path(t, unsigned), "")
	if _, err := togai.CreateAccount(map[string]any{"id": "acme", "name": "Acme", "primaryEmail": "ada@example.com"}); err != nil {
		t.Fatal(err)
	}
	for _, vendor := range []*sim.Core{w.sim.Core, togai.Core} {
		if err := vendor.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, d := range vendor.Deliveries() {
			if len(d.Attempts) != 1 || d.Attempts[0].Status != 200 {
				t.Errorf("%s: %+v", d.Type, d.Attempts)
			}
		}
	}
	var from []string
	if err := w.NewRaw("SELECT c.name || ' ' || e.trigger FROM events e JOIN connections c ON c.id = e.connection_id").Scan(t.Context(), &from); err != nil {
		t.Fatal(err)
	}
	slices.Sort(from)
	if want := []string{"Togai account.created", "registered customer.created"}; !slices.Equal(from, want) {
		t.Errorf("stored %q, want %q", from, want)
	}
}

// TestStatements counts what a vendor waits for. Change a number only knowing why.
func TestStatements(t *testing.T) {
	t.Parallel()
	w := open(t)
	one, ten := w.delivery(t, created("evt_1")), make([]intake.Delivery, 10)
	for i := range ten {
		ten[i] = w.delivery(t, created(fmt.Sprintf("evt_ten_%d", i)))
	}
	for range 2 { // River asks once what the server can do, and statements are prepared once
		w.in.Receive(t.Context(), []intake.Delivery{w.delivery(t, created("evt_0"))})
	}
	for _, c := range []struct {
		name       string
		deliveries []intake.Delivery
		want       int
	}{
		{"fresh", []intake.Delivery{one}, 5},  // connection, begin, event with body, job, commit
		{"ten at once", ten, 5},               // the same
		{"repeat", []intake.Delivery{one}, 5}, // connection, begin, event, repeats, commit
		{"ignored", []intake.Delivery{w.delivery(t, event("e", "payout.paid", false))}, 2}, // connection, count
	} {
		w.trace.reset()
		for _, a := range w.in.Receive(t.Context(), c.deliveries) {
			if a.Status != 200 {
				t.Errorf("%s: %+v", c.name, a)
			}
		}
		// River notifies of jobs, but not twice within two milliseconds.
		got := slices.DeleteFunc(w.trace.all(), func(sql string) bool { return strings.Contains(sql, "name: PGNotifyMany") })
		if len(got) != c.want {
			t.Errorf("%s: %d statements, want %d:\n%s", c.name, len(got), c.want, strings.Join(got, "\n"))
		}
	}
}

// trace notes each round trip to the database.
type trace struct {
	mu    sync.Mutex
	trips []string
}

func (tr *trace) add(sql string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.trips = append(tr.trips, sql)
}

func (tr *trace) reset() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.trips = nil
}

func (tr *trace) all() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.trips
}

func (tr *trace) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	tr.add(d.SQL)
	return ctx
}
func (tr *trace) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (tr *trace) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceCopyFromStartData) context.Context {
	tr.add("copy " + strings.Join(d.TableName, "."))
	return ctx
}
func (tr *trace) TraceCopyFromEnd(context.Context, *pgx.Conn, pgx.TraceCopyFromEndData) {}

func (tr *trace) TracePrepareStart(ctx context.Context, _ *pgx.Conn, d pgx.TracePrepareStartData) context.Context {
	tr.add("prepare " + d.SQL)
	return ctx
}
func (tr *trace) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {}
