package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
)

// ErrFull says that too much is in line at a desk already.
var ErrFull = errors.New("too much is waiting")

// Desk lets callers who come together share a transaction. Nobody waits for others to come: who finds a clerk free is
// served at once, and those who come meanwhile are served together, a few of each organization before many of one. A clerk
// is a goroutine that ends when the line does.
type Desk[T, A any] struct {
	Clerks int         // transactions at once; 1 unless given
	Most   int         // in one transaction; 64 unless given
	Size   func(T) int // what Batch and Line bound; nil: nothing
	Batch  int         // size of one transaction, but for a single one that is larger
	Line   int         // size of what waits; what comes beyond it is refused

	mu   sync.Mutex
	line []*visitor[T, A]
	size int // in line
	busy int // clerks
}

type visitor[T, A any] struct {
	org  ID
	what T
	size int
	turn int // how many of the same organization are in line before it
	done chan served[A]
}

type served[A any] struct {
	answer A
	err    error
}

// Take has serve do what an organization asks, together with what others ask, and gives its answer; serve answers in the order it was
// asked. Once serve has begun, the end of ctx changes nothing: what becomes of it is known only then. Before, it leaves the
// line with ctx's error. An error is ctx's, or ErrFull, or serve panicked.
func (d *Desk[T, A]) Take(ctx context.Context, org ID, what T, serve func(context.Context, []T) []A) (A, error) {
	v := &visitor[T, A]{org: org, what: what, done: make(chan served[A], 1)}
	if d.Size != nil {
		v.size = d.Size(what)
	}
	d.mu.Lock()
	if d.Line > 0 && d.size > 0 && d.size+v.size > d.Line {
		d.mu.Unlock()
		return served[A]{}.answer, ErrFull
	}
	d.line, d.size = append(d.line, v), d.size+v.size
	if d.busy < cmp.Or(d.Clerks, 1) {
		d.busy++
		go d.work(context.WithoutCancel(ctx), serve)
	}
	d.mu.Unlock()
	select {
	case s := <-v.done:
		return s.answer, s.err
	case <-ctx.Done():
		if d.leave(v) {
			return served[A]{}.answer, ctx.Err()
		}
		s := <-v.done
		return s.answer, s.err
	}
}

// Waiting is how many are in line.
func (d *Desk[T, A]) Waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.line)
}

// leave takes a visitor out of the line; false when it is being served.
func (d *Desk[T, A]) leave(v *visitor[T, A]) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.line, v)
	if i >= 0 {
		d.line, d.size = slices.Delete(d.line, i, i+1), d.size-v.size
	}
	return i >= 0
}

func (d *Desk[T, A]) work(ctx context.Context, serve func(context.Context, []T) []A) {
	for {
		runtime.Gosched() // those who can come at once get in line
		batch := d.next()
		if batch == nil {
			return
		}
		answer(ctx, batch, serve)
	}
}

// next takes the head of the line; with nobody in line the clerk is done.
func (d *Desk[T, A]) next() []*visitor[T, A] {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := map[ID]int{}
	for _, v := range d.line {
		v.turn = before[v.org]
		before[v.org]++
	}
	slices.SortStableFunc(d.line, func(a, b *visitor[T, A]) int { return cmp.Compare(a.turn, b.turn) })
	n, size := 0, 0
	for n < len(d.line) && n < cmp.Or(d.Most, 64) && (n == 0 || d.Batch == 0 || size+d.line[n].size <= d.Batch) {
		size += d.line[n].size
		n++
	}
	if n == 0 {
		d.busy--
		d.line = nil
		return nil
	}
	batch := slices.Clone(d.line[:n])
	d.line, d.size = slices.Delete(d.line, 0, n), d.size-size
	return batch
}

func answer[T, A any](ctx context.Context, batch []*visitor[T, A], serve func(context.Context, []T) []A) {
	all := make([]T, len(batch))
	for i, v := range batch {
		all[i] = v.what
	}
	answers, err := make([]A, len(batch)), error(nil)
	func() {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("a shared transaction panicked: %v\n%s", p, debug.Stack())
			}
		}()
		answers = serve(ctx, all)
	}()
	for i, v := range batch {
		v.done <- served[A]{answers[i], err}
	}
}
