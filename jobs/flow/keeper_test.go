package flow_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/stripe"
	"tieline/connectors/stripe/stripesim"
	"tieline/db"
	"tieline/db/seal"
	"tieline/jobs/flow"
)

// keeper is an authorization server. It gives keys of Stripe accounts as access tokens.
type keeper struct {
	*httptest.Server
	t  *testing.T
	mu sync.Mutex

	signedIn *stripesim.Account            // who says yes
	codes    map[string]asked              // given and not used
	grants   map[string]*stripesim.Account // by refresh token
	given    []string                      // access tokens, in order
	refreshs int                           // requests for another access token
	revoked  []string

	rotates bool                 // a refresh token is good for one time
	lose    int                  // so many answers to refreshes are lost, after they were acted on
	arrived func(refresh string) // told of a refresh that has arrived, before it is acted on
}

// asked is what a code was asked for with.
type asked struct {
	account             *stripesim.Account
	redirect, challenge string
}

const (
	keeperClient, keeperSecret = "1000.CLIENT", "hush.secret"
	consolePage                = "http://console.test/apps?tab=1"
)

func newKeeper(t *testing.T, signedIn *stripesim.Account) *keeper {
	t.Helper()
	k := &keeper{t: t, signedIn: signedIn, codes: map[string]asked{}, grants: map[string]*stripesim.Account{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /auth", k.auth)
	mux.HandleFunc("POST /token", k.token)
	mux.HandleFunc("POST /revoke", func(_ http.ResponseWriter, r *http.Request) { k.revoke(r.FormValue("token")) })
	k.Server = httptest.NewServer(mux)
	t.Cleanup(k.Close)
	return k
}

// auth is the consent page, at which everybody says yes at once.
func (k *keeper) auth(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != keeperClient || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("scope") != "books.read,books.write" || q.Get("access_type") != "offline" {
		k.t.Errorf("the consent page is asked for with %v", q)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"state": {q.Get("state")}, "location": {"eu"}, "code": {k.code(q.Get("redirect_uri"), q.Get("code_challenge"))}}.Encode(), http.StatusFound)
}

// code makes a code, of the console without a redirect.
func (k *keeper) code(redirect, challenge string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	code := "code." + seal.Generate()
	k.codes[code] = asked{k.signedIn, redirect, challenge}
	return code
}

func (k *keeper) token(w http.ResponseWriter, r *http.Request) {
	refresh := r.FormValue("refresh_token")
	if k.arrived != nil && refresh != "" {
		k.arrived(refresh)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if r.FormValue("client_id") != keeperClient || r.FormValue("client_secret") != keeperSecret || r.URL.RawQuery != "" {
		answer(w, 400, map[string]any{"error": "invalid_client"})
		return
	}
	var of *stripesim.Account
	out := map[string]any{"token_type": "Bearer", "expires_in": 3600, "api_domain": "https://api.eu.test"}
	switch r.FormValue("grant_type") {
	case "authorization_code":
		code, given := r.FormValue("code"), false
		var a asked
		a, given = k.codes[code]
		delete(k.codes, code)
		proof := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if !given || a.redirect != r.FormValue("redirect_uri") || a.challenge != "" && a.challenge != base64.RawURLEncoding.EncodeToString(proof[:]) {
			answer(w, 200, map[string]any{"error": "invalid_code"}) // as some do, with 200
			return
		}
		of = a.account
		out["refresh_token"] = k.grant(of)
	case "refresh_token":
		k.refreshs++
		if of = k.grants[refresh]; of == nil {
			answer(w, 400, map[string]any{"error": "invalid_grant"})
			return
		}
		if k.rotates {
			delete(k.grants, refresh)
			out["refresh_token"] = k.grant(of)
		}
		if k.lose > 0 {
			k.lose--
			panic(http.ErrAbortHandler)
		}
	}
	key := of.Key()
	k.given = append(k.given, key)
	out["access_token"] = key
	answer(w, 200, out)
}

func (k *keeper) grant(of *stripesim.Account) string {
	refresh := "refresh." + seal.Generate()
	k.grants[refresh] = of
	return refresh
}

func (k *keeper) revoke(refresh string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.grants, refresh)
	k.revoked = append(k.revoked, refresh)
}

// forget ends every grant, and every access token with it.
func (k *keeper) forget(s *stripesim.Sim) {
	k.mu.Lock()
	clear(k.grants)
	k.mu.Unlock()
	k.expire(s)
}

// expire ends every access token.
func (k *keeper) expire(s *stripesim.Sim) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.given {
		s.Revoke(key)
	}
}

func (k *keeper) refreshes() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.refreshs
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// consenting is Stripe as if a person had to let us in.
func consenting(c connectors.Connector) connectors.Connector {
	c.Auth = []connectors.Field{
		{Key: "client_id", Label: "Client ID", Help: "Of the client."}, {Key: "client_secret", Label: "Client secret", Secret: true, Help: "Of the client."},
		{Key: "code", Label: "Code", Secret: true, Optional: true, Help: "Of the console."}, {Key: "center", Label: "Data centre", Optional: true, Help: "Where it is."},
		{Key: "api", Label: "API", Optional: true, Told: true, Help: "Where the API is."},
	}
	c.Account = ""
	c.Mode = func(connectors.Credentials) (connectors.Mode, error) { return connectors.Test, nil }
	c.Authorize = func(_ context.Context, r connectors.Requester, _ connectors.Credentials) error {
		r.SetHeader("Authorization", "Bearer "+r.Token())
		return nil
	}
	c.Login = &connectors.Login{Early: time.Minute, Timeout: 5 * time.Second, Consent: &connectors.Consent{
		Root: func(connectors.Credentials) string { return "https://accounts.test" }, Authorize: "/auth", Token: "/token", Revoke: "/revoke",
		ClientID: "client_id", ClientSecret: "client_secret", Code: "code", Scopes: []string{"books.read", "books.write"}, Separator: ",",
		Params: map[string]string{"access_type": "offline"}, Dead: []string{"invalid_code"},
		Told: func(_ connectors.Credentials, said func(string) string, _ ...string) (map[string]string, error) {
			out := map[string]string{}
			for name, field := range map[string]string{"location": "center", "api_domain": "api"} {
				if v := said(name); v != "" {
					out[field] = v
				}
			}
			return out, nil
		},
	}}
	return c
}

// consentWorld is a world in which a person lets us into Stripe; nobody has yet.
func consentWorld(t *testing.T) (*world, *keeper) {
	t.Helper()
	w := newWorld(t)
	_, err := w.engine.DeleteConnection(t.Context(), w.org, w.stripeConn.ID, uncommitted)
	must(t, err)
	var apps []connectors.Connector
	for _, a := range w.engine.Apps.Apps() {
		if a.Key == stripe.Connector().Key {
			a = consenting(a)
		}
		apps = append(apps, a)
	}
	w.engine.Apps, err = connectors.NewRegistry(apps...)
	must(t, err)
	k := newKeeper(t, w.stripe.First())
	w.engine.Logins, w.engine.Origins = map[string]string{"stripe": k.URL}, []string{"http://console.test"}
	return w, k
}

func filledIn() map[string]string {
	return map[string]string{"client_id": keeperClient, "client_secret": keeperSecret}
}

// authorize begins an authorization, of a connection that is there when id names one.
func (w *world) authorize(id db.ID, name string) flow.Authorization {
	w.t.Helper()
	in := flow.AuthorizeInput{ID: id, ReturnURL: consolePage}
	if id == (db.ID{}) {
		in.App, in.Name, in.Credentials = "stripe", &name, filledIn()
	}
	a, err := w.asks(in)
	must(w.t, err)
	return a
}

func (w *world) asks(in flow.AuthorizeInput) (a flow.Authorization, err error) {
	err = w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		a, err = w.engine.Authorize(ctx, tx, w.org, in)
		return err
	})
	return a, err
}

// begun is an authorization as far as the person said yes.
type begun struct {
	state, cookie string
	back          url.Values
}

func (w *world) begins(a flow.Authorization) begun {
	w.t.Helper()
	b := begun{state: strings.TrimPrefix(a.URL, w.hooks.URL+flow.BeginPath)}
	v, err := w.engine.BeginVisit(w.t.Context(), b.state)
	must(w.t, err)
	b.cookie = v.Cookie
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(v.Next)
	must(w.t, err)
	res.Body.Close()
	to, err := res.Location()
	must(w.t, err)
	if at := to.Scheme + "://" + to.Host + to.Path; at != w.hooks.URL+flow.BackPath {
		w.t.Fatalf("the browser comes back to %s", at)
	}
	b.back = to.Query()
	return b
}

func (w *world) ends(b begun) (flow.Visit, error) {
	return w.engine.EndVisit(w.t.Context(), b.back.Get("state"), b.cookie, b.back)
}

// letIn has a person authorize a connection from the first step to the last.
func (w *world) letIn(id db.ID, name string) db.Connection {
	w.t.Helper()
	v, err := w.ends(w.begins(w.authorize(id, name)))
	must(w.t, err)
	w.stripeConn = v.Connection
	return v.Connection
}

// uses calls Stripe through the connection, as from another process.
func (w *world) uses() error {
	_, err := w.engineWith(w.engine.Keys).FieldOptions(w.t.Context(), w.org, w.stripeConn.ID, flow.OptionQuery{Action: "customer.update", Field: "customer_id", First: 1})
	return err
}

// use does so at once from several processes, all of which must succeed.
func (w *world) use(times int) {
	w.t.Helper()
	failed := make(chan error)
	for range times {
		go func() { failed <- w.uses() }()
	}
	for range times {
		if err := <-failed; err != nil {
			w.t.Error(err)
		}
	}
}

func (w *world) conn() db.Connection {
	w.t.Helper()
	c, err := db.GetConnection(w.t.Context(), w.db, w.org, w.stripeConn.ID)
	must(w.t, err)
	return c
}

func codesOf(err error) (codes []string) {
	found, _ := errors.AsType[flow.Problems](err)
	for _, x := range found {
		codes = append(codes, strings.Join(x.Field, ".")+" "+x.Code)
	}
	slices.Sort(codes)
	return codes
}
