package zuora

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"tieline/connectors"
)

// CreateUsageInput is one record of usage.
type CreateUsageInput struct {
	UsageID      string    `json:"usage_id" minLength:"1" maxLength:"255" doc:"What tells the usage from others: one is recorded once."`
	AccountID    string    `json:"account_id" minLength:"1" maxLength:"64" doc:"Zuora's id of the account."`
	Quantity     string    `json:"quantity" format:"decimal" doc:"How much was used; zero or more."`
	UOM          string    `json:"uom" minLength:"1" maxLength:"50" doc:"The unit of measure, which must be there in Zuora."`
	Start        time.Time `json:"start" doc:"When it was used. It decides the billing period."`
	End          time.Time `json:"end,omitzero" doc:"When its use ended." required:"false"`
	Subscription string    `json:"subscription,omitempty" maxLength:"100" doc:"The subscription's number or id. Without it the usage counts for each subscription of the account that has the unit."`
	Charge       string    `json:"charge,omitempty" maxLength:"50" doc:"The charge's number, or its id of the subscription's first version."`
	Description  string    `json:"description,omitempty" maxLength:"120" doc:"What it is."`
}

// CreatedUsage is what recording usage leaves.
type CreatedUsage struct {
	UsageID string `json:"usage_id" doc:"Zuora's id of the record."`
}

func createUsage() connectors.Action {
	return connectors.Do("usage.create", "Record usage", runCreateUsage, CreateUsageInput{
		UsageID: "2026-01:calls:acme", AccountID: sampleAccount.BasicInfo.ID, Quantity: "125", UOM: "Each", Start: time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC), Subscription: "A-S00000001", Charge: "C-00000001",
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Tells Zuora of usage, from which it bills.", "usage"
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts}
		a.Help = "The description ends with a mark by which the record is found again when Zuora's answer is lost."
	})
}

// isID tells Zuora's ids from numbers.
var isID = regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString

// foundUsage is one row of a query.
type foundUsage struct {
	ID          string `json:"Id"`
	Description string `json:"Description"`
}

func runCreateUsage(ctx context.Context, c connectors.Conn, in CreateUsageInput) (CreatedUsage, error) {
	quantity, err := parseNumber(in.Quantity)
	if err != nil || quantity.sign() < 0 {
		return CreatedUsage{}, wrong("quantity", "The quantity must be a decimal, zero or more.")
	}
	look := func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		zoql := "select Id, Description from Usage where AccountId = " + quoted(in.AccountID) + " and UOM = " + quoted(in.UOM)
		for locator := ""; ; {
			rows, next, _, err := query[foundUsage](ctx, c, zoql, locator)
			if err != nil {
				return connectors.Ref{}, false, fmt.Errorf("looking for the usage: %w", err)
			}
			for _, r := range rows {
				if markIn(r.Description) == key {
					return connectors.Ref{ID: r.ID}, true, nil
				}
			}
			if locator = next; locator == "" {
				return connectors.Ref{}, false, nil
			}
		}
	}
	ref, err := c.Effect(ctx, connectors.Append("usage", in.UsageID), look, func(ctx context.Context, key string) (connectors.Ref, error) {
		body := map[string]any{
			"AccountId": in.AccountID, "Quantity": quantity, "UOM": in.UOM, "StartDateTime": in.Start.UTC().Format(time.RFC3339), "Description": marked(in.Description, key),
		}
		if !in.End.IsZero() {
			body["EndDateTime"] = in.End.UTC().Format(time.RFC3339)
		}
		if isID(in.Subscription) {
			body["SubscriptionId"] = in.Subscription
		} else {
			optional(body, "SubscriptionNumber", in.Subscription)
		}
		if isID(in.Charge) {
			body["ChargeId"] = in.Charge
		} else {
			optional(body, "ChargeNumber", in.Charge)
		}
		var made struct {
			ID string `json:"Id"`
		}
		if _, err := call(ctx, c, request{http.MethodPost, "/v1/object/usage", key, body, &made}); err != nil {
			return connectors.Ref{}, err
		}
		if made.ID == "" {
			return connectors.Ref{}, garbled(http.StatusOK, true)
		}
		return connectors.Ref{ID: made.ID}, nil
	})
	if err != nil {
		return CreatedUsage{}, fmt.Errorf("recording usage %s: %w", in.UsageID, err)
	}
	return CreatedUsage{ref.ID}, nil
}
