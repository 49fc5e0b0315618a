package togai

import (
	"errors"
	"testing"

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

// What an action writes needs more than a right to read.
func TestWritersNeedARightToWrite(t *testing.T) {
	t.Parallel()
	for _, a := range Connector().Actions {
		if one := writers([]string{a.Key}); a.Reads == (len(one) == 1) {
			t.Errorf("%s writes: %v", a.Key, one)
		}
	}
}
