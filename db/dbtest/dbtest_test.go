package dbtest

import (
	"strconv"
	"testing"
)

func TestDatabasesAreApart(t *testing.T) {
	t.Parallel()
	for i := range 20 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			d := New(t)
			if _, err := d.Pool.Exec(t.Context(), "CREATE TABLE mine (id int); INSERT INTO river.river_queue (name, updated_at) VALUES ('mine', now())"); err != nil {
				t.Fatal(err)
			}
			var queues int
			if err := d.NewRaw("SELECT count(*) FROM river.river_queue").Scan(t.Context(), &queues); err != nil || queues != 1 {
				t.Errorf("%d queues (%v), want 1: not a fresh database", queues, err)
			}
		})
	}
}

func TestDroppedWithTheTest(t *testing.T) {
	t.Parallel()
	var left string
	t.Run("leaves connections open", func(t *testing.T) {
		if err := New(t).NewRaw("SELECT current_database()").Scan(t.Context(), &left); err != nil {
			t.Fatal(err)
		}
	})
	var there bool
	err := New(t).NewRaw("SELECT EXISTS (SELECT FROM pg_database WHERE datname = ?)", left).Scan(t.Context(), &there)
	if err != nil || there {
		t.Errorf("%s is still there (%v)", left, err)
	}
}
