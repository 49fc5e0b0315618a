package stripesim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// shown is how many lines an invoice itself holds; the rest is at its own URL.
const shown = 10

const maxLines = 250

var invoiceFields = []string{"auto_advance", "collection_method", "custom_fields", "description", "due_date", "footer", "number"}

func invoices(s *Sim) {
	expand := params{"expand": list(text)}
	update := params{
		"account_tax_ids": anything, "application_fee_amount": integer, "auto_advance": boolean, "automatic_tax": hash(params{"enabled": boolean, "liability": anything}),
		"collection_method": oneOf("charge_automatically", "send_invoice"), "custom_fields": list(hash(params{"name": textUpTo(30), "value": textUpTo(30)})), "days_until_due": integer,
		"default_payment_method": text, "default_source": text, "default_tax_rates": anything, "description": textUpTo(1500), "discounts": anything, "due_date": integer,
		"effective_at": integer, "expand": list(text), "footer": textUpTo(5000), "issuer": anything, "metadata": metadata, "number": textUpTo(26), "on_behalf_of": text,
		"payment_settings": anything, "rendering": anything, "shipping_cost": anything, "shipping_details": anything, "statement_descriptor": text, "transfer_data": anything,
	}
	create := with(update, params{"currency": currency, "customer": text, "from_invoice": anything, "pending_invoice_items_behavior": oneOf("exclude", "include"), "subscription": text})
	at := func(path string, p params, run func(*call) (any, error)) {
		s.router.handle(path, route{params: p, run: run})
	}
	at("POST /v1/invoices", create, (*call).createInvoice)
	at("POST /v1/invoices/{id}", update, (*call).updateInvoice)
	at("GET /v1/invoices/{id}", expand, func(c *call) (any, error) { return c.live("invoice") })
	at("DELETE /v1/invoices/{id}", nil, (*call).deleteInvoice)
	at("GET /v1/invoices", paging(params{"collection_method": text, "created": moment, "customer": text, "due_date": moment, "status": oneOf("draft", "open", "paid", "uncollectible", "void"), "subscription": text}),
		func(c *call) (any, error) {
			return c.list("invoice", "/v1/invoices", func(o object) bool {
				for _, f := range []string{"collection_method", "customer", "status", "subscription"} {
					if c.in[f] != nil && c.in[f] != o[f] {
						return false
					}
				}
				return true
			})
		})
	at("GET /v1/invoices/{id}/lines", paging(nil), (*call).listLines)
	at("POST /v1/invoices/{id}/finalize", with(expand, params{"auto_advance": boolean}), (*call).finalizeInvoice)
	at("POST /v1/invoices/{id}/send", expand, (*call).sendInvoice)
	at("POST /v1/invoices/{id}/pay", with(expand, params{"forgive": boolean, "mandate": text, "off_session": boolean, "paid_out_of_band": boolean, "payment_method": text, "source": text}), (*call).payInvoice)
	at("POST /v1/invoices/{id}/void", expand, func(c *call) (any, error) {
		return c.end("void", "voided_at", "invoice.voided", "open", "uncollectible")
	})
	at("POST /v1/invoices/{id}/mark_uncollectible", expand, func(c *call) (any, error) {
		return c.end("uncollectible", "marked_uncollectible_at", "invoice.marked_uncollectible", "open")
	})
	item := params{"amount": integer, "currency": currency, "customer": text, "description": text, "discountable": boolean, "discounts": anything, "expand": list(text), "invoice": text,
		"metadata": metadata, "period": hash(params{"start": integer, "end": integer}), "price": text, "price_data": anything, "quantity": integer, "subscription": text,
		"tax_behavior": text, "tax_code": text, "tax_rates": anything, "unit_amount": integer, "unit_amount_decimal": decimal}
	s.router.handle("POST /v1/invoiceitems", route{params: item, needs: []string{"customer"}, run: (*call).createItem})
	at("GET /v1/invoiceitems/{id}", expand, func(c *call) (any, error) { return c.live("invoiceitem") })
	at("GET /v1/invoiceitems", paging(params{"created": moment, "customer": text, "invoice": text, "pending": boolean}), func(c *call) (any, error) {
		return c.list("invoiceitem", "/v1/invoiceitems", func(o object) bool {
			return (c.in["customer"] == nil || c.in["customer"] == o["customer"]) && (c.in["invoice"] == nil || c.in["invoice"] == o["invoice"]) &&
				(c.in["pending"] == nil || c.in["pending"] == (o["invoice"] == nil))
		})
	})
}

func (c *call) createInvoice() (any, error) {
	id, _ := c.in["customer"].(string)
	if id == "" {
		return nil, invalid("parameter_missing", "customer", "Missing required param: customer.")
	}
	cus, gone, ok := c.book.get("customer", id)
	if !ok || gone {
		return nil, reference("customer", "customer", id)
	}
	cur, _ := c.in["currency"].(string)
	if fixed, _ := cus["currency"].(string); cur == "" {
		cur = cmp.Or(fixed, "usd")
	} else if fixed != "" && fixed != cur {
		return nil, invalid("", "currency", "You cannot combine currencies on a single customer. This customer has had a subscription, coupon, or invoice item with currency %s.", fixed)
	}
	method, _ := c.in["collection_method"].(string)
	due, err := c.due(cmp.Or(method, "charge_automatically"), cus)
	if err != nil {
		return nil, err
	}
	o := c.blankInvoice(cus, cur)
	o = c.merge(o, invoiceFields)
	o["due_date"] = due
	if at, ok := c.in["automatic_tax"].(object); ok && at["enabled"] == true {
		o["automatic_tax"] = object{"enabled": true, "liability": object{"type": "self"}, "status": "complete"}
	}
	o["lines"] = c.book.linesOf(o)
	c.book.put(o, c.now)
	c.emit("invoice.created", o, nil)
	return o, nil
}

// blankInvoice is a draft without lines.
func (c *call) blankInvoice(cus object, cur string) object {
	return object{
		"id": "in_1" + random(23), "object": "invoice", "account_country": "US", "account_name": "Simulated", "amount_due": int64(0), "amount_paid": int64(0), "amount_remaining": int64(0),
		"amount_shipping": int64(0), "attempt_count": int64(0), "attempted": false, "auto_advance": false, "automatic_tax": object{"enabled": false, "liability": nil, "status": nil},
		"billing_reason": "manual", "charge": nil, "collection_method": "charge_automatically", "created": c.now.Unix(), "currency": cur, "custom_fields": nil, "customer": cus["id"],
		"customer_address": cus["address"], "customer_email": cus["email"], "customer_name": cus["name"], "customer_phone": cus["phone"], "default_payment_method": nil, "default_tax_rates": []any{}, "description": nil,
		"discount": nil, "discounts": []any{}, "due_date": nil, "effective_at": nil, "ending_balance": nil, "footer": nil, "hosted_invoice_url": nil, "invoice_pdf": nil, "issuer": object{"type": "self"},
		"last_finalization_error": nil, "livemode": c.book.livemode, "metadata": object{}, "next_payment_attempt": nil, "number": nil, "paid": false, "paid_out_of_band": false,
		"payment_intent": nil, "payment_settings": object{"default_mandate": nil, "payment_method_options": nil, "payment_method_types": nil}, "period_end": c.now.Unix(), "period_start": c.now.Unix(), "post_payment_credit_notes_amount": int64(0), "pre_payment_credit_notes_amount": int64(0),
		"starting_balance": int64(0), "status": "draft", "status_transitions": object{"finalized_at": nil, "marked_uncollectible_at": nil, "paid_at": nil, "voided_at": nil},
		"subscription": nil, "subtotal": int64(0), "tax": nil, "total": int64(0), "total_discount_amounts": []any{}, "total_tax_amounts": []any{}, "webhooks_delivered_at": nil,
	}
}

// due is the due date a method asks for.
func (c *call) due(method string, cus object) (any, error) {
	days, hasDays := c.in["days_until_due"].(int64)
	date, hasDate := c.in["due_date"].(int64)
	switch {
	case method != "send_invoice" && (hasDays || hasDate):
		return nil, invalid("", "due_date", "You can only set a due date where collection_method is send_invoice.")
	case method != "send_invoice":
		return nil, nil
	case hasDays && hasDate:
		return nil, invalid("", "due_date", "Only one of due_date and days_until_due can be given.")
	case cus["email"] == nil:
		return nil, invalid("", "customer", "Missing email. In order to create invoices that are sent to the customer, the customer must have a valid email.")
	case hasDays:
		return c.now.Add(time.Duration(days) * 24 * time.Hour).Unix(), nil
	case hasDate && date <= c.now.Unix():
		return nil, invalid("", "due_date", "Invalid due_date: it must be in the future.")
	case hasDate:
		return date, nil
	}
	return nil, invalid("parameter_missing", "days_until_due", "If invoice collection method is 'send_invoice', a due date is needed.")
}

// replace stores a changed object and tells of it.
func (c *call) replace(old, o object, event string) {
	before := changed(old, o)
	c.book.put(o, c.now)
	c.emit(event, o, before)
}

func (c *call) updateInvoice() (any, error) {
	old, err := c.live("invoice")
	if err != nil {
		return nil, err
	}
	for name := range c.in {
		if old["status"] != "draft" && name != "metadata" && name != "expand" && name != "auto_advance" {
			return nil, invalid("invoice_not_editable", name, "Finalized invoices can't be updated in this way")
		}
	}
	return c.update("invoice", invoiceFields, "invoice.updated")
}

func (c *call) deleteInvoice() (any, error) {
	o, err := c.live("invoice")
	if err != nil {
		return nil, err
	}
	if o["status"] != "draft" {
		return nil, invalid("", "", "You can only delete draft invoices.")
	}
	for _, i := range c.book.items(c.id) {
		c.book.remove("invoiceitem", i["id"].(string), c.now)
	}
	stone := c.book.remove("invoice", c.id, c.now)
	c.emit("invoice.deleted", o, nil)
	return stone, nil
}

func (c *call) createItem() (any, error) {
	id, _ := c.in["customer"].(string)
	cus, gone, ok := c.book.get("customer", id)
	if !ok || gone {
		return nil, reference("customer", "customer", id)
	}
	amount, isAmount := c.in["amount"].(int64)
	if each, ok := c.in["unit_amount"].(int64); ok && !isAmount {
		n, _ := c.in["quantity"].(int64)
		amount, isAmount = each*max(n, 1), true
	}
	if !isAmount {
		return nil, invalid("parameter_missing", "amount", "You must pass either `price`, `unit_amount` or `amount`.")
	}
	cur, _ := c.in["currency"].(string)
	var inv object
	if in, ok := c.in["invoice"].(string); ok {
		if inv, gone, ok = c.book.get("invoice", in); !ok || gone {
			return nil, reference("invoice", "invoice", in)
		}
		switch {
		case inv["customer"] != id:
			return nil, invalid("", "invoice", "The invoice belongs to another customer.")
		case inv["status"] != "draft":
			return nil, invalid("invoice_not_editable", "invoice", "This invoice is no longer editable")
		case cur != "" && cur != inv["currency"]:
			return nil, invalid("", "currency", "The currency of the invoice item must be that of the invoice.")
		case len(c.book.items(in)) >= maxLines:
			return nil, invalid("", "invoice", "An invoice has at most %d items.", maxLines)
		}
		cur = inv["currency"].(string)
	}
	if fixed, _ := cus["currency"].(string); fixed != "" && cur != "" && fixed != cur {
		return nil, invalid("", "currency", "You cannot combine currencies on a single customer. This customer has had a subscription, coupon, or invoice item with currency %s.", fixed)
	}
	cur = cmp.Or(cur, "usd")
	if e := amountIn(cur, "amount", amount); e != nil {
		return nil, e
	}
	period := object{"start": c.now.Unix(), "end": c.now.Unix()}
	if p, ok := c.in["period"].(object); ok {
		if p["start"] == nil || p["end"] == nil {
			return nil, invalid("parameter_missing", "period", "A period needs start and end.")
		}
		period = p
	}
	o := c.merge(object{
		"id": "ii_1" + random(23), "object": "invoiceitem", "amount": amount, "currency": cur, "customer": id, "date": c.now.Unix(), "description": nil,
		"discountable": amount >= 0, "discounts": []any{}, "invoice": nil, "livemode": c.book.livemode, "metadata": object{}, "period": period, "price": nil, "proration": false,
		"quantity": int64(1), "subscription": nil, "tax_rates": []any{}, "unit_amount": amount, "unit_amount_decimal": fmt.Sprint(amount), "line": "il_1" + random(23),
	}, []string{"description", "invoice", "discountable"})
	c.book.put(o, c.now)
	if cus["currency"] == nil { // for ever
		fixed := maps.Clone(cus)
		fixed["currency"] = cur
		c.replace(cus, fixed, "customer.updated")
	}
	c.emit("invoiceitem.created", o, nil)
	if inv != nil {
		c.replace(inv, c.book.summed(inv), "invoice.updated")
	}
	return o, nil
}

// items are those of an invoice, oldest first.
func (b *book) items(invoice string) (out []object) {
	for _, i := range b.table("invoiceitem").current() {
		if i["invoice"] == invoice {
			out = append(out, i)
		}
	}
	return out
}

func invoiceLines(b *book, inv object) (out []object) {
	for _, i := range b.items(inv["id"].(string)) {
		out = append(out, object{"id": i["line"], "object": "line_item", "amount": i["amount"], "currency": i["currency"], "description": i["description"], "discountable": i["discountable"],
			"invoice_item": i["id"], "livemode": i["livemode"], "metadata": i["metadata"], "period": i["period"], "price": nil, "proration": false, "quantity": i["quantity"],
			"subscription": nil, "tax_amounts": []any{}, "type": "invoiceitem"})
	}
	return out
}

func (b *book) linesOf(inv object) object {
	return firstOf(invoiceLines(b, inv), "/v1/invoices/"+inv["id"].(string)+"/lines")
}

// taxPercent is what automatic tax adds here.
const taxPercent = 10

// summed is the draft with its totals as its items make them.
func (b *book) summed(inv object) object {
	o, sum := maps.Clone(inv), int64(0)
	for _, i := range b.items(inv["id"].(string)) {
		sum += i["amount"].(int64)
	}
	o["subtotal"], o["total"] = sum, sum
	if o["automatic_tax"].(object)["enabled"] == true {
		tax := sum * taxPercent / 100
		o["tax"], o["total"] = tax, sum+tax
	}
	due := max(o["total"].(int64), 0)
	o["amount_due"], o["amount_remaining"], o["lines"] = due, due, b.linesOf(o)
	return o
}

func (c *call) listLines() (any, error) {
	inv, err := c.live("invoice")
	if err != nil {
		return nil, err
	}
	return c.slice(invoiceLines(c.book, inv), "/v1/invoices/"+c.id+"/lines")
}

// slice answers a page of a list that is no table.
func (c *call) slice(all []object, url string) (any, error) {
	limit, e := c.limit()
	if e != nil {
		return nil, e
	}
	if after, ok := c.in["starting_after"].(string); ok {
		i := slices.IndexFunc(all, func(o object) bool { return o["id"] == after })
		if i < 0 {
			return nil, reference("line item", "starting_after", after)
		}
		all = all[i+1:]
	}
	return object{"object": "list", "url": url, "has_more": len(all) > limit, "data": slices.Clone(all[:min(limit, len(all))])}, nil
}

// firstOf is a list inside of another object.
func firstOf(all []object, url string) object {
	return object{"object": "list", "data": append([]object{}, all[:min(shown, len(all))]...), "has_more": len(all) > shown, "url": url}
}
