package zuora

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"

	"tieline/connectors"
)

// CreateAccountInput is an account to be made.
type CreateAccountInput struct {
	AccountNumber string            `json:"account_number" minLength:"1" maxLength:"50" doc:"Its number, such as its id elsewhere; unique in the tenant, and not beginning as those that Zuora makes up."`
	Name          string            `json:"name" minLength:"1" maxLength:"255" doc:"Its name."`
	Currency      string            `json:"currency" pattern:"^[A-Za-z]{3}$" doc:"ISO 4217; it must be active in the tenant, and cannot be changed later."`
	FirstName     string            `json:"first_name,omitempty" maxLength:"100" doc:"Of the contact that is billed; Billing if not given."`
	LastName      string            `json:"last_name,omitempty" maxLength:"100" doc:"Of the contact that is billed; the account's name if not given."`
	Email         string            `json:"email,omitempty" maxLength:"80" doc:"Of the contact that is billed."`
	Phone         string            `json:"phone,omitempty" maxLength:"40" doc:"Of the contact that is billed."`
	Address       *Address          `json:"address,omitempty" doc:"Of the contact that is billed."`
	PaymentTerm   string            `json:"payment_term,omitempty" maxLength:"100" doc:"When invoices are due, as the tenant names it; due upon receipt if not given."`
	CrmID         string            `json:"crm_id,omitempty" maxLength:"100" doc:"Its id in a CRM. An account of the same number and CRM id that is there already is used."`
	Notes         string            `json:"notes,omitempty" maxLength:"1000" doc:"Notes to keep at the account."`
	CustomFields  map[string]string `json:"custom_fields,omitempty" doc:"Fields that the tenant has added, by name; they end in __c."`
}

// CreatedAccount is what creating an account leaves.
type CreatedAccount struct {
	AccountID     string `json:"account_id" doc:"Zuora's id of the account."`
	AccountNumber string `json:"account_number" doc:"Its number."`
	Created       bool   `json:"created" doc:"False when it was there already."`
}

// attrNumber is the number of a record, by which people know it.
const attrNumber = "number"

func createAccount() connectors.Action {
	return connectors.Do("account.create", "Create account", runCreateAccount, CreateAccountInput{
		AccountNumber: "acme", Name: "Acme Inc.", Currency: "USD", Email: "billing@acme.example",
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Makes an account with the contact that is billed.", "account"
		a.Help = "When the number is taken by an account that was not made here, and that has another CRM id, a person must tell. Its notes end with a mark by which it is found again when Zuora's answer is lost."
	})
}

func (in CreateAccountInput) wire(key string) (map[string]any, error) {
	bill := contact{FirstName: cmp.Or(in.FirstName, "Billing"), LastName: cmp.Or(in.LastName, cut(in.Name, 100)), WorkEmail: in.Email, WorkPhone: in.Phone}
	if a := in.Address; a != nil {
		bill.Address1, bill.Address2, bill.City, bill.State, bill.ZipCode, bill.Country = a.Line1, a.Line2, a.City, a.State, a.PostalCode, a.Country
	}
	out := map[string]any{
		"accountNumber": in.AccountNumber, "name": in.Name, "currency": strings.ToUpper(in.Currency), "billCycleDay": 0, "autoPay": false, "billToContact": bill,
		"notes": marked(in.Notes, key),
	}
	optional(out, "paymentTerm", in.PaymentTerm, "crmId", in.CrmID)
	return out, addCustom(out, in.CustomFields)
}

// optional adds texts that are not empty.
func optional(out map[string]any, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out[pairs[i]] = pairs[i+1]
		}
	}
}

func addCustom(out map[string]any, fields map[string]string) error {
	for k, v := range fields {
		if !strings.HasSuffix(k, "__c") {
			return wrong("custom_fields", "The names of custom fields end in __c; "+k+" does not.")
		}
		out[k] = v
	}
	return nil
}

// cut bounds a text in characters.
func cut(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n])
	}
	return text
}

func runCreateAccount(ctx context.Context, c connectors.Conn, in CreateAccountInput) (CreatedAccount, error) {
	if _, err := in.wire(""); err != nil {
		return CreatedAccount{}, err
	}
	probe := func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		a, err := fetchAccount(ctx, c, in.AccountNumber)
		if missing(err) {
			return connectors.Ref{}, false, nil
		}
		if err != nil {
			return connectors.Ref{}, false, err
		}
		ours := markIn(a.BasicInfo.Notes) == key
		if !ours && (in.CrmID == "" || a.BasicInfo.CrmID != in.CrmID) {
			return connectors.Ref{}, false, connectors.Errorf(connectors.Conflict, "account %s (%s) is there already and may or may not be the one that was meant", in.AccountNumber, a.BasicInfo.Name)
		}
		return connectors.Ref{ID: a.BasicInfo.ID, Name: a.BasicInfo.Name, Attributes: map[string]string{attrNumber: a.BasicInfo.AccountNumber}, Adopted: !ours}, true, nil
	}
	ref, err := c.Effect(ctx, connectors.Create("account"), probe, func(ctx context.Context, key string) (connectors.Ref, error) {
		body, err := in.wire(key)
		if err != nil {
			return connectors.Ref{}, err
		}
		var made struct {
			AccountID     string `json:"accountId"`
			AccountNumber string `json:"accountNumber"`
		}
		if _, err := call(ctx, c, request{http.MethodPost, "/v1/accounts", key, body, &made}); err != nil {
			return orFound(ctx, key, probe, err)
		}
		if made.AccountID == "" {
			return connectors.Ref{}, garbled(http.StatusOK, true)
		}
		return connectors.Ref{ID: made.AccountID, Name: in.Name, Attributes: map[string]string{attrNumber: cmp.Or(made.AccountNumber, in.AccountNumber)}}, nil
	})
	if err != nil {
		return CreatedAccount{}, fmt.Errorf("creating account %s: %w", in.AccountNumber, err)
	}
	return CreatedAccount{ref.ID, cmp.Or(ref.Attributes[attrNumber], in.AccountNumber), !ref.Adopted}, nil
}
