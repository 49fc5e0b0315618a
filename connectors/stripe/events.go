package stripe

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// overlap is read again at each walk: an event may become visible after ones that are newer. Dedupe keys drop what was
// seen.
const overlap = time.Hour

// eventLife is how long Stripe lists an event. https://docs.stripe.com/api/events/list
const eventLife = 30 * 24 * time.Hour

// sampleTime is when samples happened.
var sampleTime = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// cursor is where the walk over a trigger's events stands. Events are listed newest first, so a walk goes from the
// newest back to From, and the next one begins where this one found the newest.
type cursor struct {
	Floor  int64  `json:"floor"`            // unix; nothing from before the connection is news
	From   int64  `json:"from"`             // unix
	After  string `json:"after,omitempty"`  // the last event read, within a walk
	Newest int64  `json:"newest,omitempty"` // unix; the newest event of this walk
}

func (c cursor) String() string {
	b, _ := json.Marshal(c) // numbers and a text
	return string(b)
}

// listEvents reads back the events of a trigger, which Stripe keeps for 30 days.
// https://docs.stripe.com/api/events/list
func listEvents(types ...string) func(context.Context, connectors.Conn, string) (connectors.Page, error) {
	return func(ctx context.Context, c connectors.Conn, at string) (connectors.Page, error) {
		if at == "" {
			return baseline(ctx, c, types)
		}
		var cur cursor
		if err := json.Unmarshal([]byte(at), &cur); err != nil {
			return connectors.Page{}, fmt.Errorf("reading the cursor: %w", err)
		}
		p := &stripe.EventListParams{ListParams: first(ctx, pageSize), Types: stripe.StringSlice(types)}
		p.CreatedRange = &stripe.RangeQueryParams{GreaterThanOrEqual: max(cur.Floor, cur.From-int64(overlap.Seconds()))}
		if cur.After != "" {
			p.StartingAfter = stripe.String(cur.After)
		}
		it := api(c).Events.List(p)
		switch err := failed(c, it.Err(), false); {
		case err != nil && cur.After != "" && connectors.KindOf(err) == connectors.Invalid:
			// The event the walk had come to is no longer kept: begin again.
			return connectors.Page{Cursor: cursor{Floor: cur.Floor, From: cur.From}.String(), More: true}, nil
		case err != nil:
			return connectors.Page{}, fmt.Errorf("listing events: %w", err)
		}
		return page(it.EventList(), cur)
	}
}

func page(l *stripe.EventList, cur cursor) (connectors.Page, error) {
	var raw struct {
		Data []json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(l.LastResponse.RawJSON, &raw); err != nil {
		return connectors.Page{}, garbled(err, false)
	}
	var out connectors.Page
	for _, body := range raw.Data {
		e, err := envelope(body)
		if err != nil {
			return connectors.Page{}, err
		}
		if e.Trigger != "" { // else it is no news, such as a checkout whose payment is on its way
			out.Items = append(out.Items, connectors.Item{Envelope: e, Body: body})
		}
		cur.After, cur.Newest = e.DedupeKey, max(cur.Newest, e.At.Unix())
	}
	if out.More = l.HasMore && len(raw.Data) > 0; !out.More {
		cur = cursor{Floor: cur.Floor, From: max(cur.From, cur.Newest)}
	}
	out.Cursor = cur.String()
	return out, nil
}

// baseline says that news begins now, by Stripe's clock.
func baseline(ctx context.Context, c connectors.Conn, types []string) (connectors.Page, error) {
	it := api(c).Events.List(&stripe.EventListParams{ListParams: first(ctx, 1), Types: stripe.StringSlice(types)})
	if err := it.Err(); err != nil {
		return connectors.Page{}, fmt.Errorf("listing events: %w", failed(c, err, false))
	}
	now, err := http.ParseTime(it.EventList().LastResponse.Header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	cur := cursor{Floor: now.Unix(), From: now.Unix()}
	return connectors.Page{Cursor: cur.String()}, nil
}
