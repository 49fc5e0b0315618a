package graph

import (
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

func TestAFieldWithoutScopeStopsTheStart(t *testing.T) {
	t.Parallel()
	const directive = "directive @scope(needs: String!) on FIELD_DEFINITION\n"
	s := gqlparser.MustLoadSchema(&ast.Source{Input: directive + `
		type Query { a: Int @scope(needs: "READ") forgotten: Int }
		type Mutation { b: Int }
		type Subscription { c: Int @scope(needs: "READ") }`})
	err := checkScopes(s)
	if err == nil || !strings.Contains(err.Error(), "Query.forgotten, Mutation.b") {
		t.Errorf("%v", err)
	}
	if err := checkScopes(executable(nil).Schema()); err != nil {
		t.Error(err)
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	srv, _ := edge(t, nil)
	for doc, want := range map[string]Code{
		"{apiTokens{nodes{id}}}":                                     Forbidden,
		`mutation{revokeApiToken(input:{id:"tok_1"}){apiToken{id}}}`: Forbidden,
		`mutation{cancelRun(input:{id:"run_1"}){run{id}}}`:           Forbidden,
		`mutation{deleteConnection(input:{id:"con_1"}){deletedId}}`:  Forbidden,
		"{viewer{id}}": "",
	} {
		if r := send(t, "POST", srv.URL, query(doc)); r.code() != string(want) {
			t.Errorf("%s: %s", doc, r.Raw)
		}
	}
	if r := send(t, "POST", srv.URL, query("{viewer{id}}"), "Authorization: Bearer trigger"); r.code() != string(Forbidden) {
		t.Errorf("TRIGGER does not include READ: %s", r.Raw)
	}
	if r := send(t, "POST", srv.URL, query("{viewer{id}}"), "Authorization: Bearer admin"); r.code() != "" {
		t.Errorf("ADMIN includes READ: %s", r.Raw)
	}
}

// Everything a partner builds against keeps to one shape.
func TestSchemaShape(t *testing.T) {
	t.Parallel()
	s := executable(nil).Schema()
	for _, f := range s.Mutation.Fields {
		input, payload := s.Types[f.Arguments.ForName("input").Type.Name()], s.Types[f.Type.Name()]
		if len(f.Arguments) != 1 || input.Fields.ForName("idempotencyKey") == nil || payload.Fields.ForName("userErrors") == nil {
			t.Errorf("%s: one input with an idempotency key, a payload with userErrors", f.Name)
		}
	}
	for name, def := range s.Types {
		for _, f := range def.Fields {
			if strings.HasSuffix(f.Type.Name(), "Connection") && s.Types[f.Type.Name()].Kind == ast.Object && len(f.Arguments) < 4 {
				t.Errorf("%s.%s is a list without first, after, last and before", name, f.Name)
			}
		}
	}
}
