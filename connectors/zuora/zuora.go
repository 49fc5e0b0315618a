// Package zuora connects Zuora tenants. https://developer.zuora.com
package zuora

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"tieline/connectors"
)

// The fields of the form.
const (
	endpoint     = "endpoint"
	clientID     = "client_id"
	clientSecret = "client_secret"
	chargeID     = "charge_id"
	entityID     = "entity_id"
	apiVersion   = "api_version"
)

// pinned is the minor version that is asked for unless the form names another: well past every change of a field that is
// written here. https://developer.zuora.com/docs/guides/api-versions/
const pinned = "341.0"

// versions are those that Zuora takes; anything else would mean 186.0.
var versions = []string{
	"187.0", "188.0", "189.0", "196.0", "206.0", "207.0", "211.0", "214.0", "215.0", "216.0", "223.0", "224.0", "230.0", "239.0", "256.0", "257.0",
	"309.0", "314.0", "315.0", "329.0", "330.0", "336.0", "337.0", "338.0", "341.0", "2024-05-20", "2025-08-12",
}

// hosts are Zuora's tenants; no other address is ever called.
// https://developer.zuora.com/v1-api-reference/introduction/#section/API-Endpoints
var hosts = []struct {
	url, name string
	mode      connectors.Mode
}{
	{"https://rest.zuora.com", "US production, cloud 2", connectors.Live},
	{"https://rest.na.zuora.com", "US production, cloud 1", connectors.Live},
	{"https://rest.eu.zuora.com", "EU production", connectors.Live},
	{"https://rest.ap.zuora.com", "APAC production", connectors.Live},
	{"https://rest.apisandbox.zuora.com", "US API sandbox, cloud 2", connectors.Test},
	{"https://rest.sandbox.na.zuora.com", "US API sandbox, cloud 1", connectors.Test},
	{"https://rest.sandbox.eu.zuora.com", "EU API sandbox", connectors.Test},
	{"https://rest.test.zuora.com", "US developer and central sandbox", connectors.Test},
	{"https://rest.test.eu.zuora.com", "EU developer and central sandbox", connectors.Test},
	{"https://rest.test.ap.zuora.com", "APAC developer and central sandbox", connectors.Test},
	{"https://rest.pt1.zuora.com", "US performance test", connectors.Test},
}

// parallel is how many of a tenant's calls may be in the air at once; an assumption of our share of the 40 that Zuora allows all
// of its programs together.
const parallel = 10

// Connector describes Zuora.
func Connector() connectors.Connector {
	return connectors.Connector{
		Key: "zuora", Name: "Zuora", Category: "billing",
		Description: "Accounts, subscriptions, standalone invoices, usage and credit memos in Zuora.",
		DocsURL:     "https://developer.zuora.com/v1-api-reference/introduction/",
		Auth:        form(),
		BaseURL:     func(c connectors.Credentials) string { return cmp.Or(c[endpoint], hosts[0].url) },
		Mode:        mode,
		Authorize:   authorize,
		Login:       &connectors.Login{Fetch: fetchToken, Refused: tokenRefused, Early: 5 * time.Minute, Timeout: 10 * time.Second},
		Identify:    identify,
		Webhook: &connectors.Webhook{
			Open: open, Register: register, Remove: remove, Grant: grant, SecretPrefix: secretPrefix,
			Help: "In Zuora's Events & Notifications, make a custom event for new accounts (Account, changeType == 'INSERT') and one for new subscriptions (Subscription, " +
				"changeType == 'INSERT' && Subscription.Version == 1), and for each a notification with a callout: POST to this URL with " +
				`the body {"AccountId": "{{Account.Id}}", "CreatedDate": "{{Account.CreatedDate}}"} or {"SubscriptionNumber": "{{Subscription.Name}}", "AccountId": "{{Account.Id}}", "CreatedDate": "{{Subscription.CreatedDate}}"}. ` +
				"How it proves itself is the signing secret: callout:basic:USER:PASSWORD for basic authentication, callout:header:NAME:VALUE for a header of your own, callout:hmac:HEADER:KEY for a HMAC-SHA256 of the body, " +
				"callout:oauth2:CLIENT_ID:CLIENT_SECRET for OAuth 2.0 with a client that you make up: in Zuora, add an OAuth 2.0 provider with the grant type client credentials, this URL as its token URL, and that client; " +
				"callout:bearer:TOKEN for a token that never changes. Ids are also read from the URL's query, unless only the body is signed, and SubscriptionId will do in place of SubscriptionNumber: its number is then read first.",
		},
		Triggers: []connectors.Trigger{accountCreated(), subscriptionCreated()},
		Actions: []connectors.Action{
			createAccount(), getAccount(), updateAccount(), getSubscription(), createInvoice(), getInvoice(), createUsage(), createCreditMemo(), getCharge(),
		},
		Records: []connectors.Record{
			{Entity: "account", Name: "Account", Look: lookAtAccount}, {Entity: "subscription", Name: "Subscription", Look: lookAtSubscription}, {Entity: "invoice", Name: "Invoice", Look: lookAtInvoice},
			{Entity: "usage", Name: "Usage"}, {Entity: "credit_memo", Name: "Credit memo", Look: lookAtCreditMemo}, {Entity: "charge", Name: "Product rate plan charge"},
		},

		Timeout: 125 * time.Second, // Zuora gives up after 120
		Settle:  2 * time.Second,   // an assumption: nothing is said about how soon a read shows a write
		// Zuora repeats an answer for a key for 24 hours, a refusal too, and does not say that it does. So a write whose answer
		// was lost is looked for, and the key is only what keeps a second send from being a second write.
		ReplaysKeys: 0,
		// Of 50,000 calls a minute, or 2,500 in API sandboxes, for all of a tenant's programs; an assumption of our share.
		Rate: func(m connectors.Mode) connectors.Rate {
			if m == connectors.Live {
				return connectors.Rate{PerSecond: 50, Burst: 20, Parallel: parallel, BulkParallel: parallel / 2}
			}
			return connectors.Rate{PerSecond: 20, Burst: 10, Parallel: parallel, BulkParallel: parallel / 2}
		},
		Ease:   ease,
		IsRead: func(_, path string) bool { return path == "/v1/action/query" || path == "/v1/action/queryMore" },
	}
}

func form() []connectors.Field {
	f := []connectors.Field{
		{Key: endpoint, Label: "Endpoint URL", Help: "The REST endpoint of your tenant's data center and environment."},
		{Key: clientID, Label: "Client ID", Placeholder: "8-4-4-4-12 letters and digits", Help: "Of an OAuth client, made in Zuora under Settings, Administration, Manage Users, on a user that may write through the API."},
		{Key: clientSecret, Label: "Client secret", Secret: true, Placeholder: "The secret, as Zuora showed it", Help: "Of the same OAuth client. Zuora shows it once."},
		{Key: chargeID, Label: "Charge ID", Optional: true, Placeholder: "32 letters and digits, or C-00000001", Help: "The product rate plan charge that credits are added against. It is needed for credits alone.", Options: offerCharges},
		{Key: entityID, Label: "Entity", Optional: true, Placeholder: "The entity's id", Help: "In a multi-entity tenant, the entity to work in. It is needed where the client opens several.", Options: offerEntities},
		{Key: apiVersion, Label: "API version", Optional: true, Help: "The minor version of Zuora's API to ask for; " + pinned + " unless your tenant needs another."},
	}
	for _, h := range hosts {
		f[0].Choices = append(f[0].Choices, connectors.Choice{Value: h.url, Label: h.name + " (" + strings.TrimPrefix(h.url, "https://") + ")"})
	}
	for _, v := range versions {
		f[5].Choices = append(f[5].Choices, connectors.Choice{Value: v, Label: v})
	}
	return f
}

func mode(c connectors.Credentials) (connectors.Mode, error) {
	for _, f := range []struct{ key, label string }{{clientID, "client ID"}, {clientSecret, "client secret"}} {
		if strings.TrimSpace(c[f.key]) == "" {
			return "", wrong(f.key, "The "+f.label+" is missing.")
		}
	}
	if v := c[apiVersion]; v != "" && !slices.Contains(versions, v) {
		return "", wrong(apiVersion, "Zuora has no API version "+v+".")
	}
	for _, h := range hosts {
		if c[endpoint] == h.url {
			return h.mode, nil
		}
	}
	return "", wrong(endpoint, "The endpoint must be one of Zuora's.")
}

func wrong(field, sentence string) error {
	e := connectors.Errorf(connectors.Invalid, "%s", sentence)
	e.Field = field
	return e
}

func authorize(_ context.Context, r connectors.Requester, c connectors.Credentials) error {
	r.SetHeader("Authorization", "Bearer "+r.Token())
	if c[entityID] != "" {
		r.SetHeader("Zuora-Entity-Ids", c[entityID])
	}
	return nil
}
