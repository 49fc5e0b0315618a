package model

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// Connection shows a connection.
func (a *Apps) Connection(c db.Connection) (*AppInstance, error) {
	app := a.Of(c.App)
	out := &AppInstance{
		ID: ConnectionID.Of(c.ID), App: app, Name: c.Name, State: ConnectionState(c.State), StateReason: text(c.StateReason),
		Credentials: make([]*CredentialHint, 0, len(c.Hints)),
		Counters: &ConnectionCounters{
			ID: part("cnt", c.ID.String()), Ignored: whole(c.Ignored), IgnoredReason: text(c.IgnoredReason),
			Refused: whole(c.Refused), RefusedReason: text(c.RefusedReason),
		},
		LastEventAt: moment(c.LastEventAt), TestedAt: moment(c.TestedAt), CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
		DeletedAt: moment(c.DeletedAt), Row: c,
	}
	connector, _ := a.registry.App(c.App)
	for _, f := range connector.Auth {
		if hint, ok := c.Hints[f.Key]; ok {
			out.Credentials = append(out.Credentials, &CredentialHint{ID: part("hnt", c.ID.String(), f.Key), Key: f.Key, Label: f.Label, Hint: hint})
		}
	}
	var permissions []connectors.Permission
	if err := json.Unmarshal(c.Permissions, &permissions); err != nil {
		return nil, fmt.Errorf("permissions of connection %s: %w", c.ID, err)
	}
	out.Permissions = make([]*Permission, len(permissions))
	for i, p := range permissions {
		out.Permissions[i] = &Permission{
			ID: part("prm", c.ID.String(), p.Key), Key: p.Key, Label: p.Label, State: PermissionState(p.State), NeededFor: p.NeedFor, Help: text(p.Help),
		}
	}
	return out, nil
}

// NewAuthorization shows what a person has to do.
func NewAuthorization(connection db.ID, url string, expires time.Time) *ConnectionAuthorization {
	return &ConnectionAuthorization{ID: part("way", connection.String(), expires.String()), URL: url, ExpiresAt: expires, ConnectionID: ConnectionID.Of(connection)}
}

// Webhook shows a connection's endpoint at the vendor, at a URL that may be unknown; nil when its app has no webhooks. How
// it stands is the engine's to say.
func (a *Apps) Webhook(c db.Connection, url string) *Webhook {
	app, ok := a.registry.App(c.App)
	if !ok || app.Webhook == nil {
		return nil
	}
	return &Webhook{
		ID: part("whk", c.ID.String()), URL: text(url), Events: app.Events(), ReceivedAt: moment(c.WebhookSeenAt),
	}
}

// VendorAccount shows a vendor account.
func (a *Apps) VendorAccount(v db.VendorAccount) *VendorAccount {
	return &VendorAccount{ID: VendorAccountID.Of(v.ID), App: a.Of(v.App), ExternalID: v.ExternalID, Name: text(v.Name), Mode: Mode(strings.ToUpper(v.Mode))}
}

// RecordURL is where a person sees a record; nil when there is no such page.
func (a *Apps) RecordURL(v db.VendorAccount, entity, id string) *string {
	app, ok := a.registry.App(v.App)
	if !ok {
		return nil
	}
	return text(app.RecordURL(connectors.Mode(v.Mode), entity, id))
}

// LogURL is where a person sees a call in the vendor's log; nil when there is no such page.
func (a *Apps) LogURL(c db.Connection, requestID string) *string {
	app, ok := a.registry.App(c.App)
	if !ok || app.LogURL == nil || c.VendorAccount == nil {
		return nil
	}
	return text(app.LogURL(connectors.Mode(c.VendorAccount.Mode), requestID))
}

// whole is a count as the schema's Int holds it.
func whole[N int | int64](n N) int32 { return int32(min(int64(n), math.MaxInt32)) }
