package zohobooks

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tieline/connectors"
)

// offer lists one kind of record, a page at a call. Where Zoho Books searches itself, search goes along, and what it finds by
// fields that are not shown is left out.
func offer[T any](path string, filters url.Values, searches bool, name string, option func(T) (connectors.Option, bool)) connectors.Offer {
	return func(ctx context.Context, c connectors.Conn, search, after string) (connectors.OptionPage, error) {
		at := 1
		if after != "" {
			var err error
			if at, err = strconv.Atoi(after); err != nil || at < 1 {
				return connectors.OptionPage{}, wrong("after", "This is not where an earlier page ended.")
			}
		}
		query := url.Values{}
		for k, v := range filters {
			query[k] = v
		}
		if text := strings.TrimSpace(search); searches && text != "" {
			query.Set("search_text", cut(text, 100))
		}
		rows, more, err := listing[T](ctx, c, path, query, at, name)
		if err != nil {
			return connectors.OptionPage{}, fmt.Errorf("listing %s: %w", strings.TrimPrefix(path, "/"), err)
		}
		var out connectors.OptionPage
		for _, x := range rows {
			if o, fits := option(x); fits && o.Matches(search) {
				out.Options = append(out.Options, o)
			}
		}
		if more {
			out.After = strconv.Itoa(at + 1)
		}
		return out, nil
	}
}

// ledger is an account of the chart of accounts.
type ledger struct {
	ID   id     `json:"account_id"`
	Name string `json:"account_name"`
	Type string `json:"account_type"`
}

func ledgers(types ...string) connectors.Offer {
	return offer("/chartofaccounts", url.Values{"filter_by": {"AccountType.Active"}}, false, "chartofaccounts", func(x ledger) (connectors.Option, bool) {
		return connectors.Option{Value: string(x.ID), Label: x.Name, Detail: x.Type}, slices.Contains(types, x.Type)
	})
}

var (
	offerContacts = offer("/contacts", url.Values{"contact_type": {"customer"}, "filter_by": {"Status.Active"}}, true, "contacts", func(x contact) (connectors.Option, bool) {
		return connectors.Option{Value: string(x.ID), Label: x.Name, Detail: strings.TrimSpace(x.Email + " " + x.Currency)}, true
	})
	offerItems = offer("/items", url.Values{"filter_by": {"Status.Active"}}, true, "items", func(x item) (connectors.Option, bool) {
		return connectors.Option{Value: string(x.ID), Label: x.Name, Detail: strings.TrimSpace(x.SKU + " " + x.Rate.text())}, true
	})
	offerTaxes = offer("/settings/taxes", nil, false, "taxes", func(x tax) (connectors.Option, bool) {
		return connectors.Option{Value: string(x.ID), Label: x.Name, Detail: x.Percent.text() + " %"}, true
	})
	offerInvoices = offer("/invoices", nil, true, "invoices", func(x invoice) (connectors.Option, bool) {
		return connectors.Option{Value: string(x.ID), Label: x.Number, Detail: strings.Join([]string{x.Reference, x.Total.text() + " " + x.Currency, x.Status}, ", ")}, true
	})
	offerIncome  = ledgers("income", "other_income")
	offerDeposit = ledgers("cash", "bank", "other_current_asset")
)

// offerOrganizations are those that the user is in. They come at once.
func offerOrganizations(ctx context.Context, c connectors.Conn, search, _ string) (out connectors.OptionPage, err error) {
	all, err := organizations(ctx, c)
	for _, x := range all {
		if o := (connectors.Option{Value: string(x.ID), Label: x.Name, Detail: x.Currency}); o.Matches(search) {
			out.Options = append(out.Options, o)
		}
	}
	return out, err
}
