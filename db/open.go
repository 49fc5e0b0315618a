// Package db keeps Tieline's rows: one file per noun, each query taking a bun.IDB and the organization it is for.
// Writes that belong together, River's jobs included, go through InTx.
package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

const (
	defaultMaxConns = 16              // of a process; River's listener and our feed's come on top
	mostKeyed       = 10              // of them in the pool of keyed work, again at most that many
	pingTimeout     = 5 * time.Second // a database that does not answer by then is named as such
)

// DB is a pool seen two ways, by bun for our rows and by pgx for prepared statements, and a second one for keyed work.
type DB struct {
	*bun.DB
	Pool *pgxpool.Pool
	// Keyed is for statements that are always the same and find their rows by keys: River's, and those of InShared. They are
	// planned once per connection, for tables of any size; and nobody waits for long for a lock that only one of them wants.
	Keyed *pgxpool.Pool

	shared  *bun.DB // over Keyed
	changes announcer
}

// Option changes how Open connects.
type Option func(*pgxpool.Config)

// MaxConns limits each pool to n connections. The default is 16, and 10 for keyed work.
func MaxConns(n int) Option {
	return func(c *pgxpool.Config) { c.MaxConns = int32(n) }
}

// AppName is what pg_stat_activity shows for our connections. The default is "tieline".
func AppName(name string) Option {
	return func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["application_name"] = name }
}

// Open connects to the Postgres at address (a URL or a DSN) and makes sure it answers.
// Sessions run in UTC and times are read in UTC. An error never contains the password.
func Open(ctx context.Context, address string, opts ...Option) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, errors.New("DATABASE_URL is not a Postgres URL such as postgres://user:password@host:5432/tieline")
	}
	cfg.MaxConns = defaultMaxConns
	cfg.ConnConfig.RuntimeParams["application_name"] = "tieline"
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	cfg.ConnConfig.RuntimeParams["standard_conforming_strings"] = "on" // what bun's quoting counts on, whatever the server's default
	cfg.ConnConfig.RuntimeParams["jit"] = "off"                        // our statements are short: compiling them takes longer than running them
	// bun prints values into the SQL, so each of its statements would become a prepared one and push others out.
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.AfterConnect = readTimesInUTC
	for _, opt := range opts {
		opt(cfg)
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	keyed, err := pgxpool.NewWithConfig(ctx, keyedWork(cfg))
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	pingCtx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := pool.Ping(pingCtx); err != nil {
		pool.Close()
		keyed.Close()
		return nil, fmt.Errorf("the database %s does not answer: %w", where(cfg.ConnConfig), err)
	}
	return &DB{DB: bunOver(pool), Pool: pool, Keyed: keyed, shared: bunOver(keyed), changes: announcer{pool: keyed}}, nil
}

func keyedWork(c *pgxpool.Config) *pgxpool.Config {
	c = c.Copy()
	c.MaxConns = min(c.MaxConns, mostKeyed)
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	maps.Copy(c.ConnConfig.RuntimeParams, map[string]string{"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "lock_timeout": "2s"})
	return c
}

// bunOver is a pool as bun sees it. A column that a newer version added must not stop an older process during an upgrade.
func bunOver(pool *pgxpool.Pool) *bun.DB {
	return bun.NewDB(stdlib.OpenDBFromPool(pool), pgdialect.New(), bun.WithDiscardUnknownColumns())
}

// Close announces what was committed, waits for borrowed connections and closes the pools. Stop River and listeners first.
func (d *DB) Close() error {
	d.changes.close()
	err := errors.Join(d.DB.Close(), d.shared.Close())
	d.Pool.Close()
	d.Keyed.Close()
	return err
}

func readTimesInUTC(_ context.Context, conn *pgx.Conn) error {
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	return nil
}

func where(c *pgx.ConnConfig) string {
	return fmt.Sprintf("%q at %s:%d", c.Database, c.Host, c.Port)
}
