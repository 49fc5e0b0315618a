package togai

import (
	"encoding/json"
	"time"

	"tieline/connectors"
)

// All that this file says about Togai's webhook is an assumption: the vendor documents neither body, nor wire names of
// its events, and no signature. A real delivery may differ, and only this file then has to. Bodies are never believed:
// they say which account to read, no more.

// triggerOf says which trigger an event type is for.
var triggerOf = map[string]string{"account.created": "account.created"}

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
	out := connectors.Envelope{Trigger: triggerOf[e.Type], Type: e.Type, DedupeKey: e.ID, At: e.CreatedAt}
	if out.Trigger == "" {
		return out, nil
	}
	if record == "" {
		return connectors.Envelope{}, connectors.ErrMalformed
	}
	out.DedupeKey = e.Type + ":" + record
	return out, nil
}
