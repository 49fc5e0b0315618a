package db

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// The feed's order. Rows become visible in the order of their commits, not of their ids, so a reader that followed ids
// would miss the row of a slow transaction. So whoever is woken gives the rows it sees their places, one at a time and
// without holes: a place that can be seen has all before it, and nothing comes in between later.

// numberAtOnce bounds one numbering, so that a backlog holds nobody up for long.
const numberAtOnce = 5000

// FeedFilter narrows the feed, by what never changes about a run. A zero field does not narrow.
type FeedFilter struct {
	Run, Flow, Link, Connection ID
	Source                      string
}

// Match tells whether a change passes the filter.
func (f FeedFilter) Match(c *Change) bool {
	same := func(want, id ID) bool { return want == ID{} || want == id }
	return same(f.Run, c.RunID) && same(f.Flow, c.FlowID) && same(f.Link, c.FlowLinkID) && same(f.Connection, c.ConnectionID) &&
		(f.Source == "" || f.Source == c.Source)
}

// Unnumbered tells whether changes wait for their place.
func Unnumbered(ctx context.Context, idb bun.IDB) (bool, error) {
	var some bool
	err := idb.NewRaw("SELECT EXISTS (SELECT FROM changes WHERE pos IS NULL)").Scan(ctx, &some)
	return some, err
}

// NumberChanges gives changes that are committed their place in the feed, and answers whether there may be more to
// number. The lock lets one at a time do so, until its transaction ends; what the one before numbered is seen because
// the numbering is a statement of its own, which needs READ COMMITTED. A run's changes stay in order: who writes one
// has seen the one before, so its id is higher.
func NumberChanges(ctx context.Context, tx Tx) (more bool, err error) {
	var isolation string
	// A process that is frozen while it holds the lock must not stop the feeds of all others.
	err = tx.NewRaw(`SELECT current_setting('transaction_isolation'), set_config('idle_in_transaction_session_timeout', '5s', true),
		pg_advisory_xact_lock(hashtext('changes'), 0)`).Scan(ctx, &isolation, new(string), new(string))
	if err != nil {
		return false, err
	}
	if isolation != "read committed" {
		return false, fmt.Errorf("numbering changes under %s would give a place twice", isolation)
	}
	res, err := tx.NewRaw(`WITH head AS (SELECT coalesce(max(pos), 0) AS pos FROM changes),
		u AS (SELECT org_id, id FROM changes WHERE pos IS NULL ORDER BY id LIMIT ?),
		n AS (SELECT org_id, id, (SELECT pos FROM head) + row_number() OVER (ORDER BY id) AS pos FROM u)
		UPDATE changes c SET pos = n.pos FROM n WHERE c.org_id = n.org_id AND c.id = n.id`, numberAtOnce).Exec(ctx)
	if err != nil {
		return false, err
	}
	return affected(res) == numberAtOnce, nil
}

// ChangesAfter reads the feed of all organizations on from a position, for the one reader that tells them apart.
func ChangesAfter(ctx context.Context, idb bun.IDB, pos int64, limit int) ([]Change, error) {
	var rows []Change
	err := idb.NewSelect().Model(&rows).Where("pos > ?", pos).OrderExpr("pos").Limit(int64(limit)).Scan(ctx)
	return rows, err
}

// ChangesOf reads an organization's changes after one position up to another, the latter included.
func ChangesOf(ctx context.Context, idb bun.IDB, org ID, f FeedFilter, after, upTo int64, limit int) ([]Change, error) {
	t := tableOf[Change]()
	c := &conditions{args: []any{org, after, upTo}}
	equal(c, "run_id", f.Run)
	equal(c, "flow_id", f.Flow)
	equal(c, "flow_link_id", f.Link)
	equal(c, "connection_id", f.Connection)
	equal(c, "source", f.Source)
	return rowsOf[Change](ctx, idb, fmt.Sprintf("%s WHERE org_id = $1 AND pos > $2 AND pos <= $3%s ORDER BY pos LIMIT %d", t.read, &c.text, limit), c.args...)
}

// FeedHead tells the first and the last position that are kept; zero and zero before the first change. A position p
// can be followed on from when p+1 is kept or still to come.
func FeedHead(ctx context.Context, idb bun.IDB) (oldest, newest int64, err error) {
	err = idb.NewRaw("SELECT coalesce((SELECT min(pos) FROM changes), 0), coalesce((SELECT max(pos) FROM changes), 0)").Scan(ctx, &oldest, &newest)
	return oldest, newest, err
}

// PruneChanges removes up to limit changes from the old end of the feed, as far as all were written before a time, and
// answers how many. What stays has no holes, and the newest stays always, since the next place is counted from it.
func PruneChanges(ctx context.Context, idb bun.IDB, before time.Time, limit int) (int64, error) {
	res, err := idb.NewRaw(`WITH old AS (SELECT pos, at FROM changes WHERE pos IS NOT NULL ORDER BY pos LIMIT ?1),
		keep AS (SELECT least((SELECT min(pos) FROM old WHERE at >= ?0), (SELECT max(pos) FROM changes)) AS pos)
		DELETE FROM changes WHERE pos IN (SELECT pos FROM old) AND pos < (SELECT pos FROM keep)`, before, limit).Exec(ctx)
	if err != nil {
		return 0, err
	}
	return int64(affected(res)), nil
}
