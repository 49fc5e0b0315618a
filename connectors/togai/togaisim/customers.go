package togaisim

import (
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// Address is empty where nothing is known.
type Address struct {
	PhoneNumber string `json:"phoneNumber,omitempty"`
	Line1       string `json:"line1,omitempty"`
	Line2       string `json:"line2,omitempty"`
	PostalCode  string `json:"postalCode,omitempty"`
	City        string `json:"city,omitempty"`
	State       string `json:"state,omitempty"`
	Country     string `json:"country,omitempty"`
}

func (a Address) line() string {
	var parts []string
	for _, p := range []string{a.Line1, a.Line2, a.City, a.State, a.PostalCode, a.Country} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ", ")
}

// Customer as GET answers it.
type Customer struct {
	ID              string    `json:"id"`
	TogaiCustomerID string    `json:"togaiCustomerId"`
	Name            string    `json:"name"`
	PrimaryEmail    string    `json:"primaryEmail"`
	BillingAddress  string    `json:"billingAddress"`
	Address         Address   `json:"address"`
	Status          string    `json:"status"`
	CreatedAt       time.Time `json:"createdAt"`
	UpdatedAt       time.Time `json:"updatedAt"`
}

func (c *Customer) id() string         { return c.ID }
func (c *Customer) updated() time.Time { return c.UpdatedAt }
func (c *Customer) has(filter, value string) bool {
	return map[string]string{"id": c.ID, "status": c.Status}[filter] == value
}

func customers(s *Sim) {
	s.handle("POST", "/customers", http.StatusCreated, (*call).createCustomer)
	s.handle("GET", "/customers", http.StatusOK, func(c *call) (any, error) { return list(c, c.org.customers, "id", "status") })
	s.handle("GET", "/customers/{id}", http.StatusOK, func(c *call) (any, error) { return c.customer() })
	s.handle("PATCH", "/customers/{id}", http.StatusOK, (*call).updateCustomer)
	s.handle("DELETE", "/customers/{id}", http.StatusOK, func(c *call) (any, error) {
		o, err := c.customer()
		if err != nil {
			return nil, err
		}
		o.Status, o.UpdatedAt = "ARCHIVED", c.now
		return success, nil
	})
}

func (c *call) customer() (*Customer, error) {
	o, ok := c.org.customers[c.id]
	if !ok {
		return nil, missing("Customer", c.id)
	}
	return o, nil
}

type newCustomer struct {
	ID           string          `json:"id"`
	Name         string          `json:"name"`
	PrimaryEmail string          `json:"primaryEmail"`
	Address      *Address        `json:"address"`
	Settings     []EntitySetting `json:"settings"`
	Account      *newAccount     `json:"account"`
}

// createCustomer always makes an account too; without one in the body it takes the customer's data and id.
func (c *call) createCustomer() (any, error) {
	var in newCustomer
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	switch {
	case in.Address == nil:
		return nil, bad("address is required")
	case c.org.customers[in.ID] != nil:
		return nil, bad("Customer with id %s already exists", in.ID)
	}
	err := first(length("id", in.ID, 1, 50), length("name", in.Name, 3, 255), length("primaryEmail", in.PrimaryEmail, 1, 320), checkSettings(in.Settings))
	if err != nil {
		return nil, err
	}
	if in.Account == nil {
		in.Account = &newAccount{ID: in.ID, Name: in.Name, PrimaryEmail: &in.PrimaryEmail, Address: in.Address}
	}
	if in.Account.CustomerID != "" {
		return nil, bad(`Invalid request: unknown field "customerId" in account`)
	}
	in.Account.CustomerID = in.ID
	if err := c.checkAccount(in.Account); err != nil {
		return nil, err
	}
	o := &Customer{in.ID, newID("customer"), in.Name, in.PrimaryEmail, in.Address.line(), *in.Address, "ACTIVE", c.now, c.now}
	c.org.customers[o.ID] = o
	c.addSettings("CUSTOMER", o.ID, in.Settings)
	return struct {
		ID              string          `json:"id"`
		TogaiCustomerID string          `json:"togaiCustomerId"`
		Name            string          `json:"name"`
		PrimaryEmail    string          `json:"primaryEmail"`
		BillingAddress  string          `json:"billingAddress"`
		Address         Address         `json:"address"`
		Settings        []EntitySetting `json:"settings"`
		Account         Account         `json:"account"`
	}{o.ID, o.TogaiCustomerID, o.Name, o.PrimaryEmail, o.BillingAddress, o.Address, append([]EntitySetting{}, in.Settings...), c.addAccount(in.Account)}, nil
}

func (c *call) updateCustomer() (any, error) {
	o, err := c.customer()
	if err != nil {
		return nil, err
	}
	var in struct {
		Name         *string  `json:"name"`
		PrimaryEmail *string  `json:"primaryEmail"`
		Address      *Address `json:"address"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := first(optional("name", in.Name, 3, 255), optional("primaryEmail", in.PrimaryEmail, 1, 320)); err != nil {
		return nil, err
	}
	put(&o.Name, in.Name)
	put(&o.PrimaryEmail, in.PrimaryEmail)
	put(&o.Address, in.Address)
	o.BillingAddress, o.UpdatedAt = o.Address.line(), c.now
	return o, nil
}

func put[T any](field *T, v *T) {
	if v != nil {
		*field = *v
	}
}

func length(name, v string, least, most int) error {
	if n := utf8.RuneCountInString(v); n < least || n > most {
		return bad("%s must have %d to %d characters", name, least, most)
	}
	return nil
}

func optional(name string, v *string, least, most int) error {
	if v == nil {
		return nil
	}
	return length(name, *v, least, most)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func among(name, v string, values ...string) error {
	for _, ok := range values {
		if v == ok {
			return nil
		}
	}
	return bad("%s must be one of %s", name, fmt.Sprint(values))
}
