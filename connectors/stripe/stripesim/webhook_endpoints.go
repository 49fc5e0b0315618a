package stripesim

import (
	"net/url"
	"slices"
	"strings"
)

const maxEndpoints = 16 // for each account and mode

// eventTypes are those an endpoint may ask for: Stripe has more, these are all a connector here could want.
var eventTypes = slices.Concat(
	named("account", "updated"),
	named("balance", "available"),
	named("charge", "captured", "expired", "failed", "pending", "refunded", "succeeded", "updated", "dispute.created", "dispute.closed"),
	named("checkout.session", "async_payment_failed", "async_payment_succeeded", "completed", "expired"),
	named("credit_note", "created", "updated", "voided"),
	named("customer", "created", "deleted", "updated", "discount.created", "discount.deleted", "subscription.created", "subscription.deleted",
		"subscription.paused", "subscription.resumed", "subscription.trial_will_end", "subscription.updated", "tax_id.created", "tax_id.deleted", "tax_id.updated"),
	named("invoice", "created", "deleted", "finalization_failed", "finalized", "marked_uncollectible", "paid", "payment_action_required",
		"payment_failed", "payment_succeeded", "sent", "upcoming", "updated", "voided"),
	named("invoiceitem", "created", "deleted"),
	named("payment_intent", "canceled", "created", "payment_failed", "processing", "requires_action", "succeeded"),
	named("payment_link", "created", "updated"),
	named("plan", "created", "deleted", "updated"),
	named("price", "created", "deleted", "updated"),
	named("product", "created", "deleted", "updated"),
	named("refund", "created", "updated"),
)

func named(noun string, verbs ...string) []string {
	for i := range verbs {
		verbs[i] = noun + "." + verbs[i]
	}
	return verbs
}

func eventType(name string, v any) (any, *Error) {
	if v == "*" {
		return v, nil
	}
	return oneOf(eventTypes...)(name, v)
}

func webhookEndpoints(s *Sim) {
	create := params{"url": text, "enabled_events": list(eventType), "api_version": oneOf("2022-11-15", "2023-08-16", apiVersion, "2024-04-10", "2024-09-30.acacia", "2025-03-31.basil"),
		"description": text, "metadata": metadata, "connect": boolean, "expand": list(text)}
	update := params{"url": text, "enabled_events": list(eventType), "disabled": boolean, "description": text, "metadata": metadata, "expand": list(text)}
	s.router.handle("POST /v1/webhook_endpoints", route{params: create, needs: []string{"url", "enabled_events"}, run: (*call).createEndpoint})
	s.router.handle("POST /v1/webhook_endpoints/{id}", route{params: update, run: (*call).updateEndpoint})
	s.router.handle("GET /v1/webhook_endpoints/{id}", route{params: params{"expand": list(text)}, run: func(c *call) (any, error) { return c.live("webhook_endpoint") }})
	s.router.handle("GET /v1/webhook_endpoints", route{params: paging(nil), run: func(c *call) (any, error) {
		return c.list("webhook_endpoint", "/v1/webhook_endpoints", func(object) bool { return true })
	}})
	s.router.handle("DELETE /v1/webhook_endpoints/{id}", route{run: func(c *call) (any, error) {
		if _, err := c.live("webhook_endpoint"); err != nil {
			return nil, err
		}
		return c.book.remove("webhook_endpoint", c.id, c.now), nil
	}})
}

// createEndpoint is the only answer that shows the secret.
func (c *call) createEndpoint() (any, error) {
	if err := c.checkEndpoint(); err != nil {
		return nil, err
	}
	if len(c.book.table("webhook_endpoint").current()) >= maxEndpoints {
		return nil, invalid("", "", "An account has at most %d webhook endpoints in each mode.", maxEndpoints)
	}
	id := "we_1" + random(23)
	o := c.merge(object{
		"id": id, "object": "webhook_endpoint", "api_version": c.in["api_version"], "application": nil, "created": c.now.Unix(), "description": nil,
		"enabled_events": nil, "livemode": c.book.livemode, "metadata": object{}, "status": "enabled", "url": nil,
	}, []string{"url", "enabled_events", "description"})
	c.book.put(o, c.now)
	secret := "whsec_" + random(32)
	c.book.secrets[id] = []string{secret}
	shown := c.merge(o, nil)
	shown["secret"] = secret
	return shown, nil
}

func (c *call) updateEndpoint() (any, error) {
	old, err := c.live("webhook_endpoint")
	if err != nil {
		return nil, err
	}
	if err := c.checkEndpoint(); err != nil {
		return nil, err
	}
	o := c.merge(old, []string{"url", "enabled_events", "description"})
	switch c.in["disabled"] {
	case true:
		o["status"] = "disabled"
	case false:
		o["status"] = "enabled"
	}
	c.book.put(o, c.now)
	return o, nil
}

// checkEndpoint takes http and loopback in test mode only, where Stripe itself takes neither.
func (c *call) checkEndpoint() error {
	if raw, ok := c.in["url"].(string); ok {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || !strings.HasPrefix(u.Scheme, "http") {
			return invalid("url_invalid", "url", "Not a valid URL")
		}
		if c.book.livemode && u.Scheme != "https" {
			return invalid("url_invalid", "url", "Live endpoints need https.")
		}
	}
	if names, ok := c.in["enabled_events"].([]any); ok && len(names) == 0 {
		return invalid("parameter_invalid_empty", "enabled_events", "At least one event is needed.")
	}
	return nil
}

// RollSecret gives an endpoint a second secret; deliveries carry a signature of each, the new one last.
func (s *Sim) RollSecret(endpoint string) (secret string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.books() {
		if old := b.secrets[endpoint]; old != nil {
			secret = "whsec_" + random(32)
			b.secrets[endpoint] = []string{old[len(old)-1], secret}
			return secret, nil
		}
	}
	return "", missing("webhook_endpoint", "id", endpoint)
}
