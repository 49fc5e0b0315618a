package db

import (
	"context"
	"crypto/sha256"
	"strings"
)

// Known is a record that another vendor account held when a run over many records began.
type Known struct {
	Entity     string
	ExternalID string
	ParentID   string
	Email      []byte // see HashEmail
	Linked     bool   // its root is linked to a record of the account that is walked through
}

// Root is the record that stands for it: the one it hangs below, or itself.
func (k Known) Root() string {
	if k.ParentID != "" {
		return k.ParentID
	}
	return k.ExternalID
}

// HashEmail is an address as it is compared: its letters' case does not count. Nil for none.
func HashEmail(address string) []byte {
	address = strings.ToLower(strings.TrimSpace(address))
	if address == "" {
		return nil
	}
	hash := sha256.Sum256([]byte(address))
	return hash[:16]
}

// KeepKnown adds records of a vendor account to what a run knows.
func KeepKnown(ctx context.Context, tx Tx, org, of, account ID, records []Known) error {
	entities, ids, parents, emails := make([]string, len(records)), make([]string, len(records)), make([]string, len(records)), make([][]byte, len(records))
	for i, k := range records {
		entities[i], ids[i], parents[i], emails[i] = k.Entity, k.ExternalID, k.ParentID, k.Email
	}
	return run(ctx, tx, `INSERT INTO run_known (org_id, run_id, vendor_account_id, entity, external_id, parent_id, email_hash)
		SELECT DISTINCT ON (t.entity, t.id) $1::uuid, $2::uuid, $3::uuid, t.entity, t.id, nullif(t.parent, ''), t.email
		FROM unnest($4::text[], $5::text[], $6::text[], $7::bytea[]) AS t (entity, id, parent, email)
		ON CONFLICT (org_id, run_id, vendor_account_id, entity, external_id) DO UPDATE SET parent_id = EXCLUDED.parent_id, email_hash = EXCLUDED.email_hash`,
		org, of, account, entities, ids, parents, emails)
}

// DropKnown forgets what a run knows.
func DropKnown(ctx context.Context, tx Tx, org, of ID) error {
	return run(ctx, tx, "DELETE FROM run_known WHERE org_id = $1 AND run_id = $2", org, of)
}

// KnownAs are the records of an account that a run knows by id or by e-mail address, with what hangs below them. Whether one is
// linked is seen by its root, which is of the entity root, and by the account and entity that are walked through.
func KnownAs(ctx context.Context, d *DB, org, of, account ID, root string, from ID, entity string, ids []string, emails [][]byte) ([]Known, error) {
	return many[Known](ctx, d.Pool, `WITH hit AS (
			SELECT * FROM run_known WHERE org_id = $1 AND run_id = $2 AND vendor_account_id = $3 AND external_id = ANY($7)
			UNION SELECT * FROM run_known WHERE org_id = $1 AND run_id = $2 AND vendor_account_id = $3 AND email_hash = ANY($8)),
		found AS (
			SELECT * FROM hit UNION SELECT * FROM run_known WHERE org_id = $1 AND run_id = $2 AND vendor_account_id = $3
				AND parent_id IN (SELECT coalesce(parent_id, external_id) FROM hit))
		SELECT k.entity, k.external_id, k.parent_id, k.email_hash AS email, EXISTS (
			SELECT FROM mapping_slots s JOIN mapping_slots o ON o.org_id = s.org_id AND o.mapping_id = s.mapping_id
			WHERE s.org_id = $1 AND s.vendor_account_id = $3 AND s.entity = $4 AND s.external_id = coalesce(k.parent_id, k.external_id)
				AND o.vendor_account_id = $5 AND o.entity = $6 AND o.external_id IS NOT NULL) AS linked
		FROM found k ORDER BY k.entity, k.external_id`, org, of, account, root, from, entity, ids, emails)
}

// CountEmails counts how many records of an account that a run knows have each of these addresses.
func CountEmails(ctx context.Context, d *DB, org, of, account ID, emails [][]byte) (map[string]int, error) {
	type counted struct {
		Email []byte
		N     int
	}
	rows, err := many[counted](ctx, d.Pool, `SELECT email_hash AS email, count(*) AS n FROM run_known WHERE org_id = $1 AND run_id = $2 AND vendor_account_id = $3 AND email_hash = ANY($4) GROUP BY email_hash`,
		org, of, account, emails)
	out := make(map[string]int, len(rows))
	for _, r := range rows {
		out[string(r.Email)] = r.N
	}
	return out, err
}
