package flow_test

import (
	"context"
	"testing"

	"tieline/db"
	"tieline/jobs/flow"
)

// TestLoopIsHeld: an event of a record about which too much was written is kept for a person, once released it goes its way,
// and only to the link that held it.
func TestLoopIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.engine.Timing.Writes = 2
	l := w.link("stripe.customers_in", nil)
	w.work()
	w.person("Acme")
	w.settled(1)
	w.whole(1)
	w.rest()
	// The vendor tells of the same customer as another's doing: the writes so far are two, one at each side.
	again := func(key string) db.ID {
		id := db.NewID()
		w.exec(`INSERT INTO events (org_id, id, connection_id, trigger, dedupe_key, source, vendor_at, due_at)
			SELECT org_id, ?, connection_id, trigger, ?, 'WEBHOOK', now(), now() FROM events LIMIT 1`, id, key)
		w.exec(`INSERT INTO event_bodies (org_id, event_id, at, body) SELECT e.org_id, e.id, e.received_at, b.body FROM events e, event_bodies b WHERE e.id = ? LIMIT 1`, id)
		must(t, w.engine.Dispatch(t.Context(), w.org, id))
		return id
	}
	outcomes := func(id db.ID) (list []string) {
		must(t, w.db.NewRaw("SELECT outcome || ' ' || (reason <> '') || ' ' || (flow_link_id = ?) FROM event_outcomes WHERE event_id = ?", l.ID, id).Scan(t.Context(), &list))
		return list
	}
	id := again("evt_again")
	if got := outcomes(id); len(got) != 1 || got[0] != "HELD true true" {
		t.Fatalf("came to %q", got)
	}
	release := func() error {
		return w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error { return w.engine.Release(ctx, tx, w.org, id) })
	}
	must(t, release())
	must(t, w.engine.Dispatch(t.Context(), w.org, id))
	if got := outcomes(id); len(got) != 1 || got[0] != "DUPLICATE true true" { // the customer's creation has a run already
		t.Errorf("released, it came to %q", got)
	}
	if p, ok := release().(flow.Problems); !ok || p[0].Code != flow.CodeState {
		t.Errorf("released twice: %v", p)
	}
	w.engine.Timing.Writes = 3
	if got := outcomes(again("evt_few")); len(got) != 1 || got[0] != "DUPLICATE true true" {
		t.Errorf("with few writes it came to %q", got)
	}
}
