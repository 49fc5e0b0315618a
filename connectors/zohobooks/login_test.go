package zohobooks

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/zohobooks/zohobookssim"
)

// TestForm: what is not Zoho's is refused before anything is called.
func TestForm(t *testing.T) {
	t.Parallel()
	good := func() connectors.Credentials {
		return connectors.Credentials{modeField: "live", dataCenter: "in", clientID: "id", clientSecret: "s"}
	}
	for field, value := range map[string]string{
		modeField: "", dataCenter: "mars", clientID: " ", clientSecret: "", apiDomain: "https://www.zohoapis.com.evil.test",
	} {
		c := good()
		c[field] = value
		want := field
		if field == apiDomain {
			want = dataCenter
		}
		if _, err := mode(c); fieldOf(err) != want {
			t.Errorf("%s %q: %v", field, value, err)
		}
	}
	for _, x := range centers {
		c := good()
		c[dataCenter] = x.key
		if m, err := mode(c); err != nil || m != connectors.Live || Connector().BaseURL(c) != x.api || consent().Root(c) != x.accounts {
			t.Errorf("%s: %s, %v", x.key, m, err)
		}
		c[apiDomain] = "https://www.zohoapis.eu"
		if _, err := mode(c); err != nil || Connector().BaseURL(c) != "https://www.zohoapis.eu" {
			t.Errorf("%s with a domain of its own: %v", x.key, err)
		}
	}
}

// TestTold: whatever names a server, only those of Zoho's data centres and those of our settings are ever called.
func TestTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, said, field, want string }{
		{"accounts-server", "https://accounts.zoho.eu", dataCenter, "eu"},
		{"accounts-server", "https://accounts.zohocloud.ca/", dataCenter, "ca"},
		{"accounts-server", "http://127.0.0.1:1", "", ""},
		{"api_domain", "https://www.zohoapis.com.au", apiDomain, "https://www.zohoapis.com.au"},
		{"api_domain", "", "", ""},
	} {
		got, err := told(nil, func(name string) string { return map[string]string{c.name: c.said}[name] }, "http://127.0.0.1:1")
		if err != nil || got[c.field] != c.want || c.field == "" && len(got) > 0 {
			t.Errorf("%s %s: %v, %v", c.name, c.said, got, err)
		}
	}
	for _, address := range []string{
		"https://accounts.zoho.evil.test", "http://accounts.zoho.com", "https://accounts.zoho.com:8443", "https://user@accounts.zoho.com", "https://accounts.zoho.com.evil.test", "http://127.0.0.1:2", "//accounts.zoho.com", "accounts.zoho.com",
	} {
		for _, name := range []string{"accounts-server", "api_domain"} {
			if got, err := told(nil, func(n string) string { return map[string]string{name: address}[n] }, "http://127.0.0.1:1"); err == nil {
				t.Errorf("%s %s is taken: %v", name, address, got)
			}
		}
	}
}

// TestIdentify: the one organization is taken and kept; of several one is chosen; an inactive one counts as none.
func TestIdentify(t *testing.T) {
	t.Parallel()
	a, b := zohobookssim.Organization{Name: "A", ID: "9007199254740993"}, zohobookssim.Organization{Name: "B", ID: "9007199254740995"}
	for _, c := range []struct {
		name   string
		all    []zohobookssim.Organization
		chosen string
		want   string // account, or field at fault
	}{
		{"one", []zohobookssim.Organization{a}, "", a.ID},
		{"one, and an inactive one", []zohobookssim.Organization{{Name: "Old", ID: "9", Inactive: true}, a}, "", a.ID},
		{"several", []zohobookssim.Organization{a, b}, "", organizationID},
		{"several, one chosen", []zohobookssim.Organization{a, b}, b.ID, b.ID},
		{"another", []zohobookssim.Organization{a, b}, "42", organizationID},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var opts []zohobookssim.Option
			for _, o := range c.all {
				opts = append(opts, zohobookssim.WithOrganization(o))
			}
			s := zohobookssim.New(t, opts...)
			creds := filled(s)
			creds[organizationID] = c.chosen
			conn, _ := conntest.OpenSite(t, Connector(), site(t, s, creds))
			id, err := identify(t.Context(), conn)
			if c.want == organizationID {
				if fieldOf(err) != organizationID || len(c.all) > 1 && !strings.Contains(err.Error(), "(B)") {
					t.Errorf("%+v, %v", id, err)
				}
				return
			}
			if err != nil || id.AccountID != c.want || id.Keep[organizationID] != c.want {
				t.Errorf("%+v, %v", id, err)
			}
			page, err := offerOrganizations(t.Context(), conn, c.all[len(c.all)-1].Name, "")
			if err != nil || len(page.Options) != 1 || page.Options[0].Value != c.all[len(c.all)-1].ID {
				t.Errorf("organizations offered: %+v, %v", page, err)
			}
		})
	}
}

// TestCodes: a self client's code works once, in its own time; what Zoho then says comes with status 200.
func TestCodes(t *testing.T) {
	t.Parallel()
	s := zohobookssim.New(t, zohobookssim.WithCodeLife(time.Minute))
	creds := filled(s)
	at := connectors.Authority{App: Connector(), Root: s.Accounts.URL, API: s.URL}
	code := s.SelfClientCode(creds[clientID])
	if token, _, err := at.Exchange(t.Context(), creds, connectors.Visit{}, code, nil); err != nil || token.Refresh == "" {
		t.Fatal(err)
	}
	late := s.SelfClientCode(creds[clientID])
	s.Clock.Advance(2 * time.Minute)
	for what, bad := range map[string]string{"used": code, "late": late, "made up": "1000.x"} {
		if _, _, err := at.Exchange(t.Context(), creds, connectors.Visit{}, bad, nil); connectors.KindOf(err) != connectors.Invalid || strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", what, err)
		}
	}
	other := filled(s)
	if _, _, err := at.Exchange(t.Context(), other, connectors.Visit{}, s.SelfClientCode(creds[clientID]), nil); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("another client's code: %v", err)
	}
	other[clientSecret] = "wrong"
	if _, _, err := at.Exchange(t.Context(), other, connectors.Visit{}, s.SelfClientCode(other[clientID]), nil); connectors.KindOf(err) != connectors.Unauthorized {
		t.Errorf("a wrong secret: %v", err)
	}
}

// TestBrowser: the address that a browser is sent to shows the consent page, and what it comes back with is exchanged.
func TestBrowser(t *testing.T) {
	t.Parallel()
	s := zohobookssim.New(t)
	const back = "https://tieline.test/oauth/callback"
	creds := filled(s)
	creds[clientID], creds[clientSecret] = s.Client(back)
	at := connectors.Authority{App: Connector(), Root: s.Accounts.URL, API: s.URL}
	by := connectors.Visit{Redirect: back, Verifier: strings.Repeat("v", 50)}
	got := decide(t, at.URL(creds, by, "state"), "accept")
	if got.Get("state") != "state" || got.Get("code") == "" || got.Get("accounts-server") != s.Accounts.URL {
		t.Fatalf("it comes back with %v", got)
	}
	token, kept, err := at.Exchange(t.Context(), creds, by, got.Get("code"), got)
	if err != nil || token.Refresh == "" || kept[dataCenter] != "us" {
		t.Errorf("%v, %v", kept, err)
	}
	got = decide(t, at.URL(creds, by, "state"), "accept")
	by.Verifier = strings.Repeat("w", 50)
	if _, _, err := at.Exchange(t.Context(), creds, by, got.Get("code"), got); err == nil {
		t.Error("another's code is exchanged")
	}
	if got := decide(t, at.URL(creds, by, "state"), "reject"); got.Get("error") != "access_denied" || got.Get("code") != "" {
		t.Errorf("refused: %v", got)
	}
}

// decide does on the consent page what a person does, and answers what their browser comes back with.
func decide(t *testing.T, address, choice string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.RawQuery = ""; q.Get("access_type") != "offline" || q.Get("prompt") != "consent" || q.Get("scope") != strings.Join(scopes, ",") {
		t.Errorf("it is asked for %v", q)
	}
	q.Set("choice", choice)
	res, err := quiet.PostForm(u.String(), q)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	to, err := res.Location()
	if err != nil {
		t.Fatalf("status %d: %v", res.StatusCode, err)
	}
	return to.Query()
}

// TestTokens: one access token serves many calls, one that is refused is replaced, and Zoho's limit of ten in ten minutes is
// no reason to have a person authorize again, while a grant that was taken back is.
func TestTokens(t *testing.T) {
	t.Parallel()
	s, c, _ := world(t)
	ask := func() error {
		_, err := runFindContact(t.Context(), c, FindContactInput{Email: "a@b.test"})
		return err
	}
	for range 3 {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Tokens(); n != 1 {
		t.Errorf("%d tokens for three calls", n)
	}
	for s.Tokens() < 10 {
		s.Expire()
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	s.Expire()
	err := ask()
	if e, _ := errors.AsType[*connectors.Error](err); e == nil || e.Kind != connectors.RateLimited || e.RetryAfter < 10*time.Minute {
		t.Errorf("the eleventh: %v", err)
	}
	s.Clock.Advance(11 * time.Minute)
	if err := ask(); err != nil {
		t.Errorf("later: %v", err)
	}
	s.Revoke()
	if err := ask(); connectors.KindOf(err) != connectors.Unauthorized {
		t.Errorf("revoked: %v", err)
	}
}

// TestScopes: what the token does not open is asked for with one more token, and no more.
func TestScopes(t *testing.T) {
	t.Parallel()
	s := zohobookssim.New(t)
	creds := filled(s)
	at := connectors.Authority{App: Connector(), Root: s.Accounts.URL, API: s.URL}
	token, creds, err := at.Exchange(t.Context(), creds, connectors.Visit{}, s.SelfClientCode(creds[clientID], "ZohoBooks.settings.READ", "ZohoBooks.contacts.READ"), nil)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := conntest.OpenSite(t, Connector(), conntest.Site{URL: s.URL, Login: s.Accounts.URL, Credentials: creds, Tokens: connectors.NewTokens(token)})
	id, err := identify(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	state := map[string]connectors.Grant{}
	for _, p := range id.Permissions {
		state[p.Key] = p.State
	}
	if state["ZohoBooks.contacts.ALL"] != connectors.Granted || state["ZohoBooks.invoices.ALL"] != connectors.Unknown {
		t.Errorf("%v", state)
	}
	_, err = runCreateContact(t.Context(), c, CreateContactInput{ContactNumber: "acme", Name: "Acme"})
	if connectors.KindOf(err) != connectors.Unauthorized || s.Tokens() != 2 || len(s.Contacts()) != 0 {
		t.Errorf("%v, %d tokens", err, s.Tokens())
	}
}
