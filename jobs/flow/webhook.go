package flow

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"tieline/connectors"
	"tieline/db"
)

// secretOverlap is how long a signing secret is taken after another took its place: vendors sign repeats of old
// deliveries with it.
const secretOverlap = 24 * time.Hour

// WebhookPath is the path that the vendor calls for a connection, at whatever address of ours it can reach. Whoever knows
// it can send events where the vendor signs none.
func (e *Engine) WebhookPath(row db.Connection) (string, error) {
	token, err := e.Keys.Open(row.WebhookToken, connectionAD(row.OrgID, row.ID, "webhook_token"))
	if err != nil {
		return "", fmt.Errorf("unsealing the webhook token of connection %s: %w", row.ID, err)
	}
	return fmt.Sprintf("/webhooks/%s/%s", row.App, token), nil
}

// WebhookURL is WebhookPath at our public address.
func (e *Engine) WebhookURL(row db.Connection) (string, error) {
	path, err := e.WebhookPath(row)
	return e.PublicURL + path, err
}

// WebhookStanding says who looks after a connection's endpoint, and why it is not us. It is not stored whole: what a
// person must do depends on whether we have a public address.
func (e *Engine) WebhookStanding(row db.Connection) (state, why string) {
	app, _ := e.Apps.App(row.App)
	switch {
	case app.Webhook == nil || !row.DeletedAt.IsZero():
		return WebhookMissing, ""
	case row.WebhookState == WebhookRegistered:
		return WebhookRegistered, row.WebhookError
	case e.PublicURL != "" && app.Webhook.Unsigned:
		return WebhookManual, ""
	case e.PublicURL != "" && row.WebhookState == WebhookManual:
		return WebhookManual, ""
	case e.PublicURL != "" && row.WebhookError == "":
		return WebhookMissing, "It is not registered yet; that is tried again and again."
	case e.PublicURL != "":
		return WebhookMissing, row.WebhookError
	}
	if row.WebhookState == WebhookManual {
		return WebhookManual, ""
	}
	why = "Tieline knows no public address of its own (TIELINE_PUBLIC_URL), so the vendor cannot be told where to call. To set it up by hand, put webhook.path behind an address that leads here"
	if app.Webhook.Unsigned {
		return WebhookMissing, why + "."
	}
	return row.WebhookState, why + ", and give its signing secret to updateConnection."
}

// WebhookSecrets are the signing secrets of a connection that are taken now; none when the vendor signs nothing or none
// was given.
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
	if len(secrets) > 1 && time.Now().After(row.WebhookOldUntil) {
		secrets = secrets[:1]
	}
	return secrets, err
}

// pasted puts a signing secret that a person gave on a connection: nil leaves it as it is, empty removes it. Who gives one
// looks after the endpoint.
func (e *Engine) pasted(app connectors.Connector, row *db.Connection, secret *string) (Problems, error) {
	if secret == nil {
		return nil, nil
	}
	given := strings.TrimSpace(*secret)
	switch {
	case row.WebhookState == WebhookRegistered:
		return problem(CodeState, "Tieline registered this webhook itself and keeps its secret, so leave this field out. To have another secret, set rotateWebhookSecret.", "webhookSecret"), nil
	case given == "" && *secret != "":
		return problem(CodeInvalid, "A signing secret is not blank. Leave the field out, or null, for none.", "webhookSecret"), nil
	case given == "":
		row.WebhookSecrets, row.WebhookState = nil, WebhookMissing
		return nil, nil
	case app.Webhook == nil || app.Webhook.Unsigned:
		return problem(CodeInvalid, app.Name+" signs nothing, so there is no secret to give. Leave this field out.", "webhookSecret"), nil
	case !strings.HasPrefix(given, app.Webhook.SecretPrefix) || len(given) < len(app.Webhook.SecretPrefix)+8 || strings.ContainsFunc(given, notOfToken):
		return problem(CodeInvalid, fmt.Sprintf("This is not a signing secret of %s: those begin with %s. Copy it where the webhook is set up.", app.Name, app.Webhook.SecretPrefix), "webhookSecret"), nil
	}
	row.WebhookState, row.WebhookError = WebhookManual, ""
	return nil, e.sealSecret(row, given)
}

func notOfToken(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// sealSecret makes a signing secret the first of a connection; those before stay for a while.
func (e *Engine) sealSecret(row *db.Connection, secret string) error {
	old, err := e.WebhookSecrets(*row)
	if err != nil || len(old) > 0 && old[0] == secret {
		return err
	}
	old = slices.DeleteFunc(old, func(s string) bool { return s == secret })
	all := append([]string{secret}, old[:min(len(old), 3)]...)
	row.WebhookOldUntil = time.Now().Add(secretOverlap)
	row.WebhookSecrets, err = e.sealJSON(all, connectionAD(row.OrgID, row.ID, "webhook_secrets"))
	return err
}

// without hides a webhook's token, the last part of its URL, in what a vendor says of it.
func without(url, said string) string { return strings.ReplaceAll(said, path.Base(url), "…") }
