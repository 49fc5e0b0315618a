package graph

import (
	"context"
	"encoding/json"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

var flowVersions = list[db.FlowVersion, model.FlowVersion]{"flowVersions", func(v *db.FlowVersion) db.ID { return v.ID }, sure(model.NewVersion)}

// liveFlow is a flow that was not deleted.
func (r *Resolvers) liveFlow(ctx context.Context, id db.ID) (*model.Flow, error) {
	f, err := r.flow(ctx, id)
	if err != nil || f == nil || f.DeletedAt != nil {
		return nil, err
	}
	return f, nil
}

func (r flowResolver) Draft(_ context.Context, f *model.Flow) (*model.FlowDraft, error) {
	return model.NewDraft(f.Row), nil
}

func (r flowResolver) Versions(ctx context.Context, f *model.Flow, first *int32, after *string, last *int32, before *string) (*model.FlowVersionConnection, error) {
	return flowVersions.page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.FlowVersion, error) {
		return r.load(ctx).versionsOfFlow.Load(ctx, paging[db.ID]{f.Row.ID, w})
	})
}

func (r flowResolver) Document(ctx context.Context, f *model.Flow, format model.FlowFormat) (string, error) {
	v, err := r.version(ctx, f)
	if err != nil {
		return "", err
	}
	return flow.Export(v.Definition, string(format))
}

func (r versionResolver) Document(_ context.Context, v *model.FlowVersion, format model.FlowFormat) (string, error) {
	return flow.Export(v.Row.Definition, string(format))
}

func (r draftResolver) Problems(ctx context.Context, d *model.FlowDraft) ([]*model.FlowProblem, error) {
	issues, err := r.engine.Check(ctx, r.DB, organization(ctx), d.Row.ID, d.Row.Draft)
	return model.NewIssues(issues), err
}

func (r queryResolver) FlowSchema(context.Context) (json.RawMessage, error) {
	return flow.Schema(), nil
}

func (r queryResolver) ExpressionScope(_ context.Context, draft json.RawMessage, step *string) (*model.ExpressionScope, error) {
	scope, err := r.engine.Scope(draft, given(step))
	if err != nil {
		return nil, fail(BadUserInput, err.Error())
	}
	return model.NewScope(scope), nil
}

func (r queryResolver) CheckFlow(ctx context.Context, draft json.RawMessage, flowID *string) ([]*model.FlowProblem, error) {
	issues, err := r.engine.Check(ctx, r.DB, organization(ctx), model.FlowID.Narrow(flowID), draft)
	return model.NewIssues(issues), err
}

func (r mutationResolver) CreateFlow(ctx context.Context, in model.CreateFlowInput) (*model.CreateFlowPayload, error) {
	f, problems, err := made(ctx, r.liveFlow)(r.Do(ctx, model.FlowID, func(ctx context.Context, tx db.Tx, v auth.Viewer) (db.ID, error) {
		doc, err := documentOf(in.Document, in.Text)
		if err != nil {
			return db.ID{}, err
		}
		row, err := r.engine.CreateFlow(ctx, tx, v.Org, flow.NewFlow{Document: doc, CopyOf: model.FlowID.Narrow(in.CopyOf), Name: given(in.Name)})
		if err != nil {
			return db.ID{}, err
		}
		return row.ID, nil
	}))
	return &model.CreateFlowPayload{Flow: f, UserErrors: problems}, err
}

func (r mutationResolver) UpdateFlow(ctx context.Context, in model.UpdateFlowInput) (*model.UpdateFlowPayload, error) {
	f, problems, err := made(ctx, r.liveFlow)(r.do(ctx, model.FlowID, in.ID, func(ctx context.Context, tx db.Tx, org, id db.ID) error {
		doc, err := documentOf(in.Document, in.Text)
		if err != nil {
			return err
		}
		_, err = r.engine.UpdateFlow(ctx, tx, org, id, int64(in.Revision), doc)
		return err
	}))
	return &model.UpdateFlowPayload{Flow: f, UserErrors: problems}, err
}

func (r mutationResolver) PublishFlow(ctx context.Context, in model.PublishFlowInput) (*model.PublishFlowPayload, error) {
	f, problems, err := made(ctx, r.liveFlow)(r.do(ctx, model.FlowID, in.ID, func(ctx context.Context, tx db.Tx, org, id db.ID) error {
		_, err := r.engine.PublishFlow(ctx, tx, org, id, flow.Publication{Revision: int64(given(in.Revision)), Version: int(given(in.Version))})
		return err
	}))
	return &model.PublishFlowPayload{Flow: f, UserErrors: problems}, err
}

func (r mutationResolver) DeleteFlow(ctx context.Context, in model.DeleteFlowInput) (*model.DeleteFlowPayload, error) {
	id, problems, err := made(ctx, deleted(model.FlowID))(r.do(ctx, model.FlowID, in.ID, func(ctx context.Context, tx db.Tx, org, id db.ID) error {
		_, err := r.engine.DeleteFlow(ctx, tx, org, id)
		return err
	}))
	return &model.DeleteFlowPayload{DeletedID: id, UserErrors: problems}, err
}

// documentOf is a document that came as it is or as a file.
func documentOf(doc json.RawMessage, text *string) (json.RawMessage, error) {
	switch {
	case text == nil:
		return doc, nil
	case len(doc) > 0:
		return nil, flow.Problems{{Field: []string{"text"}, Code: flow.CodeInvalid, Message: "Give the document or a text, not both."}}
	}
	doc, err := flow.Import(*text)
	if err != nil {
		return nil, flow.Problems{{Field: []string{"text"}, Code: flow.CodeInvalid, Message: err.Error() + "."}}
	}
	return doc, nil
}
