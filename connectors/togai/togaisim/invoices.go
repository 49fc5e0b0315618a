package togaisim

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Invoice as GET answers it; lists leave out UsageInfo and RevenueInfo.
type Invoice struct {
	ID               string          `json:"id"`
	CustomerID       string          `json:"customerId,omitempty"`
	OwnerID          string          `json:"ownerId,omitempty"`
	PricePlanID      string          `json:"pricePlanId,omitempty"`
	Status           string          `json:"status"`
	FinalizingStatus string          `json:"finalizingStatus,omitempty"`
	InvoiceClass     string          `json:"invoiceClass"`
	InvoiceType      string          `json:"invoiceType"`
	StartDate        time.Time       `json:"startDate"`
	EndDate          time.Time       `json:"endDate"`
	InvoiceDate      time.Time       `json:"invoiceDate"`
	DueDate          *time.Time      `json:"dueDate,omitempty"`
	GeneratedAt      *time.Time      `json:"generatedAt,omitempty"`
	UpdatedAt        time.Time       `json:"updatedAt"`
	SequenceID       string          `json:"sequenceId,omitempty"`
	PDFURL           string          `json:"pdfUrl,omitempty"`
	TotalAmount      Amount          `json:"totalAmount"`
	PaidAmount       Amount          `json:"paidAmount"`
	NetTermDays      int32           `json:"netTermDays"`
	InvoiceDetails   *InvoiceDetails `json:"invoiceDetails,omitempty"`
	UsageInfo        []Line          `json:"usageInfo,omitempty"`
	RevenueInfo      *Line           `json:"revenueInfo,omitempty"`

	CreatedAt time.Time `json:"-"` // the list sorts by it, the body hides it
}

// InvoiceDetails are the names an invoice was made with.
type InvoiceDetails struct {
	Customer struct {
		Name         string  `json:"name"`
		PrimaryEmail string  `json:"primaryEmail"`
		Address      Address `json:"address"`
	} `json:"customer"`
	Account struct {
		Name            string  `json:"name"`
		InvoiceCurrency string  `json:"invoiceCurrency"`
		Address         Address `json:"address"`
		PrimaryEmail    string  `json:"primaryEmail"`
	} `json:"account"`
	PricePlanName string `json:"pricePlanName,omitempty"`
}

// Line is one amount, made of those below it.
type Line struct {
	ID               string  `json:"id,omitempty"`
	Description      string  `json:"description"`
	Type             string  `json:"type"`
	ValuePerQuantity *Amount `json:"valuePerQuantity,omitempty"`
	Quantity         *Amount `json:"quantity,omitempty"`
	Units            string  `json:"units,omitempty"`
	Value            Amount  `json:"value"`
	LineItems        []Line  `json:"lineItems,omitempty"`
}

func (o *Invoice) id() string         { return o.ID }
func (o *Invoice) updated() time.Time { return o.CreatedAt }
func (o *Invoice) has(filter, value string) bool {
	return map[string]string{"status": o.Status, "owner_id": o.OwnerID, "customer_id": o.CustomerID, "class": o.InvoiceClass}[filter] == value
}

// Invoices returns a copy of all invoices, by id.
func (o *Organization) Invoices() []Invoice {
	return snapshot(o, func() map[string]*Invoice { return o.invoices })
}

// Invoices returns the first organization's invoices.
func (s *Sim) Invoices() []Invoice { return s.First().Invoices() }

// NewInvoice is an invoice that Togai makes by itself. What is empty is chosen: one of today, due, over the lines' sum.
type NewInvoice struct {
	AccountID   string    `json:"accountId"`
	Class       string    `json:"invoiceClass"` // INVOICE
	Type        string    `json:"invoiceType"`  // STANDARD
	Status      string    `json:"status"`       // DUE
	PricePlanID string    `json:"pricePlanId"`
	StartDate   time.Time `json:"startDate"`
	EndDate     time.Time `json:"endDate"`
	Lines       []Line    `json:"lines"` // of the types below GROSS_AMOUNT, and TAX_AMOUNT
	Discount    Amount    `json:"discount"`
}

// Invoice makes one, as the end of a cycle does, or its beginning where the status is DRAFT.
func (o *Organization) Invoice(in NewInvoice) (Invoice, error) {
	o.sim.mu.Lock()
	defer o.sim.mu.Unlock()
	a := o.accounts[in.AccountID]
	if a == nil {
		return Invoice{}, missing("Account", in.AccountID)
	}
	c := &call{sim: o.sim, org: o, now: o.sim.Clock.Now().UTC()}
	if in.EndDate.IsZero() {
		in.StartDate, in.EndDate = c.now.AddDate(0, -1, 0).Truncate(24*time.Hour), c.now.Truncate(24*time.Hour)
	}
	inv := c.newInvoice(a, in)
	c.org.invoices[inv.ID] = inv
	if inv.Status == "DRAFT" {
		c.emit("pricing_cycle.started", inv)
	} else {
		c.generated(inv)
	}
	return *inv, nil
}

// Invoice makes one in the first organization.
func (s *Sim) Invoice(in NewInvoice) (Invoice, error) { return s.First().Invoice(in) }

// Finish ends the cycle of a draft.
func (o *Organization) Finish(id string) error {
	o.sim.mu.Lock()
	defer o.sim.mu.Unlock()
	inv := o.invoices[id]
	if inv == nil || inv.Status != "DRAFT" {
		return bad("Invoice %s is no draft", id)
	}
	c := &call{sim: o.sim, org: o, now: o.sim.Clock.Now().UTC()}
	inv.Status = "DUE"
	c.emit("pricing_cycle.ended", inv)
	c.generated(inv)
	return nil
}

// generated says that an invoice is no draft any more. One over nothing is paid at once, as Togai does it.
func (c *call) generated(inv *Invoice) {
	inv.GeneratedAt, inv.UpdatedAt, inv.FinalizingStatus = &c.now, c.now, "FINALIZED"
	due := inv.InvoiceDate.AddDate(0, 0, int(inv.NetTermDays))
	inv.DueDate, inv.SequenceID = &due, fmt.Sprintf("INV-%05d", len(c.org.invoices))
	if inv.Status == "DUE" && inv.TotalAmount.IsZero() {
		inv.Status = "PAID"
	}
	if inv.InvoiceClass == "ORDER" {
		c.emit("order.generated", inv)
		return
	}
	c.emit("invoice.generated", inv)
}

func (c *call) newInvoice(a *Account, in NewInvoice) *Invoice {
	inv := &Invoice{
		ID: newID("inv"), CustomerID: a.CustomerID, OwnerID: a.ID, PricePlanID: in.PricePlanID, Status: cmp.Or(in.Status, "DUE"),
		InvoiceClass: cmp.Or(in.Class, "INVOICE"), InvoiceType: cmp.Or(in.Type, "STANDARD"), StartDate: in.StartDate, EndDate: in.EndDate, InvoiceDate: in.EndDate,
		UpdatedAt: c.now, CreatedAt: c.now, InvoiceDetails: &InvoiceDetails{},
	}
	if a.NetTermDays != nil {
		inv.NetTermDays = *a.NetTermDays
	}
	d := inv.InvoiceDetails
	d.Account.Name, d.Account.InvoiceCurrency, d.Account.PrimaryEmail = a.Name, cmp.Or(a.InvoiceCurrency, "USD"), a.PrimaryEmail
	if a.Address != nil {
		d.Account.Address = *a.Address
	}
	if o := c.org.customers[a.CustomerID]; o != nil {
		d.Customer.Name, d.Customer.PrimaryEmail, d.Customer.Address = o.Name, o.PrimaryEmail, o.Address
	}
	if p := c.org.plans[in.PricePlanID]; p != nil {
		d.PricePlanName = p.Name
	}
	inv.RevenueInfo, inv.TotalAmount = tree(in, d.Account.InvoiceCurrency)
	return inv
}

// tree is the vendor's: grand total over total over net over gross over the lines, tax beside net. What lowers net
// against gross is not shown, as in the vendor's own example.
func tree(in NewInvoice, currency string) (*Line, Amount) {
	node := func(description, typ string, value Amount, below ...Line) Line {
		return Line{Description: description, Type: typ, Units: currency, Value: value, LineItems: below}
	}
	var gross, tax Amount
	var lines, taxes []Line
	for _, l := range in.Lines {
		l.Units = currency
		if l.Type == "TAX_AMOUNT" {
			taxes, tax = append(taxes, l), plus(tax, l.Value)
			continue
		}
		lines, gross = append(lines, l), plus(gross, l.Value)
	}
	less := in.Discount
	less.Negative = !less.Negative && !less.IsZero()
	net := plus(gross, less)
	total := plus(net, tax)
	below := []Line{node("Total amount due", "NET_AMOUNT", net, node("Sum Total", "GROSS_AMOUNT", gross, lines...))}
	if len(taxes) > 0 {
		below = append(below, node("Taxes", "TOTAL_TAX_AMOUNT", tax, taxes...))
	}
	top := node("Grand Total Amount", "GRAND_TOTAL_AMOUNT", total, node("Total Amount", "TOTAL_AMOUNT", total, below...))
	return &top, total
}

func invoices(s *Sim) {
	s.handle("GET", "/invoices", http.StatusOK, func(c *call) (any, error) {
		short := map[string]*Invoice{}
		for id, o := range c.org.invoices {
			summary := *o
			summary.UsageInfo, summary.RevenueInfo = nil, nil
			short[id] = &summary
		}
		return listSized(c, ledger, short, "status", "class", "owner_id", "class status", "class owner_id", "owner_id status", "class owner_id status")
	})
	s.handle("GET", "/invoices/{id}", http.StatusOK, func(c *call) (any, error) { return c.invoice(c.id) })
	s.handle("PATCH", "/invoices/{id}", http.StatusOK, (*call).updateInvoice)
}

func (c *call) invoice(id string) (*Invoice, error) {
	o, ok := c.org.invoices[id]
	if !ok {
		return nil, missing("Invoice", id)
	}
	return o, nil
}

// next are the statuses that may follow one.
var next = map[string][]string{
	"DRAFT": {"DUE", "VOID"}, "DUE": {"PAID", "UN_COLLECTIBLE", "VOID"}, "PARTIALLY_PAID": {"PAID"}, "UN_COLLECTIBLE": {"PAID", "VOID"}, "PAID": {"REFUND_INITIATED"},
}

func (c *call) updateInvoice() (any, error) {
	o, err := c.invoice(c.id)
	if err != nil {
		return nil, err
	}
	var in struct {
		Status string `json:"status"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if !slices.Contains(next[o.Status], in.Status) {
		return nil, bad("An invoice that is %s cannot become %s", o.Status, in.Status)
	}
	was := o.Status
	if o.Status, o.UpdatedAt = in.Status, c.now; was == "DRAFT" && in.Status == "DUE" {
		c.generated(o)
		return o, nil
	}
	if o.Status == "PAID" {
		o.PaidAmount = o.TotalAmount
	}
	c.emit("invoice.updated", o)
	return o, nil
}
