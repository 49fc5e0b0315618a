package zuora

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"tieline/connectors"
)

// overlap is how far a walk goes back behind the one before it: a record may be shown some time after it was made.
const overlap = 10 * time.Minute

// cursor is where a walk stands: it looks for what was made since, and may be within a query.
type cursor struct {
	Since   string `json:"since"`
	Next    string `json:"next,omitempty"`    // the since of the next walk
	Locator string `json:"locator,omitempty"` // where the query goes on
}

// walk finds what was made since the last time. The baseline is empty: what was made before it is not asked for later.
func walk[T any](ctx context.Context, c connectors.Conn, trigger, zoql, at string, of func(T) body) (connectors.Page, error) {
	var cur cursor
	if at != "" && json.Unmarshal([]byte(at), &cur) != nil || at != "" && cur.Since == "" {
		return connectors.Page{}, fmt.Errorf("the cursor %q is none of ours", at)
	}
	if at == "" { // from this moment on
		_, _, now, err := query[struct{}](ctx, c, "select Id from Account where Id = '0'", "")
		if err != nil {
			return connectors.Page{}, fmt.Errorf("reading Zuora's time: %w", err)
		}
		return page(nil, cursor{Since: stamp(now)})
	}
	rows, locator, now, err := query[T](ctx, c, zoql+quoted(cur.Since), cur.Locator)
	if cur.Locator == "" {
		cur.Next = stamp(now.Add(-overlap))
	}
	if cur.Locator != "" && connectors.KindOf(err) == connectors.Invalid { // the locator of a walk that was left off long ago
		return page(nil, cursor{Since: cur.Since, Next: ""})
	}
	if err != nil {
		return connectors.Page{}, fmt.Errorf("listing %s: %w", trigger, err)
	}
	var items []connectors.Item
	for _, r := range rows {
		b := of(r)
		b.event = trigger
		raw, err := b.json()
		if err != nil {
			return connectors.Page{}, fmt.Errorf("making the event: %w", err)
		}
		e, err := envelope(raw, nil)
		if err != nil { // a row without its id; it must not end every walk
			continue
		}
		items = append(items, connectors.Item{Envelope: e, Body: raw})
	}
	if locator != "" {
		cur.Locator = locator
		return page(items, cur)
	}
	return page(items, cursor{Since: max(cur.Since, cur.Next)})
}

func page(items []connectors.Item, cur cursor) (connectors.Page, error) {
	raw, err := json.Marshal(cur)
	return connectors.Page{Items: items, Cursor: string(raw), More: cur.Locator != ""}, err
}

// stamp is how a query has a time.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// times are how Zuora writes one: with an offset by the older calls, and in the tenant's zone without one by the newer,
// which is then taken for UTC.
var times = []string{time.RFC3339Nano, "2006-01-02T15:04:05.000-0700", "2006-01-02T15:04:05.000-07:00", "2006-01-02 15:04:05", "2006-01-02T15:04:05", time.DateOnly}

func timeOf(text string) time.Time {
	for _, layout := range times {
		if t, err := time.Parse(layout, strings.TrimSpace(text)); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}
