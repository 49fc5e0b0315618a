package zohobooks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"tieline/connectors"
)

// scopes are what is asked for. Items, taxes, currencies, organizations and custom fields are settings.
// https://www.zoho.com/books/api/v3/oauth/
var scopes = []string{"ZohoBooks.contacts.ALL", "ZohoBooks.invoices.ALL", "ZohoBooks.customerpayments.ALL", "ZohoBooks.settings.ALL", "ZohoBooks.accountants.READ"}

// consent is how somebody lets us in: in a browser, or with the code of a self client. Zoho gives ten access tokens for one
// refresh token in ten minutes, and then none until they are over; a refresh token never ends by itself.
func consent() *connectors.Consent {
	return &connectors.Consent{
		Root:      func(c connectors.Credentials) string { return centerOf(c).accounts },
		Authorize: "/oauth/v2/auth", Token: "/oauth/v2/token", Revoke: "/oauth/v2/token/revoke",
		ClientID: clientID, ClientSecret: clientSecret, Code: selfClientCode,
		Scopes: scopes, Separator: ",", Params: map[string]string{"access_type": "offline", "prompt": "consent"},
		Dead: []string{"invalid_code"}, Slow: "too many requests", Pause: 10 * time.Minute, Told: told,
	}
}

// told keeps in which data centre somebody is and where its API answers, which may be another than the form says. An address
// that is not in our table is never called, whoever names it.
func told(_ connectors.Credentials, said func(name string) string, ours ...string) (map[string]string, error) {
	out := map[string]string{}
	for name, keep := range map[string]func(center){
		"accounts-server": func(x center) { out[dataCenter] = x.key },
		"api_domain":      func(x center) { out[apiDomain] = x.api },
	} {
		address := strings.TrimRight(said(name), "/")
		if address == "" || slices.Contains(ours, address) {
			continue
		}
		x, known := centerAt(address)
		if !known {
			return nil, wrong(dataCenter, "Zoho's answer names a server that is none of its data centres, so that nothing is sent there.")
		}
		keep(x)
	}
	return out, nil
}

// refused knows an access token that is taken no more; so does one look that lacks a scope.
func refused(status int, body []byte) bool {
	var said envelope
	return status == http.StatusUnauthorized || json.Unmarshal(body, &said) == nil && said.Code != nil && *said.Code == codeToken
}

func authorize(_ context.Context, r connectors.Requester, _ connectors.Credentials) error {
	r.SetHeader("Authorization", "Zoho-oauthtoken "+r.Token())
	return nil
}

// organization is one that a user may work in.
type organization struct {
	ID       id     `json:"organization_id"`
	Name     string `json:"name"`
	Active   *bool  `json:"is_org_active"`
	Currency string `json:"currency_code"`
}

func organizations(ctx context.Context, c connectors.Conn) ([]organization, error) {
	var out struct {
		Organizations []organization `json:"organizations"`
	}
	if err := get(ctx, c, "/organizations", nil, &out); err != nil {
		return nil, fmt.Errorf("reading the organizations: %w", err)
	}
	return slices.DeleteFunc(out.Organizations, func(o organization) bool { return o.ID == "" || o.Active != nil && !*o.Active }), nil
}

// identify takes the one organization that there is, or has one chosen.
func identify(ctx context.Context, c connectors.Conn) (connectors.Identity, error) {
	all, err := organizations(ctx, c)
	if err != nil {
		return connectors.Identity{}, err
	}
	chosen := c.Credentials[organizationID]
	var names []string
	i := -1
	for k, o := range all {
		names = append(names, string(o.ID)+" ("+o.Name+")")
		if string(o.ID) == chosen || chosen == "" && len(all) == 1 {
			i = k
		}
	}
	switch {
	case len(all) == 0:
		return connectors.Identity{}, connectors.Errorf(connectors.Forbidden, "Zoho Books: this user is in no active organization")
	case i < 0 && chosen == "":
		return connectors.Identity{}, wrong(organizationID, "This user is in several organizations; name the one to work in: "+strings.Join(names, ", ")+". A self client code that was given is used up now: generate another one.")
	case i < 0:
		return connectors.Identity{}, wrong(organizationID, "This user is not in the organization "+chosen+", but in "+strings.Join(names, ", ")+".")
	}
	of := connectors.Identity{AccountID: string(all[i].ID), Name: all[i].Name, Mode: c.Mode, Keep: map[string]string{organizationID: string(all[i].ID)}}
	state := connectors.Granted
	query := url.Values{"per_page": {"1"}, "organization_id": {of.AccountID}}
	switch err := get(ctx, c, "/contacts", query, nil); {
	case connectors.KindOf(err) == connectors.Forbidden:
		state = connectors.Missing
	case err != nil:
		return connectors.Identity{}, fmt.Errorf("reading contacts: %w", err)
	}
	token, err := c.Token(ctx)
	of.Permissions = permissions(state, token.Scope)
	return of, err
}

// permissions are by the scopes that the token names, where it names some; contacts were tried. Others are not: each refusal
// would cost one of the few access tokens that Zoho gives.
func permissions(contacts connectors.Grant, scope string) []connectors.Permission {
	const help = "Authorize the connection again, or generate a self client code again, with these scopes: "
	out := []connectors.Permission{
		{Key: "ZohoBooks.contacts.ALL", Label: "Contacts", NeedFor: []string{"contact.create", "contact.get", "contact.find", "contact.update", "invoice.email"}, State: contacts},
		{Key: "ZohoBooks.invoices.ALL", Label: "Invoices", NeedFor: []string{"invoice.create", "invoice.get", "invoice.mark_sent", "invoice.email", "payment.record"}},
		{Key: "ZohoBooks.customerpayments.ALL", Label: "Customer payments", NeedFor: []string{"payment.record"}},
		{Key: "ZohoBooks.settings.ALL", Label: "Settings: items, taxes, currencies and organizations", NeedFor: []string{"item.create", "item.get", "invoice.create"}, State: connectors.Granted},
		{Key: "ZohoBooks.accountants.READ", Label: "Chart of accounts, read: for choosing accounts"},
	}
	granted := strings.FieldsFunc(scope, func(r rune) bool { return r == ',' || r == ' ' })
	for i := range out {
		p := &out[i]
		p.Help = help + strings.Join(scopes, ",")
		switch {
		case p.State != "":
		case len(granted) == 0:
			p.State = connectors.Unknown
		case slices.Contains(granted, p.Key) || slices.Contains(granted, "ZohoBooks.fullaccess.all"):
			p.State = connectors.Granted
		default: // some of it may be there all the same, such as READ beside CREATE
			p.State = connectors.Unknown
		}
	}
	return out
}
