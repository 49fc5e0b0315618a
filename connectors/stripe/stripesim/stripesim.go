// Package stripesim is a stateful stand-in for Stripe's API of 2023-10-16: several accounts, test and live data
// apart, idempotency keys, lists, search with a lag, events and signed webhooks. Memory only.
// It shares no code with the connector: a simulator that does would prove nothing.
package stripesim

import (
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"tieline/connectors/sim"
)

const apiVersion = "2023-10-16"

// Sim is one Stripe. Fault, OnRequest, Requests, Dial, Deliveries, Settle, Clock and URL come from the Core.
type Sim struct {
	*sim.Core
	router    router
	searchLag time.Duration
	rate      int
	extra     bool
	backoff   []time.Duration

	mu       sync.Mutex // guards all that follows, books included
	accounts []*Account
	keys     map[string]grant
}

// Option sets up a Sim.
type Option func(*Sim)

// WithSearchLag sets how long search does not see a change (2 s).
func WithSearchLag(d time.Duration) Option { return func(s *Sim) { s.searchLag = d } }

// WithRateLimit enforces requests per second for each account and mode; Stripe gives test mode 25.
func WithRateLimit(perSecond int) Option { return func(s *Sim) { s.rate = perSecond } }

// WithExtraPage makes a list whose last page is full say that it has more, on a page that is empty: what was there when the
// page was made may be gone by the next.
func WithExtraPage() Option { return func(s *Sim) { s.extra = true } }

// WithBackoff sets the waits before each repeat of a refused delivery; none means no repeat.
func WithBackoff(waits ...time.Duration) Option {
	return func(s *Sim) { s.backoff = append([]time.Duration{}, waits...) }
}

// WithAccount makes an account of this id that these keys open, so that stored credentials outlive the process.
func WithAccount(id string, keys ...string) Option {
	return func(s *Sim) {
		a := s.newAccount(id)
		for _, k := range keys {
			s.keys[k] = grant{book: a.book(strings.Contains(k, "_live_"))}
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
	s := &Sim{searchLag: 2 * time.Second, keys: map[string]grant{}}
	for _, o := range opts {
		o(s)
	}
	s.Core = sim.New(sim.Config{API: s.serve, Error: plainError, State: s.state, Reset: s.reset, Backoff: s.backoff})
	for _, resource := range []func(*Sim){account, customers, webhookEndpoints, events, checkoutSessions, products, prices, paymentLinks, invoices, creditNotes} {
		resource(s)
	}
	s.control()
	s.pages()
	return s
}

// Account is one Stripe account with its test and its live data.
type Account struct {
	ID   string
	sim  *Sim
	test *book
	live *book
}

// book is the data of one account in one mode.
type book struct {
	account  *Account
	livemode bool
	version  string // of events for endpoints that name none
	limit    *sim.Bucket
	tables   map[string]*table
	replies  map[string]*reply   // by idempotency key
	secrets  map[string][]string // by webhook endpoint; two while one is rolled
	declines int                 // how many payments fail next
}

// grant is what a key opens.
type grant struct {
	book   *book
	denied map[string]bool // permissions, such as rak_customer_write
}

// Account makes another account.
func (s *Sim) Account() *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newAccount("acct_1" + random(15))
}

// Key returns a new test key of the first account, which is made if there is none.
func (s *Sim) Key() string { return s.First().Key() }

// First returns the first account, which is made if there is none.
func (s *Sim) First() *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.accounts) == 0 {
		return s.newAccount("acct_1" + random(15))
	}
	return s.accounts[0]
}

func (s *Sim) newAccount(id string) *Account {
	a := &Account{ID: id, sim: s}
	a.test, a.live = &book{account: a, version: apiVersion}, &book{account: a, version: apiVersion, livemode: true}
	for _, b := range []*book{a.test, a.live} {
		b.limit = sim.NewBucket(s.rate, s.rate)
		b.clear()
	}
	s.accounts = append(s.accounts, a)
	return a
}

func (a *Account) book(live bool) *book {
	if live {
		return a.live
	}
	return a.test
}

// Key returns a new sk_test_ key. All keys of an account stay valid until Revoke.
func (a *Account) Key() string { return a.key("sk_test_") }

// Sim is where the account is.
func (a *Account) Sim() *Sim { return a.sim }

// LiveKey returns a new sk_live_ key.
func (a *Account) LiveKey() string { return a.key("sk_live_") }

// RestrictedKey returns a new rk_test_ key that may do all but what these permissions allow: rak_customer_write, rak_event_read, …
func (a *Account) RestrictedKey(denied ...string) string { return a.key("rk_test_", denied...) }

func (a *Account) key(prefix string, denied ...string) string {
	a.sim.mu.Lock()
	defer a.sim.mu.Unlock()
	k := prefix + random(24)
	a.sim.keys[k] = grant{a.book(strings.Contains(prefix, "live")), set(denied...)}
	return k
}

// Allow lets a restricted key do everything from now on, as whoever edits it in the dashboard may.
func (s *Sim) Allow(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[key] = grant{book: s.keys[key].book}
}

// Revoke makes a key answer 401.
func (s *Sim) Revoke(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, key)
}

// UseVersion makes events for endpoints without an api_version of their own carry this one, as newer accounts do.
func (a *Account) UseVersion(v string) {
	a.sim.mu.Lock()
	defer a.sim.mu.Unlock()
	a.test.version, a.live.version = v, v
}

func (b *book) clear() {
	b.tables, b.replies, b.secrets = map[string]*table{}, map[string]*reply{}, map[string][]string{}
}

func (s *Sim) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		a.test.clear()
		a.live.clear()
	}
}

// state is every current object: account, mode, kind.
func (s *Sim) state() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]map[string]map[string][]object{}
	for _, a := range s.accounts {
		out[a.ID] = map[string]map[string][]object{}
		for mode, b := range map[string]*book{"test": a.test, "live": a.live} {
			out[a.ID][mode] = map[string][]object{}
			for kind, t := range b.tables {
				out[a.ID][mode][kind] = t.current()
			}
		}
	}
	return out
}

const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	for i := range b {
		b[i] = alphanumeric[int(b[i])%len(alphanumeric)]
	}
	return string(b)
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

func plainError(status int, code string) sim.Answer {
	a := failed(&Error{Status: status, Code: code})
	a.Header.Set("Request-Id", "req_"+random(14))
	return a
}
