package graph

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/vikstrous/dataloadgen"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

var flowLinks = list[db.FlowLink, model.FlowLink]{"flowLinks", func(l *db.FlowLink) db.ID { return l.ID }, sure(model.NewFlowLink)}

// flowLink is a flow link, deleted or not: history leads to those, too.
func (r *Resolvers) flowLink(ctx context.Context, id db.ID) (*model.FlowLink, error) {
	return one(ctx, r.load(ctx).links, id, sure(model.NewFlowLink))
}

// liveFlowLink is a flow link that was not deleted.
func (r *Resolvers) liveFlowLink(ctx context.Context, id db.ID) (*model.FlowLink, error) {
	l, err := r.flowLink(ctx, id)
	if err != nil || l == nil || l.DeletedAt != nil {
		return nil, err
	}
	return l, nil
}

func (r queryResolver) FlowLinks(ctx context.Context, filter *model.FlowLinkFilter, first *int32, after *string, last *int32, before *string) (*model.FlowLinkConnection, error) {
	in := given(filter)
	f := db.FlowLinkFilter{Flow: model.FlowID.Narrow(in.FlowID), Connection: model.ConnectionID.Narrow(in.ConnectionID)}
	return flowLinks.page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.FlowLink, error) {
		return db.FlowLinksPage(ctx, r.DB, organization(ctx), f, w)
	})
}

func (r queryResolver) FlowLink(ctx context.Context, id string) (*model.FlowLink, error) {
	return r.liveFlowLink(ctx, model.FlowLinkID.Find(id))
}

func (r linkResolver) Flow(ctx context.Context, l *model.FlowLink) (*model.Flow, error) {
	return r.flow(ctx, l.Row.FlowID)
}

// linkVersion is the version of its flow that a link runs.
func (r *Resolvers) linkVersion(ctx context.Context, l *model.FlowLink) (*model.Version, error) {
	if l.Row.PinnedVersionID != (db.ID{}) {
		return r.load(ctx).versions.Load(ctx, l.Row.PinnedVersionID)
	}
	return r.load(ctx).newest.Load(ctx, l.Row.FlowID)
}

func (r linkResolver) PinnedVersion(ctx context.Context, l *model.FlowLink) (*int32, error) {
	if l.Row.PinnedVersionID == (db.ID{}) {
		return nil, nil
	}
	n, err := r.FlowVersion(ctx, l)
	return &n, err
}

func (r linkResolver) FlowVersion(ctx context.Context, l *model.FlowLink) (int32, error) {
	v, err := r.linkVersion(ctx, l)
	if err != nil {
		return 0, err
	}
	return int32(v.Number), nil
}

func (r linkResolver) TriggerConnection(ctx context.Context, l *model.FlowLink) (*model.AppInstance, error) {
	return r.connection(ctx, l.Row.TriggerConnectionID)
}

func (r linkResolver) Steps(ctx context.Context, l *model.FlowLink) ([]*model.FlowLinkStep, error) {
	v, err := r.linkVersion(ctx, l)
	if err != nil {
		return nil, err
	}
	rows, err := r.load(ctx).linkSteps.Load(ctx, l.Row.ID)
	if err != nil && !errors.Is(err, dataloadgen.ErrNotFound) {
		return nil, err
	}
	return r.apps.LinkSteps(rows, v), nil
}

func (r linkResolver) WebhookURL(ctx context.Context, l *model.FlowLink) (*string, error) {
	c, err := r.connection(ctx, l.Row.TriggerConnectionID)
	if err != nil || c == nil {
		return nil, err
	}
	url, _, err := r.webhookURL(ctx, c.Row)
	if hook := r.apps.Webhook(c.Row, url); hook != nil {
		return hook.URL, err
	}
	return nil, err
}

func (r linkResolver) Runs(ctx context.Context, l *model.FlowLink, first *int32, after *string, last *int32, before *string) (*model.RunConnection, error) {
	return runs.connection(pageArgs{first, last, after, before}, func(w db.Window) ([]db.Run, error) {
		return r.load(ctx).runsOfLink.Load(ctx, paging[db.ID]{l.Row.ID, w})
	})
}

func (r linkStepResolver) Connection(ctx context.Context, s *model.FlowLinkStep) (*model.AppInstance, error) {
	return r.connection(ctx, s.Row.ConnectionID)
}

func (r mutationResolver) CreateFlowLink(ctx context.Context, in model.CreateFlowLinkInput) (*model.CreateFlowLinkPayload, error) {
	l, problems, err := made(ctx, r.liveFlowLink)(r.Do(ctx, model.FlowLinkID, func(ctx context.Context, tx db.Tx, v auth.Viewer) (db.ID, error) {
		link, err := linkOf(in)
		if err != nil {
			return db.ID{}, err
		}
		row, err := r.engine.CreateLink(ctx, tx, v.Org, link)
		if err != nil {
			return db.ID{}, err
		}
		return row.ID, nil
	}))
	return &model.CreateFlowLinkPayload{FlowLink: l, UserErrors: problems}, err
}

func (r mutationResolver) EnableFlowLink(ctx context.Context, in model.EnableFlowLinkInput) (*model.EnableFlowLinkPayload, error) {
	l, problems, err := made(ctx, r.liveFlowLink)(r.call(ctx, model.FlowLinkID, in.ID, func(ctx context.Context, org, id db.ID, commit flow.Commit) error {
		_, err := r.engine.EnableLink(ctx, org, id, r.intake, commit)
		return err
	}))
	return &model.EnableFlowLinkPayload{FlowLink: l, UserErrors: problems}, err
}

func (r mutationResolver) UpdateFlowLink(ctx context.Context, in model.UpdateFlowLinkInput) (*model.UpdateFlowLinkPayload, error) {
	out := &model.UpdateFlowLinkPayload{}
	change, err := linkChange(in)
	update := func(ctx context.Context, org, id db.ID, commit flow.Commit) error {
		if err != nil {
			return err
		}
		moves, err := r.engine.UpdateLink(ctx, org, id, change, given(in.DryRun), r.intake, commit)
		if err == nil {
			out.Moves = r.apps.Moves(in.ID, moves)
		}
		return err
	}
	var done Done
	if given(in.DryRun) {
		done, err = judge(Done{}, update(ctx, organization(ctx), model.FlowLinkID.Find(in.ID), nil))
	} else {
		done, err = r.call(ctx, model.FlowLinkID, in.ID, update)
	}
	out.FlowLink, out.UserErrors, err = made(ctx, r.liveFlowLink)(done, err)
	return out, err
}

func (r mutationResolver) DisableFlowLink(ctx context.Context, in model.DisableFlowLinkInput) (*model.DisableFlowLinkPayload, error) {
	out := &model.DisableFlowLinkPayload{}
	l, problems, err := made(ctx, r.liveFlowLink)(r.do(ctx, model.FlowLinkID, in.ID, func(ctx context.Context, tx db.Tx, org, id db.ID) error {
		waits, err := r.engine.DisableLink(ctx, tx, org, id)
		out.OpenRuns, out.WaitingEvents = new(int32(waits.Runs)), new(int32(waits.Events))
		return err
	}))
	if out.FlowLink, out.UserErrors = l, problems; l == nil {
		out.OpenRuns, out.WaitingEvents = nil, nil
	}
	return out, err
}

func (r mutationResolver) DeleteFlowLink(ctx context.Context, in model.DeleteFlowLinkInput) (*model.DeleteFlowLinkPayload, error) {
	id, problems, err := made(ctx, deleted(model.FlowLinkID))(r.do(ctx, model.FlowLinkID, in.ID, func(ctx context.Context, tx db.Tx, org, id db.ID) error {
		_, err := r.engine.DeleteLink(ctx, tx, org, id)
		return err
	}))
	return &model.DeleteFlowLinkPayload{DeletedID: id, UserErrors: problems}, err
}

func (r mutationResolver) TriggerFlow(ctx context.Context, in model.TriggerFlowInput) (*model.TriggerFlowPayload, error) {
	e, problems, err := made(ctx, r.event)(r.Do(ctx, model.EventID, func(ctx context.Context, tx db.Tx, v auth.Viewer) (db.ID, error) {
		link, err := model.FlowLinkID.Parse(in.ID)
		if err != nil {
			return db.ID{}, err
		}
		row, err := r.engine.TriggerNow(ctx, tx, v.Org, link, in.Payload)
		if err != nil {
			return db.ID{}, err
		}
		return row.ID, nil
	}))
	return &model.TriggerFlowPayload{Event: e, UserErrors: problems}, err
}

// linkOf is a link in the engine's terms.
func linkOf(in model.CreateFlowLinkInput) (flow.LinkInput, error) {
	out := flow.LinkInput{FlowID: model.FlowID.Find(in.FlowID), Name: in.Name, Filter: given(in.Filter), Redact: in.Redact, Version: int(given(in.Version))}
	var err error
	out.Connections, out.Params, err = boundOf(in.Connections, in.Params)
	return out, err
}

// linkChange is a change of a link in the engine's terms.
func linkChange(in model.UpdateFlowLinkInput) (flow.LinkChange, error) {
	out := flow.LinkChange{Name: in.Name, Redact: in.Redact}
	if filter, set := in.Filter.ValueOK(); set {
		out.Filter = new(given(filter))
	}
	if version, set := in.Version.ValueOK(); set {
		out.Version = new(int(given(version)))
		if version != nil && *version < 1 {
			return out, flow.Problems{{Field: []string{"version"}, Code: flow.CodeInvalid, Message: "Versions are numbered from 1. Null follows the newest."}}
		}
	}
	var err error
	out.Connections, out.Params, err = boundOf(in.Connections, in.Params)
	return out, err
}

// boundOf are the connections of a link, by role, and the values of its parameters; nil when they are left out.
func boundOf(connections []*model.FlowLinkSlotInput, params json.RawMessage) (conns map[string]db.ID, values map[string]any, err error) {
	var bad flow.Problems
	conns = map[string]db.ID{}
	for _, c := range connections {
		if _, twice := conns[c.Key]; twice {
			bad = append(bad, flow.Problem{Field: []string{"connections", c.Key}, Code: flow.CodeInvalid, Message: "One connection is enough here."})
		}
		conns[c.Key] = model.ConnectionID.Find(c.ConnectionID)
	}
	if len(params) > 0 && json.Unmarshal(params, &values) != nil {
		bad = append(bad, flow.Problem{Field: []string{"params"}, Code: flow.CodeInvalid, Message: "Parameters are an object; see paramsSchema of the flow."})
	}
	if len(bad) > 0 {
		err = bad
	}
	return conns, values, err
}
