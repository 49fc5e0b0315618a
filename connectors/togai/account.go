package togai

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tieline/connectors"
)

// account as GET answers it. It has no times, although the list is sorted by them.
type account struct {
	ID              string            `json:"id"`
	TogaiAccountID  string            `json:"togaiAccountId"`
	TogaiCustomerID string            `json:"togaiCustomerId"`
	CustomerID      string            `json:"customerId"`
	Name            string            `json:"name"`
	Status          string            `json:"status"`
	InvoiceCurrency string            `json:"invoiceCurrency"`
	Address         address           `json:"address"`
	PrimaryEmail    string            `json:"primaryEmail"`
	Settings        []entitySetting   `json:"settings"`
	Metadata        map[string]string `json:"metadata"`
	Tags            []string          `json:"tags"`
}

// address on the wire; POST takes it without its empty parts.
type address struct {
	PhoneNumber string `json:"phoneNumber,omitempty"`
	Line1       string `json:"line1,omitempty"`
	Line2       string `json:"line2,omitempty"`
	PostalCode  string `json:"postalCode,omitempty"`
	City        string `json:"city,omitempty"`
	State       string `json:"state,omitempty"`
	Country     string `json:"country,omitempty"`
}

// Address is a postal address; what is not known is empty.
type Address struct {
	Line1      string `json:"line1" doc:"Street and number." required:"false"`
	Line2      string `json:"line2" doc:"Flat, floor, building." required:"false"`
	City       string `json:"city" doc:"City or town." required:"false"`
	State      string `json:"state" doc:"State, county or canton." required:"false"`
	PostalCode string `json:"postal_code" doc:"Postal code." required:"false"`
	Country    string `json:"country" doc:"Two letters, ISO 3166." required:"false"`
	Phone      string `json:"phone" doc:"Telephone number." required:"false"`
}

func (a Address) wire() address {
	return address{PhoneNumber: a.Phone, Line1: a.Line1, Line2: a.Line2, PostalCode: a.PostalCode, City: a.City, State: a.State, Country: a.Country}
}

func (a address) plain() Address {
	return Address{Line1: a.Line1, Line2: a.Line2, City: a.City, State: a.State, PostalCode: a.PostalCode, Country: a.Country, Phone: a.PhoneNumber}
}

// Account is one as triggers and actions show it. Texts that Togai does not know are empty, never left out.
type Account struct {
	AccountID        string            `json:"account_id" doc:"The account's id, chosen by whoever made it." minLength:"1"`
	TogaiAccountID   string            `json:"togai_account_id" doc:"Togai's own id of it."`
	CustomerID       string            `json:"customer_id" doc:"The customer it belongs to."`
	Name             string            `json:"name" doc:"Its name."`
	Status           string            `json:"status" doc:"ACTIVE, DRAFT or ARCHIVED."`
	Currency         string            `json:"currency" doc:"ISO 4217, of its invoices; empty when not set."`
	PrimaryEmail     string            `json:"primary_email" doc:"Empty when not known."`
	Address          Address           `json:"address" doc:"Its parts are empty when not known."`
	Metadata         map[string]string `json:"metadata" doc:"Notes kept at the account."`
	Tags             []string          `json:"tags" doc:"In lower case."`
	StripeCustomerID string            `json:"stripe_customer_id,omitempty" doc:"From the account's settings, when it is there."`
}

func (a account) plain() Account {
	out := Account{
		AccountID: a.ID, TogaiAccountID: a.TogaiAccountID, CustomerID: a.CustomerID, Name: a.Name, Status: a.Status, Currency: a.InvoiceCurrency,
		PrimaryEmail: a.PrimaryEmail, Address: a.Address.plain(), Metadata: map[string]string{}, Tags: append([]string{}, a.Tags...),
		StripeCustomerID: valueOf(a.Settings, stripeCustomerID),
	}
	maps.Copy(out.Metadata, a.Metadata)
	return out
}

func accountCreated() connectors.Trigger {
	sample := account{ID: "acme", TogaiAccountID: "account.1zYnFJIWzUF.cUSf4", CustomerID: "acme", Name: "Acme Inc.", Status: "ACTIVE", InvoiceCurrency: "USD", PrimaryEmail: "billing@acme.example"}
	return connectors.On("account.created", "Account created", decodeAccountCreated, listCreated, sample.plain(), func(t *connectors.Trigger) {
		t.Description = "An account was made in Togai, by hand or through the API."
		t.Entity, t.Events = "account", []string{"account.created"}
		t.Read = readAccountCreated
		t.Every, t.Calm = 5*time.Second, 15*time.Minute
	}, connectors.ByHand(func(a Account) connectors.Occurrence {
		o := connectors.Occurrence{Record: connectors.Subject{Entity: "account", ID: a.AccountID, Name: a.Name}, Thin: true}
		if a.CustomerID != "" {
			o.Parent, o.Together = &connectors.Subject{Entity: "customer", ID: a.CustomerID}, true
		}
		return o
	}))
}

// decodeAccountCreated is always thin: the webhook is unsigned, and a listed account may have changed since.
func decodeAccountCreated(body []byte) (connectors.Occurrence, error) {
	e, _, err := parse(body)
	if err != nil {
		return connectors.Occurrence{}, err
	}
	var a account
	if err := json.Unmarshal(e.Data, &a); err != nil || a.ID == "" {
		return connectors.Occurrence{}, fmt.Errorf("the event names no account: %w", connectors.ErrMalformed)
	}
	o := occurrence(a)
	o.At, o.Thin = e.CreatedAt, true
	return o, nil
}

func occurrence(a account) connectors.Occurrence {
	o := connectors.Occurrence{
		Payload: a.plain(), Record: connectors.Subject{Entity: "account", ID: a.ID, Name: a.Name}, BusinessKey: a.ID,
		// Togai names no cause. What we made carries our key in its metadata, and an id of our choice by which the engine
		// knows it also where the metadata is left out.
		Cause: connectors.Cause{Mark: a.Metadata[metaEffect], Creation: true},
	}
	if a.CustomerID != "" {
		o.Parent, o.Together = &connectors.Subject{Entity: "customer", ID: a.CustomerID}, true
	}
	return o
}

// readAccountCreated takes everything from the account as it is, but for the time.
func readAccountCreated(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (connectors.Occurrence, error) {
	a, err := fetchAccount(ctx, c, o.Record.ID)
	if err != nil {
		return o, err
	}
	if len(a.Settings) == 0 { // whether a read shows them is not certain
		if a.Settings, err = settingsOf(ctx, c, "account", a.ID); err != nil {
			return o, err
		}
	}
	now := occurrence(a)
	now.At = o.At
	return now, nil
}

func fetchAccount(ctx context.Context, c connectors.Conn, id string) (account, error) {
	var a account
	if _, err := call(ctx, c, http.MethodGet, path("accounts", id), nil, &a); err != nil {
		return account{}, fmt.Errorf("reading account %s: %w", id, err)
	}
	if a.ID == "" {
		return account{}, garbled(http.StatusOK, false)
	}
	return a, nil
}

// listCreated walks over all accounts, what changed last first: Togai has no filter by time. An account that the poller
// never saw was created. The baseline is one answer, so that no crash in its middle turns the rest into news; accounts
// that are made while it runs come to the top, and the next walk finds them.
func listCreated(ctx context.Context, c connectors.Conn, cursor string) (connectors.Page, error) {
	out := connectors.Page{Cursor: fromTop, Stop: true}
	token, _ := strings.CutPrefix(cursor, within)
	if cursor == "" || cursor == fromTop {
		token = ""
	}
	for {
		p, at, err := getPage[json.RawMessage](ctx, c, "accounts", token, nil)
		if token != "" && connectors.KindOf(err) == connectors.Invalid { // the token of a walk that was left off long ago
			return connectors.Page{Cursor: fromTop, More: true, Stop: true}, nil
		}
		if err != nil {
			return connectors.Page{}, fmt.Errorf("listing accounts: %w", err)
		}
		for _, raw := range p.Data {
			if out.Items, err = found(out.Items, c, "account.created", raw, at); err != nil {
				return connectors.Page{}, err
			}
		}
		if token = p.next(); token == "" {
			return out, nil
		}
		if cursor != "" {
			out.Cursor, out.More = within+token, true
			return out, nil
		}
	}
}

// GetAccountInput names an account.
type GetAccountInput struct {
	AccountID string `json:"account_id" minLength:"1" maxLength:"50" doc:"The account's id."`
}

func getAccount() connectors.Action {
	return connectors.Do("account.get", "Get account", func(ctx context.Context, c connectors.Conn, in GetAccountInput) (Account, error) {
		a, err := fetchAccount(ctx, c, in.AccountID)
		return a.plain(), err
	}, GetAccountInput{AccountID: "acme"}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Reads one account; a missing one is an error.", "account", true
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts}
		a.Help = "It answers the account as Togai has it now, with the Stripe customer from its settings."
	})
}

// ListAccountsInput narrows the list.
type ListAccountsInput struct {
	CustomerID string `json:"customer_id,omitempty" doc:"Only accounts of this customer."`
	Status     string `json:"status,omitempty" enum:"ACTIVE,DRAFT,ARCHIVED" doc:"Only accounts of this status."`
	Limit      int    `json:"limit,omitempty" min:"1" max:"1000" doc:"How many at most; 100 if not given."`
}

// ListAccountsOutput is what was listed, last changed first.
type ListAccountsOutput struct {
	Accounts []Account `json:"accounts" doc:"Last changed first."`
	Count    int       `json:"count" doc:"How many these are."`
	Complete bool      `json:"complete" doc:"False when the limit cut the list off."`
}

func listAccounts() connectors.Action {
	return connectors.Do("account.list", "List accounts", runListAccounts, ListAccountsInput{Status: "ACTIVE"}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Lists accounts, last changed first.", "account", true
		a.Options = map[string]connectors.Offer{"customer_id": offerCustomers}
		a.Help = "Togai has no search: narrow the list by customer or status, or raise the limit to see more."
	}, connectors.Walked(func(ctx context.Context, c connectors.Conn, in ListAccountsInput, cursor string) (connectors.Stretch, error) {
		return walked(ctx, c, "accounts", url.Values{"customer_id": {in.CustomerID}, "status": {in.Status}}, cursor, account.entry)
	}, func(ctx context.Context, c connectors.Conn, id string) (connectors.Entry, error) {
		a, err := fetchAccount(ctx, c, id)
		return a.entry(), err
	}))
}

func (a account) entry() connectors.Entry {
	return connectors.Entry{Record: connectors.Subject{Entity: "account", ID: a.ID, Name: a.Name}, Parent: a.CustomerID, Email: a.PrimaryEmail, Value: a.plain()}
}

func runListAccounts(ctx context.Context, c connectors.Conn, in ListAccountsInput) (ListAccountsOutput, error) {
	found, complete, err := upTo[account](ctx, c, "accounts", url.Values{"customer_id": {in.CustomerID}, "status": {in.Status}}, limit(in.Limit))
	if err != nil {
		return ListAccountsOutput{}, fmt.Errorf("listing accounts: %w", err)
	}
	out := ListAccountsOutput{Accounts: []Account{}, Count: len(found), Complete: complete}
	for _, a := range found {
		out.Accounts = append(out.Accounts, a.plain())
	}
	return out, nil
}

func limit(n int) int {
	if n == 0 {
		return 100
	}
	return n
}
