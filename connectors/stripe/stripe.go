// Package stripe connects Stripe accounts. https://docs.stripe.com/api
package stripe

import (
	"context"
	"strings"
	"time"

	"tieline/connectors"
)

// The fields of the form.
const (
	apiKey    = "api_key"
	accountID = "account_id"

	publishableKey = "publishable_key"
)

// keyLife is how long we count on Stripe to answer a repeated idempotency key with its first answer: it may forget
// one after 24 hours, and clocks differ. https://docs.stripe.com/api/idempotent_requests
const keyLife = 23 * time.Hour

// Connector describes Stripe.
func Connector() connectors.Connector {
	return connectors.Connector{
		Key: "stripe", Name: "Stripe", Category: "payments",
		Description: "Customers, payment links, checkouts and invoices of a Stripe account.",
		DocsURL:     "https://docs.stripe.com/keys",
		Auth: []connectors.Field{
			{Key: apiKey, Label: "Secret or restricted key", Secret: true, Placeholder: "sk_test_… or rk_test_…",
				Help: "In the Stripe dashboard under Developers, API keys. A restricted key is enough; the connection shows which permissions it lacks."},
			{Key: accountID, Label: "Account id", Optional: true, Placeholder: "acct_…",
				Help: "Only for restricted keys that may not read it. In the Stripe dashboard under Settings, Account details."},
			{Key: publishableKey, Label: "Publishable key", Optional: true, Placeholder: "pk_test_… or pk_live_…",
				Help: "Only where a portal of yours shows Stripe's forms: paymentLink hands it on. It is no secret. Beside the other key in the dashboard."},
		},
		BaseURL:   func(connectors.Credentials) string { return "https://api.stripe.com" },
		Mode:      mode,
		Authorize: authorize,
		Identify:  identify,
		Account:   accountID,
		Webhook: &connectors.Webhook{
			Open: open, Register: register, Remove: remove, SecretPrefix: "whsec_",
			Help: "In the Stripe dashboard under Developers, Webhooks, add an endpoint with this URL, API version " + apiVersion +
				" and the listed events, then paste its signing secret (whsec_…) here.",
		},
		Triggers: []connectors.Trigger{customerCreated(), checkoutCompleted(), invoicePaid()},
		Actions: []connectors.Action{
			createCustomer(), updateCustomer(), findCustomer(), listCustomers(), createProduct(), createPaymentLink(),
			createInvoice(), finalizeInvoice(), closeInvoice(), createCreditNote(),
		},
		Records: []connectors.Record{
			{Entity: "customer", Name: "Customer", URL: dashboard("customers"), Look: lookAtCustomer},
			{Entity: "product", Name: "Product", URL: dashboard("products"), Look: lookAtProduct},
			{Entity: "price", Name: "Price", URL: dashboard("prices"), Look: lookAtPrice},
			{Entity: "payment_link", Name: "Payment link", URL: dashboard("payment-links"), Look: lookAtPaymentLink},
			{Entity: "checkout_session", Name: "Checkout"}, // the dashboard has a page for its payment only
			{Entity: "invoice", Name: "Invoice", URL: dashboard("invoices"), Look: lookAtInvoice},
			{Entity: "invoice_item", Name: "Invoice line", Look: lookAtInvoiceItem},
			{Entity: "credit_note", Name: "Credit note", Look: lookAtCreditNote},
		},

		Timeout:     20 * time.Second,
		Settle:      time.Second, // lists are consistent; the probe says what it does about search, which is not
		ReplaysKeys: keyLife,
		Rate:        rate,
		LogURL:      dashboard("logs"), // https://docs.stripe.com/development/dashboard/request-logs
	}
}

func mode(c connectors.Credentials) (connectors.Mode, error) {
	m, err := modeOfKey(c)
	if pk := strings.TrimSpace(c[publishableKey]); err == nil && pk != "" && !strings.HasPrefix(pk, "pk_"+string(m)+"_") {
		e := connectors.Errorf(connectors.Invalid, "This is no publishable key for %s data: those begin with pk_%s_.", m, m)
		e.Field = publishableKey
		return m, e
	}
	return m, err
}

func modeOfKey(c connectors.Credentials) (connectors.Mode, error) {
	kind, rest, _ := strings.Cut(key(c), "_")
	m, tail, _ := strings.Cut(rest, "_")
	switch kind {
	case "":
		return "", wrongKey("The API key is missing.")
	case "pk":
		return "", wrongKey("This is a publishable key. Tieline needs the secret key (sk_…) or a restricted one (rk_…).")
	case "whsec":
		return "", wrongKey("This is a webhook's signing secret. Tieline needs the secret key (sk_…) or a restricted one (rk_…).")
	}
	if (kind == "sk" || kind == "rk") && tail != "" {
		switch m {
		case "test":
			return connectors.Test, nil
		case "live":
			return connectors.Live, nil
		}
	}
	return "", wrongKey("This is not a Stripe API key: those begin with sk_test_, sk_live_, rk_test_ or rk_live_.")
}

func wrongKey(sentence string) error {
	e := connectors.Errorf(connectors.Invalid, "%s", sentence)
	e.Field = apiKey
	return e
}

// key is the API key; blanks come along when one is copied.
func key(c connectors.Credentials) string { return strings.TrimSpace(c[apiKey]) }

func authorize(_ context.Context, r connectors.Requester, c connectors.Credentials) error {
	r.SetHeader("Authorization", "Bearer "+key(c))
	return nil
}

func dashboard(section string) func(connectors.Mode, string) string {
	return func(m connectors.Mode, id string) string {
		if m == connectors.Test {
			return "https://dashboard.stripe.com/test/" + section + "/" + id
		}
		return "https://dashboard.stripe.com/" + section + "/" + id
	}
}
