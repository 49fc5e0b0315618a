package stripesim

import (
	"cmp"
	"fmt"
	"maps"
	"time"
)

// minimums are the least that Stripe charges in a currency; 1 elsewhere.
var minimums = map[string]int64{"usd": 50, "eur": 50, "chf": 50, "gbp": 30, "jpy": 50}

func (c *call) finalizeInvoice() (any, error) {
	inv, err := c.live("invoice")
	if err != nil {
		return nil, err
	}
	if inv["status"] != "draft" {
		return nil, invalid("", "", "This invoice is already finalized, you can't re-finalize a non-draft invoice.")
	}
	return c.finalize(inv)
}

// finalize gives a draft its number and its pages, applies the customer's balance, and settles what needs no payment.
func (c *call) finalize(inv object) (object, error) {
	if len(c.book.items(inv["id"].(string))) == 0 {
		return nil, invalid("invoice_no_customer_line_items", "", "Nothing to invoice: the invoice has no line items.")
	}
	cus, _, _ := c.book.get("customer", inv["customer"].(string))
	o := maps.Clone(inv)
	if o["number"] == nil {
		n := cus["next_invoice_sequence"].(int64)
		o["number"] = fmt.Sprintf("%s-%04d", cus["invoice_prefix"], n)
		next := maps.Clone(cus)
		next["next_invoice_sequence"] = n + 1
		c.book.put(next, c.now)
		cus = next
	}
	balance := cus["balance"].(int64)
	due := o["total"].(int64) + balance
	ending := int64(0)
	if due < minimum(o["currency"].(string)) { // nothing, or too little to charge: it goes to the balance
		due, ending = 0, due
	}
	page := c.sim.URL + "/_sim/pay/" + o["id"].(string)
	o["status"], o["starting_balance"], o["ending_balance"], o["amount_due"], o["amount_remaining"] = "open", balance, ending, due, due
	o["customer_email"], o["customer_name"], o["hosted_invoice_url"], o["invoice_pdf"] = cus["email"], cus["name"], page, page+"/pdf"
	o["status_transitions"] = stamped(o, "finalized_at", c.now)
	if v, ok := c.in["auto_advance"]; ok {
		o["auto_advance"] = v
	}
	c.replace(inv, o, "invoice.finalized")
	if ending != balance {
		c.moveBalance(o["customer"].(string), ending-balance)
	}
	if due == 0 {
		o = c.paid(o, maps.Clone(o), false)
	}
	return o, nil
}

func minimum(currency string) int64 { return cmp.Or(minimums[currency], 1) }

func stamped(o object, name string, now time.Time) object {
	t := maps.Clone(o["status_transitions"].(object))
	t[name] = now.Unix()
	return t
}

func (c *call) moveBalance(customer string, by int64) {
	old, gone, ok := c.book.get("customer", customer)
	if !ok || gone {
		return
	}
	o := maps.Clone(old)
	o["balance"] = old["balance"].(int64) + by
	c.replace(old, o, "customer.updated")
}

func (c *call) sendInvoice() (any, error) {
	inv, err := c.live("invoice")
	if err != nil {
		return nil, err
	}
	switch {
	case inv["collection_method"] != "send_invoice":
		return nil, invalid("", "", "You can only manually send an invoice if its collection method is 'send_invoice'.")
	case inv["status"] == "void" || inv["status"] == "uncollectible":
		return nil, invalid("", "", "You can't send an invoice that is %s.", inv["status"])
	}
	if inv["status"] == "draft" {
		if inv, err = c.finalize(inv); err != nil {
			return nil, err
		}
	}
	if inv["customer_email"] == nil {
		return nil, invalid("", "", "The customer has no email address.")
	}
	c.book.put(object{"id": "mail_" + random(14), "object": "mail", "created": c.now.Unix(), "invoice": inv["id"], "to": inv["customer_email"]}, c.now)
	c.emit("invoice.sent", inv, nil)
	return inv, nil
}

func (c *call) payInvoice() (any, error) {
	inv, err := c.live("invoice")
	if err != nil {
		return nil, err
	}
	switch {
	case inv["status"] == "paid":
		return nil, invalid("invoice_already_paid", "", "Invoice is already paid")
	case inv["status"] != "open" && inv["status"] != "uncollectible":
		return nil, invalid("", "", "You can only pay an invoice that is open; this one is %s.", inv["status"])
	}
	elsewhere := c.in["paid_out_of_band"] == true
	if c.book.declines > 0 && !elsewhere {
		c.book.declines--
		c.emit("invoice.payment_failed", inv, nil)
		return nil, &Error{Status: 402, Type: "card_error", Code: "card_declined", Message: "Your card was declined."}
	}
	return c.paid(inv, maps.Clone(inv), elsewhere), nil
}

// paid closes o, which inv was.
func (c *call) paid(inv, o object, elsewhere bool) object {
	due := o["amount_remaining"].(int64)
	o["status"], o["paid"], o["paid_out_of_band"], o["amount_remaining"] = "paid", true, elsewhere, int64(0)
	o["status_transitions"], o["attempted"], o["auto_advance"] = stamped(o, "paid_at", c.now), !elsewhere, false
	o["amount_paid"] = due
	if due > 0 && !elsewhere {
		o["charge"], o["payment_intent"] = "ch_3"+random(23), "pi_3"+random(23)
	}
	before := changed(inv, o)
	c.book.put(o, c.now)
	c.emit("invoice.paid", o, nil)
	if !elsewhere {
		c.emit("invoice.payment_succeeded", o, nil)
	}
	c.emit("invoice.updated", o, before)
	return o
}

func (c *call) end(status, stamp, event string, from ...string) (any, error) {
	inv, err := c.live("invoice")
	if err != nil {
		return nil, err
	}
	if !set(from...)[inv["status"].(string)] {
		return nil, invalid("", "", "An invoice that is %s cannot become %s.", inv["status"], status)
	}
	o := maps.Clone(inv)
	o["status"], o["status_transitions"] = status, stamped(inv, stamp, c.now)
	c.replace(inv, o, event)
	return o, nil
}

// PayHosted is a buyer's payment on the invoice's page.
func (a *Account) PayHosted(invoice string) error {
	a.sim.mu.Lock()
	defer a.sim.mu.Unlock()
	c := a.someone(false)
	c.id = invoice
	_, err := c.payInvoice()
	return err
}

// Decline makes the next n payments fail.
func (a *Account) Decline(n int) {
	a.sim.mu.Lock()
	defer a.sim.mu.Unlock()
	a.test.declines = n
}

// Mails are the addresses that an invoice was mailed to, oldest first.
func (a *Account) Mails(invoice string) (to []string) {
	for _, m := range a.All("mail") {
		if m["invoice"] == invoice {
			to = append(to, m["to"].(string))
		}
	}
	return to
}
