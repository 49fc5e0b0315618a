package flow

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// Visit is an authorization as the person's browser has it. What is not known of it is empty.
type Visit struct {
	App        string        // as users see it
	Next       string        // where the vendor asks them
	Cookie     string        // ties the rest of the way to this browser
	ReturnURL  string        // where they wanted to go in the end
	Choice     *Choice       // what they have to choose first; nil: nothing
	Connection db.Connection // once it works
}

// BeginVisit is a browser's first step of an authorization. Problems are for the person to read.
func (e *Engine) BeginVisit(ctx context.Context, state string) (v Visit, err error) {
	a, f, err := e.authorization(ctx, state, &v)
	if err != nil {
		return v, err
	}
	g, err := e.guest(ctx, e.DB, a.OrgID, repaired(a), a.App, f.Given)
	if err != nil {
		return v, gone(err)
	}
	v.Cookie = newToken()
	if err := db.BeginAuthorization(ctx, e.DB, a, hashed(v.Cookie)); err != nil {
		return v, expired(err)
	}
	v.Next = e.authority(g.app).URL(g.creds, e.coming(f), state)
	return v, nil
}

// EndVisit is a browser's last step: it comes back from the vendor, with a code if the person said yes, and with the cookie
// of its first step. The connection is made or repaired, and the runs that waited for it go on. Problems are for the person.
func (e *Engine) EndVisit(ctx context.Context, state, cookie string, back url.Values) (v Visit, err error) {
	ctx = context.WithoutCancel(ctx) // the code is good for one time: a browser that leaves does not undo the way it came
	a, f, err := e.authorization(ctx, state, &v)
	if err != nil {
		return v, err
	}
	if !ours(a, cookie) {
		return v, otherBrowser(v.App)
	}
	if err := db.EndAuthorization(ctx, e.DB, a, hashed(cookie)); err != nil {
		return v, expired(err)
	}
	g, err := e.guest(ctx, e.DB, a.OrgID, repaired(a), a.App, f.Given)
	if err != nil {
		return v, gone(err)
	}
	if err := answered(v.App, back); err != nil {
		return v, err
	}
	token, creds, err := e.authority(g.app).Exchange(ctx, g.creds, e.coming(f), back.Get("code"), back)
	if err != nil {
		return v, refusal(g.app, err)
	}
	if g.conn != nil {
		v.Connection, err = e.readmit(ctx, g, creds, token)
		return v, err
	}
	if v.Connection, err = e.welcome(ctx, a, g.app, creds, token); err == nil {
		return v, nil
	}
	choice, cerr := e.choice(ctx, a, g.app, creds, token, err)
	if v.Choice = choice; choice != nil && cerr == nil {
		return v, nil
	}
	e.revoke(ctx, g.app, creds, &token)
	return v, cmp.Or(cerr, err)
}

// readmit repairs a connection with what a person's consent brought.
func (e *Engine) readmit(ctx context.Context, g guest, creds connectors.Credentials, token connectors.Token) (db.Connection, error) {
	row, read := *g.conn, g.conn.Credentials
	if err := e.exchange(ctx, g.app, creds, &token, &row); err != nil {
		e.revoke(ctx, g.app, creds, &token)
		return row, elsewhere(g, err)
	}
	var had connectors.Token
	err := e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		now, err := db.LockConnection(ctx, tx, row.OrgID, row.ID)
		if err != nil {
			return gone(err)
		}
		if string(now.Credentials) != string(read) {
			return taken(db.ErrConflict)
		}
		now.State, now.StateReason, now.Hints, now.Permissions = row.State, row.StateReason, row.Hints, row.Permissions
		now.Credentials, now.TestedAt = row.Credentials, time.Now()
		if err := db.SaveConnection(ctx, tx, &now, false); err != nil {
			return taken(err)
		}
		row = now
		if had, err = (&tokens{e, row.OrgID, row.ID}).give(ctx, tx, token); err != nil {
			return err
		}
		return e.wakeReauth(ctx, tx, row)
	})
	if err != nil {
		e.revoke(ctx, g.app, creds, &token)
		return row, err
	}
	if had.Refresh != token.Refresh {
		e.revoke(ctx, g.app, g.creds, &had)
	}
	return e.registered(ctx, row), nil
}

// elsewhere says of a refusal that the person has signed in with another account than the connection's: the vendor told so, or
// what the connection has settled since its beginning is not to be found there.
func elsewhere(g guest, err error) error {
	p, ok := errors.AsType[Problems](err)
	if !ok {
		return err
	}
	at := p[0].Field
	missing := p[0].Code == CodeInvalid && len(at) == 2 && g.creds[at[1]] != ""
	if !missing && p[0].Code != CodeOtherAccount {
		return err
	}
	said := p[0].Message
	if missing {
		said += " This connection is for " + accountName(*g.conn.VendorAccount) + "."
	}
	return problem(CodeOtherAccount, fmt.Sprintf("%s Sign in at %s with the account that this connection is for, and authorize again.", said, g.app.Name), at...)
}

// registered looks after the webhook of a connection that a person was let into. What fails there is tried again, and no
// affair of theirs.
func (e *Engine) registered(ctx context.Context, row db.Connection) db.Connection {
	got, err := e.register(ctx, row, looked{person: true})
	if err != nil {
		e.Log.WarnContext(ctx, "a webhook could not be looked after", "org", row.OrgID, "connection", row.ID, "error", err)
		return row
	}
	return got
}

// authorization finds an authorization that may go on.
func (e *Engine) authorization(ctx context.Context, state string, v *Visit) (db.Authorization, form, error) {
	var f form
	a, late, err := db.FindAuthorization(ctx, e.DB, hashed(state))
	if err != nil {
		return a, f, expired(err)
	}
	e.names(a, v)
	switch {
	case !a.EndedAt.IsZero():
		return a, f, ended
	case late:
		return a, f, expired(db.ErrNotFound)
	}
	plain, err := e.Keys.Open(a.Form, authorizationAD(a))
	if err == nil {
		err = json.Unmarshal(plain, &f)
	}
	if err != nil {
		err = fmt.Errorf("unsealing authorization %s: %w", a.ID, err)
	}
	return a, f, err
}

// names says of an authorization what its person may know.
func (e *Engine) names(a db.Authorization, v *Visit) {
	app, _ := e.Apps.App(a.App)
	if v.App = cmp.Or(app.Name, a.App); len(e.returning(a.ReturnURL)) == 0 { // origins may have gone since
		v.ReturnURL = a.ReturnURL
	}
}

// ours says whether a cookie is that of the browser which began an authorization last.
func ours(a db.Authorization, cookie string) bool {
	return cookie != "" && subtle.ConstantTimeCompare(hashed(cookie), a.CookieHash) == 1
}

func otherBrowser(app string) error {
	return problem(CodeOtherBrowser, "This authorization was begun in another browser, or this browser keeps no cookies. Open the link that began it in the browser in which you sign in at "+app+".")
}

// coming is how the browser comes back.
func (e *Engine) coming(f form) connectors.Visit {
	return connectors.Visit{Redirect: e.PublicURL + BackPath, Verifier: f.Verifier}
}

// repaired is the connection that is authorized again; none when it will be made.
func repaired(a db.Authorization) (id db.ID) {
	if a.Name == "" {
		id = a.ConnectionID
	}
	return id
}

// word is what vendors' error codes look like. What does not is not shown: it came in an address, from anybody.
var word = regexp.MustCompile(`^[a-z][a-z_]{0,39}$`)

// answered says what the vendor answered instead of a code.
func answered(app string, back url.Values) error {
	switch said := back.Get("error"); {
	case said == "access_denied":
		return problem(CodeDeclined, fmt.Sprintf("%s was told not to let us in, so nothing was connected. If that was not meant, authorize again and accept what is asked for.", app))
	case said != "":
		if !word.MatchString(said) {
			said = "an error"
		}
		return problem(CodeUnauthorized, fmt.Sprintf("%s answered with %s instead of asking you. Look at the client ID, and at the redirect address and the scopes that are registered for it at %s.", app, said, app))
	case back.Get("code") == "":
		return problem(CodeInvalid, fmt.Sprintf("%s sent this browser back without a code. Authorize again.", app))
	}
	return nil
}

var ended = problem(CodeEnded, "This authorization has ended: its link works once. Look at the connection, and authorize again if need be.")

// expired says that an authorization cannot go on.
func expired(err error) error {
	if errors.Is(err, db.ErrNotFound) {
		return problem(CodeExpired, fmt.Sprintf("This link is not known, or its time is up: it works once, within %d minutes. Authorize again.", int(AuthorizationLife.Minutes())))
	}
	return err
}

// gone says that the connection to be repaired was deleted meanwhile.
func gone(err error) error {
	if errors.Is(err, db.ErrNotFound) {
		return problem(CodeNotFound, "The connection was deleted meanwhile.")
	}
	return err
}
