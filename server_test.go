package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"
	"github.com/jackc/pgx/v5"
	"go.yaml.in/yaml/v3"

	"tieline/connectors"
	"tieline/connectors/catalog"
	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
	"tieline/connectors/togai/togaisim"
	"tieline/db"
	"tieline/db/dbtest"
	"tieline/db/notify"
	"tieline/db/seal"
	"tieline/graph/demo"
	"tieline/jobs"
	"tieline/jobs/flow"
)

// A process under test is this binary again, told so by its environment.
const (
	asProcess = "TEST_TIELINE_PROCESS" // set: be tieline
	killAt    = "TEST_TIELINE_KILL"    // "point METHOD path-pattern": be killed there, see killer
	callsTake = "TEST_TIELINE_TIMEOUT" // how long a call may take, and a run stays with a worker: so long its outcome stays open after a kill
	callsRate = "TEST_TIELINE_RATE"    // how many calls a second a vendor allows, if more than 0
	patience  = 60 * time.Second
)

func TestMain(m *testing.M) {
	if os.Getenv(asProcess) == "" {
		flag.Parse()
		if most := flag.Lookup("test.parallel"); most.Value.String() == most.DefValue { // most of these tests wait: for processes, and for leases to run out
			_ = most.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0)))
		}
		os.Exit(m.Run())
	}
	os.Exit(run(untilAsked(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr, func(e *flow.Engine) {
		if where := strings.Fields(os.Getenv(killAt)); len(where) == 3 {
			e.Base = killer{http.DefaultTransport, where[0], where[1], where[2]}
		}
		if d, err := time.ParseDuration(os.Getenv(callsTake)); err == nil {
			rate, _ := strconv.ParseFloat(os.Getenv(callsRate), 64)
			e.Apps, e.Timing.Lease = altered(e.Apps, d, rate), d
		}
	}))
}

// altered are apps whose calls may take no longer than d, and whose vendors allow so many a second.
func altered(r *connectors.Registry, d time.Duration, rate float64) *connectors.Registry {
	apps := r.Apps()
	for i := range apps {
		if apps[i].Timeout = d; rate > 0 {
			apps[i].Rate = func(connectors.Mode) connectors.Rate { return connectors.Rate{PerSecond: rate, Burst: int(rate)} }
		}
	}
	r, err := connectors.NewRegistry(apps...)
	if err != nil {
		panic(err)
	}
	return r
}

// The points of a write at which a process can be killed from inside. The one between, when the vendor has the request
// and we have no reply, is for the simulator's OnRequest to choose.
const (
	beforeSend = "before_send" // the effect is committed as SENT, no byte has left
	afterReply = "after_reply" // the whole reply is here, nothing of it is committed
)

// killer ends its own process, as kill -9 does, at a point of the first call that matches.
type killer struct {
	http.RoundTripper
	point, method, path string
}

func (k killer) RoundTrip(r *http.Request) (*http.Response, error) {
	hit, _ := path.Match(k.path, r.URL.Path)
	if hit = hit && r.Method == k.method; hit && k.point == beforeSend {
		die()
	}
	res, err := k.RoundTripper.RoundTrip(r)
	if err == nil && hit && k.point == afterReply {
		_, _ = io.ReadAll(res.Body)
		die()
	}
	return res, err
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// child is a process under test.
type child struct {
	cmd    *exec.Cmd
	out    bytes.Buffer
	errors transcript
	done   chan struct{}
}

// transcript is what a process has written so far.
type transcript struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func (w *transcript) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
	return w.text.Write(p)
}

func (w *transcript) read() (string, chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String(), w.changed
}

// spawn starts tieline. Of our environment it has only what finds programs.
func spawn(t *testing.T, env []string, args ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(self, args...), done: make(chan struct{}), errors: transcript{changed: make(chan struct{})}}
	c.cmd.Env = append([]string{asProcess + "=1", "TIELINE_ADDR=127.0.0.1:0", "TIELINE_OPS_ADDR=127.0.0.1:0"}, env...)
	for _, name := range []string{"PATH", "HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "TIELINE_POSTGRES_BIN", "GORACE", "GOCOVERDIR"} {
		if v := os.Getenv(name); v != "" {
			c.cmd.Env = append(c.cmd.Env, name+"="+v)
		}
	}
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.errors
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = c.cmd.Wait()
		close(c.done)
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.done
		if t.Failed() {
			text, _ := c.errors.read()
			t.Logf("tieline %s\n%s%s", strings.Join(args, " "), c.out.String(), text)
		}
	})
	return c
}

// wait returns the exit code, -1 for a process that was killed.
func (c *child) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Fatalf("the process has not ended within %s", patience)
	}
	return c.cmd.ProcessState.ExitCode()
}

// says waits until the process has written something that matches, and returns the submatches.
func (c *child) says(t *testing.T, pattern string) []string {
	t.Helper()
	re, deadline := regexp.MustCompile(pattern), time.After(patience)
	for {
		text, changed := c.errors.read()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		select {
		case <-changed:
		case <-c.done:
			if text, _ := c.errors.read(); !re.MatchString(text) {
				t.Fatalf("the process ended without saying %s:\n%s", pattern, text)
			}
		case <-deadline:
			t.Fatalf("the process did not say %s within %s", pattern, patience)
		}
	}
}

// serving waits until a serve process answers, and returns its root.
func (c *child) serving(t *testing.T) string {
	t.Helper()
	return "http://" + c.says(t, `"msg":"serving","addr":"([^"]+)"`)[1]
}

// dataDir is a directory that also the account reaches which Postgres runs under when we are root.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tieline test ") // with blanks, as on a Mac
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestDevOnceTwice(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	var stages []demo.Stage
	for range 2 {
		begun := time.Now()
		c := spawn(t, []string{"TIELINE_DATA_DIR=" + dir}, "dev", "--once")
		if code := c.wait(t); code != 0 {
			t.Fatalf("dev --once ended with %d", code)
		}
		t.Logf("took %s\n%s", time.Since(begun).Round(time.Millisecond), c.out.String())
		if text, _ := c.errors.read(); text != "" {
			t.Errorf("it complains: %s", text)
		}
		var s demo.Stage
		file := filepath.Join(dir, "dev.json")
		text, err := os.ReadFile(file)
		if err != nil || json.Unmarshal(text, &s) != nil {
			t.Fatalf("dev.json: %v: %s", err, text)
		}
		for _, name := range []string{file, filepath.Join(dir, "keys")} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
		stages = append(stages, s)
	}
	if a, b := stages[0], stages[1]; a.Token == "" || a.Token != b.Token || a.Organization != b.Organization || a.Simulators.Stripe.Key != b.Simulators.Stripe.Key {
		t.Errorf("the second dev is another one: %+v, then %+v", a, b)
	}
}

func TestDevIsAlone(t *testing.T) {
	t.Parallel()
	env := []string{"TIELINE_DATA_DIR=" + dataDir(t), "DATABASE_URL=" + dbtest.URL(t)}
	up := spawn(t, env, "dev")
	stage := waitForStage(t, up, env[0])
	elsewhere := dataDir(t)
	other := spawn(t, []string{"TIELINE_DATA_DIR=" + elsewhere, env[1]}, "dev", "--once")
	if code := other.wait(t); code != 1 {
		t.Errorf("a second dev at once ended with %d", code)
	}
	other.says(t, "another dev is using this database")
	if _, err := os.Stat(filepath.Join(elsewhere, "keys")); !os.IsNotExist(err) {
		t.Errorf("it made keys before it knew (%v)", err)
	}
	var page struct {
		Data struct {
			Viewer struct{ Organization struct{ Name string } }
		}
	}
	ask(t, stage.GraphQL, stage.Token, "{ viewer { organization { name } } }", nil, &page)
	if page.Data.Viewer.Organization.Name != demoOrganization {
		t.Errorf("%+v", page)
	}
	_ = up.cmd.Process.Signal(syscall.SIGTERM)
	if code := up.wait(t); code != 0 {
		t.Errorf("dev ended with %d", code)
	}
}

func TestDevLeavesOtherPeopleAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := spawn(t, []string{"TIELINE_DATA_DIR=" + dataDir(t), "DATABASE_URL=" + w.url}, "dev", "--once")
	if code := c.wait(t); code != 1 {
		t.Errorf("it ended with %d", code)
	}
	c.says(t, "organizations of other people")
}

func waitForStage(t *testing.T, c *child, setting string) (s demo.Stage) {
	t.Helper()
	_, dir, _ := strings.Cut(setting, "=")
	tick, deadline := time.NewTicker(20*time.Millisecond), time.After(patience) // a file gives no signal
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(filepath.Join(dir, "dev.json")); err == nil && json.Unmarshal(text, &s) == nil {
			return s
		}
		select {
		case <-tick.C:
		case <-c.done:
			t.Fatal("dev ended")
		case <-deadline:
			t.Fatal("no dev.json")
		}
	}
}

// ask sends a document and reads the whole answer.
func ask(t *testing.T, url, token, document string, variables map[string]any, answer any) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": document, "variables": variables})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(text, answer) != nil {
		t.Fatalf("%s: %s (%v)", res.Status, text, err)
	}
}

func status(t *testing.T, url string) int {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// emptyDatabase is one that nobody has migrated.
func emptyDatabase(t *testing.T) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(dbtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	name := "empty_" + strings.ReplaceAll(db.NewID().String(), "-", "")
	do := func(sql string) {
		conn, err := pgx.ConnectConfig(context.WithoutCancel(t.Context()), cfg)
		if err == nil {
			_, err = conn.Exec(context.WithoutCancel(t.Context()), sql)
			conn.Close(context.WithoutCancel(t.Context()))
		}
		if err != nil {
			t.Error(err)
		}
	}
	do("CREATE DATABASE " + name)
	t.Cleanup(func() { do("DROP DATABASE " + name + " WITH (FORCE)") })
	return strings.Replace(cfg.ConnString(), cfg.Database, name, 1)
}

func TestMigrateThenServe(t *testing.T) {
	t.Parallel()
	env := []string{"DATABASE_URL=" + emptyDatabase(t), keysSetting + "=" + seal.Generate()}
	early := spawn(t, env, "serve")
	if code := early.wait(t); code != 1 {
		t.Errorf("serve on an empty database ended with %d", code)
	}
	early.says(t, "run tieline migrate first")
	a, b := spawn(t, env, "migrate"), spawn(t, env, "migrate")
	if a.wait(t) != 0 || b.wait(t) != 0 || strings.Count(a.out.String()+b.out.String(), "nothing to do") != 1 {
		t.Errorf("two at once: %s and %s", a.out.String(), b.out.String())
	}
	made := spawn(t, env[:1], "token", "create", "--organization", "Acme", "--new", "--scopes", "read,trigger", "--expires", "1h")
	if code := made.wait(t); code != 0 {
		t.Fatalf("token create ended with %d", code)
	}
	token := strings.TrimSpace(made.out.String())
	two := []*child{spawn(t, env, "serve"), spawn(t, env, "serve")}
	for _, c := range two {
		at := c.serving(t)
		for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/graphiql": 200, "/schema.graphql": 200, "/graphql": 401, "/nothing": 404} {
			if got := status(t, at+path); got != want {
				t.Errorf("GET %s: %d, want %d", path, got, want)
			}
		}
		var answer struct {
			Data struct {
				Viewer struct{ Organization struct{ Name string } }
				Flows  struct{ Nodes []struct{ Key string } }
			}
		}
		ask(t, at+"/graphql", token, "{ viewer { organization { name } } flows { nodes { key } } }", nil, &answer)
		seen := map[string]int{}
		for _, f := range answer.Data.Flows.Nodes {
			seen[f.Key]++
		}
		if answer.Data.Viewer.Organization.Name != "Acme" || seen["stripe.customers_in"] != 1 || len(seen) != len(answer.Data.Flows.Nodes) {
			t.Errorf("%+v", answer) // both processes have shipped them, each flow once
		}
	}
	for _, c := range two {
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		if code := c.wait(t); code != 0 {
			t.Errorf("serve ended with %d", code)
		}
		if text, _ := c.errors.read(); strings.Contains(text, token) || strings.Contains(text, env[1]) {
			t.Error("the log holds a secret")
		}
	}
	lost := spawn(t, env[:1], "token", "create", "--organization", "Acmee")
	if code := lost.wait(t); code != 1 {
		t.Errorf("a token for nobody: %d", code)
	}
	lost.says(t, "--new")
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	secret := "k1:c2VjcmV0"
	for name, c := range map[string]struct {
		args, env, want []string
	}{
		"all at once": {[]string{"serve"}, []string{
			"TIELINE_ADDR=nowhere", "TIELINE_OPS_ADDR=:x", "TIELINE_PUBLIC_URL=ftp://example.com", "TIELINE_ORIGINS=https://good.example,bad", "TIELINE_INTROSPECTION=maybe", "TIELINE_KEYS=" + secret,
			"TIELINE_STRIPE_URL=://", "TIELINE_TOGAI_URL=localhost:1", "TIELINE_STOP_WITHIN=soon", "TIELINE_ORIGIN=https://x", "TIELINE_COLOUR=red",
		}, []string{
			`TIELINE_ADDR is "nowhere"`, `TIELINE_OPS_ADDR is ":x"`, "TIELINE_PUBLIC_URL should be", "TIELINE_ORIGINS should be", `TIELINE_INTROSPECTION is "maybe"`, "TIELINE_KEYS cannot be used",
			"TIELINE_STRIPE_URL should be", "TIELINE_TOGAI_URL should be", `TIELINE_STOP_WITHIN is "soon"`, "Is TIELINE_ORIGINS meant?", "TIELINE_COLOUR is no setting",
		}},
		"retention": {[]string{"serve"}, []string{
			"TIELINE_KEYS=" + seal.Generate(), "TIELINE_RETENTION_EVENTS=29d", "TIELINE_RETENTION_RUNS=soon", "TIELINE_RETENTION_CLAIMS=23h59m", "TIELINE_RETENTION_BODIES=0d",
			"TIELINE_RETENTION_CHANGES=-1h", "TIELINE_RETENTION_JOBS=99999999d",
		}, []string{
			"TIELINE_RETENTION_EVENTS is 29d and should be 720h0m0s or more", `TIELINE_RETENTION_RUNS is "soon" and should be a duration such as 12h or 90d`,
			"TIELINE_RETENTION_CLAIMS is 23h59m and should be 24h0m0s or more", "TIELINE_RETENTION_BODIES is 0d", "TIELINE_RETENTION_CHANGES is -1h", "TIELINE_RETENTION_JOBS is",
		}},
		"half a provider":  {[]string{"serve"}, []string{"TIELINE_KEYS=" + seal.Generate(), "TIELINE_OIDC_ISSUER=login.example.com"}, []string{"TIELINE_OIDC_AUDIENCE is missing", "TIELINE_OIDC_ISSUER should be a URL"}},
		"missing":          {[]string{"serve"}, nil, []string{"TIELINE_KEYS is missing", "openssl rand"}},
		"flag and setting": {[]string{"serve", "--rols=api"}, []string{"TIELINE_ADDR=nowhere"}, []string{`did you mean "--roles"`, `TIELINE_ADDR is "nowhere"`}},
		"expired token":    {[]string{"token", "create", "--organization=Acme", "--expires=-1h"}, nil, []string{"--expires is -1h0m0s"}},
		"no time at all":   {[]string{"token", "create", "--organization=Acme", "--expires=0s"}, nil, []string{"--expires is 0s"}},
		"nameless":         {[]string{"token", "create", "--organization=  ", "--new"}, nil, []string{"--organization should be a name"}},
		"nameless token":   {[]string{"token", "create", "--organization=Acme", "--name="}, nil, []string{"--name should be a name"}},
		"long name":        {[]string{"token", "create", "--organization", strings.Repeat("ä", 101)}, nil, []string{"--organization should be a name of 1 to 100"}},
		"role":             {[]string{"serve", "--roles=boss"}, nil, []string{`"api","worker"`}},
		"no command":       {nil, nil, []string{`"dev"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			if code := run(t.Context(), c.args, c.env, &out, &errs); code != 2 {
				t.Errorf("code %d", code)
			}
			for _, want := range c.want {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("%q is missing in\n%s", want, errs.String())
				}
			}
			if lines := strings.Count(errs.String(), "\n"); lines != len(c.want) && name == "all at once" || strings.Contains(errs.String(), secret) {
				t.Errorf("%d lines:\n%s", lines, errs.String())
			}
		})
	}
}

// TestKeysThatOpenNothing: a process says so at its start, and one that lives when it comes to be so.
func TestKeysThatOpenNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	right, other := w.keys, seal.Generate()
	c := w.serve(t, "")
	at := c.serving(t)
	if got := status(t, at+"/readyz"); got != http.StatusOK {
		t.Errorf("readyz with the right keys: %d", got)
	}
	tieline := func(keys string) (string, string, int) {
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"keys", "rotate"}, []string{"DATABASE_URL=" + w.url, keysSetting + "=" + keys}, &out, &errs)
		return out.String(), errs.String(), code
	}
	if _, errs, code := tieline(other); code != 1 || !strings.Contains(errs, "are opened by none of the keys in TIELINE_KEYS") {
		t.Errorf("rotating without the old key: %d: %s", code, errs)
	}
	w.keys = other
	wrong := w.serve(t, "", "--addr=127.0.0.1:0")
	if code := wrong.wait(t); code != 1 {
		t.Errorf("with other keys it ended with %d", code)
	}
	id, _, _ := strings.Cut(right, ":")
	wrong.says(t, "TIELINE_KEYS: the key "+id+" has sealed credentials that are in use, and is missing")
	fresh, _, _ := strings.Cut(other, ":")
	for _, want := range []string{"5 boxes are", "0 boxes are"} {
		out, errs, code := tieline(other + "," + right)
		if code != 0 || !strings.Contains(out, want) || !strings.Contains(out, "nothing needs another key than "+fresh) {
			t.Errorf("%d: %s%s, want %q", code, out, errs, want)
		}
	}
	if got := status(t, at+"/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("readyz with keys that open nothing any more: %d", got)
	}
	c.says(t, `"msg":"not ready".*TIELINE_KEYS: the key `)
}

func TestHelpAndSchema(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{"TIELINE_PUBLIC_URL": {"--help"}, "--once": {"dev", "--help"}, "type Subscription": {"schema"}, `"onError":`: {"schema", "--flow"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, []string{"TIELINE_ADDR=nowhere"}, &out, &errs); code != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("%v: %d\n%s%s", args, code, out.String(), errs.String())
		}
	}
}

// world is an organization with both apps connected to simulators of ours and both flows linked. Its serve processes
// share a database and an address, so that webhooks reach whichever lives.
type world struct {
	*db.DB
	url, addr, keys string
	stripe          *stripesim.Sim
	togai           *togaisim.Sim
	engine          *flow.Engine
	org             db.ID
	conns           map[string]db.ID // by app
	token           string
	wake            <-chan struct{}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{url: dbtest.URL(t), keys: seal.Generate(), stripe: stripesim.New(t), togai: togaisim.New(t), addr: sim.FreeAddr(t)}
	d, err := db.Open(t.Context(), w.url, db.MaxConns(4))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	apps, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Parse(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	w.DB, w.engine = d, &flow.Engine{
		DB: d, Apps: apps, Keys: keys, Log: quiet, URLs: map[string]string{"stripe": w.stripe.URL, "togai": w.togai.URL}, PublicURL: "http://" + w.addr,
	}
	if _, err := jobs.New(jobs.Config{DB: d, Engine: w.engine, InsertOnly: true}); err != nil {
		t.Fatal(err)
	}
	l := notify.New(d.Pool, quiet, db.ChangesChannel)
	w.wake, _ = l.Subscribe(db.ChangesChannel)
	ctx, cancel := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	listening.Go(func() { l.Run(ctx) })
	t.Cleanup(func() { cancel(); listening.Wait() })
	w.link(t)
	return w
}

// link connects both apps and switches both flows on.
func (w *world) link(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	var out bytes.Buffer
	if code := run(ctx, []string{"token", "create", "--organization", "Acme", "--new", "--scopes", "admin"}, []string{"DATABASE_URL=" + w.url}, &out, t.Output()); code != 0 {
		t.Fatalf("token create: %d", code)
	}
	w.token = strings.TrimSpace(out.String())
	org, err := db.OrganizationNamed(ctx, w.DB, "Acme")
	if err != nil {
		t.Fatal(err)
	}
	w.org = org.OrgID
	alone := func(context.Context, db.Tx, db.ID) error { return nil }
	conns := map[string]db.ID{}
	for app, creds := range map[string]map[string]string{
		"stripe": {"api_key": w.stripe.Key()},
		"togai":  {"environment": "sandbox", "api_token": w.togai.Token(), "organization_id": "acme"},
	} {
		c, err := w.engine.Connect(ctx, w.org, flow.ConnectionInput{App: app, Name: &app, Credentials: creds}, alone)
		if err != nil {
			t.Fatal(err)
		}
		if conns[app] = c.ID; app == "togai" {
			url, err := w.engine.WebhookURL(c)
			if err != nil {
				t.Fatal(err)
			}
			w.togai.Target(url, "", "account.created", "invoice.generated")
		}
	}
	w.conns = conns
	w.enable(t, "stripe.customers_in", "stripe.accounts_out")
}

// enable links shipped flows and switches them on.
func (w *world) enable(t *testing.T, keys ...string) {
	t.Helper()
	for _, key := range keys {
		var link db.FlowLink
		err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			var f db.Flow
			if err := tx.NewSelect().Model(&f).Where("org_id = ? AND key = ?", w.org, key).Scan(ctx); err != nil {
				return err
			}
			v, err := db.NewestVersion(ctx, tx, w.org, f.ID)
			if err != nil {
				return err
			}
			var d flow.Definition
			if err := json.Unmarshal(v.Definition, &d); err != nil {
				return err
			}
			at := map[string]db.ID{flow.TriggerSlot: w.conns[d.Trigger.App]}
			for _, s := range d.Steps {
				at[s.Key] = w.conns[s.App]
			}
			link, err = w.engine.CreateLink(ctx, tx, w.org, flow.LinkInput{FlowID: f.ID, Name: "main", Connections: at})
			return err
		})
		if err == nil {
			_, err = w.engine.EnableLink(t.Context(), w.org, link.ID, door{}, func(context.Context, db.Tx, db.ID) error { return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// door takes the baselines of empty accounts.
type door struct{}

func (door) Take(context.Context, db.Connection, string, []connectors.Item) (int, error) {
	return 0, nil
}

// serve starts a process of the world. kill, if not empty, is where it dies: see killer.
func (w *world) serve(t *testing.T, kill string, args ...string) *child {
	t.Helper()
	return spawn(t, []string{
		"DATABASE_URL=" + w.url, keysSetting + "=" + w.keys, "TIELINE_ADDR=" + w.addr, "TIELINE_PUBLIC_URL=http://" + w.addr,
		"TIELINE_STRIPE_URL=" + w.stripe.URL, "TIELINE_TOGAI_URL=" + w.togai.URL, killAt + "=" + kill, callsTake + "=2s",
	}, append([]string{"serve"}, args...)...)
}

// settled waits until so many runs are final and nothing is open.
func (w *world) settled(t *testing.T, runs int) {
	t.Helper()
	deadline := time.After(patience)
	for {
		var final, open int
		err := w.NewRaw(`SELECT (SELECT count(*) FROM runs WHERE state IN ('SUCCEEDED', 'SUPPRESSED')),
			(SELECT count(*) FROM runs WHERE state NOT IN ('SUCCEEDED', 'SUPPRESSED')) + (SELECT count(*) FROM effects WHERE state IN ('PLANNED', 'SENT', 'UNKNOWN'))`).Scan(t.Context(), &final, &open)
		if err != nil {
			t.Fatal(err)
		}
		if final >= runs && open == 0 {
			return
		}
		select {
		case <-w.wake:
		case <-deadline:
			t.Fatalf("%d runs are final, %d runs and effects are open", final, open)
		}
	}
}

// TestKilled kills a process, truly, at each point of each write of both flows; another one goes on. Afterwards there is
// one of everything, linked, the runs are final and no effect is open.
func TestKilled(t *testing.T) {
	t.Parallel()
	points := map[string]struct {
		inside string // where the process kills itself
		stage  string // or where the simulator has it killed
	}{
		"before send": {inside: beforeSend},
		"sent":        {stage: sim.Arrived},
		"sent, done":  {stage: sim.Replying},
		"after reply": {inside: afterReply},
	}
	writes := []struct {
		start        func(t *testing.T, w *world)
		app          func(w *world) *sim.Core
		method, path string
	}{
		{customerInStripe, togaiOf, http.MethodPost, "/customers"},
		{customerInStripe, stripeOf, http.MethodPost, "/v1/customers/*"},
		{accountInTogai, stripeOf, http.MethodPost, "/v1/customers"},
		{accountInTogai, togaiOf, http.MethodPost, "/settings"},
	}
	for _, at := range writes {
		for name, c := range points {
			t.Run(at.path+" "+name, func(t *testing.T) {
				t.Parallel()
				w, kill := newWorld(t), ""
				if c.inside != "" {
					kill = strings.Join([]string{c.inside, at.method, at.path}, " ")
				}
				first := w.serve(t, kill)
				first.serving(t)
				kills(at.app(w), first, c.stage, at.method, at.path)
				at.start(t, w)
				if code := first.wait(t); code != -1 {
					t.Fatalf("the process was not killed: %d", code)
				}
				w.serve(t, "")
				w.settled(t, 2)
				w.whole(t)
			})
		}
	}
}

// kills has a process killed at a stage of a simulator's call.
func kills(app *sim.Core, c *child, stage, method, pattern string) {
	var once atomic.Bool
	app.OnRequest(func(at, m, p string) {
		if hit, _ := path.Match(pattern, p); hit && at == stage && m == method && once.CompareAndSwap(false, true) {
			_ = c.cmd.Process.Kill()
			<-c.done
		}
	})
}

// TestKilledBilling kills a process, truly, while it bills: an invoice of Togai is one in Stripe, mailed once, and its payment
// is recorded once.
func TestKilledBilling(t *testing.T) {
	t.Parallel()
	for _, at := range []struct {
		app  func(w *world) *sim.Core
		path string
	}{
		{stripeOf, "/v1/invoices"}, {stripeOf, "/v1/invoiceitems"}, {stripeOf, "/v1/invoices/*/finalize"}, {stripeOf, "/v1/invoices/*/send"}, {togaiOf, "/payments"},
	} {
		for _, stage := range []string{sim.Arrived, sim.Replying} {
			t.Run(at.path+" "+stage, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.enable(t, "stripe.invoices_out", "stripe.invoice_paid_in")
				first := w.serve(t, "")
				first.serving(t)
				kills(at.app(w), first, stage, http.MethodPost, at.path)
				accountInTogai(t, w)
				w.settled(t, 2)
				var fee []togaisim.Line
				if err := json.Unmarshal([]byte(`[{"description": "Fee", "type": "FIXED_FEE_RATE_CARD_AMOUNT", "value": 49}]`), &fee); err != nil {
					t.Fatal(err)
				}
				if _, err := w.togai.Invoice(togaisim.NewInvoice{AccountID: "grace", Lines: fee}); err != nil {
					t.Fatal(err)
				}
				pay := func() {
					w.settled(t, 3)
					if err := w.stripe.First().PayHosted(w.stripe.First().All("invoice")[0]["id"].(string)); err != nil {
						t.Fatal(err)
					}
				}
				paid := at.path == "/payments"
				if paid {
					pay()
				}
				if code := first.wait(t); code != -1 {
					t.Fatalf("the process was not killed: %d", code)
				}
				w.serve(t, "").serving(t)
				if !paid {
					pay()
				}
				w.settled(t, 4)
				invoices, payments := w.stripe.First().All("invoice"), w.togai.Payments()
				if len(invoices) != 1 || len(payments) != 1 || len(w.stripe.First().Mails(invoices[0]["id"].(string))) != 1 || w.togai.Invoices()[0].Status != "PAID" {
					t.Errorf("%d invoices, %d payments, mails %v, %s", len(invoices), len(payments), w.stripe.First().All("mail"), w.togai.Invoices()[0].Status)
				}
			})
		}
	}
}

// yearly makes a customer in Togai for each time of its schedule, of which the last has long passed.
const yearly = `{
	"key": "test.yearly", "name": "Yearly", "trigger": {"app": "scheduler", "key": "schedule.fired", "schedule": {"cron": "0 6 1 1 *", "timeZone": "UTC"}},
	"steps": [{"key": "make", "name": "Make", "app": "togai", "action": "customer.create", "input": {
		"id": "{{ trigger.scheduled_at.replace(':', '-') }}", "name": "Made by the clock", "email": "clock@acme.test"}}]
}`

// TestKilledSchedule kills a process, truly, that has an occurrence of a schedule in hand: while it stores the event, before it
// makes a run of it, and at each point of the run's write. Another one goes on, and the occurrence has come once.
func TestKilledSchedule(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		inside string // where the process kills itself
		stage  string // or where the simulator has it killed
		table  string // or it is killed while it waits to write to this one
	}{
		"storing": {table: "event_bodies"}, "dispatching": {table: "event_outcomes"},
		"before send": {inside: beforeSend}, "sent": {stage: sim.Arrived}, "sent, done": {stage: sim.Replying}, "after reply": {inside: afterReply},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, kill := newWorld(t), ""
			w.connectScheduler(t)
			if err := db.ShipFlow(t.Context(), w.DB, db.Flow{OrgID: w.org, Key: "test.yearly", Kind: "CUSTOM", Direction: "INBOUND", Name: "Yearly"}, json.RawMessage(yearly), []byte(yearly)); err != nil {
				t.Fatal(err)
			}
			w.enable(t, "test.yearly")
			if x.inside != "" {
				kill = x.inside + " POST /customers"
			}
			first := w.serve(t, kill)
			first.serving(t)
			if x.stage != "" {
				kills(w.togai.Core, first, x.stage, http.MethodPost, "/customers")
			}
			due := func() {
				if _, err := w.NewRaw("UPDATE flow_links SET next_run_at = '2026-01-01T06:00:00Z', schedule_due_at = '2026-01-01T06:00:00Z' WHERE schedule_due_at IS NOT NULL").Exec(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if x.table == "" {
				due()
			} else if err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
				if _, err := tx.NewRaw("LOCK TABLE " + x.table + " IN SHARE MODE").Exec(ctx); err != nil {
					return err
				}
				due()
				w.until(t, "a process that waits for the table", "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = ?::regclass", x.table)
				return first.cmd.Process.Kill()
			}); err != nil {
				t.Fatal(err)
			}
			if code := first.wait(t); code != -1 {
				t.Fatalf("the process was not killed: %d", code)
			}
			w.serve(t, "")
			w.settled(t, 3) // what is made in Togai goes on to Stripe, whose echo makes nothing
			var came struct{ Events, Runs, Ahead int }
			if err := w.NewRaw(`SELECT (SELECT count(*) FROM events WHERE source = 'SCHEDULE') AS events, (SELECT count(*) FROM runs WHERE source = 'SCHEDULE') AS runs,
				(SELECT count(*) FROM flow_links WHERE schedule_due_at > now()) AS ahead`).Scan(t.Context(), &came); err != nil {
				t.Fatal(err)
			}
			if came.Events != 1 || came.Runs != 1 || came.Ahead != 1 || len(w.togai.Customers()) != 1 || len(w.stripe.First().Customers()) != 1 {
				t.Errorf("%+v, %d customers in Togai, %d in Stripe", came, len(w.togai.Customers()), len(w.stripe.First().Customers()))
			}
		})
	}
}

func (w *world) connectScheduler(t *testing.T) {
	t.Helper()
	name := "Clock"
	c, err := w.engine.Connect(t.Context(), w.org, flow.ConnectionInput{App: "scheduler", Name: &name, Credentials: map[string]string{"mode": "test"}}, func(context.Context, db.Tx, db.ID) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	w.conns["scheduler"] = c.ID
}

// until waits for what the database says, and no run's change tells of.
func (w *world) until(t *testing.T, what, query string, args ...any) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		var is bool
		if err := w.NewRaw(query, args...).Scan(t.Context(), &is); err != nil {
			t.Fatal(err)
		}
		if is {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func togaiOf(w *world) *sim.Core  { return w.togai.Core }
func stripeOf(w *world) *sim.Core { return w.stripe.Core }

func customerInStripe(t *testing.T, w *world) {
	t.Helper()
	if _, err := w.stripe.First().CreateCustomer(map[string]any{"name": "Ada Lovelace", "email": "ada@example.com"}); err != nil {
		t.Fatal(err)
	}
}

func accountInTogai(t *testing.T, w *world) {
	t.Helper()
	if _, err := w.togai.CreateAccount(map[string]any{"id": "grace", "name": "Grace Hopper", "primaryEmail": "grace@example.com"}); err != nil {
		t.Fatal(err)
	}
}

// whole checks from outside that there is one of everything, each naming the other, and one mapping of all three.
func (w *world) whole(t *testing.T) {
	t.Helper()
	a, g, s := w.togai.Accounts(), w.togai.Customers(), w.stripe.First().Customers()
	if len(a) != 1 || len(g) != 1 || len(s) != 1 {
		t.Fatalf("%d accounts, %d customers in Togai, %d in Stripe", len(a), len(g), len(s))
	}
	if meta, _ := s[0]["metadata"].(map[string]any); meta["togai_account_id"] != a[0].ID {
		t.Errorf("the customer in Stripe names account %v, not %s", meta["togai_account_id"], a[0].ID)
	}
	named := slices.ContainsFunc(w.togai.Settings(), func(x togaisim.Setting) bool { return x.Value == s[0]["id"] })
	if !named {
		t.Errorf("no setting in Togai names %v", s[0]["id"])
	}
	var mappings, slots int
	if err := w.NewRaw("SELECT count(DISTINCT mapping_id), count(external_id) FROM mapping_slots").Scan(t.Context(), &mappings, &slots); err != nil || mappings != 1 || slots != 3 {
		t.Errorf("%d mappings with %d ids (%v)", mappings, slots, err)
	}
}

// TestStop asks a process to end that has a subscriber and a call in the air: the one is told to come back, the other
// is let finish.
func TestStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.serve(t, "")
	at := c.serving(t)
	w.togai.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: sim.Slow, Delay: time.Second})
	calling := make(chan struct{})
	var once sync.Once
	w.togai.OnRequest(func(_, method, path string) {
		if method == http.MethodPost && path == "/customers" {
			once.Do(func() { close(calling) })
		}
	})
	conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(at, "http")+"/graphql", &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	for _, m := range []map[string]any{
		{"type": "connection_init", "payload": map[string]string{"Authorization": "Bearer " + w.token}},
		{"type": "subscribe", "id": "1", "payload": map[string]string{"query": "subscription { runUpdates { change { state } } }"}},
	} {
		if err := wsjson.Write(t.Context(), conn, m); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at+"/graphql?query="+url.QueryEscape("subscription { runUpdates { change { state } } }"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+w.token)
	events, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	if _, err := w.stripe.First().CreateCustomer(map[string]any{"name": "Ada Lovelace", "email": "ada@example.com"}); err != nil {
		t.Fatal(err)
	}
	<-calling
	stream := bufio.NewReader(events.Body)
	for line := ""; line != "event: next\n"; { // it follows, and is told
		if line, err = stream.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	for said := ""; !strings.Contains(said, `"type":"next"`); {
		_, text, err := conn.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		said = string(text)
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	for err = nil; err == nil; {
		_, _, err = conn.Read(t.Context())
	}
	if got := websocket.CloseStatus(err); got != websocket.StatusServiceRestart {
		t.Errorf("the subscriber was told %d: %v", got, err)
	}
	if text, err := io.ReadAll(stream); err != nil || strings.Contains(string(text), "complete") {
		t.Errorf("the subscriber by events was told %q: %v", text, err)
	}
	if code := c.wait(t); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	var settled string
	if err := w.NewRaw("SELECT state FROM effects WHERE kind = 'CREATE' AND entity = 'customer'").Scan(t.Context(), &settled); err != nil || settled != flow.EffectConfirmed {
		t.Errorf("the call in the air is %s (%v)", settled, err)
	}
}

// told is what a subscriber gets, and what the table says, of one change.
type told struct {
	Run, State, Step, StepState string
	Version                     int64
}

// TestTwoOfEach has two processes with the API and two workers, two hundred customers, and subscribers that are cut
// again and again, also by kill -9 of who serves them, and go on at whichever process: the log of each is the table.
func TestTwoOfEach(t *testing.T) {
	t.Parallel()
	const customers, kills = 200, 4
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	w := newWorld(t)
	addrs := []string{w.addr, sim.FreeAddr(t)}
	var api [2]*child
	for i := range api {
		api[i] = w.serve(t, "", "--roles=api", "--addr="+addrs[i])
		api[i].serving(t)
		w.serve(t, "", "--roles=worker", "--addr=127.0.0.1:0").serving(t)
	}
	var start struct {
		Data struct{ Runs struct{ FeedCursor string } }
	}
	ask(t, "http://"+addrs[0]+"/graphql", w.token, "{ runs(first: 1) { feedCursor } }", nil, &start)

	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	followers := []*follower{{open: socketUpdates}, {open: eventUpdates}}
	var following sync.WaitGroup
	for i, f := range followers {
		f.dice, f.cursor, f.grown = mathrand.New(mathrand.NewPCG(seed, uint64(i))), start.Data.Runs.FeedCursor, make(chan struct{}, 1)
		following.Go(func() { f.follow(ctx, addrs, w.token) })
	}
	defer following.Wait()
	defer cancel()

	made := make(chan error, 1)
	go func() {
		for i := range customers {
			if _, err := w.stripe.First().CreateCustomer(map[string]any{"name": fmt.Sprint("Customer ", i), "email": fmt.Sprintf("c%d@example.com", i)}); err != nil {
				made <- err
				return
			}
		}
		made <- nil
	}()
	dice := mathrand.New(mathrand.NewPCG(seed, uint64(len(followers))))
	for n := range kills {
		for followers[n%2].seen() < (n+1)*customers/2 {
			select {
			case <-followers[n%2].grown:
			case <-ctx.Done():
				t.Fatalf("a subscriber has %d changes", followers[n%2].seen())
			}
		}
		i := dice.IntN(len(api))
		_ = api[i].cmd.Process.Kill()
		<-api[i].done
		api[i] = w.serve(t, "", "--roles=api", "--addr="+addrs[i])
		api[i].serving(t)
	}
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	w.settled(t, 2*customers)
	var table []told
	for numbered := false; !numbered; {
		err := w.NewRaw("SELECT NOT EXISTS (SELECT FROM changes WHERE pos IS NULL)").Scan(t.Context(), &numbered)
		if err != nil {
			t.Fatal(err)
		}
		if !numbered {
			select {
			case <-followers[0].grown:
			case <-ctx.Done():
				t.Fatal("changes are not numbered")
			}
		}
	}
	var rows []db.Change
	if err := w.NewSelect().Model(&rows).Where("org_id = ?", w.org).OrderExpr("pos").Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range rows {
		table = append(table, told{db.FormatID("run", c.RunID), c.State, c.Step, c.StepState, c.Version})
	}
	for i, f := range followers {
		for f.seen() < len(table) {
			select {
			case <-f.grown:
			case <-ctx.Done():
				t.Fatalf("subscriber %d has %d of %d changes: %v", i, f.seen(), len(table), f.err)
			}
		}
	}
	cancel()
	following.Wait()
	for i, f := range followers {
		if !slices.Equal(f.log, table) {
			t.Errorf("the log of subscriber %d, of %d, is not the table, of %d", i, len(f.log), len(table))
		}
		t.Logf("subscriber %d: %d changes over %d connections", i, len(f.log), f.cuts)
	}
}

// follower is a subscriber that is cut at random, and goes on from its last cursor.
type follower struct {
	open   func(ctx context.Context, addr, token, cursor string) (next func() ([]byte, error), cut func(), err error)
	dice   *mathrand.Rand
	cursor string
	grown  chan struct{} // a token when the log has
	cuts   int
	err    error

	mu  sync.Mutex
	log []told
}

func (f *follower) seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.log)
}

func (f *follower) follow(ctx context.Context, addrs []string, token string) {
	for ctx.Err() == nil {
		next, cut, err := f.open(ctx, addrs[f.dice.IntN(len(addrs))], token, f.cursor)
		if err != nil { // that process is being restarted
			continue
		}
		f.cuts++
		for left := 1 + f.dice.IntN(80); left > 0 && err == nil; left-- {
			var text []byte
			if text, err = next(); err == nil {
				err = f.note(text)
			}
		}
		if f.err = err; ctx.Err() == nil {
			cut()
		}
	}
}

func (f *follower) note(text []byte) error {
	var m struct {
		Data *struct {
			U struct {
				Cursor string
				Change struct {
					Version         int64
					State           string
					Step, StepState *string
				}
				Run struct{ ID string }
			}
		}
	}
	if err := json.Unmarshal(text, &m); err != nil || m.Data == nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	c, or := m.Data.U.Change, func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	f.mu.Lock()
	f.log = append(f.log, told{m.Data.U.Run.ID, c.State, or(c.Step), or(c.StepState), c.Version})
	f.mu.Unlock()
	f.cursor = m.Data.U.Cursor
	select {
	case f.grown <- struct{}{}:
	default:
	}
	return nil
}

const updates = "subscription ($after: String) { u: runUpdates(after: $after) { cursor change { version state step stepState } run { id } } }"

func subscription(cursor string) map[string]any {
	return map[string]any{"query": updates, "variables": map[string]string{"after": cursor}}
}

func socketUpdates(ctx context.Context, addr, token, cursor string) (func() ([]byte, error), func(), error) {
	conn, _, err := websocket.Dial(ctx, "ws://"+addr+"/graphql", &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		return nil, nil, err
	}
	for _, m := range []map[string]any{
		{"type": "connection_init", "payload": map[string]string{"Authorization": "Bearer " + token}},
		{"type": "subscribe", "id": "1", "payload": subscription(cursor)},
	} {
		if err := wsjson.Write(ctx, conn, m); err != nil {
			conn.CloseNow()
			return nil, nil, err
		}
	}
	return func() ([]byte, error) {
		for {
			var m struct {
				Type    string
				Payload json.RawMessage
			}
			err := wsjson.Read(ctx, conn, &m)
			if err != nil || m.Type == "next" {
				return m.Payload, err
			}
		}
	}, func() { conn.CloseNow() }, nil
}

func eventUpdates(ctx context.Context, addr, token, cursor string) (func() ([]byte, error), func(), error) {
	body, err := json.Marshal(subscription(cursor))
	if err != nil {
		return nil, nil, err
	}
	ctx, cut := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/graphql", bytes.NewReader(body))
	if err != nil {
		cut()
		return nil, nil, err
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "Accept": "text/event-stream", "Authorization": "Bearer " + token} {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		cut()
		return nil, nil, err
	}
	lines := bufio.NewReader(res.Body)
	return func() ([]byte, error) {
		for {
			line, err := lines.ReadBytes('\n')
			if text, ok := bytes.CutPrefix(line, []byte("data: ")); ok || err != nil {
				return text, err
			}
		}
	}, cut, nil
}

// TestStopUnderLoad asks a process to end that is never without a request.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	const budget = 10 * time.Second
	env := []string{"DATABASE_URL=" + dbtest.URL(t), keysSetting + "=" + seal.Generate(), "TIELINE_STOP_WITHIN=" + budget.String()}
	made := spawn(t, env, "token", "create", "--organization", "Acme", "--new")
	if code := made.wait(t); code != 0 {
		t.Fatalf("token create ended with %d", code)
	}
	c := spawn(t, env, "serve")
	at := c.serving(t)
	const clients = 16
	busy := make(chan struct{}, clients)
	for range clients {
		go func() {
			for n := 0; ; n++ {
				req, _ := http.NewRequest(http.MethodPost, at+"/graphql", io.MultiReader(&slow{50 * time.Millisecond}, strings.NewReader(`{"query": "{ viewer { scopes } }"}`)))
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(made.out.String()))
				res, err := http.DefaultClient.Do(req)
				if err != nil { // it has stopped
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if n == 0 {
					busy <- struct{}{}
				}
			}
		}()
	}
	for range clients {
		select {
		case <-busy:
		case <-time.After(patience):
			t.Fatal("a client has no answer")
		}
	}
	begun := time.Now()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	if code, took := c.wait(t), time.Since(begun); code != 0 || took > budget {
		t.Errorf("it ended with %d after %s", code, took)
	}
}

// slow is an empty body that takes its time.
type slow struct{ left time.Duration }

func (s *slow) Read([]byte) (int, error) {
	<-time.After(s.left)
	return 0, io.EOF
}

// TestStopShares has every stage use up what it gets: the next one has time all the same.
func TestStopShares(t *testing.T) {
	t.Parallel()
	p := &process{config: config{stopWithin: 200 * time.Millisecond}}
	stages := []float64{1, workBy, requestsBy, socketsBy}
	hung := 0
	for _, by := range stages {
		p.onStopBy(by, func(ctx context.Context) error {
			if ctx.Err() == nil {
				hung++
			}
			<-ctx.Done()
			return nil
		})
	}
	if err := p.stop(t.Context()); err != nil || hung != len(stages) {
		t.Errorf("%d of %d stages had time (%v)", hung, len(stages), err)
	}
	if guaranteed := workBy - requestsBy; cutWorkOff >= guaranteed {
		t.Errorf("work is cut off after %v of the time and may have only %v", cutWorkOff, guaranteed)
	}
}

// TestStopAtOnce asks twice.
func TestStopAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.serve(t, "")
	c.serving(t)
	w.togai.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: sim.Slow, Delay: 15 * time.Second})
	calling := make(chan struct{})
	w.togai.OnRequest(func(stage, method, path string) {
		if stage == sim.Arrived && method == http.MethodPost && path == "/customers" {
			close(calling)
		}
	})
	if _, err := w.stripe.First().CreateCustomer(map[string]any{"name": "Ada Lovelace", "email": "ada@example.com"}); err != nil {
		t.Fatal(err)
	}
	<-calling
	begun := time.Now()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	c.says(t, `"msg":"stopping"`)
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	if code := c.wait(t); code != 1 || time.Since(begun) > 5*time.Second {
		t.Errorf("it ended with %d after %s", code, time.Since(begun))
	}
}

// TestOperators: their address tells how things stand, and the public one tells nothing of it.
func TestOperators(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.serve(t, "")
	front := c.serving(t)
	ops := "http://" + c.says(t, `"ops_addr":"([^"]+)"`)[1]
	customerInStripe(t, w)
	w.settled(t, 2)
	for _, app := range []string{"stripe", "evil_0123456789"} {
		res, err := http.Post(front+"/webhooks/"+app+"/nobody", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	for path, want := range map[string]int{"/metrics": 200, "/jobs": 200, "/jobs/api/states": 200, "/jobs/api/queues": 200, "/debug/pprof/": 200, "/healthz": 200, "/graphql": 404} {
		if got := status(t, ops+path); got != want {
			t.Errorf("operators get %d for %s, want %d", got, path, want)
		}
		if got := status(t, front+path); want == 200 && path != "/healthz" && got != 404 {
			t.Errorf("everybody gets %d for %s", got, path)
		}
	}
	req, _ := http.NewRequest(http.MethodPost, ops+"/jobs/api/jobs/delete", strings.NewReader(`{"ids": ["1"]}`))
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("another site's page gets %s", res.Status)
	}
	res, err = http.Get(ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`tieline_webhooks_total{answer="taken",app="stripe"} `, `tieline_webhooks_total{answer="not_found",app="stripe"} 1`, `tieline_webhooks_total{answer="not_found",app="unknown"} 1`,
		`tieline_runs_ended_total{state="succeeded"} 1`, `tieline_runs_ended_total{state="suppressed"} 1`, `tieline_vendor_call_seconds_count{app="togai",status="201"} `,
		"tieline_database_up 1", `tieline_connections{app="stripe",state="active"} 1`, "tieline_feed_subscribers 0", "tieline_feed_position ", "tieline_feed_unnumbered ",
		"tieline_run_overdue_seconds ", "tieline_events_waiting 0", `tieline_database_pool{state="max"} `, "go_goroutines ",
	} {
		if !bytes.Contains(text, []byte("\n"+want)) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^tieline_\w+\{(.*)\} `).FindAllSubmatch(text, -1) {
		for _, l := range regexp.MustCompile(`="([^"]*)"`).FindAllSubmatch(m[1], -1) {
			if v := string(l[1]); len(v) > 12 || strings.Contains(v, "evil") {
				t.Errorf("%s: %q is no label from a short list", m[0], v)
			}
		}
	}
}

// TestPeople: who signed in at the provider does what the token's scopes say, and no longer than it lasts.
func TestPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	provider := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: key.Public(), KeyID: "k1", Algorithm: oidc.ES256}}, Algorithms: []string{oidc.ES256}}
	web := httptest.NewServer(provider)
	t.Cleanup(web.Close)
	provider.SetIssuer(web.URL)
	token := func(lasts time.Duration) string {
		return oidctest.SignIDToken(key, "k1", oidc.ES256, fmt.Sprintf(`{"iss": %q, "aud": "tieline", "sub": "ada", "email": "ada@example.com", "exp": %d, "tieline_org": %q, "scope": "tieline:admin"}`,
			web.URL, time.Now().Add(lasts).Unix(), db.FormatID("org", w.org)))
	}
	serve := func(issuer string) string {
		return spawn(t, []string{"DATABASE_URL=" + w.url, keysSetting + "=" + w.keys, "TIELINE_OIDC_ISSUER=" + issuer, "TIELINE_OIDC_AUDIENCE=tieline"}, "serve", "--roles=api").serving(t)
	}
	at := serve(web.URL)
	var page struct {
		Data struct {
			Viewer struct {
				Scopes []string
				Token  *struct{ ID string }
			}
			CreateAPIToken struct {
				APIToken struct{ ID string }
			}
		}
	}
	ask(t, at+"/graphql", token(time.Hour), "{ viewer { scopes token { id } } }", nil, &page)
	if v := page.Data.Viewer; !slices.Equal(v.Scopes, []string{"ADMIN"}) || v.Token != nil {
		t.Errorf("%+v", v)
	}
	var made []string
	for range 2 {
		ask(t, at+"/graphql", token(time.Hour), `mutation { createApiToken(input: {name: "ci", scopes: [READ], idempotencyKey: "once"}) { apiToken { id } } }`, nil, &page)
		made = append(made, page.Data.CreateAPIToken.APIToken.ID)
	}
	if made[0] == "" || made[0] != made[1] {
		t.Errorf("asked twice it made %v", made)
	}
	var actor string
	if err := w.NewRaw("SELECT actor FROM audit_log WHERE object_id = ? LIMIT 1", made[0]).Scan(t.Context(), &actor); err != nil || actor != "ada@example.com" {
		t.Errorf("the audit log names %q (%v)", actor, err)
	}
	ask(t, at+"/graphql", w.token, "{ viewer { token { id } } }", nil, &page)
	if page.Data.Viewer.Token == nil {
		t.Error("our own tokens are gone")
	}

	conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(at, "http")+"/graphql", &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	begun := time.Now()
	if err := wsjson.Write(t.Context(), conn, map[string]any{"type": "connection_init", "payload": map[string]string{"authorization": "Bearer " + token(3*time.Second)}}); err != nil {
		t.Fatal(err)
	}
	var told []string
	for err == nil {
		var text []byte
		_, text, err = conn.Read(t.Context())
		told = append(told, string(text))
	}
	if got := websocket.CloseStatus(err); got != 4401 || !strings.Contains(told[0], "connection_ack") || time.Since(begun) > 20*time.Second {
		t.Errorf("a socket whose token ends was told %q and %d: %v", told, got, err)
	}

	req, _ := http.NewRequest(http.MethodPost, serve("http://"+sim.FreeAddr(t))+"/graphql", strings.NewReader(`{"query": "{ viewer { scopes } }"}`))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token(time.Hour))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "UNAVAILABLE") {
		t.Errorf("with the provider away: %s: %s", res.Status, text)
	}
}

// TestRoles splits the work: one process takes webhooks and adds jobs, the other works them.
func TestRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	api := w.serve(t, "", "--roles=api")
	api.serving(t)
	if _, err := w.stripe.First().CreateCustomer(map[string]any{"name": "Ada Lovelace", "email": "ada@example.com"}); err != nil {
		t.Fatal(err)
	}
	if err := w.stripe.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	var events, runs int
	if err := w.NewRaw("SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM runs)").Scan(t.Context(), &events, &runs); err != nil || events != 1 || runs != 0 {
		t.Errorf("%d events, %d runs (%v)", events, runs, err)
	}
	worker := w.serve(t, "", "--roles=worker", "--addr=127.0.0.1:0")
	if got := status(t, worker.serving(t)+"/graphql"); got != http.StatusNotFound {
		t.Errorf("a worker answers the API: %d", got)
	}
	w.settled(t, 2)
}

// house is which of our packages each may import; a test file may besides import dbtest, conntest and simulators.
// A name that ends in * stands for every app.
var house = map[string][]string{
	"graph":               {"graph/generated", "graph/model", "graph/auth", "jobs/flow", "connectors", "connectors/oauth", "db", "leaves"},
	"graph/auth":          {"jobs/flow", "connectors", "connectors/oauth", "db", "leaves"},
	"graph/model":         {"graph/auth", "jobs/flow", "connectors", "connectors/oauth", "db", "leaves"},
	"graph/generated":     {"graph/model", "graph/auth", "jobs/flow", "connectors", "connectors/oauth", "db", "leaves"},
	"graph/demo":          {},
	"graph/examples/go":   {},
	"graph/graphiql":      {},
	"jobs/intake":         {"jobs", "jobs/flow", "connectors", "db", "leaves"},
	"jobs":                {"jobs/flow", "connectors", "connectors/oauth", "db", "leaves"},
	"jobs/flow":           {"jobs/flow/expr", "connectors", "connectors/schema", "connectors/oauth", "db", "leaves"},
	"connectors":          {"connectors/schema", "connectors/oauth"},
	"connectors/catalog":  {"connectors", "connectors/*"},
	"connectors/conntest": {"connectors"},
	"connectors/*":        {"connectors", "connectors/schema", "connectors/oauth"},
	"connectors/*/*sim":   {"connectors/sim"},
	"db":                  {"leaves"},
	"db/dbtest":           {"db", "db/embedded", "db/migrations"},
}

var leaves = []string{"db/migrations", "db/seal", "db/notify", "db/embedded", "db/dbtest", "connectors/schema", "connectors/oauth", "connectors/sim", "jobs/flow/expr"}

func TestHouse(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name, inside := strings.CutPrefix(p.ImportPath, "tieline/")
		if !inside { // server.go
			continue
		}
		may, known := allowed(name)
		if !known {
			t.Errorf("%s is not in the house", name)
		}
		for _, i := range p.Imports {
			if i, ours := strings.CutPrefix(i, "tieline/"); ours && !slices.ContainsFunc(may, func(m string) bool { return fits(m, i) }) {
				t.Errorf("%s imports %s", name, i)
			}
		}
	}
	if may, _ := allowed("connectors/stripe"); slices.ContainsFunc(may, func(m string) bool {
		return fits(m, "db") || fits(m, "connectors/togai") || fits(m, "connectors/stripe/stripesim")
	}) {
		t.Error("the table lets an app do as it likes")
	}
}

// allowed is what a package may import: its own line of the table, a leaf's none, or that of its kind.
func allowed(name string) ([]string, bool) {
	may, ok := house[name]
	if !ok && !slices.Contains(leaves, name) {
		for kind, list := range house {
			if strings.Contains(kind, "*") && fits(kind, name) {
				may, ok = list, true
			}
		}
	}
	return may, ok || slices.Contains(leaves, name)
}

// fits reports whether a package is meant by an entry of the table. An app is never a package of another name there.
func fits(entry, name string) bool {
	if entry == "leaves" { // of db
		return slices.Contains([]string{"db/migrations", "db/seal", "db/notify", "db/embedded"}, name)
	}
	ok, _ := path.Match(entry, name)
	_, named := house[name]
	return ok && (entry == name || !named && !slices.Contains(leaves, name))
}

// TestContainers: what the image and compose.yaml say is what this program understands, and README.md tells of all of it.
func TestContainers(t *testing.T) {
	t.Parallel()
	var c commands
	parser := kong.Must(&c, kong.Name("tieline"), kong.BindTo(t.Context(), (*context.Context)(nil)))
	known := []string{keysSetting}
	for _, f := range parser.Model.Flags {
		known = append(known, f.Tag.Get("setting"))
	}
	image, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`TIELINE_[A-Z_]+`).FindAllString(string(image), -1)
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Command     []string
			Environment map[string]string
			DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
			Ports       []string
		}
		Volumes map[string]any
	}
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	for name, s := range compose.Services {
		for on := range s.DependsOn {
			if _, ok := compose.Services[on]; !ok {
				t.Errorf("%s depends on %s, which is not there", name, on)
			}
		}
		if name == "postgres" {
			continue
		}
		if _, err := parser.Parse(s.Command); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for setting := range s.Environment {
			named = append(named, setting)
		}
		if s.Environment["DATABASE_URL"] == "" || s.Environment[keysSetting] == "" || len(s.DependsOn) != 1 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	for _, must := range []string{"postgres", "migrate", "api", "worker"} {
		if _, ok := compose.Services[must]; !ok {
			t.Errorf("there is no service %s", must)
		}
	}
	for _, setting := range named {
		if !slices.Contains(known, setting) {
			t.Errorf("%s is no setting", setting)
		}
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range known {
		if setting != "" && !bytes.Contains(readme, []byte("`"+setting+"`")) {
			t.Errorf("README.md does not tell of %s", setting)
		}
	}
	if got := compose.Services["api"].Ports; len(got) != 2 || got[1] != "127.0.0.1:8081:8081" {
		t.Errorf("ports %v: everybody may reach what is for operators", got)
	}
	if !regexp.MustCompile(`(?m)^FROM golang:` + strings.Join(strings.Split(strings.TrimPrefix(runtime.Version(), "go"), ".")[:2], `\.`) + `-`).Match(image) {
		t.Errorf("the image is built with another Go than %s", runtime.Version())
	}
}

// topLevel is fixed: who looks for something finds the same few names in every checkout.
var topLevel = []string{
	"schema", "graph", "jobs", "connectors", "db", "server.go", "gqlgen.yml", "go.mod", "go.sum", "README.md",
	"server_test.go", "LICENSE", "CHANGELOG.md", "Dockerfile", "compose.yaml",
}

func TestTopLevel(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || slices.Contains(topLevel, e.Name()) {
			continue
		}
		if ignored := exec.CommandContext(t.Context(), "git", "check-ignore", "-q", e.Name()).Run() == nil; !ignored {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
}

// BenchmarkServe measures a process with the API and a worker over a migrated database: how long it takes from its start
// to its first answer, and what memory it has resident five seconds later, and at most while 16 clients read the apps and
// flows of the organization 5,000 times.
//
//	go test . -run '^$' -bench Serve -benchtime 1x -count 5
func BenchmarkServe(b *testing.B) {
	const document = `{ apps { nodes { key name triggers { key schema } actions { key inputSchema outputSchema } } } flows { nodes { name steps { key } paramsSchema } } }`
	url, keys := dbtest.Durable(b), seal.Generate()
	var token bytes.Buffer
	if code := run(b.Context(), []string{"token", "create", "--organization", "Acme", "--new", "--scopes", "admin"}, []string{"DATABASE_URL=" + url}, &token, b.Output()); code != 0 {
		b.Fatalf("token create ended with %d", code)
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		begun := time.Now()
		c := exec.Command(self, "serve")
		c.Env = []string{asProcess + "=1", "TIELINE_ADDR=127.0.0.1:0", "TIELINE_OPS_ADDR=127.0.0.1:0", "DATABASE_URL=" + url, keysSetting + "=" + keys, "HOME=" + os.Getenv("HOME")}
		said, err := c.StderrPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		api := ""
		lines := bufio.NewScanner(said)
		for api == "" && lines.Scan() {
			if m := regexp.MustCompile(`"msg":"serving","addr":"([^"]+)"`).FindStringSubmatch(lines.Text()); m != nil {
				api = "http://" + m[1] + "/graphql"
			}
		}
		go func() { _, _ = io.Copy(io.Discard, said) }()
		body, err := json.Marshal(map[string]string{"query": document})
		if err != nil {
			b.Fatal(err)
		}
		read := func() {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, api, bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token.String()))
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			defer res.Body.Close()
			if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || bytes.Contains(text, []byte(`"errors"`)) {
				b.Errorf("%s %.300s (%v)", res.Status, text, err)
			}
		}
		read()
		b.ReportMetric(time.Since(begun).Seconds()*1e3, "start-ms")
		time.Sleep(5 * time.Second) // what is measured is a process at rest
		b.ReportMetric(resident(b, c.Process.Pid, "VmRSS"), "idle-MB")
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", c.Process.Pid), []byte("5"), 0); err != nil { // VmHWM starts anew
			b.Fatal(err)
		}
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 5000 / 16 {
					read()
				}
			})
		}
		all.Wait()
		b.ReportMetric(resident(b, c.Process.Pid, "VmHWM"), "load-MB")
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			b.Error(err)
		}
	}
}

// resident reads a measure of a process's memory, in megabytes.
func resident(b *testing.B, pid int, measure string) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	m := regexp.MustCompile(measure + `:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		b.Fatalf("no %s in %s", measure, text)
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kb) / 1024
}
