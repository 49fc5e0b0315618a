package togai

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"tieline/connectors"
)

// invoice as GET answers it; lists leave out the lines.
type invoice struct {
	ID             string         `json:"id"`
	CustomerID     string         `json:"customerId"`
	OwnerID        string         `json:"ownerId"` // an account or an invoice group
	PricePlanID    string         `json:"pricePlanId"`
	Status         string         `json:"status"`
	Class          string         `json:"invoiceClass"`
	Type           string         `json:"invoiceType"`
	StartDate      time.Time      `json:"startDate"`
	EndDate        time.Time      `json:"endDate"`
	InvoiceDate    time.Time      `json:"invoiceDate"`
	DueDate        time.Time      `json:"dueDate"`
	SequenceID     string         `json:"sequenceId"`
	PDFURL         string         `json:"pdfUrl"`
	TotalAmount    number         `json:"totalAmount"`
	PaidAmount     number         `json:"paidAmount"`
	NetTermDays    int            `json:"netTermDays"`
	InvoiceDetails invoiceDetails `json:"invoiceDetails"`
	RevenueInfo    *line          `json:"revenueInfo"`
}

type invoiceDetails struct {
	Customer      party  `json:"customer"`
	Account       party  `json:"account"`
	PricePlanName string `json:"pricePlanName"`
	InvoiceGroup  *struct {
		ID              string `json:"id"`
		InvoiceCurrency string `json:"invoiceCurrency"`
	} `json:"invoiceGroup"`
}

type party struct {
	Name            string  `json:"name"`
	PrimaryEmail    string  `json:"primaryEmail"`
	InvoiceCurrency string  `json:"invoiceCurrency"`
	Address         address `json:"address"`
}

// line is one amount, made of those below it.
type line struct {
	ID               string `json:"id"`
	Description      string `json:"description"`
	Type             string `json:"type"`
	ValuePerQuantity number `json:"valuePerQuantity"`
	Quantity         number `json:"quantity"`
	Units            string `json:"units"`
	Value            number `json:"value"`
	LineItems        []line `json:"lineItems"`
}

// Invoice is one as triggers and actions show it.
type Invoice struct {
	InvoiceID     string        `json:"invoice_id" doc:"Togai's id of the invoice." minLength:"1"`
	Number        string        `json:"number" doc:"As people know it; empty until it is generated."`
	AccountID     string        `json:"account_id" doc:"The account it is for; empty when it is for an invoice group."`
	GroupID       string        `json:"group_id" doc:"The invoice group it is for; empty when it is for an account."`
	CustomerID    string        `json:"customer_id" doc:"The account's customer; empty for groups."`
	PricePlanID   string        `json:"price_plan_id" doc:"The plan it bills; empty when there is none."`
	PricePlanName string        `json:"price_plan_name" doc:"The plan's name."`
	Status        string        `json:"status" doc:"DRAFT, DUE, PARTIALLY_PAID, PAID, VOID, UN_COLLECTIBLE, MERGED, REFUND_INITIATED or REFUND_COMPLETED."`
	Class         string        `json:"class" doc:"INVOICE, ORDER (paid before what it buys is granted) or BILLABLE."`
	Type          string        `json:"type" doc:"STANDARD, CUSTOM and others of Togai's."`
	Currency      string        `json:"currency" doc:"ISO 4217."`
	Total         string        `json:"total" format:"decimal" doc:"In major units."`
	Paid          string        `json:"paid" format:"decimal" doc:"What of it is paid."`
	Open          string        `json:"open" format:"decimal" doc:"What of it is not paid."`
	StartDate     time.Time     `json:"start_date" doc:"The beginning of what it bills."`
	EndDate       time.Time     `json:"end_date" doc:"The end of what it bills."`
	InvoiceDate   time.Time     `json:"invoice_date" doc:"Its date."`
	DueDate       time.Time     `json:"due_date" doc:"When it is to be paid."`
	NetTermDays   int           `json:"net_term_days" doc:"Days from its date until it is to be paid."`
	PDFURL        string        `json:"pdf_url" doc:"Where the document is; empty when there is none."`
	Name          string        `json:"name" doc:"Of the account, or else the customer, when it was made."`
	Email         string        `json:"email" doc:"Of the account, or else the customer, when it was made."`
	Address       Address       `json:"address" doc:"Of the account when it was made."`
	Lines         []InvoiceLine `json:"lines" doc:"What it is made of; their amounts sum to the total. Empty in lists."`
}

// InvoiceLine is one amount of an invoice.
type InvoiceLine struct {
	Key         string `json:"key" doc:"Tells the line from the others of the invoice: its place."`
	ID          string `json:"id" doc:"Togai's id of what it bills; empty where it gives none."`
	Description string `json:"description" doc:"As the invoice shows it."`
	Type        string `json:"type" doc:"Togai's kind of amount, such as USAGE_RATE_CARD_AMOUNT or TAX_AMOUNT; ADJUSTMENT for what the total has more or less than the lines that Togai shows."`
	Quantity    string `json:"quantity" format:"decimal" doc:"Zero where it is not by quantity."`
	UnitAmount  string `json:"unit_amount" format:"decimal" doc:"In major units; zero where it is not by quantity. Quantity times this may be rounded: go by the amount."`
	Amount      string `json:"amount" format:"decimal" doc:"In major units; may be negative."`
}

// lineTypes are the amounts that an invoice is made of. Those above them in the tree are their sums, those below them
// their parts. It is read off the vendor's one example and the list of types.
var lineTypes = []string{
	"FIXED_FEE_RATE_CARD_AMOUNT", "CREDIT_GRANT_RATE_CARD_AMOUNT", "BILLING_ENTITLEMENT_RATE_CARD_AMOUNT", "ENTITLEMENT_OVERAGE_RATE_CARD_AMOUNT",
	"LICENSE_RATE_CARD_AMOUNT", "USAGE_RATE_CARD_AMOUNT", "SUB_CREDITS", "ADVANCED_FIXED_FEE", "ADVANCED_LICENSE_RATE_CARD_AMOUNT",
	"ADVANCED_BILLING_ENTITLEMENT_RATE_CARD_AMOUNT", "ADVANCED_CREDIT_GRANT_RATE_CARD_AMOUNT", "MISCELLANEOUS_CHARGE", "TRUE_UP_AMOUNT", "CUSTOM_AMOUNT",
	"PRICING_RULE_ADDITION_AMOUNT", "PRICING_RULE_REVENUE_UPDATE_AMOUNT", "RATE_CONFIG_ADJUSTMENT_AMOUNT", "TAX_AMOUNT",
}

// maxDepth bounds a tree of lines; the vendor's has six levels.
const maxDepth = 30

func leaves(l line, depth int) (out []line) {
	if slices.Contains(lineTypes, l.Type) || depth == maxDepth {
		return []line{l}
	}
	for _, below := range l.LineItems {
		out = append(out, leaves(below, depth+1)...)
	}
	return out
}

// lines are the invoice's own. Credits and discounts lower the net amount against the gross one without being shown in
// every tree, and which sign they have is not documented: what is missing to the total is one more line, so that the lines
// sum to it whatever was shown.
func (inv invoice) lines() []InvoiceLine {
	out, sum := []InvoiceLine{}, number("0")
	if inv.RevenueInfo == nil {
		return out
	}
	for _, l := range leaves(*inv.RevenueInfo, 0) {
		if l.Type == "SUB_CREDITS" && l.Value.decimal().Sign() > 0 {
			l.Value = number("0").minus(l.Value)
		}
		sum = sum.plus(l.Value)
		out = append(out, InvoiceLine{fmt.Sprint(len(out)), l.ID, l.Description, l.Type, l.Quantity.text(), l.ValuePerQuantity.text(), l.Value.text()})
	}
	if rest := inv.TotalAmount.minus(sum); rest.decimal().Sign() != 0 {
		out = append(out, InvoiceLine{fmt.Sprint(len(out)), "", "Credits and discounts", "ADJUSTMENT", "0", "0", rest.text()})
	}
	return out
}

func (inv invoice) plain() Invoice {
	d := inv.InvoiceDetails
	out := Invoice{
		InvoiceID: inv.ID, Number: inv.SequenceID, AccountID: inv.OwnerID, CustomerID: inv.CustomerID, PricePlanID: inv.PricePlanID, PricePlanName: d.PricePlanName,
		Status: inv.Status, Class: inv.Class, Type: inv.Type, Currency: d.Account.InvoiceCurrency, Total: inv.TotalAmount.text(), Paid: inv.PaidAmount.text(),
		Open: inv.TotalAmount.minus(inv.PaidAmount).text(), StartDate: inv.StartDate, EndDate: inv.EndDate, InvoiceDate: inv.InvoiceDate, DueDate: inv.DueDate,
		NetTermDays: inv.NetTermDays, PDFURL: inv.PDFURL, Name: cmp.Or(d.Account.Name, d.Customer.Name), Email: cmp.Or(d.Account.PrimaryEmail, d.Customer.PrimaryEmail),
		Address: d.Account.Address.plain(), Lines: inv.lines(),
	}
	if d.InvoiceGroup != nil && d.InvoiceGroup.ID != "" && d.InvoiceGroup.ID == inv.OwnerID {
		out.AccountID, out.GroupID, out.Currency = "", inv.OwnerID, cmp.Or(d.InvoiceGroup.InvoiceCurrency, out.Currency)
	}
	if out.Currency == "" && inv.RevenueInfo != nil {
		out.Currency = inv.RevenueInfo.Units
	}
	if out.DueDate.IsZero() && !inv.InvoiceDate.IsZero() {
		out.DueDate = inv.InvoiceDate.AddDate(0, 0, inv.NetTermDays)
	}
	return out
}

// invoiceVersion tells one state of an invoice from the next; of a draft it is empty.
func invoiceVersion(data json.RawMessage) string {
	var inv invoice
	if json.Unmarshal(data, &inv) != nil || inv.Status == "" || inv.PaidAmount == "" {
		return ""
	}
	return inv.version()
}

func (inv invoice) version() string { return inv.Status + ":" + reduced(inv.PaidAmount.text()) }

func fetchInvoice(ctx context.Context, c connectors.Conn, id string) (invoice, error) {
	inv, err := fetch[invoice](ctx, c, "invoice", "invoices", id)
	if err == nil && inv.ID == "" {
		err = garbled(http.StatusOK, false)
	}
	return inv, err
}

// Statuses of an invoice that is no draft.
var (
	openStatuses    = []string{"DUE", "PARTIALLY_PAID"}
	settledStatuses = []string{"PAID", "UN_COLLECTIBLE", "MERGED", "VOID", "REFUND_INITIATED", "REFUND_COMPLETED"}
)

var sampleInvoice = invoice{
	ID: "inv.1zYnFJIWzUF.cUSf4", CustomerID: "acme", OwnerID: "acme", PricePlanID: samplePlan.ID, Status: "DUE", Class: "INVOICE", Type: "STANDARD", SequenceID: "INV-00042",
	StartDate: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), EndDate: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), InvoiceDate: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC),
	DueDate: time.Date(2026, 2, 15, 0, 0, 0, 0, time.UTC), NetTermDays: 14, TotalAmount: "49.00", PaidAmount: "0",
	InvoiceDetails: invoiceDetails{Account: party{Name: "Acme Inc.", PrimaryEmail: "billing@acme.example", InvoiceCurrency: "USD"}, PricePlanName: "Basic"},
	RevenueInfo:    &line{Description: "Basic fee", Type: "FIXED_FEE_RATE_CARD_AMOUNT", Quantity: "1", ValuePerQuantity: "49.00", Value: "49.00", Units: "USD"},
}

// invoiceTrigger is what the triggers about invoices have in common. key names the occurrence.
func invoiceTrigger(event, name, description string, every time.Duration, statuses []string, keep func(invoice) bool, key func(invoice) string) connectors.Trigger {
	of := func(inv invoice) connectors.Occurrence {
		p := inv.plain()
		o := connectors.Occurrence{Payload: p, Record: connectors.Subject{Entity: "invoice", ID: inv.ID, Name: cmp.Or(p.Number, inv.ID)}, BusinessKey: key(inv)}
		if p.AccountID != "" {
			o.Parent = &connectors.Subject{Entity: "account", ID: p.AccountID, Name: p.Name}
		}
		return o
	}
	return connectors.On(event, name, decodes(of), abreast(event, statuses, keep), sampleInvoice.plain(), func(t *connectors.Trigger) {
		t.Description = description
		t.Entity, t.Events = "invoice", []string{event}
		t.Read = rereads(func(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (invoice, error) {
			return fetchInvoice(ctx, c, o.Record.ID)
		}, of)
		t.Every, t.Calm = every, 15*time.Minute
	}, connectors.ByHand(func(p Invoice) connectors.Occurrence {
		o := connectors.Occurrence{Record: connectors.Subject{Entity: "invoice", ID: p.InvoiceID, Name: p.Number}, Thin: true}
		if p.AccountID != "" {
			o.Parent = &connectors.Subject{Entity: "account", ID: p.AccountID}
		}
		return o
	}))
}

func once(inv invoice) string { return inv.ID }

func invoiceGenerated() connectors.Trigger {
	return invoiceTrigger("invoice.generated", "Invoice generated", "An invoice is no draft any more: it is due, or paid where it is over nothing.",
		time.Minute, []string{"DUE", "PARTIALLY_PAID", "PAID", "UN_COLLECTIBLE", "MERGED"}, func(inv invoice) bool { return inv.Class == "INVOICE" }, once)
}

func orderGenerated() connectors.Trigger {
	return invoiceTrigger("order.generated", "Order generated", "An order was made: an invoice that is paid before what it buys is granted.",
		5*time.Minute, []string{"DUE", "PARTIALLY_PAID", "PAID", "UN_COLLECTIBLE"}, func(inv invoice) bool { return inv.Class == "ORDER" }, once)
}

func invoiceUpdated() connectors.Trigger {
	return invoiceTrigger("invoice.updated", "Invoice updated", "The status of an invoice that is no draft changed, or what of it is paid. The first sight of one counts as a change, and so does a payment that a flow recorded.",
		5*time.Minute, slices.Concat(openStatuses, settledStatuses), func(inv invoice) bool { return inv.Class == "INVOICE" },
		func(inv invoice) string { return inv.ID + ":" + inv.version() })
}

// GetInvoiceInput names an invoice.
type GetInvoiceInput struct {
	InvoiceID string `json:"invoice_id" minLength:"1" maxLength:"50" doc:"Togai's id of the invoice."`
}

func getInvoice() connectors.Action {
	return connectors.Do("invoice.get", "Get invoice", func(ctx context.Context, c connectors.Conn, in GetInvoiceInput) (Invoice, error) {
		inv, err := fetchInvoice(ctx, c, in.InvoiceID)
		return inv.plain(), err
	}, GetInvoiceInput{InvoiceID: sampleInvoice.ID}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Reads one invoice with its lines; a missing one is an error.", "invoice", true
		a.Options = map[string]connectors.Offer{"invoice_id": offerInvoices}
		a.Help = "The amounts of its lines sum to its total, credits and discounts included."
	})
}

// ListInvoicesInput narrows the list.
type ListInvoicesInput struct {
	AccountID string `json:"account_id,omitempty" doc:"Only invoices of this account."`
	Status    string `json:"status,omitempty" enum:"DRAFT,DUE,PARTIALLY_PAID,PAID,VOID,UN_COLLECTIBLE,MERGED,REFUND_INITIATED,REFUND_COMPLETED" doc:"Only invoices of this status."`
	Limit     int    `json:"limit,omitempty" min:"1" max:"1000" doc:"How many at most; 100 if not given."`
}

// ListInvoicesOutput is what was listed, last made first.
type ListInvoicesOutput struct {
	Invoices []Invoice `json:"invoices" doc:"Last made first, without their lines."`
	Count    int       `json:"count" doc:"How many these are."`
	Complete bool      `json:"complete" doc:"False when the limit cut the list off."`
}

func listInvoices() connectors.Action {
	return connectors.Do("invoice.list", "List invoices", runListInvoices, ListInvoicesInput{AccountID: "acme"}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Lists invoices, last made first.", "invoice", true
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts}
		a.Help = "The lines are not in the list: invoice.get reads them."
	})
}

func runListInvoices(ctx context.Context, c connectors.Conn, in ListInvoicesInput) (ListInvoicesOutput, error) {
	found, complete, err := upToOf[invoice](ctx, c, "invoices", ledgerPage, url.Values{"owner_id": {in.AccountID}, "status": {in.Status}}, limit(in.Limit))
	if err != nil {
		return ListInvoicesOutput{}, fmt.Errorf("listing invoices: %w", err)
	}
	out := ListInvoicesOutput{Invoices: []Invoice{}, Count: len(found), Complete: complete}
	for _, inv := range found {
		out.Invoices = append(out.Invoices, inv.plain())
	}
	return out, nil
}
