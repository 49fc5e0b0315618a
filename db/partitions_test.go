package db_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tieline/db"
	"tieline/db/dbtest"
)

const oneDay = 24 * time.Hour

// bodies are where the bodies of events are: "partition: how many".
func bodies(t *testing.T, d *db.DB) string {
	t.Helper()
	var out []string
	if err := d.NewRaw("SELECT replace(tableoid::regclass::text, 'event_bodies_', '') || ': ' || count(*) FROM event_bodies GROUP BY tableoid ORDER BY 1").Scan(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, ", ")
}

// stored adds an event of a connection, received at a time; pending says that nobody has dispatched it.
func stored(t testing.TB, d *db.DB, conn db.Connection, at time.Time, pending bool) db.Event {
	t.Helper()
	at = at.UTC().Truncate(time.Microsecond)
	e := db.Event{OrgID: conn.OrgID, ID: db.NewID(), ConnectionID: conn.ID, Trigger: "t", Source: "WEBHOOK", VendorAt: at, ReceivedAt: at}
	e.DedupeKey = e.ID.String()
	if pending {
		e.DueAt = at
	} else {
		e.DispatchedAt = at
	}
	if err := d.InTx(context.WithoutCancel(t.Context()), func(ctx context.Context, tx db.Tx) error { return db.AddEvent(ctx, tx, e, []byte("body")) }); err != nil {
		t.Error(err)
	}
	return e
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	conn := aConnection(t, d)
	noon := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	on := func(days int) time.Time { return noon.Add(time.Duration(days) * oneDay) }
	for _, e := range []int{-40, -3, 0, 0, 1} {
		stored(t, d, conn, on(e), false)
	}
	if got := bodies(t, d); got != "default: 5" {
		t.Fatal(got)
	}
	// A partition that cannot be made is made later.
	busy, err := d.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := busy.Exec(t.Context(), "LOCK TABLE event_bodies_default IN ROW EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	if err := db.PartitionBodies(t.Context(), d, on(-30), on(0), on(2)); err == nil || !strings.Contains(err.Error(), "2026-03-07") {
		t.Errorf("beside somebody who uses the table: %v", err)
	}
	if err := busy.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Several processes at once, while events come in.
	stop, end := context.WithCancel(t.Context())
	var writer, makers sync.WaitGroup
	n := 0
	writer.Go(func() {
		for ; stop.Err() == nil; n++ {
			stored(t, d, conn, on(0), false)
		}
	})
	read := stored(t, d, conn, on(0), false)
	for range 2 {
		writer.Go(func() {
			for stop.Err() == nil {
				if _, err := db.EventBody(context.WithoutCancel(stop), d, read.OrgID, read.ID, read.ReceivedAt); err != nil {
					t.Errorf("a body that moves is not found: %v", err)
				}
			}
		})
	}
	for range 4 {
		makers.Go(func() {
			if err := db.PartitionBodies(t.Context(), d, on(-30), on(0), on(2)); err != nil {
				t.Error(err)
			}
		})
	}
	makers.Wait()
	if err := db.PartitionBodies(t.Context(), d, on(-30), on(0), on(2)); err != nil { // whoever came second did nothing
		t.Error(err)
	}
	end()
	writer.Wait()
	if got, want := bodies(t, d), fmt.Sprintf("20260307: 1, 20260310: %d, 20260311: 1, default: 1", 3+n); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	stored(t, d, conn, on(2), false)
	waits := stored(t, d, conn, on(-3).Add(time.Minute), true)
	if err := db.DropBodies(t.Context(), d, on(1), 1); err != nil {
		t.Fatal(err)
	}
	if got := bodies(t, d); got != "20260311: 1, 20260312: 1, default: 1" {
		t.Errorf("what is left: %s", got)
	}
	if body, err := db.EventBody(t.Context(), d, waits.OrgID, waits.ID, waits.ReceivedAt); err != nil || string(body) != "body" {
		t.Errorf("an event that was not dispatched yet has lost its body: %v", err)
	}
	if err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error { return db.EventsDispatched(ctx, tx, waits) }); err != nil {
		t.Fatal(err)
	}
	// Its day is past what is kept, so no partition is made for it again.
	if err := db.PartitionBodies(t.Context(), d, on(1), on(3), on(3)); err != nil {
		t.Fatal(err)
	}
	if err := db.DropBodies(t.Context(), d, on(1), 1); err != nil {
		t.Fatal(err)
	}
	if got := bodies(t, d); got != "20260311: 1, 20260312: 1" {
		t.Errorf("in the end: %s", got)
	}
}

// aConnection is of an organization of its own.
func aConnection(t *testing.T, d *db.DB) db.Connection {
	t.Helper()
	org, err := db.CreateOrganization(t.Context(), d, "Acme")
	if err != nil {
		t.Fatal(err)
	}
	v, err := db.ClaimVendorAccount(t.Context(), d, db.VendorAccount{OrgID: org.OrgID, App: "stripe", ExternalID: "acct_1", Mode: "test"})
	if err != nil {
		t.Fatal(err)
	}
	c := db.Connection{OrgID: org.OrgID, ID: db.NewID(), App: "stripe", Name: "Stripe", VendorAccountID: v.ID, State: "ACTIVE",
		WebhookTokenHash: []byte("h"), WebhookToken: []byte("t"), WebhookState: "MISSING", Permissions: []byte("[]"), Hints: db.Texts{}}
	if err := db.AddConnection(t.Context(), d, &c); err != nil {
		t.Fatal(err)
	}
	return c
}
