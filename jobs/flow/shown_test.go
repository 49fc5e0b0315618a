package flow_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tieline/connectors/sim"
	"tieline/db"
	"tieline/jobs/flow"
)

// TestShown: what the history keeps of a payload, by what it holds.
func TestShown(t *testing.T) {
	t.Parallel()
	hide := func(s string) string { return strings.ReplaceAll(s, "sk_test_x", "(secret)") }
	entries := slices.Repeat([]string{"a text of some length"}, 150)
	many, _ := json.Marshal(map[string]any{"n": entries})
	long := strings.Repeat("ä", 5000)
	for name, c := range map[string]struct {
		in     string
		redact []string
		want   string // contains
		not    string
		same   bool
	}{
		"nothing to hide":          {`{"name": "Acme", "n": 12345678901234567890}`, nil, "12345678901234567890", "", true},
		"a credential in a text":   {`{"note": "the key is sk_test_x"}`, nil, "the key is (secret)", "sk_test_x", false},
		"a secret by its name":     {`{"card": {"Client_Secret": "abc"}}`, nil, `"(secret)"`, "abc", false},
		"an empty secret":          {`{"password": ""}`, nil, `""`, "(secret)", true},
		"a field by its name":      {`{"a": {"email": "x@y.test"}, "email": "z@y.test"}`, []string{"email"}, `(secret)`, "y.test", false},
		"a field by its path":      {`{"a": [{"line": "here"}], "line": "there"}`, []string{"a.line"}, "there", `"here"`, false},
		"an object":                {`{"address": {"city": "Bonn"}}`, []string{"address"}, `(secret)`, "Bonn", false},
		"a name that is not there": {`{"name": "Acme", "n": 12345678901234567890}`, []string{"iban"}, "12345678901234567890", "(secret)", true},
		"a long text":              {fmt.Sprintf(`{"text": %q}`, long), nil, "(cut, 5000 characters in all)", long[:6000], false},
		"a long list":              {string(many), nil, "(cut, 150 entries in all)", "", false},
		"very much":                {`["` + strings.Repeat(strings.Repeat("x", 1500)+`", "`, 80) + `"]`, nil, `"cut"`, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, changed := flow.Shown([]byte(c.in), hide, c.redact)
			if !json.Valid(out) || changed == c.same || !strings.Contains(string(out), c.want) || c.not != "" && strings.Contains(string(out), c.not) || len(out) > 70<<10 {
				t.Errorf("%t %.300s", changed, out)
			}
		})
	}
}

// TestHistoryHides: what a link's history hides is still what later steps go by, also after the run has changed hands, and it is
// forgotten once no step can need it.
func TestHistoryHides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link("stripe.customers_in", nil)
	if _, err := w.engine.UpdateLink(t.Context(), w.org, l.ID, flow.LinkChange{Redact: []string{"account_id", "email"}}, false, w, uncommitted); err != nil {
		t.Fatal(err)
	}
	w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/customers/*", Point: "before", Status: 400}) // the second step fails
	w.work()
	id := w.person("Acme")
	if r := w.settled(1)[0]; r.State != flow.Failed {
		t.Fatalf("%s: %s", r.State, r.Error)
	}
	var s db.Step
	must(t, w.db.NewSelect().Model(&s).Where("key = 'account'").Scan(t.Context()))
	if !s.Redacted || strings.Contains(string(s.Input), "acme@acme.test") || strings.Contains(string(s.Output), `"account_id": "`+id) || !strings.Contains(string(s.Output), "(secret)") {
		t.Errorf("the history shows\n%s\n%s", s.Input, s.Output)
	}
	if n := w.count("SELECT count(*) FROM step_outputs"); n != 1 {
		t.Errorf("%d outputs are kept in full", n)
	}
	w.stripe.ClearFaults()
	w.told(w.engine.Retry)
	if r := w.settled(1)[0]; r.State != flow.Succeeded {
		w.dump()
		t.Errorf("%s: %s", r.State, r.Error)
	}
	w.whole(1) // the ids that Stripe has are the real ones
	if n := w.count("SELECT count(*) FROM step_outputs"); n != 0 {
		t.Errorf("%d outputs are kept for nobody", n)
	}
	if n := w.count("SELECT count(*) FROM attempts WHERE connection_id IS NULL"); n != 0 {
		t.Errorf("%d calls do not say through what they were made", n)
	}
}
