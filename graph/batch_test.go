package graph

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"tieline/graph/auth"
)

// TestListsCostTheSame: the number of statements of a list does not grow with its rows, however deep its document goes.
func TestListsCostTheSame(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	s.fill()
	s.graph.wait = 80 * time.Millisecond // these documents are larger than any console's
	lists := map[string]string{}
	for _, f := range executable(nil).Schema().Query.Fields {
		if strings.HasSuffix(f.Type.Name(), "Connection") {
			lists[f.Name] = "{ " + f.Name + "(first: 50) { edges { node { " + everything(f.Type.Name()) + " } } } }"
		}
	}
	grow := func(from, to int) {
		togai := s.connect("togai", fmt.Sprint("Togai ", from), map[string]string{"environment": "sandbox", "api_token": s.togai.Token(), "organization_id": "org_1"})
		for i := from; i < to; i++ {
			c := s.connectStripe(fmt.Sprint("More ", i))
			s.link(customersIn, fmt.Sprint("More in ", i), c.ID, togai.ID)
			s.link(accountsOut, fmt.Sprint("More out ", i), c.ID, togai.ID)
			s.customer(fmt.Sprint("Customer ", i), fmt.Sprintf("c%d@more.test", i))
			s.customer(fmt.Sprint("Without mail ", i), "")
			s.read(togai.ID)
			s.token(fmt.Sprint("more", i), time.Time{}, auth.Read)
		}
	}
	const few, many = 2, 9
	grow(0, few) // so that all there can be below a row is there
	before := s.cost(lists, nil)
	grow(few, many)
	// A level that comes in two halves, by chance, costs a statement more; a row that is read by itself would cost one
	// for each that came.
	const chance = 4
	limits := map[string]int{}
	for list, n := range before {
		limits[list] = n + chance
	}
	for list, n := range s.cost(lists, limits) {
		if n > limits[list] {
			t.Errorf("%s took %d statements, and with %d times the rows %d", list, before[list], many/few, n)
		}
	}
}

// cost counts the statements of documents. A busy machine may tear a batch apart, so what is above limit is asked anew.
func (s *site) cost(documents map[string]string, limit map[string]int) map[string]int {
	s.t.Helper()
	out := map[string]int{}
	for name, document := range documents {
		for range 3 {
			a := s.ask(s.tokens[auth.Admin], document, nil)
			if len(a.Errors) > 0 || a.Status != 200 {
				s.t.Fatalf("%s: %s\n%s", name, a.Errors, document)
			}
			if have, ok := out[name]; !ok || a.Statements < have {
				out[name] = a.Statements
			}
			if limit != nil && out[name] <= limit[name] {
				break
			}
		}
	}
	return out
}

// everything selects all fields of a list's nodes, three objects deep, lists below them with small pages.
func everything(connection string) string {
	schema := executable(nil).Schema()
	return selection(schema, schema.Types[strings.TrimSuffix(connection, "Connection")], 3)
}

func selection(schema *ast.Schema, def *ast.Definition, depth int) string {
	var out []string
	for _, f := range def.Fields {
		of := schema.Types[f.Type.Name()]
		switch {
		case strings.HasPrefix(f.Name, "__"):
		case of.IsLeafType():
			out = append(out, f.Name)
		case depth == 0 || of.Kind != ast.Object:
		case strings.HasSuffix(of.Name, "Connection"):
			if below := selection(schema, schema.Types[strings.TrimSuffix(of.Name, "Connection")], min(depth-1, 1)); below != "" {
				out = append(out, f.Name+"(first: 2) { nodes { "+below+" } }")
			}
		default:
			if below := selection(schema, of, depth-1); below != "" {
				out = append(out, f.Name+" { "+below+" }")
			}
		}
	}
	return strings.Join(out, " ")
}
