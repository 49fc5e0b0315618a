package stripe

import (
	"context"
	"fmt"
	"time"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// ListCustomersInput chooses customers; without anything all are listed, newest first.
type ListCustomersInput struct {
	CreatedAfter  *time.Time `json:"created_after,omitempty" doc:"Only those made after this time."`
	CreatedBefore *time.Time `json:"created_before,omitempty" doc:"Only those made before this time."`
	Email         string     `json:"email,omitempty" doc:"Only those with exactly this e-mail address, upper and lower case told apart."`
	PageSize      int64      `json:"page_size,omitempty" min:"1" max:"100" doc:"How many are read at once: 1 to 100 (default)."`
	Max           int64      `json:"max,omitempty" min:"1" doc:"How many to list at most; all, when left out."`
	StartingAfter string     `json:"starting_after,omitempty" doc:"Go on after this customer: the last_id of the call before."`
}

// ListCustomersOutput is what was listed.
type ListCustomersOutput struct {
	Customers []ListedCustomer `json:"customers" doc:"Newest first."`
	Count     int              `json:"count" doc:"How many were listed."`
	LastID    string           `json:"last_id" doc:"The last one listed; empty when there was none."`
	Complete  bool             `json:"complete" doc:"Whether these are all; else go on with starting_after."`
}

// ListedCustomer is one customer. Texts that Stripe does not know are empty.
type ListedCustomer struct {
	CustomerID string            `json:"customer_id" doc:"Stripe's id of the customer."`
	Name       string            `json:"name" doc:"Its name."`
	Email      string            `json:"email" doc:"Its e-mail address."`
	Phone      string            `json:"phone" doc:"Its telephone number."`
	Address    Address           `json:"address" doc:"Its parts are empty when not known."`
	Currency   string            `json:"currency" doc:"ISO 4217 in lower case; empty until something was billed."`
	Metadata   map[string]string `json:"metadata" doc:"Its metadata."`
	Created    time.Time         `json:"created" doc:"When it was made."`
}

func listCustomers() connectors.Action {
	return connectors.Do("customer.list", "List customers", runListCustomers, ListCustomersInput{}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Lists customers, newest first, page by page.", "customer", true
		a.Help = "For many customers give max, and go on with starting_after until complete is true. What is made meanwhile comes before the first one, so nothing is listed twice."
	})
}

func runListCustomers(ctx context.Context, c connectors.Conn, in ListCustomersInput) (ListCustomersOutput, error) {
	out := ListCustomersOutput{Customers: []ListedCustomer{}}
	created := &stripe.RangeQueryParams{}
	if in.CreatedAfter != nil {
		created.GreaterThan = in.CreatedAfter.Unix()
	}
	if in.CreatedBefore != nil {
		created.LesserThan = in.CreatedBefore.Unix()
	}
	size, after := in.PageSize, in.StartingAfter
	if size == 0 {
		size = pageSize
	}
	for {
		n := size
		if in.Max > 0 {
			n = min(n, in.Max-int64(out.Count))
		}
		p := &stripe.CustomerListParams{ListParams: first(ctx, n), Email: given(in.Email)}
		p.StartingAfter = given(after)
		if in.CreatedAfter != nil || in.CreatedBefore != nil {
			p.CreatedRange = created
		}
		it := api(c).Customers.List(p)
		if err := it.Err(); err != nil {
			return ListCustomersOutput{}, fmt.Errorf("listing customers: %w", failed(c, err, false))
		}
		page := it.CustomerList()
		for _, cus := range page.Data {
			out.Customers = append(out.Customers, listed(cus))
		}
		if out.Count = len(out.Customers); out.Count > 0 {
			out.LastID = out.Customers[out.Count-1].CustomerID
			after = out.LastID
		}
		if out.Complete = !page.HasMore || len(page.Data) == 0; out.Complete || in.Max > 0 && int64(out.Count) >= in.Max {
			return out, nil
		}
	}
}

func listed(cus *stripe.Customer) ListedCustomer {
	p := CustomerCreated{}.with(cus)
	return ListedCustomer{p.CustomerID, p.Name, p.Email, p.Phone, p.Address, p.Currency, p.Metadata, moment(cus.Created)}
}
