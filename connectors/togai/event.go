package togai

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"tieline/connectors"
)

// All that this file says about Togai's webhook is an assumption: the vendor documents neither body, nor wire names of
// its events, and no signature. A real delivery may differ, and only this file then has to. Bodies are never believed:
// they say which record to read, no more.

// kinds are the events, each named as the trigger it is for. What can happen to a record more than once has a version,
// which tells one time from the next and is the same whether it was delivered or listed; it is empty where the body does
// not say enough, and then every delivery is an event.
var kinds = map[string]func(data json.RawMessage) string{
	"account.created": nil, "price_plan.created": nil, "price_plan.attached": nil, "proposal.created": nil, "purchase.created": nil,
	"invoice.generated": nil, "invoice.updated": invoiceVersion, "order.generated": nil, "credit.granted": nil,
	"pricing_cycle.started": nil, "pricing_cycle.ended": nil, "incident.generated": nil, "report.generated": nil,
}

// event is the body: a record as GET answers it, and what happened to it.
type event struct {
	ID             string          `json:"id,omitempty"`
	Type           string          `json:"type"`
	CreatedAt      time.Time       `json:"createdAt,omitzero"`
	OrganizationID string          `json:"organizationId,omitempty"`
	Data           json.RawMessage `json:"data"`
}

func parse(body []byte) (e event, record string, err error) {
	var data struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(body, &e) != nil || e.Type == "" || json.Unmarshal(e.Data, &data) != nil {
		return event{}, "", connectors.ErrMalformed
	}
	return e, data.ID, nil
}

func open(d connectors.Delivery, _ []string) (connectors.Envelope, error) { return envelope(d.Body) }

// envelope is the same for a body that was delivered and one that was made of a listed record, so that the two are one
// event: an account is created once.
func envelope(body []byte) (connectors.Envelope, error) {
	e, record, err := parse(body)
	if err != nil {
		return connectors.Envelope{}, err
	}
	out := connectors.Envelope{Type: e.Type, DedupeKey: e.ID, At: e.CreatedAt}
	version, used := kinds[e.Type]
	if !used {
		return out, nil
	}
	if record == "" {
		return connectors.Envelope{}, connectors.ErrMalformed
	}
	out.Trigger, out.DedupeKey = e.Type, e.Type+":"+record
	if version != nil {
		sum := sha256.Sum256(body)
		out.DedupeKey += ":" + cmp.Or(version(e.Data), e.ID, hex.EncodeToString(sum[:]))
	}
	return out, nil
}

// decodes makes a trigger's Decode of what a record as GET answers it means. It is always thin: the webhook is unsigned,
// and a listed record may have changed since.
func decodes[T any](of func(T) connectors.Occurrence) func([]byte) (connectors.Occurrence, error) {
	return func(body []byte) (connectors.Occurrence, error) {
		e, record, err := parse(body)
		if err != nil {
			return connectors.Occurrence{}, err
		}
		var x T
		if err := json.Unmarshal(e.Data, &x); err != nil || record == "" {
			return connectors.Occurrence{}, fmt.Errorf("the event names no record: %w", connectors.ErrMalformed)
		}
		o := of(x)
		o.At, o.Thin = e.CreatedAt, true
		return o, nil
	}
}

// rereads makes a trigger's Read: everything is taken from the record as it is now, but for the time.
func rereads[T any](fetch func(context.Context, connectors.Conn, connectors.Occurrence) (T, error), of func(T) connectors.Occurrence) func(context.Context, connectors.Conn, connectors.Occurrence) (connectors.Occurrence, error) {
	return func(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (connectors.Occurrence, error) {
		x, err := fetch(ctx, c, o)
		if err != nil {
			return o, err
		}
		now := of(x)
		now.At = o.At
		return now, nil
	}
}

// fetch reads one record.
func fetch[T any](ctx context.Context, c connectors.Conn, what string, segments ...string) (T, error) {
	var x T
	if _, err := call(ctx, c, http.MethodGet, path(segments...), nil, &x); err != nil {
		return x, fmt.Errorf("reading %s %s: %w", what, segments[len(segments)-1], err)
	}
	return x, nil
}
