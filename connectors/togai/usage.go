package togai

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"tieline/connectors"
)

// IngestEventInput is one event of usage.
type IngestEventInput struct {
	EventID    string            `json:"event_id" minLength:"1" maxLength:"50" doc:"What tells the event from others: Togai counts an id once in 45 days. It may have 512 characters, but can be read back only with up to 50."`
	Schema     string            `json:"schema" minLength:"1" maxLength:"50" doc:"The event schema's name in Togai."`
	AccountID  string            `json:"account_id" minLength:"1" maxLength:"512" doc:"The account, or one of its aliases."`
	Timestamp  time.Time         `json:"timestamp" doc:"When it was used."`
	Attributes map[string]string `json:"attributes,omitempty" doc:"Quantities by name, decimals; at most ten."`
	Dimensions map[string]string `json:"dimensions,omitempty" doc:"What describes it, by name."`
}

// IngestedEvent is what ingesting leaves.
type IngestedEvent struct {
	EventID string `json:"event_id" doc:"The event's id."`
}

// usageEvent on the wire.
type usageEvent struct {
	SchemaName string            `json:"schemaName"`
	ID         string            `json:"id"`
	Timestamp  time.Time         `json:"timestamp"`
	AccountID  string            `json:"accountId"`
	Attributes []usageAttribute  `json:"attributes"`
	Dimensions map[string]string `json:"dimensions"`
}

type usageAttribute struct {
	Name  string `json:"name"`
	Value string `json:"value"` // a decimal, as a text
}

func ingestEvent() connectors.Action {
	return connectors.Do("event.ingest", "Ingest usage event", runIngestEvent, IngestEventInput{
		EventID: "call-42", Schema: "api_calls", AccountID: "acme", Timestamp: time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC),
		Attributes: map[string]string{"calls": "125"}, Dimensions: map[string]string{"region": "eu"},
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Tells Togai of usage, from which it bills.", "event"
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts}
		a.Help = "Togai takes an event before it looks at it: whether it was counted is seen in Togai under Events."
	})
}

func (in IngestEventInput) wire() (usageEvent, error) {
	e := usageEvent{in.Schema, in.EventID, in.Timestamp, in.AccountID, []usageAttribute{}, map[string]string{}}
	maps.Copy(e.Dimensions, in.Dimensions)
	if len(in.Attributes) > 10 {
		return e, wrong("attributes", "Togai takes at most ten attributes.")
	}
	for _, name := range slices.Sorted(maps.Keys(in.Attributes)) {
		n, err := parseNumber(in.Attributes[name])
		if err != nil {
			return e, wrong("attributes", "The attribute "+name+" must be a decimal, such as 12.5.")
		}
		e.Attributes = append(e.Attributes, usageAttribute{name, string(n)})
	}
	return e, nil
}

// runIngestEvent needs no look beforehand: Togai counts an id once.
func runIngestEvent(ctx context.Context, c connectors.Conn, in IngestEventInput) (IngestedEvent, error) {
	event, err := in.wire()
	if err != nil {
		return IngestedEvent{}, err
	}
	ref, err := c.Effect(ctx, connectors.Append("event", in.EventID), func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		return in.look(ctx, c, in.EventID)
	}, func(ctx context.Context, _ string) (connectors.Ref, error) {
		_, err := call(ctx, c, http.MethodPost, "/ingest", map[string]any{"event": event}, nil)
		return connectors.Ref{ID: in.EventID}, err
	})
	if err != nil {
		return IngestedEvent{}, fmt.Errorf("ingesting event %s: %w", in.EventID, err)
	}
	return IngestedEvent{ref.ID}, nil
}

// maxBatch is how many events one call may have: the schema says 1000, the operation's text 500.
const maxBatch = 500

// IngestEventsInput is many events of usage in one call.
type IngestEventsInput struct {
	BatchID string             `json:"batch_id" minLength:"1" maxLength:"255" doc:"What tells the batch from others: one is sent once. Events that were sent in another batch are not counted again either, as each has its id."`
	Events  []IngestEventInput `json:"events" minLength:"1" maxLength:"500" doc:"The events."`
}

// IngestedEvents is what ingesting a batch leaves.
type IngestedEvents struct {
	Count int `json:"count" doc:"How many events were taken."`
}

func ingestEvents() connectors.Action {
	return connectors.Do("event.ingest_batch", "Ingest usage events", runIngestEvents, IngestEventsInput{BatchID: "2026-01-15", Events: []IngestEventInput{{
		EventID: "call-43", Schema: "api_calls", AccountID: "acme", Timestamp: time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC), Attributes: map[string]string{"calls": "125"},
	}}}, func(a *connectors.Action) {
		a.Description, a.Entity = "Tells Togai of many uses at once.", "event"
		a.Options = map[string]connectors.Offer{"events.account_id": offerAccounts}
		a.Help = "Togai takes events before it looks at them: whether they were counted is seen in Togai under Events."
	})
}

func runIngestEvents(ctx context.Context, c connectors.Conn, in IngestEventsInput) (IngestedEvents, error) {
	var events []usageEvent
	ids := map[string]bool{}
	for i, e := range in.Events {
		w, err := e.wire()
		switch {
		case err != nil:
			return IngestedEvents{}, fmt.Errorf("event %d: %w", i, err)
		case ids[e.EventID]:
			return IngestedEvents{}, wrong(fmt.Sprintf("events[%d].event_id", i), "Two events have the id "+e.EventID+".")
		}
		ids[e.EventID], events = true, append(events, w)
	}
	if len(events) == 0 || len(events) > maxBatch {
		return IngestedEvents{}, wrong("events", fmt.Sprintf("A batch has 1 to %d events.", maxBatch))
	}
	// That a batch is taken whole unless Togai says otherwise is an assumption: its last event stands for all of them.
	last := in.Events[len(in.Events)-1]
	_, err := c.Effect(ctx, connectors.Append("event", "batch:"+in.BatchID), func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		return last.look(ctx, c, in.BatchID)
	}, func(ctx context.Context, _ string) (connectors.Ref, error) {
		var said struct {
			Success *bool  `json:"success"`
			Message string `json:"message"`
		}
		if _, err := call(ctx, c, http.MethodPost, "/ingestBatch", map[string]any{"events": events}, &said); err != nil {
			return connectors.Ref{}, err
		}
		if said.Success != nil && !*said.Success { // 207: which of them, no documented field says
			return connectors.Ref{}, connectors.Errorf(connectors.Invalid, "Togai took only a part of the batch: %s", c.Hide(said.Message))
		}
		return connectors.Ref{ID: in.BatchID}, nil
	})
	if err != nil {
		return IngestedEvents{}, fmt.Errorf("ingesting batch %s: %w", in.BatchID, err)
	}
	return IngestedEvents{len(events)}, nil
}

// look says whether Togai has the event. One of its id that is another's is for a person.
func (in IngestEventInput) look(ctx context.Context, c connectors.Conn, ref string) (connectors.Ref, bool, error) {
	found, err := fetch[struct {
		Events []struct {
			Event usageEvent `json:"eventPayload"`
		} `json:"events"`
	}](ctx, c, "event", "events", in.EventID)
	if missing(err) {
		return connectors.Ref{}, false, nil
	}
	for _, e := range found.Events {
		if e.Event.AccountID != in.AccountID || e.Event.SchemaName != in.Schema {
			return connectors.Ref{}, false, connectors.Errorf(connectors.Conflict, "event %s is there already, of account %s and schema %s", in.EventID, e.Event.AccountID, e.Event.SchemaName)
		}
	}
	return connectors.Ref{ID: ref}, err == nil && len(found.Events) > 0, err
}
