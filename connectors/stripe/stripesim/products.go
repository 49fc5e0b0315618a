package stripesim

import (
	"fmt"
	"math/big"
	"strings"
)

var productParams = params{
	"active": boolean, "default_price": text, "default_price_data": anything, "description": text, "expand": list(text), "features": anything, "images": list(text),
	"metadata": metadata, "name": text, "package_dimensions": anything, "shippable": boolean, "statement_descriptor": text, "tax_code": text, "unit_label": textUpTo(12), "url": text,
}

var productFields = []string{"active", "default_price", "description", "images", "name", "package_dimensions", "shippable", "statement_descriptor", "tax_code", "unit_label", "url"}

func products(s *Sim) {
	create := with(productParams, params{"id": text})
	delete(create, "default_price")
	update := with(productParams, nil)
	delete(update, "default_price_data")
	s.router.handle("POST /v1/products", route{params: create, needs: []string{"name"}, run: (*call).createProduct})
	s.router.handle("POST /v1/products/{id}", route{params: update, run: func(c *call) (any, error) { return c.update("product", productFields, "product.updated") }})
	s.router.handle("GET /v1/products/{id}", route{params: params{"expand": list(text)}, run: func(c *call) (any, error) { return c.live("product") }})
	s.router.handle("GET /v1/products", route{params: paging(params{"active": boolean, "created": moment, "ids": list(text), "shippable": boolean, "url": text}), run: func(c *call) (any, error) {
		return c.list("product", "/v1/products", func(o object) bool { return c.in["active"] == nil || c.in["active"] == o["active"] })
	}})
	s.router.handle("DELETE /v1/products/{id}", route{run: func(c *call) (any, error) {
		o, err := c.live("product")
		if err != nil {
			return nil, err
		}
		for _, p := range c.book.table("price").current() {
			if p["product"] == c.id {
				return nil, invalid("", "id", "This product cannot be deleted because it has one or more user-created prices.")
			}
		}
		stone := c.book.remove("product", c.id, c.now)
		c.emit("product.deleted", o, nil)
		return stone, nil
	}})
}

func (c *call) createProduct() (any, error) {
	id, _ := c.in["id"].(string)
	if id == "" {
		id = "prod_" + random(14)
	}
	if _, gone, ok := c.book.get("product", id); ok && !gone {
		return nil, invalid("resource_already_exists", "id", "Product already exists.")
	}
	o := c.merge(object{
		"id": id, "object": "product", "active": true, "created": c.now.Unix(), "default_price": nil, "description": nil, "features": []any{}, "images": []any{},
		"livemode": c.book.livemode, "metadata": object{}, "name": nil, "package_dimensions": nil, "shippable": nil, "statement_descriptor": nil, "tax_code": nil,
		"unit_label": nil, "updated": c.now.Unix(), "url": nil,
	}, productFields)
	c.book.put(o, c.now)
	c.emit("product.created", o, nil)
	return o, nil
}

// update changes the fields of an object, and tells of it when something did change.
func (c *call) update(kind string, fields []string, event string) (any, error) {
	old, err := c.live(kind)
	if err != nil {
		return nil, err
	}
	o := c.merge(old, fields)
	if before := changed(old, o); len(before) > 0 {
		c.book.put(o, c.now)
		c.emit(event, o, before)
	}
	return o, nil
}

var (
	priceUpdate = params{"active": boolean, "currency_options": anything, "expand": list(text), "lookup_key": textUpTo(200), "metadata": metadata, "nickname": text,
		"tax_behavior": oneOf("exclusive", "inclusive", "unspecified"), "transfer_lookup_key": boolean}
	priceParams = with(priceUpdate, params{
		"billing_scheme": oneOf("per_unit", "tiered"), "currency": currency, "custom_unit_amount": anything, "product": text, "product_data": anything,
		"recurring": hash(params{"interval": oneOf("day", "week", "month", "year"), "interval_count": integer, "usage_type": oneOf("licensed", "metered"),
			"aggregate_usage": oneOf("last_during_period", "last_ever", "max", "sum"), "trial_period_days": integer}),
		"tiers":      list(hash(params{"up_to": upTo, "unit_amount": integer, "unit_amount_decimal": decimal, "flat_amount": integer, "flat_amount_decimal": decimal})),
		"tiers_mode": oneOf("graduated", "volume"), "transform_quantity": anything, "unit_amount": integer, "unit_amount_decimal": decimal,
	})
)

func prices(s *Sim) {
	s.router.handle("POST /v1/prices", route{params: priceParams, needs: []string{"currency"}, run: (*call).createPrice})
	s.router.handle("POST /v1/prices/{id}", route{params: priceUpdate, run: func(c *call) (any, error) {
		if err := c.freeLookupKey(c.id); err != nil {
			return nil, err
		}
		return c.update("price", []string{"active", "lookup_key", "nickname", "tax_behavior"}, "price.updated")
	}})
	s.router.handle("GET /v1/prices/{id}", route{params: params{"expand": list(text)}, run: func(c *call) (any, error) { return c.live("price") }})
	known := paging(params{"active": boolean, "created": moment, "currency": text, "lookup_keys": list(text), "product": text, "recurring": anything, "type": oneOf("one_time", "recurring")})
	s.router.handle("GET /v1/prices", route{params: known, run: func(c *call) (any, error) {
		keys, _ := c.in["lookup_keys"].([]any)
		return c.list("price", "/v1/prices", func(o object) bool {
			for _, f := range []string{"active", "currency", "product", "type"} {
				if c.in[f] != nil && c.in[f] != o[f] {
					return false
				}
			}
			found := len(keys) == 0
			for _, k := range keys {
				found = found || k == o["lookup_key"]
			}
			return found
		})
	}})
}

func (c *call) createPrice() (any, error) {
	product, _ := c.in["product"].(string)
	if p, gone, ok := c.book.get("product", product); !ok || gone {
		return nil, reference("product", "product", product)
	} else if p["active"] != true {
		return nil, invalid("", "product", "The product is not active, so no new prices can be created.")
	}
	if err := c.freeLookupKey(""); err != nil {
		return nil, err
	}
	o := object{
		"id": "price_1" + random(23), "object": "price", "active": true, "billing_scheme": "per_unit", "created": c.now.Unix(), "currency": c.in["currency"],
		"custom_unit_amount": nil, "livemode": c.book.livemode, "lookup_key": nil, "metadata": object{}, "nickname": nil, "product": product, "recurring": nil,
		"tax_behavior": "unspecified", "tiers": nil, "tiers_mode": nil, "transform_quantity": nil, "type": "one_time", "unit_amount": nil, "unit_amount_decimal": nil,
	}
	if r, ok := c.in["recurring"].(object); ok {
		if r["interval"] == nil {
			return nil, invalid("parameter_missing", "recurring[interval]", "Missing required param: recurring[interval].")
		}
		whole := object{"aggregate_usage": nil, "interval": r["interval"], "interval_count": int64(1), "usage_type": "licensed"}
		for k, v := range r {
			if k != "trial_period_days" { // taken, and not shown
				whole[k] = v
			}
		}
		if whole["usage_type"] == "metered" && whole["aggregate_usage"] == nil {
			whole["aggregate_usage"] = "sum"
		}
		o["type"], o["recurring"] = "recurring", whole
	}
	if err := c.cost(o); err != nil {
		return nil, err
	}
	o = c.merge(o, []string{"active", "lookup_key", "nickname", "tax_behavior"})
	c.book.put(o, c.now)
	c.emit("price.created", o, nil)
	return o, nil
}

// cost reads what a price costs.
func (c *call) cost(o object) error {
	if c.in["billing_scheme"] != "tiered" {
		for _, f := range []string{"tiers", "tiers_mode"} {
			if c.in[f] != nil {
				return invalid("parameter_unknown", f, "%s is for prices with billing_scheme tiered.", f)
			}
		}
		if (c.in["unit_amount"] == nil) == (c.in["unit_amount_decimal"] == nil) {
			return invalid("parameter_missing", "unit_amount", "Exactly one of unit_amount and unit_amount_decimal is needed.")
		}
		return c.unit(o, c.in, "unit", "")
	}
	tiers, _ := c.in["tiers"].([]any)
	switch {
	case o["recurring"] == nil:
		return invalid("", "tiers", "Tiers are for recurring prices.")
	case c.in["tiers_mode"] == nil:
		return invalid("parameter_missing", "tiers_mode", "Missing required param: tiers_mode.")
	case len(tiers) == 0:
		return invalid("parameter_missing", "tiers", "Missing required param: tiers.")
	}
	out, last := []object{}, int64(0)
	for i, v := range tiers {
		in, name := v.(object), fmt.Sprintf("tiers[%d]", i)
		one := object{"flat_amount": nil, "flat_amount_decimal": nil, "unit_amount": nil, "unit_amount_decimal": nil, "up_to": nil}
		to, finite := in["up_to"].(int64)
		switch {
		case in["up_to"] == nil:
			return invalid("parameter_missing", name+"[up_to]", "Missing required param: %s[up_to].", name)
		case finite == (i == len(tiers)-1) || finite && to <= last:
			return invalid("", name+"[up_to]", "Each tier must end after the one before, and the last one with inf.")
		case finite:
			one["up_to"], last = to, to
		}
		for _, what := range []string{"unit", "flat"} {
			if err := c.unit(one, in, what, name); err != nil {
				return err
			}
		}
		if one["unit_amount_decimal"] == nil && one["flat_amount_decimal"] == nil {
			return invalid("parameter_missing", name, "A tier needs unit_amount or flat_amount.")
		}
		out = append(out, one)
	}
	o["billing_scheme"], o["tiers_mode"], o["tiers"] = "tiered", c.in["tiers_mode"], out
	return nil
}

// unit copies an amount in both forms: the whole one is null where there are decimals.
func (c *call) unit(to, in object, what, name string) error {
	whole, part := what+"_amount", what+"_amount_decimal"
	if n, ok := in[whole].(int64); ok {
		if in[part] != nil {
			return invalid("", name+whole, "Only one of %s and %s can be given.", whole, part)
		}
		to[whole], to[part] = n, fmt.Sprint(n)
	}
	if s, ok := in[part].(string); ok {
		to[part] = s
		if r, ok := new(big.Rat).SetString(s); ok && r.IsInt() && r.Num().IsInt64() {
			to[whole] = r.Num().Int64()
		}
	}
	if n, ok := to[whole].(int64); ok && n < 0 {
		return invalid("parameter_invalid_integer", whole, "Invalid non-negative integer")
	}
	return nil
}

// freeLookupKey makes sure no other active price has the key, or takes it away there.
func (c *call) freeLookupKey(id string) error {
	key, _ := c.in["lookup_key"].(string)
	for _, p := range c.book.table("price").current() {
		if key == "" || p["lookup_key"] != key || p["active"] != true || p["id"] == id {
			continue
		}
		if c.in["transfer_lookup_key"] != true {
			return invalid("", "lookup_key", "A price (`%s`) already uses that lookup key.", p["id"])
		}
		other := c.merge(p, nil)
		other["lookup_key"] = nil
		c.book.put(other, c.now)
	}
	return nil
}

func upTo(name string, v any) (any, *Error) {
	if v == "inf" {
		return v, nil
	}
	return integer(name, v)
}

// decimal is a number of at most 12 decimals, as text and without zeros at its end.
func decimal(name string, v any) (any, *Error) {
	s, _ := v.(string)
	_, places, _ := strings.Cut(s, ".")
	r, ok := new(big.Rat).SetString(s)
	if !ok || strings.ContainsAny(s, "eE/_xX+ ") || len(places) > 12 || r.Sign() < 0 {
		return nil, invalid("parameter_invalid_decimal", name, "Invalid decimal: %s; must contain at maximum 12 decimal places.", s)
	}
	if r.IsInt() {
		return r.Num().String(), nil
	}
	return strings.TrimRight(r.FloatString(12), "0"), nil
}

// currency is three letters; Stripe answers in lower case.
func currency(name string, v any) (any, *Error) {
	s, _ := v.(string)
	s = strings.ToLower(s)
	if len(s) != 3 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") != "" || unsupported[s] {
		return nil, invalid("", name, "Invalid currency: %s.", s)
	}
	return s, nil
}

// unsupported are some that Stripe does not take.
var unsupported = set("clf", "uyi", "uyw", "lyd", "iqd", "xxx")

// threeDecimals are currencies whose amounts must end in 0.
var threeDecimals = set("bhd", "jod", "kwd", "omr", "tnd")

// hundreds are currencies without decimals of which Stripe counts hundredths.
var hundreds = set("isk", "ugx")

// amountIn checks an amount as the currency wants it.
func amountIn(currency, name string, n int64) *Error {
	switch {
	case threeDecimals[currency] && n%10 != 0:
		return invalid("", name, "Amounts in %s must be rounded to the nearest ten.", currency)
	case hundreds[currency] && n%100 != 0:
		return invalid("", name, "Amounts in %s must be divisible by 100.", currency)
	case n > 99_999_999_999 || n < -99_999_999_999:
		return invalid("amount_too_large", name, "Amount is too large.")
	}
	return nil
}

// reference is a missing object in a parameter.
func reference(kind, param, id string) *Error {
	e := missing(kind, param, id)
	e.Status = 400
	return e
}
