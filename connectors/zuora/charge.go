package zuora

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"tieline/connectors"
)

const sampleChargeID = "2c92a0fe7f3b2d7a017f3f4a5b6c7d92"

// catalogCharge is a charge of the catalogue, which subscriptions are made of.
type catalogCharge struct {
	ID     string `json:"id"`
	Number string `json:"productRatePlanChargeNumber"`
	Name   string `json:"name"`
	Type   string `json:"type"`
	Model  string `json:"model"`
	UOM    string `json:"uom"`
}

// CatalogCharge is one as actions show it.
type CatalogCharge struct {
	ChargeID string `json:"charge_id" doc:"Zuora's id of the charge."`
	Number   string `json:"number" doc:"Its number; empty when it has none."`
	Name     string `json:"name" doc:"Its name."`
	Type     string `json:"type" doc:"ONE_TIME, RECURRING or USAGE."`
	Model    string `json:"model" doc:"FLAT_FEE, PER_UNIT, TIERED or VOLUME; Zuora's own word for any other."`
	UOM      string `json:"uom" doc:"The unit it counts; empty when it counts none."`
}

// GetChargeInput names a charge of the catalogue.
type GetChargeInput struct {
	ChargeID string `json:"charge_id" minLength:"1" maxLength:"64" doc:"The product rate plan charge's id or number."`
}

func getCharge() connectors.Action {
	return connectors.Do("charge.get", "Get charge of the catalogue", func(ctx context.Context, c connectors.Conn, in GetChargeInput) (CatalogCharge, error) {
		x, err := fetchCharge(ctx, c, in.ChargeID)
		return CatalogCharge{x.ID, x.Number, x.Name, known(chargeTypes, x.Type), known(chargeModels, x.Model), x.UOM}, err
	}, GetChargeInput{ChargeID: sampleChargeID}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Reads one product rate plan charge; a missing one is an error.", "charge", true
		a.Options = map[string]connectors.Offer{"charge_id": offerCharges}
		a.Help = "A charge of the catalogue is what subscriptions and credits are made of."
	})
}

func fetchCharge(ctx context.Context, c connectors.Conn, key string) (catalogCharge, error) {
	var x catalogCharge
	if _, err := get(ctx, c, path("v1", "product-rate-plan-charges", key), &x); err != nil {
		return x, fmt.Errorf("reading charge %s: %w", key, err)
	}
	if x.ID == "" {
		return x, garbled(http.StatusOK, false)
	}
	return x, nil
}

// creditable reads a charge that a credit may be added against.
func creditable(ctx context.Context, c connectors.Conn, key string) (catalogCharge, error) {
	x, err := fetchCharge(ctx, c, key)
	switch {
	case missing(err):
		return x, wrong(chargeID, "The catalogue has no product rate plan charge "+key+". The id of a subscription's own charge is another one.")
	case err != nil:
		return x, err
	case strings.HasPrefix(squeezed(x.Model), "discount"):
		return x, wrong(chargeID, "The charge "+x.Name+" is a discount, and credits cannot be added against one. Name another.")
	}
	return x, nil
}

func checkCharge(ctx context.Context, c connectors.Conn, key string) error {
	_, err := creditable(ctx, c, key)
	return err
}

// productsPage is how many products one stretch of the catalogue has: each may need another call for its plans.
const productsPage = 10

type product struct {
	Name      string          `json:"name"`
	RatePlans json.RawMessage `json:"productRatePlans"`
}

type catalogPlan struct {
	Name    string          `json:"name"`
	Charges []catalogCharge `json:"productRatePlanCharges"`
}

// plans are a product's. Zuora gives them in the list by its words, and the address where they are by its example.
func (p product) plans(ctx context.Context, c connectors.Conn) ([]catalogPlan, error) {
	var nested []catalogPlan
	if len(p.RatePlans) == 0 || json.Unmarshal(p.RatePlans, &nested) == nil {
		return nested, nil
	}
	var at string
	if json.Unmarshal(p.RatePlans, &at) != nil {
		return nil, garbled(http.StatusOK, false)
	}
	for at != "" {
		u, err := url.Parse(at) // whatever host it names, only ours is asked
		if err != nil || !strings.HasPrefix(u.Path, "/v1/") {
			return nil, garbled(http.StatusOK, false)
		}
		var out struct {
			Plans    []catalogPlan `json:"productRatePlans"`
			NextPage string        `json:"nextPage"`
		}
		if _, err := get(ctx, c, u.RequestURI(), &out); err != nil {
			return nil, err
		}
		nested = append(nested, out.Plans...)
		if at = out.NextPage; len(out.Plans) == 0 {
			break
		}
	}
	return nested, nil
}

// offerCharges are the catalogue's charges that credits may be added against.
func offerCharges(ctx context.Context, c connectors.Conn, search, after string) (connectors.OptionPage, error) {
	n, err := strconv.Atoi(after)
	if err != nil || n < 1 {
		n = 1
	}
	var out struct {
		Products []product `json:"products"`
		NextPage string    `json:"nextPage"`
	}
	q := url.Values{"page": {strconv.Itoa(n)}, "pageSize": {strconv.Itoa(productsPage)}}
	if _, err := get(ctx, c, "/v1/catalog/products?"+q.Encode(), &out); err != nil {
		return connectors.OptionPage{}, fmt.Errorf("listing the catalogue: %w", err)
	}
	var page connectors.OptionPage
	for _, p := range out.Products {
		plans, err := p.plans(ctx, c)
		if err != nil {
			return connectors.OptionPage{}, fmt.Errorf("listing the rate plans of %s: %w", p.Name, err)
		}
		for _, plan := range plans {
			for _, x := range plan.Charges {
				o := connectors.Option{Value: x.ID, Label: x.Name, Detail: strings.Join([]string{p.Name, plan.Name, x.Model}, ", ")}
				if x.ID != "" && !strings.HasPrefix(squeezed(x.Model), "discount") && o.Matches(search) {
					page.Options = append(page.Options, o)
				}
			}
		}
	}
	if out.NextPage != "" && len(out.Products) > 0 {
		page.After = strconv.Itoa(n + 1)
	}
	return page, nil
}

// accountsPage is how many accounts an object query answers at once, of the 99 it may.
const accountsPage = 99

// offerAccounts goes over the accounts by their names. Object Query finds beginnings alone, so what was typed is looked for
// in each page.
func offerAccounts(ctx context.Context, c connectors.Conn, search, after string) (connectors.OptionPage, error) {
	var out struct {
		Data []struct {
			ID     string `json:"id"`
			Name   string `json:"name"`
			Number string `json:"accountNumber"`
		} `json:"data"`
		NextPage string `json:"nextPage"`
	}
	q := url.Values{"pageSize": {strconv.Itoa(accountsPage)}, "sort[]": {"name.ASC"}, "account.fields[]": {"id,name,accountNumber"}}
	if after != "" {
		q.Set("cursor", after)
	}
	if _, err := get(ctx, c, "/object-query/accounts?"+q.Encode(), &out); err != nil {
		return connectors.OptionPage{}, fmt.Errorf("listing accounts: %w", err)
	}
	var page connectors.OptionPage
	for _, a := range out.Data {
		if o := (connectors.Option{Value: a.ID, Label: a.Name, Detail: a.Number}); o.Matches(search) {
			page.Options = append(page.Options, o)
		}
	}
	if len(out.Data) > 0 {
		page.After = out.NextPage
	}
	return page, nil
}
