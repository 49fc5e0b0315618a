package togai

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"

	"tieline/connectors"
)

// addOn is what fees and licences are charged for.
type addOn struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name"`
	Type string `json:"type"`
	// BillableName is taken for what invoices show; that displayName answers it is an assumption.
	BillableName string `json:"billableName,omitempty"`
}

// CreateAddOnInput is an add-on that a rate card needs.
type CreateAddOnInput struct {
	Name  string `json:"name" minLength:"1" maxLength:"255" doc:"Its name. One of this name and type that is there already is used."`
	Type  string `json:"type" enum:"FIXED_FEE,LICENSE" doc:"What rate cards it is for."`
	Title string `json:"title,omitempty" maxLength:"255" doc:"As invoices show it; the name if not given."`
	Role  string `json:"role,omitempty" maxLength:"100" doc:"Tells several add-ons of one record apart, such as the id of a charge elsewhere."`
}

// CreatedAddOn is what creating an add-on leaves.
type CreatedAddOn struct {
	AddOnID string `json:"addon_id" doc:"Togai's id of it, which a rate card names as its billable_id."`
	Name    string `json:"name" doc:"Its name."`
	Created bool   `json:"created" doc:"False when it was there already."`
}

func createAddOn() connectors.Action {
	return connectors.Do("addon.create", "Create add-on", runCreateAddOn, CreateAddOnInput{Name: "Basic fee", Type: "FIXED_FEE"}, func(a *connectors.Action) {
		a.Description, a.Entity = "Makes an add-on, which a price plan's fee or licence is charged for.", "addon"
		a.Help = "An add-on of the same name and type that is there already is used."
	})
}

// runCreateAddOn goes by the name: an add-on is nothing but a name to charge under, so one of the same name and type is as
// good as the one that a lost answer may have left.
func runCreateAddOn(ctx context.Context, c connectors.Conn, in CreateAddOnInput) (CreatedAddOn, error) {
	look := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		for x, err := range all[addOn](ctx, c, "addons", pageSize, url.Values{"status": {"ACTIVE"}}) {
			if err != nil {
				return connectors.Ref{}, false, fmt.Errorf("looking for the add-on: %w", err)
			}
			if x.Name == in.Name && x.Type == in.Type {
				return connectors.Ref{ID: x.ID, Name: x.Name}, true, nil
			}
		}
		return connectors.Ref{}, false, nil
	}
	ref, err := c.Effect(ctx, connectors.Create("addon", in.Role), look, func(ctx context.Context, key string) (connectors.Ref, error) {
		if ref, there, err := look(ctx, key); there || err != nil {
			ref.Adopted = there
			return ref, err
		}
		var made addOn
		if _, err := call(ctx, c, http.MethodPost, "/addons", addOn{Name: in.Name, Type: in.Type, BillableName: cmp.Or(in.Title, in.Name)}, &made); err != nil {
			return connectors.Ref{}, err
		}
		if made.ID == "" {
			return connectors.Ref{}, garbled(http.StatusOK, true)
		}
		return connectors.Ref{ID: made.ID, Name: made.Name}, nil
	})
	if err != nil {
		return CreatedAddOn{}, fmt.Errorf("creating add-on %s: %w", in.Name, err)
	}
	return CreatedAddOn{ref.ID, cmp.Or(ref.Name, in.Name), !ref.Adopted}, nil
}
