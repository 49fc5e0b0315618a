package togaisim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"tieline/connectors/sim"
)

// Customers returns the first organization's customers, by id.
func (s *Sim) Customers() []Customer { return s.First().Customers() }

// Accounts returns the first organization's accounts, by id.
func (s *Sim) Accounts() []Account { return s.First().Accounts() }

// Settings returns the first organization's settings, by key.
func (s *Sim) Settings() []Setting { return s.First().Settings() }

// Customers returns a copy of all customers, by id.
func (o *Organization) Customers() []Customer { return snapshot(o, o.customersByID) }

// Accounts returns a copy of all accounts, by id.
func (o *Organization) Accounts() []Account { return snapshot(o, o.accountsByID) }

// Settings returns a copy of all settings, by key.
func (o *Organization) Settings() []Setting { return snapshot(o, o.settingsByKey) }

func (o *Organization) customersByID() map[string]*Customer { return o.customers }
func (o *Organization) accountsByID() map[string]*Account   { return o.accounts }
func (o *Organization) settingsByKey() map[string]*Setting  { return o.settings }

// snapshot copies under the lock: the map itself is replaced by a reset.
func snapshot[T any](o *Organization, rows func() map[string]*T) []T {
	o.sim.mu.Lock()
	defer o.sim.mu.Unlock()
	m := rows()
	out := make([]T, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, *m[key])
	}
	return out
}

// state is every record by organization.
func (s *Sim) state() any {
	s.mu.Lock()
	orgs := slices.Clone(s.orgs)
	s.mu.Unlock()
	out := map[string]any{}
	for _, o := range orgs {
		out[o.ID] = map[string]any{
			"customers": o.Customers(), "accounts": o.Accounts(), "settings": o.Settings(), "addons": o.AddOns(), "price_plans": o.PricePlans(), "schedules": o.Schedules(),
			"invoices": o.Invoices(), "payments": o.Payments(), "credits": o.Credits(), "wallets": o.Wallets(), "events": o.Events(),
		}
	}
	return out
}

// CreateAccount makes an account by hand, as a person in Togai's console; body is that of POST /accounts.
// A customer that does not exist yet is made with the same name.
func (o *Organization) CreateAccount(body map[string]any) (Account, error) {
	customer, _ := body["customerId"].(string)
	o.sim.mu.Lock()
	defer o.sim.mu.Unlock()
	if o.customers[cmp.Or(customer, "?")] != nil {
		var a Account
		return a, o.byHand(http.MethodPost, "/accounts", body, &a)
	}
	account := maps.Clone(body)
	delete(account, "customerId")
	email, address := body["primaryEmail"], body["address"]
	if email == nil {
		email = "billing@example.com"
	}
	if address == nil {
		address = map[string]any{}
	}
	if customer == "" {
		customer, _ = body["id"].(string)
	}
	var made struct{ Account Account }
	err := o.byHand(http.MethodPost, "/customers", map[string]any{"id": customer, "name": body["name"], "primaryEmail": email, "address": address, "account": account}, &made)
	return made.Account, err
}

// CreateAccount makes one by hand in the first organization.
func (s *Sim) CreateAccount(body map[string]any) (Account, error) {
	return s.First().CreateAccount(body)
}

// Console does what a person does in Togai's console: a call of the API, without the protocol around it. into may be nil.
func (o *Organization) Console(method, path string, body, into any) error {
	o.sim.mu.Lock()
	defer o.sim.mu.Unlock()
	return o.byHand(method, path, body, into)
}

// byHand is Console; Sim.mu is held.
func (o *Organization) byHand(method, path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	rt, id, ok := o.sim.find(method, path)
	if !ok {
		return fmt.Errorf("no %s %s", method, path)
	}
	out, err := rt.run(&call{sim: o.sim, org: o, id: id, body: raw, now: o.sim.Clock.Now().UTC()})
	if err != nil || into == nil {
		return err
	}
	if raw, err = json.Marshal(out); err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

func (s *Sim) named(id string) (*Organization, error) {
	if id == "" {
		return s.First(), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.orgs {
		if o.ID == id {
			return o, nil
		}
	}
	return nil, fmt.Errorf("no organization %q", id)
}

// control adds Togai's own calls to the control API. An empty organization is the first one.
func (s *Sim) control() {
	type made struct {
		Organization string `json:"organization"`
		Token        string `json:"token"`
	}
	sim.Control(s.Core, "POST /_sim/organizations", func(*http.Request, struct{}) (any, error) {
		o := s.Organization()
		return made{o.ID, o.Token()}, nil
	})
	sim.Control(s.Core, "POST /_sim/tokens", func(_ *http.Request, in struct {
		Organization string `json:"organization"`
	}) (any, error) {
		o, err := s.named(in.Organization)
		if err != nil {
			return nil, err
		}
		return made{o.ID, o.Token()}, nil
	})
	sim.Control(s.Core, "POST /_sim/targets", func(_ *http.Request, in struct {
		Organization string `json:"organization"`
		Target
	}) (any, error) {
		o, err := s.named(in.Organization)
		if err != nil {
			return nil, err
		}
		o.Target(in.URL, in.Secret, in.Types...)
		return struct{}{}, nil
	})
	sim.Control(s.Core, "POST /_sim/accounts", func(_ *http.Request, in struct {
		Organization string         `json:"organization"`
		Account      map[string]any `json:"account"`
	}) (any, error) {
		o, err := s.named(in.Organization)
		if err != nil {
			return nil, err
		}
		return o.CreateAccount(in.Account)
	})
	sim.Control(s.Core, "POST /_sim/console", func(_ *http.Request, in struct {
		Organization string `json:"organization"`
		Method       string `json:"method"`
		Path         string `json:"path"`
		Body         any    `json:"body"`
	}) (any, error) {
		o, err := s.named(in.Organization)
		if err != nil {
			return nil, err
		}
		var out any
		err = o.Console(in.Method, in.Path, in.Body, &out)
		return out, err
	})
	sim.Control(s.Core, "POST /_sim/invoices", func(_ *http.Request, in struct {
		Organization string     `json:"organization"`
		Invoice      NewInvoice `json:"invoice"`
	}) (any, error) {
		o, err := s.named(in.Organization)
		if err != nil {
			return nil, err
		}
		return o.Invoice(in.Invoice)
	})
	sim.Control(s.Core, "POST /_sim/invoices/finish", func(_ *http.Request, in struct {
		Organization string `json:"organization"`
		ID           string `json:"id"`
	}) (any, error) {
		o, err := s.named(in.Organization)
		if err != nil {
			return nil, err
		}
		return struct{}{}, o.Finish(in.ID)
	})
	sim.Control(s.Core, "POST /_sim/records", func(_ *http.Request, in struct {
		Organization string         `json:"organization"`
		Kind         string         `json:"kind"`
		Fields       map[string]any `json:"fields"`
	}) (any, error) {
		o, err := s.named(in.Organization)
		if err != nil {
			return nil, err
		}
		if told[in.Kind] == "" {
			return nil, fmt.Errorf("no kind %q", in.Kind)
		}
		return o.Add(in.Kind, in.Fields), nil
	})
}
