package flow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// about is the mapping of the record that a step is about, where that is not the trigger's. It is made when the record has
// none, so that whatever comes to make the same thing for the same record meets it there.
func (a *Activation) about(ctx context.Context, s *db.Step, p planStep) (db.ID, error) {
	v, err := p.record.Render(ctx, a.env())
	if err != nil {
		return db.ID{}, err
	}
	id, ok := v.(string)
	if id = strings.TrimSpace(id); !ok || id == "" {
		return db.ID{}, connectors.Errorf(connectors.Invalid, "the step is about a %s of %s, and there is none here", p.Record.Entity, p.Record.App)
	}
	account, err := a.accountOf(p.Record.App, s)
	if err != nil {
		return db.ID{}, err
	}
	slot, err := db.SlotByExternalID(ctx, a.e.DB, a.run.OrgID, account, p.Record.Entity, id)
	if err == nil || !errors.Is(err, db.ErrNotFound) {
		return slot.MappingID, err
	}
	if err := a.unsettledBefore(ctx, s, account, p.Record.Entity); err != nil {
		return db.ID{}, err
	}
	err = a.e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if err := a.hold(ctx, tx); err != nil {
			return err
		}
		slot = db.Slot{OrgID: a.run.OrgID, VendorAccountID: account, Entity: p.Record.Entity, ExternalID: id, Name: id, EventID: a.run.EventID}
		mapped, err := db.MapRecords(ctx, tx, slot)
		slot.MappingID = mapped[slot.Record()].ID
		return err
	})
	return slot.MappingID, err
}

// unsettledBefore lets a step wait that is about a record nobody knows, while another run may have made that record and has
// not learned yet which it is: a mapping of its own would be in that one's way. Only what was sent before this run began can
// have made it, so that there is an end to it, and patience is another.
func (a *Activation) unsettledBefore(ctx context.Context, s *db.Step, account db.ID, entity string) error {
	t := a.e.timing()
	if time.Since(s.StartedAt) > t.Patience {
		return nil
	}
	making, err := db.Making(ctx, a.e.DB, a.run, account, entity)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return &errWait{
		reason: ForDependency, for_: t.rhythm(time.Since(s.StartedAt)), awaits: making.MappingID,
		why: "another run may have made the " + entity + " that this step is about, and does not know yet what became of its call",
	}
}

// accountOf is the vendor account of an app in which the run's flow link works: the step's own, or the trigger's, or else
// that of the first step of the app.
func (a *Activation) accountOf(app string, s *db.Step) (db.ID, error) {
	for _, id := range append([]db.ID{s.ConnectionID, a.run.ConnectionID}, stepConnections(a.steps)...) {
		if c, ok := a.conns[id]; ok && c.App == app {
			return c.VendorAccountID, nil
		}
	}
	return db.ID{}, fmt.Errorf("the link of run %s has no connection of app %s", a.run.ID, app)
}

func stepConnections(steps []db.Step) (ids []db.ID) {
	for _, s := range steps {
		ids = append(ids, s.ConnectionID)
	}
	return ids
}
