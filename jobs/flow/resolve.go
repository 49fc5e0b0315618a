package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// Resolution is what a person decides about a write of which nobody can tell what became.
type Resolution string

// The resolutions.
const (
	ResolveAdopt     Resolution = "ADOPT"      // the record that is there is the one that was meant
	ResolveSendAgain Resolution = "SEND_AGAIN" // it did not happen, and shall
	ResolveGiveUp    Resolution = "GIVE_UP"    // it shall not be
)

// ResolveInput is a person's decision.
type ResolveInput struct {
	How        Resolution
	ExternalID string            // of ResolveAdopt: the record; empty: the one of the id that we chose
	With       []connectors.Slot // likewise: what else the same write would have made
}

// ResolveEffect ends the uncertainty about a write as a person has decided, and lets its run go on.
func (e *Engine) ResolveEffect(ctx context.Context, org, id db.ID, in ResolveInput, commit Commit) error {
	ef, err := db.GetEffect(ctx, e.DB, org, id)
	if err != nil {
		return err
	}
	if ef.RunID == (db.ID{}) {
		return problem(CodeState, "This write is of the connection's own webhook: testConnection sees to that.", "id")
	}
	run, err := db.GetRun(ctx, e.DB, org, ef.RunID)
	if err != nil {
		return err
	}
	if err := resolvable(ef, run, in.How); err != nil { // before the vendor is asked, and again after that
		return err
	}
	var ref connectors.Ref
	var unclear error
	if in.How == ResolveAdopt {
		ref, unclear = e.meant(ctx, ef, in)
	}
	return e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		run, err := e.lockInLane(ctx, tx, org, ef.RunID)
		if err != nil {
			return err
		}
		if ef, err = db.LockEffect(ctx, tx, org, id); err != nil {
			return err
		}
		if err := cmp.Or(resolvable(ef, run, in.How), unclear); err != nil { // who was heard meanwhile made it unclear
			return err
		}
		switch in.How {
		case ResolveAdopt:
			err = e.adopt(ctx, tx, &ef, ref)
		case ResolveSendAgain:
			ef.State, ef.AbsentAt, ef.ErrorKind, ef.Error = EffectAbsent, time.Time{}, "", ""
			err = db.SettleEffect(ctx, tx, &ef)
		default:
			err = e.giveUp(ctx, tx, &ef, run)
		}
		if err == nil {
			err = e.resolved(ctx, tx, run, in.How)
		}
		if err != nil {
			return err
		}
		return commit(ctx, tx, id)
	})
}

// resolvable says why a write cannot be resolved so.
func resolvable(ef db.Effect, run db.Run, how Resolution) error {
	asks := ef.State == EffectConflict || (ef.State == EffectUnknown || ef.State == EffectSent) && run.State == Waiting && run.WaitingReason == ForPerson
	switch {
	case !asks:
		return problem(CodeState, "The write is "+ef.State+" and waits for nobody's decision. Only one that is in CONFLICT, or whose run waits for a person (PERSON), can be resolved.", "id")
	case run.State != Waiting && !final(run.State):
		return problem(CodeState, "Its run is being worked on ("+run.State+"). Try again in a moment.", "id")
	case (how == ResolveSendAgain || ef.State != EffectConflict) && time.Now().Before(ef.SendUntil):
		return problem(CodeState, fmt.Sprintf("Its call can still reach the vendor until %s. Decide after that.", ef.SendUntil.UTC().Format(time.RFC3339)), "id")
	case how != ResolveSendAgain:
		return nil
	case ef.ExternalID != "":
		return problem(CodeState, fmt.Sprintf("The write was done: it made %s %s. Adopt that, or give it up.", ef.Entity, ef.ExternalID), "resolution")
	case final(run.State) && run.FailedItems == 0:
		return problem(CodeState, "Its run is over ("+run.State+"), so nothing would send it. Give it up, then use replayRuns.", "resolution")
	}
	return nil
}

// meant is the record that a person says is the one, with what else the same write would have made. Where the vendor can be
// asked, it must be there.
func (e *Engine) meant(ctx context.Context, ef db.Effect, in ResolveInput) (connectors.Ref, error) {
	claimed, err := db.SlotsByEffect(ctx, e.DB, ef.OrgID, []db.ID{ef.ID})
	if err != nil {
		return connectors.Ref{}, err
	}
	_, role, _ := splitCreateKey(ef.Key)
	id, with, bad := cmp.Or(strings.TrimSpace(in.ExternalID), ef.ExternalID), []connectors.Slot(nil), Problems(nil)
	for _, s := range claimed[ef.ID] {
		if s.Entity == ef.Entity && s.Role == role {
			id = cmp.Or(id, s.OwnID)
			continue
		}
		other := connectors.Ref{With: in.With}.Of(s.Entity, s.Role)
		if other = cmp.Or(strings.TrimSpace(other), s.OwnID); other == "" {
			bad = append(bad, problem(CodeRequired, fmt.Sprintf("The same write makes a %s. Say which one it is.", s.Entity), "with")...)
		}
		with = append(with, connectors.Slot{Entity: s.Entity, Role: s.Role, ID: other})
	}
	if id == "" && ef.Kind == string(connectors.CreateEffect) { // somebody may have linked it meanwhile
		there, err := db.GetSlot(ctx, e.DB, ef.OrgID, ef.MappingID, ef.VendorAccountID, ef.Entity, role)
		if err != nil && !errors.Is(err, db.ErrNotFound) {
			return connectors.Ref{}, err
		}
		id = there.ExternalID
	}
	if id == "" {
		bad = append(bad, problem(CodeRequired, fmt.Sprintf("Say which %s it is, by its id there.", ef.Entity), "externalId")...)
	}
	if len(bad) > 0 {
		return connectors.Ref{}, bad
	}
	ref, _, err := e.readRecord(ctx, ef, id)
	if err != nil && !errors.Is(err, errNoLook) {
		return connectors.Ref{}, err
	}
	ref.ID, ref.With, ref.Adopted = cmp.Or(ref.ID, id), with, true
	return ref, nil
}

// errNoLook says that a record cannot be read: its app has no call for it, or its connection does not work.
var errNoLook = errors.New("the record cannot be read here")

// readRecord reads the record of an effect's kind that has this id, where the effect was to be written.
func (e *Engine) readRecord(ctx context.Context, ef db.Effect, id string) (connectors.Ref, any, error) {
	conn, err := db.GetConnection(ctx, e.DB, ef.OrgID, ef.ConnectionID)
	if errors.Is(err, db.ErrNotFound) {
		return connectors.Ref{}, nil, errNoLook
	}
	if err != nil {
		return connectors.Ref{}, nil, err
	}
	return e.readAt(ctx, conn, ef.Entity, id)
}

// readAt reads a record through a connection, for a person. A missing one is a problem, and so is whatever keeps it from being read.
func (e *Engine) readAt(ctx context.Context, conn db.Connection, entity, id string) (connectors.Ref, any, error) {
	app, _ := e.Apps.App(conn.App)
	look := app.Look(entity)
	if look == nil || conn.State != ConnActive {
		return connectors.Ref{}, nil, errNoLook
	}
	pace := e.pacer(app, *conn.VendorAccount)
	pace.within = personWaits
	c, err := e.open(conn, &caller{pace: pace})
	if err != nil {
		return connectors.Ref{}, nil, err
	}
	ref, record, err := look(ctx, c, id)
	switch {
	case connectors.KindOf(err) == connectors.NotFound:
		return ref, nil, problem(CodeNotFound, fmt.Sprintf("%s has no %s %s.", app.Name, entity, id), "externalId")
	case err != nil:
		return ref, nil, refusal(app, err, "externalId")
	}
	return ref, record, nil
}

// adopt takes the record for what the effect was to make.
func (e *Engine) adopt(ctx context.Context, tx db.Tx, ef *db.Effect, ref connectors.Ref) error {
	raw, err := storable(ref)
	if err != nil {
		return err
	}
	ef.State, ef.ExternalID, ef.Ref, ef.Request, ef.ErrorKind, ef.Error = EffectConfirmed, ref.ID, raw, nil, "", ""
	slots, err := slotsOf(ef)
	if err != nil {
		return err
	}
	if err := db.SettleEffect(ctx, tx, ef); err != nil {
		return err
	}
	for _, s := range slots {
		other, err := db.SlotByExternalID(ctx, tx, s.OrgID, s.VendorAccountID, s.Entity, s.ExternalID)
		if errors.Is(err, db.ErrNotFound) {
			if err := db.FillClaimed(ctx, tx, s); err != nil {
				return taken(err)
			}
			continue
		}
		if err != nil {
			return err
		}
		if other.EffectID != ef.ID && (other.MappingID != ef.MappingID || other.Entity != s.Entity || other.Role != s.Role) {
			return problem(CodeTaken, fmt.Sprintf("%s %s is linked as another record already (%s). If they are one, use mergeMappings first; if that link is wrong, updateMapping.",
				s.Entity, s.ExternalID, db.FormatID("map", other.MappingID)), "externalId")
		}
	}
	return e.wakeDependents(ctx, tx, ef.OrgID, ef.MappingID)
}

// giveUp ends a write that is not to be, and with it the step that asked for it. One about a single record of a run over many
// leaves the run alone.
func (e *Engine) giveUp(ctx context.Context, tx db.Tx, ef *db.Effect, run db.Run) error {
	ef.State, ef.Request = EffectGivenUp, nil
	if err := db.SettleEffect(ctx, tx, ef); err != nil {
		return err
	}
	if err := db.ReleaseSlots(ctx, tx, ef.OrgID, ef.ID); err != nil {
		return err
	}
	if !final(run.State) && (len(run.Progress) == 0 || ef.MappingID == run.MappingID) {
		if err := db.FailStep(ctx, tx, run.OrgID, run.ID, ef.Step, string(connectors.Conflict), "A person gave up the write that this step was to make."); err != nil {
			return err
		}
	}
	return e.wakeDependents(ctx, tx, ef.OrgID, ef.MappingID)
}

// resolved lets a run go on that waited for a person; of a run over many records that is over, what failed is taken up again.
func (e *Engine) resolved(ctx context.Context, tx db.Tx, run db.Run, how Resolution) error {
	if final(run.State) {
		if how == ResolveGiveUp || run.FailedItems == 0 {
			return nil
		}
		_, err := e.Retry(ctx, tx, run.OrgID, run.ID)
		return err
	}
	woken, err := db.WakeRuns(ctx, tx, "org_id = ? AND id = ? AND waiting_reason IN ('PERSON', 'RETRY')", run.OrgID, run.ID)
	if err != nil {
		return err
	}
	return e.queued(ctx, tx, woken...)
}
