package demo

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// zuora has a customer made and a subscription sold in Zuora, and waits for both in Togai.
func (w *walk) zuora(ctx context.Context) error {
	who := person{"Katherine Johnson", unique("katherine")}
	number, _, _ := strings.Cut(who.Email, "@")
	w.begin("A person makes an account in Zuora")
	var account struct{ ID string }
	if err := w.stage.Simulators.Zuora.call(ctx, "accounts", map[string]any{"account": map[string]any{
		"accountNumber": number, "name": who.Name, "billToContact": map[string]any{"firstName": "Katherine", "lastName": "Johnson", "workEmail": who.Email},
	}}, &account); err != nil {
		return err
	}
	w.say("Zuora", "account "+number, who.Name)
	if err := w.follow(ctx, account.ID, "", zuoraAccountsIn); err != nil {
		return err
	}
	took := time.Since(w.begun)
	if err := w.mapped(ctx, "zuora", "account", account.ID); err != nil {
		return err
	}
	w.out.Done("once in Zuora, once in Togai, linked", took)

	w.begin("The account gets a subscription in Zuora")
	subscription := "A-S-" + number
	charge := func(name, kind string, price any) any {
		return map[string]any{"name": name, "type": kind, "model": "FlatFee", "price": price, "billingPeriod": "Month", "billingTiming": "IN_ADVANCE"}
	}
	if err := w.stage.Simulators.Zuora.call(ctx, "subscriptions", map[string]any{
		"account": account.ID, "number": subscription, "charges": []any{charge("Silver, monthly", "Recurring", 29), charge("Setup", "OneTime", 99)},
	}, orNothing(nil)); err != nil {
		return err
	}
	w.say("Zuora", "subscription "+shortened(subscription), "29 USD a month, and 99 once")
	if err := w.follow(ctx, subscription, "", zuoraSubscriptionsIn); err != nil {
		return err
	}
	state, err := w.stage.togaiState(ctx)
	if err != nil {
		return err
	}
	var plans []string
	for _, s := range state.Schedules {
		if s.AccountID == number {
			plans = append(plans, s.PricePlanID)
		}
	}
	if len(plans) != 1 {
		return fmt.Errorf("the account has %d price plans in Togai, instead of one", len(plans))
	}
	if err := w.through(ctx, pricePlansOut, plans[0]); err != nil {
		return err
	}
	took = time.Since(w.begun)
	if err := w.mapped(ctx, "zuora", "subscription", subscription); err != nil {
		return err
	}
	w.out.Done("a price plan in Togai, attached to the account, with prices in Stripe", took)
	return nil
}
