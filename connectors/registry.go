package connectors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"tieline/connectors/schema"
)

// Registry holds the connectors of a process. It does not change once made.
type Registry struct{ apps map[string]Connector }

var (
	appKey  = regexp.MustCompile(`^[a-z][a-z0-9]*$`)
	verbKey = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*\.[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
)

// NewRegistry takes connectors in and refuses a bad descriptor, naming all that is wrong with all of them.
func NewRegistry(list ...Connector) (*Registry, error) {
	r := &Registry{apps: map[string]Connector{}}
	var problems []error
	for _, c := range list {
		if _, twice := r.apps[c.Key]; twice {
			problems = append(problems, fmt.Errorf("app %q is listed twice", c.Key))
		}
		r.apps[c.Key] = c
		for _, p := range check(c) {
			problems = append(problems, fmt.Errorf("app %q: %s", c.Key, p))
		}
	}
	return r, errors.Join(problems...)
}

// App is the connector of a key.
func (r *Registry) App(key string) (Connector, bool) {
	c, ok := r.apps[key]
	return c, ok
}

// Apps are all connectors, by key.
func (r *Registry) Apps() []Connector {
	out := make([]Connector, 0, len(r.apps))
	for _, k := range slices.Sorted(maps.Keys(r.apps)) {
		out = append(out, r.apps[k])
	}
	return out
}

// Trigger finds a trigger by key.
func (c Connector) Trigger(key string) (Trigger, bool) {
	i := slices.IndexFunc(c.Triggers, func(t Trigger) bool { return t.Key == key })
	if i < 0 {
		return Trigger{}, false
	}
	return c.Triggers[i], true
}

// Action finds an action by key.
func (c Connector) Action(key string) (Action, bool) {
	i := slices.IndexFunc(c.Actions, func(a Action) bool { return a.Key == key })
	if i < 0 {
		return Action{}, false
	}
	return c.Actions[i], true
}

// Events are the vendor's event types that its triggers need.
func (c Connector) Events() []string {
	seen := map[string]bool{}
	for _, t := range c.Triggers {
		for _, e := range t.Events {
			seen[e] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// Keeps says whether the app keeps records of a kind that we map.
func (c Connector) Keeps(entity string) bool {
	return slices.ContainsFunc(c.Records, func(r Record) bool { return r.Entity == entity })
}

// Look is how a record of a kind is read; nil when it cannot be.
func (c Connector) Look(entity string) func(context.Context, Conn, string) (Ref, any, error) {
	for _, r := range c.Records {
		if r.Entity == entity {
			return r.Look
		}
	}
	return nil
}

// RecordURL is where a user sees a record in the app; empty when there is no page.
func (c Connector) RecordURL(mode Mode, entity, id string) string {
	for _, r := range c.Records {
		if r.Entity == entity && r.URL != nil && id != "" {
			return r.URL(mode, id)
		}
	}
	return ""
}

func check(c Connector) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	need := func(ok bool, format string, args ...any) {
		if !ok {
			bad(format, args...)
		}
	}
	need(appKey.MatchString(c.Key), "the key must be lower-case letters and digits")
	need(c.Name != "" && c.Description != "" && c.Category != "", "name, description and category are needed")
	need(c.Mode != nil && c.Identify != nil, "Mode and Identify are needed")
	if c.BaseURL == nil {
		need(c.Webhook == nil && len(c.Actions) == 0, "without BaseURL there is no vendor, and so no webhook and no action")
	} else {
		need(c.Authorize != nil && c.Rate != nil, "Authorize and Rate are needed")
		need(c.Timeout > 0, "a timeout is needed: an effect's send_until is derived from it")
	}
	fields := map[string]bool{}
	for _, f := range c.Auth {
		need(f.Key != "" && f.Label != "" && f.Help != "", "field %q: key, label and help are needed", f.Key)
		need(!fields[f.Key], "field %q is listed twice", f.Key)
		fields[f.Key] = true
	}
	if l := c.Login; l != nil {
		need((l.Fetch == nil) != (l.Consent == nil), "login: it has either Fetch or a Consent")
		need(l.Timeout > 0, "login: a timeout is needed")
		if g := l.Consent; g != nil {
			need(g.Root != nil && g.Authorize != "" && g.Token != "", "consent: Root, Authorize and Token are needed")
			need(fields[g.ClientID] && fields[g.ClientSecret] && (g.Code == "" || fields[g.Code]), "consent: its client ID, client secret and code are fields of the form")
		}
	}
	for _, f := range c.Auth {
		need(!f.Told || f.Optional && c.Login != nil && c.Login.Consent != nil && c.Login.Consent.Told != nil, "field %q: what a Consent tells is optional", f.Key)
	}
	need(c.Account == "" || fields[c.Account], "the account field %q is not in the form", c.Account)
	if c.Webhook != nil {
		need(c.Webhook.Open != nil && c.Webhook.Help != "", "webhook: Open and Help are needed")
		need(c.Webhook.Unsigned != (c.Webhook.SecretPrefix != ""), "webhook: it is Unsigned or its secrets have a SecretPrefix")
		need((c.Webhook.Register == nil) == (c.Webhook.Remove == nil), "webhook: Register and Remove go together")
	}
	records := map[string]bool{}
	for _, r := range c.Records {
		need(r.Entity != "" && r.Name != "", "record %q: entity and name are needed", r.Entity)
		records[r.Entity] = true
	}
	keys := map[string]bool{}
	named := func(what, key, name, description string) {
		need(verbKey.MatchString(key), "%s %q: the key must be noun.verb", what, key)
		need(name != "" && description != "", "%s %q: name and description are needed", what, key)
		need(!keys[what+key], "%s %q is listed twice", what, key)
		keys[what+key] = true
	}
	for _, t := range c.Triggers {
		named("trigger", t.Key, t.Name, t.Description)
		need(t.Decode != nil && t.Output != nil, "trigger %q: Decode and an output are needed", t.Key)
		need(records[t.Entity], "trigger %q: its entity %q is not among the records", t.Key, t.Entity)
		need(t.List == nil || c.BaseURL != nil, "trigger %q: List needs BaseURL", t.Key)
		need(t.List == nil || (t.Every > 0 && t.Calm >= t.Every), "trigger %q: List needs Every and Calm", t.Key)
		if t.Output != nil {
			need(fits(t.Output, t.Sample), "trigger %q: the sample does not fit the output", t.Key)
		}
	}
	for _, a := range c.Actions {
		named("action", a.Key, a.Name, a.Description)
		need(a.Run != nil && a.Input != nil && a.Output != nil, "action %q: Run, input and output are needed", a.Key)
		need(a.Walk == nil || a.Reads && a.Walk.Page != nil && a.Walk.Read != nil, "action %q: Walk needs Page and Read, and an action that only reads", a.Key)
		if a.Added != nil && a.Input != nil {
			_, err := a.Input.With(AddedFields, json.RawMessage("{}"))
			need(err == nil, "action %q: Added needs a property %s of the input", a.Key, AddedFields)
		}
		need(records[a.Entity], "action %q: its entity %q is not among the records", a.Key, a.Entity)
		if a.Input != nil {
			need(fits(a.Input, a.Sample), "action %q: the sample does not fit the input", a.Key)
		}
	}
	return problems
}

func fits(s *schema.Schema, sample json.RawMessage) bool {
	var v any
	return json.Unmarshal(sample, &v) == nil && len(s.Validate(v)) == 0
}
