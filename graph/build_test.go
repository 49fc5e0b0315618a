package graph

import (
	"encoding/json"
	"strings"
	"testing"

	"tieline/graph/auth"
	"tieline/graph/model"
)

// do asks for something and stops the test when it does not get it; it answers the data of the field.
func (s *site) do(document string, vars map[string]any) map[string]any {
	s.t.Helper()
	a := s.ask(s.tokens[auth.Admin], document, vars)
	var data map[string]map[string]any
	if err := json.Unmarshal(a.Data, &data); err != nil || len(data) != 1 {
		s.t.Fatalf("%s: %s %v", document, a.Data, a.Errors)
	}
	for _, field := range data {
		if bad, _ := field["userErrors"].([]any); len(bad) > 0 {
			s.t.Fatalf("%s: %v", document, bad)
		}
		return field
	}
	return nil
}

// dig follows names and numbers into an answer.
func dig(t testing.TB, v any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			l, _ := v.([]any)
			if step >= len(l) {
				t.Fatalf("%v has no %d", l, step)
			}
			v = l[step]
		}
	}
	return v
}

// TestFlowBuiltByGraphQLAlone goes the way of somebody who makes the guide's flow: from what the apps offer to a run that has
// made the account, with a draft that is mended by what is said about it, and a second version.
func TestFlowBuiltByGraphQLAlone(t *testing.T) {
	t.Parallel()
	s := newStreet(t)

	// What the apps offer: a trigger in Stripe, an action in Togai, and what its input wants.
	offered := map[string]any{}
	for _, n := range dig(t, s.do(`{ apps { nodes { key triggers { key } actions { key inputSchema } } } }`, nil), "nodes").([]any) {
		for _, x := range append(dig(t, n, "triggers").([]any), dig(t, n, "actions").([]any)...) {
			offered[dig(t, n, "key").(string)+"/"+dig(t, x, "key").(string)] = dig(t, x, "inputSchema")
		}
	}
	want := offered["togai/customer.create"]
	if _, ok := offered["stripe/customer.created"]; !ok || dig(t, want, "properties", "email") == nil {
		t.Fatalf("the apps do not offer what the guide needs: %v", want)
	}

	connect := func(app string, creds map[string]any) string {
		c := s.do(`mutation($in: CreateConnectionInput!) { createConnection(input: $in) { connection { id webhook { path } } userErrors { message } } }`,
			vars("in", vars("app", app, "name", app, "credentials", creds)))
		id := dig(t, c, "connection", "id").(string)
		s.conns[dig(t, c, "connection", "webhook", "path").(string)] = model.ConnectionID.Find(id)
		return id
	}
	stripe := connect("stripe", vars("api_key", s.stripe.Key()))
	togai := connect("togai", vars("environment", "sandbox", "api_token", s.togai.Token(), "organization_id", "org_1"))

	// A first draft, with two mistakes that it is told of, is mended at the revision that was read.
	link, books, refused := s.asks(s.books("Books"))
	if refused != "" {
		t.Fatal(refused)
	}
	b := newBrowser(t)
	b.opens(b.decides(link, "accept"))

	step := vars("key", "account", "onError", "continue", "app", "togai", "action", "customer.create", "input", vars(
		"id", "{{ trigger.customer_id }}", "name", "{{ coalesce(trigger.nam, trigger.email) }}", "emial", "{{ trigger.email }}"))
	contact := vars("key", "contact", "onError", "continue", "app", "zohobooks", "action", "contact.create", "input", vars(
		"contact_number", "{{ trigger.customer_id }}", "name", "{{ coalesce(trigger.name, trigger.email) }}", "email", "{{ trigger.email }}"))
	doc := vars("name", "Accounts", "description", "On creation of a customer in Stripe, creates accounts in Togai and Zoho Books.",
		"trigger", vars("app", "stripe", "key", "customer.created"), "steps", []any{step, contact})
	made := s.do(`mutation($in: CreateFlowInput!) { createFlow(input: $in) { flow { id version draft { revision problems { severity path suggestion } } } userErrors { message } } }`, vars("in", vars("document", doc)))
	id := dig(t, made, "flow", "id")
	input := step["input"].(map[string]any)
	for _, p := range dig(t, made, "flow", "draft", "problems").([]any) {
		path := dig(t, p, "path").([]any)
		switch name := path[len(path)-1]; dig(t, p, "suggestion") {
		case "email":
			input["email"] = input[name.(string)]
			delete(input, name.(string))
		case "name":
			input[name.(string)] = strings.Replace(input[name.(string)].(string), "trigger.nam,", "trigger.name,", 1)
		}
	}
	const update = `mutation($in: UpdateFlowInput!) { updateFlow(input: $in) { flow { draft { revision problems { message severity } } } userErrors { message } } }`
	mended := s.do(update, vars("in", vars("id", id, "revision", dig(t, made, "flow", "draft", "revision"), "document", doc)))
	if left := dig(t, mended, "flow", "draft", "problems").([]any); len(left) != 0 {
		t.Fatalf("still wrong: %v", left)
	}

	connections := []any{vars("key", "trigger", "connectionId", stripe), vars("key", "account", "connectionId", togai), vars("key", "contact", "connectionId", books)}
	preview := s.do(`query($in: PreviewFlowInput!) { previewFlow(input: $in) { problems { message } outcome steps { outcome writes { request { method path } } } } }`,
		vars("in", vars("flowId", id, "connections", connections)))
	if dig(t, preview, "outcome") != "RUN" || dig(t, preview, "steps", 0, "writes", 0, "request", "path") != "/customers" || len(s.togai.Customers()) != 0 {
		t.Fatalf("preview: %v", preview)
	}

	const publish = `mutation($in: PublishFlowInput!) { publishFlow(input: $in) { flow { version } userErrors { field message } } }`
	s.do(publish, vars("in", vars("id", id, "revision", dig(t, mended, "flow", "draft", "revision"))))
	bind := func(name string, version any) any {
		in := vars("flowId", id, "name", name, "connections", connections)
		if version != nil {
			in["version"] = version
		}
		l := s.do(`mutation($in: CreateFlowLinkInput!) { createFlowLink(input: $in) { flowLink { id flowVersion pinnedVersion } userErrors { field message } } }`, vars("in", in))
		return dig(t, l, "flowLink", "id")
	}
	following, pinned := bind("following", nil), bind("pinned", 1)
	s.do(`mutation($id: ID!) { enableFlowLink(input: {id: $id}) { flowLink { enabled } userErrors { message } } }`, vars("id", following))

	s.customer("Acme", "billing@acme.test")
	runs := s.do(`{ runs { nodes { state flowVersion flow { key } steps { key state effects { externalId } } } } }`, nil)
	if dig(t, runs, "nodes", 0, "state") != "SUCCEEDED" || len(s.togai.Accounts()) != 1 || s.sim.Count("POST", "/books/v3/contacts") != 1 {
		t.Fatalf("runs: %v", runs)
	}

	// The next version runs for the link that follows; the other one stays with the first. Then the first is back.
	input["name"] = "{{ trigger.name.upperAscii() }}"
	s.do(update, vars("in", vars("id", id, "revision", 2, "document", doc)))
	for n, in := range []map[string]any{vars("id", id, "revision", 3), vars("id", id, "version", 1)} {
		if v := dig(t, s.do(publish, vars("in", in)), "flow", "version"); v != float64(n+2) {
			t.Errorf("version %v, want %d", v, n+2)
		}
		for of, want := range map[any]any{following: float64(n + 2), pinned: float64(1)} {
			if v := dig(t, s.do(`query($id: ID!) { flowLink(id: $id) { flowVersion } }`, vars("id", of)), "flowVersion"); v != want {
				t.Errorf("link at version %v, want %v", v, want)
			}
		}
		s.customer([]string{"Beta", "Gamma"}[n], "billing@beta.test")
	}
	var names []string
	for _, c := range s.togai.Customers() {
		names = append(names, c.Name)
	}
	if got := strings.Join(names, " "); len(names) != 3 || !strings.Contains(got, "BETA") || !strings.Contains(got, "Gamma") {
		t.Errorf("customers %s", got)
	}

	// A version that needs a connection more leaves the link where it is, and says so before.
	doc["steps"] = []any{step, contact, vars("key", "note", "app", "stripe", "action", "customer.update", "input", vars("customer_id", "{{ trigger.customer_id }}", "metadata", vars("seen", "yes")))}
	wider := s.do(update, vars("in", vars("id", id, "revision", 3, "document", doc)))
	if said := dig(t, wider, "flow", "draft", "problems", 0); dig(t, said, "severity") != "WARNING" || !strings.Contains(dig(t, said, "message").(string), `"following"`) {
		t.Errorf("nothing is said of the link that cannot follow: %v", wider)
	}
	s.do(publish, vars("in", vars("id", id, "revision", 4)))
	if v := dig(t, s.do(`query($id: ID!) { flowLink(id: $id) { pinnedVersion } }`, vars("id", following)), "pinnedVersion"); v != float64(3) {
		t.Errorf("the link that cannot follow is at version %v, want 3", v)
	}
	l := s.do(`mutation($in: UpdateFlowLinkInput!) { updateFlowLink(input: $in) { flowLink { flowVersion pinnedVersion } userErrors { field message } } }`,
		vars("in", vars("id", following, "version", nil, "connections", []any{vars("key", "note", "connectionId", stripe)})))
	if dig(t, l, "flowLink", "flowVersion") != 4.0 || dig(t, l, "flowLink", "pinnedVersion") != nil {
		t.Errorf("with the connection it needs it follows again: %v", l)
	}
}
