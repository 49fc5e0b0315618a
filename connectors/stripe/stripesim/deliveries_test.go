package stripesim_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"
	"github.com/stripe/stripe-go/v76/webhook"

	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
)

type post struct {
	body   []byte
	header string
}

// listen registers an endpoint for these events and returns what arrives and the secret.
func (c caller) listen(events string, statuses ...int) (chan post, answer) {
	got := make(chan post, 100)
	answers := make(chan int, len(statuses))
	for _, s := range statuses {
		answers <- s
	}
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- post{b, r.Header.Get("Stripe-Signature")}
		select {
		case s := <-answers:
			w.WriteHeader(s)
		default:
		}
	}))
	c.t.(*testing.T).Cleanup(hook.Close)
	return got, c.must(200, "POST", "/webhook_endpoints", "url="+hook.URL+"&enabled_events[]="+events)
}

func verify(p post, secret string) (stripe.Event, error) {
	return webhook.ConstructEvent(p.body, p.header, secret)
}

// TestStripesOwnLibrary drives the simulator with the client that the connector uses.
func TestStripesOwnLibrary(t *testing.T) {
	t.Parallel()
	s, c := open(t, stripesim.WithBackoff(time.Millisecond))
	got, endpoint := c.listen("customer.created", 500)
	secret := endpoint.at("secret").(string)
	api := client.New(c.key, &stripe.Backends{API: stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: stripe.String(s.URL), EnableTelemetry: stripe.Bool(false), LeveledLogger: &stripe.LeveledLogger{}, MaxNetworkRetries: stripe.Int64(0)})})
	p := &stripe.CustomerParams{Name: stripe.String("Acme"), Address: &stripe.AddressParams{Country: stripe.String("CH")}}
	p.AddMetadata("togai_account_id", "acme")
	p.SetIdempotencyKey("tl_eff_1")
	made, err := api.Customers.New(p)
	if err != nil || made.Address.Country != "CH" || made.Metadata["togai_account_id"] != "acme" {
		t.Fatal(made, err)
	}
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused, accepted := <-got, <-got
	for _, x := range []post{refused, accepted} {
		e, err := verify(x, secret)
		if err != nil || e.Type != "customer.created" || e.Request.IdempotencyKey != "tl_eff_1" || e.Data.Object["id"] != made.ID {
			t.Errorf("event %+v, %v", e, err)
		}
	}
	if string(refused.body) != string(accepted.body) {
		t.Error("a retry has another body")
	}
	list := api.Events.List(&stripe.EventListParams{Types: []*string{stripe.String("customer.created")}, DeliverySuccess: stripe.Bool(true)})
	if !list.Next() || list.Event().PendingWebhooks != 0 {
		t.Errorf("no event that counts as delivered: %v", list.Err())
	}
	if _, err := api.Customers.Get("cus_missing", nil); err == nil {
		t.Error("a missing customer is found")
	}
	if a, err := api.Accounts.Get(); err != nil || !strings.HasPrefix(a.ID, "acct_") {
		t.Error(a, err)
	}
}

func TestCheckout(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	got, endpoint := c.listen("*")
	acct := s.First()
	session := acct.Complete(stripesim.Checkout{Link: "plink_1", Email: "b@x.test", ClientReferenceID: "YWNtZQ", Metadata: map[string]string{"togai_price_plan_id": "pp.1"}, Delayed: true,
		Items: []stripesim.Item{{Price: "price_1", Product: "prod_1", LookupKey: "k", Quantity: 2, Amount: 500}}})
	id := session["id"].(string)
	if err := acct.SettleCheckout(id, true); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"customer.created", "checkout.session.completed", "checkout.session.async_payment_succeeded"} {
		e, err := verify(<-got, endpoint.at("secret").(string))
		if err != nil || string(e.Type) != want || e.Request.ID != "" || e.Data.Object["line_items"] != nil {
			t.Errorf("event %s %+v, %v, want %s", e.Type, e.Request, err, want)
		}
	}
	if a := c.must(200, "GET", "/checkout/sessions/"+id, ""); a.at("line_items") != nil || a.at("payment_status") != "paid" || a.at("client_reference_id") != "YWNtZQ" {
		t.Errorf("session %s", a.raw)
	}
	if a := c.must(200, "GET", "/checkout/sessions/"+id, "expand[0]=line_items&expand[1]=customer"); a.at("line_items.object") != "list" || a.at("customer.email") != "b@x.test" {
		t.Errorf("expanded %s", a.raw)
	}
	byCustomer := c.must(200, "GET", "/checkout/sessions", "customer="+session["customer"].(string)+"&expand[0]=data.line_items")
	if len(byCustomer.data()) != 1 || !strings.Contains(byCustomer.raw, `"lookup_key": "k"`) {
		t.Errorf("list %s", byCustomer.raw)
	}
	if dropped := acct.Complete(stripesim.Checkout{ClientReferenceID: "a.b"}); dropped["client_reference_id"] != nil {
		t.Error("a reference that links refuse was kept")
	}
}

func TestByHandAndResend(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	got, endpoint := c.listen("customer.created&enabled_events[]=customer.updated")
	call := func(path, body string) map[string]any {
		t.Helper()
		return controlled(t, s.URL+"/_sim/"+path, body)
	}
	made := call("customers", `{"params":{"name":"Acme","metadata":{"a":"1"}}}`)
	call("customers/"+made["id"].(string), `{"params":{"name":"Bolt"}}`)
	created, updated := <-got, <-got
	e, err := verify(updated, endpoint.at("secret").(string))
	if err != nil || e.Request.ID != "" || e.Data.PreviousAttributes["name"] != "Acme" {
		t.Errorf("event %+v, %v", e, err)
	}
	first, _ := verify(created, endpoint.at("secret").(string))
	call("events/"+first.ID+"/resend", "")
	if again := <-got; strings.Count(string(again.body), first.ID) != 1 {
		t.Errorf("resent %s", again.body)
	}
	keyed := call("keys", `{"denied":["rak_customer_read"]}`)
	(caller{t, s.URL, keyed["key"].(string)}).must(403, "GET", "/customers", "")
}

func TestSignatureDials(t *testing.T) {
	t.Parallel()
	s, c := open(t, stripesim.WithBackoff())
	got, endpoint := c.listen("customer.created")
	secret, err := s.RollSecret(endpoint.id())
	if err != nil {
		t.Fatal(err)
	}
	s.Dial(sim.Dials{BadSignature: 1})
	c.must(200, "POST", "/customers", "")
	s.Settle(t.Context())
	s.Dial(sim.Dials{OldTime: 1})
	c.must(200, "POST", "/customers", "")
	c.must(200, "POST", "/customers", "")
	bad, old, good := <-got, <-got, <-got
	for want, p := range map[error]post{webhook.ErrNoValidSignature: bad, webhook.ErrTooOld: old, nil: good} {
		for _, key := range []string{secret, endpoint.at("secret").(string)} {
			if _, err := verify(p, key); err != want {
				t.Errorf("%v, want %v: %s", err, want, p.header)
			}
		}
	}
	s.First().UseVersion("2025-03-31.basil")
	c.must(200, "POST", "/customers", "")
	if other := <-got; !strings.Contains(string(other.body), `"api_version": "2025-03-31.basil"`) {
		t.Errorf("body %s", other.body)
	}
	if err := s.Post(endpoint.id(), "evt_thin", "thin", []byte(`{"object":"v2.core.event"}`)); err != nil {
		t.Fatal(err)
	}
	if thin := <-got; fmt.Sprint(string(thin.body)) != `{"object":"v2.core.event"}` {
		t.Errorf("body %s", thin.body)
	}
}
