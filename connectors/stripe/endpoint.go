package stripe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// Metadata by which we know our own endpoints.
const (
	metaConnection = "tieline_connection_id"
	metaGeneration = "tieline_generation"
)

// register makes sure there is exactly one endpoint of the connection: right, enabled, and with its secret known.
//
// An endpoint that cannot be kept is deleted before the new one is made, or an account that has all 16 it may have could
// never recover; ours pile up, as Stripe takes equal URLs. https://docs.stripe.com/api/webhook_endpoints
//
// The secret is in the answer to the create alone, and stays in memory. A good endpoint of this very generation is thus
// left alone: its create may still be unsettled, and repeating it under the same key brings the same answer, secret
// included. Once the create is settled the secret is lost with whoever received it, and a create whose endpoint was
// deleted must not be repeated, as Stripe would answer with the dead one; both ask the caller for another generation.
func register(ctx context.Context, c connectors.Conn, e connectors.Endpoint) (connectors.Registration, error) {
	ours, err := endpoints(ctx, c, e)
	if err != nil {
		return connectors.Registration{}, err
	}
	known := func(w *stripe.WebhookEndpoint) bool { return w.ID == e.KnownID }
	kept := slices.ContainsFunc(ours, func(w *stripe.WebhookEndpoint) bool { return known(w) && good(w, e) })
	gone := connectors.Registration{Gone: e.KnownID != "" && !slices.ContainsFunc(ours, known)}
	spent := false
	for _, w := range ours {
		this := w.Metadata[metaGeneration] == strconv.Itoa(e.Generation)
		if w.ID == e.Beside || good(w, e) && (known(w) || this && !kept) {
			continue
		}
		if err := deleteEndpoint(ctx, c, w.ID); err != nil {
			return gone, err
		}
		spent, gone.Gone = spent || this, gone.Gone || known(w)
	}
	switch {
	case kept:
		return connectors.Registration{ID: e.KnownID}, nil
	case spent:
		return gone, nil
	}
	made, err := createEndpoint(ctx, c, e)
	made.Gone = gone.Gone
	return made, err
}

// good says whether an endpoint delivers what we want to where we want it. Its API version cannot be changed later.
func good(w *stripe.WebhookEndpoint, e connectors.Endpoint) bool {
	return w.Status == "enabled" && w.URL == e.URL && w.APIVersion == apiVersion &&
		slices.Equal(slices.Sorted(slices.Values(w.EnabledEvents)), slices.Sorted(slices.Values(e.Events)))
}

func createEndpoint(ctx context.Context, c connectors.Conn, e connectors.Endpoint) (connectors.Registration, error) {
	generation, secret := strconv.Itoa(e.Generation), ""
	find := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		ours, err := endpoints(ctx, c, e)
		for _, w := range ours {
			if w.Metadata[metaGeneration] == generation {
				return connectors.Ref{ID: w.ID}, true, nil
			}
		}
		return connectors.Ref{}, false, err
	}
	ref, err := c.Effect(ctx, connectors.Create("webhook_endpoint", generation), find, func(ctx context.Context, key string) (connectors.Ref, error) {
		w, err := api(c).WebhookEndpoints.New(&stripe.WebhookEndpointParams{
			Params: write(ctx, key), URL: stripe.String(e.URL), EnabledEvents: stripe.StringSlice(e.Events), APIVersion: stripe.String(apiVersion),
			Description: stripe.String("Tieline"), Metadata: map[string]string{metaConnection: e.ConnectionID, metaGeneration: generation},
		})
		if err != nil {
			return connectors.Ref{}, failed(c, err, true)
		}
		if w.ID == "" {
			return connectors.Ref{}, garbled(errNoID, true)
		}
		secret = w.Secret
		return connectors.Ref{ID: w.ID}, nil
	})
	if err != nil {
		return connectors.Registration{}, fmt.Errorf("creating the webhook endpoint: %w", err)
	}
	if secret == "" { // the create was settled before, and told its secret then
		return connectors.Registration{}, nil
	}
	return connectors.Registration{ID: ref.ID, Secret: secret}, nil
}

// endpoints are those of the connection, at our own address.
func endpoints(ctx context.Context, c connectors.Conn, e connectors.Endpoint) ([]*stripe.WebhookEndpoint, error) {
	var ours []*stripe.WebhookEndpoint
	it := api(c).WebhookEndpoints.List(&stripe.WebhookEndpointListParams{ListParams: list(ctx)})
	for it.Next() {
		if w := it.WebhookEndpoint(); w.Metadata[metaConnection] == e.ConnectionID && (e.Root == "" || strings.HasPrefix(w.URL, e.Root+"/")) {
			ours = append(ours, w)
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("listing the webhook endpoints: %w", failed(c, err, false))
	}
	return ours, nil
}

func remove(ctx context.Context, c connectors.Conn, e connectors.Endpoint) error {
	ours, err := endpoints(ctx, c, e)
	for _, w := range ours {
		err = errors.Join(err, deleteEndpoint(ctx, c, w.ID))
	}
	return err
}

func deleteEndpoint(ctx context.Context, c connectors.Conn, id string) error {
	gone := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		_, err := api(c).WebhookEndpoints.Get(id, &stripe.WebhookEndpointParams{Params: read(ctx)})
		if err = failed(c, err, false); missing(err) {
			return connectors.Ref{ID: id}, true, nil
		}
		return connectors.Ref{}, false, err
	}
	_, err := c.Effect(ctx, connectors.Set("webhook_endpoint", id, "delete"), gone, func(ctx context.Context, key string) (connectors.Ref, error) {
		_, err := api(c).WebhookEndpoints.Del(id, &stripe.WebhookEndpointParams{Params: write(ctx, key)})
		if err = failed(c, err, true); err != nil && !missing(err) {
			return connectors.Ref{}, err
		}
		return connectors.Ref{ID: id}, nil
	})
	if err != nil {
		return fmt.Errorf("deleting the webhook endpoint %s: %w", id, err)
	}
	return nil
}
