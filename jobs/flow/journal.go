package flow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// journal keeps the effects of one step, or of a connection's own care when there is no run.
type journal struct {
	e    *Engine
	a    *Activation // nil for a connection's own effects
	step *db.Step    // nil likewise
	conn db.Connection
	app  connectors.Connector
	pace *pacer
	// quiet: its calls leave no trace of their own, as they are many.
	quiet bool

	mapping db.ID // of the record that the step is about

	effect  *db.Effect // the one being sent or probed, for the attempts
	wrote   bool       // something was sent
	adopted bool       // something was found in its place
}

func (a *Activation) journal(s *db.Step, conn db.Connection) *journal {
	app, _ := a.e.Apps.App(conn.App)
	return &journal{e: a.e, a: a, step: s, conn: conn, app: app, pace: a.pacer(app, *conn.VendorAccount), mapping: a.run.MappingID}
}

// connectionJournal is the journal of what a connection does for itself: its webhook endpoint. Those are few calls, so they
// go ahead of the runs that wait for the budget; without a person who waits, they leave room for those that people wait for.
func (e *Engine) connectionJournal(conn db.Connection, person bool) *journal {
	app, _ := e.Apps.App(conn.App)
	pace := e.pacer(app, *conn.VendorAccount)
	pace.bulk, pace.within = !person, personWaits
	return &journal{e: e, conn: conn, app: app, pace: pace}
}

// Pace implements connectors.Journal. What is done is committed before a pause, and before a call without a commit of its own.
func (j *journal) Pace(ctx context.Context, c connectors.Call) (done func(), err error) {
	commit := func() error {
		if j.a == nil || len(j.a.done) == 0 {
			return nil
		}
		return j.a.commit(ctx)
	}
	if done, err = j.pace.pass(ctx, c, commit); err != nil || c.Write {
		return done, err
	}
	return done, commit()
}

// Called implements connectors.Journal. What a status means is the connector's to say, so it shows on the step.
func (j *journal) Called(ctx context.Context, c connectors.Call) {
	j.pace.called(ctx, c)
	if j.a == nil {
		return
	}
	if j.quiet || j.a.item != nil { // of many records only what failed is told, with the record
		if j.a.item != nil && (c.Err != nil || c.Status >= 400) {
			j.a.item.requestID = c.RequestID
		}
		return
	}
	at := db.Attempt{
		OrgID: j.conn.OrgID, ID: db.NewID(), RunID: j.a.run.ID, Step: j.step.Key, ConnectionID: j.conn.ID, Method: c.Method, Path: c.Path, Status: c.Status,
		RequestID: c.RequestID, At: c.Started, TookUS: c.Took.Microseconds(),
	}
	if c.Write && j.effect != nil {
		at.EffectID = j.effect.ID
	}
	switch {
	case c.Err != nil:
		at.ErrorKind, at.Error = string(connectors.KindOf(c.Err)), text(c.Err.Error())
	case c.Status >= 400:
		at.ErrorKind = string(connectors.KindOfStatus(c.Status, c.Write))
	}
	j.a.attempts = append(j.a.attempts, at)
}

// Effect implements connectors.Journal: it answers what the effect left, or makes it happen, once.
func (j *journal) Effect(ctx context.Context, in connectors.Intent, probe connectors.Probe, send connectors.Send) (connectors.Ref, error) {
	key := j.key(in)
	if ref, there, err := j.ofItem(ctx, in, key); there || err != nil {
		return ref, err
	}
	ef, err := j.known(ctx, key)
	if err != nil {
		return connectors.Ref{}, err
	}
	if ef == nil && in.Kind == connectors.CreateEffect && j.a != nil && !j.fresh() {
		ref, err := j.filled(ctx, in)
		if err != nil || ref.Adopted {
			return ref, err
		}
	}
	if ef == nil {
		return j.send(ctx, j.plan(in, key), in, probe, send)
	}
	switch ef.State {
	case EffectConfirmed:
		ref, err := refOf(ef)
		ref.Adopted = j.a != nil && ef.RunID != j.a.run.ID
		return ref, err
	case EffectPlanned, EffectAbsent:
		return j.send(ctx, ef, in, probe, send)
	}
	// A CONFLICT is here again because a person asked for another look.
	return j.settle(ctx, ef, in, probe, send)
}

// key says what an effect is. It hangs on the vendor account, so that two connections cannot make it twice.
func (j *journal) key(in connectors.Intent) string {
	s := in.Slots[0]
	switch {
	case j.a == nil:
		return fmt.Sprintf("connection/%s/%s/%s/%s/%s", j.conn.ID, strings.ToLower(string(in.Kind)), s.Entity, s.Role+s.ID, in.Name)
	case in.Kind == connectors.CreateEffect:
		return fmt.Sprintf("create/%s/%s/%s", j.mapping, s.Entity, s.Role)
	case in.Kind == connectors.AppendEffect:
		return fmt.Sprintf("append/%s/%s%s", s.Entity, in.Occurrence, j.a.itemKey())
	}
	return fmt.Sprintf("set/%s/%s/%s/%s/%s%s", j.a.run.ID, j.step.Key, s.Entity, s.ID, in.Name, j.a.itemKey())
}

// splitCreateKey reads entity and role back out of the key of a run's CREATE.
func splitCreateKey(key string) (entity, role string, ok bool) {
	parts := strings.SplitN(key, "/", 4)
	if len(parts) != 4 || parts[0] != "create" {
		return "", "", false
	}
	return parts[2], parts[3], true
}

// known finds the effect if it was planned before, by this run or, for what only happens once, by anyone.
func (j *journal) known(ctx context.Context, key string) (*db.Effect, error) {
	account := j.conn.VendorAccountID
	if j.a != nil {
		if ef, ok := j.a.effects[account.String()+key]; ok {
			return ef, nil
		}
		if strings.HasPrefix(key, "set/") {
			return nil, nil // of this run alone, and those are loaded
		}
		if j.fresh() && strings.HasPrefix(key, "create/") {
			return nil, nil // whoever came in between is met when it is claimed
		}
	}
	ef, err := db.LiveEffect(ctx, j.e.DB, j.conn.OrgID, account, key)
	if errors.Is(err, db.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if j.a != nil && ef.RunID != j.a.run.ID {
		if ef.State == EffectConfirmed {
			j.adopted = true
			return &ef, nil
		}
		return nil, j.depend(ef.MappingID, "another run is at work on the same record")
	}
	return &ef, nil
}

// fresh tells whether the mapping at hand was made with this run, so that nothing can have been there before.
func (j *journal) fresh() bool { return j.a.fresh && j.mapping == j.a.run.MappingID }

// depend makes the step wait for a slot of a mapping to be filled or released, and no longer than patience allows. Whoever
// fills it wakes the run; it looks by itself too, ever less often, as it may have looked just before.
func (j *journal) depend(mapping db.ID, why string) error {
	if t := j.e.timing(); !j.step.StartedAt.IsZero() && time.Since(j.step.StartedAt) > t.Patience {
		return connectors.Errorf(connectors.Conflict, "%s, and it did not end within %s", why, t.Patience)
	}
	return &errWait{reason: ForDependency, for_: j.e.timing().rhythm(time.Since(j.step.StartedAt)), awaits: mapping, why: why}
}

// filled answers the record that is in the slot already, with what else the same write would have made.
func (j *journal) filled(ctx context.Context, in connectors.Intent) (connectors.Ref, error) {
	var ref connectors.Ref
	for i, s := range in.Slots {
		slot, err := db.GetSlot(ctx, j.e.DB, j.conn.OrgID, j.mapping, j.conn.VendorAccountID, s.Entity, s.Role)
		switch {
		case errors.Is(err, db.ErrNotFound) && i > 0:
		case errors.Is(err, db.ErrNotFound):
			return ref, nil
		case err != nil:
			return ref, err
		case slot.ExternalID == "":
			return ref, j.depend(j.mapping, "another run is making the same record")
		case i == 0:
			ref = connectors.Ref{ID: slot.ExternalID, Name: slot.Name, Attributes: slot.Attributes, Adopted: true}
		default:
			ref.With = append(ref.With, connectors.Slot{Entity: s.Entity, Role: s.Role, ID: slot.ExternalID})
		}
	}
	j.adopted = true
	return ref, nil
}

// Adopt implements connectors.Journal: it fills the slot with a record that was there already.
func (j *journal) Adopt(ctx context.Context, in connectors.Intent, ref connectors.Ref) (connectors.Ref, error) {
	if j.a == nil {
		return ref, nil
	}
	if _, ours := j.a.effects[j.conn.VendorAccountID.String()+j.key(in)]; ours { // of an earlier send, whose slot this fills
		ref.Adopted = true
		return ref, nil
	}
	have, err := j.filled(ctx, in)
	if err != nil || have.Adopted {
		return have, err
	}
	err = j.e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if err := j.a.hold(ctx, tx); err != nil {
			return err
		}
		for i, s := range in.Slots {
			id := ref.ID
			if i > 0 {
				id = cmp.Or(ref.Of(s.Entity, s.Role), s.ID)
			}
			made, err := db.FillSlot(ctx, tx, db.Slot{
				OrgID: j.conn.OrgID, MappingID: j.mapping, VendorAccountID: j.conn.VendorAccountID, Entity: s.Entity, Role: s.Role,
				ExternalID: id, Name: ref.Name, Attributes: ref.Attributes, EventID: j.a.run.EventID, RunID: j.a.run.ID, Step: j.step.Key,
			})
			if err == nil && !made {
				made, err = db.JoinMapping(ctx, tx, j.conn.OrgID, j.conn.VendorAccountID, s.Entity, id, j.mapping, s.Role)
			}
			if err == nil && !made {
				err = connectors.Errorf(connectors.Conflict, "%s %s is linked to another record already", s.Entity, id)
			}
			if err != nil {
				return err
			}
		}
		return j.e.wakeDependents(ctx, tx, j.conn.OrgID, j.mapping)
	})
	if err != nil {
		return connectors.Ref{}, err
	}
	ref.Adopted, j.adopted = true, true
	return ref, nil
}

// plan makes a new effect; it is committed when its request is rendered.
func (j *journal) plan(in connectors.Intent, key string) *db.Effect {
	ef := &db.Effect{
		OrgID: j.conn.OrgID, ID: db.NewID(), VendorAccountID: j.conn.VendorAccountID, ConnectionID: j.conn.ID,
		Kind: string(in.Kind), Key: key, Entity: in.Slots[0].Entity, Chain: []db.ID{},
	}
	if j.a != nil {
		ef.RunID, ef.Step, ef.MappingID = j.a.run.ID, j.step.Key, j.mapping
		ef.Chain = append(ef.Chain, j.a.run.Chain...)
		if len(ef.Chain) == 0 {
			ef.Chain = append(ef.Chain, j.a.conns[j.a.run.ConnectionID].VendorAccountID)
		}
		ef.Chain = append(ef.Chain, j.conn.VendorAccountID)
	}
	return ef
}

// idempotencyKey is what the vendor gets: the effect's id, and a generation for an intended re-send.
func idempotencyKey(ef *db.Effect) string {
	key := db.FormatID("tl", ef.ID)
	if ef.Generation > 0 {
		key = fmt.Sprintf("%s_%d", key, ef.Generation)
	}
	return key
}

// effectOfKey reads the effect's id back out of an idempotency key of ours.
func effectOfKey(key string) (db.ID, bool) {
	if parts := strings.SplitN(key, "_", 3); len(parts) == 3 {
		key = parts[0] + "_" + parts[1]
	}
	id, err := db.ParseID("tl", key)
	return id, err == nil
}

func refOf(ef *db.Effect) (connectors.Ref, error) {
	var ref connectors.Ref
	if len(ef.Ref) == 0 {
		return connectors.Ref{ID: ef.ExternalID}, nil
	}
	err := json.Unmarshal(ef.Ref, &ref)
	return ref, err
}
