package flow_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"tieline/db"
	"tieline/jobs/flow"
)

func (w *world) rebind(link db.ID, in flow.LinkChange, look bool) ([]flow.Moved, error) {
	return w.engine.UpdateLink(w.t.Context(), w.org, link, in, look, w, uncommitted)
}

// TestMoveWithinAccount: a link that is on moves to another key of the account while customers are made. Each is brought over once.
func TestMoveWithinAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link("stripe.customers_in", nil)
	second := w.connect("stripe", "Second key", map[string]string{"api_key": w.stripe.First().Key()})
	w.work()
	moves, err := w.rebind(l.ID, flow.LinkChange{Connections: map[string]db.ID{"trigger": second.ID, "note": second.ID}}, true)
	if must(t, err); len(moves) != 2 || !moves[0].Same() || moves[0].Missing != 0 {
		t.Fatalf("%+v", moves)
	}
	const n = 30
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range n {
			if _, err := w.stripe.First().CreateCustomer(map[string]any{"name": fmt.Sprint("Person ", i), "email": fmt.Sprintf("p%d@acme.test", i)}); err != nil {
				t.Error(err)
			}
		}
	}()
	w.until("the first of them", "SELECT count(*) > 3 FROM events WHERE trigger = 'customer.created'")
	if _, err := w.rebind(l.ID, flow.LinkChange{Connections: map[string]db.ID{"trigger": second.ID, "note": second.ID}}, false); err != nil {
		t.Fatal(err)
	}
	<-done
	must(t, w.stripe.Settle(t.Context()))
	w.settled(n)
	w.whole(n)
	if got := w.togai.Count("POST", "/customers"); got != n {
		t.Errorf("%d customers were sent", got)
	}
	if got := w.count("SELECT count(*) FROM runs WHERE connection_id = ?", second.ID); got == 0 {
		t.Error("nothing came through the second key")
	}
}

// TestMoveToAnotherAccount: what is linked in the old account is told, and is not looked for in the new one.
func TestMoveToAnotherAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link("stripe.customers_in", nil)
	w.work()
	w.person("Acme")
	w.person("Beta")
	w.settled(2)
	w.whole(2)
	other := w.stripe.Account()
	conn := w.connect("stripe", "Another account", map[string]string{"api_key": other.Key()})
	if _, err := w.rebind(l.ID, flow.LinkChange{Connections: map[string]db.ID{"trigger": conn.ID}}, true); !strings.HasSuffix(problemOf(err), flow.CodeOtherAccount) {
		t.Errorf("the note would go to the old account: %v", err)
	}
	in := flow.LinkChange{Connections: map[string]db.ID{"trigger": conn.ID, "note": conn.ID}}
	moves, err := w.rebind(l.ID, in, true)
	if must(t, err); len(moves) != 2 || moves[0].Same() || moves[0].Missing != 2 {
		t.Fatalf("%+v", moves)
	}
	_, err = other.CreateCustomer(map[string]any{"name": "Was there", "email": "old@acme.test"})
	must(t, err)
	if _, err := w.rebind(l.ID, in, false); err != nil {
		t.Fatal(err)
	}
	now, err := db.GetFlowLink(t.Context(), w.db, w.org, l.ID)
	if must(t, err); now.TriggerConnectionID != conn.ID || !now.EnabledAt.After(l.EnabledAt) || !now.Enabled {
		t.Errorf("%+v", now)
	}
	if n := w.count("SELECT count(*) FROM runs WHERE record_name = 'Was there'"); n != 0 {
		t.Error("what was there already was taken for news")
	}
}

// TestMoveFreesRuns: runs that wait for a key that works go on with the one that takes its place.
func TestMoveFreesRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link("stripe.customers_in", nil)
	second := w.connect("togai", "Second token", map[string]string{"environment": "sandbox", "api_token": w.togai.Token(), "organization_id": "org_1"})
	w.exec("UPDATE connections SET state = 'NEEDS_REAUTH' WHERE id = ?", w.togaiConn.ID)
	w.work()
	w.person("Acme")
	w.until("a parked run", "SELECT count(*) = 1 FROM runs WHERE waiting_reason = 'REAUTH'")
	if _, err := w.rebind(l.ID, flow.LinkChange{Connections: map[string]db.ID{"account": second.ID}}, false); err != nil {
		t.Fatal(err)
	}
	if r := w.settled(1)[0]; r.State != flow.Succeeded {
		w.dump()
		t.Errorf("%s: %s", r.State, r.Error)
	}
	w.whole(1)
}

// TestLinkFilter: what a link's filter does not hold for starts nothing, and says so.
func TestLinkFilter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link("stripe.customers_in", nil)
	for filter, want := range map[string]string{"trigger.name ==": "filter INVALID", "'text'": "filter INVALID", "trigger.nmae == 'x'": "filter INVALID", "run.id == ''": "filter INVALID", "": "", "trigger.name == 'Wanted' && params.emailWhenMissing == ''": ""} {
		if _, err := w.rebind(l.ID, flow.LinkChange{Filter: &filter}, true); problemOf(err) != want {
			t.Errorf("%q: %v", filter, err)
		}
	}
	filter := "trigger.name == 'Wanted' && params.emailWhenMissing == ''"
	if _, err := w.rebind(l.ID, flow.LinkChange{Filter: &filter}, false); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.person("Unwanted")
	w.person("Wanted")
	w.until("both outcomes", "SELECT count(*) = 2 FROM event_outcomes")
	w.settled(1)
	if n := w.count("SELECT count(*) FROM event_outcomes WHERE outcome = 'FILTERED' AND reason LIKE '%filter%'"); n != 1 || len(w.togai.Customers()) != 1 {
		t.Errorf("%d were filtered, %d customers", n, len(w.togai.Customers()))
	}
}

// TestTwoChangeALink: of two people who change a link at once, one is told.
func TestTwoChangeALink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link("stripe.customers_in", nil)
	one, two := "One", "Two"
	held := func(ctx context.Context, tx db.Tx, id db.ID) error {
		_, err := w.rebind(l.ID, flow.LinkChange{Name: &two}, true) // read before the first is committed
		return err
	}
	_, err := w.engine.UpdateLink(t.Context(), w.org, l.ID, flow.LinkChange{Name: &one}, false, w, held)
	must(t, err)
	stale := l
	stale.Name = two
	if err := db.SaveFlowLink(t.Context(), w.db, &stale, false); err != db.ErrConflict {
		t.Errorf("a change of what was read before: %v", err)
	}
}

// TestLinkGoesBack: a link takes another version of its flow, and the one before again, with what that needs.
func TestLinkGoesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link("stripe.customers_in", nil)
	w.exec(`INSERT INTO flow_versions (org_id, id, flow_id, number, definition, hash)
		SELECT org_id, ?, flow_id, 2, definition || jsonb_build_object('steps', jsonb_build_array(definition -> 'steps' -> 0)), '' FROM flow_versions WHERE flow_id = ?`, db.NewID(), l.FlowID)
	steps := func() int { return w.count("SELECT count(*) FROM flow_link_steps WHERE flow_link_id = ?", l.ID) }
	take := func(n int, conns map[string]db.ID) error {
		_, err := w.rebind(l.ID, flow.LinkChange{Version: &n, Connections: conns}, false)
		return err
	}
	if must(t, take(2, nil)); steps() != 1 {
		t.Errorf("%d steps are bound", steps())
	}
	w.work()
	w.person("Acme")
	if r := w.settled(1)[0]; r.State != flow.Succeeded || w.count("SELECT count(*) FROM steps") != 1 {
		w.dump()
		t.Errorf("%s: %s", r.State, r.Error)
	}
	if got := problemOf(take(1, nil)); got != "connections.note REQUIRED" {
		t.Errorf("without a connection for its step: %q", got)
	}
	if got := problemOf(take(9, nil)); got != "version NOT_FOUND" {
		t.Errorf("a version that is not there: %q", got)
	}
	must(t, take(1, map[string]db.ID{"note": w.stripeConn.ID}))
	w.person("Beta")
	if w.settled(2); steps() != 2 || w.count("SELECT count(*) FROM steps") != 3 {
		t.Errorf("%d steps are bound, and %d were taken", steps(), w.count("SELECT count(*) FROM steps"))
	}
	must(t, take(0, nil))
	if n := w.count("SELECT count(*) FROM flow_links WHERE pinned_version_id IS NULL"); n != 1 {
		t.Error("it does not follow the newest")
	}
}
