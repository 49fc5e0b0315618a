package zohobookssim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"tieline/connectors/sim"
)

// client is one that was registered in the API console. A self client has no redirect addresses.
type client struct {
	secret    string
	redirects []string
}

// code is a grant that waits for being exchanged.
type code struct {
	client, redirect, challenge string
	scopes                      []string
	until                       time.Time
}

// grant is a refresh token.
type grant struct {
	client, refresh string
	scopes          []string
	given           []time.Time // access tokens, of the last ten minutes
}

type token struct {
	of    *grant
	until time.Time
}

// Limits of the accounts server.
const (
	perWindow = 10
	window    = 10 * time.Minute
	tokenLife = time.Hour
)

// AllScopes are what a person grants who is asked for what we need.
var AllScopes = []string{"ZohoBooks.contacts.ALL", "ZohoBooks.invoices.ALL", "ZohoBooks.customerpayments.ALL", "ZohoBooks.settings.ALL", "ZohoBooks.accountants.READ"}

// Client registers one: a self client, or with redirect addresses a server-based one.
func (s *Sim) Client(redirects ...string) (id, secretOf string) {
	id, secretOf = "1000."+strings.ToUpper(secret()[:30]), secret()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[id] = &client{secretOf, redirects}
	return id, secretOf
}

// Redirect adds an address that browsers may be sent back to with a client's codes.
func (s *Sim) Redirect(clientID, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[clientID]; c != nil {
		c.redirects = append(c.redirects, address)
	}
}

// SelfClientCode mints a code, as a person does in the API console; all scopes without any.
func (s *Sim) SelfClientCode(clientID string, scopes ...string) string {
	if len(scopes) == 0 {
		scopes = AllScopes
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mint(&code{client: clientID, scopes: scopes})
}

// mint keeps a code. s.mu is held.
func (s *Sim) mint(c *code) string {
	c.until = s.Clock.Now().Add(s.codeLife)
	id := "1000." + secret()
	s.codes[id] = c
	return id
}

// RefreshToken gives one to a client, as exchanging a code does.
func (s *Sim) RefreshToken(clientID string, scopes ...string) string {
	if len(scopes) == 0 {
		scopes = AllScopes
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grant(clientID, scopes).refresh
}

// grant makes a refresh token; one too many costs the client its oldest. s.mu is held.
func (s *Sim) grant(clientID string, scopes []string) *grant {
	g := &grant{client: clientID, refresh: "1000." + secret(), scopes: scopes}
	var of []*grant
	for _, x := range s.grants {
		if x.client == clientID {
			of = append(of, x)
		}
	}
	if len(of) >= s.most {
		s.drop(of[0])
	}
	s.grants = append(s.grants, g)
	return g
}

// drop ends a grant with its access tokens. s.mu is held.
func (s *Sim) drop(g *grant) {
	s.grants = slices.DeleteFunc(s.grants, func(x *grant) bool { return x == g })
	for k, t := range s.tokens {
		if t.of == g {
			delete(s.tokens, k)
		}
	}
}

// Revoke ends every grant, as a person does under connected apps.
func (s *Sim) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grants = nil
	clear(s.tokens)
}

// Expire makes every access token invalid.
func (s *Sim) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// RefreshTokens are those that hold.
func (s *Sim) RefreshTokens() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.grants {
		out = append(out, g.refresh)
	}
	return out
}

// Tokens is how many access tokens were given so far.
func (s *Sim) Tokens() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func plain(status int, v any) sim.Answer {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own values
	}
	return sim.Answer{Status: status, Header: http.Header{"Content-Type": {"application/json;charset=UTF-8"}}, Body: b}
}

// wrong is a refusal of the accounts server, which comes with status 200.
func wrong(reason string) sim.Answer {
	return plain(http.StatusOK, map[string]string{"error": reason})
}

// deny is what a fault answers. A code is one of the accounts server's words.
func deny(status int, code string) sim.Answer {
	if status == http.StatusTooManyRequests {
		return throttled()
	}
	if code == "" {
		code = "general_error"
	}
	return plain(status, map[string]string{"error": code})
}

func throttled() sim.Answer {
	return plain(http.StatusBadRequest, map[string]string{
		"error": "Access Denied", "error_description": "You have made too many requests continuously. Please try again after some time.", "status": "failure",
	})
}

func (s *Sim) serveAccounts(r *http.Request) sim.Answer {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return plain(http.StatusBadRequest, nil)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return wrong("invalid_request")
	}
	for k, v := range r.URL.Query() {
		form[k] = append(form[k], v...)
	}
	for what, run := range map[string]func(url.Values) sim.Answer{
		"POST /oauth/v2/token": s.give, "POST /oauth/v2/token/revoke": s.revoke, "GET /oauth/v2/auth": s.consent, "POST /oauth/v2/auth": s.decide,
	} {
		if what == r.Method+" "+r.URL.Path {
			return s.Accounts.Commit(func(*http.Request) sim.Answer {
				s.mu.Lock()
				defer s.mu.Unlock()
				return run(form)
			})(r)
		}
	}
	return plain(http.StatusNotFound, map[string]string{"error": "not_found"})
}

// revoke ends a grant. s.mu is held.
func (s *Sim) revoke(form url.Values) sim.Answer {
	for _, g := range s.grants {
		if g.refresh == form.Get("token") {
			s.drop(g)
			return plain(http.StatusOK, map[string]string{"status": "success"})
		}
	}
	return wrong("invalid_token")
}

// give exchanges a code, or refreshes. s.mu is held.
func (s *Sim) give(form url.Values) sim.Answer {
	id := form.Get("client_id")
	c := s.clients[id]
	if c == nil || c.secret != form.Get("client_secret") {
		return wrong("invalid_client")
	}
	now := s.Clock.Now()
	switch form.Get("grant_type") {
	case "authorization_code":
		k := s.codes[form.Get("code")]
		delete(s.codes, form.Get("code"))
		switch {
		case k == nil || k.client != id || now.After(k.until):
			return wrong("invalid_code")
		case k.redirect != form.Get("redirect_uri"):
			return wrong("invalid_redirect_uri")
		case k.challenge != "" && k.challenge != challengeOf(form.Get("code_verifier")):
			return wrong("invalid_code")
		}
		g := s.grant(id, k.scopes)
		return s.issue(g, now, map[string]any{"refresh_token": g.refresh, "scope": strings.Join(k.scopes, " ")})
	case "refresh_token":
		for _, g := range s.grants {
			if g.refresh == form.Get("refresh_token") && g.client == id {
				return s.issue(g, now, map[string]any{})
			}
		}
		return wrong("invalid_code")
	}
	return wrong("unsupported_grant_type")
}

// issue gives an access token, no more than ten in ten minutes for one refresh token. s.mu is held.
func (s *Sim) issue(g *grant, now time.Time, more map[string]any) sim.Answer {
	g.given = slices.DeleteFunc(g.given, func(at time.Time) bool { return now.Sub(at) > window })
	if len(g.given) >= perWindow {
		return throttled()
	}
	g.given = append(g.given, now)
	access := "1000." + secret()
	s.tokens[access] = &token{g, now.Add(tokenLife)}
	s.asked++
	more["access_token"], more["token_type"], more["expires_in"], more["api_domain"] = access, "Bearer", int(tokenLife.Seconds()), s.URL
	return plain(http.StatusOK, more)
}

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

var page = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Zoho Accounts (simulated)</title></head><body>
{{if .Error}}<h1 id="error">{{.Error}}</h1>{{else}}<h1>{{.Client}} would like to access your Zoho Books</h1>
<ul>{{range .Scopes}}<li>{{.}}</li>{{end}}</ul>
<form method="post" action="/oauth/v2/auth">{{range $k, $v := .Asked}}<input type="hidden" name="{{$k}}" value="{{index $v 0}}">{{end}}
<button id="accept" name="choice" value="accept">Accept</button> <button id="reject" name="choice" value="reject">Reject</button></form>{{end}}
</body></html>
`))

func html(status int, data any) sim.Answer {
	var b strings.Builder
	if err := page.Execute(&b, data); err != nil {
		panic(err) // our own page
	}
	return sim.Answer{Status: status, Header: http.Header{"Content-Type": {"text/html;charset=UTF-8"}}, Body: []byte(b.String())}
}

// unfit says what is wrong with a browser's request. s.mu is held.
func (s *Sim) unfit(form url.Values) string {
	c := s.clients[form.Get("client_id")]
	switch {
	case c == nil:
		return "Invalid Client"
	case !slices.Contains(c.redirects, form.Get("redirect_uri")):
		return "Invalid Redirect Uri"
	case form.Get("response_type") != "code":
		return "Invalid Response Type"
	case form.Get("scope") == "":
		return "Invalid OAuth Scope"
	case form.Get("code_challenge") != "" && form.Get("code_challenge_method") != "S256":
		return "Invalid Code Challenge Method"
	}
	return ""
}

// consent is the page on which a person decides. s.mu is held.
func (s *Sim) consent(form url.Values) sim.Answer {
	if bad := s.unfit(form); bad != "" {
		return html(http.StatusBadRequest, map[string]any{"Error": bad})
	}
	form.Del("choice")
	return html(http.StatusOK, map[string]any{"Client": form.Get("client_id"), "Scopes": strings.Split(form.Get("scope"), ","), "Asked": form})
}

// decide sends the browser back with a code, or with a refusal. s.mu is held.
func (s *Sim) decide(form url.Values) sim.Answer {
	if bad := s.unfit(form); bad != "" {
		return html(http.StatusBadRequest, map[string]any{"Error": bad})
	}
	back, err := url.Parse(form.Get("redirect_uri"))
	if err != nil {
		return html(http.StatusBadRequest, map[string]any{"Error": "Invalid Redirect Uri"})
	}
	q := back.Query()
	if state := form.Get("state"); state != "" {
		q.Set("state", state)
	}
	if form.Get("choice") == "accept" {
		q.Set("code", s.mint(&code{client: form.Get("client_id"), redirect: form.Get("redirect_uri"), challenge: form.Get("code_challenge"), scopes: strings.Split(form.Get("scope"), ",")}))
		q.Set("location", "us")
		q.Set("accounts-server", s.Accounts.URL)
	} else {
		q.Set("error", "access_denied")
	}
	back.RawQuery = q.Encode()
	return sim.Answer{Status: http.StatusFound, Header: http.Header{"Location": {back.String()}}}
}
