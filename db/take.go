package db

import (
	"bytes"
	"cmp"
	"context"
	"time"

	"github.com/uptrace/bun"
)

// Arrival is an event as it comes in, before anything of it is decoded.
type Arrival struct {
	OrgID, ID, ConnectionID ID
	Trigger, DedupeKey      string
	VendorType              string
	VendorAt                time.Time
	Repeats                 int // how often it came beside the first time
	Body                    []byte
}

// CompareArrivals orders arrivals as everybody who stores several must have them, or two of them wait for each other.
func CompareArrivals(a, b Arrival) int {
	return cmp.Or(
		bytes.Compare(a.OrgID[:], b.OrgID[:]),
		bytes.Compare(a.ConnectionID[:], b.ConnectionID[:]),
		cmp.Compare(a.DedupeKey, b.DedupeKey),
	)
}

// takeEvents is one statement, as a vendor waits for it. A body has the time of its event, or it could not be found. Of
// the connection it is noted a few times a minute at most that it lives: a row that every request writes makes them queue
// up. A webhook after a silence asks for a reading: deliveries may have been refused in between.
const takeEvents = `WITH came AS MATERIALIZED (
		SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::int[], $9::bytea[])
			AS t (org_id, id, connection_id, trigger, dedupe_key, vendor_type, vendor_at, repeats, body)),
	fresh AS (
		INSERT INTO events (org_id, id, connection_id, trigger, dedupe_key, source, vendor_type, vendor_at, repeats, dispatched_at, due_at)
		SELECT org_id, id, connection_id, trigger, dedupe_key, $10, vendor_type, vendor_at, repeats,
			CASE WHEN $10 = 'BASELINE' THEN now() END, CASE WHEN $10 <> 'BASELINE' THEN now() + interval '10 seconds' END
		FROM came
		ON CONFLICT (org_id, connection_id, dedupe_key) DO NOTHING
		RETURNING org_id, id, connection_id, received_at),
	bodies AS (
		INSERT INTO event_bodies (org_id, event_id, at, body)
		SELECT f.org_id, f.id, f.received_at, c.body FROM fresh f JOIN came c ON c.org_id = f.org_id AND c.id = f.id WHERE $10 <> 'BASELINE'),
	seen AS (
		UPDATE connections c SET last_event_at = now(),
			webhook_seen_at = CASE WHEN $10 = 'WEBHOOK' THEN now() ELSE c.webhook_seen_at END,
			webhook_refused = CASE WHEN $10 = 'WEBHOOK' THEN 0 ELSE c.webhook_refused END
		FROM (SELECT k.org_id, k.id, k.webhook_seen_at FROM connections k
			WHERE (k.org_id, k.id) IN (SELECT org_id, connection_id FROM fresh) AND $10 <> 'BASELINE'
				AND (coalesce(k.last_event_at, '-infinity') < now() - interval '20 seconds'
					OR ($10 = 'WEBHOOK' AND (coalesce(k.webhook_seen_at, '-infinity') < now() - interval '20 seconds' OR k.webhook_refused > 0)))
			FOR NO KEY UPDATE SKIP LOCKED) stale
		WHERE c.org_id = stale.org_id AND c.id = stale.id
		RETURNING c.org_id, c.id, stale.webhook_seen_at AS before),
	asked AS (
		UPDATE cursors cu SET asked_at = now(), due_at = least(cu.due_at, now()) FROM seen
		WHERE $10 = 'WEBHOOK' AND coalesce(seen.before, '-infinity') < now() - interval '50 seconds'
			AND cu.org_id = seen.org_id AND cu.connection_id = seen.id AND cu.due_at IS NOT NULL),
	waiting AS MATERIALIZED (
		SELECT org_id, (SELECT count(*) FROM (SELECT FROM events e WHERE e.org_id = o.org_id AND e.due_at IS NOT NULL LIMIT 100) w) AS n
		FROM (SELECT DISTINCT org_id FROM came) o)
	SELECT fresh.id, waiting.n AS behind FROM fresh JOIN waiting USING (org_id)`

// Fresh is an event that was stored just now.
type Fresh struct {
	ID     ID
	Behind int // how many events of its organization wait to be dispatched already, up to 100
}

// TakeEvents stores what came in and was not there yet, and answers what it stored. That waits to be dispatched, but for
// events from the baseline, which are known and no news. Give it sorted arrivals, each event once.
func TakeEvents(ctx context.Context, tx Tx, source string, arrivals []Arrival) ([]Fresh, error) {
	orgs, ids, conns := make([]ID, len(arrivals)), make([]ID, len(arrivals)), make([]ID, len(arrivals))
	triggers, keys, types := make([]string, len(arrivals)), make([]string, len(arrivals)), make([]string, len(arrivals))
	at, repeats, bodies := make([]time.Time, len(arrivals)), make([]int32, len(arrivals)), make([][]byte, len(arrivals))
	for i, a := range arrivals {
		orgs[i], ids[i], conns[i] = a.OrgID, a.ID, a.ConnectionID
		triggers[i], keys[i], types[i] = a.Trigger, a.DedupeKey, a.VendorType
		at[i], repeats[i], bodies[i] = a.VendorAt, int32(a.Repeats), a.Body
	}
	return manyIn[Fresh](ctx, tx, takeEvents, orgs, ids, conns, triggers, keys, types, at, repeats, bodies, source)
}

// CountRepeats adds to events that were there already how often they came again. Give it sorted arrivals.
func CountRepeats(ctx context.Context, tx Tx, arrivals []Arrival) error {
	orgs, conns, keys := make([]ID, len(arrivals)), make([]ID, len(arrivals)), make([]string, len(arrivals))
	times := make([]int32, len(arrivals))
	for i, a := range arrivals {
		orgs[i], conns[i], keys[i], times[i] = a.OrgID, a.ConnectionID, a.DedupeKey, int32(1+a.Repeats)
	}
	return run(ctx, tx, `UPDATE events e SET repeats = e.repeats + r.times
		FROM (SELECT e.org_id, e.id, r.times
			FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[]) WITH ORDINALITY AS r (org_id, connection_id, dedupe_key, times, n)
			JOIN events e ON e.org_id = r.org_id AND e.connection_id = r.connection_id AND e.dedupe_key = r.dedupe_key
			ORDER BY r.n FOR NO KEY UPDATE OF e) r
		WHERE e.org_id = r.org_id AND e.id = r.id`, orgs, conns, keys, times)
}

// KnownEvents answers which of these dedupe keys a connection has events of.
func KnownEvents(ctx context.Context, d *DB, org, connection ID, keys []string) (map[string]bool, error) {
	rows, err := many[struct{ DedupeKey string }](ctx, d.Keyed, "SELECT dedupe_key FROM events WHERE org_id = $1 AND connection_id = $2 AND dedupe_key = ANY($3)", org, connection, keys)
	known := make(map[string]bool, len(rows))
	for _, r := range rows {
		known[r.DedupeKey] = true
	}
	return known, err
}

// AnySince tells whether a connection got one of the events with these dedupe keys since a time.
func AnySince(ctx context.Context, d *DB, org, connection ID, keys []string, since time.Time) (bool, error) {
	answer, err := one[struct{ Some bool }](ctx, d.Pool, `SELECT EXISTS (SELECT FROM events
		WHERE org_id = $1 AND connection_id = $2 AND dedupe_key = ANY($3::text[]) AND received_at > $4) AS some`, org, connection, keys, since)
	return answer.Some, err
}

// CountIgnored counts deliveries that were taken and that nothing can be done about.
func CountIgnored(ctx context.Context, idb bun.IDB, org, connection ID, n int, reason string) error {
	_, err := idb.NewUpdate().Model((*Connection)(nil)).Set("ignored = ignored + ?, ignored_reason = ?", n, reason).
		Where("org_id = ? AND id = ?", org, connection).Exec(ctx)
	return err
}

// CountRefused counts deliveries that were not understood, or whose time was wrong.
func CountRefused(ctx context.Context, idb bun.IDB, org, connection ID, n int, reason string) error {
	_, err := idb.NewUpdate().Model((*Connection)(nil)).Set("refused = refused + ?, refused_reason = ?", n, reason).
		Where("org_id = ? AND id = ?", org, connection).Exec(ctx)
	return err
}

// BadSignatures is how many deliveries with a bad signature, and none with a good one, have the endpoint looked at.
const BadSignatures = 5

// CountForged counts deliveries with a bad signature. Once BadSignatures of them came, the endpoint is looked at.
func CountForged(ctx context.Context, idb bun.IDB, org, connection ID, n int, reason string) error {
	_, err := idb.NewUpdate().Model((*Connection)(nil)).Set("refused = refused + ?, refused_reason = ?", n, reason).
		Set("webhook_refused = least(webhook_refused, 1000000) + ?", n).
		Set("care_at = CASE WHEN webhook_refused < ? AND webhook_refused + ? >= ? THEN least(care_at, now()) ELSE care_at END", BadSignatures, n, BadSignatures).
		Where("org_id = ? AND id = ?", org, connection).Exec(ctx)
	return err
}

// SweepEvents answers events that nobody has dispatched in time, each no sooner again than ten seconds later, and ever
// later the longer it has been around.
func SweepEvents(ctx context.Context, idb bun.IDB, limit int) ([]Event, error) {
	var due []Event
	err := idb.NewRaw(`UPDATE events e SET due_at = now() + least(greatest(interval '10 seconds', now() - e.received_at), interval '5 minutes')
		FROM (SELECT org_id, id FROM events WHERE due_at <= now() ORDER BY due_at LIMIT ? FOR UPDATE SKIP LOCKED) d
		WHERE e.org_id = d.org_id AND e.id = d.id RETURNING e.org_id, e.id`, limit).Scan(ctx, &due)
	return due, err
}

// SweepCursors answers active connections that are due to be read, each once. A cursor comes again no sooner than ten
// seconds later, one that nobody reads after a minute, and one that somebody reads when the lease ends. Those of other
// connections, and those that no link listens to, are looked at again then, too.
func SweepCursors(ctx context.Context, idb bun.IDB, limit int) ([]Connection, error) {
	var due []Connection
	err := idb.NewRaw(`WITH d AS (
			SELECT org_id, connection_id, trigger FROM cursors WHERE due_at <= now() ORDER BY due_at LIMIT ? FOR UPDATE SKIP LOCKED),
		wanted AS (
			SELECT cu.org_id, cu.connection_id, cu.trigger FROM cursors cu JOIN d USING (org_id, connection_id, trigger)
			WHERE `+readable+`),
		moved AS (
			UPDATE cursors cu SET due_at = CASE WHEN cu.lease_until > now() THEN cu.lease_until
				ELSE now() + least(greatest(interval '10 seconds', now() - coalesce(cu.read_at, now())), interval '1 minute') END
			FROM d WHERE cu.org_id = d.org_id AND cu.connection_id = d.connection_id AND cu.trigger = d.trigger
			RETURNING cu.org_id, cu.connection_id, cu.trigger)
		SELECT DISTINCT c.org_id, c.id FROM moved JOIN wanted USING (org_id, connection_id, trigger) JOIN connections c ON c.org_id = moved.org_id AND c.id = moved.connection_id
		WHERE c.state = 'ACTIVE' AND c.deleted_at IS NULL`, limit).Scan(ctx, &due)
	return due, err
}

// SweepCare answers connections whose endpoint must be looked at, deleted ones too. Each comes again after a minute when
// nobody does.
func SweepCare(ctx context.Context, idb bun.IDB, limit int) ([]Connection, error) {
	var due []Connection
	err := idb.NewRaw(`UPDATE connections c SET care_at = greatest(coalesce(c.care_lease, '-infinity'), now() + interval '1 minute')
		FROM (SELECT org_id, id FROM connections WHERE care_at <= now() ORDER BY care_at LIMIT ? FOR NO KEY UPDATE SKIP LOCKED) d
		WHERE c.org_id = d.org_id AND c.id = d.id RETURNING c.org_id, c.id`, limit).Scan(ctx, &due)
	return due, err
}
