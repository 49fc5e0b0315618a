package stripe

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
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
	}, connectors.WalkedAs[ListCustomersInput, ListedCustomer](walkCustomers, readCustomer))
}

// walkCustomers goes from the newest to the oldest, so that what is made meanwhile is left out. The cursor is the last
// customer with the time it was made: should it be deleted before the walk goes on, the list goes on at that time, and those
// of the same second come again.
func walkCustomers(ctx context.Context, c connectors.Conn, in ListCustomersInput, cursor string) (connectors.Stretch, error) {
	p := in.params(ctx, pageSize)
	after, at, _ := strings.Cut(cmp.Or(cursor, in.StartingAfter), "@")
	p.StartingAfter = given(after)
	it := api(c).Customers.List(p)
	err := failed(c, it.Err(), false)
	if made, bad := strconv.ParseInt(at, 10, 64); connectors.KindOf(err) == connectors.Invalid && bad == nil {
		p = in.params(ctx, pageSize)
		if p.CreatedRange == nil {
			p.CreatedRange = &stripe.RangeQueryParams{}
		}
		p.CreatedRange.LesserThanOrEqual = made
		it = api(c).Customers.List(p)
		err = failed(c, it.Err(), false)
	}
	if err != nil {
		return connectors.Stretch{}, fmt.Errorf("listing customers: %w", err)
	}
	page := it.CustomerList()
	out := connectors.Stretch{More: page.HasMore && len(page.Data) > 0}
	for _, cus := range page.Data {
		out.Entries = append(out.Entries, entry(cus))
		out.Cursor = fmt.Sprintf("%s@%d", cus.ID, cus.Created)
	}
	return out, nil
}

func readCustomer(ctx context.Context, c connectors.Conn, id string) (connectors.Entry, error) {
	cus, err := getCustomer(ctx, c, id)
	if err != nil {
		return connectors.Entry{}, err
	}
	return entry(cus), nil
}

func entry(cus *stripe.Customer) connectors.Entry {
	return connectors.Entry{Record: connectors.Subject{Entity: "customer", ID: cus.ID, Name: label(cus)}, Email: cus.Email, Value: listed(cus)}
}

// params are those of one call for up to n customers.
func (in ListCustomersInput) params(ctx context.Context, n int64) *stripe.CustomerListParams {
	p := &stripe.CustomerListParams{ListParams: first(ctx, n), Email: given(in.Email)}
	if in.CreatedAfter == nil && in.CreatedBefore == nil {
		return p
	}
	p.CreatedRange = &stripe.RangeQueryParams{}
	if in.CreatedAfter != nil {
		p.CreatedRange.GreaterThan = in.CreatedAfter.Unix()
	}
	if in.CreatedBefore != nil {
		p.CreatedRange.LesserThan = in.CreatedBefore.Unix()
	}
	return p
}

func runListCustomers(ctx context.Context, c connectors.Conn, in ListCustomersInput) (ListCustomersOutput, error) {
	out := ListCustomersOutput{Customers: []ListedCustomer{}}
	size, after := in.PageSize, in.StartingAfter
	if size == 0 {
		size = pageSize
	}
	for {
		n := size
		if in.Max > 0 {
			n = min(n, in.Max-int64(out.Count))
		}
		p := in.params(ctx, n)
		p.StartingAfter = given(after)
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
