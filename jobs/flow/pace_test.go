package flow_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/sim"
	"tieline/connectors/zuora/zuorasim"
	"tieline/jobs/flow"
)

// TestQuiet: when a vendor asks for quiet, nobody calls the account until then; when it means only calls like the one that
// it refused, others go on.
func TestQuiet(t *testing.T) {
	t.Parallel()
	const quiet = 4 * time.Second
	for name, c := range map[string]struct {
		code string
		part bool
		most int // calls to make a customer within the quiet
	}{
		"the account": {most: 0}, "what has no part": {code: "lock_timeout", most: 5}, "an endpoint": {code: "endpoint-rate", part: true, most: 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.tuned(func(a *connectors.Connector) {
				if a.Key == "stripe" {
					a.Rate = func(connectors.Mode) connectors.Rate {
						r := connectors.Rate{PerSecond: 1000, Burst: 100}
						if c.part {
							r.Part = func(method, path string) (connectors.Part, bool) {
								return connectors.Part{Name: method + path, PerSecond: 100, Burst: 10}, method == "POST" && path == "/v1/customers"
							}
						}
						return r
					}
				}
			})
			w.link("stripe.accounts_out", nil)
			w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/customers", Point: sim.RateLimit, Code: c.code, RetryAfter: quiet})
			w.account("first")
			w.read()
			w.work()
			w.until("a refusal", "SELECT count(*) = 1 FROM runs WHERE waiting_reason = 'RATE'")
			asked := time.Now()
			for i := range 5 {
				w.account(fmt.Sprintf("acme%d", i))
			}
			w.read()
			w.settled(6)
			w.whole(6)
			early, others := 0, 0
			for _, r := range w.stripe.Requests() {
				switch d := r.At.Sub(asked); {
				case d < 0 || d > quiet-200*time.Millisecond:
				case r.Method == "POST" && r.Path == "/v1/customers":
					early++
				default:
					others++
				}
			}
			if early != c.most {
				t.Errorf("%d calls like the one refused in the time of quiet, want %d", early, c.most)
			}
			if c.code == "" && others > 0 {
				t.Errorf("%d other calls in the time of quiet", others)
			}
		})
	}
}

// TestParallel: no more calls are in the air at a vendor than it allows, from two engines, and leases come back in time.
func TestParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const most = 2
	w.tuned(func(a *connectors.Connector) {
		if a.Key == "togai" {
			a.Rate = func(connectors.Mode) connectors.Rate {
				return connectors.Rate{PerSecond: 1000, Burst: 100, Parallel: most}
			}
		}
	})
	w.link("stripe.customers_in", nil)
	var mu sync.Mutex
	inAir, peak := 0, 0
	w.togai.OnRequest(func(stage, _, _ string) {
		mu.Lock()
		defer mu.Unlock()
		switch stage {
		case sim.Arrived:
			inAir++
			peak = max(peak, inAir)
		case sim.Replying:
			inAir--
		}
	})
	w.togai.Fault(sim.Fault{Point: sim.SlowAfter, Delay: 50 * time.Millisecond, Count: -1})
	const n = 12
	for i := range n {
		w.person(fmt.Sprintf("Person %d", i))
	}
	w.until("the events", "SELECT count(*) = 12 FROM events WHERE trigger = 'customer.created'")
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	for range 8 {
		w.workers.Go(func() { w.worker(ctx) })
	}
	t.Cleanup(w.rest)
	w.settled(n)
	w.whole(n)
	if peak > most || peak < most {
		t.Errorf("%d calls were in the air, want %d", peak, most)
	}
	w.until("the leases back", "SELECT bool_and(lease_until = '-infinity') FROM call_leases")
}

// TestEase: an answer that is good and tells that little is left of what the vendor allows lets everybody's next call wait, and
// nobody is refused.
func TestEase(t *testing.T) {
	t.Parallel()
	w, s := zuoraWorld(t)
	ask := func() {
		t.Helper()
		_, err := w.engine.FieldOptions(t.Context(), w.org, w.zuoraConn.ID, flow.OptionQuery{Field: "charge_id", First: 1})
		must(t, err)
	}
	quiet := func() (seconds float64) {
		t.Helper()
		must(t, w.db.NewRaw(`SELECT extract(epoch FROM b.tat - clock_timestamp()) FROM buckets b JOIN vendor_accounts v ON v.id = b.vendor_account_id
			WHERE v.app = 'zuora' AND b.bucket = ''`).Scan(t.Context(), &seconds))
		return seconds
	}
	s.Others(zuorasim.Others{Left: 50000, Reset: time.Minute})
	if ask(); quiet() > 2 {
		t.Errorf("plenty is left, and nobody calls for %.1f s", quiet())
	}
	s.Others(zuorasim.Others{Left: 5, Reset: time.Minute})
	if ask(); quiet() < 8 || quiet() > 12 {
		t.Errorf("the next call waits %.1f s, want about 10", quiet())
	}
}

// TestBulkGivesWay: bulk work leaves a busy account to what people wait for, and has its turn after a while all the same.
func TestBulkGivesWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.engine.Timing.Pause = 200 * time.Millisecond
	w.tuned(func(a *connectors.Connector) {
		if a.Key == "togai" {
			a.Rate = func(connectors.Mode) connectors.Rate { return connectors.Rate{PerSecond: 100, Burst: 1} }
		}
	})
	w.link("stripe.accounts_out", nil)
	w.read()
	calls := w.togai.Count("GET", "/accounts")
	const others = "UPDATE buckets SET tat = greatest(tat, clock_timestamp() + interval '500 milliseconds') WHERE bucket = ''"
	w.exec(others)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() { // as ever more live calls would have it
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				w.exec(others)
			}
		}
	})
	began := time.Now()
	w.read()
	took := time.Since(began)
	close(stop)
	busy.Wait()
	if n := w.togai.Count("GET", "/accounts") - calls; n == 0 || took < 800*time.Millisecond || took > 10*time.Second {
		t.Errorf("%d calls after %s", n, took)
	}
}
