// Package togaisim is a stateful stand-in for Togai's API: organizations, customers, accounts, settings, price
// plans and their schedules, invoices, payments, credits, usage, paging by opaque tokens, and a webhook whose shape is ours, because Togai publishes none. Memory only.
// It shares no code with the connector: a simulator that does would prove nothing.
package togaisim

import (
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"tieline/connectors/sim"
)

// Sim is one Togai. Fault, OnRequest, Requests, Dial, Deliveries, Settle, Clock and URL come from the Core.
type Sim struct {
	*sim.Core
	routes        []route
	rate          int
	extra         bool
	strictCredits bool
	backoff       []time.Duration

	mu     sync.Mutex // guards all that follows, organizations included
	orgs   []*Organization
	tokens map[string]grant
}

// Option sets up a Sim.
type Option func(*Sim)

// WithRateLimit enforces requests per second for each organization; Togai's trial value is 10.
func WithRateLimit(perSecond int) Option { return func(s *Sim) { s.rate = perSecond } }

// WithExtraPage makes the last page carry a token too, to a page that is empty.
func WithExtraPage() Option { return func(s *Sim) { s.extra = true } }

// WithBackoff sets the waits before each repeat of a refused delivery; none means no repeat.
func WithBackoff(waits ...time.Duration) Option {
	return func(s *Sim) { s.backoff = append([]time.Duration{}, waits...) }
}

// WithOrganization makes an organization of this id that these tokens open, so that stored credentials outlive the process.
func WithOrganization(id string, tokens ...string) Option {
	return func(s *Sim) {
		o := s.newOrganization(id)
		for _, t := range tokens {
			s.tokens[t] = grant{org: o}
		}
	}
}

// New starts a Sim for the length of a test.
func New(t sim.T, opts ...Option) *Sim {
	t.Helper()
	s := build(opts)
	s.ListenFor(t)
	return s
}

// Start starts a Sim until Close.
func Start(addr string, opts ...Option) (*Sim, error) {
	s := build(opts)
	return s, s.Listen(addr)
}

func build(opts []Option) *Sim {
	s := &Sim{tokens: map[string]grant{}}
	for _, o := range opts {
		o(s)
	}
	s.Core = sim.New(sim.Config{API: s.serve, Error: plainError, State: s.state, Reset: s.reset, Backoff: s.backoff})
	for _, resource := range []func(*Sim){authenticate, customers, accounts, settings, addOns, usageMeters, pricePlans, schedules, invoices, payments, credits, usage, others} {
		resource(s)
	}
	s.control()
	return s
}

// Organization is one tenant of Togai: what a token opens.
type Organization struct {
	ID        string
	sim       *Sim
	limit     *sim.Bucket
	customers map[string]*Customer
	accounts  map[string]*Account
	settings  map[string]*Setting // by the dotted id
	addOns    map[string]*AddOn
	meters    map[string]*UsageMeter
	plans     map[string]*PricePlan
	schedules map[string]*Schedule
	invoices  map[string]*Invoice
	payments  map[string]*Payment
	credits   map[string]*Credit
	wallets   map[string]*Wallet // by the account
	events    map[string]*Usage  // by the sender's id
	others    map[string]*Other
	targets   []Target
}

// grant is what a bearer value opens: a secret key for ever, a JWT until it expires.
type grant struct {
	org     *Organization
	expires time.Time
}

// Organization makes another organization.
func (s *Sim) Organization() *Organization {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newOrganization(newID("organization"))
}

// Token returns a new secret key of the first organization, which is made if there is none.
func (s *Sim) Token() string { return s.First().Token() }

// Token returns a new secret key.
func (o *Organization) Token() string {
	o.sim.mu.Lock()
	defer o.sim.mu.Unlock()
	t := random(40)
	o.sim.tokens[t] = grant{org: o}
	return t
}

// Revoke makes a token answer 401.
func (s *Sim) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, token)
}

// First returns the first organization, which is made if there is none.
func (s *Sim) First() *Organization {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.orgs) == 0 {
		return s.newOrganization(newID("organization"))
	}
	return s.orgs[0]
}

func (s *Sim) newOrganization(id string) *Organization {
	o := &Organization{ID: id, sim: s, limit: sim.NewBucket(s.rate, s.rate)}
	o.clear()
	s.orgs = append(s.orgs, o)
	return o
}

func (o *Organization) clear() {
	o.customers, o.accounts, o.settings, o.targets = map[string]*Customer{}, map[string]*Account{}, map[string]*Setting{}, nil
	o.plans, o.schedules, o.invoices = map[string]*PricePlan{}, map[string]*Schedule{}, map[string]*Invoice{}
	o.payments, o.credits, o.wallets = map[string]*Payment{}, map[string]*Credit{}, map[string]*Wallet{}
	o.addOns, o.meters = map[string]*AddOn{}, map[string]*UsageMeter{}
	o.events, o.others = map[string]*Usage{}, map[string]*Other{}
}

func (s *Sim) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.orgs {
		o.clear()
	}
}

// newID is how Togai names what the caller does not: prefix.11.5.
func newID(prefix string) string { return prefix + "." + random(11) + "." + random(5) }

const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	for i := range b {
		b[i] = alphanumeric[int(b[i])%len(alphanumeric)]
	}
	return string(b)
}

// segments splits a path into what lies between its slashes.
func segments(path string) []string { return strings.Split(strings.Trim(path, "/"), "/") }
