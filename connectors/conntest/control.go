package conntest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"
)

// control speaks the control API that every simulator has.
type control struct {
	t   testing.TB
	url string
}

// request is one that a simulator received.
type request struct {
	Method string      `json:"method"`
	Path   string      `json:"path"`
	Query  string      `json:"query"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
	Fault  string      `json:"fault"`
	Status int         `json:"status"`
}

// fault is a dial: point is what goes wrong with the request after Skip others.
type fault struct {
	Point       string `json:"point"`
	Skip        int    `json:"skip,omitempty"`
	Count       int    `json:"count,omitempty"`
	Status      int    `json:"status,omitempty"`
	DelayMS     int    `json:"delay_ms,omitempty"`
	RetryAfterS int    `json:"retry_after_s,omitempty"`
	Fired       int    `json:"fired,omitempty"`
}

// deliveries are the dials of webhooks.
type deliveries struct {
	DelayMS      int `json:"delay_ms,omitempty"`
	Drop         int `json:"drop,omitempty"`
	Duplicate    int `json:"duplicate,omitempty"`
	Reorder      int `json:"reorder,omitempty"`
	BadSignature int `json:"bad_signature,omitempty"`
	OldTime      int `json:"old_time,omitempty"`
	FutureTime   int `json:"future_time,omitempty"`
}

func (c control) call(method, path string, in, out any) {
	c.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := http.NewRequest(method, c.url+"/_sim/"+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil || res.StatusCode != http.StatusOK {
		c.t.Fatalf("%s /_sim/%s answers %d: %v", method, path, res.StatusCode, err)
	}
}

func (c control) fault(f fault) {
	c.t.Helper()
	c.call("POST", "faults", f, &struct{}{})
}

// fired says how often the dials have hit.
func (c control) fired() (n int) {
	c.t.Helper()
	var all []fault
	c.call("GET", "faults", nil, &all)
	for _, f := range all {
		n += f.Fired
	}
	return n
}

func (c control) dial(d deliveries) {
	c.t.Helper()
	c.call("POST", "deliveries", d, &struct{}{})
}

func (c control) requests() (all []request) {
	c.t.Helper()
	c.call("GET", "requests", nil, &all)
	return all
}

// until waits for something that the simulator shows by and by.
func (c control) until(what string, is func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s did not come about", what)
		}
	}
}

// idle waits until the simulator has dealt with every request, also those whose callers have gone. What hangs is never
// dealt with, and does nothing.
func (c control) idle() {
	c.t.Helper()
	c.until("the end of all requests", func() bool {
		for _, r := range c.requests() {
			if r.Status == 0 && (r.Fault == "slow" || r.Fault == "slow_after") {
				return false
			}
		}
		return true
	})
}

// left is how many records of each kind there are.
func (c control) left() map[string]int {
	c.t.Helper()
	var all any
	c.call("GET", "state", nil, &all)
	n := map[string]int{}
	count(n, all)
	return n
}

func count(n map[string]int, v any) {
	object, _ := v.(map[string]any)
	for k, below := range object {
		if list, ok := below.([]any); ok {
			if len(list) > 0 {
				n[k] += len(list)
			}
			continue
		}
		count(n, below)
	}
}
