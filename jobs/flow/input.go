package flow

import (
	"context"
	"encoding/json"
	"fmt"

	"tieline/connectors"
	"tieline/db"
)

// InputSchema is the JSON Schema of an action's input as a connection has it: with the fields that the vendor's users have
// added to the record.
func (e *Engine) InputSchema(ctx context.Context, org, id db.ID, action string) (json.RawMessage, error) {
	row, err := db.GetConnection(ctx, e.DB, org, id)
	if err != nil {
		return nil, err
	}
	app, ok := e.Apps.App(row.App)
	if !ok {
		return nil, fmt.Errorf("no connector for app %q", row.App)
	}
	a, ok := app.Action(action)
	switch {
	case !ok:
		return nil, problem(CodeNotFound, fmt.Sprintf("%s has no action %q.", app.Name, action), "action")
	case a.Added == nil:
		return a.Input.JSON(), nil
	case row.State == ConnDisabled:
		return nil, problem(CodeState, "The connection is switched off.", "connectionId")
	}
	pace := e.pacer(app, *row.VendorAccount)
	pace.within = personWaits
	c, err := e.open(row, &caller{pace: pace})
	if err != nil {
		return nil, err
	}
	added, err := a.Added(ctx, c)
	if err != nil {
		return nil, refusal(app, err, "action")
	}
	fields, err := addedSchema(added)
	if err != nil {
		return nil, err
	}
	s, err := a.Input.With(connectors.AddedFields, fields)
	if err != nil {
		return nil, err
	}
	return s.JSON(), nil
}

// addedSchema is that of an object that holds nothing but these fields.
func addedSchema(added []connectors.AddedField) (json.RawMessage, error) {
	properties, needed := map[string]any{}, []string{}
	for _, f := range added {
		p := map[string]any{"type": "string", "title": f.Label}
		if len(f.Values) > 0 {
			p["enum"] = f.Values
		}
		if properties[f.Name] = p; f.Needed {
			needed = append(needed, f.Name)
		}
	}
	return json.Marshal(map[string]any{
		"type": "object", "properties": properties, "required": needed, "additionalProperties": false, "description": "Fields that the vendor's users have added, as the connection has them.",
	})
}
