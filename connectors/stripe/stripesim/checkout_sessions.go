package stripesim

import (
	"cmp"
	"maps"
	"regexp"
)

func checkoutSessions(s *Sim) {
	known := paging(params{"customer": text, "customer_details": hash(params{"email": text}), "payment_intent": text, "payment_link": text,
		"status": oneOf("complete", "expired", "open"), "subscription": text, "created": moment})
	s.router.handle("GET /v1/checkout/sessions", route{params: known, run: func(c *call) (any, error) {
		return c.list("checkout.session", "/v1/checkout/sessions", func(o object) bool {
			for _, f := range []string{"customer", "payment_intent", "payment_link", "status", "subscription"} {
				if c.in[f] != nil && c.in[f] != o[f] {
					return false
				}
			}
			want, _ := c.in["customer_details"].(object)
			return want == nil || o["customer_details"].(object)["email"] == want["email"]
		})
	}})
	s.router.handle("GET /v1/checkout/sessions/{id}", route{params: params{"expand": list(text)}, run: func(c *call) (any, error) { return c.live("checkout.session") }})
	s.router.handle("GET /v1/checkout/sessions/{id}/line_items", route{params: paging(nil), run: func(c *call) (any, error) {
		o, err := c.live("checkout.session")
		if err != nil {
			return nil, err
		}
		return c.slice(o[allItems].([]object), "/v1/checkout/sessions/"+c.id+"/line_items")
	}})
}

// Checkout is what a buyer does with a payment link.
type Checkout struct {
	Link              string            `json:"payment_link"` // any id; that of a link gives what it sells, and its metadata
	Email             string            `json:"email"`
	Name              string            `json:"name"`
	ClientReferenceID string            `json:"client_reference_id"` // dropped when it has a character that links do not take
	Metadata          map[string]string `json:"metadata"`            // of the link, which its sessions copy
	Mode              string            `json:"mode"`                // payment, subscription
	Currency          string            `json:"currency"`
	Items             []Item            `json:"items"`
	Delayed           bool              `json:"delayed"` // completed unpaid; SettleCheckout says how it ends
}

// Item is one line of a checkout.
type Item struct {
	Price       string `json:"price"`
	Product     string `json:"product"`
	LookupKey   string `json:"lookup_key"`
	Description string `json:"description"`
	Quantity    int64  `json:"quantity"`
	Amount      int64  `json:"amount"` // of the line, in minor units
}

var referenceable = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)

// Complete makes a customer and a completed session, as a buyer's visit in test mode does, and returns the session; nil
// when the link takes nobody any more.
func (a *Account) Complete(in Checkout) map[string]any {
	a.sim.mu.Lock()
	defer a.sim.mu.Unlock()
	c := a.someone(false)
	if link, _, ok := c.book.get("payment_link", in.Link); ok && link["active"] != true {
		return nil
	}
	return c.complete(in)
}

func (c *call) complete(in Checkout) object {
	c.in = object{"email": nilIfEmpty(in.Email), "name": nilIfEmpty(in.Name)}
	made, _ := c.createCustomer() // fails for bad ids only
	customer := made.(object)
	link, _, known := c.book.get("payment_link", in.Link)
	if known {
		in.take(link)
	}
	in.Mode, in.Currency = cmp.Or(in.Mode, "payment"), cmp.Or(in.Currency, "usd")
	lines, total := c.lineItems(in)
	if known {
		lines = maps.Clone(link["line_items"].(object))
		total = 0
		for _, l := range lines["data"].([]object) {
			total += l["amount_total"].(int64)
		}
	}
	status := "paid"
	if in.Delayed {
		status = "unpaid"
	} else if total == 0 {
		status = "no_payment_required"
	}
	data := object{}
	for k, v := range in.Metadata {
		data[k] = v
	}
	o := object{
		"id": "cs_test_a1" + random(58), "object": "checkout.session", "amount_subtotal": total, "amount_total": total, "client_reference_id": nil,
		"created": c.now.Unix(), "currency": in.Currency, "customer": customer["id"], "customer_creation": "always",
		"customer_details": object{"address": nil, "email": nilIfEmpty(in.Email), "name": nilIfEmpty(in.Name), "phone": nil, "tax_exempt": "none", "tax_ids": []any{}},
		"customer_email":   nil, "expires_at": c.now.Unix() + 24*3600, "invoice": nil, "line_items": lines, "livemode": c.book.livemode, "metadata": data,
		allItems: lines["data"],
		"mode":   in.Mode, "payment_intent": nil, "payment_link": nilIfEmpty(in.Link), "payment_status": status, "status": "complete", "subscription": nil,
		"cancel_url": nil, "success_url": nil, "url": nil, "automatic_tax": object{"enabled": false, "liability": nil, "status": nil}, "custom_fields": []any{},
		"custom_text": object{"after_submit": nil, "shipping_address": nil, "submit": nil, "terms_of_service_acceptance": nil}, "payment_method_types": []any{"card"}, "shipping_options": []any{},
	}
	if referenceable.MatchString(in.ClientReferenceID) {
		o["client_reference_id"] = in.ClientReferenceID
	}
	if in.Mode == "subscription" {
		sub := object{"id": "sub_1" + random(23), "object": "subscription", "created": c.now.Unix(), "currency": in.Currency, "customer": customer["id"],
			"automatic_tax": object{"enabled": false, "liability": nil}, "billing_cycle_anchor": c.now.Unix(), "cancel_at_period_end": false, "collection_method": "charge_automatically",
			"current_period_end": c.now.AddDate(0, 1, 0).Unix(), "current_period_start": c.now.Unix(), "start_date": c.now.Unix(),
			"items":    object{"object": "list", "data": []object{}, "has_more": false, "url": "/v1/subscription_items"}, // not simulated
			"livemode": c.book.livemode, "metadata": object{}, "status": "active"}
		if known && link["subscription_data"] != nil {
			if m, ok := link["subscription_data"].(object)["metadata"].(object); ok {
				sub["metadata"] = m
			}
		}
		c.book.put(sub, c.now)
		o["subscription"] = sub["id"]
		if status == "paid" {
			o["invoice"] = c.firstInvoice(sub, customer, lines["data"].([]object), total)
		}
	} else if total > 0 {
		o["payment_intent"] = "pi_3" + random(23)
	}
	if status == "paid" {
		c.emit("payment_intent.succeeded", object{"id": cmp.Or(o["payment_intent"], any("pi_3"+random(23))), "object": "payment_intent", "amount": total, "currency": in.Currency,
			"capture_method": "automatic", "confirmation_method": "automatic", "created": c.now.Unix(), "payment_method_types": []any{"card"},
			"customer": customer["id"], "livemode": c.book.livemode, "metadata": object{}, "status": "succeeded"}, nil)
	}
	if known {
		c.spend(link)
	}
	o["line_items"] = firstOf(lines["data"].([]object), "/v1/checkout/sessions/"+o["id"].(string)+"/line_items")
	c.book.put(o, c.now)
	c.emit("checkout.session.completed", o, nil)
	return o
}

// take makes the checkout one of the link.
func (in *Checkout) take(link object) {
	in.Mode, in.Currency, in.Metadata = "payment", link["currency"].(string), map[string]string{}
	for k, v := range link["metadata"].(object) {
		in.Metadata[k] = v.(string)
	}
	for _, l := range link["line_items"].(object)["data"].([]object) {
		if l["price"].(object)["recurring"] != nil {
			in.Mode = "subscription"
		}
	}
}

// firstInvoice is that of a subscription, paid in its checkout. It has nothing of the link's metadata.
func (c *call) firstInvoice(sub, customer object, items []object, total int64) any {
	o := c.blankInvoice(customer, sub["currency"].(string))
	var lines []object
	for _, i := range items {
		lines = append(lines, object{"id": "il_1" + random(23), "object": "line_item", "amount": i["amount_total"], "currency": i["currency"], "description": i["description"],
			"discountable": true, "proration": false, "livemode": c.book.livemode, "metadata": object{}, "period": object{"start": c.now.Unix(), "end": c.now.AddDate(0, 1, 0).Unix()}, "price": i["price"],
			"quantity": i["quantity"], "subscription": sub["id"], "type": "subscription"})
	}
	o["subscription"], o["billing_reason"], o["subtotal"], o["total"], o["amount_due"], o["amount_remaining"] = sub["id"], "subscription_create", total, total, total, total
	o["lines"] = firstOf(lines, "/v1/invoices/"+o["id"].(string)+"/lines")
	c.book.put(o, c.now)
	c.emit("invoice.created", o, nil)
	opened := maps.Clone(o)
	opened["number"], opened["status"] = customer["invoice_prefix"].(string)+"-0001", "open"
	opened["status_transitions"] = stamped(o, "finalized_at", c.now)
	c.replace(o, opened, "invoice.finalized")
	c.emit("customer.subscription.created", sub, nil)
	c.paid(opened, maps.Clone(opened), false)
	return o["id"]
}

// spend counts a completed session against the link's limit, after which nobody can use it.
func (c *call) spend(link object) {
	limits, _ := link["restrictions"].(object)
	sessions, _ := limits["completed_sessions"].(object)
	if sessions == nil {
		return
	}
	done := sessions["count"].(int64) + 1
	o := maps.Clone(link)
	o["restrictions"] = object{"completed_sessions": object{"count": done, "limit": sessions["limit"]}}
	o["active"] = done < sessions["limit"].(int64)
	c.replace(link, o, "payment_link.updated")
}

func (c *call) lineItems(in Checkout) (lines object, total int64) {
	if in.Items == nil {
		in.Items = []Item{{Description: "Plan", Amount: 1000}}
	}
	data := []object{}
	for _, i := range in.Items {
		n := max(i.Quantity, 1)
		total += i.Amount
		price := object{
			"id": cmp.Or(i.Price, "price_1"+random(23)), "object": "price", "active": true, "billing_scheme": "per_unit", "created": c.now.Unix(), "currency": in.Currency, "livemode": c.book.livemode,
			"lookup_key": nilIfEmpty(i.LookupKey), "metadata": object{}, "nickname": nil, "product": cmp.Or(i.Product, "prod_"+random(14)),
			"recurring": nil, "tiers_mode": nil, "type": "one_time", "unit_amount": i.Amount / n,
		}
		if in.Mode == "subscription" {
			price["type"], price["recurring"] = "recurring", object{"interval": "month", "interval_count": 1, "usage_type": "licensed", "aggregate_usage": nil}
		}
		data = append(data, object{"id": "li_1" + random(23), "object": "item", "amount_discount": 0, "amount_subtotal": i.Amount, "amount_tax": 0,
			"amount_total": i.Amount, "currency": in.Currency, "description": i.Description, "price": price, "quantity": n})
	}
	return object{"object": "list", "data": data, "has_more": false, "url": "/v1/checkout/sessions/line_items"}, total
}

// SettleCheckout ends a delayed payment.
func (a *Account) SettleCheckout(session string, paid bool) error {
	a.sim.mu.Lock()
	defer a.sim.mu.Unlock()
	c := a.someone(false)
	c.id = session
	old, err := c.live("checkout.session")
	if err != nil {
		return err
	}
	o, typ := maps.Clone(old), "checkout.session.async_payment_failed"
	if paid {
		o["payment_status"], typ = "paid", "checkout.session.async_payment_succeeded"
	}
	c.book.put(o, c.now)
	c.emit(typ, o, nil)
	return nil
}
