package flow_test

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"testing"

	"tieline/connectors/sim"
	"tieline/db"
	"tieline/jobs/flow"
)

// contested brings a customer over whose place in Togai a stranger has taken. It answers the write that waits for a person, and
// the customer's id, which the stranger has in Togai.
func (w *world) contested() (db.Effect, string) {
	w.t.Helper()
	w.link("stripe.customers_in", nil)
	id := w.person("Acme")
	w.account(id)
	w.work()
	return w.conflict(), id
}

// conflict waits for a write that waits for a person.
func (w *world) conflict() (ef db.Effect) {
	w.t.Helper()
	w.until("a write in CONFLICT", "SELECT count(*) = 1 FROM effects e JOIN runs r ON r.id = e.run_id WHERE e.state = 'CONFLICT' AND r.waiting_reason = 'PERSON'")
	must(w.t, w.db.NewSelect().Model(&ef).Where("state = 'CONFLICT'").Scan(w.t.Context()))
	return ef
}

func (w *world) resolve(ef db.Effect, in flow.ResolveInput) error {
	return w.engine.ResolveEffect(w.t.Context(), w.org, ef.ID, in, uncommitted)
}

// TestResolveAdopt: the record that is there is taken for the one that was meant, and the run goes on with it.
func TestResolveAdopt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ef, id := w.contested()
	c, err := w.engine.Conflict(t.Context(), w.org, ef.ID, "")
	must(t, err)
	if c.ExternalID != id || !strings.Contains(string(c.Record), `"name": "Acme `+id) && !strings.Contains(string(c.Record), `"name":"Acme `+id) || !strings.Contains(string(c.Request), `"path":"/customers"`) || c.Missing != "" {
		t.Errorf("the two sides: %+v\n%s\n%s", c, c.Request, c.Record)
	}
	if got := problemOf(w.resolve(ef, flow.ResolveInput{How: flow.ResolveAdopt, ExternalID: "nobody"})); got != "externalId NOT_FOUND" {
		t.Errorf("adopting what is not there: %q", got)
	}
	must(t, w.resolve(ef, flow.ResolveInput{How: flow.ResolveAdopt}))
	if r := w.settled(1)[0]; r.State != flow.Succeeded {
		w.dump()
		t.Errorf("%s: %s", r.State, r.Error)
	}
	w.whole(1)
	if got := problemOf(w.resolve(ef, flow.ResolveInput{How: flow.ResolveGiveUp})); got != "id WRONG_STATE" {
		t.Errorf("resolved twice: %q", got)
	}
}

// TestResolveSendAgain: what did not happen is sent once more, under another key, and once.
func TestResolveSendAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hurried)
	w.link("stripe.customers_in", nil)
	w.togai.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: "before", Status: 409})
	w.work()
	w.person("Acme")
	ef := w.conflict()
	if c, err := w.engine.Conflict(t.Context(), w.org, ef.ID, ""); err != nil || !strings.Contains(c.Missing, "Togai has no customer") || c.Record != nil {
		t.Errorf("the other side: %+v %v", c, err)
	}
	w.until("the end of its call", "SELECT send_until < clock_timestamp() FROM effects WHERE id = ?", ef.ID)
	must(t, w.resolve(ef, flow.ResolveInput{How: flow.ResolveSendAgain}))
	if r := w.settled(1)[0]; r.State != flow.Succeeded {
		w.dump()
		t.Errorf("%s: %s", r.State, r.Error)
	}
	w.whole(1)
	if n := w.count("SELECT generation FROM effects WHERE id = ?", ef.ID); n != 1 {
		t.Errorf("generation %d", n)
	}
}

// TestResolveGiveUp: the write is not made, its step fails, nothing stays claimed, and the lane moves on.
func TestResolveGiveUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ef, _ := w.contested()
	must(t, w.resolve(ef, flow.ResolveInput{How: flow.ResolveGiveUp}))
	r := w.settled(1)[0]
	if r.State != flow.Failed || !strings.Contains(r.Error, "gave up") {
		w.dump()
		t.Errorf("%s: %s", r.State, r.Error)
	}
	if n := w.count("SELECT count(*) FROM mapping_slots WHERE external_id IS NULL") + w.count("SELECT count(*) FROM effects WHERE run_id IS NOT NULL AND (state <> 'GIVEN_UP' OR request IS NOT NULL)"); n != 0 {
		w.dump()
		t.Errorf("%d things are left of it", n)
	}
	if n := w.count("SELECT count(*) FROM steps WHERE state = 'CANCELLED'"); n != 1 || len(w.togai.Customers()) != 1 {
		t.Errorf("%d steps were not begun; %d customers", n, len(w.togai.Customers()))
	}
	w.told(w.engine.Retry) // who takes it up again is asked again
	if again := w.conflict(); again.ID == ef.ID {
		t.Error("the write that was given up came back")
	}
}

// TestResolveRefused: a record that is linked as another's is nobody else's, until the two mappings are one.
func TestResolveRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ef, id := w.contested()
	var other db.Mapping
	hold := func(mapping db.Mapping) db.Mapping {
		must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
			mapping, _, err = w.engine.CreateMapping(ctx, tx, w.org, flow.MappingInput{Entity: "customer", Actor: "a person", Set: []flow.Placed{
				{SlotPlace: db.SlotPlace{VendorAccountID: w.togaiConn.VendorAccountID, Entity: "customer"}, ExternalID: id},
			}})
			return err
		}))
		return mapping
	}
	other = hold(other)
	err := w.resolve(ef, flow.ResolveInput{How: flow.ResolveAdopt})
	if got := problemOf(err); got != "externalId TAKEN" || !strings.Contains(err.Error(), "mergeMappings") {
		t.Fatalf("adopting another's record: %v", err)
	}
	if c, err := w.engine.Conflict(t.Context(), w.org, ef.ID, ""); err != nil || c.Holder != other.ID {
		t.Errorf("who holds it: %v %v", c.Holder, err)
	}
	must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := w.engine.MergeMappings(ctx, tx, w.org, ef.MappingID, other.ID)
		return err
	}))
	// The merger lets the run look again; it may be at work, or wait for a person once more.
	w.until("the end, or another question", "SELECT bool_and(ended_at IS NOT NULL OR waiting_reason = 'PERSON') FROM runs")
	if w.count("SELECT count(*) FROM runs WHERE waiting_reason = 'PERSON'") > 0 {
		must(t, w.resolve(ef, flow.ResolveInput{How: flow.ResolveAdopt}))
	}
	if r := w.settled(1)[0]; r.State != flow.Succeeded {
		w.dump()
		t.Errorf("%s: %s", r.State, r.Error)
	}
	if n := w.count("SELECT count(*) FROM mappings"); n != 1 {
		t.Errorf("%d mappings", n)
	}
}

// TestTwoResolve: of two people who decide at once one is heard, and the other is told.
func TestTwoResolve(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ef, _ := w.contested()
	var both sync.WaitGroup
	errs := make([]error, 2)
	for i, how := range []flow.Resolution{flow.ResolveAdopt, flow.ResolveGiveUp} {
		both.Go(func() { errs[i] = w.resolve(ef, flow.ResolveInput{How: how}) })
	}
	both.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || problemOf(cmp.Or(errs[0], errs[1])) != "id WRONG_STATE" {
		t.Fatalf("%v, %v", errs[0], errs[1])
	}
	want := map[bool]string{true: flow.Succeeded, false: flow.Failed}[errs[0] == nil]
	if r := w.settled(1)[0]; r.State != want {
		w.dump()
		t.Errorf("%s, want %s", r.State, want)
	}
}

// TestRestart: a run that is retried from the start reads anew what its steps read, and writes nothing twice.
func TestRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/customers/*", Point: "before", Status: 400})
	w.work()
	w.person("Acme")
	if r := w.settled(1)[0]; r.State != flow.Failed {
		t.Fatalf("%s: %s", r.State, r.Error)
	}
	w.stripe.ClearFaults()
	before := w.count("SELECT count(*) FROM steps WHERE state = 'SUCCEEDED' AND key = 'account'")
	w.told(w.engine.Restart)
	if r := w.settled(1)[0]; r.State != flow.Succeeded || before != 1 {
		w.dump()
		t.Errorf("%s: %s", r.State, r.Error)
	}
	w.whole(1)
	if n := w.togai.Count("POST", "/customers"); n != 1 {
		t.Errorf("%d customers were sent", n)
	}
	err := w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := w.engine.Restart(ctx, tx, w.org, w.settled(1)[0].ID)
		return err
	})
	if got := problemOf(err); got != "id WRONG_STATE" {
		t.Errorf("restarting what succeeded: %v", err)
	}
}

// TestResolveOfAnImport: a write about one record of many is decided after the run is over, which then takes that record up again.
func TestResolveOfAnImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hurried)
	for _, name := range []string{"One", "Two", "Three"} {
		w.inStripe(map[string]any{"name": name + " Ltd", "email": strings.ToLower(name) + "@acme.test"})
	}
	l := w.importLink("Import", nil)
	w.togai.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: "before", Status: 409})
	w.work()
	w.trigger(l.ID, "{}")
	r := w.settled(1)[0]
	if c := w.came(r); r.State != flow.Succeeded || c.Failed != 1 || c.Created != 2 {
		w.dump()
		t.Fatalf("%s: %+v", r.State, c)
	}
	var ef db.Effect
	must(t, w.db.NewSelect().Model(&ef).Where("state = 'CONFLICT'").Scan(t.Context()))
	w.until("the end of its call", "SELECT send_until < clock_timestamp() FROM effects WHERE id = ?", ef.ID)
	must(t, w.resolve(ef, flow.ResolveInput{How: flow.ResolveSendAgain}))
	r = w.settled(1)[0]
	if c := w.came(r); r.State != flow.Succeeded || c.Failed != 0 || len(w.items(r.ID)) != 0 || len(w.togai.Customers()) != 3 {
		w.dump()
		t.Errorf("%s: %+v, %d customers", r.State, c, len(w.togai.Customers()))
	}
}
