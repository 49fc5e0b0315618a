package flow_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"tieline/jobs/flow"
	"tieline/jobs/flow/expr"
)

// tenSteps is a flow of ten steps like those of the shipped ones.
func tenSteps(t testing.TB) ([]byte, expr.Env) {
	t.Helper()
	steps, outputs := []any{}, map[string]any{}
	for i := range 5 {
		account, note := fmt.Sprint("account", i), fmt.Sprint("note", i)
		steps = append(steps, map[string]any{"key": account, "app": "togai", "action": "customer.create", "input": map[string]any{
			"id": "{{ trigger.customer_id }}", "name": "{{ size(trigger.name) >= 3 ? trigger.name : coalesce(trigger.email, trigger.customer_id) }}", "email": "{{ coalesce(trigger.email, params.emailWhenMissing) }}",
			"currency": "{{ coalesce(trigger.currency, params.currency, null) }}", "address": map[string]any{"line1": "{{ trigger.address.line1 }}", "city": "{{ trigger.address.city }}", "phone": "{{ trigger.phone }}"},
			"settings": map[string]any{"stripe_customer_id": "{{ trigger.customer_id }}"},
		}}, map[string]any{"key": note, "app": "stripe", "action": "customer.update", "input": map[string]any{
			"customer_id": "{{ trigger.customer_id }}", "metadata": map[string]any{"togai_account_id": "{{ steps." + account + ".account_id }}", "note": "Togai {{ steps." + account + ".customer_id }}, since {{ day(now()) }}"},
		}})
		outputs[account] = map[string]any{"account_id": "acme", "customer_id": "acme"}
	}
	doc, err := json.Marshal(map[string]any{"name": "Ten", "trigger": map[string]any{"app": "stripe", "key": "customer.created"}, "steps": steps,
		"params": map[string]any{"emailWhenMissing": map[string]any{"type": "string", "default": ""}, "currency": map[string]any{"type": "string", "default": ""}}})
	if err != nil {
		t.Fatal(err)
	}
	app, _ := allApps(t).App("stripe")
	trigger, _ := app.Trigger("customer.created")
	var payload any
	if err := json.Unmarshal(trigger.Sample, &payload); err != nil {
		t.Fatal(err)
	}
	return doc, expr.Env{Now: time.Unix(1760000000, 0), Vars: map[string]any{"trigger": payload, "steps": outputs, "params": map[string]any{"emailWhenMissing": "", "currency": ""}, "run": map[string]any{}}}
}

// BenchmarkTenSteps renders and checks the inputs of a flow of ten steps, compiled as a version is, once.
func BenchmarkTenSteps(b *testing.B) {
	doc, env := tenSteps(b)
	if bad := flow.Examine(doc, allApps(b)); len(bad) > 0 {
		b.Fatal(bad)
	}
	ready, err := flow.Ready(doc, allApps(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := ready.Check(b.Context(), env); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExamine checks such a document from nothing, as each save of a draft does.
func BenchmarkExamine(b *testing.B) {
	doc, _ := tenSteps(b)
	apps := allApps(b)
	for b.Loop() {
		flow.Examine(doc, apps)
	}
}
