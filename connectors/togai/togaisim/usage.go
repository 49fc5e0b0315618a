package togaisim

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"time"
)

// Usage is one event that was ingested, as GET answers it.
type Usage struct {
	ReferenceID string       `json:"referenceId"`
	Payload     UsagePayload `json:"eventPayload"`
	Status      struct {
		Status      string `json:"status"`
		Description string `json:"statusDescription,omitempty"`
	} `json:"ingestionStatus"`
	Pipeline  struct{}  `json:"eventPipelineInfo"` // what became of it in Togai; not ours to tell
	CreatedAt time.Time `json:"createdAt"`

	Sent int `json:"-"` // how often an event of this id arrived; only the first counts
}

// UsagePayload is an event as it is sent.
type UsagePayload struct {
	SchemaName string     `json:"schemaName"`
	ID         string     `json:"id,omitempty"`
	Timestamp  *time.Time `json:"timestamp"`
	AccountID  string     `json:"accountId"`
	Attributes []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
		Unit  string `json:"unit,omitempty"`
	} `json:"attributes"`
	Dimensions map[string]string `json:"dimensions"`
}

func (o *Usage) id() string         { return o.ReferenceID }
func (o *Usage) updated() time.Time { return o.CreatedAt }
func (o *Usage) has(filter, value string) bool {
	return map[string]string{"status": o.Status.Status, "account_id": o.Payload.AccountID, "schema_name": o.Payload.SchemaName}[filter] == value
}

// Events returns a copy of the usage that was ingested, by the sender's id.
func (o *Organization) Events() []Usage {
	return snapshot(o, func() map[string]*Usage { return o.events })
}

// Events returns the first organization's usage.
func (s *Sim) Events() []Usage { return s.First().Events() }

func usage(s *Sim) {
	s.handle("POST", "/ingest", http.StatusAccepted, func(c *call) (any, error) {
		var in struct {
			Event UsagePayload `json:"event"`
		}
		if err := c.decode(&in); err != nil {
			return nil, err
		}
		return success, c.ingest(in.Event)
	})
	s.handle("POST", "/ingestBatch", http.StatusAccepted, func(c *call) (any, error) {
		var in struct {
			Events []UsagePayload `json:"events"`
		}
		if err := c.decode(&in); err != nil {
			return nil, err
		}
		if n := len(in.Events); n < 1 || n > 500 {
			return nil, &Error{http.StatusUnprocessableEntity, "events must have 1 to 500 items"}
		}
		refused := 0
		for _, e := range in.Events {
			if c.ingest(e) != nil {
				refused++
			}
		}
		if refused > 0 {
			return partial{Message: fmt.Sprintf("%d of %d events were refused", refused, len(in.Events))}, nil
		}
		return success, nil
	})
	s.handle("GET", "/events", http.StatusOK, func(c *call) (any, error) {
		byReference := map[string]*Usage{}
		for _, o := range c.org.events {
			byReference[o.ReferenceID] = o
		}
		out, err := listSized(c, ledger, byReference, "status", "account_id", "schema_name")
		if err != nil {
			return nil, err
		}
		p := out.(page[*Usage])
		return map[string]any{"events": p.Data, "nextToken": p.NextToken}, nil // as other lists, but for the name
	})
	s.handle("GET", "/events/{id}", http.StatusOK, func(c *call) (any, error) {
		found := []*Usage{}
		if o := c.org.events[c.id]; o != nil {
			found = append(found, o)
		}
		return map[string]any{"events": found}, nil
	})
}

var decimal = regexp.MustCompile(`^-?\d{1,512}(\.\d+)?$`)

func (e UsagePayload) check() error {
	if e.Timestamp == nil || e.Attributes == nil || e.Dimensions == nil {
		return bad("timestamp, attributes and dimensions are required")
	}
	if len(e.Attributes) > 10 {
		return bad("attributes must have at most 10 items")
	}
	for _, a := range e.Attributes {
		if !decimal.MatchString(a.Value) {
			return bad("value must be a decimal")
		}
	}
	return first(length("schemaName", e.SchemaName, 1, 50), length("accountId", e.AccountID, 1, 512), length("id", e.ID, 0, 512))
}

// ingest takes an event; what becomes of it is only read later. A second one of an id does not count.
func (c *call) ingest(e UsagePayload) error {
	if err := e.check(); err != nil {
		return err
	}
	key := cmp.Or(e.ID, newID("event"))
	if o := c.org.events[key]; o != nil {
		o.Sent++
		return nil
	}
	o := &Usage{ReferenceID: newID("event"), Payload: e, CreatedAt: c.now, Sent: 1}
	if o.Status.Status = "INGESTION_COMPLETED_EVENT_METERED"; c.org.accounts[e.AccountID] == nil {
		o.Status.Status = "INGESTION_FAILED_ACCOUNT_NOT_FOUND"
	}
	c.org.events[key] = o
	return nil
}
