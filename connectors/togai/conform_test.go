package togai

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/togai/togaisim"
)

func TestConforms(t *testing.T) {
	t.Parallel()
	conntest.Suite[*togaisim.Sim]{
		App: Connector(),
		World: func(t *testing.T, o conntest.Options) (*togaisim.Sim, conntest.Site) {
			opts := []togaisim.Option{togaisim.WithBackoff()}
			if o.EmptyLastPage {
				opts = append(opts, togaisim.WithExtraPage())
			}
			s := togaisim.New(t, opts...)
			return s, conntest.Site{URL: s.URL, Credentials: form(s.Token())}
		},
		Hook: func(_ *testing.T, s *togaisim.Sim, url string) []string {
			s.Target(url, "")
			return nil
		},
		Actions:  tried(),
		Triggers: happening(),
	}.Run(t)
}

type (
	action = conntest.Action[*togaisim.Sim]
	choice = conntest.Choice[*togaisim.Sim]
	before = func(*testing.T, *togaisim.Sim, connectors.Conn) map[string]string
)

// tried says of each action what must be there.
func tried() map[string]action {
	acme := before(func(t *testing.T, s *togaisim.Sim, _ connectors.Conn) map[string]string {
		accountOf(t, s, "acme")
		return nil
	})
	plan := func(cards bool, finalized bool) before {
		return func(t *testing.T, s *togaisim.Sim, c connectors.Conn) map[string]string {
			accountOf(t, s, "acme")
			in := CreatePricePlanInput{Name: "There", Currencies: []string{"USD"}, Finalize: finalized}
			if cards {
				in.RateCards = []RateCardInput{sampleRateCard}
			}
			out, err := runCreatePricePlan(t.Context(), c, in)
			if err != nil {
				t.Fatal(err)
			}
			return map[string]string{samplePlan.ID: out.PricePlanID}
		}
	}
	invoice := before(func(t *testing.T, s *togaisim.Sim, _ connectors.Conn) map[string]string {
		return map[string]string{sampleInvoice.ID: invoiceFor(t, s, "49.00", togaisim.NewInvoice{})}
	})
	customers := choice{Page: pageSize, Search: "acme 7", Many: func(t *testing.T, s *togaisim.Sim, _ connectors.Conn, n int) {
		for i := range n {
			if _, err := s.CreateAccount(map[string]any{"id": fmt.Sprint("a", i), "name": fmt.Sprint("Acme ", i)}); err != nil {
				t.Fatal(err)
			}
		}
	}}
	plans := choice{Page: pageSize, Search: "gold 7", Many: func(t *testing.T, _ *togaisim.Sim, c connectors.Conn, n int) {
		for i := range n {
			planOf(t, c, fmt.Sprint("Gold ", i))
		}
	}}
	invoices := choice{Page: ledgerPage, Search: "-0007", Many: func(t *testing.T, s *togaisim.Sim, _ connectors.Conn, n int) {
		for range n {
			invoiceFor(t, s, "10.00", togaisim.NewInvoice{})
		}
	}}
	billables := choice{Page: pageSize, Search: "calls 7", Many: func(t *testing.T, s *togaisim.Sim, c connectors.Conn, n int) {
		for i := range n / 2 {
			made(t, c, "/addons", map[string]any{"name": fmt.Sprint("Fee ", i), "type": "FIXED_FEE"})
		}
		for i := range n - n/2 {
			s.UsageMeter(fmt.Sprint("Calls ", i))
		}
	}}
	of := func(field string, c choice) map[string]choice { return map[string]choice{field: c} }
	lists := func(page int, in any, make func(t *testing.T, s *togaisim.Sim, c connectors.Conn, i int)) action {
		return action{Before: acme, Page: page, Many: func(t *testing.T, s *togaisim.Sim, c connectors.Conn, n int) any {
			for i := range n {
				make(t, s, c, i)
			}
			return in
		}}
	}
	with := func(a action, options map[string]choice) action {
		a.Options = options
		return a
	}
	each := func(t *testing.T, s *togaisim.Sim, _ connectors.Conn, i int) { accountOf(t, s, fmt.Sprint("a", i)) }
	return map[string]action{
		"customer.create":     {},
		"customer.get":        {Before: acme, Options: of("customer_id", customers)},
		"customer.list":       lists(pageSize, ListCustomersInput{Limit: 1000}, each),
		"account.create":      {Before: acme, Options: of("customer_id", customers)},
		"account.get":         {Before: acme, Options: of("account_id", customers)},
		"account.list":        with(lists(pageSize, ListAccountsInput{Limit: 1000}, each), of("customer_id", customers)),
		"setting.get":         {Before: acme},
		"setting.set":         {Before: acme},
		"addon.create":        {},
		"price_plan.create":   {Options: of("rate_cards.billable_id", billables)},
		"rate_card.set":       {Before: plan(false, false), Options: map[string]choice{"price_plan_id": plans, "rate_cards.billable_id": billables}},
		"price_plan.finalize": {Before: plan(true, false), Options: of("price_plan_id", plans)},
		"price_plan.get":      {Before: plan(true, true), Options: of("price_plan_id", plans)},
		"price_plan.list": lists(pageSize, ListPricePlansInput{Limit: 1000}, func(t *testing.T, _ *togaisim.Sim, c connectors.Conn, i int) {
			planOf(t, c, fmt.Sprint("Gold ", i))
		}),
		"price_plan.attach": {Before: plan(true, true), Options: map[string]choice{"account_id": customers, "price_plan_id": plans}},
		"invoice.get":       {Before: invoice, Options: of("invoice_id", invoices)},
		"invoice.get_usage": {Before: invoice, Options: of("invoice_id", invoices)},
		"invoice.list": with(lists(ledgerPage, ListInvoicesInput{Limit: 1000}, func(t *testing.T, s *togaisim.Sim, _ connectors.Conn, _ int) {
			invoiceFor(t, s, "10.00", togaisim.NewInvoice{})
		}), of("account_id", customers)),
		"payment.record": {Before: invoice, Options: map[string]choice{"invoice_id": invoices, "account_id": customers}},
		"payment.list": with(lists(ledgerPage, ListPaymentsInput{Limit: 1000}, func(t *testing.T, s *togaisim.Sim, c connectors.Conn, i int) {
			payFor(t, c, fmt.Sprint("pi_", i), invoiceFor(t, s, "10.00", togaisim.NewInvoice{}))
		}), of("account_id", customers)),
		"wallet.credit": {Before: acme, Options: of("account_id", customers)},
		"credit.grant":  {Before: acme, Options: of("account_id", customers)},
		"credit.list": with(lists(ledgerPage, ListCreditsInput{Limit: 1000}, func(t *testing.T, s *togaisim.Sim, c connectors.Conn, i int) {
			creditFor(t, s, c, i)
		}), of("account_id", customers)),
		"event.ingest":       {Before: acme, Options: of("account_id", customers)},
		"event.ingest_batch": {Before: acme, Options: of("events.account_id", customers)},
	}
}

// happening says of each trigger how it comes about.
func happening() map[string]conntest.Trigger[*togaisim.Sim] {
	type trigger = conntest.Trigger[*togaisim.Sim]
	invoiced := func(in togaisim.NewInvoice) func(*testing.T, *togaisim.Sim, connectors.Conn) string {
		return func(t *testing.T, s *togaisim.Sim, _ connectors.Conn) string { return invoiceFor(t, s, "10.50", in) }
	}
	added := func(kind string, fields func(t *testing.T, s *togaisim.Sim) map[string]any) func(*testing.T, *togaisim.Sim, connectors.Conn) string {
		return func(t *testing.T, s *togaisim.Sim, _ connectors.Conn) string { return s.Add(kind, fields(t, s)).ID }
	}
	another := func(t *testing.T, s *togaisim.Sim) string {
		id := fmt.Sprint("account-", len(s.Accounts()))
		accountOf(t, s, id)
		return id
	}
	return map[string]trigger{
		"account.created": {Page: pageSize, Happen: func(t *testing.T, s *togaisim.Sim, _ connectors.Conn) string { return another(t, s) }},
		"price_plan.created": {Page: pageSize, Happen: func(t *testing.T, s *togaisim.Sim, c connectors.Conn) string {
			return planOf(t, c, fmt.Sprint("Gold ", len(s.PricePlans())))
		}},
		"price_plan.attached": {Page: accountsPage, Happen: func(t *testing.T, s *togaisim.Sim, c connectors.Conn) string {
			if len(s.PricePlans()) == 0 {
				if _, err := runCreatePricePlan(t.Context(), c, CreatePricePlanInput{Name: "There", Currencies: []string{"USD"}, RateCards: []RateCardInput{sampleRateCard}, Finalize: true}); err != nil {
					t.Fatal(err)
				}
			}
			plan := s.PricePlans()[0].ID
			if _, err := runAttachPricePlan(t.Context(), c, AttachPricePlanInput{AccountID: another(t, s), PricePlanID: plan}); err != nil {
				t.Fatal(err)
			}
			return plan
		}},
		"invoice.generated": {Page: ledgerPage, Happen: invoiced(togaisim.NewInvoice{})},
		"invoice.updated": {Page: ledgerPage, Happen: func(t *testing.T, s *togaisim.Sim, c connectors.Conn) string {
			id := invoiceFor(t, s, "10.00", togaisim.NewInvoice{})
			payFor(t, c, id, id)
			return id
		}},
		"order.generated":       {Page: ledgerPage, Happen: invoiced(togaisim.NewInvoice{Class: "ORDER", Type: "AD_HOC"})},
		"pricing_cycle.started": {Page: ledgerPage, Happen: invoiced(togaisim.NewInvoice{Status: "DRAFT"})},
		"pricing_cycle.ended": {Page: ledgerPage, Happen: func(t *testing.T, s *togaisim.Sim, _ connectors.Conn) string {
			id := invoiceFor(t, s, "10.50", togaisim.NewInvoice{Status: "DRAFT"})
			if err := s.First().Finish(id); err != nil {
				t.Fatal(err)
			}
			return id
		}},
		"credit.granted": {Page: ledgerPage, Happen: func(t *testing.T, s *togaisim.Sim, c connectors.Conn) string {
			return creditFor(t, s, c, len(s.Credits()))
		}},
		"purchase.created": {Page: accountsPage, Happen: added("purchase", func(t *testing.T, s *togaisim.Sim) map[string]any {
			return map[string]any{"accountId": another(t, s), "type": "PREPAID", "price": 20.25}
		})},
		"proposal.created": {Page: accountsPage, Happen: added("proposal", func(t *testing.T, s *togaisim.Sim) map[string]any {
			return map[string]any{"accountId": another(t, s), "type": "ASSOCIATION", "paymentMode": "PREPAID"}
		})},
		"incident.generated": {Happen: added("incident", func(*testing.T, *togaisim.Sim) map[string]any { // listed in one page, whatever there is
			return map[string]any{"alertId": "alert.1", "alertTemplateId": "wallet_low_balance"}
		})},
		"report.generated": {Page: pageSize, Happen: added("report", func(*testing.T, *togaisim.Sim) map[string]any { return map[string]any{"name": "Revenue"} })},
	}
}

// accountOf makes an account, with a customer of the same id, unless it is there.
func accountOf(t *testing.T, s *togaisim.Sim, id string) {
	t.Helper()
	for _, a := range s.Accounts() {
		if a.ID == id {
			return
		}
	}
	if _, err := s.CreateAccount(map[string]any{"id": id, "name": "Account", "invoiceCurrency": "USD", "netTermDays": 14}); err != nil {
		t.Fatal(err)
	}
}

// invoiceFor makes another invoice of the account acme.
func invoiceFor(t *testing.T, s *togaisim.Sim, amount string, in togaisim.NewInvoice) string {
	t.Helper()
	accountOf(t, s, "acme")
	in.AccountID, in.Lines = "acme", []togaisim.Line{fee(amount)}
	inv, err := s.Invoice(in)
	if err != nil {
		t.Fatal(err)
	}
	return inv.ID
}

// made makes something by hand, and answers its id.
func made(t *testing.T, c connectors.Conn, path string, body any) string {
	t.Helper()
	var out struct {
		ID string `json:"id"`
	}
	other, _ := conntest.OpenJournal(t, c.App, c.URL, c.Credentials)
	_, err := other.Effect(t.Context(), connectors.Append("by hand", path), nil, func(ctx context.Context, _ string) (connectors.Ref, error) {
		_, err := call(ctx, other, http.MethodPost, path, body, &out)
		return connectors.Ref{}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.ID
}

func planOf(t *testing.T, c connectors.Conn, name string) string {
	t.Helper()
	return made(t, c, "/v2/price_plans", CreatePricePlanInput{Name: name, Currencies: []string{"USD"}}.wire("tl_none"))
}

func payFor(t *testing.T, c connectors.Conn, transaction, invoice string) {
	t.Helper()
	amount := number("9.00")
	made(t, c, "/payments", newPayment{AccountID: "acme", Currency: "USD", TotalAmount: amount, Reference: PaymentSource{TransactionNumber: transaction}.reference(),
		Lines: []paymentLine{{"INVOICE", invoice, amount, 1}}})
}

func creditFor(t *testing.T, s *togaisim.Sim, c connectors.Conn, i int) string {
	t.Helper()
	accountOf(t, s, "acme")
	before := map[string]bool{}
	for _, x := range s.Credits() {
		before[x.ID] = true
	}
	made(t, c, "/credits", map[string]any{"creditRequests": []newCredit{{AccountID: "acme", Purpose: "Goodwill", EffectiveFrom: "2026-01-01", CreditAmount: "1.00", Priority: 1, IdempotencyKey: fmt.Sprint("key-", i)}}})
	for _, x := range s.Credits() {
		if !before[x.ID] && strings.HasPrefix(x.ID, "cred") {
			return x.ID
		}
	}
	t.Fatal("no credit was made")
	return ""
}
