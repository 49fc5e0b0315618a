package flow

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"tieline/db"
)

// Relinked is what a change of mappings by hand touches.
type Relinked struct {
	Slots int // ids that are added, replaced, moved or removed
	db.Hanging
	Notes []string // what to know about it, in words
}

// Placed is a record to be put into a place of a mapping.
type Placed struct {
	db.SlotPlace
	ExternalID string
}

// MappingInput is a mapping, or a change of one, as a person asks for it. What is nil stays as it is.
type MappingInput struct {
	Entity string // of a new one
	Name   *string
	Parent *db.ID // zero: none
	Set    []Placed
	Remove []db.SlotPlace
	Actor  string
}

// CreateMapping links records by hand, which no mapping holds yet.
func (e *Engine) CreateMapping(ctx context.Context, tx db.Tx, org db.ID, in MappingInput) (db.Mapping, Relinked, error) {
	m := db.Mapping{OrgID: org, ID: db.NewID(), Entity: strings.TrimSpace(in.Entity)}
	var bad Problems
	if m.Entity == "" {
		bad = problem(CodeRequired, "Say what kind of record it is, for instance customer.", "entity")
	}
	if len(in.Set) == 0 {
		bad = append(bad, problem(CodeRequired, "A mapping holds at least one record.", "slots")...)
	}
	if len(bad) > 0 {
		return m, Relinked{}, bad
	}
	if err := e.named(ctx, tx, &m, in); err != nil {
		return m, Relinked{}, err
	}
	if err := db.AddMapping(ctx, tx, &m); err != nil {
		return m, Relinked{}, err
	}
	r := &relinking{e: e, tx: tx, m: m, actor: in.Actor, field: "slots"}
	err := r.set(ctx, in.Set)
	return m, r.out, err
}

// LookUp reads records that a person is about to link, where their apps can be asked, and answers what to know of them: which
// are not there, and which could not be read.
func (e *Engine) LookUp(ctx context.Context, org db.ID, records []Placed) (notes []string, err error) {
	for _, r := range records {
		conn, err := db.WorkingConnection(ctx, e.DB, org, r.VendorAccountID)
		if errors.Is(err, db.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		_, _, err = e.readAt(ctx, conn, r.Entity, r.ExternalID)
		if bad, ok := errors.AsType[Problems](err); ok {
			notes = append(notes, bad[0].Message)
		} else if err != nil && !errors.Is(err, errNoLook) {
			return nil, err
		}
	}
	return notes, nil
}

// UpdateMapping points a mapping to other records, adds some, or takes some out.
func (e *Engine) UpdateMapping(ctx context.Context, tx db.Tx, org, id db.ID, in MappingInput) (Relinked, error) {
	r, err := e.relink(ctx, tx, org, id)
	if err != nil {
		return Relinked{}, err
	}
	r.actor, r.field = in.Actor, "set"
	if err := e.named(ctx, tx, &r.m, in); err != nil {
		return r.out, err
	}
	if err := db.SaveMapping(ctx, tx, &r.m); err != nil {
		return r.out, err
	}
	if err := r.remove(ctx, in.Remove); err != nil {
		return r.out, err
	}
	if err := r.set(ctx, in.Set); err != nil {
		return r.out, err
	}
	if len(r.slots) == 0 {
		return r.out, problem(CodeInvalid, "That would leave no record in the mapping. Use deleteMapping.", "remove")
	}
	if r.out.OpenRuns > 0 {
		r.note("Runs about it that have not ended go on: steps that are done keep what they used, later ones see the change.")
	}
	return r.out, e.wakeLinked(ctx, tx, r.m)
}

// MergeMappings makes one mapping of two: the other's records, runs, writes and what hangs below it come to the first.
func (e *Engine) MergeMappings(ctx context.Context, tx db.Tx, org, id, other db.ID) (Relinked, error) {
	if id == other {
		return Relinked{}, problem(CodeInvalid, "Name two mappings.", "otherId")
	}
	locked, err := db.LockMappings(ctx, tx, org, id, other)
	if err != nil {
		return Relinked{}, err
	}
	if _, ok := locked[id]; !ok {
		return Relinked{}, db.ErrNotFound
	}
	if _, ok := locked[other]; !ok {
		return Relinked{}, problem(CodeNotFound, "There is no such mapping.", "otherId")
	}
	r, err := e.relink(ctx, tx, org, id)
	if err != nil {
		return Relinked{}, err
	}
	gone, err := e.relink(ctx, tx, org, other)
	if err != nil {
		return Relinked{}, err
	}
	if err := gone.closed("otherId"); err != nil {
		return Relinked{}, err
	}
	r.out = gone.out // what is touched is the other's
	r.out.Slots = len(gone.slots)
	if bad, err := r.clashes(ctx, gone); err != nil || len(bad) > 0 {
		return r.out, cmp.Or(err, bad.or())
	}
	for _, s := range gone.slots {
		if err := db.MoveSlot(ctx, tx, s, id); err != nil {
			return r.out, taken(err)
		}
	}
	if err := r.adoptParent(ctx, gone.m); err != nil {
		return r.out, err
	}
	if err := db.MoveHanging(ctx, tx, org, other, id); err != nil {
		return r.out, err
	}
	if err := db.DropMapping(ctx, tx, org, other); err != nil {
		return r.out, err
	}
	return r.out, e.wakeLinked(ctx, tx, r.m)
}

// SplitMapping takes records out of a mapping into one of their own.
func (e *Engine) SplitMapping(ctx context.Context, tx db.Tx, org, id db.ID, places []db.SlotPlace, name string) (db.Mapping, Relinked, error) {
	r, err := e.relink(ctx, tx, org, id)
	if err != nil {
		return db.Mapping{}, Relinked{}, err
	}
	if err := r.closed("id"); err != nil {
		return db.Mapping{}, r.out, err
	}
	moved, bad := r.at(places, "slots")
	switch {
	case len(bad) > 0:
		return db.Mapping{}, r.out, bad
	case len(moved) == 0:
		return db.Mapping{}, r.out, problem(CodeRequired, "Say which records are to go.", "slots")
	case len(moved) == len(r.slots):
		return db.Mapping{}, r.out, problem(CodeInvalid, "That would leave no record in the mapping. At least one stays.", "slots")
	}
	m := db.Mapping{OrgID: org, ID: db.NewID(), Entity: moved[0].Entity, Name: cmp.Or(strings.TrimSpace(name), moved[0].Name)}
	if err := db.AddMapping(ctx, tx, &m); err != nil {
		return m, r.out, err
	}
	goes := func(effect db.ID) bool { // all that it made goes
		return !slices.ContainsFunc(r.slots, func(s db.Slot) bool { return s.EffectID == effect && !slices.Contains(places, s.Place()) })
	}
	for _, s := range moved {
		if s.EffectID != (db.ID{}) && goes(s.EffectID) {
			err = db.MoveEffect(ctx, tx, org, s.EffectID, id, m.ID)
		} else {
			err = db.Unlink(ctx, tx, s, createKey(s))
		}
		if err == nil {
			err = db.MoveSlot(ctx, tx, s, m.ID)
		}
		if err != nil {
			return m, r.out, taken(err)
		}
	}
	r.out.Slots = len(moved)
	r.note("Its runs, and what hangs below it, stay with the first mapping.")
	return m, r.out, nil
}

// DeleteMapping forgets which records are one. The records stay as they are.
func (e *Engine) DeleteMapping(ctx context.Context, tx db.Tx, org, id db.ID) (Relinked, error) {
	r, err := e.relink(ctx, tx, org, id)
	if err != nil {
		return Relinked{}, err
	}
	if err := r.closed("id"); err != nil {
		return r.out, err
	}
	if bad := r.claimed("id"); len(bad) > 0 {
		return r.out, bad
	}
	r.out.Slots = len(r.slots)
	r.note("The records stay. A later event of one of them makes a new mapping, and a counterpart on the other side unless its app recognises the old one.")
	if err := db.MoveHanging(ctx, tx, org, id, db.ID{}); err != nil {
		return r.out, err
	}
	return r.out, db.DropMapping(ctx, tx, org, id)
}

// wakeLinked lets runs go on that waited for a record of the mapping, or for a person to link it.
func (e *Engine) wakeLinked(ctx context.Context, tx db.Tx, m db.Mapping) error {
	woken, err := db.WakeRuns(ctx, tx, "org_id = ? AND mapping_id = ? AND waiting_reason IN ('DEPENDENCY', 'PERSON')", m.OrgID, m.ID)
	if err != nil {
		return err
	}
	return e.queued(ctx, tx, woken...)
}

// named gives a mapping its name and parent.
func (e *Engine) named(ctx context.Context, tx db.Tx, m *db.Mapping, in MappingInput) error {
	if in.Name != nil {
		m.Name = strings.TrimSpace(*in.Name)
	}
	if in.Parent == nil {
		return nil
	}
	if m.ParentID = *in.Parent; m.ParentID == (db.ID{}) {
		return nil
	}
	found, err := db.LockMappings(ctx, tx, m.OrgID, m.ParentID)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return problem(CodeNotFound, "There is no such mapping.", "parentId")
	}
	below, err := db.Above(ctx, tx, m.OrgID, m.ParentID, m.ID)
	if err != nil {
		return err
	}
	if below || m.ParentID == m.ID {
		return problem(CodeInvalid, "A mapping cannot hang below itself.", "parentId")
	}
	return nil
}
