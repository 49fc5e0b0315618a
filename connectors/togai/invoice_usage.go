package togai

import (
	"context"
	"fmt"
	"slices"

	"tieline/connectors"
)

// InvoiceUsage is what an invoice bills of metered usage.
type InvoiceUsage struct {
	InvoiceID string      `json:"invoice_id" doc:"Togai's id of the invoice."`
	AccountID string      `json:"account_id" doc:"The account it is for; empty when it is for an invoice group."`
	Currency  string      `json:"currency" doc:"ISO 4217."`
	Lines     []UsageLine `json:"lines" doc:"One for each amount of usage."`
}

// UsageLine is one amount of usage, with what its meter is elsewhere.
type UsageLine struct {
	Key                 string `json:"key" doc:"Tells the line from the others of the invoice: its place."`
	Description         string `json:"description" doc:"As the invoice shows it."`
	MeterID             string `json:"meter_id" doc:"The usage meter's id; empty where neither the invoice nor its price plan tells."`
	Quantity            string `json:"quantity" format:"decimal" doc:"How much was used."`
	Amount              string `json:"amount" format:"decimal" doc:"What it costs, in major units."`
	ZuoraSubscriptionID string `json:"zuora_subscription_id" doc:"From the meter's settings; empty when it is not there."`
	ZuoraChargeID       string `json:"zuora_charge_id" doc:"From the meter's settings; empty when it is not there."`
}

func getInvoiceUsage() connectors.Action {
	return connectors.Do("invoice.get_usage", "Get the usage of an invoice", runGetInvoiceUsage, GetInvoiceInput{InvoiceID: sampleInvoice.ID}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Reads what an invoice bills of metered usage, with the meters' settings.", "invoice", true
		a.Options = map[string]connectors.Offer{"invoice_id": offerInvoices}
		a.Help = "A line that names no meter is that of the rate card which is called like it in the invoice's price plan."
	})
}

func runGetInvoiceUsage(ctx context.Context, c connectors.Conn, in GetInvoiceInput) (InvoiceUsage, error) {
	inv, err := fetchInvoice(ctx, c, in.InvoiceID)
	if err != nil {
		return InvoiceUsage{}, err
	}
	p := inv.plain()
	out := InvoiceUsage{InvoiceID: inv.ID, AccountID: p.AccountID, Currency: p.Currency, Lines: []UsageLine{}}
	if inv.RevenueInfo == nil {
		return out, nil
	}
	var plan pricePlan
	for i, l := range leaves(*inv.RevenueInfo, 0) {
		if l.Type != "USAGE_RATE_CARD_AMOUNT" {
			continue
		}
		u := UsageLine{Key: fmt.Sprint(i), Description: l.Description, MeterID: l.ID, Quantity: l.used().text(), Amount: l.Value.text()}
		if u.MeterID == "" && inv.PricePlanID != "" {
			if plan.ID == "" {
				if plan, err = fetchPricePlan(ctx, c, inv.PricePlanID); err != nil {
					return out, err
				}
			}
			u.MeterID = plan.meterOf(l.Description)
		}
		if u.MeterID != "" {
			settings, err := settingsOf(ctx, c, "usage_meter", u.MeterID)
			if err != nil {
				return out, err
			}
			u.ZuoraSubscriptionID, u.ZuoraChargeID = valueOf(settings, zuoraSubscription), valueOf(settings, zuoraCharge)
		}
		out.Lines = append(out.Lines, u)
	}
	return out, nil
}

// used is the quantity of a line, or of its slabs together.
func (l line) used() number {
	if l.Quantity != "" || len(l.LineItems) == 0 {
		return l.Quantity
	}
	sum := number("0")
	for _, slab := range l.LineItems {
		sum = sum.plus(slab.Quantity)
	}
	return sum
}

// meterOf is the usage meter of the one rate card that is called so; empty when there is none, or several.
func (p pricePlan) meterOf(called string) string {
	is := func(r rateCard) bool { return r.Type == "USAGE" && (r.DisplayName == called || r.Name == called) }
	at := slices.IndexFunc(p.RateCards, is)
	if at < 0 || slices.ContainsFunc(p.RateCards[at+1:], is) {
		return ""
	}
	return p.RateCards[at].BillableID
}
