package flow_test

import (
	"testing"

	"tieline/db"
)

// TestStuckEvent: an event that cannot be dispatched stays due, and keeps nobody else's link from being enabled.
func TestStuckEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.link("stripe.customers_in", nil)
	w.exec(`CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'stuck'; END $$`)
	w.exec(`CREATE TRIGGER stuck BEFORE INSERT ON runs FOR EACH ROW EXECUTE FUNCTION stuck()`)
	w.person("Acme")
	w.until("the event", "SELECT count(*) = 1 FROM events")
	w.exec("UPDATE flow_links SET name = 'first' WHERE id = ?", first.ID)
	second := w.link("stripe.customers_in", nil)
	if !second.Enabled {
		t.Error("the second link is off")
	}
	if n := w.count("SELECT count(*) FROM events WHERE dispatched_at IS NULL AND due_at IS NOT NULL"); n != 1 {
		t.Errorf("%d events are due", n)
	}
	w.exec("DROP TRIGGER stuck ON runs")
	var id db.ID
	must(t, w.db.NewRaw("SELECT id FROM events").Scan(t.Context(), &id))
	must(t, w.engine.Dispatch(t.Context(), w.org, id))
	if n := w.count("SELECT count(*) FROM runs WHERE flow_link_id = ?", first.ID); n != 1 {
		t.Errorf("%d runs of the first link, once it can be dispatched", n)
	}
}
