package graph

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"tieline/graph/auth"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden.json")

// golden is a document of testdata with what it is sent with: "run.failed" is run.graphql once more.
type golden struct {
	name string
	vars map[string]any    // a text beginning with $ is a name of the site's
	keep map[string]string // what later documents ask for: name, and where in the answer it is
}

var queries = []golden{
	{name: "viewer"},
	{name: "app", vars: vars("key", "stripe")},
	{name: "app_authorization", vars: vars("key", "zohobooks")},
	{name: "apps"},
	{name: "connection", vars: vars("id", "$connection.stripe")},
	{name: "connections"},
	{name: "connections.filtered", vars: vars("filter", vars("app", "stripe", "state", "ACTIVE"))},
	{name: "input_schema", vars: vars("connectionId", "$connection.stripe", "action", "invoice.finalize")},
	{name: "input_schema.unknown", vars: vars("connectionId", "$connection.togai", "action", "invoice.finalize")},
	{name: "field_options", vars: vars("connectionId", "$connection.stripe", "action", "customer.update", "field", "customer_id", "search", "@", "first", 1)},
	{name: "field_options.searched", vars: vars("connectionId", "$connection.togai", "action", "account.get", "field", "account_id", "search", "beta")},
	{name: "field_options.unknown", vars: vars("connectionId", "$connection.togai", "action", "account.get", "field", "name")},
	{name: "flow", vars: vars("id", "$flow.in")},
	{name: "flows"},
	{name: "flows.outbound", vars: vars("filter", vars("kind", "SHIPPED", "direction", "OUTBOUND"))},
	{name: "flow_schema"},
	{name: "expression_scope", vars: vars("draft", ownFlow, "step", "account")},
	{name: "check_flow", vars: vars("draft", vars("name", "Broken", "trigger", vars("app", "stripe", "key", "customer.created"), "steps", []any{
		vars("key", "account", "app", "togai", "action", "customer.create", "input", vars("id", "{{ trigger.custmer_id }}", "name", "{{ steps.later.name }}", "emial", "a@b.test")),
		vars("key", "later", "app", "stripe", "action", "customer.update", "input", vars("customer_id", 7)),
	}), "flowId", "$flow.in")},
	{name: "preview_flow", vars: input("flowId", "$flow.out", "connections", []any{
		vars("key", "trigger", "connectionId", "$connection.togai"), vars("key", "customer", "connectionId", "$connection.stripe"), vars("key", "note", "connectionId", "$connection.togai")})},
	{name: "preview_flow.incomplete", vars: input("flowId", "$flow.out", "payload", vars("account_id", "gamma"), "connections", []any{
		vars("key", "trigger", "connectionId", "$connection.stripe"), vars("key", "customer", "connectionId", "$connection.stripe")})},
	{name: "preview_flow.event", vars: input("flowId", "$flow.in", "eventId", "$event.in", "connections", []any{
		vars("key", "trigger", "connectionId", "$connection.stripe"), vars("key", "account", "connectionId", "$connection.togai"), vars("key", "note", "connectionId", "$connection.stripe")})},
	{name: "flow_link", vars: vars("id", "$link.in")},
	{name: "flow_links"},
	{name: "flow_links.using", vars: vars("filter", vars("connectionId", "$connection.stripe", "flowId", "$flow.out"))},
	{name: "event", vars: vars("id", "$event.in")},
	{name: "event.by_hand", vars: vars("id", "$event.queued")},
	{name: "events"},
	{name: "events.through", vars: vars("filter", vars("connectionId", "$connection.old"))},
	{name: "run", vars: vars("id", "$run.in")},
	{name: "run.old", vars: vars("id", "$run.old")},
	{name: "run.echo", vars: vars("id", "$run.out.echo")},
	{name: "run.failed", vars: vars("id", "$run.failed")},
	{name: "runs"},
	{name: "runs.filtered", vars: vars("first", 2, "filter", vars("flowLinkId", "$link.in", "flowId", "$flow.in", "connectionId", "$connection.stripe"))},
	{name: "runs.of_event", vars: vars("filter", vars("eventId", "$event.out", "mappingId", "$mapping.out", "state", "SUCCEEDED"))},
	{name: "effect", vars: vars("id", "$effect.create")},
	{name: "effects"},
	{name: "effects.filtered", vars: vars("filter", vars("runId", "$run.in", "mappingId", "$mapping.in", "connectionId", "$connection.togai", "vendorAccountId", "$account.togai", "state", "CONFIRMED"))},
	{name: "mapping", vars: vars("id", "$mapping.in")},
	{name: "mappings"},
	{name: "mappings.filtered", vars: vars("filter", vars("entity", "account"))},
	{name: "mapping_by_external_id", vars: vars("app", "togai", "entity", "account", "externalId", "beta")},
	{name: "mapping_by_external_id.in_account", vars: vars("app", "stripe", "entity", "customer", "externalId", "$record.in", "vendorAccountId", "$account.stripe")},
	{name: "payment_link", vars: vars("accountId", "beta", "pricePlanId", "pp.gold")},
	{name: "attention"},
	{name: "explain", vars: vars("externalId", "$record.in")},
	{name: "explain.narrowed", vars: vars("externalId", "beta", "app", "togai", "entity", "account")},
	{name: "explain.unknown", vars: vars("externalId", "nobody")},
	{name: "api_tokens"},
	{name: "node", vars: vars("id", "$run.failed")},
	{name: "nodes", vars: vars("ids", []any{
		"$run.failed", "$connection.stripe", "$connection.old", "$link.in", "$link.old", "app_togai", "app_none", "$event.in", "$mapping.in",
		"$effect.create", "$flow.out", "$account.stripe", "$token.read", "$run.failed", "run_nonsense", "",
	})},
}

// mutations change one site, one after the other.
var mutations = []golden{
	{name: "create_api_token", vars: input("name", "CI", "scopes", []any{"READ", "TRIGGER", "READ"}, "expiresAt", "2999-01-01T00:00:00+01:00"),
		keep: map[string]string{"made.token": "createApiToken.apiToken.id"}},
	{name: "audit_log", vars: vars("filter", vars("field", "createApiToken", "objectId", "$made.token", "tokenId", "$token.admin"))},
	{name: "revoke_api_token", vars: input("id", "$made.token", "idempotencyKey", "k1")},
	{name: "create_connection", vars: input("app", "stripe", "name", "Second key", "credentials", vars("api_key", "$key"), "idempotencyKey", "k1"),
		keep: map[string]string{"made.connection": "createConnection.connection.id"}},
	{name: "update_connection", vars: input("id", "$made.connection", "name", "Narrow key")},
	{name: "update_connection.credentials", vars: input("id", "$made.connection", "credentials", vars("api_key", "$key", "account_id", nil))},
	{name: "authorize_connection", vars: input("app", "zohobooks", "name", "Books", "returnUrl", "https://console.example.com/apps", "credentials",
		vars("mode", "test", "data_center", "eu", "client_id", "1000.CLIENT", "client_secret", "hush"))},
	{name: "authorize_connection.not_in_a_browser", vars: input("id", "$made.connection", "returnUrl", "https://evil.test/")},
	{name: "test_connection", vars: input("id", "$made.connection")},
	{name: "update_connection.rotated", vars: input("id", "$made.connection", "rotateWebhookSecret", true)},
	{name: "create_flow_link", vars: input("flowId", "$flow.in", "name", "Narrow", "params", vars("checkoutWait", 0), "connections", []any{
		vars("key", "trigger", "connectionId", "$made.connection"), vars("key", "account", "connectionId", "$connection.togai"), vars("key", "note", "connectionId", "$made.connection"),
	}), keep: map[string]string{"made.link": "createFlowLink.flowLink.id"}},
	{name: "enable_flow_link", vars: input("id", "$made.link")},
	{name: "delete_connection.in_use", vars: input("id", "$made.connection")},
	{name: "trigger_flow", vars: input("id", "$made.link", "payload", "$sample")},
	{name: "trigger_flow.incomplete", vars: input("id", "$made.link", "payload", vars("customer_id", "cus_1", "name", 7))},
	{name: "disable_flow_link", vars: input("id", "$made.link")},
	{name: "update_flow_link.look", vars: input("id", "$made.link", "dryRun", true, "connections", []any{vars("key", "trigger", "connectionId", "$connection.stripe"), vars("key", "note", "connectionId", "$connection.stripe")})},
	{name: "update_flow_link", vars: input("id", "$made.link", "name", "Moved", "filter", "trigger.currency == 'eur'", "redact", []any{"email", "address.line1"}, "params", vars("checkoutWait", 1), "connections", []any{
		vars("key", "trigger", "connectionId", "$connection.stripe"), vars("key", "note", "connectionId", "$connection.stripe"),
	})},
	{name: "update_flow_link.refused", vars: input("id", "$made.link", "name", "", "filter", "trigger.currency ==", "params", vars("checkoutWait", "soon"), "connections", []any{vars("key", "account", "connectionId", "$connection.stripe")})},
	{name: "delete_flow_link", vars: input("id", "$made.link")},
	{name: "delete_connection", vars: input("id", "$made.connection")},
	{name: "cancel_run", vars: input("id", "$run.queued")},
	{name: "cancel_run.over", vars: input("id", "$run.in")},
	{name: "retry_run", vars: input("id", "$run.failed")},
	{name: "retry_run.over", vars: input("id", "$run.in")},
	{name: "replay_runs.count", vars: input("filter", vars("flowLinkId", "$link.in"), "dryRun", true)},
	{name: "replay_runs", vars: input("filter", vars("runIds", []any{"$run.in"}), "expected", 1), keep: map[string]string{"made.replay": "replayRuns.replay.id"}},
	{name: "cancel_replay", vars: input("id", "$made.replay")},
	{name: "cancel_replay.unknown", vars: input("id", "$run.in")},
	{name: "replay_runs.unexpected", vars: input("filter", vars("flowLinkId", "$link.in"), "expected", 9)},
	{name: "replay_runs.all", vars: input("filter", vars())},
	{name: "create_mapping.look", vars: input("entity", "customer", "name", "Gamma", "slots", []any{vars("vendorAccountId", "$account.stripe", "entity", "customer", "externalId", "cus_gamma")}, "dryRun", true)},
	{name: "create_mapping", vars: input("entity", "customer", "name", "Gamma", "slots", []any{
		vars("vendorAccountId", "$account.stripe", "entity", "customer", "externalId", "cus_gamma"), vars("vendorAccountId", "$account.togai", "entity", "customer", "externalId", "gamma"),
	}), keep: map[string]string{"made.mapping": "createMapping.mapping.id"}},
	{name: "create_mapping.refused", vars: input("entity", "", "slots", []any{})},
	{name: "create_mapping.taken", vars: input("entity", "customer", "slots", []any{vars("vendorAccountId", "$account.stripe", "entity", "customer", "externalId", "cus_gamma")})},
	{name: "update_mapping", vars: input("id", "$made.mapping", "name", "Gamma Ltd", "set", []any{
		vars("vendorAccountId", "$account.togai", "entity", "customer", "externalId", "gamma2"), vars("vendorAccountId", "$account.togai", "entity", "account", "externalId", "gamma2"),
	}, "remove", []any{vars("vendorAccountId", "$account.stripe", "entity", "customer")})},
	{name: "split_mapping", vars: input("id", "$made.mapping", "name", "Gamma's account", "slots", []any{vars("vendorAccountId", "$account.togai", "entity", "account")}),
		keep: map[string]string{"split.mapping": "splitMapping.mapping.id"}},
	{name: "explain.by_hand", vars: vars("externalId", "gamma2", "entity", "account")},
	{name: "merge_mappings.look", vars: input("id", "$made.mapping", "otherId", "$split.mapping", "dryRun", true)},
	{name: "merge_mappings", vars: input("id", "$made.mapping", "otherId", "$split.mapping")},
	{name: "delete_mapping", vars: input("id", "$made.mapping")},
	{name: "release_event", vars: input("id", "$event.failed")},
	{name: "release_event.not_held", vars: input("id", "$event.in")},
	{name: "create_connection.narrow", vars: input("app", "stripe", "name", "May not read checkouts", "credentials", vars("api_key", "$narrow")),
		keep: map[string]string{"narrow.connection": "createConnection.connection.id"}},
	{name: "create_flow_link.narrow", vars: input("flowId", "$flow.in", "name", "May not", "connections", []any{
		vars("key", "trigger", "connectionId", "$narrow.connection"), vars("key", "account", "connectionId", "$connection.togai"), vars("key", "note", "connectionId", "$narrow.connection"),
	}), keep: map[string]string{"narrow.link": "createFlowLink.flowLink.id"}},
	{name: "enable_flow_link.lacking", vars: input("id", "$narrow.link")},
	{name: "create_flow", vars: input("document", ownFlow, "name", "Accounts for customers"), keep: map[string]string{"made.flow": "createFlow.flow.id"}},
	{name: "create_flow.copy", vars: input("copyOf", "$flow.in", "name", "My own customers in")},
	{name: "publish_flow.stale", vars: input("id", "$made.flow", "revision", 7)},
	{name: "publish_flow", vars: input("id", "$made.flow", "revision", 1)},
	{name: "update_flow.broken", vars: input("id", "$made.flow", "revision", 1, "text", "name: Broken\ntrigger: {app: stripe, key: customer.created}\nsteps:\n  - {key: a, app: togai, action: customer.create, input: {name: '{{ trigger.nmae }}'}}\n")},
	{name: "publish_flow.broken", vars: input("id", "$made.flow", "revision", 2)},
	{name: "publish_flow.again", vars: input("id", "$made.flow", "version", 1)},
	{name: "update_flow.shipped", vars: input("id", "$flow.in", "revision", 0, "document", vars("name", "Mine"))},
	{name: "flow_versions", vars: vars("id", "$made.flow", "first", 1)},
	{name: "delete_flow", vars: input("id", "$made.flow")},
	{name: "delete_flow.shipped", vars: input("id", "$flow.in")},
}

// contested come after a write that waits for a person.
var contested = []golden{
	{name: "retry_run.start", vars: input("id", "$run.failed", "from", "START")},
	{name: "effect_conflict", vars: vars("id", "$effect.conflict")},
	{name: "effect_conflict.none", vars: vars("id", "$effect.create")},
	{name: "attention.conflict", vars: vars("kind", "CONFLICT", "first", 1)},
	{name: "resolve_effect", vars: input("id", "$effect.conflict", "resolution", "ADOPT")},
	{name: "resolve_effect.again", vars: input("id", "$effect.conflict", "resolution", "GIVE_UP")},
}

// ownFlow is a flow that somebody makes.
var ownFlow = vars("name", "Accounts for customers", "description", "Makes an account in Togai for each customer in Stripe.",
	"trigger", vars("app", "stripe", "key", "customer.created", "when", "trigger.email != ''"),
	"params", vars("currency", vars("type", "string", "default", "")),
	"steps", []any{
		vars("key", "account", "name", "Make the account", "app", "togai", "action", "customer.create", "onError", "continue", "retry", vars("tries", 3),
			"input", vars("id", "{{ trigger.customer_id }}", "name", "{{ coalesce(trigger.name, trigger.email) }}", "email", "{{ trigger.email }}", "currency", "{{ coalesce(trigger.currency, params.currency, null) }}")),
		vars("key", "note", "name", "Write its id down", "app", "stripe", "action", "customer.update",
			"input", vars("customer_id", "{{ trigger.customer_id }}", "metadata", vars("togai_account_id", "{{ steps.account.account_id }}"))),
	})

func vars(pairs ...any) map[string]any {
	out := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i].(string)] = pairs[i+1]
	}
	return out
}

func input(pairs ...any) map[string]any { return vars("input", vars(pairs...)) }

func TestGolden(t *testing.T) {
	t.Parallel()
	if *update && os.Getenv("CI") != "" {
		t.Fatal("golden files are not rewritten in CI")
	}
	s := newSite(t, openCounted(t), "Acme")
	s.fill()
	s.at["key"], s.at["narrow"] = s.stripe.Key(), s.stripe.First().RestrictedKey("rak_checkout_session_read")
	for _, g := range queries {
		t.Run(g.name, func(t *testing.T) { s.golden(t, g, 3) })
	}
	s.hold("event.failed")
	for _, g := range mutations {
		t.Run(g.name, func(t *testing.T) { s.golden(t, g, 1) })
	}
	s.contest()
	for _, g := range contested {
		t.Run(g.name, func(t *testing.T) { s.golden(t, g, 1) })
	}
}

// golden compares an answer with what is kept of it. A busy machine may tear a batch apart, so that there are more
// statements than there should be; a query is then asked again.
func (s *site) golden(t *testing.T, g golden, tries int) {
	document := g.document(t)
	file := filepath.Join("testdata", g.name+".golden.json")
	want, err := os.ReadFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	var got []byte
	var a answer
	for n := 0; n < tries && (n == 0 || !bytes.Equal(got, want)); n++ {
		a = s.ask(s.tokens[auth.Admin], document, s.fillIn(t, g.vars).(map[string]any))
		got = masked(t, a)
		if *update && n > 0 {
			break
		}
	}
	for name, path := range g.keep {
		s.at[name] = textAt(t, a.Data, path)
	}
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(got, want) {
		t.Errorf("%s is another now; -update rewrites it\n%s\nstatements:\n%s", file, diff(string(want), string(got)), strings.Join(a.sql, "\n"))
	}
}

func (g golden) document(t *testing.T) string {
	t.Helper()
	name, _, _ := strings.Cut(g.name, ".")
	b, err := os.ReadFile(filepath.Join("testdata", name+".graphql"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fillIn replaces names by what they stand for.
func (s *site) fillIn(t *testing.T, v any) any {
	t.Helper()
	switch v := v.(type) {
	case string:
		name, is := strings.CutPrefix(v, "$")
		if !is {
			return v
		}
		if name == "sample" {
			return s.sample
		}
		if s.at[name] == "" {
			t.Fatalf("nothing is called %s: %v", v, slices.Sorted(maps.Keys(s.at)))
		}
		return s.at[name]
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = s.fillIn(t, x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = s.fillIn(t, x)
		}
		return out
	}
	return v
}

// textAt is the text at a path of an answer.
func textAt(t testing.TB, data json.RawMessage, path string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("no %s in %s", path, data)
		}
		v = m[part]
	}
	text, ok := v.(string)
	if !ok {
		t.Fatalf("%s is %v in %s", path, v, data)
	}
	return text
}

// masks are what differs between two runs of a test. A value becomes its kind and a number, the same for the same
// value, so that it still shows who is who; without a kind it is only hidden.
var masks = []struct {
	kind string // $1 stands for the first group
	is   *regexp.Regexp
}{
	{"", regexp.MustCompile(`("durationMs"): (\d+)`)},
	{"", regexp.MustCompile(`("(?:vendorRequestId|requestId|idempotency_key)"): ("[^"]+")`)},
	{"", regexp.MustCompile(`("(?:created|current_period_\w+)"): (\d{10})`)},
	{"", regexp.MustCompile(`("secret"): ("tl_\w+")`)},
	{"", regexp.MustCompile(`("(?:invoice_prefix)"): ("[^"]+")`)},
	{"cursor", regexp.MustCompile(`"(?:cursor|startCursor|endCursor|feedCursor)": "([^"]+)"`)},
	{"", regexp.MustCompile(`("\w+"): ("20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z")`)}, // without a number: two may be equal by chance
	{"$1", regexp.MustCompile(`\b([a-z]{2,4}|viewer_org)_[0-7][0-9a-hjkmnp-tv-z]{25}\b`)},
	{"uuid", regexp.MustCompile(`\b([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b`)},
	{"$1", regexp.MustCompile(`\b(cus|evt|acct|we|req)_[A-Za-z0-9]{10,}\b`)},
	{"$1", regexp.MustCompile(`\b(account|customer)\.[A-Za-z0-9]{11}\.[A-Za-z0-9]{5}\b`)},
	{"last4", regexp.MustCompile(`…(\w{4})\b`)},
	{"host", regexp.MustCompile(`(http://127\.0\.0\.1:\d+)`)},
	{"state", regexp.MustCompile(`/oauth/start/([\w-]{32})`)},
	{"token", regexp.MustCompile(`/webhooks/\w+/([\w-]{32})`)},
}

// masked is an answer as it is kept.
func masked(t *testing.T, a answer) []byte {
	t.Helper()
	raw, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(b.String())
	for _, m := range masks {
		seen := map[string]string{}
		count := map[string]int{}
		text = m.is.ReplaceAllStringFunc(text, func(found string) string {
			groups := m.is.FindStringSubmatch(found)
			if m.kind == "" {
				return groups[1] + `: "<>"`
			}
			kind, value := m.kind, groups[1]
			if kind == "$1" {
				kind, value = groups[1], found
			}
			if seen[value] == "" {
				count[kind]++
				seen[value] = fmt.Sprintf("<%s:%d>", kind, count[kind])
			}
			return strings.Replace(found, value, seen[value], 1)
		})
	}
	return []byte(text + "\n")
}

// diff shows the lines that are not the same.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var out []string
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			out = append(out, fmt.Sprintf("%d: - %s\n%d: + %s", i+1, a, i+1, b))
		}
	}
	return strings.Join(out[:min(len(out), 12)], "\n")
}

// TestEveryFieldHasAGoldenDocument: whoever adds a query or a mutation writes one for it.
func TestEveryFieldHasAGoldenDocument(t *testing.T) {
	t.Parallel()
	asked := map[string]bool{}
	for _, g := range slices.Concat(queries, mutations, contested) {
		doc, err := parser.ParseQuery(&ast.Source{Input: g.document(t)})
		if err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
		for _, op := range doc.Operations {
			for _, sel := range op.SelectionSet {
				asked[string(op.Operation)+" "+sel.(*ast.Field).Name] = true
			}
		}
	}
	schema := executable(nil).Schema()
	for operation, root := range map[ast.Operation]*ast.Definition{ast.Query: schema.Query, ast.Mutation: schema.Mutation} {
		for _, f := range root.Fields {
			if !strings.HasPrefix(f.Name, "__") && !asked[string(operation)+" "+f.Name] {
				t.Errorf("%s %s has none", operation, f.Name)
			}
		}
	}
}
