package stripesim

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tieline/connectors/sim"
)

const eventLife = 30 * 24 * time.Hour // how long Stripe lists an event

func events(s *Sim) {
	known := paging(params{"type": text, "types": list(text), "created": moment, "delivery_success": boolean})
	s.router.handle("GET /v1/events", route{params: known, run: func(c *call) (any, error) {
		types, _ := c.in["types"].([]any)
		if len(types) > 20 {
			return nil, invalid("", "types", "At most 20 types.")
		}
		if c.in["type"] != nil {
			types = append(types, c.in["type"])
		}
		return c.list("event", "/v1/events", func(o object) bool {
			switch {
			case c.now.Unix()-o["created"].(int64) > int64(eventLife.Seconds()):
				return false
			case c.in["delivery_success"] != nil && c.in["delivery_success"] != (o["pending_webhooks"] == 0):
				return false
			}
			return len(types) == 0 || slices.ContainsFunc(types, func(want any) bool { return wants(want.(string), o["type"].(string)) })
		})
	}})
	s.router.handle("GET /v1/events/{id}", route{params: params{"expand": list(text)}, run: func(c *call) (any, error) { return c.live("event") }})
}

// wants matches an event type against a name, a group such as customer.*, or *.
func wants(name, typ string) bool {
	group, ok := strings.CutSuffix(name, "*")
	return name == typ || ok && strings.HasPrefix(typ, group)
}

// emit stores an event and sends it to every endpoint that wants it. Both are frozen here.
func (c *call) emit(typ string, o, previous object) {
	data, err := c.book.shape(o, nil)
	if err != nil {
		panic(err) // nothing was asked to be expanded
	}
	body := object{"object": data}
	if previous != nil {
		body["previous_attributes"] = previous
	}
	endpoints := c.book.listeners(typ)
	event := object{
		"id": "evt_1" + random(23), "object": "event", "api_version": c.book.version, "created": c.now.Unix(), "data": body, "livemode": c.book.livemode,
		"pending_webhooks": len(endpoints), "request": object{"id": nilIfEmpty(c.request), "idempotency_key": nilIfEmpty(c.idempotent)}, "type": typ,
	}
	c.book.put(event, c.now)
	for _, e := range endpoints {
		c.sim.post(c.book, e, event)
	}
}

func nilIfEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (b *book) listeners(typ string) (out []object) {
	for _, e := range b.table("webhook_endpoint").current() {
		if e["status"] == "enabled" && slices.ContainsFunc(e["enabled_events"].([]any), func(n any) bool { return wants(n.(string), typ) }) {
			out = append(out, e)
		}
	}
	return out
}

// post delivers an event in the endpoint's API version.
func (s *Sim) post(b *book, endpoint, event object) {
	rendered := maps.Clone(event)
	version, _ := endpoint["api_version"].(string)
	rendered["api_version"] = cmp.Or(version, b.version)
	s.sendTo(b, endpoint, event["id"].(string), event["type"].(string), render(http.StatusOK, rendered).Body)
}

func (s *Sim) sendTo(b *book, endpoint object, id, typ string, body []byte) {
	secrets := slices.Clone(b.secrets[endpoint["id"].(string)])
	s.Send(sim.Message{
		Event: id, Type: typ, URL: endpoint["url"].(string), Body: body,
		Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}, "User-Agent": {"Stripe/1.0 (simulated)"}},
		Sign:   func(at time.Time, body []byte) http.Header { return signature(secrets, at, body) },
		Delivered: func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if e, _, ok := b.get("event", id); ok && e["pending_webhooks"].(int) > 0 {
				e = maps.Clone(e)
				e["pending_webhooks"] = e["pending_webhooks"].(int) - 1
				b.put(e, s.Clock.Now())
			}
		},
	})
}

// signature has one v1 for each secret, and the v0 that test mode adds to mislead.
func signature(secrets []string, at time.Time, body []byte) http.Header {
	t := strconv.FormatInt(at.Unix(), 10)
	parts := []string{"t=" + t}
	for _, secret := range secrets {
		parts = append(parts, "v1="+mac(secret, t, body))
	}
	return http.Header{"Stripe-Signature": {strings.Join(append(parts, "v0="+mac("decoy", t, body)), ",")}}
}

func mac(secret, t string, body []byte) string {
	h := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(h, "%s.%s", t, body)
	return hex.EncodeToString(h.Sum(nil))
}

// Resend delivers an event again to the endpoints that want it now, as the dashboard's button does.
func (s *Sim) Resend(event string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.books() {
		if e, _, ok := b.get("event", event); ok {
			for _, endpoint := range b.listeners(e["type"].(string)) {
				s.post(b, endpoint, e)
			}
			return nil
		}
	}
	return missing("event", "id", event)
}

// Post signs and delivers any body to one endpoint: a thin event, an old one, junk.
func (s *Sim) Post(endpoint, event, typ string, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.books() {
		if e, gone, ok := b.get("webhook_endpoint", endpoint); ok && !gone {
			s.sendTo(b, e, event, typ, body)
			return nil
		}
	}
	return missing("webhook_endpoint", "id", endpoint)
}

func (s *Sim) books() func(yield func(*book) bool) {
	return func(yield func(*book) bool) {
		for _, a := range s.accounts {
			if !yield(a.test) || !yield(a.live) {
				return
			}
		}
	}
}
