package db

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestLendingWhatIsGone: an empty connection is what is left of one that a rollback closed while it was asked for.
func TestLendingWhatIsGone(t *testing.T) {
	tx := Tx{conn: &sql.Conn{}}
	err := tx.Pgx(func(pgx.Tx) error { t.Error("something was lent"); return nil })
	if !errors.Is(err, sql.ErrTxDone) {
		t.Errorf("%v, want sql.ErrTxDone", err)
	}
}
