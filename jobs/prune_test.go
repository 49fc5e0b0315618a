package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"tieline/connectors/sim"
	"tieline/db"
	"tieline/jobs/flow"
)

// TestPrune removes what is past its time and nothing else; the feed's newest change stays.
func TestPrune(t *testing.T) {
	t.Parallel()
	w := open(t)
	j := w.process(t)
	o, err := db.CreateOrganization(t.Context(), w.DB, "prune")
	if err != nil {
		t.Fatal(err)
	}
	token := db.NewID()
	if _, err := w.NewRaw(`INSERT INTO api_tokens (org_id, id, name, hash, hint, scopes) VALUES (?, ?, 'x', 'x', 'x', '{READ}')`, o.OrgID, token).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, age := range []string{"30 days", "25 hours", "1 hour"} {
		if _, err := w.NewRaw(`INSERT INTO claims (org_id, id, token_id, field, idempotency_key, input_hash, created_at) VALUES (?, ?, ?, 'f', ?, 'h', now() - ?::interval)`,
			o.OrgID, db.NewID(), token, string(rune('a'+i)), age).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.NewRaw(`INSERT INTO changes (org_id, pos, run_id, flow_id, flow_link_id, connection_id, source, version, state, at)
			VALUES (?0, ?1, ?0, ?0, ?0, ?0, 'MANUAL', 1, 'QUEUED', now() - ?2::interval)`, o.OrgID, i+1, age).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.NewRaw(`INSERT INTO authorizations (org_id, id, connection_id, app, state_hash, expires_at) VALUES (?0, ?1, ?1, 'zohobooks', ?2, now() - ?3::interval)`,
			o.OrgID, db.NewID(), age, age).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.prune(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	var claims, changes, authorizations int
	if err := w.NewRaw("SELECT (SELECT count(*) FROM claims), (SELECT count(*) FROM changes), (SELECT count(*) FROM authorizations)").Scan(t.Context(), &claims, &changes, &authorizations); err != nil || claims != 1 || changes != 2 || authorizations != 1 {
		t.Errorf("%d claims, %d changes, %d authorizations (%v)", claims, changes, authorizations, err)
	}
}

// TestPruneHistory lets months go by: what is over goes, and what is not, and what proves that a record was made, stays.
func TestPruneHistory(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.link(t)
	workers := w.start(t)
	var events []db.ID
	for n := range 3 {
		events = append(events, w.customer(t, n, true))
	}
	w.until(t, "the runs to succeed", "SELECT count(*) = 3 FROM runs WHERE state = 'SUCCEEDED'")
	w.togai.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: sim.Before, Status: 409, Count: -1})
	live := w.customer(t, 3, true)
	w.until(t, "a run to wait for a person", "SELECT count(*) = 1 FROM runs WHERE state = 'WAITING' AND waiting_reason = 'PERSON' AND event_id = ?", live)
	w.togai.ClearFaults()
	if err := workers.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	do := func(sql string, args ...any) {
		t.Helper()
		if _, err := w.NewRaw(sql, args...).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// One run ended although nobody knows what became of a write of it, and one record was there before its connection was.
	do("UPDATE effects SET state = 'CONFLICT' WHERE kind = 'SET' AND run_id = (SELECT id FROM runs WHERE event_id = ?)", events[2])
	known := db.NewID()
	do(`INSERT INTO events (org_id, id, connection_id, trigger, dedupe_key, source, vendor_at, dispatched_at)
		SELECT org_id, ?, id, 'account.created', 'account.created:old', 'BASELINE', now(), now() FROM connections WHERE app = 'togai'`, known)
	mapped := w.rows(t, "SELECT concat_ws(' ', entity, external_id, effect_id) FROM mapping_slots WHERE external_id IS NOT NULL")
	if len(mapped) != 10 {
		t.Fatalf("%d slots: %v", len(mapped), mapped)
	}
	again := func(key db.ID) int {
		t.Helper()
		var fresh []db.Fresh
		if err := w.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
			fresh, err = db.TakeEvents(ctx, tx, flow.FromWebhook, []db.Arrival{{
				OrgID: w.org, ID: db.NewID(), ConnectionID: w.conn.ID, Trigger: "customer.created", DedupeKey: key.String(), VendorAt: time.Now(), Body: []byte("{}"),
			}})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return len(fresh)
	}
	in := func(days int) {
		t.Helper()
		// Two processes at once.
		var both sync.WaitGroup
		for _, j := range []*Jobs{workers, w.process(t)} {
			both.Go(func() {
				if err := j.prune(t.Context(), time.Now().AddDate(0, 0, days)); err != nil {
					t.Errorf("after %d days: %v", days, err)
				}
			})
		}
		both.Wait()
	}
	in(29)
	if n := w.rows(t, "SELECT event_id::text FROM event_bodies"); len(n) != 4 {
		t.Errorf("after 29 days %d bodies are left", len(n))
	}
	in(32)
	if got := w.rows(t, "SELECT event_id::text FROM event_bodies"); len(got) != 1 || got[0] != live.String() {
		t.Errorf("after 32 days the bodies left are %v, want that of %s, whose run goes on", got, live)
	}
	in(89)
	if got := w.rows(t, "SELECT id::text FROM runs"); len(got) != 4 {
		t.Errorf("after 89 days %d runs are left", len(got))
	}
	for _, e := range events {
		if again(e) != 0 {
			t.Errorf("event %s came again and was taken for another", e)
		}
	}
	in(92)
	if got := w.rows(t, "SELECT event_id::text FROM runs ORDER BY id"); len(got) != 2 || got[0] != events[2].String() || got[1] != live.String() {
		t.Errorf("the runs left are of %v, want %s and %s", got, events[2], live)
	}
	if got := w.rows(t, "SELECT id::text FROM events ORDER BY id"); len(got) != 3 || !slices.Contains(got, known.String()) {
		t.Errorf("the events left are %v, want those of the runs and %s", got, known)
	}
	if got := w.rows(t, "SELECT concat_ws(' ', entity, external_id, effect_id) FROM mapping_slots WHERE external_id IS NOT NULL"); !slices.Equal(got, mapped) {
		t.Errorf("mappings changed: %v, were %v", got, mapped)
	}
	if n := w.rows(t, `SELECT s.external_id FROM mapping_slots s LEFT JOIN effects e ON e.org_id = s.org_id AND e.id = s.effect_id AND e.kind = 'CREATE' AND e.state = 'CONFIRMED'
		WHERE s.external_id IS NOT NULL AND s.effect_id IS NOT NULL AND e.id IS NULL`); len(n) > 0 {
		t.Errorf("nothing proves any more that these were made: %v", n)
	}
	if n := w.rows(t, "SELECT 'x' FROM effects e LEFT JOIN runs r ON r.org_id = e.org_id AND r.id = e.run_id WHERE r.id IS NULL AND e.kind <> 'CREATE' AND e.run_id IS NOT NULL"); len(n) > 0 {
		t.Errorf("%d effects of runs that have gone", len(n))
	}
	// Heard of once more after that, it is a run that finds everything there.
	if again(events[0]) != 1 {
		t.Fatal("after 92 days nobody remembers the event")
	}
	do("UPDATE event_bodies SET body = ? WHERE event_id = (SELECT id FROM events WHERE dedupe_key = ?)", w.body(t, 0), events[0].String())
	do("UPDATE events SET due_at = now() WHERE dedupe_key = ?", events[0].String())
	made := len(w.togai.Customers())
	w.start(t)
	w.until(t, "that run to end", "SELECT ended_at IS NOT NULL FROM runs WHERE event_id = (SELECT id FROM events WHERE dedupe_key = ?)", events[0].String())
	if got := w.rows(t, "SELECT concat_ws(' ', s.key, s.state, r.state) FROM steps s JOIN runs r ON r.id = s.run_id WHERE r.event_id = (SELECT id FROM events WHERE dedupe_key = ?) AND position = 0", events[0].String()); len(got) != 1 || got[0] != "account ADOPTED SUCCEEDED" {
		t.Errorf("it ended as %v", got)
	}
	if n := len(w.togai.Customers()); n != made {
		t.Errorf("%d customers became %d", made, n)
	}
}

// rows are the texts that a query answers.
func (w *world) rows(t *testing.T, query string, args ...any) (out []string) {
	t.Helper()
	if err := w.NewRaw(query, args...).Scan(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// body is that of the event of the nth customer made.
func (w *world) body(t *testing.T, n int) []byte {
	t.Helper()
	list, err := http.NewRequest("GET", fmt.Sprintf("%s/v1/events?type=customer.created", w.stripe.URL), nil)
	if err != nil {
		t.Fatal(err)
	}
	list.Header.Set("Authorization", "Bearer "+w.stripe.Key())
	resp, err := http.DefaultClient.Do(list)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var page struct{ Data []json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil || len(page.Data) <= n {
		t.Fatalf("%d events (%v)", len(page.Data), err)
	}
	return page.Data[len(page.Data)-1-n]
}
