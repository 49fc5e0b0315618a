package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"tieline/connectors"
	"tieline/connectors/schema"
	"tieline/jobs/flow/expr"
)

// Definition is a flow as it is stored: a JSON document, one trigger and its steps.
type Definition struct {
	Key         string         `json:"key"`
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"`
	Trigger     TriggerRef     `json:"trigger"`
	Params      map[string]any `json:"params,omitempty"` // JSON Schema of each parameter, with its default
	Steps       []StepRef      `json:"steps"`
}

// TriggerRef names what starts the flow.
type TriggerRef struct {
	App string `json:"app"`
	Key string `json:"key"`
	// When is a condition that reads trigger and params. An event that it does not hold for starts nothing.
	When string `json:"when,omitempty"`
	// Hold is how many seconds to wait before asking the trigger whether something else explains the event. It can also
	// read run.neighbours: the keys of the flows that are on for the trigger's vendor account.
	Hold any `json:"hold,omitempty"`
	// Schedule is needed by, and only by, a trigger that a clock starts.
	Schedule *ScheduleRef `json:"schedule,omitempty"`
}

// StepRef is one action with its input.
type StepRef struct {
	Key    string `json:"key"`
	Name   string `json:"name"`
	App    string `json:"app"`
	Action string `json:"action"`
	When   string `json:"when,omitempty"`
	// Record is the record that the step is about, where that is not the trigger's: what the step makes is linked to it.
	Record *RecordRef `json:"record,omitempty"`
	Input  any        `json:"input"`
	// ForEach is the key of the step that lists the records for each of which this one is done, as item.
	ForEach string    `json:"forEach,omitempty"`
	Match   *MatchRef `json:"match,omitempty"`
}

// RecordRef names a record in one of the apps that a flow uses.
type RecordRef struct {
	App    string `json:"app"`
	Entity string `json:"entity"`
	ID     any    `json:"id"`
}

// plan is a definition made ready to run. It is immutable and shared.
type plan struct {
	Definition
	trigger connectors.Trigger
	when    *expr.Condition
	hold    *expr.Template
	cron    *expr.Template // of its schedule; nil when it has none
	zone    *expr.Template // likewise
	steps   []planStep
}

type planStep struct {
	StepRef
	action connectors.Action
	input  *expr.Template
	record *expr.Template // its id
	when   *expr.Condition
	items  int    // how many steps are done for each record that this one lists
	match  *match // of a step with forEach; nil when it knows records by their mappings alone
}

var stepKey = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// prepare checks a definition against the apps and compiles its expressions. It answers every problem at once.
func prepare(raw json.RawMessage, apps *connectors.Registry) (*plan, error) {
	var d Definition
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, problem(CodeInvalid, "The definition is not a JSON document of a flow.", "definition")
	}
	scope := expr.Untyped()
	p := &plan{Definition: d}
	var bad Problems
	add := func(code, message string, path ...string) { bad = append(bad, problem(code, message, path...)...) }
	compiled := func(found []expr.Problem, path ...string) {
		for _, x := range found {
			add(CodeInvalid, x.Message, append(path, x.Path...)...)
		}
	}
	app, ok := apps.App(d.Trigger.App)
	if ok {
		p.trigger, ok = app.Trigger(d.Trigger.Key)
	}
	if !ok {
		add(CodeNotFound, fmt.Sprintf("There is no trigger %s in app %s.", d.Trigger.Key, d.Trigger.App), "trigger", "key")
	}
	if d.Trigger.When != "" {
		var found []expr.Problem
		p.when, found = expr.CompileCondition(d.Trigger.When, scope)
		compiled(found, "trigger", "when")
	}
	if d.Trigger.Hold != nil {
		var found []expr.Problem
		p.hold, found = expr.Compile(d.Trigger.Hold, scope)
		compiled(found, "trigger", "hold")
	}
	p.prepareSchedule(scope, add, compiled)
	seen := map[string]bool{}
	for i, s := range d.Steps {
		at := []string{"steps", fmt.Sprint(i)}
		if !stepKey.MatchString(s.Key) || seen[s.Key] {
			add(CodeInvalid, "A step's key is lower-case letters, digits and _, and no other step has it.", append(at, "key")...)
		}
		seen[s.Key] = true
		ps := planStep{StepRef: s}
		app, ok := apps.App(s.App)
		if ok {
			ps.action, ok = app.Action(s.Action)
		}
		if !ok {
			add(CodeNotFound, fmt.Sprintf("There is no action %s in app %s.", s.Action, s.App), append(at, "action")...)
		}
		var found []expr.Problem
		ps.input, found = expr.Compile(s.Input, scope)
		compiled(found, append(at, "input")...)
		if s.When != "" {
			ps.when, found = expr.CompileCondition(s.When, scope)
			compiled(found, append(at, "when")...)
		}
		if r := s.Record; r != nil {
			ps.record, found = expr.Compile(r.ID, scope)
			compiled(found, append(at, "record", "id")...)
			if app, ok := apps.App(r.App); !ok || !d.uses(r.App) || !app.Keeps(r.Entity) {
				add(CodeInvalid, fmt.Sprintf("A record is of an app that the flow uses and of a kind that the app keeps; %s %s is not.", r.App, r.Entity), append(at, "record")...)
			}
		}
		p.steps = append(p.steps, ps)
	}
	p.prepareItems(scope, func(i int) (connectors.Connector, bool) { return apps.App(p.steps[i].App) }, add, compiled)
	if len(d.Steps) == 0 {
		add(CodeRequired, "A flow needs at least one step.", "steps")
	}
	return p, bad.or()
}

// uses says whether the trigger or a step is of an app.
func (d Definition) uses(app string) bool {
	return d.Trigger.App == app || slices.ContainsFunc(d.Steps, func(s StepRef) bool { return s.App == app })
}

// direction is OUTBOUND when the trigger's app is Togai, else INBOUND.
func (d Definition) direction() string {
	if d.Trigger.App == "togai" {
		return "OUTBOUND"
	}
	return "INBOUND"
}

// params are a link's parameters with the defaults filled in.
func (d Definition) params(given map[string]any) map[string]any {
	out := map[string]any{}
	for k, s := range d.Params {
		if m, ok := s.(map[string]any); ok && m["default"] != nil {
			out[k] = m["default"]
		}
	}
	maps.Copy(out, given)
	return out
}

// checkParams says all that is wrong with a link's parameters.
func (d Definition) checkParams(given map[string]any) Problems {
	properties := d.Params
	if properties == nil {
		properties = map[string]any{}
	}
	doc, err := json.Marshal(map[string]any{"type": "object", "properties": properties, "additionalProperties": false})
	if err != nil {
		return problem(CodeInvalid, "The flow's own parameters are not JSON.", "params")
	}
	s, err := schema.Parse(doc)
	if err != nil {
		return problem(CodeInvalid, "The flow's own parameters are not a JSON Schema.", "params")
	}
	return misfits(s.Validate(given), "params")
}

// concerns says whether the flow's condition holds for an event. Where the body does not say enough, the run finds out.
func (p *plan) concerns(ctx context.Context, occ connectors.Occurrence, params json.RawMessage) (bool, error) {
	if p.when == nil || occ.Thin {
		return true, nil
	}
	payload, err := asJSON(occ.Payload)
	if err != nil {
		return false, err
	}
	var given map[string]any
	if err := json.Unmarshal(params, &given); err != nil {
		return false, err
	}
	return p.when.Eval(ctx, expr.Env{Vars: map[string]any{"trigger": payload, "params": p.params(given)}, Now: occ.At})
}

func (p *plan) holdSeconds(ctx context.Context, env expr.Env) (float64, error) {
	v, err := p.hold.Render(ctx, env)
	if err != nil {
		return 0, err
	}
	switch n := v.(type) {
	case float64:
		return n, nil
	case int64:
		return float64(n), nil
	case int:
		return float64(n), nil
	case nil:
		return 0, nil
	}
	return 0, fmt.Errorf("trigger.hold must be a number of seconds, found %s", strings.TrimPrefix(fmt.Sprintf("%T", v), "*"))
}

// lane is what tells the lanes of a link apart. Occasions all have one.
func (p *plan) lane(record connectors.Subject) string {
	if p.trigger.Occasion {
		return record.Entity
	}
	return record.Entity + "/" + record.ID
}

// writes tells whether a step writes for the trigger's own record.
func (p *plan) writes() bool {
	return slices.ContainsFunc(p.steps, func(s planStep) bool { return !s.action.Reads && s.ForEach == "" && s.Record == nil })
}
