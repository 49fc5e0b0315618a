package togai

import (
	"encoding/json"
	"fmt"
	"testing"

	"tieline/connectors"
	"tieline/connectors/sim"
	"tieline/connectors/togai/togaisim"
)

var acme = CreateCustomerInput{
	ID: "acme/1", Name: "Acme", Email: "billing@acme.test", Currency: "usd", Address: &Address{Line1: "Main 1", City: "Bern", Country: "CH", Phone: "+41 1"},
	Account:  &FirstAccountInput{ID: "acme.usd", AccountDetails: AccountDetails{Metadata: map[string]string{"tier": "gold", metaEffect: "forged"}, Tags: []string{"Big"}}},
	Settings: map[string]string{"stripe_customer_id": "cus_1", "Colour": "red", "zuora_account_id": ""},
}

func TestCreateCustomer(t *testing.T) {
	t.Parallel()
	s, c, j := opened(t)
	out, err := runCreateCustomer(t.Context(), c, acme)
	if err != nil {
		t.Fatal(err)
	}
	x, a := s.Customers()[0], s.Accounts()[0]
	if out != (CreatedCustomer{"acme/1", x.TogaiCustomerID, "acme.usd", a.TogaiAccountID, "Acme", "billing@acme.test", true}) {
		t.Errorf("output %+v", out)
	}
	e := j.Effects()[0]
	if x.Address.City != "Bern" || x.Address.PhoneNumber != "+41 1" || a.InvoiceCurrency != "USD" || a.Name != "Acme" || a.PrimaryEmail != "billing@acme.test" ||
		a.Metadata["tier"] != "gold" || a.Metadata[metaEffect] != e.Key || len(a.Tags) != 1 || a.Address == nil || a.Address.City != "Bern" {
		t.Errorf("customer %+v, account %+v", x, a)
	}
	var keys []string
	for _, g := range s.Settings() {
		keys = append(keys, g.Key()+"="+g.Value)
	}
	if fmt.Sprint(keys) != "[setting.USER.Colour.ACCOUNT.acme.usd=red setting.USER.Colour.CUSTOMER.acme/1=red setting.USER.StripeCustomerId.ACCOUNT.acme.usd=cus_1 setting.USER.StripeCustomerId.CUSTOMER.acme/1=cus_1]" {
		t.Errorf("settings %q", keys)
	}
	if in := e.Intent; in.Slots[0] != (connectors.Slot{Entity: "customer", ID: "acme/1"}) || in.Slots[1] != (connectors.Slot{Entity: "account", ID: "acme.usd"}) || fmt.Sprint(e.Ref.With) != "[{account  acme.usd}]" {
		t.Errorf("intent %+v, left %+v", in, e.Ref)
	}
	raw, _ := json.Marshal(e.Ref)
	var kept connectors.Ref
	if err := json.Unmarshal(raw, &kept); err != nil || kept.Attributes[attrTogaiAccount] != a.TogaiAccountID {
		t.Errorf("kept %s", raw)
	}
	if again, err := runCreateCustomer(t.Context(), c, acme); err != nil || again != out || s.Count("POST", "/customers") != 1 {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	if small, err := runCreateCustomer(t.Context(), c, CreateCustomerInput{ID: "small", Name: "Small", Email: "a@b.test"}); err != nil || small.AccountID != "small" || small.TogaiAccountID == "" {
		t.Errorf("with the least: %+v, %v", small, err)
	}
}

// The answer to a create gets lost; what the engine then does must find the record, and never take another's for ours.
func TestCreateCustomerSettles(t *testing.T) {
	t.Parallel()
	for _, point := range []sim.Point{sim.Cut, sim.CutBefore, sim.AfterCommit, sim.Before, sim.HTML502} {
		for _, resend := range []bool{false, true} { // sent again, it is refused, and then looked for
			t.Run(fmt.Sprint(point, " resend ", resend), func(t *testing.T) {
				t.Parallel()
				s, c, j := opened(t)
				j.Resend = resend
				s.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: point})
				if _, err := runCreateCustomer(t.Context(), c, acme); connectors.KindOf(err) != connectors.OutcomeUnknown {
					t.Fatal(err)
				}
				out, err := runCreateCustomer(t.Context(), c, acme)
				if err != nil || !out.Created || out.TogaiAccountID != s.Accounts()[0].TogaiAccountID || out.TogaiCustomerID == "" || len(s.Customers()) != 1 {
					t.Errorf("%+v, %v", out, err)
				}
			})
		}
	}
}

func TestCreateCustomerWhereTheIDIsTaken(t *testing.T) {
	t.Parallel()
	const plain = `{"id":"acme/1","name":"Acme","primaryEmail":"billing@acme.test","address":{}`
	setting := func(value string) string {
		return `"settings":[{"id":"StripeCustomerId","value":"` + value + `","namespace":"USER","name":"x","dataType":"STRING"}]`
	}
	for name, x := range map[string]struct {
		there string
		want  connectors.Kind
		says  string
	}{
		"equal name and e-mail":    {plain + `,"account":{"id":"acme.usd","name":"Acme"}}`, connectors.Conflict, "may or may not"},
		"of the same Stripe one":   {plain + `,"account":{"id":"acme.usd","name":"Acme"},` + setting("cus_1") + `}`, "", ""},
		"of another Stripe one":    {plain + `,"account":{"id":"acme.usd","name":"Acme"},` + setting("cus_2") + `}`, connectors.Conflict, "may or may not"},
		"without the account":      {plain + `}`, connectors.Conflict, "only one is there"},
		"another's account":        {`{"id":"other","name":"Other","primaryEmail":"o@acme.test","address":{},"account":{"id":"acme.usd","name":"Acme"}}`, connectors.Conflict, "only one is there"},
		"nothing, but a bad input": {"", connectors.Invalid, "primaryEmail"},
	} {
		for _, status := range []int{0, 409} { // as the simulator answers, and as Togai may
			t.Run(fmt.Sprint(name, status), func(t *testing.T) {
				t.Parallel()
				s, c, _ := opened(t)
				in := acme
				if x.there == "" {
					in.Email = ""
				} else {
					post(t, c, "/customers", x.there)
				}
				if status != 0 && x.there != "" {
					s.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: sim.Before, Status: status})
				}
				before := len(s.Customers())
				out, err := runCreateCustomer(t.Context(), c, in)
				if connectors.KindOf(err) != x.want || err != nil && !contains(err, x.says) || len(s.Customers()) != before {
					t.Fatalf("%+v, %v", out, err)
				}
				if err == nil && (out.Created || out.AccountID != "acme.usd" || out.TogaiCustomerID != s.Customers()[0].TogaiCustomerID) {
					t.Errorf("adopted %+v", out)
				}
			})
		}
	}
}

func TestProbeSettlesNothingWhenItFails(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/customers/*", "/accounts/*", "/settings"} {
		s, c, _ := opened(t)
		post(t, c, "/customers", `{"id":"b","name":"Bolt","primaryEmail":"a@b.test","address":{}}`)
		s.Fault(sim.Fault{Method: "GET", Path: path, Point: sim.Before, Status: 503})
		in := CreateCustomerInput{ID: "b", Name: "Bolt", Email: "a@b.test", Settings: map[string]string{"stripe_customer_id": "cus_1"}}
		if _, found, err := in.probe(c)(t.Context(), "key"); found || connectors.KindOf(err) != connectors.Unavailable {
			t.Errorf("%s: %v %v", path, found, err)
		}
	}
}

func TestCreateAccount(t *testing.T) {
	t.Parallel()
	in := CreateAccountInput{
		ID: "acme-eur", CustomerID: "acme", Name: "Acme EUR", AccountDetails: AccountDetails{Currency: "EUR", Address: &Address{City: "Basel"}, Status: "DRAFT"},
		Settings: map[string]string{"stripe_customer_id": "cus_2"},
	}
	customer := func(t *testing.T, c connectors.Conn) {
		post(t, c, "/customers", `{"id":"acme","name":"Acme","primaryEmail":"a@b.test","address":{}}`)
	}
	for _, point := range []sim.Point{"", sim.Cut, sim.CutBefore, sim.AfterCommit} {
		for _, resend := range []bool{false, true} {
			t.Run(fmt.Sprint(point, " resend ", resend), func(t *testing.T) {
				t.Parallel()
				s, c, j := opened(t)
				j.Resend = resend
				customer(t, c)
				if point != "" {
					s.Fault(sim.Fault{Method: "POST", Path: "/accounts", Point: point})
					if _, err := runCreateAccount(t.Context(), c, in); connectors.KindOf(err) != connectors.OutcomeUnknown {
						t.Fatal(err)
					}
				}
				out, err := runCreateAccount(t.Context(), c, in)
				a := s.Accounts()[1]
				if err != nil || out != (CreatedAccount{"acme-eur", a.TogaiAccountID, "acme", "Acme EUR", "EUR", true}) || a.Status != "DRAFT" || a.Address.City != "Basel" || len(a.Settings) != 1 {
					t.Errorf("%+v, %v", out, err)
				}
			})
		}
	}
	t.Run("taken", func(t *testing.T) {
		t.Parallel()
		_, c, _ := opened(t)
		customer(t, c)
		taken := in
		taken.ID = "acme"
		if _, err := runCreateAccount(t.Context(), c, taken); connectors.KindOf(err) != connectors.Conflict {
			t.Errorf("%v", err)
		}
		post(t, c, "/accounts", `{"id":"acme-eur","customerId":"acme","name":"By Zapier","settings":[{"id":"StripeCustomerId","value":"cus_2","namespace":"USER","name":"x","dataType":"STRING"}]}`)
		if out, err := runCreateAccount(t.Context(), c, in); err != nil || out.Created || out.Name != "By Zapier" {
			t.Errorf("of the same Stripe customer: %+v, %v", out, err)
		}
		orphan := in
		orphan.ID, orphan.CustomerID = "z", "nobody"
		if _, err := runCreateAccount(t.Context(), c, orphan); connectors.KindOf(err) != connectors.Invalid || !contains(err, "nobody") {
			t.Errorf("of nobody: %v", err)
		}
	})
}

func TestGet(t *testing.T) {
	t.Parallel()
	_, c, _ := opened(t)
	if _, err := runCreateCustomer(t.Context(), c, acme); err != nil {
		t.Fatal(err)
	}
	x, err := fetchCustomer(t.Context(), c, "acme/1")
	if p := x.plain(); err != nil || p.CustomerID != "acme/1" || p.Status != "ACTIVE" || p.Email != "billing@acme.test" || p.Address.Phone != "+41 1" || p.CreatedAt.IsZero() {
		t.Errorf("%+v, %v", p, err)
	}
	a, err := fetchAccount(t.Context(), c, "acme.usd")
	if p := a.plain(); err != nil || p.CustomerID != "acme/1" || p.Currency != "USD" || p.StripeCustomerID != "cus_1" || fmt.Sprint(p.Tags) != "[big]" || p.Metadata["tier"] != "gold" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := fetchCustomer(t.Context(), c, "nobody"); connectors.KindOf(err) != connectors.NotFound {
		t.Errorf("%v", err)
	}
	if _, err := fetchAccount(t.Context(), c, "nobody"); connectors.KindOf(err) != connectors.NotFound {
		t.Errorf("%v", err)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	for _, extra := range []bool{false, true} {
		var opts []togaisim.Option
		if extra {
			opts = append(opts, togaisim.WithExtraPage())
		}
		s, c, _ := opened(t, opts...)
		for i := range 200 { // two full pages
			if _, err := s.CreateAccount(map[string]any{"id": fmt.Sprintf("a%03d", i), "name": "Account", "status": map[bool]string{true: "DRAFT", false: "ACTIVE"}[i%2 == 0]}); err != nil {
				t.Fatal(err)
			}
		}
		for _, x := range []struct {
			limit, count int
			complete     bool
		}{{0, 100, false}, {1, 1, false}, {150, 150, false}, {1000, 200, true}} {
			as, err := runListAccounts(t.Context(), c, ListAccountsInput{Limit: x.limit})
			if err != nil || as.Count != x.count || len(as.Accounts) != x.count || as.Complete != x.complete {
				t.Errorf("%d accounts: %d %v %v", x.limit, as.Count, as.Complete, err)
			}
			cs, err := runListCustomers(t.Context(), c, ListCustomersInput{Limit: x.limit})
			if err != nil || cs.Count != x.count || len(cs.Customers) != x.count || cs.Complete != x.complete {
				t.Errorf("%d customers: %d %v %v", x.limit, cs.Count, cs.Complete, err)
			}
		}
		if as, err := runListAccounts(t.Context(), c, ListAccountsInput{Status: "DRAFT", CustomerID: "a000"}); err != nil || as.Count != 1 || !as.Complete {
			t.Errorf("filtered: %+v, %v", as, err)
		}
		if cs, err := runListCustomers(t.Context(), c, ListCustomersInput{Status: "ARCHIVED"}); err != nil || cs.Count != 0 || cs.Customers == nil || !cs.Complete {
			t.Errorf("none: %+v, %v", cs, err)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	s, c, _ := opened(t)
	post(t, c, "/customers", `{"id":"a.b/c","name":"Acme","primaryEmail":"a@b.test","address":{}}`)
	at := GetSettingInput{"customer", "a.b/c", "zuora_account_id"}
	get := func() string {
		got, there, err := at.fetch(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(there, " ", got.Value)
	}
	if got := get(); got != "false " {
		t.Errorf("before: %q", got)
	}
	for i, x := range []struct {
		value         string
		posts, patchs int
	}{{"z1", 1, 0}, {"z1", 1, 0}, {"z2", 1, 1}} {
		c, j := connect(t, s)
		out, err := runSetSetting(t.Context(), c, SetSettingInput{at, x.value})
		if err != nil || out != (SetSettingOutput{"setting.USER.ZuoraAccountId.CUSTOMER.a.b/c", x.value}) || get() != "true "+x.value {
			t.Errorf("%d: %+v, %v, %s", i, out, err, get())
		}
		if p, q := s.Count("POST", "/settings"), s.Count("PATCH", ""); p != x.posts || q != x.patchs {
			t.Errorf("%d: %d POSTs and %d PATCHes", i, p, q)
		}
		if e := j.Effects(); len(e) != 1 || e[0].Sent > 1 {
			t.Errorf("%d: %+v", i, e)
		}
	}
	for _, method := range []string{"POST", "PATCH"} {
		for _, point := range []sim.Point{sim.Cut, sim.CutBefore, sim.AfterCommit} {
			c, _ := connect(t, s)
			in := SetSettingInput{at, method + string(point)}
			if method == "POST" {
				in.Setting = "Own" + string(point)
			}
			s.Fault(sim.Fault{Method: method, Point: point})
			if _, err := runSetSetting(t.Context(), c, in); connectors.KindOf(err) != connectors.OutcomeUnknown {
				t.Fatalf("%s %s: %v", method, point, err)
			}
			out, err := runSetSetting(t.Context(), c, in)
			got, _, _ := in.fetch(t.Context(), c)
			if err != nil || out.Value != in.Value || got.Value != in.Value {
				t.Errorf("%s %s: %+v, %v, %q", method, point, out, err, got.Value)
			}
		}
	}
	if _, err := runSetSetting(t.Context(), c, SetSettingInput{GetSettingInput{"account", "nobody", "x"}, "y"}); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("of nobody: %v", err)
	}
}
