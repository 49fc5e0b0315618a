package togai

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"tieline/connectors"
)

// newCredit is one of the requests of POST /credits.
type newCredit struct {
	AccountID      string `json:"accountId"`
	Purpose        string `json:"purpose"`
	EffectiveFrom  string `json:"effectiveFrom"`
	EffectiveUntil string `json:"effectiveUntil,omitempty"`
	CreditAmount   number `json:"creditAmount"`
	Priority       int    `json:"priority"`
	IdempotencyKey string `json:"idempotencyKey"`
}

// credit as GET answers it.
type credit struct {
	newCredit
	ID         string    `json:"id"`
	CustomerID string    `json:"customerId"`
	Status     string    `json:"status"`
	CreditUnit string    `json:"creditUnit"`
	CreatedAt  time.Time `json:"createdAt"`
}

// Credit is one as triggers and actions show it.
type Credit struct {
	CreditID   string    `json:"credit_id" doc:"Togai's id of the credit." minLength:"1"`
	AccountID  string    `json:"account_id" doc:"The account that has it."`
	CustomerID string    `json:"customer_id" doc:"The account's customer."`
	Purpose    string    `json:"purpose" doc:"What it is for."`
	Amount     string    `json:"amount" format:"decimal" doc:"In major units; zero when Togai does not tell."`
	Currency   string    `json:"currency" doc:"ISO 4217, or Togai's unit of it; empty when it does not tell."`
	Status     string    `json:"status" doc:"ACTIVE, CONSUMED, EXPIRED or VOIDED."`
	From       string    `json:"from" doc:"The first day it holds."`
	Until      string    `json:"until" doc:"The day it ends; empty when it does not."`
	CreatedAt  time.Time `json:"created_at" doc:"When it was granted."`
}

func (x credit) plain() Credit {
	return Credit{x.ID, x.AccountID, x.CustomerID, x.Purpose, x.CreditAmount.text(), x.CreditUnit, x.Status, x.EffectiveFrom, x.EffectiveUntil, x.CreatedAt}
}

var sampleCredit = credit{
	newCredit: newCredit{AccountID: "acme", Purpose: "Goodwill", CreditAmount: "100.00", EffectiveFrom: "2026-01-01", EffectiveUntil: "2027-01-01", Priority: 1},
	ID:        "creds.1zYnFJIWzUF.cUSf4", CustomerID: "acme", Status: "ACTIVE", CreditUnit: "USD",
}

func creditGranted() connectors.Trigger {
	l := listing{event: "credit.granted", list: "credits", size: ledgerPage, newest: true}
	return connectors.On("credit.granted", "Credit granted", decodes(creditOccurrence), l.walk, sampleCredit.plain(), func(t *connectors.Trigger) {
		t.Description = "An account was granted a credit, by hand, by its plan or through the API."
		t.Entity, t.Events = "credit", []string{"credit.granted"}
		t.Read = rereads(func(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (credit, error) {
			return fetch[credit](ctx, c, "credit", "credits", o.Record.ID)
		}, creditOccurrence)
		t.Every, t.Calm = time.Minute, 15*time.Minute
	}, connectors.ByHand(func(x Credit) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: "credit", ID: x.CreditID, Name: x.Purpose}, Thin: true}
	}))
}

func creditOccurrence(x credit) connectors.Occurrence {
	o := connectors.Occurrence{
		Payload: x.plain(), Record: connectors.Subject{Entity: "credit", ID: x.ID, Name: x.Purpose}, BusinessKey: x.ID,
		Cause: connectors.Cause{IdempotencyKey: x.IdempotencyKey, Creation: true},
	}
	if x.AccountID != "" {
		o.Parent = &connectors.Subject{Entity: "account", ID: x.AccountID}
	}
	return o
}

// GrantCreditInput is a credit to be granted.
type GrantCreditInput struct {
	AccountID   string `json:"account_id" minLength:"1" maxLength:"50" doc:"The account that gets it."`
	ReferenceID string `json:"reference_id" minLength:"1" maxLength:"255" doc:"What tells this credit from others, such as the id of a credit note: one is granted once."`
	Amount      string `json:"amount" format:"decimal" doc:"In major units of the account's currency."`
	Purpose     string `json:"purpose" minLength:"1" maxLength:"255" doc:"What it is for; invoices show it."`
	From        string `json:"from,omitempty" format:"date" doc:"The first day it holds; today (UTC) if not given."`
	Until       string `json:"until,omitempty" format:"date" doc:"The day it ends; open if not given."`
	Priority    int    `json:"priority,omitempty" min:"1" max:"100" doc:"Which credit is used up first, low ones first; 1 if not given."`
}

// GrantedCredit is what granting leaves.
type GrantedCredit struct {
	CreditID  string `json:"credit_id" doc:"Togai's id of the credit."`
	AccountID string `json:"account_id" doc:"The account that has it."`
}

func grantCredit() connectors.Action {
	return connectors.Do("credit.grant", "Grant credit", runGrantCredit, GrantCreditInput{AccountID: "acme", ReferenceID: "cn_1MxvRqLkdIwHu7ixY0xbUcxk", Amount: "100.00", Purpose: "Goodwill"}, func(a *connectors.Action) {
		a.Description, a.Entity = "Grants an account a credit, which lowers its next invoices.", "credit"
		a.Help = "One credit is granted for a reference id, however often the action runs."
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts}
	})
}

// runGrantCredit goes by the key that a credit keeps. What a repeated key answers is not documented, so whether the credit
// is there is looked up instead.
func runGrantCredit(ctx context.Context, c connectors.Conn, in GrantCreditInput) (GrantedCredit, error) {
	amount, err := positive("amount", in.Amount)
	if err != nil {
		return GrantedCredit{}, err
	}
	look := func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		for x, err := range all[credit](ctx, c, "credits", ledgerPage, url.Values{"account_id": {in.AccountID}}) {
			if err != nil {
				return connectors.Ref{}, false, fmt.Errorf("looking for the credit: %w", err)
			}
			if x.IdempotencyKey == key {
				return connectors.Ref{ID: x.ID, Name: x.Purpose}, true, nil
			}
		}
		return connectors.Ref{}, false, nil
	}
	ref, err := c.Effect(ctx, connectors.Append("credit", in.ReferenceID), look, func(ctx context.Context, key string) (connectors.Ref, error) {
		body := newCredit{
			AccountID: in.AccountID, Purpose: in.Purpose, EffectiveFrom: cmp.Or(in.From, time.Now().UTC().Format(time.DateOnly)), EffectiveUntil: in.Until,
			CreditAmount: amount, Priority: max(in.Priority, 1), IdempotencyKey: key,
		}
		var made credits
		if _, err := call(ctx, c, http.MethodPost, "/credits", map[string]any{"creditRequests": []newCredit{body}}, &made); err != nil {
			return orFound(ctx, key, look, err)
		}
		if len(made) != 1 || made[0].ID == "" {
			return connectors.Ref{}, garbled(http.StatusOK, true)
		}
		return connectors.Ref{ID: made[0].ID, Name: in.Purpose}, nil
	})
	if err != nil {
		return GrantedCredit{}, fmt.Errorf("granting credit %s to account %s: %w", in.ReferenceID, in.AccountID, err)
	}
	return GrantedCredit{ref.ID, in.AccountID}, nil
}

// credits is the answer to POST /credits: an object by the spec's schema, a bare list by its example.
type credits []credit

// UnmarshalJSON takes both.
func (l *credits) UnmarshalJSON(b []byte) error {
	var list []credit
	if json.Unmarshal(b, &list) == nil {
		*l = list
		return nil
	}
	var object struct {
		Credits []credit `json:"credits"`
	}
	err := json.Unmarshal(b, &object)
	*l = object.Credits
	return err
}

// ListCreditsInput narrows the list.
type ListCreditsInput struct {
	AccountID string `json:"account_id,omitempty" doc:"Only credits of this account."`
	Limit     int    `json:"limit,omitempty" min:"1" max:"1000" doc:"How many at most; 100 if not given."`
}

// ListCreditsOutput is what was listed, last granted first.
type ListCreditsOutput struct {
	Credits  []Credit `json:"credits" doc:"Last granted first."`
	Count    int      `json:"count" doc:"How many these are."`
	Complete bool     `json:"complete" doc:"False when the limit cut the list off."`
}

func listCredits() connectors.Action {
	return connectors.Do("credit.list", "List credits", func(ctx context.Context, c connectors.Conn, in ListCreditsInput) (ListCreditsOutput, error) {
		found, complete, err := upToOf[credit](ctx, c, "credits", ledgerPage, url.Values{"account_id": {in.AccountID}}, limit(in.Limit))
		if err != nil {
			return ListCreditsOutput{}, fmt.Errorf("listing credits: %w", err)
		}
		out := ListCreditsOutput{Credits: []Credit{}, Count: len(found), Complete: complete}
		for _, x := range found {
			out.Credits = append(out.Credits, x.plain())
		}
		return out, nil
	}, ListCreditsInput{AccountID: "acme"}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Lists credits, last granted first.", "credit", true
		a.Help = "Credits that are used up, expired or void are among them."
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts}
	})
}
