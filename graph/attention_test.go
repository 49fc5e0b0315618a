package graph

import (
	"encoding/json"
	"testing"

	"tieline/db"
	"tieline/graph/auth"
)

const attentionDoc = `{ attention(first: 100) { nodes { id kind mutation record subject { id __typename } } counts { kind count } } }`

// waits asks what waits for a person: the mutation that clears it, by kind and subject.
func (s *site) waits() map[string]string {
	s.t.Helper()
	a := s.ask(s.tokens[auth.Read], attentionDoc, nil)
	var data struct {
		Attention struct {
			Nodes []struct {
				Kind, Mutation string
				Record         *string
				Subject        struct{ ID string }
			}
			Counts []struct {
				Kind  string
				Count int
			}
		}
	}
	check(s.t, json.Unmarshal(a.Data, &data))
	out, counted := map[string]string{}, map[string]int{}
	for _, n := range data.Attention.Nodes {
		out[n.Kind+" "+n.Subject.ID+given(n.Record)] = n.Mutation
		counted[n.Kind]++
	}
	for _, c := range data.Attention.Counts {
		if counted[c.Kind] != c.Count {
			s.t.Errorf("%s: %d in the list, %d counted", c.Kind, counted[c.Kind], c.Count)
		}
	}
	return out
}

// TestAttention: each kind of thing that waits for a person is in the list, and goes from it once it is dealt with.
func TestAttention(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	s.fill()
	exec := func(query string, args ...any) {
		t.Helper()
		_, err := s.db.NewRaw(query, args...).Exec(t.Context())
		check(t, err)
	}
	do := func(document string, vars map[string]any) {
		t.Helper()
		if a := s.ask(s.tokens[auth.Admin], document, vars); refusedWith(t, a) != "" {
			t.Errorf("%s %s", a.Data, a.Errors)
		}
	}
	before := s.waits() // the link that fails, and Togai, which has no webhook
	if len(before) != 2 || before["FAILING_LINK "+s.at["link.in"]] != "retryRun" || before["WEBHOOK "+s.at["connection.togai"]] != "testConnection" {
		t.Errorf("at first: %v", before)
	}
	run := s.run("run.in")
	exec("INSERT INTO run_items (org_id, id, run_id, step, entity, key, state, message) VALUES (?, ?, ?, 'note', 'customer', 'cus_double', 'POSSIBLE_DUPLICATE', 'as somebody')", s.org, db.NewID(), run)
	exec("UPDATE runs SET state = 'WAITING', waiting_reason = 'PERSON', error = 'two of them' WHERE id = ?", s.run("run.queued"))
	exec("UPDATE connections SET state = 'NEEDS_REAUTH', state_reason = 'revoked' WHERE id = (SELECT trigger_connection_id FROM flow_links WHERE id = (SELECT flow_link_id FROM runs WHERE id = ?))", run)
	s.hold("event.failed")
	want := map[string]string{
		"POSSIBLE_DUPLICATE " + s.at["run.in"] + "cus_double": "createMapping", "WAITING_RUN " + s.at["run.queued"]: "retryRun",
		"CONNECTION " + s.at["connection.stripe"]: "updateConnection", "HELD_EVENT " + s.at["event.failed"]: "releaseEvent",
	}
	now := s.waits()
	for what, mutation := range want {
		if now[what] != mutation {
			t.Errorf("%s is cleared by %q, want %q", what, now[what], mutation)
		}
	}
	if len(now) != len(before)+len(want) {
		t.Errorf("all that waits: %v", now)
	}
	do(`mutation ($input: CreateMappingInput!) { createMapping(input: $input) { mapping { id } userErrors { field code message } } }`, input("entity", "customer", "slots", []any{
		vars("vendorAccountId", s.at["account.stripe"], "entity", "customer", "externalId", "cus_double"), vars("vendorAccountId", s.at["account.togai"], "entity", "customer", "externalId", "double"),
	}))
	do(`mutation ($id: ID!) { retryRun(input: {id: $id}) { run { id } userErrors { field code message } } }`, vars("id", s.at["run.queued"]))
	do(`mutation ($id: ID!) { testConnection(input: {id: $id}) { connection { id } userErrors { field code message } } }`, vars("id", s.at["connection.stripe"]))
	do(`mutation ($id: ID!) { releaseEvent(input: {id: $id}) { event { id } userErrors { field code message } } }`, vars("id", s.at["event.failed"]))
	s.work(t.Context())
	do(`mutation ($id: ID!) { disableFlowLink(input: {id: $id}) { flowLink { id } userErrors { field code message } } }`, vars("id", s.at["link.in"]))
	if left := s.waits(); len(left) != 1 || left["WEBHOOK "+s.at["connection.togai"]] == "" {
		t.Errorf("left over: %v", left)
	}
}

// TestAttentionPages: a page goes on where the one before ended, whatever the kinds are, forth and back.
func TestAttentionPages(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	s.fill()
	for range 5 {
		_, err := s.db.NewRaw("INSERT INTO run_items (org_id, id, run_id, step, entity, key, state) VALUES (?, ?, ?, 'note', 'customer', ?, 'POSSIBLE_DUPLICATE')", s.org, db.NewID(), s.run("run.in"), db.NewID().String()).Exec(t.Context())
		check(t, err)
	}
	var seen []string
	for after := ""; ; {
		var data struct {
			Attention struct {
				Edges []struct {
					Cursor string
					Node   struct{ ID string }
				}
				PageInfo struct {
					HasNextPage bool
					EndCursor   string
				}
			}
		}
		args := vars()
		if after != "" {
			args = vars("after", after)
		}
		a := s.ask(s.tokens[auth.Read], `query ($after: String) { attention(first: 2, after: $after) { edges { cursor node { id } } pageInfo { hasNextPage endCursor } } }`, args)
		check(t, json.Unmarshal(a.Data, &data))
		for _, e := range data.Attention.Edges {
			seen = append(seen, e.Node.ID)
		}
		if after = data.Attention.PageInfo.EndCursor; !data.Attention.PageInfo.HasNextPage {
			break
		}
	}
	distinct := map[string]bool{}
	for _, id := range seen {
		distinct[id] = true
	}
	if len(seen) != 7 || len(distinct) != 7 {
		t.Errorf("%d items on all pages, %d different", len(seen), len(distinct))
	}
}

// TestLooksChangeNothing: what was only looked at is as it was, and is not in the audit log.
func TestLooksChangeNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	s.fill()
	before := s.rows()
	place := vars("vendorAccountId", s.at["account.togai"], "entity", "account")
	for document, in := range map[string]map[string]any{
		`mutation ($input: CreateMappingInput!) { m: createMapping(input: $input) { change { slots } userErrors { field code message } } }`: input("entity", "customer", "dryRun", true, "slots", []any{vars("vendorAccountId", s.at["account.stripe"], "entity", "customer", "externalId", "cus_new")}),
		`mutation ($input: UpdateMappingInput!) { m: updateMapping(input: $input) { change { slots } userErrors { field code message } } }`: input("id", s.at["mapping.in"], "dryRun", true, "remove", []any{place}),
		`mutation ($input: MergeMappingsInput!) { m: mergeMappings(input: $input) { change { slots } userErrors { field code message } } }`: input("id", s.at["mapping.in"], "dryRun", true, "otherId", s.at["mapping.failed"]),
		`mutation ($input: SplitMappingInput!) { m: splitMapping(input: $input) { change { slots } userErrors { field code message } } }`:   input("id", s.at["mapping.in"], "dryRun", true, "slots", []any{place}),
		`mutation ($input: DeleteMappingInput!) { m: deleteMapping(input: $input) { change { slots } userErrors { field code message } } }`: input("id", s.at["mapping.in"], "dryRun", true),
		`mutation ($input: ReplayRunsInput!) { m: replayRuns(input: $input) { matched userErrors { field code message } } }`:                input("filter", vars("flowLinkId", s.at["link.in"]), "dryRun", true, "idempotencyKey", "k"),
		`mutation ($input: UpdateFlowLinkInput!) { m: updateFlowLink(input: $input) { moves { key } userErrors { field code message } } }`:  input("id", s.at["link.in"], "dryRun", true, "name", "Other"),
	} {
		a := s.ask(s.tokens[auth.Admin], document, in)
		// A merger may be refused: both mappings hold a customer of the same account.
		if code := refusedWith(t, a); code != "" && code != "otherId TAKEN" || len(a.Errors) > 0 {
			t.Errorf("%s %s", a.Data, a.Errors)
		}
		if s.rows() != before {
			t.Errorf("it changed something: %s", document)
		}
	}
}

// run is the id of a run that documents ask for by name.
func (s *site) run(name string) (id db.ID) {
	s.t.Helper()
	id, err := db.ParseID("run", s.at[name])
	check(s.t, err)
	return id
}
