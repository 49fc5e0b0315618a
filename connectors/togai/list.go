package togai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tieline/connectors"
)

// ledgerPage is the most that Togai gives at once of what it lists by when it was made: invoices, payments, credits.
const ledgerPage = 50

// fromTop is the cursor of a walk's beginning; within a walk it is page:<token>.
const (
	fromTop = "top"
	within  = "page:"
)

// listing finds what happened by reading one list. Togai filters nothing by time: a record that the poller never saw is
// news.
type listing struct {
	event   string // the event that a webhook would have brought
	list    string
	size    int
	filters url.Values
	keep    func(raw json.RawMessage) bool // nil: every record
	newest  bool                           // the list has what is new first, so that a page without news ends the walk
}

func (l listing) walk(ctx context.Context, c connectors.Conn, cursor string) (connectors.Page, error) {
	out := connectors.Page{Cursor: fromTop, Stop: l.newest}
	token, _ := strings.CutPrefix(cursor, within)
	if cursor == fromTop {
		token = ""
	}
	p, at, err := getPageOf[json.RawMessage](ctx, c, l.list, token, l.size, l.filters)
	if token != "" && connectors.KindOf(err) == connectors.Invalid { // the token of a walk that was left off long ago
		return connectors.Page{Cursor: fromTop, More: true, Stop: l.newest}, nil
	}
	if err != nil {
		return connectors.Page{}, fmt.Errorf("listing %s: %w", l.list, err)
	}
	for _, raw := range p.Data {
		if l.keep != nil && !l.keep(raw) {
			continue
		}
		if out.Items, err = found(out.Items, c, l.event, raw, at); err != nil {
			return connectors.Page{}, err
		}
	}
	if token = p.next(); token != "" {
		out.Cursor, out.More = within+token, true
	}
	return out, nil
}

// found adds the body that a webhook would have brought of a record. at is when it was found, for what does not say when
// it was made. A record that is not what Togai answers is left out rather than ending every walk at it.
func found(items []connectors.Item, c connectors.Conn, typ string, raw json.RawMessage, at time.Time) ([]connectors.Item, error) {
	var said struct {
		GeneratedAt *time.Time `json:"generatedAt"`
		CreatedAt   *time.Time `json:"createdAt"`
	}
	_ = json.Unmarshal(raw, &said) // without times, at stands
	for _, t := range []*time.Time{said.CreatedAt, said.GeneratedAt} {
		if t != nil && !t.IsZero() {
			at = *t
		}
	}
	body, err := json.Marshal(event{Type: typ, CreatedAt: at.UTC(), OrganizationID: strings.TrimSpace(c.Credentials[organizationID]), Data: raw})
	if err != nil {
		return nil, fmt.Errorf("making the event: %w", err)
	}
	e, err := envelope(body)
	if errors.Is(err, connectors.ErrMalformed) {
		return items, nil
	}
	return append(items, connectors.Item{Envelope: e, Body: body}), err
}

// accountsPage is how many accounts one stretch of a walk over accounts looks into, at a call each.
const accountsPage = 20

// perAccount finds what Togai lists for one account only: it walks over the accounts, what changed last first. Whether
// such a record moves its account to the top is not documented, so the sweeps to the end are what finds all.
func perAccount(event string, of func(account string) (list string, filters url.Values)) func(context.Context, connectors.Conn, string) (connectors.Page, error) {
	return func(ctx context.Context, c connectors.Conn, cursor string) (connectors.Page, error) {
		token, _ := strings.CutPrefix(cursor, within)
		if cursor == fromTop {
			token = ""
		}
		out := connectors.Page{Cursor: fromTop, Stop: true}
		p, at, err := getPageOf[account](ctx, c, "accounts", token, accountsPage, nil)
		if token != "" && connectors.KindOf(err) == connectors.Invalid {
			return connectors.Page{Cursor: fromTop, More: true, Stop: true}, nil
		}
		if err != nil {
			return connectors.Page{}, fmt.Errorf("listing accounts: %w", err)
		}
		for _, a := range p.Data {
			if a.Status == "ARCHIVED" {
				continue
			}
			list, filters := of(a.ID)
			for raw, err := range all[map[string]json.RawMessage](ctx, c, list, 0, filters) {
				if missing(err) {
					break // the account has gone meanwhile
				}
				if err != nil {
					return connectors.Page{}, fmt.Errorf("listing %s: %w", list, err)
				}
				if raw == nil { // null
					continue
				}
				raw["accountId"], _ = json.Marshal(a.ID) // some lists do not say it
				whole, err := json.Marshal(raw)
				if err != nil {
					return connectors.Page{}, fmt.Errorf("making the event: %w", err)
				}
				if out.Items, err = found(out.Items, c, event, whole, at); err != nil {
					return connectors.Page{}, err
				}
			}
		}
		if token = p.next(); token != "" {
			out.Cursor, out.More = within+token, true
		}
		return out, nil
	}
}

// abreast finds invoices by walking over the lists of several statuses side by side: an invoice is listed by when it was
// made, and becomes due a month or a year later, so that news is anywhere in the list of what is open. That list is read
// whole each time; of what is settled, a page without news ends the walk.
func abreast(event string, statuses []string, keep func(invoice) bool) func(context.Context, connectors.Conn, string) (connectors.Page, error) {
	return func(ctx context.Context, c connectors.Conn, cursor string) (connectors.Page, error) {
		at := map[string]string{} // the token by status
		if text, ok := strings.CutPrefix(cursor, within); !ok || json.Unmarshal([]byte(text), &at) != nil {
			for _, s := range statuses {
				at[s] = ""
			}
		}
		out := connectors.Page{Cursor: fromTop, Stop: true}
		for _, status := range slices.Sorted(maps.Keys(at)) {
			p, when, err := getPageOf[json.RawMessage](ctx, c, "invoices", at[status], ledgerPage, url.Values{"status": {status}})
			if at[status] != "" && connectors.KindOf(err) == connectors.Invalid {
				return connectors.Page{Cursor: fromTop, More: true}, nil
			}
			if err != nil {
				return connectors.Page{}, fmt.Errorf("listing invoices that are %s: %w", status, err)
			}
			for _, raw := range p.Data {
				var inv invoice
				if json.Unmarshal(raw, &inv) != nil || !keep(inv) {
					continue
				}
				if out.Items, err = found(out.Items, c, event, raw, when); err != nil {
					return connectors.Page{}, err
				}
			}
			if at[status] = p.next(); at[status] == "" {
				delete(at, status)
			}
			out.Stop = out.Stop && (at[status] == "" || !slices.Contains(openStatuses, status) && status != "DRAFT")
		}
		if len(at) > 0 {
			text, err := json.Marshal(at)
			if err != nil {
				return connectors.Page{}, fmt.Errorf("keeping the cursor: %w", err)
			}
			out.Cursor, out.More = within+string(text), true
		}
		return out, nil
	}
}

// sized is a page's query: the token holds size, filters and order. A size of zero is for lists that take none.
func sized(token string, size int, filters url.Values) url.Values {
	if token != "" {
		return url.Values{"nextToken": {token}}
	}
	q := url.Values{}
	if size > 0 {
		q.Set("pageSize", strconv.Itoa(size))
	}
	for k, v := range filters {
		if v[0] != "" {
			q[k] = v
		}
	}
	return q
}

// walked is one page of a walk over records. A record that is changed meanwhile comes to the top, where the walk has passed:
// who must know reads it.
func walked[T any](ctx context.Context, c connectors.Conn, list string, filters url.Values, cursor string, entry func(T) connectors.Entry) (connectors.Stretch, error) {
	p, _, err := getPage[T](ctx, c, list, cursor, filters)
	if cursor != "" && connectors.KindOf(err) == connectors.Invalid { // the token of a walk that was left off long ago
		return connectors.Stretch{More: true}, nil
	}
	if err != nil {
		return connectors.Stretch{}, fmt.Errorf("listing %s: %w", list, err)
	}
	out := connectors.Stretch{Cursor: p.next(), More: p.next() != ""}
	for _, x := range p.Data {
		if e := entry(x); e.Record.ID != "" {
			out.Entries = append(out.Entries, e)
		}
	}
	return out, nil
}
