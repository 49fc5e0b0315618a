package graph

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	srv, _ := edge(t, func(c *Config) { c.Limits.Body = 2000 })
	viewer, get := query("{viewer{id}}"), srv.URL+"/?query="
	bomb := "query{viewer{...a}} fragment a on Viewer{...b ...b} fragment b on Viewer{...c ...c} "
	for c := 'c'; c < 'u'; c++ {
		bomb += fmt.Sprintf("fragment %c on Viewer{...%c ...%c} ", c, c+1, c+1)
	}
	bomb += "fragment u on Viewer{id}"
	for _, c := range []struct {
		name, method, url, body string
		header                  []string
		status                  int
		code                    Code
	}{
		{"PUT", "PUT", srv.URL, viewer, nil, 405, MethodNotAllowed},
		{"XML wanted", "POST", srv.URL, viewer, []string{"Accept: text/xml"}, 406, NotAcceptable},
		{"JSON unwanted", "POST", srv.URL, viewer, []string{"Accept: application/json;q=0"}, 406, NotAcceptable},
		{"form", "POST", srv.URL, "query={viewer{id}}", []string{"Content-Type: application/x-www-form-urlencoded"}, 415, UnsupportedMedia},
		{"text", "POST", srv.URL, viewer, []string{"Content-Type: text/plain"}, 415, UnsupportedMedia},
		{"latin-1", "POST", srv.URL, viewer, []string{"Content-Type: application/json; charset=latin1"}, 415, UnsupportedMedia},
		{"compressed", "POST", srv.URL, viewer, []string{"Content-Encoding: gzip"}, 415, UnsupportedMedia},
		{"of no type", "POST", srv.URL, viewer, []string{"Content-Type: "}, 415, UnsupportedMedia},
		{"form with files", "POST", srv.URL, viewer, []string{"Content-Type: multipart/form-data; boundary=x"}, 415, UnsupportedMedia},
		{"token in a cookie", "POST", srv.URL, viewer, []string{"Authorization: ", "Cookie: token=reader; Authorization=Bearer reader"}, 401, Unauthenticated},
		{"token in the address", "GET", get + "{viewer{id}}&token=reader&access_token=reader", "", []string{"Authorization: "}, 401, Unauthenticated},
		{"no token", "POST", srv.URL, viewer, []string{"Authorization: "}, 401, Unauthenticated},
		{"unknown token", "POST", srv.URL, viewer, []string{"Authorization: Bearer nobody"}, 401, Unauthenticated},
		{"revoked token", "GET", get + "{viewer{id}}", "", []string{"Authorization: Bearer revoked"}, 401, Unauthenticated},
		{"verifier down", "POST", srv.URL, viewer, []string{"Authorization: Bearer down"}, 500, Internal},
		{"empty", "POST", srv.URL, "", nil, 400, BadRequest},
		{"not JSON", "POST", srv.URL, "{", nil, 400, BadRequest},
		{"batch", "POST", srv.URL, "[" + viewer + "]", nil, 400, BadRequest},
		{"two bodies", "POST", srv.URL, viewer + viewer, nil, 400, BadRequest},
		{"no query", "POST", srv.URL, "{}", nil, 400, BadRequest},
		{"variables a list", "POST", srv.URL, `{"query":"{viewer{id}}","variables":[1]}`, nil, 400, BadRequest},
		{"huge", "POST", srv.URL, query("#" + strings.Repeat("x", 2000)), nil, 413, PayloadTooLarge},
		{"mutation by GET", "GET", get + url.QueryEscape(`mutation{revokeApiToken(input:{id:"x"}){apiToken{id}}}`), "", nil, 405, MethodNotAllowed},
		{"subscription by POST", "POST", srv.URL, query("subscription{runUpdates{cursor}}"), nil, 406, NotAcceptable},
		{"subscription by POST, old media type", "POST", srv.URL, query("subscription{runUpdates{cursor}}"), []string{"Accept: application/json"}, 406, NotAcceptable},
		{"subscription for anything", "GET", get + "subscription{runUpdates{cursor}}", "", []string{"Accept: */*"}, 406, NotAcceptable},
		{"mutation by GET as events", "GET", get + url.QueryEscape(`mutation{revokeApiToken(input:{id:"x"}){apiToken{id}}}`), "", []string{"Accept: text/event-stream"}, 405, MethodNotAllowed},
		{"no token, events", "POST", srv.URL, viewer, []string{"Authorization: ", "Accept: text/event-stream"}, 401, Unauthenticated},
		{"not JSON, events", "POST", srv.URL, "{", []string{"Accept: text/event-stream"}, 400, BadRequest},
		{"events unwanted", "POST", srv.URL, viewer, []string{"Accept: text/event-stream;q=0"}, 406, NotAcceptable},
		{"not GraphQL", "POST", srv.URL, query("{"), nil, 400, ParseFailed},
		{"not GraphQL, old media type", "POST", srv.URL, query("{"), []string{"Accept: application/json"}, 200, ParseFailed},
		{"no such field", "POST", srv.URL, query("{nonsense}"), nil, 400, ValidationFailed},
		{"wrong variable", "POST", srv.URL, `{"query":"query($f:Int){apps(first:$f){nodes{id}}}","variables":{"f":"x"}}`, nil, 400, ValidationFailed},
		{"fragments of fragments", "POST", srv.URL, query(bomb), nil, 400, TooComplex},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := send(t, c.method, c.url, c.body, c.header...)
			if r.Status != c.status || r.code() != string(c.code) {
				t.Errorf("%d %s, want %d %s: %s", r.Status, r.code(), c.status, c.code, r.Raw)
			}
			if strings.Contains(r.Raw, `"data"`) {
				t.Errorf("a refusal holds no data: %s", r.Raw)
			}
			if id := r.Errors[0].Extensions.RequestID; id == "" || id != r.Header.Get("X-Request-Id") {
				t.Errorf("request id %q in the error, %q in the header", id, r.Header.Get("X-Request-Id"))
			}
			if c.status == 405 && r.Header.Get("Allow") == "" || c.status == 401 && r.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("headers %v", r.Header)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	srv, _ := edge(t, func(c *Config) { c.Limits = Limits{Tokens: 300, Depth: 12, Complexity: 600} })
	deep := strings.Repeat("flow{links{nodes{", 6) + "id" + strings.Repeat("}}}", 6)
	for doc, want := range map[string]Code{
		"{" + strings.Repeat("__typename ", 400) + "}":                                        TooManyTokens,
		"{runs{nodes{flowLink{" + deep + "}}}}":                                               TooDeep,
		"{apps(first:100){nodes{connections(first:100){nodes{id}}}}}":                         TooComplex,
		"{apps(first:10){nodes{connections(last:100){nodes{id}}}}}":                           TooComplex,
		"query{a:apps(first:100){nodes{actions{key}}} b:apps(first:99){nodes{actions{key}}}}": TooComplex,
	} {
		if r := send(t, "POST", srv.URL, query(doc)); r.code() != string(want) || r.Status != 400 {
			t.Errorf("%.60s: %d %s, want %s", doc, r.Status, r.code(), want)
		}
	}
	if r := send(t, "POST", srv.URL, query("{viewer{id}}")); r.Status != 200 {
		t.Errorf("a small document: %s", r.Raw)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	srv, log := edge(t, nil)
	r := send(t, "POST", srv.URL, query("{viewer{id scopes organization{name}}}"), "X-Request-Id: my-request-1")
	if r.Status != 200 || !strings.Contains(r.Raw, `"scopes":["READ"]`) || r.Header.Get("X-Request-Id") != "my-request-1" {
		t.Errorf("%d %s %v", r.Status, r.Raw, r.Header)
	}
	if got := r.Header.Get("Content-Type"); got != responseJSON+"; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	for accept, want := range map[string]string{
		"": plainJSON, "*/*": plainJSON, "application/json, application/graphql-response+json": responseJSON,
		"application/json, application/graphql-response+json;q=0.5": plainJSON, "text/html, application/*;q=0.1": plainJSON,
	} {
		if got := send(t, "POST", srv.URL, query("{viewer{id}}"), "Accept: "+accept).Header.Get("Content-Type"); got != want+"; charset=utf-8" {
			t.Errorf("Accept %q answered with %q", accept, got)
		}
	}
	if r := send(t, "GET", srv.URL+"/?query="+url.QueryEscape("query A{viewer{id}} query B{viewer{id}}")+"&operationName=B&variables={}", ""); r.Status != 200 {
		t.Errorf("GET: %d %s", r.Status, r.Raw)
	}
	if r := send(t, "POST", srv.URL, query("{__schema{queryType{name}}}")); r.Status != 200 || len(r.Errors) > 0 {
		t.Errorf("introspection: %s", r.Raw)
	}
	if log.Len() > 0 {
		t.Errorf("nothing went wrong, and yet: %s", log)
	}
}

func TestInternalErrorsStayInside(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"stripe", "panic"} {
		srv, log := edge(t, nil)
		r := send(t, "POST", srv.URL, query(`{app(key:"`+key+`"){id}}`))
		if r.Status != 200 || r.code() != string(Internal) || strings.Contains(r.Raw, "secret") {
			t.Errorf("%d %s", r.Status, r.Raw)
		}
		if strings.Count(log.String(), "the secret is 42") != 1 || !strings.Contains(log.String(), r.Errors[0].Extensions.RequestID) {
			t.Errorf("the log must tell once what it was, with the request's id: %s", log)
		}
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	srv, _ := edge(t, func(c *Config) { c.Origins = []string{"https://Console.example.com/"} })
	for origin, want := range map[string]string{
		"https://console.example.com": "https://console.example.com", "https://evil.example.com": "", srv.URL: srv.URL,
	} {
		r := send(t, http.MethodOptions, srv.URL, "", "Origin: "+origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type")
		if got := r.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("preflight from %s allows %q", origin, got)
		}
		if got := send(t, "POST", srv.URL, query("{viewer{id}}"), "Origin: "+origin).Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("answer to %s allows %q", origin, got)
		}
	}
}
