package graph

import (
	"encoding/base64"
	"strings"

	"github.com/google/uuid"

	"tieline/db"
	"tieline/graph/model"
)

const (
	defaultPage = 20
	maxPage     = 100
)

// pageArgs are the four arguments of a list.
type pageArgs struct {
	First, Last   *int32
	After, Before *string
}

// window is a page as a query wants it: rows between two keys, in the list's order or, for a last page, against it.
type window struct {
	After, Before string // keys, exclusive; empty: no bound
	Limit         int    // one more than the page holds, to see whether more follows
	Backward      bool
}

// window reads the arguments. list names what is paged, so that a cursor of another list is refused.
func (p pageArgs) window(list string) (window, error) {
	size, argument := int32(defaultPage), "first"
	switch {
	case p.First != nil && p.Last != nil:
		return window{}, fail(BadUserInput, "ask for first or last, not for both")
	case p.First != nil:
		size = *p.First
	case p.Last != nil:
		size, argument = *p.Last, "last"
	}
	if size < 1 || size > maxPage {
		return window{}, pageSizeError(argument, size)
	}
	after, err := readCursor(list, p.After)
	if err != nil {
		return window{}, err
	}
	before, err := readCursor(list, p.Before)
	return window{After: after, Before: before, Limit: int(size) + 1, Backward: p.Last != nil}, err
}

func pageSizeError(argument string, size any) *Error {
	return failf(BadUserInput, "%s must be 1 to %d, not %v", argument, maxPage, size)
}

// rows is the page as a list of rows by id takes it. A key that is no id is of no list.
func (w window) rows(list string) (db.Window, error) {
	after, err := rowKey(list, w.After)
	if err != nil {
		return db.Window{}, err
	}
	before, err := rowKey(list, w.Before)
	return db.Window{After: after, Before: before, Limit: w.Limit, Backward: w.Backward}, err
}

func rowKey(list, key string) (id db.ID, err error) {
	if key == "" {
		return id, nil
	}
	if id, err = uuid.Parse(key); err != nil || id == (db.ID{}) {
		return id, badCursor(cursor(list, key))
	}
	return id, nil
}

// cursor is a position in a list: the sort key, and which list it is of. Clients take it as it is.
func cursor(list, key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(list + ":" + key))
}

func readCursor(list string, c *string) (string, error) {
	if c == nil {
		return "", nil
	}
	text, err := base64.RawURLEncoding.DecodeString(*c)
	key, ok := strings.CutPrefix(string(text), list+":")
	if err != nil || !ok || key == "" {
		return "", badCursor(*c)
	}
	return key, nil
}

func badCursor(c string) error { return failf(BadUserInput, "%.40q is not a cursor of this list", c) }

// list is a list of rows by id: its name, the rows' ids, and how they are shown.
type list[R, M any] struct {
	name string
	id   func(*R) db.ID
	show func(R) (*M, error)
}

// page answers the arguments of a field by the rows that read finds for them.
func (l list[R, M]) page(args pageArgs, read func(db.Window) ([]R, error)) (*model.Page[M], error) {
	w, err := args.window(l.name)
	if err != nil {
		return nil, err
	}
	span, err := w.rows(l.name)
	if err != nil {
		return nil, err
	}
	rows, err := read(span)
	if err != nil {
		return nil, err
	}
	nodes, err := all(rows, l.show)
	if err != nil {
		return nil, err
	}
	keys := make(map[*M]string, len(rows))
	for i, n := range nodes {
		keys[n] = l.id(&rows[i]).String()
	}
	return page(nodes, w, l.name, func(n *M) string { return keys[n] }), nil
}

// page makes a page of rows that a query read by w: in its order, the extra row at the end.
func page[N any](rows []*N, w window, list string, key func(*N) string) *model.Page[N] {
	more := len(rows) >= w.Limit
	if more {
		rows = rows[:w.Limit-1]
	}
	if w.Backward {
		rows = reversed(rows)
	}
	out := &model.Page[N]{Nodes: rows, Edges: make([]*model.Edge[N], len(rows)), PageInfo: &model.PageInfo{
		HasNextPage: more && !w.Backward, HasPreviousPage: more && w.Backward,
	}}
	for i, n := range rows {
		out.Edges[i] = &model.Edge[N]{Cursor: cursor(list, key(n)), Node: n}
	}
	if len(rows) > 0 {
		out.PageInfo.StartCursor, out.PageInfo.EndCursor = &out.Edges[0].Cursor, &out.Edges[len(rows)-1].Cursor
	}
	return out
}

func reversed[N any](rows []*N) []*N {
	out := make([]*N, len(rows))
	for i, n := range rows {
		out[len(rows)-1-i] = n
	}
	return out
}
