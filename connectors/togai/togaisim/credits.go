package togaisim

import (
	"cmp"
	"net/http"
	"time"
)

// Credit as GET answers it.
type Credit struct {
	AccountID           string    `json:"accountId"`
	Purpose             string    `json:"purpose"`
	ApplicableEntityIDs []string  `json:"applicableEntityIds,omitempty"`
	EffectiveFrom       string    `json:"effectiveFrom"`
	EffectiveUntil      string    `json:"effectiveUntil,omitempty"`
	CreditAmount        *Amount   `json:"creditAmount,omitempty"`
	Priority            *int      `json:"priority"`
	GrantorID           string    `json:"grantorId,omitempty"`
	IdempotencyKey      string    `json:"idempotencyKey,omitempty"`
	ID                  string    `json:"id"`
	CustomerID          string    `json:"customerId"`
	Status              string    `json:"status"`
	CreditUnit          string    `json:"creditUnit,omitempty"`
	CreatedAt           time.Time `json:"createdAt"`
	UpdatedAt           time.Time `json:"updatedAt"`
}

func (o *Credit) id() string         { return o.ID }
func (o *Credit) updated() time.Time { return o.CreatedAt }
func (o *Credit) has(filter, value string) bool {
	return map[string]string{"id": o.ID, "account_id": o.AccountID, "status": o.Status}[filter] == value
}

// Wallet as GET answers it.
type Wallet struct {
	ID            string    `json:"id"`
	AccountID     string    `json:"accountId"`
	CustomerID    string    `json:"customerId"`
	Balance       Amount    `json:"balance"`
	CreditUnit    string    `json:"creditUnit"`
	Status        string    `json:"status"`
	EffectiveFrom string    `json:"effectiveFrom"`
	UpdatedAt     time.Time `json:"updatedAt"`
}

// Credits returns a copy of all credits, by id.
func (o *Organization) Credits() []Credit {
	return snapshot(o, func() map[string]*Credit { return o.credits })
}

// Credits returns the first organization's credits.
func (s *Sim) Credits() []Credit { return s.First().Credits() }

// Wallets returns a copy of all wallets, by account.
func (o *Organization) Wallets() []Wallet {
	return snapshot(o, func() map[string]*Wallet { return o.wallets })
}

// Wallets returns the first organization's wallets.
func (s *Sim) Wallets() []Wallet { return s.First().Wallets() }

// WithRepeatedCreditRefused makes a repeated idempotencyKey of a credit an error. Which it is, Togai does not say;
// otherwise it is answered with the credit that is there.
func WithRepeatedCreditRefused() Option { return func(s *Sim) { s.strictCredits = true } }

func credits(s *Sim) {
	s.handle("POST", "/credits", http.StatusOK, (*call).createCredits)
	s.handle("GET", "/credits", http.StatusOK, func(c *call) (any, error) {
		return listSized(c, ledger, c.org.credits, "id", "account_id", "account_id status")
	})
	s.handle("GET", "/credits/{id}", http.StatusOK, func(c *call) (any, error) {
		o, ok := c.org.credits[c.id]
		if !ok {
			return nil, missing("Credit", c.id)
		}
		return o, nil
	})
	s.handle("GET", "/accounts/{id}/wallet", http.StatusOK, func(c *call) (any, error) {
		a, err := c.account()
		if err != nil {
			return nil, err
		}
		return c.wallet(a), nil
	})
}

func (c *call) wallet(a *Account) *Wallet {
	w := c.org.wallets[a.ID]
	if w == nil {
		w = &Wallet{ID: newID("wallet"), AccountID: a.ID, CustomerID: a.CustomerID, CreditUnit: cmp.Or(a.InvoiceCurrency, "USD"), Status: "ACTIVE", EffectiveFrom: c.now.Format(time.DateOnly), UpdatedAt: c.now}
		c.org.wallets[a.ID] = w
	}
	return w
}

func (c *call) createCredits() (any, error) {
	var in struct {
		CreditRequests []struct {
			AccountID           string   `json:"accountId"`
			Purpose             string   `json:"purpose"`
			ApplicableEntityIDs []string `json:"applicableEntityIds"`
			EffectiveFrom       string   `json:"effectiveFrom"`
			EffectiveUntil      string   `json:"effectiveUntil"`
			CreditAmount        *Amount  `json:"creditAmount"`
			Priority            *int     `json:"priority"`
			GrantorID           string   `json:"grantorId"`
			IdempotencyKey      string   `json:"idempotencyKey"`
		} `json:"creditRequests"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	out := []*Credit{}
	for _, r := range in.CreditRequests {
		a := c.org.accounts[r.AccountID]
		if a == nil {
			return nil, missing("Account", r.AccountID)
		}
		if _, err := time.Parse(time.DateOnly, r.EffectiveFrom); err != nil {
			return nil, bad("effectiveFrom must be a date")
		}
		if r.Priority == nil || *r.Priority < 1 || *r.Priority > 100 {
			return nil, bad("priority must be between 1 and 100")
		}
		if err := length("purpose", r.Purpose, 1, 255); err != nil {
			return nil, err
		}
		o := &Credit{
			r.AccountID, r.Purpose, r.ApplicableEntityIDs, r.EffectiveFrom, r.EffectiveUntil, r.CreditAmount, r.Priority, r.GrantorID, r.IdempotencyKey,
			newID("creds"), a.CustomerID, "ACTIVE", a.InvoiceCurrency, c.now, c.now,
		}
		for _, there := range c.org.credits {
			if r.IdempotencyKey == "" || there.IdempotencyKey != r.IdempotencyKey {
				continue
			}
			if c.sim.strictCredits {
				return nil, bad("A credit with this idempotency key exists")
			}
			o = there
		}
		out = append(out, o)
	}
	for _, o := range out {
		if c.org.credits[o.ID] == nil {
			c.org.credits[o.ID] = o
			c.emit("credit.granted", o)
		}
	}
	return map[string]any{"credits": out}, nil
}
