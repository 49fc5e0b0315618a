package stripe

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
)

var acme = CreateCustomerInput{
	TogaiAccountID: "ac'me", TogaiCustomerID: "acme-group", Name: "Acme", Email: "Billing@acme.test", Phone: "+41 1", Description: "big",
	Address: &Address{Line1: "Main 1", City: "Bern", Country: "CH"}, TaxIDs: []TaxID{{"eu_vat", "DE1"}}, PreferredLocales: []string{"de"},
	Metadata: map[string]string{"tier": "gold", metaEffect: "forged", metaAccount: "forged"},
}

// makes makes a customer by hand.
func makes(t *testing.T, a *stripesim.Account, in map[string]any) string {
	t.Helper()
	cus, err := a.CreateCustomer(in)
	if err != nil {
		t.Fatal(err)
	}
	return cus["id"].(string)
}

func TestCreateCustomer(t *testing.T) {
	t.Parallel()
	s, a, c, j := opened(t)
	out, err := runCreateCustomer(t.Context(), c, acme)
	if err != nil {
		t.Fatal(err)
	}
	made := a.Customers()
	if len(made) != 1 || made[0]["id"] != out.CustomerID || made[0]["phone"] != "+41 1" || made[0]["address"].(map[string]any)["city"] != "Bern" {
		t.Fatalf("made %v", made)
	}
	key := j.Effects()[0].Key
	if m := out.Metadata; !out.Created || out.Name != "Acme" || out.Email != "Billing@acme.test" || out.Livemode || m["tier"] != "gold" ||
		m[metaAccount] != "ac'me" || m[metaCustomer] != "acme-group" || m[metaEffect] != key {
		t.Errorf("output %+v", out)
	}
	for _, r := range s.Requests() {
		if r.Method == "POST" && (r.Header.Get("Idempotency-Key") != key || r.Header.Get("Stripe-Version") != apiVersion || r.Header.Get("X-Stripe-Client-Telemetry") != "") {
			t.Errorf("headers %v", r.Header)
		}
	}
	again, err := runCreateCustomer(t.Context(), c, acme)
	if err != nil || again.CustomerID != out.CustomerID || !again.Created || s.Count("POST", "/v1/customers") != 1 {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	// What is kept is enough after a restart.
	raw, _ := json.Marshal(j.Effects()[0].Ref)
	var ref connectors.Ref
	if err := json.Unmarshal(raw, &ref); err != nil || fmt.Sprint(fromRef(ref)) != fmt.Sprint(out) {
		t.Errorf("from what is kept: %+v", fromRef(ref))
	}
}

func TestCreateCustomerWhereOneIs(t *testing.T) {
	t.Parallel()
	ours := map[string]any{"name": "Old", "email": "old@acme.test", "metadata": map[string]any{metaAccount: "acme"}}
	email := map[string]any{"name": "Mail", "email": "billing@acme.test"}
	other := map[string]any{"name": "Other", "email": "billing@acme.test", "metadata": map[string]any{metaAccount: "other"}}
	for name, x := range map[string]struct {
		there   []map[string]any
		in      CreateCustomerInput
		created bool
		name    string
		fails   connectors.Kind
	}{
		"none":                         {nil, CreateCustomerInput{}, true, "Acme", ""},
		"ours":                         {[]map[string]any{ours, email}, CreateCustomerInput{}, false, "Old", ""},
		"ours, fail":                   {[]map[string]any{ours}, CreateCustomerInput{IfExists: "fail"}, false, "", connectors.Invalid},
		"ours, create":                 {[]map[string]any{ours}, CreateCustomerInput{IfExists: "create"}, true, "Acme", ""},
		"two of ours":                  {[]map[string]any{ours, ours}, CreateCustomerInput{}, false, "", connectors.Conflict},
		"e-mail alone":                 {[]map[string]any{email}, CreateCustomerInput{}, true, "Acme", ""},
		"e-mail, linked":               {[]map[string]any{email}, CreateCustomerInput{LinkByEmail: true}, false, "Mail", ""},
		"e-mail twice":                 {[]map[string]any{email, email}, CreateCustomerInput{LinkByEmail: true}, true, "Acme", ""},
		"e-mail of another account's":  {[]map[string]any{other}, CreateCustomerInput{LinkByEmail: true}, true, "Acme", ""},
		"ours goes before the e-mail":  {[]map[string]any{email, ours}, CreateCustomerInput{LinkByEmail: true}, false, "Old", ""},
		"e-mail, linked, but no reuse": {[]map[string]any{email}, CreateCustomerInput{LinkByEmail: true, IfExists: "create"}, true, "Acme", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, a, c, j := opened(t)
			for _, there := range x.there {
				makes(t, a, there)
			}
			x.in.TogaiAccountID, x.in.Name, x.in.Email = "acme", "Acme", "billing@acme.test"
			out, err := runCreateCustomer(t.Context(), c, x.in)
			if connectors.KindOf(err) != x.fails || out.Created != x.created || out.Name != x.name {
				t.Fatalf("%+v, %v", out, err)
			}
			want := len(x.there)
			if x.created {
				want++
			}
			if n := len(a.Customers()); n != want {
				t.Errorf("%d customers, want %d", n, want)
			}
			if err == nil && out.Metadata[metaAccount] != "acme" {
				t.Errorf("metadata %v", out.Metadata)
			}
			if err == nil && !x.created && !slices.ContainsFunc(j.Effects(), func(e conntest.Effect) bool { return e.Ref.Adopted }) {
				t.Error("the engine is not told that it was adopted")
			}
		})
	}
}

func TestCreateCustomerIsFoundWithoutSearch(t *testing.T) {
	t.Parallel()
	_, a, c, _ := opened(t, stripesim.WithSearchLag(time.Hour))
	id := makes(t, a, map[string]any{"email": "billing@acme.test", "metadata": map[string]any{metaAccount: "acme"}})
	out, err := runCreateCustomer(t.Context(), c, CreateCustomerInput{TogaiAccountID: "acme", Name: "Acme", Email: "billing@acme.test"})
	if err != nil || out.CustomerID != id || out.Created {
		t.Errorf("%+v, %v", out, err)
	}
}

// The answer to a create gets lost; what the engine then does must find the customer, and never make two.
func TestCreateCustomerSettles(t *testing.T) {
	t.Parallel()
	for _, point := range []sim.Point{sim.Cut, sim.CutBefore, sim.AfterCommit, sim.Before, sim.HTML502} {
		for _, resend := range []bool{false, true} {
			for name, in := range map[string]CreateCustomerInput{
				"with e-mail": acme, "without": {TogaiAccountID: "acme", Name: "Acme"}, "without look": {TogaiAccountID: "acme", Name: "Acme", IfExists: "create"},
			} {
				t.Run(fmt.Sprint(point, " resend ", resend, " ", name), func(t *testing.T) {
					t.Parallel()
					s, a, c, j := opened(t, stripesim.WithSearchLag(time.Hour))
					j.Resend = resend
					makes(t, a, map[string]any{"email": in.Email, "metadata": map[string]any{"tieline_effect": "another"}})
					s.Fault(sim.Fault{Method: "POST", Path: "/v1/customers", Point: point})
					if _, err := runCreateCustomer(t.Context(), c, in); connectors.KindOf(err) != connectors.OutcomeUnknown {
						t.Fatal(err)
					}
					out, err := runCreateCustomer(t.Context(), c, in)
					if resend && point == sim.AfterCommit { // Stripe repeats the failure it once gave: the engine must look
						if e := vendorError(err); e == nil || !e.Replayed || e.Kind != connectors.OutcomeUnknown {
							t.Fatalf("%+v", err)
						}
						j.Resend = false
						out, err = runCreateCustomer(t.Context(), c, in)
					}
					if err != nil || !out.Created || len(a.Customers()) != 2 || out.CustomerID != a.Customers()[1]["id"] {
						t.Errorf("%+v, %v; there are %d", out, err, len(a.Customers()))
					}
				})
			}
		}
	}
}

// After the key's life a resend would make a second one, and search has long caught up.
func TestCreateCustomerProbeFindsOldOnes(t *testing.T) {
	t.Parallel()
	s, a, c, j := opened(t)
	in := acme
	s.Fault(sim.Fault{Method: "POST", Path: "/v1/customers", Point: sim.Cut})
	if _, err := runCreateCustomer(t.Context(), c, in); connectors.KindOf(err) != connectors.OutcomeUnknown {
		t.Fatal(err)
	}
	id := a.Customers()[0]["id"].(string)
	if _, err := a.UpdateCustomer(id, map[string]any{"email": "changed@acme.test"}); err != nil {
		t.Fatal(err)
	}
	ref, found, err := in.probe(c)(t.Context(), j.Effects()[0].Key)
	if err != nil || !found || ref.ID != id {
		t.Errorf("%+v %v %v", ref, found, err)
	}
	if _, found, err := in.probe(c)(t.Context(), "another"); found || err != nil {
		t.Errorf("of another effect: %v %v", found, err)
	}
}

// Where search is refused for good, all there is is listed.
func TestCreateCustomerProbeWithoutSearch(t *testing.T) {
	t.Parallel()
	s, a, c, _ := opened(t)
	s.Fault(sim.Fault{Path: "/v1/customers/search", Point: sim.Before, Status: 400, Count: -1})
	id := makes(t, a, map[string]any{"metadata": map[string]any{metaEffect: "tl_1"}})
	ref, found, err := CreateCustomerInput{TogaiAccountID: "acme", Name: "Acme"}.probe(c)(t.Context(), "tl_1")
	if err != nil || !found || ref.ID != id {
		t.Errorf("%+v %v %v", ref, found, err)
	}
	if out, err := runCreateCustomer(t.Context(), c, CreateCustomerInput{TogaiAccountID: "acme", Name: "Acme"}); err != nil || !out.Created {
		t.Errorf("%+v, %v", out, err)
	}
}

func ptr[T any](v T) *T { return &v }

func TestUpdateCustomer(t *testing.T) {
	t.Parallel()
	s, a, c, _ := opened(t)
	id := makes(t, a, map[string]any{"name": "Old", "email": "old@acme.test", "phone": "1", "preferred_locales": []any{"de"}, "metadata": map[string]any{"keep": "1", "drop": "1"}})
	out, err := runUpdateCustomer(t.Context(), c, UpdateCustomerInput{
		CustomerID: id, Name: ptr("New"), Phone: ptr(""), Address: &Address{City: "Bern"}, Metadata: map[string]string{"drop": "", "add": "1", metaEffect: "forged"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.CustomerID != id || out.Name != "New" || out.Email != "old@acme.test" || fmt.Sprint(out.Changed) != "[name phone address metadata]" || fmt.Sprint(out.Metadata) != "map[add:1 keep:1]" {
		t.Errorf("%+v", out)
	}
	if cus := a.Customers()[0]; cus["phone"] != nil || fmt.Sprint(cus["preferred_locales"]) != "[de]" {
		t.Errorf("left %v", cus)
	}
	if _, err := runUpdateCustomer(t.Context(), c, UpdateCustomerInput{CustomerID: id}); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("nothing to change: %v", err)
	}
	if _, err := runUpdateCustomer(t.Context(), c, UpdateCustomerInput{CustomerID: "cus_none", Name: ptr("x")}); connectors.KindOf(err) != connectors.NotFound {
		t.Errorf("a missing one: %v", err)
	}

	in := UpdateCustomerInput{CustomerID: id, Email: ptr("new@acme.test"), Address: &Address{City: "Basel"}, PreferredLocales: []string{"fr"}, Metadata: map[string]string{"add": "2"}}
	for _, point := range []sim.Point{sim.Cut, sim.CutBefore} {
		c, j := connect(t, s, a.Key())
		in.Name = ptr(string(point))
		s.Fault(sim.Fault{Method: "POST", Path: "/v1/customers/*", Point: point})
		if _, err := runUpdateCustomer(t.Context(), c, in); connectors.KindOf(err) != connectors.OutcomeUnknown {
			t.Fatal(err)
		}
		out, err := runUpdateCustomer(t.Context(), c, in)
		wantSent := map[sim.Point]int{sim.Cut: 1, sim.CutBefore: 2}[point]
		if err != nil || out.Name != string(point) || out.Metadata["add"] != "2" || j.Effects()[0].Sent != wantSent {
			t.Errorf("%s: %+v, %v after %d", point, out, err, j.Effects()[0].Sent)
		}
	}
}

func TestFindCustomer(t *testing.T) {
	t.Parallel()
	_, a, c, _ := opened(t)
	var ids []string
	for i := range 120 { // more than a page
		ids = append(ids, makes(t, a, map[string]any{"name": fmt.Sprint("n", i), "email": "same@acme.test"}))
	}
	tagged := makes(t, a, map[string]any{"name": "Tagged", "metadata": map[string]any{metaAccount: `it's a \ "name"`}})
	for name, x := range map[string]struct {
		in      FindCustomerInput
		id      string
		matches int
		fails   connectors.Kind
	}{
		"by id":             {FindCustomerInput{CustomerID: ids[0]}, ids[0], 1, ""},
		"by e-mail":         {FindCustomerInput{Email: "same@acme.test"}, ids[119], 120, ""},
		"e-mail case":       {FindCustomerInput{Email: "Same@acme.test"}, "", 0, ""},
		"by account":        {FindCustomerInput{TogaiAccountID: `it's a \ "name"`}, tagged, 1, ""},
		"no such account":   {FindCustomerInput{TogaiAccountID: "none"}, "", 0, ""},
		"no such id":        {FindCustomerInput{CustomerID: "cus_none"}, "", 0, ""},
		"no such id, fail":  {FindCustomerInput{CustomerID: "cus_none", OnMissing: "fail"}, "", 0, connectors.NotFound},
		"nothing asked":     {FindCustomerInput{}, "", 0, connectors.Invalid},
		"too much asked":    {FindCustomerInput{CustomerID: "a", Email: "b"}, "", 0, connectors.Invalid},
		"continue is usual": {FindCustomerInput{Email: "none@acme.test", OnMissing: "continue"}, "", 0, ""},
	} {
		out, err := runFindCustomer(t.Context(), c, x.in)
		if connectors.KindOf(err) != x.fails || out.CustomerID != x.id || out.Found != (x.id != "") || out.Matches != x.matches {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
}

func TestDeletedCustomer(t *testing.T) {
	t.Parallel()
	s, a, c, _ := opened(t)
	id := makes(t, a, map[string]any{"email": "gone@acme.test"})
	remove, _ := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.URL+"/v1/customers/"+id, nil)
	remove.Header.Set("Authorization", "Bearer "+a.Key())
	res, err := http.DefaultClient.Do(remove)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	res.Body.Close()
	o := connectors.Occurrence{Record: connectors.Subject{ID: id}, Payload: CustomerCreated{}}
	if _, err := readCustomerCreated(t.Context(), c, o); connectors.KindOf(err) != connectors.NotFound {
		t.Errorf("read: %v", err)
	}
	if out, err := runFindCustomer(t.Context(), c, FindCustomerInput{CustomerID: id}); err != nil || out.Found {
		t.Errorf("found: %+v, %v", out, err)
	}
}

func TestRecordURL(t *testing.T) {
	t.Parallel()
	for m, want := range map[connectors.Mode]string{connectors.Test: "https://dashboard.stripe.com/test/customers/cus_1", connectors.Live: "https://dashboard.stripe.com/customers/cus_1"} {
		if got := Connector().RecordURL(m, "customer", "cus_1"); got != want {
			t.Errorf("%s: %s", m, got)
		}
	}
}
