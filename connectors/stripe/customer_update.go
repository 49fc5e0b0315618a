package stripe

import (
	"context"
	"fmt"
	"maps"
	"slices"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// UpdateCustomerInput changes what it names. An empty text clears a field or takes a key out of the metadata.
type UpdateCustomerInput struct {
	CustomerID       string            `json:"customer_id" minLength:"1" doc:"Stripe's id of the customer."`
	Name             *string           `json:"name,omitempty" maxLength:"256" doc:"New name."`
	Email            *string           `json:"email,omitempty" maxLength:"512" doc:"New e-mail address."`
	Phone            *string           `json:"phone,omitempty" maxLength:"20" doc:"New telephone number."`
	Description      *string           `json:"description,omitempty" maxLength:"350" doc:"New description."`
	Address          *Address          `json:"address,omitempty" doc:"New billing address, whole."`
	PreferredLocales []string          `json:"preferred_locales,omitempty" doc:"Languages in order of preference."`
	Metadata         map[string]string `json:"metadata,omitempty" doc:"Notes to add or change; the other ones stay."`
	LinkAs           string            `json:"link_as,omitempty" maxLength:"300" doc:"Links the customer to the record that the step is about: as its customer, or in this role where it has another one already."`
}

// UpdatedCustomer is what an update leaves.
type UpdatedCustomer struct {
	CustomerID string            `json:"customer_id" doc:"Stripe's id of the customer."`
	Changed    []string          `json:"changed" doc:"The fields that were written."`
	Name       string            `json:"name" doc:"Its name."`
	Email      string            `json:"email" doc:"Its e-mail address; empty when it has none."`
	Metadata   map[string]string `json:"metadata" doc:"Its metadata."`
}

func updateCustomer() connectors.Action {
	return connectors.Do("customer.update", "Update customer", runUpdateCustomer, UpdateCustomerInput{
		CustomerID: "cus_NffrFeUfNV2Hib", Metadata: map[string]string{metaAccount: "acme"},
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Changes a customer's fields and metadata.", "customer"
		a.Options = map[string]connectors.Offer{"customer_id": offerCustomers}
		a.Help = "Only what is given is changed. An empty text clears a field, or takes a key out of the metadata."
	})
}

func runUpdateCustomer(ctx context.Context, c connectors.Conn, in UpdateCustomerInput) (UpdatedCustomer, error) {
	changed := in.changes()
	if len(changed) == 0 {
		return UpdatedCustomer{}, connectors.Errorf(connectors.Invalid, "nothing to change was given")
	}
	if err := in.link(ctx, c); err != nil {
		return UpdatedCustomer{}, err
	}
	ref, err := setCustomer(ctx, c, "", in)
	if err != nil {
		return UpdatedCustomer{}, err
	}
	cus := fromRef(ref)
	return UpdatedCustomer{CustomerID: cus.CustomerID, Changed: changed, Name: cus.Name, Email: cus.Email, Metadata: cus.Metadata}, nil
}

// link puts the customer where the record's customer belongs, which invoices go to, or else beside the one that is there.
func (in UpdateCustomerInput) link(ctx context.Context, c connectors.Conn) error {
	if in.LinkAs == "" {
		return nil
	}
	for _, role := range []string{"", in.LinkAs} {
		ref, err := c.Adopt(ctx, connectors.Create("customer", role), connectors.Ref{ID: in.CustomerID})
		if err != nil {
			return fmt.Errorf("linking customer %s: %w", in.CustomerID, err)
		}
		if ref.ID == in.CustomerID {
			return nil
		}
	}
	return connectors.Errorf(connectors.Conflict, "another customer is linked as %s already", in.LinkAs)
}

// changes are the fields that the input names, in its order.
func (in UpdateCustomerInput) changes() (out []string) {
	for _, f := range []struct {
		name string
		is   bool
	}{
		{"name", in.Name != nil}, {"email", in.Email != nil}, {"phone", in.Phone != nil}, {"description", in.Description != nil},
		{"address", in.Address != nil}, {"preferred_locales", len(in.PreferredLocales) > 0}, {"metadata", len(in.Metadata) > 0},
	} {
		if f.is {
			out = append(out, f.name)
		}
	}
	return out
}

// setCustomer writes in one call; name tells it apart from another change of the same customer in the same step.
func setCustomer(ctx context.Context, c connectors.Conn, name string, in UpdateCustomerInput) (connectors.Ref, error) {
	in.Metadata = maps.Clone(in.Metadata)
	delete(in.Metadata, metaEffect)
	done := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		cus, err := getCustomer(ctx, c, in.CustomerID)
		if err != nil || !in.holds(cus) {
			return connectors.Ref{}, false, err
		}
		ref, err := written(cus)
		return ref, err == nil, err
	}
	ref, err := c.Effect(ctx, connectors.Set("customer", in.CustomerID, name), done, func(ctx context.Context, key string) (connectors.Ref, error) {
		cus, err := api(c).Customers.Update(in.CustomerID, &stripe.CustomerParams{
			Params: write(ctx, key), Name: in.Name, Email: in.Email, Phone: in.Phone, Description: in.Description,
			Address: in.Address.params(stripe.String), PreferredLocales: texts(in.PreferredLocales), Metadata: in.Metadata,
		})
		if err != nil {
			return connectors.Ref{}, failed(c, err, true)
		}
		return written(cus)
	})
	if err != nil {
		return connectors.Ref{}, fmt.Errorf("updating customer %s: %w", in.CustomerID, err)
	}
	return ref, nil
}

// holds says whether the customer already is as the input wants it.
func (in UpdateCustomerInput) holds(cus *stripe.Customer) bool {
	same := func(want *string, got string) bool { return want == nil || *want == got }
	if !same(in.Name, cus.Name) || !same(in.Email, cus.Email) || !same(in.Phone, cus.Phone) || !same(in.Description, cus.Description) {
		return false
	}
	if in.Address != nil && *in.Address != (CustomerCreated{}).with(cus).Address {
		return false
	}
	if len(in.PreferredLocales) > 0 && !slices.Equal(in.PreferredLocales, cus.PreferredLocales) {
		return false
	}
	for k, v := range in.Metadata {
		if cus.Metadata[k] != v {
			return false
		}
	}
	return true
}
