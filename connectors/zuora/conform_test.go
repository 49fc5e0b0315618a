package zuora

import (
	"fmt"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/zuora/zuorasim"
)

// filled is the form for a client of a simulator.
func filled(s *zuorasim.Sim) connectors.Credentials {
	id, secret := s.Client()
	return connectors.Credentials{endpoint: "https://rest.test.zuora.com", clientID: id, clientSecret: secret}
}

// site is a simulator's, with a token that is good already: what goes wrong is to be the calls.
func site(t *testing.T, s *zuorasim.Sim) conntest.Site {
	t.Helper()
	tokens, creds := connectors.NewTokens(), filled(s)
	c, err := connectors.Open(Connector(), creds, connectors.Options{URL: s.URL, Tokens: tokens})
	if err == nil {
		_, err = c.Token(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return conntest.Site{URL: s.URL, Credentials: creds, Tokens: tokens}
}

func TestConforms(t *testing.T) {
	t.Parallel()
	conntest.Suite[*zuorasim.Sim]{
		App: Connector(),
		World: func(t *testing.T, o conntest.Options) (*zuorasim.Sim, conntest.Site) {
			opts := []zuorasim.Option{zuorasim.WithBackoff(20 * time.Millisecond)}
			if o.EmptyLastPage {
				opts = append(opts, zuorasim.WithExtraPage())
			}
			s := zuorasim.New(t, opts...)
			return s, site(t, s)
		},
		Kinds:   map[int]connectors.Kind{409: connectors.Busy},
		Untimed: true,
		Actions: tried(), Triggers: happening(),
	}.Run(t)
}

// there makes what the samples name.
func there(t *testing.T, s *zuorasim.Sim, _ connectors.Conn) map[string]string {
	t.Helper()
	return map[string]string{sampleAccount.BasicInfo.ID: accountOf(t, s, "A-1").ID}
}

func accountOf(t *testing.T, s *zuorasim.Sim, number string) zuorasim.Account {
	t.Helper()
	a, err := s.CreateAccount(map[string]any{"accountNumber": number, "name": "Acme " + number})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func flat(name string) map[string]any {
	return map[string]any{"name": name, "type": "OneTime", "model": "FlatFee"}
}

func tried() map[string]conntest.Action[*zuorasim.Sim] {
	type action = conntest.Action[*zuorasim.Sim]
	type choice = conntest.Choice[*zuorasim.Sim]
	accounts := choice{Page: accountsPage, Search: "acme a-17", Many: func(t *testing.T, s *zuorasim.Sim, _ connectors.Conn, n int) {
		for i := range n {
			accountOf(t, s, fmt.Sprint("A-", i))
		}
	}}
	charges := choice{Page: productsPage, Search: "fee 7", Many: func(_ *testing.T, s *zuorasim.Sim, _ connectors.Conn, n int) {
		for i := range n {
			s.Product(fmt.Sprint("Product ", i), flat(fmt.Sprint("Fee ", i)), map[string]any{"name": "Off", "model": "DiscountPercentage"})
		}
	}}
	of := func(options ...any) map[string]choice {
		out := map[string]choice{}
		for i := 0; i < len(options); i += 2 {
			out[options[i].(string)] = options[i+1].(choice)
		}
		return out
	}
	return map[string]action{
		"account.create": {},
		"account.get":    {Before: there, Options: of("account_id", accounts)},
		"account.update": {Before: there, Options: of("account_id", accounts)},
		"subscription.get": {Before: func(t *testing.T, s *zuorasim.Sim, _ connectors.Conn) map[string]string {
			return map[string]string{sampleSubscription.Number: subscribed(t, s, accountOf(t, s, "A-1").ID)}
		}},
		"invoice.create": {Before: there, Options: of("account_id", accounts)},
		"invoice.get": {Before: func(t *testing.T, s *zuorasim.Sim, c connectors.Conn) map[string]string {
			out, err := runCreateInvoice(t.Context(), c, CreateInvoiceInput{AccountID: accountOf(t, s, "A-1").ID, Number: "INV-1", Date: "2026-02-01", Lines: []InvoiceLine{{Name: "x", Amount: "1"}}})
			if err != nil {
				t.Fatal(err)
			}
			return map[string]string{sampleInvoiceID: out.InvoiceID}
		}},
		"usage.create": {Options: of("account_id", accounts), Before: func(t *testing.T, s *zuorasim.Sim, _ connectors.Conn) map[string]string {
			sub, err := s.Subscribe(zuorasim.NewSubscription{Account: accountOf(t, s, "A-1").ID, Charges: []map[string]any{{"name": "Calls", "type": "Usage", "model": "PerUnit", "uom": "Each", "price": 1}}})
			if err != nil {
				t.Fatal(err)
			}
			return map[string]string{sampleSubscription.Number: sub.Number}
		}},
		"credit_memo.create": {Options: of("account_id", accounts, "charge_id", charges), Before: func(t *testing.T, s *zuorasim.Sim, c connectors.Conn) map[string]string {
			out := there(t, s, c)
			out[sampleChargeID] = s.Product("Credits", flat("Credit"))[0]
			return out
		}},
		"charge.get": {Options: of("charge_id", charges), Before: func(_ *testing.T, s *zuorasim.Sim, _ connectors.Conn) map[string]string {
			return map[string]string{sampleChargeID: s.Product("Credits", flat("Credit"))[0]}
		}},
	}
}

func subscribed(t *testing.T, s *zuorasim.Sim, account string) string {
	t.Helper()
	sub, err := s.Subscribe(zuorasim.NewSubscription{Account: account, Charges: []map[string]any{{
		"name": "Base", "type": "Recurring", "model": "FlatFee", "price": 49.0, "billingPeriod": "Month", "billingTiming": "IN_ADVANCE",
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return sub.Number
}

func happening() map[string]conntest.Trigger[*zuorasim.Sim] {
	account := func(t *testing.T, s *zuorasim.Sim, _ connectors.Conn) string {
		return accountOf(t, s, fmt.Sprint("A-", len(s.Accounts()))).ID
	}
	return map[string]conntest.Trigger[*zuorasim.Sim]{
		"account.created": {Page: batch, Happen: account},
		"subscription.created": {Page: batch, Happen: func(t *testing.T, s *zuorasim.Sim, c connectors.Conn) string {
			return subscribed(t, s, account(t, s, c))
		}},
	}
}
