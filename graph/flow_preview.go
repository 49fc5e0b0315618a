package graph

import (
	"context"
	"errors"

	"tieline/db"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

func (r queryResolver) PreviewFlow(ctx context.Context, in model.PreviewFlowInput) (*model.FlowPreview, error) {
	asked, err := previewOf(in)
	var p flow.Preview
	if err == nil {
		p, err = r.engine.Preview(ctx, organization(ctx), asked)
	}
	if bad, ok := errors.AsType[flow.Problems](err); ok { // with what was asked; they stand beside those of the document
		for _, x := range bad {
			p.Issues = append(p.Issues, flow.Issue{Path: x.Field, Code: x.Code, Message: x.Message})
		}
		p.Outcome, p.Steps, err = "", nil, nil
	}
	if err != nil {
		return nil, err
	}
	return r.apps.Preview(p)
}

// previewOf is what is to be previewed in the engine's terms.
func previewOf(in model.PreviewFlowInput) (flow.PreviewInput, error) {
	link, err := linkOf(model.CreateFlowLinkInput{Connections: in.Connections, Params: in.Params})
	out := flow.PreviewInput{
		Flow: model.FlowID.Narrow(in.FlowID), Version: int(given(in.Version)), Document: in.Draft, Connections: link.Connections, Params: link.Params,
		Payload: in.Payload, Event: model.EventID.Narrow(in.EventID),
	}
	if err == nil && len(in.Payload) > 0 && out.Event != (db.ID{}) {
		err = flow.Problems{{Field: []string{"payload"}, Code: flow.CodeInvalid, Message: "Give a payload or an event, not both."}}
	}
	return out, err
}
