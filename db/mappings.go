package db

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
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
	EnteredBy       string    `bun:",nullzero"` // the person who said so
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

// Record is a record as a vendor account knows it.
type Record struct {
	OrgID, VendorAccountID ID
	Entity, ExternalID     string
}

// Record is the record that a slot holds.
func (s Slot) Record() Record { return Record{s.OrgID, s.VendorAccountID, s.Entity, s.ExternalID} }

// Mapped is the mapping of a record.
type Mapped struct {
	ID  ID
	New bool // it was made just now
}

var (
	givenRecords = givenOf[Slot]("org_id", "mapping_id", "vendor_account_id", "entity", "external_id", "name", "event_id")
	mapRecords   = `WITH have AS (
			SELECT x.*, (SELECT s.mapping_id FROM mapping_slots s WHERE s.org_id = x.org_id AND s.vendor_account_id = x.vendor_account_id AND s.entity = x.entity
				AND s.external_id = x.external_id) AS known FROM ` + givenRecords.as("x", 1) + `),
		made AS (
			INSERT INTO mappings (org_id, id, entity, name) SELECT org_id, mapping_id, entity, name FROM have WHERE known IS NULL),
		filled AS (
			INSERT INTO mapping_slots (org_id, mapping_id, vendor_account_id, entity, external_id, name, event_id, filled_at)
			SELECT org_id, mapping_id, vendor_account_id, entity, external_id, name, event_id, now() FROM have WHERE known IS NULL ORDER BY n
			ON CONFLICT DO NOTHING RETURNING mapping_id)
		SELECT org_id, vendor_account_id, entity, external_id, mapping_id, known, known IS NULL AND mapping_id NOT IN (SELECT mapping_id FROM filled) AS lost FROM have`
	givenMappings = givenOf[Mapping]("org_id", "id")
	dropMappings  = "DELETE FROM mappings m USING " + givenMappings.as("x", 1) + " WHERE m.org_id = x.org_id AND m.id = x.id"
)

// MapRecords answers the mappings of records, and makes one with its slot for each that has none. Whoever comes second gets
// the winner's. The slots say which records and where they were seen.
func MapRecords(ctx context.Context, tx Tx, slots ...Slot) (map[Record]Mapped, error) {
	type row struct {
		Slot
		Known ID
		Lost  bool
	}
	out := make(map[Record]Mapped, len(slots))
	slices.SortFunc(slots, func(a, b Slot) int { // or two who map several wait for each other
		return cmp.Or(bytes.Compare(a.VendorAccountID[:], b.VendorAccountID[:]), cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.ExternalID, b.ExternalID))
	})
	for len(slots) > 0 {
		for i := range slots {
			slots[i].MappingID = NewID()
		}
		rows, err := manyIn[row](ctx, tx, mapRecords, givenRecords.arrays(slots)...)
		if err != nil {
			return nil, err
		}
		lost := map[Record]bool{}
		var made []Mapping
		for _, r := range rows {
			switch {
			case r.Lost:
				lost[r.Record()], made = true, append(made, Mapping{OrgID: r.OrgID, ID: r.MappingID})
			case r.Known != ID{}:
				out[r.Record()] = Mapped{r.Known, false}
			default:
				out[r.Record()] = Mapped{r.MappingID, true}
			}
		}
		if len(lost) > 0 {
			if err := run(ctx, tx, dropMappings, givenMappings.arrays(made)...); err != nil {
				return nil, err
			}
		}
		// Somebody else was first with these: their rows show now that we have waited for them.
		slots = slices.DeleteFunc(slots, func(s Slot) bool { return !lost[s.Record()] })
	}
	return out, nil
}

// GetSlot reads a slot.
func GetSlot(ctx context.Context, d *DB, org, mapping, account ID, entity, role string) (Slot, error) {
	return one[Slot](ctx, d.Pool, "SELECT * FROM mapping_slots WHERE org_id = $1 AND mapping_id = $2 AND vendor_account_id = $3 AND entity = $4 AND role = $5",
		org, mapping, account, entity, role)
}

// FillSlot puts a record that exists into a free slot; false when the slot or the record is taken.
func FillSlot(ctx context.Context, idb bun.IDB, s Slot) (bool, error) {
	if s.Attributes == nil {
		s.Attributes = map[string]string{}
	}
	res, err := idb.NewInsert().Model(&s).Value("filled_at", "now()").On("CONFLICT DO NOTHING").Exec(ctx)
	return affected(res) == 1, err
}

// JoinMapping takes a record out of a mapping that holds nothing else, and about which nothing was written, into the slot of
// another; false when there is more to that mapping, or the slot is taken. Its runs go on with the other mapping.
func JoinMapping(ctx context.Context, tx Tx, org, account ID, entity, id string, into ID, role string) (bool, error) {
	alone, err := in[Slot](ctx, tx, `DELETE FROM mapping_slots s WHERE org_id = $1 AND vendor_account_id = $2 AND entity = $3 AND external_id = $4 AND mapping_id <> $5
			AND NOT EXISTS (SELECT FROM mapping_slots o WHERE o.org_id = $1 AND o.mapping_id = s.mapping_id AND (o.vendor_account_id, o.entity, o.role) <> (s.vendor_account_id, s.entity, s.role))
			AND NOT EXISTS (SELECT FROM effects e WHERE e.org_id = $1 AND e.mapping_id = s.mapping_id AND e.state NOT IN ('REFUSED', 'GIVEN_UP'))
			AND NOT EXISTS (SELECT FROM mapping_slots t WHERE t.org_id = $1 AND t.mapping_id = $5 AND t.vendor_account_id = $2 AND t.entity = $3 AND t.role = $6)
		RETURNING *`, org, account, entity, id, into, role)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return false, err
	}
	left := alone.MappingID
	if err := MoveHanging(ctx, tx, org, left, into); err != nil {
		return false, err
	}
	if err := run(ctx, tx, "DELETE FROM mappings WHERE org_id = $1 AND id = $2", org, left); err != nil {
		return false, err
	}
	alone.MappingID, alone.Role = into, role
	return FillSlot(ctx, tx, alone)
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
