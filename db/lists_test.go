package db_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tieline/db"
	"tieline/db/dbtest"
)

// spoken keeps the statements that are sent, as they are sent.
type spoken struct {
	mu   sync.Mutex
	sent []statement
}

type statement struct {
	sql  string
	args []any
}

func (s *spoken) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, statement{q.SQL, q.Args})
	return ctx
}
func (*spoken) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (s *spoken) take() []statement {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.sent
	s.sent = nil
	return out
}

// crowded is a database with many rows in two organizations. Rows point to what is not there: plans ask for numbers.
func crowded(t *testing.T) (*db.DB, *spoken, db.ID) {
	t.Helper()
	said := &spoken{}
	d, err := db.Open(t.Context(), dbtest.URL(t), db.MaxConns(2), func(c *pgxpool.Config) { c.ConnConfig.Tracer = said })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	orgs := []db.ID{db.NewID(), db.NewID()}
	fill := []string{"SET session_replication_role = replica"}
	for _, org := range orgs {
		row := func(table, columns, values string, n int) {
			fill = append(fill, fmt.Sprintf("INSERT INTO %s (org_id, %s) SELECT '%s', %s FROM generate_series(1, %d) n", table, columns, org, values, n))
		}
		// one(k) is the id of the k-th of a kind, the same in every table.
		one := func(kind int, k string) string { return fmt.Sprintf("md5('%s/%d/' || (%s))::uuid", org, kind, k) }
		row("connections", "id, app, name, vendor_account_id, state, webhook_token_hash, webhook_token, webhook_state",
			one(1, "n")+", 'app' || n % 20, 'c' || n, gen_random_uuid(), 'ACTIVE', decode(md5('"+org.String()+"' || n), 'hex'), '', 'MANUAL'", 2000)
		row("flows", "id, key, kind, direction, name", one(2, "n")+", 'k' || n, 'CUSTOM', 'INBOUND', 'f' || n", 2000)
		row("flow_versions", "id, flow_id, number, definition, hash", "gen_random_uuid(), "+one(2, "n % 2000 + 1")+", n / 2000, '{}', ''", 6000)
		row("flow_links", "id, flow_id, name, trigger_connection_id, trigger", one(3, "n")+", "+one(2, "n % 200")+", 'l' || n, "+one(1, "n % 200")+", 't'", 4000)
		row("flow_link_steps", "flow_link_id, step, connection_id", one(3, "n")+", 's', "+one(1, "n % 300"), 4000)
		row("events", "id, connection_id, trigger, dedupe_key, source, vendor_at", one(4, "n")+", "+one(1, "n % 50")+", 't', 'd' || n, 'WEBHOOK', now()", 20000)
		row("event_outcomes", "event_id, flow_link_id, outcome", one(4, "n")+", "+one(3, "n % 100")+", 'RUN'", 20000)
		row("mappings", "id, entity, parent_id", one(5, "n")+", 'e' || n % 20, CASE WHEN n % 3 = 0 THEN "+one(5, "n % 300")+" END", 20000)
		row("mapping_slots", "mapping_id, vendor_account_id, entity, external_id, effect_id", one(5, "n")+", "+one(7, "n % 20")+", 'e', 'x' || n, "+one(8, "n"), 20000)
		row("replays", "id, filter, matched, finished_at", "gen_random_uuid(), '{}', 1, now()", 2000)
		row("vendor_accounts", "id, app, external_id, mode", one(7, "n")+", 'app' || n % 20, 'a' || n, 'test'", 500)
		row("runs", "id, flow_id, flow_version_id, flow_link_id, connection_id, event_id, event_at, source, business_key, lane, entity, record_id, vendor_at, mapping_id, state, ended_at",
			one(6, "n")+", "+one(2, "n % 50")+", gen_random_uuid(), "+one(3, "n % 100")+", "+one(1, "n % 50")+", "+one(4, "n")+
				", now(), 'WEBHOOK', 'b' || n, 'l', 'e', 'r', now(), "+one(5, "n % 500")+", CASE WHEN n % 20 = 0 THEN 'FAILED' ELSE 'SUCCEEDED' END, now()", 20000)
		row("steps", "run_id, key, position, app, action, connection_id, vendor_account_id", one(6, "n")+", 's', 0, 'a', 'a', "+one(1, "n % 50")+", "+one(7, "n % 50"), 20000)
		row("effects", "id, vendor_account_id, connection_id, run_id, mapping_id, kind, key, state, entity",
			one(8, "n")+", "+one(7, "n % 50")+", "+one(1, "n % 50")+", "+one(6, "n")+", "+one(5, "n % 500")+", 'SET', 'k' || n, CASE WHEN n % 100 = 0 THEN 'CONFLICT' ELSE 'CONFIRMED' END, 'e'", 20000)
		row("attempts", "id, run_id, step, effect_id, method, path, status, at, took_us", "gen_random_uuid(), "+one(6, "n")+", 's', "+one(8, "n")+", 'GET', '/', 200, now(), 1", 20000)
		row("run_items", "id, run_id, step, entity, key, state", "gen_random_uuid(), "+one(6, "n % 20 + 1")+", 's', 'e', 'k' || n, CASE WHEN n % 50 = 0 THEN 'FAILED' WHEN n % 7 = 0 THEN 'POSSIBLE_DUPLICATE' ELSE 'PENDING' END", 20000)
		row("api_tokens", "id, name, hash, hint, scopes", "gen_random_uuid(), 't', decode(md5('"+org.String()+"t' || n), 'hex'), '', '{READ}'", 5000)
		row("audit_log", "id, token_id, actor, field, object_id, outcome", "gen_random_uuid(), "+one(9, "n % 50")+", 'a', 'field' || n % 30, CASE WHEN n % 3 > 0 THEN 'object' || n % 500 END, 'DONE'", 20000)
		row("event_bodies", "event_id, at, body", one(4, "n")+", now(), ''", 20000)
		row("changes", "pos, run_id, flow_id, flow_link_id, connection_id, source, version, state", fmt.Sprintf("%d + n, ", slices.Index(orgs, org)*20000)+one(6, "n")+", "+one(2, "1")+", "+one(3, "1")+", "+one(1, "1")+", 'WEBHOOK', 1, 'QUEUED'", 20000)
	}
	conn, err := d.Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, sql := range append(fill, "SET session_replication_role = DEFAULT", "ANALYZE") {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%v in %s", err, sql)
		}
	}
	said.take()
	return d, said, orgs[0]
}

// TestPlans: every list and batch finds its rows by an index, and a list has its order from it.
func TestPlans(t *testing.T) {
	t.Parallel()
	d, said, org := crowded(t)
	ctx := t.Context()
	id := func(table, column string) db.ID {
		var out db.ID
		if err := d.NewRaw("SELECT "+column+" FROM "+table+" WHERE org_id = ? AND "+column+" IS NOT NULL LIMIT 1", org).Scan(ctx, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	flow, link, conn, event := id("runs", "flow_id"), id("runs", "flow_link_id"), id("runs", "connection_id"), id("runs", "event_id")
	mapping, parent, run, effect, account := id("runs", "mapping_id"), id("mappings", "parent_id"), id("runs", "id"), id("effects", "id"), id("effects", "vendor_account_id")
	token := id("audit_log", "token_id")
	few := func(of db.ID) []db.ID { return append([]db.ID{of}, db.NewID(), db.NewID()) }
	const sorts = true // a few rows that belong to one thing, or to each of some
	for _, c := range []struct {
		name  string
		sorts bool
		read  func(db.Window) error
	}{
		{"runs", false, func(w db.Window) error { _, err := db.RunsPage(ctx, d, org, db.RunFilter{}, w); return err }},
		{"runs of a flow", false, func(w db.Window) error { _, err := db.RunsPage(ctx, d, org, db.RunFilter{Flow: flow}, w); return err }},
		{"runs of a link", false, func(w db.Window) error { _, err := db.RunsPage(ctx, d, org, db.RunFilter{Link: link}, w); return err }},
		{"runs of a connection", false, func(w db.Window) error {
			_, err := db.RunsPage(ctx, d, org, db.RunFilter{Connection: conn}, w)
			return err
		}},
		{"runs of an event", sorts, func(w db.Window) error { _, err := db.RunsPage(ctx, d, org, db.RunFilter{Event: event}, w); return err }},
		{"runs of a mapping", false, func(w db.Window) error {
			_, err := db.RunsPage(ctx, d, org, db.RunFilter{Mapping: mapping}, w)
			return err
		}},
		{"runs in a state", false, func(w db.Window) error {
			_, err := db.RunsPage(ctx, d, org, db.RunFilter{State: "FAILED"}, w)
			return err
		}},
		{"runs of links", sorts, func(w db.Window) error { _, err := db.RunsByLink(ctx, d, org, few(link), w); return err }},
		{"events", false, func(w db.Window) error { _, err := db.EventsPage(ctx, d, org, db.EventFilter{}, w); return err }},
		{"events of a connection", false, func(w db.Window) error {
			_, err := db.EventsPage(ctx, d, org, db.EventFilter{Connection: conn}, w)
			return err
		}},
		{"events of connections", sorts, func(w db.Window) error { _, err := db.EventsByConnection(ctx, d, org, few(conn), w); return err }},
		{"mappings", false, func(w db.Window) error { _, err := db.MappingsPage(ctx, d, org, db.MappingFilter{}, w); return err }},
		{"mappings of a kind", false, func(w db.Window) error {
			_, err := db.MappingsPage(ctx, d, org, db.MappingFilter{Entity: "e7"}, w)
			return err
		}},
		{"mappings below one", false, func(w db.Window) error {
			_, err := db.MappingsPage(ctx, d, org, db.MappingFilter{Parent: parent}, w)
			return err
		}},
		{"connections", false, func(w db.Window) error {
			_, err := db.ConnectionsPage(ctx, d, org, db.ConnectionFilter{}, w)
			return err
		}},
		{"connections of an app", false, func(w db.Window) error {
			_, err := db.ConnectionsPage(ctx, d, org, db.ConnectionFilter{App: "app7"}, w)
			return err
		}},
		{"connections of apps", sorts, func(w db.Window) error {
			_, err := db.ConnectionsByApp(ctx, d, org, []string{"app7", "app8"}, w)
			return err
		}},
		{"flows", false, func(w db.Window) error { _, err := db.FlowsPage(ctx, d, org, db.FlowFilter{}, w); return err }},
		{"flow links", false, func(w db.Window) error { _, err := db.FlowLinksPage(ctx, d, org, db.FlowLinkFilter{}, w); return err }},
		{"flow links of a flow", sorts, func(w db.Window) error {
			_, err := db.FlowLinksPage(ctx, d, org, db.FlowLinkFilter{Flow: flow}, w)
			return err
		}},
		{"flow links of a connection", sorts, func(w db.Window) error {
			_, err := db.FlowLinksPage(ctx, d, org, db.FlowLinkFilter{Connection: conn}, w)
			return err
		}},
		{"flow links of flows", sorts, func(w db.Window) error { _, err := db.FlowLinksByFlow(ctx, d, org, few(flow), w); return err }},
		{"flow links of connections", sorts, func(w db.Window) error { _, err := db.FlowLinksByConnection(ctx, d, org, few(conn), w); return err }},
		{"effects", false, func(w db.Window) error { _, err := db.EffectsPage(ctx, d, org, db.EffectFilter{}, w); return err }},
		{"effects of a run", false, func(w db.Window) error {
			_, err := db.EffectsPage(ctx, d, org, db.EffectFilter{Run: run}, w)
			return err
		}},
		{"effects of a mapping", false, func(w db.Window) error {
			_, err := db.EffectsPage(ctx, d, org, db.EffectFilter{Mapping: mapping}, w)
			return err
		}},
		{"effects of a connection", false, func(w db.Window) error {
			_, err := db.EffectsPage(ctx, d, org, db.EffectFilter{Connection: conn}, w)
			return err
		}},
		{"effects of a vendor account", false, func(w db.Window) error {
			_, err := db.EffectsPage(ctx, d, org, db.EffectFilter{VendorAccount: account}, w)
			return err
		}},
		{"effects in a state", false, func(w db.Window) error {
			_, err := db.EffectsPage(ctx, d, org, db.EffectFilter{State: "CONFLICT"}, w)
			return err
		}},
		{"effects that are confirmed", false, func(w db.Window) error {
			_, err := db.EffectsPage(ctx, d, org, db.EffectFilter{State: "CONFIRMED"}, w)
			return err
		}},
		{"the audit log", false, func(w db.Window) error { _, err := db.AuditPage(ctx, d, org, db.AuditFilter{}, w); return err }},
		{"what a token did", false, func(w db.Window) error {
			_, err := db.AuditPage(ctx, d, org, db.AuditFilter{Token: token}, w)
			return err
		}},
		{"what a mutation did", false, func(w db.Window) error {
			_, err := db.AuditPage(ctx, d, org, db.AuditFilter{Field: "field7"}, w)
			return err
		}},
		{"what was done to an object", false, func(w db.Window) error {
			_, err := db.AuditPage(ctx, d, org, db.AuditFilter{Object: "object7"}, w)
			return err
		}},
		{"attention", sorts, func(w db.Window) error {
			_, err := db.AttentionPage(ctx, d, org, "", []string{"app7", "app8"}, w)
			return err
		}},
		{"attention of a kind", sorts, func(w db.Window) error {
			_, err := db.AttentionPage(ctx, d, org, db.AttentionConflict, []string{}, w)
			return err
		}},
		{"how much attention", sorts, func(db.Window) error { _, err := db.CountAttention(ctx, d, org, []string{"app7"}); return err }},
		{"records of an id", sorts, func(db.Window) error {
			_, err := db.SlotsByID(ctx, d, org, "x7", "", "", db.ID{}, 10)
			return err
		}},
		{"what was done to objects", sorts, func(db.Window) error {
			_, err := db.AuditsAbout(ctx, d, org, []string{"object7", "object8"}, 200)
			return err
		}},
		{"replays by id", sorts, func(db.Window) error { _, err := db.ReplaysOf(ctx, d, org, few(run)); return err }},
		{"runs to replay", sorts, func(db.Window) error {
			return d.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
				f := db.ReplayFilter{RunFilter: db.RunFilter{Link: link}}
				if _, err := db.CountReplayable(ctx, tx, org, f, time.Now()); err != nil {
					return err
				}
				_, err := db.Replayable(ctx, tx, db.Replay{OrgID: org, CreatedAt: time.Now()}, f, 50)
				return err
			})
		}},
		{"what hangs on a mapping", sorts, func(db.Window) error {
			return d.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
				_, err := db.HangingOn(ctx, tx, org, mapping)
				return err
			})
		}},
		{"tokens", false, func(w db.Window) error { _, err := db.TokensPage(ctx, d, org, w); return err }},

		{"runs by id", sorts, func(db.Window) error { _, err := db.RunsOf(ctx, d, org, few(run)); return err }},
		{"audit entries by id", sorts, func(db.Window) error { _, err := db.AuditsOf(ctx, d, org, few(token)); return err }},
		{"events by id", sorts, func(db.Window) error { _, err := db.EventsOf(ctx, d, org, few(event)); return err }},
		{"effects by id", sorts, func(db.Window) error { _, err := db.EffectsOf(ctx, d, org, few(effect)); return err }},
		{"mappings by id", sorts, func(db.Window) error { _, err := db.MappingsOf(ctx, d, org, few(mapping)); return err }},
		{"connections by id", sorts, func(db.Window) error { _, err := db.ConnectionsOf(ctx, d, org, few(conn)); return err }},
		{"newest versions", sorts, func(db.Window) error { _, err := db.NewestVersionsOf(ctx, d, org, few(flow)); return err }},
		{"steps of links", sorts, func(db.Window) error { _, err := db.StepsByLink(ctx, d, org, few(link)); return err }},
		{"outcomes of events", sorts, func(db.Window) error { _, err := db.OutcomesByEvent(ctx, d, org, few(event)); return err }},
		{"bodies", sorts, func(db.Window) error { _, err := db.BodiesOf(ctx, d, org, []db.BodyKey{{Event: event}}, 1); return err }},
		{"steps of runs", sorts, func(db.Window) error { _, err := db.StepsByRun(ctx, d, org, few(run)); return err }},
		{"attempts of runs", sorts, func(db.Window) error { _, err := db.AttemptsByRun(ctx, d, org, few(run)); return err }},
		{"attempts of effects", sorts, func(db.Window) error { _, err := db.AttemptsByEffect(ctx, d, org, few(effect)); return err }},
		{"effects of runs", sorts, func(db.Window) error { _, err := db.EffectsByRun(ctx, d, org, few(run)); return err }},
		{"slots of mappings", sorts, func(db.Window) error { _, err := db.SlotsByMapping(ctx, d, org, few(mapping)); return err }},
		{"slots of effects", sorts, func(db.Window) error { _, err := db.SlotsByEffect(ctx, d, org, few(effect)); return err }},
		{"items of runs", sorts, func(w db.Window) error { _, err := db.ItemsByRun("")(ctx, d, org, few(run), w); return err }},
		{"failed items of runs", sorts, func(w db.Window) error {
			_, err := db.ItemsByRun("FAILED")(ctx, d, org, few(run), w)
			return err
		}},
		{"a mapping by its record", sorts, func(db.Window) error {
			if _, err := db.MappingByRecord(ctx, d, org, "app7", "e", "x7", db.ID{}); err != nil && err != db.ErrNotFound {
				return err
			}
			_, err := db.MappingByRecord(ctx, d, org, "app7", "e", "x8", account)
			if err == db.ErrNotFound {
				return nil
			}
			return err
		}},
		{"the feed's position", sorts, func(db.Window) error {
			return d.Snapshot(ctx, func(context.Context, db.Tx, int64) error { return nil })
		}},
	} {
		for _, w := range []db.Window{{Limit: 21}, {Limit: 21, Backward: true}, {Limit: 21, After: run}, {Limit: 21, Before: run, Backward: true}} {
			said.take()
			if err := c.read(w); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			for _, s := range said.take() {
				if !strings.HasPrefix(strings.ToUpper(s.sql), "SELECT") {
					continue // BEGIN and COMMIT
				}
				plan := explain(t, d, s)
				for _, node := range plan {
					if strings.HasPrefix(node, "Seq Scan") || !c.sorts && strings.Contains(node, "Sort") {
						t.Errorf("%s %+v: %s\n%s\n%s", c.name, w, node, strings.Join(plan, "\n"), s.sql)
						break
					}
				}
			}
		}
	}
}

// explain is a statement's plan, a line for each node.
func explain(t *testing.T, d *db.DB, s statement) []string {
	t.Helper()
	var raw string
	if err := d.Pool.QueryRow(t.Context(), "EXPLAIN (FORMAT JSON) "+s.sql, s.args...).Scan(&raw); err != nil {
		t.Fatalf("%v in %s", err, s.sql)
	}
	type node struct {
		Type     string `json:"Node Type"`
		Relation string `json:"Relation Name"`
		Index    string `json:"Index Name"`
		Plans    []node
	}
	var top []struct{ Plan node }
	if err := json.Unmarshal([]byte(raw), &top); err != nil {
		t.Fatal(err)
	}
	var out []string
	var walk func(node)
	walk = func(n node) {
		out = append(out, strings.TrimSpace(n.Type+" "+n.Relation+" "+n.Index))
		for _, p := range n.Plans {
			walk(p)
		}
	}
	walk(top[0].Plan)
	return out
}

// TestTenantsNeverMeet walks the whole schema: every table says whose its rows are, and no key leads out of an
// organization.
func TestTenantsNeverMeet(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	const migrations = "AND NOT c.relname LIKE 'bun\\_migration%'" // which migrations ran is nobody's
	var without []string
	if err := d.NewRaw(`SELECT c.relname FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
		WHERE s.nspname = 'public' AND c.relkind IN ('r', 'p') `+migrations+` AND NOT EXISTS (SELECT FROM pg_attribute a
			WHERE a.attrelid = c.oid AND a.attname = 'org_id' AND a.attnotnull AND NOT a.attisdropped)`).Scan(t.Context(), &without); err != nil {
		t.Fatal(err)
	}
	if len(without) > 0 {
		t.Errorf("tables without org_id: %v", without)
	}
	// A foreign key leads from org_id to org_id; the organizations' own key is that alone.
	var keys []struct {
		Name    string
		From    string
		Columns []string `bun:",array"`
		Into    []string `bun:",array"`
	}
	if err := d.NewRaw(`SELECT k.conname AS name, k.conrelid::regclass::text AS from,
			array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS c (n, i) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.n ORDER BY c.i) AS columns,
			array(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS c (n, i) JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = c.n ORDER BY c.i) AS into
		FROM pg_constraint k JOIN pg_namespace s ON s.oid = k.connamespace WHERE s.nspname = 'public' AND k.contype = 'f'`).Scan(t.Context(), &keys); err != nil {
		t.Fatal(err)
	}
	if len(keys) < 20 {
		t.Errorf("only %d foreign keys were found", len(keys))
	}
	for _, k := range keys {
		i := slices.Index(k.Columns, "org_id")
		if i < 0 || k.Into[i] != "org_id" {
			t.Errorf("%s of %s leads from %v to %v", k.Name, k.From, k.Columns, k.Into)
		}
	}
	// What is unique is so within an organization, but for what is looked for before it is known whose it is.
	across := []string{"api_tokens_hash_key", "authorizations_state_hash_key", "connections_webhook_token_hash_key", "changes_pos"}
	var unique []string
	if err := d.NewRaw(`SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace s ON s.oid = i.relnamespace
		WHERE s.nspname = 'public' `+migrations+` AND x.indisunique AND NOT EXISTS (SELECT FROM pg_attribute a
			WHERE a.attrelid = x.indrelid AND a.attname = 'org_id' AND a.attnum = ANY (x.indkey))`).Scan(t.Context(), &unique); err != nil {
		t.Fatal(err)
	}
	for _, name := range unique {
		if !slices.Contains(across, name) {
			t.Errorf("%s is unique across organizations", name)
		}
	}
}
