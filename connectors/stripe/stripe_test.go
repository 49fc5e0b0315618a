package stripe

import (
	"context"
	"errors"
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

// What a refusal says beside its kind.
func TestRefusalsAreRead(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		fault sim.Fault
		want  connectors.Error
	}{
		"a parameter":    {sim.Fault{Point: sim.Before, Status: 400, Code: "parameter_unknown"}, connectors.Error{Kind: connectors.Invalid, Status: 400, Code: "parameter_unknown"}},
		"a key in use":   {sim.Fault{Point: sim.Before, Status: 409, Code: "idempotency_key_in_use"}, connectors.Error{Kind: connectors.Busy, Status: 409, Code: "idempotency_key_in_use"}},
		"a lock":         {sim.Fault{Point: sim.RateLimit, Code: "lock_timeout"}, connectors.Error{Kind: connectors.RateLimited, Status: 429, Code: "lock_timeout"}},
		"a proxy's page": {sim.Fault{Point: sim.HTML502}, connectors.Error{Kind: connectors.Unavailable, Status: 502}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, c, _ := opened(t)
			s.Fault(x.fault)
			_, err := getCustomer(t.Context(), c, "cus_1")
			e := vendorError(err)
			if e == nil || e.Kind != x.want.Kind || e.Status != x.want.Status || e.Code != x.want.Code || (e.RequestID == "") != (e.Status == 502) {
				t.Errorf("%+v", e)
			}
		})
	}
}

func vendorError(err error) *connectors.Error {
	e, _ := errors.AsType[*connectors.Error](err)
	return e
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
