package zuora

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/zuora/zuorasim"
)

func fieldOf(err error) string {
	if e, ok := errors.AsType[*connectors.Error](err); ok && e.Kind == connectors.Invalid {
		return e.Field
	}
	return fmt.Sprint(err)
}

// TestForm: an endpoint that is not Zuora's is refused before anything is called.
func TestForm(t *testing.T) {
	t.Parallel()
	good := connectors.Credentials{endpoint: "https://rest.eu.zuora.com", clientID: "id", clientSecret: "s"}
	for field, value := range map[string]string{
		endpoint: "https://rest.eu.zuora.com.evil.test", clientID: " ", clientSecret: "", apiVersion: "1.0",
	} {
		c := connectors.Credentials{}
		for k, v := range good {
			c[k] = v
		}
		c[field] = value
		if _, err := mode(c); fieldOf(err) != field {
			t.Errorf("%s %q: %v", field, value, err)
		}
	}
	if _, err := mode(connectors.Credentials{endpoint: "http://127.0.0.1:80", clientID: "id", clientSecret: "s"}); fieldOf(err) != endpoint {
		t.Error(err)
	}
	for _, h := range hosts {
		good[endpoint] = h.url
		if m, err := mode(good); err != nil || m != h.mode || Connector().BaseURL(good) != h.url {
			t.Errorf("%s: %s, %v", h.url, m, err)
		}
	}
}

// TestIdentify: a tenant is known by the token's scope, and one with several entities by the one that is chosen.
func TestIdentify(t *testing.T) {
	t.Parallel()
	s, c, _ := world(t)
	if id, err := identify(t.Context(), c); err != nil || id.AccountID != "4711" || id.Mode != connectors.Test {
		t.Errorf("%+v, %v", id, err)
	}
	for charge, want := range map[string]string{
		"": "", "nowhere": chargeID, s.Product("P", flat("Credit"))[0]: "", s.Product("P", map[string]any{"name": "Off", "model": "DiscountFixedAmount"})[0]: chargeID,
	} {
		creds := filled(s)
		creds[chargeID] = charge
		c, _ := conntest.OpenJournal(t, Connector(), s.URL, creds)
		if _, err := identify(t.Context(), c); (err == nil) != (want == "") || err != nil && fieldOf(err) != want {
			t.Errorf("charge %q: %v", charge, err)
		}
	}
	several := zuorasim.New(t, zuorasim.WithEntities("aa", "bb"))
	for entity, want := range map[string]string{"": entityID, "cc": entityID, "bb": ""} {
		creds := filled(several)
		creds[entityID] = entity
		c, _ := conntest.OpenJournal(t, Connector(), several.URL, creds)
		id, err := identify(t.Context(), c)
		if want != "" && fieldOf(err) != want || want == "" && (err != nil || id.AccountID != "4711:bb") {
			t.Errorf("entity %q: %+v, %v", entity, id, err)
		}
		if p, err := offerEntities(t.Context(), c, "B", ""); err != nil || len(p.Options) != 1 || p.Options[0].Value != "bb" {
			t.Errorf("entities: %+v, %v", p, err)
		}
	}
}

// TestCreditMemoFields change with the version of the API.
func TestCreditMemoFields(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"", "216.0", "223.0", "224.0", "256.0", "257.0", "341.0", "2025-08-12"} {
		s := zuorasim.New(t)
		creds := filled(s)
		creds[apiVersion], creds[chargeID] = version, s.Product("P", flat("Credit"))[0]
		c, _ := conntest.OpenJournal(t, Connector(), s.URL, creds)
		out, err := runCreateCreditMemo(t.Context(), c, CreateCreditMemoInput{ReferenceID: "r", AccountID: accountOf(t, s, "A-1").ID, Amount: "12.5", Comment: "Why"})
		if err != nil || out.Amount != "12.50" || out.Status != "Draft" || s.Memos()[0].Text != "Why" || s.Memos()[0].ChargeID != creds[chargeID] {
			t.Errorf("%s: %+v, %v", version, out, err)
		}
		ref, shown, err := lookAtCreditMemo(t.Context(), c, out.CreditMemoID)
		if err != nil || ref.ID != out.CreditMemoID || ref.Attributes[attrAmount] != "12.50" || shown.(map[string]any)["status"] != "Draft" {
			t.Errorf("%+v %v (%v)", ref, shown, err)
		}
		if _, _, err := lookAtCreditMemo(t.Context(), c, "nothing"); connectors.KindOf(err) != connectors.NotFound {
			t.Errorf("of nothing: %v", err)
		}
	}
}

// TestRefusedBeforeWriting: what cannot be right is not sent.
func TestRefusedBeforeWriting(t *testing.T) {
	t.Parallel()
	s, c, _ := world(t)
	a, b := accountOf(t, s, "A-1"), accountOf(t, s, "B-1")
	number := subscribed(t, s, a.ID)
	metered, err := s.Subscribe(zuorasim.NewSubscription{Account: a.ID, Charges: []map[string]any{
		{"name": "One", "type": "Usage", "model": "PerUnit", "uom": "Each"}, {"name": "Two", "type": "usage", "model": "Per Unit", "uom": "Each"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	record := func(account, sub, charge, quantity string) error {
		_, err := runCreateUsage(t.Context(), c, CreateUsageInput{AccountID: account, Records: []UsageRecord{
			{UsageID: "good", Subscription: metered.Number, Charge: "C-00000002", Quantity: "1", Start: time.Now()}, {UsageID: "u", Subscription: sub, Charge: charge, Quantity: quantity, Start: time.Now()},
		}})
		return err
	}
	line := []InvoiceLine{{Name: "x", Amount: "10.10"}, {Name: "y", Amount: "-0.1"}}
	invoice := func(total string, lines []InvoiceLine) error {
		_, err := runCreateInvoice(t.Context(), c, CreateInvoiceInput{AccountID: a.ID, Number: "I-1", Date: "2026-01-01", Lines: lines, ExpectedTotal: total})
		return err
	}
	_, noCharge := runCreateCreditMemo(t.Context(), c, CreateCreditMemoInput{ReferenceID: "r", AccountID: a.ID, Amount: "1"})
	_, nothing := runCreateCreditMemo(t.Context(), c, CreateCreditMemoInput{ReferenceID: "r", AccountID: a.ID, Amount: "0"})
	_, badField := runCreateAccount(t.Context(), c, CreateAccountInput{AccountNumber: "x", Name: "x", Currency: "USD", CustomFields: map[string]string{"name": "y"}})
	_, noChange := runUpdateAccount(t.Context(), c, UpdateAccountInput{AccountID: a.ID})
	for want, err := range map[string]error{
		"records[0].subscription": record(b.ID, metered.Number, "C-00000002", "1"), "quantity": record(a.ID, metered.Number, "C-00000003", "-1"), "charge": record(a.ID, metered.Number, "", "1"),
		"expected_total": invoice("10.01", line), "lines[0].amount": invoice("", []InvoiceLine{{Name: "x", Amount: "ten"}}), "charge_id": noCharge, "amount": nothing, "custom_fields": badField, "name": noChange,
	} {
		if fieldOf(err) != want {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := record(a.ID, number, "", "1"); fieldOf(err) != "charge" { // it has none for usage
		t.Error(err)
	}
	if len(s.Usage())+len(s.Memos())+len(s.Invoices()) != 0 || len(s.Accounts()) != 2 {
		t.Error("something was written")
	}
	if err := invoice("10.00", line); err != nil || s.Invoices()[0].Amount != "10.00" {
		t.Errorf("%+v, %v", s.Invoices(), err)
	}
}

// TestTakenNumbers: what is there under a number that we would give is another's, unless it says otherwise.
func TestTakenNumbers(t *testing.T) {
	t.Parallel()
	s, c, _ := world(t)
	a, err := s.CreateAccount(map[string]any{"accountNumber": "acme", "crmId": "crm-1"})
	if err != nil {
		t.Fatal(err)
	}
	in := CreateAccountInput{AccountNumber: "acme", Name: "Acme", Currency: "USD"}
	if _, err := runCreateAccount(t.Context(), c, in); connectors.KindOf(err) != connectors.Conflict {
		t.Errorf("another's account: %v", err)
	}
	in.CrmID = "crm-1"
	other, _ := connect(t, s)
	if out, err := runCreateAccount(t.Context(), other, in); err != nil || out.Created || out.AccountID != a.ID {
		t.Errorf("the same account: %+v, %v", out, err)
	}
	bill := CreateInvoiceInput{AccountID: a.ID, Number: "I-1", Date: "2026-01-01", Lines: []InvoiceLine{{Name: "x", Amount: "1"}}}
	if _, err := runCreateInvoice(t.Context(), c, bill); err != nil {
		t.Fatal(err)
	}
	if _, err := runCreateInvoice(t.Context(), other, bill); connectors.KindOf(err) != connectors.Conflict || len(s.Invoices()) != 1 {
		t.Errorf("another's invoice: %v", err)
	}
}

// TestCharges: what each kind costs at its quantity, and what is Zuora's own word.
func TestCharges(t *testing.T) {
	t.Parallel()
	const tiers = `[{"tier":1,"startingUnit":0,"endingUnit":10,"price":5,"priceFormat":"Per Unit"},{"tier":2,"startingUnit":11,"endingUnit":"20","price":"30.5","priceFormat":"flat fee"},{"tier":3,"startingUnit":21,"endingUnit":null,"price":2,"priceFormat":"PerUnit"}]`
	for body, want := range map[string]string{
		`{"type":"Recurring","model":"FlatFee","price":49.90,"billingPeriod":"Month"}`:                                         "RECURRING FLAT_FEE MONTHLY 49.90",
		`{"type":"OneTime","model":"Flat Fee Pricing","price":"9","billingPeriod":null}`:                                       "ONE_TIME FLAT_FEE  9",
		`{"type":"recurring","model":"PerUnit","price":0.1,"quantity":3,"billingPeriod":"Semi_Annual"}`:                        "RECURRING PER_UNIT HALF_YEARLY 0.3",
		`{"type":"Recurring","model":"Tiered","quantity":25,"billingPeriod":"Annual","tiers":` + tiers + `}`:                   "RECURRING TIERED ANNUALLY 90.5",
		`{"type":"Recurring","model":"Tiered","quantity":4,"billingPeriod":"Quarter","tiers":` + tiers + `}`:                   "RECURRING TIERED QUARTERLY 20",
		`{"type":"Recurring","model":"Volume","quantity":20,"billingPeriod":"Week","tiers":` + tiers + `}`:                     "RECURRING VOLUME WEEKLY 30.5",
		`{"type":"Recurring","model":"Volume","quantity":30,"billingPeriod":"Month","tiers":` + tiers + `}`:                    "RECURRING VOLUME MONTHLY 60",
		`{"type":"Usage","model":"PerUnit","price":1,"quantity":null,"billingPeriod":"Month"}`:                                 "USAGE PER_UNIT MONTHLY 0",
		`{"type":"Usage","model":"Overage","price":1,"billingPeriod":"Month"}`:                                                 "USAGE Overage MONTHLY 0",
		`{"type":"Recurring","model":"DiscountPercentage","billingPeriod":"Three_Years"}`:                                      "RECURRING DiscountPercentage Three_Years 0",
		`{"type":"Recurring","model":"FlatFee","price":5,"billingPeriod":"Annual","listPriceBase":"Per_Month"}`:                "RECURRING FLAT_FEE priced Per_Month ANNUALLY 0",
		`{"type":"Recurring","model":"FlatFee","price":5,"billingPeriod":"Annual","listPriceBase":"Per_Billing_Period"}`:       "RECURRING FLAT_FEE ANNUALLY 5",
		`{"type":"Recurring","model":"FlatFee","price":5,"billingPeriod":"Specific_Months","listPriceBase":"Per_Month","x":1}`: "RECURRING FLAT_FEE priced Per_Month Specific_Months 0",
	} {
		var x charge
		if err := json.Unmarshal([]byte(body), &x); err != nil {
			t.Fatal(err)
		}
		p := x.plain("Plan")
		if got := strings.Join([]string{p.Type, p.Model, p.Interval, p.Amount}, " "); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}
