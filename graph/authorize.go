package graph

import (
	"context"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

var linkShown = &flow.Problem{Field: []string{"idempotencyKey"}, Code: codeAlreadyShown,
	Message: "This call began an authorization before, and its link was shown then. Begin another with a new key if that answer was lost."}

func (r mutationResolver) AuthorizeConnection(ctx context.Context, in model.AuthorizeConnectionInput) (*model.AuthorizeConnectionPayload, error) {
	var begun flow.Authorization
	done, err := r.Do(ctx, model.ConnectionID, func(ctx context.Context, tx db.Tx, v auth.Viewer) (db.ID, error) {
		ask, err := authorizationOf(in)
		if err == nil {
			begun, err = r.engine.Authorize(ctx, tx, v.Org, ask)
		}
		return begun.ConnectionID, err
	})
	if done.Replayed {
		done.Problems = append(done.Problems, linkShown)
	}
	out := &model.AuthorizeConnectionPayload{UserErrors: done.Problems}
	if err == nil && begun.URL != "" && len(done.Problems) == 0 {
		out.Authorization = model.NewAuthorization(begun.ConnectionID, begun.URL, begun.ExpiresAt)
	}
	return out, err
}

// authorizationOf is what is asked for in the engine's terms.
func authorizationOf(in model.AuthorizeConnectionInput) (out flow.AuthorizeInput, err error) {
	if in.ID != nil {
		if out.ID, err = model.ConnectionID.Parse(*in.ID); err != nil {
			return out, err
		}
	}
	if in.Credentials != nil {
		if out.Credentials, err = formOf(in.Credentials); err != nil {
			return out, err
		}
	}
	out.App, out.Name, out.ReturnURL = given(in.App), in.Name, given(in.ReturnURL)
	return out, nil
}
