package db

import (
	"context"
	"fmt"
	"strings"

	"github.com/uptrace/bun"
)

// Window is a page of rows, newest first: those between two ids. Ids sort by time, so an id is a cursor.
type Window struct {
	After, Before ID   // exclusive; zero: no bound
	Limit         int  // one more than is shown tells whether there is more
	Backward      bool // from the end: the rows come oldest first
}

// of narrows a query of a model to the page.
func (w Window) of(q *bun.SelectQuery) *bun.SelectQuery {
	if w.After != (ID{}) {
		q.Where("?TableAlias.id < ?", w.After)
	}
	if w.Before != (ID{}) {
		q.Where("?TableAlias.id > ?", w.Before)
	}
	return q.OrderExpr("?TableAlias.id " + w.order()).Limit(int64(w.Limit))
}

func (w Window) order() string {
	if w.Backward {
		return "ASC"
	}
	return "DESC"
}

// page reads one page of an organization's rows. narrow may add conditions.
func page[T any](ctx context.Context, idb bun.IDB, org ID, w Window, narrow func(*conditions)) ([]T, error) {
	t := tableOf[T]()
	c := &conditions{args: []any{org}}
	c.text.WriteString(t.alias + ".org_id = $1")
	if narrow != nil {
		narrow(c)
	}
	if w.After != (ID{}) {
		c.and(t.alias+".id < ?0", w.After)
	}
	if w.Before != (ID{}) {
		c.and(t.alias+".id > ?0", w.Before)
	}
	// The limit is a part of the text: a plan for any limit at all may be to sort the whole list.
	return rowsOf[T](ctx, idb, fmt.Sprintf("%s WHERE %s ORDER BY %s.id %s LIMIT %d", t.read, &c.text, t.alias, w.order(), w.Limit), c.args...)
}

// conditions narrow a list. Its text is the same whatever the values are, so that it is prepared once.
type conditions struct {
	text strings.Builder
	args []any
}

// and adds a condition, in which ?0 stands for the value.
func (c *conditions) and(condition string, value any) {
	c.args = append(c.args, value)
	c.text.WriteString(" AND " + strings.ReplaceAll(condition, "?0", fmt.Sprintf("$%d", len(c.args))))
}

func equal[V comparable](c *conditions, column string, v V) {
	if v != *new(V) {
		c.and(column+" = ?0", v)
	}
}

// pages reads a page for each of many parents in one statement. keys is the SQL type of the parents' keys; narrow says
// which rows are a parent's, whose key is p.key.
func pages[K comparable, T any](ctx context.Context, idb bun.IDB, org ID, keys string, parents []K, w Window, narrow func(*bun.SelectQuery)) (map[K][]T, error) {
	type child struct {
		Of  K `bun:"of_key"`
		Row T `bun:"embed:"`
	}
	var one []T
	q := w.of(idb.NewSelect().Model(&one).Where("?TableAlias.org_id = ?", org))
	narrow(q)
	var rows []child
	err := idb.NewSelect().ColumnExpr("p.key AS of_key, x.*").
		TableExpr("unnest(ARRAY[?]::?[]) AS p (key)", bun.List(parents), bun.Safe(keys)).
		Join("CROSS JOIN LATERAL (?) AS x", q).OrderExpr("x.id "+w.order()).Scan(ctx, &rows)
	byParent := make(map[K][]T, len(parents))
	for _, r := range rows {
		byParent[r.Of] = append(byParent[r.Of], r.Row)
	}
	return byParent, err
}
