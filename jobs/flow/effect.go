package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// errClaimed says that a slot was taken between our look and our claim.
var errClaimed = errors.New("the slot was claimed by another run")

// send makes the write. The transport commits it as SENT, through writer, before a byte leaves.
func (j *journal) send(ctx context.Context, ef *db.Effect, in connectors.Intent, probe connectors.Probe, send connectors.Send) (connectors.Ref, error) {
	if j.a != nil && j.a.run.State == Cancelling && ef.State != EffectSent && ef.State != EffectUnknown {
		return connectors.Ref{}, errCancelled
	}
	w := &writer{j: j, ef: ef, in: in, insert: ef.State == "", was: ef.State, generation: ef.Generation}
	if ef.State == EffectAbsent {
		ef.Generation++ // nothing is there, so this is meant to be a new one
		w.fresh = true
	}
	j.effect = ef
	ref, err := send(connectors.WithWriter(ctx, w), idempotencyKey(ef))
	if errors.Is(err, errClaimed) {
		return j.lostRace(ctx, in)
	}
	if !w.sent && (err != nil || w.insert) { // nothing has left
		return ref, err
	}
	j.wrote, j.adopted = j.wrote || !ref.Adopted, j.adopted || ref.Adopted
	if err == nil { // also when a look showed that an earlier send had done it
		return ref, j.confirm(ctx, ef, ref)
	}
	if w.was == EffectSent || w.was == EffectUnknown {
		return j.stillUnknown(ctx, ef, probe, err)
	}
	return j.refused(ctx, ef, probe, err)
}

// lostRace answers what the winner put into the slot, or waits for it.
func (j *journal) lostRace(ctx context.Context, in connectors.Intent) (connectors.Ref, error) {
	if j.a == nil {
		return connectors.Ref{}, connectors.Errorf(connectors.Busy, "another request is at work on this connection; try again")
	}
	if in.Kind != connectors.CreateEffect {
		return connectors.Ref{}, j.depend(j.mapping, "another run is at work on the same entry")
	}
	ref, err := j.filled(ctx, in)
	if err == nil && !ref.Adopted {
		err = j.depend(j.mapping, "another run is making the same record")
	}
	return ref, err
}

// stillUnknown deals with a resend that did not succeed. Whatever it was told, the first send may have been done, so
// the effect stays UNKNOWN until the vendor repeats its first answer or a look tells. A change that may be made twice
// has no such memory.
func (j *journal) stillUnknown(ctx context.Context, ef *db.Effect, probe connectors.Probe, err error) (connectors.Ref, error) {
	x := errorOf(err)
	if ctx.Err() != nil || x.Kind == connectors.Conflict || ef.Kind == string(connectors.SetEffect) || x.Replayed {
		return j.refused(ctx, ef, probe, err)
	}
	ef.State, ef.ErrorKind, ef.Error = EffectUnknown, string(x.Kind), text(x.Error())
	if serr := j.store(ctx, ef, nil); errors.Is(serr, db.ErrConflict) {
		return j.confirmedByEcho(ctx, ef)
	} else if serr != nil {
		return connectors.Ref{}, serr
	}
	switch x.Kind {
	case connectors.Forbidden, connectors.NotFound, connectors.Invalid: // asking again brings no more
		return j.probe(ctx, ef, connectors.Intent{}, probe, nil)
	}
	return connectors.Ref{}, err
}

// errorOf reads a connector's error; whatever else comes after a write has left tells nothing of its outcome.
func errorOf(err error) *connectors.Error {
	if x, ok := errors.AsType[*connectors.Error](err); ok {
		return x
	}
	return &connectors.Error{Kind: connectors.OutcomeUnknown, Err: err}
}

// refused deals with a first send that did not succeed: it was refused, or not done at all, or nobody knows.
func (j *journal) refused(ctx context.Context, ef *db.Effect, probe connectors.Probe, err error) (connectors.Ref, error) {
	if ctx.Err() != nil {
		return connectors.Ref{}, err // stopping: it stays SENT, and the next activation settles it
	}
	x := errorOf(err)
	ef.ErrorKind, ef.Error = string(x.Kind), text(x.Error())
	switch x.Kind {
	case connectors.RateLimited, connectors.Unavailable, connectors.Unauthorized:
		ef.State = EffectPlanned
		return connectors.Ref{}, j.store(ctx, ef, err)
	case connectors.Conflict:
		return j.inItsPlace(ctx, ef, probe, err)
	case connectors.Busy, connectors.OutcomeUnknown:
		ef.State = EffectUnknown
		if serr := j.store(ctx, ef, nil); errors.Is(serr, db.ErrConflict) {
			return j.confirmedByEcho(ctx, ef)
		} else if serr != nil {
			return connectors.Ref{}, serr
		}
		if x.Replayed { // the vendor repeats a failure it once gave: only a look can tell
			return j.probe(ctx, ef, connectors.Intent{}, probe, nil)
		}
		return connectors.Ref{}, err
	}
	ef.State, ef.Request = EffectRefused, nil
	serr := j.e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if err := j.settleIn(ctx, tx, ef); err != nil {
			return err
		}
		if err := db.ReleaseSlots(ctx, tx, ef.OrgID, ef.ID); err != nil {
			return err
		}
		return j.e.wakeDependents(ctx, tx, ef.OrgID, ef.MappingID)
	})
	if serr != nil {
		return connectors.Ref{}, serr
	}
	j.forget(ef)
	return connectors.Ref{}, err
}

// inItsPlace deals with something that is there already: ours, perhaps, of a call whose answer was lost.
func (j *journal) inItsPlace(ctx context.Context, ef *db.Effect, probe connectors.Probe, err error) (connectors.Ref, error) {
	if probe != nil {
		ref, found, perr := probe(ctx, idempotencyKey(ef))
		if perr == nil && found {
			return ref, j.confirm(ctx, ef, ref)
		}
		if perr != nil && connectors.KindOf(perr) != connectors.Conflict {
			ef.State = EffectUnknown
			return connectors.Ref{}, j.store(ctx, ef, perr)
		}
	}
	ef.State = EffectConflict
	return connectors.Ref{}, j.store(ctx, ef, err)
}

// settle finds out what became of a write that was sent and never answered.
func (j *journal) settle(ctx context.Context, ef *db.Effect, in connectors.Intent, probe connectors.Probe, send connectors.Send) (connectors.Ref, error) {
	fresh, err := db.GetEffect(ctx, j.e.DB, ef.OrgID, ef.ID) // an echo may have told us meanwhile
	if err != nil {
		return connectors.Ref{}, err
	}
	if *ef = fresh; ef.State == EffectConfirmed {
		return refOf(ef)
	}
	replays := j.app.ReplaysKeys > 0 && time.Since(ef.SentAt) < j.app.ReplaysKeys && ef.AbsentAt.IsZero()
	cancelling := j.a != nil && j.a.run.State == Cancelling // then a look is better than a repeat that could do it now
	set := ef.Kind == string(connectors.SetEffect) && (!cancelling || probe == nil)
	if (set || replays && !cancelling) && ef.State != EffectConflict { // the vendor answers a repeat with the first answer, or a second time changes nothing
		return j.send(ctx, ef, in, probe, send)
	}
	return j.probe(ctx, ef, in, probe, send)
}

// probe looks for what the write may have left. Two looks that find nothing, the first after the call can no longer be
// in the air and the vendor has settled, prove it absent; then it is sent anew.
func (j *journal) probe(ctx context.Context, ef *db.Effect, in connectors.Intent, probe connectors.Probe, send connectors.Send) (connectors.Ref, error) {
	if probe == nil {
		ef.State, ef.Error = EffectConflict, "nobody can tell whether it happened: the vendor offers no way to look"
		return connectors.Ref{}, j.store(ctx, ef, connectors.Errorf(connectors.Conflict, "%s", ef.Error))
	}
	now, err := db.Now(ctx, j.e.DB) // send_until is the database's time, and clocks differ
	if err != nil {
		return connectors.Ref{}, err
	}
	ready := ef.SendUntil
	if ef.AbsentAt.After(ready) {
		ready = ef.AbsentAt
	}
	ready = ready.Add(j.app.Settle)
	ref, found, err := probe(ctx, idempotencyKey(ef))
	switch {
	case connectors.KindOf(err) == connectors.Conflict:
		ef.State, ef.Error = EffectConflict, text(err.Error())
		return connectors.Ref{}, j.store(ctx, ef, err)
	case err != nil:
		return connectors.Ref{}, err
	case found:
		return ref, j.confirm(ctx, ef, ref)
	}
	if d := ready.Sub(now); d > 0 {
		return connectors.Ref{}, &errWait{reason: ForRetry, for_: d, why: "the answer was lost; what became of the call is looked up then"}
	}
	if ef.AbsentAt.IsZero() {
		ef.AbsentAt = now
		return connectors.Ref{}, j.store(ctx, ef, &errWait{reason: ForRetry, for_: max(j.app.Settle, time.Millisecond), why: "nothing was found; it is looked for once more"})
	}
	ef.State = EffectAbsent
	if err := j.store(ctx, ef, nil); err != nil || send == nil {
		return connectors.Ref{}, errors.Join(err, &errWait{reason: ForRetry, why: "it did not happen, so it is sent again"})
	}
	return j.send(ctx, ef, in, probe, send)
}

// confirmedByEcho answers what the vendor's own event told while the call was in the air.
func (j *journal) confirmedByEcho(ctx context.Context, ef *db.Effect) (connectors.Ref, error) {
	fresh, err := db.GetEffect(ctx, j.e.DB, ef.OrgID, ef.ID)
	if err != nil {
		return connectors.Ref{}, err
	}
	*ef = fresh
	return refOf(ef)
}

// confirm keeps what an effect left. It is saved with the step, or before the next effect is sent; a crash before
// that is settled by looking.
func (j *journal) confirm(ctx context.Context, ef *db.Effect, ref connectors.Ref) error {
	raw, err := storable(ref)
	if err != nil {
		return err
	}
	ef.State, ef.ExternalID, ef.Ref, ef.Request, ef.ErrorKind, ef.Error = EffectConfirmed, ref.ID, raw, nil, "", ""
	if j.a == nil {
		return j.store(ctx, ef, nil)
	}
	j.a.settled = append(j.a.settled, ef)
	return nil
}

// store writes an effect's state and answers then, or the failure to write.
func (j *journal) store(ctx context.Context, ef *db.Effect, then error) error {
	if err := j.e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error { return j.settleIn(ctx, tx, ef) }); err != nil {
		return err
	}
	return then
}

// settleIn writes an effect's state under the run's fence: what a worker has to say that lost its lease meanwhile is
// about a call that another has since looked into, and perhaps sent anew.
func (j *journal) settleIn(ctx context.Context, tx db.Tx, ef *db.Effect) error {
	if j.a != nil {
		if err := j.a.hold(ctx, tx); err != nil {
			return err
		}
	}
	return db.SettleEffect(ctx, tx, ef)
}

func (j *journal) forget(ef *db.Effect) {
	if j.a != nil {
		delete(j.a.effects, ef.VendorAccountID.String()+ef.Key)
	}
}

// writer lets one write of one effect pass the transport.
type writer struct {
	j      *journal
	ef     *db.Effect
	in     connectors.Intent
	insert bool // it is not in the table yet
	fresh  bool // it is rendered anew, not resent
	sent   bool

	was        string // its state and generation before
	generation int
}

// Sending implements connectors.Writer: it commits the write as SENT, and claims its slots, before a byte leaves.
func (w *writer) Sending(ctx context.Context, r connectors.Request) (connectors.Request, error) {
	if w.sent {
		return r, fmt.Errorf("%s %s: a second write in one effect", r.Method, r.Path)
	}
	if !w.insert && !w.fresh && len(w.ef.Request) > 0 {
		plain, err := w.j.e.Keys.Open(w.ef.Request, effectAD(w.ef.OrgID, w.ef.ID))
		if err != nil {
			return r, fmt.Errorf("unsealing the stored request: %w", err)
		}
		if err := json.Unmarshal(plain, &r); err != nil {
			return r, fmt.Errorf("reading the stored request: %w", err)
		}
	} else {
		box, err := w.j.e.sealJSON(r, effectAD(w.ef.OrgID, w.ef.ID))
		if err != nil {
			return r, err
		}
		w.ef.Request = box
	}
	w.ef.State = EffectSent
	p := &page{a: w.j.a, send: w}
	if p.a != nil {
		p.step = w.j.step
		p.step.State, p.step.WaitingReason, p.step.WakeAt = Running, "", time.Time{}
	}
	if err := w.j.e.keep(ctx, p); err != nil {
		w.ef.State, w.ef.Generation = w.was, w.generation
		return r, err
	}
	w.ef.AbsentAt = time.Time{}
	if p.a != nil {
		p.a.effects[w.ef.VendorAccountID.String()+w.ef.Key] = w.ef
	}
	w.sent = true
	return r, nil
}

// claims are the slots that a new CREATE of a run takes before it is sent.
func (w *writer) claims() []db.Slot {
	if w.j.a == nil || w.in.Kind != connectors.CreateEffect {
		return nil
	}
	slots := make([]db.Slot, len(w.in.Slots))
	for i, s := range w.in.Slots {
		slots[i] = db.Slot{MappingID: w.ef.MappingID, Entity: s.Entity, Role: s.Role, OwnID: s.ID, EventID: w.j.a.run.EventID}
	}
	return slots
}
