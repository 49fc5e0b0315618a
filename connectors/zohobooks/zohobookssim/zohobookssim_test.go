package zohobookssim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tieline/connectors/sim"
	"tieline/connectors/zohobooks/zohobookssim"
)

// ask posts a form to the accounts server.
func ask(t *testing.T, s *zohobookssim.Sim, path string, form url.Values) (int, map[string]any) {
	t.Helper()
	res, err := http.PostForm(s.Accounts.URL+path, form)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, res)
}

func read(t *testing.T, res *http.Response) (int, map[string]any) {
	t.Helper()
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	var out map[string]any
	if err != nil || json.Unmarshal(raw, &out) != nil {
		t.Fatalf("status %d: %s, %v", res.StatusCode, raw, err)
	}
	return res.StatusCode, out
}

// call calls the API.
func call(t *testing.T, s *zohobookssim.Sim, token, method, path, body string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequest(method, s.URL+"/books/v3"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Zoho-oauthtoken "+token)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, res)
}

type grantee struct {
	s          *zohobookssim.Sim
	id, secret string
}

func (g grantee) token(t *testing.T, form url.Values) (int, map[string]any) {
	t.Helper()
	form.Set("client_id", g.id)
	form.Set("client_secret", g.secret)
	return ask(t, g.s, "/oauth/v2/token", form)
}

func newGrantee(t *testing.T, opts ...zohobookssim.Option) grantee {
	t.Helper()
	s := zohobookssim.New(t, opts...)
	id, secret := s.Client()
	return grantee{s, id, secret}
}

// TestTokens: refusals come with status 200, a code works once, ten access tokens are given in ten minutes and then none, and
// the twenty-first refresh token costs the first.
func TestTokens(t *testing.T) {
	t.Parallel()
	g := newGrantee(t)
	code := url.Values{"grant_type": {"authorization_code"}, "code": {g.s.SelfClientCode(g.id)}}
	_, first := g.token(t, code)
	if first["access_token"] == nil || first["refresh_token"] == nil || first["api_domain"] != g.s.URL || first["expires_in"] != 3600.0 {
		t.Fatalf("%v", first)
	}
	for what, form := range map[string]url.Values{
		"invalid_code":           code,
		"unsupported_grant_type": {"grant_type": {"password"}},
		"invalid_redirect_uri":   {"grant_type": {"authorization_code"}, "code": {g.s.SelfClientCode(g.id)}, "redirect_uri": {"https://x.test"}},
	} {
		if status, out := g.token(t, form); status != 200 || out["error"] != what {
			t.Errorf("%s: %d, %v", what, status, out)
		}
	}
	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first["refresh_token"].(string)}}
	for range 9 {
		if _, out := g.token(t, refresh); out["access_token"] == nil || out["refresh_token"] != nil {
			t.Fatalf("%v", out)
		}
	}
	if status, out := g.token(t, refresh); status != 400 || out["error"] != "Access Denied" {
		t.Errorf("the eleventh: %d, %v", status, out)
	}
	g.s.Clock.Advance(11 * time.Minute)
	if _, out := g.token(t, refresh); out["access_token"] == nil {
		t.Errorf("later: %v", out)
	}
	for range 20 {
		g.s.RefreshToken(g.id)
	}
	if _, out := g.token(t, refresh); out["error"] != "invalid_code" || len(g.s.RefreshTokens()) != 20 {
		t.Errorf("the first of twenty-one: %v, of %d", out, len(g.s.RefreshTokens()))
	}
	last := g.s.RefreshTokens()[19]
	if _, out := ask(t, g.s, "/oauth/v2/token/revoke?token="+last, nil); out["status"] != "success" || len(g.s.RefreshTokens()) != 19 {
		t.Errorf("revoked: %v", out)
	}
}

// TestConsentPage: who is to be asked sees who asks for what; whoever is not registered, or wants the answer elsewhere, sees why
// not, and nobody is sent there.
func TestConsentPage(t *testing.T) {
	t.Parallel()
	s := zohobookssim.New(t)
	id, _ := s.Client("https://tieline.test/back")
	for redirect, status := range map[string]int{"https://tieline.test/back": 200, "https://evil.test/back": 400} {
		q := url.Values{"client_id": {id}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"ZohoBooks.contacts.ALL"}, "state": {"<s>"}}
		res, err := http.Get(s.Accounts.URL + "/oauth/v2/auth?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := io.ReadAll(res.Body) // what is short lacks what is looked for
		_ = res.Body.Close()
		text := string(raw)
		if res.StatusCode != status || strings.Contains(text, `id="accept"`) != (status == 200) || strings.Contains(text, "<s>") {
			t.Errorf("%s: %d, %s", redirect, res.StatusCode, text)
		}
	}
}

// TestAPI: what every call must have, and how it is refused.
func TestAPI(t *testing.T) {
	t.Parallel()
	g := newGrantee(t, zohobookssim.WithConcurrency(1))
	_, given := g.token(t, url.Values{"grant_type": {"authorization_code"}, "code": {g.s.SelfClientCode(g.id, "ZohoBooks.contacts.READ", "ZohoBooks.settings.READ")}})
	token, org := given["access_token"].(string), "?organization_id="+g.s.Organization().ID
	for _, c := range []struct {
		token, method, path string
		status              int
		code                float64
	}{
		{token, "GET", "/contacts" + org, 200, 0},
		{token, "GET", "/organizations", 200, 0},
		{"x", "GET", "/contacts" + org, 401, 57},
		{token, "POST", "/contacts" + org, 401, 57}, // the scope reads
		{token, "GET", "/invoices" + org, 401, 57},
		{token, "GET", "/contacts", 400, 2},
		{token, "GET", "/contacts?organization_id=1", 400, 6041},
		{token, "GET", "/contacts/1" + org, 404, 1002},
		{token, "GET", "/nothing" + org, 404, 5},
		{token, "DELETE", "/contacts" + org, 405, 37},
	} {
		status, out := call(t, g.s, c.token, c.method, c.path, "{}")
		if status != c.status || out["code"] != c.code || out["message"] == "" {
			t.Errorf("%s %s: %d, %v", c.method, c.path, status, out)
		}
	}
	g.s.Fault(sim.Fault{Path: "/books/v3/contacts", Point: sim.RateLimit, Code: "45", RetryAfter: 3 * time.Second})
	if status, out := call(t, g.s, token, "GET", "/contacts"+org, ""); status != 429 || out["code"] != 45.0 {
		t.Errorf("a dial: %d, %v", status, out)
	}
	g.s.Clock.Advance(2 * time.Hour)
	if status, _ := call(t, g.s, token, "GET", "/contacts"+org, ""); status != 401 {
		t.Errorf("after its hour: %d", status)
	}
}

// TestNumericIDs: ids that are numbers are greater than a double holds.
func TestNumericIDs(t *testing.T) {
	t.Parallel()
	g := newGrantee(t, zohobookssim.WithNumericIDs())
	_, given := g.token(t, url.Values{"grant_type": {"authorization_code"}, "code": {g.s.SelfClientCode(g.id)}})
	_, out := call(t, g.s, given["access_token"].(string), "POST", "/contacts?organization_id="+g.s.Organization().ID, `{"contact_name":"A"}`)
	id, ok := out["contact"].(map[string]any)["contact_id"].(float64)
	if !ok || int64(id) <= 1<<53 {
		t.Errorf("%v", out)
	}
}
