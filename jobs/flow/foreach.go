package flow

import (
	"fmt"
	"slices"

	"tieline/connectors"
	"tieline/jobs/flow/expr"
)

// A step with forEach is done for each record that an earlier step lists, page by page. Steps that follow each other with
// the same forEach belong together: each record goes through all of them before it counts as dealt with. What they write
// hangs on the record's own mapping, so that a record is made once, whoever makes it. Their expressions read run.linked, too:
// whether the record had its counterpart before this run.

// MatchRef says how a record is known that is there already, although no mapping says so.
type MatchRef struct {
	// Lists are actions of the step's app that list what there is. Each list is read once a run.
	Lists []string `json:"lists" doc:"Actions of the step's app that list what there is. Each list is read once a run."`
	// Named are ids that the record itself names, by entity. One that was not listed is read.
	Named []map[string]string `json:"named,omitempty" doc:"Ids that the record itself names, by entity."`
	// Own is the id that we would choose.
	Own map[string]string `json:"own,omitempty" doc:"The id that the step would choose, by entity."`
	// Email alone tells of a possible duplicate, unless Link says that an address which only one record has on either side is
	// enough.
	Email string `json:"email,omitempty" doc:"Its e-mail address, which alone tells of a possible duplicate."`
	Link  string `json:"link,omitempty" doc:"A condition under which an address that only one record has on either side is enough."`
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

// items checks the steps with forEach, and tells those they go over.
func (c *checking) items() {
	p, source := c.p, -1
	for i := range p.steps {
		s, at := &p.steps[i], []string{"steps", fmt.Sprint(i)}
		if s.ForEach == "" {
			source = i
			if s.Match != nil {
				c.add(CodeInvalid, "Only a step with forEach can match records.", append(at, "match")...)
			}
			continue
		}
		if source < 0 || p.steps[source].Key != s.ForEach || p.steps[source].action.Walk == nil {
			c.add(CodeInvalid, fmt.Sprintf("forEach names the step right before, or before others with the same forEach, and its action must list records page by page; %q does not.", s.ForEach), append(at, "forEach")...)
			continue
		}
		p.steps[source].items++
		if s.Match == nil {
			continue
		}
		if a, ok := c.apps.App(s.App); ok {
			s.match = c.match(*s.Match, a, append(at, "match")...)
		}
		if s.match != nil && slices.ContainsFunc(p.steps[source+1:i], func(o planStep) bool { return o.match != nil }) {
			c.add(CodeInvalid, "One step alone matches a record.", append(at, "match")...)
		}
	}
}

func (c *checking) match(ref MatchRef, app connectors.Connector, at ...string) *match {
	m := &match{}
	for i, key := range ref.Lists {
		a, ok := app.Action(key)
		if !ok || a.Walk == nil {
			c.add(CodeInvalid, fmt.Sprintf("%s has no action %q that lists records page by page.", app.Name, key), append(at, "lists", fmt.Sprint(i))...)
			continue
		}
		m.lists = append(m.lists, a)
	}
	one := func(of map[string]string, path ...string) idOf {
		if len(of) != 1 {
			c.add(CodeInvalid, "Name one entity and its id.", append(at, path...)...)
		}
		for entity, id := range of {
			return idOf{entity, c.template(c.atItem, id, someText, append(slices.Clone(at), append(path, entity)...)...)}
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
		m.email = c.template(c.atItem, ref.Email, someText, append(slices.Clone(at), "email")...)
	}
	if ref.Link != "" {
		m.link = c.condition(c.atItem, ref.Link, append(slices.Clone(at), "link")...)
	}
	return m
}

// reads are what the expressions of a match read.
func (m *match) reads() (all []string) {
	ids := m.named
	if m.own != nil {
		ids = append(slices.Clone(ids), *m.own)
	}
	for _, of := range ids {
		if of.id != nil {
			all = append(all, of.id.Reads()...)
		}
	}
	if m.email != nil {
		all = append(all, m.email.Reads()...)
	}
	if m.link != nil {
		all = append(all, m.link.Reads()...)
	}
	return all
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
