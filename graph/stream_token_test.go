package graph

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"tieline/graph/auth"
)

// counted counts the looks at a token; each waits until it is let go.
type counted struct {
	looks atomic.Int32
	next  chan struct{}
}

func (c *counted) Verify(ctx context.Context, _ string) (auth.Viewer, error) {
	c.looks.Add(1)
	select {
	case <-c.next:
		return auth.Viewer{}, auth.ErrRevoked
	case <-ctx.Done():
		return auth.Viewer{}, ctx.Err()
	}
}

func TestOneLookForAllStreamsOfAToken(t *testing.T) {
	t.Parallel()
	c := &counted{next: make(chan struct{})}
	v := newVigil(c, Limits{Reverify: time.Millisecond}.withDefaults())
	var ended [3]context.Context
	var leave [3]func()
	for i := range ended {
		ctx, end := context.WithCancelCause(t.Context())
		ended[i], leave[i] = ctx, v.watch("a", end)
	}
	leave[0]()
	c.next <- struct{}{}
	<-ended[1].Done()
	<-ended[2].Done()
	if n := c.looks.Load(); n > 2 { // the next may have begun
		t.Errorf("%d looks", n)
	}
	if why := whyEnded(ended[1]); why.code != closeForbidden || ended[0].Err() != nil {
		t.Errorf("ended with %+v; the one that left with %v", why, ended[0].Err())
	}
	leave[1]()
	leave[2]()
	if len(v.held) != 0 {
		t.Errorf("%d tokens are left", len(v.held))
	}
}
