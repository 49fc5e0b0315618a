package flow

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// ConnectionInput is a connection as a user asks for it. In an update, what is nil stays as it is.
type ConnectionInput struct {
	App           string
	Name          *string
	Credentials   map[string]string // the app's form by field key; in an update, only what changes
	WebhookSecret *string           // a signing secret pasted by hand; empty removes it
	RotateSecret  bool              // of an update: have another signing secret where we registered the webhook
}

// Commit is called in the transaction that makes an operation's work come true, with the id of what it was about. An
// operation that calls a vendor cannot run in its caller's transaction, so its caller's part comes to it.
type Commit func(ctx context.Context, tx db.Tx, id db.ID) error

// Connect makes a connection: its credentials are proven first, and nothing is kept of ones that do not work. Its webhook
// is registered where the vendor has an API for it and can reach us.
func (e *Engine) Connect(ctx context.Context, org db.ID, in ConnectionInput, commit Commit) (db.Connection, error) {
	app, ok := e.Apps.App(in.App)
	if !ok {
		return db.Connection{}, problem(CodeNotFound, fmt.Sprintf("There is no app %q. The query apps lists what there is.", in.App), "app")
	}
	row := db.Connection{OrgID: org, ID: db.NewID(), App: app.Key, State: ConnActive, WebhookState: WebhookMissing, TestedAt: time.Now()}
	bad := named(&row, in.Name, true)
	creds, more := fill(app, nil, in.Credentials)
	bad = append(bad, more...)
	more, err := e.pasted(app, &row, in.WebhookSecret)
	if bad = append(bad, more...); err != nil || len(bad) > 0 {
		return db.Connection{}, cmp.Or(err, bad.or())
	}
	if way := consent(app); way != nil && creds[way.Code] == "" {
		return db.Connection{}, problem(CodeRequired, "A person must let us in first: give a code of "+app.Name+"'s console here, or authorize in a browser with authorizeConnection.", "credentials", cmp.Or(way.Code, way.ClientID))
	}
	creds, given, err := e.redeem(ctx, app, creds)
	if err != nil {
		return db.Connection{}, err
	}
	if row, err = e.admit(ctx, app, creds, given, row, commit); err != nil {
		e.revoke(ctx, app, creds, given)
		return row, err
	}
	return e.register(ctx, row, looked{person: true})
}

// admit makes a connection of credentials that work, with the token that a person's consent brought, if any.
func (e *Engine) admit(ctx context.Context, app connectors.Connector, creds connectors.Credentials, given *connectors.Token, row db.Connection, commit Commit) (db.Connection, error) {
	org := row.OrgID
	account, err := e.prove(ctx, app, creds, &row, e.tokensFor(app, row, given))
	if err != nil {
		return db.Connection{}, err
	}
	token := newToken()
	hash := sha256.Sum256([]byte(token))
	row.WebhookTokenHash = hash[:]
	if row.WebhookToken, err = e.Keys.Seal([]byte(token), connectionAD(org, row.ID, "webhook_token")); err != nil {
		return db.Connection{}, err
	}
	if row.Credentials, err = e.sealJSON(map[string]string(creds), connectionAD(org, row.ID, "credentials")); err != nil {
		return db.Connection{}, err
	}
	if app.Webhook != nil && app.Webhook.Register != nil {
		row.CareAt = time.Now().Add(careSoon) // should this process not come to it
	}
	err = e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		account.OrgID = org
		if account, err = db.ClaimVendorAccount(ctx, tx, account); err != nil {
			return err
		}
		row.VendorAccountID, row.VendorAccount = account.ID, &account
		if err := db.AddConnection(ctx, tx, &row); err != nil {
			return taken(err)
		}
		if given != nil {
			if _, err := (&tokens{e, org, row.ID}).give(ctx, tx, *given); err != nil {
				return err
			}
		}
		for _, t := range app.Triggers {
			if t.List != nil {
				if err := db.AddCursor(ctx, tx, org, row.ID, t.Key); err != nil {
					return err
				}
			}
		}
		return commit(ctx, tx, row.ID)
	})
	return row, err
}

// UpdateConnection renames a connection, or gives it other credentials, which must open the same vendor account and mode,
// or another signing secret. Runs that waited for it go on.
func (e *Engine) UpdateConnection(ctx context.Context, org, id db.ID, in ConnectionInput, commit Commit) (db.Connection, error) {
	row, err := db.GetConnection(ctx, e.DB, org, id)
	if err != nil {
		return row, err
	}
	app, _ := e.Apps.App(row.App)
	bad := named(&row, in.Name, false)
	more, err := e.pasted(app, &row, in.WebhookSecret)
	if err != nil {
		return row, err
	}
	bad = append(bad, more...)
	var given *connectors.Token
	if in.Credentials != nil {
		if given, more, err = e.replaced(ctx, app, &row, in.Credentials, len(bad) == 0); err != nil {
			return row, err
		}
		bad = append(bad, more...)
	}
	if len(bad) > 0 {
		return row, bad
	}
	old := row
	if in.RotateSecret {
		if err := e.renew(ctx, &row); err != nil {
			return row, err
		}
	}
	err = e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if in.RotateSecret {
			if err := db.SaveWebhook(ctx, tx, &row, careSoon); err != nil {
				return err
			}
			old.UpdatedAt = row.UpdatedAt
		}
		if err := db.SaveConnection(ctx, tx, &old, in.WebhookSecret != nil); err != nil {
			return taken(err)
		}
		if given != nil {
			if _, err := (&tokens{e, org, id}).give(ctx, tx, *given); err != nil {
				return err
			}
		}
		if in.Credentials != nil {
			if err := e.wakeReauth(ctx, tx, old); err != nil {
				return err
			}
		}
		return commit(ctx, tx, id)
	})
	if err != nil {
		if creds, cerr := e.credentials(old); cerr == nil {
			e.revoke(ctx, app, creds, given)
		}
		return old, err
	}
	if in.Credentials == nil && in.WebhookSecret == nil && !in.RotateSecret {
		return old, nil
	}
	return e.register(ctx, old, looked{person: true})
}

// replaced proves other credentials of a connection and puts them in the place of the old ones. It answers the token that a
// code among them brought. Without ask they are looked at and the vendor is not called.
func (e *Engine) replaced(ctx context.Context, app connectors.Connector, row *db.Connection, given map[string]string, ask bool) (*connectors.Token, Problems, error) {
	old, err := e.credentials(*row)
	if err != nil {
		return nil, nil, err
	}
	creds, bad := fill(app, old, given)
	if len(bad) > 0 || !ask {
		return nil, bad, nil
	}
	if bad := sameMode(app, creds, *row); len(bad) > 0 {
		return nil, bad, nil
	}
	creds, token, err := e.redeem(ctx, app, creds)
	if err != nil {
		return nil, nil, err
	}
	if err := e.exchange(ctx, app, creds, token, row); err != nil {
		e.revoke(ctx, app, creds, token)
		return nil, nil, err
	}
	return token, nil, nil
}

// exchange proves credentials for a connection that has others, and puts them on its row.
func (e *Engine) exchange(ctx context.Context, app connectors.Connector, creds connectors.Credentials, given *connectors.Token, row *db.Connection) error {
	have := row.VendorAccount
	account, err := e.prove(ctx, app, creds, row, e.tokensFor(app, *row, given))
	if err != nil {
		return err
	}
	if account.ExternalID != have.ExternalID {
		return problem(CodeOtherAccount, fmt.Sprintf("These credentials open %s; this connection is for %s. Make a new connection for another account.",
			accountName(account), accountName(*have)), "credentials")
	}
	row.Credentials, err = e.sealJSON(map[string]string(creds), connectionAD(row.OrgID, row.ID, "credentials"))
	return err
}

// accountName is a vendor account's name, and the id that tells it from others of that name.
func accountName(v db.VendorAccount) string {
	if v.Name == "" || v.Name == v.ExternalID {
		return v.ExternalID
	}
	return v.Name + " (" + v.ExternalID + ")"
}

// sameMode refuses credentials for test data where a connection is for live data, and the other way round.
func sameMode(app connectors.Connector, creds connectors.Credentials, row db.Connection) Problems {
	mode, err := app.Mode(creds)
	if err != nil || string(mode) == row.VendorAccount.Mode {
		return nil
	}
	return problem(CodeModeMismatch, fmt.Sprintf("These credentials are for %s data; this connection is for %s data. The two never meet: make a connection of its own for them.", mode, row.VendorAccount.Mode), "credentials")
}

// TestConnection proves a connection's credentials again and notes the outcome, and repairs its webhook. A refusal by the
// vendor is an outcome.
func (e *Engine) TestConnection(ctx context.Context, org, id db.ID, commit Commit) (db.Connection, error) {
	row, err := db.GetConnection(ctx, e.DB, org, id)
	if err != nil {
		return row, err
	}
	app, _ := e.Apps.App(row.App)
	creds, err := e.credentials(row)
	if err != nil {
		return row, err
	}
	_, err = e.prove(ctx, app, creds, &row, e.tokensFor(app, row, nil))
	if p, ok := errors.AsType[Problems](err); ok {
		switch p[0].Code {
		case CodeUnauthorized:
			row.State, row.StateReason = ConnNeedsReauth, p[0].Message
		case CodeForbidden:
			row.State, row.StateReason = ConnError, p[0].Message
		default:
			return row, err // the vendor could not be asked, which says nothing of the credentials
		}
	} else if err != nil {
		return row, err
	}
	row.TestedAt = time.Now()
	if serr := e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if err := db.SaveConnection(ctx, tx, &row, false); err != nil {
			return taken(err)
		}
		if row.State == ConnActive {
			if err := e.wakeReauth(ctx, tx, row); err != nil {
				return err
			}
		}
		return commit(ctx, tx, id)
	}); serr != nil {
		return row, serr
	}
	if err != nil {
		return row, nil
	}
	return e.register(ctx, row, looked{person: true})
}

// removeWithin is how long a caller waits for the endpoint of a deleted connection to be removed.
const removeWithin = 10 * time.Second

// DeleteConnection removes a connection that no enabled link uses, its webhook at the vendor with it. History stays.
func (e *Engine) DeleteConnection(ctx context.Context, org, id db.ID, commit Commit) (db.Connection, error) {
	row, err := db.GetConnection(ctx, e.DB, org, id)
	if err != nil {
		return row, err
	}
	app, _ := e.Apps.App(row.App)
	creds, given := e.grant(ctx, app, row)
	endpoint := false
	err = e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if row, err = db.LockConnection(ctx, tx, org, id); err != nil {
			return err
		}
		if err := inUse(ctx, tx, org, id); err != nil {
			return err
		}
		// Without an address of our own we could not tell our endpoint from that of a copy of us.
		endpoint = app.Webhook != nil && app.Webhook.Remove != nil && e.PublicURL != ""
		if err := db.DropConnection(ctx, tx, org, id, endpoint); err != nil {
			return err
		}
		return commit(ctx, tx, id)
	})
	if err != nil {
		return row, err
	}
	if !endpoint {
		e.revoke(ctx, app, creds, given)
		return row, nil
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeWithin)
	defer cancel()
	if err := e.Care(within, org, id); err != nil { // care comes back to it
		e.Log.WarnContext(ctx, "a webhook could not be removed; that is tried again", "org", org, "connection", id, "error", err)
	}
	return row, nil
}

// inUse says what still needs a connection.
func inUse(ctx context.Context, tx db.Tx, org, id db.ID) error {
	used, err := db.EnabledLinksUsing(ctx, tx, org, id)
	if err != nil {
		return err
	}
	if len(used) > 0 {
		return problem(CodeInUse, "Flow links use this connection: "+strings.Join(used, ", ")+". Disable or delete them first.", "id")
	}
	open, err := db.UnsettledThrough(ctx, tx, org, id)
	if err == nil && open {
		return problem(CodeInUse, "What became of a write through this connection is not known yet. Its run is looking; try again when it is over, or cancel it.", "id")
	}
	return err
}

func (e *Engine) wakeReauth(ctx context.Context, tx db.Tx, row db.Connection) error {
	woken, err := db.WakeRuns(ctx, tx, `org_id = ?0 AND (waiting_reason = 'REAUTH' AND connection_id = ?1
		OR waiting_reason <> 'LANE' AND id IN (SELECT run_id FROM steps WHERE org_id = ?0 AND connection_id = ?1 AND waiting_reason = 'REAUTH'))`, row.OrgID, row.ID)
	if err != nil {
		return err
	}
	return e.queued(ctx, tx, woken...)
}

// taken puts what the database refuses into words for the form.
func taken(err error) error {
	if errors.Is(err, db.ErrConflict) {
		return problem(CodeState, "Somebody else changed it meanwhile. Read it again and repeat what you meant.", "id")
	}
	if db.IsUnique(err, "connections_name", "flow_links_name") {
		return nameTaken
	}
	return err
}

var nameTaken = problem(CodeTaken, "Another one has this name; choose a different one.", "name")

func newToken() string {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
