// Package zohobooks connects organizations in Zoho Books. https://www.zoho.com/books/api/v3/
package zohobooks

import (
	"cmp"
	"strings"
	"time"

	"tieline/connectors"
)

// The fields of the form.
const (
	dataCenter     = "data_center"
	clientID       = "client_id"
	clientSecret   = "client_secret"
	selfClientCode = "self_client_code"
	organizationID = "organization_id"
	modeField      = "mode"
	apiDomain      = "api_domain" // told by Zoho
)

// Connector describes Zoho Books.
func Connector() connectors.Connector {
	return connectors.Connector{
		Key: "zohobooks", Name: "Zoho Books", Category: "accounting",
		Description: "Contacts, items, invoices and payments in Zoho Books.",
		DocsURL:     "https://www.zoho.com/books/api/v3/introduction/",
		Auth:        form(),
		BaseURL:     func(c connectors.Credentials) string { return cmp.Or(c[apiDomain], centerOf(c).api) },
		Mode:        mode,
		Authorize:   authorize,
		Login:       &connectors.Login{Consent: consent(), Refused: refused, Early: 5 * time.Minute, Timeout: 10 * time.Second},
		Identify:    identify,
		Actions: []connectors.Action{
			createContact(), getContact(), findContact(), updateContact(), createItem(), getItem(), createInvoice(), getInvoice(), markInvoiceSent(), emailInvoice(), recordPayment(),
		},
		Records: []connectors.Record{
			{Entity: "contact", Name: "Contact", Look: lookAtContact}, {Entity: "item", Name: "Item", Look: lookAtItem}, {Entity: "invoice", Name: "Invoice", Look: lookAtInvoice}, {Entity: "payment", Name: "Customer payment", Look: lookAtPayment},
		},

		Timeout: 60 * time.Second, // an assumption: no limit is documented
		Settle:  2 * time.Second,  // likewise, of how soon a read shows a write
		// Zoho takes no idempotency key: what became of a write whose answer was lost is looked up.
		ReplaysKeys: 0,
		// Of 100 calls a minute for all programs of an organization; an assumption of our share. The day's quota, 1,000 to 10,000
		// by plan, is told by a refusal alone. https://www.zoho.com/books/api/v3/introduction/#api-call-limit
		Rate: func(connectors.Mode) connectors.Rate {
			return connectors.Rate{PerSecond: 80.0 / 60, Burst: 15, Parallel: 3}
		},
	}
}

func form() []connectors.Field {
	f := []connectors.Field{
		{Key: modeField, Label: "Mode", Help: "Whether the organization is for live data or for trying things out, which Zoho does not tell. A flow link never mixes the two.",
			Choices: []connectors.Choice{{Value: string(connectors.Live), Label: "Live"}, {Value: string(connectors.Test), Label: "Test"}}},
		{Key: dataCenter, Label: "Data centre", Help: "Where your Zoho account is: the end of the address of Zoho in your browser tells. A client works in its own data centre alone."},
		{Key: clientID, Label: "Client ID", Placeholder: "1000.…", Help: "Of a client made in Zoho's API console: a server-based application to authorize in a browser, or a self client."},
		{Key: clientSecret, Label: "Client secret", Secret: true, Placeholder: "The secret, as the API console shows it", Help: "Of the same client."},
		{Key: selfClientCode, Label: "Self client code", Secret: true, Optional: true, Placeholder: "1000.…",
			Help: "Of a self client: in the API console, under Generate Code, with these scopes: " + strings.Join(scopes, ",") + ". It works once and for a few minutes. Leave it out to authorize in a browser."},
		{Key: organizationID, Label: "Organization", Optional: true, Placeholder: "The organization's id", Help: "The organization in Zoho Books to work in. It is needed where the user is in several.", Options: offerOrganizations},
		{Key: apiDomain, Label: "API domain", Told: true, Optional: true, Help: "Where the API of the organization's data centre answers; Zoho tells it."},
	}
	for _, x := range centers {
		f[1].Choices = append(f[1].Choices, connectors.Choice{Value: x.key, Label: x.name + " (" + strings.TrimPrefix(x.accounts, "https://accounts.") + ")"})
	}
	return f
}

func mode(c connectors.Credentials) (connectors.Mode, error) {
	for _, f := range []struct{ key, label string }{{clientID, "client ID"}, {clientSecret, "client secret"}} {
		if strings.TrimSpace(c[f.key]) == "" {
			return "", wrong(f.key, "The "+f.label+" is missing.")
		}
	}
	if x := centerOf(c); x.key != c[dataCenter] {
		return "", wrong(dataCenter, "The data centre must be one of Zoho's.")
	}
	if c[apiDomain] != "" {
		if x, known := centerAt(c[apiDomain]); !known || x.api != c[apiDomain] {
			return "", wrong(dataCenter, "The API's address is none of Zoho's. Authorize the connection again.")
		}
	}
	switch m := connectors.Mode(c[modeField]); m {
	case connectors.Live, connectors.Test:
		return m, nil
	}
	return "", wrong(modeField, "The mode must be live or test.")
}
