package zohobooks

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tieline/connectors"
)

// item as GET answers it.
type item struct {
	ID          id     `json:"item_id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	SKU         string `json:"sku"`
	Rate        number `json:"rate"`
	TaxID       id     `json:"tax_id"`
	Type        string `json:"product_type"`
	Status      string `json:"status"`
}

// Item is one as actions show it.
type Item struct {
	ItemID      string `json:"item_id" doc:"Zoho Books' id of the item."`
	Name        string `json:"name" doc:"Its name, which no other item has."`
	Description string `json:"description" doc:"What it is."`
	SKU         string `json:"sku" doc:"The stock keeping unit; empty when it has none."`
	Rate        string `json:"rate" format:"decimal" doc:"Its price, in major units of the organization's currency."`
	TaxID       string `json:"tax_id" doc:"Zoho Books' id of the tax it is sold with; empty when there is none."`
	Type        string `json:"type" doc:"goods, service or digital_service."`
	Status      string `json:"status" doc:"active or inactive."`
}

func (x item) plain() Item {
	return Item{string(x.ID), x.Name, x.Description, x.SKU, x.Rate.text(), string(x.TaxID), x.Type, x.Status}
}

func fetchItem(ctx context.Context, c connectors.Conn, key string) (item, error) {
	var out struct {
		Item item `json:"item"`
	}
	if err := get(ctx, c, path("items", key), nil, &out); err != nil {
		return item{}, fmt.Errorf("reading item %s: %w", key, err)
	}
	if out.Item.ID == "" {
		return item{}, garbled(http.StatusOK, false)
	}
	return out.Item, nil
}

const sampleItemID = "18446744000000301"

// GetItemInput names an item.
type GetItemInput struct {
	ItemID string `json:"item_id" pattern:"^[0-9]{1,30}$" doc:"Zoho Books' id of the item."`
}

func getItem() connectors.Action {
	return connectors.Do("item.get", "Get item", func(ctx context.Context, c connectors.Conn, in GetItemInput) (Item, error) {
		x, err := fetchItem(ctx, c, in.ItemID)
		return x.plain(), err
	}, GetItemInput{ItemID: sampleItemID}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Reads one item; a missing one is an error.", "item", true
		a.Options = map[string]connectors.Offer{"item_id": offerItems}
		a.Help = "Items are what the lines of invoices are booked by."
	})
}

// CreateItemInput is an item to be made.
type CreateItemInput struct {
	Name        string `json:"name" minLength:"1" maxLength:"100" doc:"Its name; unique in the organization."`
	Rate        string `json:"rate" format:"decimal" doc:"Its price, in major units of the organization's currency."`
	Description string `json:"description,omitempty" maxLength:"2000" doc:"What it is."`
	SKU         string `json:"sku,omitempty" maxLength:"100" doc:"The stock keeping unit, such as its id elsewhere; unique in the organization."`
	Type        string `json:"type,omitempty" enum:"goods,service,digital_service" doc:"service if not given."`
	AccountID   string `json:"account_id,omitempty" pattern:"^[0-9]{1,30}$" doc:"Zoho Books' id of the account of the chart to which sales are booked; the organization's own choice if not given."`
	TaxID       string `json:"tax_id,omitempty" pattern:"^[0-9]{1,30}$" doc:"Zoho Books' id of the tax it is sold with."`
}

// CreatedItem is what creating an item leaves.
type CreatedItem struct {
	ItemID  string `json:"item_id" doc:"Zoho Books' id of the item."`
	Name    string `json:"name" doc:"Its name."`
	Created bool   `json:"created" doc:"False when it was there already."`
}

func createItem() connectors.Action {
	return connectors.Do("item.create", "Create item", runCreateItem, CreateItemInput{Name: "Gold plan", Rate: "49.00", SKU: "gold"}, func(a *connectors.Action) {
		a.Description, a.Entity = "Makes an item, which lines of invoices are booked by.", "item"
		a.Options = map[string]connectors.Offer{"account_id": offerIncome, "tax_id": offerTaxes}
		a.Help = "An item of the same name and stock keeping unit is used; one of the same name with another waits for a person to tell."
	})
}

// look finds the item of the name.
func (in CreateItemInput) look(ctx context.Context, c connectors.Conn) (found *item, err error) {
	err = each(ctx, c, "/items", url.Values{"name": {in.Name}}, func(x item) (bool, error) {
		if !strings.EqualFold(x.Name, in.Name) {
			return false, nil
		}
		if x.SKU != in.SKU {
			return true, connectors.Errorf(connectors.Conflict, "an item called %s with the stock keeping unit %q is there already and may or may not be the one that was meant", x.Name, x.SKU)
		}
		found = &x
		return true, nil
	}, "items")
	if err != nil {
		return nil, fmt.Errorf("looking for the item: %w", err)
	}
	return found, nil
}

func (x item) ref() connectors.Ref { return connectors.Ref{ID: string(x.ID), Name: x.Name} }

func runCreateItem(ctx context.Context, c connectors.Conn, in CreateItemInput) (CreatedItem, error) {
	rate, err := parseNumber(in.Rate)
	if err != nil || rate.sign() < 0 {
		return CreatedItem{}, wrong("rate", "The rate must be a decimal, zero or more.")
	}
	probe := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		x, err := in.look(ctx, c)
		if err != nil || x == nil {
			return connectors.Ref{}, false, err
		}
		return x.ref(), true, nil
	}
	intent := connectors.Create("item")
	ref, err := c.Effect(ctx, intent, probe, func(ctx context.Context, key string) (connectors.Ref, error) {
		if x, err := in.look(ctx, c); err != nil {
			return connectors.Ref{}, err
		} else if x != nil {
			return c.Adopt(ctx, intent, x.ref())
		}
		body := map[string]any{"name": in.Name, "rate": rate, "product_type": "service", "item_type": "sales"}
		given(body, "description", in.Description, "sku", in.SKU, "product_type", in.Type, "account_id", in.AccountID, "tax_id", in.TaxID)
		var made struct {
			Item item `json:"item"`
		}
		if err := call(ctx, c, request{http.MethodPost, "/items", nil, body, &made}); err != nil {
			return orFound(ctx, key, probe, err)
		}
		if made.Item.ID == "" {
			return connectors.Ref{}, garbled(http.StatusCreated, true)
		}
		return made.Item.ref(), nil
	})
	if err != nil {
		return CreatedItem{}, fmt.Errorf("creating item %s: %w", in.Name, err)
	}
	return CreatedItem{ref.ID, ref.Name, !ref.Adopted}, nil
}
