//go:build chaos

package jobs_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A wire is the network between two parties: it carries bytes until it is told to cut, hang or refuse.
type wire struct {
	name   string
	listen net.Listener
	ends   []end // of which it takes the next that can be reached
	turn   atomic.Uint32

	mu      sync.Mutex
	conns   map[net.Conn]bool
	refuses bool
	closed  bool
	gates   [2]chan struct{} // there and back; closed: bytes pass
}

// end is where a wire leads.
type end struct{ network, addr string }

// The directions of a wire.
const (
	there = 0
	back  = 1
)

func newWire(t *testing.T, name string, ends ...end) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{name: name, listen: l, ends: ends, conns: map[net.Conn]bool{}, gates: [2]chan struct{}{opened(), opened()}}
	go w.accept()
	t.Cleanup(w.close)
	return w
}

func opened() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (w *wire) addr() string { return w.listen.Addr().String() }

func (w *wire) accept() {
	for {
		c, err := w.listen.Accept()
		if err != nil {
			return
		}
		go w.carry(c)
	}
}

// carry connects one caller with whom it reaches.
func (w *wire) carry(caller net.Conn) {
	if !w.keep(caller) {
		return
	}
	defer w.drop(caller)
	w.wait(there)
	callee := w.dial()
	if callee == nil || !w.keep(callee) {
		return
	}
	defer w.drop(callee)
	done := make(chan struct{}, 2)
	go w.copy(callee, caller, there, done)
	go w.copy(caller, callee, back, done)
	<-done // either side's end is the other's: nobody here closes by halves
}

func (w *wire) dial() net.Conn {
	first := int(w.turn.Add(1))
	for i := range w.ends {
		e := w.ends[(first+i)%len(w.ends)]
		if c, err := net.DialTimeout(e.network, e.addr, time.Second); err == nil {
			return c
		}
	}
	return nil
}

func (w *wire) copy(to, from net.Conn, direction int, done chan<- struct{}) {
	defer func() { done <- struct{}{} }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		w.wait(direction)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait is over when the direction is open.
func (w *wire) wait(direction int) {
	w.mu.Lock()
	gate := w.gates[direction]
	w.mu.Unlock()
	<-gate
}

func (w *wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuses || w.closed {
		reset(c)
		return false
	}
	w.conns[c] = true
	return true
}

func (w *wire) drop(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
	c.Close()
}

// reset ends a connection without the goodbye of a close.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// cut ends what is open. New connections pass.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		reset(c)
	}
}

// refuse ends what is open, and what comes.
func (w *wire) refuse() {
	w.mu.Lock()
	w.refuses = true
	w.mu.Unlock()
	w.cut()
}

// hang keeps the bytes of one direction.
func (w *wire) hang(direction int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.gates[direction]:
		w.gates[direction] = make(chan struct{})
	default: // it hangs
	}
}

// heal lets everything pass, what hung first.
func (w *wire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuses = false
	for i, gate := range w.gates {
		select {
		case <-gate:
		default:
			close(w.gates[i])
		}
	}
}

func (w *wire) close() {
	w.listen.Close()
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cut()
	w.heal()
}
