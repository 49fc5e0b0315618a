package stripesim

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// table is the objects of one kind, oldest first. Deleted ones stay as tombstones.
type table struct {
	rows []*row
	byID map[string]*row
}

type row struct {
	id       string
	created  int64
	deleted  bool
	versions []version
}

type version struct {
	at time.Time
	object
}

func (r *row) now() object { return r.versions[len(r.versions)-1].object }

// seen is the row as it was then, nil if it was not there yet.
func (r *row) seen(then time.Time) object {
	for _, v := range slices.Backward(r.versions) {
		if !v.at.After(then) {
			return v.object
		}
	}
	return nil
}

func (t *table) current() []object {
	out := []object{}
	for _, r := range t.rows {
		if !r.deleted {
			out = append(out, r.now())
		}
	}
	return out
}

func (b *book) table(kind string) *table {
	t := b.tables[kind]
	if t == nil {
		t = &table{byID: map[string]*row{}}
		b.tables[kind] = t
	}
	return t
}

// put stores a new object or a new version of it under object["object"].
func (b *book) put(o object, now time.Time) {
	t, id := b.table(o["object"].(string)), o["id"].(string)
	r := t.byID[id]
	if r == nil {
		created, ok := o["created"].(int64)
		if !ok {
			created, _ = o["date"].(int64) // invoice items call it that
		}
		r = &row{id: id, created: created}
		t.rows, t.byID[id] = append(t.rows, r), r
	}
	r.versions = append(r.versions, version{now, o})
}

// get returns the object, a deleted one as gone.
func (b *book) get(kind, id string) (o object, gone, ok bool) {
	r := b.table(kind).byID[id]
	if r == nil {
		return nil, false, false
	}
	return r.now(), r.deleted, true
}

// remove leaves what Stripe answers for a deleted object.
func (b *book) remove(kind, id string, now time.Time) object {
	r := b.table(kind).byID[id]
	stone := object{"id": id, "object": kind, "deleted": true}
	r.versions = append(r.versions, version{now, stone})
	r.deleted = true
	return stone
}

// live returns the object of the path, or the 404.
func (c *call) live(kind string) (object, error) {
	o, gone, ok := c.book.get(kind, c.id)
	if !ok || gone {
		return nil, missing(kind, "id", c.id)
	}
	return o, nil
}

// paging are the parameters of every list.
func paging(more params) params {
	p := params{"limit": integer, "starting_after": text, "ending_before": text, "expand": list(text)}
	maps.Copy(p, more)
	return p
}

// list answers a page, newest first, of the objects that pass.
func (c *call) list(kind, url string, pass func(object) bool) (any, error) {
	limit, e := c.limit()
	if e != nil {
		return nil, e
	}
	rows := slices.Clone(c.book.table(kind).rows)
	slices.Reverse(rows)
	cut := func(param string) (int, error) {
		id, _ := c.in[param].(string)
		i := slices.IndexFunc(rows, func(r *row) bool { return r.id == id })
		if i < 0 {
			e := missing(kind, param, id)
			e.Status = 400
			return 0, e
		}
		return i, nil
	}
	backwards := c.in["ending_before"] != nil
	if backwards {
		i, err := cut("ending_before")
		if err != nil {
			return nil, err
		}
		rows = rows[:i]
		slices.Reverse(rows)
	} else if c.in["starting_after"] != nil {
		i, err := cut("starting_after")
		if err != nil {
			return nil, err
		}
		rows = rows[i+1:]
	}
	data, more := []object{}, false
	for _, r := range rows {
		if r.deleted || !within(r.created, c.in["created"]) || !pass(r.now()) {
			continue
		}
		if more = len(data) == limit; more {
			break
		}
		data = append(data, r.now())
	}
	if backwards {
		slices.Reverse(data)
	}
	more = more || c.sim.extra && len(data) == limit
	return object{"object": "list", "url": url, "has_more": more, "data": data}, nil
}

func (c *call) limit() (int, *Error) {
	if c.in["limit"] == nil {
		return 10, nil
	}
	n := c.in["limit"].(int64)
	if n < 1 || n > 100 {
		return 0, invalid("parameter_invalid_integer", "limit", "Invalid limit: must be between 1 and 100.")
	}
	return int(n), nil
}

func within(created int64, want any) bool {
	switch want := want.(type) {
	case int64:
		return created == want
	case object:
		for op, v := range want {
			if !compare(created, op, v.(int64)) {
				return false
			}
		}
	}
	return true
}

func compare(a int64, op string, b int64) bool {
	switch op {
	case "gt", ">":
		return a > b
	case "gte", ">=":
		return a >= b
	case "lt", "<":
		return a < b
	case "lte", "<=":
		return a <= b
	}
	return a == b
}

// search answers a page of what the index has seen by now.
func (c *call) search(kind, url string) (any, error) {
	limit, e := c.limit()
	if e != nil {
		return nil, e
	}
	match, e := query(c.in["query"].(string))
	if e != nil {
		return nil, e
	}
	offset := 0
	if page, _ := c.in["page"].(string); page != "" {
		raw, _ := base64.RawURLEncoding.DecodeString(page)
		n, err := strconv.Atoi(strings.TrimPrefix(string(raw), "p"))
		if err != nil {
			return nil, invalid("", "page", "Invalid page: %s", page)
		}
		offset = n
	}
	var hits []object
	for _, r := range slices.Backward(c.book.table(kind).rows) {
		if o := r.seen(c.now.Add(-c.sim.searchLag)); o != nil && o["deleted"] != true && match(o) {
			hits = append(hits, o)
		}
	}
	hits = hits[min(offset, len(hits)):]
	out := object{"object": "search_result", "url": url, "has_more": len(hits) > limit, "next_page": nil, "data": append([]object{}, hits[:min(limit, len(hits))]...)}
	if len(hits) > limit {
		out["next_page"] = base64.RawURLEncoding.EncodeToString([]byte("p" + strconv.Itoa(offset+limit)))
	}
	return out, nil
}
