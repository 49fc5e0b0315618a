package flow

import (
	"context"
	"encoding/json"
	"errors"

	"tieline/connectors"
	"tieline/db"
)

// cause finds the effect of ours that an event reports, or nil when it is news. An idempotency key must be that of an
// effect; a record's creation must resolve, by its mapping or by ids of ours in it, to the CREATE that made it. A
// prefix alone proves nothing: a staging copy may share the vendor account.
func (e *Engine) cause(ctx context.Context, tx db.Tx, ev db.Event, conn db.Connection, occ connectors.Occurrence) (*db.Effect, error) {
	if ev.Source == FromHand || ev.Source == FromSchedule {
		return nil, nil
	}
	if id, ok := effectOfKey(occ.Cause.IdempotencyKey); ok {
		ef, err := db.GetEffect(ctx, tx, ev.OrgID, id)
		if err == nil && ef.VendorAccountID == conn.VendorAccountID {
			return &ef, nil
		}
		if err != nil && !errors.Is(err, db.ErrNotFound) {
			return nil, err
		}
	}
	if !occ.Cause.Creation {
		return nil, nil
	}
	ef, err := db.CreatorOf(ctx, tx, ev.OrgID, conn.VendorAccountID, occ.Record.Entity, occ.Record.ID)
	for _, own := range occ.Cause.OwnIDs {
		if !errors.Is(err, db.ErrNotFound) {
			break
		}
		ef, err = db.CreatorThrough(ctx, tx, ev.OrgID, conn.VendorAccountID, occ.Record.Entity, occ.Record.ID, own.App, own.Entity, own.ID)
	}
	if errors.Is(err, db.ErrNotFound) {
		return nil, nil
	}
	return &ef, err
}

// confirmByEcho takes the vendor's own event for the answer that may have been lost: it confirms the effect, fills its
// slots, and wakes the run that was about to look.
func (e *Engine) confirmByEcho(ctx context.Context, tx db.Tx, ef *db.Effect, conn db.Connection, occ connectors.Occurrence) error {
	if ef.State == EffectConfirmed || ef.Kind != string(connectors.CreateEffect) || !occ.Cause.Creation {
		return nil
	}
	ref, whole := echoRef(ef, occ)
	if !whole {
		return nil // it reports only the lesser of what the effect makes; the run settles the rest
	}
	raw, err := json.Marshal(ref)
	if err != nil {
		return err
	}
	ef.State, ef.ExternalID, ef.Ref, ef.Request, ef.ErrorKind, ef.Error = EffectConfirmed, ref.ID, raw, nil, "", ""
	if err := db.SettleEffect(ctx, tx, ef); err != nil {
		return err
	}
	if err := e.fill(ctx, tx, ef); err != nil {
		return err
	}
	woken, err := db.WakeRuns(ctx, tx, "org_id = ? AND id = ? AND waiting_reason IN ('RETRY', 'PERSON')", ef.OrgID, ef.RunID)
	if err != nil {
		return err
	}
	return e.queued(ctx, tx, woken...)
}

// echoRef reads what an effect made off the event that reports it.
func echoRef(ef *db.Effect, occ connectors.Occurrence) (connectors.Ref, bool) {
	record := connectors.Slot{Entity: occ.Record.Entity, ID: occ.Record.ID}
	if record.Entity == ef.Entity {
		return connectors.Ref{ID: record.ID, Name: occ.Record.Name}, true
	}
	if occ.Parent != nil && occ.Parent.Entity == ef.Entity {
		return connectors.Ref{ID: occ.Parent.ID, Name: occ.Record.Name, With: []connectors.Slot{record}}, true
	}
	return connectors.Ref{}, false
}
