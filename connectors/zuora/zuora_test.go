package zuora

import (
	"testing"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/zuora/zuorasim"
)

// world is a connection to a simulator of its own.
func world(t *testing.T, opts ...zuorasim.Option) (*zuorasim.Sim, connectors.Conn, *conntest.Journal) {
	t.Helper()
	s := zuorasim.New(t, opts...)
	c, j := connect(t, s)
	return s, c, j
}

// connect is another process: its journal knows nothing of what was done before.
func connect(t *testing.T, s *zuorasim.Sim) (connectors.Conn, *conntest.Journal) {
	t.Helper()
	return conntest.OpenJournal(t, Connector(), s.URL, filled(s))
}
