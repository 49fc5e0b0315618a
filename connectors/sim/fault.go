package sim

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Point names what a fault does, and when.
type Point string

const (
	Before      Point = "before"       // nothing is done; answers Status (500)
	AfterCommit Point = "after_commit" // it is done; answers Status (500), which the vendor also keeps under the idempotency key
	CutBefore   Point = "cut_before"   // nothing is done; the connection drops
	Cut         Point = "cut"          // it is done; the connection drops instead of the reply
	Slow        Point = "slow"         // waits Delay, then does it, even if the caller has given up meanwhile
	SlowAfter   Point = "slow_after"   // does it, waits Delay, answers
	Hang        Point = "hang"         // nothing is done and nothing answered until the caller gives up
	RateLimit   Point = "rate_limit"   // nothing is done; answers 429, with Retry-After if set
	HTML502     Point = "html_502"     // nothing is done; answers as a proxy does
)

var points = []Point{Before, AfterCommit, CutBefore, Cut, Slow, SlowAfter, Hang, RateLimit, HTML502}

// Fault goes wrong at a named point for a counted number of matching requests. A request meets at most one,
// the oldest that still has some left; any point waits Delay first.
type Fault struct {
	Method     string // empty: any
	Path       string // path.Match, or a prefix ending in "/**"; empty: any
	Point      Point
	Skip       int // matching requests let through first
	Count      int // requests it then hits; 0 means 1, -1 all
	Status     int
	Code       string // the vendor's error code, such as lock_timeout
	Delay      time.Duration
	RetryAfter time.Duration

	Fired int // how often it has hit; read it from Faults
}

type faultKey struct{}

// Fault sets a dial. It panics on a bad one: the test is wrong.
func (c *Core) Fault(f Fault) {
	if err := c.addFault(f); err != nil {
		panic(err)
	}
}

func (c *Core) addFault(f Fault) error {
	if !slices.Contains(points, f.Point) {
		return fmt.Errorf("no fault point %q", f.Point)
	}
	if _, err := path.Match(f.Path, ""); err != nil {
		return fmt.Errorf("path %q: %w", f.Path, err)
	}
	if f.Count == 0 {
		f.Count = 1
	}
	f.Fired = 0
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, &f)
	return nil
}

// Faults returns the dials, spent ones too.
func (c *Core) Faults() []Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Fault, len(c.faults))
	for i, f := range c.faults {
		out[i] = *f
	}
	return out
}

// ClearFaults removes every dial.
func (c *Core) ClearFaults() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
}

// pick returns the fault for this request; c.mu is held.
func (c *Core) pick(method, p string) Fault {
	for _, f := range c.faults {
		if f.Fired == f.Count || !f.matches(method, p) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		f.Fired++
		return *f
	}
	return Fault{}
}

func (f *Fault) matches(method, p string) bool {
	if f.Method != "" && f.Method != method {
		return false
	}
	if prefix, ok := strings.CutSuffix(f.Path, "/**"); ok {
		return strings.HasPrefix(p, prefix+"/")
	}
	ok, _ := path.Match(f.Path, p) // checked when it was set
	return ok || f.Path == ""
}

// answer runs the request as its fault wants it; false means that no reply goes out.
func (c *Core) answer(r *http.Request, f Fault) (Answer, bool) {
	switch f.Point {
	case Hang:
		select {
		case <-r.Context().Done():
		case <-c.closed:
		}
		return Answer{}, false
	case CutBefore:
		c.wait(f.Delay)
		return Answer{}, false
	case Before:
		c.wait(f.Delay)
		return c.cfg.Error(f.status(http.StatusInternalServerError), f.Code), true
	case RateLimit:
		c.wait(f.Delay)
		a := c.cfg.Error(http.StatusTooManyRequests, f.Code)
		if f.RetryAfter > 0 {
			a.Header.Set("Retry-After", strconv.Itoa(int(f.RetryAfter.Seconds())))
		}
		return a, true
	case HTML502:
		c.wait(f.Delay)
		return Answer{http.StatusBadGateway, http.Header{"Content-Type": {"text/html"}}, []byte("<html><body><h1>502 Bad Gateway</h1></body></html>\n")}, true
	}
	a := c.cfg.API(r)
	if f.Point == Cut || f.Point == SlowAfter {
		c.wait(f.Delay)
	}
	return a, f.Point != Cut
}

// Commit wraps what changes the vendor's records, inside of the vendor's idempotency layer:
// a slow request holds its key while it waits, and the error of AfterCommit is what the key remembers.
func (c *Core) Commit(h Handler) Handler {
	return func(r *http.Request) Answer {
		f, _ := r.Context().Value(faultKey{}).(Fault)
		if f.Point == Slow || f.Point == AfterCommit {
			c.wait(f.Delay)
		}
		a := h(r)
		if a.Status >= 400 {
			return a
		}
		c.tell(Committed, r)
		if f.Point == AfterCommit {
			return c.cfg.Error(f.status(http.StatusInternalServerError), f.Code)
		}
		return a
	}
}

func (f Fault) status(otherwise int) int {
	if f.Status == 0 {
		return otherwise
	}
	return f.Status
}
