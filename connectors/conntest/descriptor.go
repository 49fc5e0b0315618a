package conntest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
)

// categories are those of the catalogue.
var categories = []string{"billing", "payments", "accounting", "built-in"}

// descriptor checks what can be checked without a call.
func (s Suite[W]) descriptor(t *testing.T) {
	t.Helper()
	app := s.App
	if _, err := connectors.NewRegistry(app); err != nil {
		t.Error(err)
	}
	need := func(ok bool, format string, args ...any) {
		t.Helper()
		if !ok {
			t.Errorf(format, args...)
		}
	}
	sentence := func(what, text string) {
		t.Helper()
		need(strings.HasSuffix(text, ".") && strings.TrimSpace(text) == text, "%s: %q is no sentence", what, text)
	}
	sentence("the app", app.Description)
	need(slices.Contains(categories, app.Category), "the category %q is none of %v", app.Category, categories)
	need(strings.HasPrefix(app.DocsURL, "https://") || app.Category == "built-in" && app.DocsURL == "", "documentation at %q", app.DocsURL)
	for _, f := range app.Auth {
		sentence("field "+f.Key, f.Help)
		need(f.Placeholder != "" || len(f.Choices) > 0 || f.Told, "field %s has neither a placeholder nor choices", f.Key)
		for _, c := range f.Choices {
			need(c.Value != "" && c.Label != "", "field %s: a choice without value or label: %+v", f.Key, c)
		}
	}
	for _, a := range app.Actions {
		sentence(a.Key, a.Description)
		sentence(a.Key+", help", a.Help)
		fields := described(t, a.Key+", input", a.Input)
		for field := range a.Options {
			need(fields[field], "%s offers options for %q, which is no field of its input", a.Key, field)
		}
		described(t, a.Key+", output", a.Output)
	}
	for _, tr := range app.Triggers {
		sentence(tr.Key, tr.Description)
		described(t, tr.Key, tr.Output)
		s.decoding(t, tr)
	}
	for key := range s.Actions {
		_, ok := app.Action(key)
		need(ok, "there is no action %s", key)
	}
	for key := range s.Triggers {
		_, ok := app.Trigger(key)
		need(ok, "there is no trigger %s", key)
	}
	for _, m := range []connectors.Mode{connectors.Live, connectors.Test} {
		if app.BaseURL == nil { // nobody is called
			break
		}
		r := app.Rate(m)
		need(r.PerSecond > 0 && r.Burst >= 1 && r.Parallel >= 0 && r.Bulk >= 0 && r.Bulk <= 1, "rate of %s: %+v", m, r)
	}
	s.webhook(t)
}

// described says that each property of a schema has a description, and answers the paths of all.
func described(t *testing.T, what string, schema json.Marshaler) map[string]bool {
	t.Helper()
	fields := map[string]bool{}
	raw, err := schema.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var root any
	if err := json.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	var look func(at string, v any)
	look = func(at string, v any) {
		node, ok := v.(map[string]any)
		if !ok {
			return
		}
		properties, _ := node["properties"].(map[string]any)
		for name, below := range properties {
			p, _ := below.(map[string]any)
			if text, _ := p["description"].(string); !strings.HasSuffix(text, ".") {
				t.Errorf("%s: %s is described as %q", what, at+name, text)
			}
			fields[at+name] = true
			look(at+name+".", below)
		}
		for _, below := range []string{"items", "additionalProperties"} {
			look(at, node[below])
		}
	}
	look("", root)
	return fields
}

// decoding checks that a trigger takes its sample by hand, and refuses what is no event.
func (s Suite[W]) decoding(t *testing.T, tr connectors.Trigger) {
	t.Helper()
	for _, body := range []string{"", "null", "[]", "{}", `"x"`, `{"id":1}`, `{"data":null}`} {
		if _, err := tr.Decode([]byte(body)); err == nil {
			t.Errorf("%s decodes %q", tr.Key, body)
		}
	}
	if tr.Manual == nil {
		return
	}
	o, err := tr.Manual(tr.Sample)
	if err != nil || o.Record.ID == "" && !tr.Occasion || o.Record.Entity != tr.Entity {
		t.Errorf("%s by hand: %+v, %v", tr.Key, o, err)
		return
	}
	if p := tr.Output.Validate(o.Payload); len(p) > 0 {
		t.Errorf("%s by hand: the payload does not fit: %v", tr.Key, p)
	}
}

func (s Suite[W]) webhook(t *testing.T) {
	t.Helper()
	hook := s.App.Webhook
	if hook == nil {
		return
	}
	for _, body := range []string{"", "{}", "null", "not JSON"} {
		for _, secrets := range [][]string{nil, {""}, {"secret"}} {
			if _, err := hook.Open(connectors.Delivery{Header: http.Header{}, Body: []byte(body), ReceivedAt: time.Now()}, secrets); err == nil {
				t.Errorf("a delivery of %q is taken with secrets %q", body, secrets)
			}
		}
	}
	for _, tr := range s.App.Triggers {
		if len(tr.Events) == 0 && !hook.Unsigned {
			t.Errorf("%s names no event types to subscribe to", tr.Key)
		}
	}
}

// connection checks the form, and what Identify says of what it opens.
func (s Suite[W]) connection(t *testing.T) {
	t.Helper()
	_, site := s.World(t, Options{})
	app, creds := s.App, site.Credentials
	if _, err := app.Mode(connectors.Credentials{}); err == nil && len(app.Auth) > 0 {
		t.Error("an empty form has a mode")
	}
	mode, err := app.Mode(creds)
	if err != nil || mode != connectors.Live && mode != connectors.Test {
		t.Errorf("mode %q, %v", mode, err)
	}
	if u := app.BaseURL(creds); !strings.HasPrefix(u, "https://") || strings.HasSuffix(u, "/") {
		t.Errorf("base URL %q", u)
	}
	for _, f := range app.Auth {
		if text := fmt.Sprintf("%v %+v %#v %s %q %d", creds, creds, creds, creds, creds, creds); f.Secret && creds[f.Key] != "" && strings.Contains(text, creds[f.Key]) {
			t.Errorf("%s is printed: %s", f.Key, text)
		}
	}
	w := s.watch(t, site)
	id, err := app.Identify(t.Context(), w.Conn)
	if err != nil || id.Mode != mode || id.AccountID == "" && (app.Account == "" || creds[app.Account] == "") {
		t.Fatalf("%+v, %v", id, err)
	}
	s.permissions(t, id)
	s.refusals(t, "identify", func(t *testing.T) (*watched, func() error) {
		_, site := s.World(t, Options{})
		w := s.watch(t, site)
		return w, func() error {
			_, err := app.Identify(t.Context(), w.Conn)
			return err
		}
	}, 403)
	s.registering(t)
	s.cancelled(t, "identify", func(w *watched) func(t *testing.T) error {
		return func(t *testing.T) error {
			_, err := app.Identify(ended(t), w.Conn)
			return err
		}
	})
}

// registering tries having a webhook, and having none.
func (s Suite[W]) registering(t *testing.T) {
	t.Helper()
	hook := s.App.Webhook
	if hook == nil || hook.Register == nil {
		return
	}
	endpoint := connectors.Endpoint{ConnectionID: "con_1", URL: "https://tieline.test/hook", Events: s.App.Events(), Generation: 1}
	for what, run := range map[string]func(context.Context, *watched) error{
		"register": func(ctx context.Context, c *watched) error {
			_, err := hook.Register(ctx, c.Conn, endpoint)
			return err
		},
		"remove": func(ctx context.Context, c *watched) error { return hook.Remove(ctx, c.Conn, endpoint) },
	} {
		s.refusals(t, what, func(t *testing.T) (*watched, func() error) {
			_, site := s.World(t, Options{})
			if what == "remove" {
				if _, err := hook.Register(t.Context(), s.other(t, site), endpoint); err != nil {
					t.Fatal(err)
				}
			}
			c := s.watch(t, site)
			return c, func() error { return run(t.Context(), c) }
		}, map[string][]int{"remove": {404}}[what]...) // what is to be removed may be gone
		s.cancelled(t, what, func(c *watched) func(*testing.T) error {
			return func(t *testing.T) error { return run(ended(t), c) }
		})
	}
}

// permissions says what each trigger and action needs at the vendor, and nothing else.
func (s Suite[W]) permissions(t *testing.T, id connectors.Identity) {
	t.Helper()
	needed := map[string]bool{}
	for _, p := range id.Permissions {
		if p.Key == "" || p.Label == "" || p.Help == "" || p.State == "" {
			t.Errorf("permission %+v", p)
		}
		for _, key := range p.NeedFor {
			_, isTrigger := s.App.Trigger(key)
			_, isAction := s.App.Action(key)
			if needed[key] = true; !isTrigger && !isAction && key != "webhook" {
				t.Errorf("%s is needed for %s, which is neither a trigger nor an action", p.Key, key)
			}
		}
	}
	for _, tr := range s.App.Triggers {
		if !needed[tr.Key] {
			t.Errorf("no permission is named for %s", tr.Key)
		}
	}
	for _, a := range s.App.Actions {
		if !needed[a.Key] {
			t.Errorf("no permission is named for %s", a.Key)
		}
	}
}
