package conntest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
)

// Conform checks what every connector owes, without making a call. creds are complete and good.
func Conform(t *testing.T, app connectors.Connector, creds connectors.Credentials) {
	t.Helper()
	if _, err := connectors.NewRegistry(app); err != nil {
		t.Error(err)
	}
	if _, err := app.Mode(connectors.Credentials{}); err == nil {
		t.Error("an empty form has a mode")
	}
	if m, err := app.Mode(creds); err != nil || m != connectors.Live && m != connectors.Test {
		t.Errorf("mode %q, %v", m, err)
	}
	if u := app.BaseURL(creds); !strings.HasPrefix(u, "https://") || strings.HasSuffix(u, "/") {
		t.Errorf("base URL %q", u)
	}
	for _, m := range []connectors.Mode{connectors.Live, connectors.Test} {
		if r := app.Rate(m); r.PerSecond <= 0 || r.Burst < 1 {
			t.Errorf("rate of %s: %+v", m, r)
		}
	}
	conformWebhook(t, app)
	for _, tr := range app.Triggers {
		for _, body := range []string{"", "null", "[]", "{}", `"x"`, `{"id":1}`, `{"data":null}`} {
			if _, err := tr.Decode([]byte(body)); err == nil {
				t.Errorf("%s decodes %q", tr.Key, body)
			}
		}
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q %d", creds, creds, creds, creds, creds, creds)} {
		for _, f := range app.Auth {
			if v := creds[f.Key]; f.Secret && v != "" && strings.Contains(text, v) {
				t.Errorf("%s is printed: %s", f.Key, text)
			}
		}
	}
}

func conformWebhook(t *testing.T, app connectors.Connector) {
	t.Helper()
	if app.Webhook == nil {
		return
	}
	for _, body := range []string{"", "{}", "null", "not JSON"} {
		for _, secrets := range [][]string{nil, {""}, {"secret"}} {
			if _, err := app.Webhook.Open(connectors.Delivery{Header: http.Header{}, Body: []byte(body), ReceivedAt: time.Now()}, secrets); err == nil {
				t.Errorf("a delivery of %q is taken with secrets %q", body, secrets)
			}
		}
	}
	if app.Webhook.Unsigned {
		return
	}
	for _, tr := range app.Triggers {
		if len(tr.Events) == 0 {
			t.Errorf("%s names no event types to subscribe to", tr.Key)
		}
	}
}
