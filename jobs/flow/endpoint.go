package flow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"tieline/connectors"
	"tieline/db"
)

const (
	careEvery  = 5 * time.Minute
	careSoon   = 10 * time.Second
	careLease  = 2 * time.Minute // longer than all calls of one look take
	anewEvery  = time.Hour       // between two endpoints made anew because signatures do not match
	removeTill = 24 * time.Hour  // how long a deleted connection's endpoint is tried to be removed
)

// Care looks after a connection's endpoint at its vendor, if that is due: one that went missing, was switched off or
// changed is made anew, and that of a deleted connection is removed. Its failures are kept on the connection and tried
// again.
func (e *Engine) Care(ctx context.Context, org, connection db.ID) error {
	row, err := db.AnyConnection(ctx, e.DB, org, connection)
	if err != nil || row.CareAt.IsZero() || time.Until(row.CareAt) > 2*time.Minute {
		return err
	}
	app, _ := e.Apps.App(row.App)
	switch {
	case app.Webhook == nil || app.Webhook.Register == nil:
		return db.NeverCare(ctx, e.DB, org, connection)
	case !row.DeletedAt.IsZero():
		return e.unregister(ctx, row)
	}
	_, err = e.register(ctx, row, looked{due: true})
	return err
}

// looked says how register looks at an endpoint.
type looked struct {
	due    bool // only if it is due
	person bool // a person asks
}

// register makes sure that the vendor calls us, where we are to see to that, and notes on the connection how that went. Its
// failure leaves the connection usable: reading finds what no webhook brings.
func (e *Engine) register(ctx context.Context, row db.Connection, how looked) (db.Connection, error) {
	app, _ := e.Apps.App(row.App)
	if app.Webhook == nil || app.Webhook.Register == nil {
		return row, nil
	}
	err := db.LeaseWebhook(ctx, e.DB, &row, careLease, how.due)
	if errors.Is(err, db.ErrNotFound) { // another is at it, or it was looked at just now
		return row, nil
	}
	if err != nil {
		return row, err
	}
	was := row
	next := jittered(careEvery)
	switch {
	case row.State != ConnActive:
	case row.WebhookState == WebhookManual:
		next, err = e.leftovers(ctx, app, row, next)
	case e.PublicURL == "" && row.WebhookState != WebhookRegistered:
		row.WebhookError = ""
	case e.PublicURL == "": // of an address we had; nothing can be said of it
	default:
		next, err = e.lookAt(ctx, app, &row, how)
	}
	if err != nil {
		return row, err
	}
	// A secret that was just made is shown by the vendor only once, so a caller who has left does not lose it.
	ctx = context.WithoutCancel(ctx)
	err = db.SaveWebhook(ctx, e.DB, &row, next)
	if errors.Is(err, db.ErrNotFound) { // deleted meanwhile; whoever looks next removes what is not known
		return row, db.AskCare(ctx, e.DB, row.OrgID, row.ID)
	}
	if err == nil && row.WebhookState == WebhookRegistered && row.WebhookID != was.WebhookID {
		err = db.AskReading(ctx, e.DB, row.OrgID, row.ID) // what happened while there was none
	}
	return row, err
}

// lookAt has the connector look at the endpoint, and answers when to look again.
func (e *Engine) lookAt(ctx context.Context, app connectors.Connector, row *db.Connection, how looked) (time.Duration, error) {
	unsettled, err := db.OwnUnsettled(ctx, e.DB, row.OrgID, row.ID)
	if err != nil {
		return 0, err
	}
	began, err := db.Now(ctx, e.DB)
	if err != nil {
		return 0, err
	}
	known := row.WebhookID
	switch secrets, err := e.WebhookSecrets(*row); {
	case err != nil:
		return 0, err
	case len(secrets) == 0:
		known = "" // good for nothing
	case row.WebhookRefused > 0 && how.person, row.WebhookRefused >= db.BadSignatures && began.Sub(row.WebhookMadeAt) > anewEvery:
		known = "" // its secret may not be the one we hold
	}
	if err := e.endpoint(ctx, app, row, known, "", how.person); err != nil {
		if ctx.Err() != nil { // the process stops, or the caller has left: that says nothing of the endpoint
			return jittered(careSoon), nil
		}
		row.WebhookError = text(fmt.Sprintf("The webhook at %s could not be looked at: %s", app.Name, err))
		if row.WebhookID == "" {
			row.WebhookState, row.WebhookError = WebhookMissing, text(fmt.Sprintf("Registering the webhook at %s failed: %s", app.Name, err))
		}
		e.Log.WarnContext(ctx, "a webhook could not be registered", "org", row.OrgID, "connection", row.ID, "error", err)
		if connectors.KindOf(err) == connectors.Unauthorized {
			_, err := db.AwaitReauth(ctx, e.DB, *row, true, err.Error())
			return jittered(careEvery), err
		}
		return e.pauseSince(row.CaredAt, row.CreatedAt), nil
	}
	row.CaredAt = began
	return jittered(careEvery), e.settleOwn(ctx, app, unsettled, began)
}

// endpoint makes sure that the one endpoint there is, beside one that is to stay, is right and ours to verify.
func (e *Engine) endpoint(ctx context.Context, app connectors.Connector, row *db.Connection, known, beside string, person bool) error {
	url, err := e.WebhookURL(*row)
	if err != nil {
		return err
	}
	c, err := e.open(*row, e.connectionJournal(*row, person))
	if err != nil {
		return err
	}
	want := e.endpointOf(app, *row)
	want.URL, want.KnownID, want.Beside = url, known, beside
	var got connectors.Registration
	for range 3 { // an endpoint whose secret is lost is made anew in the next generation
		row.WebhookGeneration = max(row.WebhookGeneration, 1)
		want.Generation = row.WebhookGeneration
		got, err = app.Webhook.Register(ctx, c, want)
		if got.Gone && beside == "" {
			row.WebhookID = ""
		}
		if err != nil {
			return hidden{without(url, err.Error()), err}
		}
		if got.ID != "" {
			break
		}
		row.WebhookGeneration++
	}
	if got.ID == "" {
		return errors.New("no endpoint stayed")
	}
	row.WebhookState, row.WebhookError, row.WebhookID = WebhookRegistered, "", got.ID
	if got.Secret == "" {
		return nil
	}
	row.WebhookMadeAt = time.Now()
	return e.sealSecret(row, got.Secret)
}

// endpointOf is what tells a connection's endpoints from all others.
func (e *Engine) endpointOf(app connectors.Connector, row db.Connection) connectors.Endpoint {
	return connectors.Endpoint{ConnectionID: db.FormatID("con", row.ID), Root: e.PublicURL, Events: app.Events()}
}

// renew makes another endpoint beside the one there is, whose secret is taken with the old one's for a while. The next look
// removes the old one.
func (e *Engine) renew(ctx context.Context, row *db.Connection) error {
	app, _ := e.Apps.App(row.App)
	if row.WebhookState != WebhookRegistered || e.PublicURL == "" {
		return problem(CodeState, "Only the secret of a webhook that Tieline registered itself can be rotated. Give a new one of your own as webhookSecret.", "rotateWebhookSecret")
	}
	asked := *row
	err := db.LeaseWebhook(ctx, e.DB, row, careLease, false)
	if errors.Is(err, db.ErrNotFound) {
		return problem(CodeState, "The webhook is being looked at just now. Try again in a moment.", "rotateWebhookSecret")
	}
	if err != nil {
		return err
	}
	if !row.UpdatedAt.Equal(asked.UpdatedAt) {
		return errors.Join(taken(db.ErrConflict), db.CareLater(ctx, e.DB, *row, careSoon))
	}
	row.Credentials = asked.Credentials
	row.WebhookGeneration++
	if err := e.endpoint(ctx, app, row, "", row.WebhookID, true); err != nil {
		err = errors.Join(err, db.CareLater(context.WithoutCancel(ctx), e.DB, *row, careSoon))
		return refusal(app, err, "rotateWebhookSecret")
	}
	return nil
}

// unregister removes a deleted connection's endpoint, also one whose create is still under way, and then forgets its
// credentials. A vendor that is away is tried again for a day.
func (e *Engine) unregister(ctx context.Context, row db.Connection) error {
	app, _ := e.Apps.App(row.App)
	err := db.LeaseWebhook(ctx, e.DB, &row, careLease, false)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	left, err := e.clear(ctx, app, row)
	ctx = context.WithoutCancel(ctx)
	switch k := connectors.KindOf(err); {
	case err == nil && left > 0:
		return db.CareLater(ctx, e.DB, row, left+time.Second)
	case err == nil:
		return e.forget(ctx, app, row)
	case k == connectors.Unauthorized, k == connectors.Forbidden, time.Since(row.DeletedAt) > removeTill:
		e.Log.WarnContext(ctx, "a webhook stays at its vendor: it cannot be removed", "org", row.OrgID, "connection", row.ID, "error", err)
		return e.forget(ctx, app, row)
	}
	e.Log.WarnContext(ctx, "a webhook could not be removed; that is tried again", "org", row.OrgID, "connection", row.ID, "error", err)
	return db.CareLater(ctx, e.DB, row, e.pauseSince(time.Time{}, row.DeletedAt))
}

// forget removes the credentials of a deleted connection, and gives back what a person's consent brought.
func (e *Engine) forget(ctx context.Context, app connectors.Connector, row db.Connection) error {
	creds, given := e.grant(ctx, app, row)
	err := db.ForgetConnection(ctx, e.DB, row)
	if err == nil {
		e.revoke(ctx, app, creds, given)
	}
	return err
}

// leftovers removes what we may have registered before a person gave a secret, and answers when to look again.
func (e *Engine) leftovers(ctx context.Context, app connectors.Connector, row db.Connection, next time.Duration) (time.Duration, error) {
	unsettled, err := db.OwnUnsettled(ctx, e.DB, row.OrgID, row.ID)
	if err != nil || len(unsettled) == 0 || e.PublicURL == "" {
		return next, err
	}
	left, err := e.clear(ctx, app, row)
	if err != nil {
		e.Log.WarnContext(ctx, "a webhook could not be removed; that is tried again", "org", row.OrgID, "connection", row.ID, "error", err)
		return next, nil
	}
	if left > 0 {
		next = left + time.Second
	}
	return next, nil
}

// clear removes a connection's endpoints, and answers for how long a write may still make one.
func (e *Engine) clear(ctx context.Context, app connectors.Connector, row db.Connection) (left time.Duration, err error) {
	unsettled, err := db.OwnUnsettled(ctx, e.DB, row.OrgID, row.ID)
	if err != nil {
		return 0, err
	}
	began, err := db.Now(ctx, e.DB)
	if err != nil {
		return 0, err
	}
	c, err := e.open(row, e.connectionJournal(row, false))
	if err != nil {
		return 0, err
	}
	if err := app.Webhook.Remove(ctx, c, e.endpointOf(app, row)); err != nil {
		return 0, err
	}
	return max(0, inAir(app, unsettled).Sub(began)), e.settleOwn(ctx, app, unsettled, began)
}

// settleOwn settles effects of a connection that were open before all its endpoints were looked at, and that can no longer
// be in the air: what they left was found then, and kept or removed.
func (e *Engine) settleOwn(ctx context.Context, app connectors.Connector, unsettled []db.Effect, looked time.Time) error {
	for _, ef := range unsettled {
		if inAir(app, []db.Effect{ef}).After(looked) {
			continue
		}
		ef.Request = nil
		if ef.State = EffectConfirmed; ef.Kind == string(connectors.CreateEffect) {
			ef.State, ef.Error = EffectGivenUp, "its answer was lost, and with it the secret; what it made was removed"
		}
		if err := db.SettleEffect(ctx, e.DB, &ef); err != nil && !errors.Is(err, db.ErrConflict) {
			return err
		}
	}
	return nil
}

// inAir is until when one of the writes may still happen, or not be seen yet.
func inAir(app connectors.Connector, effects []db.Effect) (until time.Time) {
	for _, ef := range effects {
		if t := ef.SendUntil.Add(app.Settle); t.After(until) {
			until = t
		}
	}
	return until
}

// pauseSince is how long to wait after a failure: the longer, the longer it has gone on.
func (e *Engine) pauseSince(good, began time.Time) time.Duration {
	if good.IsZero() {
		good = began
	}
	return jittered(min(max(time.Since(good)/2, careSoon), careEvery))
}

// jittered spreads what else would come at once.
func jittered(d time.Duration) time.Duration { return d*4/5 + rand.N(d*2/5) }

// hidden is an error whose words are ours.
type hidden struct {
	said  string
	cause error
}

func (h hidden) Error() string { return h.said }
func (h hidden) Unwrap() error { return h.cause }
