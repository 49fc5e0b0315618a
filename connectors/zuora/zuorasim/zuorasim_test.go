package zuorasim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tieline/connectors/sim"
	"tieline/connectors/zuora/zuorasim"
)

// client is a program of the tenant's.
type client struct {
	t          testing.TB
	url, token string
}

func open(t testing.TB, opts ...zuorasim.Option) (*zuorasim.Sim, client) {
	t.Helper()
	s := zuorasim.New(t, opts...)
	id, secret := s.Client()
	res, err := http.PostForm(s.URL+"/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var out struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || out.AccessToken == "" {
		t.Fatalf("no token: %s, %v", res.Status, err)
	}
	return s, client{t, s.URL, out.AccessToken}
}

// try sends body, a JSON text, under an idempotency key if there is one. An error is one of the network.
func (c client) try(method, path, body, key string) (*http.Response, map[string]any, error) {
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.GetBody = nil // or the client repeats by itself what the simulator has cut
	req.Header.Set("Authorization", "Bearer "+c.token)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	var out map[string]any
	_ = json.NewDecoder(res.Body).Decode(&out) // what a proxy answers is none
	return res, out, nil
}

// do answers the status and what the body says: "" for success, else the code of its first reason.
func (c client) do(method, path, body string) (int, string, map[string]any) {
	c.t.Helper()
	res, out, err := c.try(method, path, body, "")
	if err != nil {
		c.t.Fatal(err)
	}
	if out["success"] == true {
		return res.StatusCode, "", out
	}
	reasons, _ := out["reasons"].([]any)
	if len(reasons) == 0 {
		return res.StatusCode, fmt.Sprint(out["message"]), out
	}
	return res.StatusCode, fmt.Sprint(int(reasons[0].(map[string]any)["code"].(float64))), out
}

func (c client) must(method, path, body string) map[string]any {
	c.t.Helper()
	status, code, out := c.do(method, path, body)
	if status != 200 || code != "" {
		c.t.Fatalf("%s %s: %d %v", method, path, status, out)
	}
	return out
}

const acme = `{"accountNumber":"A-1","name":"Acme","currency":"USD","billCycleDay":0,"billToContact":{"firstName":"Ada","lastName":"Acme"}}`

// planOf is the id of a product's rate plan, and of its charge, as the catalogue has them.
func planOf(c client, product string) (plan, charge string) {
	c.t.Helper()
	for _, p := range c.must("GET", "/v1/catalog/products?pageSize=40", "")["products"].([]any) {
		if p := p.(map[string]any); p["name"] == product {
			of := p["productRatePlans"].([]any)[0].(map[string]any)
			return of["id"].(string), of["productRatePlanCharges"].([]any)[0].(map[string]any)["id"].(string)
		}
	}
	c.t.Fatalf("no product %s", product)
	return "", ""
}

// plansOf are a subscription's rate plans with what their charges cost.
func plansOf(sub map[string]any) (ids []string, prices []string) {
	for _, p := range sub["ratePlans"].([]any) {
		p := p.(map[string]any)
		ids = append(ids, p["id"].(string))
		for _, c := range p["ratePlanCharges"].([]any) {
			prices = append(prices, fmt.Sprint(c.(map[string]any)["price"]))
		}
	}
	return ids, prices
}

// TestSubscription is made, amended and cancelled by the vendor's own calls: each change is a version of another id, under one
// number, and only the first is told of as a new subscription.
func TestSubscription(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	told := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.URL.Query().Get("number") }))
	t.Cleanup(hook.Close)
	s.Notify("Subscription", zuorasim.Callout{URL: hook.URL + "?number={{Subscription.Name}}"})
	s.Product("Gold", map[string]any{"name": "Base", "type": "Recurring", "model": "FlatFee", "price": 10})
	s.Product("Silver", map[string]any{"name": "Support", "type": "Recurring", "model": "FlatFee", "price": 5})
	c.must("POST", "/v1/accounts", acme)
	gold, charge := planOf(c, "Gold")
	silver, _ := planOf(c, "Silver")
	made := c.must("POST", "/v1/subscriptions", fmt.Sprintf(`{"accountKey":"A-1","termType":"TERMED","initialTerm":12,"renewalTerm":0,"contractEffectiveDate":"2026-01-01","runBilling":false,
		"subscribeToRatePlans":[{"productRatePlanId":%q,"chargeOverrides":[{"productRatePlanChargeId":%q,"price":12.5}]}]}`, gold, charge))
	number := made["subscriptionNumber"].(string)
	first := c.must("GET", "/v1/subscriptions/"+number, "")
	ids, prices := plansOf(first)
	if first["id"] != made["subscriptionId"] || first["version"] != 1.0 || first["status"] != "Active" || !slices.Equal(prices, []string{"12.5"}) {
		t.Errorf("made: %v", first)
	}
	of := first["ratePlans"].([]any)[0].(map[string]any)["ratePlanCharges"].([]any)[0].(map[string]any)
	if of["productRatePlanChargeId"] != charge || of["id"] == charge || of["originalChargeId"] != of["id"] || of["currency"] != "USD" {
		t.Errorf("its charge: %v", of)
	}
	c.must("PUT", "/v1/subscriptions/"+number, fmt.Sprintf(`{"add":[{"contractEffectiveDate":"2026-02-01","productRatePlanId":%q}],
		"update":[{"contractEffectiveDate":"2026-02-01","ratePlanId":%q,"chargeUpdateDetails":[{"ratePlanChargeId":%q,"price":20}]}]}`, silver, ids[0], of["id"]))
	second := c.must("GET", "/v1/subscriptions/"+number, "")
	if _, prices = plansOf(second); second["version"] != 2.0 || second["id"] == first["id"] || !slices.Equal(prices, []string{"20", "5"}) {
		t.Errorf("amended: %v", second)
	}
	if old := c.must("GET", "/v1/subscriptions/"+first["id"].(string), ""); old["version"] != 1.0 || old["isLatestVersion"] != false {
		t.Errorf("the first version is %v now", old)
	}
	c.must("PUT", "/v1/subscriptions/"+first["id"].(string), fmt.Sprintf(`{"remove":[{"contractEffectiveDate":"2026-03-01","ratePlanId":%q}]}`, ids[0]))
	if _, prices = plansOf(c.must("GET", "/v1/subscriptions/"+number, "")); !slices.Equal(prices, []string{"5"}) {
		t.Errorf("without the first plan: %v", prices)
	}
	c.must("PUT", "/v1/subscriptions/"+number+"/cancel", `{"cancellationPolicy":"SpecificDate","cancellationEffectiveDate":"2026-04-01","runBilling":false}`)
	if last := c.must("GET", "/v1/subscriptions/"+number, ""); last["status"] != "Cancelled" || last["version"] != 4.0 {
		t.Errorf("cancelled: %v", last)
	}
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if close(told); len(told) != 1 || <-told != number {
		t.Errorf("it is told of %d times more", len(told))
	}
}

// TestRefusals: what Zuora would not take is not taken, in its words.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	s.Product("Gold", map[string]any{"name": "Base", "type": "Recurring", "model": "FlatFee", "price": 10})
	c.must("POST", "/v1/accounts", acme)
	gold, _ := planOf(c, "Gold")
	sub := func(account, term, date, plan string) string {
		return fmt.Sprintf(`{"accountKey":%q,"subscriptionNumber":"S-1","termType":%q,"renewalTerm":0,"contractEffectiveDate":%q,"subscribeToRatePlans":[{"productRatePlanId":%q}]}`, account, term, date, plan)
	}
	c.must("POST", "/v1/subscriptions", sub("A-1", "EVERGREEN", "2026-01-01", gold))
	for name, x := range map[string]struct {
		method, path, body string
		status             int
		code               string
	}{
		"no account of that key": {"POST", "/v1/subscriptions", strings.Replace(sub("A-2", "EVERGREEN", "2026-01-01", gold), "S-1", "S-2", 1), 404, "50000040"},
		"no such plan":           {"POST", "/v1/subscriptions", strings.Replace(sub("A-1", "EVERGREEN", "2026-01-01", "x"), "S-1", "S-2", 1), 404, "50000040"},
		"no term":                {"POST", "/v1/subscriptions", sub("A-1", "TERMED", "2026-01-01", gold), 400, "50000022"},
		"no day":                 {"POST", "/v1/subscriptions", sub("A-1", "EVERGREEN", "1.1.2026", gold), 400, "50000020"},
		"a number in use":        {"POST", "/v1/subscriptions", sub("A-1", "EVERGREEN", "2026-01-01", gold), 200, "50000030"},
		"no such subscription":   {"PUT", "/v1/subscriptions/S-9", `{}`, 404, "50000040"},
		"no such rate plan":      {"PUT", "/v1/subscriptions/S-1", `{"remove":[{"ratePlanId":"x","contractEffectiveDate":"2026-01-01"}]}`, 400, "50000020"},
		"a cancel without body":  {"PUT", "/v1/subscriptions/S-1/cancel", "", 415, "50000020"},
		"a cancel without why":   {"PUT", "/v1/subscriptions/S-1/cancel", "{}", 400, "50000022"},
		"a cancel without when":  {"PUT", "/v1/subscriptions/S-1/cancel", `{"cancellationPolicy":"SpecificDate"}`, 400, "50000020"},
		"an emoji":               {"POST", "/v1/accounts", strings.Replace(acme, "Acme", "Acme 🙂", 1), 400, "50000020"},
		"no route":               {"POST", "/v1/none", "{}", 404, "no Route matched with those values"},
	} {
		if status, code, out := c.do(x.method, x.path, x.body); status != x.status || code != x.code {
			t.Errorf("%s: %d %s, want %d %s: %v", name, status, code, x.status, x.code, out)
		}
	}
	c.must("PUT", "/v1/subscriptions/S-1/cancel", `{"cancellationPolicy":"EndOfCurrentTerm"}`)
	if status, code, _ := c.do("PUT", "/v1/subscriptions/S-1", `{}`); status != 200 || code != "50000030" {
		t.Errorf("a cancelled one is amended: %d %s", status, code)
	}
	c.token = "other"
	if status, code, _ := c.do("GET", "/v1/accounts/A-1", ""); status != 401 || code != "90000011" {
		t.Errorf("another's token: %d %s", status, code)
	}
}

// TestFaults: every dial works at every kind of write, and what was done then is there, once, whoever repeats it under its key.
func TestFaults(t *testing.T) {
	t.Parallel()
	writes := map[string]struct {
		method, path string
		body         func(c client) string
	}{
		"account": {"POST", "/v1/accounts", func(client) string { return strings.Replace(acme, "A-1", "A-2", 1) }},
		"subscription": {"POST", "/v1/subscriptions", func(c client) string {
			gold, _ := planOf(c, "Gold")
			return fmt.Sprintf(`{"accountKey":"A-1","termType":"EVERGREEN","renewalTerm":0,"contractEffectiveDate":"2026-01-01","subscribeToRatePlans":[{"productRatePlanId":%q}]}`, gold)
		}},
		"cancel": {"PUT", "/v1/subscriptions/S-1/cancel", func(client) string { return `{"cancellationPolicy":"EndOfCurrentTerm"}` }},
	}
	for point, x := range map[sim.Point]struct {
		status int // 0: no answer comes
		done   bool
		kept   bool // a repeat under the key is answered the same
	}{
		sim.Before: {500, false, false}, sim.AfterCommit: {500, true, true}, sim.CutBefore: {0, false, false}, sim.Cut: {0, true, false}, sim.Slow: {200, true, false},
		sim.SlowAfter: {200, true, false}, sim.RateLimit: {429, false, false}, sim.HTML502: {502, false, false},
	} {
		for name, w := range writes {
			t.Run(string(point)+" "+name, func(t *testing.T) {
				t.Parallel()
				s, c := open(t)
				s.Product("Gold", map[string]any{"name": "Base", "type": "Recurring", "model": "FlatFee", "price": 10})
				c.must("POST", "/v1/accounts", acme)
				if _, err := s.Subscribe(zuorasim.NewSubscription{Account: "A-1", Number: "S-1"}); err != nil {
					t.Fatal(err)
				}
				// Each write leaves one more account, or one more version of a subscription.
				records := func() (n int) {
					state := stateOf(t, s)
					return len(state["accounts"]) + len(state["subscriptions"])
				}
				before, key, body := records(), "k", w.body(c)
				if w.method == "PUT" {
					key = ""
				}
				s.Fault(sim.Fault{Method: w.method, Path: w.path, Point: point, Delay: time.Millisecond, RetryAfter: 2 * time.Second})
				res, _, err := c.try(w.method, w.path, body, key)
				if (err != nil) != (x.status == 0) || err == nil && res.StatusCode != x.status {
					t.Fatalf("%+v, %v", res, err)
				}
				if point == sim.RateLimit && res.Header.Get("Retry-After") != "2" {
					t.Errorf("it says %v", res.Header)
				}
				if done := records() - before; done != map[bool]int{true: 1}[x.done] {
					t.Errorf("%d were done", done)
				}
				if key == "" {
					return
				}
				res, out, err := c.try(w.method, w.path, body, key)
				if err != nil || res.StatusCode != map[bool]int{true: 500, false: 200}[x.kept] || (out["success"] == true) == x.kept || records()-before != 1 {
					t.Errorf("repeated: %v, %v, %v, %d records", res.Status, out, err, records()-before)
				}
			})
		}
	}
}

func stateOf(t *testing.T, s *zuorasim.Sim) map[string][]any {
	t.Helper()
	res, err := http.Get(s.URL + "/_sim/state")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var out map[string][]any
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestHang: nothing is done for who gives up.
func TestHang(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	arrived := make(chan struct{})
	s.OnRequest(func(stage, _, _ string) {
		if stage == sim.Arrived {
			close(arrived)
		}
	})
	s.Fault(sim.Fault{Method: "POST", Point: sim.Hang})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	req, err := http.NewRequestWithContext(ctx, "POST", c.url+"/v1/accounts", strings.NewReader(acme))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if res, err := http.DefaultClient.Do(req); err == nil {
		t.Errorf("it answers %s", res.Status)
	}
	if n := len(s.Accounts()); n != 0 {
		t.Errorf("%d accounts", n)
	}
}

// TestIdempotencyKeys: one is repeated with the first answer, of a call that still runs refused, and never goes with a change.
func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	status := func(method, path, body, key string) int {
		t.Helper()
		res, _, err := c.try(method, path, body, key)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode
	}
	running, finish := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.OnRequest(func(stage, method, _ string) {
		if stage == sim.Committed && method == "POST" {
			once.Do(func() { close(running); <-finish })
		}
	})
	first := make(chan int)
	go func() {
		res, _, err := c.try("POST", "/v1/accounts", acme, "k")
		if err != nil {
			first <- 0
			return
		}
		first <- res.StatusCode
	}()
	<-running
	if got := status("POST", "/v1/accounts", acme, "k"); got != 409 {
		t.Errorf("while the first runs: %d", got)
	}
	close(finish)
	if got := <-first; got != 200 {
		t.Errorf("the first: %d", got)
	}
	if got := status("POST", "/v1/accounts", acme, "k"); got != 200 || len(s.Accounts()) != 1 {
		t.Errorf("repeated: %d, %d accounts", got, len(s.Accounts()))
	}
	if got := status("POST", "/v1/invoices", "{}", "k"); got != 422 {
		t.Errorf("of another call: %d", got)
	}
	if got := status("PUT", "/v1/accounts/A-1", `{"name":"x"}`, "k2"); got != 400 {
		t.Errorf("with a change: %d", got)
	}
}

// TestLimits: too many at once, or in a second, are refused, and every answer tells what is left.
func TestLimits(t *testing.T) {
	t.Parallel()
	s, c := open(t, zuorasim.WithConcurrency(1), zuorasim.WithTokenLife(time.Minute))
	inside, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.OnRequest(func(stage, method, _ string) {
		if stage == sim.Committed && method == "POST" {
			once.Do(func() { close(inside); <-leave })
		}
	})
	done := make(chan error)
	go func() {
		_, _, err := c.try("POST", "/v1/accounts", acme, "")
		done <- err
	}()
	<-inside
	res, _, err := c.try("GET", "/v1/accounts/A-1", "", "")
	if err != nil || res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("a second call in the air: %v, %v", res, err)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.Others(zuorasim.Others{Left: 7, Reset: 30 * time.Second, Flying: 1})
	res, _, err = c.try("GET", "/v1/accounts/A-1", "", "")
	if err != nil || res.StatusCode != 200 || res.Header.Get("Ratelimit-Remaining") != "7" || res.Header.Get("Ratelimit-Reset") != "30" || res.Header.Get("Concurrency-Limit-Remaining") != "0" {
		t.Errorf("%v, %v", res, err)
	}
	s.Clock.Advance(2 * time.Minute)
	if res, _, err := c.try("GET", "/v1/accounts/A-1", "", ""); err != nil || res.StatusCode != 401 {
		t.Errorf("a token that has ended: %v, %v", res, err)
	}
}
