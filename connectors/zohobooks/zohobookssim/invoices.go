package zohobookssim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Invoice is one as it is kept.
type Invoice struct {
	ID              string            `json:"invoice_id"`
	Org             string            `json:"organization_id"`
	Number          string            `json:"invoice_number"`
	Reference       string            `json:"reference_number"`
	CustomerID      string            `json:"customer_id"`
	Status          string            `json:"status"`
	Date            string            `json:"date"`
	DueDate         string            `json:"due_date"`
	Currency        string            `json:"currency_code"`
	Lines           []Line            `json:"line_items"`
	Discount        Amount            `json:"discount"`
	DiscountBefore  bool              `json:"is_discount_before_tax"`
	Adjustment      Amount            `json:"adjustment"`
	AdjustmentLabel string            `json:"adjustment_description"`
	SubTotal        Amount            `json:"sub_total"`
	Tax             Amount            `json:"tax_total"`
	Total           Amount            `json:"total"`
	Balance         Amount            `json:"balance"`
	Notes           string            `json:"notes"`
	Terms           string            `json:"terms"`
	Fields          map[string]string `json:"custom_fields"`
	TaxFields       map[string]any    `json:"tax_fields"`
	Emailed         bool              `json:"is_emailed"`
	CreatedAt       time.Time         `json:"created_at"`
	UpdatedAt       time.Time         `json:"updated_at"`
}

// Line is one of an invoice.
type Line struct {
	ID          string `json:"line_item_id"`
	ItemID      string `json:"item_id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Rate        Amount `json:"rate"`
	Quantity    Amount `json:"quantity"`
	TaxID       string `json:"tax_id"`
	Total       Amount `json:"item_total"`
}

// Mail is one that was sent.
type Mail struct {
	Invoice string   `json:"invoice_id"`
	To      []string `json:"to_mail_ids"`
	Subject string   `json:"subject"`
}

// invoice finds one of the organization. Sim.mu is held.
func (c *call) invoice(id string) (*Invoice, error) {
	i := slices.IndexFunc(c.sim.invoices, func(x *Invoice) bool { return x.ID == id && x.Org == c.org.ID })
	if i < 0 {
		return nil, refuse(http.StatusNotFound, notThere, "Invoice does not exist.")
	}
	return c.sim.invoices[i], nil
}

func invoices(s *Sim) {
	s.handle("POST", "/invoices", "invoices", func(c *call) (reply, error) {
		x := &Invoice{Org: c.org.ID, Status: "draft", CreatedAt: c.now, UpdatedAt: c.now}
		if err := c.fillInvoice(x); err != nil {
			return reply{}, err
		}
		x.ID, x.Balance = s.nextID(), x.Total
		s.invoices = append(s.invoices, x)
		if c.query.Get("send") == "true" {
			x.Status = "sent"
			if err := c.mail(x, nil, ""); err != nil {
				return reply{}, err
			}
		}
		return reply{status: http.StatusCreated, message: "The invoice has been created.", fields: map[string]any{"invoice": c.showInvoice(x)}}, nil
	})
	s.handle("GET", "/invoices", "invoices", func(c *call) (reply, error) {
		rows := []map[string]any{}
		for _, x := range slices.Backward(s.invoices) {
			is := func(filter, value string) bool {
				want := c.query.Get(filter)
				return want == "" || want == value
			}
			if x.Org == c.org.ID && is("reference_number", x.Reference) && is("invoice_number", x.Number) && is("customer_id", x.CustomerID) && is("status", x.Status) {
				row := c.showInvoice(x)
				for _, k := range []string{"line_items", "sub_total", "tax_total", "invoice_url", "notes", "terms"} {
					delete(row, k)
				}
				rows = append(rows, row)
			}
		}
		return c.listed("invoices", rows)
	})
	s.handle("GET", "/invoices/{}", "invoices", func(c *call) (reply, error) {
		x, err := c.invoice(c.id)
		if err != nil {
			return reply{}, err
		}
		return reply{fields: map[string]any{"invoice": c.showInvoice(x)}}, nil
	})
	s.handle("PUT", "/invoices/{}", "invoices", func(c *call) (reply, error) {
		x, err := c.invoice(c.id)
		if err != nil {
			return reply{}, err
		}
		if x.Total.cmp(x.Balance) != 0 || x.Status == "void" {
			return reply{}, refuse(http.StatusBadRequest, badValue, "Invoices with payments cannot be edited.")
		}
		if err := c.fillInvoice(x); err != nil {
			return reply{}, err
		}
		x.Balance, x.UpdatedAt = x.Total, c.now
		return reply{message: "Invoice information has been updated.", fields: map[string]any{"invoice": c.showInvoice(x)}}, nil
	})
	s.handle("POST", "/invoices/{}/status/sent", "invoices", func(c *call) (reply, error) {
		x, err := c.invoice(c.id)
		if err != nil {
			return reply{}, err
		}
		if x.Status == "void" {
			return reply{}, refuse(http.StatusBadRequest, badValue, "A void invoice cannot be marked as sent.")
		}
		if x.Status == "draft" {
			x.Status, x.UpdatedAt = "sent", c.now
		}
		return reply{message: "Invoice status has been changed to Sent."}, nil
	})
	s.handle("POST", "/invoices/{}/status/void", "invoices", func(c *call) (reply, error) {
		x, err := c.invoice(c.id)
		if err != nil {
			return reply{}, err
		}
		x.Status, x.Balance, x.UpdatedAt = "void", Amount{}, c.now
		return reply{message: "Invoice status has been changed to Void."}, nil
	})
	s.handle("POST", "/invoices/{}/email", "invoices", func(c *call) (reply, error) {
		x, err := c.invoice(c.id)
		if err != nil {
			return reply{}, err
		}
		var in struct {
			To      []string `json:"to_mail_ids"`
			Subject string   `json:"subject"`
		}
		if err := c.decode(&in); err != nil {
			return reply{}, err
		}
		if err := c.mail(x, in.To, in.Subject); err != nil {
			return reply{}, err
		}
		return reply{message: "Your invoice has been sent."}, nil
	})
}

// mail sends an invoice. Sim.mu is held.
func (c *call) mail(x *Invoice, to []string, subject string) error {
	if len(to) == 0 {
		of, err := c.contact(x.CustomerID)
		if err != nil {
			return err
		}
		to = []string{of.Email()}
	}
	for _, a := range to {
		if !strings.Contains(a, "@") {
			return refuse(http.StatusBadRequest, badValue, "Invalid value passed for to_mail_ids")
		}
	}
	if x.Status == "void" {
		return refuse(http.StatusBadRequest, badValue, "A void invoice cannot be mailed.")
	}
	if x.Status == "draft" {
		x.Status = "sent"
	}
	x.Emailed, x.UpdatedAt = true, c.now
	c.sim.mails = append(c.sim.mails, Mail{x.ID, to, subject})
	return nil
}

// fillInvoice puts what a body says into an invoice. Sim.mu is held.
func (c *call) fillInvoice(x *Invoice) error {
	var in struct {
		CustomerID   string           `json:"customer_id"`
		Number       string           `json:"invoice_number"`
		Reference    *string          `json:"reference_number"`
		Date         string           `json:"date"`
		DueDate      string           `json:"due_date"`
		Currency     string           `json:"currency_id"`
		Inclusive    bool             `json:"is_inclusive_tax"`
		Discount     Amount           `json:"discount"`
		DiscountType string           `json:"discount_type"`
		Before       *bool            `json:"is_discount_before_tax"`
		Adjustment   Amount           `json:"adjustment"`
		Label        string           `json:"adjustment_description"`
		Notes        string           `json:"notes"`
		Terms        string           `json:"terms"`
		Lines        []Line           `json:"line_items"`
		Custom       []map[string]any `json:"custom_fields"`
	}
	var raw map[string]any
	if err := c.decode(&in); err != nil {
		return err
	}
	if err := c.decode(&raw); err != nil {
		return err
	}
	of, err := c.contact(in.CustomerID)
	if err != nil {
		return err
	}
	tax, err := c.taxFields(raw)
	if err != nil {
		return err
	}
	currency, err := c.currency(in.Currency)
	if err != nil {
		return err
	}
	code := of.Currency
	if in.Currency != "" {
		code = currency.Code
	}
	switch {
	case len(in.Lines) == 0:
		return refuse(http.StatusBadRequest, missingField, "Add at least one line item")
	case in.Inclusive || in.DiscountType != "" && in.DiscountType != "entity_level":
		return refuse(http.StatusBadRequest, badValue, "This simulator knows neither inclusive taxes nor discounts of lines")
	case in.Number != "" && c.query.Get("ignore_auto_number_generation") != "true" && x.ID == "":
		return refuse(http.StatusBadRequest, badValue, "Invoice numbers are generated automatically")
	case in.Number != "" && slices.ContainsFunc(c.sim.invoices, func(o *Invoice) bool { return o != x && o.Org == c.org.ID && o.Number == in.Number }):
		return refuse(http.StatusBadRequest, taken, "Invoice number %s already exists.", in.Number)
	case in.Reference != nil && len(*in.Reference) > 100:
		return refuse(http.StatusBadRequest, badValue, "Invalid value passed for reference_number")
	case !date(in.Date) || !date(in.DueDate):
		return refuse(http.StatusBadRequest, badValue, "Invalid value passed for date")
	}
	fields, err := c.custom("invoice", in.Custom)
	if err != nil {
		return err
	}
	sums, err := c.sum(in.Lines, in.Discount, in.Before == nil || *in.Before, decimals(code))
	if err != nil {
		return err
	}
	total := sums.net.plus(in.Adjustment).rounded(decimals(code))
	if total.sign() < 0 {
		return refuse(http.StatusBadRequest, badValue, "The total of an invoice cannot be negative")
	}
	x.CustomerID, x.Currency, x.Lines, x.Fields, x.TaxFields = of.ID, code, in.Lines, fields, tax
	x.Discount, x.DiscountBefore, x.Adjustment, x.AdjustmentLabel, x.Notes, x.Terms = in.Discount, in.Before == nil || *in.Before, in.Adjustment, in.Label, in.Notes, in.Terms
	x.SubTotal, x.Tax, x.Total = sums.lines, sums.tax, total
	set(&x.Reference, in.Reference)
	x.Date, x.DueDate = cmp.Or(in.Date, x.Date, c.now.Format(time.DateOnly)), cmp.Or(in.DueDate, x.DueDate)
	if x.Number = cmp.Or(in.Number, x.Number); x.Number == "" {
		c.org.numbers["INV"]++
		x.Number = fmt.Sprintf("INV-%06d", c.org.numbers["INV"])
	}
	return nil
}

func date(text string) bool {
	_, err := time.Parse(time.DateOnly, text)
	return text == "" || err == nil
}

type sums struct{ lines, tax, net Amount }

// sum fills in the lines and sums them: taxes are rounded for each tax, over all lines that have it. Sim.mu is held.
func (c *call) sum(lines []Line, discount Amount, before bool, decimals int) (out sums, err error) {
	taxed := map[string]Amount{}
	var order []string
	for i := range lines {
		l := &lines[i]
		item, err := c.item(l.ItemID)
		if err != nil {
			return out, err
		}
		if item != nil {
			l.Name, l.TaxID = cmp.Or(l.Name, item.Name), cmp.Or(l.TaxID, item.TaxID)
		}
		if l.Quantity.sign() == 0 {
			l.Quantity = percent("1")
		}
		if l.Name == "" && l.Description == "" || len(l.Name) > 100 {
			return out, refuse(http.StatusBadRequest, missingField, "Enter the item of line %d", i+1)
		}
		tax, err := c.tax(l.TaxID)
		if err != nil {
			return out, err
		}
		if tax.ID == "" && c.org.Edition != "us" {
			return out, refuse(http.StatusBadRequest, missingField, "Choose a tax for line %d", i+1)
		}
		l.ID, l.Total = c.sim.nextID(), l.Rate.times(l.Quantity).rounded(decimals)
		out.lines = out.lines.plus(l.Total)
		if _, seen := taxed[tax.ID]; !seen {
			order = append(order, tax.ID)
		}
		taxed[tax.ID] = taxed[tax.ID].plus(l.Total)
	}
	for _, id := range order {
		tax, _ := c.tax(id) // looked for above
		base := taxed[id]
		if before && out.lines.sign() != 0 { // a discount is spread over the lines
			share := Amount{base.rat()}.times(discount)
			share.r.Quo(share.r, out.lines.rat())
			base = base.minus(share)
		}
		out.tax = out.tax.plus(base.per(tax.Percent).rounded(decimals))
	}
	out.net = out.lines.minus(discount).plus(out.tax)
	return out, nil
}

// showInvoice is an invoice as GET has it. Amounts are numbers in places and texts in others. Sim.mu is held.
func (c *call) showInvoice(x *Invoice) map[string]any {
	d := decimals(x.Currency)
	lines := []map[string]any{}
	for i, l := range x.Lines {
		tax, _ := c.tax(l.TaxID)
		lines = append(lines, map[string]any{
			"line_item_id": l.ID, "item_id": l.ItemID, "name": l.Name, "description": l.Description, "rate": l.Rate, "quantity": l.Quantity, "item_order": i + 1, "item_total": l.Total,
			"tax_id": l.TaxID, "tax_name": tax.Name, "tax_percentage": tax.Percent,
		})
	}
	name := ""
	if of, err := c.contact(x.CustomerID); err == nil {
		name = of.Name
	}
	currency := ""
	for _, y := range c.org.Currencies {
		if y.Code == x.Currency {
			currency = y.ID
		}
	}
	return map[string]any{
		"invoice_id": x.ID, "invoice_number": x.Number, "reference_number": x.Reference, "status": x.Status, "date": x.Date, "due_date": x.DueDate, "customer_id": x.CustomerID, "customer_name": name,
		"currency_id": currency, "currency_code": x.Currency, "line_items": lines, "discount": x.Discount, "discount_type": "entity_level", "is_discount_before_tax": x.DiscountBefore,
		"adjustment": x.Adjustment, "adjustment_description": x.AdjustmentLabel, "sub_total": x.SubTotal, "tax_total": x.Tax, "total": x.Total.at(d), "balance": x.Balance.at(d),
		"payment_made": x.Total.minus(x.Balance), "is_emailed": x.Emailed, "invoice_url": "https://books.zohosecure.com/books/" + c.org.Name + "/secure?CInvoiceID=" + x.ID,
		"notes": x.Notes, "terms": x.Terms, "custom_fields": c.org.shown("invoice", x.Fields), "created_time": stamp(x.CreatedAt), "last_modified_time": stamp(x.UpdatedAt),
	}
}

// CreateInvoice makes an invoice by hand; body is that of POST /invoices.
func (s *Sim) CreateInvoice(body map[string]any) (Invoice, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return Invoice{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &call{sim: s, org: s.organizations[0], body: raw, now: s.Clock.Now().UTC()}
	x := &Invoice{Org: c.org.ID, Status: "draft", CreatedAt: c.now, UpdatedAt: c.now}
	if err := c.fillInvoice(x); err != nil {
		return Invoice{}, err
	}
	x.ID, x.Balance = s.nextID(), x.Total
	s.invoices = append(s.invoices, x)
	return *x, nil
}
