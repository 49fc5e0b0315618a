package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"tieline/connectors"
	"tieline/db"
)

// register makes sure that the vendor calls us, and notes on the connection how that went. Its failure leaves the
// connection usable: reading finds what no webhook brings.
func (e *Engine) register(ctx context.Context, row db.Connection) (db.Connection, error) {
	app, _ := e.Apps.App(row.App)
	switch {
	case app.Webhook == nil:
		return row, nil
	case app.Webhook.Register == nil, e.PublicURL == "":
		row.WebhookState = WebhookManual
		row.WebhookError = ""
		if e.PublicURL == "" {
			row.WebhookError = "No public URL is configured (TIELINE_PUBLIC_URL), so the vendor cannot be told where to call. Set the endpoint up by hand and paste its signing secret."
		}
	default:
		if err := e.registerAt(ctx, app, &row); err != nil {
			row.WebhookState, row.WebhookError = WebhookMissing, text(fmt.Sprintf("Registering the webhook at %s failed: %s", app.Name, err))
			e.Log.WarnContext(ctx, "a webhook could not be registered", "org", row.OrgID, "connection", row.ID, "error", err)
		}
	}
	// A secret that was just made is shown by the vendor only once, so a caller who has left does not lose it.
	ctx = context.WithoutCancel(ctx)
	err := db.SaveWebhook(ctx, e.DB, &row)
	if errors.Is(err, db.ErrNotFound) { // deleted meanwhile
		e.unregister(ctx, row)
	}
	return row, err
}

func (e *Engine) registerAt(ctx context.Context, app connectors.Connector, row *db.Connection) error {
	url, err := e.WebhookURL(*row)
	if err != nil {
		return err
	}
	c, err := e.open(*row, e.connectionJournal(*row))
	if err != nil {
		return err
	}
	var got connectors.Registration
	for range 3 { // an endpoint whose secret is lost is made anew in the next generation
		row.WebhookGeneration = max(row.WebhookGeneration, 1)
		if got, err = app.Webhook.Register(ctx, c, connectors.Endpoint{
			ConnectionID: db.FormatID("con", row.ID), URL: url, Events: app.Events(), Generation: row.WebhookGeneration, KnownID: row.WebhookID,
		}); err != nil {
			return errors.New(strings.ReplaceAll(err.Error(), path.Base(url), "…")) // its last part is a secret of its own
		}
		if got.ID != "" {
			break
		}
		row.WebhookGeneration++
	}
	if got.ID == "" {
		return fmt.Errorf("no endpoint stayed")
	}
	row.WebhookState, row.WebhookError, row.WebhookID = WebhookRegistered, "", got.ID
	if got.Secret == "" {
		return nil
	}
	return e.sealSecret(row, &got.Secret)
}

func (e *Engine) unregister(ctx context.Context, row db.Connection) {
	app, _ := e.Apps.App(row.App)
	if app.Webhook == nil || app.Webhook.Remove == nil {
		return
	}
	c, err := e.open(row, e.connectionJournal(row))
	if err == nil {
		err = app.Webhook.Remove(ctx, c, row.WebhookID)
	}
	if err != nil {
		e.Log.WarnContext(ctx, "a webhook could not be removed", "org", row.OrgID, "connection", row.ID, "error", err)
	}
}

// WebhookURL is what the vendor calls for a connection. Whoever knows it can send events where the vendor signs none.
func (e *Engine) WebhookURL(row db.Connection) (string, error) {
	token, err := e.Keys.Open(row.WebhookToken, connectionAD(row.OrgID, row.ID, "webhook_token"))
	if err != nil {
		return "", fmt.Errorf("unsealing the webhook token of connection %s: %w", row.ID, err)
	}
	return fmt.Sprintf("%s/webhooks/%s/%s", e.PublicURL, row.App, token), nil
}

// WebhookSecrets are the signing secrets of a connection; none when the vendor signs nothing or none was given.
func (e *Engine) WebhookSecrets(row db.Connection) ([]string, error) {
	if len(row.WebhookSecrets) == 0 {
		return nil, nil
	}
	plain, err := e.Keys.Open(row.WebhookSecrets, connectionAD(row.OrgID, row.ID, "webhook_secrets"))
	if err != nil {
		return nil, fmt.Errorf("unsealing the signing secrets of connection %s: %w", row.ID, err)
	}
	var secrets []string
	err = json.Unmarshal(plain, &secrets)
	return secrets, err
}

// sealSecret puts a signing secret on a connection; nil leaves it as it is, empty removes it.
func (e *Engine) sealSecret(row *db.Connection, secret *string) error {
	if secret == nil {
		return nil
	}
	if *secret == "" {
		row.WebhookSecrets = nil
		return nil
	}
	box, err := e.sealJSON([]string{*secret}, connectionAD(row.OrgID, row.ID, "webhook_secrets"))
	row.WebhookSecrets = box
	return err
}
