package togai

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/sim"
	"tieline/connectors/togai/togaisim"
)

// opened is a connection to a simulator of its own.
func opened(t *testing.T, opts ...togaisim.Option) (*togaisim.Sim, connectors.Conn, *conntest.Journal) {
	t.Helper()
	s := togaisim.New(t, opts...)
	c, j := connect(t, s)
	return s, c, j
}

// connect is another process: its journal knows nothing of what was done before.
func connect(t *testing.T, s *togaisim.Sim) (connectors.Conn, *conntest.Journal) {
	t.Helper()
	return conntest.OpenJournal(t, Connector(), s.URL, form(s.Token()))
}

func form(token string) connectors.Credentials {
	return connectors.Credentials{environment: sandbox, apiToken: token, organizationID: "org_1"}
}

func TestConforms(t *testing.T) {
	t.Parallel()
	conntest.Conform(t, Connector(), form("token-of-an-organization"))
}

func TestForm(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]struct {
		mode connectors.Mode
		url  string
	}{production: {connectors.Live, "https://api.togai.com"}, sandbox: {connectors.Test, "https://sandbox-api.togai.com"}} {
		c := connectors.Credentials{environment: env, apiToken: "t", organizationID: "o"}
		if m, err := mode(c); m != want.mode || err != nil || Connector().BaseURL(c) != want.url {
			t.Errorf("%s: %q %v %s", env, m, err, Connector().BaseURL(c))
		}
	}
	for field, c := range map[string]connectors.Credentials{
		environment:    {environment: "staging", apiToken: "t", organizationID: "o"},
		apiToken:       {environment: sandbox, apiToken: " ", organizationID: "o"},
		organizationID: {environment: sandbox, apiToken: "t"},
	} {
		_, err := mode(c)
		if e, ok := errors.AsType[*connectors.Error](err); !ok || e.Kind != connectors.Invalid || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	s, c, _ := opened(t)
	id, err := identify(t.Context(), c)
	if err != nil || id.AccountID != "" || id.Mode != connectors.Test || id.Name != "org_1" || len(id.Permissions) != 2*len(scopes) {
		t.Errorf("%+v, %v", id, err)
	}
	s.Fault(sim.Fault{Path: "/accounts", Point: sim.Before, Status: 403})
	id, err = identify(t.Context(), c)
	if err != nil || id.Permissions[2].Key != "accounts:read" || id.Permissions[2].State != connectors.Missing {
		t.Errorf("%+v, %v", id, err)
	}
	s.Revoke(c.Credentials[apiToken])
	if _, err := identify(t.Context(), c); connectors.KindOf(err) != connectors.Unauthorized {
		t.Errorf("a revoked token: %v", err)
	}
}

// Whoever looks at a connection sees what each trigger and action needs.
func TestEachKeyNeedsARight(t *testing.T) {
	t.Parallel()
	app, needed := Connector(), map[string]bool{}
	for _, s := range scopes {
		for _, key := range s.needFor {
			_, isTrigger := app.Trigger(key)
			_, isAction := app.Action(key)
			if needed[key] = true; !isTrigger && !isAction {
				t.Errorf("%s is neither a trigger nor an action", key)
			}
		}
	}
	for _, tr := range app.Triggers {
		if !needed[tr.Key] {
			t.Errorf("nothing is needed for %s", tr.Key)
		}
	}
	for _, a := range app.Actions {
		if !needed[a.Key] {
			t.Errorf("nothing is needed for %s", a.Key)
		}
		if one := writers([]string{a.Key}); a.Reads == (len(one) == 1) {
			t.Errorf("%s writes: %v", a.Key, one)
		}
	}
}

// calls are every call we make, each from a fresh connection.
var calls = map[string]struct {
	method, path string
	run          func(*testing.T, connectors.Conn) error
}{
	"customer.create": {"POST", "/customers", func(t *testing.T, c connectors.Conn) error {
		_, err := runCreateCustomer(t.Context(), c, acme)
		return err
	}},
	"account.create": {"POST", "/accounts", func(t *testing.T, c connectors.Conn) error {
		_, err := runCreateAccount(t.Context(), c, CreateAccountInput{ID: "x-eur", CustomerID: "x", Name: "Xyz"})
		return err
	}},
	"setting.set": {"POST", "/settings", func(t *testing.T, c connectors.Conn) error {
		_, err := runSetSetting(t.Context(), c, SetSettingInput{GetSettingInput{"account", "x", "stripe_customer_id"}, "cus_1"})
		return err
	}},
	"setting.get": {"GET", "/settings/*", func(t *testing.T, c connectors.Conn) error {
		_, _, err := GetSettingInput{"account", "x", "stripe_customer_id"}.fetch(t.Context(), c)
		return err
	}},
	"customer.get": {"GET", "/customers/*", func(t *testing.T, c connectors.Conn) error {
		_, err := fetchCustomer(t.Context(), c, "x")
		return err
	}},
	"account.get": {"GET", "/accounts/*", func(t *testing.T, c connectors.Conn) error {
		_, err := fetchAccount(t.Context(), c, "x")
		return err
	}},
	"customer.list": {"GET", "/customers", func(t *testing.T, c connectors.Conn) error {
		_, err := runListCustomers(t.Context(), c, ListCustomersInput{})
		return err
	}},
	"account.list": {"GET", "/accounts", func(t *testing.T, c connectors.Conn) error {
		_, err := runListAccounts(t.Context(), c, ListAccountsInput{})
		return err
	}},
	"price_plan.create": {"POST", "/v2/price_plans", func(t *testing.T, c connectors.Conn) error {
		_, err := runCreatePricePlan(t.Context(), c, gold)
		return err
	}},
	"price_plan.list": {"GET", "/v2/price_plans", func(t *testing.T, c connectors.Conn) error {
		_, err := runListPricePlans(t.Context(), c, ListPricePlansInput{})
		return err
	}},
	"price_plan.list, deprecated": {"GET", "/price_plans", func(t *testing.T, c connectors.Conn) error {
		_, err := runListPricePlans(t.Context(), c, ListPricePlansInput{Deprecated: true})
		return err
	}},
	"price_plan.attach": {"GET", "/v2/accounts/x/schedules", func(t *testing.T, c connectors.Conn) error {
		_, err := runAttachPricePlan(t.Context(), c, AttachPricePlanInput{AccountID: "x", PricePlanID: "pp"})
		if connectors.KindOf(err) == connectors.NotFound { // there is no such plan
			return nil
		}
		return err
	}},
	"invoice.list": {"GET", "/invoices", func(t *testing.T, c connectors.Conn) error {
		_, err := runListInvoices(t.Context(), c, ListInvoicesInput{AccountID: "x"})
		return err
	}},
	"invoice.get": {"GET", "/invoices/*", func(t *testing.T, c connectors.Conn) error {
		_, err := fetchInvoice(t.Context(), c, "x")
		return err
	}},
	"wallet.credit": {"POST", "/payments", func(t *testing.T, c connectors.Conn) error {
		_, err := runCreditWallet(t.Context(), c, CreditWalletInput{AccountID: "x", Amount: "1", Currency: "USD", PaymentSource: stripe})
		return err
	}},
	"payment.list": {"GET", "/payments", func(t *testing.T, c connectors.Conn) error {
		_, err := listPayments().Run(t.Context(), c, []byte(`{"account_id":"x"}`))
		return err
	}},
	"credit.grant": {"POST", "/credits", func(t *testing.T, c connectors.Conn) error {
		_, err := runGrantCredit(t.Context(), c, GrantCreditInput{AccountID: "x", ReferenceID: "cn", Amount: "1", Purpose: "x"})
		return err
	}},
	"credit.list": {"GET", "/credits", func(t *testing.T, c connectors.Conn) error {
		_, err := listCredits().Run(t.Context(), c, []byte(`{}`))
		return err
	}},
	"event.ingest": {"POST", "/ingest", func(t *testing.T, c connectors.Conn) error {
		_, err := runIngestEvent(t.Context(), c, usage)
		return err
	}},
	"poll of price plans": {"GET", "/v2/price_plans", func(t *testing.T, c connectors.Conn) error {
		_, err := pricePlanCreated().List(t.Context(), c, fromTop)
		return err
	}},
	"poll of schedules": {"GET", "/v2/accounts/x/schedules", func(t *testing.T, c connectors.Conn) error {
		_, err := pricePlanAttached().List(t.Context(), c, fromTop)
		return err
	}},
	"poll of invoices": {"GET", "/invoices", func(t *testing.T, c connectors.Conn) error {
		_, err := invoiceUpdated().List(t.Context(), c, fromTop)
		return err
	}},
	"poll of reports": {"GET", "/reports", func(t *testing.T, c connectors.Conn) error {
		_, err := reportGenerated().List(t.Context(), c, fromTop)
		return err
	}},
	"poll": {"GET", "/accounts", func(t *testing.T, c connectors.Conn) error {
		_, err := listCreated(t.Context(), c, fromTop)
		return err
	}},
	"read again": {"GET", "/accounts/*", func(t *testing.T, c connectors.Conn) error {
		_, err := readAccountCreated(t.Context(), c, connectors.Occurrence{Record: connectors.Subject{Entity: "account", ID: "x"}})
		return err
	}},
	"identify": {"GET", "/customers", func(t *testing.T, c connectors.Conn) error {
		_, err := identify(t.Context(), c)
		return err
	}},
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
		"400":         {sim.Fault{Point: sim.Before, Status: 400}, same(connectors.Invalid)},
		"401":         {sim.Fault{Point: sim.Before, Status: 401}, same(connectors.Unauthorized)},
		"403":         {sim.Fault{Point: sim.Before, Status: 403}, same(connectors.Forbidden)},
		"422":         {sim.Fault{Point: sim.Before, Status: 422}, same(connectors.Invalid)},
		"429":         {sim.Fault{Point: sim.RateLimit}, same(connectors.RateLimited)},
		"429 waiting": {sim.Fault{Point: sim.RateLimit, RetryAfter: 7 * time.Second}, same(connectors.RateLimited)},
		"500":         {sim.Fault{Point: sim.Before, Status: 500}, lost},
		"503":         {sim.Fault{Point: sim.Before, Status: 503}, lost},
		"502 of HTML": {sim.Fault{Point: sim.HTML502}, lost},
		"cut":         {sim.Fault{Point: sim.Cut}, lost},
		"cut before":  {sim.Fault{Point: sim.CutBefore}, lost},
	} {
		for call, y := range calls {
			t.Run(name+" "+call, func(t *testing.T) {
				t.Parallel()
				s, c, _ := opened(t)
				if _, err := s.CreateAccount(map[string]any{"id": "x", "name": "Xyz"}); err != nil {
					t.Fatal(err)
				}
				f, want := x.fault, x.want.read
				f.Method, f.Path = y.method, y.path
				if y.method != "GET" {
					want = x.want.write
				}
				s.Fault(f)
				err := y.run(t, c)
				if call == "identify" && want == connectors.Forbidden {
					want = "" // a right that is missing is no error
				}
				if got := connectors.KindOf(err); got != want {
					t.Fatalf("kind %q, want %q: %v", got, want, err)
				}
				e, _ := errors.AsType[*connectors.Error](err)
				if e != nil && (e.RetryAfter != x.fault.RetryAfter || x.fault.Status != 0 && e.Status != x.fault.Status) {
					t.Errorf("%+v", e)
				}
				if err != nil && (strings.Contains(err.Error(), c.Credentials[apiToken]) || strings.Contains(err.Error(), "<html>")) {
					t.Errorf("shows too much: %v", err)
				}
			})
		}
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c, _ := opened(t)
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

func TestActionsTakeTheirSamples(t *testing.T) {
	t.Parallel()
	samples := map[string]string{samplePlan.ID: "", sampleInvoice.ID: ""} // what Togai names is named anew by each simulator
	s, c, _ := opened(t)
	for _, key := range []string{
		"customer.create", "customer.get", "customer.list", "account.create", "account.get", "account.list", "setting.set", "setting.get",
		"addon.create", "price_plan.create", "rate_card.set", "price_plan.finalize", "price_plan.get", "price_plan.list", "price_plan.attach", "invoice.get", "invoice.list",
		"payment.record", "payment.list", "wallet.credit", "credit.grant", "credit.list", "event.ingest", "event.ingest_batch",
	} {
		act, ok := c.App.Action(key)
		if !ok {
			t.Fatalf("no %s", key)
		}
		if key == "invoice.get" {
			inv, err := s.Invoice(togaisim.NewInvoice{AccountID: "acme", Lines: []togaisim.Line{{Type: "FIXED_FEE_RATE_CARD_AMOUNT", Value: togaisim.NewAmount("49")}}})
			if err != nil {
				t.Fatal(err)
			}
			samples[sampleInvoice.ID] = inv.ID
		}
		in := string(act.Sample)
		for sample, real := range samples {
			in = strings.ReplaceAll(in, sample, real)
		}
		out, err := act.Run(t.Context(), c, []byte(in))
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		if p := act.Output.Validate(out); len(p) > 0 {
			t.Errorf("%s: the output %+v does not fit its schema: %v", key, out, p)
		}
		if made, ok := out.(ChangedPricePlan); ok {
			samples[samplePlan.ID] = made.PricePlanID
		}
	}
	if n := len(c.App.Actions); n != 24 {
		t.Errorf("%d actions", n)
	}
}
