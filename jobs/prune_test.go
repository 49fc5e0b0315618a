package jobs

import (
	"testing"
	"time"

	"tieline/db"
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
	}
	if err := j.prune(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	var claims, changes int
	if err := w.NewRaw("SELECT (SELECT count(*) FROM claims), (SELECT count(*) FROM changes)").Scan(t.Context(), &claims, &changes); err != nil || claims != 1 || changes != 2 {
		t.Errorf("%d claims, %d changes (%v)", claims, changes, err)
	}
}
