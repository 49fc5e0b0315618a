package db_test

import (
	"context"
	"reflect"
	"testing"
	"time"

	"tieline/db"
	"tieline/db/dbtest"
)

// TestPreparedReadsLikeBun: a row is the same however it is read, NULLs, lists and documents included.
func TestPreparedReadsLikeBun(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	at := time.Date(2026, 3, 1, 12, 0, 0, 5000, time.UTC)
	full := db.Run{
		OrgID: db.NewID(), ID: db.NewID(), FlowID: db.NewID(), FlowVersionID: db.NewID(), FlowLinkID: db.NewID(), ConnectionID: db.NewID(), EventID: db.NewID(), EventAt: at, Source: "WEBHOOK",
		BusinessKey: `a "key"`, Replay: 2, Lane: "l", Entity: "customer", RecordID: "cus", RecordName: "Ä", VendorAt: at, MappingID: db.NewID(), State: "WAITING", WaitingReason: "RATE",
		WakeAt: at, DueAt: at, LeaseUntil: at, Fence: 3, Version: 4, EchoOf: db.NewID(), Chain: []db.ID{db.NewID(), db.NewID()}, FailedItems: 5, Progress: []byte(`{"listed": 1}`),
		ErrorKind: "Busy", Error: "e", CreatedAt: at, StartedAt: at, EndedAt: at,
	}
	bare := full
	bare.ID, bare.MappingID, bare.EchoOf, bare.State, bare.WaitingReason, bare.ErrorKind, bare.Chain, bare.Progress = db.NewID(), db.ID{}, db.ID{}, "QUEUED", "", "", []db.ID{}, nil
	bare.WakeAt, bare.DueAt, bare.LeaseUntil, bare.StartedAt, bare.EndedAt, bare.BusinessKey = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}, "b"
	for _, r := range []db.Run{full, bare} {
		err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			if _, err := tx.NewRaw("SET LOCAL session_replication_role = replica").Exec(ctx); err != nil { // its neighbours do not matter here
				return err
			}
			_, err := tx.NewInsert().Model(&r).Exec(ctx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		want, err := db.GetRun(t.Context(), d, r.OrgID, r.ID)
		if err != nil {
			t.Fatal(err)
		}
		// A column that a newer version has added is left out.
		got, err := db.PreparedRun(t.Context(), d.Pool, "SELECT 1 AS newer, * FROM runs WHERE org_id = $1 AND id = $2", r.OrgID, r.ID)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("read as\n%+v (%v), want\n%+v", got, err, want)
		}
	}
	if _, err := db.PreparedRun(t.Context(), d.Pool, "SELECT * FROM runs WHERE org_id = $1", db.NewID()); err != db.ErrNotFound {
		t.Errorf("no row: %v", err)
	}
	if _, err := db.PreparedRun(t.Context(), d.Pool, "SELECT ARRAY[1] AS fence"); err == nil {
		t.Error("a column that does not fit its field is no error")
	}
}
