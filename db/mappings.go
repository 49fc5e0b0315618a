package db

import (
	"context"
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
	Attributes      map[string]string `bun:"type:jsonb"`
	EffectID        ID                `bun:",nullzero"`
	EventID         ID                `bun:",nullzero"`
	RunID           ID                `bun:",nullzero"`
	Step            string            `bun:",nullzero"`
	ClaimedAt       time.Time         `bun:",nullzero,default:now()"`
	FilledAt        time.Time         `bun:",nullzero"`
}

// GetMapping reads a mapping.
func GetMapping(ctx context.Context, idb bun.IDB, org, id ID) (Mapping, error) {
	var m Mapping
	err := idb.NewSelect().Model(&m).Where("org_id = ? AND id = ?", org, id).Scan(ctx)
	return m, found(err)
}

// Slots are a mapping's slots.
func Slots(ctx context.Context, idb bun.IDB, org, mapping ID) ([]Slot, error) {
	var slots []Slot
	err := idb.NewSelect().Model(&slots).Where("org_id = ? AND mapping_id = ?", org, mapping).
		OrderExpr("claimed_at, entity, role").Scan(ctx)
	return slots, err
}

// SlotByExternalID finds the filled slot of a record in a vendor account.
func SlotByExternalID(ctx context.Context, idb bun.IDB, org, account ID, entity, id string) (Slot, error) {
	var s Slot
	err := idb.NewSelect().Model(&s).
		Where("org_id = ? AND vendor_account_id = ? AND entity = ? AND external_id = ?", org, account, entity, id).Scan(ctx)
	return s, found(err)
}
