package flow_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tieline/connectors"
	"tieline/db"
	"tieline/jobs/flow"
)

// previewOf previews a shipped flow with the world's connections.
func (w *world) previewOf(file string, in flow.PreviewInput) flow.Preview {
	w.t.Helper()
	var err error
	if in.Document == nil {
		in.Document, err = flow.Shipped.ReadFile("shipped/" + file)
		must(w.t, err)
	}
	var d flow.Definition
	must(w.t, json.Unmarshal(in.Document, &d))
	conns := map[string]db.ID{"stripe": w.stripeConn.ID, "togai": w.togaiConn.ID, "scheduler": w.clockConn()}
	in.Connections = map[string]db.ID{"trigger": conns[d.Trigger.App]}
	for _, s := range d.Steps {
		in.Connections[s.Key] = conns[s.App]
	}
	p, err := w.engine.Preview(w.t.Context(), w.org, in)
	must(w.t, err)
	return p
}

func (w *world) clockConn() db.ID {
	w.t.Helper()
	return w.connect("scheduler", fmt.Sprint("Clock ", db.NewID()), map[string]string{"mode": "test"}).ID
}

// show is a preview in lines, to compare.
func show(p flow.Preview) string {
	var b strings.Builder
	fmt.Fprintln(&b, p.Outcome, p.Reason)
	for _, i := range p.Issues {
		fmt.Fprintln(&b, "issue", i.Path, i.Code, i)
	}
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "%s %s %s unknown=%v reads=%d\n", s.Key, s.Outcome, s.Reason, s.Unknown, len(s.Reads))
		for _, e := range s.Effects {
			fmt.Fprintf(&b, "  %s %s %q sends=%v %s\n", e.Kind, e.Entity, e.ExternalID, e.Sends, e.Reason)
			if e.Request != nil {
				fmt.Fprintf(&b, "    %s %s %s\n", e.Request.Method, e.Request.Path, e.Request.Body)
			}
		}
	}
	return b.String()
}

// quiet checks that nothing was written at a vendor or in our tables.
func (w *world) quiet(do func()) {
	w.t.Helper()
	count := func() (n int) {
		for _, m := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			n += w.stripe.Count(m, "/**") + w.togai.Count(m, "/**")
		}
		return n
	}
	rows := func() int {
		return w.count("SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM steps) + (SELECT count(*) FROM effects) + (SELECT count(*) FROM mappings) + (SELECT count(*) FROM mapping_slots) + (SELECT count(*) FROM attempts) + (SELECT count(*) FROM changes)")
	}
	calls, before := count(), rows()
	do()
	if n := count() - calls; n != 0 {
		w.t.Errorf("%d writes reached a vendor", n)
	}
	if n := rows() - before; n != 0 {
		w.t.Errorf("%d rows were written", n)
	}
}

// TestPreviewOfNews: nothing is there yet, so both writes are shown; what the second sends of the first is known where we
// choose the id.
func TestPreviewOfNews(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quiet(func() {
		p := w.previewOf("stripe-customers-in.json", flow.PreviewInput{})
		got := show(p)
		if p.Outcome != flow.OutcomeRun || len(p.Steps) != 2 || p.Steps[0].Outcome != flow.WouldWrite || p.Steps[1].Outcome != flow.WouldWrite {
			t.Fatal(got)
		}
		for _, says := range []string{"CREATE customer", "POST /customers", "POST /v1/customers/cus_", "togai_account_id"} {
			if !strings.Contains(got, says) {
				t.Errorf("it does not show %q:\n%s", says, got)
			}
		}
		if strings.Contains(got, w.stripe.Key()) || strings.Contains(got, w.togai.Token()) {
			t.Error("it shows a secret")
		}
	})
}

// TestPreviewOfWhatOnlyTheRunKnows: an id that the vendor will choose is marked, and is never asked for.
func TestPreviewOfWhatOnlyTheRunKnows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quiet(func() {
		p := w.previewOf("stripe-accounts-out.json", flow.PreviewInput{})
		got := show(p)
		if len(p.Steps) != 2 || p.Steps[0].Outcome != flow.WouldWrite || fmt.Sprint(p.Steps[1].Unknown) != "[value]" {
			t.Fatal(got)
		}
		if p.Steps[1].Input.(map[string]any)["value"] != "{{ steps.customer.customer_id }}" {
			t.Errorf("the input shows %v", p.Steps[1].Input)
		}
		if !strings.Contains(got, `"value":"{{ steps.customer.customer_id }}"`) || strings.Contains(got, "tl_unknown") {
			t.Errorf("the request shows\n%s", got)
		}
		p = w.previewOf("stripe-invoices-out.json", flow.PreviewInput{})
		got = show(p)
		var outcomes []string
		for _, s := range p.Steps {
			outcomes = append(outcomes, s.Key+" "+s.Outcome)
		}
		// The invoice is of a customer that is not there yet, whom it would read first; and whether there is a page is told by Stripe.
		if want := "[customer WRITES account WRITES draft UNKNOWN sent UNKNOWN note WRITES page UNKNOWN]"; fmt.Sprint(outcomes) != want {
			t.Errorf("%v, want %s:\n%s", outcomes, want, got)
		}
	})
}

// TestPreviewOfWhatIsThere: after the run the same event finds everything; a condition that does not hold filters.
func TestPreviewOfWhatIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.work()
	w.person("Acme")
	w.settled(1)
	w.rest()
	var event db.ID
	must(t, w.db.NewRaw("SELECT id FROM events WHERE trigger = 'customer.created'").Scan(t.Context(), &event))
	w.quiet(func() {
		p := w.previewOf("stripe-customers-in.json", flow.PreviewInput{Event: event})
		if len(p.Steps) != 2 || p.Steps[0].Outcome != flow.WouldAdopt || p.Steps[0].Effects[0].ExternalID == "" || p.Steps[1].Outcome != flow.WouldWrite {
			t.Error(show(p))
		}
		app, _ := w.engine.Apps.App("stripe")
		paid, _ := app.Trigger("invoice.paid")
		var payload map[string]any
		must(t, json.Unmarshal(paid.Sample, &payload))
		payload["togai_invoice_id"] = ""
		raw, err := json.Marshal(payload)
		must(t, err)
		if p = w.previewOf("stripe-invoice-paid-in.json", flow.PreviewInput{Payload: raw}); p.Outcome != flow.OutcomeFiltered || len(p.Steps) != 0 {
			t.Error(show(p))
		}
	})
}

// TestPreviewSaysWhatIsWrong: before anything is tried.
func TestPreviewSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.previewOf("", flow.PreviewInput{Document: json.RawMessage(`{"name": "x", "trigger": {"app": "stripe", "key": "customer.created"}, "steps": [
		{"key": "a", "app": "togai", "action": "customer.create", "input": {"nmae": "{{ trigger.nmae }}"}}]}`)})
	if len(p.Issues.Errors()) < 3 || len(p.Steps) != 0 {
		t.Error(show(p))
	}
}

// TestPreviewOfAnImport: the first page is read, and of it that record is shown which no run has linked yet, as what it is.
func TestPreviewOfAnImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	preview := func(says ...string) {
		t.Helper()
		w.quiet(func() {
			got := show(w.previewOf("stripe-customers-import.json", flow.PreviewInput{}))
			for _, s := range says {
				if !strings.Contains(got, s) {
					t.Errorf("it does not say %q:\n%s", s, got)
				}
			}
			if strings.Contains(got, "tl_unknown") {
				t.Error(got)
			}
		})
	}
	preview("list READS It lists nothing.", `account UNKNOWN The step "list" lists nothing to do it for.`)
	for _, id := range []string{"root", "named-1"} {
		w.inTogai(map[string]any{"id": id, "customerId": strings.TrimSuffix(id, "-1"), "name": "There " + id, "primaryEmail": id + "@acme.test"})
	}
	l := w.importLink("import", nil)
	w.work()
	runs := 0
	linked := func() {
		t.Helper()
		w.trigger(l.ID, `{}`)
		runs++
		if all := w.settled(runs); all[runs-1].State != flow.Succeeded {
			w.dump()
			t.Fatal(all[runs-1].State)
		}
	}
	acme := w.inStripe(map[string]any{"name": "Acme", "email": "billing@acme.test"})
	preview("list READS Listed: 1, linked already: 0. What is done for each is shown for Acme ("+acme+").",
		"account WRITES Whether another record has its e-mail address is found out by the run", "POST /customers", "note WRITES", acme)
	linked()
	preview("Listed: 1, linked already: 1.", "account ADOPTED", "setting SKIPPED")
	by := w.inStripe(map[string]any{"name": "By customer", "metadata": map[string]any{"togai_customer_id": "root"}})
	preview("Listed: 2, linked already: 1. What is done for each is shown for By customer ("+by+").",
		`account ADOPTED It is there already, and would be linked.`, `CREATE customer "root" sends=false`, "setting WRITES", "note WRITES", "metadata[togai_account_id]=root")
	linked()
	named := w.inStripe(map[string]any{"name": "By account", "metadata": map[string]any{"togai_account_id": "named-1"}})
	preview("Listed: 3, linked already: 2.", "By account ("+named+")", `CREATE customer "named" sends=false`, "setting WRITES", "note SKIPPED")
	linked()
	preview("Listed: 3, linked already: 3.", "account ADOPTED")
	for _, id := range []string{"many-eur", "many-usd"} {
		w.inTogai(map[string]any{"id": id, "customerId": "many", "name": "Many", "primaryEmail": "many@acme.test"})
	}
	w.inStripe(map[string]any{"name": "Which", "metadata": map[string]any{"togai_customer_id": "many"}})
	preview(`CREATE customer "many" sends=false`, "If more than one account hangs below it", "setting UNKNOWN", "note UNKNOWN Whether it is done depends on what only the run will know.")
}

// TestPreviewStopsAnyWrite: an action that goes around its journal, or takes no notice of being stopped, still writes nothing.
func TestPreviewStopsAnyWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	type in struct{}
	type out struct{}
	post := func(ctx context.Context, c connectors.Conn) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+"/customers", strings.NewReader(`{"id": "rogue"}`))
		if err != nil {
			return err
		}
		res, err := c.HTTP.Do(r)
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	}
	told := func(a *connectors.Action) { a.Description, a.Entity = "It writes as it should not.", "customer" }
	apps := w.engine.Apps.Apps()
	for i := range apps {
		if apps[i].Key != "togai" {
			continue
		}
		apps[i].Actions = append(apps[i].Actions,
			connectors.Do("rogue.around", "Around", func(ctx context.Context, c connectors.Conn, _ in) (out, error) { return out{}, post(ctx, c) }, in{}, told),
			connectors.Do("rogue.stubborn", "Stubborn", func(ctx context.Context, c connectors.Conn, _ in) (out, error) {
				_, err := c.Effect(ctx, connectors.Create("customer"), nil, func(ctx context.Context, _ string) (connectors.Ref, error) {
					_, _ = post(ctx, c), post(ctx, c)
					return connectors.Ref{ID: "rogue"}, nil
				})
				return out{}, err
			}, in{}, told))
	}
	var err error
	w.engine.Apps, err = connectors.NewRegistry(apps...)
	must(t, err)
	w.quiet(func() {
		p := w.previewOf("", flow.PreviewInput{Document: json.RawMessage(`{"name": "x", "trigger": {"app": "stripe", "key": "customer.created"}, "steps": [
			{"key": "around", "app": "togai", "action": "rogue.around", "onError": "continue"}, {"key": "stubborn", "app": "togai", "action": "rogue.stubborn"}]}`)})
		if len(p.Steps) != 2 || p.Steps[0].Outcome != flow.WouldFail || p.Steps[1].Outcome != flow.WouldWrite || len(p.Steps[1].Effects) != 1 {
			t.Error(show(p))
		}
	})
	if len(w.togai.Customers()) != 0 {
		t.Error("a customer was made")
	}
}
