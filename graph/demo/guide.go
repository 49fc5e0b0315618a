package demo

import (
	"context"
	"fmt"
	"net/url"
	"time"
)

// guide takes the account through all that the Stripe guide tells: it gets a price plan, buys by its link, uses something,
// is billed and pays.
func (w *walk) guide(ctx context.Context) error {
	link, err := w.sold(ctx)
	if err != nil {
		return err
	}
	if err := w.bought(ctx, link); err != nil {
		return err
	}
	invoice, err := w.billed(ctx)
	if err != nil {
		return err
	}
	return w.paid(ctx, invoice)
}

// console does in Togai what a person does there.
func (w *walk) console(ctx context.Context, method, path string, body, out any) error {
	return w.stage.Simulators.Togai.call(ctx, "console", map[string]any{
		"organization": w.stage.Simulators.Togai.Account, "method": method, "path": path, "body": body,
	}, out)
}

// sold makes a price plan in Togai and attaches it to the account, which gives a product, prices and a link in Stripe.
func (w *walk) sold(ctx context.Context) (link string, err error) {
	w.begin("A person attaches a price plan to the account in Togai")
	const fee, calls = "addon.demo", "um.demo"
	var plan struct{ ID string }
	for _, step := range []struct {
		path string
		body any
		out  any
	}{
		{"/v2/price_plans", map[string]any{
			"name": "Gold", "type": "BILLING", "supportedCurrencies": []string{"USD"},
			"pricingCycleConfig": map[string]any{"interval": "MONTHLY", "gracePeriod": 0, "startOffset": map[string]any{"dayOffset": "1", "monthOffset": "NIL"}},
		}, &plan},
		{"/v2/price_plans/%s/rate_cards", map[string]any{"operations": []any{
			map[string]any{"actionType": "CREATE", "rateCardName": "base", "rateCard": map[string]any{
				"billableId": fee, "type": "FIXED_FEE", "invoiceTiming": "IN_ADVANCE", "displayName": "Gold, monthly",
				"rateCardDetails": map[string]any{"fixedFeeRateCard": map[string]any{"id": fee, "enableProration": false, "rateValues": []any{map[string]any{"currency": "USD", "rate": 49}}}},
			}},
			map[string]any{"actionType": "CREATE", "rateCardName": "calls", "rateCard": map[string]any{
				"billableId": calls, "type": "USAGE", "invoiceTiming": "IN_ARREARS", "displayName": "API calls",
				"rateCardDetails": map[string]any{"usageRateCard": map[string]any{
					"usageMeterId": calls, "ratePlan": map[string]any{"pricingModel": "TIERED", "slabs": []any{
						map[string]any{"order": 1, "startAfter": 0, "priceType": "PER_UNIT"}, map[string]any{"order": 2, "startAfter": 1000, "priceType": "PER_UNIT"},
					}},
					"rateValues": []any{map[string]any{"currency": "USD", "slabRates": []any{map[string]any{"order": 1, "rate": 0.01}, map[string]any{"order": 2, "rate": 0.005}}}},
				}},
			}},
		}}, nil},
		{"/v2/price_plans/%s/finalize", map[string]any{}, nil},
	} {
		path := step.path
		if plan.ID != "" {
			path = fmt.Sprintf(path, plan.ID)
		}
		if err := w.console(ctx, "POST", path, step.body, orNothing(step.out)); err != nil {
			return "", err
		}
	}
	tomorrow := time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	account := "/v2/accounts/" + url.PathEscape(w.id)
	edit := map[string]any{"edits": []any{map[string]any{
		"mode": "ASSOCIATE", "effectiveFrom": tomorrow, "effectiveUntil": "9999-01-01", "associationConfig": map[string]any{"pricePlanId": plan.ID},
	}}}
	if err := w.console(ctx, "POST", account+"/edit_schedules", edit, orNothing(nil)); err != nil {
		return "", err
	}
	if err := w.console(ctx, "POST", account+"/finalize_schedules", map[string]any{}, orNothing(nil)); err != nil {
		return "", err
	}
	w.say("Togai", "price plan "+plan.ID, "Gold, for "+w.account.Name)
	if err := w.follow(ctx, plan.ID, "", pricePlansOut); err != nil {
		return "", err
	}
	var data struct {
		PaymentLink *struct {
			URL    string
			Link   struct{ ExternalID string }
			Prices []struct{ Role string }
		}
	}
	err = w.api.do(ctx, `query($account: String!, $plan: String!) {
		paymentLink(accountId: $account, pricePlanId: $plan) { url link { externalId } prices { role } }
	}`, map[string]any{"account": w.id, "plan": plan.ID}, &data)
	switch {
	case err != nil:
		return "", err
	case data.PaymentLink == nil || len(data.PaymentLink.Prices) != 2:
		return "", fmt.Errorf("the payment link of %s is %+v", w.id, data.PaymentLink)
	}
	w.out.Line("")
	w.out.Field("Payment link", data.PaymentLink.URL)
	return data.PaymentLink.URL, nil
}

// bought has the account's people pay by its link.
func (w *walk) bought(ctx context.Context, link string) error {
	w.begin("The account's people buy by the link")
	address, err := url.Parse(link)
	if err != nil {
		return err
	}
	state, err := w.stage.stripeState(ctx)
	if err != nil {
		return err
	}
	id := ""
	for _, l := range state.PaymentLink {
		if address.String() == l.URL+"?"+address.RawQuery {
			id = l.ID
		}
	}
	var session struct{ ID, Customer string }
	err = w.stage.Simulators.Stripe.call(ctx, "checkouts", map[string]any{
		"account": w.stage.Simulators.Stripe.Account, "payment_link": id, "name": w.account.Name, "email": address.Query().Get("prefilled_email"),
		"client_reference_id": address.Query().Get("client_reference_id"),
	}, &session)
	if err != nil {
		return err
	}
	w.say("Stripe", "checkout "+shortened(session.ID), "by the new customer "+session.Customer)
	if err := w.follow(ctx, session.ID, "", checkoutIn); err != nil {
		return err
	}
	there, err := w.stage.everywhere(ctx, w.account)
	if err != nil {
		return err
	}
	if there["Togai"] != 1 {
		return fmt.Errorf("the checkout's customer has made %s %d accounts", w.account.Name, there["Togai"])
	}
	return w.mapped(ctx, "togai", "account", w.id)
}

// billed ingests usage and ends the cycle, which gives an invoice.
func (w *walk) billed(ctx context.Context) (invoice string, err error) {
	w.begin("Usage comes in, and the cycle ends")
	err = w.console(ctx, "POST", "/ingest", map[string]any{"event": map[string]any{
		"schemaName": "api_calls", "id": unique("usage"), "timestamp": time.Now().UTC(), "accountId": w.id,
		"attributes": []any{map[string]any{"name": "calls", "value": "1230"}}, "dimensions": map[string]any{},
	}}, orNothing(nil))
	if err != nil {
		return "", err
	}
	w.say("Togai", "usage of 1,230 API calls", "")
	line := func(description, kind string, value float64) any {
		return map[string]any{"description": description, "type": kind, "value": value}
	}
	var made struct {
		ID          string
		TotalAmount float64
	}
	err = w.stage.Simulators.Togai.call(ctx, "invoices", map[string]any{
		"organization": w.stage.Simulators.Togai.Account, "invoice": map[string]any{"accountId": w.id, "lines": []any{
			line("Gold, monthly", "FIXED_FEE_RATE_CARD_AMOUNT", 49), line("API calls", "USAGE_RATE_CARD_AMOUNT", 11.15), line("Sales tax", "TAX_AMOUNT", 5.41),
		}},
	}, &made)
	if err != nil {
		return "", err
	}
	w.say("Togai", "invoice "+made.ID, fmt.Sprintf("over %.2f USD", made.TotalAmount))
	if err := w.follow(ctx, made.ID, "", invoicesOut, booksInvoicesOut); err != nil {
		return "", err
	}
	state, err := w.stage.stripeState(ctx)
	if err != nil {
		return "", err
	}
	for _, i := range state.Invoice {
		if i.Metadata["togai_invoice_id"] == made.ID {
			if invoice != "" {
				return "", fmt.Errorf("invoice %s is there twice in Stripe", made.ID)
			}
			invoice = i.ID
			if i.Total != 6556 || len(state.mails(i.ID)) != 1 {
				return "", fmt.Errorf("invoice %s is over %d cents and was mailed %d times", i.ID, i.Total, len(state.mails(i.ID)))
			}
		}
	}
	took := time.Since(w.begun)
	books, err := w.stage.booksState(ctx)
	if err != nil {
		return "", err
	}
	n := 0
	for _, i := range books.Invoices {
		if i.Reference == made.ID {
			if n++; i.Total != "65.56" || i.Status != "sent" {
				return "", fmt.Errorf("invoice %s in Zoho Books is over %s and %s", i.Number, i.Total, i.Status)
			}
		}
	}
	if n != 1 {
		return "", fmt.Errorf("the invoice is there %d times in Zoho Books, instead of once", n)
	}
	w.out.Done("the same to the cent in Stripe and Zoho Books, mailed once to "+state.mails(invoice)[0], took)
	return invoice, nil
}

// paid has the invoice paid in Stripe, which pays it in Togai, and shows what belongs together now.
func (w *walk) paid(ctx context.Context, invoice string) error {
	w.begin("The invoice is paid in Stripe")
	if err := w.stage.Simulators.Stripe.call(ctx, "invoices/"+invoice+"/pay", map[string]any{"account": w.stage.Simulators.Stripe.Account}, &struct{}{}); err != nil {
		return err
	}
	w.say("Stripe", "payment of "+invoice, "on its hosted page")
	if err := w.follow(ctx, invoice, "", invoicePaidIn); err != nil {
		return err
	}
	took := time.Since(w.begun)
	status, payments, err := w.stage.togaiBilling(ctx, w.id)
	if err != nil {
		return err
	}
	if status != "PAID" || payments != 1 {
		return fmt.Errorf("the invoice in Togai is %s, with %d payments", status, payments)
	}
	if err := w.mapped(ctx, "stripe", "invoice", invoice); err != nil {
		return err
	}
	w.out.Done("paid in both, recorded once", took)
	return nil
}

// orNothing is where an answer goes that nobody reads.
func orNothing(out any) any {
	if out == nil {
		return new(any)
	}
	return out
}

// shortened is an id as a column holds it.
func shortened(id string) string {
	if len(id) <= 20 {
		return id
	}
	return id[:19] + "…"
}
