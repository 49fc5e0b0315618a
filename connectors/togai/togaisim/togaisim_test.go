package togaisim_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"tieline/connectors/sim"
	"tieline/connectors/togai/togaisim"
)

type client struct {
	t          testing.TB
	url, token string
}

func open(t testing.TB, opts ...togaisim.Option) (*togaisim.Sim, client) {
	t.Helper()
	s := togaisim.New(t, opts...)
	return s, client{t, s.URL, s.Token()}
}

// do sends body, a JSON text, and returns the status and the answer.
func (c client) do(method, path, body string) (int, map[string]any) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return res.StatusCode, out
}

func (c client) must(want int, method, path, body string) map[string]any {
	c.t.Helper()
	got, out := c.do(method, path, body)
	if got != want {
		c.t.Fatalf("%s %s: %d %v, want %d", method, path, got, out, want)
	}
	return out
}

const acme = `{"id":"acme","name":"Acme","primaryEmail":"a@acme.test","address":{"city":"Bern","country":"CH"}}`

func TestCustomerBringsAnAccount(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	made := c.must(201, "POST", "/customers", acme)
	if _, ok := made["status"]; ok {
		t.Error("a created customer shows its status, which only reads do")
	}
	got := c.must(200, "GET", "/customers/acme", "")
	if got["status"] != "ACTIVE" || got["billingAddress"] != "Bern, CH" {
		t.Errorf("customer %v", got)
	}
	a := s.Accounts()
	if len(a) != 1 || a[0].ID != "acme" || a[0].CustomerID != "acme" || a[0].PrimaryEmail != "a@acme.test" {
		t.Errorf("accounts %+v", a)
	}

	c.must(201, "POST", "/customers", `{"id":"b/1","name":"Bolt","primaryEmail":"b@bolt.test","address":{},
		"settings":[{"id":"StripeCustomerId","value":"cus_1","namespace":"USER","name":"Stripe","dataType":"STRING"}],
		"account":{"id":"b-eur","name":"Bolt EUR","invoiceCurrency":"EUR","tags":["Big"],
			"settings":[{"id":"StripeCustomerId","value":"cus_1","namespace":"USER","name":"Stripe","dataType":"STRING"}]}}`)
	if got := c.must(200, "GET", "/customers/"+url.PathEscape("b/1"), ""); got["name"] != "Bolt" {
		t.Errorf("an id with a slash reads as %v", got)
	}
	got = c.must(200, "GET", "/accounts/b-eur", "")
	if got["invoiceCurrency"] != "EUR" || fmt.Sprint(got["tags"]) != "[big]" || got["settings"] == nil {
		t.Errorf("account %v", got)
	}
	if n := len(s.Settings()); n != 2 {
		t.Errorf("%d settings, want one on the customer and one on the account", n)
	}
	c.must(200, "PATCH", "/accounts/b-eur", `{"metadata":{"vat":"1"},"status":"DRAFT"}`)
	c.must(200, "PATCH", "/customers/acme", `{"name":"Acme Ltd"}`)
	c.must(200, "DELETE", "/customers/acme", "")
	if got := s.Customers()[0]; got.Name != "Acme Ltd" || got.Status != "ARCHIVED" || !got.UpdatedAt.After(got.CreatedAt) {
		t.Errorf("customer %+v", got)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	_, c := open(t)
	c.must(201, "POST", "/customers", acme)
	for name, x := range map[string]struct {
		method, path, body string
		status             int
		message            string
	}{
		"duplicate customer": {"POST", "/customers", acme, 400, "already exists"},
		"duplicate account":  {"POST", "/accounts", `{"id":"acme","name":"Acme","customerId":"acme"}`, 400, "already exists"},
		"unknown property":   {"POST", "/customers", `{"id":"x","colour":"red"}`, 400, "colour"},
		"no address":         {"POST", "/customers", `{"id":"x","name":"Xyz","primaryEmail":"x@x.test"}`, 400, "address"},
		"short name":         {"POST", "/accounts", `{"id":"x","name":"Xy","customerId":"acme"}`, 400, "name"},
		"long id":            {"POST", "/accounts", `{"id":"` + strings.Repeat("x", 51) + `","name":"Xyz","customerId":"acme"}`, 400, "id"},
		"short alias":        {"POST", "/accounts", `{"id":"x","name":"Xyz","customerId":"acme","aliases":["ab"]}`, 400, "aliases[0]"},
		"unknown customer":   {"POST", "/accounts", `{"id":"x","name":"Xyz","customerId":"nobody"}`, 400, "nobody"},
		"missing":            {"GET", "/accounts/nobody", "", 404, "nobody"},
		"filters":            {"GET", "/accounts?account_id=x&status=ACTIVE", "", 400, "combined"},
		"page size":          {"GET", "/accounts?pageSize=101", "", 400, "pageSize"},
		"token":              {"GET", "/accounts?nextToken=junk", "", 400, "nextToken"},
		"path":               {"GET", "/nothing", "", 404, "path"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client{t, c.url, c.token}
			out := c.must(x.status, x.method, x.path, x.body)
			if message, _ := out["message"].(string); !strings.Contains(message, x.message) || len(out) != 1 {
				t.Errorf("answer %v, want only a message with %q", out, x.message)
			}
		})
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	jwt := client{t, c.url, c.must(200, "POST", "/authenticate", "")["token"].(string)}
	if again := jwt.must(200, "POST", "/authenticate", "")["token"]; again != jwt.token {
		t.Errorf("a JWT became %v, want itself", again)
	}
	jwt.must(201, "POST", "/customers", acme)
	other := client{t, c.url, s.Organization().Token()}
	other.must(404, "GET", "/customers/acme", "")
	s.Clock.Advance(25 * time.Hour)
	jwt.must(401, "GET", "/customers/acme", "")
	c.must(200, "GET", "/customers/acme", "")
	s.Revoke(c.token)
	c.must(401, "GET", "/customers/acme", "")
}

func TestPages(t *testing.T) {
	t.Parallel()
	for extra, pages := range map[bool]int{false: 2, true: 3} {
		var opts []togaisim.Option
		if extra {
			opts = append(opts, togaisim.WithExtraPage())
		}
		_, c := open(t, opts...)
		c.must(201, "POST", "/customers", acme)
		for i := range 3 {
			c.must(201, "POST", "/accounts", fmt.Sprintf(`{"id":"a%d","name":"Account","customerId":"acme"}`, i))
		}
		c.must(200, "PATCH", "/accounts/a0", `{"name":"Newest"}`)
		var ids []string
		n := 0
		for path := "/accounts?customer_id=acme&status=ACTIVE&pageSize=2"; path != ""; n++ {
			out := c.must(200, "GET", path, "")
			for _, a := range out["data"].([]any) {
				ids = append(ids, a.(map[string]any)["id"].(string))
			}
			path = ""
			if next, ok := out["nextToken"].(string); ok {
				path = "/accounts?nextToken=" + next
			}
		}
		if got := strings.Join(ids, " "); got != "a0 a2 a1 acme" || n != pages {
			t.Errorf("extra %v: %q in %d pages, want the newest change first in %d", extra, got, n, pages)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	c.must(201, "POST", "/customers", acme)
	setting := `{"id":"ZuoraAccountId","value":"z1","entityType":"ACCOUNT","entityId":"acme","namespace":"USER","name":"Zuora","dataType":"STRING"}`
	c.must(201, "POST", "/settings", setting)
	c.must(400, "POST", "/settings", setting)
	const key = "/settings/setting.USER.ZuoraAccountId.ACCOUNT.acme"
	c.must(201, "PATCH", key, `{"value":"z2"}`)
	if got := c.must(200, "GET", key, ""); got["value"] != "z2" || got["entityId"] != "acme" {
		t.Errorf("setting %v", got)
	}
	if a := s.Accounts()[0]; len(a.Settings) != 1 || a.Settings[0].Value != "z2" {
		t.Errorf("the account shows %v", a.Settings)
	}
	for filter, want := range map[string]int{"entity_type=ACCOUNT&entity_id=acme": 1, "setting_id=ZuoraAccountId&namespace=USER": 1, "entity_id=other": 0} {
		if got := len(c.must(200, "GET", "/settings?"+filter, "")["data"].([]any)); got != want {
			t.Errorf("%s: %d settings, want %d", filter, got, want)
		}
	}
	c.must(400, "GET", "/settings?colour=red", "")
}

func TestRate(t *testing.T) {
	t.Parallel()
	s, c := open(t, togaisim.WithRateLimit(1))
	c.must(200, "GET", "/customers", "")
	c.must(429, "GET", "/customers", "")
	s.Clock.Advance(time.Second)
	c.must(200, "GET", "/customers", "")
}

func TestAccountCreatedIsTold(t *testing.T) {
	t.Parallel()
	s, _ := open(t, togaisim.WithBackoff(time.Millisecond))
	type seen struct {
		body   []byte
		header string
	}
	got := make(chan seen, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- seen{b, r.Header.Get(togaisim.SignatureHeader)}
	}))
	t.Cleanup(hook.Close)
	res, err := http.Post(s.URL+"/_sim/targets", "application/json", strings.NewReader(`{"url":"`+hook.URL+`","secret":"shh","types":["account.created"]}`))
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	res.Body.Close()
	s.Dial(sim.Dials{BadSignature: 1})
	for _, id := range []string{"one", "two"} {
		if _, err := s.CreateAccount(map[string]any{"id": id, "name": "By hand"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true} {
		x := <-got
		if valid(x.header, x.body) != want {
			t.Errorf("delivery %d: signature %q valid %v, want %v", i, x.header, !want, want)
		}
		var e struct {
			ID, Type string
			Data     struct{ ID string }
		}
		if err := json.Unmarshal(x.body, &e); err != nil || e.Type != "account.created" || e.ID == "" || e.Data.ID == "" {
			t.Errorf("body %s: %v", x.body, err)
		}
	}
	if n := len(s.Customers()); n != 2 {
		t.Errorf("%d customers, want one for each account", n)
	}
}

func valid(header string, body []byte) bool {
	at, v1, _ := strings.Cut(strings.TrimPrefix(header, "t="), ",v1=")
	if _, err := strconv.Atoi(at); err != nil {
		return false
	}
	h := hmac.New(sha256.New, []byte("shh"))
	h.Write(bytes.Join([][]byte{[]byte(at), body}, []byte(".")))
	return v1 == hex.EncodeToString(h.Sum(nil))
}

func TestCommitFaults(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	s.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: sim.AfterCommit, Status: 503})
	c.must(503, "POST", "/customers", acme)
	c.must(400, "POST", "/customers", acme)
	s.Fault(sim.Fault{Path: "/accounts/**", Point: sim.RateLimit})
	if out := c.must(429, "GET", "/accounts/acme", ""); out["message"] == "" {
		t.Errorf("answer %v", out)
	}
	if got := s.Requests(); len(got) != 3 || got[0].Fault != sim.AfterCommit || got[0].Status != 503 {
		t.Errorf("requests %+v", got)
	}
}
