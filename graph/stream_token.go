package graph

import (
	"context"
	"errors"
	"sync"
	"time"

	"tieline/graph/auth"
)

// vigil looks at the tokens that streams were begun with, since those may end first: once in a while, and once for all
// streams of a token.
type vigil struct {
	verifier auth.Verifier
	limits   Limits

	mu   sync.Mutex
	held map[string]*held // by token
}

// held is a token in use.
type held struct {
	stop context.CancelFunc
	last int
	ends map[int]context.CancelCauseFunc // of its streams
}

func newVigil(v auth.Verifier, l Limits) *vigil {
	return &vigil{verifier: v, limits: l, held: map[string]*held{}}
}

// check looks at a token now: nil while it is good.
func (v *vigil) check(ctx context.Context, bearer string) *violation {
	ctx, cancel := context.WithTimeout(ctx, v.limits.Timeout)
	defer cancel()
	switch _, err := v.verifier.Verify(ctx, bearer); {
	case errors.Is(err, auth.ErrExpired):
		return &violation{closeUnauthorized, err.Error()}
	case auth.Refused(err):
		return &violation{closeForbidden, err.Error()}
	case err != nil:
		return &violation{closeTryLater, "the service cannot answer right now"}
	}
	return nil
}

// watch calls end soon after the token is refused, unless the stream has left by then.
func (v *vigil) watch(bearer string, end context.CancelCauseFunc) (leave func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	h := v.held[bearer]
	if h == nil {
		ctx, stop := context.WithCancel(context.Background())
		h = &held{stop: stop, ends: map[int]context.CancelCauseFunc{}}
		v.held[bearer] = h
		go v.look(ctx, bearer, h)
	}
	h.last++
	mine := h.last
	h.ends[mine] = end
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if delete(h.ends, mine); len(h.ends) == 0 {
			h.stop()
			delete(v.held, bearer)
		}
	}
}

// look goes on while a token has streams. That it cannot be found out is no refusal.
func (v *vigil) look(ctx context.Context, bearer string, h *held) {
	tick := time.NewTicker(v.limits.Reverify)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if bad := v.check(ctx, bearer); bad != nil && bad.code != closeTryLater {
			v.mu.Lock()
			for _, end := range h.ends {
				end(bad)
			}
			v.mu.Unlock()
		}
	}
}

// whileGood is ctx until the token's time is over.
func whileGood(ctx context.Context, v auth.Viewer) (context.Context, context.CancelFunc) {
	if v.Expires.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, v.Expires)
}

// whyEnded says in a word what ended a stream of ours, whose context is ctx.
func whyEnded(ctx context.Context) violation {
	if bad, ok := errors.AsType[*violation](context.Cause(ctx)); ok {
		return *bad
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return violation{closeUnauthorized, auth.ErrExpired.Error()}
	}
	return violation{closeRestart, "Service restart"}
}
