package db

import (
	"context"
	"database/sql"

	"github.com/uptrace/bun"
)

// The filters below narrow a list; their zero fields do not.

// ConnectionFilter narrows a list of connections.
type ConnectionFilter struct{ App, State string }

// FlowFilter narrows a list of flows.
type FlowFilter struct{ Kind, Direction string }

// FlowLinkFilter narrows a list of flow links.
type FlowLinkFilter struct {
	Flow       ID
	Connection ID // the trigger's or a step's
}

// EventFilter narrows a list of events.
type EventFilter struct{ Connection ID }

// RunFilter narrows a list of runs.
type RunFilter struct {
	Flow, Link, Connection, Event, Mapping ID
	State                                  string
}

// MappingFilter narrows a list of mappings.
type MappingFilter struct {
	Entity string
	Parent ID
}

// EffectFilter narrows a list of effects.
type EffectFilter struct {
	Run, Mapping, Connection, VendorAccount ID
	State                                   string
}

// AuditFilter narrows the audit log. Object is an id as callers have it.
type AuditFilter struct {
	Token         ID
	Field, Object string
}

// ConnectionsPage lists the connections that are there.
func ConnectionsPage(ctx context.Context, idb bun.IDB, org ID, f ConnectionFilter, w Window) ([]Connection, error) {
	return page[Connection](ctx, idb, org, w, func(q *conditions) {
		q.text.WriteString(" AND c.deleted_at IS NULL")
		equal(q, "c.app", f.App)
		equal(q, "c.state", f.State)
	})
}

// ConnectionsByApp lists for each app the connections that are there.
func ConnectionsByApp(ctx context.Context, idb bun.IDB, org ID, apps []string, w Window) (map[string][]Connection, error) {
	return pages[string, Connection](ctx, idb, org, "text", apps, w, func(q *bun.SelectQuery) {
		q.Where("c.deleted_at IS NULL AND c.app = p.key")
	})
}

// FlowsPage lists the flows that are there.
func FlowsPage(ctx context.Context, idb bun.IDB, org ID, f FlowFilter, w Window) ([]Flow, error) {
	return page[Flow](ctx, idb, org, w, func(q *conditions) {
		q.text.WriteString(" AND f.deleted_at IS NULL")
		equal(q, "f.kind", f.Kind)
		equal(q, "f.direction", f.Direction)
	})
}

// uses says which links use a connection, as two lookups: an OR over both would read every link.
const uses = `fl.id IN (SELECT l.id FROM flow_links l WHERE l.org_id = fl.org_id AND l.trigger_connection_id = ?0 AND l.deleted_at IS NULL
	UNION SELECT s.flow_link_id FROM flow_link_steps s WHERE s.org_id = fl.org_id AND s.connection_id = ?0)`

// FlowLinksPage lists the flow links that are there.
func FlowLinksPage(ctx context.Context, idb bun.IDB, org ID, f FlowLinkFilter, w Window) ([]FlowLink, error) {
	return page[FlowLink](ctx, idb, org, w, func(q *conditions) {
		q.text.WriteString(" AND fl.deleted_at IS NULL")
		equal(q, "fl.flow_id", f.Flow)
		if f.Connection != (ID{}) {
			q.and(uses, f.Connection)
		}
	})
}

// FlowLinksByFlow lists for each flow the links that are there.
func FlowLinksByFlow(ctx context.Context, idb bun.IDB, org ID, flows []ID, w Window) (map[ID][]FlowLink, error) {
	return pages[ID, FlowLink](ctx, idb, org, "uuid", flows, w, func(q *bun.SelectQuery) {
		q.Where("fl.deleted_at IS NULL AND fl.flow_id = p.key")
	})
}

// FlowLinksByConnection lists for each connection the links that use it.
func FlowLinksByConnection(ctx context.Context, idb bun.IDB, org ID, connections []ID, w Window) (map[ID][]FlowLink, error) {
	return pages[ID, FlowLink](ctx, idb, org, "uuid", connections, w, func(q *bun.SelectQuery) {
		q.Where("fl.deleted_at IS NULL").Where(uses, bun.Safe("p.key"))
	})
}

// EventsPage lists events.
func EventsPage(ctx context.Context, idb bun.IDB, org ID, f EventFilter, w Window) ([]Event, error) {
	return page[Event](ctx, idb, org, w, func(q *conditions) { equal(q, "e.connection_id", f.Connection) })
}

// EventsByConnection lists for each connection what it received.
func EventsByConnection(ctx context.Context, idb bun.IDB, org ID, connections []ID, w Window) (map[ID][]Event, error) {
	return pages[ID, Event](ctx, idb, org, "uuid", connections, w, func(q *bun.SelectQuery) { q.Where("e.connection_id = p.key") })
}

// RunsPage lists runs.
func RunsPage(ctx context.Context, idb bun.IDB, org ID, f RunFilter, w Window) ([]Run, error) {
	return page[Run](ctx, idb, org, w, func(q *conditions) {
		equal(q, "r.flow_id", f.Flow)
		equal(q, "r.flow_link_id", f.Link)
		equal(q, "r.connection_id", f.Connection)
		equal(q, "r.event_id", f.Event)
		equal(q, "r.mapping_id", f.Mapping)
		equal(q, "r.state", f.State)
	})
}

// RunsByLink lists for each flow link its runs.
func RunsByLink(ctx context.Context, idb bun.IDB, org ID, links []ID, w Window) (map[ID][]Run, error) {
	return pages[ID, Run](ctx, idb, org, "uuid", links, w, func(q *bun.SelectQuery) { q.Where("r.flow_link_id = p.key") })
}

// ItemsByRun lists for each run the records that were not dealt with: all, or those in one state.
func ItemsByRun(state string) func(ctx context.Context, idb bun.IDB, org ID, runs []ID, w Window) (map[ID][]RunItem, error) {
	return func(ctx context.Context, idb bun.IDB, org ID, runs []ID, w Window) (map[ID][]RunItem, error) {
		return pages[ID, RunItem](ctx, idb, org, "uuid", runs, w, func(q *bun.SelectQuery) {
			if q.Where("ri.run_id = p.key"); state != "" {
				q.Where("ri.state = ?", state)
			}
		})
	}
}

// MappingsPage lists mappings.
func MappingsPage(ctx context.Context, idb bun.IDB, org ID, f MappingFilter, w Window) ([]Mapping, error) {
	return page[Mapping](ctx, idb, org, w, func(q *conditions) {
		equal(q, "m.entity", f.Entity)
		equal(q, "m.parent_id", f.Parent)
	})
}

// EffectsPage lists effects.
func EffectsPage(ctx context.Context, idb bun.IDB, org ID, f EffectFilter, w Window) ([]Effect, error) {
	return page[Effect](ctx, idb, org, w, func(q *conditions) {
		equal(q, "ef.run_id", f.Run)
		equal(q, "ef.mapping_id", f.Mapping)
		equal(q, "ef.connection_id", f.Connection)
		equal(q, "ef.vendor_account_id", f.VendorAccount)
		equal(q, "ef.state", f.State)
	})
}

// AuditPage lists what was done.
func AuditPage(ctx context.Context, idb bun.IDB, org ID, f AuditFilter, w Window) ([]Audit, error) {
	return page[Audit](ctx, idb, org, w, func(q *conditions) {
		equal(q, "al.token_id", f.Token)
		equal(q, "al.field", f.Field)
		equal(q, "al.object_id", f.Object)
	})
}

// TokensPage lists tokens, revoked and expired ones too.
func TokensPage(ctx context.Context, idb bun.IDB, org ID, w Window) ([]Token, error) {
	return page[Token](ctx, idb, org, w, nil)
}

// Snapshot lets read see rows as of one moment, and tells it the feed's position then: every change up to it shows in
// what is read, and every later one is still to come.
func (d *DB) Snapshot(ctx context.Context, read func(ctx context.Context, tx Tx, pos int64) error) error {
	return d.InTxOpts(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, func(ctx context.Context, tx Tx) error {
		var pos int64
		if err := tx.NewRaw("SELECT coalesce(max(pos), 0) FROM changes").Scan(ctx, &pos); err != nil {
			return err
		}
		return read(ctx, tx, pos)
	})
}
