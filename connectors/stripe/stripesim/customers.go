package stripesim

import (
	"maps"
	"reflect"
	"strings"
)

var customerParams = params{
	"address": address, "balance": integer, "cash_balance": anything, "coupon": text, "description": textUpTo(350), "email": email,
	"expand": list(text), "invoice_prefix": text, "invoice_settings": anything, "metadata": metadata, "name": textUpTo(256),
	"next_invoice_sequence": integer, "payment_method": text, "phone": textUpTo(20), "preferred_locales": list(text), "promotion_code": text,
	"shipping": anything, "source": text, "tax": anything, "tax_exempt": oneOf("none", "exempt", "reverse"), "tax_id_data": list(anything), "test_clock": text, "validate": boolean,
}

func customers(s *Sim) {
	s.router.handle("POST /v1/customers", route{params: customerParams, run: (*call).createCustomer})
	s.router.handle("POST /v1/customers/{id}", route{params: customerParams, run: (*call).updateCustomer})
	s.router.handle("GET /v1/customers/{id}", route{params: params{"expand": list(text)}, run: func(c *call) (any, error) {
		o, _, ok := c.book.get("customer", c.id)
		if !ok {
			return nil, missing("customer", "id", c.id)
		}
		return o, nil
	}})
	s.router.handle("GET /v1/customers", route{params: paging(params{"email": text, "created": moment, "test_clock": text}), run: func(c *call) (any, error) {
		return c.list("customer", "/v1/customers", func(o object) bool { return c.in["email"] == nil || o["email"] == c.in["email"] })
	}})
	s.router.handle("GET /v1/customers/search", route{params: params{"query": text, "limit": integer, "page": text, "expand": list(text)}, needs: []string{"query"}, run: func(c *call) (any, error) {
		return c.search("customer", "/v1/customers/search")
	}})
	s.router.handle("DELETE /v1/customers/{id}", route{run: func(c *call) (any, error) {
		o, err := c.live("customer")
		if err != nil {
			return nil, err
		}
		stone := c.book.remove("customer", c.id, c.now)
		c.emit("customer.deleted", o, nil)
		return stone, nil
	}})
}

// fields of a customer that a parameter of the same name sets.
var customerFields = []string{"address", "balance", "description", "email", "name", "phone", "preferred_locales", "shipping", "tax_exempt", "invoice_prefix", "next_invoice_sequence"}

func (c *call) createCustomer() (any, error) {
	o := object{
		"id": "cus_" + random(14), "object": "customer", "address": nil, "balance": int64(0), "created": c.now.Unix(), "currency": nil,
		"default_source": nil, "delinquent": false, "description": nil, "discount": nil, "email": nil, "invoice_prefix": strings.ToUpper(random(8)),
		"invoice_settings": object{"custom_fields": nil, "default_payment_method": nil, "footer": nil, "rendering_options": nil},
		"livemode":         c.book.livemode, "metadata": object{}, "name": nil, "next_invoice_sequence": int64(1), "phone": nil, "preferred_locales": []any{},
		"shipping": nil, "tax_exempt": "none", "test_clock": nil,
	}
	o = c.merge(o, customerFields)
	c.book.put(o, c.now)
	c.emit("customer.created", o, nil)
	return o, nil
}

func (c *call) updateCustomer() (any, error) {
	old, err := c.live("customer")
	if err != nil {
		return nil, err
	}
	o := c.merge(old, customerFields)
	if before := changed(old, o); len(before) > 0 {
		c.book.put(o, c.now)
		c.emit("customer.updated", o, before)
	}
	return o, nil
}

// merge returns a copy with the parameters of these names, and the metadata, applied.
func (c *call) merge(old object, fields []string) object {
	o := maps.Clone(old)
	for _, f := range fields {
		v, ok := c.in[f]
		if !ok {
			continue
		}
		if f == "address" && v != nil {
			whole := object{"line1": nil, "line2": nil, "city": nil, "state": nil, "postal_code": nil, "country": nil}
			maps.Copy(whole, v.(object))
			v = whole
		}
		o[f] = v
	}
	v, ok := c.in["metadata"]
	if !ok {
		return o
	}
	data := object{}
	if v != nil {
		maps.Copy(data, old["metadata"].(object))
		maps.Copy(data, v.(object))
		maps.DeleteFunc(data, func(_ string, v any) bool { return v == "" || v == nil })
	}
	o["metadata"] = data
	return o
}

// changed is an update's previous_attributes: top-level values as they were, of metadata only the keys that differ.
func changed(old, o object) object {
	before := object{}
	for k, v := range o {
		if reflect.DeepEqual(v, old[k]) {
			continue
		}
		before[k] = old[k]
		was, ok := old[k].(object)
		now, ok2 := v.(object)
		if !ok || !ok2 {
			continue
		}
		keys := object{}
		for name, v := range was {
			if !reflect.DeepEqual(now[name], v) {
				keys[name] = v
			}
		}
		for name := range now {
			if _, ok := was[name]; !ok {
				keys[name] = nil
			}
		}
		before[k] = keys
	}
	return before
}
