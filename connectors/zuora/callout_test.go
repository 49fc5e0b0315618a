package zuora

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
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
				for _, wrong := range []string{"", "callout:", "callout:basic:user:", "callout:basic:user:other", "callout:header:X-Secret:other", "callout:header:X-None:", "callout:hmac:X-Sign:other", "callout:bearer:", "callout:none:a:b", "whatever"} {
					if _, err := open(d, []string{wrong}); err == nil {
						t.Errorf("it is taken with %q", wrong)
					}
				}
				e, err := open(d, []string{"callout:header:X-Other:1", x.secret}) // two are valid while one is rotated
				if err == connectors.ErrNoProof {
					w.Header().Set("WWW-Authenticate", Connector().Webhook.Challenge)
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
		`{"SubscriptionId":"2c92a0fc7f3b2d7a017f3f4a5b6c7d8f"}`: "", // another with every version
		`<a/>`: "",
	} {
		e, err := envelope([]byte(body))
		if e.DedupeKey != want || (err == nil) != (want != "") {
			t.Errorf("%s: %+v, %v", body, e, err)
		}
	}
	if e, err := envelope([]byte(`{"Event":"account.edited","AccountId":"a1"}`)); err != nil || e.Trigger != "" || e.Type != "account.edited" {
		t.Errorf("an event of another kind: %+v, %v", e, err)
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(`{"AccountId":"a1","CreatedDate":"2026-01-01T00:00:00.000+01:00"}`))
	f.Add([]byte(`SubscriptionNumber=A-S1&CreatedDate=2026-01-01`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := envelope(body)
		if err != nil || e.Trigger == "" {
			return
		}
		tr, ok := Connector().Trigger(e.Trigger)
		if !ok {
			return
		}
		o, err := tr.Decode(body)
		if err != nil || e.DedupeKey != e.Trigger+":"+o.Record.ID || !o.Thin {
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
