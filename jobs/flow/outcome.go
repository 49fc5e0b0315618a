package flow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"tieline/connectors"
	"tieline/db"
	"tieline/jobs/flow/expr"
)

// verdict is what an error means for the step it ended.
type verdict struct {
	state   string        // Waiting or Failed
	reason  string        // of Waiting
	wait    time.Duration // until the next try; negative: until somebody wakes it
	awaits  db.ID         // the mapping whose slot wakes it
	kind    connectors.Kind
	message string // what people read
	reauth  bool   // the connection's credentials do not work
	narrow  bool   // of RateLimited: only calls like the last one are meant
	free    bool   // it does not count as a try
}

// errWait is the engine's own reason to wait. It is no failure.
type errWait struct {
	reason string
	for_   time.Duration // negative: until woken
	awaits db.ID         // the mapping whose slot, filled or released, wakes it
	why    string
}

func (w *errWait) Error() string { return w.why }

// errFenced says another worker has the run; this one must stop without a word.
var errFenced = errors.New("another worker has taken the run over")

// errCancelled ends a step of a run that is being cancelled, before it would begin another write.
var errCancelled = errors.New("the run is being cancelled")

// judge says what to do about a step's error. It is the only place where the kinds are told apart.
func (t Timing) judge(err error, tries int) verdict {
	if w, ok := errors.AsType[*errWait](err); ok {
		return verdict{state: Waiting, reason: w.reason, wait: w.for_, awaits: w.awaits, message: w.why, free: true}
	}
	var x *connectors.Error
	if !errors.As(err, &x) {
		return t.foreign(err, tries)
	}
	v := verdict{state: Waiting, reason: ForRetry, kind: x.Kind, message: x.Error(), wait: max(t.backoff(tries), x.RetryAfter)}
	switch x.Kind {
	case connectors.Unauthorized:
		v.reason, v.reauth, v.wait, v.free = ForReauth, true, -1, true
	case connectors.Forbidden, connectors.NotFound, connectors.Invalid:
		v.state = Failed
	case connectors.Conflict:
		v.reason, v.wait = ForPerson, -1
	case connectors.RateLimited:
		v.reason, v.narrow, v.free = ForRate, x.Narrow, true
		if x.RetryAfter == 0 {
			v.wait = max(v.wait, t.Retry)
		}
	case connectors.OutcomeUnknown:
		v.free = true // it must be settled, however long that takes
	}
	if v.state == Waiting && !v.free && v.reason == ForRetry && tries >= t.Tries {
		v.state, v.message = Failed, fmt.Sprintf("%s; given up after %d tries", v.message, tries)
	}
	if v.state == Failed {
		v.reason, v.wait = "", 0
	}
	return v
}

// foreign judges errors that no connector said: a template's, or a fault of ours.
func (t Timing) foreign(err error, tries int) verdict {
	if x, ok := errors.AsType[*expr.Error](err); ok && !errors.Is(err, context.Canceled) {
		return verdict{state: Failed, kind: connectors.Invalid, message: x.Error()}
	}
	if errors.Is(err, context.Canceled) || tries < t.Tries {
		return verdict{state: Waiting, reason: ForRetry, wait: t.backoff(tries), message: "an error on our side; it is tried again"}
	}
	return verdict{state: Failed, message: "an error on our side; the log has it"}
}

// keepLooking is the verdict on a step that would fail while nobody knows what became of a write of it: it goes on
// looking, or waits for a person where looking cannot help.
func (t Timing) keepLooking(v verdict) verdict {
	v.state, v.reason, v.wait = Waiting, ForRetry, t.RetryMax
	switch v.kind {
	case connectors.Forbidden, connectors.NotFound, connectors.Invalid:
		v.reason, v.wait = ForPerson, -1
	}
	v.message += "; a write of this step may have been done, which must be known first"
	return v
}

// rhythm is how long to wait for something that has been waited for so long already.
func (t Timing) rhythm(waited time.Duration) time.Duration {
	return min(max(waited/2, t.Retry), t.RetryMax)
}

// backoff is half fixed, half chance, so that what failed together does not come back together.
func (t Timing) backoff(tries int) time.Duration {
	d := t.Retry << min(tries, 20)
	if d <= 0 || d > t.RetryMax {
		d = t.RetryMax
	}
	return d/2 + rand.N(d/2+1)
}

// Lost reports whether err says that another worker has the run now. Whoever carried it then ends without a word.
func Lost(err error) bool { return errors.Is(err, errFenced) }
