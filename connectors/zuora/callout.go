package zuora

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"tieline/connectors"
)

// Zuora's webhooks are callouts, whose body is whatever the customer wrote, and which are sent again until they are answered
// 200. So a body says which record to read, and no more.

// body is what a callout may say, however it was written.
type body struct {
	event        string // ours, where we registered the callout
	account      string
	subscription string // its number
	notes        string
	created      string
	at           time.Time
}

// Names under which callouts have been seen to say it.
var (
	accountNames      = []string{"AccountId", "AccountID", "accountId", "Account.Id", "account_id"}
	subscriptionNames = []string{"SubscriptionNumber", "subscriptionNumber", "Subscription.Name", "SubscriptionName", "Subscription.SubscriptionNumber", "subscription_number"}
	createdNames      = []string{"CreatedDate", "createdDate", "Account.CreatedDate", "Subscription.CreatedDate"}
)

// parse reads JSON or a form.
func parse(raw []byte) (body, error) {
	fields := map[string]string{}
	var object map[string]any
	if json.Unmarshal(raw, &object) == nil {
		for k, v := range object {
			if text, ok := v.(string); ok {
				fields[k] = strings.TrimSpace(text)
			}
		}
	} else if form, err := url.ParseQuery(string(raw)); err == nil {
		for k := range form {
			fields[k] = strings.TrimSpace(form.Get(k))
		}
	}
	first := func(names ...string) string {
		for _, n := range names {
			if fields[n] != "" {
				return fields[n]
			}
		}
		return ""
	}
	b := body{event: fields["Event"], account: first(accountNames...), subscription: first(subscriptionNames...), notes: first("Notes", "Account.Notes"), created: first(createdNames...)}
	if b.at = timeOf(b.created); b.account == "" && b.subscription == "" {
		return body{}, connectors.ErrMalformed
	}
	return b, nil
}

// json writes it as our own callouts do.
func (b body) json() ([]byte, error) {
	out := map[string]any{"Event": b.event, "AccountId": b.account, "CreatedDate": b.created}
	optional(out, "SubscriptionNumber", b.subscription, "Notes", b.notes)
	return json.Marshal(out)
}

// trigger is the one that it is for: only what is about a subscription names one.
func (b body) trigger() string {
	switch {
	case b.event != "":
		return b.event
	case b.subscription != "":
		return "subscription.created"
	}
	return "account.created"
}

// envelope is the same for a callout and for a record that was listed, so that the two are one event.
func envelope(raw []byte) (connectors.Envelope, error) {
	b, err := parse(raw)
	if err != nil {
		return connectors.Envelope{}, err
	}
	e := connectors.Envelope{Type: b.trigger(), At: b.at}
	switch {
	case e.Type == "account.created" && b.account != "":
		e.Trigger, e.DedupeKey = e.Type, "account.created:"+b.account
	case e.Type == "subscription.created" && b.subscription != "":
		e.Trigger, e.DedupeKey = e.Type, "subscription.created:"+b.subscription
	case e.Type == "account.created" || e.Type == "subscription.created":
		return connectors.Envelope{}, connectors.ErrMalformed
	}
	return e, nil
}

// secretPrefix begins what a callout proves itself with: callout:basic:USER:PASSWORD, callout:header:NAME:VALUE,
// callout:hmac:HEADER:KEY or callout:bearer:TOKEN.
const secretPrefix = "callout:"

// open believes a callout that proves itself by any of the secrets. Zuora sends a user and password only once it was asked
// for them, unless it is told to send them at once, so that one without is no forgery. There is no time to go by.
func open(d connectors.Delivery, secrets []string) (connectors.Envelope, error) {
	asks := false
	for _, s := range secrets {
		s, ok := strings.CutPrefix(s, secretPrefix)
		way, rest, _ := strings.Cut(s, ":")
		name, value, _ := strings.Cut(rest, ":")
		if !ok || rest == "" {
			continue
		}
		good := false
		switch {
		case way == "basic" && name != "" && value != "":
			given := d.Header.Get("Authorization")
			asks = asks || given == ""
			good = equal(given, "Basic "+base64.StdEncoding.EncodeToString([]byte(rest)))
		case way == "bearer":
			good = equal(d.Header.Get("Authorization"), "Bearer "+rest)
		case way == "header" && value != "":
			good = equal(d.Header.Get(name), value)
		case way == "hmac" && value != "":
			good = signed(d.Header.Get(name), value, d.Body)
		}
		if good {
			return envelope(d.Body)
		}
	}
	if asks {
		return connectors.Envelope{}, connectors.ErrNoProof
	}
	return connectors.Envelope{}, connectors.ErrBadSignature
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// signed checks a HMAC-SHA256 of the body, in hex or base64, with or without the algorithm's name before it.
func signed(given, key string, body []byte) bool {
	h := hmac.New(sha256.New, []byte(key))
	h.Write(body)
	sum := h.Sum(nil)
	if len(given) > 7 && strings.EqualFold(given[:7], "sha256=") {
		given = given[7:]
	}
	return equal(strings.ToLower(given), hex.EncodeToString(sum)) || equal(given, base64.StdEncoding.EncodeToString(sum))
}
