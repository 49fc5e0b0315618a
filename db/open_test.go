package db_test

import (
	"strings"
	"testing"
	"time"

	"tieline/db"
	"tieline/db/dbtest"
)

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"postgres://app:hunter2@127.0.0.1:1/tieline":        `the database "tieline" at 127.0.0.1:1 does not answer`,
		"postgres://app:hunter2@localhost:nan/tieline":      "DATABASE_URL is not a Postgres URL",
		"mysql://app:hunter2@localhost/tieline":             "DATABASE_URL is not a Postgres URL",
		strings.Replace(dbtest.URL(t), "/tieline", "/x", 1): `the database "x`,
	} {
		d, err := db.Open(t.Context(), address)
		if err == nil {
			d.Close()
			t.Errorf("%s opened", address)
		} else if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %q and no password", err, want)
		}
	}
}

func TestTimesAreUTC(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	var viaBun time.Time
	var session string
	if err := d.NewRaw("SELECT now(), current_setting('timezone')").Scan(t.Context(), &viaBun, &session); err != nil {
		t.Fatal(err)
	}
	var viaPgx time.Time
	if err := d.Pool.QueryRow(t.Context(), "SELECT now()").Scan(&viaPgx); err != nil {
		t.Fatal(err)
	}
	if viaBun.Location() != time.UTC || viaPgx.Location() != time.UTC || session != "UTC" {
		t.Errorf("times in %v and %v, session in %s; want UTC", viaBun.Location(), viaPgx.Location(), session)
	}
}

func TestUpperCaseBeyondASCII(t *testing.T) {
	t.Parallel()
	var same bool
	if err := dbtest.New(t).NewRaw("SELECT lower('É') = 'é' AND 'É' ILIKE 'é'").Scan(t.Context(), &same); err != nil || !same {
		t.Errorf("the database's locale does not know upper case (%v)", err)
	}
}
