package db

import (
	"database/sql"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// ErrNotFound is a row that does not exist, or not in this organization: the two look alike.
	ErrNotFound = errors.New("not found")
	// ErrConflict is a row that is no longer what the caller saw, or one that exists already.
	ErrConflict = errors.New("conflict")
)

// IsUnique reports whether err is a violated unique constraint, of those named if any are.
func IsUnique(err error, constraint ...string) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "23505" && (len(constraint) == 0 || slices.Contains(constraint, pg.ConstraintName))
}

// Retryable reports whether the whole transaction may succeed when run again: serialization failure, deadlock, or a lock that
// was waited for too long.
func Retryable(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "40001" || pg.Code == "40P01" || pg.Code == "55P03")
}

// found turns a missing row into ErrNotFound.
func found(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}
