package model

import (
	"maps"
	"slices"

	"tieline/connectors"
)

// Apps are the connectors of this build as the schema shows them. They do not change, so each is made once.
type Apps struct {
	list     []*App // by key
	byKey    map[string]*App
	triggers map[[2]string]*Trigger // by app and key
	actions  map[[2]string]*Action
	registry *connectors.Registry
}

// NewApps makes them. back is where browsers come back to from a vendor's consent page; empty when they cannot.
func NewApps(r *connectors.Registry, back string) *Apps {
	a := &Apps{byKey: map[string]*App{}, triggers: map[[2]string]*Trigger{}, actions: map[[2]string]*Action{}, registry: r}
	for _, c := range r.Apps() {
		app := &App{
			ID: string(AppID) + "_" + c.Key, Key: c.Key, Name: c.Name, Description: c.Description, Category: c.Category,
			DocsURL: text(c.DocsURL), Fields: make([]*FormField, 0, len(c.Auth)), Authorization: authorization(c, back),
		}
		if c.Webhook != nil {
			app.WebhookHelp = &c.Webhook.Help
		}
		for _, f := range c.Auth {
			if !f.Told {
				app.Fields = append(app.Fields, formField(c.Key, f))
			}
		}
		for _, t := range c.Triggers {
			app.Triggers = append(app.Triggers, &Trigger{
				ID: part("trg", c.Key, t.Key), Key: t.Key, App: app, Name: t.Name, Description: t.Description, Entity: t.Entity,
				Schema: t.Output.JSON(), Sample: t.Sample, Events: t.Events,
			})
			a.triggers[[2]string{c.Key, t.Key}] = app.Triggers[len(app.Triggers)-1]
		}
		for _, x := range c.Actions {
			app.Actions = append(app.Actions, &Action{
				ID: part("act", c.Key, x.Key), Key: x.Key, App: app, Name: x.Name, Description: x.Description, Help: text(x.Help), Entity: x.Entity,
				ReadOnly: x.Reads, InputSchema: x.Input.JSON(), OutputSchema: x.Output.JSON(), SampleInput: x.Sample,
				OptionFields: append([]string{}, slices.Sorted(maps.Keys(x.Options))...),
			})
			a.actions[[2]string{c.Key, x.Key}] = app.Actions[len(app.Actions)-1]
		}
		a.list, a.byKey[c.Key] = append(a.list, app), app
	}
	return a
}

// All are the apps by key.
func (a *Apps) All() []*App { return a.list }

// Find is the app of a key, nil when this build has none.
func (a *Apps) Find(key string) *App { return a.byKey[key] }

// Of is the app that a row names. One whose connector is gone from this build shows by its key alone.
func (a *Apps) Of(key string) *App {
	if app := a.byKey[key]; app != nil {
		return app
	}
	return &App{ID: string(AppID) + "_" + key, Key: key, Name: key}
}

// Trigger finds a trigger, nil when the app no longer has it.
func (a *Apps) Trigger(app, key string) *Trigger { return a.triggers[[2]string{app, key}] }

// Action finds an action, nil when the app no longer has it.
func (a *Apps) Action(app, key string) *Action { return a.actions[[2]string{app, key}] }

func authorization(c connectors.Connector, back string) *AppAuthorization {
	if c.Login == nil || c.Login.Consent == nil {
		return nil
	}
	way := c.Login.Consent
	return &AppAuthorization{ID: part("way", c.Key), RedirectURL: text(back), Scopes: append([]string{}, way.Scopes...), CodeField: text(way.Code)}
}

func formField(app string, f connectors.Field) *FormField {
	out := &FormField{
		ID: part("fld", app, f.Key), Key: f.Key, Label: f.Label, Help: f.Help, Placeholder: text(f.Placeholder),
		Secret: f.Secret, Required: !f.Optional, Choices: make([]*FormChoice, len(f.Choices)), HasOptions: f.Options != nil,
	}
	for i, c := range f.Choices {
		out.Choices[i] = &FormChoice{ID: part("chc", app, f.Key, c.Value), Value: c.Value, Label: c.Label}
	}
	return out
}

// NewFieldOption is one value that a field may have.
func NewFieldOption(connection, action, field string, o connectors.Option) *FieldOption {
	return &FieldOption{ID: part("opt", connection, action, field, o.Value), Value: o.Value, Label: o.Label, Detail: text(o.Detail)}
}
