package stripesim

import (
	"fmt"
	"net/http"

	"tieline/connectors/sim"
)

// someone is a call that no API key made: a buyer's, or a person's in the dashboard. Sim.mu is held.
func (a *Account) someone(live bool) *call {
	return &call{sim: a.sim, book: a.book(live), in: object{}, now: a.sim.Clock.Now()}
}

// CreateCustomer makes a customer in test mode by hand; the parameters are the API's.
func (a *Account) CreateCustomer(in map[string]any) (map[string]any, error) {
	return a.byHand("", in, (*call).createCustomer)
}

// UpdateCustomer changes one by hand.
func (a *Account) UpdateCustomer(id string, in map[string]any) (map[string]any, error) {
	return a.byHand(id, in, (*call).updateCustomer)
}

func (a *Account) byHand(id string, in object, run func(*call) (any, error)) (object, error) {
	checked, e := route{params: customerParams}.check(in)
	if e != nil {
		return nil, e
	}
	a.sim.mu.Lock()
	defer a.sim.mu.Unlock()
	c := a.someone(false)
	c.id, c.in = id, checked
	out, err := run(c)
	if err != nil {
		return nil, err
	}
	return out.(object), nil
}

// Customers returns the customers of test mode, oldest first.
func (a *Account) Customers() []map[string]any { return a.All("customer") }

// All returns the test objects of a kind, such as event, checkout.session or webhook_endpoint, oldest first.
func (a *Account) All(kind string) []map[string]any {
	a.sim.mu.Lock()
	defer a.sim.mu.Unlock()
	return a.test.table(kind).current()
}

func (s *Sim) find(id string) (*Account, error) {
	if id == "" {
		return s.First(), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		if a.ID == id {
			return a, nil
		}
	}
	return nil, fmt.Errorf("no account %q", id)
}

// control adds Stripe's own calls to the control API. An empty account is the first one.
func (s *Sim) control() {
	type made struct {
		Account string `json:"account"`
		Key     string `json:"key"`
	}
	sim.Control(s.Core, "POST /_sim/accounts", func(*http.Request, struct{}) (any, error) {
		a := s.Account()
		return made{a.ID, a.Key()}, nil
	})
	sim.Control(s.Core, "POST /_sim/keys", func(_ *http.Request, in struct {
		Account string   `json:"account"`
		Live    bool     `json:"live"`
		Denied  []string `json:"denied"`
	}) (any, error) {
		a, err := s.find(in.Account)
		switch {
		case err != nil:
			return nil, err
		case in.Live:
			return made{a.ID, a.LiveKey()}, nil
		case in.Denied != nil:
			return made{a.ID, a.RestrictedKey(in.Denied...)}, nil
		}
		return made{a.ID, a.Key()}, nil
	})
	type customer struct {
		Account string `json:"account"`
		Params  object `json:"params"`
	}
	sim.Control(s.Core, "POST /_sim/customers", func(_ *http.Request, in customer) (any, error) {
		a, err := s.find(in.Account)
		if err != nil {
			return nil, err
		}
		return a.CreateCustomer(in.Params)
	})
	sim.Control(s.Core, "POST /_sim/customers/{id}", func(r *http.Request, in customer) (any, error) {
		a, err := s.find(in.Account)
		if err != nil {
			return nil, err
		}
		return a.UpdateCustomer(r.PathValue("id"), in.Params)
	})
	sim.Control(s.Core, "POST /_sim/checkouts", func(_ *http.Request, in struct {
		Account string `json:"account"`
		Checkout
	}) (any, error) {
		a, err := s.find(in.Account)
		if err != nil {
			return nil, err
		}
		return a.Complete(in.Checkout), nil
	})
	sim.Control(s.Core, "POST /_sim/checkouts/{id}/settle", func(r *http.Request, in struct {
		Account string `json:"account"`
		Paid    bool   `json:"paid"`
	}) (any, error) {
		a, err := s.find(in.Account)
		if err != nil {
			return nil, err
		}
		return struct{}{}, a.SettleCheckout(r.PathValue("id"), in.Paid)
	})
	sim.Control(s.Core, "POST /_sim/invoices/{id}/pay", func(r *http.Request, in struct {
		Account string `json:"account"`
	}) (any, error) {
		a, err := s.find(in.Account)
		if err != nil {
			return nil, err
		}
		return struct{}{}, a.PayHosted(r.PathValue("id"))
	})
	sim.Control(s.Core, "POST /_sim/events/{id}/resend", func(r *http.Request, _ struct{}) (any, error) {
		return struct{}{}, s.Resend(r.PathValue("id"))
	})
}
