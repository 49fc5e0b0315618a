package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// The names of what the demo makes, by which it finds it again.
const (
	stripeName = "Stripe (simulated)"
	togaiName  = "Togai (simulated)"
	zuoraName  = "Zuora (simulated)"
	booksName  = "Zoho Books (simulated)"
	linkName   = "Demo"
)

type connection struct {
	ID          string
	Name        string
	State       string
	StateReason string
	Webhook     *struct{ State, URL, Error string }
}

const connectionFields = "id name state stateReason webhook { state url error }"

// connect makes the connections by app, or finds those of an earlier dev and gives them their credentials anew: the
// simulators have forgotten the webhooks since.
func connect(ctx context.Context, api client, stage Stage) (map[string]connection, error) {
	var data struct {
		Connections struct{ Nodes []connection }
	}
	if err := api.do(ctx, "{ connections(first: 100) { nodes { "+connectionFields+" } } }", nil, &data); err != nil {
		return nil, err
	}
	known := map[string]connection{}
	for _, c := range data.Connections.Nodes {
		known[c.Name] = c
	}
	// A person generates the code in Zoho's API console.
	var code struct{ Code string }
	if err := stage.Simulators.ZohoBooks.call(ctx, "codes", map[string]any{"client": stage.Simulators.ZohoBooks.Client}, &code); err != nil {
		return nil, err
	}
	out := map[string]connection{}
	for app, input := range map[string]map[string]any{
		"stripe": {"name": stripeName, "credentials": map[string]string{"api_key": stage.Simulators.Stripe.Key}},
		"togai": {"name": togaiName, "credentials": map[string]string{
			"environment": "sandbox", "api_token": stage.Simulators.Togai.Key, "organization_id": stage.Simulators.Togai.Account,
		}},
		"zuora": {"name": zuoraName, "credentials": map[string]string{
			"endpoint": "https://rest.test.zuora.com", "client_id": stage.Simulators.Zuora.Client, "client_secret": stage.Simulators.Zuora.Key,
		}},
		"zohobooks": {"name": booksName, "credentials": map[string]string{
			"mode": "test", "data_center": "us", "client_id": stage.Simulators.ZohoBooks.Client, "client_secret": stage.Simulators.ZohoBooks.Key, "self_client_code": code.Code,
		}},
	} {
		field := "createConnection"
		if c, ok := known[input["name"].(string)]; ok {
			field, input["id"] = "updateConnection", c.ID
		} else {
			input["app"] = app
		}
		var payload struct{ Connection connection }
		if err := api.mutate(ctx, field, "connection { "+connectionFields+" }", input, &payload); err != nil {
			return nil, err
		}
		c := payload.Connection
		if c.State != "ACTIVE" || c.Webhook != nil && c.Webhook.State == "MISSING" {
			return nil, fmt.Errorf("%s is %s: %s %+v", c.Name, c.State, c.StateReason, c.Webhook)
		}
		out[app] = c
	}
	// Togai has no API for webhooks: a person enters the address in its console.
	return out, stage.Simulators.Togai.call(ctx, "targets", map[string]any{
		"organization": stage.Simulators.Togai.Account, "url": out["togai"].Webhook.URL, "types": []string{"account.created", "price_plan.attached", "invoice.generated"},
	}, &struct{}{})
}

type flow struct {
	ID, Key string
	Trigger endpoint
	Steps   []struct {
		Key    string
		Action endpoint
	}
	Links struct {
		Nodes []struct {
			ID, Name string
			Enabled  bool
			Params   map[string]any
		}
	}
}

// params are those that the demo does not leave to themselves: nobody wants to wait half a minute for each customer.
var params = map[string]map[string]any{
	customersFan: {"checkoutWait": 0.1, "currency": "USD"}, zuoraAccountsOut: {"currency": "USD"},
}

type endpoint struct{ App struct{ Key string } }

// link binds the flows to the connections and switches them on, where an earlier dev has not.
func link(ctx context.Context, api client, conns map[string]connection) error {
	var data struct{ Flows struct{ Nodes []flow } }
	if err := api.do(ctx, `{ flows(first: 100) { nodes {
		id key trigger { app { key } } steps { key action { app { key } } } links(first: 10) { nodes { id name enabled params } }
	} } }`, nil, &data); err != nil {
		return err
	}
	missing := slices.Clone(flows)
	for _, f := range data.Flows.Nodes {
		i := slices.Index(missing, f.Key)
		if i < 0 {
			if err := f.unlink(ctx, api); err != nil {
				return err
			}
			continue
		}
		missing = slices.Delete(missing, i, i+1)
		id, enabled, err := f.link(ctx, api, conns)
		if err == nil && !enabled {
			err = api.mutate(ctx, "enableFlowLink", "flowLink { id }", map[string]any{"id": id}, &struct{}{})
		}
		if err != nil {
			return fmt.Errorf("linking %s: %w", f.Key, err)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("flows are missing: %v", missing)
	}
	return nil
}

// unlink removes the link of another version's demo, which this one does not switch on.
func (f flow) unlink(ctx context.Context, api client) error {
	for _, l := range f.Links.Nodes {
		if l.Name == linkName {
			if err := api.mutate(ctx, "deleteFlowLink", "deletedId", map[string]any{"id": l.ID}, &struct{}{}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f flow) link(ctx context.Context, api client, conns map[string]connection) (id string, enabled bool, err error) {
	want := params[f.Key]
	if want == nil {
		want = map[string]any{}
	}
	for _, l := range f.Links.Nodes {
		switch {
		case l.Name != linkName:
		case maps.Equal(l.Params, want):
			return l.ID, l.Enabled, nil
		default: // of another version's demo
			if err := api.mutate(ctx, "deleteFlowLink", "deletedId", map[string]any{"id": l.ID}, &struct{}{}); err != nil {
				return "", false, err
			}
		}
	}
	slots := []map[string]string{{"key": "trigger", "connectionId": conns[f.Trigger.App.Key].ID}}
	for _, s := range f.Steps {
		slots = append(slots, map[string]string{"key": s.Key, "connectionId": conns[s.Action.App.Key].ID})
	}
	var payload struct{ FlowLink struct{ ID string } }
	err = api.mutate(ctx, "createFlowLink", "flowLink { id }", map[string]any{"flowId": f.ID, "name": linkName, "connections": slots, "params": want}, &payload)
	return payload.FlowLink.ID, false, err
}
