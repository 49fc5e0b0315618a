package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tieline/db"
	"tieline/db/dbtest"
	"tieline/graph/auth"
	"tieline/graph/model"
)

const readers = 16 // clients at once

var keptRuns = flag.Int("runs", 1_000_000, "how many runs BenchmarkReads has kept")

const (
	listDocument = `query ($after: String, $filter: RunFilter) { runs(first: 50, after: $after, filter: $filter) { nodes {
		id state record createdAt startedAt finishedAt flow { id name } steps { key state reason startedAt finishedAt }
	} } }`
	mappingDocument = `query ($id: String!) { mappingByExternalId(app: "stripe", entity: "customer", externalId: $id) { id entity name createdAt updatedAt } }`
)

// BenchmarkReads measures what consoles and partners ask most over a history of a million runs. Its bounds answer the same
// bytes by SQL and encoding/json, by hand: no document, no token.
//
//	go test ./graph -run '^$' -bench Reads -benchtime 5000x -count 5
func BenchmarkReads(b *testing.B) {
	h := keepHistory(b, *keptRuns)
	pair := func(name string, params func(i int) map[string]any, document string, byHand http.HandlerFunc) {
		plain := httptest.NewServer(byHand)
		b.Cleanup(plain.Close)
		ask := func(url string, i int) []byte {
			said, err := h.post(b.Context(), url, document, params(i))
			check(b, err)
			return said
		}
		if ours, bound := ask(h.url, 0), ask(plain.URL, 0); !bytes.Equal(bytes.TrimSpace(ours), bytes.TrimSpace(bound)) {
			b.Fatalf("%s and its bound answer different things\n%.1500s\n%.1500s", name, ours, bound)
		}
		for _, of := range []struct{ name, url string }{{"tieline", h.url}, {"bound", plain.URL}} {
			b.Run(name+"/"+of.name, func(b *testing.B) {
				dbtest.Load(b, readers, "req/s", func(_, i int) error {
					_, err := h.post(b.Context(), of.url, document, params(i))
					return err
				})
			})
		}
	}
	pair("list", func(int) map[string]any { return nil }, listDocument, h.listByHand)
	pair("mapping", func(i int) map[string]any { return vars("id", customerID(i*7919%h.mappings)) }, mappingDocument, h.mappingByHand)
	for _, narrow := range []struct {
		name   string
		filter map[string]any
	}{
		{"all", nil},
		{"failed", vars("state", "FAILED")},
		{"of a link", vars("flowLinkId", model.FlowLinkID.Of(h.link))},
		{"failed of a link", vars("flowLinkId", model.FlowLinkID.Of(h.link), "state", "FAILED")},
	} {
		for _, percent := range []int{0, 50, 97} {
			b.Run(fmt.Sprintf("page/%s/%d%%", narrow.name, percent), func(b *testing.B) {
				dbtest.Load(b, 1, "req/s", func(_, i int) error {
					params := vars("filter", narrow.filter)
					if percent > 0 { // never the same page twice
						params["after"] = cursor(runs.name, runNumber(*keptRuns-*keptRuns/100*percent-i%1000).String())
					}
					said, err := h.post(b.Context(), h.url, listDocument, params)
					if n := bytes.Count(said, []byte(`"record"`)); err == nil && n != 50 {
						err = fmt.Errorf("%d runs, want 50: %.300s", n, said)
					}
					return err
				})
			})
		}
	}
}

// history is an organization that has used Tieline for long.
type history struct {
	*site
	url      string
	pool     *pgxpool.Pool
	client   *http.Client
	link     db.ID
	mappings int
}

// runNumber is the id of the n-th run.
func runNumber(n int) (id db.ID) {
	copy(id[:], []byte{0x01, 0xa0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 0x70, 0, 0x80})
	return id
}

func customerID(n int) string { return "cus_" + strconv.Itoa(n) }

// keepHistory fills a database by statements over all rows at once: runs of two steps, one in twenty of them failed, spread
// over sixteen links of one flow, and a mapping for ten runs each.
func keepHistory(b *testing.B, runs int) *history {
	b.Helper()
	d, err := db.Open(b.Context(), dbtest.Durable(b))
	check(b, err)
	b.Cleanup(func() { d.Close() })
	h := &history{site: newSite(b, d, "Acme"), pool: d.Pool, mappings: max(1, runs/10), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: readers}}}
	b.Cleanup(h.client.CloseIdleConnections)
	h.graph.wait = gather
	server := httptest.NewServer(h.serve)
	b.Cleanup(server.Close)
	h.url = server.URL
	from, to := h.connectStripe("Stripe"), h.connect("togai", "Togai", map[string]string{"environment": "sandbox", "api_token": h.togai.Token(), "organization_id": "org_1"})
	links := make([]db.ID, 16)
	for i := range links {
		links[i] = h.site.link(customersIn, fmt.Sprint("Link ", i), from.ID, to.ID).ID
	}
	h.link = links[0]
	check(b, pgx.BeginFunc(b.Context(), d.Pool, func(tx pgx.Tx) error {
		for _, s := range []struct {
			sql  string
			args []any
		}{
			{"SET LOCAL session_replication_role = replica", nil}, // no look at a million foreign keys
			{`CREATE FUNCTION pg_temp.nth(n bigint) RETURNS uuid LANGUAGE sql AS $$ SELECT ('01a0' || lpad(to_hex(n), 8, '0') || '70008000' || repeat('0', 12))::uuid $$`, nil},
			{`INSERT INTO mappings (org_id, id, entity, name) SELECT $1, pg_temp.nth(n), 'customer', 'Customer ' || n FROM generate_series(0, $2::int - 1) n`,
				[]any{h.org, h.mappings}},
			{`INSERT INTO mapping_slots (org_id, mapping_id, vendor_account_id, entity, external_id, name, filled_at)
				SELECT $1, pg_temp.nth(n), $2, 'customer', 'cus_' || n, 'Customer ' || n, now() FROM generate_series(0, $3::int - 1) n`,
				[]any{h.org, from.VendorAccountID, h.mappings}},
			{`INSERT INTO runs (org_id, id, flow_id, flow_version_id, flow_link_id, connection_id, event_id, event_at, source, business_key, lane, entity, record_id,
					record_name, vendor_at, mapping_id, state, error_kind, error, version, created_at, started_at, ended_at)
				SELECT $1, pg_temp.nth(n), v.flow_id, v.id, ($2::uuid[])[1 + n % 16], $3, pg_temp.nth(n), at, 'WEBHOOK', 'customer:cus_' || n, 'cus_' || n, 'customer', 'cus_' || n,
					'Customer ' || n, at, pg_temp.nth(n % $5), CASE WHEN n / 16 % 20 = 0 THEN 'FAILED' ELSE 'SUCCEEDED' END,
					CASE WHEN n / 16 % 20 = 0 THEN 'REFUSED' END, CASE WHEN n / 16 % 20 = 0 THEN 'The vendor refuses this.' ELSE '' END, 6, at, at, at + interval '1 second'
				FROM generate_series(1, $4::int) n, LATERAL (SELECT now() - make_interval(secs => $4 - n) AS at) t,
					(SELECT id, flow_id FROM flow_versions WHERE org_id = $1 AND flow_id = (SELECT flow_id FROM flow_links WHERE org_id = $1 AND id = ($2::uuid[])[1]) ORDER BY number DESC LIMIT 1) v`,
				[]any{h.org, links, from.ID, runs, h.mappings}},
			{`INSERT INTO steps (org_id, run_id, key, position, app, action, connection_id, vendor_account_id, state, tries, input, output, reason, started_at, ended_at)
				SELECT $1, r.id, s.key, s.position, s.app, s.action, s.connection, s.account, CASE WHEN r.state = 'FAILED' AND s.position = 1 THEN 'FAILED' ELSE 'SUCCEEDED' END, 1,
					jsonb_build_object('name', r.record_name, 'id', r.record_id, 'currency', 'USD', 'email', 'billing@example.test'),
					jsonb_build_object('id', r.record_id, 'name', r.record_name), '', r.started_at, r.ended_at
				FROM runs r, (VALUES ('account', 0, 'togai', 'account.create', $2::uuid, $3::uuid), ('note', 1, 'stripe', 'customer.annotate', $4, $5)) s (key, position, app, action, connection, account)
				WHERE r.org_id = $1`, []any{h.org, to.ID, to.VendorAccountID, from.ID, from.VendorAccountID}},
		} {
			if _, err := tx.Exec(b.Context(), s.sql, append([]any{pgx.QueryExecModeCacheStatement}, s.args...)...); err != nil {
				return fmt.Errorf("%.60s: %w", s.sql, err)
			}
		}
		return nil
	}))
	_, err = d.Pool.Exec(b.Context(), "VACUUM ANALYZE")
	check(b, err)
	return h
}

func (h *history) post(ctx context.Context, url, document string, vars map[string]any) ([]byte, error) {
	body, err := json.Marshal(map[string]any{"query": document, "variables": vars})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", plainJSON)
	req.Header.Set("Accept", responseJSON)
	req.Header.Set("Authorization", "Bearer "+h.tokens[auth.Read])
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || bytes.Contains(said, []byte(`"errors"`))) {
		err = fmt.Errorf("%s %.500s", resp.Status, said)
	}
	return said, err
}

const byHandTime = "2006-01-02T15:04:05.000000Z"

type runByHand struct {
	ID         string  `json:"id"`
	State      string  `json:"state"`
	Record     string  `json:"record"`
	CreatedAt  string  `json:"createdAt"`
	StartedAt  *string `json:"startedAt"`
	FinishedAt *string `json:"finishedAt"`
	Flow       struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"flow"`
	Steps []stepByHand `json:"steps"`
}

type stepByHand struct {
	Key        string  `json:"key"`
	State      string  `json:"state"`
	Reason     *string `json:"reason"`
	StartedAt  *string `json:"startedAt"`
	FinishedAt *string `json:"finishedAt"`
}

// listByHand answers the newest 50 runs by two statements.
func (h *history) listByHand(w http.ResponseWriter, r *http.Request) {
	shown := func(t *time.Time) *string {
		if t == nil {
			return nil
		}
		return new(t.UTC().Format(byHandTime))
	}
	rows, err := h.pool.Query(r.Context(), `SELECT r.id, r.state, r.record_id, r.created_at, r.started_at, r.ended_at, f.id, f.name
		FROM (SELECT * FROM runs WHERE org_id = $1 ORDER BY id DESC LIMIT 50) r JOIN flows f ON f.org_id = r.org_id AND f.id = r.flow_id ORDER BY r.id DESC`,
		pgx.QueryExecModeCacheStatement, h.org)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	ids, at := make([]db.ID, 0, 50), make(map[db.ID]*runByHand, 50)
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*runByHand, error) {
		var id, flow db.ID
		var created, started, ended *time.Time
		x := &runByHand{}
		if err := row.Scan(&id, &x.State, &x.Record, &created, &started, &ended, &flow, &x.Flow.Name); err != nil {
			return nil, err
		}
		x.ID, x.Flow.ID = model.RunID.Of(id), model.FlowID.Of(flow)
		x.CreatedAt, x.StartedAt, x.FinishedAt = *shown(created), shown(started), shown(ended)
		ids, at[id] = append(ids, id), x
		return x, nil
	})
	if err == nil {
		rows, err = h.pool.Query(r.Context(), `SELECT run_id, key, state, reason, started_at, ended_at FROM steps WHERE org_id = $1 AND run_id = ANY($2) ORDER BY run_id, position`,
			pgx.QueryExecModeCacheStatement, h.org, ids)
	}
	if err == nil {
		for rows.Next() {
			var run db.ID
			var started, ended *time.Time
			var reason string
			var s stepByHand
			if err = rows.Scan(&run, &s.Key, &s.State, &reason, &started, &ended); err != nil {
				break
			}
			if s.StartedAt, s.FinishedAt = shown(started), shown(ended); reason != "" {
				s.Reason = &reason
			}
			at[run].Steps = append(at[run].Steps, s)
		}
		rows.Close()
	}
	answerByHand(w, map[string]any{"runs": map[string]any{"nodes": out}}, err)
}

type mappingOfRecord struct {
	ID        string `json:"id"`
	Entity    string `json:"entity"`
	Name      string `json:"name"`
	CreatedAt string `json:"createdAt"`
	UpdatedAt string `json:"updatedAt"`
}

// mappingByHand finds a mapping by one statement.
func (h *history) mappingByHand(w http.ResponseWriter, r *http.Request) {
	var in struct{ Variables struct{ ID string } }
	err := json.NewDecoder(r.Body).Decode(&in)
	var out mappingOfRecord
	if err == nil {
		var id db.ID
		var created, updated time.Time
		err = h.pool.QueryRow(r.Context(), `SELECT m.id, m.entity, m.name, m.created_at, m.updated_at FROM mapping_slots s
			JOIN vendor_accounts a ON a.org_id = s.org_id AND a.id = s.vendor_account_id JOIN mappings m ON m.org_id = s.org_id AND m.id = s.mapping_id
			WHERE s.org_id = $1 AND s.external_id = $2 AND s.entity = 'customer' AND a.app = 'stripe'`, pgx.QueryExecModeCacheStatement, h.org, in.Variables.ID).
			Scan(&id, &out.Entity, &out.Name, &created, &updated)
		out.ID, out.CreatedAt, out.UpdatedAt = model.MappingID.Of(id), created.UTC().Format(byHandTime), updated.UTC().Format(byHandTime)
	}
	answerByHand(w, map[string]any{"mappingByExternalId": out}, err)
}

func answerByHand(w http.ResponseWriter, data any, err error) {
	raw, encoding := json.Marshal(map[string]any{"data": data})
	if err != nil || encoding != nil {
		http.Error(w, fmt.Sprint(err, encoding), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", responseJSON)
	_, _ = w.Write(raw)
}

// The token, the page, its steps and its flows: four statements, however many runs there are.
func TestAListOfRunsTakesFourStatements(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	s.fill()
	if a := s.ask(s.tokens[auth.Read], listDocument, nil); a.Statements != 4 || len(a.Errors) > 0 {
		t.Errorf("%d statements, want 4 %s\n%s", a.Statements, a.Errors, a.sql)
	}
}
