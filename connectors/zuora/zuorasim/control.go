package zuorasim

import (
	"encoding/json"
	"net/http"

	"tieline/connectors/sim"
)

// CreateAccount makes an account by hand, as a person does; body is that of POST /v1/accounts, and what it lacks is filled in.
func (s *Sim) CreateAccount(body map[string]any) (Account, error) {
	all := map[string]any{"name": "Acme Inc.", "currency": "USD", "billCycleDay": 1, "billToContact": map[string]any{"firstName": "Ada", "lastName": "Acme", "workEmail": "billing@acme.example"}}
	for k, v := range body {
		all[k] = v
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return Account{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := (&call{sim: s, body: raw, now: s.Clock.Now().UTC()}).newAccount()
	if err != nil {
		return Account{}, err
	}
	return *a, nil
}

// control adds what a person does in Zuora to the control API.
func (s *Sim) control() {
	type none struct{}
	type named struct {
		Number string `json:"number"`
	}
	sim.Control(s.Core, "POST /_sim/clients", func(*http.Request, none) (any, error) {
		id, secret := s.Client()
		return map[string]string{"client_id": id, "client_secret": secret}, nil
	})
	sim.Control(s.Core, "POST /_sim/tokens/expire", func(*http.Request, none) (any, error) {
		s.Expire()
		return none{}, nil
	})
	sim.Control(s.Core, "POST /_sim/accounts", func(_ *http.Request, in struct {
		Account map[string]any `json:"account"`
	}) (any, error) {
		return s.CreateAccount(in.Account)
	})
	sim.Control(s.Core, "POST /_sim/products", func(_ *http.Request, in struct {
		Name    string           `json:"name"`
		Charges []map[string]any `json:"charges"`
	}) (any, error) {
		return map[string]any{"charges": s.Product(in.Name, in.Charges...)}, nil
	})
	sim.Control(s.Core, "POST /_sim/subscriptions", func(_ *http.Request, in NewSubscription) (any, error) { return s.Subscribe(in) })
	sim.Control(s.Core, "POST /_sim/subscriptions/cancel", func(_ *http.Request, in named) (any, error) {
		return none{}, s.CancelSubscription(in.Number)
	})
	sim.Control(s.Core, "POST /_sim/callouts", func(_ *http.Request, in struct {
		Object  string  `json:"object"`
		Body    string  `json:"body"`
		Callout Callout `json:"callout"`
	}) (any, error) {
		in.Callout.Body = in.Body
		s.Notify(in.Object, in.Callout)
		return none{}, nil
	})
}
