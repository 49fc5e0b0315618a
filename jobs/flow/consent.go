package flow

import (
	"context"
	"maps"

	"tieline/connectors"
	"tieline/db"
)

// consent is how a person lets us into an app; nil where nobody has to.
func consent(app connectors.Connector) *connectors.Consent {
	if app.Login == nil {
		return nil
	}
	return app.Login.Consent
}

// authority is the authorization server of an app with a consent.
func (e *Engine) authority(app connectors.Connector) connectors.Authority {
	return connectors.Authority{App: app, Root: e.Logins[app.Key], API: e.URLs[app.Key], Base: e.Base, Observe: e.Observe}
}

// redeem turns a code of the vendor's console into a token, if the form has one. The code is kept nowhere.
func (e *Engine) redeem(ctx context.Context, app connectors.Connector, creds connectors.Credentials) (connectors.Credentials, *connectors.Token, error) {
	way := consent(app)
	if way == nil || creds[way.Code] == "" {
		return creds, nil, nil
	}
	code := creds[way.Code]
	creds = maps.Clone(creds)
	delete(creds, way.Code)
	token, creds, err := e.authority(app).Exchange(ctx, creds, connectors.Visit{}, code, nil)
	if err != nil {
		return creds, nil, refusal(app, err, "credentials", way.Code)
	}
	return creds, &token, nil
}

// tokensFor is where the tokens come from with which credentials are proven: the one that was just given, else the
// connection's own, since what another one is asked for with may be good for one time only. Credentials that are enough by
// themselves are proven by asking for a token with them, so those have none.
func (e *Engine) tokensFor(app connectors.Connector, row db.Connection, given *connectors.Token) connectors.Tokens {
	switch {
	case given != nil:
		return connectors.NewTokens(*given)
	case consent(app) != nil:
		return &tokens{e, row.OrgID, row.ID}
	}
	return nil
}

// revoke gives a grant back that is used no more, as far as the vendor lets us: it may keep only so many.
func (e *Engine) revoke(ctx context.Context, app connectors.Connector, creds connectors.Credentials, given *connectors.Token) {
	way := consent(app)
	if way == nil || way.Revoke == "" || given == nil || given.Refresh == "" {
		return
	}
	if err := e.authority(app).Revoke(context.WithoutCancel(ctx), creds, *given); err != nil {
		e.Log.WarnContext(ctx, "a grant that is used no more could not be given back", "app", app.Key, "error", err)
	}
}

// grant is what a person's consent to a connection brought; nil where there is none.
func (e *Engine) grant(ctx context.Context, app connectors.Connector, row db.Connection) (connectors.Credentials, *connectors.Token) {
	if consent(app) == nil {
		return nil, nil
	}
	creds, err := e.credentials(row)
	if err != nil {
		return nil, nil
	}
	box, err := db.KeptAccessToken(ctx, e.DB, row.OrgID, row.ID)
	if err != nil {
		return nil, nil
	}
	token, err := (&tokens{e, row.OrgID, row.ID}).unseal(box)
	if err != nil {
		return nil, nil
	}
	return creds, &token
}
