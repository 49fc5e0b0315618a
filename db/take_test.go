package db_test

import (
	"slices"
	"testing"
	"time"

	"tieline/db"
	"tieline/db/dbtest"
)

// TestSweeps looks at when a row comes again: soon at first, then ever later, and never while somebody reads.
func TestSweeps(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	org, err := db.CreateOrganization(t.Context(), d, "Acme")
	if err != nil {
		t.Fatal(err)
	}
	account, err := db.ClaimVendorAccount(t.Context(), d, db.VendorAccount{OrgID: org.OrgID, App: "stripe", ExternalID: "acct_1", Mode: "test"})
	if err != nil {
		t.Fatal(err)
	}
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := d.NewRaw(sql, args...).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	connect := func(name, state string) db.ID {
		c := db.Connection{
			OrgID: org.OrgID, ID: db.NewID(), App: "stripe", Name: name, VendorAccountID: account.ID, State: state, Hints: map[string]string{}, Permissions: []byte("[]"),
			WebhookTokenHash: []byte(name), WebhookToken: []byte{}, WebhookState: "MANUAL",
		}
		if err := db.AddConnection(t.Context(), d, &c); err != nil {
			t.Fatal(err)
		}
		for _, trigger := range []string{"customer.created", "customer.updated"} {
			if err := db.AddCursor(t.Context(), d, org.OrgID, c.ID, trigger); err != nil {
				t.Fatal(err)
			}
		}
		return c.ID
	}
	active, broken := connect("active", "ACTIVE"), connect("broken", "NEEDS_REAUTH")
	read := connect("being read", "ACTIVE")
	exec("INSERT INTO flows (org_id, id, key, kind, direction, name) VALUES (?, ?, 'f', 'SHIPPED', 'INBOUND', 'f')", org.OrgID, db.NewID())
	dbtest.Listen(t, d, org.OrgID)
	connect("nobody listens to", "ACTIVE")
	exec("UPDATE cursors SET lease_until = now() + interval '30 seconds' WHERE connection_id = ?", read)

	conns, err := db.SweepCursors(t.Context(), d, 10)
	if err != nil || !slices.ContainsFunc(conns, func(c db.Connection) bool { return c.ID == active && c.OrgID == org.OrgID }) ||
		slices.ContainsFunc(conns, func(c db.Connection) bool { return c.ID == broken }) || len(conns) != 2 {
		t.Errorf("due: %v (%v), want the active ones, each once", conns, err)
	}
	if again, err := db.SweepCursors(t.Context(), d, 10); err != nil || len(again) != 0 {
		t.Errorf("due again at once: %v (%v)", again, err)
	}
	wait := func(id db.ID) time.Duration {
		t.Helper()
		var seconds float64
		if err := d.NewRaw("SELECT extract(epoch FROM due_at - now()) FROM cursors WHERE connection_id = ? ORDER BY trigger LIMIT 1", id).Scan(t.Context(), &seconds); err != nil {
			t.Fatal(err)
		}
		return time.Duration(seconds * float64(time.Second)).Round(5 * time.Second)
	}
	if wait(active) != 10*time.Second || wait(broken) != 10*time.Second || wait(read) != 30*time.Second {
		t.Errorf("due again in %s, %s and %s, want 10 s, 10 s and when the lease ends", wait(active), wait(broken), wait(read))
	}
	exec("UPDATE cursors SET due_at = now(), read_at = now() - interval '1 hour'")
	if _, err := db.SweepCursors(t.Context(), d, 10); err != nil || wait(active) != time.Minute {
		t.Errorf("what nobody reads is due again in %s (%v), want a minute", wait(active), err)
	}
	// A reader that dies leaves its lease, whether the sweeper came before it or while it was reading.
	exec("UPDATE cursors SET due_at = now(), read_at = now() - interval '1 hour'")
	if _, err := db.SweepCursors(t.Context(), d, 10); err != nil || wait(read) != 30*time.Second {
		t.Errorf("what somebody reads is due again in %s (%v), want when the lease ends", wait(read), err)
	}
	exec("UPDATE cursors SET due_at = CASE WHEN trigger = 'customer.created' THEN now() + interval '1 minute' END WHERE connection_id = ?", active)
	for _, trigger := range []string{"customer.created", "customer.updated"} {
		cur, err := db.LeaseCursor(t.Context(), d, org.OrgID, active, trigger, 15*time.Second)
		if err != nil || trigger == "customer.created" && wait(active) != 15*time.Second {
			t.Errorf("leased for 15 s it is due in %s (%v)", wait(active), err)
		}
		if err := db.RenewCursor(t.Context(), d, &cur, 20*time.Second); err != nil || trigger == "customer.created" && wait(active) != 20*time.Second {
			t.Errorf("renewed for 20 s it is due in %s (%v)", wait(active), err)
		}
	}
	var idle int
	if err := d.NewRaw("SELECT count(*) FROM cursors WHERE due_at IS NULL").Scan(t.Context(), &idle); err != nil || idle != 1 {
		t.Errorf("%d cursors are never due (%v): a lease must not change that", idle, err)
	}

	exec("UPDATE connections SET care_at = CASE id WHEN ? THEN now() WHEN ? THEN now() + interval '1 minute' END", active, broken)
	cared, err := db.SweepCare(t.Context(), d, 10)
	if err != nil || len(cared) != 1 || cared[0].ID != active || cared[0].OrgID != org.OrgID {
		t.Errorf("endpoints to look at: %v (%v), want the one that is due", cared, err)
	}
	if again, err := db.SweepCare(t.Context(), d, 10); err != nil || len(again) != 0 {
		t.Errorf("endpoints to look at again at once: %v (%v)", again, err)
	}

	for _, age := range []string{"0", "1 minute", "1 hour"} {
		exec(`INSERT INTO events (org_id, id, connection_id, trigger, dedupe_key, source, vendor_at, received_at, due_at)
			VALUES (?, ?, ?, 'customer.created', ?, 'WEBHOOK', now(), now() - ?::interval, now())`, org.OrgID, db.NewID(), active, age, age)
	}
	events, err := db.SweepEvents(t.Context(), d, 10)
	if err != nil || len(events) != 3 {
		t.Errorf("%d events due (%v), want 3", len(events), err)
	}
	var waits []int
	if err := d.NewRaw("SELECT round(extract(epoch FROM due_at - now()) / 5) * 5 FROM events ORDER BY due_at").Scan(t.Context(), &waits); err != nil || !slices.Equal(waits, []int{10, 60, 300}) {
		t.Errorf("due again in %v s (%v), want 10, 60 and 300", waits, err)
	}
}
