package zuora

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tieline/connectors"
)

// memo as GET answers it.
type memo struct {
	ID      string `json:"id"`
	Number  string `json:"number"`
	Status  string `json:"status"`
	Amount  number `json:"amount"`
	Comment string `json:"comment"`
}

// CreateCreditMemoInput is a credit of an account.
type CreateCreditMemoInput struct {
	ReferenceID string `json:"reference_id" minLength:"1" maxLength:"255" doc:"What tells this credit from others, such as its id elsewhere: one is added once."`
	AccountID   string `json:"account_id" minLength:"1" maxLength:"64" doc:"Zuora's id of the account."`
	Amount      string `json:"amount" format:"decimal" doc:"In major units; no more decimals than the currency has."`
	Currency    string `json:"currency,omitempty" pattern:"^[A-Za-z]{3}$" doc:"ISO 4217; the account's if not given."`
	Date        string `json:"date,omitempty" format:"date" doc:"From when it holds; today, by Zuora's calendar, if not given."`
	ChargeID    string `json:"charge_id,omitempty" maxLength:"64" doc:"The product rate plan charge it is added against; the connection's if not given. It must be no discount."`
	ReasonCode  string `json:"reason_code,omitempty" maxLength:"100" doc:"One of the tenant's reason codes."`
	Comment     string `json:"comment,omitempty" maxLength:"200" doc:"What it is for."`
	Post        bool   `json:"post,omitempty" doc:"Makes it final; it is a draft if not given."`
}

// CreatedCreditMemo is what adding a credit leaves.
type CreatedCreditMemo struct {
	CreditMemoID string `json:"credit_memo_id" doc:"Zuora's id of the credit memo."`
	Number       string `json:"number" doc:"Its number."`
	Status       string `json:"status" doc:"Draft, Posted or another of Zuora's."`
	Amount       string `json:"amount" format:"decimal" doc:"In major units."`
}

func createCreditMemo() connectors.Action {
	return connectors.Do("credit_memo.create", "Create credit memo", runCreateCreditMemo, CreateCreditMemoInput{
		ReferenceID: "cred.1zYnFJIWzUF.cUSf4", AccountID: sampleAccount.BasicInfo.ID, Amount: "25.00", ChargeID: sampleChargeID, Comment: "Goodwill", Post: true,
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Credits an account by a credit memo of its own, against a charge of the catalogue.", "credit_memo"
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts, "charge_id": offerCharges}
		a.Help = "It needs Zuora's Invoice Settlement. The comment ends with a mark by which the memo is found again when Zuora's answer is lost."
	})
}

// fields are what the memo's items call what they hold, which changes with the API's version.
// https://developer.zuora.com/docs/guides/api-versions/
func fields(version string) (charge, amount, text string) {
	charge, amount, text = "productRatePlanChargeId", "amount", "description"
	at := slices.Index(versions, cmp.Or(version, pinned))
	if at < slices.Index(versions, "257.0") {
		charge, text = "chargeId", "comment"
	}
	if at < slices.Index(versions, "224.0") {
		amount = "memoItemAmount"
	}
	return charge, amount, text
}

func runCreateCreditMemo(ctx context.Context, c connectors.Conn, in CreateCreditMemoInput) (CreatedCreditMemo, error) {
	amount, err := parseNumber(in.Amount)
	if err != nil || amount.sign() <= 0 {
		return CreatedCreditMemo{}, wrong("amount", "The amount must be a decimal above zero, such as 19.90.")
	}
	id := cmp.Or(in.ChargeID, c.Credentials[chargeID])
	if id == "" {
		return CreatedCreditMemo{}, wrong("charge_id", "The connection to Zuora has no Charge ID, which credits are added against. Fill it in.")
	}
	against, err := creditable(ctx, c, id)
	if err != nil {
		return CreatedCreditMemo{}, err
	}
	probe := func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		for n := 1; ; n++ {
			memos, more, err := memosOf(ctx, c, in.AccountID, n)
			if err != nil {
				return connectors.Ref{}, false, fmt.Errorf("looking for the credit memo: %w", err)
			}
			for _, m := range memos {
				if markIn(m.Comment) == key {
					return m.ref(), true, nil
				}
			}
			if !more {
				return connectors.Ref{}, false, nil
			}
		}
	}
	ref, err := c.Effect(ctx, connectors.Append("credit_memo", in.ReferenceID), probe, func(ctx context.Context, key string) (connectors.Ref, error) {
		chargeField, amountField, textField := fields(c.Credentials[apiVersion])
		item := map[string]any{chargeField: against.ID, amountField: amount}
		optional(item, textField, in.Comment)
		body := map[string]any{"accountId": in.AccountID, "comment": marked(in.Comment, key), "autoPost": in.Post, "charges": []any{item}}
		optional(body, "currency", strings.ToUpper(in.Currency), "effectiveDate", in.Date, "reasonCode", in.ReasonCode)
		var made memo
		if _, err := call(ctx, c, request{http.MethodPost, "/v1/credit-memos", key, body, &made}); err != nil {
			return connectors.Ref{}, err
		}
		if made.ID == "" {
			return connectors.Ref{}, garbled(http.StatusOK, true)
		}
		return made.ref(), nil
	})
	if err != nil {
		return CreatedCreditMemo{}, fmt.Errorf("crediting account %s with %s: %w", in.AccountID, in.ReferenceID, err)
	}
	return CreatedCreditMemo{ref.ID, ref.Name, ref.Attributes[attrStatus], cmp.Or(ref.Attributes[attrAmount], amount.text())}, nil
}

func (m memo) ref() connectors.Ref {
	return connectors.Ref{ID: m.ID, Name: m.Number, Attributes: map[string]string{attrNumber: m.Number, attrStatus: m.Status, attrAmount: m.Amount.text()}}
}

// pageSize is the most that Zuora's lists give at once.
const pageSize = 40

// memosOf reads a page of an account's memos. What the list is called at this path is not certain.
func memosOf(ctx context.Context, c connectors.Conn, account string, n int) ([]memo, bool, error) {
	var out struct {
		Memos    []memo `json:"creditmemos"` // creditMemos is the same to Go
		Data     []memo `json:"data"`
		NextPage string `json:"nextPage"`
	}
	q := url.Values{"accountId": {account}, "page": {strconv.Itoa(n)}, "pageSize": {strconv.Itoa(pageSize)}}
	_, err := get(ctx, c, "/v1/credit-memos?"+q.Encode(), &out)
	found := append(out.Memos, out.Data...)
	return found, out.NextPage != "" && len(found) > 0, err
}
