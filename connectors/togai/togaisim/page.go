package togaisim

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// register is the size of what is listed by when it was changed: customers, accounts, price plans, settings.
var register = size{20, 100}

// cursor is what a nextToken hides: all of the listing, so that the next request needs nothing else.
type cursor struct {
	Size    int
	Filters map[string]string
	At      time.Time // of the last row given
	ID      string
	Empty   bool // the rest is known to be empty
}

type page[T any] struct {
	Data      []T      `json:"data"`
	NextToken *string  `json:"nextToken"`
	Context   *options `json:"context,omitempty"`
}

type options struct {
	PageSize  int    `json:"pageSize"`
	SortOrder string `json:"sortOrder"`
}

// size is how much a list gives at once: by itself, and at most.
type size struct{ usual, most int }

// ledger is the size of what is listed by when it was made: invoices, payments, credits, events.
var ledger = size{50, 50}

// record is what can be listed: by its time, newest first, then by id.
type record interface {
	id() string
	updated() time.Time
	has(filter, value string) bool
}

// list answers a page. Filters may be combined only as allowed says: "customer_id status".
func list[T record](c *call, rows map[string]T, allowed ...string) (any, error) {
	return listSized(c, register, rows, allowed...)
}

func listSized[T record](c *call, z size, rows map[string]T, allowed ...string) (any, error) {
	cur, err := c.cursor(z, allowed)
	if err != nil {
		return nil, err
	}
	var hits []T
	for _, r := range rows {
		if cur.passes(r) {
			hits = append(hits, r)
		}
	}
	slices.SortFunc(hits, func(a, b T) int { return cmp.Or(b.updated().Compare(a.updated()), strings.Compare(a.id(), b.id())) })
	out := page[T]{Data: []T{}}
	if z == register {
		out.Context = &options{cur.Size, "DESC"}
	}
	out.Data = append(out.Data, hits[:min(cur.Size, len(hits))]...)
	if len(out.Data) == 0 {
		return out, nil
	}
	if rest := len(hits) > cur.Size; rest || c.sim.extra {
		last := out.Data[len(out.Data)-1]
		raw, err := json.Marshal(cursor{cur.Size, cur.Filters, last.updated(), last.id(), !rest})
		if err != nil {
			return nil, err
		}
		token := base64.RawURLEncoding.EncodeToString(raw)
		out.NextToken = &token
	}
	return out, nil
}

func (cur cursor) passes(r record) bool {
	for f, v := range cur.Filters {
		if !r.has(f, v) {
			return false
		}
	}
	if cur.At.IsZero() {
		return true
	}
	after := r.updated().Before(cur.At) || r.updated().Equal(cur.At) && r.id() > cur.ID
	return after && !cur.Empty
}

func (c *call) cursor(z size, allowed []string) (cursor, error) {
	if token := c.query.Get("nextToken"); token != "" {
		var cur cursor
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || json.Unmarshal(raw, &cur) != nil || cur.Size == 0 {
			return cur, bad("Invalid nextToken")
		}
		return cur, nil
	}
	cur := cursor{Size: z.usual, Filters: map[string]string{}}
	if v := c.query.Get("pageSize"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > z.most {
			return cur, bad("pageSize must be between 1 and %d", z.most)
		}
		cur.Size = n
	}
	names := filters(c.query)
	if len(names) > 0 && !slices.Contains(allowed, strings.Join(names, " ")) {
		return cur, bad("These filters cannot be combined, or are unknown: %s", strings.Join(names, ", "))
	}
	for _, n := range names {
		cur.Filters[n] = c.query.Get(n)
	}
	return cur, nil
}

func filters(q url.Values) (names []string) {
	for n := range q {
		if n != "pageSize" && n != "nextToken" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}
