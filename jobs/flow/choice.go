package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// maxChoices is how many values a person is asked to choose from.
const maxChoices = 50

// Choice is what a person who was let in still has to say, such as in which of several organizations to work.
type Choice struct {
	Label   string // of the form's field
	Options []connectors.Option
}

// choosing is what an authorization keeps sealed meanwhile.
type choosing struct {
	Credentials map[string]string `json:"credentials"`
	Token       connectors.Token  `json:"token"`
	Until       time.Time         `json:"until"` // it may be used
	Field       string            `json:"field"`
	Values      []string          `json:"values"`
}

// choice asks for what a form lacks where the vendor offers values for it; nil when that is not what stood in the way.
func (e *Engine) choice(ctx context.Context, a db.Authorization, app connectors.Connector, creds connectors.Credentials, token connectors.Token, why error) (*Choice, error) {
	p, ok := errors.AsType[Problems](why)
	if !ok || len(p[0].Field) != 2 {
		return nil, nil
	}
	i := slices.IndexFunc(app.Auth, func(f connectors.Field) bool { return f.Key == p[0].Field[1] && f.Options != nil && creds[f.Key] == "" })
	if i < 0 {
		return nil, nil
	}
	look, err := e.look(ctx, app, creds, &db.Connection{OrgID: a.OrgID})
	if err != nil {
		return nil, err
	}
	c, err := e.openWith(app, creds, look, connectors.NewTokens(token))
	if err != nil {
		return nil, err
	}
	list, err := walkOptions(ctx, c, app.Auth[i].Options, OptionQuery{First: maxChoices})
	if err != nil || len(list.Options) == 0 {
		return nil, nil // what stood in the way is said
	}
	keep := choosing{Credentials: creds, Token: token, Until: time.Now().Add(token.Life), Field: app.Auth[i].Key}
	for _, o := range list.Options {
		keep.Values = append(keep.Values, o.Value)
	}
	box, err := e.sealJSON(keep, authorizationAD(a))
	if err != nil {
		return nil, err
	}
	return &Choice{app.Auth[i].Label, list.Options}, db.HoldAuthorization(ctx, e.DB, a, box)
}

// Choose goes on with an authorization whose person has chosen. It is taken once, from the browser that was asked.
func (e *Engine) Choose(ctx context.Context, state, cookie, value string) (v Visit, err error) {
	ctx = context.WithoutCancel(ctx) // as the way back
	a, late, err := db.FindAuthorization(ctx, e.DB, hashed(state))
	if err != nil {
		return v, expired(err)
	}
	e.names(a, &v)
	switch {
	case late:
		return v, expired(db.ErrNotFound)
	case a.EndedAt.IsZero() || len(a.Form) == 0:
		return v, ended
	case !ours(a, cookie):
		return v, otherBrowser(v.App)
	}
	var kept choosing
	plain, err := e.Keys.Open(a.Form, authorizationAD(a))
	if err == nil {
		err = json.Unmarshal(plain, &kept)
	}
	if err != nil {
		return v, fmt.Errorf("unsealing authorization %s: %w", a.ID, err)
	}
	if !slices.Contains(kept.Values, value) {
		return v, problem(CodeInvalid, "This was not offered. Go back and choose one of those that were.")
	}
	if err := db.TakeChoice(ctx, e.DB, a); err != nil {
		return v, expired(err)
	}
	app, _ := e.Apps.App(a.App)
	kept.Token.Life = max(time.Until(kept.Until), 0)
	kept.Credentials[kept.Field] = value
	v.Connection, err = e.welcome(ctx, a, app, kept.Credentials, kept.Token)
	if err != nil {
		e.revoke(ctx, app, kept.Credentials, &kept.Token)
	}
	return v, err
}

// welcome makes the connection that an authorization was begun for.
func (e *Engine) welcome(ctx context.Context, a db.Authorization, app connectors.Connector, creds connectors.Credentials, token connectors.Token) (db.Connection, error) {
	row := db.Connection{OrgID: a.OrgID, ID: a.ConnectionID, App: a.App, Name: a.Name, State: ConnActive, WebhookState: WebhookMissing, TestedAt: time.Now()}
	row, err := e.admit(ctx, app, creds, &token, row, func(context.Context, db.Tx, db.ID) error { return nil })
	if err != nil {
		return row, err
	}
	return e.registered(ctx, row), nil
}
