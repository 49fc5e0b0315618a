package graph

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"

	"tieline/graph/auth"
	"tieline/graph/generated"
	"tieline/graph/model"
)

// TestPlainWritesWhatGqlgenWould compares the answers of operations with and without plain, byte by byte.
func TestPlainWritesWhatGqlgenWould(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	s.fill()
	s.customer("Ada \"the first\" \\ Lovelace\t\u2028<&>", "ada@quoted.test")
	ctx := auth.WithViewer(t.Context(), auth.Viewer{Org: s.org, Scopes: []auth.Scope{auth.Admin}})
	for name, c := range map[string]struct {
		document string
		vars     map[string]any
		written  int // fields that plain wrote; -1: some
	}{
		"a list":              {document: listDocument, written: 1},
		"edges and cursors":   {document: `{ runs(first: 3) { edges { cursor node { id flow { name } steps { key input output } } } pageInfo { endCursor hasNextPage } } }`, written: 1},
		"aliases, types":      {document: `{ a: runs(first: 2) { __typename nodes { one: id two: id __typename progress { id } } } b: runs(first: 1) { nodes { id } } }`, written: 2},
		"fragments":           {document: `{ runs(first: 2) { nodes { ...R steps { state } } } } fragment R on Run { ... on Node { id } steps { key } }`, written: 1},
		"a shared fragment":   {document: `{ runs(first: 2) { nodes { flowLink { id } ...R steps { state } } } b: runs(first: 1) { nodes { flowLink { id } ...R } } } fragment R on Run { steps { key } }`, written: -1},
		"skipped":             {document: `query ($no: Boolean = false) { runs(first: 2) { nodes { id @include(if: $no) state @skip(if: $no) } } }`, written: 1},
		"included":            {document: `query ($no: Boolean = false) { runs(first: 2) { nodes { id @include(if: $no) state @skip(if: $no) } } }`, vars: vars("no", true), written: 1},
		"resolvers below":     {document: `{ runs { nodes { id flow { name version } steps { key effects { id } } } } }`, written: -1},
		"an interface":        {document: `query ($id: ID!) { node(id: $id) { id ... on Run { state steps { key } } } }`, vars: vars("id", s.at["run.in"]), written: 1},
		"arguments below":     {document: `{ flows { nodes { links(first: 1) { nodes { name } } } } }`, written: -1},
		"what is not there":   {document: `{ node(id: "run_none") { id } connection(id: "con_none") { name } }`, written: 1},
		"JSON":                {document: `{ app(key: "stripe") { triggers { key schema sample } fields { key required } } }`, written: 1},
		"an error below":      {document: `query ($id: ID!) { run(id: $id) { error { kind message vendorRequestId } steps { error { message } } } }`, vars: vars("id", s.at["run.failed"]), written: -1},
		"everything of a run": {document: `{ runs { nodes { ` + everything("RunConnection") + ` } } }`, written: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, none := answerOf(ctx, t, s, false, c.document, c.vars)
			got, n := answerOf(ctx, t, s, true, c.document, c.vars)
			if got != want {
				t.Errorf("written\n%s\nby gqlgen\n%s", got, want)
			}
			if none != 0 || n != c.written && (c.written >= 0 || n == 0) {
				t.Errorf("%d fields were written, and %d without plain; want %d", n, none, c.written)
			}
		})
	}
}

// answerOf is what a document is answered by, and how many fields were written.
func answerOf(ctx context.Context, t *testing.T, s *site, plainly bool, document string, vars map[string]any) (string, int) {
	t.Helper()
	exec, n := executor.New(executable(s.graph)), new(atomic.Int32)
	exec.AroundResponses(s.graph.respond)
	if plainly {
		exec.Use(plain{executable(nil).Schema()})
	}
	op, errs := exec.CreateOperationContext(graphql.StartOperationTrace(ctx), &graphql.RawParams{Query: document, Variables: vars})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	resolve := op.ResolverMiddleware
	op.ResolverMiddleware = func(ctx context.Context, next graphql.Resolver) (any, error) {
		v, err := resolve(ctx, next)
		if _, ok := v.(written); ok {
			n.Add(1)
		}
		return v, err
	}
	respond, ctx := exec.DispatchOperation(graphql.WithOperationContext(ctx, op), op)
	raw, err := json.Marshal(respond(ctx))
	check(t, err)
	return string(raw), int(n.Load())
}

// TestPlainLeavesWhatIsMissing: null where the schema has none is gqlgen's to tell of.
func TestPlainLeavesWhatIsMissing(t *testing.T) {
	t.Parallel()
	schema := executable(nil).Schema()
	run := model.Run{ID: "run_1", Steps: []*model.RunStep{}}
	for name, c := range map[string]struct {
		fields string
		change func(*model.Run)
		want   string // empty: left
	}{
		"all there":    {"id steps { key }", func(*model.Run) {}, `{"id":"run_1","steps":[]}`},
		"not read":     {"id steps { key }", func(r *model.Run) { r.Steps = nil }, ""},
		"a null step":  {"id steps { key }", func(r *model.Run) { r.Steps = []*model.RunStep{nil} }, ""},
		"no flow":      {"id flow { name }", func(*model.Run) {}, ""},
		"null is fine": {"error { message }", func(*model.Run) {}, `{"error":null}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exec := executor.New(executable(nil))
			op, errs := exec.CreateOperationContext(graphql.StartOperationTrace(t.Context()), &graphql.RawParams{Query: `{ run(id: "run_1") { ` + c.fields + ` } }`})
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			r := run
			c.change(&r)
			w := &writing{schema: schema, op: op}
			text, ok := w.write(graphql.CollectFields(op, op.Operation.SelectionSet, []string{"Query"})[0], &r)
			if string(text) != c.want || ok != (c.want != "") {
				t.Errorf("%s %v, want %q", text, ok, c.want)
			}
		})
	}
}

// TestResolversAreNotPassedBy: what a resolver answers is no field of a Go struct, unless it is nil until it was read.
func TestResolversAreNotPassedBy(t *testing.T) {
	t.Parallel()
	n := 0
	for types := range reflect.TypeFor[generated.ResolverRoot]().Methods() {
		for m := range types.Type.Out(0).Methods() {
			if m.Type.NumIn() < 2 || m.Type.In(1).Kind() != reflect.Pointer || m.Type.In(1).Elem().Kind() != reflect.Struct {
				continue // of a root
			}
			n++
			of := m.Type.In(1).Elem()
			if f, ok := goFieldsOf(of)[strings.ToLower(m.Name)]; ok && !f.ahead {
				t.Errorf("%s.%s", of, m.Name)
			}
		}
	}
	if n < 50 {
		t.Errorf("%d fields with resolvers", n)
	}
}
