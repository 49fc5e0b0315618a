package stripe

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// CreateInvoiceInput is a draft to be made of a Togai invoice.
type CreateInvoiceInput struct {
	CustomerID       string            `json:"customer_id" minLength:"1" doc:"Stripe's id of the customer."`
	TogaiInvoiceID   string            `json:"togai_invoice_id" minLength:"1" maxLength:"500" doc:"The Togai invoice it is made of; kept in the metadata."`
	Currency         string            `json:"currency" pattern:"^[A-Za-z]{3}$" doc:"ISO 4217. A Stripe customer is billed in one currency for ever."`
	Lines            []InvoiceLine     `json:"lines" minLength:"1" maxLength:"250" doc:"What is billed. Tax and discounts of Togai are lines of their own."`
	CollectionMethod string            `json:"collection_method,omitempty" enum:"send_invoice,charge_automatically" doc:"Whether the customer gets a bill (send_invoice, default) or is charged."`
	DaysUntilDue     *int64            `json:"days_until_due,omitempty" min:"0" doc:"Days to pay. A bill needs this or due_date."`
	DueDate          *time.Time        `json:"due_date,omitempty" doc:"When it must be paid, in the future. A bill needs this or days_until_due."`
	ExpectedTotal    *int64            `json:"expected_total,omitempty" doc:"What the invoice must come to, in the currency's smallest unit (ISO 4217). Another total makes no invoice."`
	Memo             string            `json:"memo,omitempty" maxLength:"1500" doc:"Shown on the invoice."`
	Footer           string            `json:"footer,omitempty" maxLength:"5000" doc:"Shown at its foot."`
	CustomFields     []CustomField     `json:"custom_fields,omitempty" maxLength:"4" doc:"Shown on the invoice, such as an order number."`
	Number           string            `json:"number,omitempty" maxLength:"26" doc:"The invoice's number; Stripe numbers it when this is left out."`
	AutomaticTax     bool              `json:"automatic_tax,omitempty" doc:"Whether Stripe adds tax. Leave it out where Togai's lines hold the tax."`
	Metadata         map[string]string `json:"metadata,omitempty" doc:"More notes to keep at the invoice."`
}

// InvoiceLine is one line. Its amount is final: no quantity is multiplied by a price, so that the total is Togai's.
type InvoiceLine struct {
	Description string            `json:"description" minLength:"1" maxLength:"500" doc:"Shown on the invoice."`
	Amount      int64             `json:"amount" doc:"In the currency's smallest unit (ISO 4217); negative for discounts and credits."`
	PeriodStart *time.Time        `json:"period_start,omitempty" doc:"Begin of what is billed."`
	PeriodEnd   *time.Time        `json:"period_end,omitempty" doc:"End of what is billed."`
	Metadata    map[string]string `json:"metadata,omitempty" doc:"Notes to keep at the line."`
}

// CustomField is a name and a value shown on the invoice.
type CustomField struct {
	Name  string `json:"name" minLength:"1" maxLength:"30" doc:"Its name."`
	Value string `json:"value" minLength:"1" maxLength:"30" doc:"Its value."`
}

// DraftInvoice is what invoice.create leaves.
type DraftInvoice struct {
	InvoiceID string `json:"invoice_id" doc:"Stripe's id of the invoice."`
	Status    string `json:"status" doc:"draft; another one where it was there already."`
	Currency  string `json:"currency" doc:"ISO 4217 in lower case."`
	Subtotal  int64  `json:"subtotal" doc:"Before tax and discounts, in the currency's smallest unit (ISO 4217)."`
	Total     int64  `json:"total" doc:"In the currency's smallest unit (ISO 4217)."`
	AmountDue int64  `json:"amount_due" doc:"What is to be paid, in the currency's smallest unit (ISO 4217)."`
	LineCount int    `json:"line_count" doc:"How many lines it has."`
}

func createInvoice() connectors.Action {
	days := int64(30)
	return connectors.Do("invoice.create", "Create invoice", runCreateInvoice, CreateInvoiceInput{
		CustomerID: "cus_NffrFeUfNV2Hib", TogaiInvoiceID: "inv.1", Currency: "usd", DaysUntilDue: &days,
		Lines: []InvoiceLine{{Description: "API calls", Amount: 12500}, {Description: "Discount", Amount: -500}},
	}, func(a *connectors.Action) {
		a.Description = "Makes a draft invoice of a Togai invoice, with its lines, and checks that the total is the same."
		a.Options = map[string]connectors.Offer{"customer_id": offerCustomers}
		a.Help, a.Entity = "The draft is not sent, and Stripe does nothing with it by itself: finalize it in the next step.", "invoice"
	})
}

// attrInvoice is the Togai invoice that a Ref's invoice was made of; attrWhole says that it was whole when it was found.
const (
	attrInvoice = metaInvoice
	attrWhole   = "whole"
)

const sendInvoice = "send_invoice"

func runCreateInvoice(ctx context.Context, c connectors.Conn, in CreateInvoiceInput) (DraftInvoice, error) {
	if in.CollectionMethod == "" {
		in.CollectionMethod = sendInvoice
	}
	in.Currency = strings.ToLower(in.Currency)
	amounts, err := in.check()
	if err != nil {
		return DraftInvoice{}, err
	}
	ref, err := in.draft(ctx, c)
	if err != nil {
		return DraftInvoice{}, fmt.Errorf("creating invoice: %w", err)
	}
	made := ref.Attributes[attrInvoice]
	if made != "" && made != in.TogaiInvoiceID {
		return DraftInvoice{}, wrongInput("togai_invoice_id", fmt.Sprintf("is %s, but the record of this run has an invoice of %s already", in.TogaiInvoiceID, made))
	}
	if made != "" && ref.Attributes[attrWhole] == "" { // what somebody else made, or linked by hand, gets no lines of ours
		for i, l := range in.Lines {
			if err := in.addLine(ctx, c, ref.ID, i, l, amounts[i]); err != nil {
				return DraftInvoice{}, fmt.Errorf("adding line %d to invoice %s: %w", i+1, ref.ID, err)
			}
		}
	}
	return in.readBack(ctx, c, ref.ID)
}

// check finds what Stripe would refuse, or bill wrongly, once half of the invoice is made. It answers the lines' amounts
// as Stripe counts them.
func (in CreateInvoiceInput) check() ([]int64, error) {
	switch bill := in.CollectionMethod == sendInvoice; {
	case bill && (in.DaysUntilDue == nil) == (in.DueDate == nil):
		return nil, wrongInput("days_until_due", "or due_date is needed, and one of them only")
	case !bill && (in.DaysUntilDue != nil || in.DueDate != nil):
		return nil, wrongInput("days_until_due", "and due_date are for invoices that are sent")
	}
	amounts, sum := make([]int64, len(in.Lines)), int64(0)
	for i, l := range in.Lines {
		field := fmt.Sprintf("lines[%d]", i)
		n, err := toWire(l.Amount, in.Currency, field+".amount")
		switch {
		case err != nil:
			return nil, err
		case (l.PeriodStart == nil) != (l.PeriodEnd == nil):
			return nil, wrongInput(field+".period_start", "and period_end go together")
		case l.PeriodStart != nil && l.PeriodEnd.Before(*l.PeriodStart):
			return nil, wrongInput(field+".period_end", "is before period_start")
		}
		amounts[i], sum = n, sum+l.Amount
	}
	if in.ExpectedTotal != nil && !in.AutomaticTax && sum != *in.ExpectedTotal {
		return nil, wrongInput("expected_total", fmt.Sprintf("is %d, but the lines come to %d %s: nothing was made", *in.ExpectedTotal, sum, in.Currency))
	}
	return amounts, nil
}

// draft makes the empty invoice.
func (in CreateInvoiceInput) draft(ctx context.Context, c connectors.Conn) (connectors.Ref, error) {
	intent := connectors.Create("invoice")
	probe := func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		found, err := in.there(ctx, c, func(i *stripe.Invoice) bool { return i.Metadata[metaEffect] == key })
		if err != nil || len(found) == 0 {
			return connectors.Ref{}, false, err
		}
		return in.ref(found[0].ID), true, nil
	}
	return c.Effect(ctx, intent, probe, func(ctx context.Context, key string) (connectors.Ref, error) {
		there, mine, err := in.lookUp(ctx, c, key)
		if err != nil {
			return connectors.Ref{}, err
		}
		if there.ID != "" {
			return c.Adopt(ctx, intent, there)
		}
		if !mine { // a repeat learns what the first call answered, whatever has become of the customer since
			if err := in.billable(ctx, c); err != nil {
				return connectors.Ref{}, err
			}
		}
		inv, err := api(c).Invoices.New(in.params(ctx, key))
		if err != nil {
			return connectors.Ref{}, failed(c, err, true)
		}
		if inv.ID == "" {
			return connectors.Ref{}, garbled(errNoID, true)
		}
		return in.ref(inv.ID), nil
	})
}

func (in CreateInvoiceInput) ref(id string) connectors.Ref {
	return connectors.Ref{ID: id, Attributes: map[string]string{attrInvoice: in.TogaiInvoiceID}}
}

// there are the customer's invoices that match. The list is consistent, search is not.
func (in CreateInvoiceInput) there(ctx context.Context, c connectors.Conn, match func(*stripe.Invoice) bool) ([]*stripe.Invoice, error) {
	var found []*stripe.Invoice
	it := api(c).Invoices.List(&stripe.InvoiceListParams{ListParams: list(ctx), Customer: stripe.String(in.CustomerID)})
	for it.Next() {
		if inv := it.Invoice(); match(inv) {
			found = append(found, inv)
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("listing the invoices of customer %s: %w", in.CustomerID, failed(c, err, false))
	}
	return found, nil
}

// lookUp finds an invoice that somebody else made of the same Togai invoice, such as a copy of this system: to bill it
// twice would be worse than to ask. mine says that this very effect has made one.
func (in CreateInvoiceInput) lookUp(ctx context.Context, c connectors.Conn, key string) (ref connectors.Ref, mine bool, err error) {
	found, err := in.there(ctx, c, func(i *stripe.Invoice) bool {
		return i.Metadata[metaInvoice] == in.TogaiInvoiceID && i.Status != stripe.InvoiceStatusVoid
	})
	if err != nil || len(found) == 0 {
		return connectors.Ref{}, false, err
	}
	want := int64(0)
	for _, l := range in.Lines {
		want += l.Amount
	}
	if in.ExpectedTotal != nil {
		want = *in.ExpectedTotal
	}
	for _, inv := range found {
		if inv.Metadata[metaEffect] == key {
			return connectors.Ref{}, true, nil
		}
	}
	inv := found[0]
	total, err := fromWire(inv.Total, string(inv.Currency))
	if err != nil || len(found) > 1 || inv.Status == stripe.InvoiceStatusDraft || string(inv.Currency) != in.Currency || total != want {
		return connectors.Ref{}, false, connectors.Errorf(connectors.Conflict,
			"invoice %s (%s) of the Togai invoice %s is there already and is not the same: void or delete it, or link it in the mapping", inv.ID, inv.Status, in.TogaiInvoiceID)
	}
	ref = in.ref(inv.ID)
	ref.Name, ref.Attributes[attrWhole] = inv.Number, "true"
	return ref, false, nil
}

// billable refuses what Stripe would, before anything is made.
func (in CreateInvoiceInput) billable(ctx context.Context, c connectors.Conn) error {
	if in.DueDate != nil && !in.DueDate.After(time.Now()) {
		return wrongInput("due_date", "is in the past")
	}
	cus, err := getCustomer(ctx, c, in.CustomerID)
	switch {
	case err != nil:
		return err
	case cus.Currency != "" && string(cus.Currency) != in.Currency:
		return wrongInput("currency", fmt.Sprintf("is %s, but customer %s is billed in %s, and Stripe cannot change that: use another customer", in.Currency, cus.ID, cus.Currency))
	case in.CollectionMethod == sendInvoice && cus.Email == "":
		return wrongInput("customer_id", fmt.Sprintf("names %s, who has no e-mail address, which an invoice that is sent needs: give the customer one", cus.ID))
	}
	return nil
}

func (in CreateInvoiceInput) params(ctx context.Context, key string) *stripe.InvoiceParams {
	p := &stripe.InvoiceParams{
		Params: write(ctx, key), Customer: stripe.String(in.CustomerID), Currency: stripe.String(in.Currency), CollectionMethod: stripe.String(in.CollectionMethod),
		AutoAdvance:                 stripe.Bool(false),       // else Stripe finalizes and mails by itself
		PendingInvoiceItemsBehavior: stripe.String("exclude"), // what floats about is for another invoice
		Discounts:                   []*stripe.InvoiceDiscountParams{},
		AutomaticTax:                &stripe.InvoiceAutomaticTaxParams{Enabled: stripe.Bool(in.AutomaticTax)},
		Description:                 given(in.Memo), Footer: given(in.Footer), Number: given(in.Number), DaysUntilDue: in.DaysUntilDue,
		Metadata: marked(in.Metadata, map[string]string{metaInvoice: in.TogaiInvoiceID}, key),
	}
	if in.DueDate != nil {
		p.DueDate = stripe.Int64(in.DueDate.Unix())
	}
	for _, f := range in.CustomFields {
		p.CustomFields = append(p.CustomFields, &stripe.InvoiceCustomFieldParams{Name: stripe.String(f.Name), Value: stripe.String(f.Value)})
	}
	return p
}

// addLine makes one line, on this invoice: without naming it the line would float, and land on the customer's next one.
func (in CreateInvoiceInput) addLine(ctx context.Context, c connectors.Conn, invoice string, i int, l InvoiceLine, amount int64) error {
	probe := func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		it := api(c).InvoiceItems.List(&stripe.InvoiceItemListParams{ListParams: list(ctx), Invoice: stripe.String(invoice)})
		for it.Next() {
			if item := it.InvoiceItem(); item.Metadata[metaEffect] == key {
				return connectors.Ref{ID: item.ID}, true, nil
			}
		}
		if err := it.Err(); err != nil {
			return connectors.Ref{}, false, fmt.Errorf("listing the lines: %w", failed(c, err, false))
		}
		return connectors.Ref{}, false, nil
	}
	_, err := c.Effect(ctx, connectors.Create("invoice_item", strconv.Itoa(i+1)), probe, func(ctx context.Context, key string) (connectors.Ref, error) {
		p := &stripe.InvoiceItemParams{
			Params: write(ctx, key), Customer: stripe.String(in.CustomerID), Invoice: stripe.String(invoice), Currency: stripe.String(in.Currency),
			Amount: stripe.Int64(amount), Description: stripe.String(l.Description), Metadata: marked(l.Metadata, nil, key),
		}
		if l.PeriodStart != nil {
			p.Period = &stripe.InvoiceItemPeriodParams{Start: stripe.Int64(l.PeriodStart.Unix()), End: stripe.Int64(l.PeriodEnd.Unix())}
		}
		item, err := api(c).InvoiceItems.New(p)
		if err != nil {
			return connectors.Ref{}, failed(c, err, true)
		}
		if item.ID == "" {
			return connectors.Ref{}, garbled(errNoID, true)
		}
		return connectors.Ref{ID: item.ID}, nil
	})
	return err
}

// readBack compares what Stripe would bill with what Togai does, to the smallest unit. A draft that differs is deleted.
func (in CreateInvoiceInput) readBack(ctx context.Context, c connectors.Conn, id string) (DraftInvoice, error) {
	inv, err := getInvoice(ctx, c, id)
	if missing(err) {
		return DraftInvoice{}, connectors.Errorf(connectors.NotFound, "invoice %s, made of the Togai invoice %s, was deleted in Stripe: remove it from the mapping to make a new one", id, in.TogaiInvoiceID)
	}
	if err != nil {
		return DraftInvoice{}, err
	}
	out := DraftInvoice{InvoiceID: inv.ID, Status: string(inv.Status), Currency: string(inv.Currency), Subtotal: inv.Subtotal, Total: inv.Total, AmountDue: inv.AmountDue}
	if err := fromWires(out.Currency, &out.Subtotal, &out.Total, &out.AmountDue); err != nil {
		return DraftInvoice{}, fmt.Errorf("invoice %s: %w", id, err)
	}
	want := in.ExpectedTotal
	if want == nil && !in.AutomaticTax {
		sum := int64(0)
		for _, l := range in.Lines {
			sum += l.Amount
		}
		want = &sum
	}
	if out.Currency != in.Currency || want != nil && out.Total != *want {
		return DraftInvoice{}, in.wrong(ctx, c, out, want)
	}
	out.LineCount, err = lineCount(ctx, c, inv)
	return out, err
}

// wrong takes a draft away that does not come to what it must.
func (in CreateInvoiceInput) wrong(ctx context.Context, c connectors.Conn, got DraftInvoice, want *int64) error {
	expected := "an amount in " + in.Currency
	if want != nil {
		expected = fmt.Sprintf("%d %s", *want, in.Currency)
	}
	e := wrongInput("expected_total", fmt.Sprintf("is not met: Stripe comes to %d %s for invoice %s where %s is expected", got.Total, got.Currency, got.InvoiceID, expected))
	if got.Status != string(stripe.InvoiceStatusDraft) {
		return e
	}
	gone := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		_, err := getInvoice(ctx, c, got.InvoiceID)
		if missing(err) {
			return connectors.Ref{ID: got.InvoiceID}, true, nil
		}
		return connectors.Ref{}, false, err
	}
	_, err := c.Effect(ctx, connectors.Set("invoice", got.InvoiceID, "delete"), gone, func(ctx context.Context, key string) (connectors.Ref, error) {
		_, err := api(c).Invoices.Del(got.InvoiceID, &stripe.InvoiceParams{Params: write(ctx, key)})
		if err = failed(c, err, true); err != nil && !missing(err) {
			return connectors.Ref{}, err
		}
		return connectors.Ref{ID: got.InvoiceID}, nil
	})
	if err != nil {
		return fmt.Errorf("deleting invoice %s, whose total is wrong: %w", got.InvoiceID, err)
	}
	return wrongInput("expected_total", fmt.Sprintf("is not met: Stripe comes to %d %s where %s is expected. The draft %s was deleted; remove it from the mapping and run again once that is mended", got.Total, got.Currency, expected, got.InvoiceID))
}

// lineCount counts all lines: the invoice itself holds the first few only.
func lineCount(ctx context.Context, c connectors.Conn, inv *stripe.Invoice) (int, error) {
	if inv.Lines != nil && !inv.Lines.HasMore {
		return len(inv.Lines.Data), nil
	}
	n := 0
	it := api(c).Invoices.ListLines(&stripe.InvoiceListLinesParams{ListParams: list(ctx), Invoice: stripe.String(inv.ID)})
	for it.Next() {
		n++
	}
	if err := it.Err(); err != nil {
		return 0, fmt.Errorf("counting the lines of invoice %s: %w", inv.ID, failed(c, err, false))
	}
	return n, nil
}
