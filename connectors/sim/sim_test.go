package sim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tieline/connectors/sim"
)

// counter is a vendor whose one call counts itself.
type counter struct {
	*sim.Core
	done atomic.Int64
}

func start(t testing.TB, backoff ...time.Duration) *counter {
	t.Helper()
	s := &counter{}
	answer := func(status int, text string) sim.Answer {
		return sim.Answer{Status: status, Header: http.Header{}, Body: []byte(text)}
	}
	s.Core = sim.New(sim.Config{
		API: func(r *http.Request) sim.Answer {
			return s.Commit(func(*http.Request) sim.Answer {
				return answer(200, fmt.Sprint(s.done.Add(1)))
			})(r)
		},
		Error:   func(status int, code string) sim.Answer { return answer(status, "error "+code) },
		State:   func() any { return s.done.Load() },
		Reset:   func() { s.done.Store(0) },
		Backoff: backoff,
	})
	s.ListenFor(t)
	return s
}

func (s *counter) post(ctx context.Context, path string) (status int, body string, header http.Header, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+path, strings.NewReader("hello"))
	if err != nil {
		return 0, "", nil, err
	}
	req.Header.Set("Idempotency-Key", "k") // which makes Go's client repeat by itself when it dares
	req.Header.Set("Authorization", "Bearer secret")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), res.Header, err
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		fault  sim.Fault
		status int // 0: no reply
		done   int64
	}{
		{sim.Fault{Point: sim.Before}, 500, 0},
		{sim.Fault{Point: sim.Before, Status: 503}, 503, 0},
		{sim.Fault{Point: sim.AfterCommit}, 500, 1},
		{sim.Fault{Point: sim.CutBefore}, 0, 0},
		{sim.Fault{Point: sim.Cut}, 0, 1},
		{sim.Fault{Point: sim.Slow, Delay: time.Millisecond}, 200, 1},
		{sim.Fault{Point: sim.SlowAfter, Delay: time.Millisecond}, 200, 1},
		{sim.Fault{Point: sim.RateLimit, RetryAfter: 7 * time.Second, Code: "lock"}, 429, 0},
		{sim.Fault{Point: sim.HTML502}, 502, 0},
	} {
		t.Run(fmt.Sprint(x.fault.Point, x.fault.Status), func(t *testing.T) {
			t.Parallel()
			s := start(t)
			x.fault.Skip = 1 // so that the connection is one that is used again
			s.Fault(x.fault)
			if status, _, _, err := s.post(t.Context(), "/a"); status != 200 {
				t.Fatal(status, err)
			}
			status, _, header, err := s.post(t.Context(), "/a")
			if status != x.status || (err != nil) != (x.status == 0) {
				t.Errorf("status %d, error %v, want %d", status, err, x.status)
			}
			if got := s.done.Load() - 1; got != x.done {
				t.Errorf("done %d times, want %d", got, x.done)
			}
			if x.fault.RetryAfter > 0 && header.Get("Retry-After") != "7" {
				t.Errorf("Retry-After %q", header.Get("Retry-After"))
			}
			if status, _, _, err := s.post(t.Context(), "/a"); status != 200 {
				t.Errorf("a spent fault still answers %d, %v", status, err)
			}
			if f := s.Faults(); len(f) != 1 || f[0].Fired != 1 {
				t.Errorf("faults %+v", f)
			}
		})
	}
}

func TestHangEndsWithTheCaller(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Fault(sim.Fault{Point: sim.Hang})
	ctx, cancel := context.WithCancel(t.Context())
	s.OnRequest(func(stage, _, _ string) {
		if stage == sim.Arrived {
			cancel()
		}
	})
	if _, _, _, err := s.post(ctx, "/a"); !errors.Is(err, context.Canceled) || s.done.Load() != 0 {
		t.Errorf("error %v, done %d times", err, s.done.Load())
	}
}

func TestSlowGoesOnWithoutTheCaller(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Fault(sim.Fault{Point: sim.Slow, Delay: 20 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	committed := make(chan struct{})
	s.OnRequest(func(stage, _, _ string) {
		switch stage {
		case sim.Arrived:
			cancel()
		case sim.Committed:
			close(committed)
		}
	})
	if _, _, _, err := s.post(ctx, "/a"); err == nil {
		t.Error("the caller gave up and got an answer")
	}
	<-committed
	if s.done.Load() != 1 {
		t.Error("not done")
	}
}

func TestMatching(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Fault(sim.Fault{Method: "POST", Path: "/v1/*/x", Point: sim.Before, Count: -1, Status: 501})
	s.Fault(sim.Fault{Path: "/v2/**", Point: sim.Before, Count: 2, Status: 502})
	s.Fault(sim.Fault{Method: "GET", Point: sim.Before, Status: 503})
	for i, want := range map[string]int{"/v1/a/x": 501, "/v1/a/y": 200, "/v1/a/b/x": 200, "/v2": 200} {
		if got, _, _, _ := s.post(t.Context(), i); got != want {
			t.Errorf("%s: %d, want %d", i, got, want)
		}
	}
	for _, want := range []int{502, 502, 200} {
		if got, _, _, _ := s.post(t.Context(), "/v2/deep/path"); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	if n := s.Count("POST", "/v2/**"); n != 3 {
		t.Errorf("%d requests counted, want 3", n)
	}
	if h := s.Requests()[0].Header; h.Get("Authorization") != "" || h.Get("Idempotency-Key") != "k" {
		t.Errorf("logged headers %v", h)
	}
}

func TestStages(t *testing.T) {
	t.Parallel()
	s := start(t)
	var got []string
	s.OnRequest(func(stage, method, path string) {
		got = append(got, fmt.Sprint(stage, " ", method, path, " ", s.done.Load()))
	})
	s.post(t.Context(), "/a")
	if text := strings.Join(got, ", "); text != "arrived POST/a 0, committed POST/a 1, replying POST/a 1" {
		t.Error(text)
	}
}

// inbox is a receiver that notes what it gets and answers by its list of statuses, then 200.
type inbox struct {
	*httptest.Server
	got chan string
}

func receive(t testing.TB, statuses ...int) inbox {
	in := inbox{got: make(chan string, 100)}
	answers := make(chan int, len(statuses))
	for _, s := range statuses {
		answers <- s
	}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		in.got <- string(body) + " " + r.Header.Get("Signed")
		select {
		case status := <-answers:
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		default:
		}
	}))
	t.Cleanup(in.Close)
	return in
}

// send delivers events whose bodies are their names, signed with the body and how far off the time is.
func (s *counter) send(url string, names ...string) {
	for _, n := range names {
		s.Send(sim.Message{Event: n, URL: url, Body: []byte(n), Sign: func(at time.Time, body []byte) http.Header {
			return http.Header{"Signed": {fmt.Sprintf("%s%+.0fh", body, time.Until(at).Hours())}}
		}})
	}
}

func (s *counter) settled(t testing.TB, in inbox) string {
	t.Helper()
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(in.got)
	var got []string
	for g := range in.got {
		got = append(got, g)
	}
	return strings.Join(got, ", ")
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		dials sim.Dials
		want  string
	}{
		"plain":     {sim.Dials{}, "a a-0h, b b-0h, c c-0h"},
		"drop":      {sim.Dials{Drop: 1}, "b b-0h, c c-0h"},
		"duplicate": {sim.Dials{Duplicate: 1}, "a a-0h, a a-0h, b b-0h, c c-0h"},
		"reorder":   {sim.Dials{Reorder: 3}, "c c-0h, b b-0h, a a-0h"},
		"delay":     {sim.Dials{Delay: time.Millisecond, Reorder: 3}, ""},
		"signature": {sim.Dials{BadSignature: 1}, "a a!-0h, b b-0h, c c-0h"},
		"old":       {sim.Dials{OldTime: 1}, "a a-1h, b b-0h, c c-0h"},
		"future":    {sim.Dials{FutureTime: 1}, "a a+1h, b b-0h, c c-0h"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, in := start(t), receive(t)
			s.Dial(x.dials)
			s.send(in.URL, "a", "b", "c")
			if got := s.settled(t, in); got != x.want && x.want != "" {
				t.Errorf("%q, want %q", got, x.want)
			}
			for _, d := range s.Deliveries() {
				if want := x.dials.Drop == 0 || d.Event != "a"; want != (d.State == sim.Delivered) {
					t.Errorf("delivery %+v", d)
				}
			}
		})
	}
}

func TestPauseHoldsInOrder(t *testing.T) {
	t.Parallel()
	s, in := start(t), receive(t)
	s.Dial(sim.Dials{Pause: true})
	s.send(in.URL, "a", "b")
	if err := s.Settle(t.Context()); err != nil || len(in.got) != 0 {
		t.Fatalf("%d deliveries while paused, %v", len(in.got), err)
	}
	s.Dial(sim.Dials{})
	if got := s.settled(t, in); got != "a a-0h, b b-0h" {
		t.Error(got)
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		statuses []int
		attempts int
		state    string
	}{
		"accepted at once":    {nil, 1, sim.Delivered},
		"after two refusals":  {[]int{503, 400}, 3, sim.Delivered},
		"redirects are not":   {[]int{302}, 2, sim.Delivered},
		"given up in the end": {[]int{500, 500, 500}, 3, sim.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, in := start(t, time.Millisecond, time.Millisecond), receive(t, x.statuses...)
			s.send(in.URL, "a")
			s.settled(t, in)
			if d := s.Deliveries(); len(d) != 1 || len(d[0].Attempts) != x.attempts || d[0].State != x.state {
				t.Errorf("%+v, want %d attempts and %s", d, x.attempts, x.state)
			}
		})
	}
}

func TestSettleTellsHowMany(t *testing.T) {
	t.Parallel()
	s := start(t, time.Hour)
	s.send("http://127.0.0.1:1", "a")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	s.Reset()
	if err := s.Settle(t.Context()); err != nil || len(s.Deliveries()) != 0 {
		t.Errorf("after a reset: %v, %v", err, s.Deliveries())
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	s := start(t)
	call := func(method, path, body string) (int, any) {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), method, s.URL+"/_sim/"+path, strings.NewReader(body))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var out any
		if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return res.StatusCode, out
	}
	if status, _ := call("POST", "faults", `{"point":"before","status":503,"path":"/a","count":1,"skip":0,"delay_ms":1,"retry_after_s":2}`); status != 200 {
		t.Error(status)
	}
	if status, out := call("POST", "faults", `{"point":"nowhere"}`); status != 400 {
		t.Error(status, out)
	}
	if status, _, _, _ := s.post(t.Context(), "/a"); status != 503 {
		t.Error(status)
	}
	if _, out := call("GET", "faults", ""); out.([]any)[0].(map[string]any)["fired"] != 1.0 {
		t.Error(out)
	}
	if _, out := call("GET", "requests", ""); out.([]any)[0].(map[string]any)["body"] != "hello" {
		t.Error(out)
	}
	before := s.Clock.Now()
	call("POST", "clock", `{"advance_s":3600}`)
	if d := s.Clock.Now().Sub(before); d < time.Hour {
		t.Error(d)
	}
	call("POST", "deliveries", `{"pause":true}`)
	s.send("http://127.0.0.1:1", "a")
	if _, out := call("GET", "deliveries", ""); out.([]any)[0].(map[string]any)["state"] != "pending" {
		t.Error(out)
	}
	s.post(t.Context(), "/b")
	if _, out := call("GET", "state", ""); out != 1.0 {
		t.Error(out)
	}
	call("DELETE", "faults", "")
	call("POST", "reset", "")
	if _, out := call("GET", "state", ""); out != 0.0 || len(s.Requests()) != 0 || len(s.Faults()) != 0 {
		t.Error(out)
	}
}

func TestBucket(t *testing.T) {
	t.Parallel()
	b, now := sim.NewBucket(2, 3), time.Unix(0, 0)
	var got []bool
	for _, after := range []time.Duration{0, 0, 0, 0, 500 * time.Millisecond, 0} {
		now = now.Add(after)
		got = append(got, b.Take(now))
	}
	if fmt.Sprint(got) != "[true true true false true false]" {
		t.Error(got)
	}
}
