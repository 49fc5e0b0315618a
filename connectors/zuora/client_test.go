package zuora

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/zuora/zuorasim"
)

// scripted is a vendor that answers every call but that for a token with one answer.
func scripted(t *testing.T, status int, header http.Header, body string) connectors.Conn {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth/token" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"access_token":"secret-token","token_type":"bearer","expires_in":3599.5,"scope":"user.1 entity.e tenant.7"}`)
			return
		}
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	c, _ := conntest.OpenJournal(t, Connector(), s.URL, connectors.Credentials{endpoint: hosts[0].url, clientID: "id", clientSecret: "hush-hush"})
	return c
}

// TestBodies: Zuora says what went wrong in four ways, and with 200 too.
func TestBodies(t *testing.T) {
	t.Parallel()
	rest := func(codes ...any) string {
		body := map[string]any{"success": false, "processId": "P1"}
		var reasons []any
		for _, c := range codes {
			reasons = append(reasons, map[string]any{"code": c, "message": fmt.Sprint("code ", c, " of hush-hush, secret-token")})
		}
		body["reasons"] = reasons
		raw, _ := json.Marshal(body)
		return string(raw)
	}
	const get, post, put = http.MethodGet, http.MethodPost, http.MethodPut
	for name, x := range map[string]struct {
		method, path string
		status       int
		body         string
		want         connectors.Kind
		code         string
	}{
		"a success":                          {post, "/v1/x", 200, `{"success":true}`, "", ""},
		"a success with a capital":           {post, "/v1/object/x", 200, `{"Success":true,"Id":"1"}`, "", ""},
		"a read that names none":             {get, "/object-query/x", 200, `{"data":[]}`, "", ""},
		"an event that names none":           {post, "/events/x", 200, `{"id":"1"}`, "", ""},
		"a write that names none":            {post, "/v1/x", 200, `{"id":"1"}`, connectors.OutcomeUnknown, ""},
		"nothing at all":                     {http.MethodDelete, "/notifications/x", 204, "", "", ""},
		"a proxy's page":                     {post, "/v1/x", 200, "<html>", connectors.OutcomeUnknown, ""},
		"a failure with 200":                 {post, "/v1/x", 200, rest(53100320), connectors.Invalid, "53100320"},
		"a code that is a text":              {get, "/v1/x", 404, rest("50000040"), connectors.NotFound, "50000040"},
		"not found with 200":                 {get, "/v1/x", 200, rest(50000040), connectors.NotFound, "50000040"},
		"no right":                           {post, "/v1/x", 200, rest(53100010), connectors.Forbidden, "53100010"},
		"a lock, of a write with a key":      {post, "/v1/x", 200, rest(53100050), connectors.OutcomeUnknown, "53100050"},
		"a lock, of one without":             {put, "/v1/x", 200, rest(53100050), connectors.Unavailable, "53100050"},
		"a lock, of a read":                  {get, "/v1/x", 400, rest(53100050), connectors.Unavailable, "53100050"},
		"temporary":                          {get, "/v1/x", 400, rest(53100061), connectors.Unavailable, "53100061"},
		"too many at once":                   {post, "/v1/x", 200, rest(53100070), connectors.RateLimited, "53100070"},
		"one of two may be tried again":      {get, "/v1/x", 200, rest(53100050, 53100020), connectors.Invalid, "53100020"},
		"both of two may":                    {get, "/v1/x", 200, rest(53100050, 53100061), connectors.Unavailable, "53100050"},
		"errors with a capital":              {post, "/v1/object/x", 400, `{"Success":false,"Errors":[{"Code":"INVALID_VALUE","Message":"no"}]}`, connectors.Invalid, "INVALID_VALUE"},
		"a lock, in the older words":         {put, "/v1/object/x", 400, `{"Success":false,"Errors":[{"Code":"LOCK_COMPETITION","Message":"no"}]}`, connectors.Unavailable, "LOCK_COMPETITION"},
		"nothing found, in the older words":  {get, "/v1/object/x", 404, `{"done":true,"records":[],"size":0}`, connectors.NotFound, ""},
		"events' reasons":                    {post, "/events/x", 400, `{"reasons":[{"code":"MissingRequiredField","message":"no"}]}`, connectors.Invalid, "MissingRequiredField"},
		"events' code":                       {get, "/notifications/x", 404, `{"code":"404","message":"no"}`, connectors.NotFound, "404"},
		"the gateway's":                      {get, "/object-query/x", 404, `{"message":"no Route matched with those values"}`, connectors.NotFound, ""},
		"the first is still being worked on": {post, "/v1/x", 409, rest(53100030), connectors.Busy, "53100030"},
		"a key of another call":              {post, "/v1/x", 422, rest(53100030), connectors.Invalid, "53100030"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := scripted(t, x.status, http.Header{"Retry-After": {"3"}, "Zuora-Request-Id": {"R1"}}, x.body)
			var err error
			if x.method == get {
				_, err = call(t.Context(), c, request{method: get, path: x.path})
			} else {
				_, err = c.Effect(t.Context(), connectors.Set("x", "1"), nil, func(ctx context.Context, key string) (connectors.Ref, error) {
					_, err := call(ctx, c, request{method: x.method, path: x.path, key: key, in: map[string]any{}})
					return connectors.Ref{}, err
				})
			}
			e, _ := errors.AsType[*connectors.Error](err)
			if connectors.KindOf(err) != x.want || (err == nil) != (x.want == "") {
				t.Fatalf("%q, want %q: %v", connectors.KindOf(err), x.want, err)
			}
			if e == nil {
				return
			}
			if e.Code != x.code || x.code != "" && e.RequestID != "R1" {
				t.Errorf("code %q, request %q", e.Code, e.RequestID)
			}
			if x.want == connectors.RateLimited && e.RetryAfter != 3*time.Second {
				t.Errorf("it waits %s", e.RetryAfter)
			}
			for _, secret := range []string{"hush", "secret-token"} {
				if text := fmt.Sprint(err); strings.Contains(text, secret) {
					t.Errorf("a secret is in %s", text)
				}
			}
		})
	}
}

// TestHeaders: a change has no idempotency key and the version is that of the form.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s, c, j := world(t)
	if _, err := runCreateAccount(t.Context(), c, CreateAccountInput{AccountNumber: "acme", Name: "Acme 🙂 & Söhne", Currency: "USD"}); err != nil {
		t.Fatal(err)
	}
	if _, err := runUpdateAccount(t.Context(), c, UpdateAccountInput{AccountID: "acme", Name: "Acme"}); err != nil {
		t.Fatal(err)
	}
	for _, e := range j.Effects() {
		key := e.Request.Header.Get("Idempotency-Key")
		if (e.Request.Method == http.MethodPost) != (key == e.Key) || e.Request.Method == http.MethodPut && key != "" || e.Request.Header.Get("Zuora-Version") != pinned {
			t.Errorf("%s with %v", e.Request.Method, e.Request.Header)
		}
		if e.Request.Method == http.MethodPost && !strings.Contains(string(e.Request.Body), `"Acme  \u0026 Söhne"`) {
			t.Errorf("the name is sent as %s", e.Request.Body)
		}
	}
	if got := s.Accounts(); got[0].Name != "Acme" {
		t.Errorf("%+v", got)
	}
}

// TestTokenFaults: what the token endpoint's refusals mean.
func TestTokenFaults(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]connectors.Kind{
		400: connectors.Unauthorized, 401: connectors.Unauthorized, 403: connectors.Forbidden, 429: connectors.RateLimited, 500: connectors.Unavailable, 503: connectors.Unavailable,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", "9")
				w.WriteHeader(status)
				body, _ := io.ReadAll(r.Body)
				form, _ := url.ParseQuery(string(body))
				_, _ = io.WriteString(w, "refused: "+form.Get("client_secret"))
			}))
			defer s.Close()
			c, _ := conntest.OpenJournal(t, Connector(), s.URL, connectors.Credentials{endpoint: hosts[0].url, clientID: "id", clientSecret: "hush/+="})
			_, err := identify(t.Context(), c)
			e, ok := errors.AsType[*connectors.Error](err)
			if !ok || e.Kind != want || e.RetryAfter != 9*time.Second || strings.Contains(err.Error(), "hush") {
				t.Errorf("%+v", err)
			}
		})
	}
	for what, answer := range map[string]string{"no JSON": "<html>", "no token": `{"token_type":"bearer"}`, "an error with 200": `{"error":"x"}`} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
		c, _ := conntest.OpenJournal(t, Connector(), s.URL, connectors.Credentials{endpoint: hosts[0].url, clientID: "id", clientSecret: "hush"})
		if _, err := identify(t.Context(), c); connectors.KindOf(err) != connectors.Unavailable {
			t.Errorf("%s: %v", what, err)
		}
		s.Close()
	}
}

// TestRetryAfter: where Zuora does not say when, it says when its window ends.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		header http.Header
		want   time.Duration
	}{
		{http.Header{"Retry-After": {"3"}, "Ratelimit-Reset": {"9"}}, 3 * time.Second}, {http.Header{"Ratelimit-Reset": {"9"}}, 9 * time.Second},
		{http.Header{}, 0}, {http.Header{"Retry-After": {"soon"}}, 0}, {http.Header{"Retry-After": {"-1"}}, 0},
	} {
		if got := retryAfter(x.header); got != x.want {
			t.Errorf("%v: %s, want %s", x.header, got, x.want)
		}
	}
}

// TestEase: what is left of the tenant's limits is told with every answer, and spread over the time until there is more.
func TestEase(t *testing.T) {
	t.Parallel()
	s, c, j := world(t)
	for _, x := range []struct {
		others zuorasim.Others
		want   time.Duration
	}{
		{zuorasim.Others{}, 0},
		{zuorasim.Others{Left: 50000, Reset: time.Minute}, time.Minute / 50001},
		{zuorasim.Others{Left: 29, Reset: time.Minute}, 2 * time.Second},
		{zuorasim.Others{Left: 0, Reset: time.Minute}, time.Minute},
		{zuorasim.Others{Flying: 5000}, time.Second},
		{zuorasim.Others{Left: 0, Reset: time.Minute, Flying: 5000}, time.Minute},
	} {
		s.Others(x.others)
		if _, err := identify(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		calls := j.Calls
		if got := calls[len(calls)-1].Ease; got != x.want {
			t.Errorf("%+v: the next call waits %s, want %s", x.others, got, x.want)
		}
	}
}

// TestTokenIsUsedAgain until it is about to end, or is refused.
func TestTokenIsUsedAgain(t *testing.T) {
	t.Parallel()
	s, c, j := world(t)
	for range 3 {
		if _, err := identify(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	s.Expire()
	if _, err := runCreateAccount(t.Context(), c, CreateAccountInput{AccountNumber: "acme", Name: "Acme", Currency: "USD"}); err != nil {
		t.Fatal(err)
	}
	if n := s.Tokens(); n != 2 || len(s.Accounts()) != 1 || j.Effects()[0].Sent != 1 {
		t.Errorf("%d tokens, %d accounts", n, len(s.Accounts()))
	}
	s.Revoke(c.Credentials[clientID])
	if _, err := identify(t.Context(), c); connectors.KindOf(err) != connectors.Unauthorized {
		t.Errorf("revoked: %v", err)
	}
}
