package db

import (
	"context"

	"github.com/uptrace/bun"
)

// Reading is one number about the database as it is now, over all organizations.
type Reading struct {
	Name  string
	A, B  *string // what it is of, from short lists: states, queues, apps
	Value float64
}

// Readings are for operators, who ask every few seconds: each part reads an index of what is not over.
func Readings(ctx context.Context, idb bun.IDB) ([]Reading, error) {
	var out []Reading
	err := idb.NewRaw(`
		SELECT 'runs_live' AS name, state AS a, coalesce(waiting_reason, '') AS b, count(*)::float8 AS value FROM runs WHERE ended_at IS NULL GROUP BY 2, 3
		UNION ALL SELECT 'run_overdue_seconds', null, null, coalesce(greatest(extract(epoch FROM now() - min(due_at)), 0), 0) FROM runs WHERE due_at IS NOT NULL
		UNION ALL SELECT 'events_waiting', null, null, count(*) FROM events WHERE due_at IS NOT NULL
		UNION ALL SELECT 'event_oldest_seconds', null, null, coalesce(extract(epoch FROM now() - min(received_at)), 0) FROM events WHERE due_at IS NOT NULL
		UNION ALL SELECT 'jobs', queue, state::text, count(*) FROM river.river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled') GROUP BY 2, 3
		UNION ALL SELECT 'job_oldest_seconds', queue, null, greatest(extract(epoch FROM now() - min(scheduled_at)), 0) FROM river.river_job WHERE state = 'available' GROUP BY 2
		UNION ALL SELECT 'budget_wait_seconds', v.app, CASE WHEN b.bucket LIKE 'bulk%' THEN 'bulk' ELSE 'live' END, max(greatest(extract(epoch FROM greatest(b.tat, b.line) - clock_timestamp()), 0))
			FROM buckets b JOIN vendor_accounts v ON v.org_id = b.org_id AND v.id = b.vendor_account_id WHERE isfinite(greatest(b.tat, b.line)) GROUP BY 2, 3
		UNION ALL SELECT 'connections', app, state, count(*) FROM connections WHERE deleted_at IS NULL GROUP BY 2, 3
		UNION ALL SELECT 'feed_unnumbered', null, null, count(*) FROM changes WHERE pos IS NULL
		UNION ALL SELECT 'feed_position', null, null, coalesce(max(pos), 0) FROM changes`).Scan(ctx, &out)
	return out, err
}
