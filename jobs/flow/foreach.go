package flow

import (
	"fmt"
	"slices"

	"tieline/connectors"
	"tieline/jobs/flow/expr"
)

// A step with forEach is done for each record that an earlier step lists, page by page. Steps that follow each other with
// the same forEach belong together: each record goes through all of them before it counts as dealt with. What they write
// hangs on the record's own mapping, so that a record is made once, whoever makes it.

// MatchRef says how a record is known that is there already, although no mapping says so.
type MatchRef struct {
	// Lists are actions of the step's app that list what there is. Each list is read once a run.
	Lists []string `json:"lists"`
	// Named are ids that the record itself names, by entity. One that was not listed is read.
	Named []map[string]string `json:"named,omitempty"`
	// Own is the id that we would choose.
	Own map[string]string `json:"own,omitempty"`
	// Email alone tells of a possible duplicate, unless Link says that an address which only one record has on either side is
	// enough.
	Email string `json:"email,omitempty"`
	Link  string `json:"link,omitempty"`
}

// match is a MatchRef made ready.
type match struct {
	lists []connectors.Action
	named []idOf
	own   *idOf
	email *expr.Template
	link  *expr.Condition
}

type idOf struct {
	entity string
	id     *expr.Template
}

// prepareItems checks the steps with forEach, and tells those they go over.
func (p *plan) prepareItems(scope *expr.Scope, app func(step int) (connectors.Connector, bool), add func(code, message string, path ...string), compiled func(found []expr.Problem, path ...string)) {
	source := -1
	for i := range p.steps {
		s, at := &p.steps[i], []string{"steps", fmt.Sprint(i)}
		if s.ForEach == "" {
			source = i
			if s.Match != nil {
				add(CodeInvalid, "Only a step with forEach can match records.", append(at, "match")...)
			}
			continue
		}
		if source < 0 || p.steps[source].Key != s.ForEach || p.steps[source].action.Walk == nil {
			add(CodeInvalid, fmt.Sprintf("forEach names the step right before, or before others with the same forEach, and its action must list records page by page; %q does not.", s.ForEach), append(at, "forEach")...)
			continue
		}
		p.steps[source].items++
		if s.Match == nil {
			continue
		}
		if a, ok := app(i); ok {
			s.match = prepareMatch(*s.Match, a, scope, add, compiled, append(at, "match")...)
		}
		if s.match != nil && slices.ContainsFunc(p.steps[source+1:i], func(o planStep) bool { return o.match != nil }) {
			add(CodeInvalid, "One step alone matches a record.", append(at, "match")...)
		}
	}
}

func prepareMatch(ref MatchRef, app connectors.Connector, scope *expr.Scope, add func(code, message string, path ...string), compiled func(found []expr.Problem, path ...string), at ...string) *match {
	m := &match{}
	for i, key := range ref.Lists {
		a, ok := app.Action(key)
		if !ok || a.Walk == nil {
			add(CodeInvalid, fmt.Sprintf("%s has no action %q that lists records page by page.", app.Name, key), append(at, "lists", fmt.Sprint(i))...)
			continue
		}
		m.lists = append(m.lists, a)
	}
	compile := func(text string, path ...string) *expr.Template {
		t, found := expr.Compile(text, scope)
		compiled(found, append(at, path...)...)
		return t
	}
	one := func(of map[string]string, path ...string) idOf {
		if len(of) != 1 {
			add(CodeInvalid, "Name one entity and its id.", append(at, path...)...)
		}
		for entity, id := range of {
			return idOf{entity, compile(id, append(path, entity)...)}
		}
		return idOf{}
	}
	for i, of := range ref.Named {
		m.named = append(m.named, one(of, "named", fmt.Sprint(i)))
	}
	if ref.Own != nil {
		own := one(ref.Own, "own")
		m.own = &own
	}
	if ref.Email != "" {
		m.email = compile(ref.Email, "email")
	}
	if ref.Link != "" {
		var found []expr.Problem
		m.link, found = expr.CompileCondition(ref.Link, scope)
		compiled(found, append(at, "link")...)
	}
	return m
}

// bulk tells a run over many records. Its calls are not in a hurry: others that share the vendor's budget go first.
func (p *plan) bulk() bool {
	return slices.ContainsFunc(p.steps, func(s planStep) bool { return s.items > 0 })
}

// itemSteps are the keys of the steps that go over records: those that list them, and those that are done for each.
func (p *plan) itemSteps() (keys []string) {
	for _, s := range p.steps {
		if s.items > 0 || s.ForEach != "" {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// of tells whether a step is done for each record that another lists.
func (p *plan) of(step, source string) bool {
	return slices.ContainsFunc(p.steps, func(s planStep) bool { return s.Key == step && s.ForEach == source })
}
