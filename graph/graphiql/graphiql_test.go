package graphiql

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"

	"tieline/graph"
)

// The documents that the page opens with can be sent, with the variables that come with them.
func TestDocuments(t *testing.T) {
	t.Parallel()
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: graph.SDL()})
	files, err := filepath.Glob("documents/*.graphql")
	if err != nil || len(files) < 7 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, errs := gqlparser.LoadQueryWithRules(schema, string(text), nil)
		if len(errs) > 0 {
			t.Errorf("%s: %v", file, errs)
			continue
		}
		vars := map[string]any{}
		given, err := os.ReadFile(strings.TrimSuffix(file, "graphql") + "json")
		if err == nil {
			err = json.Unmarshal(given, &vars)
		}
		if err != nil && !os.IsNotExist(err) {
			t.Errorf("%s: its variables: %v", file, err)
		}
		used := map[string]bool{}
		for _, op := range doc.Operations {
			if op.Name == "" {
				t.Errorf("%s: an operation without a name, which is the tab's", file)
			}
			if _, err := validator.VariableValues(schema, op, vars); err != nil {
				t.Errorf("%s: %s: %v", file, op.Name, err)
			}
			for _, v := range op.VariableDefinitions {
				used[v.Variable] = true
			}
		}
		for name := range vars {
			if !used[name] {
				t.Errorf("%s: nothing takes the variable %s", file, name)
			}
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	store := func(text string) *fstest.MapFile {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		return &fstest.MapFile{Data: b.Bytes()}
	}
	h := guarded(policy, pages{fstest.MapFS{"index.html.gz": store("page"), "main-ABC.js.gz": store("script")}})
	get := func(path string, header ...string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	for path, want := range map[string]struct{ kind, keep, text string }{
		"/graphiql":             {"text/html; charset=utf-8", "no-cache", "page"},
		"/graphiql/":            {"text/html; charset=utf-8", "no-cache", "page"},
		"/graphiql/main-ABC.js": {"text/javascript; charset=utf-8", "public, max-age=31536000, immutable", "script"},
	} {
		for _, zipped := range []string{"", "gzip, br"} {
			res := get(path, "Accept-Encoding", zipped)
			var text bytes.Buffer
			if res.Header.Get("Content-Encoding") == "gzip" {
				z, err := gzip.NewReader(res.Body)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = text.ReadFrom(z)
			} else {
				_, _ = text.ReadFrom(res.Body)
			}
			if text.String() != want.text || (res.Header.Get("Content-Encoding") == "gzip") != (zipped != "") {
				t.Errorf("%s for %q: %q, %v", path, zipped, &text, res.Header)
			}
			if res.Header.Get("Content-Type") != want.kind || res.Header.Get("Cache-Control") != want.keep || !strings.Contains(res.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
				t.Errorf("%s: %v", path, res.Header)
			}
			if again := get(path, "If-None-Match", res.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
				t.Errorf("%s again: %s", path, again.Status)
			}
		}
	}
	for _, path := range []string{"/graphiql/nothing.js", "/graphiql/../graphiql.go", "/graphiql/.keep"} {
		if res := get(path); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}

// However the binary was built, there is a page.
func TestHandler(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, Path, nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "Tieline") || w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}
