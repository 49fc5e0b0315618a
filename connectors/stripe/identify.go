package stripe

import (
	"cmp"
	"context"
	"slices"
	"strings"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// scope is one permission of a restricted key that we need, and the call that tries reading it. Writing includes reading.
type scope struct {
	key, label, path string
	readFor          []string // triggers, and actions that only read here
	writeFor         []string
}

// scopes. The first is the one every connection needs. https://docs.stripe.com/keys/restricted-api-keys
var scopes = []scope{
	{"customers", "Customers", "/v1/customers", []string{"customer.created", "customer.find", "customer.list", "invoice.create"}, []string{"customer.create", "customer.update"}},
	{"events", "Events", "/v1/events", []string{"customer.created", "checkout.completed", "invoice.paid", "invoice.finalize"}, nil},
	{"checkout_sessions", "Checkout Sessions", "/v1/checkout/sessions", []string{"customer.created", "checkout.completed"}, nil},
	{"products", "Products", "/v1/products", nil, []string{"product.create"}},
	{"prices", "Prices", "/v1/prices", []string{"payment_link.create"}, []string{"product.create"}},
	{"payment_links", "Payment Links", "/v1/payment_links", nil, []string{"payment_link.create"}},
	{"invoices", "Invoices", "/v1/invoices", []string{"invoice.paid", "credit_note.create"}, []string{"invoice.create", "invoice.finalize", "invoice.close"}},
	{"invoice_items", "Invoice Items", "/v1/invoiceitems", nil, []string{"invoice.create"}}, // apart from invoices
	{"credit_notes", "Credit Notes", "/v1/credit_notes", nil, []string{"credit_note.create"}},
	{"webhook_endpoints", "Webhook Endpoints", "/v1/webhook_endpoints", nil, []string{"webhook"}},
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
	out := []connectors.Permission{{Key: s.key + ":read", Label: s.label + ", read", State: state, NeedFor: slices.Concat(s.readFor, s.writeFor), Help: help + "Read or Write."}}
	if len(s.writeFor) == 0 {
		return out
	}
	w := connectors.Permission{Key: s.key + ":write", Label: s.label + ", write", State: connectors.Unknown, NeedFor: s.writeFor, Help: help + "Write."}
	switch {
	case state == connectors.Missing:
		w.State = connectors.Missing
	case strings.HasPrefix(key(c.Credentials), "sk_"):
		w.State = connectors.Granted
	}
	return append(out, w)
}
