package togai

import (
	"encoding/json"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"tieline/connectors/sim"
	"tieline/connectors/togai/togaisim"
)

// fact is what the vendor's documentation says of a call. Fields and parameters with a star are required; a dotted one is
// required where what holds it is there.
type fact struct {
	Method, Path string
	Status       int
	Query, Body  string
}

func facts(t *testing.T) (out []fact) {
	t.Helper()
	raw, err := os.ReadFile("testdata/facts.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// is says whether a request is the one that a fact is about. The log's path is unescaped, so ids here hold no slash.
func (f fact) is(r sim.Request) bool {
	want, got := strings.Split(f.Path, "/"), strings.Split(r.Path, "/")
	return f.Method == r.Method && len(want) == len(got) && !slices.ContainsFunc(want, func(s string) bool {
		i := slices.Index(want, s)
		return s != "{}" && s != got[i]
	})
}

// problems are what a request lacks of the fact, or has beyond it.
func (f fact) problems(r sim.Request) (out []string) {
	q, err := url.ParseQuery(r.Query)
	if err != nil {
		return []string{err.Error()}
	}
	for _, name := range strings.Fields(f.Query) {
		if plain, required := strings.CutSuffix(name, "*"); required && !q.Has(plain) && !q.Has("nextToken") {
			out = append(out, "lacks the parameter "+plain)
		}
	}
	for name := range q {
		if !slices.Contains(strings.Fields(strings.ReplaceAll(f.Query, "*", "")), name) {
			out = append(out, "has the parameter "+name)
		}
	}
	if r.Body == "" {
		if f.Body != "" {
			out = append(out, "has no body")
		}
		return out
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(r.Body), &body); err != nil {
		return append(out, err.Error())
	}
	for name := range body {
		if !slices.Contains(strings.Fields(strings.ReplaceAll(f.Body, "*", "")), name) {
			out = append(out, "has the field "+name)
		}
	}
	for _, name := range strings.Fields(f.Body) {
		if plain, required := strings.CutSuffix(name, "*"); required && !present(body, strings.Split(plain, ".")) {
			out = append(out, "lacks the field "+plain)
		}
	}
	return out
}

// present says whether a field is there, in each item of a list, wherever what holds it is.
func present(v any, steps []string) bool {
	switch x := v.(type) {
	case []any:
		return !slices.ContainsFunc(x, func(item any) bool { return !present(item, steps) })
	case map[string]any:
		below, there := x[steps[0]]
		if len(steps) == 1 {
			return there
		}
		return !there || present(below, steps[1:])
	}
	return true
}

// Every request of every action and every trigger is one that the vendor documents, with what it requires, and the
// simulator answers with the documented status.
func TestRequestsAreDocumented(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t)
	for name, x := range writes {
		if strings.HasPrefix(name, "a payment of") { // of an invoice that is paid by then
			continue
		}
		other, _ := connect(t, w.Sim)
		if name == "a wallet's credit" {
			if _, err := runCreditWallet(t.Context(), other, CreditWalletInput{AccountID: "acme", Amount: "1", Currency: "USD", PaymentSource: PaymentSource{TransactionNumber: "py_2"}}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if name == "rate cards" || name == "finalizing" || name == "publishing" { // as the one before them
			continue
		}
		if err := x.run(t, w, other); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	customer := acme
	customer.ID, customer.Account = "other", nil
	if _, err := runCreateCustomer(t.Context(), c, customer); err != nil {
		t.Fatal(err)
	}
	if _, err := runCreateAccount(t.Context(), c, CreateAccountInput{ID: "second", CustomerID: "other", Name: "Second", Settings: map[string]string{"x": "y"}}); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"1", "2"} {
		if _, err := runSetSetting(t.Context(), connTo(t, w), SetSettingInput{GetSettingInput{"account", "acme", "zuora_account_id"}, value}); err != nil {
			t.Fatal(err)
		}
	}
	w.Fault(sim.Fault{Method: "POST", Path: "/ingest", Point: sim.Cut})
	again := usage
	again.EventID = "e2"
	_, _ = runIngestEvent(t.Context(), c, again)
	if _, err := runIngestEvent(t.Context(), c, again); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateAccount(map[string]any{"id": "bare", "name": "Bare"}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"customer.get", "customer.list", "account.list", "price_plan.list", "invoice.list", "payment.list", "credit.list", "setting.get"} {
		act, _ := c.App.Action(key)
		if _, err := act.Run(t.Context(), c, []byte(strings.ReplaceAll(string(act.Sample), "acme", "other"))); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
	}
	if _, err := runListPricePlans(t.Context(), c, ListPricePlansInput{Deprecated: true}); err != nil {
		t.Fatal(err)
	}
	for range 60 { // so that pages are followed
		invoiced(t, w, togaisim.NewInvoice{})
	}
	for _, tr := range c.App.Triggers {
		walk(t, tr, c, "")
	}
	for _, read := range []string{"acme", "bare"} {
		if _, err := accountCreated().Read(t.Context(), c, occurrence(account{ID: read})); err != nil {
			t.Fatal(err)
		}
	}
	table, seen := facts(t), map[int]bool{}
	for _, r := range w.Requests() {
		i := slices.IndexFunc(table, func(f fact) bool { return f.is(r) })
		if i < 0 {
			t.Errorf("%s %s is not documented", r.Method, r.Path)
			continue
		}
		seen[i] = true
		if p := table[i].problems(r); len(p) > 0 {
			t.Errorf("%s %s?%s %s: %s", r.Method, r.Path, r.Query, r.Body, strings.Join(p, ", "))
		}
		if r.Fault == "" && r.Status < 300 && r.Status != table[i].Status {
			t.Errorf("%s %s answers %d, documented is %d", r.Method, r.Path, r.Status, table[i].Status)
		}
	}
	for i, f := range table {
		if !seen[i] {
			t.Errorf("%s %s was not tried", f.Method, f.Path)
		}
	}
}
