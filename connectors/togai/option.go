package togai

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"

	"tieline/connectors"
)

// offer lists one kind of record, a page at a call. Togai searches nothing, so what was typed is looked for in each page.
func offer[T any](list string, size int, filters url.Values, option func(T) connectors.Option) connectors.Offer {
	return func(ctx context.Context, c connectors.Conn, search, after string) (connectors.OptionPage, error) {
		p, _, err := getPageOf[T](ctx, c, list, after, size, filters)
		if err != nil {
			return connectors.OptionPage{}, fmt.Errorf("listing %s: %w", list, err)
		}
		out := connectors.OptionPage{After: p.next()}
		for _, x := range p.Data {
			if o := option(x); o.Matches(search) {
				out.Options = append(out.Options, o)
			}
		}
		return out, nil
	}
}

var active = url.Values{"status": {"ACTIVE"}}

var (
	offerCustomers = offer("customers", pageSize, active, func(x customer) connectors.Option {
		return connectors.Option{Value: x.ID, Label: cmp.Or(x.Name, x.ID), Detail: x.PrimaryEmail}
	})
	offerAccounts = offer("accounts", pageSize, active, func(a account) connectors.Option {
		return connectors.Option{Value: a.ID, Label: cmp.Or(a.Name, a.ID), Detail: strings.TrimSpace(a.ID + " " + a.InvoiceCurrency)}
	})
	offerPricePlans = offer("v2/price_plans", pageSize, nil, func(p pricePlan) connectors.Option {
		return connectors.Option{Value: p.ID, Label: cmp.Or(p.Name, p.ID), Detail: strings.TrimSpace(p.Status + " " + strings.Join(p.Currencies, ", "))}
	})
	offerInvoices = offer("invoices", ledgerPage, nil, func(inv invoice) connectors.Option {
		p := inv.plain()
		return connectors.Option{Value: inv.ID, Label: cmp.Or(p.Number, inv.ID), Detail: strings.Join([]string{p.Name, p.Total + " " + p.Currency, p.Status}, ", ")}
	})
	offerAddOns = offer("addons", pageSize, active, func(x addOn) connectors.Option {
		return connectors.Option{Value: x.ID, Label: cmp.Or(x.Name, x.ID), Detail: x.Type}
	})
	offerMeters = offer("usage_meters", pageSize, active, func(x usageMeter) connectors.Option {
		return connectors.Option{Value: x.ID, Label: cmp.Or(x.Name, x.ID), Detail: "USAGE " + x.Aggregation}
	})
)

// usageMeter is what usage is charged by.
type usageMeter struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Aggregation string `json:"aggregation"`
}

// ofMeters marks where a walk goes on that has come to the usage meters.
const ofMeters = "meters:"

// offerBillables are what a rate card may charge for: add-ons, and then usage meters.
func offerBillables(ctx context.Context, c connectors.Conn, search, after string) (connectors.OptionPage, error) {
	if token, meters := strings.CutPrefix(after, ofMeters); meters {
		p, err := offerMeters(ctx, c, search, token)
		if p.After != "" {
			p.After = ofMeters + p.After
		}
		return p, err
	}
	p, err := offerAddOns(ctx, c, search, after)
	if p.After == "" {
		p.After = ofMeters
	}
	return p, err
}
