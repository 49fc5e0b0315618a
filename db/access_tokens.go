package db

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// AccessToken is what a vendor gave for a connection's credentials. Its times are the database's.
type AccessToken struct {
	Token []byte        // sealed; nil when there is none
	Life  time.Duration // how long it may still be used
	Fence int64         // of the lease, when it was taken
}

// GetAccessToken reads the token that is kept for a connection; ErrNotFound says that there is none that may be used.
func GetAccessToken(ctx context.Context, idb bun.IDB, org, connection ID) (AccessToken, error) {
	return accessToken(ctx, idb.NewRaw(`SELECT token, fence, greatest(extract(epoch FROM good_until - clock_timestamp()), 0)::float8 AS seconds
		FROM access_tokens WHERE org_id = ? AND id = ? AND good_until > clock_timestamp()`, org, connection))
}

// KeptAccessToken reads the sealed token of a connection, whether or not it may be used, and keeps others from replacing it
// until the transaction ends.
func KeptAccessToken(ctx context.Context, idb bun.IDB, org, connection ID) (box []byte, err error) {
	err = idb.NewRaw("SELECT token FROM access_tokens WHERE org_id = ? AND id = ? FOR UPDATE", org, connection).Scan(ctx, &box)
	return box, found(err)
}

// LeaseAccessToken gives its caller alone, over all processes, the right to ask the vendor for a token, for a while. It
// answers what is kept by then; ErrNotFound says that another has the lease.
func LeaseAccessToken(ctx context.Context, idb bun.IDB, org, connection ID, d time.Duration) (AccessToken, error) {
	return accessToken(ctx, idb.NewRaw(`INSERT INTO access_tokens AS a (org_id, id, lease_until, fence) VALUES (?0, ?1, clock_timestamp() + make_interval(secs => ?2), 1)
		ON CONFLICT (org_id, id) DO UPDATE SET lease_until = EXCLUDED.lease_until, fence = a.fence + 1 WHERE a.lease_until < clock_timestamp()
		RETURNING token, fence, CASE WHEN good_until > clock_timestamp() THEN extract(epoch FROM good_until - clock_timestamp()) ELSE 0 END::float8 AS seconds`,
		org, connection, d.Seconds()))
}

func accessToken(ctx context.Context, q *bun.RawQuery) (AccessToken, error) {
	var row struct {
		Token   []byte
		Fence   int64
		Seconds float64
	}
	err := q.Scan(ctx, &row)
	return AccessToken{row.Token, time.Duration(row.Seconds * float64(time.Second)), row.Fence}, found(err)
}

// SaveAccessToken keeps a token in the place of had, under the lease that was taken for it, and ends the lease. It answers
// false when another has taken the lease over and has saved what it got: what came first stays. While the other still asks,
// the token is kept all the same, since a vendor may have taken back what it was given for.
func SaveAccessToken(ctx context.Context, idb bun.IDB, org, connection ID, t AccessToken, had []byte) (bool, error) {
	res, err := idb.NewRaw(`UPDATE access_tokens SET token = ?3, good_until = clock_timestamp() + make_interval(secs => ?4),
			lease_until = CASE WHEN fence = ?2 THEN '-infinity' ELSE lease_until END
		WHERE org_id = ?0 AND id = ?1 AND (fence = ?2 OR token IS NOT DISTINCT FROM ?5)`, org, connection, t.Fence, t.Token, t.Life.Seconds(), had).Exec(ctx)
	return affected(res) == 1, err
}

// GiveAccessToken keeps a token that a person's consent brought, whatever was there, and answers what was. Who asks for one
// just now saves nothing any more.
func GiveAccessToken(ctx context.Context, idb bun.IDB, org, connection ID, t AccessToken) (had []byte, err error) {
	if had, err = KeptAccessToken(ctx, idb, org, connection); err != nil && err != ErrNotFound {
		return nil, err
	}
	_, err = idb.NewRaw(`INSERT INTO access_tokens AS a (org_id, id, token, good_until) VALUES (?0, ?1, ?2, clock_timestamp() + make_interval(secs => ?3))
		ON CONFLICT (org_id, id) DO UPDATE SET token = EXCLUDED.token, good_until = EXCLUDED.good_until, lease_until = '-infinity', fence = a.fence + 1`,
		org, connection, t.Token, t.Life.Seconds()).Exec(ctx)
	return had, err
}

// ReleaseAccessToken ends a lease that brought no token. It answers false when another has taken it over, or has kept a token in
// the place of had meanwhile.
func ReleaseAccessToken(ctx context.Context, idb bun.IDB, org, connection ID, fence int64, had []byte) (same bool, err error) {
	err = found(idb.NewRaw(`UPDATE access_tokens SET lease_until = '-infinity' WHERE org_id = ? AND id = ? AND fence = ? RETURNING token IS NOT DISTINCT FROM ?`,
		org, connection, fence, had).Scan(ctx, &same))
	if err == ErrNotFound {
		err = nil
	}
	return same, err
}

// forgetAccessToken removes the token of a connection that needs it no more.
func forgetAccessToken(ctx context.Context, idb bun.IDB, org, connection ID) error {
	_, err := idb.NewRaw("DELETE FROM access_tokens WHERE org_id = ? AND id = ?", org, connection).Exec(ctx)
	return err
}
