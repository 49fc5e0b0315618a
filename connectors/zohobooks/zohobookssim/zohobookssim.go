// Package zohobookssim is a stateful stand-in for Zoho Books and for the accounts server that gives its tokens, on an origin
// each: codes, access and refresh tokens with their limits, a consent page, organizations, contacts with their persons,
// items, invoices, payments, taxes, accounts, currencies and custom fields. Memory only. It shares no code with the
// connector: a simulator that does would prove nothing.
package zohobookssim

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"sync"
	"time"

	"tieline/connectors/sim"
)

// Sim is one user's Zoho. Fault, OnRequest, Requests, Clock and URL come from the Core, which serves the API; Accounts serves
// the accounts server.
type Sim struct {
	*sim.Core
	Accounts *sim.Core
	routes   []route
	extra    bool
	numeric  bool
	limit    *sim.Bucket
	atOnce   int
	most     int // refresh tokens
	codeLife time.Duration

	mu      sync.Mutex // guards all that follows
	flying  int
	last    int64 // id
	clients map[string]*client
	codes   map[string]*code
	grants  []*grant // oldest first
	tokens  map[string]*token
	asked   int // for access tokens

	organizations []*Organization
	contacts      []*Contact
	items         []*Item
	invoices      []*Invoice
	payments      []*Payment
	mails         []Mail
}

// Option sets up a Sim.
type Option func(*Sim)

// WithExtraPage makes a full last page be followed by an empty one.
func WithExtraPage() Option { return func(s *Sim) { s.extra = true } }

// WithNumericIDs makes ids numbers, not texts, although they are greater than a double can hold.
func WithNumericIDs() Option { return func(s *Sim) { s.numeric = true } }

// WithRate enforces so many calls a minute.
func WithRate(perMinute int) Option {
	return func(s *Sim) { s.limit = sim.NewBucket(max(perMinute/60, 1), perMinute) }
}

// WithConcurrency enforces how many calls may be in process.
func WithConcurrency(n int) Option { return func(s *Sim) { s.atOnce = n } }

// WithCodeLife sets how long a code may be exchanged; three minutes without it.
func WithCodeLife(d time.Duration) Option { return func(s *Sim) { s.codeLife = d } }

// WithClient registers a client, so that stored credentials outlive the process.
func WithClient(id, secret string, redirects ...string) Option {
	return func(s *Sim) { s.clients[id] = &client{secret, redirects} }
}

// WithOrganization replaces the organization that is there otherwise; several may be named.
func WithOrganization(o Organization) Option {
	return func(s *Sim) { s.organizations = append(s.organizations, &o) }
}

// New starts a Sim for the length of a test.
func New(t sim.T, opts ...Option) *Sim {
	t.Helper()
	s := build(opts)
	s.ListenFor(t)
	s.Accounts.ListenFor(t)
	return s
}

// Start starts a Sim on two free ports of a host until Close.
func Start(host string, opts ...Option) (*Sim, error) {
	s := build(opts)
	if err := s.Listen(host + ":0"); err != nil {
		return nil, err
	}
	if err := s.Accounts.Listen(host + ":0"); err != nil {
		s.Core.Close()
		return nil, err
	}
	return s, nil
}

// Close ends both servers.
func (s *Sim) Close() {
	s.Core.Close()
	s.Accounts.Close()
}

func build(opts []Option) *Sim {
	s := &Sim{
		clients: map[string]*client{}, codes: map[string]*code{}, tokens: map[string]*token{}, limit: sim.NewBucket(0, 0), atOnce: 1000, most: 20,
		codeLife: 3 * time.Minute, last: time.Now().UnixMicro()*10 + 1, // odd, past what a double holds, and other ids than an earlier Sim's
	}
	for _, o := range opts {
		o(s)
	}
	if len(s.organizations) == 0 {
		s.organizations = []*Organization{{Name: "Acme Books"}}
	}
	for _, o := range s.organizations {
		s.open(o)
	}
	s.Core = sim.New(sim.Config{API: s.serve, Error: refusal, State: s.state, Reset: s.reset})
	s.Accounts = sim.New(sim.Config{API: s.serveAccounts, Error: deny, State: s.state, Reset: func() {}})
	for _, resource := range []func(*Sim){settings, contacts, items, invoices, payments} {
		resource(s)
	}
	s.control()
	return s
}

func (s *Sim) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contacts, s.items, s.invoices, s.payments, s.mails = nil, nil, nil, nil, nil
}

// nextID is a new record's. s.mu is held, or nobody else has s yet.
func (s *Sim) nextID() string {
	s.last += 2
	return strconv.FormatInt(s.last, 10)
}

func secret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b[:16]) + "." + hex.EncodeToString(b[16:])
}

// state is every record by kind.
func (s *Sim) state() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]any{
		"contacts": copied(s.contacts), "items": copied(s.items), "invoices": copied(s.invoices), "payments": copied(s.payments), "mails": append([]Mail{}, s.mails...),
	}
}

// copied are copies, for whoever looks without the lock.
func copied[T any](rows []*T) []T {
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = *r
	}
	return out
}

// all returns copies of records, oldest first.
func all[T any](s *Sim, of func() []*T) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copied(of())
}

// Contacts returns a copy of all contacts, oldest first.
func (s *Sim) Contacts() []Contact { return all(s, func() []*Contact { return s.contacts }) }

// Items returns a copy of all items.
func (s *Sim) Items() []Item { return all(s, func() []*Item { return s.items }) }

// Invoices returns a copy of all invoices.
func (s *Sim) Invoices() []Invoice { return all(s, func() []*Invoice { return s.invoices }) }

// Payments returns a copy of all payments.
func (s *Sim) Payments() []Payment { return all(s, func() []*Payment { return s.payments }) }

// Mails returns what was mailed.
func (s *Sim) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Mail{}, s.mails...)
}
