package db

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"
)

// Mapping is one record's identity in several systems.
type Mapping struct {
	bun.BaseModel `bun:"mappings,alias:m"`

	OrgID     ID `bun:",pk"`
	ID        ID `bun:",pk"`
	Entity    string
	Name      string
	ParentID  ID        `bun:",nullzero"` // an account's points to its customer's
	CreatedAt time.Time `bun:",nullzero,default:now()"`
	UpdatedAt time.Time `bun:",nullzero,default:now()"`
}

// Slot is the record's id in one vendor account. It is claimed before the call that makes the record, and filled after.
type Slot struct {
	bun.BaseModel `bun:"mapping_slots,alias:ms"`

	OrgID           ID     `bun:",pk"`
	MappingID       ID     `bun:",pk"`
	VendorAccountID ID     `bun:",pk"`
	Entity          string `bun:",pk"`
	Role            string `bun:",pk"`
	ExternalID      string `bun:",nullzero"`
	OwnID           string `bun:",nullzero"` // the id we chose, known before the call has returned
	Name            string
	Attributes      Texts
	EffectID        ID        `bun:",nullzero"`
	EventID         ID        `bun:",nullzero"`
	RunID           ID        `bun:",nullzero"`
	Step            string    `bun:",nullzero"`
	ClaimedAt       time.Time `bun:",nullzero,default:now()"`
	FilledAt        time.Time `bun:",nullzero"`
}

// SlotByExternalID finds the filled slot of a record in a vendor account.
func SlotByExternalID(ctx context.Context, idb bun.IDB, org, account ID, entity, id string) (Slot, error) {
	var s Slot
	err := idb.NewSelect().Model(&s).
		Where("org_id = ? AND vendor_account_id = ? AND entity = ? AND external_id = ?", org, account, entity, id).Scan(ctx)
	return s, found(err)
}

// MapRecord answers the slot of a record, and makes mapping and slot when it has none. Whoever comes second gets the
// winner's. s says which record and where it was seen.
func MapRecord(ctx context.Context, idb bun.IDB, s Slot) (Slot, error) {
	for {
		have, err := SlotByExternalID(ctx, idb, s.OrgID, s.VendorAccountID, s.Entity, s.ExternalID)
		if err == nil || !errors.Is(err, ErrNotFound) {
			return have, err
		}
		m := Mapping{OrgID: s.OrgID, ID: NewID(), Entity: s.Entity, Name: s.Name}
		if _, err := idb.NewInsert().Model(&m).Exec(ctx); err != nil {
			return s, err
		}
		s.MappingID = m.ID
		if made, err := FillSlot(ctx, idb, s); err != nil || made {
			return s, err
		}
		// Somebody else was first: their row shows now that we have waited for it.
		if _, err := idb.NewDelete().Model(&m).WherePK().Exec(ctx); err != nil {
			return s, err
		}
	}
}

// GetSlot reads a slot.
func GetSlot(ctx context.Context, idb bun.IDB, org, mapping, account ID, entity, role string) (Slot, error) {
	var s Slot
	err := idb.NewSelect().Model(&s).Where("org_id = ? AND mapping_id = ? AND vendor_account_id = ? AND entity = ? AND role = ?", org, mapping, account, entity, role).Scan(ctx)
	return s, found(err)
}

// FillSlot puts a record that exists into a free slot; false when the slot or the record is taken.
func FillSlot(ctx context.Context, idb bun.IDB, s Slot) (bool, error) {
	if s.Attributes == nil {
		s.Attributes = map[string]string{}
	}
	res, err := idb.NewInsert().Model(&s).Value("filled_at", "now()").On("CONFLICT DO NOTHING").Exec(ctx)
	return affected(res) == 1, err
}

// ClaimSlots takes slots for an effect before its call; false when one of them is claimed or filled already.
func ClaimSlots(ctx context.Context, idb bun.IDB, slots []Slot) (bool, error) {
	res, err := idb.NewInsert().Model(&slots).On("CONFLICT DO NOTHING").Exec(ctx)
	return affected(res) == int64(len(slots)), err
}

// FillClaimed fills a slot that an effect has claimed. A slot that was filled with the same id stays as it is;
// ErrConflict says that the record is mapped elsewhere or the slot holds another.
func FillClaimed(ctx context.Context, idb bun.IDB, s Slot) error {
	var id string
	if s.Attributes == nil {
		s.Attributes = map[string]string{}
	}
	err := idb.NewUpdate().Model(&s).
		Set("external_id = ?external_id, name = ?name, attributes = mapping_slots.attributes || ?attributes, filled_at = coalesce(filled_at, now())").
		ModelTableExpr("mapping_slots").
		Where("org_id = ?org_id AND effect_id = ?effect_id AND entity = ?entity AND role = ?role AND (external_id IS NULL OR external_id = ?external_id)").
		Where("NOT EXISTS (SELECT FROM mapping_slots o WHERE o.org_id = ?org_id AND o.vendor_account_id = ?vendor_account_id AND o.entity = ?entity AND o.external_id = ?external_id AND o.effect_id IS DISTINCT FROM ?effect_id)").
		Returning("external_id").Scan(ctx, &id)
	if errors.Is(err, sql.ErrNoRows) || IsUnique(err) {
		return ErrConflict
	}
	return err
}

// ReleaseSlots gives up what an effect has claimed and not filled.
func ReleaseSlots(ctx context.Context, idb bun.IDB, org, effect ID) error {
	_, err := idb.NewDelete().Model((*Slot)(nil)).Where("org_id = ? AND effect_id = ? AND external_id IS NULL", org, effect).Exec(ctx)
	return err
}

// SetParent points a mapping to another, once.
func SetParent(ctx context.Context, idb bun.IDB, org, mapping, parent ID) error {
	_, err := idb.NewUpdate().Model((*Mapping)(nil)).Set("parent_id = ?", parent).
		Where("org_id = ? AND id = ? AND parent_id IS NULL AND id <> ?", org, mapping, parent).Exec(ctx)
	return err
}

// MappedIn finds the record that, in an app's vendor accounts among these, is the counterpart of a record with this id.
func MappedIn(ctx context.Context, idb bun.IDB, org ID, id, entity string, accounts []ID) (string, error) {
	var other string
	err := idb.NewRaw(`SELECT b.external_id FROM mapping_slots a JOIN mapping_slots b ON b.org_id = a.org_id AND b.mapping_id = a.mapping_id
		WHERE a.org_id = ?0 AND a.external_id = ?1 AND b.entity = ?2 AND b.vendor_account_id IN (?3) AND b.external_id IS NOT NULL
		ORDER BY b.role, b.claimed_at LIMIT 1`, org, id, entity, bun.List(accounts)).Scan(ctx, &other)
	return other, found(err)
}

func affected(res sql.Result) int64 {
	if res == nil {
		return 0
	}
	n, _ := res.RowsAffected()
	return n
}
