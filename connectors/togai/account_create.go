package togai

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"tieline/connectors"
)

// metaEffect is the metadata of an account in which our creates leave their key: Togai takes no idempotency key, and an
// id alone does not say who used it. Only we write it, whatever a flow's metadata holds.
const metaEffect = "tieline_effect"

// newAccount is the body of POST /accounts, and of an account inside POST /customers, without CustomerID.
type newAccount struct {
	ID              string            `json:"id"`
	Name            string            `json:"name"`
	CustomerID      string            `json:"customerId,omitempty"`
	InvoiceCurrency string            `json:"invoiceCurrency,omitempty"`
	Address         *address          `json:"address,omitempty"`
	PrimaryEmail    string            `json:"primaryEmail,omitempty"`
	NetTermDays     *int              `json:"netTermDays,omitempty"`
	Settings        []entitySetting   `json:"settings,omitempty"`
	Metadata        map[string]string `json:"metadata,omitempty"`
	Tags            []string          `json:"tags,omitempty"`
	Status          string            `json:"status,omitempty"`
}

// AccountDetails are what an account may be made with.
type AccountDetails struct {
	Currency    string            `json:"currency,omitempty" pattern:"^[A-Za-z]{3}$" doc:"ISO 4217, of its invoices."`
	Email       string            `json:"email,omitempty" maxLength:"320" doc:"Where its invoices go."`
	Address     *Address          `json:"address,omitempty" doc:"Billing address."`
	NetTermDays *int              `json:"net_term_days,omitempty" min:"0" doc:"Days until an invoice is due."`
	Metadata    map[string]string `json:"metadata,omitempty" doc:"Notes to keep at the account."`
	Tags        []string          `json:"tags,omitempty" doc:"Tags; Togai keeps them in lower case."`
	Status      string            `json:"status,omitempty" enum:"ACTIVE,DRAFT" doc:"ACTIVE if not given."`
}

func (d AccountDetails) wire(id, name, key string, settings map[string]string) newAccount {
	a := newAccount{
		ID: id, Name: name, InvoiceCurrency: upper(d.Currency), PrimaryEmail: d.Email, NetTermDays: d.NetTermDays, Settings: entitySettings(settings),
		Metadata: maps.Clone(d.Metadata), Tags: d.Tags, Status: d.Status,
	}
	if d.Address != nil {
		w := d.Address.wire()
		a.Address = &w
	}
	if a.Metadata == nil {
		a.Metadata = map[string]string{}
	}
	a.Metadata[metaEffect] = key
	return a
}

// CreateAccountInput is an account of a customer that is there already.
type CreateAccountInput struct {
	ID         string `json:"id" minLength:"1" maxLength:"50" doc:"The account's id; it never changes."`
	CustomerID string `json:"customer_id" minLength:"1" maxLength:"50" doc:"The customer it belongs to."`
	Name       string `json:"name" minLength:"3" maxLength:"255" doc:"Its name."`
	AccountDetails
	Settings map[string]string `json:"settings,omitempty" doc:"Ids elsewhere, such as stripe_customer_id; shown in the account's Settings tab."`
}

// CreatedAccount is what creating an account leaves.
type CreatedAccount struct {
	AccountID      string `json:"account_id" doc:"The account's id."`
	TogaiAccountID string `json:"togai_account_id" doc:"Togai's own id of it."`
	CustomerID     string `json:"customer_id" doc:"The customer it belongs to."`
	Name           string `json:"name" doc:"Its name."`
	Currency       string `json:"currency" doc:"Of its invoices; empty when not set."`
	Created        bool   `json:"created" doc:"False when it was there already."`
}

// Attributes of Refs, from which outputs are made.
const (
	attrTogaiCustomer = "togai_customer_id"
	attrTogaiAccount  = "togai_account_id"
	attrCurrency      = "currency"
	attrEmail         = "email"
	attrValue         = "value"
)

func createAccount() connectors.Action {
	return connectors.Do("account.create", "Create account", runCreateAccount, CreateAccountInput{
		ID: "acme-eur", CustomerID: "acme", Name: "Acme Inc. (EUR)", AccountDetails: AccountDetails{Currency: "EUR"},
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Makes an account for a customer that is there already.", "account"
		a.Options = map[string]connectors.Offer{"customer_id": offerCustomers}
		a.Help = "When the id is taken by an account with the same Stripe customer, that one is used; any other waits for a person to tell."
	})
}

func runCreateAccount(ctx context.Context, c connectors.Conn, in CreateAccountInput) (CreatedAccount, error) {
	probe := func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		a, err := fetchAccount(ctx, c, in.ID)
		if missing(err) {
			return connectors.Ref{}, false, nil
		}
		if err != nil {
			return connectors.Ref{}, false, err
		}
		whose, err := judge(ctx, c, key, in.Settings, a, "account", in.ID)
		switch {
		case err != nil:
			return connectors.Ref{}, false, err
		case whose == others, a.CustomerID != in.CustomerID:
			return connectors.Ref{}, false, connectors.Errorf(connectors.Conflict, "account %s is there already, of customer %s, and may or may not be the one that was meant", in.ID, a.CustomerID)
		}
		return accountRef(a, whose), true, nil
	}
	ref, err := c.Effect(ctx, connectors.Create("account").As(in.ID), probe, func(ctx context.Context, key string) (connectors.Ref, error) {
		body, made := in.wire(in.ID, in.Name, key, in.Settings), account{}
		body.CustomerID = in.CustomerID
		if _, err := call(ctx, c, http.MethodPost, "/accounts", body, &made); err != nil {
			return orFound(ctx, key, probe, err)
		}
		if made.ID == "" {
			return connectors.Ref{}, garbled(http.StatusCreated, true)
		}
		return accountRef(made, ours), nil
	})
	if err != nil {
		return CreatedAccount{}, fmt.Errorf("creating account %s: %w", in.ID, err)
	}
	return CreatedAccount{
		AccountID: ref.ID, TogaiAccountID: ref.Attributes[attrTogaiAccount], CustomerID: in.CustomerID, Name: cmp.Or(ref.Name, in.Name),
		Currency: ref.Attributes[attrCurrency], Created: !ref.Adopted,
	}, nil
}

func accountRef(a account, w whose) connectors.Ref {
	return connectors.Ref{ID: a.ID, Name: a.Name, Adopted: w == same, Attributes: attributes(attrTogaiAccount, a.TogaiAccountID, attrCurrency, a.InvoiceCurrency)}
}

// attributes takes names and values in turn, and leaves the empty ones out.
func attributes(pairs ...string) map[string]string {
	out := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out[pairs[i]] = pairs[i+1]
		}
	}
	return out
}

// whose says what a record under the id we chose is to us.
type whose int

const (
	others whose = iota // nothing says that it is ours
	same                // another call made it, for the same record elsewhere: it is the one to use
	ours                // this very effect made it
)

// judge goes by evidence that does not come about by chance: the effect's key in the account's metadata, else the ids of
// the record in other systems, all that we would have written. Equal names and e-mail addresses are none.
func judge(ctx context.Context, c connectors.Conn, key string, want map[string]string, a account, entity, id string) (whose, error) {
	if a.Metadata[metaEffect] == key {
		return ours, nil
	}
	var wanted []entitySetting
	for _, s := range entitySettings(want) {
		if slices.Contains(elsewhere, s.ID) {
			wanted = append(wanted, s)
		}
	}
	if len(wanted) == 0 {
		return others, nil
	}
	have, err := settingsOf(ctx, c, entity, id)
	if err != nil {
		return others, err
	}
	for _, s := range wanted {
		if valueOf(have, s.ID) != s.Value {
			return others, nil
		}
	}
	return same, nil
}

// orFound looks when a create was refused, for the id may be in use by what we made before.
func orFound(ctx context.Context, key string, probe connectors.Probe, refusal error) (connectors.Ref, error) {
	if !taken(refusal) {
		return connectors.Ref{}, refusal
	}
	ref, found, err := probe(ctx, key)
	switch {
	case connectors.KindOf(err) == connectors.Conflict || found:
		return ref, err
	case err != nil: // it may be there; the engine looks again
		return connectors.Ref{}, connectors.Errorf(connectors.Conflict, "%w; whether it is there could not be read: %w", refusal, err)
	}
	return connectors.Ref{}, refusal // something else is wrong with the input
}
