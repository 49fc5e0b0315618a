package stripe

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// Metadata that we write. Stripe's users see it in the dashboard.
const (
	metaAccount  = "togai_account_id"
	metaCustomer = "togai_customer_id"
	metaPlan     = "togai_price_plan_id"
	metaInvoice  = "togai_invoice_id"
	metaEffect   = "tieline_effect" // the idempotency key of the create; only we write it, whatever a flow's metadata holds
)

// Address is a postal address; what is not known is empty.
type Address struct {
	Line1      string `json:"line1" doc:"Street and number." required:"false"`
	Line2      string `json:"line2" doc:"Flat, floor, building." required:"false"`
	City       string `json:"city" doc:"City or town." required:"false"`
	State      string `json:"state" doc:"State, county or canton." required:"false"`
	PostalCode string `json:"postal_code" doc:"Postal code." required:"false"`
	Country    string `json:"country" doc:"Two letters, ISO 3166." required:"false"`
}

// CustomerCreated is the payload of customer.created. Texts that Stripe does not know are empty, never left out, so that
// an expression may always name them.
type CustomerCreated struct {
	EventID        string            `json:"event_id" doc:"Stripe's id of the event."`
	OccurredAt     time.Time         `json:"occurred_at" doc:"When the customer was made."`
	Livemode       bool              `json:"livemode" doc:"False for test data."`
	CustomerID     string            `json:"customer_id" doc:"Stripe's id of the customer." example:"cus_NffrFeUfNV2Hib" minLength:"1"`
	Name           string            `json:"name" doc:"Empty when not known."`
	Email          string            `json:"email" doc:"Empty when not known."`
	Phone          string            `json:"phone" doc:"Empty when not known."`
	Description    string            `json:"description" doc:"Empty when not known."`
	Currency       string            `json:"currency" doc:"ISO 4217 in lower case; empty until something was billed."`
	Address        Address           `json:"address" doc:"Its parts are empty when not known."`
	Metadata       map[string]string `json:"metadata" doc:"Notes that users and programs keep at the customer."`
	TogaiAccountID string            `json:"togai_account_id,omitempty" doc:"From the metadata, when it is there."`
}

func customerCreated() connectors.Trigger {
	return connectors.On("customer.created", "Customer created", decodeCustomerCreated, listEvents(eventCustomer), CustomerCreated{
		EventID: "evt_1NG8Du2eZvKYlo2CUI79vXWy", OccurredAt: sampleTime, CustomerID: "cus_NffrFeUfNV2Hib",
		Name: "Jenny Rosen", Email: "jenny@example.com", Currency: "usd",
		Address:  Address{Line1: "Main Street 1", City: "Springfield", PostalCode: "12345", Country: "US"},
		Metadata: map[string]string{},
	}, func(t *connectors.Trigger) {
		t.Description = "A customer was made in Stripe, by hand, through the API or by a checkout."
		t.Entity, t.Events = "customer", []string{eventCustomer}
		t.Read, t.Explain = readCustomerCreated, explainCustomerCreated
		t.Reach, t.Every, t.Calm = eventLife, time.Minute, 15*time.Minute // nothing is lost by asking seldom
	}, connectors.ByHand(func(p CustomerCreated) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: "customer", ID: p.CustomerID, Name: p.Name}, At: p.OccurredAt, Mode: modeOf(p.Livemode)}
	}))
}

func decodeCustomerCreated(body []byte) (connectors.Occurrence, error) {
	e, err := parse(body)
	if err != nil {
		return connectors.Occurrence{}, err
	}
	var cus stripe.Customer
	if err := json.Unmarshal(e.Data.Object, &cus); err != nil || cus.ID == "" {
		return connectors.Occurrence{}, fmt.Errorf("event %s names no customer: %w", e.ID, connectors.ErrMalformed)
	}
	p := CustomerCreated{EventID: e.ID, OccurredAt: e.at(), Livemode: e.mode() == connectors.Live}.with(&cus)
	o := connectors.Occurrence{
		Payload: p, Record: connectors.Subject{Entity: "customer", ID: cus.ID, Name: label(&cus)}, BusinessKey: cus.ID, At: e.at(),
		// Each customer that we make carries its effect's key, so one without cannot be ours, whatever else it names.
		Cause: connectors.Cause{IdempotencyKey: e.idempotencyKey(), Mark: cus.Metadata[metaEffect], Unmarked: cus.Metadata[metaEffect] == "", Creation: true},
		Thin:  e.APIVersion != apiVersion, // rendered in a shape this library was not made for
	}
	return o, nil
}

func (p CustomerCreated) with(cus *stripe.Customer) CustomerCreated {
	p.CustomerID, p.Name, p.Email, p.Phone, p.Description = cus.ID, cus.Name, cus.Email, cus.Phone, cus.Description
	p.Currency, p.Metadata, p.TogaiAccountID = string(cus.Currency), notes(cus.Metadata), cus.Metadata[metaAccount]
	if a := cus.Address; a != nil {
		p.Address = Address{a.Line1, a.Line2, a.City, a.State, a.PostalCode, a.Country}
	}
	return p
}

// notes are a record's metadata, never null.
func notes(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}

// marked are the metadata of a record to be made: a flow's, under ours.
func marked(given, own map[string]string, key string) map[string]string {
	m := map[string]string{}
	maps.Copy(m, given)
	maps.Copy(m, own)
	m[metaEffect] = key
	return m
}

// label is what a person knows the customer by.
func label(cus *stripe.Customer) string {
	switch {
	case cus.Name != "":
		return cus.Name
	case cus.Email != "":
		return cus.Email
	}
	return cus.ID
}

// readCustomerCreated takes the customer as it is now. What caused the event stays as the event told it: ids that were
// written into the metadata since would make somebody else's customer look like ours.
func readCustomerCreated(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (connectors.Occurrence, error) {
	p, ok := o.Payload.(CustomerCreated)
	if !ok {
		return o, fmt.Errorf("reading customer %s: the payload is a %T", o.Record.ID, o.Payload)
	}
	cus, err := getCustomer(ctx, c, o.Record.ID)
	if err != nil {
		return o, err
	}
	o.Payload, o.Record.Name, o.Thin = p.with(cus), label(cus), false
	return o, nil
}

// explainCustomerCreated finds the checkout that made the customer, when it was for a Togai account: that account exists,
// and another flow takes what was bought to it.
func explainCustomerCreated(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (string, error) {
	it := api(c).CheckoutSessions.List(&stripe.CheckoutSessionListParams{ListParams: list(ctx), Customer: stripe.String(o.Record.ID)})
	for it.Next() {
		if s := it.CheckoutSession(); s.ClientReferenceID != "" || s.Metadata[metaAccount] != "" {
			return "made by checkout session " + s.ID, nil
		}
	}
	if err := it.Err(); err != nil {
		return "", fmt.Errorf("looking for the checkout of customer %s: %w", o.Record.ID, failed(c, err, false))
	}
	return "", nil
}

// getCustomer reads one. Stripe answers for a deleted customer too, with its id alone.
func getCustomer(ctx context.Context, c connectors.Conn, id string) (*stripe.Customer, error) {
	cus, err := api(c).Customers.Get(id, &stripe.CustomerParams{Params: read(ctx)})
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading customer %s: %w", id, failed(c, err, false))
	case cus.Deleted:
		return nil, connectors.Errorf(connectors.NotFound, "customer %s was deleted in Stripe", id)
	case cus.ID == "":
		return nil, garbled(errNoID, false)
	}
	return cus, nil
}

// customersBy lists all that match, consistently: what was written a moment ago is there.
func customersBy(ctx context.Context, c connectors.Conn, p stripe.CustomerListParams, match func(*stripe.Customer) bool) ([]*stripe.Customer, error) {
	var found []*stripe.Customer
	p.ListParams = list(ctx)
	it := api(c).Customers.List(&p)
	for it.Next() {
		if cus := it.Customer(); match(cus) {
			found = append(found, cus)
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("listing customers: %w", failed(c, err, false))
	}
	return found, nil
}
