package intake

import (
	"context"
	"sync"
)

const (
	clerks       = 2        // transactions at once
	batchCount   = 256      // deliveries in one transaction
	batchBytes   = 8 << 20  // of their bodies, but for a single one that is larger
	waitingBytes = 64 << 20 // of bodies in line; what comes beyond it is to come again
)

// desk lets deliveries that come together share a transaction. Nobody waits for others to come: who finds a clerk free is
// served at once, and those who come meanwhile are served together. A clerk is a goroutine that ends when the line does.
type desk struct {
	serve func(context.Context, []Delivery) []Answer

	mu    sync.Mutex
	line  []*visitor
	bytes int // in line
	busy  int // clerks
}

type visitor struct {
	Delivery
	answer chan Answer
}

// take answers a delivery when what it brought is safe.
func (d *desk) take(ctx context.Context, delivery Delivery) Answer {
	v := &visitor{delivery, make(chan Answer, 1)}
	d.mu.Lock()
	if d.bytes > 0 && d.bytes+len(delivery.Body) > waitingBytes {
		d.mu.Unlock()
		return unavailable
	}
	d.line, d.bytes = append(d.line, v), d.bytes+len(delivery.Body)
	if d.busy < clerks {
		d.busy++
		go d.work(context.WithoutCancel(ctx))
	}
	d.mu.Unlock()
	return <-v.answer
}

func (d *desk) work(ctx context.Context) {
	for {
		batch := d.next()
		if batch == nil {
			return
		}
		d.answer(ctx, batch)
	}
}

// next takes the head of the line; with nobody in line the clerk is done.
func (d *desk) next() []*visitor {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, size := 0, 0
	for n < len(d.line) && n < batchCount && (n == 0 || size+len(d.line[n].Body) <= batchBytes) {
		size += len(d.line[n].Body)
		n++
	}
	if n == 0 {
		d.busy--
		d.line = nil
		return nil
	}
	batch := d.line[:n:n]
	d.line, d.bytes = d.line[n:], d.bytes-size
	return batch
}

func (d *desk) answer(ctx context.Context, batch []*visitor) {
	deliveries := make([]Delivery, len(batch))
	for i, v := range batch {
		deliveries[i] = v.Delivery
	}
	for i, a := range d.serve(ctx, deliveries) {
		batch[i].answer <- a
	}
}
