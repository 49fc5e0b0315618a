package db

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
)

// Bucket is a limit of calls, as GCRA has it: tat is when it will be full again, and a call may come while that is no more
// than burst calls away.
type Bucket struct {
	Name  string        // empty: the account's own
	Every time.Duration // between calls
	Burst int           // how many may come at once
}

func (b Bucket) slack() time.Duration { return time.Duration(max(b.Burst, 1)-1) * b.Every }

// Draw asks for one call of a vendor account.
type Draw struct {
	OrgID, AccountID ID
	Bucket           Bucket
	Part             Bucket        // must allow it, too, unless it has no name
	Near             time.Duration // how far away its start may be; otherwise nothing is taken but the place in the line
	Line             bool          // it is the first of who begins: take a place in the bucket's line
	After            time.Time     // the place there is already: the call does not start sooner
	Calls            int           // that many at once, one after another from Start, and all of them or nothing; 0: one
	First, Counted   bool          // how many calls those make who begin is learned from these, of which some are the first
	Parallel         int           // calls that may be in the air at once; 0: any number
	Lease            time.Duration // how long after its start a call may be in the air
}

// Drawn is what came of it. Times are the database's.
type Drawn struct {
	OK    bool      // the call may be made at Start
	Start time.Time // if not, when it could: of one that took a place in the line, that place
	Now   time.Time
	Full  bool // it may not, because too many others are in the air
	Lease Lease
	Cost  float64 // how many calls those made lately who began
}

// Lease is the place of one call in the air.
type Lease struct {
	OrgID, AccountID ID
	N                int // 0: none is needed
	Until            time.Time
}

// drawCall is one write to one row, at which all who call the vendor take turns. None of them holds it until the disk has
// it: after a crash of the server the last draws may be forgotten, which costs a call that comes early. Who finds that
// nobody calls (tat is past) begins at once, as those in the line are not there to use their turn. The row itself keeps
// what the draw came to, as a write answers nothing else. There is a second form for calls that need a lease.
const drawCall = `
	INSERT INTO buckets AS b (org_id, vendor_account_id, bucket, tat, line, parts, ok, start, at)
	SELECT $1, $2, $3, CASE WHEN %[2]s THEN now + $14::float8 * $4::interval ELSE '-infinity' END, CASE WHEN $10::boolean AND %[2]s THEN now + 2.2 * $14 * $4::interval ELSE '-infinity' END,
		CASE WHEN $6::text <> '' AND %[2]s THEN jsonb_build_object($6, extract(epoch FROM now + $7::interval)) ELSE '{}' END, %[2]s, now, now
	FROM (SELECT set_config('synchronous_commit', 'off', true), clock_timestamp() AS now) soon%[1]s
	ON CONFLICT (org_id, vendor_account_id, bucket) DO UPDATE SET (tat, line, parts, ok, start, at, begun, calls) = (
		SELECT CASE WHEN v.ok THEN greatest(b.tat, v.now) + $14 * $4 ELSE b.tat END,
			CASE WHEN NOT $10 OR (v.near OR $14 > 1) AND NOT v.ok THEN b.line WHEN v.ok THEN greatest(b.line, v.now) + $14 * v.cost * $4 ELSE greatest(b.line, b.tat, v.now) + v.cost * $4 END,
			CASE WHEN v.ok AND $6 <> '' THEN b.parts || jsonb_build_object($6, extract(epoch FROM greatest(v.part, v.now) + $7)) ELSE b.parts END,
			v.ok, CASE WHEN v.near OR NOT $10 THEN v.start ELSE greatest(v.start, greatest(b.line, b.tat, v.now) - $5::interval) END, v.now,
			CASE WHEN v.ok AND $12::boolean THEN b.begun * v.fades + $14 ELSE b.begun END, CASE WHEN v.ok AND $13::boolean THEN b.calls * v.fades + $14 ELSE b.calls END
		FROM (SELECT t.*, t.last <= t.now + $9::interval AS near, t.last <= t.now + $9 AND excluded.ok AS ok,
				` + costNow + ` AS cost, CASE WHEN $12 AND b.begun > 100 THEN 0.5 ELSE 1 END AS fades FROM (SELECT f.*, f.start + ($14 - 1) * $4 AS last FROM (
			SELECT n.*, greatest(b.tat - $5::interval, n.now - $5::interval, n.part - $8::interval, $11::timestamptz, CASE WHEN $10 AND b.tat > n.now THEN b.line - $5::interval END) AS start FROM (
				SELECT clock_timestamp() AS now, CASE WHEN $6 <> '' THEN coalesce(to_timestamp((b.parts->>$6)::float8), '-infinity') END AS part) n) f) t) v)
	RETURNING b.ok, b.start, b.at AS now, ` + costNow + ` AS cost`

// costNow is how many calls whoever begins has room for. It is a tenth more than were made lately, or what is lost once, when
// workers are late, could never be made up for. And it is bounded: who makes very many has them all along, and others find
// room between them.
const costNow = "least(greatest(b.calls / b.begun, 1), 30) * 1.1"

var (
	drawFree   = fmt.Sprintf(drawCall, "", "true")
	drawLeased = `WITH slots AS MATERIALIZED (
			SELECT n FROM call_leases WHERE org_id = $1 AND vendor_account_id = $2 AND n <= $15::int AND lease_until <= clock_timestamp() ORDER BY n LIMIT 1 FOR UPDATE SKIP LOCKED),
		slot AS MATERIALIZED (SELECT max(n) AS n FROM slots),
		drawn AS (` + fmt.Sprintf(drawCall, ", slot", "slot.n IS NOT NULL") + `),
		leased AS (
			UPDATE call_leases l SET lease_until = greatest(d.start, d.now) + $16::interval FROM drawn d, slot s
			WHERE d.ok AND l.org_id = $1 AND l.vendor_account_id = $2 AND l.n = s.n RETURNING l.n, l.lease_until)
		SELECT d.*, l.n, l.lease_until, (SELECT count(*) FROM call_leases WHERE org_id = $1 AND vendor_account_id = $2) AS slots FROM drawn d LEFT JOIN leased l ON true`
)

// DrawCall takes a call from a vendor account's budget.
func DrawCall(ctx context.Context, d *DB, w Draw) (Drawn, error) {
	type drawn struct {
		OK         bool
		Start, Now time.Time
		Cost       float64
		N, Slots   int
		LeaseUntil time.Time
	}
	sql, args := drawFree, []any{
		w.OrgID, w.AccountID, w.Bucket.Name, w.Bucket.Every, w.Bucket.slack(), w.Part.Name, w.Part.Every, w.Part.slack(), w.Near, w.Line, orNull(w.After), w.First, w.Counted, max(w.Calls, 1),
	}
	if w.Parallel > 0 {
		sql, args = drawLeased, append(args, w.Parallel, w.Lease)
	}
	for {
		got, err := one[drawn](ctx, d.Pool, sql, args...)
		if err != nil {
			return Drawn{}, err
		}
		if got.OK || got.Slots >= w.Parallel {
			full := !got.OK && got.Start.Sub(got.Now) <= w.Near
			return Drawn{OK: got.OK, Start: got.Start, Now: got.Now, Full: full, Lease: Lease{w.OrgID, w.AccountID, got.N, got.LeaseUntil}, Cost: got.Cost}, nil
		}
		_, err = d.Pool.Exec(ctx, "INSERT INTO call_leases (org_id, vendor_account_id, n) SELECT $1, $2, n FROM generate_series(1, $3::int) n ON CONFLICT DO NOTHING",
			pgx.QueryExecModeCacheStatement, w.OrgID, w.AccountID, w.Parallel)
		if err != nil {
			return Drawn{}, err
		}
	}
}

// FreeCalls gives back leases of calls that are over. One that ended meanwhile, and may be another's, is left alone.
func FreeCalls(ctx context.Context, d *DB, leases []Lease) error {
	orgs, accounts := make([]ID, len(leases)), make([]ID, len(leases))
	ns, until := make([]int, len(leases)), make([]time.Time, len(leases))
	for i, l := range leases {
		orgs[i], accounts[i], ns[i], until[i] = l.OrgID, l.AccountID, l.N, l.Until
	}
	_, err := d.Pool.Exec(ctx, `UPDATE call_leases l SET lease_until = '-infinity'
		FROM (SELECT l.org_id, l.vendor_account_id, l.n FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::timestamptz[]) AS x (org_id, vendor_account_id, n, lease_until)
			JOIN call_leases l USING (org_id, vendor_account_id, n, lease_until) ORDER BY 1, 2, 3 FOR UPDATE OF l) x
		WHERE l.org_id = x.org_id AND l.vendor_account_id = x.vendor_account_id AND l.n = x.n`, pgx.QueryExecModeCacheStatement, orgs, accounts, ns, until)
	return err
}

// DelayCalls keeps a bucket of a vendor account quiet for a while: the vendor asked for it. Whoever stands in its line begins
// that much later.
func DelayCalls(ctx context.Context, idb bun.IDB, org, account ID, b Bucket, d time.Duration) error {
	_, err := idb.NewRaw(`WITH q AS (SELECT clock_timestamp() AS now, clock_timestamp() + make_interval(secs => ?) AS tat)
		UPDATE buckets b SET tat = greatest(b.tat, q.tat),
			line = CASE WHEN b.line > q.now THEN b.line + greatest(q.tat - greatest(b.tat, q.now), interval '0') ELSE b.line END
		FROM q WHERE b.org_id = ? AND b.vendor_account_id = ? AND b.bucket = ?`, (d + b.slack()).Seconds(), org, account, b.Name).Exec(ctx)
	return err
}

// DelayPart keeps those calls quiet that fall under a part of a bucket.
func DelayPart(ctx context.Context, idb bun.IDB, org, account ID, bucket string, part Bucket, d time.Duration) error {
	_, err := idb.NewRaw(`UPDATE buckets b SET parts = b.parts || jsonb_build_object(?0::text,
			greatest((b.parts->>?0::text)::float8, extract(epoch FROM clock_timestamp())::float8 + ?1))
		WHERE b.org_id = ?2 AND b.vendor_account_id = ?3 AND b.bucket = ?4`, part.Name, (d + part.slack()).Seconds(), org, account, bucket).Exec(ctx)
	return err
}

// InLine counts the runs that stand in a bucket's line before a place.
func InLine(ctx context.Context, d *DB, org, account ID, bucket string, place time.Time) (int, error) {
	got, err := one[struct{ N int }](ctx, d.Pool, `SELECT count(*) AS n FROM steps
		WHERE org_id = $1 AND reserved_account = $2 AND reserved_bucket = $3 AND reserved_at < $4`, org, account, bucket, place)
	return got.N, err
}

// SweepLines finds lines where nobody comes: no call was made for a second, though places are taken beyond the next two.
// Runs in them were cancelled, or need fewer calls than was thought. Such a line is cut behind the last run that stands in
// it, and the first ones begin now.
func SweepLines(ctx context.Context, idb bun.IDB, few int) ([]Run, error) {
	var woken []Run
	err := idb.NewRaw(`WITH idle AS (
			UPDATE buckets b SET line = least(b.line, greatest(clock_timestamp(), (SELECT max(s.reserved_at) FROM steps s
				WHERE s.org_id = b.org_id AND s.reserved_account = b.vendor_account_id AND s.reserved_bucket = b.bucket AND s.reserved_at IS NOT NULL)))
			FROM (SELECT org_id, vendor_account_id, bucket FROM buckets
				WHERE line > clock_timestamp() + interval '2 seconds' AND tat < clock_timestamp() - interval '1 second' FOR UPDATE SKIP LOCKED) i
			WHERE b.org_id = i.org_id AND b.vendor_account_id = i.vendor_account_id AND b.bucket = i.bucket
			RETURNING b.org_id, b.vendor_account_id, b.bucket),
		first AS MATERIALIZED (
			SELECT f.* FROM idle, LATERAL (
				SELECT r.org_id, r.id, f.key FROM steps f JOIN runs r ON r.org_id = f.org_id AND r.id = f.run_id
				WHERE f.org_id = idle.org_id AND f.reserved_account = idle.vendor_account_id AND f.reserved_bucket = idle.bucket
					AND f.reserved_at > clock_timestamp() + interval '1 second' AND r.state = 'WAITING' AND r.waiting_reason = 'RATE'
				ORDER BY f.reserved_at LIMIT ? FOR NO KEY UPDATE OF r SKIP LOCKED) f),
		moved AS (UPDATE steps s SET reserved_at = clock_timestamp() FROM first f WHERE s.org_id = f.org_id AND s.run_id = f.id AND s.key = f.key)
		UPDATE runs r SET wake_at = clock_timestamp(), due_at = clock_timestamp() + interval '10 seconds' FROM first f
		WHERE r.org_id = f.org_id AND r.id = f.id RETURNING r.org_id, r.id`, few).Scan(ctx, &woken)
	return woken, err
}
