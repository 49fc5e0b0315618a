package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

// said is the first user error of a mutation's answer.
func said(t testing.TB, a answer) (field, code, message string) {
	t.Helper()
	var data map[string]struct {
		UserErrors []struct {
			Field         []string
			Code, Message string
		}
	}
	check(t, json.Unmarshal(a.Data, &data))
	for _, payload := range data {
		for _, e := range payload.UserErrors {
			return strings.Join(e.Field, "."), e.Code, e.Message
		}
	}
	return "", "", string(a.Errors)
}

// unlinked makes a link of customers in that is switched off.
func (s *site) unlinked(name string, stripe, togai db.ID) string {
	s.t.Helper()
	var l db.FlowLink
	check(s.t, s.db.InTx(s.t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		l, err = s.engine.CreateLink(ctx, tx, s.org, flow.LinkInput{FlowID: s.flowID(customersIn), Name: name, Connections: map[string]db.ID{"trigger": stripe, "account": togai, "note": stripe}})
		return err
	}))
	return model.FlowLinkID.Of(l.ID)
}

const (
	enableDoc  = `mutation ($id: ID!) { enableFlowLink(input: {id: $id}) { flowLink { id } userErrors { field code message } } }`
	triggerDoc = `mutation ($id: ID!, $payload: JSON!) { triggerFlow(input: {id: $id, payload: $payload}) { event { id } userErrors { field code message } } }`
	retryDoc   = `mutation ($id: ID!) { retryRun(input: {id: $id}) { run { id state } userErrors { field code message } } }`
)

func (s *site) connectTogai() db.Connection {
	return s.connect("togai", "Togai", map[string]string{"environment": "sandbox", "api_token": s.togai.Token(), "organization_id": "org_1"})
}

// TestALinkOfADeletedConnection says once which of its connections is gone, and what to do.
func TestALinkOfADeletedConnection(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	stripe, togai := s.connectStripe("Stripe"), s.connectTogai()
	app, _ := s.engine.Apps.App("stripe")
	trigger, _ := app.Trigger("customer.created")
	link := s.unlinked("In", stripe.ID, togai.ID)
	ask := func(document string) answer {
		return s.ask(s.tokens[auth.Admin], document, vars("id", link, "payload", trigger.Sample))
	}
	gone := func(conn db.Connection, roles string) {
		t.Helper()
		_, err := s.engine.DeleteConnection(t.Context(), s.org, conn.ID, alone)
		check(t, err)
		for _, document := range []string{enableDoc, triggerDoc} {
			a := ask(document)
			field, code, message := said(t, a)
			if field != "id" || code != flow.CodeState || !strings.Contains(message, roles) || !strings.Contains(message, "was deleted") || !strings.Contains(message, "updateFlowLink") {
				t.Errorf("%s: %s", conn.Name, a.Data)
			}
		}
	}
	gone(togai, `"Togai", which the link uses for account,`)
	link = s.unlinked("In again", stripe.ID, s.connectTogai().ID)
	gone(stripe, `"Stripe", which the link uses for trigger and note,`)
	if a := ask(enableDoc); strings.Count(string(a.Data), `"code"`) != 1 {
		t.Errorf("said more than once: %s", a.Data)
	}
}

// TestTwoAccountsOfOneApp: a step that writes to the trigger's records needs the account that has them.
func TestTwoAccountsOfOneApp(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	a, togai := s.connectStripe("A"), s.connectTogai()
	second := s.connectStripe("Second key of A")
	other := s.stripe.Account()
	b := s.connect("stripe", "B", map[string]string{"api_key": other.Key()})
	link := func(name string, trigger, note db.Connection) answer {
		return s.ask(s.tokens[auth.Admin], `mutation ($input: CreateFlowLinkInput!) { createFlowLink(input: $input) { flowLink { id } userErrors { field code message } } }`,
			input("flowId", model.FlowID.Of(s.flowID(customersIn)), "name", name, "connections", []any{
				vars("key", "trigger", "connectionId", model.ConnectionID.Of(trigger.ID)), vars("key", "account", "connectionId", model.ConnectionID.Of(togai.ID)),
				vars("key", "note", "connectionId", model.ConnectionID.Of(note.ID)),
			}))
	}
	field, code, message := said(t, link("Across", a, b))
	if field != "connections.note" || code != flow.CodeOtherAccount || !strings.Contains(message, "same account") {
		t.Errorf("%s %s: %s", field, code, message)
	}
	if got := refusedWith(t, link("Two keys", a, second)); got != "" {
		t.Errorf("two keys of one account: %s", got)
	}
}

// TestPayloadsByHand: what a flow is started with is of its trigger's form, of a record, and of the link's mode.
func TestPayloadsByHand(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	s.fill()
	for name, c := range map[string]struct {
		change map[string]any
		want   string
		says   string
	}{
		"the sample":           {nil, "", ""},
		"no customer":          {vars("customer_id", ""), "payload.customer_id INVALID", "at least 1 character"},
		"a blank customer":     {vars("customer_id", " "), "payload INVALID", "names no customer"},
		"live data":            {vars("livemode", true), "payload MODE_MISMATCH", "live"},
		"a field is missing":   {vars("customer_id", missing{}), "payload.customer_id REQUIRED", "customer_id"},
		"a field too many":     {vars("colour", "red"), "payload.colour UNKNOWN_FIELD", "metadata, name, occurred_at, phone"},
		"a field of the parts": {vars("address", vars("planet", "x")), "payload.address.planet UNKNOWN_FIELD", "postal_code"},
	} {
		payload := map[string]any{}
		check(t, json.Unmarshal(s.sample, &payload))
		for k, v := range c.change {
			if payload[k] = v; v == (any)(missing{}) {
				delete(payload, k)
			}
		}
		a := s.ask(s.tokens[auth.Admin], triggerDoc, vars("id", s.at["link.in"], "payload", payload))
		if got := refusedWith(t, a); got != c.want || !strings.Contains(string(a.Data), c.says) {
			t.Errorf("%s: %q, want %q: %s %s", name, got, c.want, a.Data, a.Errors)
		}
	}
}

type missing struct{}

// TestRetryNow: a run that cannot be retried is shown as it is, with what to do.
func TestRetryNow(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	s.fill()
	id, err := model.RunID.Parse(s.at["run.queued"])
	check(t, err)
	for state, says := range map[string]string{
		"QUEUED": "being worked on", "RUNNING": "being worked on", "CANCELLING": "CANCELLED", "SUCCEEDED": "nothing of it failed", "SUPPRESSED": "nothing of it failed",
		"WAITING RATE": "by itself", "WAITING LANE": "earlier run", "WAITING DEPENDENCY": "by itself", "WAITING REAUTH": "updateConnection",
	} {
		state, reason, _ := strings.Cut(state, " ")
		_, err := s.db.NewRaw("UPDATE runs SET state = ?, waiting_reason = nullif(?, '') WHERE id = ?", state, reason, id).Exec(t.Context())
		check(t, err)
		a := s.ask(s.tokens[auth.Trigger], retryDoc, vars("id", s.at["run.queued"]))
		if _, code, message := said(t, a); code != flow.CodeState || !strings.Contains(message, says) || !strings.Contains(string(a.Data), `"run":{"id":"`+s.at["run.queued"]+`","state":"`+state+`"}`) {
			t.Errorf("%s %s: %s %s", state, reason, a.Data, a.Errors)
		}
	}
	if a := s.ask(s.tokens[auth.Trigger], retryDoc, vars("id", model.RunID.Of(db.NewID()))); !strings.Contains(string(a.Data), `"run":null`) {
		t.Errorf("no run: %s", a.Data)
	}
}

// TestMutationsAreNotForReading: without READ a payload leads nowhere, and what asks for more is refused undone.
func TestMutationsAreNotForReading(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	s.fill()
	rename := `mutation { updateConnection(input: {id: "` + s.at["connection.stripe"] + `", name: "%s"}) { connection { id name %s } userErrors { field code message } } }`
	cancel := `mutation { cancelRun(input: {id: "` + s.at["run.in"] + `"}) { run { id state record %s } userErrors { field code message } } }`
	for selection, may := range map[string]bool{
		"stateReason counters { ignored }": true, "webhook { url state } credentials { key hint } permissions { key }": true,
		"app { id }": false, "vendorAccount { id }": false, "flowLinks { nodes { id } }": false, "events { nodes { payload } }": false,
		"... on AppInstance { ... { ev: events { nodes { id } } } }": false, "...more": false,
	} {
		before := s.rows()
		document := fmt.Sprintf(rename, "Renamed", selection)
		if selection == "...more" {
			document += " fragment more on AppInstance { name ... on Node { id } app { id } }"
		}
		a := s.ask(s.tokens[auth.Write], document, nil)
		switch got := refusedWith(t, a); {
		case may && got != "":
			t.Errorf("%s is part of what was changed: %s %s", selection, a.Data, a.Errors)
		case !may && (got != string(Forbidden) || s.rows() != before || !strings.Contains(string(a.Errors), "READ")):
			t.Errorf("%s leads on: %q %s", selection, a.Data, a.Errors)
		}
	}
	for selection, may := range map[string]bool{
		"error { message }": true, "progress { listed }": true, "steps { input }": false, "event { payload }": false, "flowLink { id }": false, "mapping { id }": false,
	} {
		if got := refusedWith(t, s.ask(s.tokens[auth.Trigger], fmt.Sprintf(cancel, selection), nil)); (got == string(Forbidden)) == may {
			t.Errorf("run { %s }: %q", selection, got)
		}
	}
	both := s.token("both", time.Time{}, auth.Write, auth.Read)
	if got := refusedWith(t, s.ask(both, fmt.Sprintf(rename, "Both", "events { nodes { payload } }"), nil)); got != "" {
		t.Errorf("with READ as well: %s", got)
	}
}

// TestPageSizes: a size that is no use is refused by the argument's name, also one that no Int holds.
func TestPageSizes(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	for _, size := range []string{"0", "-1", "101", "2147483647", "2147483648", "99999999999"} {
		for _, argument := range []string{"first", "last"} {
			for document, values := range map[string]map[string]any{
				"{ events(" + argument + ": " + size + ") { nodes { id } } }":                    nil,
				"query ($n: Int) { events(" + argument + ": $n) { nodes { id } } }":              vars("n", json.Number(size)),
				"{ flows { nodes { links(" + argument + ": " + size + ") { nodes { id } } } } }": nil,
			} {
				a := s.ask(s.tokens[auth.Admin], document, values)
				if got := refusedWith(t, a); got != string(BadUserInput) || !strings.Contains(string(a.Errors), argument+" must be 1 to 100, not "+size) {
					t.Errorf("%s with %v: %q %s", document, values, got, a.Errors)
				}
			}
		}
	}
}

// TestOneThingPerSubscription: what validation lets through is refused before a stream begins.
func TestOneThingPerSubscription(t *testing.T) {
	t.Parallel()
	srv, log := edge(t, nil)
	w := ready(t, srv.URL)
	for i, document := range []string{
		"subscription { a: runUpdates { id } b: runUpdates { id } }", `subscription { runUpdates { id } runUpdated(id: \"x\") { id } }`,
		"subscription { runUpdates @skip(if: true) { id } }",
	} {
		w.send(fmt.Sprintf(`{"id":"%d","type":"subscribe","payload":{"query":"%s"}}`, i, document))
		if m := w.want("error"); !strings.Contains(string(m.Payload), string(ValidationFailed)) {
			t.Errorf("%s: %s", document, m.Payload)
		}
	}
	if log.Len() > 0 {
		t.Errorf("%s", log)
	}
}

// TestPatience: a query has its time over a socket, too, and a subscription does not end with it.
func TestPatience(t *testing.T) {
	t.Parallel()
	updates := make(chan *model.RunUpdate)
	srv, _ := edge(t, func(c *Config) {
		c.Limits.Timeout, c.Resolvers = 50*time.Millisecond, rootStub{stub: stub{updates: updates}}
	})
	w := ready(t, srv.URL)
	w.send(subscribeTo("s", "subscription { runUpdates { id } }"))
	w.want("next")
	w.send(subscribeTo("q", `{ app(key: "slow") { id } }`))
	if m := w.want("next"); *m.ID != "q" || !strings.Contains(string(m.Payload), string(Timeout)) {
		t.Errorf("%s %s", *m.ID, m.Payload)
	}
	w.want("complete")
	updates <- nil // well after a query's time
	if m := w.want("next"); *m.ID != "s" {
		t.Errorf("%+v", m)
	}
}

// TestBodiesHaveRoom: a page of large events says of which bodies it has no room for, and each is there when asked for.
func TestBodiesHaveRoom(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	stripe := s.connectStripe("Stripe")
	body := []byte(`"` + strings.Repeat("x", 3<<20) + `"`)
	for i := range 5 {
		_, err := s.Take(t.Context(), stripe, flow.FromWebhook, []connectors.Item{{Envelope: connectors.Envelope{Trigger: "customer.created", DedupeKey: fmt.Sprint(i), At: time.Now()}, Body: body}})
		check(t, err)
	}
	a := s.ask(s.tokens[auth.Read], "{ events { nodes { id payload } } }", nil)
	var data struct {
		Events struct {
			Nodes []struct {
				ID      string
				Payload *string
			}
		}
	}
	check(t, json.Unmarshal(a.Data, &data))
	var got []bool
	for _, n := range data.Events.Nodes {
		got = append(got, n.Payload != nil)
	}
	if fmt.Sprint(got) != "[true true true false false]" || refusedWith(t, a) != string(TooLarge) || strings.Count(string(a.Errors), "event(id)") != 2 {
		t.Fatalf("%v %s", got, a.Errors)
	}
	a = s.ask(s.tokens[auth.Read], `query ($id: ID!) { event(id: $id) { payload } }`, vars("id", data.Events.Nodes[4].ID))
	if got := refusedWith(t, a); got != "" || len(a.Data) < 3<<20 {
		t.Errorf("alone: %q, %d bytes", got, len(a.Data))
	}
	a = s.ask(s.tokens[auth.Read], `{ a: events(first: 3) { nodes { payload } } b: events(last: 2) { nodes { payload } } }`, nil)
	if got := strings.Count(string(a.Data), `"payload":null`); got < 2 {
		t.Errorf("two lists of one response share its room: %d are left out", got)
	}
}

// TestEventsThatStartNothing are seen, with why.
func TestEventsThatStartNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	stripe := s.connectStripe("Stripe")
	take := func(key, source, body string) {
		_, err := s.Take(t.Context(), stripe, source, []connectors.Item{{Envelope: connectors.Envelope{Trigger: "customer.created", DedupeKey: key, At: time.Now()}, Body: []byte(body)}})
		check(t, err)
	}
	whole := `{"id":"evt_1","object":"event","type":"customer.created","api_version":"2023-10-16","created":1700000000,"livemode":false,"data":{"object":{"id":"cus_1","object":"customer"}}}`
	take("nobody", flow.FromWebhook, whole)
	take("unreadable", flow.FromWebhook, strings.ReplaceAll(whole, `"id":"cus_1",`, ""))
	s.work(t.Context())
	take("old", flow.FromBaseline, whole)
	take("waiting", flow.FromWebhook, whole)
	a := s.ask(s.tokens[auth.Read], "{ events { nodes { dedupeKey outcomes { id outcome reason flowLink { id } run { id } } } } }", nil)
	var data struct {
		Events struct {
			Nodes []struct {
				DedupeKey string
				Outcomes  []struct {
					ID, Outcome, Reason string
					FlowLink, Run       any
				}
			}
		}
	}
	check(t, json.Unmarshal(a.Data, &data))
	ids := map[string]bool{}
	for i, want := range []struct{ key, says string }{{"waiting", ""}, {"old", "no news"}, {"unreadable", "names no customer"}, {"nobody", "No flow link"}} {
		n := data.Events.Nodes[i]
		if n.DedupeKey != want.key || (want.says == "") != (len(n.Outcomes) == 0) {
			t.Fatalf("%s: %+v", want.key, n)
		}
		for _, o := range n.Outcomes {
			if o.Outcome != flow.OutcomeIgnored || !strings.Contains(o.Reason, want.says) || o.FlowLink != nil || o.Run != nil || ids[o.ID] {
				t.Errorf("%s: %+v", want.key, o)
			}
			ids[o.ID] = true
		}
	}
}
