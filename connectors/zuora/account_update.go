package zuora

import (
	"cmp"
	"context"
	"fmt"
	"net/http"

	"tieline/connectors"
)

// UpdateAccountInput is what changes at an account; what is not given stays.
type UpdateAccountInput struct {
	AccountID    string            `json:"account_id" minLength:"1" maxLength:"64" doc:"The account's id or number."`
	Name         string            `json:"name,omitempty" maxLength:"255" doc:"Its name."`
	CrmID        string            `json:"crm_id,omitempty" maxLength:"100" doc:"Its id in a CRM."`
	PaymentTerm  string            `json:"payment_term,omitempty" maxLength:"100" doc:"When invoices are due, as the tenant names it."`
	CustomFields map[string]string `json:"custom_fields,omitempty" doc:"Fields that the tenant has added, by name; they end in __c."`
}

// UpdatedAccount is what changing an account leaves.
type UpdatedAccount struct {
	AccountID string `json:"account_id" doc:"The account's id or number, as it was named."`
}

func updateAccount() connectors.Action {
	return connectors.Do("account.update", "Update account", runUpdateAccount, UpdateAccountInput{AccountID: sampleAccount.BasicInfo.ID, CrmID: "acme"}, func(a *connectors.Action) {
		a.Description, a.Entity = "Changes an account; what is not given stays as it is.", "account"
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts}
		a.Help = "An account that has it all already is not written. A custom field must have been made in the tenant before."
	})
}

func runUpdateAccount(ctx context.Context, c connectors.Conn, in UpdateAccountInput) (UpdatedAccount, error) {
	body := map[string]any{}
	optional(body, "name", in.Name, "crmId", in.CrmID, "paymentTerm", in.PaymentTerm)
	if err := addCustom(body, in.CustomFields); err != nil {
		return UpdatedAccount{}, err
	}
	if len(body) == 0 {
		return UpdatedAccount{}, wrong("name", "Something to change is needed.")
	}
	has := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		a, err := fetchAccount(ctx, c, in.AccountID)
		if err != nil {
			return connectors.Ref{}, false, err
		}
		same := (in.Name == "" || a.BasicInfo.Name == in.Name) && (in.CrmID == "" || a.BasicInfo.CrmID == in.CrmID) && (in.PaymentTerm == "" || a.Billing.PaymentTerm == in.PaymentTerm)
		for k, v := range in.CustomFields {
			same = same && custom(a.BasicInfo.Custom[k]) == v
		}
		return connectors.Ref{ID: in.AccountID, Name: a.BasicInfo.Name}, same, nil
	}
	_, err := c.Effect(ctx, connectors.Set("account", in.AccountID), has, func(ctx context.Context, key string) (connectors.Ref, error) {
		ref, same, err := has(ctx, key)
		if err != nil || same {
			ref.Adopted = true
			return ref, err
		}
		_, err = call(ctx, c, request{method: http.MethodPut, path: path("v1", "accounts", in.AccountID), in: body})
		return connectors.Ref{ID: in.AccountID, Name: cmp.Or(in.Name, ref.Name)}, err
	})
	if err != nil {
		return UpdatedAccount{}, fmt.Errorf("changing account %s: %w", in.AccountID, err)
	}
	return UpdatedAccount{in.AccountID}, nil
}
