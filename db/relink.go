package db

import (
	"context"
	"errors"

	"github.com/uptrace/bun"
)

// What is below changes mappings as a person says.

// SlotPlace is a place in a mapping.
type SlotPlace struct {
	VendorAccountID ID
	Entity, Role    string
}

// Place is where the slot is.
func (s Slot) Place() SlotPlace { return SlotPlace{s.VendorAccountID, s.Entity, s.Role} }

// LockMappings reads mappings for the caller alone, until its transaction ends. Those that are not there are left out.
func LockMappings(ctx context.Context, tx Tx, org ID, ids ...ID) (map[ID]Mapping, error) {
	rows, err := manyIn[Mapping](ctx, tx, "SELECT * FROM mappings WHERE org_id = $1 AND id = ANY($2) ORDER BY id FOR UPDATE", org, ids)
	out := make(map[ID]Mapping, len(rows))
	for _, m := range rows {
		out[m.ID] = m
	}
	return out, err
}

// SlotsIn are the slots of a mapping, kept from changing until the transaction ends.
func SlotsIn(ctx context.Context, tx Tx, org, mapping ID) ([]Slot, error) {
	return manyIn[Slot](ctx, tx, "SELECT * FROM mapping_slots WHERE org_id = $1 AND mapping_id = $2 ORDER BY vendor_account_id, entity, role FOR UPDATE", org, mapping)
}

// Hanging is how much hangs on a mapping.
type Hanging struct{ Runs, OpenRuns, Effects, Children int }

// HangingOn counts what hangs on a mapping.
func HangingOn(ctx context.Context, tx Tx, org, mapping ID) (Hanging, error) {
	return in[Hanging](ctx, tx, `SELECT (SELECT count(*) FROM runs WHERE org_id = $1 AND mapping_id = $2) AS runs,
		(SELECT count(*) FROM runs WHERE org_id = $1 AND mapping_id = $2 AND ended_at IS NULL) AS open_runs,
		(SELECT count(*) FROM effects WHERE org_id = $1 AND mapping_id = $2) AS effects,
		(SELECT count(*) FROM mappings WHERE org_id = $1 AND parent_id = $2) AS children`, org, mapping)
}

// AddMapping inserts a mapping.
func AddMapping(ctx context.Context, idb bun.IDB, m *Mapping) error {
	_, err := idb.NewInsert().Model(m).Returning("created_at, updated_at").Exec(ctx)
	return err
}

// SaveMapping writes a mapping's name and parent.
func SaveMapping(ctx context.Context, idb bun.IDB, m *Mapping) error {
	return found(idb.NewUpdate().Model(m).Column("name", "parent_id").Set("updated_at = clock_timestamp()").WherePK().Returning("updated_at").Scan(ctx))
}

// Repoint puts another record into a filled slot, as a person says. ErrConflict when the record is in another slot.
func Repoint(ctx context.Context, tx Tx, s Slot) error {
	err := run(ctx, tx, `UPDATE mapping_slots SET external_id = $6, entered_by = $7, own_id = NULL, name = '', attributes = '{}', effect_id = NULL, event_id = NULL, run_id = NULL, step = NULL,
			claimed_at = now(), filled_at = now()
		WHERE org_id = $1 AND mapping_id = $2 AND vendor_account_id = $3 AND entity = $4 AND role = $5`,
		s.OrgID, s.MappingID, s.VendorAccountID, s.Entity, s.Role, s.ExternalID, s.EnteredBy)
	if IsUnique(err) {
		return ErrConflict
	}
	return err
}

// DropSlot takes a slot out of its mapping.
func DropSlot(ctx context.Context, tx Tx, s Slot) error {
	return run(ctx, tx, "DELETE FROM mapping_slots WHERE org_id = $1 AND mapping_id = $2 AND vendor_account_id = $3 AND entity = $4 AND role = $5",
		s.OrgID, s.MappingID, s.VendorAccountID, s.Entity, s.Role)
}

// Unlink makes the write that filled a slot no longer stand for it: whoever comes to make such a record goes by the slot alone.
// create is the key of the CREATE that would fill it.
func Unlink(ctx context.Context, tx Tx, s Slot, create string) error {
	return run(ctx, tx, `UPDATE effects SET key = key || '/unlinked/' || id, updated_at = now()
		WHERE org_id = $1 AND mapping_id = $2 AND kind = 'CREATE' AND state = 'CONFIRMED' AND vendor_account_id = $3 AND (id = $4 OR key = $5)`,
		s.OrgID, s.MappingID, s.VendorAccountID, orNull(s.EffectID), create)
}

// MoveSlot moves a slot to another mapping.
func MoveSlot(ctx context.Context, tx Tx, s Slot, into ID) error {
	err := run(ctx, tx, "UPDATE mapping_slots SET mapping_id = $6 WHERE org_id = $1 AND mapping_id = $2 AND vendor_account_id = $3 AND entity = $4 AND role = $5",
		s.OrgID, s.MappingID, s.VendorAccountID, s.Entity, s.Role, into)
	if IsUnique(err) {
		return ErrConflict
	}
	return err
}

// MoveEffect moves a CREATE to another mapping, with its key.
func MoveEffect(ctx context.Context, tx Tx, org, effect, from, into ID) error {
	return run(ctx, tx, "UPDATE effects SET mapping_id = $4, key = replace(key, 'create/' || $3::uuid || '/', 'create/' || $4::uuid || '/'), updated_at = now() WHERE org_id = $1 AND id = $2 AND mapping_id = $3",
		org, effect, from, into)
}

// MoveHanging moves what hangs on a mapping to another; to none when into is zero.
func MoveHanging(ctx context.Context, tx Tx, org, from, into ID) error {
	for _, sql := range []string{
		`UPDATE runs SET mapping_id = CASE WHEN mapping_id = $2 THEN $3::uuid ELSE mapping_id END, awaits = CASE WHEN awaits = $2 THEN $3::uuid ELSE awaits END
			WHERE org_id = $1 AND (mapping_id = $2 OR awaits = $2)`,
		"UPDATE effects SET mapping_id = $3 WHERE org_id = $1 AND mapping_id = $2",
		"UPDATE run_items SET mapping_id = $3 WHERE org_id = $1 AND mapping_id = $2",
		"UPDATE mappings SET parent_id = NULLIF($3::uuid, id) WHERE org_id = $1 AND parent_id = $2",
	} {
		if err := run(ctx, tx, sql, org, from, orNull(into)); err != nil {
			return err
		}
	}
	return nil
}

// DropMapping removes a mapping on which nothing hangs, with its slots.
func DropMapping(ctx context.Context, tx Tx, org, id ID) error {
	if err := run(ctx, tx, "DELETE FROM mapping_slots WHERE org_id = $1 AND mapping_id = $2", org, id); err != nil {
		return err
	}
	return run(ctx, tx, "DELETE FROM mappings WHERE org_id = $1 AND id = $2", org, id)
}

// Above answers whether a mapping hangs below another, however far.
func Above(ctx context.Context, idb bun.IDB, org, mapping, ancestor ID) (bool, error) {
	var above bool
	err := idb.NewRaw(`WITH RECURSIVE up AS (
			SELECT parent_id, 1 AS n FROM mappings WHERE org_id = ?0 AND id = ?1
			UNION ALL SELECT m.parent_id, up.n + 1 FROM up JOIN mappings m ON m.org_id = ?0 AND m.id = up.parent_id WHERE up.n < 100)
		SELECT EXISTS (SELECT FROM up WHERE parent_id = ?2)`, org, mapping, ancestor).Scan(ctx, &above)
	return above, err
}

// StateOfEffect is the state of an effect; empty when it is not there.
func StateOfEffect(ctx context.Context, idb bun.IDB, org, id ID) (string, error) {
	e, err := GetEffect(ctx, idb, org, id)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return e.State, err
}
