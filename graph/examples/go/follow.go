// Package follow is an example for clients in Go: it follows runs without gap or repeat, however often the line is cut. A
// client that only sends its first document again would miss what came meanwhile, or have it twice.
package follow

import (
	"context"
	"errors"
	"time"
)

// ErrFinal is in errors after which coming back is no use: the token is refused, the cursor expired, the caller has enough.
var ErrFinal = errors.New("the subscription is over")

// Follow wraps whatever client subscribes: after a cursor, "" for from now on, and when it was cut again after the last
// that was handled, soon at first and then ever later. It returns when ctx ends and with errors that are final.
func Follow(ctx context.Context, after string, subscribe func(ctx context.Context, after string, handled func(cursor string)) error) error {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := subscribe(ctx, after, func(cursor string) { after, pause = cursor, 25*time.Millisecond })
		if ctx.Err() != nil || errors.Is(err, ErrFinal) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
