package graph

import (
	"context"
	"errors"
	"time"

	"tieline/graph/auth"
)

// holder is whoever began a stream, by a token that may end before the stream does.
type holder struct {
	verifier auth.Verifier
	bearer   string
	limits   Limits
}

// check looks at the token again: nil while it is good.
func (h holder) check(ctx context.Context) *violation {
	ctx, cancel := context.WithTimeout(ctx, h.limits.Timeout)
	defer cancel()
	switch _, err := h.verifier.Verify(ctx, h.bearer); {
	case errors.Is(err, auth.ErrExpired):
		return &violation{closeUnauthorized, err.Error()}
	case auth.Refused(err):
		return &violation{closeForbidden, err.Error()}
	case err != nil:
		return &violation{closeTryLater, "the service cannot answer right now"}
	}
	return nil
}

// watch calls end soon after the token is refused. That it cannot be found out is no refusal.
func (h holder) watch(ctx context.Context, end context.CancelCauseFunc) {
	tick := time.NewTicker(h.limits.Reverify)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if bad := h.check(ctx); bad != nil && bad.code != closeTryLater {
			end(bad)
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
