package zuora

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"tieline/connectors"
)

// subscription as GET answers it. Its id changes with every version; its number does not.
type subscription struct {
	ID        string     `json:"id"`
	Number    string     `json:"subscriptionNumber"`
	AccountID string     `json:"accountId"`
	Account   string     `json:"accountNumber"`
	Name      string     `json:"accountName"`
	Version   int        `json:"version"`
	Status    string     `json:"status"`
	TermType  string     `json:"termType"`
	Start     string     `json:"subscriptionStartDate"`
	End       string     `json:"subscriptionEndDate"`
	Currency  string     `json:"currency"`
	RatePlans []ratePlan `json:"ratePlans"`
}

type ratePlan struct {
	ID                string   `json:"id"`
	ProductName       string   `json:"productName"`
	ProductRatePlanID string   `json:"productRatePlanId"`
	Name              string   `json:"ratePlanName"`
	LastChangeType    string   `json:"lastChangeType"`
	Charges           []charge `json:"ratePlanCharges"`
}

type charge struct {
	ID               string `json:"id"`
	OriginalID       string `json:"originalChargeId"`
	ProductChargeID  string `json:"productRatePlanChargeId"`
	Number           string `json:"number"`
	Name             string `json:"name"`
	Type             string `json:"type"`
	Model            string `json:"model"`
	UOM              string `json:"uom"`
	Price            number `json:"price"`
	Quantity         number `json:"quantity"`
	Tiers            []tier `json:"tiers"`
	BillingPeriod    string `json:"billingPeriod"`
	BillingTiming    string `json:"billingTiming"`
	Currency         string `json:"currency"`
	EffectiveEndDate string `json:"effectiveEndDate"`
	ListPriceBase    string `json:"listPriceBase"`
}

type tier struct {
	Tier        int    `json:"tier"`
	Starting    number `json:"startingUnit"`
	Ending      number `json:"endingUnit"`
	Price       number `json:"price"`
	PriceFormat string `json:"priceFormat"`
}

var sampleSubscription = subscription{
	ID: "2c92a0fc7f3b2d7a017f3f4a5b6c7d8f", Number: "A-S00000001", AccountID: sampleAccount.BasicInfo.ID, Account: "A00000001", Name: "Acme Inc.", Version: 1, Status: "Active",
	TermType: "EVERGREEN", Start: "2026-01-01", Currency: "USD", RatePlans: []ratePlan{{Name: "Gold", Charges: []charge{
		{Number: "C-00000001", OriginalID: "2c92a0fc7f3b2d7a017f3f4a5b6c7d90", Name: "Base fee", Type: "Recurring", Model: "FlatFee", BillingPeriod: "Month", BillingTiming: "IN_ADVANCE", Price: "49.00", Currency: "USD"},
	}}},
}

func subscriptionCreated() connectors.Trigger {
	return connectors.On("subscription.created", "Subscription created", decodeSubscription, listSubscriptions, sampleSubscription.plain(), func(t *connectors.Trigger) {
		t.Description = "A subscription was made in Zuora. Amendments of it are none."
		t.Entity, t.Events = "subscription", []string{"subscription.created"}
		t.Read = readSubscription
		t.Every, t.Calm = time.Minute, 15*time.Minute
	}, connectors.ByHand(func(s Subscription) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: "subscription", ID: s.SubscriptionNumber, Name: s.SubscriptionNumber}, Thin: true}
	}))
}

// decodeSubscription is about the number, so that every version of it is one subscription. An id names a version, of which
// the number is to be read.
func decodeSubscription(raw []byte) (connectors.Occurrence, error) {
	b, err := parse(raw, nil)
	id := cmp.Or(b.subscription, b.version)
	if err != nil || id == "" || b.trigger() != "subscription.created" {
		return connectors.Occurrence{}, fmt.Errorf("the event names no subscription: %w", connectors.ErrMalformed)
	}
	return connectors.Occurrence{
		Payload: Subscription{SubscriptionNumber: b.subscription, AccountID: b.account}, Record: connectors.Subject{Entity: "subscription", ID: id, Name: id},
		BusinessKey: id, At: b.at, Thin: true, Vague: b.subscription == "", Cause: connectors.Cause{Creation: true},
	}, nil
}

// readSubscription takes the latest version: what was amended or cancelled since is not acted on as it was.
func readSubscription(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (connectors.Occurrence, error) {
	s, err := fetchSubscription(ctx, c, o.Record.ID)
	if err != nil {
		return o, err
	}
	if o.Vague {
		o.Record.ID, o.Record.Name, o.BusinessKey = s.Number, s.Number, s.Number
		if s, err = fetchSubscription(ctx, c, s.Number); err != nil { // the version that was named need not be the latest
			return o, err
		}
	}
	o.Payload, o.Thin, o.Vague = s.plain(), false, false
	return o, nil
}

func fetchSubscription(ctx context.Context, c connectors.Conn, number string) (subscription, error) {
	var s subscription
	if _, err := get(ctx, c, path("v1", "subscriptions", number), &s); err != nil {
		return s, fmt.Errorf("reading subscription %s: %w", number, err)
	}
	if s.ID == "" || s.Number == "" {
		return s, garbled(http.StatusOK, false)
	}
	return s, nil
}

type foundSubscription struct {
	Name        string `json:"Name"`
	AccountID   string `json:"AccountId"`
	CreatedDate string `json:"CreatedDate"`
}

func listSubscriptions(ctx context.Context, c connectors.Conn, cursor string) (connectors.Page, error) {
	return walk(ctx, c, "subscription.created", "select Id, Name, AccountId, CreatedDate from Subscription where Version = 1 and CreatedDate >= ", cursor, func(s foundSubscription) body {
		return body{account: s.AccountID, subscription: s.Name, created: s.CreatedDate}
	})
}

// GetSubscriptionInput names a subscription.
type GetSubscriptionInput struct {
	SubscriptionNumber string `json:"subscription_number" minLength:"1" maxLength:"100" doc:"Its number, or the id of one of its versions."`
}

func getSubscription() connectors.Action {
	return connectors.Do("subscription.get", "Get subscription", func(ctx context.Context, c connectors.Conn, in GetSubscriptionInput) (Subscription, error) {
		s, err := fetchSubscription(ctx, c, in.SubscriptionNumber)
		return s.plain(), err
	}, GetSubscriptionInput{SubscriptionNumber: sampleSubscription.Number}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Reads one subscription with what it charges for; a missing one is an error.", "subscription", true
		a.Help = "By its number the latest version is answered."
	})
}
