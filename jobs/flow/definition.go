package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"tieline/connectors"
	"tieline/connectors/schema"
	"tieline/jobs/flow/expr"
)

// Definition is a flow as it is stored: a JSON document, one trigger and its steps. Its JSON Schema is made of these types.
type Definition struct {
	Key         string         `json:"key,omitempty" pattern:"^[a-z][a-z0-9_]*(\\.[a-z][a-z0-9_]*)*$" maxLength:"100" doc:"Stable key, unique among the organization's flows: custom.customers_in. It is made of the name when it is left out, and never changes."`
	Name        string         `json:"name" minLength:"1" maxLength:"200" doc:"As users see it."`
	Description string         `json:"description,omitempty" maxLength:"2000" doc:"What it does, in a sentence or two."`
	Type        string         `json:"type,omitempty" enum:"INBOUND,OUTBOUND" doc:"OUTBOUND when the trigger is Togai's, else INBOUND. It may be left out."`
	Trigger     TriggerRef     `json:"trigger" doc:"What starts it."`
	Params      map[string]any `json:"params,omitempty" doc:"What a flow link fills in: by name, the JSON Schema of the value, with its default."`
	Steps       []StepRef      `json:"steps" minLength:"1" maxLength:"50" doc:"What it does, in order."`
}

// TriggerRef names what starts the flow.
type TriggerRef struct {
	App string `json:"app" doc:"Key of an app: stripe."`
	Key string `json:"key" doc:"Key of one of the app's triggers: customer.created."`
	// When is a condition that reads trigger and params. An event that it does not hold for starts nothing.
	When string `json:"when,omitempty" doc:"A condition, an expression that reads trigger and params. An event that it does not hold for starts nothing."`
	// Hold is how many seconds to wait before asking the trigger whether something else explains the event. It can also
	// read run.neighbours: the keys of the flows that are on for the trigger's vendor account.
	Hold any `json:"hold,omitempty" doc:"Seconds to wait before the trigger is asked whether something else explains the event: a number, or an expression that also reads run.neighbours, the keys of the flows that are on for the same vendor account."`
	// Schedule is needed by, and only by, a trigger that a clock starts.
	Schedule *ScheduleRef `json:"schedule,omitempty" doc:"When the trigger fires; only for those of a clock."`
}

// StepRef is one action with its input.
type StepRef struct {
	Key    string `json:"key" pattern:"^[a-z][a-z0-9_]*$" maxLength:"60" doc:"Unique in the flow. Expressions read the step's output as steps.<key>."`
	Name   string `json:"name,omitempty" maxLength:"200" doc:"As users see it."`
	App    string `json:"app" doc:"Key of an app: togai."`
	Action string `json:"action" doc:"Key of one of the app's actions: customer.create."`
	When   string `json:"when,omitempty" doc:"A condition, an expression. The step is SKIPPED when it does not hold."`
	// Record is the record that the step is about, where that is not the trigger's: what the step makes is linked to it.
	Record *RecordRef `json:"record,omitempty" doc:"The record that the step is about, where that is not the trigger's: what the step makes is linked to it."`
	Input  any        `json:"input,omitempty" doc:"The action's input. Texts may hold expressions between {{ and }}; one that is nothing but an expression keeps its type."`
	// ForEach is the key of the step that lists the records for each of which this one is done, as item.
	ForEach string    `json:"forEach,omitempty" doc:"Key of the step right before that lists records page by page: this step is done for each, which expressions read as item."`
	Match   *MatchRef `json:"match,omitempty" doc:"How a record is known that is there already; of a step with forEach."`
	Retry   *RetryRef `json:"retry,omitempty" doc:"How often and how soon it is tried again when a call fails in a way that may pass."`
	// OnError says what becomes of the steps after this one while it waits, and once it has failed: "stop" (or nothing) keeps
	// them from being begun, "continue" lets those go on that read nothing of it.
	OnError string `json:"onError,omitempty" enum:"stop,continue" doc:"What becomes of later steps while this one waits, and when it has failed: stop keeps them from being begun, continue lets those go on that read nothing of it. stop when left out."`
}

// RetryRef says how a step is tried again that failed in a way that may pass. What is left out is as for any step.
type RetryRef struct {
	Tries   int     `json:"tries,omitempty" min:"1" max:"100" doc:"How often it is tried again, at most. 12 when left out."`
	Pause   float64 `json:"pause,omitempty" min:"0.01" max:"3600" doc:"Seconds before the first time; each pause is twice the one before. 1 when left out."`
	Longest float64 `json:"longest,omitempty" min:"0.01" max:"86400" doc:"Seconds of the longest pause. 600 when left out."`
}

// RecordRef names a record in one of the apps that a flow uses.
type RecordRef struct {
	App    string `json:"app" doc:"Key of an app that the flow uses."`
	Entity string `json:"entity" doc:"A kind of record that the app keeps: account."`
	ID     any    `json:"id" doc:"Its id there; as a rule an expression."`
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

	outside func() *expr.Scope // what the filters of its links read
	filters sync.Map           // a link's filter → its condition
}

type planStep struct {
	StepRef
	action connectors.Action
	input  *expr.Template
	record *expr.Template // its id
	when   *expr.Condition
	needs  []int  // the steps before it that it reads
	items  int    // how many steps are done for each record that this one lists
	match  *match // of a step with forEach; nil when it knows records by their mappings alone
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
