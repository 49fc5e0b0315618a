package db

import (
	"context"

	"github.com/uptrace/bun"
)

// AddFlow inserts a flow with a draft and no version yet.
func AddFlow(ctx context.Context, tx Tx, f *Flow) error {
	_, err := tx.NewInsert().Model(f).Value("drafted_at", "now()").Returning("created_at, drafted_at").Exec(ctx)
	return err
}

// LockFlow reads a flow for the caller alone, until its transaction ends. One that was deleted is not found.
func LockFlow(ctx context.Context, tx Tx, org, id ID) (Flow, error) {
	var f Flow
	err := tx.NewSelect().Model(&f).Where("org_id = ? AND id = ? AND deleted_at IS NULL", org, id).For("UPDATE").Scan(ctx)
	return f, found(err)
}

// SaveFlow writes what a flow is called and its draft. Call it with the flow locked.
func SaveFlow(ctx context.Context, tx Tx, f *Flow) error {
	return found(tx.NewUpdate().Model(f).Column("name", "description", "direction", "draft", "draft_revision").Set("drafted_at = now()").
		WherePK().Returning("drafted_at").Scan(ctx))
}

// AddVersion publishes a definition as a flow's next version. Call it with the flow locked.
func AddVersion(ctx context.Context, tx Tx, v *FlowVersion) error {
	return tx.NewRaw(`INSERT INTO flow_versions (org_id, id, flow_id, number, definition, hash)
		SELECT ?0, ?1, ?2, coalesce(max(number), 0) + 1, ?3, ?4 FROM flow_versions WHERE org_id = ?0 AND flow_id = ?2 RETURNING number, created_at`,
		v.OrgID, v.ID, v.FlowID, v.Definition, v.Hash).Scan(ctx, v)
}

// VersionNumber reads a flow's version by its number.
func VersionNumber(ctx context.Context, idb bun.IDB, org, flow ID, number int) (FlowVersion, error) {
	var v FlowVersion
	err := idb.NewSelect().Model(&v).Where("org_id = ? AND flow_id = ? AND number = ?", org, flow, number).Scan(ctx)
	return v, found(err)
}

// FlowVersionsOf reads versions by their ids.
func FlowVersionsOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]FlowVersion, error) {
	return byID(ctx, idb, org, ids, func(v *FlowVersion) ID { return v.ID })
}

// VersionsByFlow lists for each flow its versions.
func VersionsByFlow(ctx context.Context, idb bun.IDB, org ID, flows []ID, w Window) (map[ID][]FlowVersion, error) {
	return pages[ID, FlowVersion](ctx, idb, org, "uuid", flows, w, func(q *bun.SelectQuery) { q.Where("fv.flow_id = p.key") })
}

// DropFlow hides a flow, and frees its key.
func DropFlow(ctx context.Context, tx Tx, org, id ID) error {
	return run(ctx, tx, "UPDATE flows SET deleted_at = now(), key = key || '.deleted.' || id WHERE org_id = $1 AND id = $2 AND deleted_at IS NULL", org, id)
}

// KeyTaken tells whether a flow of the organization has a key.
func KeyTaken(ctx context.Context, idb bun.IDB, org ID, key string) (bool, error) {
	return idb.NewSelect().Model((*Flow)(nil)).Where("org_id = ? AND key = ?", org, key).Exists(ctx)
}

// LinksOf are a flow's links that are there, with the connections of their steps.
func LinksOf(ctx context.Context, idb bun.IDB, org, flow ID) ([]BoundLink, error) {
	return rowsOf[BoundLink](ctx, idb, `SELECT l.*, (SELECT jsonb_object_agg(s.step, s.connection_id) FROM flow_link_steps s WHERE s.org_id = l.org_id AND s.flow_link_id = l.id) AS connections
		FROM flow_links l WHERE l.org_id = $1 AND l.flow_id = $2 AND l.deleted_at IS NULL ORDER BY l.id`, org, flow)
}

// PinLink keeps a link with a version of its flow; the zero ID lets it follow the newest.
func PinLink(ctx context.Context, tx Tx, org, link, version ID) error {
	return run(ctx, tx, "UPDATE flow_links SET pinned_version_id = nullif($3::uuid, '00000000-0000-0000-0000-000000000000'::uuid), updated_at = now() WHERE org_id = $1 AND id = $2", org, link, version)
}

// LinkedFlow is a flow that has links, with the version that they run.
type LinkedFlow struct {
	ID, VersionID ID
	Key, Name     string
}

// LinkedFlows are the flows of an organization that have links, each with the versions that those run.
func LinkedFlows(ctx context.Context, idb bun.IDB, org ID) ([]LinkedFlow, error) {
	return rowsOf[LinkedFlow](ctx, idb, `SELECT DISTINCT f.id, f.key, f.name, coalesce(l.pinned_version_id, v.id) AS version_id
		FROM flow_links l JOIN flows f ON f.org_id = l.org_id AND f.id = l.flow_id
		CROSS JOIN LATERAL (SELECT id FROM flow_versions v WHERE v.org_id = l.org_id AND v.flow_id = l.flow_id ORDER BY number DESC LIMIT 1) v
		WHERE l.org_id = $1 AND l.deleted_at IS NULL ORDER BY f.key, 4`, org)
}

// LinkVersion reads the version of its flow that a link runs.
func LinkVersion(ctx context.Context, idb bun.IDB, l FlowLink) (FlowVersion, error) {
	if l.PinnedVersionID != (ID{}) {
		return GetFlowVersion(ctx, idb, l.OrgID, l.PinnedVersionID)
	}
	return NewestVersion(ctx, idb, l.OrgID, l.FlowID)
}
