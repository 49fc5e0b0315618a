package stripe

import (
	"context"
	"fmt"
	"strings"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// FindCustomerInput names a customer by exactly one of three.
type FindCustomerInput struct {
	CustomerID     string `json:"customer_id,omitempty" doc:"Stripe's id of the customer."`
	TogaiAccountID string `json:"togai_account_id,omitempty" doc:"The Togai account that the customer's metadata names."`
	Email          string `json:"email,omitempty" doc:"The exact e-mail address, upper and lower case told apart."`
	OnMissing      string `json:"on_missing,omitempty" enum:"continue,fail" doc:"What to do when there is none: continue (default) or fail."`
}

// FindCustomerOutput describes the newest match.
type FindCustomerOutput struct {
	Found      bool              `json:"found" doc:"Whether there is such a customer."`
	CustomerID string            `json:"customer_id,omitempty" doc:"The newest of the matches."`
	Name       string            `json:"name,omitempty" doc:"Its name."`
	Email      string            `json:"email,omitempty" doc:"Its e-mail address."`
	Metadata   map[string]string `json:"metadata,omitempty" doc:"Its metadata."`
	Matches    int               `json:"matches" doc:"How many there are."`
}

func findCustomer() connectors.Action {
	return connectors.Do("customer.find", "Find customer", runFindCustomer, FindCustomerInput{Email: "jenny@example.com"}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Looks for a customer by its id, its Togai account or its e-mail address.", "customer", true
		a.Options = map[string]connectors.Offer{"customer_id": offerCustomers}
		a.Help = "A customer whose Togai account was written within the last minute may not be found by it yet."
	})
}

func runFindCustomer(ctx context.Context, c connectors.Conn, in FindCustomerInput) (FindCustomerOutput, error) {
	found, err := find(ctx, c, in)
	if err != nil {
		return FindCustomerOutput{}, err
	}
	if len(found) == 0 {
		if in.OnMissing == "fail" {
			return FindCustomerOutput{}, connectors.Errorf(connectors.NotFound, "no Stripe customer matches")
		}
		return FindCustomerOutput{}, nil
	}
	cus := found[0]
	return FindCustomerOutput{Found: true, CustomerID: cus.ID, Name: cus.Name, Email: cus.Email, Metadata: notes(cus.Metadata), Matches: len(found)}, nil
}

// find answers the newest first.
func find(ctx context.Context, c connectors.Conn, in FindCustomerInput) ([]*stripe.Customer, error) {
	given := 0
	for _, v := range []string{in.CustomerID, in.TogaiAccountID, in.Email} {
		if v != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, connectors.Errorf(connectors.Invalid, "give exactly one of customer_id, togai_account_id and email")
	case in.CustomerID != "":
		cus, err := getCustomer(ctx, c, in.CustomerID)
		if missing(err) {
			return nil, nil
		}
		return []*stripe.Customer{cus}, err
	case in.TogaiAccountID != "":
		return search(ctx, c, metaAccount, in.TogaiAccountID)
	}
	return customersBy(ctx, c, stripe.CustomerListParams{Email: stripe.String(in.Email)}, func(*stripe.Customer) bool { return true })
}

var escape = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

// search finds customers by one key of their metadata. What it finds is a minute old, in trouble an hour, so each is read
// again; what it does not find may be there all the same. https://docs.stripe.com/search#data-freshness
func search(ctx context.Context, c connectors.Conn, key, value string) ([]*stripe.Customer, error) {
	q := fmt.Sprintf("metadata['%s']:'%s'", key, escape.Replace(value))
	it := api(c).Customers.Search(&stripe.CustomerSearchParams{SearchParams: stripe.SearchParams{Context: ctx, Query: q, Limit: stripe.Int64(pageSize)}})
	var found []*stripe.Customer
	for it.Next() {
		cus, err := getCustomer(ctx, c, it.Customer().ID)
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if cus.Metadata[key] == value {
			found = append(found, cus)
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("searching customers: %w", failed(c, err, false))
	}
	return found, nil
}

// searchable tells whether search failed for good. Merchants in India have none, and then the mapping and the lists are
// all there is to go by. https://docs.stripe.com/search
func searchable(err error) bool {
	k := connectors.KindOf(err)
	return k != connectors.Invalid && k != connectors.NotFound
}
