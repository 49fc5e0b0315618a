// Package dbtest gives every test a migrated Postgres database of its own.
//
// A test binary starts one private server on first use; nothing has to be stopped, as it ends with the process. When
// TEST_DATABASE_URL names a server, that one is used. Without Postgres tests fail: a skip reads as a pass.
package dbtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tieline/db"
	"tieline/db/embedded"
	"tieline/db/migrations"
)

const (
	poolSize       = 4
	maxConnections = 200             // for parallel tests, each with its pools
	startWithin    = 5 * time.Minute // a first download included
)

// New opens a fresh database, migrated and empty, that goes away with the test.
func New(t testing.TB) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), URL(t), db.MaxConns(poolSize), db.AppName("tieline test"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// URL makes a fresh database, migrated and empty, for tests that start whole processes. It goes away with the test,
// whoever is connected; on a server of your own that of a failed test is kept, and its URL is printed.
func URL(t testing.TB) string {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatalf("a test needs Postgres: %v", err)
	}
	name := "tieline_test_" + strings.ReplaceAll(db.NewID().String(), "-", "")
	if err := s.do(t.Context(), "CREATE DATABASE "+name+" TEMPLATE "+s.template+" STRATEGY file_copy"); err != nil {
		t.Fatalf("making a test database: %v", err)
	}
	address := s.address(name)
	t.Cleanup(func() {
		if t.Failed() && s.outside {
			t.Logf("the test's database is kept: %s", address)
			return
		}
		if err := s.do(context.WithoutCancel(t.Context()), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("dropping the test's database: %v", err)
		}
	})
	return address
}

// Listen has somebody listen to everything that an organization's connections can read: an enabled link of any of its flows,
// of which there must be one, for each of their triggers. Such a link has no steps and cannot run.
func Listen(t testing.TB, d *db.DB, org db.ID) {
	t.Helper()
	if _, err := d.NewRaw(`INSERT INTO flow_links (org_id, id, flow_id, name, trigger_connection_id, trigger, enabled, enabled_at)
		SELECT cu.org_id, gen_random_uuid(), (SELECT id FROM flows f WHERE f.org_id = cu.org_id LIMIT 1), cu.trigger || cu.connection_id, cu.connection_id, cu.trigger, true, now()
		FROM cursors cu WHERE cu.org_id = ?`, org).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// server is where the databases are made.
type server struct {
	admin    string // URL of the database to administer from
	template string
	outside  bool // named by TEST_DATABASE_URL
	address  func(dbname string) string
}

var shared = sync.OnceValues(func() (*server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	s := &server{template: "tieline_template_" + migrations.Hash()}
	if outside := os.Getenv("TEST_DATABASE_URL"); outside != "" {
		u, err := url.Parse(outside)
		if err != nil || u.Scheme == "" {
			return nil, fmt.Errorf("TEST_DATABASE_URL is not a URL")
		}
		s.admin, s.outside = outside, true
		s.address = func(dbname string) string {
			v := *u
			v.Path = "/" + dbname
			return v.String()
		}
		return s, s.makeTemplate(ctx)
	}
	pg, err := embedded.Start(ctx, embedded.Config{
		Temporary: true, Bin: os.Getenv("TIELINE_POSTGRES_BIN"), MaxConnections: maxConnections, Log: os.Stderr,
	})
	if err != nil {
		return nil, err
	}
	s.admin, s.address = pg.URL("postgres"), pg.URL
	return s, s.makeTemplate(ctx)
})

// makeTemplate migrates the database that the tests' are copied from, unless another test binary did so before.
func (s *server) makeTemplate(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.admin)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // gives the lock back
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext('tieline test template'))"); err != nil {
		return err
	}
	var done bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)", s.template).Scan(&done); err != nil || done {
		return err
	}
	for _, sql := range []string{"DROP DATABASE IF EXISTS " + s.template + " WITH (FORCE)", "CREATE DATABASE " + s.template} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	d, err := db.Open(ctx, s.address(s.template), db.MaxConns(poolSize))
	if err != nil {
		return err
	}
	err = migrations.Up(ctx, d.Pool, nil)
	d.Close() // nobody may be connected to a template that is copied
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "ALTER DATABASE "+s.template+" IS_TEMPLATE true")
	return err
}

// do runs one statement on a connection of its own.
func (s *server) do(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, s.admin)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}
