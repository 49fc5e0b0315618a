package db

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// PruneClaims removes idempotency claims made before a time, some at a time, and answers how many went.
func PruneClaims(ctx context.Context, idb bun.IDB, before time.Time, limit int) (int64, error) {
	res, err := idb.NewRaw(`DELETE FROM claims WHERE (org_id, id) IN (
		SELECT org_id, id FROM claims WHERE created_at < ? ORDER BY created_at LIMIT ? FOR UPDATE SKIP LOCKED)`, before, limit).Exec(ctx)
	return affected(res), err
}
