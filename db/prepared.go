package db

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/uptrace/bun"
)

// The statements that every event and every step needs, and those that read what callers ask for most, go to Postgres by
// pgx, prepared: their text is always the same, so they are parsed and planned once per connection, which costs more than
// running them. All others are bun's.

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// many runs a prepared statement and reads its rows into structs like bun's models: a column into the field of its name,
// underscores aside, NULL as the zero value. A column without a field is one that a newer version has added.
func many[T any](ctx context.Context, q querier, sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, prepared(args)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	var into [][]int // a field for each column, nil for none
	for rows.Next() {
		if into == nil {
			fields := fieldsOf(reflect.TypeFor[T]())
			for _, c := range rows.FieldDescriptions() {
				into = append(into, fields[c.Name])
			}
		}
		out = append(out, *new(T))
		if err := scan(rows, into, reflect.ValueOf(&out[len(out)-1]).Elem()); err != nil {
			return nil, err
		}
	}
	return out, rows.Err()
}

// prepared are the arguments of a prepared statement. pgx would print ids and parse them again, as uuid.UUID is a
// driver.Valuer.
func prepared(args []any) []any {
	out := append(make([]any, 0, len(args)+1), pgx.QueryExecModeCacheStatement)
	for _, a := range args {
		switch a := a.(type) {
		case ID:
			out = append(out, [16]byte(a))
		case []ID:
			var ids [][16]byte // none of none: NULL and an empty array are two things
			if a != nil {
				ids = make([][16]byte, len(a))
			}
			for i, id := range a {
				ids[i] = id
			}
			out = append(out, ids)
		default:
			out = append(out, a)
		}
	}
	return out
}

// one is many for a statement that answers one row, or none: ErrNotFound.
func one[T any](ctx context.Context, q querier, sql string, args ...any) (T, error) {
	rows, err := many[T](ctx, q, sql, args...)
	if err == nil && len(rows) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		var none T
		return none, err
	}
	return rows[0], nil
}

// in is one within a transaction.
func in[T any](ctx context.Context, tx Tx, sql string, args ...any) (row T, err error) {
	err = tx.Pgx(func(p pgx.Tx) error {
		row, err = one[T](ctx, p, sql, args...)
		return err
	})
	return row, err
}

// manyIn is many within a transaction.
func manyIn[T any](ctx context.Context, tx Tx, sql string, args ...any) (rows []T, err error) {
	err = tx.Pgx(func(p pgx.Tx) error {
		rows, err = many[T](ctx, p, sql, args...)
		return err
	})
	return rows, err
}

// rowsOf is many outside or within a transaction, as a query that takes a bun.IDB has it.
func rowsOf[T any](ctx context.Context, idb bun.IDB, sql string, args ...any) ([]T, error) {
	if tx, ok := idb.(Tx); ok {
		return manyIn[T](ctx, tx, sql, args...)
	}
	return many[T](ctx, idb.(*DB).Pool, sql, args...)
}

// table is how rows of a model are read: SELECT its columns FROM its table, under an alias.
type table struct{ read, alias string }

var tablesByType sync.Map // reflect.Type → table

func tableOf[T any]() table {
	t := reflect.TypeFor[T]()
	if known, ok := tablesByType.Load(t); ok {
		return known.(table)
	}
	base, _ := t.FieldByName("BaseModel")
	name, alias, _ := strings.Cut(base.Tag.Get("bun"), ",alias:")
	var columns []string
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() && !f.Anonymous && !strings.HasPrefix(f.Tag.Get("bun"), "rel:") {
			columns = append(columns, column(f))
		}
	}
	out := table{"SELECT " + alias + "." + strings.Join(columns, ", "+alias+".") + " FROM " + name + " " + alias, alias}
	tablesByType.Store(t, out)
	return out
}

// run runs a prepared statement that answers nothing, within a transaction.
func run(ctx context.Context, tx Tx, sql string, args ...any) error {
	return tx.Pgx(func(p pgx.Tx) error {
		_, err := p.Exec(ctx, sql, prepared(args)...)
		return err
	})
}

func scan(rows pgx.Rows, fields [][]int, row reflect.Value) error {
	types, columns := rows.Conn().TypeMap(), rows.FieldDescriptions()
	for i, raw := range rows.RawValues() {
		if raw == nil || fields[i] == nil {
			continue
		}
		field := row.FieldByIndex(fields[i]).Addr().Interface()
		switch into := field.(type) {
		case *ID: // as with arguments
			if len(raw) == len(into) {
				copy(into[:], raw)
				continue
			}
		case *string:
			if columns[i].DataTypeOID == pgtype.TextOID {
				*into = string(raw)
				continue
			}
		case *json.RawMessage: // whose syntax Postgres has checked
			if columns[i].Format == pgx.TextFormatCode {
				*into = bytes.Clone(raw)
				continue
			}
		}
		if err := types.Scan(columns[i].DataTypeOID, columns[i].Format, raw, field); err != nil {
			return fmt.Errorf("reading column %s: %w", columns[i].Name, err)
		}
	}
	return nil
}

var fieldsByType sync.Map // reflect.Type → map[string][]int

// fieldsOf finds the fields of a struct by the names of their columns.
func fieldsOf(t reflect.Type) map[string][]int {
	if known, ok := fieldsByType.Load(t); ok {
		return known.(map[string][]int)
	}
	fields := map[string][]int{}
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() && !f.Anonymous {
			fields[column(f)] = f.Index
		}
	}
	fieldsByType.Store(t, fields)
	return fields
}

// column is the column of a field: the one its bun tag names, else its name with underscores.
func column(f reflect.StructField) string {
	if name, _, _ := strings.Cut(f.Tag.Get("bun"), ","); name != "" && !strings.Contains(name, ":") {
		return name
	}
	var out strings.Builder
	for i, r := range f.Name {
		upper := r >= 'A' && r <= 'Z'
		if upper && i > 0 && (f.Name[i-1] < 'A' || f.Name[i-1] > 'Z') {
			out.WriteByte('_')
		}
		out.WriteRune(r | 0x20) // field names are ASCII letters
	}
	return out.String()
}
