package oauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tieline/connectors/oauth"
)

const secret, refresh = "hush+/=", "1000.refresh"

// server answers every call with one answer, and keeps what was asked.
func server(t *testing.T, answer http.HandlerFunc) (c oauth.Client, asked func() []url.Values) {
	t.Helper()
	var mu sync.Mutex
	var all []url.Values
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		if r.URL.RawQuery != "" || r.Method != http.MethodPost {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		mu.Lock()
		all = append(all, r.PostForm)
		mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return oauth.Client{
		ID: "client", Secret: secret, AuthURL: "https://accounts.test/auth?of=us", TokenURL: s.URL + "/token", RevokeURL: s.URL + "/revoke", RedirectURL: "https://tieline.test/oauth/callback",
		Scopes: []string{"a.READ", "b.ALL"}, Separator: ",", Params: map[string]string{"access_type": "offline"}, Dead: []string{"invalid_code"}, Slow: "too many requests",
	}, func() []url.Values { mu.Lock(); defer mu.Unlock(); return slices.Clone(all) }
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	c, _ := server(t, nil)
	verifier := oauth.NewVerifier()
	u, err := url.Parse(c.URL("st&te", verifier))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(verifier))
	for name, want := range map[string]string{
		"of": "us", "response_type": "code", "client_id": "client", "redirect_uri": c.RedirectURL, "scope": "a.READ,b.ALL", "state": "st&te", "access_type": "offline",
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256",
	} {
		if got := u.Query()[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(u.Query()) != 9 || strings.Contains(u.String(), verifier) || oauth.NewVerifier() == verifier {
		t.Error(u)
	}
}

func TestExchangeAndRefresh(t *testing.T) {
	t.Parallel()
	c, asked := server(t, says(200, `{"access_token":"at","refresh_token":"rt","expires_in":3600,"scope":"a.READ","api_domain":"https://api.test"}`))
	got, err := c.Exchange(t.Context(), "the code", "the verifier")
	if err != nil || got.Access != "at" || got.Refresh != "rt" || got.Scope != "a.READ" || got.Said("api_domain") != "https://api.test" || got.Life < 59*time.Minute || got.Life > time.Hour {
		t.Errorf("%+v, %v", got, err)
	}
	c.RedirectURL = ""
	if _, err := c.Exchange(t.Context(), "of the console", ""); err != nil {
		t.Error(err)
	}
	if _, err := c.Refresh(t.Context(), refresh); err != nil {
		t.Error(err)
	}
	for i, want := range []string{
		"client_id=client&client_secret=hush%2B%2F%3D&code=the+code&code_verifier=the+verifier&grant_type=authorization_code&redirect_uri=https%3A%2F%2Ftieline.test%2Foauth%2Fcallback",
		"client_id=client&client_secret=hush%2B%2F%3D&code=of+the+console&grant_type=authorization_code",
		"client_id=client&client_secret=hush%2B%2F%3D&grant_type=refresh_token&refresh_token=1000.refresh",
	} {
		if got := asked()[i].Encode(); got != want {
			t.Errorf("asked %s\nwant  %s", got, want)
		}
	}
	// Without a new refresh token the old one stays; without a time it is an hour.
	c, _ = server(t, says(200, `{"access_token":"at"}`))
	if got, err := c.Refresh(t.Context(), refresh); err != nil || got.Refresh != refresh || got.Life != time.Hour {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	cut := func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	for name, x := range map[string]struct {
		answer http.HandlerFunc
		reason oauth.Reason
		code   string
	}{
		"dead":                {says(400, `{"error":"invalid_grant","error_description":"`+refresh+` is expired"}`), oauth.Dead, "invalid_grant"},
		"dead, with 200":      {says(200, `{"error":"invalid_code"}`), oauth.Dead, "invalid_code"},
		"another client":      {says(401, `{"error":"invalid_client"}`), oauth.Refused, "invalid_client"},
		"another client, 200": {says(200, `{"error":"invalid_client"}`), oauth.Refused, "invalid_client"},
		"no scope":            {says(400, `{"error":"invalid_scope"}`), oauth.Refused, "invalid_scope"},
		"no words":            {says(400, `no`), oauth.Refused, ""},
		"secrets for a code":  {says(400, `{"error":"`+secret+refresh+`"}`), oauth.Refused, ""},
		"too many":            {says(429, ``), oauth.Slow, ""},
		"too many, with 400":  {says(400, `{"error":"Access Denied","error_description":"You have made too many requests continuously."}`), oauth.Slow, "Access Denied"},
		"denied":              {says(400, `{"error":"Access Denied"}`), oauth.Refused, "Access Denied"},
		"down":                {says(503, `<html>`), oauth.Away, ""},
		"down, and says so":   {says(400, `{"error":"temporarily_unavailable"}`), oauth.Away, "temporarily_unavailable"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.test/", http.StatusTemporaryRedirect)
		}, oauth.Away, ""},
		"nothing there": {says(404, `<html>`), oauth.Away, ""},
		"no token":      {says(200, `{"token_type":"Bearer"}`), oauth.Lost, ""},
		"not JSON":      {says(200, `<html>`), oauth.Lost, ""},
		"cut off":       {cut, oauth.Lost, ""},
		"cut off in the middle": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "900")
			_, _ = io.WriteString(w, `{"acc`)
			cut(w, r)
		}, oauth.Lost, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, asked := server(t, x.answer)
			_, err := c.Refresh(t.Context(), refresh)
			e, ok := errors.AsType[*oauth.Error](err)
			if !ok || e.Reason != x.reason || e.Code != x.code {
				t.Errorf("%+v, %v", e, err)
			}
			if len(asked()) != 1 {
				t.Errorf("asked %d times", len(asked()))
			}
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), refresh) {
				t.Errorf("it tells what was sent: %v", err)
			}
		})
	}
	c, _ := server(t, nil)
	c.TokenURL = "http://127.0.0.1:1/token"
	if e, ok := errors.AsType[*oauth.Error](second(c.Refresh(t.Context(), refresh))); !ok || e.Reason != oauth.Away {
		t.Errorf("nobody listens: %+v", e)
	}
}

func second(_ oauth.Grant, err error) error { return err }

func TestRevoke(t *testing.T) {
	t.Parallel()
	c, asked := server(t, says(200, ""))
	if err := c.Revoke(t.Context(), refresh); err != nil || asked()[0].Get("token") != refresh {
		t.Errorf("%v, %v", err, asked())
	}
	if err := c.Revoke(t.Context(), ""); err != nil || len(asked()) != 1 {
		t.Errorf("nothing to give back: %v, %v", err, asked())
	}
	if c, _ = server(t, says(400, `{"error":"invalid_token"}`)); c.Revoke(t.Context(), refresh) != nil {
		t.Error("one that is dead already is an error")
	}
	if c, _ = server(t, says(503, "")); c.Revoke(t.Context(), refresh) == nil {
		t.Error("a vendor that is away is none")
	}
}
