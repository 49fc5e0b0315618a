package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tieline/connectors"
	"tieline/db"
	"tieline/jobs/flow/expr"
)

// PreviewInput says what is to be seen before it is done.
type PreviewInput struct {
	Flow     db.ID
	Version  int             // of the flow; zero: its draft, or its newest version where it has none
	Document json.RawMessage // in place of a flow's

	Connections map[string]db.ID // TriggerSlot and every step's key
	Params      map[string]any

	Payload json.RawMessage // what the trigger hands over, by hand
	Event   db.ID           // or a stored event; with neither it is the trigger's sample
}

// Preview is what a run would do.
type Preview struct {
	Issues  Issues // of the document and the connections; with an error among them there are no steps
	Payload any
	Record  connectors.Subject
	Outcome string // OutcomeRun, OutcomeFiltered, OutcomeIgnored (there is nothing to do) or Suppressed
	Reason  string
	Steps   []PreviewStep
}

// PreviewStep is what would become of a step.
type PreviewStep struct {
	Key, App, Action string
	Outcome          string // one of those below
	Reason           string
	Input            any      // nil when it cannot be rendered
	Unknown          []string // the values of the input that only the run will know, by path
	Output           any      // as far as it is known
	OutputUnknown    []string
	Reads            []connectors.Call
	Effects          []PreviewEffect
}

// What would become of a step.
const (
	WouldWrite = "WRITES"
	WouldRead  = "READS"
	WouldAdopt = "ADOPTED"
	WouldSkip  = "SKIPPED"
	WouldFail  = "FAILS"
	WouldWait  = "WAITS"
	CannotTell = "UNKNOWN"
	NotBegun   = "NOT_BEGUN"
)

// PreviewEffect is one write that a step would make, or need not make.
type PreviewEffect struct {
	Kind       string // of effects
	Entity     string
	Sends      bool
	ExternalID string // of the record that is there, or that would be made under an id which we choose
	Reason     string
	Request    *connectors.Request // nil when nothing is sent; without secrets
}

// Preview works out what a run would do now. It reads, at vendors too, and writes nothing: what would be sent is taken from the
// transport before a byte leaves, and no other call of a write passes.
func (e *Engine) Preview(ctx context.Context, org db.ID, in PreviewInput) (Preview, error) {
	doc, err := e.previewed(ctx, org, in)
	if err != nil {
		return Preview{}, err
	}
	c := &checking{apps: e.Apps, partial: true}
	if c.read(doc) {
		c.whole()
	}
	out := Preview{Issues: c.issues.sorted()}
	if len(out.Issues.Errors()) > 0 {
		return out, nil
	}
	conns, err := db.ConnectionsOf(ctx, e.DB, org, slices.Collect(maps.Values(in.Connections)))
	if err != nil {
		return out, err
	}
	if in.Params == nil {
		in.Params = map[string]any{}
	}
	bad := append(c.p.checkParams(in.Params), c.p.checkConnections(in.Connections, conns)...)
	if len(bad) == 0 {
		bad, err = c.p.lacks(in.Connections, conns)
	}
	if err != nil {
		return out, err
	}
	for _, x := range bad {
		out.Issues = append(out.Issues, Issue{Path: x.Field, Code: x.Code, Message: x.Message, Warning: x.Code == CodeForbidden})
	}
	if len(out.Issues.Errors()) > 0 {
		return out, nil
	}
	v := &viewing{e: e, out: &out}
	if err := v.load(ctx, org, c.p, conns, in); err != nil {
		return out, err
	}
	return out, v.run(ctx)
}

// previewed is the document to preview.
func (e *Engine) previewed(ctx context.Context, org db.ID, in PreviewInput) (json.RawMessage, error) {
	if (len(in.Document) > 0) == (in.Flow != db.ID{}) {
		return nil, problem(CodeRequired, "Give either a flow or, as draft, a document.", "flowId")
	}
	if len(in.Document) > 0 {
		return in.Document, nil
	}
	f, err := db.GetFlow(ctx, e.DB, org, in.Flow)
	if errors.Is(err, db.ErrNotFound) {
		return nil, problem(CodeNotFound, "There is no such flow.", "flowId")
	}
	if err != nil {
		return nil, err
	}
	if in.Version != 0 {
		v, err := db.VersionNumber(ctx, e.DB, org, f.ID, in.Version)
		if errors.Is(err, db.ErrNotFound) {
			return nil, problem(CodeNotFound, fmt.Sprintf("The flow has no version %d.", in.Version), "version")
		}
		return v.Definition, err
	}
	if f.Draft != nil {
		return f.Draft, nil
	}
	v, err := db.NewestVersion(ctx, e.DB, org, f.ID)
	return v.Definition, err
}

// lacks says what the chosen connections may not do that the flow needs.
func (p *plan) lacks(chosen map[string]db.ID, conns map[db.ID]db.Connection) (Problems, error) {
	b := bound{conns: conns, roles: []db.FlowLinkStep{{Step: TriggerSlot, ConnectionID: chosen[TriggerSlot]}}}
	for _, s := range p.steps {
		b.roles = append(b.roles, db.FlowLinkStep{Step: s.Key, ConnectionID: chosen[s.Key]})
	}
	return b.lacks(p.roles())
}

// roles are what of its app each role of a link uses.
func (p *plan) roles() map[string]string {
	needs := map[string]string{TriggerSlot: p.Trigger.Key}
	for _, s := range p.steps {
		needs[s.Key] = s.Action
	}
	return needs
}

// viewing is a preview under way: a run that has no row.
type viewing struct {
	e       *Engine
	a       *Activation
	out     *Preview
	unknown []string // what only the run will know, for expressions
	marks   []string // what stands for a text that is not known, and how it is shown
	stopped bool     // a step failed, so that those after it are not begun
}

// load makes the activation that the run would be.
func (v *viewing) load(ctx context.Context, org db.ID, p *plan, conns map[db.ID]db.Connection, in PreviewInput) error {
	trigger := conns[in.Connections[TriggerSlot]]
	occ, run, err := v.occurrence(ctx, org, p, trigger, in)
	if err != nil {
		return err
	}
	run.OrgID, run.ID, run.ConnectionID, run.State, run.CreatedAt = org, db.NewID(), trigger.ID, Running, time.Now()
	if run.MappingID == (db.ID{}) {
		slot, err := db.SlotByExternalID(ctx, v.e.DB, org, trigger.VendorAccountID, occ.Record.Entity, occ.Record.ID)
		if err != nil && !errors.Is(err, db.ErrNotFound) {
			return err
		}
		run.MappingID = slot.MappingID
	}
	steps := make([]db.Step, len(p.steps))
	for i, s := range p.steps {
		c := conns[in.Connections[s.Key]]
		steps[i] = db.Step{OrgID: org, RunID: run.ID, Key: s.Key, Position: i, App: s.App, Action: s.Action, ConnectionID: c.ID, VendorAccountID: c.VendorAccountID, State: Pending}
	}
	v.a = v.e.activation(run, p, steps, conns, nil)
	params, err := json.Marshal(in.Params)
	if err != nil {
		return err
	}
	if err := v.a.bind(params, occ); err != nil {
		return err
	}
	v.out.Payload, v.out.Record = v.a.vars["trigger"], occ.Record
	return nil
}

// occurrence is what starts the run.
func (v *viewing) occurrence(ctx context.Context, org db.ID, p *plan, conn db.Connection, in PreviewInput) (connectors.Occurrence, db.Run, error) {
	run := db.Run{Source: FromHand, Chain: []db.ID{}}
	if in.Event == (db.ID{}) {
		payload := in.Payload
		if len(payload) == 0 {
			payload = p.trigger.Sample
		}
		if bad := misfits(p.trigger.Output.Validate(payload), "payload"); len(bad) > 0 {
			return connectors.Occurrence{}, run, bad
		}
		if p.trigger.Manual == nil {
			var plain any
			err := json.Unmarshal(payload, &plain)
			return connectors.Occurrence{Payload: plain, Record: connectors.Subject{Entity: p.trigger.Entity}}, run, err
		}
		occ, err := p.trigger.Manual(payload)
		if err != nil {
			return occ, run, problem(CodeInvalid, err.Error(), "payload")
		}
		occ.Thin = false // what was given is what it is about
		return occ, run, nil
	}
	ev, err := db.GetEvent(ctx, v.e.DB, org, in.Event)
	if errors.Is(err, db.ErrNotFound) {
		return connectors.Occurrence{}, run, problem(CodeNotFound, "There is no such event.", "eventId")
	}
	if err != nil {
		return connectors.Occurrence{}, run, err
	}
	if ev.Trigger != p.Trigger.Key || ev.ConnectionID != conn.ID {
		return connectors.Occurrence{}, run, problem(CodeInvalid, fmt.Sprintf("The event is %s of another connection or trigger; the flow listens to %s of the connection %q.", ev.Trigger, p.Trigger.Key, conn.Name), "eventId")
	}
	body, err := db.EventBody(ctx, v.e.DB, org, ev.ID, ev.ReceivedAt)
	if errors.Is(err, db.ErrNotFound) {
		return connectors.Occurrence{}, run, problem(CodeState, "The event's body is no longer kept. Preview with a payload instead.", "eventId")
	}
	if err != nil {
		return connectors.Occurrence{}, run, err
	}
	occ, err := decode(p.trigger, ev.Source, body)
	if err != nil {
		return occ, run, problem(CodeInvalid, "The event cannot be read: "+err.Error(), "eventId")
	}
	run.Source, run.EventID, run.EventAt = ev.Source, ev.ID, ev.ReceivedAt
	if ev.EchoOf != (db.ID{}) {
		cause, err := db.GetEffect(ctx, v.e.DB, org, ev.EchoOf)
		if err != nil {
			return occ, run, err
		}
		run.EchoOf, run.Chain, run.MappingID = cause.ID, cause.Chain, cause.MappingID
	}
	return occ, run, nil
}

// run goes through the steps as an activation would.
func (v *viewing) run(ctx context.Context) error {
	if done, err := v.begin(ctx); done || err != nil {
		return err
	}
	v.out.Outcome = OutcomeRun
	adopted := 0
	for i := range v.a.steps {
		s := v.step(ctx, i)
		if err := ctx.Err(); err != nil {
			return err
		}
		if slices.Contains(v.a.run.Chain, v.a.steps[i].VendorAccountID) {
			adopted++
		}
		v.out.Steps = append(v.out.Steps, s)
	}
	if adopted == len(v.a.steps) {
		v.out.Outcome, v.out.Reason = Suppressed, "It is an echo of a change that Tieline made, and nothing of it is left to be brought anywhere."
	}
	return nil
}

// begin reads a thin event and tells whether the flow is concerned.
func (v *viewing) begin(ctx context.Context) (done bool, err error) {
	a := v.a
	if a.subj.Thin && a.plan.trigger.Read != nil {
		var s PreviewStep
		c, _, err := v.open(&db.Step{}, a.conns[a.run.ConnectionID], &s)
		if err != nil {
			return false, err
		}
		if a.subj, err = a.plan.trigger.Read(ctx, c, a.subj); err != nil {
			return false, refusal(c.App, err, "eventId")
		}
		if a.vars["trigger"], err = asJSON(a.subj.Payload); err != nil {
			return false, err
		}
		v.out.Payload = a.vars["trigger"]
	}
	if a.plan.when == nil {
		return false, nil
	}
	holds, err := a.plan.when.Eval(ctx, v.env())
	switch {
	case err != nil:
		v.out.Outcome, v.out.Reason = OutcomeHeld, "The flow's condition cannot be worked out: "+err.Error()
	case !holds:
		v.out.Outcome, v.out.Reason = OutcomeFiltered, notConcerned
	}
	return err != nil || !holds, nil
}

func (v *viewing) env() expr.Env {
	env := v.a.env()
	env.Unknown = v.unknown
	return env
}

// step is what would become of one step.
func (v *viewing) step(ctx context.Context, i int) PreviewStep {
	s, p := &v.a.steps[i], v.a.plan.steps[i]
	out := PreviewStep{Key: s.Key, App: s.App, Action: s.Action}
	v.try(ctx, s, p, &out)
	if out.Outcome == WouldFail && p.OnError != GoOn {
		v.stopped = true
	}
	if s.State = Succeeded; out.Outcome == WouldFail || out.Outcome == NotBegun {
		s.State = Failed
	}
	if out.Output == nil && out.Outcome != WouldSkip && out.Outcome != WouldAdopt {
		v.unknown = append(v.unknown, "steps."+s.Key)
	}
	return out
}

func (v *viewing) try(ctx context.Context, s *db.Step, p planStep, out *PreviewStep) {
	say := func(outcome, format string, args ...any) {
		out.Outcome, out.Reason = outcome, fmt.Sprintf(format, args...)
	}
	if slices.Contains(v.a.run.Chain, s.VendorAccountID) {
		say(WouldAdopt, "%s", cameFromHere)
		return
	}
	if v.stopped {
		say(NotBegun, "%s", notBegun)
		return
	}
	for _, k := range p.needs {
		if v.a.steps[k].State == Failed {
			say(NotBegun, "It reads the step %q, which does not get through.", v.a.steps[k].Key)
			return
		}
	}
	if p.ForEach != "" && v.a.vars["item"] == nil {
		say(CannotTell, "The step %q lists nothing to do it for.", p.ForEach)
		return
	}
	doubt := ""
	if p.when != nil {
		yes, err := p.when.Eval(ctx, v.env())
		switch {
		case errors.Is(err, expr.ErrUnknown):
			doubt = "Whether it is done depends on what only the run will know. "
		case err != nil:
			say(WouldFail, "%s", err)
			return
		case !yes:
			say(WouldSkip, "Its condition does not hold.")
			return
		}
	}
	in, err := p.input.Render(ctx, v.env())
	if err != nil {
		say(WouldFail, "%s", err)
		return
	}
	var sent any
	runnable := true
	out.Input, sent = v.shown(in, shapeOf(p.action.Input.JSON()), nil, s.Key, &out.Unknown, &runnable)
	if !runnable {
		say(CannotTell, "%sWhat it would send depends on %s, which only the run will know.", doubt, strings.Join(out.Unknown, ", "))
		return
	}
	raw, err := storable(sent)
	note := ""
	if err == nil && p.match != nil {
		note, err = v.recognise(ctx, s, p, out)
	}
	if err != nil {
		say(WouldFail, "%s", err)
		return
	}
	if bad := p.action.Input.Validate(raw); len(bad) > 0 && !v.a.item.isThere(s, p) {
		if say(WouldFail, "%s: %s", strings.Join(bad[0].Path, "."), bad[0].Message); len(out.Unknown) > 0 {
			say(CannotTell, "%sWhat it would send depends on %s, which only the run will know.", doubt, strings.Join(out.Unknown, ", "))
		}
		return
	}
	v.act(ctx, s, p, raw, out)
	if out.Outcome == WouldWrite || out.Outcome == WouldAdopt {
		out.Reason = strings.TrimSpace(out.Reason + " " + note)
	}
	out.Reason = doubt + out.Reason
	if doubt != "" && out.Outcome != WouldFail {
		out.Outcome = CannotTell
	}
}

// act runs the step's action, whose writes go nowhere.
func (v *viewing) act(ctx context.Context, s *db.Step, p planStep, raw []byte, out *PreviewStep) {
	c, j, err := v.open(s, v.a.conns[s.ConnectionID], out)
	switch {
	case err != nil:
	case p.record != nil:
		j.inner.mapping, err = v.about(ctx, s, p)
	case p.ForEach != "":
		j.inner.mapping = v.a.item.mapping
	}
	if err != nil {
		out.Outcome, out.Reason = WouldFail, err.Error()
		return
	}
	var value any
	listed := ""
	if p.items > 0 {
		value, listed, err = v.list(ctx, c, s, p, raw)
	} else {
		value, err = runAction(ctx, p.action, c, raw)
	}
	switch wait, waits := errors.AsType[*errWait](err); {
	case j.unknown:
		out.Outcome, out.Reason = CannotTell, "It would read what only the run will have made."
		return
	case waits:
		out.Outcome, out.Reason = WouldWait, wait.why
		return
	case err != nil:
		out.Outcome, out.Reason = WouldFail, c.Hide(err.Error())
		return
	}
	if out.Output, err = asJSON(value); err != nil {
		out.Outcome, out.Reason = WouldFail, err.Error()
		return
	}
	tells := tellsAll
	switch {
	case slices.ContainsFunc(out.Effects, func(f PreviewEffect) bool { return f.Sends }):
		out.Outcome, tells = WouldWrite, tellsOfNews
	case len(out.Effects) > 0:
		out.Outcome, out.Reason = WouldAdopt, out.Effects[0].Reason
	default:
		out.Outcome, out.Reason = WouldRead, listed
	}
	later := unknownIn(out.Output, shapeOf(p.action.Output.JSON()), "steps."+s.Key, tells)
	v.unknown = append(v.unknown, later...)
	for _, path := range later {
		out.OutputUnknown = append(out.OutputUnknown, strings.TrimPrefix(path, "steps."+s.Key+"."))
	}
	forget(out.Output, out.OutputUnknown)
	v.a.vars["steps"].(map[string]any)[s.Key] = out.Output
}

// about is the mapping of the record that a step is about, if it has one yet.
func (v *viewing) about(ctx context.Context, s *db.Step, p planStep) (db.ID, error) {
	id, err := p.record.Render(ctx, v.env())
	if err != nil {
		return db.ID{}, err
	}
	text, _ := id.(string)
	if strings.TrimSpace(text) == "" {
		return db.ID{}, nil
	}
	account, err := v.a.accountOf(p.Record.App, s)
	if err != nil {
		return db.ID{}, err
	}
	slot, err := db.SlotByExternalID(ctx, v.e.DB, v.a.run.OrgID, account, p.Record.Entity, strings.TrimSpace(text))
	if errors.Is(err, db.ErrNotFound) {
		return db.ID{}, nil
	}
	return slot.MappingID, err
}
