package db

import (
	"context"
	"strings"

	"github.com/uptrace/bun"
)

// Place is a column that holds sealed boxes.
type Place struct {
	Table, Column string
	live          string // how to find some whose boxes are in use, quickly
}

// Places are all columns that hold sealed boxes.
var Places = []Place{
	{"connections", "credentials", liveConnections},
	{"connections", "webhook_token", liveConnections},
	{"connections", "webhook_secrets", liveConnections},
	{"access_tokens", "token", "access_tokens b"},
	{"authorizations", "form", "(SELECT * FROM authorizations WHERE expires_at > now()) b"},
	{"step_outputs", "box", "(SELECT * FROM step_outputs LIMIT 1000) b"},
	{"effects", "request", "effects b JOIN (SELECT org_id, id FROM runs WHERE ended_at IS NULL LIMIT 1000) r ON (b.org_id, b.run_id) = (r.org_id, r.id)"},
}

const liveConnections = "(SELECT * FROM connections WHERE deleted_at IS NULL) b"

// Box is what one row has sealed.
type Box struct {
	Place int // in Places
	OrgID ID
	ID    ID
	Box   []byte
}

// boxKey is the id of the key that sealed a box: see the package seal.
const boxKey = "substring(box FROM 3 FOR get_byte(box, 1))"

// boxOther is true of a box that another key than ?5 has sealed.
const boxOther = "CASE WHEN length(box) > 2 THEN " + boxKey + " <> ?5::bytea ELSE true END"

// SampleBoxes answers a few boxes in use of each key that sealed any, in every organization.
func SampleBoxes(ctx context.Context, idb bun.IDB, perKey int) ([]Box, error) {
	parts, args := make([]string, len(Places)), []any{}
	for i, p := range Places {
		parts[i] = "SELECT ?::int AS place, b.org_id, b.id, b.? AS box FROM ?"
		args = append(args, i, bun.Ident(p.Column), bun.Safe(p.live))
	}
	var out []Box
	err := idb.NewRaw(`SELECT place, org_id, id, box FROM (
			SELECT *, row_number() OVER (PARTITION BY `+boxKey+`) AS n FROM (`+strings.Join(parts, " UNION ALL ")+`) x WHERE length(box) > 2
		) y WHERE n <= ?`, append(args, perKey)...).Scan(ctx, &out)
	return out, err
}

// BoxesAfter answers the boxes of a place that another key than the named one has sealed, in the order of their rows, in
// every organization.
func BoxesAfter(ctx context.Context, idb bun.IDB, place int, key string, org, id ID, limit int) ([]Box, error) {
	var out []Box
	err := idb.NewRaw(`SELECT ?0::int AS place, org_id, id, box FROM (SELECT org_id, id, ?1 AS box FROM ?2 WHERE ?1 IS NOT NULL) b
		WHERE (org_id, id) > (?3, ?4) AND `+boxOther+` ORDER BY org_id, id LIMIT ?6`,
		place, bun.Ident(Places[place].Column), bun.Ident(Places[place].Table), org, id, []byte(key), limit).Scan(ctx, &out)
	return out, err
}

// CountBoxes counts the boxes that another key than the named one has sealed, in every organization.
func CountBoxes(ctx context.Context, idb bun.IDB, key string) (n int, err error) {
	for _, p := range Places {
		var some int
		err := idb.NewRaw("SELECT count(*) FROM (SELECT ?1 AS box FROM ?2 WHERE ?1 IS NOT NULL) b WHERE "+boxOther,
			0, bun.Ident(p.Column), bun.Ident(p.Table), 0, 0, []byte(key)).Scan(ctx, &some)
		if err != nil {
			return 0, err
		}
		n += some
	}
	return n, nil
}

// ReplaceBox puts a box in the place of an old one, and answers whether that was still there.
func ReplaceBox(ctx context.Context, idb bun.IDB, old Box, box []byte) (bool, error) {
	p := Places[old.Place]
	res, err := idb.NewRaw("UPDATE ?0 SET ?1 = ?2 WHERE org_id = ?3 AND id = ?4 AND ?1 = ?5",
		bun.Ident(p.Table), bun.Ident(p.Column), box, old.OrgID, old.ID, old.Box).Exec(ctx)
	return affected(res) == 1, err
}
