// Package migrations brings a database to the schema this build expects: our SQL files and River's tables.
package migrations

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/migrate"
)

// RiverSchema holds River's tables, apart from ours.
const RiverSchema = "river"

const (
	table   = "bun_migrations"
	lockKey = 0x7469656c696e65 // "tieline": the session advisory lock of whoever migrates
)

//go:embed *.sql
var files embed.FS

// Up applies what is missing and does nothing when nothing is. Several processes may call it at once: one works, the
// others wait for it. Each SQL file is one transaction, its record included. progress may be nil; it gets a line a step.
func Up(ctx context.Context, pool *pgxpool.Pool, progress func(string)) error {
	return up(ctx, pool, files, progress)
}

// Hash names the schema that Up makes: it changes with any of our files and with River's version.
func Hash() string {
	sum := sha256.New()
	for _, name := range names(files) {
		text, _ := fs.ReadFile(files, name)
		fmt.Fprintf(sum, "%s %d\n%s", name, len(text), text)
	}
	river, err := riverMigrator(nil)
	if err == nil {
		for _, m := range river.AllVersions() {
			fmt.Fprintf(sum, "river %d %s\n%s", m.Version, m.Name, m.SQLUp)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}

func up(ctx context.Context, pool *pgxpool.Pool, fsys fs.FS, progress func(string)) error {
	if progress == nil {
		progress = func(string) {}
	}
	// A connection of its own, so that a small pool cannot starve the work; closing it gives the lock back.
	lock, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	if err != nil {
		return fmt.Errorf("connecting to migrate: %w", err)
	}
	defer lock.Close(context.WithoutCancel(ctx))
	if _, err := lock.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(lockKey)); err != nil {
		return fmt.Errorf("waiting for another migration: %w", err)
	}
	if err := upRiver(ctx, pool, progress); err != nil {
		return fmt.Errorf("migrating River's tables: %w", err)
	}
	return upOurs(ctx, pool, fsys, progress)
}

// upRiver comes first, so that our files may name River's tables.
func upRiver(ctx context.Context, pool *pgxpool.Pool, progress func(string)) error {
	if _, err := pool.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+RiverSchema); err != nil {
		return err
	}
	river, err := riverMigrator(pool)
	if err != nil {
		return err
	}
	// A transaction per version: version 4 adds an enum value that version 6 uses, which one transaction may not do.
	done, err := river.Migrate(ctx, rivermigrate.DirectionUp, nil)
	if err != nil {
		return err
	}
	for _, v := range done.Versions {
		progress(fmt.Sprintf("river %d %s", v.Version, v.Name))
	}
	return nil
}

func riverMigrator(pool *pgxpool.Pool) (*rivermigrate.Migrator[pgx.Tx], error) {
	return rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{
		Schema: RiverSchema, Logger: slog.New(slog.DiscardHandler),
	})
}

func upOurs(ctx context.Context, pool *pgxpool.Pool, fsys fs.FS, progress func(string)) error {
	sqlDB := stdlib.OpenDBFromPool(pool)
	defer sqlDB.Close() // the pool stays
	bunDB := bun.NewDB(sqlDB, pgdialect.New())
	known := migrate.NewMigrations()
	if err := known.Discover(fsys); err != nil {
		return err
	}
	migrator := migrate.NewMigrator(bunDB, known)
	if err := migrator.Init(ctx); err != nil {
		return fmt.Errorf("making the migrations table: %w", err)
	}
	all, err := migrator.MigrationsWithStatus(ctx)
	if err != nil {
		return fmt.Errorf("reading the migrations table: %w", err)
	}
	group := all.LastGroupID() + 1
	for _, m := range all.Unapplied() {
		m.GroupID = group
		if err := bunDB.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error { return apply(ctx, tx, fsys, m) }); err != nil {
			return fmt.Errorf("migration %s: %w", m, err)
		}
		progress(m.String())
	}
	return nil
}

// apply runs one file and records it, where bun's own runner would record it apart from its work.
func apply(ctx context.Context, tx bun.Tx, fsys fs.FS, m migrate.Migration) error {
	text, err := fs.ReadFile(fsys, m.String()+".up.sql")
	if err != nil {
		return err
	}
	// On the inner transaction: bun would take a question mark in the file for a placeholder.
	if _, err := tx.Tx.ExecContext(ctx, string(text)); err != nil {
		return err
	}
	_, err = tx.NewInsert().Model(&m).ModelTableExpr(table).Exec(ctx)
	return err
}

func names(fsys fs.FS) []string {
	found, _ := fs.Glob(fsys, "*.up.sql")
	slices.Sort(found)
	return found
}
