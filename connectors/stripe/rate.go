package stripe

import (
	"strings"

	"tieline/connectors"
)

// rate stays well below what Stripe allows an account, whose other programs use the same keys: 25 calls a second in test
// mode, 100 in live mode. In live mode one endpoint's own limit of 25 may be reached first, and that of 20 for all searches;
// in test mode the account's is the lowest. How many calls may be in the air at once is not documented, only that there is
// a limit, so bulk work keeps to five. https://docs.stripe.com/rate-limits
func rate(m connectors.Mode) connectors.Rate {
	if m == connectors.Live {
		return connectors.Rate{PerSecond: 60, Burst: 30, BulkParallel: 5, Part: part}
	}
	return connectors.Rate{PerSecond: 15, Burst: 8, BulkParallel: 5}
}

func part(method, path string) (connectors.Part, bool) {
	if strings.HasSuffix(path, "/search") {
		return connectors.Part{Name: "search", PerSecond: 15, Burst: 5}, true
	}
	return connectors.Part{Name: method + " " + endpoint(path), PerSecond: 20, Burst: 5}, true
}

// endpoint is a path without the id in it: /v1/invoices/in_1/finalize is one endpoint for all invoices.
func endpoint(path string) string {
	s := strings.Split(path, "/") // "", "v1", resource, id, ...
	at := 3
	if len(s) > 2 && s[2] == "checkout" {
		at = 4
	}
	if len(s) > at {
		s[at] = "{id}"
	}
	return strings.Join(s, "/")
}
