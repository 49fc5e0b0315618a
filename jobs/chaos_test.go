//go:build chaos

package jobs_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tieline/connectors"
	"tieline/connectors/catalog"
	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
	"tieline/connectors/togai/togaisim"
	"tieline/connectors/zuora/zuorasim"
	"tieline/db"
	"tieline/db/embedded"
	"tieline/db/seal"
	"tieline/jobs"
	"tieline/jobs/flow"
)

var (
	chaosSeed      = flag.Uint64("chaos.seed", 0, "of the blows and when they fall; 0 takes one from the clock")
	chaosFor       = flag.Duration("chaos.for", 15*time.Second, "how long blows fall")
	chaosCustomers = flag.Int("chaos.customers", 60, "how many are made, a third of them in each app")
	chaosEvery     = flag.Duration("chaos.every", 350*time.Millisecond, "how long from one blow to the next, about")
	chaosRate      = flag.Float64("chaos.rate", 0, "calls a second that each vendor account allows; 0 is what the vendors say")
	chaosWithin    = flag.Duration("chaos.within", 5*time.Minute, "how long after the last blow all may take to become final")
)

// TestChaos makes customers in all apps while processes are killed and frozen, Postgres restarts, networks are cut and
// vendors lie. Then all heals, and from outside it must look as if nothing had happened: one counterpart of everybody,
// nothing open, and a subscriber who was told each change once, in order.
func TestChaos(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-chaos.seed=%d -chaos.for=%s -chaos.every=%s -chaos.customers=%d -chaos.rate=%g", seed, *chaosFor, *chaosEvery, *chaosCustomers, *chaosRate)
	c := newChaos(t)
	plan := c.plan(rand.New(rand.NewPCG(seed, 0)), *chaosFor)
	begun := time.Now()
	var work sync.WaitGroup
	work.Go(func() { c.customers(t, *chaosCustomers, *chaosFor*3/4) })
	for _, b := range plan {
		time.Sleep(time.Until(begun.Add(b.at)))
		work.Go(func() { b.fall(t) })
		t.Logf("%6.2fs %s", b.at.Seconds(), b.what)
	}
	work.Wait()
	c.heal(t)
	t.Logf("%6.2fs all is healed", time.Since(begun).Seconds())
	c.settle(t, *chaosCustomers)
	t.Logf("%6.2fs all is final", time.Since(begun).Seconds())
	c.check(t, *chaosCustomers)
	for _, p := range c.processes {
		t.Logf("%s: %d starts, %d kills, other exits %v", p.name, p.starts, p.kills, p.exits)
	}
	t.Logf("the subscriber was told %d changes and resumed %d times", len(c.subscriber.log), c.subscriber.resumes)
	c.scars(t)
}

// scars tells what the blows hit.
func (c *chaos) scars(t *testing.T) {
	t.Helper()
	for what, query := range map[string]string{
		"calls made":                           "SELECT count(*) FROM attempts",
		"calls that failed":                    "SELECT count(*) FROM attempts WHERE error_kind IS NOT NULL",
		"effects sent more than once":          "SELECT count(*) FROM (SELECT effect_id FROM attempts WHERE method = 'POST' GROUP BY 1 HAVING count(*) > 1) x",
		"runs leased more than once":           "SELECT count(*) FROM runs WHERE fence > 1",
		"webhooks repeated":                    "SELECT coalesce(sum(repeats), 0) FROM events",
		"events found by asking":               "SELECT count(*) FROM events WHERE source = 'CATCH_UP'",
		"webhooks refused or lost at a vendor": "",
	} {
		var n int
		if query == "" {
			for _, s := range c.vendors() {
				for _, d := range s.Deliveries() {
					if d.State == sim.Dropped || len(d.Attempts) > 1 {
						n++
					}
				}
			}
		} else if err := c.db.NewRaw(query).Scan(t.Context(), &n); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d", what, n)
	}
}

// chaos is four processes, what they talk to, and the wires between.
type chaos struct {
	dir        string
	postgres   *cluster
	db         *db.DB
	org        db.ID
	stripe     *stripesim.Sim
	togai      *togaisim.Sim
	zuora      *zuorasim.Sim
	processes  []*process
	hooks      *wire   // from the vendors to our webhooks
	wires      []*wire // all of them
	subscriber *subscriber
}

func (c *chaos) vendors() []*sim.Core { return []*sim.Core{c.stripe.Core, c.togai.Core, c.zuora.Core} }

// cluster is a Postgres that restarts where it was.
type cluster struct {
	dir string

	mu     sync.Mutex
	server *embedded.Server
}

func (p *cluster) start(t *testing.T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := embedded.Start(ctx, embedded.Config{Dir: p.dir, Bin: os.Getenv("TIELINE_POSTGRES_BIN"), MaxConnections: 200})
	if err != nil {
		t.Errorf("starting Postgres: %v", err)
		return
	}
	p.server = s
}

func (p *cluster) stop(t *testing.T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.server.Stop(); err != nil { // it was ended without a shutdown then, which is a blow like others
		text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
		t.Logf("stopping Postgres: %v; its log ends with\n%s", err, tail(string(text), 15))
	}
}

func newChaos(t *testing.T) *chaos {
	t.Helper()
	program := build(t)
	dir, err := os.MkdirTemp("", "tieline-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &chaos{dir: dir, postgres: &cluster{dir: dir}, stripe: stripesim.New(t), togai: togaisim.New(t), zuora: zuorasim.New(t)}
	c.postgres.start(t)
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { c.postgres.stop(t) })
	address := c.postgres.server.URL("tieline")
	if err := sql(t.Context(), c.postgres.server.URL("postgres"), "CREATE DATABASE tieline"); err != nil {
		t.Fatal(err)
	}
	do(t, program, environment("DATABASE_URL="+address), "migrate")
	token := do(t, program, environment("DATABASE_URL="+address), "token", "create", "--organization", "Acme", "--new", "--scopes", "admin")
	if c.db, err = db.Open(t.Context(), address, db.MaxConns(4)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.db.Close() })

	apis := []string{sim.FreeAddr(t), sim.FreeAddr(t)}
	c.hooks = c.wire(t, "webhooks", end{"tcp", apis[0]}, end{"tcp", apis[1]})
	keys := seal.Generate()
	c.link(t, keys)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	socket := end{"unix", filepath.Join(u.Query().Get("host"), ".s.PGSQL."+u.Query().Get("port"))}
	for i, name := range []string{"api-1", "api-2", "worker-1", "worker-2"} {
		role, _, _ := strings.Cut(name, "-")
		p := &process{name: name, program: program, args: []string{"serve", "--roles=" + role}, addr: "127.0.0.1:0", wires: []*wire{
			c.wire(t, name+" to Postgres", socket), c.wire(t, name+" to Stripe", vendor(c.stripe.URL)), c.wire(t, name+" to Togai", vendor(c.togai.URL)),
			c.wire(t, name+" to Zuora", vendor(c.zuora.URL)),
		}}
		if i < len(apis) {
			p.addr = apis[i]
		}
		p.env = environment("DATABASE_URL=postgres://"+u.Query().Get("user")+"@"+p.wires[0].addr()+"/tieline?sslmode=disable", "TIELINE_KEYS="+keys,
			"TIELINE_ADDR="+p.addr, "TIELINE_PUBLIC_URL=http://"+c.hooks.addr(), "TIELINE_STRIPE_URL=http://"+p.wires[1].addr(), "TIELINE_TOGAI_URL=http://"+p.wires[2].addr(),
			"TIELINE_ZUORA_URL=http://"+p.wires[3].addr())
		p.supervise(t)
		c.processes = append(c.processes, p)
	}
	watched := c.wire(t, "the subscriber", end{"tcp", apis[0]}, end{"tcp", apis[1]})
	for _, s := range c.vendors() {
		s.Dial(sim.Dials{Concurrent: true})
	}
	c.subscriber = follow(t, "ws://"+watched.addr()+"/graphql", token, c.feedCursor(t, "http://"+watched.addr()+"/graphql", token))
	return c
}

func sql(ctx context.Context, url, statement string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

func vendor(root string) end { return end{"tcp", strings.TrimPrefix(root, "http://")} }

func (c *chaos) wire(t *testing.T, name string, ends ...end) *wire {
	t.Helper()
	w := newWire(t, name, ends...)
	c.wires = append(c.wires, w)
	return w
}

// link connects the apps and switches the flows on that bring customers from each to the others.
func (c *chaos) link(t *testing.T, key string) {
	t.Helper()
	ctx := t.Context()
	apps, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Parse(key)
	if err != nil {
		t.Fatal(err)
	}
	engine := &flow.Engine{
		DB: c.db, Apps: apps, Keys: keys, Log: slog.New(slog.DiscardHandler), PublicURL: "http://" + c.hooks.addr(),
		URLs: map[string]string{"stripe": c.stripe.URL, "togai": c.togai.URL, "zuora": c.zuora.URL},
	}
	if _, err := jobs.New(jobs.Config{DB: c.db, Engine: engine, InsertOnly: true}); err != nil {
		t.Fatal(err)
	}
	org, err := db.OrganizationNamed(ctx, c.db, "Acme")
	if err != nil {
		t.Fatal(err)
	}
	c.org = org.OrgID
	alone := func(context.Context, db.Tx, db.ID) error { return nil }
	conns := map[string]db.ID{}
	id, secret := c.zuora.Client()
	for app, creds := range map[string]map[string]string{
		"stripe": {"api_key": c.stripe.Key()},
		"togai":  {"environment": "sandbox", "api_token": c.togai.Token(), "organization_id": "acme"},
		"zuora":  {"endpoint": "https://rest.test.zuora.com", "client_id": id, "client_secret": secret},
	} {
		conn, err := engine.Connect(ctx, c.org, flow.ConnectionInput{App: app, Name: &app, Credentials: creds}, alone)
		if err != nil {
			t.Fatal(err)
		}
		if conns[app] = conn.ID; app == "togai" {
			hook, err := engine.WebhookURL(conn)
			if err != nil {
				t.Fatal(err)
			}
			c.togai.Target(hook, "", "account.created")
		}
	}
	for key, at := range map[string]map[string]db.ID{
		"stripe.customers_in": {flow.TriggerSlot: conns["stripe"], "account": conns["togai"], "note": conns["stripe"]},
		"stripe.accounts_out": {flow.TriggerSlot: conns["togai"], "customer": conns["stripe"], "note": conns["togai"]},
		"zuora.accounts_in":   {flow.TriggerSlot: conns["zuora"], "account": conns["togai"], "note": conns["zuora"]},
		"zuora.accounts_out":  {flow.TriggerSlot: conns["togai"], "account": conns["zuora"], "note": conns["togai"]},
	} {
		var link db.FlowLink
		params := map[string]any{}
		if key == "zuora.accounts_out" { // of those whose currency nobody has said
			params["currency"] = "USD"
		}
		err := c.db.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
			var f db.Flow
			if err := tx.NewSelect().Model(&f).Where("org_id = ? AND key = ?", c.org, key).Scan(ctx); err != nil {
				return err
			}
			link, err = engine.CreateLink(ctx, tx, c.org, flow.LinkInput{FlowID: f.ID, Name: "main", Connections: at, Params: params})
			return err
		})
		if err == nil {
			_, err = engine.EnableLink(ctx, c.org, link.ID, empty{}, alone)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// empty takes the baselines of empty accounts.
type empty struct{}

func (empty) Take(context.Context, db.Connection, string, []connectors.Item) (int, error) {
	return 0, nil
}

// customers makes n of them, a third in each app, spread over a time.
func (c *chaos) customers(t *testing.T, n int, over time.Duration) {
	begun := time.Now()
	for i := range n {
		time.Sleep(time.Until(begun.Add(over * time.Duration(i) / time.Duration(n))))
		var err error
		name, mail := fmt.Sprintf("Customer %d", i), fmt.Sprintf("c%d@example.com", i)
		switch native := fmt.Sprintf("native-%d", i); i % 3 {
		case 0:
			_, err = c.stripe.First().CreateCustomer(map[string]any{"name": name, "email": mail})
		case 1:
			_, err = c.togai.CreateAccount(map[string]any{"id": native, "name": name, "primaryEmail": mail})
		default:
			_, err = c.zuora.CreateAccount(map[string]any{"accountNumber": native, "name": name, "billToContact": map[string]any{"firstName": "A", "lastName": name, "workEmail": mail}})
		}
		if err != nil {
			t.Errorf("making customer %d: %v", i, err)
		}
	}
}

// blow is something that goes wrong, at a time after the beginning.
type blow struct {
	at   time.Duration
	what string
	fall func(t *testing.T)
}

// plan is the blows of a seed.
func (c *chaos) plan(r *rand.Rand, within time.Duration) (plan []blow) {
	kinds := []func(*rand.Rand) (string, func(*testing.T)){
		c.kill, c.kill, c.kill, c.freeze, c.freeze, c.restart, c.crash, c.network, c.network, c.network, c.network, c.lie, c.lie, c.lie, c.mail,
	}
	for at := time.Duration(0); at < within; at += *chaosEvery/8 + lasting(r, *chaosEvery*7/4) {
		what, fall := kinds[r.IntN(len(kinds))](r)
		plan = append(plan, blow{at, what, fall})
	}
	return plan
}

func lasting(r *rand.Rand, longest time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(longest))).Round(time.Millisecond)
}

func (c *chaos) kill(r *rand.Rand) (string, func(*testing.T)) {
	p := c.processes[r.IntN(len(c.processes))]
	return "kill " + p.name, func(*testing.T) { p.signal(syscall.SIGKILL) }
}

// freeze stops a process for longer than its leases last, sometimes.
func (c *chaos) freeze(r *rand.Rand) (string, func(*testing.T)) {
	p, d := c.processes[r.IntN(len(c.processes))], lasting(r, 8*time.Second)
	return fmt.Sprintf("freeze %s for %s", p.name, d), func(*testing.T) {
		p.signal(syscall.SIGSTOP)
		time.Sleep(d)
		p.signal(syscall.SIGCONT)
	}
}

var restarting sync.Mutex // one at a time: the second would find no Postgres to stop

func (c *chaos) restart(r *rand.Rand) (string, func(*testing.T)) {
	d := lasting(r, 2*time.Second)
	return fmt.Sprintf("Postgres restarts, away for %s", d), func(t *testing.T) {
		restarting.Lock()
		defer restarting.Unlock()
		c.postgres.stop(t)
		time.Sleep(d)
		c.postgres.start(t)
	}
}

// crash kills one of Postgres' own processes, after which it ends all others and recovers.
func (c *chaos) crash(r *rand.Rand) (string, func(*testing.T)) {
	nth := r.IntN(1000)
	return "Postgres crashes", func(t *testing.T) {
		restarting.Lock()
		defer restarting.Unlock()
		var pids []int
		if err := c.db.NewRaw("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY backend_start").Scan(t.Context(), &pids); err == nil && len(pids) > 0 {
			_ = syscall.Kill(pids[nth%len(pids)], syscall.SIGKILL)
		}
	}
}

func (c *chaos) network(r *rand.Rand) (string, func(*testing.T)) {
	w, how, d := c.wires[r.IntN(len(c.wires))], r.IntN(4), lasting(r, 4*time.Second)
	if how == 0 {
		return "the wire of " + w.name + " is cut", func(*testing.T) { w.cut() }
	}
	what := []string{"", "refuses", "keeps what is asked", "keeps what is answered"}[how]
	after := r.IntN(2) == 0 // cut then: what hung never comes
	return fmt.Sprintf("the wire of %s %s for %s", w.name, what, d), func(*testing.T) {
		switch how {
		case 1:
			w.refuse()
		case 2:
			w.hang(there)
		case 3:
			w.hang(back)
		}
		time.Sleep(d)
		if after {
			w.cut()
		}
		w.heal()
	}
}

func (c *chaos) simulator(r *rand.Rand) (string, *sim.Core) {
	i := r.IntN(3)
	return []string{"Stripe", "Togai", "Zuora"}[i], c.vendors()[i]
}

// lie sets a dial for the next calls of a vendor.
func (c *chaos) lie(r *rand.Rand) (string, func(*testing.T)) {
	name, core := c.simulator(r)
	points := []sim.Point{sim.Before, sim.AfterCommit, sim.AfterCommit, sim.CutBefore, sim.Cut, sim.Cut, sim.Slow, sim.SlowAfter, sim.Hang, sim.RateLimit, sim.HTML502}
	f := sim.Fault{Point: points[r.IntN(len(points))], Count: 1 + r.IntN(3), Method: []string{"", "POST", "POST"}[r.IntN(3)], Delay: lasting(r, 300*time.Millisecond)}
	if f.Point == sim.Slow || f.Point == sim.SlowAfter {
		f.Delay = lasting(r, 5*time.Second) // calls may take 3
	}
	if f.Point == sim.RateLimit && r.IntN(2) == 0 {
		f.RetryAfter = time.Second
	}
	return fmt.Sprintf("%s lies %d times: %s %s %s", name, f.Count, f.Method, f.Point, f.Delay), func(*testing.T) { core.Fault(f) }
}

// mail bends the webhooks of a vendor.
func (c *chaos) mail(r *rand.Rand) (string, func(*testing.T)) {
	name, core := c.simulator(r)
	d := sim.Dials{Concurrent: true, Delay: lasting(r, 2*time.Second), Duplicate: r.IntN(6), Drop: r.IntN(3), Reorder: r.IntN(4), BadSignature: r.IntN(2)}
	return fmt.Sprintf("webhooks of %s: %+v", name, d), func(*testing.T) { core.Dial(d) }
}

// heal ends all that may still be wrong.
func (c *chaos) heal(t *testing.T) {
	t.Helper()
	for _, w := range c.wires {
		w.heal()
	}
	for _, p := range c.processes {
		p.signal(syscall.SIGCONT)
	}
	for _, s := range c.vendors() {
		s.ClearFaults()
		s.Dial(sim.Dials{Concurrent: true})
	}
	// What was dropped is found by asking, to a list's very end, which is due every quarter of an hour. Of other
	// triggers nothing is wanted, and reading all of them would take the runs' part of the budget.
	c.patiently(t, "asking for what was missed", time.Minute, func(ctx context.Context) (string, bool) {
		_, err := c.db.NewRaw("UPDATE cursors SET swept_at = swept_at - interval '1 hour', read_at = read_at - interval '1 hour' WHERE trigger IN ('customer.created', 'account.created')").Exec(ctx)
		if err == nil {
			err = db.AskAll(ctx, c.db)
		}
		return fmt.Sprint(err), err == nil
	})
}

// patiently repeats look until it answers true; what it says otherwise is the reason when time is up. The feed wakes it.
func (c *chaos) patiently(t *testing.T, what string, within time.Duration, look func(context.Context) (string, bool)) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(250 * time.Millisecond) // what is no change of a run gives no sign
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		why, ok := look(ctx)
		cancel()
		if ok {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s: not within %s: %s\n%s", what, within, why, c.dump())
		case <-c.subscriber.changed:
		case <-tick.C:
		}
		select {
		case <-tick.C: // no more often, however much is told
		case <-deadline:
			t.Fatalf("%s: not within %s: %s\n%s", what, within, why, c.dump())
		}
	}
}

// open are what must be none in the end.
var open = map[string]string{
	"runs that are not final":     "SELECT count(*) FROM runs WHERE ended_at IS NULL",
	"effects left open":           "SELECT count(*) FROM effects WHERE state NOT IN ('CONFIRMED', 'REFUSED', 'GIVEN_UP')",
	"events that wait":            "SELECT count(*) FROM events WHERE dispatched_at IS NULL",
	"slots without an id":         "SELECT count(*) FROM mapping_slots WHERE external_id IS NULL",
	"changes without a place":     "SELECT count(*) FROM changes WHERE pos IS NULL",
	"mappings without four slots": "SELECT count(*) FROM (SELECT mapping_id FROM mapping_slots GROUP BY mapping_id HAVING count(*) <> 4) x",
	"runs that failed":            "SELECT count(*) FROM runs WHERE state NOT IN ('SUCCEEDED', 'SUPPRESSED') AND ended_at IS NOT NULL",
	"requests kept":               "SELECT count(*) FROM effects WHERE request IS NOT NULL AND state IN ('CONFIRMED', 'REFUSED')",
	"leases kept":                 "SELECT count(*) FROM runs WHERE ended_at IS NOT NULL AND (lease_until IS NOT NULL OR due_at IS NOT NULL)",
	"runs for nothing":            "SELECT count(*) FROM runs WHERE replay <> 0",
}

// settle waits until all is final and told.
func (c *chaos) settle(t *testing.T, n int) {
	t.Helper()
	begun, said := time.Now(), time.Now()
	c.patiently(t, "all is final", *chaosWithin, func(ctx context.Context) (string, bool) {
		var runs, changes int
		var left []string
		if err := c.db.NewRaw("SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM changes)").Scan(ctx, &runs, &changes); err != nil {
			return err.Error(), false
		}
		for what, query := range open {
			var some int
			if err := c.db.NewRaw(query).Scan(ctx, &some); err != nil {
				return err.Error(), false
			}
			if some > 0 {
				left = append(left, fmt.Sprintf("%d %s", some, what))
			}
		}
		slices.Sort(left)
		heard, _ := c.subscriber.heard()
		settling, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		for _, s := range c.vendors() {
			if err := s.Settle(settling); err != nil {
				left = append(left, err.Error())
			}
		}
		why := fmt.Sprintf("%d runs of %d, %d changes told of %d, %s", runs, 4*n, len(heard), changes, strings.Join(left, ", "))
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			t.Logf("%s later: %s", time.Since(begun).Round(time.Second), why)
		}
		return why, runs >= 4*n && len(heard) >= changes && len(left) == 0
	})
}

// check looks at everything from outside.
func (c *chaos) check(t *testing.T, n int) {
	t.Helper()
	customers, accounts, billed := c.stripe.First().Customers(), c.togai.Accounts(), c.zuora.Accounts()
	if len(customers) != n || len(accounts) != n || len(c.togai.Customers()) != n || len(billed) != n {
		t.Errorf("%d customers in Stripe, %d customers and %d accounts in Togai, %d accounts in Zuora: want %d of each", len(customers), len(c.togai.Customers()), len(accounts), len(billed), n)
	}
	emails := map[string]string{} // of Togai's accounts, by id
	for _, a := range accounts {
		emails[a.ID] = a.PrimaryEmail
	}
	var slots []struct {
		MappingID                     db.ID
		Entity, App, Role, ExternalID string
	}
	if err := c.db.NewRaw(`SELECT s.mapping_id, s.entity, v.app, s.role, s.external_id FROM mapping_slots s JOIN vendor_accounts v ON v.org_id = s.org_id AND v.id = s.vendor_account_id`).Scan(t.Context(), &slots); err != nil {
		t.Fatal(err)
	}
	linked := map[db.ID]map[string]string{}
	for _, s := range slots {
		if linked[s.MappingID] == nil {
			linked[s.MappingID] = map[string]string{}
		}
		linked[s.MappingID][s.App+" "+s.Entity] = s.ExternalID
	}
	partner := map[string]string{} // of Stripe's customers and Zuora's accounts, Togai's account
	for _, ids := range linked {
		partner[ids["stripe customer"]], partner[ids["zuora account"]] = ids["togai account"], ids["togai account"]
	}
	numbers := map[string]bool{}
	for _, a := range billed { // which have the id of Togai's for their number, wherever they came from
		if _, there := emails[a.Number]; !there || partner[a.ID] != a.Number || numbers[a.Number] {
			t.Errorf("Zuora account %s has the number %s, mapped is %q, used before: %v", a.ID, a.Number, partner[a.ID], numbers[a.Number])
		}
		numbers[a.Number] = true
	}
	used := map[string]bool{}
	for _, cu := range customers {
		id, _ := cu["id"].(string)
		meta, _ := cu["metadata"].(map[string]any)
		account, _ := meta["togai_account_id"].(string)
		if account == "" || account != partner[id] || used[account] || emails[account] != cu["email"] {
			t.Errorf("Stripe customer %s (%v) names account %q, mapped is %q, whose e-mail is %q, used before: %v", id, cu["email"], account, partner[id], emails[account], used[account])
		}
		used[account] = true
	}
	if len(linked) != n {
		t.Errorf("%d mappings, want %d", len(linked), n)
	}
	var states []struct {
		State string
		Count int
	}
	if err := c.db.NewRaw("SELECT state, count(*) AS count FROM runs GROUP BY 1 ORDER BY 1").Scan(t.Context(), &states); err != nil {
		t.Fatal(err)
	}
	// Two bring a customer to the other apps, and each app tells of what was made in it.
	if len(states) != 2 || states[0].State != flow.Succeeded || states[0].Count != 2*n || states[1].State != flow.Suppressed || states[1].Count != 2*n {
		t.Errorf("runs %+v, want %d that succeeded and as many suppressed", states, 2*n)
	}
	var changes []struct {
		RunID                  db.ID
		Version                int64
		State, Step, StepState string
	}
	if err := c.db.NewRaw("SELECT run_id, version, state, coalesce(step, '') AS step, coalesce(step_state, '') AS step_state FROM changes ORDER BY pos").Scan(t.Context(), &changes); err != nil {
		t.Fatal(err)
	}
	heard, times := c.subscriber.heard()
	for id, n := range times {
		if n != 1 {
			t.Errorf("change %s was told %d times", id, n)
		}
	}
	if c.subscriber.expired {
		t.Error("the subscriber's cursor expired")
	}
	if len(heard) != len(changes) {
		t.Errorf("%d changes were told, the table has %d", len(heard), len(changes))
	}
	for i := range min(len(heard), len(changes)) {
		r := changes[i]
		if want := (told{db.FormatID("run", r.RunID), r.State, r.Step, r.StepState, r.Version}); heard[i] != want {
			t.Errorf("change %d is %+v, told was %+v", i, want, heard[i])
			break
		}
	}
	for _, p := range c.processes {
		for _, bad := range []string{"panic: ", "fatal error: ", "DATA RACE"} {
			if strings.Contains(p.said(), bad) {
				t.Errorf("%s said %q", p.name, bad)
			}
		}
	}
	if t.Failed() {
		t.Log(c.dump())
	}
}

// feedCursor is the feed's end before anything happens.
func (c *chaos) feedCursor(t *testing.T, url, token string) (cursor string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		var why error
		if cursor, why = askCursor(t.Context(), url, token); why == nil {
			return cursor
		}
		select {
		case <-deadline:
			t.Fatalf("no process answers: %v", why)
		case <-time.After(50 * time.Millisecond): // a process that starts says so in its log only
		}
	}
}

// dump is what the rows say of what is not as it should be.
func (c *chaos) dump() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var b bytes.Buffer
	for _, query := range []string{
		"SELECT concat_ws(' ', 'runs', state, count(*)) FROM runs GROUP BY state",
		"SELECT concat_ws(' ', 'effects', kind, entity, state, count(*)) FROM effects GROUP BY kind, entity, state",
		"SELECT concat_ws(' ', 'run', id, record_id, source, state, waiting_reason, 'wake', wake_at, 'due', due_at, 'lease', lease_until, 'fence', fence, error) FROM runs WHERE state NOT IN ('SUCCEEDED', 'SUPPRESSED') LIMIT 10",
		"SELECT concat_ws(' ', 'step', run_id, key, state, waiting_reason, wake_at, tries, error) FROM steps WHERE run_id IN (SELECT id FROM runs WHERE state NOT IN ('SUCCEEDED', 'SUPPRESSED') LIMIT 10)",
		"SELECT concat_ws(' ', 'effect', id, run_id, kind, key, state, external_id, error) FROM effects WHERE state NOT IN ('CONFIRMED') LIMIT 10",
		"SELECT concat_ws(' ', 'slot', mapping_id, entity, external_id, own_id, effect_id) FROM mapping_slots WHERE external_id IS NULL LIMIT 10",
		"SELECT concat_ws(' ', 'event', id, trigger, dedupe_key, source, received_at, due_at, error) FROM events WHERE dispatched_at IS NULL LIMIT 10",
		"SELECT concat_ws(' ', 'attempt', run_id, effect_id, at, method, path, status, error_kind, error) FROM attempts WHERE run_id IN (SELECT id FROM runs WHERE state NOT IN ('SUCCEEDED', 'SUPPRESSED') LIMIT 5) LIMIT 40",
		"SELECT concat_ws(' ', 'cursor', trigger, cursor, read_at, due_at, lease_until, error) FROM cursors",
		"SELECT concat_ws(' ', 'connection', name, state, webhook_state, care_at) FROM connections",
		"SELECT concat_ws(' ', 'jobs', kind, state, count(*)) FROM river.river_job GROUP BY kind, state",
	} {
		var lines []string
		if err := c.db.NewRaw(query).Scan(ctx, &lines); err != nil {
			lines = append(lines, query+": "+err.Error())
		}
		fmt.Fprintln(&b, strings.Join(lines, "\n"))
	}
	for _, s := range c.vendors() {
		fmt.Fprintf(&b, "faults %+v\n", s.Faults())
	}
	return b.String()
}
