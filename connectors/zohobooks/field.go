package zohobooks

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"tieline/connectors"
)

// custom is a custom field of a record.
type custom struct {
	ID      id     `json:"customfield_id"`
	APIName string `json:"api_name"`
	Label   string `json:"label"`
	Value   any    `json:"value"`
}

// values are custom fields by API name, or by label where Zoho Books does not say that.
func values(list []custom) map[string]string {
	out := map[string]string{}
	for _, f := range list {
		name := f.APIName
		if name == "" {
			name = f.Label
		}
		if name != "" && f.Value != nil {
			out[name] = fmt.Sprint(f.Value)
		}
	}
	return out
}

func valueOf(list []custom, name string) string {
	for _, f := range list {
		if (f.APIName == name || f.Label == name) && f.Value != nil {
			return fmt.Sprint(f.Value)
		}
	}
	return ""
}

// field is a custom field as the organization has set it up. https://www.zoho.com/books/api/v3/custom-fields/
type field struct {
	ID      id     `json:"field_id"`
	APIName string `json:"api_name"`
	Label   string `json:"label"`
	Type    string `json:"data_type"`
	Custom  *bool  `json:"is_custom_field"` // other fields may be in the list, too
	Active  *bool  `json:"is_active"`
	Needed  bool   `json:"is_mandatory"`
	Values  []struct {
		Name string `json:"name"`
	} `json:"values"`
}

// fieldsOf are the custom fields that records of a kind may have.
func fieldsOf(ctx context.Context, c connectors.Conn, entity string) ([]field, error) {
	var out struct {
		Fields []field `json:"fields"`
	}
	if err := get(ctx, c, "/settings/fields", url.Values{"entity": {entity}}, &out); err != nil {
		return nil, fmt.Errorf("reading the custom fields of a %s: %w", entity, err)
	}
	return slices.DeleteFunc(out.Fields, func(f field) bool {
		return f.ID == "" || f.APIName == "" || f.Custom != nil && !*f.Custom || f.Active != nil && !*f.Active
	}), nil
}

// added is what an action offers of them.
func added(entity string) func(context.Context, connectors.Conn) ([]connectors.AddedField, error) {
	return func(ctx context.Context, c connectors.Conn) ([]connectors.AddedField, error) {
		known, err := fieldsOf(ctx, c, entity)
		out := make([]connectors.AddedField, len(known))
		for i, f := range known {
			out[i] = connectors.AddedField{Name: f.APIName, Label: f.Label, Needed: f.Needed}
			for _, v := range f.Values {
				out[i].Values = append(out[i].Values, v.Name)
			}
		}
		return out, err
	}
}

// addCustom puts custom fields into a body, by their ids. It asks for those that there are only where some are given.
func addCustom(ctx context.Context, c connectors.Conn, body map[string]any, entity string, given map[string]string) error {
	if len(given) == 0 {
		return nil
	}
	known, err := fieldsOf(ctx, c, entity)
	if err != nil {
		return err
	}
	var out []map[string]any
	for _, name := range slices.Sorted(maps.Keys(given)) {
		i := slices.IndexFunc(known, func(f field) bool { return f.APIName == name || strings.EqualFold(f.Label, name) })
		if i < 0 {
			var names []string
			for _, f := range known {
				names = append(names, f.APIName)
			}
			return wrong("custom_fields", fmt.Sprintf("The organization has no custom field %s of a %s; it has these: %s.", name, entity, strings.Join(names, ", ")))
		}
		out = append(out, map[string]any{"customfield_id": known[i].ID, "value": given[name]})
	}
	body["custom_fields"] = out
	return nil
}
