package graph

import (
	"bytes"
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
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

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
	"tieline/db/notify"
	"tieline/db/seal"
	"tieline/graph/auth"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

// site is an organization with simulators of its own. Nothing happens in it by itself: what the simulators send is kept
// until settle dispatches it, so that every run of a test gives the same rows in the same order.
type site struct {
	t      testing.TB
	db     *db.DB
	engine *flow.Engine
	org    db.ID
	stripe *stripesim.Sim
	togai  *togaisim.Sim
	serve  http.Handler
	graph  *Resolvers
	tokens map[auth.Scope]string // one that may do this alone

	mu    sync.Mutex
	mail  []letter
	conns map[string]db.ID // by path of the webhook

	at     map[string]string // what documents ask for, by name
	sample json.RawMessage   // a payload to start customers in with
}

// letter is a webhook's delivery.
type letter struct {
	path   string
	header http.Header
	body   []byte
}

// openCounted opens a fresh database that counts the statements of each request.
func openCounted(t testing.TB) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), dbtest.URL(t), db.MaxConns(8), func(c *pgxpool.Config) { c.ConnConfig.Tracer = statements{} })
	check(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// statements is a pgx tracer that counts into the context: all that a request sends, bun's and River's alike, BEGIN
// and COMMIT included.
type statements struct{}

type countKey struct{}

func (statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if c, ok := ctx.Value(countKey{}).(*counter); ok {
		c.n.Add(1)
		c.mu.Lock()
		c.sql = append(c.sql, q.SQL)
		c.mu.Unlock()
	}
	return ctx
}
func (statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

type counter struct {
	n   atomic.Int32
	mu  sync.Mutex
	sql []string
}

func newSite(t testing.TB, d *db.DB, name string) *site {
	t.Helper()
	s := &site{t: t, db: d, stripe: stripesim.New(t), togai: togaisim.New(t), conns: map[string]db.ID{}, at: map[string]string{}, tokens: map[auth.Scope]string{}}
	hooks := httptest.NewServer(http.HandlerFunc(s.receive))
	t.Cleanup(hooks.Close)
	keys, err := seal.Parse(seal.Generate())
	check(t, err)
	fast := func(c connectors.Connector) connectors.Connector {
		c.Timeout, c.Settle = 5*time.Second, time.Millisecond
		c.Rate = func(connectors.Mode) connectors.Rate { return connectors.Rate{PerSecond: 10000, Burst: 10000} }
		return c
	}
	apps, err := connectors.NewRegistry(scheduler.Connector(), fast(stripe.Connector()), fast(togai.Connector()), fast(zuora.Connector()), fast(zohobooks.Connector()))
	check(t, err)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	s.engine = &flow.Engine{
		DB: d, Apps: apps, Keys: keys, Queue: nobody{}, Log: log,
		URLs: map[string]string{"stripe": s.stripe.URL, "togai": s.togai.URL}, PublicURL: hooks.URL, Base: &http.Transport{}, Origins: []string{"https://console.example.com"},
	}
	o, err := db.CreateOrganization(t.Context(), d, name)
	check(t, err)
	s.org = o.OrgID
	check(t, s.engine.Ship(t.Context(), s.org))
	for _, scope := range []auth.Scope{auth.Admin, auth.Read, auth.Write, auth.Trigger} {
		s.tokens[scope] = s.token(strings.ToLower(string(scope)), time.Time{}, scope)
	}
	r := NewResolvers(d, s.engine, s, NewFeed(d, notify.New(d.Pool, log, db.ChangesChannel), log, keys))
	r.wait = 20 * time.Millisecond // long enough for every key of a level, however busy the machine is
	h, err := New(Config{Resolvers: r, Verifier: auth.Tokens{DB: d, Log: log}, Log: log})
	check(t, err)
	s.serve, s.graph = h, r
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// token makes a token whose use was noted just now, so that no request has to.
func (s *site) token(name string, expires time.Time, scopes ...auth.Scope) string {
	s.t.Helper()
	secret, row := auth.NewToken(s.org, name, scopes, expires)
	row.LastUsedAt = time.Now().Add(time.Hour)
	check(s.t, db.AddToken(s.t.Context(), s.db, row))
	s.at["token."+name] = model.TokenID.Of(row.ID)
	return secret
}

type nobody struct{}

func (nobody) Add(context.Context, db.Tx, ...flow.Task) error { return nil }

func (s *site) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mail = append(s.mail, letter{r.URL.Path, r.Header, body})
}

func (s *site) connect(app, name string, creds map[string]string) db.Connection {
	s.t.Helper()
	c, err := s.engine.Connect(s.t.Context(), s.org, flow.ConnectionInput{App: app, Name: &name, Credentials: creds}, alone)
	check(s.t, err)
	url, err := s.engine.WebhookURL(c)
	check(s.t, err)
	s.conns[strings.TrimPrefix(url, s.engine.PublicURL)] = c.ID
	return c
}

func alone(context.Context, db.Tx, db.ID) error { return nil }

func (s *site) connectStripe(name string) db.Connection {
	return s.connect("stripe", name, map[string]string{"api_key": s.stripe.Key()})
}

func (s *site) flowID(key string) db.ID {
	s.t.Helper()
	var f db.Flow
	check(s.t, s.db.NewSelect().Model(&f).Where("org_id = ? AND key = ?", s.org, key).Scan(s.t.Context()))
	return f.ID
}

// link makes and enables a link of customers in, or of accounts out.
func (s *site) link(key, name string, stripe, togai db.ID) db.FlowLink {
	s.t.Helper()
	in := flow.LinkInput{FlowID: s.flowID(key), Name: name, Connections: map[string]db.ID{"trigger": stripe, "account": togai, "note": stripe}}
	if key == accountsOut {
		in.Connections = map[string]db.ID{"trigger": togai, "customer": stripe, "note": togai}
	}
	var l db.FlowLink
	check(s.t, s.db.InTx(s.t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		l, err = s.engine.CreateLink(ctx, tx, s.org, in)
		return err
	}))
	l, err := s.engine.EnableLink(s.t.Context(), s.org, l.ID, s, alone)
	check(s.t, err)
	return l
}

const (
	customersIn = "stripe.customers_in"
	accountsOut = "stripe.accounts_out"
)

// Take implements flow.Door.
func (s *site) Take(ctx context.Context, conn db.Connection, source string, items []connectors.Item) (fresh int, err error) {
	for _, i := range items {
		now := time.Now().UTC().Truncate(time.Microsecond)
		e := db.Event{OrgID: conn.OrgID, ID: db.NewID(), ConnectionID: conn.ID, Trigger: i.Trigger, DedupeKey: i.DedupeKey, Source: source, VendorType: i.Type, VendorAt: i.At, ReceivedAt: now, DueAt: now}
		if source == flow.FromBaseline {
			e.DispatchedAt, e.DueAt = now, time.Time{}
		}
		err := s.db.InTx(ctx, func(ctx context.Context, tx db.Tx) error { return db.AddEvent(ctx, tx, e, i.Body) })
		if err == nil {
			fresh++
		} else if !db.IsUnique(err) {
			return fresh, err
		}
	}
	return fresh, nil
}

// settle takes in what the simulators sent, and does all there is to do, one thing after the other.
func (s *site) settle() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	for again := true; again; {
		again = s.work(ctx)
		check(s.t, s.stripe.Settle(ctx))
		s.mu.Lock()
		mail := s.mail
		s.mail = nil
		s.mu.Unlock()
		for _, m := range mail {
			s.open(ctx, m)
			again = true
		}
	}
}

func (s *site) open(ctx context.Context, m letter) {
	s.t.Helper()
	conn, err := db.GetConnection(ctx, s.db, s.org, s.conns[m.path])
	if errors.Is(err, db.ErrNotFound) { // it was deleted since
		return
	}
	check(s.t, err)
	secrets, err := s.engine.WebhookSecrets(conn)
	check(s.t, err)
	app, _ := s.engine.Apps.App(conn.App)
	env, err := app.Webhook.Open(connectors.Delivery{Header: m.header, Body: m.body, ReceivedAt: time.Now()}, secrets)
	check(s.t, err)
	if env.Trigger != "" {
		_, err = s.Take(ctx, conn, flow.FromWebhook, []connectors.Item{{Envelope: env, Body: m.body}})
		check(s.t, err)
	}
}

// work dispatches and activates what is due; it answers whether there was anything.
func (s *site) work(ctx context.Context) (busy bool) {
	s.t.Helper()
	var due []db.ID
	check(s.t, s.db.NewRaw("SELECT id FROM events WHERE org_id = ? AND dispatched_at IS NULL ORDER BY id", s.org).Scan(ctx, &due))
	for _, id := range due {
		busy = true
		check(s.t, s.engine.Dispatch(ctx, s.org, id))
	}
	due = nil
	check(s.t, s.db.NewRaw("SELECT id FROM runs WHERE org_id = ? AND state = 'QUEUED' ORDER BY id", s.org).Scan(ctx, &due))
	for _, id := range due {
		busy = true
		a, err := s.engine.Lease(ctx, s.org, id)
		check(s.t, err)
		if a == nil {
			s.t.Fatalf("run %s cannot be leased", id)
		}
		leased, release := a.Hold(ctx)
		next, err := s.engine.Advance(leased, a)
		check(s.t, err)
		check(s.t, s.engine.Finish(ctx, a, next, nil))
		release()
	}
	return busy
}

// read asks Togai for new accounts.
func (s *site) read(togai db.ID) {
	s.t.Helper()
	_, err := s.db.NewRaw("UPDATE cursors SET read_at = NULL WHERE connection_id = ?", togai).Exec(s.t.Context())
	check(s.t, err)
	check(s.t, s.engine.Read(s.t.Context(), s.org, togai, s))
	s.settle()
}

func (s *site) customer(name, email string) {
	s.t.Helper()
	in := map[string]any{"name": name}
	if email != "" {
		in["email"] = email
	}
	_, err := s.stripe.First().CreateCustomer(in)
	check(s.t, err)
	s.settle()
}

// fill makes a history: a customer brought in over a link and a connection that are gone, one brought in and its echo,
// an account brought out and its echo, a run that failed, and one that waits to be taken up.
func (s *site) fill() {
	s.t.Helper()
	ctx := s.t.Context()
	g := s.connect("togai", "Togai", map[string]string{"environment": "sandbox", "api_token": s.togai.Token(), "organization_id": "org_1"})
	old := s.connectStripe("Old Stripe")
	gone := s.link(customersIn, "Old customers in", old.ID, g.ID)
	s.customer("Early Bird", "early@bird.test")
	check(s.t, s.db.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		_, err := s.engine.DeleteLink(ctx, tx, s.org, gone.ID)
		return err
	}))
	_, err := s.engine.DeleteConnection(ctx, s.org, old.ID, alone)
	check(s.t, err)

	c := s.connectStripe("Stripe")
	in := s.link(customersIn, "Customers in", c.ID, g.ID)
	out := s.link(accountsOut, "Accounts out", c.ID, g.ID)
	s.customer("Acme", "billing@acme.test")
	s.read(g.ID)
	_, err = s.togai.CreateAccount(map[string]any{"id": "beta", "name": "Beta", "primaryEmail": "billing@beta.test"})
	check(s.t, err)
	s.read(g.ID)
	s.customer("No Mail", "")
	app, _ := s.engine.Apps.App("stripe")
	t, _ := app.Trigger("customer.created")
	s.sample = t.Sample
	var byHand db.Event
	check(s.t, s.db.InTx(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		byHand, err = s.engine.TriggerNow(ctx, tx, s.org, in.ID, t.Sample)
		return err
	}))
	check(s.t, s.engine.Dispatch(ctx, s.org, byHand.ID))

	s.at["connection.togai"], s.at["connection.stripe"], s.at["connection.old"] = model.ConnectionID.Of(g.ID), model.ConnectionID.Of(c.ID), model.ConnectionID.Of(old.ID)
	s.at["link.in"], s.at["link.out"], s.at["link.old"] = model.FlowLinkID.Of(in.ID), model.FlowLinkID.Of(out.ID), model.FlowLinkID.Of(gone.ID)
	s.at["flow.in"], s.at["flow.out"] = model.FlowID.Of(in.FlowID), model.FlowID.Of(out.FlowID)
	s.at["account.stripe"] = model.VendorAccountID.Of(c.VendorAccountID)
	s.at["account.togai"] = model.VendorAccountID.Of(g.VendorAccountID)
	var runs []db.Run
	check(s.t, s.db.NewSelect().Model(&runs).Where("org_id = ?", s.org).OrderExpr("id").Scan(ctx))
	want := []string{flow.Succeeded, flow.Succeeded, flow.Suppressed, flow.Succeeded, flow.Suppressed, flow.Failed, flow.Queued}
	for i, r := range runs {
		if i >= len(want) || r.State != want[i] {
			s.t.Fatalf("run %d is %s (%s), of %d; want %v", i, r.State, r.Error, len(runs), want)
		}
	}
	for i, name := range []string{"old", "in", "in.echo", "out", "out.echo", "failed", "queued"} {
		s.at["run."+name], s.at["event."+name] = model.RunID.Of(runs[i].ID), model.EventID.Of(runs[i].EventID)
		s.at["mapping."+name], s.at["record."+name] = model.MappingID.Of(runs[i].MappingID), runs[i].RecordID
	}
	var effect db.Effect
	check(s.t, s.db.NewSelect().Model(&effect).Where("org_id = ? AND run_id = ? AND kind = 'CREATE'", s.org, runs[1].ID).Scan(ctx))
	s.at["effect.create"] = model.EffectID.Of(effect.ID)
	s.sell("beta", "pp.gold")
}

// sell links a price plan to a product, its price and an account's link, as the flow for price plans does.
func (s *site) sell(account, plan string) {
	s.t.Helper()
	togai, stripe := model.VendorAccountID.Find(s.at["account.togai"]), model.VendorAccountID.Find(s.at["account.stripe"])
	check(s.t, s.db.InTx(s.t.Context(), func(ctx context.Context, tx db.Tx) error {
		of := db.Slot{OrgID: s.org, VendorAccountID: togai, Entity: "price_plan", ExternalID: plan, Name: "Gold"}
		mapped, err := db.MapRecords(ctx, tx, of)
		check(s.t, err)
		for _, x := range []db.Slot{
			{Entity: "product", ExternalID: "togai_pp_" + plan}, {Entity: "price", Role: "base:usd", ExternalID: "price_1", Attributes: db.Texts{"lookup_key": plan + ":base:usd"}},
			{Entity: "payment_link", Role: account, ExternalID: "plink_1", Attributes: db.Texts{"url": "https://buy.test/1", "share_url": "https://buy.test/1?client_reference_id=YmV0YQ"}},
		} {
			x.OrgID, x.MappingID, x.VendorAccountID = s.org, mapped[of.Record()].ID, stripe
			if made, err := db.FillSlot(ctx, tx, x); err != nil || !made {
				s.t.Fatalf("linking %s: %v", x.ExternalID, err)
			}
		}
		return nil
	}))
}

// contest brings a customer over whose place in Togai a stranger has taken, so that its write waits for a person.
func (s *site) contest() {
	s.t.Helper()
	c, err := s.stripe.First().CreateCustomer(map[string]any{"name": "Delta", "email": "billing@delta.test"})
	check(s.t, err)
	_, err = s.togai.CreateAccount(map[string]any{"id": c["id"], "name": "A stranger", "primaryEmail": "somebody@delta.test"})
	check(s.t, err)
	s.settle()
	var effect db.Effect
	check(s.t, s.db.NewSelect().Model(&effect).Where("org_id = ? AND state = 'CONFLICT'", s.org).Scan(s.t.Context()))
	s.at["effect.conflict"] = model.EffectID.Of(effect.ID)
}

// hold makes an event one that its link keeps back.
func (s *site) hold(event string) {
	s.t.Helper()
	_, err := s.db.NewRaw("UPDATE event_outcomes SET outcome = 'HELD', run_id = NULL WHERE event_id = ?", model.EventID.Find(s.at[event])).Exec(s.t.Context())
	check(s.t, err)
}

// answer is what came of a document.
type answer struct {
	Statements int             `json:"statements"`
	Status     int             `json:"status"`
	Data       json.RawMessage `json:"data,omitempty"`
	Errors     json.RawMessage `json:"errors,omitempty"`
	sql        []string
}

// ask sends a document as whoever holds a token.
func (s *site) ask(token, document string, vars map[string]any) answer {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"query": document, "variables": vars})
	check(s.t, err)
	count := &counter{}
	r := httptest.NewRequestWithContext(context.WithValue(s.t.Context(), countKey{}, count), http.MethodPost, "/graphql", bytes.NewReader(body))
	r.Header.Set("Content-Type", plainJSON)
	r.Header.Set("Accept", responseJSON)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	s.serve.ServeHTTP(w, r)
	a := answer{Status: w.Code}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		s.t.Fatalf("%d: %s", w.Code, w.Body)
	}
	a.Statements, a.sql = int(count.n.Load()), count.sql
	return a
}
