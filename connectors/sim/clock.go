package sim

import (
	"sync"
	"time"
)

// Clock is the wall clock plus what it was advanced by. Records, expiry and rates follow it;
// signatures and waits follow the wall clock, because the other side of the wire does.
type Clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// Advance moves the clock forward.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func (c *Clock) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = 0
}

// Bucket is a token bucket: rate tokens a second, at most burst kept. The zero Bucket refuses nothing.
type Bucket struct {
	rate, burst float64

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

// NewBucket returns a full one; a rate of 0 refuses nothing.
func NewBucket(perSecond, burst int) *Bucket {
	return &Bucket{rate: float64(perSecond), burst: float64(burst), tokens: float64(burst)}
}

// Take reports whether a request may pass at this time.
func (b *Bucket) Take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rate == 0 {
		return true
	}
	if !b.last.IsZero() {
		b.tokens = min(b.burst, b.tokens+now.Sub(b.last).Seconds()*b.rate)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
