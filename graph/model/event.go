package model

import (
	"bytes"
	"encoding/json"

	"tieline/db"
)

// NewEvent shows an event.
func NewEvent(e db.Event) *Event {
	return &Event{
		ID: EventID.Of(e.ID), TriggerKey: e.Trigger, Source: EventSource(e.Source), Entity: text(e.Entity), Record: text(e.RecordID),
		RecordName: text(e.RecordName), DedupeKey: e.DedupeKey, VendorTime: e.VendorAt, ReceivedAt: e.ReceivedAt, Repeats: whole(e.Repeats), Row: e,
	}
}

// NewOutcome shows what became of an event at a link.
func NewOutcome(o db.EventOutcome) *EventOutcome {
	return &EventOutcome{
		ID: part("out", o.EventID.String(), o.FlowLinkID.String()), Outcome: EventOutcomeKind(o.Outcome), Reason: text(o.Reason), Row: o,
	}
}

// Unheard shows what became of an event that was looked into and came to no link.
func Unheard(e db.Event) *EventOutcome {
	why := "No flow link that is switched on listened to it."
	switch {
	case e.Error != "":
		why = "Nothing can be done with it: " + e.Error + "."
	case e.Source == string(EventSourceBaseline):
		why = "It was there before reading began, so it is no news."
	}
	return &EventOutcome{ID: part("out", e.ID.String()), Outcome: EventOutcomeKindIgnored, Reason: &why, Row: db.EventOutcome{OrgID: e.OrgID, EventID: e.ID}}
}

// Body is a stored body as JSON: one that is none comes as a text.
func Body(raw []byte) json.RawMessage {
	if raw == nil {
		return nil
	}
	raw = bytes.ToValidUTF8(raw, []byte("\uFFFD"))
	if json.Valid(raw) {
		return raw
	}
	quoted, _ := json.Marshal(string(raw))
	return quoted
}
