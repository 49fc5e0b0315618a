package flow_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/uptrace/bun"

	"tieline/db"
	"tieline/db/seal"
	"tieline/jobs/flow"
)

// TestAuthorize: nothing is there before the browser is back; then the connection is, with what the vendor told, and works.
func TestAuthorize(t *testing.T) {
	t.Parallel()
	w, k := consentWorld(t)
	a := w.authorize(db.ID{}, "Books")
	b := w.begins(a)
	if n := w.count("SELECT count(*) FROM connections WHERE name = 'Books'"); n != 0 {
		t.Fatal("the connection is there before anybody let us in")
	}
	v, err := w.ends(b)
	must(t, err)
	w.stripeConn = v.Connection
	c := w.conn()
	if c.ID != a.ConnectionID || c.State != flow.ConnActive || c.VendorAccount.ExternalID != w.stripe.First().ID || c.WebhookState != flow.WebhookRegistered || v.ReturnURL != consolePage {
		t.Errorf("%+v, return to %s", c, v.ReturnURL)
	}
	if c.Hints["api"] != "https://api.eu.test" || c.Hints["center"] != "eu" || strings.Contains(fmt.Sprint(c.Hints), keeperSecret) {
		t.Errorf("what is shown of it: %v", c.Hints)
	}
	w.use(3)
	if n := k.refreshes(); n != 0 {
		t.Errorf("%d refreshes while the first token is good", n)
	}
	// What could let somebody in is in no row as it is.
	k.mu.Lock()
	secrets := slices.Concat(k.given, []string{keeperSecret, b.state, b.cookie, b.back.Get("code")})
	for refresh := range k.grants {
		secrets = append(secrets, refresh)
	}
	k.mu.Unlock()
	for _, table := range []string{"connections", "access_tokens", "authorizations", "audit_log"} {
		for _, s := range secrets {
			if n := w.count("SELECT count(*) FROM ? x WHERE strpos(x::text, ?) > 0 OR strpos(x::text, encode(?::bytea, 'hex')) > 0", bun.Ident(table), s, []byte(s)); n != 0 {
				t.Errorf("%s holds a secret", table)
			}
		}
	}
	if n := w.count("SELECT count(*) FROM authorizations WHERE form IS NULL AND ended_at IS NOT NULL"); n != 1 {
		t.Error("what the authorization was begun with is kept")
	}
}

// TestAuthorizeInput: what cannot be authorized is said at once, field by field, before anybody goes to the vendor.
func TestAuthorizeInput(t *testing.T) {
	t.Parallel()
	w, _ := consentWorld(t)
	w.letIn(db.ID{}, "Books")
	name, taken := "Other", "bOOKS"
	form := func(more ...string) map[string]string {
		f := filledIn()
		for i := 0; i < len(more); i += 2 {
			f[more[i]] = more[i+1]
		}
		return f
	}
	for what, x := range map[string]struct {
		in   flow.AuthorizeInput
		want string
	}{
		"no app":                {flow.AuthorizeInput{App: "nothing", Name: &name}, "[app NOT_FOUND]"},
		"not in a browser":      {flow.AuthorizeInput{App: "togai", Name: &name}, "[app INVALID]"},
		"neither":               {flow.AuthorizeInput{}, "[app NOT_FOUND name INVALID]"},
		"both":                  {flow.AuthorizeInput{ID: w.stripeConn.ID, App: "stripe"}, "[id INVALID]"},
		"one not in a browser":  {flow.AuthorizeInput{ID: w.togaiConn.ID}, "[id INVALID]"},
		"a name that is taken":  {flow.AuthorizeInput{App: "stripe", Name: &taken, Credentials: form()}, "[name TAKEN]"},
		"an empty form":         {flow.AuthorizeInput{App: "stripe", Name: &name}, "[credentials.client_id REQUIRED credentials.client_secret REQUIRED]"},
		"a code of the console": {flow.AuthorizeInput{App: "stripe", Name: &name, Credentials: form("code", "x")}, "[credentials.code INVALID]"},
		"what the vendor tells": {flow.AuthorizeInput{App: "stripe", Name: &name, Credentials: form("api", "https://evil.test")}, "[credentials.api UNKNOWN_FIELD]"},
	} {
		if _, err := w.asks(x.in); fmt.Sprint(codesOf(err)) != x.want {
			t.Errorf("%s: %v, want %s", what, err, x.want)
		}
	}
	for _, to := range []string{
		"http://evil.test/", "https://console.test/", "http://console.test:81/", "http://console.test.evil.test/", "http://console.test@evil.test/", "http://evil.test#http://console.test",
		"//console.test/x", "/connections", "javascript:alert(1)", "http:console.test", `http://console.test\@evil.test/`, "http://user@console.test/", "data:text/html,x", "http://console.test\t.evil.test/",
		"http://console.test/" + strings.Repeat("x", 2000),
	} {
		if _, err := w.asks(flow.AuthorizeInput{ID: w.stripeConn.ID, ReturnURL: to}); fmt.Sprint(codesOf(err)) != "[returnUrl INVALID]" {
			t.Errorf("back to %s: %v", to, err)
		}
	}
	w.engine.PublicURL = ""
	if _, err := w.asks(flow.AuthorizeInput{ID: w.stripeConn.ID}); err == nil || !strings.Contains(err.Error(), "TIELINE_PUBLIC_URL") {
		t.Errorf("without an address of our own: %v", err)
	}
}

// TestAuthorizeAttacks: only the browser that began an authorization ends it, once, in time, with a code that was asked for.
func TestAuthorizeAttacks(t *testing.T) {
	t.Parallel()
	w, k := consentWorld(t)
	fails := func(what string, b begun, code string) {
		t.Helper()
		if _, err := w.ends(b); fmt.Sprint(codesOf(err)) != "[ "+code+"]" {
			t.Errorf("%s: %v, want %s", what, err, code)
		}
		if n := w.count("SELECT count(*) FROM connections WHERE name = 'Books'"); n != 0 {
			t.Errorf("%s: it is connected", what)
		}
	}
	with := func(b begun, change func(*begun)) begun {
		b.back = url.Values{"state": {b.back.Get("state")}, "code": {b.back.Get("code")}}
		change(&b)
		return b
	}
	b := w.begins(w.authorize(db.ID{}, "Books"))
	other := w.begins(w.authorize(db.ID{}, "Others"))
	fails("without a cookie", with(b, func(b *begun) { b.cookie = "" }), flow.CodeOtherBrowser)
	fails("with another cookie", with(b, func(b *begun) { b.cookie = other.cookie }), flow.CodeOtherBrowser)
	fails("with the hash for a cookie", with(b, func(b *begun) {
		must(t, w.db.NewRaw("SELECT encode(cookie_hash, 'hex') FROM authorizations ORDER BY id LIMIT 1").Scan(t.Context(), &b.cookie))
	}), flow.CodeOtherBrowser)
	fails("with no state", with(b, func(b *begun) { b.back.Del("state") }), flow.CodeExpired)
	fails("with a state of nobody", with(b, func(b *begun) { b.back.Set("state", b.cookie) }), flow.CodeExpired)
	elsewhere, err := w.engine.BeginVisit(t.Context(), b.state) // the last browser to begin is the one that may end
	must(t, err)
	fails("begun in another browser since", b, flow.CodeOtherBrowser)
	b.cookie = elsewhere.Cookie
	fails("with somebody else's code", with(b, func(b *begun) { b.back.Set("code", other.back.Get("code")) }), flow.CodeInvalid)
	fails("a second time", b, flow.CodeEnded)
	if _, err := w.engine.BeginVisit(t.Context(), b.state); fmt.Sprint(codesOf(err)) != "[ "+flow.CodeEnded+"]" {
		t.Errorf("begun again after its end: %v", err)
	}
	for what, x := range map[string]struct {
		change func(*begun)
		code   string
	}{
		"refused":         {func(b *begun) { b.back.Del("code"); b.back.Set("error", "access_denied") }, flow.CodeDeclined},
		"an error":        {func(b *begun) { b.back.Del("code"); b.back.Set("error", "<script>") }, flow.CodeUnauthorized},
		"no code":         {func(b *begun) { b.back.Del("code") }, flow.CodeInvalid},
		"an unknown code": {func(b *begun) { b.back.Set("code", "code.none") }, flow.CodeInvalid},
		"too late":        {func(b *begun) { w.exec("UPDATE authorizations SET expires_at = now() - interval '1 second'") }, flow.CodeExpired},
		"never begun":     {func(b *begun) { w.exec("UPDATE authorizations SET cookie_hash = NULL"); b.cookie = "" }, flow.CodeOtherBrowser},
	} {
		one := with(w.begins(w.authorize(db.ID{}, "Books")), func(*begun) {})
		x.change(&one)
		_, err := w.ends(one)
		if fmt.Sprint(codesOf(err)) != "[ "+x.code+"]" || strings.Contains(err.Error(), "<") {
			t.Errorf("%s: %v, want %s", what, err, x.code)
		}
	}
	// Of many that come back at once with the same, one counts.
	b = w.begins(w.authorize(db.ID{}, "Books"))
	ends := make(chan error)
	for range 8 {
		go func() { _, err := w.ends(b); ends <- err }()
	}
	won := 0
	for range 8 {
		if err := <-ends; err == nil {
			won++
		} else if c := fmt.Sprint(codesOf(err)); c != "[ "+flow.CodeEnded+"]" && c != "[ "+flow.CodeExpired+"]" {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d of 8 repeats were let in", won)
	}
	// A name that was taken meanwhile is said, and the grant given back.
	b = w.begins(w.authorize(db.ID{}, "Twice"))
	w.letIn(db.ID{}, "Twice")
	if _, err := w.ends(b); fmt.Sprint(codesOf(err)) != "[name TAKEN]" || len(k.revoked) == 0 {
		t.Errorf("a name that is taken: %v, %d given back", err, len(k.revoked))
	}
	// An origin that is not allowed any more is not gone back to.
	again := w.authorize(w.stripeConn.ID, "")
	w.engine.Origins = nil
	if v, err := w.ends(w.begins(again)); err != nil || v.ReturnURL != "" {
		t.Errorf("back to %q, %v", v.ReturnURL, err)
	}
}

// TestCodeOfTheConsole: a code of the vendor's console connects without a browser, is kept nowhere, and works once.
func TestCodeOfTheConsole(t *testing.T) {
	t.Parallel()
	w, k := consentWorld(t)
	connect := func(name, code string) error {
		form := filledIn()
		form["code"] = code
		c, err := w.engine.Connect(t.Context(), w.org, flow.ConnectionInput{App: "stripe", Name: &name, Credentials: form}, uncommitted)
		if err == nil {
			w.stripeConn = c
		}
		return err
	}
	if err := connect("Books", ""); fmt.Sprint(codesOf(err)) != "[credentials.code REQUIRED]" || !strings.Contains(err.Error(), "authorizeConnection") {
		t.Errorf("without a code: %v", err)
	}
	code := k.code("", "")
	must(t, connect("Books", code))
	w.use(2)
	if err := connect("Again", code); fmt.Sprint(codesOf(err)) != "[credentials.code INVALID]" || strings.Contains(err.Error(), code) {
		t.Errorf("a used code: %v", err)
	}
	if hints := fmt.Sprint(w.conn().Hints); strings.Contains(hints, "code") || !strings.Contains(hints, "api.eu.test") {
		t.Errorf("what is shown: %s", hints)
	}
	// Other fields change without another code; another code replaces the grant.
	_, err := w.update(w.stripeConn.ID, flow.ConnectionInput{Credentials: map[string]string{"center": "us"}})
	must(t, err)
	w.use(2)
	if n := k.refreshes(); n != 0 {
		t.Errorf("%d refreshes", n)
	}
	_, err = w.update(w.stripeConn.ID, flow.ConnectionInput{Credentials: map[string]string{"code": k.code("", "")}})
	must(t, err)
	k.signedIn = w.stripe.Account()
	if _, err = w.update(w.stripeConn.ID, flow.ConnectionInput{Credentials: map[string]string{"code": k.code("", "")}}); fmt.Sprint(codesOf(err)) != "[credentials OTHER_ACCOUNT]" {
		t.Errorf("a code of another account: %v", err)
	}
	w.use(1)
	// A deleted connection's grant is given back.
	before := len(k.revoked)
	_, err = w.engine.DeleteConnection(t.Context(), w.org, w.stripeConn.ID, uncommitted)
	must(t, err)
	if len(k.revoked) != before+1 || w.count("SELECT count(*) FROM access_tokens") != 0 {
		t.Errorf("%d given back, %d tokens kept", len(k.revoked)-before, w.count("SELECT count(*) FROM access_tokens"))
	}
}

// TestAuthorizationOutlivesKeys: keys that are changed while a person is at the vendor's page, or has let us in, open both.
func TestAuthorizationOutlivesKeys(t *testing.T) {
	t.Parallel()
	w, k := consentWorld(t)
	w.letIn(db.ID{}, "Books")
	b := w.begins(w.authorize(db.ID{}, "More books"))
	newer := seal.Generate()
	if r, err := w.engineWith(keysOf(t, newer, w.keys)).RotateKeys(t.Context(), func(flow.Rotation) {}); err != nil || r.Broken > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	w.engine.Keys = keysOf(t, newer)
	if _, err := w.ends(b); err != nil {
		t.Error(err)
	}
	w.exec("UPDATE access_tokens SET good_until = now()")
	w.use(2)
	if n := k.refreshes(); n != 1 {
		t.Errorf("%d refreshes", n)
	}
}
