package togai

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tieline/connectors"
)

// customer as GET answers it. Settings are read apart.
type customer struct {
	ID              string    `json:"id"`
	TogaiCustomerID string    `json:"togaiCustomerId"`
	Name            string    `json:"name"`
	PrimaryEmail    string    `json:"primaryEmail"`
	Address         address   `json:"address"`
	Status          string    `json:"status"`
	CreatedAt       time.Time `json:"createdAt"`
	UpdatedAt       time.Time `json:"updatedAt"`
}

// Customer is one as actions show it.
type Customer struct {
	CustomerID      string    `json:"customer_id" doc:"The customer's id, chosen by whoever made it."`
	TogaiCustomerID string    `json:"togai_customer_id" doc:"Togai's own id of it."`
	Name            string    `json:"name" doc:"Its name."`
	Email           string    `json:"email" doc:"Its e-mail address."`
	Address         Address   `json:"address" doc:"Its parts are empty when not known."`
	Status          string    `json:"status" doc:"ACTIVE or ARCHIVED."`
	CreatedAt       time.Time `json:"created_at" doc:"When it was made."`
	UpdatedAt       time.Time `json:"updated_at" doc:"When it was last changed."`
}

func (x customer) plain() Customer {
	return Customer{x.ID, x.TogaiCustomerID, x.Name, x.PrimaryEmail, x.Address.plain(), x.Status, x.CreatedAt, x.UpdatedAt}
}

// CreateCustomerInput is a customer with its first account.
type CreateCustomerInput struct {
	ID       string             `json:"id" minLength:"1" maxLength:"50" doc:"The customer's id; it never changes."`
	Name     string             `json:"name" minLength:"3" maxLength:"255" doc:"Its name."`
	Email    string             `json:"email" minLength:"1" maxLength:"320" doc:"Its e-mail address."`
	Address  *Address           `json:"address,omitempty" doc:"Billing address."`
	Currency string             `json:"currency,omitempty" pattern:"^[A-Za-z]{3}$" doc:"ISO 4217, of the account's invoices."`
	Account  *FirstAccountInput `json:"account,omitempty" doc:"Its account; what is not given is the customer's."`
	Settings map[string]string  `json:"settings,omitempty" doc:"Ids elsewhere, such as stripe_customer_id; shown in the Settings tab of customer and account."`
}

// FirstAccountInput is the account that a customer is made with.
type FirstAccountInput struct {
	ID   string `json:"id,omitempty" maxLength:"50" doc:"The customer's id if not given."`
	Name string `json:"name,omitempty" minLength:"3" maxLength:"255" doc:"The customer's name if not given."`
	AccountDetails
}

// CreatedCustomer is what creating a customer leaves.
type CreatedCustomer struct {
	CustomerID      string `json:"customer_id" doc:"The customer's id."`
	TogaiCustomerID string `json:"togai_customer_id" doc:"Togai's own id of it."`
	AccountID       string `json:"account_id" doc:"Its account's id."`
	TogaiAccountID  string `json:"togai_account_id" doc:"Togai's own id of the account."`
	Name            string `json:"name" doc:"Its name."`
	Email           string `json:"email" doc:"Its e-mail address."`
	Created         bool   `json:"created" doc:"False when it was there already."`
}

func createCustomer() connectors.Action {
	return connectors.Do("customer.create", "Create customer and account", runCreateCustomer, CreateCustomerInput{
		ID: "acme", Name: "Acme Inc.", Email: "billing@acme.example", Currency: "USD", Settings: map[string]string{"stripe_customer_id": "cus_NffrFeUfNV2Hib"},
	}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Makes = "Makes a customer and its account in one call.", "customer", []string{"account"}
		a.Help = "When the id is taken by a customer with the same ids elsewhere, that one is used; any other waits for a person to tell."
	})
}

// newCustomer is the body of POST /customers. It always names the account: left to itself, Togai would make one without
// our key.
type newCustomer struct {
	ID           string          `json:"id"`
	Name         string          `json:"name"`
	PrimaryEmail string          `json:"primaryEmail"`
	Address      address         `json:"address"`
	Settings     []entitySetting `json:"settings,omitempty"`
	Account      newAccount      `json:"account"`
}

func (in CreateCustomerInput) accountID() string {
	if in.Account == nil {
		return in.ID
	}
	return cmp.Or(in.Account.ID, in.ID)
}

func (in CreateCustomerInput) wire(key string) newCustomer {
	var first FirstAccountInput
	if in.Account != nil {
		first = *in.Account
	}
	first.Currency, first.Email = cmp.Or(first.Currency, in.Currency), cmp.Or(first.Email, in.Email)
	if first.Address == nil {
		first.Address = in.Address
	}
	out := newCustomer{
		ID: in.ID, Name: in.Name, PrimaryEmail: in.Email, Settings: entitySettings(in.Settings),
		Account: first.wire(in.accountID(), cmp.Or(first.Name, in.Name), key, in.Settings),
	}
	if in.Address != nil {
		out.Address = in.Address.wire()
	}
	return out
}

func runCreateCustomer(ctx context.Context, c connectors.Conn, in CreateCustomerInput) (CreatedCustomer, error) {
	probe := in.probe(c)
	intent := connectors.Create("customer").As(in.ID).And("account", in.accountID())
	ref, err := c.Effect(ctx, intent, probe, func(ctx context.Context, key string) (connectors.Ref, error) {
		var made struct {
			customer
			Account account `json:"account"` // optional
		}
		if _, err := call(ctx, c, http.MethodPost, "/customers", in.wire(key), &made); err != nil {
			return orFound(ctx, key, probe, err)
		}
		if made.ID == "" {
			return connectors.Ref{}, garbled(http.StatusCreated, true)
		}
		return in.ref(made.customer, made.Account, ours), nil
	})
	if err != nil {
		return CreatedCustomer{}, fmt.Errorf("creating customer %s: %w", in.ID, err)
	}
	return CreatedCustomer{ // one that was there already may have another account
		CustomerID: ref.ID, TogaiCustomerID: ref.Attributes[attrTogaiCustomer], AccountID: cmp.Or(ref.Of("account", ""), in.accountID()), TogaiAccountID: ref.Attributes[attrTogaiAccount],
		Name: cmp.Or(ref.Name, in.Name), Email: cmp.Or(ref.Attributes[attrEmail], in.Email), Created: !ref.Adopted,
	}, nil
}

func (in CreateCustomerInput) ref(x customer, a account, w whose) connectors.Ref {
	return connectors.Ref{
		ID: x.ID, Name: x.Name, With: []connectors.Slot{{Entity: "account", ID: in.accountID()}}, Adopted: w == same,
		Attributes: attributes(attrTogaiCustomer, x.TogaiCustomerID, attrTogaiAccount, a.TogaiAccountID, attrEmail, x.PrimaryEmail, attrCurrency, a.InvoiceCurrency),
	}
}

// probe needs both records, as the call makes both or none. Either alone, or both without evidence, is for a person.
func (in CreateCustomerInput) probe(c connectors.Conn) connectors.Probe {
	return func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		x, errCustomer := fetchCustomer(ctx, c, in.ID)
		if errCustomer != nil && !missing(errCustomer) {
			return connectors.Ref{}, false, errCustomer
		}
		a, errAccount := fetchAccount(ctx, c, in.accountID())
		if errCustomer != nil && errAccount == nil && a.CustomerID == in.ID { // both may have come between the two looks
			x, errCustomer = fetchCustomer(ctx, c, in.ID)
		}
		switch {
		case errCustomer != nil && !missing(errCustomer):
			return connectors.Ref{}, false, errCustomer
		case errAccount != nil && !missing(errAccount):
			return connectors.Ref{}, false, errAccount
		case errCustomer != nil && errAccount != nil:
			return connectors.Ref{}, false, nil
		case errCustomer != nil || errAccount != nil || a.CustomerID != in.ID:
			return connectors.Ref{}, false, connectors.Errorf(connectors.Conflict, "of customer %s and account %s only one is there, or the account is another customer's", in.ID, in.accountID())
		}
		switch whose, err := judge(ctx, c, key, in.Settings, a, "customer", in.ID); {
		case err != nil:
			return connectors.Ref{}, false, err
		case whose == others:
			return connectors.Ref{}, false, connectors.Errorf(connectors.Conflict, "customer %s (%s) is there already and may or may not be the one that was meant", in.ID, x.Name)
		default:
			return in.ref(x, a, whose), true, nil
		}
	}
}

func fetchCustomer(ctx context.Context, c connectors.Conn, id string) (customer, error) {
	var x customer
	if _, err := call(ctx, c, http.MethodGet, path("customers", id), nil, &x); err != nil {
		return customer{}, fmt.Errorf("reading customer %s: %w", id, err)
	}
	if x.ID == "" {
		return customer{}, garbled(http.StatusOK, false)
	}
	return x, nil
}

// GetCustomerInput names a customer.
type GetCustomerInput struct {
	CustomerID string `json:"customer_id" minLength:"1" maxLength:"50" doc:"The customer's id."`
}

func getCustomer() connectors.Action {
	return connectors.Do("customer.get", "Get customer", func(ctx context.Context, c connectors.Conn, in GetCustomerInput) (Customer, error) {
		x, err := fetchCustomer(ctx, c, in.CustomerID)
		return x.plain(), err
	}, GetCustomerInput{CustomerID: "acme"}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Reads one customer; a missing one is an error.", "customer", true
		a.Options = map[string]connectors.Offer{"customer_id": offerCustomers}
		a.Help = "It answers the customer as Togai has it now. Its accounts are listed by account.list."
	})
}

// ListCustomersInput narrows the list.
type ListCustomersInput struct {
	Status string `json:"status,omitempty" enum:"ACTIVE,ARCHIVED" doc:"Only customers of this status."`
	Limit  int    `json:"limit,omitempty" min:"1" max:"1000" doc:"How many at most; 100 if not given."`
}

// ListCustomersOutput is what was listed, last changed first.
type ListCustomersOutput struct {
	Customers []Customer `json:"customers" doc:"Last changed first."`
	Count     int        `json:"count" doc:"How many these are."`
	Complete  bool       `json:"complete" doc:"False when the limit cut the list off."`
}

func listCustomers() connectors.Action {
	return connectors.Do("customer.list", "List customers", runListCustomers, ListCustomersInput{Status: "ACTIVE"}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Lists customers, last changed first.", "customer", true
		a.Help = "Togai has no search: narrow the list by status, or raise the limit to see more."
	}, connectors.Walked(func(ctx context.Context, c connectors.Conn, in ListCustomersInput, cursor string) (connectors.Stretch, error) {
		return walked(ctx, c, "customers", url.Values{"status": {in.Status}}, cursor, customer.entry)
	}, func(ctx context.Context, c connectors.Conn, id string) (connectors.Entry, error) {
		x, err := fetchCustomer(ctx, c, id)
		return x.entry(), err
	}))
}

func (x customer) entry() connectors.Entry {
	return connectors.Entry{Record: connectors.Subject{Entity: "customer", ID: x.ID, Name: x.Name}, Email: x.PrimaryEmail, Value: x.plain()}
}

func runListCustomers(ctx context.Context, c connectors.Conn, in ListCustomersInput) (ListCustomersOutput, error) {
	found, complete, err := upTo[customer](ctx, c, "customers", url.Values{"status": {in.Status}}, limit(in.Limit))
	if err != nil {
		return ListCustomersOutput{}, fmt.Errorf("listing customers: %w", err)
	}
	out := ListCustomersOutput{Customers: []Customer{}, Count: len(found), Complete: complete}
	for _, x := range found {
		out.Customers = append(out.Customers, x.plain())
	}
	return out, nil
}

// upper is how Togai writes currencies; Stripe writes them in lower case.
func upper(currency string) string { return strings.ToUpper(currency) }
