package stripesim

import (
	"fmt"
	"maps"
)

func creditNotes(s *Sim) {
	line := hash(params{"type": oneOf("custom_line_item", "invoice_line_item"), "amount": integer, "description": text, "invoice_line_item": text, "quantity": integer,
		"unit_amount": integer, "unit_amount_decimal": decimal, "tax_rates": anything, "tax_amounts": anything})
	known := params{"amount": integer, "credit_amount": integer, "effective_at": integer, "expand": list(text), "invoice": text, "lines": list(line), "memo": text, "metadata": metadata,
		"out_of_band_amount": integer, "reason": oneOf("duplicate", "fraudulent", "order_change", "product_unsatisfactory"), "refund": text, "refund_amount": integer, "shipping_cost": anything}
	s.router.handle("POST /v1/credit_notes", route{params: known, needs: []string{"invoice"}, run: (*call).createNote})
	s.router.handle("GET /v1/credit_notes/{id}", route{params: params{"expand": list(text)}, run: func(c *call) (any, error) { return c.live("credit_note") }})
	s.router.handle("GET /v1/credit_notes", route{params: paging(params{"created": moment, "customer": text, "invoice": text}), run: func(c *call) (any, error) {
		return c.list("credit_note", "/v1/credit_notes", func(o object) bool {
			return (c.in["customer"] == nil || c.in["customer"] == o["customer"]) && (c.in["invoice"] == nil || c.in["invoice"] == o["invoice"])
		})
	}})
	s.router.handle("POST /v1/credit_notes/{id}/void", route{params: params{"expand": list(text)}, run: (*call).voidNote})
}

func (c *call) createNote() (any, error) {
	id, _ := c.in["invoice"].(string)
	inv, gone, ok := c.book.get("invoice", id)
	if !ok || gone {
		return nil, reference("invoice", "invoice", id)
	}
	status := inv["status"]
	if status != "open" && status != "paid" && status != "uncollectible" {
		return nil, invalid("", "invoice", "You can only create a credit note for an invoice that is open, paid or uncollectible; this one is %s.", status)
	}
	total, lines, err := c.credited(inv)
	if err != nil {
		return nil, err
	}
	split, given := int64(0), false
	for _, f := range []string{"credit_amount", "refund_amount", "out_of_band_amount"} {
		n, ok := c.in[f].(int64)
		split, given = split+n, given || ok
	}
	o := maps.Clone(inv)
	if status == "paid" {
		if split != total {
			return nil, invalid("", "amount", "The sum of credit amount, refund amount and out of band amount (%d) must equal the credit note amount (%d).", split, total)
		}
		if left := inv["total"].(int64) - inv["post_payment_credit_notes_amount"].(int64) - inv["pre_payment_credit_notes_amount"].(int64); total > left {
			return nil, invalid("", "amount", "The credit note amount (%d) is more than what is left to credit (%d).", total, left)
		}
		o["post_payment_credit_notes_amount"] = inv["post_payment_credit_notes_amount"].(int64) + total
		if n, _ := c.in["credit_amount"].(int64); n != 0 {
			c.moveBalance(inv["customer"].(string), -n)
		}
	} else {
		if given && split != 0 {
			return nil, invalid("", "credit_amount", "credit_amount, refund_amount and out_of_band_amount are for paid invoices.")
		}
		if due := inv["amount_remaining"].(int64); total > due {
			return nil, invalid("", "amount", "The credit note amount (%d) is more than the amount remaining (%d).", total, due)
		}
		for _, f := range []string{"amount_due", "amount_remaining"} {
			o[f] = inv[f].(int64) - total
		}
		o["pre_payment_credit_notes_amount"] = inv["pre_payment_credit_notes_amount"].(int64) + total
	}
	n := len(c.book.table("credit_note").rows) + 1
	note := object{
		"id": "cn_1" + random(23), "object": "credit_note", "amount": total, "amount_shipping": int64(0), "created": c.now.Unix(), "currency": inv["currency"], "customer": inv["customer"],
		"customer_balance_transaction": nil, "discount_amount": int64(0), "discount_amounts": []any{}, "invoice": id,
		"lines":    object{"object": "list", "data": lines, "has_more": false, "url": "/v1/credit_notes/lines"},
		"livemode": c.book.livemode, "memo": c.in["memo"], "metadata": object{}, "number": fmt.Sprintf("%v-CN-%02d", inv["number"], n), "out_of_band_amount": c.in["out_of_band_amount"],
		"pdf": c.sim.URL + "/_sim/pay/cn", "reason": c.in["reason"], "refund": nil, "status": "issued", "subtotal": total, "tax_amounts": []any{}, "total": total,
		"type": map[bool]string{true: "post_payment", false: "pre_payment"}[status == "paid"], "voided_at": nil,
	}
	note = c.merge(note, nil)
	c.book.put(note, c.now)
	c.emit("credit_note.created", note, nil)
	if status != "paid" && o["amount_remaining"] == int64(0) { // not confirmed: what Stripe does then
		c.paid(inv, o, false)
		return note, nil
	}
	c.replace(inv, o, "invoice.updated")
	return note, nil
}

// credited is what the parameters credit.
func (c *call) credited(inv object) (int64, []object, error) {
	cur := inv["currency"].(string)
	given, _ := c.in["lines"].([]any)
	if n, ok := c.in["amount"].(int64); ok == (len(given) > 0) {
		return 0, nil, invalid("parameter_missing", "amount", "Exactly one of amount and lines is needed.")
	} else if ok {
		if n < 1 {
			return 0, nil, invalid("parameter_invalid_integer", "amount", "Invalid positive integer")
		}
		if e := amountIn(cur, "amount", n); e != nil {
			return 0, nil, e
		}
		return n, []object{}, nil
	}
	total, lines := int64(0), []object{}
	for i, v := range given {
		in, name := v.(object), fmt.Sprintf("lines[%d]", i)
		n, isAmount := in["amount"].(int64)
		each, isUnit := in["unit_amount"].(int64)
		switch {
		case in["type"] == "invoice_line_item" && (!isAmount || !hasLine(c.book, inv, in["invoice_line_item"])):
			return 0, nil, invalid("resource_missing", name+"[invoice_line_item]", "No such invoice line item: '%v'", in["invoice_line_item"])
		case in["type"] == "custom_line_item" && (!isUnit || in["quantity"] == nil || in["description"] == nil):
			return 0, nil, invalid("parameter_missing", name+"[unit_amount]", "A custom line needs description, quantity and unit_amount.")
		case in["type"] == nil:
			return 0, nil, invalid("parameter_missing", name+"[type]", "Missing required param: %s[type].", name)
		}
		if isUnit {
			n = each * in["quantity"].(int64)
		}
		if e := amountIn(cur, name, n); e != nil {
			return 0, nil, e
		}
		total += n
		l := object{"id": "cnli_1" + random(23), "object": "credit_note_line_item", "amount": n, "description": in["description"], "discount_amount": int64(0),
			"discount_amounts": []any{}, "livemode": c.book.livemode, "quantity": in["quantity"], "tax_amounts": []any{}, "tax_rates": []any{}, "type": in["type"], "unit_amount": in["unit_amount"]}
		if in["invoice_line_item"] != nil {
			l["invoice_line_item"] = in["invoice_line_item"]
		}
		lines = append(lines, l)
	}
	return total, lines, nil
}

func hasLine(b *book, inv object, id any) bool {
	for _, l := range invoiceLines(b, inv) {
		if l["id"] == id {
			return true
		}
	}
	return false
}

func (c *call) voidNote() (any, error) {
	old, err := c.live("credit_note")
	if err != nil {
		return nil, err
	}
	inv, _, _ := c.book.get("invoice", old["invoice"].(string))
	if old["status"] == "void" || inv["status"] != "open" {
		return nil, invalid("", "", "Only issued credit notes of open invoices can be voided.")
	}
	o := maps.Clone(old)
	o["status"], o["voided_at"] = "void", c.now.Unix()
	c.replace(old, o, "credit_note.voided")
	back := maps.Clone(inv)
	n := old["total"].(int64)
	for _, f := range []string{"amount_due", "amount_remaining"} {
		back[f] = inv[f].(int64) + n
	}
	back["pre_payment_credit_notes_amount"] = inv["pre_payment_credit_notes_amount"].(int64) - n
	c.replace(inv, back, "invoice.updated")
	return o, nil
}
