package flow_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tieline/connectors/sim"
	"tieline/db"
	"tieline/jobs/flow"
)

// TestBothFlowsByTwoKeys: both flows on, each linked through two keys of one Stripe account, so that every record is heard
// of twice and its settings are written by two runs at once. Nothing fails and nothing is made twice.
func TestBothFlowsByTwoKeys(t *testing.T) {
	t.Parallel()
	const each = 10
	w := newWorld(t)
	// Whoever looks for a setting sees what there is once the other run looks, too.
	var looks sync.Map
	w.togai.OnRequest(func(stage, method, path string) {
		if stage != sim.Arrived || method != http.MethodGet || !strings.HasPrefix(path, "/settings/") {
			return
		}
		other, second := looks.LoadOrStore(path, make(chan struct{}))
		if second {
			if looks.CompareAndDelete(path, other) {
				close(other.(chan struct{}))
			}
			return
		}
		select {
		case <-other.(chan struct{}):
		case <-time.After(3 * time.Second):
		}
	})
	other := w.secondKey()
	for _, x := range []*world{w, other} {
		x.linkAs("stripe.customers_in", x.stripeConn.Name, map[string]db.ID{"trigger": x.stripeConn.ID, "account": x.togaiConn.ID, "note": x.stripeConn.ID})
		x.linkAs("stripe.accounts_out", x.stripeConn.Name, map[string]db.ID{"trigger": x.togaiConn.ID, "customer": x.stripeConn.ID, "note": x.togaiConn.ID})
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	for range 12 {
		w.workers.Go(func() { w.worker(ctx) })
	}
	t.Cleanup(w.rest)
	for i := range each {
		w.account(fmt.Sprintf("acme%d", i))
		w.person(fmt.Sprintf("Person%d", i))
	}
	w.read()
	w.settled(4 * each)
	w.read() // the accounts that customers became
	states := map[string]int{}
	for _, r := range w.settled(8 * each) {
		states[r.State]++
		if r.State != flow.Succeeded && r.State != flow.Suppressed {
			t.Errorf("run %s of %s is %s: %s", r.ID, r.RecordID, r.State, r.Error)
		}
	}
	w.whole(2 * each)
	if refused := w.count("SELECT count(*) FROM attempts WHERE method = 'POST' AND path = '/settings' AND status >= 400"); refused == 0 {
		t.Error("no two runs met, so this shows nothing")
	}
	if t.Failed() {
		w.dump()
	}
	t.Log(states)
}

// secondKey is the same organization by another key of its Stripe account, with a webhook endpoint of its own.
func (w *world) secondKey() *world {
	w.t.Helper()
	o := &world{t: w.t, db: w.db, engine: w.engine, org: w.org, stripe: w.stripe, togai: w.togai, togaiConn: w.togaiConn}
	o.hooks = httptest.NewServer(http.HandlerFunc(o.webhook))
	w.t.Cleanup(o.hooks.Close)
	first := w.engine.PublicURL
	w.engine.PublicURL = o.hooks.URL
	o.stripeConn = o.connect("stripe", "Second key", map[string]string{"api_key": w.stripe.First().Key()})
	w.engine.PublicURL = first
	if o.stripeConn.VendorAccountID != w.stripeConn.VendorAccountID {
		w.t.Fatal("two keys of one account open two vendor accounts")
	}
	return o
}

// linkAs makes and enables one of several links of a shipped flow.
func (w *world) linkAs(key, name string, conns map[string]db.ID) {
	w.t.Helper()
	var f db.Flow
	must(w.t, w.db.NewSelect().Model(&f).Where("org_id = ? AND key = ?", w.org, key).Scan(w.t.Context()))
	var l db.FlowLink
	must(w.t, w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		l, err = w.engine.CreateLink(ctx, tx, w.org, flow.LinkInput{FlowID: f.ID, Name: name, Connections: conns})
		return err
	}))
	_, err := w.engine.EnableLink(w.t.Context(), w.org, l.ID, w, uncommitted)
	must(w.t, err)
}
