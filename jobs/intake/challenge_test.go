package intake_test

import (
	"slices"
	"testing"
	"time"

	"tieline/connectors/zuora/zuorasim"
	"tieline/db"
	"tieline/jobs/flow"
)

// TestChallenge: a vendor that sends its credentials only once it is asked for them is asked, which is no failure; a callout
// that brings the wrong ones is, and both ways the answer to what is taken is exactly 200.
func TestChallenge(t *testing.T) {
	t.Parallel()
	w := open(t)
	s := zuorasim.New(t, zuorasim.WithBackoff(time.Millisecond))
	w.engine.URLs["zuora"] = s.URL
	id, key := s.Client()
	name, proof := "Zuora", "callout:basic:user:a:long:password"
	conn, err := w.engine.Connect(t.Context(), w.org, flow.ConnectionInput{
		App: "zuora", Name: &name, Credentials: map[string]string{"endpoint": "https://rest.test.zuora.com", "client_id": id, "client_secret": key}, WebhookSecret: &proof,
	}, alone)
	if err != nil {
		t.Fatal(err)
	}
	hook := func(password string) {
		c := zuorasim.Callout{URL: w.front.URL + w.path(t, conn), Body: `{"AccountId": "{{Account.Id}}"}`, Basic: true}
		c.Auth.Username, c.Auth.Password = "user", password
		s.Notify("Account", c)
	}
	told := func(number, state string, status int) {
		t.Helper()
		if _, err := s.CreateAccount(map[string]any{"accountNumber": number}); err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		all := s.Deliveries()
		if d := all[len(all)-1]; d.State != state || d.Attempts[0].Status != status {
			t.Errorf("%+v, want %s, %d", d, state, status)
		}
	}
	counted := func(events, refused int64) {
		t.Helper()
		n, err := w.NewSelect().Model((*db.Event)(nil)).Where("connection_id = ?", conn.ID).Count(t.Context())
		row, err2 := db.GetConnection(t.Context(), w, w.org, conn.ID)
		if err != nil || err2 != nil || n != events || row.Refused != refused {
			t.Errorf("%d events, %d refused, want %d, %d: %v, %v", n, row.Refused, events, refused, err, err2)
		}
	}
	hook("a:long:password")
	told("A-1", "delivered", 200)
	counted(1, 0)
	hook("another")
	told("A-2", "failed", 400)
	counted(2, 2) // taken by the one, refused by the other, which tries twice
}

// TestGrantsTokens: a vendor that proves itself by OAuth2 gets its token at the webhook's own URL, by the client of the signing
// secret; another client gets none, and what it sends is refused.
func TestGrantsTokens(t *testing.T) {
	t.Parallel()
	w := open(t)
	s := zuorasim.New(t, zuorasim.WithBackoff(time.Millisecond))
	w.engine.URLs["zuora"] = s.URL
	id, key := s.Client()
	name, proof := "Zuora", "callout:oauth2:tieline:s/e:c+r="
	conn, err := w.engine.Connect(t.Context(), w.org, flow.ConnectionInput{
		App: "zuora", Name: &name, Credentials: map[string]string{"endpoint": "https://rest.test.zuora.com", "client_id": id, "client_secret": key}, WebhookSecret: &proof,
	}, alone)
	if err != nil {
		t.Fatal(err)
	}
	hook := w.front.URL + w.path(t, conn)
	s.Notify("Account", zuorasim.Callout{URL: hook, Body: `{"AccountId": "{{Account.Id}}"}`, OAuth: &zuorasim.Provider{URL: hook, ClientID: "tieline", ClientSecret: "s/e:c+r="}})
	s.Notify("Account", zuorasim.Callout{URL: hook + "?AccountId={{Account.Id}}", OAuth: &zuorasim.Provider{URL: hook, ClientID: "tieline", ClientSecret: "s/e:c+r=", InHeader: true}})
	s.Notify("Account", zuorasim.Callout{URL: hook, Body: `{"AccountId": "{{Account.Id}}"}`, OAuth: &zuorasim.Provider{URL: hook, ClientID: "tieline", ClientSecret: "other"}})
	if _, err := s.CreateAccount(map[string]any{"accountNumber": "A-1"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, d := range s.Deliveries() {
		states = append(states, d.State)
	}
	n, err := w.NewSelect().Model((*db.Event)(nil)).Where("connection_id = ?", conn.ID).Count(t.Context())
	row, err2 := db.GetConnection(t.Context(), w, w.org, conn.ID)
	if !slices.Equal(states, []string{"delivered", "delivered", "failed"}) || n != 1 || row.Refused == 0 || err != nil || err2 != nil {
		t.Errorf("callouts %v, %d events, %d refused (%v, %v)", states, n, row.Refused, err, err2)
	}
}
