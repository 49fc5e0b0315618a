package flow_test

import (
	"errors"
	"fmt"
	"testing"

	"tieline/db"
	"tieline/jobs/flow"
)

func TestFieldOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const many = 650 // more pages than are read for one answer
	for i := range many {
		if _, err := w.togai.CreateAccount(map[string]any{"id": fmt.Sprintf("a%03d", i), "name": fmt.Sprintf("Account %03d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	walk := func(search string, first int) (values []string, answers int) {
		q := flow.OptionQuery{Action: "account.get", Field: "account_id", Search: search, First: first}
		for {
			list, err := w.engine.FieldOptions(t.Context(), w.org, w.togaiConn.ID, q)
			must(t, err)
			if answers++; len(list.Options) > first || len(list.Options) != len(list.Places) {
				t.Fatalf("%d options and %d places, want %d at most", len(list.Options), len(list.Places), first)
			}
			for _, o := range list.Options {
				values = append(values, o.Value)
			}
			if q.From = list.Next; !list.More {
				return values, answers
			}
		}
	}
	for _, first := range []int{100, 30, 7} { // as the vendor's pages, and across them
		values, answers := walk("", first)
		seen := map[string]bool{}
		for _, v := range values {
			seen[v] = true
		}
		if len(seen) != many || len(values) != many || answers != (many+first-1)/first {
			t.Errorf("%d at a time: %d values, %d different, in %d answers", first, len(values), len(seen), answers)
		}
	}
	// The oldest one is on the vendor's seventh page.
	if values, answers := walk("count 000", 20); fmt.Sprint(values) != "[a000]" || answers != 2 {
		t.Errorf("searched: %v in %d answers", values, answers)
	}
	// Each option's own place is one to go on from.
	q := flow.OptionQuery{Action: "account.get", Field: "account_id", First: 5}
	list, err := w.engine.FieldOptions(t.Context(), w.org, w.togaiConn.ID, q)
	must(t, err)
	q.From = list.Places[1]
	next, err := w.engine.FieldOptions(t.Context(), w.org, w.togaiConn.ID, q)
	must(t, err)
	if next.Options[0] != list.Options[2] {
		t.Errorf("after the second comes %+v, want %+v", next.Options[0], list.Options[2])
	}
}

func TestFieldOptionsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	revoked := w.stripe.Key()
	gone := w.connect("stripe", "Revoked", map[string]string{"api_key": revoked})
	w.stripe.Revoke(revoked)
	for name, x := range map[string]struct {
		conn db.ID
		q    flow.OptionQuery
		code string
	}{
		"no such action":     {w.stripeConn.ID, flow.OptionQuery{Action: "customer.fly", Field: "customer_id"}, flow.CodeNotFound},
		"nothing is offered": {w.stripeConn.ID, flow.OptionQuery{Action: "customer.update", Field: "name"}, flow.CodeNotFound},
		"of the form":        {w.stripeConn.ID, flow.OptionQuery{Field: "account_id"}, flow.CodeNotFound},
		"a revoked key":      {gone.ID, flow.OptionQuery{Action: "customer.update", Field: "customer_id"}, flow.CodeUnauthorized},
	} {
		x.q.First = 20
		_, err := w.engine.FieldOptions(t.Context(), w.org, x.conn, x.q)
		if bad, ok := errors.AsType[flow.Problems](err); !ok || bad[0].Code != x.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.engine.FieldOptions(t.Context(), w.org, db.NewID(), flow.OptionQuery{First: 1}); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("no such connection: %v", err)
	}
}
