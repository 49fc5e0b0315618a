package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"
)

// Flow is a definition's home: its versions are immutable, its newest one counts.
type Flow struct {
	bun.BaseModel `bun:"flows,alias:f"`

	OrgID       ID `bun:",pk"`
	ID          ID `bun:",pk"`
	Key         string
	Kind        string
	Direction   string
	Name        string
	Description string
	CreatedAt   time.Time `bun:",nullzero,default:now()"`

	Draft         json.RawMessage `bun:",nullzero"` // none of a shipped flow
	DraftRevision int64           // grows with each change of the draft
	DraftedAt     time.Time       `bun:",nullzero"`
	DeletedAt     time.Time       `bun:",nullzero"`
}

// FlowVersion is one published definition. It never changes.
type FlowVersion struct {
	bun.BaseModel `bun:"flow_versions,alias:fv"`

	OrgID      ID `bun:",pk"`
	ID         ID `bun:",pk"`
	FlowID     ID
	Number     int
	Definition json.RawMessage
	Hash       []byte
	CreatedAt  time.Time `bun:",nullzero,default:now()"`
}

// FlowLink binds a flow to connections.
type FlowLink struct {
	bun.BaseModel `bun:"flow_links,alias:fl"`

	OrgID               ID `bun:",pk"`
	ID                  ID `bun:",pk"`
	FlowID              ID
	Name                string
	TriggerConnectionID ID
	Trigger             string
	Params              json.RawMessage
	Enabled             bool
	EnabledAt           time.Time `bun:",nullzero"`
	LastEventAt         time.Time `bun:",nullzero"`
	LastSuccessAt       time.Time `bun:",nullzero"`
	FailingSince        time.Time `bun:",nullzero"`
	CreatedAt           time.Time `bun:",nullzero,default:now()"`
	UpdatedAt           time.Time `bun:",nullzero,default:now()"`
	DeletedAt           time.Time `bun:",nullzero"`
	NextRunAt           time.Time `bun:",nullzero"` // by its schedule
	ScheduleDueAt       time.Time `bun:",nullzero"` // when the sweeper looks at that
	PinnedVersionID     ID        `bun:",nullzero"` // none: it follows the newest
	Filter              string    // an expression that an event must satisfy; empty: any does
	Redact              []string  `bun:"type:text[],array"` // fields that the history of runs hides
}

// FlowLinkStep says which connection a step uses.
type FlowLinkStep struct {
	bun.BaseModel `bun:"flow_link_steps,alias:fls"`

	OrgID        ID     `bun:",pk"`
	FlowLinkID   ID     `bun:",pk"`
	Step         string `bun:",pk"`
	ConnectionID ID
}

// GetFlow reads a flow; a deleted one is not found.
func GetFlow(ctx context.Context, idb bun.IDB, org, id ID) (Flow, error) {
	var f Flow
	err := idb.NewSelect().Model(&f).Where("org_id = ? AND id = ? AND deleted_at IS NULL", org, id).Scan(ctx)
	return f, found(err)
}

// NewestVersion reads a flow's newest published version.
func NewestVersion(ctx context.Context, idb bun.IDB, org, flow ID) (FlowVersion, error) {
	var v FlowVersion
	err := idb.NewSelect().Model(&v).Where("org_id = ? AND flow_id = ?", org, flow).OrderExpr("number DESC").Limit(1).Scan(ctx)
	return v, found(err)
}

// GetFlowLink reads a flow link; a deleted one is not found.
func GetFlowLink(ctx context.Context, idb bun.IDB, org, id ID) (FlowLink, error) {
	var l FlowLink
	err := idb.NewSelect().Model(&l).Where("org_id = ? AND id = ? AND deleted_at IS NULL", org, id).Scan(ctx)
	return l, found(err)
}

// FlowLinkSteps are the connections of a link's steps.
func FlowLinkSteps(ctx context.Context, idb bun.IDB, org, link ID) ([]FlowLinkStep, error) {
	var steps []FlowLinkStep
	err := idb.NewSelect().Model(&steps).Where("org_id = ? AND flow_link_id = ?", org, link).OrderExpr("step").Scan(ctx)
	return steps, err
}

// GetFlowVersion reads one published version.
func GetFlowVersion(ctx context.Context, idb bun.IDB, org, id ID) (FlowVersion, error) {
	var v FlowVersion
	err := idb.NewSelect().Model(&v).Where("org_id = ? AND id = ?", org, id).Scan(ctx)
	return v, found(err)
}

// BoundLink is a link with what its runs need.
type BoundLink struct {
	FlowLink
	VersionID   ID            // the flow's newest, or the one that it is pinned to
	Connections map[string]ID // by step
}

// Listener is what links listen to: a trigger of a connection, or one link alone.
type Listener struct {
	OrgID, ConnectionID ID
	Trigger             string
	FlowLinkID          ID `bun:",nullzero"`
}

var (
	givenListeners = givenOf[Listener]("org_id", "connection_id", "trigger", "flow_link_id")
	enabledLinks   = `SELECT x.n AS place, l.*, v.id AS version_id,
			(SELECT jsonb_object_agg(s.step, s.connection_id) FROM flow_link_steps s WHERE s.org_id = l.org_id AND s.flow_link_id = l.id) AS connections
		FROM ` + givenListeners.as("x", 1) + ` JOIN flow_links l ON l.org_id = x.org_id AND l.trigger_connection_id = x.connection_id AND l.trigger = x.trigger AND l.deleted_at IS NULL
			AND CASE WHEN x.flow_link_id IS NULL THEN l.enabled ELSE l.id = x.flow_link_id END
		CROSS JOIN LATERAL (SELECT coalesce(l.pinned_version_id, (SELECT id FROM flow_versions v WHERE v.org_id = l.org_id AND v.flow_id = l.flow_id ORDER BY number DESC LIMIT 1)) AS id) v
		ORDER BY l.id`
)

// EnabledLinks are the links that listen, in a fixed order. Give it each listener once.
func EnabledLinks(ctx context.Context, tx Tx, listeners ...Listener) (map[Listener][]BoundLink, error) {
	type row struct {
		BoundLink
		Place int
	}
	rows, err := manyIn[row](ctx, tx, enabledLinks, givenListeners.arrays(listeners)...)
	out := make(map[Listener][]BoundLink, len(listeners))
	for _, r := range rows {
		l := listeners[r.Place-1]
		out[l] = append(out[l], r.BoundLink)
	}
	return out, err
}

// FlowsOn are the keys of the flows that an enabled link starts by something of a vendor account.
func FlowsOn(ctx context.Context, idb bun.IDB, org, account ID) ([]string, error) {
	var keys []string
	err := idb.NewRaw(`SELECT DISTINCT f.key FROM connections c
		JOIN flow_links l ON l.org_id = c.org_id AND l.trigger_connection_id = c.id AND l.enabled AND l.deleted_at IS NULL
		JOIN flows f ON f.org_id = l.org_id AND f.id = l.flow_id
		WHERE c.org_id = ? AND c.vendor_account_id = ? ORDER BY 1`, org, account).Scan(ctx, &keys)
	return keys, err
}

// LinkSawEvent notes on a link that it lives, unless it was noted within ten seconds, or somebody else is about to.
func LinkSawEvent(ctx context.Context, tx Tx, l FlowLink) error {
	if time.Since(l.LastEventAt) < 10*time.Second {
		return nil
	}
	return run(ctx, tx, `UPDATE flow_links SET last_event_at = now() WHERE (org_id, id) IN (
		SELECT org_id, id FROM flow_links WHERE org_id = $1 AND id = $2 FOR NO KEY UPDATE SKIP LOCKED)`, l.OrgID, l.ID)
}

// GetFlowLinkAny reads a flow link, deleted or not: old runs go on with it.
func GetFlowLinkAny(ctx context.Context, idb bun.IDB, org, id ID) (FlowLink, error) {
	var l FlowLink
	err := idb.NewSelect().Model(&l).Where("org_id = ? AND id = ?", org, id).Scan(ctx)
	return l, found(err)
}

// LinkRan says how a run of a link ended.
type LinkRan struct {
	OrgID, FlowLinkID ID
	Failed            bool
}

var (
	givenRan     = givenOf[LinkRan]("org_id", "flow_link_id", "failed")
	linkOutcomes = `WITH due AS (
			SELECT l.org_id, l.id, x.failed FROM (SELECT org_id, flow_link_id, bool_or(failed) AS failed FROM ` + givenRan.as("x", 1) + ` GROUP BY 1, 2) x
			JOIN flow_links l ON l.org_id = x.org_id AND l.id = x.flow_link_id
			WHERE CASE WHEN x.failed THEN l.failing_since IS NULL
				ELSE l.failing_since IS NOT NULL OR l.last_success_at IS NULL OR l.last_success_at < now() - interval '10 seconds' END
			ORDER BY l.org_id, l.id FOR NO KEY UPDATE OF l)
		UPDATE flow_links l SET last_success_at = CASE WHEN d.failed THEN last_success_at ELSE now() END, failing_since = CASE WHEN d.failed THEN now() END
		FROM due d WHERE l.org_id = d.org_id AND l.id = d.id`
)

// LinkOutcomes notes links' health after runs of them have ended. It writes only what changes, to ten seconds, so that the
// runs of a busy link do not queue for its row.
func LinkOutcomes(ctx context.Context, tx Tx, ran ...LinkRan) error {
	return run(ctx, tx, linkOutcomes, givenRan.arrays(ran)...)
}

// AddFlowLink inserts a link with its steps' connections.
func AddFlowLink(ctx context.Context, idb bun.IDB, l *FlowLink, steps []FlowLinkStep) error {
	if _, err := idb.NewInsert().Model(l).Returning("created_at, updated_at").Exec(ctx); err != nil {
		return err
	}
	_, err := idb.NewInsert().Model(&steps).Exec(ctx)
	return err
}

// SwitchLink enables or disables a link. Enabling one that is enabled changes nothing.
func SwitchLink(ctx context.Context, idb bun.IDB, l *FlowLink, on bool) error {
	return found(idb.NewRaw(`UPDATE flow_links SET enabled = ?0, updated_at = now(),
			enabled_at = CASE WHEN NOT ?0 THEN NULL WHEN enabled THEN enabled_at ELSE now() END,
			next_run_at = CASE WHEN ?0 THEN next_run_at END, schedule_due_at = CASE WHEN ?0 THEN schedule_due_at END
		WHERE org_id = ?1 AND id = ?2 AND deleted_at IS NULL RETURNING *`, on, l.OrgID, l.ID).Scan(ctx, l))
}

// DropFlowLink hides a link.
func DropFlowLink(ctx context.Context, idb bun.IDB, org, id ID) error {
	_, err := idb.NewUpdate().Model((*FlowLink)(nil)).Set("deleted_at = now(), enabled = false, enabled_at = NULL, next_run_at = NULL, schedule_due_at = NULL").
		Where("org_id = ? AND id = ? AND deleted_at IS NULL", org, id).Exec(ctx)
	return err
}

// ShipFlow makes sure that a shipped flow is there with this definition as its newest version.
func ShipFlow(ctx context.Context, idb bun.IDB, f Flow, definition json.RawMessage, hash []byte) error {
	f.ID = NewID()
	if err := idb.NewInsert().Model(&f).On("CONFLICT (org_id, key) DO UPDATE").
		Set("name = EXCLUDED.name, description = EXCLUDED.description").Returning("id").Scan(ctx); err != nil {
		return err
	}
	_, err := idb.NewRaw(`INSERT INTO flow_versions (org_id, id, flow_id, number, definition, hash)
		SELECT ?0, ?1, ?2, coalesce(max(number), 0) + 1, ?3, ?4 FROM flow_versions WHERE org_id = ?0 AND flow_id = ?2
		HAVING (array_agg(hash ORDER BY number DESC))[1] IS DISTINCT FROM ?4`,
		f.OrgID, NewID(), f.ID, definition, hash).Exec(ctx)
	return err
}
