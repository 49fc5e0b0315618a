package zohobooks

import (
	"context"
	"fmt"
	"net/url"

	"tieline/connectors"
)

// tax is one that an organization charges; a group of taxes is one, too.
type tax struct {
	ID      id     `json:"tax_id"`
	Name    string `json:"tax_name"`
	Percent number `json:"tax_percentage"`
}

// taxes reads those that are needed for lines, by id. What an item is taxed with goes for its lines.
func (in CreateInvoiceInput) taxes(ctx context.Context, c connectors.Conn) (of []tax, err error) {
	of = make([]tax, len(in.Lines))
	items, needed := map[string]id{}, false
	for i, l := range in.Lines {
		of[i].ID = id(l.TaxID)
		if l.TaxID == "" && l.ItemID != "" {
			if _, read := items[l.ItemID]; !read {
				x, err := fetchItem(ctx, c, l.ItemID)
				if err != nil {
					return nil, err
				}
				items[l.ItemID] = x.TaxID
			}
			of[i].ID = items[l.ItemID]
		}
		needed = needed || of[i].ID != ""
	}
	if !needed {
		return of, nil
	}
	known := map[id]tax{}
	if err := each(ctx, c, "/settings/taxes", url.Values{}, func(x tax) (bool, error) {
		known[x.ID] = x
		return false, nil
	}, "taxes"); err != nil {
		return nil, fmt.Errorf("reading the taxes: %w", err)
	}
	for i := range of {
		if of[i].ID == "" {
			continue
		}
		x, there := known[of[i].ID]
		if !there {
			return nil, wrong(fmt.Sprintf("lines[%d].tax_id", i), "The organization has no tax "+string(of[i].ID)+".")
		}
		of[i] = x
	}
	return of, nil
}

// sums are what an invoice comes to.
type sums struct {
	amounts  []number // of the lines; zero for those that are part of the discount
	discount number
	tax      number
	total    number // without an adjustment
	slack    number // by how much rounding may make another total of it
}

// sum works out what Zoho Books will make of the lines: negative ones are a discount of all others, taxes are rounded for each
// tax.
func (in CreateInvoiceInput) sum(of []tax, decimals int) (out sums, err error) {
	if out.discount = "0"; in.Discount != "" {
		if out.discount, err = parseNumber(in.Discount); err != nil || out.discount.sign() < 0 {
			return out, wrong("discount", "The discount must be a decimal, zero or more.")
		}
	}
	lines, unit := number("0"), number("1")
	for range decimals {
		unit = unit.over("10")
	}
	taxed := map[id]number{}
	var order []tax
	for i, l := range in.Lines {
		amount, err := parseNumber(l.Amount)
		if err != nil {
			return out, wrong(fmt.Sprintf("lines[%d].amount", i), "The amount must be a decimal, such as 19.90.")
		}
		if amount.rounded(decimals).cmp(amount) != 0 {
			return out, wrong(fmt.Sprintf("lines[%d].amount", i), fmt.Sprintf("%s has more decimals than %s has: %d.", amount.text(), in.Currency, decimals))
		}
		out.slack = out.slack.plus(unit)
		if amount.sign() < 0 {
			out.discount, out.amounts = out.discount.minus(amount), append(out.amounts, "0")
			continue
		}
		out.amounts, lines = append(out.amounts, amount), lines.plus(amount)
		if _, seen := taxed[of[i].ID]; !seen {
			order = append(order, of[i])
		}
		taxed[of[i].ID] = taxed[of[i].ID].plus(amount)
	}
	out.tax = "0"
	for _, t := range order {
		base := taxed[t.ID]
		if !in.DiscountAfterTax {
			base = base.minus(base.times(out.discount).over(lines))
		}
		out.tax = out.tax.plus(base.times(t.Percent).over("100").rounded(decimals))
	}
	out.total = lines.minus(out.discount).plus(out.tax)
	return out, nil
}
