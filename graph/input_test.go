package graph

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

// refusedWith is what a bad input is answered with: the code of a top-level error or of a user error, and its path.
func refusedWith(t *testing.T, a answer) string {
	t.Helper()
	if len(a.Errors) > 0 {
		var errs []struct {
			Message    string
			Extensions struct{ Code, RequestID string }
		}
		if err := json.Unmarshal(a.Errors, &errs); err != nil || errs[0].Extensions.RequestID == "" || errs[0].Message == "" {
			t.Errorf("an error without message or request id: %s", a.Errors)
		}
		return errs[0].Extensions.Code
	}
	var data map[string]struct {
		UserErrors []struct {
			Field         []string
			Code, Message string
		}
	}
	if json.Unmarshal(a.Data, &data) != nil {
		return ""
	}
	for _, payload := range data {
		var all []string
		for _, e := range payload.UserErrors {
			all = append(all, strings.Trim(fmt.Sprintf("%s %s", strings.Join(e.Field, "."), e.Code), " "))
			if e.Code != flow.CodeUnauthorized && !strings.HasSuffix(e.Message, ".") && !strings.Contains(e.Message, ". ") {
				t.Errorf("%q is no sentence", e.Message) // what a vendor says of credentials is its own
			}
		}
		return strings.Join(all, ", ")
	}
	return ""
}

// TestPages: sizes and cursors that are no use, at each list of the schema's root.
func TestPages(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	admin := s.tokens[auth.Admin]
	for _, list := range []string{"apps", "connections", "flows", "flowLinks", "events", "runs", "mappings", "effects", "apiTokens", "auditLog"} {
		foreign := cursor("others", db.NewID().String())
		for args, want := range map[string]Code{
			"first: 0": BadUserInput, "first: -1": BadUserInput, "first: 101": BadUserInput, "last: 0": BadUserInput, "last: 101": BadUserInput,
			"first: 1, last: 1": BadUserInput, `after: "nonsense"`: BadUserInput, `before: ""`: BadUserInput, `after: "` + foreign + `"`: BadUserInput,
			`first: "1"`: ValidationFailed, "first: 100": "", "last: 100": "", "first: 2147483648": BadUserInput,
		} {
			a := s.ask(admin, "{ "+list+"("+args+") { nodes { id } } }", nil)
			if got := refusedWith(t, a); got != string(want) {
				t.Errorf("%s(%s): %q, want %q: %s", list, args, got, want, a.Errors)
			}
		}
		if list != "apps" {
			if got := refusedWith(t, s.ask(admin, "{ "+list+`(after: "`+cursor(list, "7")+`") { nodes { id } } }`, nil)); got != string(BadUserInput) {
				t.Errorf("%s: a garbled key: %q", list, got)
			}
		}
	}
	if got := refusedWith(t, s.ask(admin, "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", vars("ids", make([]string, 101)))); got != string(BadUserInput) {
		t.Errorf("101 nodes: %q", got)
	}
}

// TestPaging walks lists both ways, page by page, and sees each row once and in order.
func TestPaging(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	s.fill()
	s.audited()
	type conn struct {
		Nodes    []struct{ ID string }
		PageInfo struct {
			HasNextPage, HasPreviousPage bool
			StartCursor, EndCursor       *string
		}
	}
	for _, list := range []string{"apps", "connections", "flows", "flowLinks", "events", "runs", "mappings", "effects", "apiTokens", "auditLog"} {
		read := func(args string) conn {
			t.Helper()
			a := s.ask(s.tokens[auth.Admin], "{ it: "+list+args+" { nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }", nil)
			var data struct{ It conn }
			if err := json.Unmarshal(a.Data, &data); err != nil || len(a.Errors) > 0 {
				t.Fatalf("%s%s: %v %s", list, args, err, a.Errors)
			}
			return data.It
		}
		whole := read("(first: 100)")
		var forward, backward []string
		for at := ""; ; {
			p := read("(first: 1" + at + ")")
			if len(p.Nodes) > 1 || p.PageInfo.HasNextPage && len(p.Nodes) != 1 {
				t.Fatalf("%s: a page of %d", list, len(p.Nodes))
			}
			forward = append(forward, p.Nodes[0].ID)
			if !p.PageInfo.HasNextPage {
				break
			}
			at = `, after: "` + *p.PageInfo.EndCursor + `"`
		}
		for at := ""; ; {
			p := read("(last: 1" + at + ")")
			backward = append([]string{p.Nodes[0].ID}, backward...)
			if !p.PageInfo.HasPreviousPage {
				break
			}
			at = `, before: "` + *p.PageInfo.StartCursor + `"`
		}
		var all []string
		for _, n := range whole.Nodes {
			all = append(all, n.ID)
		}
		if want := strings.Join(all, " "); strings.Join(forward, " ") != want || strings.Join(backward, " ") != want || len(all) < 2 {
			t.Errorf("%s:\n%v forward\n%v backward\n%v at once", list, forward, backward, all)
		}
		if p := read(`(first: 5, after: "` + *whole.PageInfo.EndCursor + `")`); len(p.Nodes) != 0 || p.PageInfo.EndCursor != nil {
			t.Errorf("%s: something comes after the end: %v", list, p)
		}
		if between := read(`(last: 1, after: "` + *whole.PageInfo.StartCursor + `")`); between.Nodes[0].ID != all[len(all)-1] {
			t.Errorf("%s: the last after the first is %v", list, between.Nodes)
		}
	}
}

// TestBadInput: each with its clear answer.
func TestBadInput(t *testing.T) {
	t.Parallel()
	d := openCounted(t)
	s := newSite(t, d, "Acme")
	s.fill()
	other := newSite(t, d, "Other")
	other.customer("Elsewhere", "e@else.test")
	s.at["key"], s.at["live"] = s.stripe.Key(), s.stripe.First().LiveKey()
	admin := s.tokens[auth.Admin]
	connect := `mutation ($input: CreateConnectionInput!) { createConnection(input: $input) { connection { id } userErrors { field code message } } }`
	change := `mutation ($input: UpdateConnectionInput!) { updateConnection(input: $input) { connection { id } userErrors { field code message } } }`
	link := `mutation ($input: CreateFlowLinkInput!) { createFlowLink(input: $input) { flowLink { id } userErrors { field code message } } }`
	trigger := `mutation ($input: TriggerFlowInput!) { triggerFlow(input: $input) { event { id } userErrors { field code message } } }`
	token := `mutation ($input: CreateApiTokenInput!) { createApiToken(input: $input) { apiToken { id } secret userErrors { field code message } } }`
	slots := []any{vars("key", "trigger", "connectionId", "$connection.stripe"), vars("key", "account", "connectionId", "$connection.togai"), vars("key", "note", "connectionId", "$connection.stripe")}
	for name, c := range map[string]struct {
		document string
		vars     map[string]any
		want     string
	}{
		"name taken":             {connect, input("app", "stripe", "name", " stripe ", "credentials", vars("api_key", "$key")), "name TAKEN"},
		"no name":                {connect, input("app", "stripe", "name", " ", "credentials", vars("api_key", "$key")), "name INVALID"},
		"unknown app":            {connect, input("app", "slack", "name", "x", "credentials", vars()), "app NOT_FOUND"},
		"bad credentials":        {connect, input("app", "stripe", "name", "x", "credentials", vars("api_key", "sk_test_nobodyknowsthiskey")), "credentials.api_key UNAUTHORIZED"},
		"a key of another kind":  {connect, input("app", "stripe", "name", "x", "credentials", vars("api_key", "pk_test_123456789012345")), "credentials.api_key INVALID"},
		"no credentials":         {connect, input("app", "stripe", "name", "x", "credentials", vars()), "credentials.api_key REQUIRED"},
		"credentials are a text": {connect, input("app", "stripe", "name", "x", "credentials", "sk_test_1"), "credentials INVALID"},
		"credentials are null":   {connect, input("app", "stripe", "name", "x", "credentials", nil), string(ValidationFailed)},
		"a credential is a number": {connect, input("app", "stripe", "name", "x", "credentials", vars("api_key", 7, "account_id", true)),
			"credentials.account_id INVALID, credentials.api_key INVALID"},
		"unknown field":                  {connect, input("app", "stripe", "name", "x", "credentials", vars("api_key", "$key", "colour", "red")), "credentials.colour UNKNOWN_FIELD"},
		"another choice":                 {connect, input("app", "togai", "name", "x", "credentials", vars("environment", "moon", "api_token", "t", "organization_id", "o")), "credentials.environment INVALID"},
		"a name that is in use":          {change, input("id", "$connection.togai", "name", "STRIPE"), "name TAKEN"},
		"a name that is null":            {change, input("id", "$connection.stripe", "name", nil), "name INVALID"},
		"the other mode":                 {change, input("id", "$connection.stripe", "credentials", vars("api_key", "$live")), "credentials MODE_MISMATCH"},
		"a key of two lines":             {change, input("id", "$connection.stripe", "credentials", vars("api_key", "sk_test_one\nsk_test_two")), "credentials.api_key INVALID"},
		"a secret that is none":          {connect, input("app", "stripe", "name", "x", "credentials", vars("api_key", "$key"), "webhookSecret", "sk_test_1"), "webhookSecret INVALID"},
		"a secret for Togai":             {change, input("id", "$connection.togai", "webhookSecret", "whsec_1234567890"), "webhookSecret INVALID"},
		"a registered's secret":          {change, input("id", "$connection.stripe", "webhookSecret", "whsec_1234567890"), "webhookSecret WRONG_STATE"},
		"a registered's secret, emptied": {change, input("id", "$connection.stripe", "webhookSecret", nil), "webhookSecret WRONG_STATE"},
		"rotated by nobody":              {change, input("id", "$connection.togai", "rotateWebhookSecret", true), "rotateWebhookSecret WRONG_STATE"},
		"needed and emptied":             {change, input("id", "$connection.stripe", "credentials", vars("api_key", nil)), "credentials.api_key REQUIRED"},
		"a deleted connection":           {change, input("id", "$connection.old", "name", "x"), "id NOT_FOUND"},
		"an id of another kind":          {change, input("id", "$run.in", "name", "x"), "id NOT_FOUND"},
		"a link's name taken":            {link, input("flowId", "$flow.in", "name", "customers IN", "connections", slots), "name TAKEN"},
		"connections missing":            {link, input("flowId", "$flow.in", "name", "x", "connections", []any{}), "connections.trigger REQUIRED, connections.account REQUIRED, connections.note REQUIRED"},
		"a connection twice":             {link, input("flowId", "$flow.in", "name", "x", "connections", append(slots, slots[0])), "connections.trigger INVALID"},
		"of another app":                 {link, input("flowId", "$flow.in", "name", "x", "connections", append(slots[1:], vars("key", "trigger", "connectionId", "$connection.togai"))), "connections.trigger INVALID"},
		"no such step":                   {link, input("flowId", "$flow.in", "name", "x", "connections", append(slots, vars("key", "fly", "connectionId", "$connection.togai"))), "connections.fly UNKNOWN_FIELD"},
		"no such parameter":              {link, input("flowId", "$flow.in", "name", "x", "connections", slots, "params", vars("speed", 1)), "params.speed UNKNOWN_FIELD"},
		"parameters are a list":          {link, input("flowId", "$flow.in", "name", "x", "connections", slots, "params", []any{1}), "params INVALID"},
		"a link that is gone":            {trigger, input("id", "$link.old", "payload", "$sample"), "id NOT_FOUND"},
		"a payload of nothing":           {trigger, input("id", "$link.in", "payload", "text"), "payload INVALID"},
		"no scopes":                      {token, input("name", "x", "scopes", []any{}), "scopes REQUIRED"},
		"no such scope":                  {token, input("name", "x", "scopes", []any{"FLY"}), string(ValidationFailed)},
		"expired before made":            {token, input("name", "", "scopes", []any{"READ"}, "expiresAt", "2001-01-01T00:00:00Z"), "name INVALID, expiresAt INVALID"},
		"a character no text has":        {token, input("name", "a\x00b", "scopes", []any{"READ"}), string(BadUserInput)},
		"deep in a payload":              {trigger, input("id", "$link.in", "payload", vars("name", []any{vars("x", "a\x00b")})), string(BadUserInput)},
		"a name too long":                {token, input("name", strings.Repeat("ü", 101), "scopes", []any{"READ"}), "name INVALID"},
		"past the calendar":              {token, input("name", "x", "scopes", []any{"READ"}, "expiresAt", "9999-12-31T23:59:59-12:00"), "expiresAt INVALID"},
		"no moment":                      {token, input("name", "x", "scopes", []any{"READ"}, "expiresAt", "tomorrow"), string(BadUserInput)},
		"an idempotency key":             {token, input("name", "x", "scopes", []any{"READ"}, "idempotencyKey", strings.Repeat("k", 256)), "idempotencyKey INVALID"},
		"a field the input lacks":        {token, input("name", "x", "scopes", []any{"READ"}, "colour", "red"), string(ValidationFailed)},
	} {
		a := s.ask(admin, c.document, s.fillIn(t, c.vars).(map[string]any))
		if got := refusedWith(t, a); got != c.want {
			t.Errorf("%s: %q, want %q: %s %s", name, got, c.want, a.Data, a.Errors)
		}
		for _, secret := range []string{s.at["key"], s.at["live"], "sk_test_nobodyknowsthiskey"} {
			if strings.Contains(string(a.Data)+string(a.Errors), secret) {
				t.Errorf("%s: the answer holds a secret", name)
			}
		}
	}
	var kept int
	check(t, d.NewRaw("SELECT count(*) FROM connections WHERE org_id = ? AND deleted_at IS NULL", s.org).Scan(t.Context(), &kept))
	if kept != 2 {
		t.Errorf("%d connections, of 2", kept)
	}
	elsewhere := other.stripe.First().Customers()[0]["id"].(string)
	a := s.ask(admin, `query ($id: String!) { mappingByExternalId(app: "stripe", entity: "customer", externalId: $id) { id } }`, vars("id", elsewhere))
	if string(a.Data) != `{"mappingByExternalId":null}` {
		t.Errorf("another organization's record: %s", a.Data)
	}
}

// TestTheVendorIsAway: nothing is kept, and the answer says what to do.
func TestTheVendorIsAway(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	key := s.stripe.Key()
	s.stripe.Close()
	a := s.ask(s.tokens[auth.Write], `mutation ($key: JSON!) { createConnection(input: {app: "stripe", name: "x", credentials: $key, idempotencyKey: "k"}) { connection { id } userErrors { field code message } } }`,
		vars("key", vars("api_key", key)))
	if got := refusedWith(t, a); got != flow.CodeUnavailable {
		t.Errorf("%q: %s %s", got, a.Data, a.Errors)
	}
	var left int
	check(t, s.db.NewRaw("SELECT (SELECT count(*) FROM claims) + (SELECT count(*) FROM connections)").Scan(t.Context(), &left))
	if left != 0 {
		t.Errorf("%d rows were left", left)
	}
}

// TestCallers: who may not is told why.
func TestCallers(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	expired := s.token("expired", time.Now().Add(-time.Second), auth.Admin)
	revoked := s.token("revoked", time.Time{}, auth.Admin)
	id, err := model.TokenID.Parse(s.at["token.revoked"])
	check(t, err)
	check(t, db.RevokeToken(t.Context(), s.db, s.org, id))
	for name, token := range map[string]string{"expired": expired, "revoked": revoked, "unknown": auth.NewSecret(), "nonsense": "x"} {
		for _, document := range []string{"{ viewer { id } }", `mutation { cancelRun(input: {id: "x"}) { userErrors { code } } }`} {
			if a := s.ask(token, document, nil); a.Status != 401 || refusedWith(t, a) != string(Unauthenticated) {
				t.Errorf("%s: %d %s", name, a.Status, a.Errors)
			}
		}
	}
	if a := s.ask(expired, "{ viewer { id } }", nil); !strings.Contains(string(a.Errors), "expired") {
		t.Errorf("%s", a.Errors)
	}
	if a := s.ask(revoked, "{ viewer { id } }", nil); !strings.Contains(string(a.Errors), "revoked") {
		t.Errorf("%s", a.Errors)
	}
	// Each field with each scope: those it does not need do not open it.
	schema := executable(nil).Schema()
	documents := map[string]string{}
	for _, g := range append(queries, mutations...) {
		name, _, _ := strings.Cut(g.name, ".")
		documents[name] = g.document(t)
	}
	for name, document := range documents {
		field := strings.TrimSpace(strings.SplitN(document, "\n", 3)[1])
		field = strings.TrimSuffix(strings.TrimSuffix(strings.SplitN(field, "(", 2)[0], "{"), " ")
		def := schema.Query.Fields.ForName(field)
		if def == nil {
			def = schema.Mutation.Fields.ForName(field)
		}
		if def == nil {
			t.Fatalf("%s: no field %q", name, field)
		}
		needs := auth.Scope(def.Directives.ForName("scope").Arguments.ForName("needs").Value.Raw)
		for _, scope := range []auth.Scope{auth.Read, auth.Write, auth.Trigger} {
			if scope == needs {
				continue
			}
			a := s.ask(s.tokens[scope], document, vars("id", "x", "ids", []any{}, "key", "x", "connectionId", "x", "action", "x", "field", "x", "app", "x", "entity", "x", "externalId", "x", "accountId", "x", "pricePlanId", "x", "draft", vars(), "input", sampleInput[name]))
			if got := refusedWith(t, a); got != string(Forbidden) {
				t.Errorf("%s with %s alone: %q %s", field, scope, got, a.Errors)
			}
		}
	}
	// Tokens are for administrators, by whatever way one asks for them.
	if a := s.ask(s.tokens[auth.Read], `{ node(id: "`+s.at["token.admin"]+`") { id } }`, nil); string(a.Data) != `{"node":null}` {
		t.Errorf("READ sees a token: %s", a.Data)
	}
	s.audited()
	if a := s.ask(s.tokens[auth.Read], `{ node(id: "`+s.at["audit.last"]+`") { id } }`, nil); string(a.Data) != `{"node":null}` {
		t.Errorf("READ sees the audit log: %s", a.Data)
	}
}

// sampleInput is the least that passes validation, of mutations that need more than an id.
var sampleInput = map[string]map[string]any{
	"create_flow": vars(), "update_flow": vars("id", "x", "revision", 1), "publish_flow": vars("id", "x"), "delete_flow": vars("id", "x"), "preview_flow": vars("connections", []any{}),
	"create_connection": vars("app", "x", "name", "x", "credentials", vars()), "create_flow_link": vars("flowId", "x", "name", "x", "connections", []any{}),
	"trigger_flow": vars("id", "x", "payload", vars()), "create_api_token": vars("name", "x", "scopes", []any{}),
	"update_connection": vars("id", "x"), "test_connection": vars("id", "x"), "delete_connection": vars("id", "x"), "enable_flow_link": vars("id", "x"),
	"disable_flow_link": vars("id", "x"), "delete_flow_link": vars("id", "x"), "cancel_run": vars("id", "x"), "cancel_replay": vars("id", "x"), "retry_run": vars("id", "x"), "release_event": vars("id", "x"), "revoke_api_token": vars("id", "x"),
	"authorize_connection": vars(), "update_flow_link": vars("id", "x"), "replay_runs": vars("filter", vars()), "create_mapping": vars("entity", "x", "slots", []any{}),
	"update_mapping": vars("id", "x"), "delete_mapping": vars("id", "x"), "merge_mappings": vars("id", "x", "otherId", "x"), "split_mapping": vars("id", "x", "slots", []any{}),
}

// TestRepeats: what an idempotency key promises, through each kind of resolver.
func TestRepeats(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	s.fill()
	admin := s.tokens[auth.Admin]
	s.hold("event.failed")
	for _, g := range mutations {
		name, _, again := strings.Cut(g.name, ".")
		if again || g.name == "retry_run" || g.vars["input"] == nil { // one works once, some are queries
			continue
		}
		s.at["key"] = s.stripe.Key()
		in := s.fillIn(t, g.vars).(map[string]any)
		in["input"].(map[string]any)["idempotencyKey"] = "again-" + name
		first := s.ask(admin, g.document(t), in)
		for n, path := range g.keep {
			s.at[n] = textAt(t, first.Data, path)
		}
		if got := refusedWith(t, first); got != "" {
			t.Fatalf("%s: %q", g.name, got)
		}
		second := s.ask(admin, g.document(t), in)
		switch repeat := string(masked(t, answer{Data: second.Data})); g.name {
		case "create_api_token":
			if got := refusedWith(t, second); got != "idempotencyKey "+codeAlreadyShown || !strings.Contains(repeat, `"secret": null`) ||
				textAt(t, second.Data, "createApiToken.apiToken.id") != s.at["made.token"] {
				t.Errorf("a repeat of createApiToken: %s", second.Data)
			}
		case "authorize_connection": // its link is a secret
			if got := refusedWith(t, second); got != "idempotencyKey "+codeAlreadyShown || !strings.Contains(repeat, `"authorization": null`) {
				t.Errorf("a repeat of authorizeConnection: %s", second.Data)
			}
		default:
			if !repeats(t, first.Data, second.Data) {
				t.Errorf("a repeat of %s answers %s, after %s", g.name, second.Data, first.Data)
			}
		}
		changed := in["input"].(map[string]any)
		for _, field := range []string{"name", "id"} {
			if v, ok := changed[field].(string); ok {
				changed[field] = v + "x"
				break
			}
		}
		if _, counts := changed["expected"]; counts {
			changed["expected"] = 7
		}
		if got := refusedWith(t, s.ask(admin, g.document(t), in)); got != "idempotencyKey "+codeKeyReused {
			t.Errorf("%s with another input: %q", g.name, got)
		}
	}
	_, err := s.db.ExecContext(t.Context(), "UPDATE claims SET done_at = NULL, lease_until = now() + interval '1 minute' WHERE field = 'testConnection'")
	check(t, err)
	test := golden{name: "test_connection"}.document(t)
	if got := refusedWith(t, s.ask(admin, test, input("id", s.at["made.connection"], "idempotencyKey", "again-test_connection"))); got != "idempotencyKey "+codeInProgress {
		t.Errorf("while the first is under way: %q", got)
	}
}

// repeats tells whether a second answer has the object and the errors of the first one. What the first call said of its own
// doings, beside the object, is not said again: it is null then.
func repeats(t *testing.T, first, second json.RawMessage) bool {
	t.Helper()
	var before, after map[string]map[string]json.RawMessage
	check(t, json.Unmarshal(first, &before))
	check(t, json.Unmarshal(second, &after))
	for field, payload := range after {
		object := false
		for name, v := range payload {
			switch same := bytes.Equal(v, before[field][name]); {
			case name == "userErrors" && !same, !same && string(v) != "null":
				return false
			case name != "userErrors" && same && string(v) != "null":
				object = true
			}
		}
		if !object {
			return false
		}
	}
	return true
}
