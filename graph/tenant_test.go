package graph

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
)

// ofOthers are the fields that take an id, with what is asked about an object of another organization. $ stands for its id.
var ofOthers = []struct {
	field, of string // what is asked for, and which id of the other site
	document  string
}{
	{"connection", "connection.stripe", `{ connection(id: "$") { id } }`},
	{"inputSchema", "connection.stripe", `query { inputSchema(connectionId: "$", action: "customer.update") }`},
	{"fieldOptions", "connection.stripe", `{ fieldOptions(connectionId: "$", action: "customer.update", field: "customer_id") { nodes { id } } }`},
	{"flow", "flow.in", `{ flow(id: "$") { id } }`},
	{"flowLink", "link.in", `{ flowLink(id: "$") { id } }`},
	{"event", "event.in", `{ event(id: "$") { id } }`},
	{"run", "run.in", `{ run(id: "$") { id } }`},
	{"effect", "effect.create", `{ effect(id: "$") { id } }`},
	{"mapping", "mapping.in", `{ mapping(id: "$") { id } }`},
	{"mappingByExternalId", "account.stripe", `{ mappingByExternalId(app: "togai", entity: "account", externalId: "beta", vendorAccountId: "$") { id } }`},
	{"paymentLink", "account.togai", `{ paymentLink(accountId: "beta", pricePlanId: "pp.gold", vendorAccountId: "$") { id } }`},
	{"node", "connection.stripe", `{ node(id: "$") { id } }`},
	{"node", "flow.in", `{ node(id: "$") { id } }`},
	{"node", "link.in", `{ node(id: "$") { id } }`},
	{"node", "event.in", `{ node(id: "$") { id } }`},
	{"node", "run.in", `{ node(id: "$") { id } }`},
	{"node", "effect.create", `{ node(id: "$") { id } }`},
	{"node", "mapping.in", `{ node(id: "$") { id } }`},
	{"node", "account.stripe", `{ node(id: "$") { id } }`},
	{"node", "token.admin", `{ node(id: "$") { id } }`},
	{"nodes", "run.in", `{ nodes(ids: ["$"]) { id } }`},
	{"events", "connection.stripe", `{ events(filter: {connectionId: "$"}) { nodes { id } } }`},
	{"flowLinks", "flow.in", `{ flowLinks(filter: {flowId: "$"}) { nodes { id } } }`},
	{"flowLinks", "connection.stripe", `{ flowLinks(filter: {connectionId: "$"}) { nodes { id } } }`},
	{"runs", "flow.in", `{ runs(filter: {flowId: "$"}) { nodes { id } } }`},
	{"runs", "link.in", `{ runs(filter: {flowLinkId: "$"}) { nodes { id } } }`},
	{"runs", "connection.stripe", `{ runs(filter: {connectionId: "$"}) { nodes { id } } }`},
	{"runs", "event.in", `{ runs(filter: {eventId: "$"}) { nodes { id } } }`},
	{"runs", "mapping.in", `{ runs(filter: {mappingId: "$"}) { nodes { id } } }`},
	{"effects", "run.in", `{ effects(filter: {runId: "$"}) { nodes { id } } }`},
	{"effects", "mapping.in", `{ effects(filter: {mappingId: "$"}) { nodes { id } } }`},
	{"effects", "connection.togai", `{ effects(filter: {connectionId: "$"}) { nodes { id } } }`},
	{"effects", "account.stripe", `{ effects(filter: {vendorAccountId: "$"}) { nodes { id } } }`},
	{"auditLog", "token.made", `{ auditLog(filter: {objectId: "$"}) { nodes { id } } }`},
	{"auditLog", "token.admin", `{ auditLog(filter: {tokenId: "$"}) { nodes { id } } }`},
	{"node", "audit.last", `{ node(id: "$") { id } }`},
	{"mappings", "mapping.in", `{ mappings(filter: {parentId: "$"}) { nodes { id } } }`},
	{"effectConflict", "effect.conflict", `{ effectConflict(id: "$") { id } }`},
	{"explain", "account.stripe", `{ explain(externalId: "x", vendorAccountId: "$") { id } }`},
	{"resolveEffect", "effect.conflict", `mutation { resolveEffect(input: {id: "$", resolution: GIVE_UP}) { effect { id } userErrors { field code message } } }`},
	{"replayRuns", "run.in", `mutation { replayRuns(input: {filter: {runIds: ["$"]}}) { replay { id } userErrors { field code message } } }`},
	{"replayRuns", "link.in", `mutation { replayRuns(input: {filter: {flowLinkId: "$"}}) { replay { id } userErrors { field code message } } }`},
	{"cancelReplay", "replay.made", `mutation { cancelReplay(input: {id: "$"}) { replay { id } userErrors { field code message } } }`},
	{"createMapping", "account.togai", `mutation { createMapping(input: {entity: "account", slots: [{vendorAccountId: "$", entity: "account", externalId: "x"}]}) { mapping { id } userErrors { field code message } } }`},
	{"createMapping", "mapping.in", `mutation { createMapping(input: {entity: "account", parentId: "$", slots: [{vendorAccountId: "nonsense", entity: "account", externalId: "x"}]}) { mapping { id } userErrors { field code message } } }`},
	{"updateMapping", "mapping.in", `mutation { updateMapping(input: {id: "$", name: "x"}) { mapping { id } userErrors { field code message } } }`},
	{"mergeMappings", "mapping.in", `mutation { mergeMappings(input: {id: "$", otherId: "OWNMAPPING"}) { mapping { id } userErrors { field code message } } }`},
	{"mergeMappings", "mapping.in", `mutation { mergeMappings(input: {id: "OWNMAPPING", otherId: "$"}) { mapping { id } userErrors { field code message } } }`},
	{"splitMapping", "mapping.in", `mutation { splitMapping(input: {id: "$", slots: []}) { mapping { id } userErrors { field code message } } }`},
	{"deleteMapping", "mapping.in", `mutation { deleteMapping(input: {id: "$"}) { deletedId userErrors { field code message } } }`},
	{"updateFlowLink", "link.in", `mutation { updateFlowLink(input: {id: "$", name: "x"}) { flowLink { id } userErrors { field code message } } }`},
	{"updateFlowLink", "connection.stripe", `mutation { updateFlowLink(input: {id: "OWNLINK", connections: [{key: "trigger", connectionId: "$"}, {key: "note", connectionId: "$"}]}) { flowLink { id } userErrors { field code message } } }`},
	{"checkFlow", "flow.in", `query { checkFlow(draft: {name: "x"}, flowId: "$") { code path expression } }`},
	{"previewFlow", "flow.in", `query { previewFlow(input: {flowId: "$", connections: []}) { problems { path code message } outcome } }`},
	{"previewFlow", "connection.stripe", `query { previewFlow(input: {flowId: "OWN", connections: [{key: "trigger", connectionId: "$"}]}) { problems { path code message } outcome } }`},
	{"createFlow", "flow.in", `mutation { createFlow(input: {copyOf: "$"}) { flow { id } userErrors { field code message } } }`},
	{"updateFlow", "flow.in", `mutation { updateFlow(input: {id: "$", revision: 1, document: {name: "x"}}) { flow { id } userErrors { field code message } } }`},
	{"publishFlow", "flow.in", `mutation { publishFlow(input: {id: "$", revision: 1}) { flow { id } userErrors { field code message } } }`},
	{"deleteFlow", "flow.in", `mutation { deleteFlow(input: {id: "$"}) { deletedId userErrors { field code message } } }`},
	{"updateConnection", "connection.stripe", `mutation { updateConnection(input: {id: "$", name: "Mine"}) { connection { id } userErrors { field code message } } }`},
	{"authorizeConnection", "connection.stripe", `mutation { authorizeConnection(input: {id: "$"}) { authorization { url } userErrors { field code message } } }`},
	{"testConnection", "connection.stripe", `mutation { testConnection(input: {id: "$"}) { connection { id } userErrors { field code message } } }`},
	{"deleteConnection", "connection.stripe", `mutation { deleteConnection(input: {id: "$"}) { deletedId userErrors { field code message } } }`},
	{"createFlowLink", "flow.in", `mutation { createFlowLink(input: {flowId: "$", name: "x", connections: []}) { flowLink { id } userErrors { field code message } } }`},
	{"createFlowLink", "connection.stripe", `mutation { createFlowLink(input: {flowId: "OWN", name: "x", connections: [{key: "trigger", connectionId: "$"}]}) { flowLink { id } userErrors { field code message } } }`},
	{"enableFlowLink", "link.in", `mutation { enableFlowLink(input: {id: "$"}) { flowLink { id } userErrors { field code message } } }`},
	{"disableFlowLink", "link.in", `mutation { disableFlowLink(input: {id: "$"}) { flowLink { id } userErrors { field code message } } }`},
	{"deleteFlowLink", "link.in", `mutation { deleteFlowLink(input: {id: "$"}) { deletedId userErrors { field code message } } }`},
	{"triggerFlow", "link.in", `mutation { triggerFlow(input: {id: "$", payload: {}}) { event { id } userErrors { field code message } } }`},
	{"cancelRun", "run.queued", `mutation { cancelRun(input: {id: "$"}) { run { id } userErrors { field code message } } }`},
	{"retryRun", "run.failed", `mutation { retryRun(input: {id: "$"}) { run { id } userErrors { field code message } } }`},
	{"releaseEvent", "event.in", `mutation { releaseEvent(input: {id: "$"}) { event { id } userErrors { field code message } } }`},
	{"revokeApiToken", "token.read", `mutation { revokeApiToken(input: {id: "$"}) { apiToken { id } userErrors { field code message } } }`},
}

var requestIDs = regexp.MustCompile(`req_\w+`)

// TestForeignIDs: what another organization has answers exactly as what nobody has, and stays as it is.
func TestForeignIDs(t *testing.T) {
	t.Parallel()
	d := openCounted(t)
	acme, other := newSite(t, d, "Acme"), newSite(t, d, "Other")
	acme.fill()
	other.fill()
	acme.contest()
	other.contest()
	acme.audited()
	other.audited()
	acme.replayed()
	other.replayed()
	before := other.rows()
	for _, c := range ofOthers {
		document := strings.NewReplacer("OWNMAPPING", acme.at["mapping.out"], "OWNLINK", acme.at["link.in"], "OWN", acme.at["flow.in"]).Replace(c.document)
		ask := func(id string) string {
			a := acme.ask(acme.tokens[auth.Admin], strings.ReplaceAll(document, "$", id), nil)
			return strings.ReplaceAll(requestIDs.ReplaceAllString(string(a.Data)+string(a.Errors), ""), id, "")
		}
		foreign := other.at[c.of]
		missing := model.KindOf(foreign).Of(db.NewID())
		answer := ask(foreign)
		if want := ask(missing); answer != want {
			t.Errorf("%s: a foreign %s answers\n%s\nand a missing one\n%s", c.field, c.of, answer, want)
		}
		if strings.Contains(answer, `"id":"`) || !strings.Contains(answer, "null") && !strings.Contains(answer, "[]") {
			t.Errorf("%s of a foreign %s: %s", c.field, c.of, answer)
		}
		if malformed := ask("nonsense"); strings.Contains(malformed, `"id":"`) || strings.Contains(malformed, "INTERNAL") {
			t.Errorf("%s of nonsense: %s", c.field, malformed)
		}
		if own := acme.ask(acme.tokens[auth.Admin], strings.ReplaceAll(document, "$", acme.at[c.of]), nil); strings.HasPrefix(document, "{") &&
			!strings.Contains(string(own.Data), `"id":"`) && c.of != "mapping.in" && c.of != "account.stripe" {
			t.Errorf("%s of an own %s finds nothing: %s", c.field, c.of, own.Data)
		}
	}
	if after := other.rows(); after != before {
		t.Errorf("the other organization's rows have changed: %s, before %s", after, before)
	}
}

// replayed has a replay begun.
func (s *site) replayed() {
	s.t.Helper()
	a := s.ask(s.tokens[auth.Admin], `mutation ($run: ID!) { replayRuns(input: {filter: {runIds: [$run]}}) { replay { id } } }`, vars("run", s.at["run.in"]))
	s.at["replay.made"] = textAt(s.t, a.Data, "replayRuns.replay.id")
}

// audited leaves entries in the audit log.
func (s *site) audited() {
	s.t.Helper()
	for _, name := range []string{"one", "two"} {
		a := s.ask(s.tokens[auth.Admin], `mutation ($name: String!) { createApiToken(input: {name: $name, scopes: [READ]}) { apiToken { id } } }`, vars("name", name))
		s.at["token.made"] = textAt(s.t, a.Data, "createApiToken.apiToken.id")
	}
	var last db.Audit
	check(s.t, s.db.NewSelect().Model(&last).Where("org_id = ?", s.org).OrderExpr("id DESC").Limit(1).Scan(s.t.Context()))
	s.at["audit.last"] = model.AuditID.Of(last.ID)
}

// rows sums up an organization's rows that mutations may touch.
func (s *site) rows() string {
	s.t.Helper()
	var sum string
	check(s.t, s.db.NewRaw(`SELECT concat_ws(' ',
		(SELECT string_agg(md5(c::text), '' ORDER BY id) FROM connections c WHERE org_id = ?0), (SELECT string_agg(md5(l::text), '' ORDER BY id) FROM flow_links l WHERE org_id = ?0),
		(SELECT string_agg(md5(r::text), '' ORDER BY id) FROM runs r WHERE org_id = ?0), (SELECT string_agg(md5(t::text), '' ORDER BY id) FROM api_tokens t WHERE org_id = ?0),
		(SELECT string_agg(md5(m::text), '' ORDER BY id) FROM mappings m WHERE org_id = ?0), (SELECT string_agg(md5(s::text), '' ORDER BY mapping_id, vendor_account_id, entity, role) FROM mapping_slots s WHERE org_id = ?0),
		(SELECT string_agg(md5(f::text), '' ORDER BY id) FROM effects f WHERE org_id = ?0), (SELECT string_agg(md5(p::text), '' ORDER BY id) FROM replays p WHERE org_id = ?0),
		(SELECT count(*) FROM events WHERE org_id = ?0), (SELECT count(*) FROM audit_log WHERE org_id = ?0))`, s.org).Scan(s.t.Context(), &sum))
	return sum
}

// TestForeignIDsAreTried: a field that takes an id is in the table above.
func TestForeignIDsAreTried(t *testing.T) {
	t.Parallel()
	tried := map[string]bool{}
	for _, c := range ofOthers {
		tried[c.field] = true
	}
	schema := executable(nil).Schema()
	takesID := func(typeName string) bool {
		def := schema.Types[typeName]
		return typeName == "ID" || def.IsInputType() && slices.ContainsFunc(def.Fields, func(f *ast.FieldDefinition) bool { return f.Type.Name() == "ID" })
	}
	for _, f := range slices.Concat(schema.Query.Fields, schema.Mutation.Fields) {
		for _, a := range f.Arguments {
			if takesID(a.Type.Name()) && !tried[f.Name] {
				t.Errorf("%s takes an id, and nobody tried a foreign one: %v", f.Name, slices.Sorted(maps.Keys(tried)))
			}
		}
	}
}
