package stripe

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// CreateCustomerInput is a customer to be made for a Togai account.
type CreateCustomerInput struct {
	TogaiAccountID   string            `json:"togai_account_id" minLength:"1" maxLength:"500" doc:"The Togai account it is for; kept in the customer's metadata."`
	Name             string            `json:"name" minLength:"1" maxLength:"256" doc:"Name of the person or company."`
	Email            string            `json:"email,omitempty" maxLength:"512" doc:"Needed for invoices that are sent by e-mail."`
	Phone            string            `json:"phone,omitempty" maxLength:"20" doc:"Telephone number."`
	Description      string            `json:"description,omitempty" maxLength:"350" doc:"Shown beside the customer in the dashboard."`
	Address          *Address          `json:"address,omitempty" doc:"Billing address."`
	TaxIDs           []TaxID           `json:"tax_ids,omitempty" doc:"Tax numbers."`
	PreferredLocales []string          `json:"preferred_locales,omitempty" doc:"Languages in order of preference, such as de."`
	TogaiCustomerID  string            `json:"togai_customer_id,omitempty" maxLength:"500" doc:"The Togai customer of the account; kept in the metadata."`
	Metadata         map[string]string `json:"metadata,omitempty" doc:"More notes to keep at the customer."`
	IfExists         string            `json:"if_exists,omitempty" enum:"reuse,fail,create" doc:"When a customer of this Togai account is there already: reuse it (default), fail, or create another."`
	LinkByEmail      bool              `json:"linkByEmail,omitempty" doc:"Also reuse a customer with this e-mail address, if there is exactly one and it belongs to no other Togai account."`
}

// TaxID is a tax number.
type TaxID struct {
	Type  string `json:"type" doc:"Stripe's name of the kind, such as eu_vat."`
	Value string `json:"value" doc:"The number."`
}

// Customer is what an action leaves.
type Customer struct {
	CustomerID string            `json:"customer_id" doc:"Stripe's id of the customer."`
	Created    bool              `json:"created" doc:"False when it was there already."`
	Name       string            `json:"name" doc:"Its name."`
	Email      string            `json:"email" doc:"Its e-mail address; empty when it has none."`
	Metadata   map[string]string `json:"metadata" doc:"Its metadata."`
	Livemode   bool              `json:"livemode" doc:"False for test data."`
}

func createCustomer() connectors.Action {
	return connectors.Do("customer.create", "Create customer", runCreateCustomer, CreateCustomerInput{
		TogaiAccountID: "acme", Name: "Acme Inc.", Email: "billing@acme.example",
	}, func(a *connectors.Action) {
		a.Description = "Makes a customer for a Togai account, or takes the one that is there."
		a.Help, a.Entity = "A customer is recognised by the Togai account in its metadata. An equal e-mail address alone is not enough, unless linkByEmail says so.", "customer"
	})
}

func runCreateCustomer(ctx context.Context, c connectors.Conn, in CreateCustomerInput) (Customer, error) {
	intent := connectors.Create("customer")
	ref, err := c.Effect(ctx, intent, in.probe(c), func(ctx context.Context, key string) (connectors.Ref, error) {
		// Looking is part of sending: what the engine knows already needs no look, and a resend must not take our own
		// customer for somebody else's.
		if in.IfExists != "create" {
			there, err := in.lookUp(ctx, c, key)
			if err != nil {
				return connectors.Ref{}, err
			}
			if there.ID != "" {
				return c.Adopt(ctx, intent, there)
			}
		}
		cus, err := api(c).Customers.New(in.params(ctx, key))
		if err != nil {
			return connectors.Ref{}, failed(c, err, true)
		}
		return written(cus)
	})
	if err != nil {
		return Customer{}, fmt.Errorf("creating customer: %w", err)
	}
	if out := fromRef(ref); !ref.Adopted || out.Metadata[metaAccount] == in.TogaiAccountID {
		return out, nil
	}
	// Found by its e-mail address: from here on it carries our id, as one that we made does.
	ref, err = setCustomer(ctx, c, "link", UpdateCustomerInput{CustomerID: ref.ID, Metadata: in.ownMetadata()})
	if err != nil {
		return Customer{}, err
	}
	out := fromRef(ref)
	out.Created = false
	return out, nil
}

func (in CreateCustomerInput) ownMetadata() map[string]string {
	m := map[string]string{metaAccount: in.TogaiAccountID}
	if in.TogaiCustomerID != "" {
		m[metaCustomer] = in.TogaiCustomerID
	}
	return m
}

func (in CreateCustomerInput) params(ctx context.Context, key string) *stripe.CustomerParams {
	p := &stripe.CustomerParams{
		Params: write(ctx, key), Name: stripe.String(in.Name), Email: given(in.Email), Phone: given(in.Phone), Description: given(in.Description),
		Address: in.Address.params(given), PreferredLocales: texts(in.PreferredLocales), Metadata: marked(in.Metadata, in.ownMetadata(), key),
	}
	for _, t := range in.TaxIDs {
		p.TaxIDData = append(p.TaxIDData, &stripe.CustomerTaxIDDataParams{Type: stripe.String(t.Type), Value: stripe.String(t.Value)})
	}
	return p
}

// given is nil for an empty text: a create leaves the field out.
func given(s string) *string {
	if s == "" {
		return nil
	}
	return stripe.String(s)
}

// texts is nil for an empty list, which the library would send, and Stripe clear the field.
func texts(list []string) []*string {
	if len(list) == 0 {
		return nil
	}
	return stripe.StringSlice(list)
}

// params renders each part with text: stripe.String also sends the empty ones, which clears them.
func (a *Address) params(text func(string) *string) *stripe.AddressParams {
	if a == nil {
		return nil
	}
	return &stripe.AddressParams{
		Line1: text(a.Line1), Line2: text(a.Line2), City: text(a.City), State: text(a.State), PostalCode: text(a.PostalCode), Country: text(a.Country),
	}
}

// lookUp says which customer is there already; a zero Ref means none, or the one that this very effect made, whose create
// is then repeated under its key to learn what it answered. That no mapping knows it, the engine has made sure.
func (in CreateCustomerInput) lookUp(ctx context.Context, c connectors.Conn, key string) (connectors.Ref, error) {
	var sameEmail []*stripe.Customer
	if in.Email != "" {
		var err error
		sameEmail, err = customersBy(ctx, c, stripe.CustomerListParams{Email: stripe.String(in.Email)}, func(*stripe.Customer) bool { return true })
		if err != nil {
			return connectors.Ref{}, err
		}
	}
	sameAccount, err := search(ctx, c, metaAccount, in.TogaiAccountID)
	if err != nil && searchable(err) {
		return connectors.Ref{}, err
	}
	for _, cus := range sameEmail { // search may not show it yet
		known := slices.ContainsFunc(sameAccount, func(o *stripe.Customer) bool { return o.ID == cus.ID })
		if cus.Metadata[metaAccount] == in.TogaiAccountID && !known {
			sameAccount = append(sameAccount, cus)
		}
	}
	for _, cus := range sameAccount {
		if cus.Metadata[metaEffect] == key {
			return connectors.Ref{}, nil
		}
	}
	if len(sameAccount) > 1 {
		return connectors.Ref{}, connectors.Errorf(connectors.Conflict, "%d customers name the Togai account %s: %s", len(sameAccount), in.TogaiAccountID, ids(sameAccount))
	}
	if len(sameAccount) == 0 && in.LinkByEmail && len(sameEmail) == 1 && sameEmail[0].Metadata[metaAccount] == "" {
		sameAccount = sameEmail
	}
	if len(sameAccount) == 0 {
		return connectors.Ref{}, nil
	}
	if in.IfExists == "fail" {
		return connectors.Ref{}, connectors.Errorf(connectors.Invalid, "customer %s of the Togai account %s is there already", sameAccount[0].ID, in.TogaiAccountID)
	}
	return written(sameAccount[0])
}

func ids(list []*stripe.Customer) string {
	var out []string
	for _, cus := range list {
		out = append(out, cus.ID)
	}
	return strings.Join(out, ", ")
}

// probe finds the customer that carries the effect's own key, and no other: one with the same Togai account and another
// key was made by somebody else (a staging copy may share the vendor account), so it proves nothing about our write. A
// write that is then made again meets it in lookUp, which reuses it as the input says.
//
// Search is not enough where the write is young, lists are: by e-mail address, which is cheap, else all that was made
// within the time that search may lag, and all there is where there is no search.
func (in CreateCustomerInput) probe(c connectors.Conn) connectors.Probe {
	const lag = 25 * time.Hour // search is an hour behind at worst; the rest is for clocks and for how long we resend
	return func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		var recent stripe.CustomerListParams
		found, err := search(ctx, c, metaEffect, key)
		switch {
		case err != nil && searchable(err):
			return connectors.Ref{}, false, err
		case in.Email != "":
			recent.Email = stripe.String(in.Email)
		case err == nil:
			recent.CreatedRange = &stripe.RangeQueryParams{GreaterThanOrEqual: time.Now().Add(-lag).Unix()}
		}
		if len(found) == 0 {
			found, err = customersBy(ctx, c, recent, func(cus *stripe.Customer) bool { return cus.Metadata[metaEffect] == key })
			if err != nil || len(found) == 0 {
				return connectors.Ref{}, false, err
			}
		}
		ref, err := written(found[0])
		return ref, err == nil, err
	}
}

// Attributes of a customer's Ref, from which outputs are made.
const (
	attrEmail    = "email"
	attrLive     = "livemode"
	attrMetadata = "metadata" // as JSON
)

// written is the Ref of a customer as Stripe answered it to a write.
func written(cus *stripe.Customer) (connectors.Ref, error) {
	if cus.ID == "" {
		return connectors.Ref{}, garbled(errNoID, true)
	}
	meta, err := json.Marshal(notes(cus.Metadata))
	if err != nil {
		return connectors.Ref{}, fmt.Errorf("keeping the metadata: %w", err)
	}
	a := map[string]string{attrLive: fmt.Sprint(cus.Livemode), attrMetadata: string(meta)}
	if cus.Email != "" {
		a[attrEmail] = cus.Email
	}
	return connectors.Ref{ID: cus.ID, Name: cus.Name, Attributes: a}, nil
}

func fromRef(r connectors.Ref) Customer {
	out := Customer{CustomerID: r.ID, Created: !r.Adopted, Name: r.Name, Email: r.Attributes[attrEmail], Livemode: r.Attributes[attrLive] == "true", Metadata: map[string]string{}}
	_ = json.Unmarshal([]byte(r.Attributes[attrMetadata]), &out.Metadata) // a slot that a person filled by hand has none
	return out
}
