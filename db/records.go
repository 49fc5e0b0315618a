package db

import "context"

// RecordSlot is a slot of the mapping that holds a record.
type RecordSlot struct {
	Record string // the record's id
	Slot
}

// SlotsOfRecords reads the mappings of records of a vendor account, slot by slot.
func SlotsOfRecords(ctx context.Context, d *DB, org, account ID, entity string, ids []string) (map[string][]Slot, error) {
	rows, err := many[RecordSlot](ctx, d.Pool, `SELECT a.external_id AS record, b.* FROM mapping_slots a JOIN mapping_slots b ON b.org_id = a.org_id AND b.mapping_id = a.mapping_id
		WHERE a.org_id = $1 AND a.vendor_account_id = $2 AND a.entity = $3 AND a.external_id = ANY($4) ORDER BY b.role`, org, account, entity, ids)
	out := make(map[string][]Slot, len(ids))
	for _, r := range rows {
		out[r.Record] = append(out[r.Record], r.Slot)
	}
	return out, err
}

// RecordsOf answers which records of a vendor account mappings hold.
func RecordsOf(ctx context.Context, d *DB, org, account ID, entity string, mappings []ID) ([]string, error) {
	rows, err := many[Slot](ctx, d.Pool, `SELECT DISTINCT external_id FROM mapping_slots
		WHERE org_id = $1 AND vendor_account_id = $2 AND entity = $3 AND external_id IS NOT NULL AND mapping_id = ANY($4)`, org, account, entity, mappings)
	ids := make([]string, len(rows))
	for i, s := range rows {
		ids[i] = s.ExternalID
	}
	return ids, err
}
