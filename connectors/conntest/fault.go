package conntest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
)

// statuses are those that every vendor may answer.
var statuses = []int{400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504}

// harmless are refusals that a connector may take for an answer to what it asked: there is no such record, or it is taken.
var harmless = map[int]bool{400: true, 404: true, 409: true, 422: true}

// refusals checks what each status means, of the first call that reads and of the first that writes. tolerated are those
// that are no error of what is run.
func (s Suite[W]) refusals(t *testing.T, what string, prepare func(*testing.T) (*watched, func() error), tolerated ...int) {
	t.Helper()
	all := statuses
	for status := range s.Kinds {
		all = append(all[:len(all):len(all)], status)
	}
	clean, run := prepare(t)
	sim := control{t, clean.URL}
	before := len(sim.requests())
	if err := run(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	first := map[bool]int{}
	for i, r := range sim.requests()[before:] {
		if _, seen := first[!s.reads(r)]; !seen {
			first[!s.reads(r)] = i
		}
	}
	for write, at := range first {
		for _, status := range all {
			t.Run(strings.TrimSpace(fmt.Sprintf("%s %d, write %v", what, status, write)), func(t *testing.T) {
				t.Parallel()
				w, run := prepare(t)
				f := fault{Point: "before", Skip: at, Status: status}
				if status == 429 {
					f.Point, f.RetryAfterS = "rate_limit", 7
				}
				if status == 401 && s.App.Login != nil { // the call is made once more with another token, which is refused like the first
					f.Count = 2
				}
				sim := control{t, w.URL}
				sim.fault(f)
				err := w.hear(run())
				if sim.fired() != max(f.Count, 1) {
					t.Fatal("nothing was refused")
				}
				want, got := s.kind(status, write), connectors.KindOf(err)
				for _, ok := range tolerated {
					if status == ok && err == nil {
						return
					}
				}
				if !write && harmless[status] { // what is asked may be whether it is there
					if err != nil && got != want && got != connectors.Invalid && got != connectors.NotFound && got != connectors.Conflict {
						t.Errorf("%s, want %s or less: %v", got, want, err)
					}
					return
				}
				if got != want {
					t.Errorf("%q, want %s: %v", got, want, err)
				}
				if e, ok := errors.AsType[*connectors.Error](err); ok && status == 429 && e.RetryAfter != 7*time.Second {
					t.Errorf("it waits %s, want 7 s", e.RetryAfter)
				}
			})
		}
	}
}

// point is a dial, what a write that meets it is said to have come to, and how often it is sent in all.
type point struct {
	name string
	kind connectors.Kind
	sent int
	gone bool // no answer comes until the caller gives up
}

var points = []point{
	{"before", connectors.OutcomeUnknown, 2, false},
	{"after_commit", connectors.OutcomeUnknown, 1, false},
	{"cut_before", connectors.OutcomeUnknown, 2, false},
	{"cut", connectors.OutcomeUnknown, 1, false},
	{"html_502", connectors.OutcomeUnknown, 2, false},
	{"rate_limit", connectors.RateLimited, 2, false},
	{"hang", connectors.OutcomeUnknown, 2, true},
	{"slow", connectors.OutcomeUnknown, 1, true},
	{"slow_after", connectors.OutcomeUnknown, 1, true},
}

// slowness is how long a slow answer takes. A caller that has not given up by then has its answer, which is as good.
const slowness = 150 * time.Millisecond

// dials has each of an action's calls go wrong in each way, one at a time, and goes on until it is done. It then must be as
// if nothing had gone wrong: whatever was written is there once, and what was written already is found and not sent again.
func (s Suite[W]) dials(t *testing.T, a connectors.Action, how Action[W], calls []request) {
	st := s.stage(t, a, how)
	if _, err := a.Run(t.Context(), s.other(t, st.site), st.input); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint(st.sim.left())
	for i, call := range calls {
		for _, p := range points {
			if s.reads(call) {
				if p.name == "slow" || p.name == "slow_after" || p.name == "after_commit" || p.name == "cut_before" { // as cut and before: nothing is done by a read
					continue
				}
				if p.sent = 0; p.kind == connectors.OutcomeUnknown {
					p.kind = connectors.Unavailable
				}
			}
			for _, resend := range []bool{false, true} {
				if resend && (s.App.ReplaysKeys == 0 || s.reads(call)) {
					continue
				}
				t.Run(fmt.Sprintf("%s at call %d, resend %v", p.name, i, resend), func(t *testing.T) {
					t.Parallel()
					st := s.stage(t, a, how)
					w := s.watch(t, st.site)
					w.Resend = resend
					st.meets(t, a, w, p, i)
					if got := fmt.Sprint(st.sim.left()); got != want {
						t.Errorf("there are %s, want %s", got, want)
					}
					total, effects := 0, w.Effects()
					for _, e := range effects {
						if total += e.Sent; !e.Done {
							t.Errorf("not settled: %+v", e.Intent)
						}
					}
					writes := 0
					for _, r := range calls {
						if !s.reads(r) {
							writes++
						}
					}
					if p.sent > 0 && !resend && total != writes-1+p.sent {
						t.Errorf("%d sent for %d writes, of which one was to be sent %d times", total, writes, p.sent)
					}
				})
			}
		}
	}
}

// looks has the answer to each write get lost, and then the look for it refused: nothing may be sent on that.
func (s Suite[W]) looks(t *testing.T, a connectors.Action, how Action[W], calls []request) {
	for i, call := range calls {
		if s.reads(call) {
			continue
		}
		t.Run(fmt.Sprintf("a look that fails after call %d", i), func(t *testing.T) {
			t.Parallel()
			st := s.stage(t, a, how)
			w := s.watch(t, st.site)
			st.sim.fault(fault{Point: "cut_before", Skip: i})
			if _, err := a.Run(t.Context(), w.Conn, st.input); connectors.KindOf(w.hear(err)) != connectors.OutcomeUnknown {
				t.Fatalf("the write: %v", err)
			}
			before := len(st.sim.requests())
			st.sim.fault(fault{Point: "before", Status: 503})
			if _, err := a.Run(t.Context(), w.Conn, st.input); connectors.KindOf(w.hear(err)) != connectors.Unavailable {
				t.Errorf("the look: %v", err)
			}
			for _, r := range st.sim.requests()[before:] {
				if !s.reads(r) {
					t.Errorf("%s %s is sent on it", r.Method, r.Path)
				}
			}
		})
	}
}

// meets runs the action until it is done, its i-th call going wrong once.
func (st stage) meets(t *testing.T, a connectors.Action, w *watched, p point, i int) {
	t.Helper()
	st.sim.fault(fault{Point: p.name, Skip: i, DelayMS: delay(p)})
	for failures := 0; ; {
		err := w.hear(st.run(t, a, w, p))
		if err == nil {
			if failures == 0 && !strings.HasPrefix(p.name, "slow") {
				t.Fatal("the fault was not noticed")
			}
			break
		}
		failures++
		e, _ := errors.AsType[*connectors.Error](err)
		if e == nil || failures > 3 || failures == 1 && e.Kind != p.kind {
			t.Fatalf("failure %d: %q, want %s: %v", failures, connectors.KindOf(err), p.kind, err)
		}
		if e.Replayed { // the failure it once gave is repeated: the engine must look
			w.Resend = false
		}
		st.sim.idle()
	}
	if st.sim.fired() != 1 {
		t.Error("the fault did not fire")
	}
}

func delay(p point) int {
	if strings.HasPrefix(p.name, "slow") {
		return int(slowness.Milliseconds())
	}
	return 0
}

// run runs the action; where no answer comes, its caller gives up once the fault has hit.
func (st stage) run(t *testing.T, a connectors.Action, w *watched, p point) error {
	t.Helper()
	if !p.gone || st.sim.fired() > 0 {
		_, err := a.Run(t.Context(), w.Conn, st.input)
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := a.Run(ctx, w.Conn, st.input)
		done <- err
	}()
	var err error
	over := false
	st.sim.until("the fault", func() bool {
		select {
		case err = <-done:
			over = true
		default:
		}
		return over || st.sim.fired() > 0
	})
	if cancel(); !over {
		err = <-done
	}
	return err
}
