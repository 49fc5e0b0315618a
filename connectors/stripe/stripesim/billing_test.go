package stripesim_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tieline/connectors/stripe/stripesim"
)

func form(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

// shop has a product, a monthly price, one to be paid once, and a metered one.
func (c caller) shop() (product, month, once, metered string) {
	c.t.Helper()
	product = c.must(200, "POST", "/products", form("id", "pp_1", "name", "Gold")).id()
	price := func(pairs ...string) string {
		return c.must(200, "POST", "/prices", form(append([]string{"product", product, "currency", "usd"}, pairs...)...)).id()
	}
	return product, price("unit_amount", "5000", "recurring[interval]", "month", "lookup_key", "base"), price("unit_amount_decimal", "10.50"),
		price("unit_amount", "1", "recurring[interval]", "month", "recurring[usage_type]", "metered")
}

// draft is an invoice of these amounts.
func (c caller) draft(customer string, amounts ...int) string {
	c.t.Helper()
	id := c.must(200, "POST", "/invoices", form("customer", customer, "collection_method", "send_invoice", "days_until_due", "30", "currency", "usd")).id()
	for _, n := range amounts {
		c.must(200, "POST", "/invoiceitems", form("customer", customer, "invoice", id, "amount", fmt.Sprint(n)))
	}
	return id
}

func (c caller) buyer() string {
	c.t.Helper()
	return c.must(200, "POST", "/customers", "email=b@x.test&name=Bea").id()
}

// types are the events so far, oldest first.
func (c caller) types(a *stripesim.Account) (out []string) {
	for _, e := range a.All("event") {
		out = append(out, e["type"].(string))
	}
	return out
}

// page is a buyer's visit.
func (c caller) page(method, address string) *http.Response {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, address, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	res.Body.Close()
	return res
}

// A buyer needs no more than the address that the customer was given.
func TestPages(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	a := s.First()
	_, _, once, _ := c.shop()
	l := c.must(200, "POST", "/payment_links", form("line_items[0][price]", once, "line_items[0][quantity]", "1")).at("url").(string)
	inv := c.draft(c.buyer(), 500)
	c.must(200, "POST", "/invoices/"+inv+"/finalize", "")
	hosted := c.must(200, "GET", "/invoices/"+inv, "").at("hosted_invoice_url").(string)
	for _, x := range []struct {
		method, address string
		status          int
	}{
		{"GET", l, 200}, {"POST", l + "?client_reference_id=YWNtZQ&prefilled_email=b%2B1%40x.test", 200}, {"GET", hosted, 200}, {"POST", hosted, 200}, {"POST", hosted, 400}, {"GET", l + "x", 400},
	} {
		if res := c.page(x.method, x.address); res.StatusCode != x.status {
			t.Errorf("%s %s: %d, want %d", x.method, x.address, res.StatusCode, x.status)
		}
	}
	session := a.All("checkout.session")[0]
	if session["client_reference_id"] != "YWNtZQ" || session["customer_details"].(map[string]any)["email"] != "b+1@x.test" || a.All("invoice")[0]["status"] != "paid" {
		t.Errorf("%v", session)
	}
}

func TestBillingRefusals(t *testing.T) {
	t.Parallel()
	_, c := open(t)
	product, month, once, metered := c.shop()
	euro := c.must(200, "POST", "/prices", form("product", product, "currency", "eur", "unit_amount", "1")).id()
	year := c.must(200, "POST", "/prices", form("product", product, "currency", "usd", "unit_amount", "1", "recurring[interval]", "year")).id()
	cus := c.buyer()
	silent := c.must(200, "POST", "/customers", "").id()
	draft := c.draft(cus, 1000)
	openInvoice := c.draft(cus, 1000)
	c.must(200, "POST", "/invoices/"+openInvoice+"/finalize", "")
	paid := c.draft(cus, 1000)
	c.must(200, "POST", "/invoices/"+paid+"/finalize", "")
	c.must(200, "POST", "/invoices/"+paid+"/pay", "")
	empty := c.draft(cus)
	bill := []string{"customer", cus, "collection_method", "send_invoice"}
	item := func(pairs ...string) string {
		return form(append([]string{"customer", cus, "invoice", draft}, pairs...)...)
	}
	price := func(pairs ...string) string {
		return form(append([]string{"product", product, "currency", "usd"}, pairs...)...)
	}
	sell := func(ids ...string) string {
		var pairs []string
		for i, id := range ids {
			pairs = append(pairs, fmt.Sprintf("line_items[%d][price]", i), id, fmt.Sprintf("line_items[%d][quantity]", i), "1")
		}
		return form(pairs...)
	}
	for name, x := range map[string]struct {
		path, form  string
		code, param any
	}{
		"product twice":            {"/products", "id=pp_1&name=x", "resource_already_exists", "id"},
		"nameless product":         {"/products", "", "parameter_missing", "name"},
		"price of nothing":         {"/prices", price(), "parameter_missing", "unit_amount"},
		"price of no product":      {"/prices", "product=prod_x&currency=usd&unit_amount=1", "resource_missing", "product"},
		"price in no currency":     {"/prices", form("product", product, "currency", "dollar", "unit_amount", "1"), nil, "currency"},
		"lookup key twice":         {"/prices", price("unit_amount", "1", "lookup_key", "base"), nil, "lookup_key"},
		"13 decimals":              {"/prices", price("unit_amount_decimal", "0.1234567890123"), "parameter_invalid_decimal", "unit_amount_decimal"},
		"tiers once":               {"/prices", price("billing_scheme", "tiered", "tiers_mode", "volume", "tiers[0][up_to]", "inf", "tiers[0][unit_amount]", "1"), nil, "tiers"},
		"tiers without end":        {"/prices", price("billing_scheme", "tiered", "tiers_mode", "volume", "recurring[interval]", "month", "tiers[0][up_to]", "5", "tiers[0][unit_amount]", "1"), nil, "tiers[0][up_to]"},
		"unknown recurring":        {"/prices", price("unit_amount", "1", "recurring[colour]", "red"), "parameter_unknown", "recurring[colour]"},
		"link of nothing":          {"/payment_links", "", "parameter_missing", "line_items"},
		"link of a metered price":  {"/payment_links", sell(metered), nil, "line_items[0][quantity]"},
		"link of two currencies":   {"/payment_links", sell(month, euro), nil, "line_items[1][price]"},
		"link of two intervals":    {"/payment_links", sell(month, year), nil, "line_items[1][price]"},
		"link without quantity":    {"/payment_links", form("line_items[0][price]", month), "parameter_missing", "line_items[0][quantity]"},
		"trial of a single sale":   {"/payment_links", sell(once) + "&subscription_data[trial_period_days]=3", nil, "subscription_data"},
		"no due date":              {"/invoices", form(bill...), "parameter_missing", "days_until_due"},
		"due in the past":          {"/invoices", form(append(bill, "due_date", "1")...), nil, "due_date"},
		"due though charged":       {"/invoices", form("customer", cus, "days_until_due", "1"), nil, "due_date"},
		"no e-mail":                {"/invoices", form("customer", silent, "collection_method", "send_invoice", "days_until_due", "1"), nil, "customer"},
		"no customer":              {"/invoices", form("customer", "cus_x"), "resource_missing", "customer"},
		"second currency":          {"/invoices", form("customer", cus, "currency", "eur"), nil, "currency"},
		"line in another currency": {"/invoiceitems", item("amount", "1", "currency", "eur"), nil, "currency"},
		"line of no amount":        {"/invoiceitems", item("currency", "usd"), "parameter_missing", "amount"},
		"line of an open invoice":  {"/invoiceitems", form("customer", cus, "invoice", openInvoice, "amount", "1"), "invoice_not_editable", "invoice"},
		"line of a stranger":       {"/invoiceitems", form("customer", silent, "invoice", draft, "amount", "1"), nil, "invoice"},
		"half a period":            {"/invoiceitems", item("amount", "1", "period[start]", "1"), "parameter_missing", "period"},
		"change of an open one":    {"/invoices/" + openInvoice, "description=x", "invoice_not_editable", "description"},
		"finalized twice":          {"/invoices/" + openInvoice + "/finalize", "", nil, nil},
		"finalized empty":          {"/invoices/" + empty + "/finalize", "", "invoice_no_customer_line_items", nil},
		"paid twice":               {"/invoices/" + paid + "/pay", "", "invoice_already_paid", nil},
		"draft paid":               {"/invoices/" + draft + "/pay", "", nil, nil},
		"paid void":                {"/invoices/" + paid + "/void", "", nil, nil},
		"draft uncollectible":      {"/invoices/" + draft + "/mark_uncollectible", "", nil, nil},
		"credit of a draft":        {"/credit_notes", form("invoice", draft, "amount", "1"), nil, "invoice"},
		"credit of too much":       {"/credit_notes", form("invoice", openInvoice, "amount", "1001"), nil, "amount"},
		"credit that is split":     {"/credit_notes", form("invoice", openInvoice, "amount", "10", "refund_amount", "10"), nil, "credit_amount"},
		"credit badly split":       {"/credit_notes", form("invoice", paid, "amount", "10", "refund_amount", "9"), nil, "amount"},
		"credit of no line":        {"/credit_notes", form("invoice", openInvoice, "lines[0][type]", "invoice_line_item", "lines[0][invoice_line_item]", "il_x", "lines[0][amount]", "1"), "resource_missing", "lines[0][invoice_line_item]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := caller{t, c.url, c.key}.must(400, "POST", x.path, x.form)
			if a.at("error.code") != x.code || a.at("error.param") != x.param {
				t.Errorf("error %v, want code %v, param %v", a.body, x.code, x.param)
			}
		})
	}
}

func TestInvoiceLife(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	a, cus := s.First(), c.buyer()
	id := c.draft(cus, 1000, -200, 0)
	if got := c.must(200, "GET", "/invoices/"+id, ""); got.at("total") != 800.0 || got.at("number") != nil || got.at("hosted_invoice_url") != nil || got.at("status") != "draft" {
		t.Errorf("draft %s", got.raw)
	}
	got := c.must(200, "POST", "/invoices/"+id+"/finalize", "")
	if got.at("status") != "open" || !strings.HasSuffix(got.at("number").(string), "-0001") || got.at("customer_email") != "b@x.test" || got.at("amount_due") != 800.0 {
		t.Errorf("open %s", got.raw)
	}
	c.must(200, "POST", "/invoices/"+id+"/send", "")
	c.must(200, "POST", "/invoices/"+id+"/send", "")
	if m := a.Mails(id); len(m) != 2 || m[0] != "b@x.test" {
		t.Errorf("mailed to %v", m)
	}
	a.Decline(1)
	if no := c.must(402, "POST", "/invoices/"+id+"/pay", ""); no.at("error.code") != "card_declined" {
		t.Error(no.raw)
	}
	c.must(200, "POST", "/credit_notes", form("invoice", id, "amount", "100"))
	if err := a.PayHosted(id); err != nil {
		t.Fatal(err)
	}
	if got := c.must(200, "GET", "/invoices/"+id, ""); got.at("status") != "paid" || got.at("amount_paid") != 700.0 || got.at("amount_remaining") != 0.0 || got.at("paid_out_of_band") != false {
		t.Errorf("paid %s", got.raw)
	}
	want := "customer.created invoice.created customer.updated invoiceitem.created invoice.updated invoiceitem.created invoice.updated invoiceitem.created invoice.updated " +
		"invoice.finalized invoice.sent invoice.sent invoice.payment_failed credit_note.created invoice.updated invoice.paid invoice.payment_succeeded invoice.updated"
	if got := strings.Join(c.types(a), " "); got != want {
		t.Errorf("events %s", got)
	}
	for _, e := range a.All("event") {
		if r := e["request"].(map[string]any); e["type"] == "invoice.paid" && (r["id"] != nil || r["idempotency_key"] != nil) {
			t.Errorf("a buyer's payment names a call: %v", r)
		}
	}
	// Elsewhere there is no payment that succeeded.
	other := c.draft(cus, 900)
	c.must(200, "POST", "/invoices/"+other+"/finalize", "")
	before := len(c.types(a))
	c.must(200, "POST", "/invoices/"+other+"/pay", "paid_out_of_band=true", "k1")
	if got := strings.Join(c.types(a)[before:], " "); got != "invoice.paid invoice.updated" {
		t.Errorf("events %s", got)
	}
	gone := c.draft(cus, 5)
	c.must(200, "DELETE", "/invoices/"+gone, "")
	c.must(404, "GET", "/invoices/"+gone, "")
}

func TestInvoiceBalances(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		balance, total int
		status         string
		due, ending    float64
	}{
		"none":                 {0, 1000, "open", 1000, 0},
		"a part":               {-300, 1000, "open", 700, 0},
		"all":                  {-1500, 1000, "paid", 0, -500},
		"debt":                 {200, 1000, "open", 1200, 0},
		"a credit":             {0, -1000, "paid", 0, -1000},
		"nothing":              {0, 0, "paid", 0, 0},
		"too little":           {0, 20, "paid", 0, 20},
		"enough of too little": {40, 20, "open", 60, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, c := open(t)
			cus := c.buyer()
			c.must(200, "POST", "/customers/"+cus, fmt.Sprint("balance=", x.balance))
			id := c.draft(cus, x.total)
			got := c.must(200, "POST", "/invoices/"+id+"/finalize", "")
			if got.at("status") != x.status || got.at("amount_due") != x.due || got.at("ending_balance") != x.ending {
				t.Errorf("%s", got.raw)
			}
			if b := c.must(200, "GET", "/customers/"+cus, ""); b.at("balance") != x.ending {
				t.Errorf("balance %v, want %v", b.at("balance"), x.ending)
			}
		})
	}
}

func TestLinkIsBought(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	a := s.First()
	_, month, once, _ := c.shop()
	l := c.must(200, "POST", "/payment_links", form("line_items[0][price]", month, "line_items[0][quantity]", "2", "line_items[1][price]", once, "line_items[1][quantity]", "1",
		"metadata[plan]", "p", "subscription_data[metadata][plan]", "p", "restrictions[completed_sessions][limit]", "1"))
	before := len(c.types(a))
	session := a.Complete(stripesim.Checkout{Link: l.id(), Email: "b@x.test"})
	if session["mode"] != "subscription" || session["amount_total"] != int64(10000) || session["metadata"].(map[string]any)["plan"] != "p" || session["payment_link"] != l.id() {
		t.Errorf("%v", session)
	}
	want := "customer.created invoice.created invoice.finalized customer.subscription.created invoice.paid invoice.payment_succeeded invoice.updated payment_intent.succeeded payment_link.updated checkout.session.completed"
	if got := strings.Join(c.types(a)[before:], " "); got != want {
		t.Errorf("events %s", got)
	}
	inv := c.must(200, "GET", "/invoices/"+session["invoice"].(string), "")
	if inv.at("status") != "paid" || inv.at("subscription") != session["subscription"] || fmt.Sprint(inv.at("metadata")) != "map[]" || inv.at("amount_paid") != 10000.0 {
		t.Errorf("%s", inv.raw)
	}
	if got := c.must(200, "GET", "/payment_links/"+l.id(), ""); got.at("active") != false || got.at("line_items") != nil {
		t.Errorf("%s", got.raw)
	}
	if again := a.Complete(stripesim.Checkout{Link: l.id()}); again != nil {
		t.Errorf("a used-up link sells: %v", again)
	}
	if res := c.page("POST", l.at("url").(string)); res.StatusCode != 400 {
		t.Errorf("its page: %d", res.StatusCode)
	}
	single := c.must(200, "POST", "/payment_links", form("line_items[0][price]", month, "line_items[0][quantity]", "1")).id()
	if s := a.Complete(stripesim.Checkout{Link: single, Delayed: true}); s["payment_status"] != "unpaid" || s["invoice"] != nil {
		t.Errorf("%v", s)
	}
}
