package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
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
	// Hold is how many seconds to wait before asking the trigger whether something else explains the event.
	Hold any `json:"hold,omitempty"`
}

// StepRef is one action with its input.
type StepRef struct {
	Key    string `json:"key"`
	Name   string `json:"name"`
	App    string `json:"app"`
	Action string `json:"action"`
	When   string `json:"when,omitempty"`
	Input  any    `json:"input"`
}

// plan is a definition made ready to run. It is immutable and shared.
type plan struct {
	Definition
	trigger connectors.Trigger
	hold    *expr.Template
	steps   []planStep
}

type planStep struct {
	StepRef
	action connectors.Action
	input  *expr.Template
	when   *expr.Condition
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
	if d.Trigger.Hold != nil {
		var found []expr.Problem
		p.hold, found = expr.Compile(d.Trigger.Hold, scope)
		compiled(found, "trigger", "hold")
	}
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
		p.steps = append(p.steps, ps)
	}
	if len(d.Steps) == 0 {
		add(CodeRequired, "A flow needs at least one step.", "steps")
	}
	return p, bad.or()
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

func (p *plan) holdSeconds(ctx context.Context, env expr.Env) (float64, error) {
	if p.hold == nil {
		return 0, nil
	}
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
