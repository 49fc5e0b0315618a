// Package notify wakes people when Postgres says that something changed. It carries no news itself: whoever is woken
// reads, and is woken too when news may have been missed.
package notify

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
	checkEvery   = 20 * time.Second // a quiet connection is asked whether it still lives
	checkWithin  = 5 * time.Second
)

// Listener keeps one connection that LISTENs on fixed channels, and wakes their subscribers.
type Listener struct {
	pool     *pgxpool.Pool
	log      *slog.Logger
	channels []string

	mu   sync.Mutex
	subs map[string]map[chan struct{}]struct{} // by channel
}

// New prepares a listener on channels; Run makes it work. It connects with the pool's settings but not from the pool.
func New(pool *pgxpool.Pool, log *slog.Logger, channels ...string) *Listener {
	l := &Listener{pool: pool, log: log, channels: channels, subs: map[string]map[chan struct{}]struct{}{}}
	for _, c := range channels {
		l.subs[c] = map[chan struct{}]struct{}{}
	}
	return l
}

// Subscribe returns a channel that gets one token, however many notifications came since the last was taken. Tokens
// also come after every connect, the first included, because what was sent before it is lost. Subscribe, then read,
// then wait. cancel ends it and may be called twice. Subscribing to a channel not named in New panics.
func (l *Listener) Subscribe(channel string) (wake <-chan struct{}, cancel func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	subs, ok := l.subs[channel]
	if !ok {
		panic("notify: nobody listens on channel " + channel)
	}
	c := make(chan struct{}, 1)
	subs[c] = struct{}{}
	return c, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(subs, c)
	}
}

// Run listens until ctx ends, connecting again whenever the connection is lost. It returns ctx's error.
func (l *Listener) Run(ctx context.Context) error {
	for backoff := firstBackoff; ; backoff = min(2*backoff, lastBackoff) {
		since := time.Now()
		err := l.listen(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(since) > lastBackoff { // it worked for a while
			backoff = firstBackoff
		}
		wait := backoff/2 + rand.N(backoff) // many processes lose one server at one moment
		l.log.WarnContext(ctx, "listening for notifications was interrupted", "err", err, "again_in", wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// listen connects and passes notifications on until something breaks.
func (l *Listener) listen(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, l.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkWithin)
		defer cancel()
		conn.Close(ctx)
	}()
	for _, c := range l.channels {
		if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{c}.Sanitize()); err != nil {
			return err
		}
	}
	l.wake(l.channels...)
	for {
		n, err := next(ctx, conn)
		if err != nil {
			return err
		}
		if slices.Contains(l.channels, n) {
			l.wake(n)
		}
	}
}

// next waits for a notification and returns its channel, "" when the wait was long and the connection still lives.
func next(ctx context.Context, conn *pgx.Conn) (string, error) {
	wait, cancel := context.WithTimeout(ctx, checkEvery)
	defer cancel()
	n, err := conn.WaitForNotification(wait)
	if err == nil {
		return n.Channel, nil
	}
	if ctx.Err() != nil || wait.Err() == nil || conn.IsClosed() {
		return "", err
	}
	check, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	return "", conn.Ping(check) // a dead network says nothing by itself
}

func (l *Listener) wake(channels ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range channels {
		for sub := range l.subs[c] {
			select {
			case sub <- struct{}{}:
			default: // it has a token to take already
			}
		}
	}
}
