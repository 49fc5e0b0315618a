package connectors_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
)

type thing struct {
	Name string `json:"name" doc:"Its name." minLength:"1"`
}

// good is a descriptor that the registry takes.
func good() connectors.Connector {
	c := vendor()
	c.Description, c.Category = "A vendor.", "billing"
	c.Identify = func(context.Context, connectors.Conn) (connectors.Identity, error) { return connectors.Identity{}, nil }
	c.Rate = func(connectors.Mode) connectors.Rate { return connectors.Rate{PerSecond: 1, Burst: 1} }
	c.Records = []connectors.Record{{Entity: "thing", Name: "Thing", URL: func(m connectors.Mode, id string) string { return "https://vendor.test/" + string(m) + "/" + id }}}
	c.Webhook = &connectors.Webhook{Open: func(connectors.Delivery, []string) (connectors.Envelope, error) { return connectors.Envelope{}, nil }, SecretPrefix: "sig_", Help: "Paste it."}
	c.Triggers = []connectors.Trigger{connectors.On("thing.created", "Thing created",
		func([]byte) (connectors.Occurrence, error) { return connectors.Occurrence{}, nil },
		func(context.Context, connectors.Conn, string) (connectors.Page, error) { return connectors.Page{}, nil },
		thing{"a"}, func(t *connectors.Trigger) {
			t.Description, t.Entity, t.Events, t.Every, t.Calm = "A thing was made.", "thing", []string{"thing.made", "thing.made"}, time.Second, time.Minute
		})}
	c.Actions = []connectors.Action{connectors.Do("thing.create", "Create thing",
		func(_ context.Context, _ connectors.Conn, in thing) (thing, error) { return in, nil },
		thing{"a"}, func(a *connectors.Action) { a.Description, a.Entity = "Makes a thing.", "thing" })}
	return c
}

func TestRegistryRefusesBadDescriptors(t *testing.T) {
	t.Parallel()
	if _, err := connectors.NewRegistry(good()); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for name, x := range map[string]struct {
		spoil func(*connectors.Connector)
		says  string
	}{
		"key":                 {func(c *connectors.Connector) { c.Key = "Vendor!" }, "lower-case"},
		"no key":              {func(c *connectors.Connector) { c.Key = "" }, "lower-case"},
		"no name":             {func(c *connectors.Connector) { c.Name = "" }, "name, description and category"},
		"no category":         {func(c *connectors.Connector) { c.Category = "" }, "name, description and category"},
		"no mode":             {func(c *connectors.Connector) { c.Mode = nil }, "Mode"},
		"no authorize":        {func(c *connectors.Connector) { c.Authorize = nil }, "Authorize"},
		"no identify":         {func(c *connectors.Connector) { c.Identify = nil }, "Identify"},
		"no rate":             {func(c *connectors.Connector) { c.Rate = nil }, "Rate"},
		"no timeout":          {func(c *connectors.Connector) { c.Timeout = 0 }, "timeout"},
		"field without help":  {func(c *connectors.Connector) { c.Auth[0].Help = "" }, `field "token": key, label and help`},
		"field twice":         {func(c *connectors.Connector) { c.Auth = append(c.Auth, c.Auth[0]) }, `field "token" is listed twice`},
		"account field":       {func(c *connectors.Connector) { c.Account = "tenant" }, `"tenant" is not in the form`},
		"webhook without way": {func(c *connectors.Connector) { c.Webhook.Open = nil }, "webhook: Open and Help"},
		"webhook of any sign": {func(c *connectors.Connector) { c.Webhook.SecretPrefix = "" }, "Unsigned or its secrets"},
		"register alone": {func(c *connectors.Connector) {
			c.Webhook.Remove = func(context.Context, connectors.Conn, connectors.Endpoint) error { return nil }
		}, "Register and Remove"},
		"record":              {func(c *connectors.Connector) { c.Records[0].Name = "" }, `record "thing"`},
		"trigger key":         {func(c *connectors.Connector) { c.Triggers[0].Key = "thing_created" }, "noun.verb"},
		"trigger twice":       {func(c *connectors.Connector) { c.Triggers = append(c.Triggers, c.Triggers[0]) }, `trigger "thing.created" is listed twice`},
		"trigger text":        {func(c *connectors.Connector) { c.Triggers[0].Description = "" }, "name and description"},
		"trigger decode":      {func(c *connectors.Connector) { c.Triggers[0].Decode = nil }, "Decode and an output"},
		"trigger entity":      {func(c *connectors.Connector) { c.Triggers[0].Entity = "ghost" }, `"ghost" is not among the records`},
		"trigger sample":      {func(c *connectors.Connector) { c.Triggers[0].Sample = []byte(`{"name":1}`) }, "sample does not fit the output"},
		"trigger pace":        {func(c *connectors.Connector) { c.Triggers[0].Every = 0 }, "Every and Calm"},
		"trigger calm":        {func(c *connectors.Connector) { c.Triggers[0].Calm = 1 }, "Every and Calm"},
		"action key":          {func(c *connectors.Connector) { c.Actions[0].Key = "create" }, "noun.verb"},
		"action twice":        {func(c *connectors.Connector) { c.Actions = append(c.Actions, c.Actions[0]) }, `action "thing.create" is listed twice`},
		"action text":         {func(c *connectors.Connector) { c.Actions[0].Name = "" }, "name and description"},
		"action run":          {func(c *connectors.Connector) { c.Actions[0].Run = nil }, "Run, input and output"},
		"action entity":       {func(c *connectors.Connector) { c.Actions[0].Entity = "" }, "is not among the records"},
		"action sample":       {func(c *connectors.Connector) { c.Actions[0].Sample = []byte(`{"name":""}`) }, "sample does not fit the input"},
		"action sample empty": {func(c *connectors.Connector) { c.Actions[0].Sample = nil }, "sample does not fit the input"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := good()
			x.spoil(&c)
			_, err := connectors.NewRegistry(c)
			if err == nil || !strings.Contains(err.Error(), x.says) || !strings.HasPrefix(err.Error(), "app ") {
				t.Errorf("%v, want a sentence with %q", err, x.says)
			}
		})
	}
}

func TestRegistryNamesAllThatIsWrong(t *testing.T) {
	t.Parallel()
	a, b := good(), good()
	a.Timeout, b.Category = 0, ""
	_, err := connectors.NewRegistry(a, b)
	for _, want := range []string{"timeout", "category", `app "vendor" is listed twice`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q too", err, want)
		}
	}
}

func TestRegistryFinds(t *testing.T) {
	t.Parallel()
	other := good()
	other.Key = "another"
	r, err := connectors.NewRegistry(good(), other)
	if err != nil {
		t.Fatal(err)
	}
	if apps := r.Apps(); len(apps) != 2 || apps[0].Key != "another" {
		t.Errorf("apps %v", len(apps))
	}
	c, ok := r.App("vendor")
	if _, no := r.App("ghost"); !ok || no {
		t.Error("App finds the wrong ones")
	}
	_, okT := c.Trigger("thing.created")
	_, noT := c.Trigger("thing.create")
	_, okA := c.Action("thing.create")
	_, noA := c.Action("thing.created")
	if !okT || noT || !okA || noA {
		t.Error("Trigger and Action find the wrong ones")
	}
	if e := c.Events(); len(e) != 1 || e[0] != "thing.made" {
		t.Errorf("events %q", e)
	}
	for _, x := range [][3]string{{"thing", "1", "https://vendor.test/live/1"}, {"thing", "", ""}, {"ghost", "1", ""}} {
		if got := c.RecordURL(connectors.Live, x[0], x[1]); got != x[2] {
			t.Errorf("URL of %s %q: %q", x[0], x[1], got)
		}
	}
}

func TestDoDecodesItsInput(t *testing.T) {
	t.Parallel()
	a := good().Actions[0]
	if out, err := a.Run(t.Context(), connectors.Conn{}, []byte(`{"name":"x"}`)); err != nil || out != (thing{"x"}) {
		t.Errorf("%v, %v", out, err)
	}
	if _, err := a.Run(t.Context(), connectors.Conn{}, []byte(`{"name":1}`)); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("%v, want it refused", err)
	}
}
