package db

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"
)

// Kinds of what waits for a person.
const (
	AttentionConflict   = "CONFLICT"           // an effect
	AttentionPerson     = "WAITING_RUN"        // a run that waits for somebody, of no effect in CONFLICT
	AttentionConnection = "CONNECTION"         // a connection that does not work
	AttentionWebhook    = "WEBHOOK"            // a connection that links listen to, without a webhook
	AttentionHeld       = "HELD_EVENT"         // an event
	AttentionDuplicate  = "POSSIBLE_DUPLICATE" // a record of a run over many
	AttentionFailing    = "FAILING_LINK"       // a flow link
)

// Attention is one thing that waits for a person.
type Attention struct {
	Kind   string
	ID     ID // of what it is about: see the kinds
	RunID  ID // of a record of a run over many
	At     time.Time
	Reason string
	Record string // likewise
}

// waiting are the parts of the list, by kind; grouped is what follows the rows' conditions. $1 is the organization, $2 the apps that have webhooks.
var waiting = []struct{ kind, rows, id, grouped string }{
	{AttentionConflict, `SELECT x.id, NULL::uuid AS run_id, x.updated_at AS at, x.error AS reason, '' AS record FROM effects x
		WHERE x.org_id = $1 AND x.state = 'CONFLICT' AND x.run_id IS NOT NULL`, "x.id", ""},
	{AttentionPerson, `SELECT x.id, NULL::uuid AS run_id, coalesce(x.started_at, x.created_at) AS at, x.error AS reason, '' AS record FROM runs x
		WHERE x.org_id = $1 AND x.waiting_reason = 'PERSON' AND NOT EXISTS (SELECT FROM effects e WHERE e.org_id = x.org_id AND e.run_id = x.id AND e.state = 'CONFLICT')`, "x.id", ""},
	{AttentionConnection, `SELECT x.id, NULL::uuid AS run_id, x.updated_at AS at, x.state_reason AS reason, '' AS record FROM connections x
		WHERE x.org_id = $1 AND x.deleted_at IS NULL AND x.state IN ('NEEDS_REAUTH', 'ERROR')`, "x.id", ""},
	{AttentionWebhook, `SELECT x.id, NULL::uuid AS run_id, x.updated_at AS at, x.webhook_error AS reason, '' AS record FROM connections x
		WHERE x.org_id = $1 AND x.deleted_at IS NULL AND x.state = 'ACTIVE' AND x.webhook_state = 'MISSING' AND x.app = ANY($2)
			AND EXISTS (SELECT FROM flow_links l WHERE l.org_id = x.org_id AND l.trigger_connection_id = x.id AND l.enabled AND l.deleted_at IS NULL)`, "x.id", ""},
	{AttentionHeld, `SELECT x.event_id AS id, NULL::uuid AS run_id, min(x.at) AS at, min(x.reason) AS reason, '' AS record FROM event_outcomes x
		JOIN flow_links l ON l.org_id = x.org_id AND l.id = x.flow_link_id AND l.enabled AND l.deleted_at IS NULL
		WHERE x.org_id = $1 AND x.outcome = 'HELD'`, "x.event_id", " GROUP BY x.event_id"},
	// One that is linked by now, or that a run has made since, is no question any more.
	{AttentionDuplicate, `SELECT x.id, x.run_id, x.updated_at AS at, x.message AS reason, x.key AS record FROM run_items x
		WHERE x.org_id = $1 AND x.state = 'POSSIBLE_DUPLICATE' AND NOT EXISTS (
			SELECT FROM steps s JOIN mapping_slots a ON a.org_id = s.org_id AND a.vendor_account_id = s.vendor_account_id
				JOIN mapping_slots b ON b.org_id = a.org_id AND b.mapping_id = a.mapping_id AND b.vendor_account_id <> a.vendor_account_id AND b.external_id IS NOT NULL
			WHERE s.org_id = x.org_id AND s.run_id = x.run_id AND s.key = x.step AND a.entity = x.entity AND a.external_id = x.key)`, "x.id", ""},
	{AttentionFailing, `SELECT x.id, NULL::uuid AS run_id, x.failing_since AS at, '' AS reason, '' AS record FROM flow_links x
		WHERE x.org_id = $1 AND x.failing_since IS NOT NULL AND x.enabled AND x.deleted_at IS NULL`, "x.id", ""},
}

// AttentionPage lists what waits for a person: all of it, or one kind. apps are those that have webhooks.
func AttentionPage(ctx context.Context, idb bun.IDB, org ID, kind string, apps []string, w Window) ([]Attention, error) {
	var parts []string
	args := []any{org, apps}
	bound := ""
	for _, b := range []struct {
		op string
		id ID
	}{{"<", w.After}, {">", w.Before}} {
		if b.id != (ID{}) {
			args = append(args, b.id)
			bound += fmt.Sprintf(" AND %%[1]s %s $%d", b.op, len(args))
		}
	}
	for _, p := range waiting {
		if kind != "" && kind != p.kind {
			continue
		}
		parts = append(parts, fmt.Sprintf("SELECT '%s' AS kind, p.* FROM (%s%s%s ORDER BY %s %s LIMIT %d) p",
			p.kind, p.rows, strings.ReplaceAll(bound, "%[1]s", p.id), p.grouped, p.id, w.order(), w.Limit))
	}
	return rowsOf[Attention](ctx, idb, fmt.Sprintf("SELECT * FROM (%s) all_of_it WHERE $2::text[] IS NOT NULL ORDER BY id %s LIMIT %d", strings.Join(parts, " UNION ALL "), w.order(), w.Limit), args...)
}

// CountedAttention is how far CountAttention counts each kind.
const CountedAttention = 10_000

// CountAttention counts what waits for a person, by kind, as far as CountedAttention.
func CountAttention(ctx context.Context, idb bun.IDB, org ID, apps []string) (map[string]int, error) {
	parts := make([]string, len(waiting))
	for i, p := range waiting {
		parts[i] = fmt.Sprintf("SELECT '%s' AS kind, count(*) AS n FROM (%s%s LIMIT %d) p", p.kind, p.rows, p.grouped, CountedAttention)
	}
	type count struct {
		Kind string
		N    int
	}
	rows, err := rowsOf[count](ctx, idb, strings.Join(parts, " UNION ALL "), org, apps)
	out := make(map[string]int, len(rows))
	for _, r := range rows {
		out[r.Kind] = r.N
	}
	return out, err
}

// SlotsByID are the filled slots that hold records of an id, oldest first, some at most. What is empty does not narrow.
func SlotsByID(ctx context.Context, idb bun.IDB, org ID, id, app, entity string, account ID, limit int) ([]Slot, error) {
	return rowsOf[Slot](ctx, idb, `SELECT ms.* FROM mapping_slots ms JOIN vendor_accounts va ON va.org_id = ms.org_id AND va.id = ms.vendor_account_id
		WHERE ms.org_id = $1 AND ms.external_id = $2 AND ($3 = '' OR va.app = $3) AND ($4 = '' OR ms.entity = $4) AND ($5::uuid IS NULL OR ms.vendor_account_id = $5)
		ORDER BY ms.claimed_at, ms.mapping_id LIMIT $6`, org, id, app, entity, orNull(account), limit)
}

// AuditsAbout are the entries of the audit log about objects, newest first, some at most.
func AuditsAbout(ctx context.Context, idb bun.IDB, org ID, objects []string, limit int) ([]Audit, error) {
	objects = slices.DeleteFunc(slices.Clone(objects), func(id string) bool { return id == "" })
	if len(objects) == 0 {
		return nil, nil
	}
	t := tableOf[Audit]()
	return rowsOf[Audit](ctx, idb, t.read+" WHERE al.org_id = $1 AND al.object_id = ANY($2) ORDER BY al.id DESC LIMIT $3", org, objects, limit)
}
