package flow_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tieline/connectors/schema"
	"tieline/connectors/sim"
	"tieline/connectors/togai/togaisim"
	"tieline/connectors/zohobooks/zohobookssim"
	"tieline/db"
	"tieline/jobs/flow"
)

// booksWorld is a world with an organization in Zoho Books, too, which a self client's code opens.
func booksWorld(t *testing.T, opts ...zohobookssim.Option) (*world, *zohobookssim.Sim) {
	t.Helper()
	w := newWorld(t)
	s := zohobookssim.New(t, opts...)
	w.engine.URLs["zohobooks"], w.engine.Logins = s.URL, map[string]string{"zohobooks": s.Accounts.URL}
	id, secret := s.Client()
	w.booksConn = w.connect("zohobooks", "Zoho Books", map[string]string{"mode": "test", "data_center": "us", "client_id": id, "client_secret": secret, "self_client_code": s.SelfClientCode(id)})
	return w, s
}

// TestBooksConnection: the one organization that there is is kept with the connection, and the code is forgotten.
func TestBooksConnection(t *testing.T) {
	t.Parallel()
	w, s := booksWorld(t)
	row, err := db.GetConnection(t.Context(), w.db, w.org, w.booksConn.ID)
	must(t, err)
	if row.VendorAccount.ExternalID != s.Organization().ID || row.Hints["organization_id"] != s.Organization().ID || row.Hints["self_client_code"] != "" {
		t.Errorf("%+v, %+v", row.VendorAccount, row.Hints)
	}
	if n := s.Tokens(); n > 2 {
		t.Errorf("%d access tokens of the ten that there are in ten minutes", n)
	}
	list, err := w.engine.FieldOptions(t.Context(), w.org, row.ID, flow.OptionQuery{Action: "item.create", Field: "tax_id", First: 5})
	if err != nil || len(list.Options) != 1 || list.Options[0].Label != "Sales Tax" {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestInputSchema: the custom fields of an organization are part of an action's input as its connection has it.
func TestInputSchema(t *testing.T) {
	t.Parallel()
	w, s := booksWorld(t, zohobookssim.WithOrganization(zohobookssim.Organization{Name: "A", Fields: []zohobookssim.Field{
		{Entity: "contact", APIName: "cf_togai", Label: "Togai account", Type: "string", Needed: true}, {Entity: "contact", APIName: "cf_kind", Label: "Kind", Type: "dropdown", Values: []string{"a", "b"}},
		{Entity: "invoice", APIName: "cf_other", Label: "Other", Type: "string"},
	}}))
	raw, err := w.engine.InputSchema(t.Context(), w.org, w.booksConn.ID, "contact.create")
	must(t, err)
	is, err := schema.Parse(raw)
	must(t, err)
	for fields, fits := range map[string]bool{`{"cf_togai":"x","cf_kind":"b"}`: true, `{"cf_togai":"x"}`: true, `{"cf_kind":"b"}`: false, `{"cf_togai":"x","cf_kind":"c"}`: false, `{"cf_togai":"x","cf_other":"c"}`: false} {
		if bad := is.Validate([]byte(`{"contact_number":"acme","name":"Acme","custom_fields":` + fields + `}`)); (len(bad) == 0) != fits {
			t.Errorf("%s: %v", fields, bad)
		}
	}
	_, err = w.engine.InputSchema(t.Context(), w.org, w.booksConn.ID, "contact.burn")
	if p, ok := errors.AsType[flow.Problems](err); !ok || p[0].Code != flow.CodeNotFound {
		t.Errorf("an action that is not there: %v", err)
	}
	s.Fault(sim.Fault{Path: "/books/v3/settings/fields", Point: sim.Before, Status: 503})
	if _, err := w.engine.InputSchema(t.Context(), w.org, w.booksConn.ID, "contact.create"); err == nil || !strings.Contains(err.Error(), "cannot be reached now") {
		t.Errorf("Zoho Books is away: %v", err)
	}
}

// TestBooksInvoices: a Togai invoice is the same invoice in Zoho Books, to the cent, whatever goes wrong once.
func TestBooksInvoices(t *testing.T) {
	t.Parallel()
	for _, write := range []string{"books /books/v3/contacts", "books /books/v3/invoices", "books /books/v3/invoices/*/status/sent", "books /books/v3/invoices/*/email", "togai /settings"} {
		for _, f := range []sim.Fault{{Point: "cut"}, {Point: "after_commit", Status: 500}, {Point: "before", Status: 401}} {
			t.Run(fmt.Sprintf("%s/%s %d", write, f.Point, f.Status), func(t *testing.T) {
				t.Parallel()
				app, path, _ := strings.Cut(write, " ")
				if app == "togai" && f.Status == 401 {
					return // a token that does not work is for a person
				}
				w, s := booksWorld(t)
				f.Method, f.Path = "POST", path
				dial := s.Fault
				if app == "togai" {
					dial = w.togai.Fault
				}
				w.hears()
				w.link("zohobooks.invoices_out", map[string]any{"mail": true})
				dial(f)
				w.work()
				w.billed("acme", "USD")
				_, err := w.togai.Invoice(togaisim.NewInvoice{AccountID: "acme", Lines: []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 49), line("TAX_AMOUNT", 9.31)}})
				must(t, err)
				w.mended(1)
				w.sure(w.settled(1), flow.Succeeded)
				got, id := s.Invoices(), w.togai.Invoices()[0].ID
				if len(got) != 1 || got[0].Total.String() != "58.31" || got[0].Status != "sent" || got[0].Reference != id || len(s.Contacts()) != 1 || len(s.Mails()) != 1 {
					w.dump()
					t.Fatalf("Zoho Books has %+v, %d contacts, %d mails", got, len(s.Contacts()), len(s.Mails()))
				}
				if w.setting("invoice", id, "ZohoBooksInvoiceId") != got[0].ID || w.setting("account", "acme", "ZohoBooksContactId") != s.Contacts()[0].ID {
					t.Errorf("Togai does not name %s and %s", got[0].ID, s.Contacts()[0].ID)
				}
			})
		}
	}
}

// TestBooksTwiceAndOutOfOrder: Togai tells everything twice and the invoice before its account; there is one contact and one
// invoice all the same, whichever flow makes the contact.
func TestBooksTwiceAndOutOfOrder(t *testing.T) {
	t.Parallel()
	for _, both := range []bool{false, true} {
		t.Run(fmt.Sprint("accounts out ", both), func(t *testing.T) {
			t.Parallel()
			w, s := booksWorld(t)
			w.hears()
			n := 1
			if w.link("zohobooks.invoices_out", nil); both {
				w.link("zohobooks.accounts_out", nil)
				n++
			}
			w.togai.Dial(sim.Dials{Duplicate: 10, Reorder: 2})
			w.billed("acme", "USD")
			_, err := w.togai.Invoice(togaisim.NewInvoice{AccountID: "acme", Lines: []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 49)}})
			must(t, err)
			w.togai.Dial(sim.Dials{})
			w.work()
			for _, r := range w.settled(n) {
				if r.State != flow.Succeeded {
					w.dump()
					t.Fatalf("%s: %s", r.State, r.Error)
				}
			}
			if len(s.Contacts()) != 1 || len(s.Invoices()) != 1 || w.setting("account", "acme", "ZohoBooksContactId") != s.Contacts()[0].ID {
				w.dump()
				t.Errorf("%d contacts, %d invoices", len(s.Contacts()), len(s.Invoices()))
			}
		})
	}
}

// TestBooksReauth: when the grant is taken back, what is to be written waits for a person; another self client's code mends the
// connection, and all goes on. An access token that has ended is no reason to wait.
func TestBooksReauth(t *testing.T) {
	t.Parallel()
	w, s := booksWorld(t)
	w.hears()
	w.link("zohobooks.accounts_out", nil)
	w.work()
	s.Expire()
	w.billed("one", "USD")
	w.sure(w.settled(1), flow.Succeeded)
	s.Revoke()
	w.billed("two", "USD")
	w.until("the run that waits", "SELECT count(*) = 1 FROM runs WHERE state = 'WAITING' AND waiting_reason = 'REAUTH'")
	w.until("the connection", "SELECT count(*) = 1 FROM connections WHERE state = 'NEEDS_REAUTH'")
	row, err := db.GetConnection(t.Context(), w.db, w.org, w.booksConn.ID)
	must(t, err)
	_, err = w.engine.UpdateConnection(t.Context(), w.org, row.ID, flow.ConnectionInput{Credentials: map[string]string{"self_client_code": s.SelfClientCode(row.Hints["client_id"])}}, uncommitted)
	must(t, err)
	w.sure(w.settled(2), flow.Succeeded, flow.Succeeded)
	if len(s.Contacts()) != 2 || len(s.RefreshTokens()) != 1 {
		t.Errorf("%d contacts, %d refresh tokens", len(s.Contacts()), len(s.RefreshTokens()))
	}
}

// TestBooksTaxes: taxes by country edition, currencies and discounts, to the cent.
func TestBooksTaxes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, edition, currency, discount string
		params                            map[string]any
		taxed                             bool
		lines                             []togaisim.Line
		total, tax                        string
		failed                            string
	}{
		{"us, the tax a line, with a discount", "us", "USD", "4.95", nil, false, []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 49.9), line("USAGE_RATE_CARD_AMOUNT", 0), line("MISCELLANEOUS_CHARGE", -1.05), line("TAX_AMOUNT", 8.34)}, "52.24", "0", ""},
		{"uk", "uk", "GBP", "0", map[string]any{"vatTreatment": "uk"}, true, []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 49.9), line("USAGE_RATE_CARD_AMOUNT", 0.37), line("TAX_AMOUNT", 10.05)}, "60.32", "10.05", ""},
		{"in, discounted", "in", "INR", "100", map[string]any{"gstTreatment": "consumer", "place": "MH"}, true, []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 1000), line("TAX_AMOUNT", 162)}, "1062", "162", ""},
		{"gcc, discounted after tax", "gcc", "AED", "10", map[string]any{"taxTreatment": "vat_not_registered", "place": "DU", "discountsAfterTax": true}, true, []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 200), line("TAX_AMOUNT", 10)}, "200", "10", ""},
		{"yen", "us", "JPY", "0", nil, false, []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 5000), line("TAX_AMOUNT", 500)}, "5500", "0", ""},
		{"another currency", "us", "CHF", "0", nil, false, []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 5)}, "", "", "does not have the currency CHF"},
		{"another currency, added", "us", "CHF", "0", map[string]any{"addCurrency": true}, false, []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 5)}, "5", "0", ""},
		{"another tax than Togai's", "uk", "GBP", "0", nil, true, []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 100), line("TAX_AMOUNT", 5)}, "", "", "The invoice comes to 120.00, of which 20.00 is tax, and not to 105"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, s := booksWorld(t, zohobookssim.WithOrganization(zohobookssim.Organization{Name: "A", Edition: c.edition}))
			if c.params == nil {
				c.params = map[string]any{}
			}
			if c.taxed {
				c.params["taxId"] = s.Organization().Taxes[0].ID
			}
			w.hears()
			w.link("zohobooks.invoices_out", c.params)
			w.work()
			w.billed("acme", c.currency)
			_, err := w.togai.Invoice(togaisim.NewInvoice{AccountID: "acme", Lines: c.lines, Discount: amount(c.discount)})
			must(t, err)
			runs := w.settled(1)
			if c.failed != "" {
				w.sure(runs, flow.Failed)
				if !strings.Contains(runs[0].Error, c.failed) || len(s.Invoices()) != 0 {
					t.Errorf("it says %q; %d invoices", runs[0].Error, len(s.Invoices()))
				}
				return
			}
			w.sure(runs, flow.Succeeded)
			if got := s.Invoices(); len(got) != 1 || got[0].Total.String() != c.total || got[0].Tax.String() != c.tax || got[0].Currency != c.currency {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestFanOut: a customer made in Stripe is in Togai and in Zoho Books, each linked to the others; told twice it is there once.
func TestFanOut(t *testing.T) {
	t.Parallel()
	w, s := booksWorld(t)
	w.link("stripe.customers_fan_out", nil)
	w.stripe.Dial(sim.Dials{Duplicate: 2})
	w.work()
	cus, err := w.stripe.First().CreateCustomer(map[string]any{"name": "Ada Lovelace", "email": "ada@acme.test"})
	must(t, err)
	w.sure(w.settled(1), flow.Succeeded)
	id := fmt.Sprint(cus["id"])
	if got := s.Contacts(); len(got) != 1 || got[0].Number != id || got[0].Email() != "ada@acme.test" || w.setting("account", id, "ZohoBooksContactId") != got[0].ID {
		w.dump()
		t.Errorf("contacts %+v", got)
	}
	if now := w.stripe.First().Customers()[0]; len(w.togai.Accounts()) != 1 || now["metadata"].(map[string]any)["togai_account_id"] != id {
		t.Errorf("%d accounts, %v", len(w.togai.Accounts()), now)
	}
}

// TestFanOutLegs: one leg fails, waits or is refused, and the other goes on; what is retried repeats nothing of the other.
func TestFanOutLegs(t *testing.T) {
	t.Parallel()
	for _, leg := range []string{"togai", "books"} {
		t.Run(leg+" waits", func(t *testing.T) {
			t.Parallel()
			w, s := booksWorld(t)
			dial, other := s.Fault, func() int { return len(w.togai.Accounts()) }
			if leg == "togai" {
				dial, other = w.togai.Fault, func() int { return len(s.Contacts()) }
			}
			path := map[string]string{"togai": "/customers", "books": "/books/v3/contacts"}[leg]
			dial(sim.Fault{Method: "POST", Path: path, Point: sim.RateLimit, Count: -1})
			w.link("stripe.customers_fan_out", nil)
			w.work()
			_, err := w.stripe.First().CreateCustomer(map[string]any{"name": "Ada Lovelace", "email": "ada@acme.test"})
			must(t, err)
			w.until("the other leg", "SELECT count(*) = 1 FROM steps WHERE key = ? AND state = 'SUCCEEDED'", map[string]string{"togai": "contact", "books": "account"}[leg])
			if other() != 1 {
				t.Errorf("the other leg has made %d", other())
			}
			w.until("waiting", "SELECT count(*) = 1 FROM steps WHERE key = ? AND state = 'WAITING'", map[string]string{"togai": "account", "books": "contact"}[leg])
			w.togai.ClearFaults()
			s.ClearFaults()
			w.mended(1)
			w.sure(w.settled(1), flow.Succeeded)
			if len(w.togai.Accounts()) != 1 || len(s.Contacts()) != 1 || w.togai.Count("POST", "/customers")+s.Count("POST", "/books/v3/contacts") < 3 {
				t.Errorf("%d accounts, %d contacts", len(w.togai.Accounts()), len(s.Contacts()))
			}
			calls := map[string]int{"togai": s.Count("POST", "/books/v3/contacts"), "books": w.togai.Count("POST", "/customers")}
			if calls[leg] != 1 {
				t.Errorf("the other leg was sent %d times", calls[leg])
			}
		})
		t.Run(leg+" fails", func(t *testing.T) {
			t.Parallel()
			w, s := booksWorld(t)
			dial := s.Fault
			if leg == "togai" {
				dial = w.togai.Fault
			}
			path := map[string]string{"togai": "/customers", "books": "/books/v3/contacts"}[leg]
			dial(sim.Fault{Method: "POST", Path: path, Point: sim.Before, Status: 400})
			w.link("stripe.customers_fan_out", nil)
			w.work()
			_, err := w.stripe.First().CreateCustomer(map[string]any{"name": "Ada Lovelace", "email": "ada@acme.test"})
			must(t, err)
			runs := w.settled(1)
			if runs[0].State != flow.Failed || len(w.togai.Accounts())+len(s.Contacts()) != 1 {
				w.dump()
				t.Fatalf("%s: %d accounts, %d contacts", runs[0].State, len(w.togai.Accounts()), len(s.Contacts()))
			}
			must(t, w.retry(runs[0].ID))
			w.sure(w.settled(1), flow.Succeeded)
			if len(w.togai.Accounts()) != 1 || len(s.Contacts()) != 1 {
				t.Errorf("retried: %d accounts, %d contacts", len(w.togai.Accounts()), len(s.Contacts()))
			}
			calls := map[string]int{"togai": s.Count("POST", "/books/v3/contacts"), "books": w.togai.Count("POST", "/customers")}
			if calls[leg] != 1 {
				t.Errorf("the other leg was sent %d times", calls[leg])
			}
		})
	}
}

// TestRing: with accounts out to both on as well, one customer made in Stripe, or one account made in Togai, is in each of the
// three once, whichever flow comes first, and also when the answer to a write is lost.
func TestRing(t *testing.T) {
	t.Parallel()
	for _, from := range []string{"stripe", "togai"} {
		for _, lost := range []string{"", "stripe /v1/customers", "togai /customers", "books /books/v3/contacts"} {
			if strings.HasPrefix(lost, from) {
				continue // there it is made by a person
			}
			t.Run(strings.TrimSpace(from+" "+lost), func(t *testing.T) {
				t.Parallel()
				w, s := booksWorld(t)
				w.hears()
				for _, key := range []string{"stripe.customers_fan_out", "stripe.accounts_out", "zohobooks.accounts_out"} {
					w.link(key, nil)
				}
				if app, path, ok := strings.Cut(lost, " "); ok {
					map[string]func(sim.Fault){"stripe": w.stripe.Fault, "togai": w.togai.Fault, "books": s.Fault}[app](sim.Fault{Method: "POST", Path: path, Point: sim.Cut})
				}
				w.work()
				if from == "stripe" {
					_, err := w.stripe.First().CreateCustomer(map[string]any{"name": "Ada Lovelace", "email": "ada@acme.test"})
					must(t, err)
				} else {
					w.billed("acme", "USD")
				}
				w.settled(3)
				for _, r := range w.settled(3) {
					if r.State != flow.Succeeded && r.State != flow.Suppressed {
						w.dump()
						t.Fatalf("%s: %s", r.State, r.Error)
					}
				}
				account := w.togai.Accounts()
				if len(w.stripe.First().Customers()) != 1 || len(account) != 1 || len(s.Contacts()) != 1 {
					w.dump()
					t.Fatalf("%d in Stripe, %d in Togai, %d in Zoho Books", len(w.stripe.First().Customers()), len(account), len(s.Contacts()))
				}
				if x := s.Contacts()[0]; x.Number != account[0].ID || w.setting("account", account[0].ID, "ZohoBooksContactId") != x.ID {
					w.dump()
					t.Errorf("the contact %s %s is not linked to account %s", x.ID, x.Number, account[0].ID)
				}
				if n := w.count("SELECT count(DISTINCT mapping_id) FROM mapping_slots WHERE entity IN ('account', 'contact') OR entity = 'customer' AND vendor_account_id = ?", w.stripeConn.VendorAccountID); n != 1 {
					t.Errorf("it is in %d mappings", n)
				}
			})
		}
	}
}

// TestAdoptedStepsAreRead: a step whose target the change came through is not taken, and what it would have left is there for
// a later one that reads it; also of a second account of a customer, whose mapping has no customer of its own.
func TestAdoptedStepsAreRead(t *testing.T) {
	t.Parallel()
	w, s := booksWorld(t)
	_, err := w.db.NewRaw(`UPDATE flow_versions SET definition = jsonb_set(jsonb_set(definition, '{steps,1,input,contact_number}', '"{{ steps.account.account_id }}"'),
		'{steps,1,input,notes}', '"of customer {{ steps.account.customer_id }}"') WHERE definition ->> 'key' = 'stripe.customers_fan_out'`).Exec(t.Context())
	must(t, err)
	w.hears()
	w.link("stripe.accounts_out", nil)
	w.link("stripe.customers_fan_out", nil)
	w.work()
	w.stripe.Dial(sim.Dials{Pause: true})
	w.billed("acme", "USD")
	w.settled(1)
	_, err = w.db.NewRaw("UPDATE connections SET state = 'NEEDS_REAUTH' WHERE id = ?", w.togaiConn.ID).Exec(t.Context()) // nothing is asked of it
	must(t, err)
	w.stripe.Dial(sim.Dials{})
	w.settled(2)
	_, err = w.db.NewRaw("UPDATE connections SET state = 'ACTIVE' WHERE id = ?", w.togaiConn.ID).Exec(t.Context())
	must(t, err)
	_, err = w.togai.CreateAccount(map[string]any{"id": "acme-2", "name": "Account two", "customerId": "acme"})
	must(t, err)
	for _, r := range w.settled(4) {
		if r.State != flow.Succeeded {
			w.dump()
			t.Fatalf("%s: %s", r.State, r.Error)
		}
	}
	got := map[string]string{}
	for _, c := range s.Contacts() {
		got[c.Number], _, _ = strings.Cut(c.Notes, " [")
	}
	if want := map[string]string{"acme": "of customer acme", "acme-2": "of customer acme"}; fmt.Sprint(got) != fmt.Sprint(want) || len(w.togai.Accounts()) != 2 {
		w.dump()
		t.Errorf("contacts %v, want %v; %d accounts in Togai", got, want, len(w.togai.Accounts()))
	}
	if n := w.count("SELECT count(*) FROM steps WHERE key = 'account' AND state = 'ADOPTED' AND output ->> 'account_id' IN ('acme', 'acme-2')"); n != 2 {
		t.Errorf("%d steps were adopted and have an output", n)
	}
}
