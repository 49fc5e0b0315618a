package zuorasim

import (
	"fmt"
	"slices"
	"strconv"
)

// Product is one of the catalogue, with one rate plan.
type Product struct {
	ID      string           `json:"id"`
	Name    string           `json:"name"`
	Plan    string           `json:"plan"`
	Charges []map[string]any `json:"-"`
}

// Product adds a product with a rate plan of these charges, and answers the charges' ids. A charge without an id gets one.
func (s *Sim) Product(name string, charges ...map[string]any) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &Product{ID: newID(), Name: name, Plan: name + " plan", Charges: charges}
	for _, c := range charges {
		if c["id"] == nil {
			c["id"] = newID()
		}
		c["productRatePlanChargeNumber"] = s.number("C-")
		ids = append(ids, c["id"].(string))
	}
	s.products = append(s.products, p)
	return ids
}

func (p *Product) plans() []any {
	return []any{map[string]any{"id": p.ID + "p", "name": p.Plan, "status": "Active", "productRatePlanCharges": p.Charges}}
}

func catalog(s *Sim) {
	s.handle("GET", "/v1/catalog/products", func(c *call) (any, error) {
		rows, next, err := paged(c, c.sim.products)
		if err != nil {
			return nil, err
		}
		list := []any{}
		for _, p := range rows {
			var plans any = p.plans()
			if c.sim.urls {
				plans = "https://rest.zuora.com/v1/products/" + p.ID + "/product-rate-plans?page=1&pageSize=20"
			}
			list = append(list, map[string]any{"id": p.ID, "sku": "SKU", "name": p.Name, "productRatePlans": plans})
		}
		return next.of(map[string]any{"products": list, "success": true}), nil
	})
	s.handle("GET", "/v1/products/{}/product-rate-plans", func(c *call) (any, error) {
		i := slices.IndexFunc(c.sim.products, func(p *Product) bool { return p.ID == c.id })
		if i < 0 {
			return nil, refuse(404, notThere, "Cannot find entity by key: '%s'.", c.id)
		}
		return map[string]any{"productRatePlans": c.sim.products[i].plans(), "success": true}, nil
	})
	s.handle("GET", "/v1/product-rate-plan-charges/{}", func(c *call) (any, error) {
		for _, p := range c.sim.products {
			for _, x := range p.Charges {
				if x["id"] == c.id || x["productRatePlanChargeNumber"] == c.id {
					return x, nil
				}
			}
		}
		return nil, refuse(404, notThere, "Cannot find entity by key: '%s'.", c.id)
	})
}

// link is the address of the next page; empty at the end.
type link string

func (l link) of(out map[string]any) map[string]any {
	if l != "" {
		out["nextPage"] = string(l)
	}
	return out
}

// paged cuts out the page that a request asks for, of at most 40.
func paged[T any](c *call, rows []T) ([]T, link, error) {
	number := func(name string, or int) (int, error) {
		text := c.query.Get(name)
		if text == "" {
			return or, nil
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return 0, refuse(400, badValue, "%s must be a number above zero.", name)
		}
		return n, nil
	}
	page, err := number("page", 1)
	if err != nil {
		return nil, "", err
	}
	size, err := number("pageSize", 20)
	if err != nil {
		return nil, "", err
	}
	size = min(size, 40)
	from, to := min((page-1)*size, len(rows)), min(page*size, len(rows))
	if to < len(rows) || c.sim.extra && to-from == size {
		return rows[from:to], link(fmt.Sprintf("https://rest.zuora.com/v1/next?page=%d&pageSize=%d", page+1, size)), nil
	}
	return rows[from:to], "", nil
}
