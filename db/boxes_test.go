package db_test

import (
	"slices"
	"strings"
	"testing"

	"tieline/db"
	"tieline/db/dbtest"
)

// TestPlaces: whatever is binary is a hash, a body or in the list of what must be sealed again when keys change.
func TestPlaces(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	var columns []string
	err := d.NewRaw(`SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.atttypid = 'bytea'::regtype ORDER BY 1`).Scan(t.Context(), &columns)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, p := range db.Places {
		want = append(want, p.Table+"."+p.Column)
	}
	open := []string{"event_bodies.body"}
	columns = slices.DeleteFunc(columns, func(c string) bool { return strings.HasSuffix(c, "hash") || slices.Contains(open, c) })
	slices.Sort(want)
	if !slices.Equal(columns, want) {
		t.Errorf("binary columns %v, places of boxes %v", columns, want)
	}
}
