package db_test

import (
	"slices"
	"testing"
	"time"

	"tieline/db"
	"tieline/db/dbtest"
)

// TestPruneEvents goes on behind what stays.
func TestPruneEvents(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	conn := aConnection(t, d)
	now := time.Now()
	var stays []db.ID
	for i, age := range []int{100, 99, 98, 97, 96, 95, 94} {
		e := stored(t, d, conn, now.AddDate(0, 0, -age), i == 1)
		if i == 2 {
			if _, err := d.NewRaw("UPDATE events SET trigger = 'listed' WHERE id = ?", e.ID).Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if i == 1 || i == 2 {
			stays = append(stays, e.ID)
		}
	}
	looks := 0
	for at, more := (db.ID{}), true; more; more = at != (db.ID{}) {
		var err error
		// As if it were later, as ids tell when they were made.
		if at, err = db.PruneEvents(t.Context(), d, conn.OrgID, at, now.Add(time.Hour), []string{"stripe/listed"}, 2); err != nil {
			t.Fatal(err)
		}
		if looks++; looks > 10 {
			t.Fatal("it does not end")
		}
	}
	var left []db.ID
	if err := d.NewRaw("SELECT id FROM events ORDER BY id").Scan(t.Context(), &left); err != nil || !slices.Equal(left, stays) || looks != 4 {
		t.Errorf("%v are left after %d looks (%v), want %v", left, looks, err, stays)
	}
}
