package zuora

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/zuora/zuorasim"
)

const accountBody = `{"AccountId": "{{Account.Id}}"}`

// TestCalloutsProveThemselves in each of the ways that Zuora has, and by no other.
func TestCalloutsProveThemselves(t *testing.T) {
	t.Parallel()
	basic := func(early bool) zuorasim.Callout {
		c := zuorasim.Callout{Body: accountBody, Basic: true}
		c.Auth.Username, c.Auth.Password, c.Auth.Preemptive = "user", "pass:word", early
		return c
	}
	for name, x := range map[string]struct {
		callout zuorasim.Callout
		secret  string
		calls   int // until it is taken
	}{
		"basic, at once":         {basic(true), "callout:basic:user:pass:word", 1},
		"basic, when challenged": {basic(false), "callout:basic:user:pass:word", 2},
		"a header of one's own":  {zuorasim.Callout{Body: accountBody, Header: map[string]string{"X-Secret": "abc"}}, "callout:header:X-Secret:abc", 1},
		"a token":                {zuorasim.Callout{Body: accountBody, Header: map[string]string{"Authorization": "Bearer abc"}}, "callout:bearer:abc", 1},
		"a HMAC in hex":          {zuorasim.Callout{Body: accountBody, HMACHeader: "X-Sign", HMACKey: "key"}, "callout:hmac:X-Sign:key", 1},
		"a HMAC in base64":       {zuorasim.Callout{Body: accountBody, HMACHeader: "X-Sign", HMACKey: "key", Base64: true}, "callout:hmac:X-Sign:key", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := zuorasim.New(t)
			type seen struct {
				connectors.Envelope
				err error
			}
			got := make(chan seen, 10)
			hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				d := connectors.Delivery{Header: r.Header, Body: body, ReceivedAt: time.Now()}
				for _, wrong := range []string{"", "callout:", "callout:basic:user:", "callout:basic:user:other", "callout:header:X-Secret:other", "callout:header:X-None:", "callout:hmac:X-Sign:other", "callout:bearer:", "callout:oauth2:X-Secret:abc", "callout:oauth2:user:", "callout:none:a:b", "whatever"} {
					if _, err := open(d, []string{wrong}); err == nil {
						t.Errorf("it is taken with %q", wrong)
					}
				}
				e, err := open(d, []string{"callout:header:X-Other:1", x.secret}) // two are valid while one is rotated
				if ask, ok := errors.AsType[connectors.NoProof](err); ok {
					w.Header().Set("WWW-Authenticate", string(ask))
					w.WriteHeader(http.StatusUnauthorized)
				}
				got <- seen{e, err}
			}))
			t.Cleanup(hook.Close)
			x.callout.URL = hook.URL
			s.Notify("Account", x.callout)
			id := accountOf(t, s, "A-1").ID
			if err := s.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			close(got)
			n := 0
			for e := range got {
				if n++; (e.err == nil) != (n == x.calls) || e.err == nil && e.DedupeKey != "account.created:"+id {
					t.Errorf("call %d: %+v", n, e)
				}
			}
			if d := s.Deliveries(); n != x.calls || len(d) != 1 || len(d[0].Attempts) != 1 || d[0].State != "delivered" {
				t.Errorf("%d calls: %+v", n, d)
			}
		})
	}
}

// TestCalloutIsAnswered200: anything else, 202 too, has Zuora send it again.
func TestCalloutIsAnswered200(t *testing.T) {
	t.Parallel()
	s := zuorasim.New(t, zuorasim.WithBackoff(time.Millisecond, time.Millisecond))
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	t.Cleanup(hook.Close)
	s.Notify("Account", zuorasim.Callout{URL: hook.URL, Body: accountBody})
	accountOf(t, s, "A-1")
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := s.Deliveries(); len(d[0].Attempts) != 3 || d[0].State != "failed" {
		t.Errorf("%+v", d)
	}
}

// TestBodiesOfCallouts: the body is whatever the customer wrote, and says which record to read.
func TestBodiesOfCallouts(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"AccountId":"a1"}`:                                    "account.created:a1",
		`{"Account.Id":" a1 ","other":7}`:                       "account.created:a1",
		`AccountID=a1&x=y`:                                      "account.created:a1",
		`{"SubscriptionNumber":"A-S1","AccountId":"a1"}`:        "subscription.created:A-S1",
		`Subscription.Name=A-S1`:                                "subscription.created:A-S1",
		`{"Event":"account.created","AccountId":"a1"}`:          "account.created:a1",
		`{"Event":"subscription.created","AccountId":"a1"}`:     "", // of which subscription?
		`{"SubscriptionId":"2c92a0fc7f3b2d7a017f3f4a5b6c7d8f"}`: "subscription.created:version:2c92a0fc7f3b2d7a017f3f4a5b6c7d8f",
		`Subscription.Id=s1&SubscriptionName=A-S1`:              "subscription.created:A-S1",
		`<a/>`: "",
	} {
		e, err := envelope([]byte(body), nil)
		if e.DedupeKey != want || (err == nil) != (want != "") {
			t.Errorf("%s: %+v, %v", body, e, err)
		}
	}
	if e, err := envelope([]byte(`{"Event":"account.edited","AccountId":"a1"}`), nil); err != nil || e.Trigger != "" || e.Type != "account.edited" {
		t.Errorf("an event of another kind: %+v, %v", e, err)
	}
}

// TestIdsInTheQuery: what the body leaves open is taken from the URL, and kept as if it had been in the body; a signature is
// over the body alone.
func TestIdsInTheQuery(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct{ body, query, key, kept string }{
		"no body":       {"", "AccountId=a1", "account.created:a1", `{"AccountId":"a1","CreatedDate":"","Event":""}`},
		"a part of it":  {`{"AccountId":"a1"}`, "SubscriptionNumber=A-S1&Notes=", "subscription.created:A-S1", `{"AccountId":"a1","CreatedDate":"","Event":"","Notes":"","SubscriptionNumber":"A-S1"}`},
		"the body wins": {`{"AccountId":"a1"}`, "AccountId=a2", "account.created:a1", ""},
		"nothing of it": {`{"AccountId":"a1"}`, "utm=1", "account.created:a1", ""},
		"nothing":       {"", "utm=1", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			query, err := url.ParseQuery(x.query)
			if err != nil {
				t.Fatal(err)
			}
			d := connectors.Delivery{Header: http.Header{"X-Secret": {"abc"}, "X-Sign": {mac("k", x.body)}}, Query: query, Body: []byte(x.body)}
			e, err := open(d, []string{"callout:header:X-Secret:abc"})
			if e.DedupeKey != x.key || e.Body != x.kept || (err == nil) != (x.key != "") {
				t.Errorf("%+v, kept %s, %v", e, e.Body, err)
			}
			if e.Body != "" {
				if again, err := envelope([]byte(e.Body), nil); err != nil || again.DedupeKey != e.DedupeKey {
					t.Errorf("what is kept says %+v, %v", again, err)
				}
			}
			signed, err := open(d, []string{"callout:hmac:X-Sign:k"})
			if want, werr := envelope([]byte(x.body), nil); signed.DedupeKey != want.DedupeKey || err != werr {
				t.Errorf("signed: %+v, %v", signed, err)
			}
		})
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(`{"AccountId":"a1","CreatedDate":"2026-01-01T00:00:00.000+01:00"}`))
	f.Add([]byte(`SubscriptionNumber=A-S1&CreatedDate=2026-01-01`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := envelope(body, nil)
		if err != nil || e.Trigger == "" {
			return
		}
		tr, ok := Connector().Trigger(e.Trigger)
		if !ok {
			return
		}
		o, err := tr.Decode(body)
		key := e.Trigger + ":" + o.Record.ID
		if o.Vague && e.Trigger == "subscription.created" {
			key = e.Trigger + ":version:" + o.Record.ID
		}
		if err != nil || e.DedupeKey != key || !o.Thin {
			t.Errorf("%+v, %+v, %v", e, o, err)
		}
	})
}

func mac(key, body string) string {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(body))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// TestSignatureIsOfTheBody as it came.
func TestSignatureIsOfTheBody(t *testing.T) {
	t.Parallel()
	d := connectors.Delivery{Header: http.Header{"X-Sign": {"sha256=" + mac("k", `{"AccountId":"a1"}`)}}, Body: []byte(`{"AccountId":"a1"}`)}
	if _, err := open(d, []string{"callout:hmac:X-Sign:k"}); err != nil {
		t.Error(err)
	}
	d.Body = []byte(`{"AccountId":"a2"}`)
	if _, err := open(d, []string{"callout:hmac:X-Sign:k"}); err != connectors.ErrBadSignature {
		t.Error(err)
	}
}
