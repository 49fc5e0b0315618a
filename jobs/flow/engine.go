// Package flow is the engine: it turns events into runs, runs into steps, and steps into effects that happen once.
// It knows neither River nor GraphQL nor HTTP servers; a Queue carries its tasks, and its rows keep time.
package flow

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"tieline/connectors"
	"tieline/db"
	"tieline/db/seal"
)

// Engine runs flows. Any number of processes may share one database.
type Engine struct {
	DB     *db.DB
	Apps   *connectors.Registry
	Keys   *seal.Keys
	Queue  Queue
	Log    *slog.Logger
	Timing Timing

	URLs      map[string]string     // app key → root that replaces the vendor's own
	Logins    map[string]string     // app key → root that replaces the vendor's authorization server
	PublicURL string                // what vendors and browsers call; empty when they cannot reach us
	Origins   []string              // web pages that a browser may be sent back to from a vendor's consent page: scheme://host[:port]
	Base      http.RoundTripper     // nil: http.DefaultTransport
	Observe   func(connectors.Call) // metrics; nil: none
	Ended     func(state string)    // metrics: told of each run that ends; once more when its commit fails. nil: none

	plans  sync.Map                     // flow version id → *plan; versions never change
	near   sync.Map                     // vendor account id → the flows that are on for it, a while ago
	events db.Desk[*dispatching, error] // where events that come together are dispatched
	pages  db.Desk[*page, error]        // where runs that have something to say at the same moment say it
	draws  db.Desk[db.Draw, drawn]      // where calls are drawn from vendors' budgets
	over   over                         // calls whose leases are to be given back
}

// Timing holds the engine's durations. Zero fields take DefaultTiming's.
type Timing struct {
	Lease    time.Duration // how long a run stays with a worker that gives no sign
	Retry    time.Duration // before the first retry; doubled each time
	RetryMax time.Duration // the longest pause between retries
	Tries    int           // how often a step is tried before it fails
	Patience time.Duration // how long a step waits for a dependency
	Pause    time.Duration // the longest a worker sleeps for the vendor's budget; beyond it the run waits
	Sweep    time.Duration // between looks at walks to the very end of a vendor's list
	Loop     time.Duration // how long writes about one record are counted, to tell a loop by
	Writes   int           // how many of them an event may find; with more it is held for a person
	Turn     time.Duration // how long reading, and a run over many records, goes on before others have their turn
}

// DefaultTiming is what serves people.
var DefaultTiming = Timing{
	Lease: 6 * time.Second, Retry: time.Second, RetryMax: 10 * time.Minute, Tries: 12,
	Patience: 24 * time.Hour, Pause: time.Second, Sweep: 15 * time.Minute, Turn: 20 * time.Second, Loop: 10 * time.Minute, Writes: 100,
}

func (e *Engine) timing() Timing {
	t, d := e.Timing, DefaultTiming
	pick := func(v *time.Duration, or time.Duration) {
		if *v == 0 {
			*v = or
		}
	}
	pick(&t.Lease, d.Lease)
	pick(&t.Retry, d.Retry)
	pick(&t.RetryMax, d.RetryMax)
	pick(&t.Patience, d.Patience)
	pick(&t.Pause, d.Pause)
	pick(&t.Sweep, d.Sweep)
	pick(&t.Turn, d.Turn)
	pick(&t.Loop, d.Loop)
	if t.Writes == 0 {
		t.Writes = d.Writes
	}
	if t.Tries == 0 {
		t.Tries = d.Tries
	}
	return t
}

// Queue carries tasks to workers. What is added with a transaction comes to be with it.
type Queue interface {
	Add(ctx context.Context, tx db.Tx, tasks ...Task) error
}

// Task is one thing for a worker to do. It may be done twice or late: rows say what is left to do.
type Task struct {
	Kind   TaskKind
	Org    db.ID
	ID     db.ID
	Behind int // how much of the same organization waits already: who has less goes first
}

// TaskKind is the kind of a Task, and of what its ID names.
type TaskKind string

// The kinds of task.
const (
	Activate TaskKind = "activate" // go on with a run
	Dispatch TaskKind = "dispatch" // turn an event into runs
	Replay   TaskKind = "replay"   // go on with a replay of many runs
	Care     TaskKind = "care"     // look after a connection: read what webhooks missed
)

// plan gives the plan of a version, prepared once per process.
func (e *Engine) plan(ctx context.Context, idb bun.IDB, org, version db.ID) (*plan, error) {
	if p, ok := e.plans.Load(version); ok {
		return p.(*plan), nil
	}
	v, err := db.GetFlowVersion(ctx, idb, org, version)
	if err != nil {
		return nil, err
	}
	p, err := prepared(v.Definition, e.Apps)
	if err != nil {
		return nil, err
	}
	e.plans.Store(version, p)
	return p, nil
}
