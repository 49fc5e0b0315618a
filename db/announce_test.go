package db_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tieline/db"
	"tieline/db/dbtest"
)

// ears hear the announcements of a database.
func ears(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	if _, err := conn.Exec(t.Context(), "LISTEN "+db.ChangesChannel); err != nil {
		t.Fatal(err)
	}
	return conn
}

// hears tells whether there is an announcement within a time.
func hears(t *testing.T, conn *pgx.Conn, within time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, err := conn.WaitForNotification(ctx)
	if err != nil && ctx.Err() == nil {
		t.Fatal(err)
	}
	return err == nil
}

func openAt(t *testing.T, url string, opts ...db.Option) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func tell(t *testing.T, d *db.DB) {
	t.Helper()
	err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		return db.Tell(ctx, tx, db.Run{OrgID: db.NewID(), ID: db.NewID(), State: "RUNNING", Source: "WEBHOOK", Version: 1}, nil)
	})
	if err != nil {
		t.Error(err)
	}
}

const soon = 10 * time.Second

// Many commits share an announcement.
func TestAnnouncements(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	heard, d := ears(t, url), openAt(t, url)
	for range 3 {
		tell(t, d)
		if !hears(t, heard, soon) {
			t.Fatal("a commit was not announced")
		}
	}
	const all = 400
	begun := time.Now()
	var writing sync.WaitGroup
	for range 8 {
		writing.Go(func() {
			for range all / 8 {
				tell(t, d)
			}
		})
	}
	writing.Wait()
	tell(t, d)
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	took, n := time.Since(begun), 0
	for hears(t, heard, 500*time.Millisecond) {
		n++
	}
	if most := int(took/(10*time.Millisecond)) + 2; n == 0 || n > most {
		t.Errorf("%d announcements of %d commits in %s", n, all+1, took)
	}
}

func TestCloseAnnounces(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	heard := ears(t, url)
	for range 20 {
		d := openAt(t, url)
		tell(t, d)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if !hears(t, heard, soon) {
			t.Fatal("what was committed before Close was not announced")
		}
	}
}

// An announcement that cannot be made is let go, and the next one is made.
func TestAnnouncingOnALostConnection(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	heard, d := ears(t, url), openAt(t, url, db.MaxConns(1))
	for range 5 {
		err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			if err := db.Tell(ctx, tx, db.Run{OrgID: db.NewID(), ID: db.NewID(), State: "RUNNING", Source: "WEBHOOK", Version: 1}, nil); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
			return err
		})
		if err == nil {
			t.Error("the connection lives")
		}
	}
	tell(t, d)
	if !hears(t, heard, soon) {
		t.Error("nothing is announced any more")
	}
	begun := time.Now()
	if err := d.Close(); err != nil || time.Since(begun) > soon {
		t.Errorf("Close: %v, after %s", err, time.Since(begun))
	}
}
