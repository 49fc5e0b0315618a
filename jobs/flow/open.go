package flow

import (
	"encoding/json"
	"fmt"

	"tieline/connectors"
	"tieline/db"
)

// open makes a connection ready to call its vendor: credentials unsealed, budget and journal attached. It makes no call.
func (e *Engine) open(row db.Connection, j connectors.Journal) (connectors.Conn, error) {
	app, ok := e.Apps.App(row.App)
	if !ok {
		return connectors.Conn{}, fmt.Errorf("no connector for app %q", row.App)
	}
	creds, err := e.credentials(row)
	if err != nil {
		return connectors.Conn{}, err
	}
	return e.openWith(app, creds, j, &tokens{e, row.OrgID, row.ID})
}

// openWith opens what need not be a connection yet: its tokens may be nil, and are then kept for this Conn alone.
func (e *Engine) openWith(app connectors.Connector, creds connectors.Credentials, j connectors.Journal, t connectors.Tokens) (connectors.Conn, error) {
	return connectors.Open(app, creds, connectors.Options{
		URL: e.URLs[app.Key], Login: e.Logins[app.Key], Journal: j, Tokens: t, Base: e.Base, Log: e.Log, Observe: e.Observe,
	})
}

func (e *Engine) credentials(row db.Connection) (connectors.Credentials, error) {
	plain, err := e.Keys.Open(row.Credentials, connectionAD(row.OrgID, row.ID, "credentials"))
	if err != nil {
		return nil, fmt.Errorf("unsealing the credentials of connection %s: %w", row.ID, err)
	}
	var creds map[string]string
	if err := json.Unmarshal(plain, &creds); err != nil {
		return nil, fmt.Errorf("reading the credentials of connection %s: malformed", row.ID)
	}
	return creds, nil
}

func (e *Engine) sealJSON(v any, ad []byte) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return e.Keys.Seal(plain, ad)
}

func connectionAD(org, id db.ID, column string) []byte {
	return placeAD("connections", column, org, id)
}

func effectAD(org, id db.ID) []byte { return placeAD("effects", "request", org, id) }
