package graph

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAHiddenSchema(t *testing.T) {
	t.Parallel()
	srv, _ := edge(t, func(c *Config) { c.Hidden = true })
	for doc, want := range map[string]string{
		`{a:__type(name:"Run"){name} viewer{id}}`:               `{"data":{"a":null,"viewer":{"id":"viewer"}}}`,
		`{...F} fragment F on Query{__type(name:"Nope"){name}}`: `{"data":{"__type":null}}`,
		`{viewer{__typename}}`:                                  `{"data":{"viewer":{"__typename":"Viewer"}}}`,
	} {
		if r := send(t, "POST", srv.URL, query(doc)); r.Status != 200 || strings.TrimSpace(r.Raw) != want {
			t.Errorf("%s: %d %s", doc, r.Status, r.Raw)
		}
	}
	if r := send(t, "POST", srv.URL, query("{__schema{types{name}}}")); r.code() != string(NoIntrospection) || strings.Contains(r.Raw, "Query") {
		t.Errorf("%s", r.Raw)
	}
	for doc, secret := range map[string]string{"{viewr{id}}": "viewer", "{viewer}": "organization"} {
		if r := send(t, "POST", srv.URL, query(doc)); r.code() != string(ValidationFailed) || strings.Contains(r.Raw, `"`+secret) || strings.Contains(r.Raw, "Did you mean") {
			t.Errorf("%s tells names: %s", doc, r.Raw)
		}
	}
}

func TestTheSchemaAsAText(t *testing.T) {
	t.Parallel()
	get := func(tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/schema.graphql", nil)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		ServeSchema(w, r)
		return w
	}
	first := get("")
	if first.Code != 200 || first.Body.String() != SDL() {
		t.Errorf("%d, %d bytes", first.Code, first.Body.Len())
	}
	if again := get(first.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("to somebody who has it: %d, %d bytes", again.Code, again.Body.Len())
	}
}
