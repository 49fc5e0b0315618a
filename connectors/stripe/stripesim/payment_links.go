package stripesim

import (
	"fmt"
	"maps"
)

func paymentLinks(s *Sim) {
	update := params{
		"active": boolean, "after_completion": anything, "allow_promotion_codes": boolean, "automatic_tax": anything, "billing_address_collection": oneOf("auto", "required"),
		"custom_fields": anything, "custom_text": anything, "customer_creation": oneOf("always", "if_required"), "expand": list(text), "inactive_message": text,
		"invoice_creation": anything, "metadata": metadata, "payment_intent_data": anything, "payment_method_collection": oneOf("always", "if_required"), "payment_method_types": anything,
		"restrictions": restrictions, "shipping_address_collection": anything,
		"subscription_data": hash(params{"description": text, "invoice_settings": anything, "metadata": metadata, "trial_period_days": integer, "trial_settings": anything}),
		"line_items":        list(hash(params{"id": text, "price": text, "quantity": integer, "adjustable_quantity": anything})),
	}
	create := with(update, params{
		"after_completion":   hash(params{"type": oneOf("hosted_confirmation", "redirect"), "redirect": hash(params{"url": text}), "hosted_confirmation": anything}),
		"consent_collection": anything, "currency": currency, "on_behalf_of": text, "phone_number_collection": anything, "shipping_options": anything, "submit_type": text,
		"tax_id_collection": anything, "transfer_data": anything, "application_fee_amount": integer, "application_fee_percent": anything,
	})
	delete(create, "active")
	s.router.handle("POST /v1/payment_links", route{params: create, needs: []string{"line_items"}, run: (*call).createLink})
	s.router.handle("POST /v1/payment_links/{id}", route{params: update, run: func(c *call) (any, error) {
		return c.update("payment_link", []string{"active", "allow_promotion_codes", "billing_address_collection", "inactive_message", "restrictions"}, "payment_link.updated")
	}})
	s.router.handle("GET /v1/payment_links/{id}", route{params: params{"expand": list(text)}, run: func(c *call) (any, error) { return c.live("payment_link") }})
	s.router.handle("GET /v1/payment_links", route{params: paging(params{"active": boolean}), run: func(c *call) (any, error) {
		return c.list("payment_link", "/v1/payment_links", func(o object) bool { return c.in["active"] == nil || c.in["active"] == o["active"] })
	}})
	s.router.handle("GET /v1/payment_links/{id}/line_items", route{params: paging(nil), run: func(c *call) (any, error) {
		o, err := c.live("payment_link")
		if err != nil {
			return nil, err
		}
		return o["line_items"], nil
	}})
}

// restrictions need a limit.
func restrictions(name string, v any) (any, *Error) {
	out, e := hash(params{"completed_sessions": hash(params{"limit": integer})})(name, v)
	if o, ok := out.(object); ok && e == nil {
		if sessions, _ := o["completed_sessions"].(object); sessions["limit"] == nil {
			return nil, invalid("parameter_missing", name+"[completed_sessions][limit]", "Missing required param: %s[completed_sessions][limit].", name)
		}
	}
	return out, e
}

func (c *call) createLink() (any, error) {
	given, _ := c.in["line_items"].([]any)
	if len(given) == 0 || len(given) > 20 {
		return nil, invalid("", "line_items", "Payment links have 1 to 20 line items.")
	}
	lines, every, cur := []object{}, "", any(nil)
	for i, v := range given {
		item, name := v.(object), fmt.Sprintf("line_items[%d]", i)
		id, _ := item["price"].(string)
		p, _, ok := c.book.get("price", id)
		n, _ := item["quantity"].(int64)
		switch {
		case !ok:
			return nil, reference("price", name+"[price]", id)
		case p["active"] != true:
			return nil, invalid("", name+"[price]", "The price specified is inactive. This field only accepts active prices.")
		case n < 1:
			return nil, invalid("parameter_missing", name+"[quantity]", "Quantity is required and must be at least 1.")
		case cur != nil && cur != p["currency"]:
			return nil, invalid("", name+"[price]", "All prices must have the same currency.")
		}
		cur = p["currency"]
		if r, ok := p["recurring"].(object); ok {
			if r["usage_type"] == "metered" {
				return nil, invalid("", name+"[quantity]", "Quantity should not be specified where usage_type is metered.")
			}
			this := fmt.Sprint(r["interval_count"], r["interval"])
			if every != "" && every != this {
				return nil, invalid("", name+"[price]", "All recurring prices must have the same interval.")
			}
			every = this
		}
		lines = append(lines, lineItem(c.book, p, n))
	}
	trial, _ := c.in["subscription_data"].(object)
	switch {
	case every != "" && c.in["customer_creation"] != nil:
		return nil, invalid("", "customer_creation", "customer_creation can only be used with one-time prices.")
	case every == "" && trial != nil:
		return nil, invalid("", "subscription_data", "subscription_data can only be used with recurring prices.")
	}
	id := "plink_1" + random(23)
	o := object{
		"id": id, "object": "payment_link", "active": true, "after_completion": object{"type": "hosted_confirmation", "hosted_confirmation": object{"custom_message": nil}},
		"allow_promotion_codes": false, "application_fee_amount": nil, "application_fee_percent": nil, "automatic_tax": object{"enabled": false, "liability": nil},
		"billing_address_collection": "auto", "consent_collection": nil, "currency": cur, "custom_fields": []any{},
		"custom_text":             object{"after_submit": nil, "shipping_address": nil, "submit": nil, "terms_of_service_acceptance": nil},
		"phone_number_collection": object{"enabled": false}, "tax_id_collection": object{"enabled": false}, "customer_creation": "if_required",
		"inactive_message": nil, "invoice_creation": nil, "line_items": object{"object": "list", "data": lines, "has_more": false, "url": "/v1/payment_links/" + id + "/line_items"},
		"livemode": c.book.livemode, "metadata": object{}, "on_behalf_of": nil, "payment_intent_data": nil, "payment_method_collection": "always", "payment_method_types": nil,
		"restrictions": nil, "shipping_address_collection": nil, "shipping_options": []any{}, "submit_type": "auto", "subscription_data": nil, "transfer_data": nil,
		"url": c.sim.URL + "/_sim/pay/test_" + random(18),
	}
	if every != "" {
		o["customer_creation"] = "always"
	}
	o = c.merge(o, []string{"after_completion", "allow_promotion_codes", "billing_address_collection", "customer_creation", "inactive_message", "restrictions", "subscription_data"})
	if r, ok := o["restrictions"].(object); ok {
		o["restrictions"] = object{"completed_sessions": object{"count": int64(0), "limit": r["completed_sessions"].(object)["limit"]}}
	}
	if trial != nil {
		sub := object{"description": nil, "invoice_settings": object{"issuer": object{"type": "self"}}, "metadata": object{}, "trial_period_days": nil, "trial_settings": nil}
		maps.Copy(sub, trial)
		o["subscription_data"] = sub
	}
	c.book.put(o, c.now)
	c.emit("payment_link.created", o, nil)
	return o, nil
}

// lineItem is a line of a link or a session.
func lineItem(b *book, price object, n int64) object {
	each, _ := price["unit_amount"].(int64)
	price = maps.Clone(price)
	delete(price, "tiers")
	description := any(nil)
	if p, _, ok := b.get("product", price["product"].(string)); ok {
		description = p["name"]
	}
	return object{"id": "li_1" + random(23), "object": "item", "amount_discount": int64(0), "amount_subtotal": each * n, "amount_tax": int64(0),
		"amount_total": each * n, "currency": price["currency"], "description": description, "price": price, "quantity": n}
}
