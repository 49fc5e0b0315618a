package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tieline/connectors"
	"tieline/db"
)

// createKey is the key of the CREATE that would fill a slot.
func createKey(s db.Slot) string {
	return fmt.Sprintf("create/%s/%s/%s", s.MappingID, s.Entity, s.Role)
}

// relinking is a mapping in a person's hands.
type relinking struct {
	e     *Engine
	tx    db.Tx
	m     db.Mapping
	slots []db.Slot
	actor string
	field string // of the input, that names records
	out   Relinked
}

// relink takes a mapping into a person's hands.
func (e *Engine) relink(ctx context.Context, tx db.Tx, org, id db.ID) (*relinking, error) {
	found, err := db.LockMappings(ctx, tx, org, id)
	if err != nil {
		return nil, err
	}
	m, ok := found[id]
	if !ok {
		return nil, db.ErrNotFound
	}
	r := &relinking{e: e, tx: tx, m: m}
	if r.slots, err = db.SlotsIn(ctx, tx, org, id); err != nil {
		return nil, err
	}
	r.out.Hanging, err = db.HangingOn(ctx, tx, org, id)
	return r, err
}

func (r *relinking) note(text string) { r.out.Notes = append(r.out.Notes, text) }

// closed refuses while runs about the mapping have not ended: they go by what it is.
func (r *relinking) closed(field string) error {
	if r.out.OpenRuns == 0 {
		return nil
	}
	return problem(CodeInUse, fmt.Sprintf("%d runs about this mapping have not ended: see runs(filter: {mappingId: %q}). Wait for them, or cancel them.", r.out.OpenRuns, db.FormatID("map", r.m.ID)), field)
}

// claimed says which slots a write is about to fill.
func (r *relinking) claimed(field string) (bad Problems) {
	for _, s := range r.slots {
		if s.ExternalID == "" {
			bad = append(bad, problem(CodeInUse, inTheMaking(s), field)...)
		}
	}
	return bad
}

func inTheMaking(s db.Slot) string {
	return fmt.Sprintf("A write is about to make the %s, or it is not known whether it did: %s. Wait for it, or end it with resolveEffect.", s.Entity, db.FormatID("eff", s.EffectID))
}

// at finds slots by their places.
func (r *relinking) at(places []db.SlotPlace, field string) (slots []db.Slot, bad Problems) {
	for n, p := range places {
		i := slices.IndexFunc(r.slots, func(s db.Slot) bool { return s.Place() == p })
		switch {
		case i < 0:
			bad = append(bad, problem(CodeNotFound, fmt.Sprintf("The mapping holds no %s there.", p.Entity), field, fmt.Sprint(n))...)
		case r.slots[i].ExternalID == "":
			bad = append(bad, problem(CodeInUse, inTheMaking(r.slots[i]), field, fmt.Sprint(n))...)
		case slices.Contains(places[:n], p):
		default:
			slots = append(slots, r.slots[i])
		}
	}
	return slots, bad
}

// remove takes records out of the mapping.
func (r *relinking) remove(ctx context.Context, places []db.SlotPlace) error {
	slots, bad := r.at(places, "remove")
	if len(bad) > 0 {
		return bad
	}
	for _, s := range slots {
		if err := db.Unlink(ctx, r.tx, s, createKey(s)); err != nil {
			return err
		}
		if err := db.DropSlot(ctx, r.tx, s); err != nil {
			return err
		}
		r.slots = slices.DeleteFunc(r.slots, func(o db.Slot) bool { return o.Place() == s.Place() })
	}
	r.out.Slots += len(slots)
	return nil
}

// set puts records into the mapping.
func (r *relinking) set(ctx context.Context, records []Placed) error {
	if bad, err := r.fit(ctx, records); err != nil || len(bad) > 0 {
		return cmp.Or(err, bad.or())
	}
	var bad Problems
	for n, p := range records {
		field := []string{r.field, fmt.Sprint(n), "externalId"}
		s := db.Slot{OrgID: r.m.OrgID, MappingID: r.m.ID, VendorAccountID: p.VendorAccountID, Entity: p.Entity, Role: p.Role, ExternalID: p.ExternalID, EnteredBy: r.actor}
		there, err := db.SlotByExternalID(ctx, r.tx, s.OrgID, s.VendorAccountID, s.Entity, s.ExternalID)
		switch {
		case err == nil && there.MappingID == s.MappingID && there.Place() == s.Place():
			continue
		case err == nil:
			bad = append(bad, problem(CodeTaken, fmt.Sprintf("%s %s is linked already, in %s. Merge the two with mergeMappings, or take it out of there first.",
				s.Entity, s.ExternalID, db.FormatID("map", there.MappingID)), field...)...)
			continue
		case !errors.Is(err, db.ErrNotFound):
			return err
		}
		i := slices.IndexFunc(r.slots, func(o db.Slot) bool { return o.Place() == s.Place() })
		switch {
		case i >= 0 && r.slots[i].ExternalID == "":
			bad = append(bad, problem(CodeInUse, inTheMaking(r.slots[i]), field...)...)
			continue
		case i >= 0:
			if err = db.Unlink(ctx, r.tx, r.slots[i], createKey(s)); err == nil {
				err = db.Repoint(ctx, r.tx, s)
			}
		default:
			err = r.fill(ctx, &s)
		}
		if err != nil {
			return taken(err)
		}
		r.out.Slots++
	}
	return bad.or()
}

func (r *relinking) fill(ctx context.Context, s *db.Slot) error {
	made, err := db.FillSlot(ctx, r.tx, *s)
	if err == nil && !made {
		err = db.ErrConflict
	}
	r.slots = append(r.slots, *s)
	return err
}

// fit says which records cannot be in the mapping: of an account or a kind that is not there, or of another mode.
func (r *relinking) fit(ctx context.Context, records []Placed) (bad Problems, err error) {
	var ids []db.ID
	for _, p := range records {
		ids = append(ids, p.VendorAccountID)
	}
	for _, s := range r.slots {
		ids = append(ids, s.VendorAccountID)
	}
	accounts, err := db.VendorAccountsOf(ctx, r.tx, r.m.OrgID, ids)
	if err != nil {
		return nil, err
	}
	mode := ""
	if len(r.slots) > 0 {
		mode = accounts[r.slots[0].VendorAccountID].Mode
	}
	for n, p := range records {
		at := func(code, message, field string) {
			bad = append(bad, problem(code, message, r.field, fmt.Sprint(n), field)...)
		}
		account, ok := accounts[p.VendorAccountID]
		app, _ := r.e.Apps.App(account.App)
		switch mode = cmp.Or(mode, account.Mode); {
		case !ok:
			at(CodeNotFound, "There is no such vendor account.", "vendorAccountId")
		case !app.Keeps(p.Entity):
			at(CodeInvalid, fmt.Sprintf("%s keeps no %s that is linked. It keeps %s.", app.Name, p.Entity, kinds(app)), "entity")
		case account.Mode != mode:
			at(CodeModeMismatch, fmt.Sprintf("This account holds %s data and the mapping's other records are %s data. The two never meet.", account.Mode, mode), "vendorAccountId")
		case strings.TrimSpace(p.ExternalID) == "":
			at(CodeRequired, "Say which record it is, by its id there.", "externalId")
		case slices.ContainsFunc(records[:n], func(o Placed) bool { return o.SlotPlace == p.SlotPlace }):
			at(CodeInvalid, "There is one record for each place: give another a role of its own.", "role")
		}
	}
	return bad, nil
}

func kinds(app connectors.Connector) string {
	names := make([]string, len(app.Records))
	for i, k := range app.Records {
		names[i] = k.Entity
	}
	return strings.Join(names, ", ")
}

// clashes says where both mappings hold a record. Where this one only claims a place, for a write of which it cannot be told what
// became, the other's record takes it.
func (r *relinking) clashes(ctx context.Context, gone *relinking) (bad Problems, err error) {
	bad = gone.claimed("otherId")
	var ids []db.ID
	for _, s := range append(slices.Clone(r.slots), gone.slots...) {
		ids = append(ids, s.VendorAccountID)
	}
	accounts, err := db.VendorAccountsOf(ctx, r.tx, r.m.OrgID, ids)
	if err != nil {
		return nil, err
	}
	for _, s := range gone.slots {
		if len(r.slots) > 0 && accounts[s.VendorAccountID].Mode != accounts[r.slots[0].VendorAccountID].Mode {
			return problem(CodeModeMismatch, "One mapping is of test data and the other of live data. The two never meet.", "otherId"), nil
		}
		i := slices.IndexFunc(r.slots, func(o db.Slot) bool { return o.Place() == s.Place() })
		if i < 0 {
			continue
		}
		mine := r.slots[i]
		if mine.ExternalID == "" {
			state, err := db.StateOfEffect(ctx, r.tx, mine.OrgID, mine.EffectID)
			if err != nil {
				return nil, err
			}
			if state == EffectConflict || state == "" {
				if err := db.DropSlot(ctx, r.tx, mine); err != nil {
					return nil, err
				}
				continue
			}
			bad = append(bad, problem(CodeInUse, inTheMaking(mine), "id")...)
			continue
		}
		bad = append(bad, problem(CodeTaken, fmt.Sprintf("Both hold a %s of %s: %s and %s. Take one of them out first, with updateMapping.",
			s.Entity, accounts[s.VendorAccountID].ExternalID, mine.ExternalID, s.ExternalID), "otherId")...)
	}
	return bad, nil
}

// adoptParent gives the mapping a parent that only the other has, and none that is about to go.
func (r *relinking) adoptParent(ctx context.Context, gone db.Mapping) error {
	switch {
	case r.m.ParentID == gone.ID:
		r.m.ParentID = db.ID{}
	case r.m.ParentID == (db.ID{}) && gone.ParentID != r.m.ID:
		r.m.ParentID = gone.ParentID
	}
	for _, pair := range [][2]db.ID{{r.m.ParentID, gone.ID}, {r.m.ParentID, r.m.ID}} {
		if pair[0] == (db.ID{}) {
			break
		}
		below, err := db.Above(ctx, r.tx, r.m.OrgID, pair[0], pair[1])
		if err != nil {
			return err
		}
		if below {
			return problem(CodeInvalid, "One of the mappings hangs below the other by way of a third. Set parentId of that one first, with updateMapping.", "otherId")
		}
	}
	return db.SaveMapping(ctx, r.tx, &r.m)
}
