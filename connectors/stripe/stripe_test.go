package stripe

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	stripego "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
)

// opened is a connection to a simulator of its own.
func opened(t *testing.T, opts ...stripesim.Option) (*stripesim.Sim, *stripesim.Account, connectors.Conn, *conntest.Journal) {
	t.Helper()
	s := stripesim.New(t, append([]stripesim.Option{stripesim.WithSearchLag(0)}, opts...)...)
	a := s.Account()
	c, j := connect(t, s, a.Key())
	return s, a, c, j
}

func connect(t *testing.T, s *stripesim.Sim, key string) (connectors.Conn, *conntest.Journal) {
	t.Helper()
	return conntest.OpenJournal(t, Connector(), s.URL, connectors.Credentials{apiKey: key})
}

func TestMode(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]connectors.Mode{
		"sk_test_1": connectors.Test, "rk_test_1": connectors.Test, "sk_live_1": connectors.Live, " rk_live_1\n": connectors.Live,
	} {
		if got, err := mode(connectors.Credentials{apiKey: key}); got != want || err != nil {
			t.Errorf("%q: %q, %v", key, got, err)
		}
	}
	for key, says := range map[string]string{
		"": "missing", "pk_test_1": "publishable", "pk_live_1": "publishable", "whsec_1": "signing secret",
		"sk_test_": "not a Stripe API key", "sk_prod_1": "not a Stripe API key", "hello": "not a Stripe API key",
	} {
		_, err := mode(connectors.Credentials{apiKey: key})
		if connectors.KindOf(err) != connectors.Invalid || !strings.Contains(err.Error(), says) || len(key) > 8 && strings.Contains(err.Error(), key) {
			t.Errorf("%q: %v, want a hint with %q", key, err, says)
		}
	}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	s, a, c, _ := opened(t)
	id, err := identify(t.Context(), c)
	if err != nil || id.AccountID != a.ID || id.Mode != connectors.Test || id.Name == "" {
		t.Fatalf("%+v, %v", id, err)
	}
	for _, p := range id.Permissions {
		if p.State != connectors.Granted || p.Label == "" || p.Help == "" || len(p.NeedFor) == 0 {
			t.Errorf("a full key: %+v", p)
		}
	}
	if again, err := identified(t, s, a.Key()); err != nil || again.AccountID != id.AccountID {
		t.Errorf("another key of the account opens %q, %v", again.AccountID, err)
	}
	if live, err := identified(t, s, a.LiveKey()); err != nil || live.Mode != connectors.Live {
		t.Errorf("a live key: %+v, %v", live, err)
	}

	id, err = identified(t, s, a.RestrictedKey("rak_account_read", "rak_event_read", "rak_webhook_endpoint_write", "rak_webhook_read", "rak_webhook_endpoint_read"))
	if err != nil || id.AccountID != "" {
		t.Fatalf("a narrow key: %+v, %v", id, err)
	}
	states := map[string]connectors.Grant{}
	for _, p := range id.Permissions {
		states[p.Key] = p.State
	}
	for key, want := range map[string]connectors.Grant{
		"customers:read": connectors.Granted, "customers:write": connectors.Unknown, "events:read": connectors.Missing,
		"webhook_endpoints:read": connectors.Missing, "webhook_endpoints:write": connectors.Missing,
	} {
		if states[key] != want {
			t.Errorf("%s is %q, want %q", key, states[key], want)
		}
	}

	revoked := a.Key()
	s.Revoke(revoked)
	if _, err := identified(t, s, revoked); connectors.KindOf(err) != connectors.Unauthorized || strings.Contains(err.Error(), revoked) {
		t.Errorf("a revoked key: %v", err)
	}
	other, _ := conntest.OpenJournal(t, Connector(), s.URL, connectors.Credentials{apiKey: a.Key(), accountID: "acct_other"})
	if _, err := identify(t.Context(), other); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("the key of another account: %v", err)
	}
}

func identified(t *testing.T, s *stripesim.Sim, key string) (connectors.Identity, error) {
	t.Helper()
	c, _ := connect(t, s, key)
	return identify(t.Context(), c)
}

// calls are every call we make, each from a fresh connection.
var calls = map[string]struct {
	path  string
	write bool
	run   func(*testing.T, connectors.Conn) error
}{
	"customer.create": {"/v1/customers", true, func(t *testing.T, c connectors.Conn) error {
		_, err := runCreateCustomer(t.Context(), c, CreateCustomerInput{TogaiAccountID: "acme", Name: "Acme", IfExists: "create"})
		return err
	}},
	"customer.update": {"/v1/customers/*", true, func(t *testing.T, c connectors.Conn) error {
		_, err := runUpdateCustomer(t.Context(), c, UpdateCustomerInput{CustomerID: "cus_1", Metadata: map[string]string{"a": "b"}})
		return err
	}},
	"customer.find": {"/v1/customers", false, func(t *testing.T, c connectors.Conn) error {
		_, err := runFindCustomer(t.Context(), c, FindCustomerInput{Email: "a@b.test"})
		return err
	}},
	"search": {"/v1/customers/search", false, func(t *testing.T, c connectors.Conn) error {
		_, err := runFindCustomer(t.Context(), c, FindCustomerInput{TogaiAccountID: "acme"})
		return err
	}},
	"read": {"/v1/customers/*", false, func(t *testing.T, c connectors.Conn) error {
		_, err := getCustomer(t.Context(), c, "cus_1")
		return err
	}},
	"customer.list": {"/v1/customers", false, func(t *testing.T, c connectors.Conn) error {
		_, err := runListCustomers(t.Context(), c, ListCustomersInput{})
		return err
	}},
	"product.create": {"/v1/products", true, func(t *testing.T, c connectors.Conn) error {
		_, err := runCreateProduct(t.Context(), c, gold)
		return err
	}},
	"product, read": {"/v1/products/*", false, func(t *testing.T, c connectors.Conn) error {
		_, err := getProduct(t.Context(), c, "prod_1")
		return err
	}},
	"prices": {"/v1/prices", false, func(t *testing.T, c connectors.Conn) error {
		_, err := priceOf(t.Context(), c, "prod_1", func(price) bool { return true })
		return err
	}},
	"price, read": {"/v1/prices/*", false, func(t *testing.T, c connectors.Conn) error {
		_, err := runCreatePaymentLink(t.Context(), c, CreatePaymentLinkInput{TogaiPricePlanID: "p", LineItems: []LinkItem{{PriceID: "price_1"}}})
		return err
	}},
	"links": {"/v1/payment_links", false, func(t *testing.T, c connectors.Conn) error {
		_, _, err := CreatePaymentLinkInput{}.probe(c)(t.Context(), "tl_1")
		return err
	}},
	"invoices": {"/v1/invoices", false, func(t *testing.T, c connectors.Conn) error {
		_, err := runCreateInvoice(t.Context(), c, bill("cus_1"))
		return err
	}},
	"invoice, read": {"/v1/invoices/*", false, func(t *testing.T, c connectors.Conn) error {
		_, err := runFinalizeInvoice(t.Context(), c, FinalizeInvoiceInput{InvoiceID: "in_1"})
		return err
	}},
	"invoice.paid": {"/v1/invoices/*", false, func(t *testing.T, c connectors.Conn) error {
		_, err := readInvoicePaid(t.Context(), c, connectors.Occurrence{Record: connectors.Subject{ID: "in_1"}, Payload: InvoicePaid{}})
		return err
	}},
	"invoice.close": {"/v1/invoices/*", false, func(t *testing.T, c connectors.Conn) error {
		_, err := runCloseInvoice(t.Context(), c, CloseInvoiceInput{InvoiceID: "in_1", Resolution: "void"})
		return err
	}},
	"mail": {"/v1/events", false, func(t *testing.T, c connectors.Conn) error {
		_, err := wasMailed(t.Context(), c, "in_1", 1)
		return err
	}},
	"credit notes": {"/v1/credit_notes", false, func(t *testing.T, c connectors.Conn) error {
		_, err := CreateCreditNoteInput{InvoiceID: "in_1"}.there(t.Context(), c, func(*stripego.CreditNote) bool { return true })
		return err
	}},
	"checkout.completed": {"/v1/checkout/sessions/*", false, func(t *testing.T, c connectors.Conn) error {
		_, err := readCheckout(t.Context(), c, connectors.Occurrence{Record: connectors.Subject{ID: "cs_1"}, Payload: CheckoutCompleted{}})
		return err
	}},
	"identify": {"/v1/customers", false, func(t *testing.T, c connectors.Conn) error {
		_, err := identify(t.Context(), c)
		return err
	}},
	"baseline": {"/v1/events", false, func(t *testing.T, c connectors.Conn) error {
		_, err := listEvents("customer.created")(t.Context(), c, "")
		return err
	}},
	"events": {"/v1/events", false, func(t *testing.T, c connectors.Conn) error {
		_, err := listEvents("customer.created")(t.Context(), c, `{"floor":1,"from":1}`)
		return err
	}},
	"explain": {"/v1/checkout/sessions", false, func(t *testing.T, c connectors.Conn) error {
		_, err := explainCustomerCreated(t.Context(), c, connectors.Occurrence{Record: connectors.Subject{ID: "cus_1"}})
		return err
	}},
	"register": {"/v1/webhook_endpoints", true, func(t *testing.T, c connectors.Conn) error {
		_, err := createEndpoint(t.Context(), c, connectors.Endpoint{ConnectionID: "con_1", URL: "https://tieline.test/hook", Events: []string{"customer.created"}, Generation: 1})
		return err
	}},
	"remove": {"/v1/webhook_endpoints/*", true, func(t *testing.T, c connectors.Conn) error { return deleteEndpoint(t.Context(), c, "we_1") }},
}

func TestFaults(t *testing.T) {
	t.Parallel()
	type want struct{ read, write connectors.Kind }
	same := func(k connectors.Kind) want { return want{k, k} }
	lost := want{connectors.Unavailable, connectors.OutcomeUnknown}
	for name, x := range map[string]struct {
		fault sim.Fault
		want  want
	}{
		"400":          {sim.Fault{Point: sim.Before, Status: 400, Code: "parameter_unknown"}, same(connectors.Invalid)},
		"401":          {sim.Fault{Point: sim.Before, Status: 401}, same(connectors.Unauthorized)},
		"402":          {sim.Fault{Point: sim.Before, Status: 402}, same(connectors.Invalid)},
		"403":          {sim.Fault{Point: sim.Before, Status: 403}, same(connectors.Forbidden)},
		"409":          {sim.Fault{Point: sim.Before, Status: 409, Code: "idempotency_key_in_use"}, same(connectors.Busy)},
		"429":          {sim.Fault{Point: sim.RateLimit, RetryAfter: 7e9}, same(connectors.RateLimited)},
		"lock_timeout": {sim.Fault{Point: sim.RateLimit, Code: "lock_timeout"}, same(connectors.RateLimited)},
		"500":          {sim.Fault{Point: sim.Before, Status: 500}, lost},
		"503":          {sim.Fault{Point: sim.Before, Status: 503}, lost},
		"502 of HTML":  {sim.Fault{Point: sim.HTML502}, lost},
		"cut":          {sim.Fault{Point: sim.Cut}, lost},
		"cut before":   {sim.Fault{Point: sim.CutBefore}, lost},
	} {
		for call, y := range calls {
			t.Run(name+" "+call, func(t *testing.T) {
				t.Parallel()
				s, a, c, _ := opened(t)
				f, want := x.fault, x.want.read
				f.Path = y.path
				if y.write {
					f.Method, want = "POST", x.want.write
					if call == "remove" {
						f.Method = "DELETE"
					}
				}
				s.Fault(f)
				err := y.run(t, c)
				if call == "identify" && want == connectors.Forbidden {
					want = "" // a right that is missing is no error
				}
				if got := connectors.KindOf(err); got != want {
					t.Fatalf("kind %q, want %q: %v", got, want, err)
				}
				e := vendorError(err)
				switch {
				case e == nil:
				case x.fault.RetryAfter != 0 && e.RetryAfter != x.fault.RetryAfter:
					t.Errorf("retry after %v", e.RetryAfter)
				case x.fault.Code != "" && x.fault.Code != e.Code:
					t.Errorf("code %q, want %q", e.Code, x.fault.Code)
				case x.fault.Status != 0 && (e.Status != x.fault.Status || e.RequestID == ""):
					t.Errorf("%+v", e)
				case name == "502 of HTML" && e.Status != 502:
					t.Errorf("status %d", e.Status)
				}
				if err != nil && (strings.Contains(err.Error(), key(c.Credentials)) || strings.Contains(err.Error(), "<html>")) {
					t.Errorf("shows too much: %v", err)
				}
				if n := len(a.Customers()); n > 1 {
					t.Errorf("%d customers", n)
				}
			})
		}
	}
}

func vendorError(err error) *connectors.Error {
	e, _ := errors.AsType[*connectors.Error](err)
	return e
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, c, _ := opened(t)
			c.HTTP.Transport = cancelled{c.HTTP.Transport}
			if err := call.run(t, c); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			if n := len(s.Requests()); n != 0 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// cancelled gives every request a context that has ended, as it is when its caller has gone.
type cancelled struct{ http.RoundTripper }

func (c cancelled) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	return c.RoundTripper.RoundTrip(r.WithContext(ctx))
}

func TestOldKeyOtherBody(t *testing.T) {
	t.Parallel()
	_, _, c, _ := opened(t)
	post := func(name string) error {
		_, err := c.Effect(t.Context(), connectors.Create("customer", name), nil, func(ctx context.Context, _ string) (connectors.Ref, error) {
			_, err := api(c).Customers.New(&stripego.CustomerParams{Params: write(ctx, "one key"), Name: stripego.String(name)})
			return connectors.Ref{}, failed(c, err, true)
		})
		return err
	}
	if err := post("first"); err != nil {
		t.Fatal(err)
	}
	if err := post("second"); connectors.KindOf(err) != connectors.Invalid || !strings.Contains(err.Error(), "bug") {
		t.Errorf("%v", err)
	}
}
