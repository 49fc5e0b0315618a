package zohobookssim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// Item is one as it is kept.
type Item struct {
	ID          string `json:"item_id"`
	Org         string `json:"organization_id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	SKU         string `json:"sku"`
	Rate        Amount `json:"rate"`
	TaxID       string `json:"tax_id"`
	AccountID   string `json:"account_id"`
	Type        string `json:"product_type"`
}

func (x *Item) show() map[string]any {
	return map[string]any{
		"item_id": x.ID, "name": x.Name, "description": x.Description, "sku": x.SKU, "rate": x.Rate, "tax_id": x.TaxID, "account_id": x.AccountID, "product_type": x.Type, "status": "active", "unit": "",
	}
}

// item finds one of the organization; none for none. Sim.mu is held.
func (c *call) item(id string) (*Item, error) {
	if id == "" {
		return nil, nil
	}
	i := slices.IndexFunc(c.sim.items, func(x *Item) bool { return x.ID == id && x.Org == c.org.ID })
	if i < 0 {
		return nil, refuse(http.StatusNotFound, notThere, "Item does not exist.")
	}
	return c.sim.items[i], nil
}

func items(s *Sim) {
	s.handle("POST", "/items", "settings", func(c *call) (reply, error) {
		x, err := c.newItem()
		if err != nil {
			return reply{}, err
		}
		return reply{status: http.StatusCreated, message: "The item has been added.", fields: map[string]any{"item": x.show()}}, nil
	})
	s.handle("GET", "/items", "settings", func(c *call) (reply, error) {
		rows := []map[string]any{}
		for _, x := range slices.Backward(s.items) {
			text := strings.ToLower(c.query.Get("search_text"))
			if x.Org == c.org.ID && (c.query.Get("name") == "" || strings.EqualFold(c.query.Get("name"), x.Name)) && strings.Contains(strings.ToLower(x.Name+"\n"+x.SKU+"\n"+x.Description), text) {
				rows = append(rows, x.show())
			}
		}
		return c.listed("items", rows)
	})
	s.handle("GET", "/items/{}", "settings", func(c *call) (reply, error) {
		x, err := c.item(c.id)
		if err != nil {
			return reply{}, err
		}
		return reply{fields: map[string]any{"item": x.show()}}, nil
	})
}

// newItem makes what a body says. Sim.mu is held.
func (c *call) newItem() (*Item, error) {
	x := &Item{Org: c.org.ID}
	var in struct {
		Name *string `json:"name"`
		Rate *Amount `json:"rate"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := c.decode(x); err != nil {
		return nil, err
	}
	switch {
	case x.Name == "" || len(x.Name) > 100 || in.Rate == nil:
		return nil, refuse(http.StatusBadRequest, missingField, "Enter the item name and its rate")
	case slices.ContainsFunc(c.sim.items, func(o *Item) bool {
		return o.Org == c.org.ID && (strings.EqualFold(o.Name, x.Name) || x.SKU != "" && o.SKU == x.SKU)
	}):
		return nil, refuse(http.StatusBadRequest, taken, "Item %q already exists.", x.Name)
	case x.AccountID != "" && !slices.ContainsFunc(c.org.Ledger, func(l Ledger) bool { return l.ID == x.AccountID }):
		return nil, refuse(http.StatusBadRequest, badValue, "Invalid value passed for account_id")
	}
	if _, err := c.tax(x.TaxID); err != nil {
		return nil, err
	}
	x.ID, x.Org = c.sim.nextID(), c.org.ID
	c.sim.items = append(c.sim.items, x)
	return x, nil
}

// CreateItem makes an item by hand; body is that of POST /items.
func (s *Sim) CreateItem(body map[string]any) (Item, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return Item{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := (&call{sim: s, org: s.organizations[0], body: raw}).newItem()
	if err != nil {
		return Item{}, err
	}
	return *x, nil
}
