package stripesim_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
)

type caller struct {
	t        testing.TB
	url, key string
}

type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func open(t testing.TB, opts ...stripesim.Option) (*stripesim.Sim, caller) {
	t.Helper()
	s := stripesim.New(t, opts...)
	return s, caller{t, s.URL, s.Key()}
}

// do sends a form, in the query of a GET; an idempotency key may follow.
func (c caller) do(method, path, form string, key ...string) answer {
	c.t.Helper()
	target, body := c.url+"/v1"+path, form
	if method == http.MethodGet {
		target, body = target+"?"+form, ""
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if key != nil {
		req.Header.Set("Idempotency-Key", key[0])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Error(err) // not Fatal: some callers are not the test's goroutine
		return answer{}
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	a := answer{status: res.StatusCode, header: res.Header, raw: string(raw)}
	if err := json.Unmarshal(raw, &a.body); err != nil {
		c.t.Errorf("%s %s: %v: %s", method, path, err, raw)
	}
	return a
}

func (c caller) must(status int, method, path, form string, key ...string) answer {
	c.t.Helper()
	a := c.do(method, path, form, key...)
	if a.status != status {
		c.t.Fatalf("%s %s: %d, want %d: %s", method, path, a.status, status, a.raw)
	}
	return a
}

func (a answer) id() string { return a.body["id"].(string) }

// at reads a dotted path.
func (a answer) at(path string) any {
	var v any = a.body
	for _, p := range strings.Split(path, ".") {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func (a answer) data() (ids []string) {
	for _, o := range a.body["data"].([]any) {
		ids = append(ids, o.(map[string]any)["id"].(string))
	}
	return ids
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	acct := s.Account()
	we := "url=http://127.0.0.1:1&enabled_events[]="
	for name, x := range map[string]struct {
		key, method, path, form string
		status                  int
		code, param             any
	}{
		"no key":            {"", "GET", "/account", "", 401, nil, nil},
		"unknown key":       {"sk_test_0123456789abcdef", "GET", "/account", "", 401, nil, nil},
		"denied read":       {acct.RestrictedKey("rak_account_read"), "GET", "/account", "", 403, nil, nil},
		"denied write":      {acct.RestrictedKey("rak_webhook_write"), "POST", "/webhook_endpoints", we + "*", 403, nil, nil},
		"read is not write": {acct.RestrictedKey("rak_webhook_write"), "GET", "/webhook_endpoints", "", 200, nil, nil},
		"path":              {c.key, "GET", "/nothing", "", 404, nil, nil},
		"unknown parameter": {c.key, "POST", "/customers", "colour=red", 400, "parameter_unknown", "colour"},
		"nested parameter":  {c.key, "POST", "/customers", "address[planet]=x", 400, "parameter_unknown", "address[planet]"},
		"missing parameter": {c.key, "POST", "/webhook_endpoints", "url=http://x.test", 400, "parameter_missing", "enabled_events"},
		"event name":        {c.key, "POST", "/webhook_endpoints", we + "customer.exploded", 400, nil, "enabled_events[0]"},
		"integer":           {c.key, "POST", "/customers", "balance=x", 400, "parameter_invalid_integer", "balance"},
		"email":             {c.key, "POST", "/customers", "email=nobody", 400, "email_invalid", "email"},
		"long name":         {c.key, "POST", "/customers", "name=" + strings.Repeat("x", 257), 400, nil, "name"},
		"metadata":          {c.key, "POST", "/customers", "metadata[a]=" + strings.Repeat("x", 501), 400, nil, "metadata[a]"},
		"missing customer":  {c.key, "GET", "/customers/cus_x", "", 404, "resource_missing", "id"},
		"cursor":            {c.key, "GET", "/customers", "starting_after=cus_x", 400, "resource_missing", "starting_after"},
		"limit":             {c.key, "GET", "/customers", "limit=101", 400, "parameter_invalid_integer", "limit"},
		"search":            {c.key, "GET", "/customers/search", "query=what", 400, nil, "query"},
		"expand":            {c.key, "GET", "/account", "expand[]=nothing", 400, nil, "expand"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := caller{t, c.url, x.key}
			a := c.must(x.status, x.method, x.path, x.form)
			if a.at("error.code") != x.code || a.at("error.param") != x.param {
				t.Errorf("error %v, want code %v, param %v", a.body, x.code, x.param)
			}
			if !strings.HasPrefix(a.header.Get("Request-Id"), "req_") || x.key != "" && strings.Contains(a.raw, x.key) {
				t.Errorf("headers %v, body %s", a.header, a.raw)
			}
		})
	}
}

func TestAccountsAndModes(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	first := c.must(200, "GET", "/account", "").id()
	if again := (caller{t, s.URL, s.Key()}).must(200, "GET", "/account", "").id(); again != first {
		t.Errorf("a second key opens %s, want %s", again, first)
	}
	acct := s.Account()
	id := c.must(200, "POST", "/customers", "").id()
	for name, key := range map[string]string{"another account": acct.Key(), "live": acct.LiveKey()} {
		other := caller{t, s.URL, key}
		other.must(404, "GET", "/customers/"+id, "")
		if live := other.must(200, "POST", "/customers", "").body["livemode"]; live != (name == "live") {
			t.Errorf("%s: livemode %v", name, live)
		}
	}
	s.Revoke(c.key)
	c.must(401, "GET", "/account", "")
}

func TestCustomers(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	made := c.must(200, "POST", "/customers", "name=Acme&email=A@acme.test&address[city]=Bern&metadata[a]=1&metadata[b]=2&preferred_locales[0]=de", "k1")
	id := made.id()
	if made.at("address.city") != "Bern" || made.at("address.line1") != nil || made.at("metadata.b") != "2" || made.at("tax_exempt") != "none" {
		t.Errorf("created %s", made.raw)
	}
	got := c.must(200, "POST", "/customers/"+id, url.Values{"name": {""}, "metadata[a]": {""}, "metadata[c]": {"3"}}.Encode())
	if got.at("name") != nil || fmt.Sprint(got.at("metadata")) != "map[b:2 c:3]" || got.at("email") != "A@acme.test" {
		t.Errorf("updated %s", got.raw)
	}
	c.must(200, "POST", "/customers/"+id, "metadata[c]=3") // changes nothing
	c.must(200, "DELETE", "/customers/"+id, "")
	if got := c.must(200, "GET", "/customers/"+id, ""); got.at("deleted") != true {
		t.Errorf("deleted reads %s", got.raw)
	}
	c.must(404, "POST", "/customers/"+id, "name=x")

	events := c.must(200, "GET", "/events", "types[0]=customer.created&types[1]=customer.updated&types[2]=customer.deleted")
	if n := len(events.data()); n != 3 {
		t.Fatalf("%d events, want 3: %s", n, events.raw)
	}
	created := answer{body: events.body["data"].([]any)[2].(map[string]any)}
	if created.at("request.idempotency_key") != "k1" || created.at("request.id") != made.header.Get("Request-Id") || created.at("data.object.name") != "Acme" {
		t.Errorf("event %v", created.body)
	}
	updated := answer{body: events.body["data"].([]any)[1].(map[string]any)}
	if got := fmt.Sprint(updated.at("data.previous_attributes")); got != "map[metadata:map[a:1 c:<nil>] name:Acme]" {
		t.Errorf("previous attributes %s", got)
	}
	if n := len(s.Requests()); n != 7 {
		t.Errorf("%d requests, want 7", n)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	var ids []string
	for i := range 5 {
		ids = append(ids, c.must(200, "POST", "/customers", fmt.Sprintf("email=%d@x.test", i%2)).id())
		s.Clock.Advance(time.Minute)
	}
	newest := c.must(200, "GET", "/customers/"+ids[4], "").at("created").(float64)
	for query, want := range map[string]string{
		"limit=2":                                       "43 true",
		"limit=2&starting_after=" + ids[3]:              "21 true",
		"limit=2&starting_after=" + ids[2]:              "10 false",
		"limit=2&ending_before=" + ids[1]:               "32 true",
		"email=1@x.test":                                "31 false",
		"email=1@X.test":                                " false",
		fmt.Sprintf("created[gte]=%.0f", newest):        "4 false",
		fmt.Sprintf("created[lt]=%.0f&limit=3", newest): "321 true",
	} {
		a := c.must(200, "GET", "/customers", query)
		got := ""
		for _, id := range a.data() {
			for i := range ids {
				if ids[i] == id {
					got += fmt.Sprint(i)
				}
			}
		}
		if got := fmt.Sprint(got, " ", a.body["has_more"]); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func TestSearch(t *testing.T) {
	t.Parallel()
	s, c := open(t, stripesim.WithSearchLag(time.Minute))
	find := func(query, more string) answer {
		return c.must(200, "GET", "/customers/search", "query="+url.QueryEscape(query)+more)
	}
	id := c.must(200, "POST", "/customers", "name=Acme&metadata[togai]=o'1").id()
	c.must(200, "POST", "/customers", "name=Bolt")
	if got := find(`name:'Acme'`, "").data(); len(got) != 0 {
		t.Errorf("search sees %v before its lag", got)
	}
	s.Clock.Advance(time.Minute)
	c.must(200, "POST", "/customers/"+id, "name=Later")
	for query, want := range map[string]int{
		`name:'acme'`: 1, `name~'l'`: 1, `metadata['togai']:'o\'1'`: 1, `-metadata["togai"]:null`: 1, `name:'Acme' AND email:null`: 1,
		`name:'Acme' OR name:'Bolt'`: 2, `name:'Later'`: 0, `created>0`: 2,
	} {
		if got := find(query, "").data(); len(got) != want {
			t.Errorf("%s: %d found, want %d", query, len(got), want)
		}
	}
	page := find("created>0", "&limit=1")
	next, _ := page.body["next_page"].(string)
	if second := find("created>0", "&limit=1&page="+next); next == "" || second.data()[0] != id || second.body["has_more"] != false {
		t.Errorf("second page %s", second.raw)
	}
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	c.must(400, "POST", "/customers", "colour=red", "k") // not kept
	made := c.must(200, "POST", "/customers", "name=Acme&email=a@x.test", "k")
	again := c.must(200, "POST", "/customers", "email=a@x.test&name=Acme", "k")
	if again.raw != made.raw || again.header.Get("Idempotent-Replayed") != "true" || again.header.Get("Request-Id") == made.header.Get("Request-Id") {
		t.Errorf("replayed %v %s", again.header, again.raw)
	}
	if a := c.must(400, "POST", "/customers", "name=Bolt", "k"); a.at("error.type") != "idempotency_error" {
		t.Errorf("another body: %s", a.raw)
	}
	(caller{t, s.URL, s.Account().Key()}).must(200, "POST", "/customers", "name=Bolt", "k") // a space for each account
	if n := len(c.must(200, "GET", "/events", "").data()); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
	s.Clock.Advance(24 * time.Hour)
	if a := c.must(200, "POST", "/customers", "name=Acme&email=a@x.test", "k"); a.id() == made.id() {
		t.Error("a key lives longer than 24 hours")
	}
}

func TestKeysRememberFaults(t *testing.T) {
	t.Parallel()
	for point, want := range map[sim.Point]struct{ status, replayed, customers int }{
		sim.Before:      {500, 0, 1}, // never began: runs on the second try
		sim.RateLimit:   {429, 0, 1},
		sim.AfterCommit: {500, 1, 1}, // the 500 is what is kept
		sim.Cut:         {200, 1, 1}, // the lost 200 is found
	} {
		t.Run(string(point), func(t *testing.T) {
			t.Parallel()
			s, c := open(t)
			s.Fault(sim.Fault{Method: "POST", Path: "/v1/customers", Point: point})
			if point == sim.Cut {
				req, _ := http.NewRequest("POST", s.URL+"/v1/customers", strings.NewReader("name=Acme"))
				req.Header.Set("Authorization", "Bearer "+c.key)
				req.Header.Set("Idempotency-Key", "k")
				if res, err := http.DefaultClient.Do(req); err == nil {
					t.Fatal(res.Status)
				}
			} else {
				c.must(want.status, "POST", "/customers", "name=Acme", "k")
			}
			status := 200
			if want.replayed == 1 {
				status = want.status
			}
			a := c.must(status, "POST", "/customers", "name=Acme", "k")
			if got := a.header.Get("Idempotent-Replayed") == "true"; got != (want.replayed == 1) {
				t.Errorf("replayed %v", got)
			}
			if n := len(c.must(200, "GET", "/customers", "").data()); n != want.customers {
				t.Errorf("%d customers, want %d", n, want.customers)
			}
		})
	}
}

func TestKeyInFlight(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	running, release := make(chan struct{}), make(chan struct{})
	s.OnRequest(func(stage, method, _ string) {
		if stage == sim.Committed && method == "POST" {
			close(running)
			<-release
		}
	})
	first := make(chan answer)
	go func() { first <- c.do("POST", "/customers", "name=Acme", "k") }()
	<-running
	if a := c.must(409, "POST", "/customers", "name=Acme", "k"); a.at("error.code") != "idempotency_key_in_use" {
		t.Errorf("in flight: %s", a.raw)
	}
	close(release)
	if a := <-first; a.status != 200 {
		t.Errorf("first: %d %s", a.status, a.raw)
	}
	c.must(200, "POST", "/customers", "name=Acme", "k")
}

func TestRate(t *testing.T) {
	t.Parallel()
	_, c := open(t, stripesim.WithRateLimit(1))
	c.must(200, "GET", "/account", "")
	if a := c.must(429, "GET", "/account", ""); a.at("error.code") != "rate_limit" || a.header.Get("Stripe-Rate-Limited-Reason") == "" {
		t.Errorf("%v %s", a.header, a.raw)
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	form := "url=http://127.0.0.1:1/x&enabled_events[0]=customer.created&api_version=2023-10-16&metadata[a]=b"
	made := c.must(200, "POST", "/webhook_endpoints", form, "k")
	if secret, _ := made.body["secret"].(string); !strings.HasPrefix(secret, "whsec_") || made.at("status") != "enabled" {
		t.Errorf("created %s", made.raw)
	}
	if again := c.must(200, "POST", "/webhook_endpoints", form, "k"); again.raw != made.raw {
		t.Error("the replay has another secret")
	}
	if a := c.must(200, "POST", "/webhook_endpoints/"+made.id(), "disabled=true&enabled_events[0]=*"); a.at("status") != "disabled" || a.at("secret") != nil {
		t.Errorf("updated %s", a.raw)
	}
	for range 15 {
		c.must(200, "POST", "/webhook_endpoints", form)
	}
	c.must(400, "POST", "/webhook_endpoints", form)
	c.must(200, "DELETE", "/webhook_endpoints/"+made.id(), "")
	c.must(404, "GET", "/webhook_endpoints/"+made.id(), "")
	if n := len(c.must(200, "GET", "/webhook_endpoints", "limit=100").data()); n != 15 {
		t.Errorf("%d endpoints, want 15", n)
	}
	(caller{t, s.URL, s.Account().LiveKey()}).must(400, "POST", "/webhook_endpoints", form)
}

// controlled posts to the control API.
func controlled(t testing.TB, url, body string) (out map[string]any) {
	t.Helper()
	res, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || res.StatusCode != 200 {
		t.Fatal(res.Status, out, err)
	}
	return out
}
