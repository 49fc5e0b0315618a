package jobs

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/catalog"
	"tieline/connectors/sim"
	"tieline/db"
	"tieline/db/seal"
	"tieline/jobs/flow"
)

var importCustomers = flag.Int("import.customers", 2000, "customers that the import's test brings over")

// importWorker is the environment variable that makes the test binary a worker process.
const importWorker = "TEST_IMPORT_WORKER"

func TestMain(m *testing.M) {
	if spec := os.Getenv(importWorker); spec != "" {
		if err := workForImport(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// workerSpec is what a worker process must know.
type workerSpec struct {
	Database, Keys string
	URLs           map[string]string
}

// workForImport works until its input ends, and writes its live heap in bytes, a line each time it grew.
func workForImport(spec string) error {
	var s workerSpec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return err
	}
	keys, err := seal.Parse(s.Keys)
	if err != nil {
		return err
	}
	apps, err := unhurried()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d, err := db.Open(ctx, s.Database, db.MaxConns(12))
	if err != nil {
		return err
	}
	defer d.Close()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	j, err := New(Config{DB: d, Log: log, Door: door{}, SweepEvery: 100 * time.Millisecond, FetchPoll: 50 * time.Millisecond, SoftStop: time.Second, Engine: &flow.Engine{
		DB: d, Apps: apps, Keys: keys, Log: log, URLs: s.URLs, Timing: flow.Timing{Lease: time.Second, Retry: 50 * time.Millisecond, RetryMax: time.Second},
	}})
	if err != nil {
		return err
	}
	if err := j.Start(ctx); err != nil {
		return err
	}
	go func() {
		var most uint64
		for range time.Tick(100 * time.Millisecond) {
			var m runtime.MemStats
			runtime.GC()
			if runtime.ReadMemStats(&m); m.HeapAlloc > most {
				most = m.HeapAlloc
				fmt.Println(most)
			}
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return j.Stop(ctx)
}

// unhurried are the apps with budgets that no test waits for, and calls that are given up soon.
func unhurried() (*connectors.Registry, error) {
	all, err := catalog.New()
	if err != nil {
		return nil, err
	}
	apps := all.Apps()
	for i := range apps {
		if apps[i].BaseURL != nil {
			apps[i].Timeout, apps[i].Settle = 2*time.Second, 50*time.Millisecond
			apps[i].Rate = func(connectors.Mode) connectors.Rate { return connectors.Rate{PerSecond: 100000, Burst: 100000} }
		}
	}
	return connectors.NewRegistry(apps...)
}

// worker is a worker process.
type worker struct {
	*exec.Cmd
	heap atomic.Int64 // the largest it has said to have alive, in bytes
	stop func()
}

func (w *world) worker(t *testing.T, keys string) *worker {
	t.Helper()
	spec, err := json.Marshal(workerSpec{Database: w.url, Keys: keys, URLs: map[string]string{"stripe": w.stripe.URL, "togai": w.togai.URL}})
	if err != nil {
		t.Fatal(err)
	}
	p := &worker{Cmd: exec.Command(os.Args[0])}
	p.Env = append(os.Environ(), importWorker+"="+string(spec))
	p.Stderr = t.Output()
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var n int64
			if _, err := fmt.Sscan(lines.Text(), &n); err == nil {
				p.heap.Store(n)
			}
		}
	}()
	p.stop = sync.OnceFunc(func() { _ = in.Close(); <-read; _ = p.Wait() })
	t.Cleanup(p.stop)
	return p
}

// TestImport brings many customers over. A worker process that is killed in the middle is followed by another, which goes on
// from where the first one was; a second import makes nothing; the heap does not grow with the number of records; and the feed
// is told of progress once a second at most.
func TestImport(t *testing.T) {
	t.Parallel()
	w := open(t)
	keys := seal.Generate()
	var err error
	if w.engine.Keys, err = seal.Parse(keys); err != nil {
		t.Fatal(err)
	}
	n := *importCustomers
	for i := range n {
		if _, err := w.stripe.First().CreateCustomer(map[string]any{"name": fmt.Sprint("Customer ", i), "email": fmt.Sprintf("c%d@example.com", i)}); err != nil {
			t.Fatal(err)
		}
	}
	link := w.importLink(t)

	var made, lists atomic.Int64
	half := make(chan struct{})
	w.togai.OnRequest(func(stage, method, path string) {
		switch {
		case stage == sim.Arrived && method == "GET" && (path == "/customers" || path == "/accounts"):
			lists.Add(1)
		case stage == sim.Committed && method == "POST" && path == "/customers":
			if made.Add(1) == int64(n/2) {
				close(half)
				<-t.Context().Done() // its answer is never given
			}
		}
	})
	began := time.Now()
	first := w.worker(t, keys)
	run := w.begin(t, link)
	select {
	case <-half:
	case <-time.After(5 * time.Minute):
		t.Fatal("it did not get half way")
	}
	early := first.heap.Load()
	if err := first.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Since(began)
	second := w.worker(t, keys)
	got := w.over(t, run)
	t.Logf("%d customers: killed after %s, over after %s; Togai was listed by %d calls; live heaps %d and %d kB", n, killed, time.Since(began), lists.Load(), early>>10, second.heap.Load()>>10)
	want := came{Listed: n, Created: n}
	if got != want || len(w.togai.Customers()) != n || made.Load() != int64(n) {
		t.Errorf("%+v; %d customers in Togai, made by %d calls", got, len(w.togai.Customers()), made.Load())
	}
	for _, c := range w.stripe.First().Customers() {
		if m := c["metadata"].(map[string]any); m["togai_account_id"] != c["id"] {
			t.Fatalf("%s names %v", c["id"], m["togai_account_id"])
		}
	}
	w.progressIsSeldom(t, run)
	if most := max(early, second.heap.Load()); most > 48<<20 {
		t.Errorf("%d kB were alive", most>>10)
	}

	began = time.Now()
	afterFirst := second.heap.Load()
	got = w.over(t, w.begin(t, link))
	t.Logf("again: %s; live heap %d kB", time.Since(began), second.heap.Load()>>10)
	if want := (came{Listed: n, AlreadyLinked: n}); got != want || made.Load() != int64(n) {
		t.Errorf("again: %+v, %d made", got, made.Load())
	}
	if grown := second.heap.Load() - afterFirst; grown > 8<<20 {
		t.Errorf("the heap has grown by %d kB", grown>>10)
	}
	second.stop()
}

type came struct{ Listed, Created, AlreadyLinked, PossibleDuplicates, Failed int }

// importLink connects what the import needs.
func (w *world) importLink(t *testing.T) db.ID {
	t.Helper()
	conns := map[string]db.ID{}
	for app, creds := range map[string]map[string]string{
		"stripe": {"api_key": w.stripe.Key()}, "scheduler": {"mode": "test"},
		"togai": {"environment": "sandbox", "api_token": w.togai.Token(), "organization_id": "acme"},
	} {
		name := app + " for the import"
		c, err := w.engine.Connect(t.Context(), w.org, flow.ConnectionInput{App: app, Name: &name, Credentials: creds}, func(context.Context, db.Tx, db.ID) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		conns[app] = c.ID
	}
	if err := w.engine.Ship(t.Context(), w.org); err != nil {
		t.Fatal(err)
	}
	var link db.FlowLink
	if err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		var f db.Flow
		err := tx.NewSelect().Model(&f).Where("org_id = ? AND key = 'stripe.customers_import'", w.org).Scan(ctx)
		if err == nil {
			link, err = w.engine.CreateLink(ctx, tx, w.org, flow.LinkInput{FlowID: f.ID, Name: "import", Connections: map[string]db.ID{
				flow.TriggerSlot: conns["scheduler"], "list": conns["stripe"], "account": conns["togai"], "setting": conns["togai"], "note": conns["stripe"],
			}})
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return link.ID
}

// begin triggers the import and answers its run.
func (w *world) begin(t *testing.T, link db.ID) db.ID {
	t.Helper()
	var ev db.Event
	if err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		ev, err = w.engine.TriggerNow(ctx, tx, w.org, link, []byte(`{}`))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for late := time.After(time.Minute); ; {
		var run db.ID
		if err := w.NewRaw("SELECT id FROM runs WHERE event_id = ?", ev.ID).Scan(t.Context(), &run); err == nil {
			return run
		}
		select {
		case <-w.wake:
		case <-late:
			t.Fatal("no run began")
		}
	}
}

// over waits for the end of a run, and answers what it came to.
func (w *world) over(t *testing.T, run db.ID) (c came) {
	t.Helper()
	for late := time.After(10 * time.Minute); ; {
		r, err := db.GetRun(t.Context(), w.DB, w.org, run)
		if err != nil {
			t.Fatal(err)
		}
		if !r.EndedAt.IsZero() {
			if r.State != flow.Succeeded {
				t.Errorf("%s: %s", r.State, r.Error)
			}
			if err := json.Unmarshal(r.Progress, &c); err != nil {
				t.Fatal(err)
			}
			return c
		}
		select {
		case <-w.wake:
		case <-late:
			t.Fatalf("not over: %s %s %s", r.State, r.WaitingReason, r.Progress)
		}
	}
}

// progressIsSeldom looks at what the feed was told of a run.
func (w *world) progressIsSeldom(t *testing.T, run db.ID) {
	t.Helper()
	var told []db.Change
	if err := w.NewSelect().Model(&told).Where("run_id = ?", run).OrderExpr("id").Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	var last time.Time
	var before came
	progress := 0
	for i, c := range told {
		if c.Version != int64(i+1) {
			t.Errorf("change %d is of version %d", i, c.Version)
		}
		if len(c.Progress) == 0 {
			continue
		}
		progress++
		var now came
		if err := json.Unmarshal(c.Progress, &now); err != nil {
			t.Fatal(err)
		}
		if now.Listed < before.Listed || now.Created < before.Created {
			t.Errorf("it went back from %+v to %+v", before, now)
		}
		if gap := c.At.Sub(last); gap < 900*time.Millisecond { // commits take their time, too
			t.Errorf("told again after %s", gap)
		}
		last, before = c.At, now
	}
	if long := told[len(told)-1].At.Sub(told[0].At); long > 10*time.Second && progress == 0 {
		t.Errorf("nothing was told of progress within %s", long)
	}
	t.Logf("%d changes, %d of progress: %s", len(told), progress, strings.TrimSpace(string(told[len(told)-1].Progress)))
}
