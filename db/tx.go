package db

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
)

// Tx is one transaction seen two ways: as bun.Tx for our rows, lent by Pgx to whoever speaks pgx.
type Tx struct {
	bun.Tx
	conn *sql.Conn
	told *bool // changes of runs, to be announced once they are committed
}

// InTx runs fn in a transaction: committed when fn returns nil, rolled back on an error, a panic or the context's end.
func (d *DB) InTx(ctx context.Context, fn func(context.Context, Tx) error) error {
	return d.InTxOpts(ctx, nil, fn)
}

// InTxOpts is InTx with an isolation level or read-only.
func (d *DB) InTxOpts(ctx context.Context, opts *sql.TxOptions, fn func(context.Context, Tx) error) error {
	return d.in(ctx, d.DB, opts, fn)
}

// InShared is InTx for what several do at once, on Keyed: no more than a few statements, always the same.
func (d *DB) InShared(ctx context.Context, fn func(context.Context, Tx) error) error {
	return d.in(ctx, d.shared, nil, fn)
}

func (d *DB) in(ctx context.Context, pool *bun.DB, opts *sql.TxOptions, fn func(context.Context, Tx) error) error {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	told := false
	err = conn.RunInTx(ctx, opts, func(ctx context.Context, tx bun.Tx) error {
		return fn(ctx, Tx{Tx: tx, conn: conn.Conn, told: &told})
	})
	if err == nil && told {
		d.changes.announce()
	}
	return err
}

// Savepoint runs fn so that its error undoes only what fn did. River makes none, and an error of its leaves the
// transaction aborted, so what may fail and be forgiven goes in here.
func (t Tx) Savepoint(ctx context.Context, fn func(context.Context, Tx) error) error {
	return t.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		return fn(ctx, Tx{Tx: tx, conn: t.conn, told: t.told})
	})
}

// Pgx lends the transaction to pgx while fn runs, as River's InsertTx, JobCompleteTx and the like want it.
// fn must neither use the bun side nor keep the pgx.Tx: database/sql rolls back from a goroutine of its own
// when the context ends, and only inside of fn does it wait for us. Once the transaction ended it is sql.ErrTxDone.
func (t Tx) Pgx(fn func(pgx.Tx) error) (err error) {
	lent := false
	defer func() {
		if lent {
			return
		}
		// The rollback may close a broken connection between Raw's asking whether it is closed and its taking it. database/sql
		// then has none to give, and trips over that.
		if recover() != nil || errors.Is(err, sql.ErrConnDone) {
			err = sql.ErrTxDone
		}
	}()
	return t.conn.Raw(func(driverConn any) error {
		lent = true
		conn := driverConn.(*stdlib.Conn).Conn()
		if conn.IsClosed() || conn.PgConn().TxStatus() != 'T' {
			return sql.ErrTxDone // a late call would otherwise run outside of any transaction
		}
		returned := false
		defer func() {
			if !returned { // a panic: Raw then waits for the transaction's end before it passes the panic on
				go t.Tx.Tx.Rollback()
			}
		}()
		err := fn(joined{conn})
		returned = true
		return err
	})
}

// joined is somebody else's transaction: it can be worked in, and bun ends it.
type joined struct{ conn *pgx.Conn }

var errJoined = errors.New("the transaction belongs to InTx, which ends it")

func (j joined) Commit(context.Context) error   { return errJoined }
func (j joined) Rollback(context.Context) error { return errJoined }

// Begin makes a savepoint.
func (j joined) Begin(ctx context.Context) (pgx.Tx, error) {
	if _, err := j.conn.Exec(ctx, "SAVEPOINT joined"); err != nil {
		return nil, err
	}
	return &savepoint{joined: j}, nil
}

func (j joined) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return j.conn.CopyFrom(ctx, table, columns, rows)
}

func (j joined) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return j.conn.SendBatch(ctx, b)
}

func (j joined) LargeObjects() pgx.LargeObjects {
	panic("large objects are not supported in a joined transaction")
}

func (j joined) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	return j.conn.Prepare(ctx, name, sql)
}

func (j joined) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return j.conn.Exec(ctx, sql, args...)
}

func (j joined) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return j.conn.Query(ctx, sql, args...)
}

func (j joined) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return j.conn.QueryRow(ctx, sql, args...)
}

func (j joined) Conn() *pgx.Conn { return j.conn }

// savepoint is a joined transaction's inner one. Postgres stacks savepoints of one name, so nesting needs no numbers.
type savepoint struct {
	joined
	done bool
}

func (s *savepoint) Commit(ctx context.Context) error { return s.end(ctx, "RELEASE SAVEPOINT joined") }

func (s *savepoint) Rollback(ctx context.Context) error {
	return s.end(ctx, "ROLLBACK TO SAVEPOINT joined; RELEASE SAVEPOINT joined")
}

func (s *savepoint) end(ctx context.Context, how string) error {
	if s.done {
		return pgx.ErrTxClosed
	}
	s.done = true
	_, err := s.conn.Exec(ctx, how)
	return err
}
