package migrations

import (
	"context"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgxpool"

	"tieline/db/embedded"
)

var server = sync.OnceValues(func() (*embedded.Server, error) {
	return embedded.Start(context.Background(), embedded.Config{Temporary: true, Bin: os.Getenv("TIELINE_POSTGRES_BIN")})
})

// empty is a pool on a database with nothing in it; dbtest's are migrated.
func empty(t *testing.T, name string) *pgxpool.Pool {
	t.Helper()
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := pgxpool.New(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	for _, sql := range []string{"DROP DATABASE IF EXISTS ", "CREATE DATABASE "} { // there was one with -count
		if _, err := admin.Exec(t.Context(), sql+name); err != nil {
			t.Fatal(err)
		}
	}
	pool, err := pgxpool.New(t.Context(), s.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func count(t *testing.T, pool *pgxpool.Pool, what string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM "+what).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestUpTogetherAndAgain(t *testing.T) {
	t.Parallel()
	pool := empty(t, "together")
	var steps sync.Map
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			err := Up(t.Context(), pool, func(line string) {
				if _, again := steps.LoadOrStore(line, true); again {
					t.Errorf("%s ran twice", line)
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := Up(t.Context(), pool, func(line string) { t.Errorf("%s ran again", line) }); err != nil {
		t.Error(err)
	}
	if err := Up(t.Context(), pool, nil); err != nil {
		t.Error(err)
	}
	if got, want := count(t, pool, "bun_migrations"), len(names(files)); got != want {
		t.Errorf("%d files recorded, want %d", got, want)
	}
	if count(t, pool, "river.river_migration") == 0 {
		t.Error("River's tables are missing")
	}
}

func TestFileIsOneTransaction(t *testing.T) {
	t.Parallel()
	pool := empty(t, "files")
	fsys := fstest.MapFS{
		"20260101000000_first.up.sql":  {Data: []byte("CREATE TABLE a (j jsonb); SELECT 1 FROM a WHERE j ? 'x'; -- what?")},
		"20260102000000_second.up.sql": {Data: []byte("CREATE TABLE b (); SELECT 1/0;")},
		"20260103000000_third.up.sql":  {Data: []byte("CREATE TABLE c ();")},
	}
	err := up(t.Context(), pool, fsys, nil)
	if err == nil || !strings.Contains(err.Error(), "20260102000000_second") {
		t.Errorf("%v, want an error that names the file", err)
	}
	if n := count(t, pool, "pg_tables WHERE schemaname = 'public' AND tablename IN ('a', 'b', 'c')"); n != 1 || count(t, pool, "bun_migrations") != 1 {
		t.Errorf("%d tables, want the first file's only", n)
	}
	fsys["20260102000000_second.up.sql"].Data = []byte("CREATE TABLE b ();")
	if err := up(t.Context(), pool, fsys, nil); err != nil {
		t.Error(err)
	}
	if n := count(t, pool, "bun_migrations"); n != 3 {
		t.Errorf("%d files recorded, want 3", n)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	all, err := fs.Glob(files, "*")
	if err != nil || len(all) != len(names(files)) {
		t.Errorf("%v (%v) holds files that are not named .up.sql", all, err)
	}
	if h := Hash(); h != Hash() || len(h) != 16 {
		t.Errorf("hash %q", h)
	}
}
