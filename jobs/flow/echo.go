package flow

import (
	"context"
	"encoding/json"
	"errors"

	"tieline/connectors"
	"tieline/db"
)

// causes finds the effects of ours that events report; one that is news has none. An idempotency key, or the mark we leave
// in a record, must be that of an effect; a record's creation must resolve, by its mapping or by the id we chose for it,
// to the CREATE that made it. A prefix alone proves nothing: a staging copy may share the vendor account.
func (e *Engine) causes(ctx context.Context, tx db.Tx, all []*dispatching) error {
	var made []db.Seen
	var by []*dispatching
	for _, d := range all {
		if d.ev.Source == FromHand || d.ev.Source == FromSchedule {
			continue
		}
		if err := d.marked(ctx, tx); err != nil {
			return err
		}
		if c := d.occ.Cause; d.cause == nil && c.Creation {
			// What names another cause, or lacks the mark that our writes leave, may be ours only when we know that we made it.
			stranger := c.IdempotencyKey != "" || c.Mark != "" || c.Unmarked
			made, by = append(made, db.Seen{Record: d.record(), Open: !stranger}), append(by, d)
		}
	}
	if len(made) == 0 {
		return nil
	}
	creators, err := db.CreatorsOf(ctx, tx, made...)
	for i, ef := range creators {
		by[i].cause = &ef
	}
	return err
}

// marked finds the effect whose key or mark an event bears.
func (d *dispatching) marked(ctx context.Context, tx db.Tx) error {
	for _, key := range []string{d.occ.Cause.IdempotencyKey, d.occ.Cause.Mark} {
		id, ok := effectOfKey(key)
		if !ok {
			continue
		}
		ef, err := db.GetEffect(ctx, tx, d.ev.OrgID, id)
		if err == nil && ef.VendorAccountID == d.ev.VendorAccountID {
			d.cause = &ef
			return nil
		}
		if err != nil && !errors.Is(err, db.ErrNotFound) {
			return err
		}
	}
	return nil
}

// confirmByEcho takes the vendor's own event for the answer that may have been lost: it confirms the effect, fills its
// slots, and wakes the run that was about to look.
func (e *Engine) confirmByEcho(ctx context.Context, tx db.Tx, ef *db.Effect, occ connectors.Occurrence) error {
	if ef.Kind != string(connectors.CreateEffect) || !occ.Cause.Creation || ef.RunID == (db.ID{}) {
		return nil
	}
	// The run's row first, as its worker takes them: it either sees what is written here, or is woken by it.
	if _, err := db.LockRun(ctx, tx, ef.OrgID, ef.RunID); errors.Is(err, db.ErrNotFound) { // so old that retention has removed it
		return nil
	} else if err != nil {
		return err
	}
	now, err := db.GetEffect(ctx, tx, ef.OrgID, ef.ID)
	if err != nil {
		return err
	}
	*ef = now
	ref, whole := echoRef(ef, occ)
	if ef.State == EffectConfirmed || !whole { // or it reports only the lesser of what the effect makes; the run settles the rest
		return nil
	}
	if ef.State == EffectRefused || ef.State == EffectGivenUp {
		return e.outlived(ctx, tx, ef, ref, occ)
	}
	raw, err := json.Marshal(ref)
	if err != nil {
		return err
	}
	ef.State, ef.ExternalID, ef.Ref, ef.Request, ef.ErrorKind, ef.Error = EffectConfirmed, ref.ID, raw, nil, "", ""
	if err := e.confirm(ctx, tx, ef); err != nil {
		return err
	}
	woken, err := db.WakeRuns(ctx, tx, "org_id = ? AND id = ? AND waiting_reason IN ('RETRY', 'PERSON')", ef.OrgID, ef.RunID)
	if err != nil {
		return err
	}
	return e.queued(ctx, tx, woken...)
}

// outlived links what an effect has made after all, although it was given up.
func (e *Engine) outlived(ctx context.Context, tx db.Tx, ef *db.Effect, ref connectors.Ref, occ connectors.Occurrence) error {
	_, role, _ := splitCreateKey(ef.Key)
	for _, s := range append([]connectors.Slot{{Entity: ef.Entity, Role: role, ID: ref.ID}}, ref.With...) {
		if _, err := db.FillSlot(ctx, tx, db.Slot{
			OrgID: ef.OrgID, MappingID: ef.MappingID, VendorAccountID: ef.VendorAccountID, Entity: s.Entity, Role: s.Role,
			ExternalID: s.ID, Name: occ.Record.Name, RunID: ef.RunID, Step: ef.Step,
		}); err != nil {
			return err
		}
	}
	return e.wakeDependents(ctx, tx, ef.OrgID, ef.MappingID)
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
