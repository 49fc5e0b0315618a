package db

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// A statement that writes for many at once is given their rows as arrays, one for each column, so that its text is always
// the same and Postgres takes the rows apart without reading JSON.

// given are the columns of T that a statement is given, in order.
type given[T any] struct {
	columns []string
	fields  [][]int
	types   []string
	null    []bool // a zero value is NULL
}

// givenOf picks columns of T by their names.
func givenOf[T any](columns ...string) given[T] {
	t := reflect.TypeFor[T]()
	known := fieldsOf(t)
	g := given[T]{columns: columns}
	for _, c := range columns {
		at, ok := known[c]
		if !ok {
			panic(fmt.Sprintf("db: %s has no column %s", t, c))
		}
		f := t.FieldByIndex(at)
		g.fields, g.types = append(g.fields, at), append(g.types, arrayOf(f.Type))
		g.null = append(g.null, strings.Contains(f.Tag.Get("bun"), "nullzero"))
	}
	return g
}

// as is a FROM item of the rows, whose arrays are the parameters from first on.
func (g given[T]) as(alias string, first int) string {
	params := make([]string, len(g.types))
	for i, t := range g.types {
		params[i] = fmt.Sprintf("$%d::%s[]", first+i, t)
	}
	return fmt.Sprintf("unnest(%s) WITH ORDINALITY AS %s (%s, n)", strings.Join(params, ", "), alias, strings.Join(g.columns, ", "))
}

// arrays are the parameters.
func (g given[T]) arrays(rows []T) []any {
	out := make([]any, len(g.columns))
	v := reflect.ValueOf(rows)
	for i, at := range g.fields {
		out[i] = array(v, at, g.types[i], g.null[i])
	}
	return out
}

// arrayOf is the type of a column's values. A list of ids goes as text, since arrays hold no arrays of their own length.
func arrayOf(t reflect.Type) string {
	switch reflect.Zero(t).Interface().(type) {
	case ID:
		return "uuid"
	case []ID:
		return "text"
	case string:
		return "text"
	case int, int64:
		return "bigint"
	case bool:
		return "boolean"
	case float64:
		return "float8"
	case time.Time:
		return "timestamptz"
	case []byte:
		return "bytea"
	case json.RawMessage, Texts:
		return "jsonb"
	}
	panic(fmt.Sprintf("db: no array of %s", t))
}

func array(rows reflect.Value, at []int, typ string, null bool) any {
	switch typ {
	case "uuid":
		return flat(rows, at, func(id ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: id != ID{}} })
	case "text":
		if rows.Type().Elem().FieldByIndex(at).Type == reflect.TypeFor[[]ID]() {
			return flat(rows, at, idList)
		}
		return flat(rows, at, func(s string) pgtype.Text { return pgtype.Text{String: storableText(s), Valid: s != "" || !null} })
	case "bigint":
		out := make(pgtype.FlatArray[int64], rows.Len())
		for i := range out {
			out[i] = rows.Index(i).FieldByIndex(at).Int()
		}
		return out
	case "boolean":
		return flat(rows, at, func(b bool) bool { return b })
	case "float8":
		return flat(rows, at, func(f float64) float64 { return f })
	case "timestamptz":
		return flat(rows, at, func(t time.Time) pgtype.Timestamptz { return pgtype.Timestamptz{Time: t, Valid: !t.IsZero()} })
	case "bytea":
		return flat(rows, at, func(b []byte) []byte { return b })
	}
	if rows.Type().Elem().FieldByIndex(at).Type == reflect.TypeFor[Texts]() {
		return flat(rows, at, Texts.json)
	}
	return flat(rows, at, func(r json.RawMessage) []byte {
		if r == nil {
			return nil
		}
		return WithoutNUL(r)
	})
}

func flat[V, P any](rows reflect.Value, at []int, as func(V) P) pgtype.FlatArray[P] {
	out := make(pgtype.FlatArray[P], rows.Len())
	for i := range out {
		out[i] = as(*rows.Index(i).FieldByIndex(at).Addr().Interface().(*V))
	}
	return out
}

func idList(ids []ID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return "{" + strings.Join(texts, ",") + "}"
}

// storableText is a text as Postgres can keep it.
func storableText(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}
