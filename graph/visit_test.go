package graph

import (
	"encoding/json"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"tieline/connectors/sim"
	"tieline/connectors/zohobooks/zohobookssim"
	"tieline/graph/auth"
	"tieline/jobs/flow"
)

// street is where browsers go: our pages, and a simulator of a vendor that asks people.
type street struct {
	*site
	sim            *zohobookssim.Sim
	pages          *httptest.Server
	client, secret string
}

const consolePage = "https://console.example.com/apps?tab=1"

func newStreet(t *testing.T, opts ...zohobookssim.Option) *street {
	t.Helper()
	s := &street{site: newSite(t, openCounted(t), "Acme"), sim: zohobookssim.New(t, opts...)}
	visits := Visits{s.engine, slog.New(slog.DiscardHandler)}
	s.pages = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/webhooks/") {
			s.receive(w, r)
			return
		}
		visits.ServeHTTP(w, r)
	}))
	t.Cleanup(s.pages.Close)
	s.engine.PublicURL, s.engine.URLs["zohobooks"] = s.pages.URL, s.sim.URL
	s.engine.Logins = map[string]string{"zohobooks": s.sim.Accounts.URL}
	s.client, s.secret = s.sim.Client(s.pages.URL + flow.BackPath)
	return s
}

// asks begins an authorization of a new connection, by the API.
func (s *street) asks(in map[string]any) (link, id, refused string) {
	s.t.Helper()
	document := `mutation($input: AuthorizeConnectionInput!) { authorizeConnection(input: $input) { authorization { url connectionId } userErrors { code } } }`
	a := s.ask(s.tokens[auth.Write], document, map[string]any{"input": in})
	var got struct {
		AuthorizeConnection struct {
			Authorization struct{ URL, ConnectionID string }
			UserErrors    []struct{ Code string }
		}
	}
	check(s.t, json.Unmarshal(a.Data, &got))
	if e := got.AuthorizeConnection.UserErrors; len(e) > 0 {
		refused = e[0].Code
	}
	return got.AuthorizeConnection.Authorization.URL, got.AuthorizeConnection.Authorization.ConnectionID, refused
}

func (s *street) books(name string) map[string]any {
	return map[string]any{"app": "zohobooks", "name": name, "returnUrl": consolePage, "credentials": map[string]any{
		"mode": "test", "data_center": "us", "client_id": s.client, "client_secret": s.secret,
	}}
}

// browser keeps cookies and goes nowhere by itself.
type browser struct {
	*http.Client
	t *testing.T
}

func newBrowser(t *testing.T) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	check(t, err)
	return browser{&http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, t}
}

// opens an address, and answers the response with its text.
func (b browser) opens(address string) (*http.Response, string) {
	b.t.Helper()
	res, err := b.Get(address)
	check(b.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	check(b.t, err)
	return res, string(text)
}

// decides goes to the consent page by a link, and answers where the browser is sent back to.
func (b browser) decides(link, choice string) string {
	b.t.Helper()
	res, text := b.opens(link)
	if res.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("%d %s", res.StatusCode, text)
	}
	u, err := url.Parse(res.Header.Get("Location"))
	check(b.t, err)
	form := u.Query()
	form.Set("choice", choice)
	u.RawQuery = ""
	res, err = b.PostForm(u.String(), form)
	check(b.t, err)
	res.Body.Close()
	return res.Header.Get("Location")
}

func TestVisit(t *testing.T) {
	t.Parallel()
	s := newStreet(t)
	b := newBrowser(t)
	link, id, _ := s.asks(s.books("Books"))
	back := b.decides(link, "accept")
	if got := string(s.ask(s.tokens[auth.Read], `query($id: ID!) { connection(id: $id) { state } }`, map[string]any{"id": id}).Data); got != `{"connection":null}` {
		t.Errorf("before the browser is back: %s", got)
	}
	res, _ := b.opens(back)
	if to := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || to != "https://console.example.com/apps?connection="+id+"&tab=1" {
		t.Fatalf("%d, to %s", res.StatusCode, to)
	}
	document := `query($id: ID!) { connection(id: $id) { state name mode vendorAccount { name } credentials { key hint } } }`
	got := string(s.ask(s.tokens[auth.Read], document, map[string]any{"id": id}).Data)
	if !strings.Contains(got, `"state":"ACTIVE","name":"Books","mode":"TEST","vendorAccount":{"name":"Acme Books"}`) || strings.Contains(got, s.secret) {
		t.Error(got)
	}
	if res, text := b.opens(back); res.StatusCode != http.StatusGone || !strings.Contains(text, "works once") {
		t.Errorf("a second time: %d %s", res.StatusCode, text)
	}
	// Without an address to go back to, a page says that it is done.
	in := s.books("More books")
	delete(in, "returnUrl")
	link, _, _ = s.asks(in)
	if res, text := b.opens(b.decides(link, "accept")); res.StatusCode != http.StatusOK || !strings.Contains(text, "<h1>Zoho Books is connected</h1>") || !strings.Contains(text, "“More books” works now") {
		t.Errorf("%d %s", res.StatusCode, text)
	}
	in["name"], in["idempotencyKey"] = "Once", "k1"
	if link, _, refused := s.asks(in); link == "" || refused != "" {
		t.Errorf("with a key: %s", refused)
	}
	if link, _, refused := s.asks(in); link != "" || refused != codeAlreadyShown {
		t.Errorf("with the key again: %s %s", link, refused)
	}
}

var choices = regexp.MustCompile(`<a href="(\?[^"]+)">([^<]+)</a>`)

// TestVisitChoice: whoever may work in several organizations chooses one, in the browser that came back, once.
func TestVisitChoice(t *testing.T) {
	t.Parallel()
	s := newStreet(t, zohobookssim.WithOrganization(zohobookssim.Organization{Name: "Acme & Sons"}), zohobookssim.WithOrganization(zohobookssim.Organization{Name: "Beta"}))
	b := newBrowser(t)
	link, id, _ := s.asks(s.books("Books"))
	back := b.decides(link, "accept")
	res, text := b.opens(back)
	offered := choices.FindAllStringSubmatch(text, -1)
	if res.StatusCode != http.StatusOK || len(offered) != 2 || offered[0][2] != "Acme &amp; Sons" || offered[1][2] != "Beta" {
		t.Fatalf("%d %s", res.StatusCode, text)
	}
	to := s.pages.URL + flow.BackPath + html.UnescapeString(offered[1][1])
	if res, text := newBrowser(t).opens(to); res.StatusCode != http.StatusForbidden {
		t.Errorf("another browser: %d %s", res.StatusCode, text)
	}
	if res, text := b.opens(strings.ReplaceAll(to, "choice=", "choice=9")); res.StatusCode != http.StatusBadRequest || !strings.Contains(text, "was not offered") {
		t.Errorf("what was not offered: %d %s", res.StatusCode, text)
	}
	if res, text := b.opens(back); res.StatusCode != http.StatusGone {
		t.Errorf("the way back again: %d %s", res.StatusCode, text)
	}
	if res, text := b.opens(to); res.StatusCode != http.StatusSeeOther || !strings.Contains(res.Header.Get("Location"), id) {
		t.Fatalf("chosen: %d %s", res.StatusCode, text)
	}
	document := `query($id: ID!) { connection(id: $id) { state vendorAccount { name } } }`
	if got := string(s.ask(s.tokens[auth.Read], document, map[string]any{"id": id}).Data); got != `{"connection":{"state":"ACTIVE","vendorAccount":{"name":"Beta"}}}` {
		t.Error(got)
	}
	if res, text := b.opens(to); res.StatusCode != http.StatusGone {
		t.Errorf("chosen again: %d %s", res.StatusCode, text)
	}
	if s.sim.Tokens() != 1 || len(s.sim.RefreshTokens()) != 1 {
		t.Errorf("%d access tokens, %d refresh tokens", s.sim.Tokens(), len(s.sim.RefreshTokens()))
	}
	// What nobody chooses in time is over.
	link, _, _ = s.asks(s.books("Late books"))
	_, text = b.opens(b.decides(link, "accept"))
	to = s.pages.URL + flow.BackPath + html.UnescapeString(choices.FindAllStringSubmatch(text, -1)[0][1])
	_, err := s.db.NewRaw("UPDATE authorizations SET expires_at = now() - interval '1 second'").Exec(t.Context())
	check(t, err)
	if res, text := b.opens(to); res.StatusCode != http.StatusNotFound {
		t.Errorf("too late: %d %s", res.StatusCode, text)
	}
}

// TestVisitElsewhere: whoever signs in with another account than the connection's is told which is which.
func TestVisitElsewhere(t *testing.T) {
	t.Parallel()
	s := newStreet(t)
	b := newBrowser(t)
	link, id, _ := s.asks(s.books("Books"))
	b.opens(b.decides(link, "accept"))
	beta := zohobookssim.New(t, zohobookssim.WithClient(s.client, s.secret, s.pages.URL+flow.BackPath), zohobookssim.WithOrganization(zohobookssim.Organization{ID: "777", Name: "Beta"}))
	s.engine.URLs["zohobooks"], s.engine.Logins["zohobooks"] = beta.URL, beta.Accounts.URL
	link, _, _ = s.asks(map[string]any{"id": id})
	res, text := b.opens(b.decides(link, "accept"))
	for _, says := range []string{"<h1>That is another account</h1>", "777 (Beta)", "This connection is for Acme Books (", "Sign in at Zoho Books with"} {
		if res.StatusCode != http.StatusConflict || !strings.Contains(text, says) {
			t.Errorf("%d, it does not say %s: %s", res.StatusCode, says, text)
		}
	}
	if len(beta.RefreshTokens()) != 0 {
		t.Error("the grant of the other account is kept")
	}
}

// TestVisitHelps: whatever goes wrong is said on a page, with the way out, and nothing is connected.
func TestVisitHelps(t *testing.T) {
	t.Parallel()
	s := newStreet(t)
	b := newBrowser(t)
	link, _, _ := s.asks(s.books("Books"))
	for what, x := range map[string]struct {
		res  func() (*http.Response, string)
		want int
		says []string
	}{
		"refused consent": {func() (*http.Response, string) {
			link, _, _ := s.asks(s.books("Books"))
			return b.opens(b.decides(link, "reject"))
		}, 400, []string{"<h1>Nothing was connected</h1>", "authorize again", `href="https://console.example.com/apps?authorizationError=DECLINED&amp;tab=1"`, "Back to console.example.com"}},
		"another browser": {func() (*http.Response, string) { return newBrowser(t).opens(b.decides(link, "accept")) }, 403,
			[]string{"<h1>This began in another browser</h1>", "authorizationError=OTHER_BROWSER"}},
		"no state":         {func() (*http.Response, string) { return b.opens(s.pages.URL + flow.BackPath) }, 404, []string{"Authorize again"}},
		"an unknown state": {func() (*http.Response, string) { return b.opens(s.pages.URL + flow.BeginPath + "x") }, 404, []string{"<h1>This link works no more</h1>"}},
		"markup for an error": {func() (*http.Response, string) {
			link, _, _ := s.asks(s.books("<b>Books"))
			to, err := url.Parse(b.decides(link, "reject"))
			check(t, err)
			q := to.Query()
			q.Set("error", "<script>alert(1)</script>")
			to.RawQuery = q.Encode()
			return b.opens(to.String())
		}, 400, []string{"Zoho Books was not connected"}},
		"a vendor that is away": {func() (*http.Response, string) {
			link, _, _ := s.asks(s.books("Books"))
			back := b.decides(link, "accept")
			s.sim.Accounts.Fault(sim.Fault{Method: "POST", Path: "/oauth/v2/token", Point: sim.Before, Status: 503})
			return b.opens(back)
		}, 503, []string{"<h1>Try again in a moment</h1>"}},
	} {
		res, text := x.res()
		if res.StatusCode != x.want {
			t.Errorf("%s: %d %s", what, res.StatusCode, text)
		}
		for _, says := range x.says {
			if !strings.Contains(text, says) {
				t.Errorf("%s: it does not say %s: %s", what, says, text)
			}
		}
		h := res.Header
		if h.Get("Content-Security-Policy") != noticePolicy || h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("X-Content-Type-Options") != "nosniff" || strings.Contains(text, "<script") {
			t.Errorf("%s: %v %s", what, h, text)
		}
	}
	if got := string(s.ask(s.tokens[auth.Read], `{ connections { nodes { name } } }`, nil).Data); strings.Contains(got, "Books") {
		t.Errorf("it is connected: %s", got)
	}
	for _, method := range []string{http.MethodHead, http.MethodPost} {
		r, err := http.NewRequestWithContext(t.Context(), method, link, nil)
		check(t, err)
		res, err := b.Do(r)
		check(t, err)
		res.Body.Close()
		if res.StatusCode != http.StatusMethodNotAllowed || len(res.Cookies()) > 0 {
			t.Errorf("%s: %d, %v", method, res.StatusCode, res.Cookies())
		}
	}
}

// TestVisitCookie: the cookie goes nowhere else, no script reads it, and by https alone where we are there.
func TestVisitCookie(t *testing.T) {
	t.Parallel()
	s := newStreet(t)
	for public, x := range map[string]struct {
		path   string
		secure bool
	}{
		"https://tieline.example.com": {"/oauth/", true}, "http://127.0.0.1:8080": {"/oauth/", false}, "HTTPS://example.com/tieline": {"/tieline/oauth/", true},
	} {
		s.engine.PublicURL = public
		in := s.books("Books")
		link, _, refused := s.asks(in)
		state, ok := strings.CutPrefix(link, public+flow.BeginPath)
		if !ok {
			t.Fatalf("%q %s", link, refused)
		}
		var names []string
		for range 2 {
			res, _ := newBrowser(t).opens(s.pages.URL + flow.BeginPath + state)
			if len(res.Cookies()) != 1 {
				t.Fatalf("%v", res.Header)
			}
			c := res.Cookies()[0]
			if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure != x.secure || c.Path != x.path || c.MaxAge != 600 || c.Domain != "" || len(c.Value) < 32 || strings.Contains(res.Header.Get("Set-Cookie"), state) {
				t.Errorf("%s: %s", public, res.Header.Get("Set-Cookie"))
			}
			if !strings.Contains(res.Header.Get("Location"), url.QueryEscape(public+flow.BackPath)) {
				t.Errorf("%s: to %s", public, res.Header.Get("Location"))
			}
			names = append(names, c.Name+c.Value)
		}
		if names[0] == names[1] {
			t.Error("two browsers have one cookie")
		}
	}
}
