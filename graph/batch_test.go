package graph

import (
	"encoding/json"
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
	lists, of := map[string]string{}, map[string]string{
		"fieldOptions": fmt.Sprintf(`connectionId: %q, action: "customer.update", field: "customer_id", `, s.at["connection.stripe"]),
	}
	for _, f := range executable(nil).Schema().Query.Fields {
		if strings.HasSuffix(f.Type.Name(), "Connection") {
			lists[f.Name] = "{ " + f.Name + "(" + of[f.Name] + "first: 40) { edges { node { " + everything(f.Type.Name()) + " } } } }"
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
	grow(0, 2) // so that all there can be below a row is there
	few := map[string]price{}
	for name, document := range lists {
		few[name] = s.price(document, anything)
	}
	grow(2, 9)
	for name, document := range lists {
		if many, ok := s.price(document, few[name]), few[name]; many.above(ok) {
			t.Errorf("%s took %d statements for %d rows, and for %d rows %d", name, ok.statements, ok.rows, many.rows, many.statements)
		}
	}
}

// price is what a list costs.
type price struct{ statements, rows int }

var anything = price{statements: 1 << 30}

// above tells whether the rows that came cost statements of their own. A level that comes in two halves, by chance,
// costs one more; what is read row by row costs one for each.
func (p price) above(before price) bool {
	return p.statements > before.statements+max(4, (p.rows-before.rows)/2)
}

// price sends a list's document, again and with more patience if it costs too much: a busy machine may tear a batch apart.
func (s *site) price(document string, limit price) (least price) {
	s.t.Helper()
	defer func(usual time.Duration) { s.graph.wait = usual }(s.graph.wait)
	for n := 0; n < 3 && (n == 0 || least.above(limit)); n++ {
		a := s.ask(s.tokens[auth.Admin], document, nil)
		var data map[string]struct{ Edges []any }
		if err := json.Unmarshal(a.Data, &data); err != nil || len(a.Errors) > 0 {
			s.t.Fatalf("%v %s\n%s", err, a.Errors, document)
		}
		for _, list := range data {
			if n == 0 || a.Statements < least.statements {
				least = price{a.Statements, len(list.Edges)}
			}
		}
		s.graph.wait *= 3
	}
	return least
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
