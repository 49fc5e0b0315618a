package stripe

import (
	"cmp"
	"context"
	"strings"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// scope is one permission of a restricted key that we need, and the call that tries reading it.
type scope struct {
	key, label string
	write      bool
	needFor    []string
	path       string
}

// scopes. The first is the one every connection needs. https://docs.stripe.com/keys/restricted-api-keys
var scopes = []scope{
	{"customers", "Customers", true, []string{"customer.created", "customer.create", "customer.update", "customer.find"}, "/v1/customers"},
	{"events", "Events", false, []string{"customer.created"}, "/v1/events"},
	{"checkout_sessions", "Checkout Sessions", false, []string{"customer.created"}, "/v1/checkout/sessions"},
	{"webhook_endpoints", "Webhook Endpoints", true, []string{"webhook"}, "/v1/webhook_endpoints"},
}

// identify proves the key by reading what it is for. A restricted key may lack any single right and still be good for
// the rest, so only a refused key is an error.
func identify(ctx context.Context, c connectors.Conn) (connectors.Identity, error) {
	id := connectors.Identity{Mode: c.Mode}
	for _, s := range scopes {
		state, err := try(ctx, c, s.path)
		if err != nil {
			return connectors.Identity{}, err
		}
		id.Permissions = append(id.Permissions, s.permissions(c, state)...)
	}
	var a stripe.Account
	switch err := get(ctx, c, "/v1/account", &a); connectors.KindOf(err) {
	case "":
		if err != nil {
			return connectors.Identity{}, err
		}
	case connectors.Forbidden: // usual with restricted keys, whatever is ticked: the form's field is asked for
		return id, nil
	default:
		return connectors.Identity{}, err
	}
	id.AccountID, id.Name = a.ID, displayName(a)
	if given := strings.TrimSpace(c.Credentials[accountID]); given != "" && given != a.ID {
		e := connectors.Errorf(connectors.Invalid, "This key opens the account %s, not %s.", a.ID, given)
		e.Field = accountID
		return connectors.Identity{}, e
	}
	return id, nil
}

func displayName(a stripe.Account) string {
	name := ""
	if a.Settings != nil && a.Settings.Dashboard != nil {
		name = a.Settings.Dashboard.DisplayName
	}
	if a.BusinessProfile != nil {
		name = cmp.Or(name, a.BusinessProfile.Name)
	}
	return cmp.Or(name, a.ID)
}

func try(ctx context.Context, c connectors.Conn, path string) (connectors.Grant, error) {
	var any struct{ stripe.APIResource }
	err := get(ctx, c, path+"?limit=1", &any)
	switch {
	case err == nil:
		return connectors.Granted, nil
	case connectors.KindOf(err) == connectors.Forbidden:
		return connectors.Missing, nil
	}
	return "", err
}

// permissions are the read right that was tried and the write right that was not: a full key has it, and a key without
// the read right has neither, as writing includes reading.
func (s scope) permissions(c connectors.Conn, state connectors.Grant) []connectors.Permission {
	help := "Edit the key in the Stripe dashboard under Developers, API keys, and set “" + s.label + "” to "
	out := []connectors.Permission{{Key: s.key + ":read", Label: s.label + ", read", State: state, NeedFor: s.needFor, Help: help + "Read or Write."}}
	if !s.write {
		return out
	}
	w := connectors.Permission{Key: s.key + ":write", Label: s.label + ", write", State: connectors.Unknown, NeedFor: writers(s.needFor), Help: help + "Write."}
	switch {
	case state == connectors.Missing:
		w.State = connectors.Missing
	case strings.HasPrefix(key(c.Credentials), "sk_"):
		w.State = connectors.Granted
	}
	return append(out, w)
}

// writers are those that need more than reading.
func writers(keys []string) (out []string) {
	for _, k := range keys {
		if k != "customer.created" && k != "customer.find" {
			out = append(out, k)
		}
	}
	return out
}
