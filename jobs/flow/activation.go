package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"tieline/connectors"
	"tieline/db"
	"tieline/jobs/flow/expr"
)

// Activation is a run in a worker's hands: leased, loaded, and not to be shared.
type Activation struct {
	e     *Engine
	run   db.Run
	plan  *plan
	steps []db.Step
	conns map[db.ID]db.Connection
	vars  map[string]any // what expressions read
	subj  connectors.Occurrence

	effects  map[string]*db.Effect      // this run's live ones, by account and key
	done     []*db.Step                 // through, and not saved yet
	attempts []db.Attempt               // made, likewise
	settled  []*db.Effect               // known to have happened, likewise
	pacers   map[db.ID]*pacer           // by vendor account
	redact   []string                   // fields that the history hides, as its link says
	full     map[string]json.RawMessage // outputs of which the history keeps less, by step
	outputs  []db.StepOutput            // those made just now, and not saved yet
	filter   *expr.Condition            // its link's; nil when it has none
	broken   error                      // why the run can never go on
	fresh    bool                       // its record's mapping was made with it: who else writes about it has done so since
	item     *item                      // the record that this part of the run is about; nil for the run itself
	bulk     bool                       // nobody waits for it: others are let through first
	stop     context.CancelCauseFunc
}

// Run is the run as this worker last saw it.
func (a *Activation) Run() db.Run { return a.run }

// Lease takes a run for one activation. It is nil when another worker has the run, or nothing is due.
func (e *Engine) Lease(ctx context.Context, org, id db.ID) (*Activation, error) {
	run, err := db.LeaseRun(ctx, e.DB, org, id, e.timing().Lease)
	if errors.Is(err, db.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("leasing run %s: %w", id, err)
	}
	a, err := e.load(ctx, run)
	if err != nil {
		return nil, fmt.Errorf("loading run %s: %w", id, err)
	}
	return a, nil
}

// Hold keeps the lease until release is called. The context it answers ends when the lease is lost. Call it at once, and
// release when done, whatever came of it.
func (a *Activation) Hold(ctx context.Context) (leased context.Context, release func()) {
	leased, a.stop = context.WithCancelCause(ctx)
	done := make(chan struct{})
	go a.renew(leased, done)
	return leased, func() { a.stop(nil); <-done }
}

// renew keeps the lease while the worker lives, and ends the context once the fence is old.
func (a *Activation) renew(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	lease, fence := a.e.timing().Lease, a.run.Fence
	tick := time.NewTicker(lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := db.RenewLease(ctx, a.e.DB, a.run.OrgID, a.run.ID, fence, lease); errors.Is(err, db.ErrNotFound) {
				a.stop(errFenced)
				return
			}
		}
	}
}

func (e *Engine) activation(run db.Run, p *plan, steps []db.Step, conns map[db.ID]db.Connection, effects []db.Effect) *Activation {
	a := &Activation{
		e: e, run: run, plan: p, steps: steps, conns: conns, effects: map[string]*db.Effect{}, pacers: map[db.ID]*pacer{},
		bulk: p.bulk() || run.Replay > 0, // a replay is one of many, as a rule
	}
	for i := range effects {
		a.effects[effects[i].VendorAccountID.String()+effects[i].Key] = &effects[i]
	}
	return a
}

// load reads what a run needs to go on.
func (e *Engine) load(ctx context.Context, run db.Run) (*Activation, error) {
	p, err := e.plan(ctx, e.DB, run.OrgID, run.FlowVersionID)
	if err != nil {
		return nil, err
	}
	steps, err := db.Steps(ctx, e.DB, run.OrgID, run.ID)
	if err != nil {
		return nil, err
	}
	conns, err := db.ConnectionsOf(ctx, e.DB, run.OrgID, append(stepConnections(steps), run.ConnectionID))
	if err != nil {
		return nil, err
	}
	effects, err := db.RunEffects(ctx, e.DB, run.OrgID, run.ID)
	if err != nil {
		return nil, err
	}
	a := e.activation(run, p, steps, conns, effects)
	link, err := db.GetFlowLinkAny(ctx, e.DB, run.OrgID, run.FlowLinkID)
	if err != nil {
		return nil, err
	}
	body, err := db.EventBody(ctx, e.DB, run.OrgID, run.EventID, run.EventAt)
	if errors.Is(err, db.ErrNotFound) {
		a.broken = connectors.Errorf(connectors.Invalid, "the event's body is no longer kept")
		return a, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the event's body: %w", err)
	}
	occ, err := decode(p.trigger, run.Source, body)
	if err != nil {
		a.broken = connectors.Errorf(connectors.Invalid, "the event cannot be read: %w", err)
		return a, nil
	}
	if occ.Vague { // it was read before the run was made
		occ.Record, occ.BusinessKey, occ.Vague = connectors.Subject{Entity: run.Entity, ID: run.RecordID, Name: run.RecordName}, run.BusinessKey, false
	}
	a.redact = link.Redact
	if a.filter, err = p.filter(link); err != nil {
		return nil, err
	}
	if err := a.readOutputs(ctx); err != nil {
		return nil, err
	}
	return a, a.bind(link.Params, occ)
}

// bind makes what expressions read: the trigger's payload, earlier outputs, parameters, the run itself.
func (a *Activation) bind(params json.RawMessage, occ connectors.Occurrence) error {
	var given map[string]any
	if err := json.Unmarshal(params, &given); err != nil {
		return err
	}
	a.subj = occ
	payload, err := asJSON(occ.Payload)
	if err != nil {
		return err
	}
	outputs := map[string]any{}
	for _, s := range a.steps {
		if len(s.Output) > 0 {
			var out any
			raw := s.Output
			if whole, ok := a.full[s.Key]; ok {
				raw = whole
			}
			if err := json.Unmarshal(raw, &out); err != nil {
				return err
			}
			outputs[s.Key] = out
		}
	}
	a.vars = map[string]any{
		"trigger": payload, "steps": outputs, "params": a.plan.params(given),
		"run": map[string]any{"id": db.FormatID("run", a.run.ID), "source": a.run.Source, "replay": float64(a.run.Replay)},
	}
	return nil
}

// hold makes sure that the run is still this worker's, and stays it until the transaction ends. It sees what others
// have made of the run meanwhile.
func (a *Activation) hold(ctx context.Context, tx db.Tx) error {
	state, err := db.HoldRun(ctx, tx, a.run.OrgID, a.run.ID, a.run.Fence)
	if errors.Is(err, db.ErrNotFound) {
		return errFenced
	}
	if err == nil {
		a.run.State = state
	}
	return err
}

func (a *Activation) env() expr.Env {
	return expr.Env{Vars: a.vars, Now: a.run.CreatedAt, Mapped: a.mapped}
}

// mapped answers mapped(id, entity, app): among the vendor accounts this run's link knows for the app.
func (a *Activation) mapped(ctx context.Context, id, entity, app string) (string, bool, error) {
	var accounts []db.ID
	for _, c := range a.conns {
		if c.App == app {
			accounts = append(accounts, c.VendorAccountID)
		}
	}
	if len(accounts) == 0 {
		return "", false, nil
	}
	other, err := db.MappedIn(ctx, a.e.DB, a.run.OrgID, id, entity, accounts)
	if errors.Is(err, db.ErrNotFound) {
		return "", false, nil
	}
	return other, err == nil, err
}

// decode reads an event's body: the vendor's, or for one made by hand the payload itself.
func decode(t connectors.Trigger, source string, body []byte) (connectors.Occurrence, error) {
	if source == FromHand {
		return t.Manual(body)
	}
	return t.Decode(body)
}

// storable is v as JSON that Postgres can keep.
func storable(v any) (json.RawMessage, error) {
	raw, err := json.Marshal(v)
	return db.WithoutNUL(raw), err
}

// asJSON is v as expressions see it.
func asJSON(v any) (any, error) {
	raw, err := storable(v)
	if err != nil {
		return nil, err
	}
	var out any
	err = json.Unmarshal(raw, &out)
	return out, err
}

// text is a vendor's text as Postgres can keep it.
func text(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}
