package flow

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"tieline/connectors"
	"tieline/connectors/schema"
	"tieline/jobs/flow/expr"
)

// maxDefinition bounds a document, in bytes.
const maxDefinition = 256 << 10

// checking is a definition being checked and made ready.
type checking struct {
	apps    *connectors.Registry
	p       *plan
	issues  Issues
	lenient bool // what does not fit together any more is left to the run
	partial bool // expressions bear what is not known yet

	atTrigger, atStep, atItem *expr.Scope // what expressions read, by where they are
}

var someText = &expr.Shape{Kind: expr.Text}

// prepare checks a definition against the apps and compiles its expressions. It answers all that is wrong with it at once;
// the plan is of use only when none of that is an error.
func prepare(raw json.RawMessage, apps *connectors.Registry) (*plan, Issues) {
	c := &checking{apps: apps}
	if !c.read(raw) {
		return nil, c.issues.sorted()
	}
	c.whole()
	return c.p, c.issues.sorted()
}

// prepared is the plan of a version that was published. What it was checked against may have changed since: expressions whose
// types do not fit any more are left to the run, where they may well work.
func prepared(raw json.RawMessage, apps *connectors.Registry) (*plan, error) {
	c := &checking{apps: apps, lenient: true}
	var d Definition
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("reading a flow: %w", err)
	}
	c.p = &plan{Definition: d}
	c.whole()
	return c.p, c.issues.err()
}

// read reads the document, if it has the form of a flow.
func (c *checking) read(raw json.RawMessage) bool {
	if len(raw) > maxDefinition {
		c.add(CodeInvalid, fmt.Sprintf("The document is larger than %d bytes.", maxDefinition))
		return false
	}
	for _, x := range schema.Of[Definition]().Validate(raw) {
		i := Issue{Path: x.Path, Code: CodeInvalid, Message: x.Message}
		switch x.Code {
		case "REQUIRED":
			i.Code = CodeRequired
		case "UNKNOWN":
			i.Code, i.Found = CodeUnknownField, x.Path[len(x.Path)-1]
			if i.Suggestion = definitionShape().Nearest(x.Path); i.Suggestion != "" {
				i.Message = fmt.Sprintf("There is no field %q here; did you mean %q?", i.Found, i.Suggestion)
			}
		case "TYPE":
			i.Code = CodeMismatch
		}
		c.issues = append(c.issues, i)
	}
	var d Definition
	if err := json.Unmarshal(raw, &d); err != nil {
		if len(c.issues) == 0 {
			c.add(CodeInvalid, "The document is not a JSON object of a flow.")
		}
		return false
	}
	c.p = &plan{Definition: d}
	return true
}

func (c *checking) add(code, message string, path ...string) {
	c.issues = append(c.issues, Issue{Path: path, Code: code, Message: message})
}

func (c *checking) warn(code, message string, path ...string) {
	c.issues = append(c.issues, Issue{Path: path, Code: code, Message: message, Warning: true})
}

// whole checks all of it.
func (c *checking) whole() {
	p := c.p
	c.trigger()
	c.find()
	c.params()
	c.scopes()
	if p.Trigger.When != "" {
		p.when = c.condition(c.atTrigger, p.Trigger.When, "trigger", "when")
	}
	if p.Trigger.Hold != nil {
		p.hold = c.template(c.atTrigger, p.Trigger.Hold, &expr.Shape{Kind: expr.Number}, "trigger", "hold")
	}
	c.schedule()
	for i := range p.steps {
		c.step(i)
	}
	c.items()
	p.order()
	if len(p.Steps) == 0 && c.lenient {
		c.add(CodeRequired, "A flow needs at least one step.", "steps")
	}
	if d := p.direction(); p.Type != "" && p.Type != d {
		c.add(CodeInvalid, fmt.Sprintf("The type of a flow whose trigger is of %s is %s. It may be left out.", p.Trigger.App, d), "type")
	}
	if p.direction() == "INBOUND" && !p.uses("togai") && len(p.Steps) > 0 {
		c.warn(CodeNoTogai, "No step is of Togai, so nothing of what comes in reaches it.", "steps")
	}
}

func (c *checking) trigger() {
	t := c.p.Trigger
	app, ok := c.app(t.App, "trigger", "app")
	if !ok {
		return
	}
	if c.p.trigger, ok = app.Trigger(t.Key); !ok {
		var keys []string
		for _, x := range app.Triggers {
			keys = append(keys, x.Key)
		}
		c.nothing(fmt.Sprintf("trigger %s in app %s", t.Key, t.App), t.Key, keys, "trigger", "key")
	}
}

func (c *checking) app(key string, path ...string) (connectors.Connector, bool) {
	app, ok := c.apps.App(key)
	if !ok && (key != "" || c.lenient) { // that there is none was said of the document's form
		var keys []string
		for _, a := range c.apps.Apps() {
			keys = append(keys, a.Key)
		}
		c.nothing(fmt.Sprintf("app %s", key), key, keys, path...)
	}
	return app, ok
}

// nothing says that a key names nothing, and what was perhaps meant.
func (c *checking) nothing(what, key string, keys []string, path ...string) {
	i := Issue{Path: path, Code: CodeNotFound, Message: fmt.Sprintf("There is no %s.", what), Found: key, Expected: strings.Join(keys, ", ")}
	if i.Suggestion = expr.Nearest(key, keys); i.Suggestion != "" {
		i.Message = fmt.Sprintf("There is no %s; did you mean %q?", what, i.Suggestion)
	}
	c.issues = append(c.issues, i)
}

// find finds the steps' actions: their outputs are what expressions are checked against.
func (c *checking) find() {
	seen := map[string]bool{}
	for i, s := range c.p.Steps {
		at := []string{"steps", fmt.Sprint(i)}
		if seen[s.Key] {
			c.add(CodeInvalid, fmt.Sprintf("Another step has the key %q already.", s.Key), append(at, "key")...)
		}
		seen[s.Key] = true
		ps := planStep{StepRef: s}
		if app, ok := c.app(s.App, append(at, "app")...); ok {
			if ps.action, ok = app.Action(s.Action); !ok {
				var keys []string
				for _, a := range app.Actions {
					keys = append(keys, a.Key)
				}
				c.nothing(fmt.Sprintf("action %s in app %s", s.Action, s.App), s.Action, keys, append(at, "action")...)
			}
		}
		c.p.steps = append(c.p.steps, ps)
	}
}

// params checks that each parameter is a JSON Schema that its default fits.
func (c *checking) params() {
	for name, doc := range c.p.Params {
		raw, err := json.Marshal(doc)
		var s *schema.Schema
		if err == nil {
			s, err = schema.Parse(raw)
		}
		if err != nil {
			c.add(CodeInvalid, "A parameter is a JSON Schema, such as {\"type\": \"string\", \"title\": \"Currency\", \"default\": \"\"}.", "params", name)
			continue
		}
		if m, ok := doc.(map[string]any); ok && m["default"] != nil {
			for _, x := range s.Validate(m["default"]) {
				c.add(CodeMismatch, "The default does not fit: "+x.Message, "params", name, "default")
			}
		}
	}
}

// scopes says what expressions can read, and of what types.
func (c *checking) scopes() {
	params := &expr.Shape{Kind: expr.Object, Fields: map[string]*expr.Shape{}}
	for name, doc := range c.p.Params {
		raw, _ := json.Marshal(doc)
		params.Fields[name] = shapeOf(raw)
		if m, ok := doc.(map[string]any); ok && m["default"] != nil {
			params.Required = append(params.Required, name)
		}
	}
	trigger, steps := &expr.Shape{Kind: expr.Any}, map[string]*expr.Shape{}
	if c.p.trigger.Output != nil {
		trigger = shapeOf(c.p.trigger.Output.JSON())
	}
	item := &expr.Shape{Kind: expr.Any}
	for _, s := range c.p.steps {
		steps[s.Key] = &expr.Shape{Kind: expr.Any}
		if s.action.Output != nil {
			steps[s.Key] = shapeOf(s.action.Output.JSON())
		}
		if s.ForEach != "" {
			item = c.itemOf(s.ForEach)
		}
	}
	run := expr.ObjectOf(map[string]*expr.Shape{"id": someText, "source": someText, "replay": {Kind: expr.Number}})
	vars := map[string]*expr.Shape{"trigger": trigger, "params": params, "run": run, "steps": expr.ObjectOf(steps)}
	c.atStep = c.scope(vars)
	if c.atItem = c.atStep; slices.ContainsFunc(c.p.steps, func(s planStep) bool { return s.ForEach != "" }) {
		vars["item"] = item
		vars["run"] = expr.ObjectOf(map[string]*expr.Shape{"id": someText, "source": someText, "replay": {Kind: expr.Number}, "linked": {Kind: expr.Bool}})
		c.atItem = c.scope(vars)
		delete(vars, "item")
	}
	held := expr.ObjectOf(map[string]*expr.Shape{"id": someText, "source": someText, "replay": {Kind: expr.Number}, "neighbours": {Kind: expr.List, Items: someText}})
	c.atTrigger = c.scope(map[string]*expr.Shape{"trigger": trigger, "params": params, "run": held})
	c.p.outside = sync.OnceValue(func() *expr.Scope { return c.scope(map[string]*expr.Shape{"trigger": trigger, "params": params}) })
}

// itemOf is what a step lists. Only where the app says so it is known.
func (c *checking) itemOf(step string) *expr.Shape {
	for _, s := range c.p.steps {
		if s.Key == step && s.action.Walk != nil && s.action.Walk.Item != nil {
			return shapeOf(s.action.Walk.Item.JSON())
		}
	}
	return &expr.Shape{Kind: expr.Any}
}

func (c *checking) scope(vars map[string]*expr.Shape) *expr.Scope {
	s, err := expr.TypedScope(vars)
	if err != nil { // a schema that CEL cannot have: all the rest can still be checked
		s = expr.Untyped()
	}
	if c.partial {
		return s.Partial()
	}
	return s
}

func shapeOf(schema json.RawMessage) *expr.Shape {
	s, err := expr.ShapeOf(schema)
	if err != nil {
		return &expr.Shape{Kind: expr.Any}
	}
	return s
}

// template compiles what is rendered, and checks that it can be what is wanted.
func (c *checking) template(scope *expr.Scope, doc any, want *expr.Shape, at ...string) *expr.Template {
	var t *expr.Template
	var bad []expr.Problem
	if !c.lenient {
		t, bad = expr.CompileFor(doc, scope, want)
	} else if t, bad = expr.Compile(doc, scope); t == nil {
		t, bad = expr.Compile(doc, expr.Untyped())
	}
	for _, x := range bad {
		c.issues = append(c.issues, issueOf(x, at))
	}
	return t
}

func (c *checking) condition(scope *expr.Scope, source string, at ...string) *expr.Condition {
	t, bad := expr.CompileCondition(source, scope)
	if t == nil && c.lenient {
		t, bad = expr.CompileCondition(source, expr.Untyped())
	}
	for _, x := range bad {
		c.issues = append(c.issues, issueOf(x, at))
	}
	return t
}

func (c *checking) step(i int) {
	s, at := &c.p.steps[i], []string{"steps", fmt.Sprint(i)}
	scope := c.atStep
	if s.ForEach != "" {
		scope = c.atItem
	}
	want := &expr.Shape{Kind: expr.Any}
	if s.action.Input != nil {
		want = shapeOf(s.action.Input.JSON())
	}
	if s.Input == nil {
		s.Input = map[string]any{}
	}
	s.input = c.template(scope, s.Input, want, append(at, "input")...)
	c.ordered(i, s.input.Uses(), append(at, "input"))
	if s.When != "" {
		s.when = c.condition(scope, s.When, append(at, "when")...)
		c.ordered(i, s.when.Uses(), append(at, "when"))
	}
	if r := s.Record; r != nil {
		s.record = c.template(scope, r.ID, someText, append(at, "record", "id")...)
		c.ordered(i, s.record.Uses(), append(at, "record", "id"))
		if app, ok := c.apps.App(r.App); !ok || !c.p.uses(r.App) || !app.Keeps(r.Entity) {
			c.add(CodeInvalid, fmt.Sprintf("A record is of an app that the flow uses and of a kind that the app keeps; %s %s is not.", r.App, r.Entity), append(at, "record")...)
		}
	}
	if r := s.Retry; r != nil && r.Longest > 0 && r.Pause > r.Longest {
		c.add(CodeInvalid, fmt.Sprintf("The first pause, %g seconds, is longer than the longest, %g.", r.Pause, r.Longest), append(at, "retry", "pause")...)
	}
}

// ordered says which expressions of a step read itself or a later one.
func (c *checking) ordered(i int, uses []expr.Use, at []string) {
	if c.lenient {
		return
	}
	for _, u := range uses {
		for k := i; k < len(c.p.steps); k++ {
			key := c.p.steps[k].Key
			if !slices.Contains(u.Reads, "steps."+key) {
				continue
			}
			message := fmt.Sprintf("The step %q comes later, so its output is not there yet. Put that step first.", key)
			if k == i {
				message = fmt.Sprintf("The step %q cannot read its own output.", key)
			}
			c.issues = append(c.issues, Issue{
				Path: append(slices.Clip(at), u.Path...), Code: CodeOrder, Message: message, Expression: u.Expression, Line: u.Line, Column: u.Column, Found: "steps." + key,
			})
		}
	}
}

// definitionShape is the form of a document, to tell near names by.
func definitionShape() *expr.Shape { return shapeOf(schema.Of[Definition]().JSON()) }

// Schema is the JSON Schema of a flow's document.
func Schema() json.RawMessage {
	of := schema.Of[Definition]().JSON()
	return append(json.RawMessage(`{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"Flow",`), of[1:]...)
}

// Scope is what expressions can read at a place of a document.
type Scope struct {
	Names     []expr.Name
	Functions []expr.Function
}

// Scope says what expressions of a step can read; without a step, those of the trigger. The document may have faults.
func (e *Engine) Scope(doc json.RawMessage, step string) (Scope, error) {
	c := &checking{apps: e.Apps}
	if !c.read(doc) {
		return Scope{}, fmt.Errorf("the draft has not the form of a flow: %s", c.issues[0].Message)
	}
	c.trigger()
	c.find()
	c.scopes()
	if step == "" {
		return scopeOf(c.atTrigger, func(string) bool { return false }), nil
	}
	i := slices.IndexFunc(c.p.steps, func(s planStep) bool { return s.Key == step })
	if i < 0 {
		return Scope{}, fmt.Errorf("the draft has no step %q", step)
	}
	at := c.atStep
	if c.p.steps[i].ForEach != "" {
		at = c.atItem
	}
	return scopeOf(at, func(name string) bool {
		return slices.ContainsFunc(c.p.steps[i:], func(s planStep) bool { return name == "steps."+s.Key })
	}), nil
}

func scopeOf(s *expr.Scope, without func(string) bool) Scope {
	return Scope{Names: s.Names(without), Functions: s.Functions()}
}
