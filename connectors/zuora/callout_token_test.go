package zuora

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
)

const client = "callout:oauth2:tieline:s/e:c+r="

// asking is a request for an access token.
func asking(form url.Values, user, password string) connectors.Delivery {
	r := http.Request{Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}}
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	return connectors.Delivery{Header: r.Header, Body: []byte(form.Encode()), ReceivedAt: time.Now()}
}

// TestGrant: who knows the client gets a token that callouts are believed by until it ends, and by no other client's secret.
func TestGrant(t *testing.T) {
	t.Parallel()
	by := func(id, secret string) url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "scope": {"x"}}
	}
	for name, x := range map[string]struct {
		ask   connectors.Delivery
		asked bool
		says  string // of a refusal
	}{
		"in the form":                  {asking(by("tieline", "s/e:c+r="), "", ""), true, ""},
		"in the header":                {asking(url.Values{"grant_type": {"client_credentials"}}, "tieline", "s/e:c+r="), true, ""},
		"in the header, encoded":       {asking(url.Values{"grant_type": {"client_credentials"}}, "tieline", url.QueryEscape("s/e:c+r=")), true, ""},
		"of another secret":            {asking(by("tieline", "other"), "", ""), true, "invalid_client"},
		"of another client":            {asking(by("other", "s/e:c+r="), "", ""), true, "invalid_client"},
		"of nobody":                    {asking(url.Values{"grant_type": {"client_credentials"}}, "", ""), true, "invalid_client"},
		"in another way":               {asking(url.Values{"grant_type": {"password"}}, "tieline", "s/e:c+r="), true, "unsupported_grant_type"},
		"a callout":                    {asking(url.Values{"AccountId": {"a1"}}, "tieline", "s/e:c+r="), false, ""},
		"a callout with a body of its": {connectors.Delivery{Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"AccountId":"a1"}`)}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reply, asked, err := grant(x.ask, []string{"callout:oauth2:", "callout:bearer:x", client})
			var out struct {
				Token string `json:"access_token"`
				Type  string `json:"token_type"`
				Error string `json:"error"`
				Life  int    `json:"expires_in"`
			}
			if asked && json.Unmarshal([]byte(reply), &out) != nil || asked != x.asked || out.Error != x.says || (err == nil) != (x.says == "") {
				t.Fatalf("%s, %v, %v", reply, asked, err)
			}
			if out.Token == "" {
				return
			}
			if strings.Contains(reply, "s/e") || out.Type != "Bearer" || out.Life != 3600 {
				t.Errorf("it answers %s", reply)
			}
			d := connectors.Delivery{Header: http.Header{"Authorization": {"Bearer " + out.Token}}, Body: []byte(`{"AccountId":"a1"}`), ReceivedAt: time.Now()}
			if e, err := open(d, []string{client}); err != nil || e.DedupeKey != "account.created:a1" {
				t.Errorf("%+v, %v", e, err)
			}
			if _, err := open(d, []string{"callout:oauth2:tieline:other"}); err != connectors.ErrBadSignature {
				t.Errorf("by another secret: %v", err)
			}
			d.ReceivedAt = d.ReceivedAt.Add(tokenLife)
			if _, err := open(d, []string{client}); err != askToken {
				t.Errorf("when it has ended: %v", err)
			}
			d.Header.Set("Authorization", "Bearer 9"+out.Token) // good for longer
			if _, err := open(d, []string{client}); err != connectors.ErrBadSignature {
				t.Errorf("changed: %v", err)
			}
			d.Header.Del("Authorization")
			if _, err := open(d, []string{client}); !errors.Is(err, askToken) {
				t.Errorf("without: %v", err)
			}
		})
	}
}
