package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"tieline/connectors"
	"tieline/db"
)

// Check says all that is wrong with a document, or odd about it, seen together with the organization's other flows. flow is
// whose document it is; zero: of none yet.
func (e *Engine) Check(ctx context.Context, idb bun.IDB, org, flow db.ID, doc json.RawMessage) (Issues, error) {
	p, issues := prepare(doc, e.Apps)
	if p == nil {
		return issues, nil
	}
	linked, err := db.LinkedFlows(ctx, idb, org)
	if err != nil {
		return nil, err
	}
	var others []neighbour
	for _, f := range linked {
		if f.ID == flow {
			continue
		}
		other, err := e.plan(ctx, idb, org, f.VersionID)
		if err != nil {
			continue // an app of it is gone: it can run no more
		}
		others = append(others, neighbour{name: fmt.Sprintf("the flow %q", f.Name), plan: other})
	}
	if loop := p.loop(e.Apps, others); loop != "" {
		issues = append(issues, Issue{Path: []string{"trigger"}, Warning: true, Code: CodeLoop, Message: loop})
	}
	if flow == (db.ID{}) || len(issues.Errors()) > 0 {
		return issues.sorted(), nil
	}
	links, conns, err := followers(ctx, idb, org, flow)
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		why, err := p.cannotBind(l, conns)
		if err != nil {
			return nil, err
		}
		for _, x := range why {
			issues = append(issues, Issue{Warning: true, Code: CodeLinks, Message: fmt.Sprintf("The flow link %q will stay with the version that it runs, because of %s: %s", l.Name, strings.Join(x.Field, "."), x.Message)})
		}
		if len(why) > 0 {
			continue
		}
		bad, err := p.lacks(chosen(l), conns)
		if err != nil {
			return nil, err
		}
		for _, x := range bad {
			issues = append(issues, Issue{Warning: true, Code: x.Code, Message: fmt.Sprintf("At the flow link %q: %s", l.Name, x.Message)})
		}
	}
	return issues.sorted(), nil
}

// neighbour is another flow of the organization.
type neighbour struct {
	name string
	*plan
}

// loop says how what the flow writes comes back to start it again; empty when it does not.
func (p *plan) loop(apps *connectors.Registry, others []neighbour) string {
	type way struct {
		at  *plan
		how []string
	}
	seen := map[*plan]bool{}
	for next := []way{{at: p, how: []string{"This flow"}}}; len(next) > 0; next = next[1:] {
		w := next[0]
		for _, target := range append([]neighbour{{"this flow", p}}, others...) {
			what := starts(apps, w.at, target.plan)
			if what == "" || seen[target.plan] {
				continue
			}
			how := append(append([]string{}, w.how...), fmt.Sprintf("writes %s, which starts %s", what, target.name))
			if target.plan == p {
				return strings.Join(how, " ") + ". Tieline knows what it wrote itself by the call's key, the record's metadata or its mapping: such an echo writes nothing back to where it came from, so that this ends by itself."
			}
			seen[target.plan] = true
			how[len(how)-1] += ", which"
			next = append(next, way{target.plan, how})
		}
	}
	return ""
}

// starts names the record that one flow writes and whose change starts another; empty when there is none.
func starts(apps *connectors.Registry, from, to *plan) string {
	for _, s := range from.steps {
		if s.action.Reads || s.App != to.Trigger.App || to.trigger.Entity == "" {
			continue
		}
		makes := strings.HasSuffix(s.action.Key, ".create")
		if strings.HasSuffix(to.trigger.Key, ".created") && !makes {
			continue
		}
		if s.action.Entity == to.trigger.Entity || makes && slices.Contains(s.action.Makes, to.trigger.Entity) {
			app, _ := apps.App(s.App)
			return fmt.Sprintf("%s in %s", to.trigger.Entity, app.Name)
		}
	}
	return ""
}
