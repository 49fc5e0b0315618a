package zohobooks

import (
	"context"
	"fmt"
	"net/http"

	"tieline/connectors"
)

// UpdateContactInput is what changes at a contact; what is not given stays.
type UpdateContactInput struct {
	ContactID    string            `json:"contact_id" pattern:"^[0-9]{1,30}$" doc:"Zoho Books' id of the contact."`
	Name         string            `json:"name,omitempty" maxLength:"200" doc:"Its name."`
	Company      string            `json:"company,omitempty" maxLength:"200" doc:"The company's name."`
	Address      *Address          `json:"address,omitempty" doc:"Where it is billed; the whole of it."`
	PaymentTerms *int              `json:"payment_terms,omitempty" min:"0" max:"3650" doc:"Days until its invoices are due."`
	CustomFields map[string]string `json:"custom_fields,omitempty" doc:"Fields that the organization has added, by API name or label."`
}

// UpdatedContact is what changing a contact leaves.
type UpdatedContact struct {
	ContactID string `json:"contact_id" doc:"Zoho Books' id of the contact."`
	Name      string `json:"name" doc:"Its name."`
}

func updateContact() connectors.Action {
	terms := 14
	return connectors.Do("contact.update", "Update contact", runUpdateContact, UpdateContactInput{ContactID: string(sampleContact.ID), PaymentTerms: &terms}, func(a *connectors.Action) {
		a.Description, a.Entity = "Changes a contact; what is not given stays as it is.", "contact"
		a.Options = map[string]connectors.Offer{"contact_id": offerContacts}
		a.Added = added("contact")
		a.Help = "A contact that has it all already is not written. Its contact persons are left alone."
	})
}

// has says whether a contact is as it is to be.
func (in UpdateContactInput) has(x contact) bool {
	same := (in.Name == "" || x.Name == in.Name) && (in.Company == "" || x.Company == in.Company) && (in.Address == nil || x.Billing == in.Address.wire()) && (in.PaymentTerms == nil || x.Terms == *in.PaymentTerms)
	for k, v := range in.CustomFields {
		same = same && valueOf(x.Custom, k) == v
	}
	return same
}

func runUpdateContact(ctx context.Context, c connectors.Conn, in UpdateContactInput) (UpdatedContact, error) {
	if in.Name == "" && in.Company == "" && in.Address == nil && in.PaymentTerms == nil && len(in.CustomFields) == 0 {
		return UpdatedContact{}, wrong("name", "Something to change is needed.")
	}
	has := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		x, err := fetchContact(ctx, c, in.ContactID)
		return connectors.Ref{ID: in.ContactID, Name: x.Name}, err == nil && in.has(x), err
	}
	ref, err := c.Effect(ctx, connectors.Set("contact", in.ContactID), has, func(ctx context.Context, key string) (connectors.Ref, error) {
		x, err := fetchContact(ctx, c, in.ContactID)
		if err != nil || in.has(x) {
			return connectors.Ref{ID: in.ContactID, Name: x.Name, Adopted: true}, err
		}
		body := map[string]any{"contact_name": x.Name, "contact_type": "customer"} // wanted again
		given(body, "contact_name", in.Name, "company_name", in.Company)
		if in.Address != nil {
			body["billing_address"] = in.Address.wire()
		}
		if in.PaymentTerms != nil {
			body["payment_terms"] = *in.PaymentTerms
		}
		if err := addCustom(ctx, c, body, "contact", in.CustomFields); err != nil {
			return connectors.Ref{}, err
		}
		var out struct {
			Contact contact `json:"contact"`
		}
		err = call(ctx, c, request{http.MethodPut, path("contacts", in.ContactID), nil, body, &out})
		return connectors.Ref{ID: in.ContactID, Name: out.Contact.Name}, err
	})
	if err != nil {
		return UpdatedContact{}, fmt.Errorf("changing contact %s: %w", in.ContactID, err)
	}
	return UpdatedContact{ref.ID, ref.Name}, nil
}
