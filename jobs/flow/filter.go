package flow

import (
	"context"
	"encoding/json"
	"fmt"

	"tieline/connectors"
	"tieline/db"
	"tieline/jobs/flow/expr"
)

// checkFilter says what is wrong with the filter of a link of the flow; an empty one is none.
func (p *plan) checkFilter(filter string) (bad Problems) {
	if filter == "" {
		return nil
	}
	_, found := expr.CompileCondition(filter, p.outside())
	for _, x := range found {
		bad = append(bad, problem(CodeInvalid, x.Message, "filter")...)
	}
	return bad
}

// filter is a link's filter, compiled once; nil when it has none. It was checked when it was saved, maybe for another version:
// where its types do not fit any more, it may well work all the same.
func (p *plan) filter(link db.FlowLink) (*expr.Condition, error) {
	if link.Filter == "" {
		return nil, nil
	}
	if c, ok := p.filters.Load(link.Filter); ok {
		return c.(*expr.Condition), nil
	}
	c, found := expr.CompileCondition(link.Filter, p.outside())
	if len(found) > 0 {
		c, found = expr.CompileCondition(link.Filter, expr.Untyped())
	}
	if len(found) > 0 {
		return nil, fmt.Errorf("the filter of flow link %s: %s", link.ID, found[0].Message)
	}
	p.filters.Store(link.Filter, c)
	return c, nil
}

// unconcerned says why an event does not concern a link: the flow's condition does not hold for it, or the link's filter; empty
// when it does. Where the body does not say enough, the run finds out.
func (e *Engine) unconcerned(ctx context.Context, p *plan, link db.FlowLink, occ connectors.Occurrence) (string, error) {
	filter, err := p.filter(link)
	if err != nil || occ.Thin || p.when == nil && filter == nil {
		return "", err
	}
	payload, err := asJSON(occ.Payload)
	if err != nil {
		return "", err
	}
	var given map[string]any
	if err := json.Unmarshal(link.Params, &given); err != nil {
		return "", err
	}
	return unmet(ctx, p.when, filter, expr.Env{Vars: map[string]any{"trigger": payload, "params": p.params(given)}, Now: occ.At})
}

const (
	notConcerned = "Nothing to do: the flow's condition does not hold for the event."
	filteredOut  = "Nothing to do: the flow link's filter does not hold for the event."
)

// unmet says which condition does not hold, the flow's or its link's; empty when both do. nil ones hold.
func unmet(ctx context.Context, when, filter *expr.Condition, env expr.Env) (string, error) {
	for _, c := range []struct {
		condition *expr.Condition
		why       string
	}{{when, notConcerned}, {filter, filteredOut}} {
		if c.condition == nil {
			continue
		}
		if holds, err := c.condition.Eval(ctx, env); err != nil || !holds {
			return c.why, err
		}
	}
	return "", nil
}
