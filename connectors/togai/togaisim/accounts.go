package togaisim

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Account as GET answers it.
type Account struct {
	ID                 string              `json:"id"`
	TogaiAccountID     string              `json:"togaiAccountId"`
	TogaiCustomerID    string              `json:"togaiCustomerId"`
	CustomerID         string              `json:"customerId"`
	Name               string              `json:"name"`
	Status             string              `json:"status"`
	InvoiceCurrency    string              `json:"invoiceCurrency,omitempty"`
	Aliases            []Alias             `json:"aliases,omitempty"`
	NetTermDays        *int32              `json:"netTermDays,omitempty"`
	Address            *Address            `json:"address,omitempty"`
	PrimaryEmail       string              `json:"primaryEmail,omitempty"`
	BillingInformation *BillingInformation `json:"billingInformation,omitempty"`
	Settings           []EntitySetting     `json:"settings,omitempty"`
	Metadata           map[string]string   `json:"metadata,omitempty"`
	Tags               []string            `json:"tags,omitempty"`

	UpdatedAt time.Time `json:"-"` // the list sorts by it, the body hides it
}

// Alias names an account for event ingestion.
type Alias struct {
	Alias string `json:"alias"`
}

// BillingInformation says who gets an account's mails.
type BillingInformation struct {
	EmailRecipients           []string `json:"emailRecipients,omitempty"`
	AdditionalEmailRecipients []string `json:"additionalEmailRecipients,omitempty"`
}

func (a *Account) id() string         { return a.ID }
func (a *Account) updated() time.Time { return a.UpdatedAt }
func (a *Account) has(filter, value string) bool {
	return map[string]string{"account_id": a.ID, "customer_id": a.CustomerID, "status": a.Status, "invoice_currency": a.InvoiceCurrency}[filter] == value
}

func accounts(s *Sim) {
	s.handle("POST", "/accounts", http.StatusCreated, func(c *call) (any, error) {
		var in newAccount
		if err := c.decode(&in); err != nil {
			return nil, err
		}
		if c.org.customers[in.CustomerID] == nil {
			return nil, bad("Customer %q does not exist", in.CustomerID)
		}
		if err := c.checkAccount(&in); err != nil {
			return nil, err
		}
		return c.addAccount(&in), nil
	})
	s.handle("GET", "/accounts", http.StatusOK, func(c *call) (any, error) {
		return list(c, c.org.accounts, "account_id", "customer_id", "status", "invoice_currency", "customer_id status")
	})
	s.handle("GET", "/accounts/{id}", http.StatusOK, func(c *call) (any, error) { return c.account() })
	s.handle("PATCH", "/accounts/{id}", http.StatusOK, (*call).updateAccount)
	s.handle("DELETE", "/accounts/{id}", http.StatusOK, func(c *call) (any, error) {
		a, err := c.account()
		if err != nil {
			return nil, err
		}
		a.Status, a.UpdatedAt = "ARCHIVED", c.now
		return success, nil
	})
}

func (c *call) account() (*Account, error) {
	a, ok := c.org.accounts[c.id]
	if !ok {
		return nil, missing("Account", c.id)
	}
	return a, nil
}

type newAccount struct {
	ID             string   `json:"id"`
	Name           string   `json:"name"`
	CustomerID     string   `json:"customerId"`
	Aliases        []string `json:"aliases"`
	AccountAliases []struct {
		Value          string     `json:"value"`
		EffectiveFrom  *time.Time `json:"effectiveFrom"`
		EffectiveUntil *time.Time `json:"effectiveUntil"`
	} `json:"accountAliases"`
	Settings           []EntitySetting     `json:"settings"`
	Status             *string             `json:"status"`
	InvoiceCurrency    *string             `json:"invoiceCurrency"`
	NetTermDays        *int32              `json:"netTermDays"`
	PrimaryEmail       *string             `json:"primaryEmail"`
	Address            *Address            `json:"address"`
	BillingInformation *BillingInformation `json:"billingInformation"`
	Metadata           map[string]string   `json:"metadata"`
	Tags               []string            `json:"tags"`
}

func (c *call) checkAccount(in *newAccount) error {
	if c.org.accounts[in.ID] != nil {
		return bad("Account with id %s already exists", in.ID)
	}
	if len(in.Aliases) > 10 {
		return bad("aliases must have at most 10 items")
	}
	for i, a := range in.Aliases {
		if err := length("aliases["+strconv.Itoa(i)+"]", a, 3, 50); err != nil {
			return err
		}
	}
	for i, a := range in.AccountAliases {
		if err := length("accountAliases["+strconv.Itoa(i)+"].value", a.Value, 1, 50); err != nil {
			return err
		}
	}
	taken := map[string]bool{}
	for _, a := range c.org.accounts {
		for _, alias := range a.Aliases {
			taken[alias.Alias] = true
		}
	}
	for _, a := range in.aliases() {
		if taken[a.Alias] {
			return bad("Alias %s is taken", a.Alias)
		}
		taken[a.Alias] = true
	}
	return first(length("id", in.ID, 1, 50), length("name", in.Name, 3, 255), optional("invoiceCurrency", in.InvoiceCurrency, 3, 3),
		optional("primaryEmail", in.PrimaryEmail, 0, 320), accountStatus(in.Status), checkSettings(in.Settings))
}

func accountStatus(v *string) error {
	if v == nil {
		return nil
	}
	return among("status", *v, "ACTIVE", "DRAFT")
}

func (in *newAccount) aliases() (out []Alias) {
	for _, a := range in.Aliases {
		out = append(out, Alias{a})
	}
	for _, a := range in.AccountAliases {
		out = append(out, Alias{a.Value})
	}
	return out
}

// addAccount stores a checked account and tells the webhooks. It returns a copy, for the answer.
func (c *call) addAccount(in *newAccount) Account {
	a := &Account{
		ID: in.ID, TogaiAccountID: newID("account"), TogaiCustomerID: c.org.customers[in.CustomerID].TogaiCustomerID, CustomerID: in.CustomerID,
		Name: in.Name, Status: "ACTIVE", Aliases: in.aliases(), NetTermDays: in.NetTermDays, Address: in.Address, BillingInformation: in.BillingInformation,
		Settings: in.Settings, Metadata: in.Metadata, Tags: lower(in.Tags), UpdatedAt: c.now,
	}
	put(&a.Status, in.Status)
	put(&a.InvoiceCurrency, in.InvoiceCurrency)
	put(&a.PrimaryEmail, in.PrimaryEmail)
	c.org.accounts[a.ID] = a
	c.addSettings("ACCOUNT", a.ID, in.Settings)
	c.emit("account.created", a)
	return *a
}

func (c *call) updateAccount() (any, error) {
	a, err := c.account()
	if err != nil {
		return nil, err
	}
	var in struct {
		Name               *string             `json:"name"`
		Status             *string             `json:"status"`
		InvoiceCurrency    *string             `json:"invoiceCurrency"`
		NetTermDays        *int32              `json:"netTermDays"`
		PrimaryEmail       *string             `json:"primaryEmail"`
		Address            *Address            `json:"address"`
		BillingInformation *BillingInformation `json:"billingInformation"`
		Metadata           *map[string]string  `json:"metadata"`
		Tags               *[]string           `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	err = first(optional("name", in.Name, 3, 255), optional("invoiceCurrency", in.InvoiceCurrency, 3, 3), optional("primaryEmail", in.PrimaryEmail, 0, 320), accountStatus(in.Status))
	if err != nil {
		return nil, err
	}
	put(&a.Name, in.Name)
	put(&a.Status, in.Status)
	put(&a.InvoiceCurrency, in.InvoiceCurrency)
	put(&a.PrimaryEmail, in.PrimaryEmail)
	put(&a.Metadata, in.Metadata)
	if in.NetTermDays != nil {
		a.NetTermDays = in.NetTermDays
	}
	if in.Address != nil {
		a.Address = in.Address
	}
	if in.BillingInformation != nil {
		a.BillingInformation = in.BillingInformation
	}
	if in.Tags != nil {
		a.Tags = lower(*in.Tags)
	}
	a.UpdatedAt = c.now
	return a, nil
}

// lower is how tags are stored.
func lower(tags []string) (out []string) {
	for _, t := range tags {
		if t = strings.ToLower(t); !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}
