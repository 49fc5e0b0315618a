package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Message is a webhook to be delivered.
type Message struct {
	Event, Type string
	URL         string
	Body        []byte // frozen here: every attempt sends the same bytes
	Header      http.Header
	Sign        func(at time.Time, body []byte) http.Header // called anew for each attempt
	Delivered   func()                                      // optional; called once it was accepted
	// Challenge makes the headers of a second request where the first was answered 401 with a challenge. nil: there is none.
	Challenge func(at time.Time, body []byte) http.Header
	Exactly   int // the one status that accepts it; 0: any of 200 to 299
}

// Dials bend the deliveries. The counted ones act on the next so many and are then off.
type Dials struct {
	Pause        bool          // keep everything until it is off again
	Concurrent   bool          // do not wait for one answer before the next delivery to the same URL
	Delay        time.Duration // before each first attempt
	Drop         int           // deliveries never sent
	Duplicate    int           // deliveries sent twice
	Reorder      int           // gather so many deliveries, then send them last first
	BadSignature int           // attempts signed over other bytes
	OldTime      int           // attempts signed an hour ago
	FutureTime   int           // attempts signed in an hour
}

// Attempt is one POST of a delivery.
type Attempt struct {
	At     time.Time `json:"at"`
	Status int       `json:"status,omitempty"`
	Error  string    `json:"error,omitempty"`
}

// States of a delivery.
const (
	Pending   = "pending"
	Delivered = "delivered"
	Failed    = "failed" // after its last attempt
	Dropped   = "dropped"
)

// Delivery is one event on its way to one URL.
type Delivery struct {
	Event    string    `json:"event"`
	Type     string    `json:"type"`
	URL      string    `json:"url"`
	State    string    `json:"state"`
	Attempts []Attempt `json:"attempts"`
	Body     []byte    `json:"-"`
}

type parcel struct {
	Delivery
	msg Message
	age int // of the courier when it was sent; an older one is forgotten
}

// courier delivers in order to each URL, one at a time, so that a test sees the order it asked for.
type courier struct {
	backoff []time.Duration
	client  *http.Client
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup

	mu       sync.Mutex
	age      int
	dials    Dials
	all      []*parcel
	held     []*parcel // by Pause
	gathered []*parcel // for Reorder
	queues   map[string][]*parcel
	open     int           // on their way
	changed  chan struct{} // closed and replaced when open falls to 0
}

func defaultBackoff() []time.Duration {
	out := []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond}
	return append(out, slices.Repeat([]time.Duration{time.Second}, 60)...)
}

func newCourier(backoff []time.Duration) *courier {
	ctx, cancel := context.WithCancel(context.Background())
	return &courier{
		backoff: backoff, ctx: ctx, cancel: cancel, queues: map[string][]*parcel{}, changed: make(chan struct{}),
		client: &http.Client{
			Timeout:       10 * time.Second,
			Transport:     &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Send starts a delivery.
func (c *Core) Send(m Message) { c.post.send(m) }

// Dial sets all dials at once; the zero Dials lets everything held go, in order.
func (c *Core) Dial(d Dials) { c.post.dial(d) }

// Deliveries returns what was sent so far, oldest first.
func (c *Core) Deliveries() []Delivery {
	c.post.mu.Lock()
	defer c.post.mu.Unlock()
	out := make([]Delivery, len(c.post.all))
	for i, p := range c.post.all {
		out[i] = p.Delivery
		out[i].Attempts = slices.Clone(p.Attempts)
	}
	return out
}

// Settle waits until no delivery is on its way or waiting for its next attempt. Those held by a dial do not count.
func (c *Core) Settle(ctx context.Context) error {
	for {
		c.post.mu.Lock()
		open, changed := c.post.open, c.post.changed
		c.post.mu.Unlock()
		if open == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d deliveries on their way: %w", open, ctx.Err())
		}
	}
}

func (c *courier) send(m Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	copies := 1
	if c.dials.Duplicate > 0 && c.dials.Drop == 0 {
		c.dials.Duplicate--
		copies = 2
	}
	for range copies {
		p := &parcel{Delivery{Event: m.Event, Type: m.Type, URL: m.URL, State: Pending, Body: m.Body}, m, c.age}
		c.all = append(c.all, p)
		if c.dials.Drop > 0 {
			c.dials.Drop--
			p.State = Dropped
			continue
		}
		c.route(p)
	}
}

func (c *courier) dial(d Dials) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dials = d
	if !d.Pause {
		held := c.held
		c.held = nil
		for _, p := range held {
			c.route(p)
		}
	}
	if c.dials.Reorder == 0 {
		c.turn()
	}
}

// route holds, gathers or starts a parcel. c.mu is held, as for all below that say nothing else.
func (c *courier) route(p *parcel) {
	switch {
	case c.dials.Pause:
		c.held = append(c.held, p)
	case c.dials.Reorder > 0:
		c.gathered = append(c.gathered, p)
		if c.dials.Reorder--; c.dials.Reorder == 0 {
			c.turn()
		}
	default:
		c.start(p, c.dials.Delay)
	}
}

func (c *courier) turn() {
	slices.Reverse(c.gathered)
	for _, p := range c.gathered {
		c.start(p, c.dials.Delay)
	}
	c.gathered = nil
}

func (c *courier) start(p *parcel, delay time.Duration) {
	c.open++
	c.later(p, delay)
}

func (c *courier) later(p *parcel, delay time.Duration) {
	if delay <= 0 {
		c.enqueue(p)
		return
	}
	time.AfterFunc(delay, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.enqueue(p)
	})
}

func (c *courier) enqueue(p *parcel) {
	if p.age != c.age || c.ctx.Err() != nil {
		return
	}
	if c.dials.Concurrent {
		c.work.Go(func() { c.attempt(p) })
		return
	}
	q, running := c.queues[p.URL]
	c.queues[p.URL] = append(q, p)
	if !running {
		c.work.Go(func() { c.drain(p.URL) })
	}
}

// drain runs without c.mu.
func (c *courier) drain(url string) {
	for {
		c.mu.Lock()
		q := c.queues[url]
		if len(q) == 0 || c.ctx.Err() != nil {
			delete(c.queues, url)
			c.mu.Unlock()
			return
		}
		c.queues[url] = q[1:]
		c.mu.Unlock()
		c.attempt(q[0])
	}
}

// attempt runs without c.mu.
func (c *courier) attempt(p *parcel) {
	a, ok := c.try(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.age != c.age {
		return
	}
	p.Attempts = append(p.Attempts, a)
	switch {
	case ok:
		p.State = Delivered
		if p.msg.Delivered != nil { // before open falls: who waits for Settle sees what it changed
			c.mu.Unlock()
			p.msg.Delivered()
			c.mu.Lock()
		}
	case len(p.Attempts) <= len(c.backoff):
		c.later(p, c.backoff[len(p.Attempts)-1])
		return
	default:
		p.State = Failed
	}
	if p.age == c.age {
		c.finish(c.open - 1)
	}
}

func (c *courier) finish(open int) {
	c.open = open
	if open == 0 {
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

func (c *courier) try(p *parcel) (Attempt, bool) {
	a := Attempt{At: time.Now()}
	signedAt, signed := a.At, p.Body
	c.mu.Lock()
	if c.dials.BadSignature > 0 {
		c.dials.BadSignature--
		signed = append(slices.Clip(signed), '!')
	}
	if c.dials.OldTime > 0 {
		c.dials.OldTime--
		signedAt = signedAt.Add(-time.Hour)
	} else if c.dials.FutureTime > 0 {
		c.dials.FutureTime--
		signedAt = signedAt.Add(time.Hour)
	}
	c.mu.Unlock()
	status, asked, err := c.post(p, p.msg.Sign(signedAt, signed))
	if err == nil && status == http.StatusUnauthorized && asked && p.msg.Challenge != nil {
		status, _, err = c.post(p, p.msg.Challenge(signedAt, signed))
	}
	if err != nil {
		a.Error = err.Error()
		return a, false
	}
	a.Status = status
	if p.msg.Exactly != 0 {
		return a, status == p.msg.Exactly
	}
	return a, status >= 200 && status < 300
}

// post sends a parcel, and answers its status and whether credentials were asked for.
func (c *courier) post(p *parcel, proof http.Header) (status int, asked bool, err error) {
	req, err := http.NewRequestWithContext(c.ctx, http.MethodPost, p.URL, bytes.NewReader(p.Body))
	if err != nil {
		return 0, false, err
	}
	maps.Copy(req.Header, p.msg.Header)
	maps.Copy(req.Header, proof)
	res, err := c.client.Do(req)
	if err != nil {
		return 0, false, err
	}
	io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20)) // so that the connection can be used again
	res.Body.Close()
	return res.StatusCode, res.Header.Get("WWW-Authenticate") != "", nil
}

func (c *courier) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.age++
	c.all, c.held, c.gathered, c.dials = nil, nil, nil, Dials{}
	for url := range c.queues { // not deleted: a drain is running on it
		c.queues[url] = nil
	}
	c.finish(0)
}

func (c *courier) close() {
	c.mu.Lock()
	c.cancel()
	c.mu.Unlock()
	c.work.Wait()
	c.client.CloseIdleConnections()
}
