// Tieline keeps what a billing team makes in one app, linked, in the others. This file is its commands, its settings and
// its wiring, and the only one that knows every package.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tieline/connectors/catalog"
	"tieline/connectors/stripe/stripesim"
	"tieline/connectors/togai/togaisim"
	"tieline/connectors/zohobooks/zohobookssim"
	"tieline/connectors/zuora/zuorasim"
	"tieline/db"
	"tieline/db/embedded"
	"tieline/db/migrations"
	"tieline/db/notify"
	"tieline/db/seal"
	"tieline/graph"
	"tieline/graph/auth"
	"tieline/graph/demo"
	"tieline/graph/graphiql"
	"tieline/graph/model"
	"tieline/jobs"
	"tieline/jobs/flow"
	"tieline/jobs/intake"
)

const (
	apiRole, workerRole = "api", "worker"

	startWithin  = 5 * time.Minute // for an embedded Postgres, its download included
	headerWithin = 10 * time.Second
	bodyWithin   = 90 * time.Second // then a handler's context ends as well, so it is more than graph's minute; hijacked sockets are free of it
	idleAfter    = 2 * time.Minute
	pingWithin   = 2 * time.Second

	gcPercent   = 200 // what lives is a few megabytes, so that collecting it less often costs little memory and saves a tenth of the CPU
	settleAfter = 2 * time.Second
)

func main() { os.Exit(run(untilAsked(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

// untilAsked ends when the process is asked to end. Asked again, the process ends at once.
func untilAsked() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	asked := make(chan os.Signal, 2)
	signal.Notify(asked, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-asked
		cancel()
		<-asked
		os.Exit(1)
	}()
	return ctx
}

// run is a whole process: 0 when all went well, 1 when it failed, 2 when it was asked wrongly. tune may change the engine
// before it starts; only tests do.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer, tune ...func(*flow.Engine)) int {
	var c commands
	env, helped := newEnvironment(environ), false
	parser := kong.Must(&c, kong.Name("tieline"), kong.Description("What is made in one billing app appears, linked, in the others."),
		kong.Writers(stdout, stderr), kong.Exit(func(int) { helped = true }), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Resolvers(kong.ResolverFunc(env.resolve)), kong.ValueFormatter(withSetting), kong.BindTo(ctx, (*context.Context)(nil)))
	chosen, err := parser.Parse(args)
	if helped {
		return 0
	}
	if err != nil { // the environment is checked all the same
		_, _ = parser.Parse([]string{"schema"})
	}
	p := &process{stdout: stdout, stderr: stderr, progress: stderr, tune: tune}
	var bad []string
	if p.config, bad = c.Settings.check(env); err != nil {
		bad = append([]string{err.Error()}, bad...)
	} else if slices.Contains([]string{"serve", "keys rotate"}, chosen.Command()) && p.keys == nil && env[keysSetting] == "" {
		bad = append(bad, keysSetting+" is missing: keys that seal credentials, as id:base64 of 32 bytes each. "+
			`Make one with: echo "k1:$(openssl rand -base64 32)"`)
	}
	if bad = append(bad, env.unknown(parser.Model)...); len(bad) > 0 && (err != nil || chosen.Command() != "schema") {
		fmt.Fprintf(stderr, "tieline: %s\n", strings.Join(bad, "\ntieline: "))
		return 2
	}
	p.log = slog.New(logTo(stderr, slog.LevelInfo))
	if err = errors.Join(chosen.Run(p), p.stop(ctx)); err != nil {
		fmt.Fprintln(stderr, "tieline:", err)
		return 1
	}
	return 0
}

// commands are what the first argument chooses from.
type commands struct {
	Settings settings `embed:""`

	Dev     dev     `cmd:"" help:"Start everything on this machine and walk a customer through the apps."`
	Serve   serve   `cmd:"" help:"Serve the API and work on runs."`
	Migrate migrate `cmd:"" help:"Bring the database to this version's schema."`
	Token   struct {
		Create tokenCreate `cmd:"" help:"Make an API token, and an organization if asked, and print the token."`
	} `cmd:"" help:"API tokens."`
	Keys struct {
		Rotate keysRotate `cmd:"" help:"Seal everything that is stored again, under the first key of TIELINE_KEYS."`
	} `cmd:"" help:"Keys that seal credentials."`
	Schema schema `cmd:"" help:"Print the GraphQL schema."`
}

// settings are flags that also read the environment.
type settings struct {
	DatabaseURL string   `setting:"DATABASE_URL" placeholder:"URL" help:"Postgres 15 or later. Unset: an embedded one in the data directory."`
	DataDir     string   `setting:"TIELINE_DATA_DIR" placeholder:"DIR" help:"Where the embedded Postgres and dev keep their files."`
	PostgresBin string   `setting:"TIELINE_POSTGRES_BIN" placeholder:"DIR" help:"Holds initdb and postgres, for the embedded Postgres. Unset: found, else downloaded."`
	Addr        string   `setting:"TIELINE_ADDR" default:"127.0.0.1:8080" help:"Where to listen for the API and webhooks (${default})."`
	OpsAddr     string   `setting:"TIELINE_OPS_ADDR" default:"127.0.0.1:8081" help:"Where to listen for operators: metrics, jobs, profiles (${default})."`
	PublicURL   string   `setting:"TIELINE_PUBLIC_URL" placeholder:"URL" help:"What vendors and browsers call: webhook addresses and the way back from consent pages are built from it."`
	Origins     []string `setting:"TIELINE_ORIGINS" placeholder:"ORIGIN" help:"Web pages that may call the API, and that browsers are sent back to from consent pages, as https://console.example.com."`
	Introspect  string   `setting:"TIELINE_INTROSPECTION" name:"introspection" default:"on" placeholder:"on|off" help:"Whether the API shows its schema (${default})."`
	StripeURL   string   `setting:"TIELINE_STRIPE_URL" placeholder:"URL" help:"Stripe's API; point it at a simulator to try things out."`
	TogaiURL    string   `setting:"TIELINE_TOGAI_URL" placeholder:"URL" help:"Togai's API; point it at a simulator to try things out."`
	ZuoraURL    string   `setting:"TIELINE_ZUORA_URL" placeholder:"URL" help:"Zuora's API, whatever endpoint a connection names; point it at a simulator to try things out."`
	ZohoLogin   string   `name:"zoho-accounts-url" setting:"TIELINE_ZOHO_ACCOUNTS_URL" placeholder:"URL" help:"Zoho's accounts server, whatever data centre a connection names; point it at a simulator to try things out."`
	ZohoURL     string   `name:"zoho-api-url" setting:"TIELINE_ZOHO_API_URL" placeholder:"URL" help:"Zoho's API, whatever data centre a connection names; point it at a simulator to try things out."`
	Issuer      string   `name:"oidc-issuer" setting:"TIELINE_OIDC_ISSUER" placeholder:"URL" help:"OpenID Connect provider whose tokens are taken, too."`
	Audience    string   `name:"oidc-audience" setting:"TIELINE_OIDC_AUDIENCE" placeholder:"ID" help:"Whom its tokens must be for."`
	StopWithin  string   `setting:"TIELINE_STOP_WITHIN" default:"20s" help:"How long a stopping process lets work finish (${default})."`

	Retention retention `embed:"" prefix:"retention-"`
}

// retention is how long things are kept, as 12h or 90d.
type retention struct {
	Runs    string `setting:"TIELINE_RETENTION_RUNS" default:"90d" help:"How long runs are kept after their end (${default})."`
	Events  string `setting:"TIELINE_RETENTION_EVENTS" default:"90d" help:"How long events are kept, by which repeats are known; 30d or more (${default})."`
	Bodies  string `setting:"TIELINE_RETENTION_BODIES" default:"30d" help:"How long what vendors sent is kept (${default})."`
	Changes string `setting:"TIELINE_RETENTION_CHANGES" default:"7d" help:"How far back a subscription can resume (${default})."`
	Claims  string `setting:"TIELINE_RETENTION_CLAIMS" default:"24h" help:"How long a mutation's idempotency key is remembered; 24h or more (${default})."`
	Jobs    string `setting:"TIELINE_RETENTION_JOBS" default:"1h" help:"How long finished jobs are shown to operators (${default})."`
}

// check reads the durations. What vendors and clients count on is not cut short.
func (r retention) check(wrong func(setting, format string, args ...any)) (out jobs.Retention) {
	for _, f := range []struct {
		setting, given string
		into           *time.Duration
		least          time.Duration
	}{
		{"TIELINE_RETENTION_RUNS", r.Runs, &out.Runs, time.Hour}, {"TIELINE_RETENTION_EVENTS", r.Events, &out.Events, jobs.MinEvents},
		{"TIELINE_RETENTION_BODIES", r.Bodies, &out.Bodies, time.Hour}, {"TIELINE_RETENTION_CHANGES", r.Changes, &out.Changes, time.Hour},
		{"TIELINE_RETENTION_CLAIMS", r.Claims, &out.Claims, jobs.MinClaims}, {"TIELINE_RETENTION_JOBS", r.Jobs, &out.Jobs, time.Minute},
	} {
		var err error
		if *f.into, err = duration(f.given); err != nil {
			wrong(f.setting, "is %q and should be a duration such as 12h or 90d", f.given)
		} else if *f.into < f.least {
			wrong(f.setting, "is %s and should be %s or more", f.given, f.least)
		}
	}
	return out
}

// duration also knows days, in which people count here.
func duration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

// keysSetting is no flag: everybody on a machine can read arguments.
const keysSetting = "TIELINE_KEYS"

// config is settings that were found good.
type config struct {
	databaseURL, dataDir, postgresBin string
	addr, opsAddr                     string
	publicURL                         string
	origins                           []string
	hidden                            bool              // the schema
	urls, logins                      map[string]string // by app: the API's root, and the authorization server's
	keys                              *seal.Keys
	keysFile                          string // where dev has them from
	stopWithin                        time.Duration
	keep                              jobs.Retention
	issuer, audience                  string // of people's tokens
}

// check reads settings and says all that is wrong with them.
func (s settings) check(env environment) (c config, bad []string) {
	wrong := func(setting, format string, args ...any) {
		bad = append(bad, setting+" "+fmt.Sprintf(format, args...))
	}
	c = config{databaseURL: s.DatabaseURL, postgresBin: s.PostgresBin, addr: s.Addr, opsAddr: s.OpsAddr, urls: map[string]string{}, logins: map[string]string{}}
	for setting, addr := range map[string]string{"TIELINE_ADDR": s.Addr, "TIELINE_OPS_ADDR": s.OpsAddr} {
		if _, port, err := net.SplitHostPort(addr); err != nil || strings.Trim(port, "0123456789") != "" || port == "" {
			wrong(setting, "is %q and should be host:port, such as 127.0.0.1:8080", addr)
		}
	}
	root := func(setting, given string) string {
		u, err := url.Parse(given)
		if given != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil) {
			wrong(setting, "should be a URL such as https://tieline.example.com") // not shown: it may hold a password
		}
		return strings.TrimRight(given, "/")
	}
	c.publicURL = root("TIELINE_PUBLIC_URL", s.PublicURL)
	c.urls["stripe"], c.urls["togai"] = root("TIELINE_STRIPE_URL", s.StripeURL), root("TIELINE_TOGAI_URL", s.TogaiURL)
	c.urls["zuora"] = root("TIELINE_ZUORA_URL", s.ZuoraURL)
	c.urls["zohobooks"], c.logins["zohobooks"] = root("TIELINE_ZOHO_API_URL", s.ZohoURL), root("TIELINE_ZOHO_ACCOUNTS_URL", s.ZohoLogin)
	for _, o := range s.Origins {
		c.origins = append(c.origins, root("TIELINE_ORIGINS", strings.TrimSpace(o)))
	}
	if c.hidden = s.Introspect == "off"; !c.hidden && s.Introspect != "on" {
		wrong("TIELINE_INTROSPECTION", "is %q and should be on or off", s.Introspect)
	}
	root("TIELINE_OIDC_ISSUER", s.Issuer)
	if c.issuer, c.audience = s.Issuer, s.Audience; (c.issuer == "") != (c.audience == "") { // an issuer is compared letter by letter
		wrong(map[bool]string{true: "TIELINE_OIDC_ISSUER", false: "TIELINE_OIDC_AUDIENCE"}[c.issuer == ""], "is missing: an issuer and the audience that its tokens are for go together")
	}
	var err error
	if c.stopWithin, err = time.ParseDuration(s.StopWithin); err != nil || c.stopWithin <= 0 {
		wrong("TIELINE_STOP_WITHIN", "is %q and should be a duration such as 20s", s.StopWithin)
	}
	c.keep = s.Retention.check(wrong)
	if text := env[keysSetting]; text != "" {
		if c.keys, err = seal.Parse(text); err != nil {
			wrong(keysSetting, "cannot be used: %s", err)
		}
	}
	if c.dataDir = s.DataDir; c.dataDir == "" {
		c.dataDir, _, err = embedded.Dirs("tieline")
	} else {
		c.dataDir, err = filepath.Abs(c.dataDir)
	}
	if err != nil && c.databaseURL == "" { // else only dev has a use for it
		wrong("TIELINE_DATA_DIR", "is needed: %s", err)
	}
	slices.Sort(bad)
	return c, bad
}

// environment is what the process was started with. An empty variable is an unset one.
type environment map[string]string

func newEnvironment(environ []string) environment {
	env := environment{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	return env
}

// resolve gives kong the value of a flag that the command line does not have.
func (e environment) resolve(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
	if v := e[f.Tag.Get("setting")]; v != "" {
		return v, nil
	}
	return nil, nil
}

// unknown says which variables look like settings and are none.
func (e environment) unknown(app *kong.Application) (bad []string) {
	known := []string{keysSetting}
	for _, f := range app.Flags {
		if s := f.Tag.Get("setting"); s != "" {
			known = append(known, s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e)) {
		if !strings.HasPrefix(name, "TIELINE_") || slices.Contains(known, name) {
			continue
		}
		closest := slices.MinFunc(known, func(a, b string) int { return cmp.Compare(distance(name, a), distance(name, b)) })
		if distance(name, closest) <= len(name)/3 {
			bad = append(bad, fmt.Sprintf("%s is no setting. Is %s meant?", name, closest))
		} else {
			bad = append(bad, fmt.Sprintf("%s is no setting. There are %s.", name, strings.Join(known, ", ")))
		}
	}
	return bad
}

// distance is how many letters must be changed, added or taken away to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func withSetting(v *kong.Value) string {
	if s := v.Tag.Get("setting"); s != "" {
		return v.Help + " [" + s + "]"
	}
	return v.Help
}

// process is one run of the program.
type process struct {
	config
	stdout, stderr io.Writer
	progress       io.Writer // told when Postgres needs time
	log            *slog.Logger
	tune           []func(*flow.Engine)
	stops          []stop // last first
}

// stop takes something down.
type stop struct {
	by float64 // the part of TIELINE_STOP_WITHIN after which it is given up
	f  func(context.Context) error
}

// A stage that hangs takes no time from those after it, and one that is quick leaves them its own.
const (
	socketsBy  = 0.25
	requestsBy = 0.5
	workBy     = 0.875
	cutWorkOff = 0.25 // after so long jobs' contexts end; they still have time to say so
)

func (p *process) onStop(f func(context.Context) error) { p.onStopBy(1, f) }

func (p *process) onStopBy(part float64, f func(context.Context) error) {
	p.stops = append(p.stops, stop{part, f})
}

// stop takes down what was built, the last first: subscriptions, HTTP, River, the feed, the pool, Postgres.
func (p *process) stop(ctx context.Context) error {
	begun := time.Now()
	var errs []error
	for _, s := range slices.Backward(p.stops) {
		ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), begun.Add(p.part(s.by)))
		errs = append(errs, s.f(ctx))
		cancel()
	}
	return errors.Join(errs...)
}

// part is a part of the time there is for a stop.
func (p *process) part(x float64) time.Duration { return time.Duration(x * float64(p.stopWithin)) }

// within waits for f no longer than ctx lives.
func within(ctx context.Context, what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s did not stop in time", what)
	}
}

// database opens the Postgres that DATABASE_URL names, else an embedded one, in which name is made if need be.
func (p *process) database(ctx context.Context, name string) (*db.DB, error) {
	address := p.databaseURL
	if address == "" {
		if err := embedded.MakeDir(p.dataDir); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, startWithin)
		defer cancel()
		pg, err := embedded.Start(ctx, embedded.Config{Dir: filepath.Join(p.dataDir, "postgres"), Bin: p.postgresBin, Log: p.progress})
		if err != nil {
			return nil, err
		}
		p.onStop(func(context.Context) error { return pg.Stop() })
		if err := pg.MakeDatabase(ctx, name); err != nil {
			return nil, err
		}
		address = pg.URL(name)
	}
	d, err := db.Open(ctx, address)
	if err != nil {
		return nil, err
	}
	p.onStop(func(ctx context.Context) error { return within(ctx, "the database pool", d.Close) })
	return d, nil
}

// engine is the part that every command shares: it runs nothing by itself.
func (p *process) engine(d *db.DB) (*flow.Engine, error) {
	apps, err := catalog.New()
	if err != nil {
		return nil, err
	}
	e := &flow.Engine{DB: d, Apps: apps, Keys: p.keys, Log: p.log, URLs: p.urls, Logins: p.logins, PublicURL: p.publicURL, Origins: p.origins, Base: vendors()}
	for _, t := range p.tune {
		t(e)
	}
	return e, nil
}

// vendors is how all apps are called: a few hosts, many runs at once. How long a call may take is its app's to say.
func vendors() *http.Transport {
	dial := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dial.DialContext, TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: true,
		MaxIdleConns: 256, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second,
	}
}

// site is a process that serves.
type site struct {
	failed chan error  // what broke
	ready  atomic.Bool // whether a load balancer should send requests here
}

// serve builds a serving process from its leaves up and returns when it serves. What it built is taken down by stop.
func (p *process) serve(ctx context.Context, d *db.DB, front, ops net.Listener, roles ...string) (*site, error) {
	s := &site{failed: make(chan error, 4)}
	api, worker := slices.Contains(roles, apiRole), slices.Contains(roles, workerRole)

	e, err := p.engine(d)
	if err != nil {
		return nil, err
	}
	p.onStop(func(context.Context) error { e.Rest(); return nil })
	m := jobs.NewMetrics(d)
	e.Observe, e.Ended = m.Called, m.Ended
	in := intake.New(e)
	in.Observe = m.Answered
	if err := p.opens(ctx, e); err != nil {
		return nil, err
	}
	work, err := jobs.New(jobs.Config{DB: d, Engine: e, Door: in, Log: p.log, Keep: p.keep, InsertOnly: !worker, SoftStop: p.part(cutWorkOff)})
	if err != nil {
		return nil, err
	}
	orgs, err := db.Organizations(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, o := range orgs {
		if err := e.Ship(ctx, o.OrgID); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), pingWithin)
		defer cancel()
		if !s.ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
		} else if err := p.opens(ctx, e); err != nil {
			p.log.ErrorContext(ctx, "not ready", "error", err)
			http.Error(w, "not ready: the log says why", http.StatusServiceUnavailable)
		} else {
			alive(w, r)
		}
	})
	var edge *graph.Handler
	if api {
		if edge, err = p.edge(ctx, e, in, s, m); err != nil {
			return nil, err
		}
		mux.Handle("/graphql", edge)
		visits := graph.Visits{Engine: e, Log: p.log}
		mux.Handle(flow.BeginPath, visits)
		mux.Handle(flow.BackPath, visits)
		page := graphiql.Handler()
		mux.Handle("GET "+graphiql.Path, page)
		mux.Handle("GET "+graphiql.Path+"/", page)
		if !p.hidden {
			mux.HandleFunc("GET /schema.graphql", graph.ServeSchema)
		}
		mux.Handle(intake.Path, in)
	}
	// Jobs end by stop, in their turn, not by the signal.
	if err := work.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	p.onStopBy(workBy, work.Stop)
	p.serveHTTP(s, ops, operators(m, work.Page()))
	p.serveHTTP(s, front, mux)
	if edge != nil {
		p.onStopBy(socketsBy, edge.Close)
	}
	s.ready.Store(true)
	p.onStop(func(context.Context) error { s.ready.Store(false); return nil })
	return s, nil
}

// opens makes sure that the database answers and that our keys open what is in it.
func (p *process) opens(ctx context.Context, e *flow.Engine) error {
	if err := e.CheckKeys(ctx); err != nil {
		return fmt.Errorf("%s: %w", cmp.Or(p.keysFile, keysSetting), err)
	}
	return nil
}

// edge is GraphQL, with the feed its subscriptions read from.
func (p *process) edge(ctx context.Context, e *flow.Engine, door flow.Door, s *site, m *jobs.Metrics) (*graph.Handler, error) {
	wake := notify.New(e.DB.Pool, p.log, db.ChangesChannel)
	feed := graph.NewFeed(e.DB, wake, p.log, e.Keys)
	m.Follow(feed.Stats)
	p.background(ctx, s, wake.Run)
	p.background(ctx, s, feed.Run)
	var tokens auth.Verifier = auth.Tokens{DB: e.DB, Log: p.log}
	if p.issuer != "" {
		tokens = &auth.OIDC{Tokens: tokens, DB: e.DB, Issuer: p.issuer, Audience: p.audience}
	}
	return graph.New(graph.Config{
		Resolvers: graph.NewResolvers(e.DB, e, door, feed), Verifier: tokens, Log: p.log, Origins: p.origins, Hidden: p.hidden,
	})
}

// background runs f until stop.
func (p *process) background(ctx context.Context, s *site, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil && ctx.Err() == nil {
			s.failed <- err
		}
	}()
	p.onStop(func(ctx context.Context) error {
		cancel()
		return within(ctx, "the feed", func() error { <-done; return nil })
	})
}

func (p *process) serveHTTP(s *site, l net.Listener, h http.Handler) {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headerWithin, ReadTimeout: bodyWithin, IdleTimeout: idleAfter, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelWarn),
	}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err
		}
	}()
	p.onStopBy(requestsBy, func(ctx context.Context) error {
		if err := srv.Shutdown(ctx); err != nil {
			return errors.Join(fmt.Errorf("requests did not end in time: %w", err), srv.Close())
		}
		return nil
	})
}

// operators is what TIELINE_OPS_ADDR shows. Whoever reaches it may do all of it: there are no tokens. What a page in an
// operator's browser sends by itself is refused.
func operators(m *jobs.Metrics, page http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", alive)
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2}))
	mux.Handle(jobs.PagePath+"/", page)
	mux.Handle(jobs.PagePath, page)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return http.NewCrossOriginProtection().Handler(mux)
}

func alive(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }

// listen takes an address. When it is one of spare and taken, any port will do.
func (p *process) listen(addr string, spare ...string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) && slices.Contains(spare, addr) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("listening at %s: %w", addr, err)
	}
	p.onStop(func(context.Context) error { l.Close(); return nil }) // in case that nothing comes to serve it
	return l, nil
}

// local is how this machine reaches an address that it listens at.
func local(a net.Addr) string {
	host, port, _ := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// wait returns when the process is asked to end, or can go on no longer.
func (s *site) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	}
}

type serve struct {
	Roles []string `enum:"api,worker" default:"api,worker" help:"What this process does: api, worker or both."`
}

// settle gives back what only the start needed: garbage, and the pages of the program that are mapped. Those in use come
// back from the page cache. Where there is no /proc, it is garbage alone.
func settle() {
	debug.FreeOSMemory()
	self, err := os.Executable()
	if err != nil {
		return
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	var from, to uint64
	clean := false // of the program's file, and not to be written to
	for line := range strings.Lines(string(smaps)) {
		switch f := strings.Fields(line); {
		case !strings.HasSuffix(f[0], ":"): // from-to access offset device inode file
			_, err := fmt.Sscanf(f[0], "%x-%x", &from, &to)
			clean = err == nil && f[len(f)-1] == self && !strings.Contains(f[1], "w")
		case clean && f[0] == "Anonymous:" && f[1] == "0": // nor was it
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(from), uintptr(to-from), syscall.MADV_DONTNEED)
		}
	}
}

// Run serves until the process is asked to end.
func (c *serve) Run(ctx context.Context, p *process) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	d, err := p.database(ctx, "tieline")
	if err != nil {
		return err
	}
	if err := p.migrated(ctx, d); err != nil {
		return err
	}
	front, err := p.listen(p.addr)
	if err != nil {
		return err
	}
	ops, err := p.listen(p.opsAddr)
	if err != nil {
		return err
	}
	s, err := p.serve(ctx, d, front, ops, c.Roles...)
	if err != nil {
		return err
	}
	p.log.InfoContext(ctx, "serving", "addr", front.Addr().String(), "ops_addr", ops.Addr().String(), "roles", c.Roles)
	defer time.AfterFunc(settleAfter, settle).Stop()
	err = s.wait(ctx)
	p.log.InfoContext(ctx, "stopping", "within", p.stopWithin.String())
	return err
}

// migrated migrates a database of our own. Of another one the operator decides when.
func (p *process) migrated(ctx context.Context, d *db.DB) error {
	if p.databaseURL == "" {
		return migrations.Up(ctx, d.Pool, nil)
	}
	pending, err := migrations.Pending(ctx, d.Pool)
	if err != nil || len(pending) == 0 {
		return err
	}
	return fmt.Errorf("the database lacks %s: run tieline migrate first", strings.Join(pending, ", "))
}

type migrate struct{}

// Run applies what is missing.
func (*migrate) Run(ctx context.Context, p *process) error {
	d, err := p.database(ctx, "tieline")
	if err != nil {
		return err
	}
	steps := 0
	if err := migrations.Up(ctx, d.Pool, func(step string) { steps++; fmt.Fprintln(p.stdout, step) }); err != nil {
		return err
	}
	if steps == 0 {
		fmt.Fprintln(p.stdout, "nothing to do")
	}
	return nil
}

type tokenCreate struct {
	Organization string         `required:"" help:"Whose token it is."`
	New          bool           `help:"Make the organization."`
	Name         string         `default:"command line" help:"What uses the token."`
	Scopes       string         `default:"read" help:"What it may do: read, write, trigger, admin."`
	Expires      *time.Duration `placeholder:"DURATION" help:"When it ends by itself, as 720h. Unset: never."`
}

// Validate refuses names that nobody could read and a token that would be dead at once.
func (c *tokenCreate) Validate() error {
	for flag, name := range map[string]*string{"--organization": &c.Organization, "--name": &c.Name} {
		if *name = strings.TrimSpace(*name); *name == "" || utf8.RuneCountInString(*name) > 100 {
			return fmt.Errorf("%s should be a name of 1 to 100 characters", flag)
		}
	}
	if c.Expires != nil && *c.Expires <= 0 {
		return fmt.Errorf("--expires is %s and should be more than nothing, such as 720h", *c.Expires)
	}
	return nil
}

// Run prints the token, which is kept nowhere.
func (c *tokenCreate) Run(ctx context.Context, p *process) error {
	scopes, err := auth.ParseScopes(c.Scopes)
	if err != nil {
		return err
	}
	d, err := p.database(ctx, "tieline")
	if err != nil {
		return err
	}
	if err := p.migrated(ctx, d); err != nil {
		return err
	}
	org, err := p.organization(ctx, d, c.Organization, c.New)
	if err != nil {
		return err
	}
	var expires time.Time
	if c.Expires != nil {
		expires = time.Now().Add(*c.Expires)
	}
	secret, row := auth.NewToken(org.OrgID, c.Name, scopes, expires)
	if err := db.AddToken(ctx, d, row); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, secret)
	return nil
}

// organization finds one by name, or makes it, with the shipped flows.
func (p *process) organization(ctx context.Context, d *db.DB, name string, make bool) (db.Organization, error) {
	org, err := db.OrganizationNamed(ctx, d, name)
	if !errors.Is(err, db.ErrNotFound) {
		return org, err
	}
	if !make {
		return org, fmt.Errorf("there is no organization %q; add --new to make it", name)
	}
	e, err := p.engine(d)
	if err != nil {
		return org, err
	}
	if org, err = db.CreateOrganization(ctx, d, name); err != nil {
		return org, err
	}
	return org, e.Ship(ctx, org.OrgID)
}

type keysRotate struct{}

// Run seals everything again. It may be ended and run again at any time, beside processes that serve.
func (*keysRotate) Run(ctx context.Context, p *process) error {
	d, err := p.database(ctx, "tieline")
	if err != nil {
		return err
	}
	if err := p.migrated(ctx, d); err != nil {
		return err
	}
	e, err := p.engine(d)
	if err != nil {
		return err
	}
	left, err := db.CountBoxes(ctx, d, p.keys.First())
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "%d boxes are sealed with another key than %s\n", left, p.keys.First())
	var told time.Time
	r, err := e.RotateKeys(ctx, func(r flow.Rotation) {
		if time.Since(told) > time.Second {
			told = time.Now()
			fmt.Fprintf(p.stdout, "%d of %d sealed again\n", r.Sealed, max(left, r.Sealed))
		}
	})
	if err == nil && r.Broken > 0 {
		err = fmt.Errorf("%d boxes are opened by none of the keys in %s; the log names them", r.Broken, keysSetting)
	}
	if err != nil {
		return fmt.Errorf("%d boxes were sealed again: %w", r.Sealed, err)
	}
	fmt.Fprintf(p.stdout, "%d sealed again; nothing needs another key than %s\n", r.Sealed, p.keys.First())
	return nil
}

type schema struct {
	Flow bool `help:"Print the JSON Schema of a flow's document instead, for an editor of files."`
}

// Run prints the schema.
func (s *schema) Run(p *process) error {
	text := graph.SDL()
	if s.Flow {
		text = string(flow.Schema()) + "\n"
	}
	_, err := io.WriteString(p.stdout, text)
	return err
}

// The simulators' credentials never change, so that the connections of an earlier dev find them again.
const (
	demoOrganization = "Demo"
	demoStripe       = "acct_1TielineDemo"
	demoStripeKey    = "sk_test_TielineDemo000000000000"
	demoTogai        = "tieline-demo"
	demoTogaiToken   = "tieline-demo-0000000000000000000000000000"
	demoZuora        = "7469656c-696e-4465-6d6f-000000000000"
	demoZuoraSecret  = "tieline-demo/0000000000000000000000+="
	demoBooks        = "1000.TIELINEDEMO000000000000000000"
	demoBooksSecret  = "tieline-demo-0000000000000000000000000000"
	demoBooksID      = "18446744000000000" // the organization's
)

// devLock is held in the database by the one dev that uses it: connections are to its own simulators.
const devLock = 0x7469656c64657631

type dev struct {
	Once bool `help:"End after the walk: with 0 when all went well, else 1."`
}

// Run starts everything, walks, and stays up.
func (c *dev) Run(ctx context.Context, p *process) (err error) {
	p.log = slog.New(logTo(p.stderr, slog.LevelWarn))
	var (
		d      *db.DB
		s      *site
		stripe *stripesim.Sim
		togai  *togaisim.Sim
		zuora  *zuorasim.Sim
		books  *zohobookssim.Sim
		stage  demo.Stage
		out    = demo.NewPaper(p.stdout, isTerminal(p.stdout))
	)
	p.progress = out
	out.Title("Tieline", "everything on this machine, with simulators of Stripe, Togai, Zuora and Zoho Books")
	if err := out.Step("Postgres", func() (note string, err error) {
		d, note, err = p.devDatabase(ctx)
		return note, err
	}); err != nil {
		return err
	}
	if err := out.Step("Tables", func() (string, error) {
		steps := 0
		err := migrations.Up(ctx, d.Pool, func(string) { steps++ })
		return fmt.Sprintf("%d migrations applied", steps), err
	}); err != nil {
		return err
	}
	if err := out.Step("Simulators", func() (string, error) {
		if stripe, err = stripesim.Start("127.0.0.1:0", stripesim.WithAccount(demoStripe, demoStripeKey)); err != nil {
			return "", err
		}
		p.onStop(func(context.Context) error { stripe.Close(); return nil })
		if togai, err = togaisim.Start("127.0.0.1:0", togaisim.WithOrganization(demoTogai, demoTogaiToken)); err != nil {
			return "", err
		}
		p.onStop(func(context.Context) error { togai.Close(); return nil })
		if zuora, err = zuorasim.Start("127.0.0.1:0", zuorasim.WithClient(demoZuora, demoZuoraSecret)); err != nil {
			return "", err
		}
		p.onStop(func(context.Context) error { zuora.Close(); return nil })
		if books, err = zohobookssim.Start("127.0.0.1", zohobookssim.WithClient(demoBooks, demoBooksSecret), zohobookssim.WithOrganization(zohobookssim.Organization{Name: demoOrganization, ID: demoBooksID})); err != nil {
			return "", err
		}
		p.onStop(func(context.Context) error { books.Close(); return nil })
		p.urls = map[string]string{"stripe": stripe.URL, "togai": togai.URL, "zuora": zuora.URL, "zohobooks": books.URL}
		p.logins = map[string]string{"zohobooks": books.Accounts.URL}
		return "Stripe at " + stripe.URL + ", Togai at " + togai.URL + ", Zuora at " + zuora.URL + ", Zoho Books at " + books.URL, nil
	}); err != nil {
		return err
	}
	if err := out.Step("Server", func() (string, error) {
		front, err := p.listen(p.addr, "127.0.0.1:8080")
		if err != nil {
			return "", err
		}
		ops, err := p.listen(p.opsAddr, "127.0.0.1:8081")
		if err != nil {
			return "", err
		}
		at := "http://" + local(front.Addr())
		p.publicURL = cmp.Or(p.publicURL, at)
		books.Redirect(demoBooks, p.publicURL+flow.BackPath)
		if s, err = p.serve(ctx, d, front, ops, apiRole, workerRole); err != nil {
			return "", err
		}
		stage, err = p.stage(ctx, d, at)
		stage.Simulators.Stripe = demo.Simulator{URL: stripe.URL, Key: demoStripeKey, Account: demoStripe}
		stage.Simulators.Togai = demo.Simulator{URL: togai.URL, Key: demoTogaiToken, Account: demoTogai}
		stage.Simulators.Zuora = demo.Simulator{URL: zuora.URL, Key: demoZuoraSecret, Client: demoZuora}
		stage.Simulators.ZohoBooks = demo.Simulator{URL: books.URL, Key: demoBooksSecret, Client: demoBooks}
		return at, err
	}); err != nil {
		return err
	}
	err = errors.Join(demo.Tell(ctx, out, stage), stage.Keep(p.stageFile()))
	if c.Once || ctx.Err() != nil {
		return err
	}
	if err != nil { // what there is can be looked at
		fmt.Fprintln(p.stderr, "tieline:", err)
	}
	demo.Invite(out, stage, p.stageFile())
	return errors.Join(err, s.wait(ctx))
}

// devDatabase opens a database that nothing but dev uses, and makes sure that no other dev does.
func (p *process) devDatabase(ctx context.Context) (d *db.DB, note string, err error) {
	if err := embedded.MakeDir(p.dataDir); err != nil {
		return nil, "", err
	}
	if d, err = p.database(ctx, "tieline_dev"); err != nil {
		return nil, "", err
	}
	conn, err := d.Pool.Acquire(ctx) // the lock lives as long as the connection
	if err != nil {
		return nil, "", err
	}
	lock := conn.Hijack()
	p.onStop(lock.Close)
	var mine bool
	var version string
	if err := lock.QueryRow(ctx, "SELECT pg_try_advisory_lock($1), split_part(current_setting('server_version'), ' ', 1)", int64(devLock)).Scan(&mine, &version); err != nil {
		return nil, "", err
	}
	if !mine {
		return nil, "", errors.New("another dev is using this database; set TIELINE_DATA_DIR to have one more")
	}
	if err := onlyDemo(ctx, lock); err != nil {
		return nil, "", err
	}
	p.keysFile = filepath.Join(p.dataDir, "keys")
	if p.keys, err = seal.Kept(p.keysFile); err != nil { // not TIELINE_KEYS, which may be another the next time
		return nil, "", err
	}
	where := "of DATABASE_URL"
	if p.databaseURL == "" {
		where = "in " + p.dataDir
	}
	return d, version + " " + where, nil
}

// onlyDemo refuses a database that somebody works with: dev would send that work to its simulators.
func onlyDemo(ctx context.Context, conn *pgx.Conn) error {
	var others int
	err := conn.QueryRow(ctx, "SELECT count(*) FROM organizations WHERE name <> $1", demoOrganization).Scan(&others)
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42P01" { // an empty one
		return nil
	}
	if err == nil && others > 0 {
		err = errors.New("DATABASE_URL has organizations of other people, which dev would disturb; unset it or name an empty database")
	}
	return err
}

// stageFile tells scripts where the demo plays.
func (p *process) stageFile() string { return filepath.Join(p.dataDir, "dev.json") }

// stage is the demo's organization, and a token that earlier devs made where it still works.
func (p *process) stage(ctx context.Context, d *db.DB, at string) (demo.Stage, error) {
	stage := demo.Stage{
		GraphQL: at + "/graphql", Subscriptions: "ws" + strings.TrimPrefix(at, "http") + "/graphql", GraphiQL: at + graphiql.Path,
	}
	org, err := p.organization(ctx, d, demoOrganization, true)
	if err != nil {
		return stage, err
	}
	stage.Organization = model.OrganizationID.Of(org.OrgID)
	if before, ok := demo.Earlier(p.stageFile()); ok {
		if err := os.Remove(p.stageFile()); err != nil { // its addresses are dead; whoever waits for it waits for the new one
			return stage, err
		}
		if v, err := (auth.Tokens{DB: d, Log: p.log}).Verify(ctx, before.Token); err == nil && v.Org == org.OrgID && v.May(auth.Admin) {
			stage.Token = before.Token
			return stage, nil
		}
	}
	secret, row := auth.NewToken(org.OrgID, "dev", []auth.Scope{auth.Admin}, time.Time{})
	stage.Token = secret
	return stage, db.AddToken(ctx, d, row)
}

// logTo writes text for people at a terminal, JSON for everything else.
func logTo(w io.Writer, level slog.Level) slog.Handler {
	opts := &slog.HandlerOptions{Level: level}
	if isTerminal(w) {
		return slog.NewTextHandler(w, opts)
	}
	return slog.NewJSONHandler(w, opts)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
