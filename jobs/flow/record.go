package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"tieline/db"
)

// mapRecords finds the mappings of the events' records, and makes those of new ones. An echo brings its effect's.
func (e *Engine) mapRecords(ctx context.Context, tx db.Tx, all []*dispatching) error {
	var slots []db.Slot
	var children []*dispatching
	for _, d := range all {
		if len(d.links) == 0 {
			continue
		}
		if d.cause != nil && d.cause.MappingID != (db.ID{}) {
			d.mapping.ID = d.cause.MappingID
			continue
		}
		if maps, err := d.maps(ctx, tx); err != nil {
			return err
		} else if !maps {
			continue
		}
		r := d.record()
		slots = append(slots, db.Slot{OrgID: r.OrgID, VendorAccountID: r.VendorAccountID, Entity: r.Entity, ExternalID: r.ExternalID, Name: d.occ.Record.Name, EventID: d.ev.ID})
		if d.occ.Parent != nil {
			children = append(children, d)
		}
	}
	if len(slots) > 0 {
		mapped, err := db.MapRecords(ctx, tx, slots...)
		if err != nil {
			return err
		}
		for _, d := range all {
			if d.mapping.ID == (db.ID{}) {
				d.mapping = mapped[d.record()]
			}
		}
	}
	if err := e.suspect(ctx, tx, all); err != nil {
		return err
	}
	slices.SortFunc(children, func(a, b *dispatching) int {
		return cmp.Or(cmp.Compare(a.occ.Parent.Entity, b.occ.Parent.Entity), cmp.Compare(a.occ.Parent.ID, b.occ.Parent.ID))
	})
	for _, d := range children {
		if err := d.mapParent(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// maps tells whether the event's record gets a mapping: an occasion gets one only where a flow makes something for it.
func (d *dispatching) maps(ctx context.Context, tx db.Tx) (bool, error) {
	for _, l := range d.links {
		p, err := d.e.plan(ctx, tx, d.ev.OrgID, l.VersionID)
		if err != nil || !p.trigger.Occasion || p.writes() {
			return true, err
		}
	}
	return false, nil
}

// suspect holds what looks like a loop: so many writes about one record, in so little time, are hardly anybody's doing. It is
// the net below the recognition of echoes. What a person has started or released goes on.
func (e *Engine) suspect(ctx context.Context, tx db.Tx, all []*dispatching) error {
	t := e.timing()
	var suspects []*dispatching
	var mappings []db.Key
	for _, d := range all {
		if d.mapping.ID != (db.ID{}) && !d.mapping.New && d.ev.Source != FromHand && d.ev.ReleasedAt.IsZero() {
			suspects, mappings = append(suspects, d), append(mappings, db.Key{OrgID: d.ev.OrgID, ID: d.mapping.ID})
		}
	}
	if len(mappings) == 0 {
		return nil
	}
	writes, err := db.WritesOn(ctx, tx, t.Loop, t.Writes, mappings...)
	for _, d := range suspects {
		if n := writes[d.mapping.ID]; err == nil && n >= t.Writes {
			d.held = fmt.Sprintf("Tieline made %d writes about this record within %s, which looks like a loop between flows. See to the flow, then use releaseEvent.", n, t.Loop)
		}
	}
	return err
}

// mapParent points the mapping of a record to that of the one it belongs to.
func (d *dispatching) mapParent(ctx context.Context, tx db.Tx) error {
	ev, occ := d.ev, d.occ
	parent, err := db.SlotByExternalID(ctx, tx, ev.OrgID, ev.VendorAccountID, occ.Parent.Entity, occ.Parent.ID)
	if err == nil {
		return db.SetParent(ctx, tx, ev.OrgID, d.mapping.ID, parent.MappingID)
	}
	if !errors.Is(err, db.ErrNotFound) {
		return err
	}
	if !occ.Together {
		mapped, err := db.MapRecords(ctx, tx, db.Slot{
			OrgID: ev.OrgID, VendorAccountID: ev.VendorAccountID, Entity: occ.Parent.Entity, ExternalID: occ.Parent.ID, Name: occ.Parent.Name, EventID: ev.ID,
		})
		if err != nil {
			return err
		}
		for _, parent := range mapped {
			err = db.SetParent(ctx, tx, ev.OrgID, d.mapping.ID, parent.ID)
		}
		return err
	}
	// The first account of its customer: they share a mapping, and later accounts point to it.
	made, err := db.FillSlot(ctx, tx, db.Slot{
		OrgID: ev.OrgID, MappingID: d.mapping.ID, VendorAccountID: ev.VendorAccountID, Entity: occ.Parent.Entity, ExternalID: occ.Parent.ID,
		Name: occ.Parent.Name, EventID: ev.ID,
	})
	if err != nil || made {
		return err
	}
	// Another of its accounts was first; now that we have waited for it, its row shows.
	parent, err = db.SlotByExternalID(ctx, tx, ev.OrgID, ev.VendorAccountID, occ.Parent.Entity, occ.Parent.ID)
	if errors.Is(err, db.ErrNotFound) {
		return nil // this mapping belongs to another customer already
	}
	if err != nil {
		return err
	}
	return db.SetParent(ctx, tx, ev.OrgID, d.mapping.ID, parent.MappingID)
}
