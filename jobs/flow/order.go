package flow

import (
	"fmt"
	"slices"
	"time"

	"tieline/db"
)

// GoOn is the onError that lets others go on; the other one is "stop".
const GoOn = "continue"

const notBegun = "An earlier step failed, so this one was not begun."

// reads are what a step's expressions read, as expr.Template.Reads names it.
func (s planStep) reads() []string {
	var all []string
	if s.input != nil {
		all = append(all, s.input.Reads()...)
	}
	if s.when != nil {
		all = append(all, s.when.Reads()...)
	}
	if s.record != nil {
		all = append(all, s.record.Reads()...)
	}
	if s.match != nil {
		all = append(all, s.match.reads()...)
	}
	return all
}

// order notes what each step needs of those before it. What a step needs that is done for each record is needed by
// the step that lists them: they are done together.
func (p *plan) order() {
	for i := range p.steps {
		s := &p.steps[i]
		reads := s.reads()
		for k := range s.items {
			reads = append(reads, p.steps[i+1+k].reads()...)
		}
		for k := range i {
			key := p.steps[k].Key
			if s.ForEach == key || slices.Contains(reads, "steps") || slices.Contains(reads, "steps."+key) {
				s.needs = append(s.needs, k)
			}
		}
	}
}

// blocked tells whether a step reads one that is not through yet.
func (a *Activation) blocked(i int) bool {
	return slices.ContainsFunc(a.plan.steps[i].needs, func(k int) bool { return !stepFinal(a.steps[k].State) })
}

// hopeless says why a step can never be begun, empty when it may.
func (a *Activation) hopeless(i int) string {
	if a.unsettledIn(a.steps[i].Key) {
		return "" // it was begun, and must come to an end
	}
	for k := range i {
		needed := slices.Contains(a.plan.steps[i].needs, k)
		switch state := a.steps[k].State; {
		case state == Failed && a.plan.steps[k].OnError != GoOn:
			return notBegun
		case needed && (state == Failed || state == Cancelled):
			return fmt.Sprintf("It reads the step %q, which did not get through, so it was not begun.", a.steps[k].Key)
		}
	}
	return ""
}

// due tells whether a step has waited long enough. One that a worker may take a moment early, so that it is there when its
// turn comes, is due.
func due(s *db.Step) bool {
	return s.State != Waiting || s.WakeAt.IsZero() || time.Until(s.WakeAt) < time.Second
}

// early tells that the run goes on although none of its steps is due: somebody has woken it, so that none waits any longer.
func (a *Activation) early() bool {
	for i := range a.steps {
		s := &a.steps[i]
		if stepFinal(s.State) || a.blocked(i) {
			continue
		}
		if due(s) {
			return false
		}
		if a.plan.steps[i].OnError != GoOn {
			break
		}
	}
	return true
}

// left is where a step goes on waiting.
func (a *Activation) left(s *db.Step) Next {
	n := Next{state: Waiting, reason: s.WaitingReason, wait: max(time.Until(s.WakeAt), 0), message: s.Error}
	if s.WaitingReason == ForDependency {
		n.awaits = a.run.Awaits
	}
	return n
}

// earliest is where a run goes of whose steps several wait: until the first of them is due, with the others beside it.
func earliest(stops []Next) Next {
	first := 0
	for i, n := range stops {
		if w := stops[first].wait; n.wait >= 0 && (w < 0 || n.wait < w) {
			first = i
		}
	}
	out := stops[first]
	for _, n := range stops { // whichever record it is that one of them waits for
		if out.awaits == (db.ID{}) {
			out.awaits = n.awaits
		}
	}
	out.beside = slices.Delete(slices.Clone(stops), first, first+1)
	return out
}

// stepsOf are the steps that wait and are not saved yet.
func (n Next) stepsOf() (steps []*db.Step) {
	for _, x := range append(slices.Clone(n.beside), n) {
		if x.step != nil {
			steps = append(steps, x.step)
		}
	}
	return steps
}

// timing is the engine's, with what a step says of its own.
func (a *Activation) timing(step string) Timing {
	t := a.e.timing()
	i := slices.IndexFunc(a.plan.steps, func(s planStep) bool { return s.Key == step })
	if i < 0 || a.plan.steps[i].Retry == nil {
		return t
	}
	r, seconds := a.plan.steps[i].Retry, func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	if r.Tries > 0 {
		t.Tries = r.Tries
	}
	if r.Pause > 0 {
		t.Retry = seconds(r.Pause)
		t.RetryMax = max(t.RetryMax, t.Retry)
	}
	if r.Longest > 0 {
		t.RetryMax = seconds(r.Longest)
	}
	return t
}
