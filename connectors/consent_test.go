package connectors_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/conntest"
)

// letting is a vendor that people let us into, at root.
func letting() connectors.Connector {
	v := granting(nil)
	v.Auth = append(v.Auth, connectors.Field{Key: "id", Label: "ID", Help: "Its id."}, connectors.Field{Key: "at", Label: "At", Help: "Where.", Optional: true, Told: true})
	v.Login = &connectors.Login{Timeout: 5 * time.Second, Early: time.Minute, Consent: &connectors.Consent{
		Root: func(c connectors.Credentials) string { return "https://" + c["at"] + ".accounts.test" }, Authorize: "/auth", Token: "/token", Revoke: "/revoke",
		ClientID: "id", ClientSecret: "token", Slow: "too many", Pause: 10 * time.Minute,
		Told: func(_ connectors.Credentials, said func(string) string, ours ...string) (map[string]string, error) {
			at := said("server")
			if at == "evil" {
				return nil, connectors.Errorf(connectors.Invalid, "evil is no server of Vendor's")
			}
			if at == "" || slices.Contains(ours, at) {
				return nil, nil
			}
			return map[string]string{"at": at}, nil
		},
	}}
	return v
}

// TestExchange: what the vendor tells on the way is kept, also where the code is then exchanged, and every refusal says what to do.
func TestExchange(t *testing.T) {
	t.Parallel()
	creds := connectors.Credentials{"id": "me", "token": secret, "at": "us"}
	by := connectors.Visit{Redirect: "https://tieline.test/back", Verifier: "proof"}
	if to := (connectors.Authority{App: letting()}).URL(creds, by, "state"); !strings.HasPrefix(to, "https://us.accounts.test/auth?") || strings.Contains(to, secret) {
		t.Error(to)
	}
	for name, x := range map[string]struct {
		back   url.Values
		status int
		answer string
		kind   connectors.Kind // empty: it is given
		says   string
	}{
		"given":           {url.Values{"server": {"eu"}}, 200, `{"access_token":"at","refresh_token":"rt","expires_in":3600}`, "", "eu"},
		"told with it":    {nil, 200, `{"access_token":"at","refresh_token":"rt","server":"in"}`, "", "in"},
		"the server here": {url.Values{"server": {"HERE"}}, 200, `{"access_token":"at","refresh_token":"rt"}`, "", "us"},
		"another server":  {url.Values{"server": {"evil"}}, 200, `{"access_token":"at","refresh_token":"rt"}`, connectors.Invalid, "no server"},
		"told of another": {nil, 200, `{"access_token":"at","refresh_token":"rt","server":"evil"}`, connectors.Invalid, "no server"},
		"for an hour":     {nil, 200, `{"access_token":"at"}`, connectors.Invalid, "no refresh token"},
		"a used code":     {nil, 400, `{"error":"invalid_grant"}`, connectors.Invalid, "get a new one"},
		"another client":  {nil, 401, `{"error":"invalid_client"}`, connectors.Unauthorized, "client ID and secret"},
		"too often":       {nil, 400, `{"error":"denied","error_description":"Too many requests"}`, connectors.RateLimited, "too often"},
		"away":            {nil, 503, ``, connectors.Unavailable, "503"},
		"lost":            {nil, 200, `<html>`, connectors.Unavailable, "may be used up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			root := serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked++
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(x.status)
				_, _ = io.WriteString(w, x.answer)
			})
			if x.back.Get("server") == "HERE" {
				x.back.Set("server", root)
			}
			var calls []connectors.Call
			a := connectors.Authority{App: letting(), Root: root, Observe: func(c connectors.Call) { calls = append(calls, c) }}
			token, kept, err := a.Exchange(t.Context(), creds, by, "code-of-theirs", x.back)
			if connectors.KindOf(err) != x.kind {
				t.Fatalf("%v", err)
			}
			if len(calls) != asked || asked > 0 && calls[0].Path != "(token)" {
				t.Errorf("%d requests, metrics of %+v", asked, calls)
			}
			if err == nil && (token.Access != "at" || token.Refresh != "rt" || kept["at"] != x.says || creds["at"] != "us" || token.Life > 59*time.Minute || token.Of == "") {
				t.Errorf("%+v %q", token, kept["at"])
			}
			if err != nil && (!strings.Contains(err.Error(), x.says) || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "theirs")) {
				t.Errorf("it says %v, and should %q", err, x.says)
			}
			if e, ok := errors.AsType[*connectors.Error](err); ok && x.kind == connectors.RateLimited && (e.RetryAfter != 10*time.Minute || !e.Narrow) {
				t.Errorf("%+v", e)
			}
		})
	}
}

// TestTokenOfTheClient: a token is for the client, so that other fields of the form may change under it; without a grant there is
// none, and nobody is asked.
func TestTokenOfTheClient(t *testing.T) {
	t.Parallel()
	asked := 0
	root := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"a2"}`)
	})
	a := connectors.Authority{App: letting(), Root: root}
	creds := connectors.Credentials{"id": "me", "token": secret}
	token, err := a.Refresh(t.Context(), creds, connectors.Token{Refresh: "r1", Scope: "s"})
	if err != nil || token.Refresh != "r1" || token.Scope != "s" || asked != 1 {
		t.Fatalf("%+v, %v", token, err)
	}
	for _, x := range []struct {
		change connectors.Credentials
		asked  int
	}{{connectors.Credentials{"id": "me", "token": secret, "at": "eu"}, 1}, {connectors.Credentials{"id": "me", "token": "another"}, 2}} {
		c, _ := conntest.OpenSite(t, letting(), conntest.Site{URL: root, Login: root, Credentials: x.change, Tokens: connectors.NewTokens(token)})
		if _, err := c.Token(t.Context()); err != nil || asked != x.asked {
			t.Errorf("%v: asked %d times, %v", x.change, asked, err)
		}
	}
	c, _ := conntest.OpenSite(t, letting(), conntest.Site{URL: root, Login: root, Credentials: creds})
	if _, err := c.Token(t.Context()); connectors.KindOf(err) != connectors.Unauthorized || asked != 2 {
		t.Errorf("without a grant: asked %d times, %v", asked, err)
	}
}
