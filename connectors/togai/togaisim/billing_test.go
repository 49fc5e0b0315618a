package togaisim_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tieline/connectors/sim"
	"tieline/connectors/togai/togaisim"
)

const (
	plan = `{"name":"Basic","type":"BILLING","supportedCurrencies":["USD"],"pricingCycleConfig":{"interval":"MONTHLY","gracePeriod":1}}`
	card = `{"operations":[{"actionType":"CREATE","rateCardName":"fee","rateCard":{"billableId":"addon.1","type":"FIXED_FEE","invoiceTiming":"IN_ADVANCE",
		"rateCardDetails":{"fixedFeeRateCard":{"id":"addon.1","rateValues":[{"currency":"USD","rate":49.00}],"enableProration":false}}}}]}`
)

func day(n int) string { return time.Now().UTC().AddDate(0, 0, n).Format(time.DateOnly) }

func edit(plan string, from, until int) string {
	return fmt.Sprintf(`{"edits":[{"mode":"ASSOCIATE","effectiveFrom":"%s","effectiveUntil":"%s","associationConfig":{"pricePlanId":"%s"}}]}`, day(from), day(until), plan)
}

func TestPlanToSchedule(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	c.must(201, "POST", "/customers", acme)
	id := c.must(200, "POST", "/v2/price_plans", plan)["id"].(string)
	c.must(400, "POST", "/v2/price_plans/"+id+"/finalize", `{}`) // it charges for nothing
	c.must(200, "POST", "/v2/price_plans/"+id+"/rate_cards", card)
	c.must(400, "POST", "/v2/price_plans/"+id+"/rate_cards", card)
	c.must(400, "POST", "/v2/accounts/acme/edit_schedules", edit(id, 1, 30)) // a draft
	c.must(200, "POST", "/v2/price_plans/"+id+"/finalize", `{}`)
	c.must(400, "POST", "/v2/price_plans/"+id+"/finalize", `{}`)
	c.must(200, "POST", "/v2/price_plans/"+id+"/rate_cards", strings.Replace(card, "CREATE", "UPDATE", 1))
	if got := c.must(200, "GET", "/v2/price_plans/"+id+"?version=LATEST", ""); got["version"] != 2.0 || got["status"] != "DRAFT" {
		t.Errorf("an edit of an active plan leaves %v", got)
	}
	c.must(200, "POST", "/v2/price_plans/"+id+"/finalize", `{}`)

	c.must(400, "POST", "/v2/accounts/acme/edit_schedules", edit(id, -1, 30))
	c.must(200, "POST", "/v2/accounts/acme/edit_schedules", edit(id, 1, 30))
	count := func(mode string) int {
		return len(c.must(200, "GET", "/v2/accounts/acme/schedules?mode="+mode, "")["data"].([]any))
	}
	if count("ACTIVE") != 0 || count("DRAFT") != 1 {
		t.Errorf("%d live, %d drafts before they are published", count("ACTIVE"), count("DRAFT"))
	}
	c.must(200, "POST", "/v2/accounts/acme/finalize_schedules", `{}`)
	c.must(400, "POST", "/v2/accounts/acme/finalize_schedules", `{}`)
	c.must(200, "POST", "/v2/accounts/acme/edit_schedules", edit(id, 10, 12)) // in the middle of what there is
	c.must(200, "DELETE", "/v2/accounts/acme/discard_schedules", "")
	c.must(200, "POST", "/v2/accounts/acme/edit_schedules", edit(id, 10, 12))
	c.must(200, "POST", "/v2/accounts/acme/finalize_schedules", `{}`)
	var days []string
	for _, x := range s.Schedules() {
		days = append(days, fmt.Sprint(int(x.EndDate.Sub(x.StartDate).Hours()/24)))
	}
	if len(days) != 3 || !strings.Contains(strings.Join(days, " "), "2") || !strings.Contains(strings.Join(days, " "), "18") || !strings.Contains(strings.Join(days, " "), "9") {
		t.Errorf("schedules of %v days, want one at a time: 9, 2 and 18", days)
	}
}

func TestInvoiceIsPaid(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	c.must(201, "POST", "/customers", acme)
	line := togaisim.Line{Type: "CUSTOM_AMOUNT", Value: togaisim.NewAmount("49.10")}
	inv, err := s.Invoice(togaisim.NewInvoice{AccountID: "acme", Status: "DRAFT", Lines: []togaisim.Line{line}})
	if err != nil {
		t.Fatal(err)
	}
	pay := func(amount string) string {
		return `{"accountId":"acme","currency":"USD","totalAmount":` + amount + `,"externalPaymentReference":{"sourceName":"Stripe","sourceType":"GATEWAY","transactionNumber":"pi_1"},
			"lineItemRecords":[{"type":"INVOICE","order":1,"togaiId":"` + inv.ID + `","amount":` + amount + `}]}`
	}
	c.must(400, "POST", "/payments", pay("1")) // a draft
	if err := s.First().Finish(inv.ID); err != nil {
		t.Fatal(err)
	}
	if s.First().Finish(inv.ID) == nil {
		t.Error("a cycle ends twice")
	}
	for _, x := range []struct{ amount, status, paid string }{{"9.10", "PARTIALLY_PAID", "9.10"}, {"40", "PAID", "49.10"}} {
		made := c.must(201, "POST", "/payments", pay(x.amount))
		if made["externalPaymentReferences"] == nil || made["externalPaymentReference"] != nil {
			t.Errorf("payment %v", made)
		}
		if got := s.Invoices()[0]; got.Status != x.status || got.PaidAmount.String() != x.paid {
			t.Errorf("after %s it is %s, %s", x.amount, got.Status, got.PaidAmount)
		}
	}
	c.must(400, "POST", "/payments", pay("1"))
	c.must(400, "PATCH", "/invoices/"+inv.ID, `{"status":"DUE"}`)
	got := c.must(200, "GET", "/invoices?status=PAID", "")
	if rows := got["data"].([]any); len(rows) != 1 || rows[0].(map[string]any)["revenueInfo"] != nil || got["context"] != nil {
		t.Errorf("list %v", got)
	}
	if one := c.must(200, "GET", "/invoices/"+inv.ID, ""); one["revenueInfo"] == nil || one["totalAmount"] != 49.10 {
		t.Errorf("invoice %v", one)
	}
	zero, err := s.Invoice(togaisim.NewInvoice{AccountID: "acme"})
	if err != nil || zero.Status != "PAID" {
		t.Errorf("over nothing: %s, %v", zero.Status, err)
	}
	c.must(400, "GET", "/invoices?pageSize=51", "")
}

func TestBillingRefusals(t *testing.T) {
	t.Parallel()
	_, c := open(t)
	c.must(201, "POST", "/customers", acme)
	usage := func(id, value string) string {
		return `{"event":{"id":"` + id + `","schemaName":"calls","timestamp":"2026-01-01T00:00:00Z","accountId":"acme","attributes":[{"name":"n","value":` + value + `}],"dimensions":{}}}`
	}
	for name, x := range map[string]struct {
		method, path, body string
		status             int
	}{
		"a plan without currencies":       {"POST", "/v2/price_plans", `{"name":"x","type":"BILLING"}`, 400},
		"a cycle without a grace period":  {"POST", "/v2/price_plans", `{"name":"x","type":"BILLING","supportedCurrencies":["USD"],"pricingCycleConfig":{"interval":"MONTHLY"}}`, 400},
		"a plan that is not there":        {"GET", "/v2/price_plans/pp.1", "", 404},
		"a version that is none":          {"GET", "/v2/price_plans/pp.1?version=best", "", 400},
		"schedules of no mode":            {"GET", "/v2/accounts/acme/schedules", "", 400},
		"a payment without a reference":   {"POST", "/payments", `{"accountId":"acme","currency":"USD","totalAmount":1,"lineItemRecords":[{"type":"WALLET_CREDIT","order":1}]}`, 400},
		"an amount that is a text":        {"POST", "/payments", `{"accountId":"acme","currency":"USD","totalAmount":"1"}`, 400},
		"a credit of no priority":         {"POST", "/credits", `{"creditRequests":[{"accountId":"acme","purpose":"x","effectiveFrom":"2026-01-01"}]}`, 400},
		"a credit of nobody":              {"POST", "/credits", `{"creditRequests":[{"accountId":"nobody","purpose":"x","effectiveFrom":"2026-01-01","priority":1}]}`, 404},
		"a value that is no decimal text": {"POST", "/ingest", usage("e", `"many"`), 400},
		"a value that is a number":        {"POST", "/ingest", usage("e", "1"), 400},
		"a batch of none":                 {"POST", "/ingestBatch", `{"events":[]}`, 422},
		"a purchase that is not there":    {"GET", "/purchases/p", "", 404},
		"purchases of nobody":             {"GET", "/accounts/nobody/purchases", "", 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client{t, c.url, c.token}.must(x.status, x.method, x.path, x.body)
		})
	}
}

func TestUsageCountsOnce(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	c.must(201, "POST", "/customers", acme)
	one := `{"id":"e1","schemaName":"calls","timestamp":"2026-01-01T00:00:00Z","accountId":"acme","attributes":[],"dimensions":{}}`
	c.must(202, "POST", "/ingest", `{"event":`+one+`}`)
	c.must(202, "POST", "/ingestBatch", `{"events":[`+one+`,`+strings.Replace(one, "e1", "e2", 1)+`]}`)
	if e := s.Events(); len(e) != 2 || e[0].Sent != 2 || e[1].Sent != 1 {
		t.Errorf("%+v", e)
	}
	if got := c.must(200, "GET", "/events?account_id=acme", "")["events"].([]any); len(got) != 2 {
		t.Errorf("%v", got)
	}
	if got := c.must(200, "GET", "/events/e1", "")["events"].([]any); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if got := c.must(200, "GET", "/events/e3", "")["events"].([]any); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestRecordsByControl(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	c.must(201, "POST", "/customers", acme)
	for path, x := range map[string]struct {
		body   string
		status int
	}{
		"/_sim/records":         {`{"kind":"purchase","fields":{"accountId":"acme","price":20.25}}`, 200},
		"/_sim/records?no":      {`{"kind":"weather"}`, 400},
		"/_sim/invoices":        {`{"invoice":{"accountId":"acme","status":"DRAFT","lines":[{"description":"x","type":"CUSTOM_AMOUNT","value":1.5}]}}`, 200},
		"/_sim/invoices?no":     {`{"invoice":{"accountId":"nobody"}}`, 400},
		"/_sim/invoices/finish": {`{"id":"inv.gone"}`, 400},
	} {
		res, err := http.Post(s.URL+path, "application/json", strings.NewReader(x.body))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != x.status {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	rows := c.must(200, "GET", "/accounts/acme/purchases", "")["data"].([]any)
	if len(rows) != 1 || rows[0].(map[string]any)["accountId"] != nil {
		t.Errorf("the list does not say whose they are: %v", rows)
	}
	if got := s.Invoices(); len(got) != 1 || got[0].TotalAmount.String() != "1.5" {
		t.Errorf("%+v", got)
	}
}

// What was done although the answer says otherwise is there: a payment twice, a credit of one key once.
func TestBillingCommitFaults(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	c.must(201, "POST", "/customers", acme)
	wallet := `{"accountId":"acme","currency":"USD","totalAmount":5,"externalPaymentReference":{"sourceName":"S","sourceType":"CASH","transactionNumber":"1"},"lineItemRecords":[{"type":"WALLET_CREDIT","order":1}]}`
	credit := `{"creditRequests":[{"accountId":"acme","purpose":"x","effectiveFrom":"2026-01-01","priority":1,"creditAmount":5,"idempotencyKey":"k"}]}`
	for path, body := range map[string]string{"/payments": wallet, "/credits": credit} {
		s.Fault(sim.Fault{Method: "POST", Path: path, Point: sim.AfterCommit})
		c.must(500, "POST", path, body)
		c.must(map[string]int{"/payments": 201, "/credits": 200}[path], "POST", path, body)
	}
	if len(s.Payments()) != 2 || len(s.Credits()) != 1 || s.Wallets()[0].Balance.String() != "10" {
		t.Errorf("%d payments, %d credits, %s", len(s.Payments()), len(s.Credits()), s.Wallets()[0].Balance)
	}
	if got := c.must(200, "GET", "/accounts/acme/wallet", ""); got["balance"] != 10.0 {
		t.Errorf("%v", got)
	}
}
