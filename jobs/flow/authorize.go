package flow

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"tieline/connectors"
	"tieline/connectors/oauth"
	"tieline/db"
)

// Where browsers come by on their way to a vendor's consent page and back, below our public address.
const (
	BeginPath = "/oauth/start/" // and the state
	BackPath  = "/oauth/callback"
)

// AuthorizationLife is how long a person has from authorizeConnection until their browser is back.
const AuthorizationLife = 10 * time.Minute

// AuthorizeInput asks for a connection that a person authorizes in a browser: a new one, or one that is there.
type AuthorizeInput struct {
	ID          db.ID             // of the one that is there
	App         string            // of a new one
	Name        *string           // of a new one
	Credentials map[string]string // the form by field key; for one that is there, only what changes
	ReturnURL   string            // where the browser goes in the end; empty: it stays with us
}

// Authorization is what a person's browser has to do.
type Authorization struct {
	ConnectionID db.ID // of the connection, which may not be there yet
	URL          string
	ExpiresAt    time.Time
}

// form is what an authorization keeps sealed.
type form struct {
	Given    map[string]string `json:"given"`
	Verifier string            `json:"verifier"`
}

// Authorize begins an authorization. Nothing of a connection changes before the browser is back.
func (e *Engine) Authorize(ctx context.Context, tx db.Tx, org db.ID, in AuthorizeInput) (Authorization, error) {
	row := db.Authorization{OrgID: org, ID: db.NewID(), ConnectionID: in.ID, ReturnURL: in.ReturnURL}
	bad := e.returning(in.ReturnURL)
	if in.ID == (db.ID{}) {
		named, more, err := e.nameable(ctx, tx, org, in.Name)
		if err != nil {
			return Authorization{}, err
		}
		row.ConnectionID, row.Name, bad = db.NewID(), named, append(bad, more...)
	} else if in.App != "" || in.Name != nil {
		bad = append(bad, problem(CodeInvalid, "Give either the id of a connection, or app and name of a new one.", "id")...)
	}
	g, err := e.guest(ctx, tx, org, in.ID, in.App, in.Credentials)
	if problems, ok := errors.AsType[Problems](err); ok {
		bad, err = append(bad, problems...), nil
	}
	if err != nil || len(bad) > 0 {
		return Authorization{}, cmp.Or(err, bad.or())
	}
	if e.PublicURL == "" {
		return Authorization{}, problem(CodeState, "Nobody told this server its own address, so no browser could come back to it: set TIELINE_PUBLIC_URL.")
	}
	state := newToken()
	row.App, row.StateHash = g.app.Key, hashed(state)
	row.Form, err = e.sealJSON(form{in.Credentials, oauth.NewVerifier()}, authorizationAD(row))
	if err != nil {
		return Authorization{}, err
	}
	if err := db.AddAuthorization(ctx, tx, &row, AuthorizationLife); err != nil {
		return Authorization{}, err
	}
	return Authorization{row.ConnectionID, e.PublicURL + BeginPath + state, row.ExpiresAt}, nil
}

// nameable is the name of a new connection. That another has it is better said now than after the vendor's pages.
func (e *Engine) nameable(ctx context.Context, tx db.Tx, org db.ID, given *string) (string, Problems, error) {
	var row db.Connection
	if bad := named(&row, given, true); len(bad) > 0 {
		return "", bad, nil
	}
	is, err := db.ConnectionNamed(ctx, tx, org, row.Name)
	if err == nil && is {
		return "", nameTaken, nil
	}
	return row.Name, nil, err
}

// returning says what is wrong with an address that a browser is to be sent back to. Only pages that TIELINE_ORIGINS names
// are: anybody else's could make a link of ours lead anywhere.
func (e *Engine) returning(given string) Problems {
	if given == "" {
		return nil
	}
	const field = "returnUrl"
	u, err := url.Parse(given)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Opaque != "" || len(given) > 2000 {
		return problem(CodeInvalid, "It should be the address of a web page, such as https://console.example.com/connections.", field)
	}
	if !slices.ContainsFunc(e.Origins, func(o string) bool { return strings.EqualFold(strings.TrimRight(o, "/"), u.Scheme+"://"+u.Host) }) {
		return problem(CodeInvalid, fmt.Sprintf("%s://%s is not among the origins that this server knows; whoever runs it can add it to TIELINE_ORIGINS.", u.Scheme, u.Host), field)
	}
	return nil
}

// guest is an app's account that a person is about to let us into.
type guest struct {
	app   connectors.Connector
	creds connectors.Credentials
	conn  *db.Connection // the connection that is there; nil: it will be made
}

// guest reads who it is as things are now. id is that of the connection that is there, else the app is named.
func (e *Engine) guest(ctx context.Context, idb bun.IDB, org, id db.ID, app string, given map[string]string) (g guest, err error) {
	at, old := "app", connectors.Credentials(nil)
	if id != (db.ID{}) {
		row, err := db.GetConnection(ctx, idb, org, id)
		if err != nil {
			return g, err
		}
		if old, err = e.credentials(row); err != nil {
			return g, err
		}
		at, app, g.conn = "id", row.App, &row
	}
	known := false
	if g.app, known = e.Apps.App(app); !known {
		return g, problem(CodeNotFound, fmt.Sprintf("There is no app %q. The query apps lists what there is.", app), at)
	}
	way := consent(g.app)
	if way == nil {
		return g, problem(CodeInvalid, g.app.Name+" is not authorized in a browser: its credentials go into createConnection and updateConnection.", at)
	}
	var bad Problems
	if g.creds, bad = fill(g.app, old, given); g.creds[way.Code] != "" {
		bad = append(bad, problem(CodeInvalid, "A code of the vendor's console goes into createConnection or updateConnection; in a browser none is needed.", "credentials", way.Code)...)
	}
	if len(bad) > 0 {
		return g, bad
	}
	if _, err := g.app.Mode(g.creds); err != nil {
		return g, refusal(g.app, err, faultyField(g.app, err)...)
	}
	if g.conn != nil {
		return g, sameMode(g.app, g.creds, *g.conn).or()
	}
	return g, nil
}

func authorizationAD(a db.Authorization) []byte {
	return placeAD("authorizations", "form", a.OrgID, a.ID)
}

func hashed(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}
