package graph

import (
	"strings"
	"testing"

	"tieline/graph/auth"
)

// TestWebhookAddress: who may change connections sees where the vendor calls, and, where we know no public address, the
// path and what to do with it.
func TestWebhookAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	s.connectStripe("Stripe")
	s.connect("togai", "Togai", map[string]string{"environment": "sandbox", "api_token": s.togai.Token(), "organization_id": "org_1"})
	public := s.engine.PublicURL
	look := func(scope auth.Scope) string {
		t.Helper()
		return string(s.ask(s.tokens[scope], `{ connections(filter: {app: "togai"}) { nodes { webhook { state url path error } } } }`, nil).Data)
	}
	if got := look(auth.Admin); !strings.Contains(got, `"state":"MANUAL"`) || !strings.Contains(got, `"url":"`+public+`/webhooks/togai/`) || !strings.Contains(got, `"path":"/webhooks/togai/`) || !strings.Contains(got, `"error":null`) {
		t.Errorf("with a public address: %s", got)
	}
	if got := look(auth.Read); !strings.Contains(got, `"url":null`) || !strings.Contains(got, `"path":null`) {
		t.Errorf("a token that may only read: %s", got)
	}
	s.engine.PublicURL = ""
	if got := look(auth.Admin); !strings.Contains(got, `"state":"MISSING"`) || !strings.Contains(got, `"url":null`) || !strings.Contains(got, `"path":"/webhooks/togai/`) || !strings.Contains(got, "TIELINE_PUBLIC_URL") {
		t.Errorf("without a public address: %s", got)
	}
}

// TestPlainWords: what a vendor's failure is told as.
func TestPlainWords(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	key := s.stripe.Key()
	s.stripe.Close()
	a := s.ask(s.tokens[auth.Write], `mutation ($input: CreateConnectionInput!) { createConnection(input: $input) { userErrors { message } } }`,
		input("app", "stripe", "name", "x", "credentials", vars("api_key", key)))
	if got := string(a.Data); !strings.Contains(got, "a connection could not be made") || strings.Contains(got, "dial") || strings.Contains(got, "http") {
		t.Errorf("a vendor that is away: %s", got)
	}
	a = s.ask(s.tokens[auth.Write], `mutation ($input: CreateConnectionInput!) { createConnection(input: $input) { userErrors { field message } } }`,
		input("app", "stripe", "name", "x", "credentials", vars("api_key", key, "colour", "red")))
	if got := string(a.Data); !strings.Contains(got, "account_id, api_key") {
		t.Errorf("an unknown field: %s", got)
	}
}
