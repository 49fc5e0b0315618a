package flow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tieline/connectors/sim"
	"tieline/db"
	"tieline/jobs/flow"
)

// importLink links the import to the world's connections. It need not be switched on to be started.
func (w *world) importLink(name string, params map[string]any) db.FlowLink {
	w.t.Helper()
	var clock db.Connection
	if err := w.db.NewSelect().Model(&clock).Where("app = 'scheduler'").Limit(1).Scan(w.t.Context()); err != nil {
		clock = w.connect("scheduler", "By hand", map[string]string{"mode": "test"})
	}
	var f db.Flow
	must(w.t, w.db.NewSelect().Model(&f).Where("org_id = ? AND key = 'stripe.customers_import'", w.org).Scan(w.t.Context()))
	in := flow.LinkInput{FlowID: f.ID, Name: name, Params: params, Connections: map[string]db.ID{
		"trigger": clock.ID, "list": w.stripeConn.ID, "account": w.togaiConn.ID, "setting": w.togaiConn.ID, "note": w.stripeConn.ID,
	}}
	var l db.FlowLink
	must(w.t, w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		l, err = w.engine.CreateLink(ctx, tx, w.org, in)
		return err
	}))
	return l
}

func (w *world) inStripe(in map[string]any) string {
	w.t.Helper()
	c, err := w.stripe.First().CreateCustomer(in)
	must(w.t, err)
	return c["id"].(string)
}

func (w *world) inTogai(in map[string]any) {
	w.t.Helper()
	_, err := w.togai.CreateAccount(in)
	must(w.t, err)
}

// came is what a run over many records has come to.
type came struct{ Listed, Created, AlreadyLinked, PossibleDuplicates, Failed int }

func (w *world) came(r db.Run) (c came) {
	w.t.Helper()
	must(w.t, json.Unmarshal(r.Progress, &c))
	if r.FailedItems != c.Failed {
		w.t.Errorf("%d failed, and progress says %d", r.FailedItems, c.Failed)
	}
	return c
}

func (w *world) items(run db.ID) map[string]db.RunItem {
	w.t.Helper()
	var rows []db.RunItem
	must(w.t, w.db.NewSelect().Model(&rows).Where("run_id = ?", run).Scan(w.t.Context()))
	out := map[string]db.RunItem{}
	for _, r := range rows {
		out[r.Key] = r
	}
	return out
}

func (w *world) retry(run db.ID) error {
	return w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := w.engine.Retry(ctx, tx, w.org, run)
		return err
	})
}

// metadata of a customer as Stripe has it now.
func (w *world) metadata(id string) map[string]any {
	for _, c := range w.stripe.First().Customers() {
		if c["id"] == id {
			m, _ := c["metadata"].(map[string]any)
			return m
		}
	}
	return nil
}

func (w *world) settingOf(account, id string) string {
	for _, s := range w.togai.Settings() {
		if s.EntityID == account && strings.EqualFold(s.EntityType, "account") && s.ID == id {
			return s.Value
		}
	}
	return ""
}

// TestImport: each customer is known by its mapping, then by the ids it names, then by ours; an e-mail address alone is
// no proof.
func TestImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.inTogai(map[string]any{"id": "named-1", "customerId": "named", "name": "Named", "primaryEmail": "other@acme.test"})
	w.inTogai(map[string]any{"id": "known", "customerId": "known", "name": "Known by its customer"})
	w.inTogai(map[string]any{"id": "twin", "customerId": "twin", "name": "Twin", "primaryEmail": "Twin@Acme.test"})
	fresh := w.inStripe(map[string]any{"name": "Fresh", "email": "fresh@acme.test"})
	same := w.inStripe(map[string]any{"name": "Fresh too", "email": "fresh@acme.test"})
	named := w.inStripe(map[string]any{"name": "Named", "email": "named@acme.test", "metadata": map[string]any{"togai_account_id": "named-1"}})
	known := w.inStripe(map[string]any{"name": "Known", "metadata": map[string]any{"togai_customer_id": "known"}})
	twin := w.inStripe(map[string]any{"name": "Twin", "email": "twin@acme.test"})
	silent := w.inStripe(map[string]any{"name": "Silent"})
	gone := w.inStripe(map[string]any{"name": "Gone", "email": "gone@acme.test", "metadata": map[string]any{"togai_account_id": "no-more"}})
	ours := w.inStripe(map[string]any{"name": "Ours", "email": "ours@acme.test"})
	w.inTogai(map[string]any{"id": ours, "customerId": ours, "name": "Ours", "primaryEmail": "else@acme.test"})
	l := w.importLink("import", nil)
	w.work()
	w.trigger(l.ID, `{}`)
	run := w.settled(1)[0]
	if run.State != flow.Succeeded || run.Source != flow.FromHand || w.came(run) != (came{8, 3, 3, 1, 1}) {
		w.dump()
		t.Fatalf("%s, %s: %+v", run.State, run.Error, w.came(run))
	}
	items := w.items(run.ID)
	if len(items) != 2 || items[twin].State != "POSSIBLE_DUPLICATE" || !strings.Contains(items[twin].Message, "customer twin in Togai") ||
		items[silent].State != "FAILED" || items[silent].ErrorKind != "INVALID" || items[silent].Name != "Silent" {
		t.Errorf("%+v", items)
	}
	for _, id := range []string{fresh, same, gone} {
		if m := w.metadata(id); m["togai_account_id"] != id || m["togai_customer_id"] != id || w.settingOf(id, "StripeCustomerId") != id {
			t.Errorf("%s: metadata %v, setting %q", id, m, w.settingOf(id, "StripeCustomerId"))
		}
	}
	for id, account := range map[string]string{named: "named-1", known: "known", ours: ours} {
		var mapped string
		must(t, w.db.NewRaw(`SELECT b.external_id FROM mapping_slots a JOIN mapping_slots b USING (mapping_id) WHERE a.external_id = ? AND a.entity = 'customer'
			AND b.entity = 'account' AND a.vendor_account_id <> b.vendor_account_id`, id).Scan(t.Context(), &mapped))
		if mapped != account || w.metadata(id)["togai_account_id"] != account {
			t.Errorf("%s is linked to %q, its metadata is %v", id, mapped, w.metadata(id))
		}
	}
	for account, customer := range map[string]string{"known": known, "named-1": named, ours: ours} { // by whatever it is known
		if got := w.settingOf(account, "StripeCustomerId"); got != customer {
			t.Errorf("account %s, which was there, names %q, want %s", account, got, customer)
		}
	}
	if n := w.togai.Count("GET", "/customers") + w.togai.Count("GET", "/accounts"); n > 10 { // both lists, and the connection's test
		t.Errorf("Togai was listed %d times", n)
	}

	// Again: nothing is made, and nothing is written.
	before, writes := w.togai.Count("POST", "/**")+w.stripe.Count("POST", "/**"), len(w.togai.Customers())
	w.trigger(l.ID, `{}`)
	runs := w.settled(2)
	if again := w.came(runs[1]); again != (came{8, 0, 6, 1, 1}) || len(w.togai.Customers()) != writes || w.togai.Count("POST", "/**")+w.stripe.Count("POST", "/**") != before {
		t.Errorf("the second run: %+v", again)
	}
	var left int
	must(t, w.db.NewRaw("SELECT count(*) FROM run_known").Scan(t.Context(), &left))
	if left > 0 {
		t.Errorf("%d records are still known", left)
	}

	// What failed is taken up again alone, as it is now.
	_, err := w.stripe.First().UpdateCustomer(silent, map[string]any{"email": "silent@acme.test"})
	must(t, err)
	lists := w.stripe.Count("GET", "/v1/customers")
	must(t, w.retry(runs[0].ID))
	run = w.settled(2)[0]
	if w.came(run) != (came{8, 4, 3, 1, 0}) || run.State != flow.Succeeded || len(w.items(run.ID)) != 1 || w.stripe.Count("GET", "/v1/customers") != lists {
		w.dump()
		t.Errorf("taken up again: %s, %+v, %+v", run.State, w.came(run), w.items(run.ID))
	}
	if m := w.metadata(silent); m["togai_account_id"] != silent {
		t.Errorf("%v", m)
	}
	if err := w.retry(run.ID); err == nil {
		t.Error("a run of which nothing failed was retried")
	}
}

// TestImportByEmail: an equal address is enough where only one record has it on either side.
func TestImportByEmail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.inTogai(map[string]any{"id": "one-eur", "customerId": "one", "name": "One", "primaryEmail": "One@acme.test"})
	w.inTogai(map[string]any{"id": "two", "customerId": "two", "name": "Two", "primaryEmail": "two@acme.test"})
	w.inTogai(map[string]any{"id": "three", "customerId": "three", "name": "Three", "primaryEmail": "shared@acme.test"})
	w.inTogai(map[string]any{"id": "four", "customerId": "four", "name": "Four", "primaryEmail": "shared@acme.test"})
	one := w.inStripe(map[string]any{"name": "One", "email": "one@acme.test"})
	two := []string{w.inStripe(map[string]any{"name": "Two", "email": "two@acme.test"}), w.inStripe(map[string]any{"name": "Two again", "email": "Two@acme.test"})}
	shared := w.inStripe(map[string]any{"name": "Shared", "email": "shared@acme.test"})
	w.work()
	w.trigger(w.importLink("import", map[string]any{"linkByEmail": true}).ID, `{}`)
	run := w.settled(1)[0]
	if w.came(run) != (came{4, 0, 1, 3, 0}) {
		w.dump()
		t.Fatalf("%s: %+v %+v", run.State, w.came(run), w.items(run.ID))
	}
	items := w.items(run.ID)
	for _, id := range append(two, shared) {
		if items[id].State != "POSSIBLE_DUPLICATE" {
			t.Errorf("%s: %+v", id, items[id])
		}
	}
	if m := w.metadata(one); m["togai_account_id"] != "one-eur" || m["togai_customer_id"] != "one" || w.settingOf("one-eur", "StripeCustomerId") != one {
		t.Errorf("%v", m)
	}
}

// TestImportIntoTwo: what a record is in one app says nothing of what it is in another. A customer that Togai knows gets its
// contact in Zoho Books, once, and each is linked with its own id.
func TestImportIntoTwo(t *testing.T) {
	t.Parallel()
	w, books := booksWorld(t)
	w.inTogai(map[string]any{"id": "acme", "customerId": "acme", "name": "Acme", "primaryEmail": "billing@acme.test"})
	id := w.inStripe(map[string]any{"name": "Acme", "email": "billing@acme.test", "metadata": map[string]any{"togai_customer_id": "acme"}})
	clock := w.connect("scheduler", "By hand", map[string]string{"mode": "test"})
	l, err := w.custom(`{
		"key": "test.two", "name": "Two", "trigger": {"app": "scheduler", "key": "run.requested"},
		"steps": [
			{"key": "list", "name": "List", "app": "stripe", "action": "customer.list", "input": {}},
			{"key": "account", "name": "Account", "app": "togai", "action": "customer.create", "forEach": "list",
				"match": {"lists": ["customer.list", "account.list"], "named": [{"customer": "{{ coalesce(item.metadata.togai_customer_id, '') }}"}]},
				"input": {"id": "{{ item.customer_id }}", "name": "{{ item.name }}", "email": "{{ item.email }}"}},
			{"key": "contact", "name": "Contact", "app": "zohobooks", "action": "contact.create", "forEach": "list",
				"input": {"contact_number": "{{ item.customer_id }}", "name": "{{ item.name }}", "email": "{{ item.email }}"}}
		]}`, nil, map[string]db.ID{"trigger": clock.ID, "list": w.stripeConn.ID, "account": w.togaiConn.ID, "contact": w.booksConn.ID})
	must(t, err)
	w.work()
	w.trigger(l.ID, `{}`)
	run := w.settled(1)[0]
	if run.State != flow.Succeeded || w.came(run) != (came{1, 1, 0, 0, 0}) || len(books.Contacts()) != 1 || len(w.togai.Customers()) != 1 {
		w.dump()
		t.Fatalf("%s %s: %+v, %d contacts, %d customers", run.State, run.Error, w.came(run), len(books.Contacts()), len(w.togai.Customers()))
	}
	var linked []string
	must(t, w.db.NewRaw(`SELECT b.entity || ' ' || b.external_id FROM mapping_slots a JOIN mapping_slots b USING (mapping_id)
		WHERE a.vendor_account_id = ? AND a.external_id = ? AND b.vendor_account_id <> a.vendor_account_id ORDER BY 1`, w.stripeConn.VendorAccountID, id).Scan(t.Context(), &linked))
	if want := []string{"account acme", "contact " + books.Contacts()[0].ID, "customer acme"}; !slices.Equal(linked, want) {
		t.Errorf("linked with %q, want %q", linked, want)
	}
}

// TestImportUnderFaults: what the vendors do wrong costs time, and nothing is made twice.
func TestImportUnderFaults(t *testing.T) {
	t.Parallel()
	const n = 150
	for name, faults := range map[string][]sim.Fault{
		"lost answers":  {{Method: "POST", Path: "/customers", Point: sim.Cut, Skip: 3, Count: 5}, {Method: "POST", Path: "/customers", Point: sim.AfterCommit, Skip: 60, Count: 3}},
		"not done":      {{Method: "POST", Path: "/customers", Point: sim.CutBefore, Skip: 10, Count: 4}},
		"away at first": {{Method: "GET", Path: "/accounts", Point: sim.Before, Count: 2}, {Method: "POST", Path: "/customers", Point: sim.RateLimit, Skip: 20, Count: 3}},
		"all of a page": {{Method: "POST", Path: "/customers", Point: sim.CutBefore, Count: 100}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hurried)
			for i := range n {
				w.inStripe(map[string]any{"name": fmt.Sprint("Customer ", i), "email": fmt.Sprintf("c%d@acme.test", i)})
			}
			l := w.importLink("import", nil)
			for _, f := range faults {
				w.togai.Fault(f)
			}
			w.work()
			w.trigger(l.ID, `{}`)
			run := w.settled(1)[0]
			if run.State != flow.Succeeded || w.came(run) != (came{n, n, 0, 0, 0}) || len(w.togai.Customers()) != n {
				t.Errorf("%s: %+v, %d customers, %+v", run.State, w.came(run), len(w.togai.Customers()), w.items(run.ID))
			}
			for _, c := range w.stripe.First().Customers() {
				if w := c["metadata"].(map[string]any)["togai_account_id"]; w != c["id"] {
					t.Errorf("%s names %v", c["id"], w)
				}
			}
		})
	}
}

// TestImportBesideWebhooks: whoever comes first, each customer is made once.
func TestImportBesideWebhooks(t *testing.T) {
	t.Parallel()
	const n = 60
	w := newWorld(t)
	in := w.link("stripe.customers_in", nil)
	l := w.importLink("import", nil)
	w.work()
	for i := range n {
		if w.inStripe(map[string]any{"name": fmt.Sprint("Customer ", i), "email": fmt.Sprintf("c%d@acme.test", i)}); i == n/3 {
			w.trigger(l.ID, `{}`)
		}
	}
	w.trigger(l.ID, `{}`)
	runs := w.settled(n + 2)
	var made int
	for _, r := range runs {
		if r.State != flow.Succeeded && r.State != flow.Suppressed {
			t.Errorf("%s: %s %s", r.RecordID, r.State, r.Error)
		}
		if r.FlowLinkID == in.ID {
			made++
		}
	}
	if len(w.togai.Customers()) != n || made != n {
		t.Errorf("%d customers in Togai, %d runs of webhooks", len(w.togai.Customers()), made)
	}
}

// TestImportEchoes: the accounts that an import made are no news to the flow that goes the other way.
func TestImportEchoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out := w.link("stripe.accounts_out", nil)
	for i := range 5 {
		w.inStripe(map[string]any{"name": fmt.Sprint("Customer ", i), "email": fmt.Sprintf("c%d@acme.test", i)})
	}
	w.work()
	w.trigger(w.importLink("import", nil).ID, `{}`)
	w.settled(1)
	w.read()
	for _, r := range w.settled(6) {
		if r.FlowLinkID == out.ID && r.State != flow.Suppressed {
			t.Errorf("%s of account %s", r.State, r.RecordID)
		}
	}
	if n := len(w.stripe.First().Customers()); n != 5 {
		t.Errorf("%d customers in Stripe", n)
	}
}

// TestImportCancelled: it stops within a page, a write in the air is known before it is over, and it goes on from there.
func TestImportCancelled(t *testing.T) {
	t.Parallel()
	const n = 250
	w := newWorld(t)
	for i := range n {
		w.inStripe(map[string]any{"name": fmt.Sprint("Customer ", i), "email": fmt.Sprintf("c%d@acme.test", i)})
	}
	l := w.importLink("import", nil)
	reached := make(chan struct{}, n)
	w.togai.OnRequest(func(stage, method, path string) {
		if stage == sim.Committed && method == "POST" && path == "/customers" {
			reached <- struct{}{}
		}
	})
	w.togai.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: sim.Cut, Skip: 125, Count: 3})
	w.work()
	w.trigger(l.ID, `{}`)
	for range 127 {
		<-reached
	}
	var run db.Run
	must(t, w.db.NewSelect().Model(&run).Scan(t.Context()))
	must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := w.engine.Cancel(ctx, tx, w.org, run.ID)
		return err
	}))
	run = w.settled(1)[0]
	if made := len(w.togai.Customers()); run.State != flow.Cancelled || made < 127 || made >= 200 {
		w.dump()
		t.Fatalf("%s after %d", run.State, made)
	}
	if open, err := db.EffectIn(t.Context(), w.db, w.org, run.ID, flow.EffectSent, flow.EffectUnknown); err != nil || open {
		t.Errorf("a write is open: %v", err)
	}
	must(t, w.retry(run.ID))
	run = w.settled(1)[0]
	if run.State != flow.Succeeded || len(w.togai.Customers()) != n || w.came(run) != (came{n, n, 0, 0, 0}) {
		t.Errorf("%s: %+v", run.State, w.came(run))
	}
}

// TestImportTakesTurns: of one link, one run at a time.
func TestImportTakesTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.inStripe(map[string]any{"name": "Only", "email": "only@acme.test"})
	l := w.importLink("import", nil)
	w.trigger(l.ID, `{}`)
	w.trigger(l.ID, `{"asked": "twice"}`)
	w.work()
	runs := w.settled(2)
	slices.SortFunc(runs, func(a, b db.Run) int { return a.StartedAt.Compare(b.StartedAt) })
	if runs[1].StartedAt.Before(runs[0].EndedAt.Add(-time.Millisecond)) || runs[0].Lane != runs[1].Lane {
		t.Errorf("%s to %s, and %s", runs[0].StartedAt, runs[0].EndedAt, runs[1].StartedAt)
	}
	if w.came(runs[0]) != (came{1, 1, 0, 0, 0}) || w.came(runs[1]) != (came{1, 0, 1, 0, 0}) {
		t.Errorf("%+v and %+v", w.came(runs[0]), w.came(runs[1]))
	}
}

// TestBadForEach: what is wrong with such a flow is said when it is saved.
func TestBadForEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clock := w.connect("scheduler", "By hand", map[string]string{"mode": "test"})
	for name, x := range map[string]struct {
		steps string
		field []string
	}{
		"no such step":   {`[{"key": "a", "app": "togai", "action": "customer.get", "forEach": "list", "input": {}}]`, []string{"steps", "0", "forEach"}},
		"lists nothing":  {`[{"key": "list", "app": "togai", "action": "customer.get", "input": {}}, {"key": "a", "app": "togai", "action": "customer.get", "forEach": "list", "input": {}}]`, []string{"steps", "1", "forEach"}},
		"not each":       {`[{"key": "a", "app": "togai", "action": "customer.get", "match": {"lists": []}, "input": {}}]`, []string{"steps", "0", "match"}},
		"no list":        {`[{"key": "list", "app": "togai", "action": "customer.list", "input": {}}, {"key": "a", "app": "togai", "action": "customer.create", "forEach": "list", "match": {"lists": ["customer.get"]}, "input": {}}]`, []string{"steps", "1", "match", "lists", "0"}},
		"bad expression": {`[{"key": "list", "app": "togai", "action": "customer.list", "input": {}}, {"key": "a", "app": "togai", "action": "customer.create", "forEach": "list", "match": {"lists": [], "email": "{{ item. }}"}, "input": {}}]`, []string{"steps", "1", "match", "email"}},
	} {
		_, err := w.custom(`{"key": "test.bad", "name": "Bad", "trigger": {"app": "scheduler", "key": "run.requested"}, "steps": `+x.steps+`}`, nil, map[string]db.ID{"trigger": clock.ID})
		bad, ok := errors.AsType[flow.Problems](err)
		if !ok || !slices.ContainsFunc(bad, func(p flow.Problem) bool { return slices.Equal(p.Field, x.field) }) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestImportInTurns: a long run lets others have their turn between two pages, and a table of what is known lives no longer
// than the run.
func TestImportInTurns(t *testing.T) {
	t.Parallel()
	const n = 230
	w := newWorld(t)
	w.engine.Timing.Turn = time.Nanosecond
	for i := range n {
		w.inStripe(map[string]any{"name": fmt.Sprint("Customer ", i), "email": fmt.Sprintf("c%d@acme.test", i)})
	}
	w.inStripe(map[string]any{"name": "Silent"})
	w.work()
	w.trigger(w.importLink("import", nil).ID, `{}`)
	run := w.settled(1)[0]
	if run.State != flow.Succeeded || w.came(run) != (came{n + 1, n, 0, 0, 1}) || run.Fence < 4 {
		t.Errorf("%s: %+v after %d activations", run.State, w.came(run), run.Fence)
	}
	gone, err := db.PruneRuns(t.Context(), w.db, w.org, time.Now().Add(time.Hour), 10)
	var left int
	must(t, w.db.NewRaw("SELECT (SELECT count(*) FROM run_items) + (SELECT count(*) FROM run_known) + (SELECT count(*) FROM steps)").Scan(t.Context(), &left))
	if err != nil || gone != 1 || left != 0 {
		t.Errorf("%d runs went, %d rows are left: %v", gone, left, err)
	}
}

// TestImportThroughRepair: credentials that stop to work park the whole run, and repairing them lets it go on.
func TestImportThroughRepair(t *testing.T) {
	t.Parallel()
	const n = 120
	w := newWorld(t)
	for i := range n {
		w.inStripe(map[string]any{"name": fmt.Sprint("Customer ", i), "email": fmt.Sprintf("c%d@acme.test", i)})
	}
	l := w.importLink("import", nil)
	token, revoked := w.togai.Token(), make(chan struct{})
	_, err := w.engine.UpdateConnection(t.Context(), w.org, w.togaiConn.ID, flow.ConnectionInput{Credentials: map[string]string{"api_token": token}}, uncommitted)
	must(t, err)
	var made atomic.Int64
	w.togai.OnRequest(func(stage, method, path string) {
		if stage == sim.Committed && method == "POST" && path == "/customers" && made.Add(1) == 50 {
			w.togai.Revoke(token)
			close(revoked)
		}
	})
	w.work()
	w.trigger(l.ID, `{}`)
	<-revoked
	w.until("a parked run", "SELECT count(*) = 1 FROM runs WHERE waiting_reason = 'REAUTH'")
	_, err = w.engine.UpdateConnection(t.Context(), w.org, w.togaiConn.ID, flow.ConnectionInput{Credentials: map[string]string{"api_token": w.togai.Token()}}, uncommitted)
	must(t, err)
	run := w.settled(1)[0]
	if run.State != flow.Succeeded || w.came(run) != (came{n, n, 0, 0, 0}) || len(w.togai.Customers()) != n {
		w.dump()
		t.Errorf("%s: %+v", run.State, w.came(run))
	}
}
