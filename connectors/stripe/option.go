package stripe

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// bySearch marks where a walk goes on that asks Stripe's search; other walks go on after a record's id.
const bySearch = "search:"

// leastSearch is how many characters Stripe's search for a part of a text needs. https://docs.stripe.com/search
const leastSearch = 3

// offerCustomers asks Stripe's search for what was typed, as a list may have very many. What it finds is a minute old.
// Where there is no search, and for what is too short for it, the list is looked through.
func offerCustomers(ctx context.Context, c connectors.Conn, text, after string) (connectors.OptionPage, error) {
	text = strings.TrimSpace(text)
	page, searching := strings.CutPrefix(after, bySearch)
	if searching || after == "" && utf8.RuneCountInString(text) >= leastSearch {
		out, err := searchCustomers(ctx, c, text, page)
		if err == nil || searchable(err) || searching {
			return out, err
		}
	}
	it := api(c).Customers.List(&stripe.CustomerListParams{ListParams: onePage(ctx, after)})
	if err := it.Err(); err != nil {
		return connectors.OptionPage{}, fmt.Errorf("listing customers: %w", failed(c, err, false))
	}
	l := it.CustomerList()
	return offered(text, l.HasMore, l.Data, customerOption), nil
}

func searchCustomers(ctx context.Context, c connectors.Conn, text, page string) (connectors.OptionPage, error) {
	q := escape.Replace(text)
	it := api(c).Customers.Search(&stripe.CustomerSearchParams{SearchParams: stripe.SearchParams{
		Context: ctx, Query: fmt.Sprintf("name~'%s' OR email~'%s'", q, q), Limit: stripe.Int64(pageSize), Page: given(page), Single: true,
	}})
	if err := it.Err(); err != nil {
		return connectors.OptionPage{}, fmt.Errorf("searching customers: %w", failed(c, err, false))
	}
	found := it.CustomerSearchResult()
	out := offered("", false, found.Data, customerOption)
	if found.NextPage != nil && *found.NextPage != "" {
		out.After = bySearch + *found.NextPage
	}
	return out, nil
}

func customerOption(cus *stripe.Customer) connectors.Option {
	return connectors.Option{Value: cus.ID, Label: label(cus), Detail: cus.Email}
}

// offerPrices are those that can be sold, by what their products are called.
func offerPrices(ctx context.Context, c connectors.Conn, text, after string) (connectors.OptionPage, error) {
	p := &stripe.PriceListParams{ListParams: onePage(ctx, after), Active: stripe.Bool(true)}
	p.AddExpand("data.product")
	it := api(c).Prices.List(p)
	if err := it.Err(); err != nil {
		return connectors.OptionPage{}, fmt.Errorf("listing prices: %w", failed(c, err, false))
	}
	l := it.PriceList()
	return offered(text, l.HasMore, l.Data, func(p *stripe.Price) connectors.Option {
		name := p.ID
		if p.Product != nil {
			name = cmp.Or(p.Product.Name, name)
		}
		if p.Nickname != "" {
			name += ", " + p.Nickname
		}
		return connectors.Option{Value: p.ID, Label: name, Detail: costs(p)}
	}), nil
}

// costs says what a price costs: 5000 usd / month, in the currency's smallest unit as Stripe's API has it.
func costs(p *stripe.Price) string {
	amount := "by tiers"
	if p.BillingScheme != stripe.PriceBillingSchemeTiered {
		amount = strconv.FormatFloat(p.UnitAmountDecimal, 'f', -1, 64) + " " + string(p.Currency)
	}
	if p.Recurring == nil {
		return amount
	}
	every := string(p.Recurring.Interval)
	if n := p.Recurring.IntervalCount; n > 1 {
		every = fmt.Sprintf("%d %ss", n, every)
	}
	if p.Recurring.UsageType == stripe.PriceRecurringUsageTypeMetered {
		every += ", metered"
	}
	return amount + " / " + every
}

// offerInvoices are those of a status; all but drafts when it is empty.
func offerInvoices(status stripe.InvoiceStatus) connectors.Offer {
	return func(ctx context.Context, c connectors.Conn, text, after string) (connectors.OptionPage, error) {
		it := api(c).Invoices.List(&stripe.InvoiceListParams{ListParams: onePage(ctx, after), Status: given(string(status))})
		if err := it.Err(); err != nil {
			return connectors.OptionPage{}, fmt.Errorf("listing invoices: %w", failed(c, err, false))
		}
		l := it.InvoiceList()
		out := offered(text, l.HasMore, l.Data, invoiceOption)
		if status == "" {
			out.Options = slices.DeleteFunc(out.Options, func(o connectors.Option) bool {
				return slices.ContainsFunc(l.Data, func(inv *stripe.Invoice) bool { return inv.ID == o.Value && inv.Status == stripe.InvoiceStatusDraft })
			})
		}
		return out, nil
	}
}

func invoiceOption(inv *stripe.Invoice) connectors.Option {
	o := connectors.Option{Value: inv.ID, Label: cmp.Or(inv.Number, inv.ID), Detail: string(inv.Status)}
	if inv.CustomerName != "" {
		o.Detail = inv.CustomerName + ", " + o.Detail
	}
	return o
}

func onePage(ctx context.Context, after string) stripe.ListParams {
	p := first(ctx, pageSize)
	p.StartingAfter = given(after)
	return p
}

// offered are the options of a page that match what was typed.
func offered[T any](text string, more bool, page []T, option func(T) connectors.Option) connectors.OptionPage {
	var out connectors.OptionPage
	for _, x := range page {
		o := option(x)
		if o.Matches(text) {
			out.Options = append(out.Options, o)
		}
		if more {
			out.After = o.Value
		}
	}
	return out
}
