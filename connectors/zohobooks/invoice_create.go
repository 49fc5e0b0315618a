package zohobooks

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tieline/connectors"
)

// CreateInvoiceInput is an invoice to be made.
type CreateInvoiceInput struct {
	CustomerID       string        `json:"customer_id" pattern:"^[0-9]{1,30}$" doc:"Zoho Books' id of the contact."`
	ReferenceNumber  string        `json:"reference_number" minLength:"1" maxLength:"100" doc:"Its id elsewhere: a contact has one invoice of each."`
	Number           string        `json:"number,omitempty" maxLength:"100" doc:"Its number; Zoho Books numbers it if not given."`
	Date             string        `json:"date,omitempty" format:"date" doc:"Its date; today by the organization's calendar if not given."`
	DueDate          string        `json:"due_date,omitempty" format:"date" doc:"When it is to be paid; by the contact's payment terms if not given."`
	Currency         string        `json:"currency" pattern:"^[A-Za-z]{3}$" doc:"ISO 4217."`
	AddCurrency      bool          `json:"add_currency,omitempty" doc:"Adds the currency to the organization where that does not have it; else it is an error."`
	ExchangeRate     string        `json:"exchange_rate,omitempty" format:"decimal" doc:"Units of the organization's own currency for one of the invoice's; Zoho Books' own rate if not given."`
	Lines            []InvoiceLine `json:"lines" minLength:"1" maxLength:"1000" doc:"What it is made of. Negative amounts together are a discount of the whole invoice."`
	Discount         string        `json:"discount,omitempty" format:"decimal" doc:"Of the whole invoice, in major units."`
	DiscountAfterTax bool          `json:"discount_after_tax,omitempty" doc:"The discount does not lower what is taxed."`
	Adjustment       string        `json:"adjustment,omitempty" format:"decimal" doc:"Added to the total, untaxed; may be negative, such as for what was paid already."`
	AdjustmentLabel  string        `json:"adjustment_label,omitempty" maxLength:"100" doc:"What the adjustment is for."`
	ExpectedTotal    string        `json:"expected_total,omitempty" format:"decimal" doc:"What it must come to, taxes included. A difference by rounding becomes part of the adjustment; with any other nothing is written."`
	MarkSent         bool          `json:"mark_sent,omitempty" doc:"Makes it open; it is a draft if not given."`
	Notes            string        `json:"notes,omitempty" maxLength:"1000" doc:"Shown to the customer."`
	Terms            string        `json:"terms,omitempty" maxLength:"1000" doc:"Terms and conditions, shown to the customer."`
	TaxDetails
	CustomFields map[string]string `json:"custom_fields,omitempty" doc:"Fields that the organization has added, by API name or label."`
}

// InvoiceLine is one amount of an invoice.
type InvoiceLine struct {
	Name        string `json:"name" minLength:"1" maxLength:"500" doc:"What it is for."`
	Description string `json:"description,omitempty" maxLength:"1000" doc:"More about it."`
	Amount      string `json:"amount" format:"decimal" doc:"In major units, without tax; may be negative."`
	ItemID      string `json:"item_id,omitempty" pattern:"^([0-9]{1,30})?$" doc:"Zoho Books' id of the item, to whose account it is booked; a line of free text if not given."`
	TaxID       string `json:"tax_id,omitempty" pattern:"^([0-9]{1,30})?$" doc:"Zoho Books' id of the tax; the item's, or none, if not given. Some country editions want one for each line."`
}

// CreatedInvoice is what creating an invoice leaves.
type CreatedInvoice struct {
	InvoiceID string `json:"invoice_id" doc:"Zoho Books' id of the invoice."`
	Number    string `json:"number" doc:"Its number."`
	Total     string `json:"total" format:"decimal" doc:"In major units, as Zoho Books has it."`
	URL       string `json:"url" doc:"Where the customer sees it; empty when Zoho Books does not say."`
	Created   bool   `json:"created" doc:"False when it was there already."`
}

// Attributes of Refs, from which outputs are made.
const (
	attrTotal = "total"
	attrURL   = "url"
)

func createInvoice() connectors.Action {
	return connectors.Do("invoice.create", "Create invoice", runCreateInvoice, CreateInvoiceInput{
		CustomerID: string(sampleContact.ID), ReferenceNumber: "inv.1zYnFJIWzUF.cUSf4", Date: "2026-02-01", Currency: "USD", Lines: []InvoiceLine{{Name: "Gold, January", Amount: "49.00"}}, ExpectedTotal: "49.00", MarkSent: true,
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Makes an invoice, over exactly what is expected.", "invoice"
		a.Options = map[string]connectors.Offer{"customer_id": offerContacts, "lines.item_id": offerItems, "lines.tax_id": offerTaxes}
		a.Added = added("invoice")
		a.Help = "An invoice of the contact with the same reference number and total is used. Taxes are worked out before anything is written, and what Zoho Books makes of them is looked at before the invoice leaves the draft."
	})
}

// prepared is an invoice of which everything is known.
type prepared struct {
	CreateInvoiceInput
	sums
	of       []tax
	currency currency
	want     number // what it must come to
	adjust   number
	custom   map[string]any
}

// prepare reads what the sums depend on. It writes nothing.
func (in CreateInvoiceInput) prepare(ctx context.Context, c connectors.Conn) (p prepared, err error) {
	p = prepared{CreateInvoiceInput: in, custom: map[string]any{}}
	if p.currency, err = currencyOf(ctx, c, in.Currency); err != nil {
		return p, err
	}
	if p.of, err = in.taxes(ctx, c); err != nil {
		return p, err
	}
	if p.sums, err = in.sum(p.of, p.currency.Precision); err != nil {
		return p, err
	}
	if p.adjust = "0"; in.Adjustment != "" {
		if p.adjust, err = parseNumber(in.Adjustment); err != nil {
			return p, wrong("adjustment", "The adjustment must be a decimal.")
		}
	}
	p.want = p.total.plus(p.adjust)
	if in.ExpectedTotal != "" {
		want, err := parseNumber(in.ExpectedTotal)
		if err != nil || want.minus(p.want).abs().cmp(p.slack) > 0 {
			return p, wrong("expected_total", fmt.Sprintf("The invoice comes to %s, of which %s is tax, and not to %s. Choose the tax by which it is taxed elsewhere.", p.want.text(), p.tax.text(), in.ExpectedTotal))
		}
		p.adjust, p.want = p.adjust.plus(want.minus(p.want)), want
	}
	if p.want.sign() < 0 {
		return p, wrong("lines", "The invoice comes to "+p.want.text()+", and Zoho Books takes none below zero.")
	}
	return p, addCustom(ctx, c, p.custom, "invoice", in.CustomFields)
}

func (p prepared) wire() map[string]any {
	out := map[string]any{
		"customer_id": p.CustomerID, "reference_number": p.ReferenceNumber, "currency_id": p.currency.ID, "discount": p.discount, "discount_type": "entity_level",
		"is_discount_before_tax": !p.DiscountAfterTax, "is_inclusive_tax": false, "adjustment": p.adjust,
	}
	for k, v := range p.custom {
		out[k] = v
	}
	given(out, "invoice_number", p.Number, "date", p.Date, "due_date", p.DueDate, "notes", p.Notes, "terms", p.Terms)
	given(out, "gst_treatment", p.GSTTreatment, "gst_no", p.GSTNumber, "vat_treatment", p.VATTreatment, "tax_treatment", p.TaxTreatment, "place_of_supply", p.Place)
	if p.adjust.sign() != 0 {
		out["adjustment_description"] = cmp.Or(p.AdjustmentLabel, "Rounding")
	}
	if p.ExchangeRate != "" {
		out["exchange_rate"] = number(p.ExchangeRate) // the schema has let nothing but a decimal in
	}
	var lines []map[string]any
	for i, l := range p.Lines {
		if p.amounts[i].sign() == 0 && strings.HasPrefix(strings.TrimSpace(l.Amount), "-") {
			continue // part of the discount
		}
		line := map[string]any{"name": cut(l.Name, 100), "rate": p.amounts[i], "quantity": 1, "item_order": len(lines) + 1}
		description := l.Description
		if cut(l.Name, 100) != l.Name {
			description = strings.TrimSpace(l.Name + "\n" + description)
		}
		given(line, "item_id", l.ItemID, "tax_id", l.TaxID, "description", description)
		lines = append(lines, line)
	}
	out["line_items"] = lines
	return out
}

// look finds the contact's invoice of the reference number, for which Zoho Books has a filter.
func (p prepared) look(ctx context.Context, c connectors.Conn) (found *invoice, err error) {
	err = each(ctx, c, "/invoices", url.Values{"reference_number": {p.ReferenceNumber}, "customer_id": {p.CustomerID}}, func(x invoice) (bool, error) {
		if x.Reference != p.ReferenceNumber || string(x.CustomerID) != p.CustomerID {
			return false, nil
		}
		if found != nil || x.Total.minus(p.want).abs().cmp(p.slack) > 0 {
			return true, connectors.Errorf(connectors.Conflict, "invoice %s over %s %s has the reference number %s already, and may or may not be the one that was meant", x.Number, x.Total.text(), x.Currency, p.ReferenceNumber)
		}
		found = &x
		return false, nil
	}, "invoices")
	if err != nil {
		return nil, fmt.Errorf("looking for the invoice: %w", err)
	}
	return found, nil
}

func (x invoice) ref() connectors.Ref {
	a := map[string]string{attrNumber: x.Number, attrTotal: x.Total.text()}
	if x.URL != "" {
		a[attrURL] = x.URL
	}
	return connectors.Ref{ID: string(x.ID), Name: x.Number, Attributes: a}
}

func runCreateInvoice(ctx context.Context, c connectors.Conn, in CreateInvoiceInput) (CreatedInvoice, error) {
	if in.AddCurrency {
		if err := ensureCurrency(ctx, c, in.Currency); err != nil {
			return CreatedInvoice{}, err
		}
	}
	p, err := in.prepare(ctx, c)
	if err != nil {
		return CreatedInvoice{}, err
	}
	intent := connectors.Create("invoice")
	ref, err := c.Effect(ctx, intent, func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		x, err := p.look(ctx, c)
		if err != nil || x == nil {
			return connectors.Ref{}, false, err
		}
		return x.ref(), true, nil
	}, func(ctx context.Context, _ string) (connectors.Ref, error) {
		if x, err := p.look(ctx, c); err != nil {
			return connectors.Ref{}, err
		} else if x != nil {
			return c.Adopt(ctx, intent, x.ref())
		}
		var made struct {
			Invoice invoice `json:"invoice"`
		}
		query := url.Values{"send": {"false"}, "ignore_auto_number_generation": {fmt.Sprint(p.Number != "")}}
		if err := call(ctx, c, request{http.MethodPost, "/invoices", query, p.wire(), &made}); err != nil {
			return connectors.Ref{}, err
		}
		if made.Invoice.ID == "" {
			return connectors.Ref{}, garbled(http.StatusCreated, true)
		}
		return made.Invoice.ref(), nil
	})
	if err != nil {
		return CreatedInvoice{}, fmt.Errorf("creating invoice %s: %w", in.ReferenceNumber, err)
	}
	out := CreatedInvoice{ref.ID, ref.Attributes[attrNumber], cmp.Or(ref.Attributes[attrTotal], p.want.text()), ref.Attributes[attrURL], !ref.Adopted}
	if out.Total, err = p.settle(ctx, c, out); err != nil {
		return CreatedInvoice{}, err
	}
	if in.MarkSent {
		err = markSent(ctx, c, out.InvoiceID)
	}
	return out, err
}

// settle makes a new invoice come to what it must, where Zoho Books has rounded otherwise than we did.
func (p prepared) settle(ctx context.Context, c connectors.Conn, made CreatedInvoice) (string, error) {
	is := number(made.Total)
	if is.cmp(p.want) == 0 {
		return made.Total, nil
	}
	if is.minus(p.want).abs().cmp(p.slack) > 0 {
		return "", wrong("expected_total", fmt.Sprintf("Zoho Books makes %s of the invoice, and not %s; it is left there as the draft %s.", is.text(), p.want.text(), made.Number))
	}
	has := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		x, err := fetchInvoice(ctx, c, made.InvoiceID)
		return x.ref(), err == nil && x.Total.cmp(p.want) == 0, err
	}
	ref, err := c.Effect(ctx, connectors.Set("invoice", made.InvoiceID, "total"), has, func(ctx context.Context, key string) (connectors.Ref, error) {
		x, err := fetchInvoice(ctx, c, made.InvoiceID)
		if err != nil || x.Total.cmp(p.want) == 0 {
			ref := x.ref()
			ref.Adopted = true
			return ref, err
		}
		p.adjust = x.Adjustment.plus(p.want.minus(x.Total))
		var out struct {
			Invoice invoice `json:"invoice"`
		}
		err = call(ctx, c, request{http.MethodPut, path("invoices", made.InvoiceID), nil, p.wire(), &out})
		return out.Invoice.ref(), err
	})
	if err != nil {
		return "", fmt.Errorf("making invoice %s come to %s: %w", made.Number, p.want.text(), err)
	}
	return cmp.Or(ref.Attributes[attrTotal], p.want.text()), nil
}
