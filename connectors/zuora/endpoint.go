package zuora

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"tieline/connectors"
)

// What we listen to is a custom event and a notification with a callout for each trigger. The events are the tenant's, for
// all connections; the notifications are a connection's own, and named by it and the generation.
var told = []struct {
	trigger, object, condition, event string
	params                            map[string]string // of the callout's body
}{
	{"account.created", "Account", "changeType == 'INSERT'", "TielineAccountCreated", map[string]string{
		"Event": "account.created", "AccountId": "<Account.Id>", "Notes": "<Account.Notes>", "CreatedDate": "<Account.CreatedDate>",
	}},
	{"subscription.created", "Subscription", "changeType == 'INSERT' && Subscription.Version == 1", "TielineSubscriptionCreated", map[string]string{
		"Event": "subscription.created", "SubscriptionNumber": "<Subscription.Name>", "AccountId": "<Account.Id>", "CreatedDate": "<Subscription.CreatedDate>",
	}},
}

// definition is a notification.
type definition struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Event  string   `json:"eventTypeName"`
	Active bool     `json:"active"`
	Call   *callout `json:"callout"`
}

type callout struct {
	Name   string `json:"name"`
	URL    string `json:"calloutBaseurl"`
	Active bool   `json:"active"`
}

// named is how a connection's notification of a generation is called.
func named(e connectors.Endpoint, generation int, trigger string) string {
	return strings.Join([]string{"Tieline", e.ConnectionID, strconv.Itoa(generation), strings.ReplaceAll(trigger, ".", "_")}, " ")
}

// secretOf is the user and password of a generation's callouts. It is made of the client's secret, so that a registration
// that broke off half-way is taken up again with the same one.
func secretOf(c connectors.Conn, e connectors.Endpoint) (user, password string) {
	h := hmac.New(sha256.New, []byte(c.Credentials[clientSecret]))
	fmt.Fprintf(h, "callout %q %d", e.ConnectionID, e.Generation)
	return "tieline", base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// register makes sure that there are the notifications of this generation, and no others of the connection but those that
// are to stay beside.
func register(ctx context.Context, c connectors.Conn, e connectors.Endpoint) (connectors.Registration, error) {
	id := strings.Join([]string{e.ConnectionID, strconv.Itoa(e.Generation)}, "/")
	ours, err := definitions(ctx, c, e)
	if err != nil {
		return connectors.Registration{}, err
	}
	have := map[string]bool{}
	for _, d := range ours {
		switch {
		case strings.HasPrefix(d.Name, named(e, e.Generation, "")) && d.Active && d.Call.Active && d.Call.URL == e.URL:
			have[d.Name] = true
			continue
		case e.Beside != "" && strings.HasPrefix(d.Name, "Tieline "+strings.ReplaceAll(e.Beside, "/", " ")+" "):
			continue
		}
		if err := deleteDefinition(ctx, c, d.ID); err != nil {
			return connectors.Registration{}, err
		}
		if strings.HasPrefix(d.Name, named(e, e.Generation, "")) { // a create under its name would find the old effect
			return connectors.Registration{Gone: e.KnownID == id}, nil
		}
	}
	if e.KnownID == id {
		events, err := eventsOf(ctx, c)
		for _, t := range told {
			if err == nil && (!have[named(e, e.Generation, t.trigger)] || events[t.event] == "") {
				return connectors.Registration{Gone: true}, nil
			}
		}
		return connectors.Registration{ID: id}, err
	}
	for _, t := range told {
		name := named(e, e.Generation, t.trigger)
		if have[name] {
			continue
		}
		if err := ensureEvent(ctx, c, e, t.object, t.condition, t.event); err != nil {
			return connectors.Registration{}, err
		}
		if err := createDefinition(ctx, c, e, name, t.event, t.params); err != nil {
			return connectors.Registration{}, err
		}
	}
	if ours, err = definitions(ctx, c, e); err != nil {
		return connectors.Registration{}, err
	}
	for _, t := range told {
		have[named(e, e.Generation, t.trigger)] = false
	}
	for _, d := range ours {
		if _, is := have[d.Name]; is {
			have[d.Name] = true
		}
	}
	for _, there := range have {
		if !there { // it was made once, and somebody has removed it since
			return connectors.Registration{Gone: e.KnownID != ""}, nil
		}
	}
	user, password := secretOf(c, e)
	return connectors.Registration{ID: id, Secret: secretPrefix + "basic:" + user + ":" + password, Gone: e.KnownID != ""}, nil
}

// definitions are the connection's, at our own address.
func definitions(ctx context.Context, c connectors.Conn, e connectors.Endpoint) (ours []definition, err error) {
	err = listed(ctx, c, "/notifications/notification-definitions", func(d definition) {
		if strings.HasPrefix(d.Name, "Tieline "+e.ConnectionID+" ") && d.Call != nil && (e.Root == "" || strings.HasPrefix(d.Call.URL, e.Root+"/")) {
			ours = append(ours, d)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing the notifications: %w", err)
	}
	return ours, nil
}

// listed reads a list of events or notifications to its end.
func listed[T any](ctx context.Context, c connectors.Conn, list string, each func(T)) error {
	const limit = 50
	for start := 0; ; start += limit {
		var out struct {
			Data []T             `json:"data"`
			Next json.RawMessage `json:"next"`
		}
		q := url.Values{"start": {strconv.Itoa(start)}, "limit": {strconv.Itoa(limit)}}
		if _, err := get(ctx, c, list+"?"+q.Encode(), &out); err != nil {
			return err
		}
		for _, d := range out.Data {
			each(d)
		}
		if len(out.Data) < limit {
			return nil
		}
	}
}

// eventsOf are the ids of the tenant's events that are on, by name.
func eventsOf(ctx context.Context, c connectors.Conn) (map[string]string, error) {
	type event struct {
		ID     string `json:"id"`
		Active bool   `json:"active"`
		Type   struct {
			Name string `json:"name"`
		} `json:"eventType"`
	}
	out := map[string]string{}
	err := listed(ctx, c, "/events/event-triggers", func(x event) {
		if x.Active {
			out[x.Type.Name] = x.ID
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing the events: %w", err)
	}
	return out, nil
}

// ensureEvent is done anew with each generation, as somebody may have removed the event since.
func ensureEvent(ctx context.Context, c connectors.Conn, e connectors.Endpoint, object, condition, name string) error {
	there := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		events, err := eventsOf(ctx, c)
		return connectors.Ref{ID: events[name]}, events[name] != "", err
	}
	_, err := c.Effect(ctx, connectors.Set("event_trigger", name, strconv.Itoa(e.Generation)), there, func(ctx context.Context, key string) (connectors.Ref, error) {
		if ref, found, err := there(ctx, key); found || err != nil {
			ref.Adopted = true
			return ref, err
		}
		body := map[string]any{"active": true, "baseObject": object, "condition": condition, "eventType": map[string]string{"name": name, "displayName": object + " created (Tieline)", "description": "Tells Tieline of new records."}}
		var made struct {
			ID string `json:"id"`
		}
		_, err := call(ctx, c, request{http.MethodPost, "/events/event-triggers", key, body, &made})
		return connectors.Ref{ID: made.ID}, err
	})
	if err != nil {
		return fmt.Errorf("making the event %s: %w", name, err)
	}
	return nil
}

func createDefinition(ctx context.Context, c connectors.Conn, e connectors.Endpoint, name, event string, params map[string]string) error {
	user, password := secretOf(c, e)
	there := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		ours, err := definitions(ctx, c, e)
		for _, d := range ours {
			if d.Name == name {
				return connectors.Ref{ID: d.ID, Name: d.Name}, true, nil
			}
		}
		return connectors.Ref{}, false, err
	}
	_, err := c.Effect(ctx, connectors.Create("notification", name), there, func(ctx context.Context, key string) (connectors.Ref, error) {
		body := map[string]any{"name": name, "eventTypeName": event, "active": true, "calloutActive": true, "callout": map[string]any{
			"name": name, "eventTypeName": event, "calloutBaseurl": e.URL, "httpMethod": http.MethodPost, "active": true, "calloutRetry": true,
			"requiredAuth": true, "calloutAuth": map[string]any{"username": user, "password": password, "preemptive": true}, "calloutParams": params,
		}}
		var made definition
		if _, err := call(ctx, c, request{http.MethodPost, "/notifications/notification-definitions", key, body, &made}); err != nil {
			return connectors.Ref{}, err
		}
		if made.ID == "" {
			return connectors.Ref{}, garbled(http.StatusOK, true)
		}
		return connectors.Ref{ID: made.ID, Name: name}, nil
	})
	if err != nil {
		return fmt.Errorf("making the notification: %w", err)
	}
	return nil
}

func remove(ctx context.Context, c connectors.Conn, e connectors.Endpoint) error {
	ours, err := definitions(ctx, c, e)
	for _, d := range ours {
		err = errors.Join(err, deleteDefinition(ctx, c, d.ID))
	}
	return err
}

func deleteDefinition(ctx context.Context, c connectors.Conn, id string) error {
	at := path("notifications", "notification-definitions", id)
	gone := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		_, err := get(ctx, c, at, nil)
		if missing(err) {
			return connectors.Ref{ID: id}, true, nil
		}
		return connectors.Ref{}, false, err
	}
	_, err := c.Effect(ctx, connectors.Set("notification", id, "delete"), gone, func(ctx context.Context, _ string) (connectors.Ref, error) {
		if _, err := call(ctx, c, request{method: http.MethodDelete, path: at}); err != nil && !missing(err) {
			return connectors.Ref{}, err
		}
		return connectors.Ref{ID: id}, nil
	})
	if err != nil {
		return fmt.Errorf("deleting the notification %s: %w", id, err)
	}
	return nil
}
