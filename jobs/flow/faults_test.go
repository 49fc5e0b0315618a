package flow_test

import (
	"fmt"
	"testing"
	"time"

	"tieline/connectors/sim"
	"tieline/db"
	"tieline/jobs/flow"
)

// TestFaults breaks each write of both flows at each named point. Afterwards there is one counterpart of everything, the
// runs are final, the mapping is whole and no effect is left open.
func TestFaults(t *testing.T) {
	t.Parallel()
	writes := []struct{ flow, app, method, path string }{
		{"customers in", "togai", "POST", "/customers"},
		{"customers in", "stripe", "POST", "/v1/customers/*"},
		{"accounts out", "stripe", "POST", "/v1/customers"},
		{"accounts out", "togai", "POST", "/settings"},
	}
	late := 600 * time.Millisecond // longer than the call may take
	faults := []sim.Fault{
		{Point: "before", Status: 500}, {Point: "before", Status: 503, Count: 3}, {Point: "after_commit", Status: 500},
		{Point: "cut_before"}, {Point: "cut"}, {Point: "cut", Count: 2}, {Point: "slow", Delay: late}, {Point: "slow_after", Delay: late},
		{Point: "hang"}, {Point: "rate_limit", Count: 2}, {Point: "rate_limit", RetryAfter: time.Second}, {Point: "html_502"},
	}
	for _, at := range writes {
		for _, f := range faults {
			f.Method, f.Path = at.method, at.path
			t.Run(fmt.Sprintf("%s/%s %s/%s-%dx%d", at.flow, at.app, at.path, f.Point, f.Status, f.Count), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, hurried)
				w.link("stripe.customers_in", nil)
				w.link("stripe.accounts_out", nil)
				if at.app == "stripe" {
					w.stripe.Fault(f)
				} else {
					w.togai.Fault(f)
				}
				w.work()
				if at.flow == "customers in" {
					_, err := w.stripe.First().CreateCustomer(map[string]any{"name": "Acme", "email": "billing@acme.test"})
					must(t, err)
					w.settled(1)
					w.read()
				} else {
					_, err := w.togai.CreateAccount(map[string]any{"id": "acme", "name": "Acme", "primaryEmail": "billing@acme.test"})
					must(t, err)
					w.read()
				}
				runs := w.settled(2)
				w.whole(1)
				checkEnds(t, w, runs)
			})
		}
	}
}

// checkEnds: what a person did succeeded, and what it brought back was suppressed.
func checkEnds(t *testing.T, w *world, runs []db.Run) {
	t.Helper()
	for i, r := range runs {
		want := flow.Suppressed
		if i == 0 {
			want = flow.Succeeded
		}
		if r.State != want {
			w.dump()
			t.Errorf("run %d is %s (%s), want %s", i, r.State, r.Error, want)
		}
	}
}
