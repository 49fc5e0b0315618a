package zuora

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"tieline/connectors"
)

// CreateUsageInput is usage to be recorded.
type CreateUsageInput struct {
	AccountID string        `json:"account_id,omitempty" maxLength:"64" doc:"Zuora's id of the account whose usage it is: a subscription of another is refused."`
	Records   []UsageRecord `json:"records" maxLength:"1000" doc:"One for each use. They may be none."`
}

// UsageRecord is one record of usage.
type UsageRecord struct {
	UsageID      string    `json:"usage_id" minLength:"1" maxLength:"255" doc:"What tells the usage from others: one is recorded once."`
	Subscription string    `json:"subscription" minLength:"1" maxLength:"100" doc:"The subscription's number, or the id of one of its versions."`
	Charge       string    `json:"charge,omitempty" maxLength:"50" doc:"The charge's number, or its id. It may be left out where the subscription has one charge for usage."`
	Quantity     string    `json:"quantity" format:"decimal" doc:"How much was used; zero or more."`
	UOM          string    `json:"uom,omitempty" maxLength:"50" doc:"The unit of measure; the charge's if not given."`
	Start        time.Time `json:"start" doc:"When it was used. It decides the billing period."`
	End          time.Time `json:"end,omitzero" doc:"When its use ended." required:"false"`
	Description  string    `json:"description,omitempty" maxLength:"120" doc:"What it is."`
}

// CreatedUsage is what recording usage leaves.
type CreatedUsage struct {
	Records []CreatedUsageRecord `json:"records" doc:"In the order in which they were given."`
	Count   int                  `json:"count" doc:"How many these are."`
}

// CreatedUsageRecord is one record of usage.
type CreatedUsageRecord struct {
	UsageID string `json:"usage_id" doc:"As it was given."`
	ID      string `json:"id" doc:"Zuora's id of the record."`
}

func createUsage() connectors.Action {
	return connectors.Do("usage.create", "Record usage", runCreateUsage, CreateUsageInput{Records: []UsageRecord{{
		UsageID: "2026-01:calls:acme", Quantity: "125", Start: time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC), Subscription: sampleSubscription.Number, UOM: "Each",
	}}}, func(a *connectors.Action) {
		a.Description, a.Entity = "Tells Zuora of usage, from which it bills.", "usage"
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts}
		a.Help = "Account, charge and unit are those of the subscription as it is now. A record's description ends with a mark by which it is found again when Zuora's answer is lost."
	})
}

// newUsage is the body of POST /v1/object/usage.
type newUsage struct {
	AccountID    string `json:"AccountId"`
	Subscription string `json:"SubscriptionNumber"`
	Charge       string `json:"ChargeNumber"`
	Quantity     number `json:"Quantity"`
	UOM          string `json:"UOM"`
	Start        string `json:"StartDateTime"`
	End          string `json:"EndDateTime,omitempty"`
	Description  string `json:"Description"`
}

// runCreateUsage reads the subscriptions first, so that nothing is recorded where one of the records cannot be.
func runCreateUsage(ctx context.Context, c connectors.Conn, in CreateUsageInput) (CreatedUsage, error) {
	subs := map[string]subscription{}
	bodies := make([]newUsage, 0, len(in.Records))
	for i, r := range in.Records {
		s, ok := subs[r.Subscription]
		if !ok {
			var err error
			if s, err = fetchSubscription(ctx, c, r.Subscription); err != nil {
				return CreatedUsage{}, err
			}
			subs[r.Subscription] = s
		}
		if in.AccountID != "" && s.AccountID != in.AccountID {
			return CreatedUsage{}, wrong(fmt.Sprintf("records[%d].subscription", i), "Subscription "+s.Number+" is of account "+s.Account+", and not of that whose usage this is.")
		}
		b, err := r.wire(s)
		if err != nil {
			return CreatedUsage{}, err
		}
		bodies = append(bodies, b)
	}
	out := CreatedUsage{Records: []CreatedUsageRecord{}, Count: len(bodies)}
	for i, b := range bodies {
		id, err := record(ctx, c, in.Records[i].UsageID, b)
		if err != nil {
			return CreatedUsage{}, fmt.Errorf("recording usage %s: %w", in.Records[i].UsageID, err)
		}
		out.Records = append(out.Records, CreatedUsageRecord{in.Records[i].UsageID, id})
	}
	return out, nil
}

// wire takes from the subscription what the record does not say. Without a charge the usage would count for each that has
// its unit.
func (r UsageRecord) wire(s subscription) (newUsage, error) {
	quantity, err := parseNumber(r.Quantity)
	if err != nil || quantity.sign() < 0 {
		return newUsage{}, wrong("quantity", "The quantity must be a decimal, zero or more.")
	}
	var of []Charge
	for _, x := range s.plain().Charges {
		if x.Type == "USAGE" && (r.Charge == "" || x.Number == r.Charge || x.ChargeID == r.Charge || x.ProductChargeID == r.Charge) {
			of = append(of, x)
		}
	}
	if len(of) != 1 {
		return newUsage{}, wrong("charge", fmt.Sprintf("Subscription %s has %d charges for usage that this may be for (%s), and one is needed.", s.Number, len(of), cmp.Or(r.Charge, "none is named")))
	}
	b := newUsage{
		AccountID: s.AccountID, Subscription: s.Number, Charge: of[0].Number, Quantity: quantity, UOM: cmp.Or(r.UOM, of[0].UOM), Start: r.Start.UTC().Format(time.RFC3339), Description: r.Description,
	}
	if !r.End.IsZero() {
		b.End = r.End.UTC().Format(time.RFC3339)
	}
	return b, nil
}

// foundUsage is one row of a query.
type foundUsage struct {
	ID          string `json:"Id"`
	Description string `json:"Description"`
}

// record makes one record, and answers its id.
func record(ctx context.Context, c connectors.Conn, usage string, b newUsage) (string, error) {
	look := func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		zoql := "select Id, Description from Usage where AccountId = " + quoted(b.AccountID) + " and UOM = " + quoted(b.UOM)
		for locator := ""; ; {
			rows, next, _, err := query[foundUsage](ctx, c, zoql, locator)
			if err != nil {
				return connectors.Ref{}, false, fmt.Errorf("looking for it: %w", err)
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
	ref, err := c.Effect(ctx, connectors.Append("usage", usage), look, func(ctx context.Context, key string) (connectors.Ref, error) {
		b := b
		b.Description = marked(b.Description, key)
		var made struct {
			ID string `json:"Id"`
		}
		if _, err := call(ctx, c, request{http.MethodPost, "/v1/object/usage", key, b, &made}); err != nil {
			return connectors.Ref{}, err
		}
		if made.ID == "" {
			return connectors.Ref{}, garbled(http.StatusOK, true)
		}
		return connectors.Ref{ID: made.ID}, nil
	})
	return ref.ID, err
}
