package zuora

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"tieline/connectors"
)

// fetchToken asks for a token by client credentials. What the body of a refusal looks like is not documented, so only its
// status is believed, and nothing of it is repeated: it may hold what was sent.
func fetchToken(ctx context.Context, client *http.Client, root string, c connectors.Credentials) (connectors.Token, error) {
	conf := clientcredentials.Config{
		ClientID: strings.TrimSpace(c[clientID]), ClientSecret: strings.TrimSpace(c[clientSecret]), TokenURL: root + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams,
	}
	whole := *client
	whole.Transport = wholeSeconds{client.Transport}
	got, err := conf.Token(context.WithValue(ctx, oauth2.HTTPClient, &whole))
	refusal, ok := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case ok && refusal.Response != nil && refusal.Response.StatusCode >= 300:
		return connectors.Token{}, tokenRefusal(refusal.Response)
	case errors.Is(ctx.Err(), context.Canceled):
		return connectors.Token{}, fmt.Errorf("asking for an access token: %w", ctx.Err())
	case err != nil:
		return connectors.Token{}, connectors.Errorf(connectors.Unavailable, "Zuora: no access token could be had: the answer did not come, or is not what its token endpoint says")
	}
	scope, _ := got.Extra("scope").(string)
	return connectors.Token{Access: got.AccessToken, Scope: scope, Life: time.Until(got.Expiry)}, nil
}

// wholeSeconds makes a token's expires_in a whole number: Zuora's need not be one, and package oauth2 takes no other.
type wholeSeconds struct{ base http.RoundTripper }

func (w wholeSeconds) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	var body map[string]any
	if json.Unmarshal(raw, &body) == nil {
		if n, ok := body["expires_in"].(float64); ok {
			body["expires_in"] = int64(n)
			if raw, err = json.Marshal(body); err != nil {
				return nil, err
			}
		}
	}
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	return res, nil
}

func tokenRefusal(res *http.Response) error {
	kind, why := connectors.KindOfStatus(res.StatusCode, false), "the token endpoint answers "+res.Status
	if res.StatusCode == http.StatusBadRequest || res.StatusCode == http.StatusUnauthorized {
		kind, why = connectors.Unauthorized, "the client ID and client secret are not taken at this endpoint"
	}
	out := connectors.Errorf(kind, "Zuora: %s", why)
	out.Status, out.RetryAfter, out.RequestID = res.StatusCode, retryAfter(res.Header), res.Header.Get("Zuora-Request-Id")
	return out
}

// tokenRefused also knows those of Zuora's refusals that come with another status.
func tokenRefused(status int, body []byte) bool {
	if status == http.StatusUnauthorized {
		return true
	}
	var said answer
	if json.Unmarshal(body, &said) != nil || said.Success == nil || *said.Success {
		return false
	}
	kind, _ := said.kind(http.StatusOK, http.MethodGet)
	return kind == connectors.Unauthorized
}

// opened is what the scope of a token says: user.1 entity.<uuid> … tenant.1
func opened(scope string) (tenant string, entities []string) {
	for _, word := range strings.Fields(scope) {
		if id, ok := strings.CutPrefix(word, "tenant."); ok {
			tenant = id
		}
		if id, ok := strings.CutPrefix(word, "entity."); ok {
			entities = append(entities, id)
		}
	}
	return tenant, entities
}

// identify goes by the token's scope, and tries what triggers and actions read.
func identify(ctx context.Context, c connectors.Conn) (connectors.Identity, error) {
	token, err := c.Token(ctx)
	if err != nil {
		return connectors.Identity{}, err
	}
	tenant, entities := opened(token.Scope)
	chosen := c.Credentials[entityID]
	id := connectors.Identity{AccountID: tenant, Name: "Tenant " + tenant, Mode: c.Mode}
	switch {
	case tenant == "":
		return connectors.Identity{}, connectors.Errorf(connectors.Unavailable, "Zuora: the access token does not say which tenant it opens")
	case len(entities) > 1 && chosen == "":
		return connectors.Identity{}, wrong(entityID, "This client opens several entities; name the one to work in: "+strings.Join(entities, ", ")+".")
	case chosen != "" && !contains(entities, chosen):
		return connectors.Identity{}, wrong(entityID, "This client does not open this entity; it opens "+strings.Join(entities, ", ")+".")
	case len(entities) > 1:
		id.AccountID, id.Name = tenant+":"+chosen, id.Name+", entity "+chosen
	}
	state := connectors.Granted
	switch _, _, _, err := query[struct{}](ctx, c, "select Id from Account where Id = '0'", ""); {
	case connectors.KindOf(err) == connectors.Forbidden:
		state = connectors.Missing
	case err != nil:
		return connectors.Identity{}, err
	}
	id.Permissions = permissions(state)
	if charge := c.Credentials[chargeID]; charge != "" {
		return id, checkCharge(ctx, c, charge)
	}
	return id, nil
}

func contains(entities []string, id string) bool {
	for _, e := range entities {
		if strings.EqualFold(e, id) {
			return true
		}
	}
	return false
}

// permissions are as Zuora's roles have them. Rights to write cannot be tried without writing.
func permissions(reads connectors.Grant) []connectors.Permission {
	const help = "Zuora ties a client's rights to its user's roles: give the user a platform role with API write access, and the billing permissions named here."
	return []connectors.Permission{
		{Key: "accounts:read", Label: "Accounts and subscriptions, read", State: reads, Help: help, NeedFor: []string{"account.created", "account.get", "account.create", "account.update", "subscription.created", "subscription.get", "charge.get"}},
		{Key: "accounts:write", Label: "Accounts, write", State: connectors.Unknown, Help: help, NeedFor: []string{"account.create", "account.update"}},
		{Key: "invoices:write", Label: "Standalone invoices", State: connectors.Unknown, Help: help, NeedFor: []string{"invoice.create", "invoice.get"}},
		{Key: "usage:write", Label: "Usage, write", State: connectors.Unknown, Help: help, NeedFor: []string{"usage.create"}},
		{Key: "credit_memos:write", Label: "Credit memos", State: connectors.Unknown, NeedFor: []string{"credit_memo.create"}, Help: help + " Credit memos need Zuora's Invoice Settlement."},
		{Key: "notifications:write", Label: "Events and notifications", State: connectors.Unknown, NeedFor: []string{"webhook"}, Help: help},
	}
}

// offerEntities are those that the connection's client opens.
func offerEntities(ctx context.Context, c connectors.Conn, search, _ string) (connectors.OptionPage, error) {
	token, err := c.Token(ctx)
	var out connectors.OptionPage
	_, entities := opened(token.Scope)
	for _, e := range entities {
		if o := (connectors.Option{Value: e, Label: e}); o.Matches(search) {
			out.Options = append(out.Options, o)
		}
	}
	return out, err
}

// retryAfter is how long Zuora asks to be left alone.
func retryAfter(h http.Header) time.Duration {
	d, err := time.ParseDuration(cmp.Or(h.Get("Retry-After"), h.Get("Ratelimit-Reset"), "0") + "s")
	if err != nil || d < 0 {
		return 0
	}
	return d
}
