package zohobooks

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tieline/connectors"
)

// TaxDetails are what a contact's taxes go by. Which there are, and which must be given, depends on the organization's
// country edition.
type TaxDetails struct {
	GSTTreatment string `json:"gst_treatment,omitempty" maxLength:"100" doc:"India: business_gst, business_none, overseas or consumer."`
	GSTNumber    string `json:"gst_number,omitempty" maxLength:"15" doc:"India: the GSTIN, for the treatment business_gst."`
	VATTreatment string `json:"vat_treatment,omitempty" maxLength:"100" doc:"United Kingdom: uk, eu_vat_registered, overseas and others."`
	VATNumber    string `json:"vat_number,omitempty" maxLength:"100" doc:"United Kingdom: the registration number for value added tax."`
	TaxTreatment string `json:"tax_treatment,omitempty" maxLength:"100" doc:"Gulf countries, Mexico, Kenya and South Africa: such as vat_registered."`
	TaxNumber    string `json:"tax_number,omitempty" maxLength:"100" doc:"Gulf countries: the tax registration number."`
	Place        string `json:"place,omitempty" maxLength:"10" doc:"India and Gulf countries: the code of the state or emirate that is supplied."`
}

// CreateContactInput is a contact to be made.
type CreateContactInput struct {
	ContactNumber string   `json:"contact_number" minLength:"1" maxLength:"100" doc:"Its number, such as its id elsewhere; unique in the organization."`
	Name          string   `json:"name" minLength:"1" maxLength:"200" doc:"Its name."`
	OtherName     string   `json:"other_name,omitempty" maxLength:"200" doc:"What it is called where another contact has its name already: names are unique."`
	Company       string   `json:"company,omitempty" maxLength:"200" doc:"The company's name."`
	Type          string   `json:"type,omitempty" enum:"business,individual" doc:"business if not given."`
	FirstName     string   `json:"first_name,omitempty" maxLength:"100" doc:"Of the primary contact person."`
	LastName      string   `json:"last_name,omitempty" maxLength:"100" doc:"Of the primary contact person."`
	Email         string   `json:"email,omitempty" maxLength:"100" doc:"Of the primary contact person: where invoices go."`
	Phone         string   `json:"phone,omitempty" maxLength:"50" doc:"Of the primary contact person."`
	Address       *Address `json:"address,omitempty" doc:"Where it is billed."`
	Currency      string   `json:"currency,omitempty" pattern:"^[A-Za-z]{3}$" doc:"ISO 4217; the organization's own if not given. It cannot be changed once something was billed."`
	AddCurrency   bool     `json:"add_currency,omitempty" doc:"Adds the currency to the organization where that does not have it; else it is an error."`
	PaymentTerms  *int     `json:"payment_terms,omitempty" min:"0" max:"3650" doc:"Days until its invoices are due."`
	Notes         string   `json:"notes,omitempty" maxLength:"1000" doc:"Notes to keep at the contact; customers do not see them."`
	TaxDetails
	CustomFields map[string]string `json:"custom_fields,omitempty" doc:"Fields that the organization has added, by API name or label."`
}

// CreatedContact is what creating a contact leaves.
type CreatedContact struct {
	ContactID     string `json:"contact_id" doc:"Zoho Books' id of the contact."`
	ContactNumber string `json:"contact_number" doc:"Its number."`
	Name          string `json:"name" doc:"Its name."`
	Created       bool   `json:"created" doc:"False when it was there already."`
}

// Attributes of Refs, from which outputs are made.
const (
	attrNumber = "number"
	attrEmail  = "email"
)

func createContact() connectors.Action {
	return connectors.Do("contact.create", "Create contact", runCreateContact, CreateContactInput{
		ContactNumber: sampleContact.Number, Name: sampleContact.Name, Email: "billing@acme.example", Currency: "USD",
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Makes a contact, a customer, with a contact person who gets its e-mail.", "contact"
		a.Added = added("contact")
		a.Help = "A contact of the same number is used, and so is one of the same name and e-mail address that was not made here. Its notes end with a mark by which it is found again when Zoho Books' answer is lost."
	})
}

// wire is the body under one of the names that it may have.
func (in CreateContactInput) wire(ctx context.Context, c connectors.Conn, name, key string) (map[string]any, error) {
	out := map[string]any{
		"contact_name": name, "contact_type": "customer", "customer_sub_type": cmp.Or(in.Type, "business"), "contact_number": in.ContactNumber, "ignore_auto_number_generation": true,
		"notes": marked(in.Notes, key),
		"contact_persons": []person{{
			First: in.FirstName, Last: cmp.Or(in.LastName, map[bool]string{true: cut(in.Name, 100)}[in.FirstName == ""]), Email: in.Email, Phone: in.Phone, Primary: true,
		}},
	}
	given(out, "company_name", in.Company)
	in.TaxDetails.wire(out)
	if in.Address != nil {
		out["billing_address"] = in.Address.wire()
	}
	if in.PaymentTerms != nil {
		out["payment_terms"] = *in.PaymentTerms
	}
	if in.Currency != "" {
		x, err := currencyOf(ctx, c, in.Currency)
		if err != nil {
			return nil, err
		}
		out["currency_id"] = x.ID
	}
	return out, addCustom(ctx, c, out, "contact", in.CustomFields)
}

func (d TaxDetails) wire(out map[string]any) {
	given(out, "gst_treatment", d.GSTTreatment, "gst_no", d.GSTNumber, "vat_treatment", d.VATTreatment, "vat_reg_no", d.VATNumber, "tax_treatment", d.TaxTreatment,
		"tax_reg_no", d.TaxNumber, "place_of_contact", d.Place)
}

// whose says what a contact is to us.
type whose int

const (
	others whose = iota
	same         // the record that is meant, made by somebody else
	ours         // this very effect made it
)

// judge goes by the mark, then by the number, which is our choice, then by name and e-mail address together. One that we made
// for another record is none of these, whatever it is called.
func (in CreateContactInput) judge(x contact, key string) whose {
	mark := markIn(x.Notes)
	switch {
	case mark != "" && mark == key:
		return ours
	case x.Number == in.ContactNumber:
		return same
	case mark == "" && in.Email != "" && strings.EqualFold(x.primary().Email, in.Email) && strings.EqualFold(x.Name, in.Name):
		return same
	}
	return others
}

// look finds the contact that is meant, and says which of the names others have.
func (in CreateContactInput) look(ctx context.Context, c connectors.Conn, key string) (found *contact, of whose, taken map[string]bool, err error) {
	taken = map[string]bool{}
	consider := func(x contact) (bool, error) {
		if w := in.judge(x, key); w > of {
			found, of = &x, w
		}
		return of == ours, nil
	}
	for i, name := range []string{in.Name, in.OtherName} {
		if name == "" || i > 0 && !taken[in.Name] { // the other one is not used while the first is free
			continue
		}
		err := each(ctx, c, "/contacts", url.Values{"contact_name": {name}}, func(row contact) (bool, error) {
			if !strings.EqualFold(row.Name, name) {
				return false, nil
			}
			taken[name] = true
			x, err := fetchContact(ctx, c, string(row.ID))
			if missing(err) {
				return false, nil
			} else if err != nil {
				return false, err
			}
			return consider(x)
		}, "contacts")
		if err != nil {
			return nil, others, nil, fmt.Errorf("looking for contact %s: %w", name, err)
		}
	}
	if found == nil {
		if err := byNumber(ctx, c, in.ContactNumber, consider); err != nil {
			return nil, others, nil, fmt.Errorf("looking for contact %s: %w", in.ContactNumber, err)
		}
	}
	return found, of, taken, nil
}

func (x contact) ref() connectors.Ref {
	a := map[string]string{attrNumber: x.Number}
	if email := x.primary().Email; email != "" {
		a[attrEmail] = email
	}
	return connectors.Ref{ID: string(x.ID), Name: x.Name, Attributes: a}
}

func runCreateContact(ctx context.Context, c connectors.Conn, in CreateContactInput) (CreatedContact, error) {
	probe := func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		x, of, _, err := in.look(ctx, c, key)
		if err != nil || x == nil {
			return connectors.Ref{}, false, err
		}
		ref := x.ref()
		ref.Adopted = of != ours
		return ref, true, nil
	}
	if in.AddCurrency {
		if err := ensureCurrency(ctx, c, in.Currency); err != nil {
			return CreatedContact{}, err
		}
	}
	intent := connectors.Create("contact")
	ref, err := c.Effect(ctx, intent, probe, func(ctx context.Context, key string) (connectors.Ref, error) {
		x, of, taken, err := in.look(ctx, c, key)
		switch {
		case err != nil:
			return connectors.Ref{}, err
		case of == ours:
			return x.ref(), nil
		case of == same:
			return c.Adopt(ctx, intent, x.ref())
		}
		name := in.Name
		if taken[name] && in.OtherName != "" {
			name = in.OtherName
		}
		if taken[name] {
			return connectors.Ref{}, connectors.Errorf(connectors.Conflict, "a contact called %s is there already and may or may not be the one that was meant", name)
		}
		body, err := in.wire(ctx, c, name, key)
		if err != nil {
			return connectors.Ref{}, err
		}
		var made struct {
			Contact contact `json:"contact"`
		}
		if err := call(ctx, c, request{http.MethodPost, "/contacts", nil, body, &made}); err != nil {
			return orFound(ctx, key, probe, err)
		}
		if made.Contact.ID == "" {
			return connectors.Ref{}, garbled(http.StatusCreated, true)
		}
		return made.Contact.ref(), nil
	})
	if err != nil {
		return CreatedContact{}, fmt.Errorf("creating contact %s: %w", in.ContactNumber, err)
	}
	return CreatedContact{ref.ID, cmp.Or(ref.Attributes[attrNumber], in.ContactNumber), cmp.Or(ref.Name, in.Name), !ref.Adopted}, nil
}
