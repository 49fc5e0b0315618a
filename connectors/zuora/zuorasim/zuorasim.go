// Package zuorasim is a stateful stand-in for one Zuora tenant: access tokens, accounts, a catalogue, subscriptions with
// versions, standalone invoices, usage, credit memos, both kinds of query, events, notifications and their callouts. Memory
// only. It shares no code with the connector: a simulator that does would prove nothing.
package zuorasim

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"tieline/connectors/sim"
)

// Sim is one tenant. Fault, OnRequest, Requests, Dial, Deliveries, Settle, Clock and URL come from the Core.
type Sim struct {
	*sim.Core
	routes   []route
	extra    bool
	urls     bool
	backoff  []time.Duration
	limit    *sim.Bucket
	atOnce   int
	entities []string
	life     time.Duration

	bearers sync.Map // access tokens of callouts, by provider

	mu      sync.Mutex // guards all that follows
	flying  int
	others  Others
	clients map[string]string // secret by id
	tokens  map[string]time.Time
	asked   int // for tokens
	keys    map[string]*kept

	numbers  map[string]int
	accounts []*Account
	products []*Product
	subs     []*Subscription // every version
	invoices []*Invoice
	usage    []*Usage
	memos    []*Memo
	events   []*EventTrigger
	notes    []*Notification
	cursors  map[string][]map[string]any // what queryMore goes on with
}

// Others are a tenant's other programs: what they leave of its limits is told with every answer.
type Others struct {
	Left   int           // calls until the window ends
	Reset  time.Duration // when that is; zero: nothing is told of the window
	Flying int           // calls in flight
}

// Others sets what the tenant's other programs do.
func (s *Sim) Others(o Others) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others = o
}

// Option sets up a Sim.
type Option func(*Sim)

// WithExtraPage makes a full last page be followed by an empty one.
func WithExtraPage() Option { return func(s *Sim) { s.extra = true } }

// WithPlanURLs makes the catalogue name the address of a product's rate plans instead of nesting them.
func WithPlanURLs() Option { return func(s *Sim) { s.urls = true } }

// WithBackoff sets the waits before each repeat of a refused callout. Zuora tries about three times.
func WithBackoff(waits ...time.Duration) Option {
	return func(s *Sim) { s.backoff = append([]time.Duration{}, waits...) }
}

// WithEntities makes tokens name these entities.
func WithEntities(ids ...string) Option { return func(s *Sim) { s.entities = ids } }

// WithRate enforces calls a second.
func WithRate(perSecond int) Option {
	return func(s *Sim) { s.limit = sim.NewBucket(perSecond, perSecond) }
}

// WithConcurrency enforces how many calls may be in flight.
func WithConcurrency(n int) Option { return func(s *Sim) { s.atOnce = n } }

// WithTokenLife sets how long tokens hold; an hour without it.
func WithTokenLife(d time.Duration) Option { return func(s *Sim) { s.life = d } }

// WithClient makes an OAuth client, so that stored credentials outlive the process.
func WithClient(id, secret string) Option { return func(s *Sim) { s.clients[id] = secret } }

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
	s := &Sim{
		clients: map[string]string{}, tokens: map[string]time.Time{}, limit: sim.NewBucket(0, 0), atOnce: 1000, entities: []string{"9a1f7c5e-0001-4c1d-8f00-000000000001"},
		life: time.Hour, backoff: []time.Duration{50 * time.Millisecond, 200 * time.Millisecond},
	}
	for _, o := range opts {
		o(s)
	}
	s.clear()
	s.Core = sim.New(sim.Config{API: s.serve, Error: refusal, State: s.state, Reset: s.reset, Backoff: s.backoff})
	for _, resource := range []func(*Sim){accounts, catalog, subscriptions, invoices, usage, creditMemos, queries, notifications} {
		resource(s)
	}
	s.control()
	return s
}

func (s *Sim) clear() {
	s.keys, s.numbers, s.cursors = map[string]*kept{}, map[string]int{}, map[string][]map[string]any{}
	s.accounts, s.products, s.subs, s.invoices, s.usage, s.memos, s.events, s.notes = nil, nil, nil, nil, nil, nil, nil, nil
}

func (s *Sim) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
}

// Client makes an OAuth client.
func (s *Sim) Client() (id, secret string) {
	id, secret = newID(), "s/"+newID()+"+="
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[id] = secret
	return id, secret
}

// Revoke makes a client's credentials and every token invalid.
func (s *Sim) Revoke(client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, client)
	clear(s.tokens)
}

// Expire makes every token invalid.
func (s *Sim) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Tokens is how many tokens were given so far.
func (s *Sim) Tokens() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// newID is how Zuora names records.
func newID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// number is the next of a kind: A00000001. s.mu is held.
func (s *Sim) number(prefix string) string {
	s.numbers[prefix]++
	return fmt.Sprintf("%s%08d", prefix, s.numbers[prefix])
}

// state is every record by kind.
func (s *Sim) state() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]any{
		"accounts": copied(s.accounts), "products": copied(s.products), "subscriptions": copied(s.subs), "invoices": copied(s.invoices), "usage": copied(s.usage),
		"credit_memos": copied(s.memos), "events": copied(s.events), "notifications": copied(s.notes),
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
