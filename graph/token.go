package graph

import (
	"context"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

var tokens = list[db.Token, model.APIToken]{"apiTokens", func(t *db.Token) db.ID { return t.ID }, sure(model.NewToken)}

var alreadyShown = &flow.Problem{Field: []string{"idempotencyKey"}, Code: codeAlreadyShown,
	Message: "This call made the token before, and its secret was shown then. Revoke it and make another if that answer was lost."}

func (r *Resolvers) token(ctx context.Context, id db.ID) (*model.APIToken, error) {
	return one(ctx, r.load(ctx).tokens, id, sure(model.NewToken))
}

func (r queryResolver) APITokens(ctx context.Context, first *int32, after *string, last *int32, before *string) (*model.APITokenConnection, error) {
	return tokens.page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.Token, error) {
		return db.TokensPage(ctx, r.DB, organization(ctx), w)
	})
}

func (r mutationResolver) CreateAPIToken(ctx context.Context, in model.CreateAPITokenInput) (*model.CreateAPITokenPayload, error) {
	var secret string
	done, err := r.Do(ctx, model.TokenID, func(ctx context.Context, tx db.Tx, v auth.Viewer) (id db.ID, err error) {
		id, secret, err = auth.MakeToken(ctx, tx, v.Org, in.Name, in.Scopes, given(in.ExpiresAt))
		return id, err
	})
	if done.Replayed {
		done.Problems = append(done.Problems, alreadyShown)
	}
	t, problems, err := made(ctx, r.token)(done, err)
	out := &model.CreateAPITokenPayload{APIToken: t, UserErrors: problems}
	if t != nil && secret != "" {
		out.Secret = &secret
	}
	return out, err
}

func (r mutationResolver) RevokeAPIToken(ctx context.Context, in model.RevokeAPITokenInput) (*model.RevokeAPITokenPayload, error) {
	t, problems, err := made(ctx, r.token)(r.do(ctx, model.TokenID, in.ID, func(ctx context.Context, tx db.Tx, org, id db.ID) error {
		return db.RevokeToken(ctx, tx, org, id)
	}))
	return &model.RevokeAPITokenPayload{APIToken: t, UserErrors: problems}, err
}
