package migrations

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Pending names what Up would apply, and changes nothing. What a newer version applied beyond that is no matter.
func Pending(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	river, err := riverMigrator(pool)
	if err != nil {
		return nil, err
	}
	var pending []string
	state, err := river.Validate(ctx, nil)
	if err != nil {
		return nil, err
	}
	if !state.OK {
		pending = append(pending, "river")
	}
	var made bool
	if err := pool.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&made); err != nil {
		return nil, err
	}
	var applied []string
	if made {
		rows, err := pool.Query(ctx, "SELECT name FROM "+table)
		if err != nil {
			return nil, err
		}
		if applied, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return nil, err
		}
	}
	for _, file := range names(files) {
		if version, _, _ := strings.Cut(file, "_"); !slices.Contains(applied, version) {
			pending = append(pending, strings.TrimSuffix(file, ".up.sql"))
		}
	}
	return pending, nil
}
