package db

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// PruneClaims removes idempotency claims made before a time, some at a time, and answers how many went.
func PruneClaims(ctx context.Context, idb bun.IDB, before time.Time, limit int) (int64, error) {
	res, err := idb.NewRaw(`DELETE FROM claims WHERE (org_id, id) IN (
		SELECT org_id, id FROM claims WHERE created_at < ? ORDER BY created_at LIMIT ? FOR UPDATE SKIP LOCKED)`, before, limit).Exec(ctx)
	return affected(res), err
}

// PruneRuns removes runs that ended before a time, with their steps, calls and effects, some at a time, and answers how
// many went. A run stays while it is not known what became of a write of it. The CREATEs that made records stay for ever:
// they tell an echo from news, and that a record must not be made again.
func PruneRuns(ctx context.Context, idb bun.IDB, org ID, before time.Time, limit int) (int64, error) {
	res, err := idb.NewRaw(`WITH old AS (
			SELECT r.id FROM runs r WHERE r.org_id = ?0 AND r.id < ?1 AND r.ended_at < ?2
				AND NOT EXISTS (SELECT FROM effects e WHERE e.org_id = r.org_id AND e.run_id = r.id AND e.state NOT IN ('CONFIRMED', 'REFUSED', 'GIVEN_UP'))
			ORDER BY r.id LIMIT ?3 FOR UPDATE SKIP LOCKED),
		calls AS (DELETE FROM attempts WHERE org_id = ?0 AND run_id IN (SELECT id FROM old)),
		items AS (DELETE FROM run_items WHERE org_id = ?0 AND run_id IN (SELECT id FROM old)),
		known AS (DELETE FROM run_known WHERE org_id = ?0 AND run_id IN (SELECT id FROM old)),
		outputs AS (DELETE FROM step_outputs WHERE org_id = ?0 AND run_id IN (SELECT id FROM old)),
		done AS (DELETE FROM steps WHERE org_id = ?0 AND run_id IN (SELECT id FROM old)),
		writes AS (
			DELETE FROM effects e WHERE e.org_id = ?0 AND e.run_id IN (SELECT id FROM old) AND NOT (e.kind = 'CREATE' AND e.state = 'CONFIRMED')
				AND NOT EXISTS (SELECT FROM mapping_slots s WHERE s.org_id = ?0 AND s.effect_id = e.id))
		DELETE FROM runs WHERE org_id = ?0 AND id IN (SELECT id FROM old)`, org, firstID(before), before, limit).Exec(ctx)
	return affected(res), err
}

// PruneEvents looks at some events from one on, removes those received before a time, with what became of them, and
// answers where to go on; a zero id when that was all. An event stays while it has a run, or waits for somebody. So does
// one of a trigger, named as app/trigger, whose reading shows again whatever there is: without it, an old record would
// look new.
func PruneEvents(ctx context.Context, idb bun.IDB, org, after ID, before time.Time, relisted []string, limit int) (ID, error) {
	var seen []ID
	err := idb.NewRaw(`WITH seen AS MATERIALIZED (SELECT id FROM events WHERE org_id = ?0 AND id > ?1 AND id < ?2 ORDER BY id LIMIT ?5),
		old AS (
			SELECT e.id FROM seen JOIN events e ON e.org_id = ?0 AND e.id = seen.id JOIN connections c ON c.org_id = e.org_id AND c.id = e.connection_id
			WHERE e.received_at < ?3 AND e.dispatched_at IS NOT NULL AND e.due_at IS NULL AND (c.deleted_at IS NOT NULL OR c.app || '/' || e.trigger <> ALL (?4::text[]))
				AND (SELECT r.id FROM runs r WHERE r.org_id = e.org_id AND r.event_id = e.id LIMIT 1) IS NULL
				AND NOT EXISTS (SELECT FROM event_outcomes o WHERE o.org_id = e.org_id AND o.event_id = e.id AND o.outcome = 'HELD')
			ORDER BY e.id FOR UPDATE OF e SKIP LOCKED),
		outcomes AS (DELETE FROM event_outcomes WHERE org_id = ?0 AND event_id IN (SELECT id FROM old)),
		gone AS (DELETE FROM events WHERE org_id = ?0 AND id IN (SELECT id FROM old))
		SELECT id FROM seen ORDER BY id`, org, after, firstID(before), before, pgdialect.Array(relisted), limit).Scan(ctx, &seen)
	if err != nil || len(seen) < limit {
		return ID{}, err
	}
	return seen[len(seen)-1], nil
}

// firstID is the lowest id that NewID makes from a time on.
func firstID(at time.Time) ID {
	var id uuid.UUID
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	return id
}
