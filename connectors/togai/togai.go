// Package togai connects Togai organizations. https://github.com/zuora/togai-mintlify-docs
package togai

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"tieline/connectors"
)

// The fields of the form.
const (
	environment    = "environment"
	apiToken       = "api_token"
	organizationID = "organization_id"
)

const (
	production = "production"
	sandbox    = "sandbox"
)

// Connector describes Togai.
func Connector() connectors.Connector {
	return connectors.Connector{
		Key: "togai", Name: "Togai", Category: "billing",
		Description: "Customers, accounts, price plans, invoices, payments, credits and usage in Togai.",
		DocsURL:     "https://docs.togai.com",
		Auth: []connectors.Field{
			{Key: environment, Label: "Environment", Help: "Which of Togai's two systems the token belongs to.",
				Choices: []connectors.Choice{{Value: production, Label: "Production"}, {Value: sandbox, Label: "Sandbox"}}},
			{Key: apiToken, Label: "API token", Secret: true, Placeholder: "The token, as Togai showed it", Help: "In Togai's Admin Center under API Tokens. It is shown once."},
			{Key: organizationID, Label: "Organization id", Placeholder: "acme", Help: "What tells your Togai organization apart; Togai does not tell it to API tokens. Use the same for every connection of one organization."},
		},
		BaseURL: func(c connectors.Credentials) string {
			if c[environment] == sandbox {
				return "https://sandbox-api.togai.com"
			}
			return "https://api.togai.com"
		},
		Mode:      mode,
		Authorize: authorize,
		Identify:  identify,
		Account:   organizationID,
		Webhook: &connectors.Webhook{
			Open: open, Unsigned: true,
			Help: "In Togai, make a private outbound flow: its trigger is the event you need, such as account creation, its action “Initiate webhook action” of the Webhook app " +
				`with the payload template {"payload": "request"}. Then add a flow connection with this URL. Its other events are heard of in the same way. Without it, what is new is found by asking.`,
		},
		Triggers: []connectors.Trigger{
			accountCreated(), pricePlanCreated(), pricePlanAttached(), invoiceGenerated(), invoiceUpdated(), orderGenerated(), creditGranted(),
			purchaseCreated(), proposalCreated(), cycleStarted(), cycleEnded(), incidentGenerated(), reportGenerated(),
		},
		Actions: []connectors.Action{
			createCustomer(), getCustomer(), listCustomers(), createAccount(), getAccount(), listAccounts(), getSetting(), setSetting(),
			createAddOn(), createPricePlan(), setRateCard(), finalizePricePlan(), getPricePlan(), listPricePlans(), attachPricePlan(), getInvoice(), getInvoiceUsage(), listInvoices(),
			recordPayment(), listPayments(), creditWallet(), grantCredit(), listCredits(), ingestEvent(), ingestEvents(),
		},
		// Togai documents no addresses of its app's pages.
		Records: []connectors.Record{
			{Entity: "customer", Name: "Customer", Look: lookAtCustomer}, {Entity: "account", Name: "Account", Look: lookAtAccount}, {Entity: "setting", Name: "Setting"},
			{Entity: "addon", Name: "Add-on"}, {Entity: "price_plan", Name: "Price plan", Look: lookAtPricePlan}, {Entity: "invoice", Name: "Invoice", Look: lookAtInvoice}, {Entity: "payment", Name: "Payment", Look: lookAtPayment}, {Entity: "credit", Name: "Credit", Look: lookAtCredit},
			{Entity: "event", Name: "Usage event"}, {Entity: "purchase", Name: "Purchase"}, {Entity: "proposal", Name: "Proposal"}, {Entity: "incident", Name: "Incident"},
			{Entity: "report", Name: "Report"},
		},

		Timeout: 20 * time.Second,
		Settle:  2 * time.Second, // an assumption: nothing is said about how soon a read shows a write
		Rate:    budget,
	}
}

func mode(c connectors.Credentials) (connectors.Mode, error) {
	for _, f := range []struct{ key, label string }{{apiToken, "API token"}, {organizationID, "organization id"}} {
		if strings.TrimSpace(c[f.key]) == "" {
			return "", wrong(f.key, "The "+f.label+" is missing.")
		}
	}
	switch c[environment] {
	case production:
		return connectors.Live, nil
	case sandbox:
		return connectors.Test, nil
	}
	return "", wrong(environment, "The environment must be production or sandbox.")
}

func wrong(field, sentence string) error {
	e := connectors.Errorf(connectors.Invalid, "%s", sentence)
	e.Field = field
	return e
}

func authorize(_ context.Context, r connectors.Requester, c connectors.Credentials) error {
	r.SetHeader("Authorization", "Bearer "+strings.TrimSpace(c[apiToken]))
	return nil
}

// scope is what Togai's roles may or may not let a token do, and the list that tries it.
type scope struct {
	key, label, path string
	needFor          []string
}

var scopes = []scope{
	{"customers", "Customers", "customers?pageSize=1", []string{"customer.create", "customer.get", "customer.list"}},
	{"accounts", "Accounts", "accounts?pageSize=1", []string{"account.created", "account.create", "account.get", "account.list", "price_plan.attached", "price_plan.attach", "purchase.created", "proposal.created"}},
	{"settings", "Settings", "settings?pageSize=1", []string{"setting.get", "setting.set", "customer.create"}},
	{"price_plans", "Price plans", "v2/price_plans?pageSize=1", []string{"price_plan.created", "price_plan.attached", "price_plan.create", "rate_card.set", "price_plan.finalize", "price_plan.get", "price_plan.list"}},
	{"invoices", "Invoices", "invoices?pageSize=1", []string{"invoice.generated", "invoice.updated", "order.generated", "pricing_cycle.started", "pricing_cycle.ended", "invoice.get", "invoice.get_usage", "invoice.list", "payment.record"}},
	{"payments", "Payments", "payments?pageSize=1", []string{"payment.record", "payment.list", "wallet.credit"}},
	{"credits", "Credits", "credits?pageSize=1", []string{"credit.granted", "credit.grant", "credit.list"}},
	{"addons", "Add-ons", "addons?pageSize=1", []string{"addon.create"}},
	{"events", "Events", "events?pageSize=1", []string{"event.ingest", "event.ingest_batch"}},
	{"reports", "Reports", "reports?pageSize=1", []string{"report.generated"}},
	{"incidents", "Incidents", "incidents", []string{"incident.generated"}}, // it takes no size
}

// identify proves the token. No call tells whose it is, so the form's organization id must do.
func identify(ctx context.Context, c connectors.Conn) (connectors.Identity, error) {
	id := connectors.Identity{Mode: c.Mode, Name: strings.TrimSpace(c.Credentials[organizationID])}
	for _, s := range scopes {
		state := connectors.Granted
		switch _, err := call(ctx, c, http.MethodGet, "/"+s.path, nil, nil); {
		case connectors.KindOf(err) == connectors.Forbidden:
			state = connectors.Missing
		case err != nil:
			return connectors.Identity{}, err
		}
		help := "Togai ties a token's rights to a role: make the token as an administrator or developer."
		id.Permissions = append(id.Permissions,
			connectors.Permission{Key: s.key + ":read", Label: s.label + ", read", State: state, NeedFor: s.needFor, Help: help},
			connectors.Permission{Key: s.key + ":write", Label: s.label + ", write", State: connectors.Unknown, NeedFor: writers(s.needFor), Help: help})
	}
	return id, nil
}

// writers are those that need more than reading.
func writers(keys []string) (out []string) {
	for _, k := range keys {
		if _, verb, _ := strings.Cut(k, "."); slices.Contains([]string{"create", "set", "attach", "finalize", "record", "credit", "grant", "ingest", "ingest_batch"}, verb) {
			out = append(out, k)
		}
	}
	return out
}
