package zohobooks

import (
	"errors"
	"fmt"
	"testing"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/zohobooks/zohobookssim"
)

// filled is the form for a self client of a simulator.
func filled(s *zohobookssim.Sim) connectors.Credentials {
	id, secret := s.Client()
	return connectors.Credentials{modeField: "test", dataCenter: "us", clientID: id, clientSecret: secret, organizationID: s.Organization().ID}
}

// site is a simulator's, which a self client's code has let us into.
func site(t *testing.T, s *zohobookssim.Sim, creds connectors.Credentials) conntest.Site {
	t.Helper()
	code := s.SelfClientCode(creds[clientID])
	token, creds, err := connectors.Authority{App: Connector(), Root: s.Accounts.URL, API: s.URL}.Exchange(t.Context(), creds, connectors.Visit{}, code, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conntest.Site{URL: s.URL, Login: s.Accounts.URL, Credentials: creds, Tokens: connectors.NewTokens(token)}
}

// world is a connection to a simulator of its own.
func world(t *testing.T, opts ...zohobookssim.Option) (*zohobookssim.Sim, connectors.Conn, *conntest.Journal) {
	t.Helper()
	s := zohobookssim.New(t, opts...)
	c, j := conntest.OpenSite(t, Connector(), site(t, s, filled(s)))
	return s, c, j
}

// fieldOf is the field that an error is about.
func fieldOf(err error) string {
	if e, ok := errors.AsType[*connectors.Error](err); ok && e.Kind == connectors.Invalid {
		return e.Field
	}
	return fmt.Sprint(err)
}

func made[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
