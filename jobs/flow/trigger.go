package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// TriggerNow starts a link's flow by hand with a payload of its trigger's form.
func (e *Engine) TriggerNow(ctx context.Context, tx db.Tx, org, link db.ID, payload json.RawMessage) (db.Event, error) {
	l, err := db.GetFlowLink(ctx, tx, org, link)
	if err != nil {
		return db.Event{}, err
	}
	bound, err := e.bound(ctx, tx, l)
	if err != nil {
		return db.Event{}, err
	}
	if err := bound.gone().or(); err != nil {
		return db.Event{}, err
	}
	conn := bound.conns[l.TriggerConnectionID]
	app, _ := e.Apps.App(conn.App)
	t, ok := app.Trigger(l.Trigger)
	if !ok || t.Manual == nil {
		return db.Event{}, problem(CodeInvalid, "This flow cannot be started by hand.", "id")
	}
	if bad := misfits(t.Output.Validate(payload), "payload"); len(bad) > 0 {
		return db.Event{}, bad
	}
	occ, err := t.Manual(payload)
	if err != nil {
		return db.Event{}, problem(CodeInvalid, err.Error(), "payload")
	}
	now := time.Now().Truncate(time.Microsecond)
	id := db.NewID()
	if t.Occasion {
		occ.Record.ID = db.FormatID("evt", id)
	}
	if strings.TrimSpace(occ.Record.ID) == "" {
		return db.Event{}, problem(CodeInvalid, fmt.Sprintf("The payload names no %s.", t.Entity), "payload")
	}
	if have := connectors.Mode(conn.VendorAccount.Mode); occ.Mode != "" && occ.Mode != have {
		return db.Event{}, problem(CodeModeMismatch, fmt.Sprintf("The payload is of %s data, and the flow link is for %s data.", occ.Mode, have), "payload")
	}
	ev := db.Event{
		OrgID: org, ID: id, ConnectionID: conn.ID, FlowLinkID: link, Trigger: l.Trigger, DedupeKey: "manual:" + id.String(), Source: FromHand,
		VendorType: l.Trigger, VendorAt: now, ReceivedAt: now, Entity: occ.Record.Entity, RecordID: occ.Record.ID, RecordName: occ.Record.Name,
		DueAt: now.Add(10 * time.Second),
	}
	if err := db.AddEvent(ctx, tx, ev, payload); err != nil {
		return db.Event{}, err
	}
	return ev, e.Queue.Add(ctx, tx, Task{Kind: Dispatch, Org: org, ID: id})
}
