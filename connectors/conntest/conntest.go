// Package conntest opens connections for connectors' tests, with real HTTP to a simulator and effects in memory, and has
// the Suite that every connector must pass.
package conntest

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"tieline/connectors"
)

// OpenJournal makes a Conn to url whose journal lives in memory, and answers the journal, too.
func OpenJournal(t testing.TB, app connectors.Connector, url string, creds connectors.Credentials) (connectors.Conn, *Journal) {
	t.Helper()
	return OpenSite(t, app, Site{URL: url, Credentials: creds})
}

// OpenSite is OpenJournal for a site that is more than an address.
func OpenSite(t testing.TB, app connectors.Connector, site Site) (connectors.Conn, *Journal) {
	t.Helper()
	j := &Journal{effects: map[string]*Effect{}}
	c, err := connectors.Open(app, site.Credentials, connectors.Options{URL: site.URL, Login: site.Login, Journal: j, Tokens: site.Tokens, Base: &http.Transport{}})
	if err != nil {
		t.Fatalf("opening %s: %v", app.Key, err)
	}
	t.Cleanup(c.HTTP.CloseIdleConnections)
	return c, j
}

// Journal keeps effects in memory, by what they intend. It sends each once; a second call answers what the first left,
// one whose outcome was lost is settled by its probe, and one that was refused is as if it had never been.
type Journal struct {
	mu      sync.Mutex
	effects map[string]*Effect
	Calls   []connectors.Call
	Resend  bool // settle by sending again, as the engine does while the vendor replays keys; set it before use
}

// Effect is what the journal knows of one write.
type Effect struct {
	Key     string // the idempotency key
	Intent  connectors.Intent
	Request connectors.Request // as sent
	Ref     connectors.Ref
	Done    bool
	Probed  bool // it can be looked for
	Sent    int  // how often the write passed the transport
}

// Effects are all effects kept, in no order.
func (j *Journal) Effects() []Effect {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]Effect, 0, len(j.effects))
	for _, e := range j.effects {
		out = append(out, *e)
	}
	return out
}

// Effect implements connectors.Journal.
func (j *Journal) Effect(ctx context.Context, in connectors.Intent, probe connectors.Probe, send connectors.Send) (connectors.Ref, error) {
	id := fmt.Sprintf("%s %+v %s %s", in.Kind, in.Slots, in.Occurrence, in.Name)
	j.mu.Lock()
	e, known := j.effects[id]
	if !known {
		e = &Effect{Key: fmt.Sprintf("tl_test_%p_%d", j, len(j.effects)), Intent: in, Probed: probe != nil}
		j.effects[id] = e
	}
	j.mu.Unlock()
	if e.Done {
		return e.Ref, nil
	}
	if e.Sent > 0 && probe != nil && !j.Resend {
		ref, found, err := probe(ctx, e.Key)
		if err != nil {
			return connectors.Ref{}, err
		}
		if found {
			e.Ref, e.Done = ref, true
			return ref, nil
		}
	}
	ref, err := send(connectors.WithWriter(ctx, &writer{j: j, e: e}), e.Key)
	if err != nil {
		if e.Sent == 1 && connectors.KindOf(err) == connectors.Invalid {
			j.mu.Lock()
			delete(j.effects, id)
			j.mu.Unlock()
		}
		return connectors.Ref{}, err
	}
	e.Ref, e.Done = ref, true
	return ref, nil
}

// Adopt implements connectors.Journal.
func (j *Journal) Adopt(_ context.Context, _ connectors.Intent, ref connectors.Ref) (connectors.Ref, error) {
	ref.Adopted = true
	return ref, nil
}

// Called implements connectors.Journal.
func (j *Journal) Called(_ context.Context, c connectors.Call) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.Calls = append(j.Calls, c)
}

// Pace implements connectors.Journal: there is no hurry and no budget.
func (j *Journal) Pace(ctx context.Context, _ connectors.Call) (func(), error) {
	return func() {}, ctx.Err()
}

type writer struct {
	j    *Journal
	e    *Effect
	used bool
}

// Sending implements connectors.Writer.
func (w *writer) Sending(_ context.Context, r connectors.Request) (connectors.Request, error) {
	w.j.mu.Lock()
	defer w.j.mu.Unlock()
	if w.used {
		return r, fmt.Errorf("%s %s: a second write in one effect", r.Method, r.Path)
	}
	w.used = true
	w.e.Sent++
	if w.e.Sent > 1 {
		return w.e.Request, nil
	}
	w.e.Request = r
	return r, nil
}
