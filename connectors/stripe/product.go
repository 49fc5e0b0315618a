package stripe

import (
	"context"
	"encoding/base64"
	"fmt"
	"regexp"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// CreateProductInput is a product to be made for a Togai price plan.
type CreateProductInput struct {
	TogaiPricePlanID string            `json:"togai_price_plan_id" minLength:"1" maxLength:"150" doc:"The Togai price plan it is for: the product's id is made of it."`
	Name             string            `json:"name" minLength:"1" maxLength:"250" doc:"Shown to buyers."`
	Description      string            `json:"description,omitempty" maxLength:"500" doc:"Shown to buyers."`
	UnitLabel        string            `json:"unit_label,omitempty" maxLength:"12" doc:"What is counted, such as seat."`
	Active           *bool             `json:"active,omitempty" doc:"Whether it can be sold: yes, when left out."`
	Metadata         map[string]string `json:"metadata,omitempty" doc:"More notes to keep at the product."`
	Prices           []PriceInput      `json:"prices" minLength:"1" maxLength:"50" doc:"What it costs. A metered price cannot be sold by a payment link."`
}

// ProductWithPrices is what product.create leaves.
type ProductWithPrices struct {
	ProductID      string      `json:"product_id" doc:"Stripe's id of the product."`
	Created        bool        `json:"created" doc:"False when it was there already."`
	Prices         []PriceMade `json:"prices" doc:"In the order of the input."`
	DefaultPriceID string      `json:"default_price_id,omitempty" doc:"The product's default price, where somebody has set one."`
}

func createProduct() connectors.Action {
	amount := int64(5000)
	return connectors.Do("product.create", "Create product with prices", runCreateProduct, CreateProductInput{
		TogaiPricePlanID: "gold", Name: "Gold", Prices: []PriceInput{{Key: "base", Currency: "usd", UnitAmount: &amount, Interval: "month"}},
	}, func(a *connectors.Action) {
		a.Description = "Makes a product for a Togai price plan, and its prices, or takes those that are there."
		a.Help, a.Entity = "A price cannot be changed in Stripe. Where the plan's has changed, give the new price another key.", "product"
	})
}

// productID is the id that we choose for a plan's product: a second create is refused by Stripe, however long after.
// That Stripe takes dots is an assumption; ids of other characters are encoded.
func productID(plan string) string {
	if plainID.MatchString(plan) {
		return "togai_pp_" + plan
	}
	return "togai_pp64_" + base64.RawURLEncoding.EncodeToString([]byte(plan))
}

var plainID = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

const (
	attrDefault = "default_price"
	attrPlan    = metaPlan
)

func runCreateProduct(ctx context.Context, c connectors.Conn, in CreateProductInput) (ProductWithPrices, error) {
	if err := in.check(); err != nil {
		return ProductWithPrices{}, err
	}
	id := productID(in.TogaiPricePlanID)
	intent := connectors.Create("product").As(id)
	ref, err := c.Effect(ctx, intent, in.probe(c, id), func(ctx context.Context, key string) (connectors.Ref, error) {
		there, err := getProduct(ctx, c, id)
		switch {
		case err != nil:
			return connectors.Ref{}, err
		case there != nil && there.Metadata[metaEffect] != key:
			return c.Adopt(ctx, intent, in.ref(there))
		}
		made, err := api(c).Products.New(in.params(ctx, id, key))
		if err = failed(c, err, true); err == nil && made.ID != id {
			return connectors.Ref{}, garbled(fmt.Errorf("another id"), true)
		}
		if err != nil && codeOf(err) == "resource_already_exists" { // somebody was quicker
			if there, gerr := getProduct(ctx, c, id); gerr == nil && there != nil && there.Metadata[metaEffect] != key {
				return c.Adopt(ctx, intent, in.ref(there))
			}
		}
		if err != nil {
			return connectors.Ref{}, err
		}
		return in.ref(made), nil
	})
	if err != nil {
		return ProductWithPrices{}, fmt.Errorf("creating product: %w", err)
	}
	if plan := ref.Attributes[attrPlan]; plan != "" && plan != in.TogaiPricePlanID {
		return ProductWithPrices{}, wrongInput("togai_price_plan_id", fmt.Sprintf("is %s, but the record of this run has the product of price plan %s already", in.TogaiPricePlanID, plan))
	}
	out := ProductWithPrices{ProductID: ref.ID, Created: !ref.Adopted, DefaultPriceID: ref.Attributes[attrDefault], Prices: []PriceMade{}}
	for i, p := range in.Prices {
		made, err := createPrice(ctx, c, ref.ID, in.TogaiPricePlanID, i, p)
		if err != nil {
			return ProductWithPrices{}, err
		}
		out.Prices = append(out.Prices, made)
	}
	return out, nil
}

// check finds what Stripe would refuse after the product is made already.
func (in CreateProductInput) check() error {
	seen := map[string]bool{}
	for i, p := range in.Prices {
		if seen[p.Key] {
			return wrongInput(fmt.Sprintf("prices[%d].key", i), "is there twice")
		}
		seen[p.Key] = true
		if _, err := p.terms(i); err != nil {
			return err
		}
		if key := lookupKey(in.TogaiPricePlanID, p.Key); len(key) > maxLookupKey {
			return wrongInput(fmt.Sprintf("prices[%d].key", i), fmt.Sprintf("is too long: with the price plan's id it has more than %d characters", maxLookupKey))
		}
	}
	return nil
}

func (in CreateProductInput) params(ctx context.Context, id, key string) *stripe.ProductParams {
	return &stripe.ProductParams{
		Params: write(ctx, key), ID: stripe.String(id), Name: stripe.String(in.Name), Description: given(in.Description), UnitLabel: given(in.UnitLabel), Active: in.Active,
		Metadata: marked(in.Metadata, map[string]string{metaPlan: in.TogaiPricePlanID}, key),
	}
}

func (in CreateProductInput) ref(p *stripe.Product) connectors.Ref {
	ref := connectors.Ref{ID: p.ID, Name: p.Name, Attributes: map[string]string{attrPlan: in.TogaiPricePlanID}}
	if p.DefaultPrice != nil && p.DefaultPrice.ID != "" {
		ref.Attributes[attrDefault] = p.DefaultPrice.ID
	}
	return ref
}

// probe reads the one product that the write can have made. One without our mark was made by somebody else.
func (in CreateProductInput) probe(c connectors.Conn, id string) connectors.Probe {
	return func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		p, err := getProduct(ctx, c, id)
		if err != nil || p == nil || p.Metadata[metaEffect] != key {
			return connectors.Ref{}, false, err
		}
		return in.ref(p), true, nil
	}
}

// getProduct is nil for one that is not there.
func getProduct(ctx context.Context, c connectors.Conn, id string) (*stripe.Product, error) {
	p, err := api(c).Products.Get(id, &stripe.ProductParams{Params: read(ctx)})
	switch err = failed(c, err, false); {
	case missing(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading product %s: %w", id, err)
	case p.ID == "":
		return nil, garbled(errNoID, false)
	case p.Deleted:
		return nil, nil
	}
	return p, nil
}
