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
	version      string // the id of one of its versions
	notes        string
	noted        bool // it has notes, if only empty ones
	created      string
	at           time.Time
}

// Names under which callouts have been seen to say it.
var (
	accountNames      = []string{"AccountId", "AccountID", "accountId", "Account.Id", "account_id"}
	subscriptionNames = []string{"SubscriptionNumber", "subscriptionNumber", "Subscription.Name", "SubscriptionName", "Subscription.SubscriptionNumber", "subscription_number"}
	versionNames      = []string{"SubscriptionId", "SubscriptionID", "subscriptionId", "Subscription.Id", "subscription_id"}
	notesNames        = []string{"Notes", "Account.Notes"}
	createdNames      = []string{"CreatedDate", "createdDate", "Account.CreatedDate", "Subscription.CreatedDate"}
)

// parse reads JSON or a form, and what the body leaves open from the URL's query.
func parse(raw []byte, query url.Values) (body, error) {
	fields := map[string]string{}
	for k := range query {
		fields[k] = strings.TrimSpace(query.Get(k))
	}
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
	first := func(names []string) string {
		for _, n := range names {
			if fields[n] != "" {
				return fields[n]
			}
		}
		return ""
	}
	b := body{event: fields["Event"], account: first(accountNames), subscription: first(subscriptionNames), version: first(versionNames), notes: first(notesNames), created: first(createdNames)}
	for _, n := range notesNames {
		if _, is := fields[n]; is {
			b.noted = true
		}
	}
	if b.at = timeOf(b.created); b.account == "" && b.subscription == "" && b.version == "" {
		return body{}, connectors.ErrMalformed
	}
	return b, nil
}

// json writes it as our own callouts do.
func (b body) json() ([]byte, error) {
	out := map[string]any{"Event": b.event, "AccountId": b.account, "CreatedDate": b.created}
	optional(out, "SubscriptionNumber", b.subscription, "SubscriptionId", b.version)
	if b.noted {
		out["Notes"] = b.notes
	}
	return json.Marshal(out)
}

// trigger is the one that it is for: only what is about a subscription names one.
func (b body) trigger() string {
	switch {
	case b.event != "":
		return b.event
	case b.subscription != "" || b.version != "":
		return "subscription.created"
	}
	return "account.created"
}

// envelope is the same for a callout and for a record that was listed, so that the two are one event. A callout that knows
// only the id of a subscription's version is an event of its own: its number is read before anything is made of it.
func envelope(raw []byte, query url.Values) (connectors.Envelope, error) {
	b, err := parse(raw, query)
	if err != nil {
		return connectors.Envelope{}, err
	}
	e := connectors.Envelope{Type: b.trigger(), At: b.at}
	switch {
	case e.Type == "account.created" && b.account != "":
		e.Trigger, e.DedupeKey = e.Type, "account.created:"+b.account
	case e.Type == "subscription.created" && b.subscription != "":
		e.Trigger, e.DedupeKey = e.Type, "subscription.created:"+b.subscription
	case e.Type == "subscription.created" && b.version != "":
		e.Trigger, e.DedupeKey = e.Type, "subscription.created:version:"+b.version
	case e.Type == "account.created" || e.Type == "subscription.created":
		return connectors.Envelope{}, connectors.ErrMalformed
	}
	if whole, err := parse(raw, nil); err != nil || whole != b { // some of it is in the query
		kept, err := b.json()
		e.Body = string(kept)
		return e, err
	}
	return e, nil
}

// secretPrefix begins what a callout proves itself with: callout:basic:USER:PASSWORD, callout:header:NAME:VALUE,
// callout:hmac:HEADER:KEY, callout:oauth2:CLIENT_ID:CLIENT_SECRET or callout:bearer:TOKEN.
const secretPrefix = "callout:"

// challenge is how Zuora is asked for a user and password: it sends them only then, unless it is told to send them at once.
const challenge = `Basic realm="Tieline"`

// way is how a callout proves itself, by one of the connection's secrets.
type way struct {
	kind string
	name string // a user, a client's id or a header; of a bearer token, some of the token
	rest string // all after the kind
	key  string // all after the name
}

// ways reads secrets. Those that are none of ours are left out.
func ways(secrets []string) (all []way) {
	for _, s := range secrets {
		s, ok := strings.CutPrefix(s, secretPrefix)
		var w way
		w.kind, w.rest, _ = strings.Cut(s, ":")
		w.name, w.key, _ = strings.Cut(w.rest, ":")
		if ok && w.rest != "" && (w.kind == "bearer" || w.name != "" && w.key != "") {
			all = append(all, w)
		}
	}
	return all
}

// open believes a callout that proves itself by any of the secrets. One without credentials is no forgery where Zuora sends
// them when it is asked. There is no time to go by.
func open(d connectors.Delivery, secrets []string) (connectors.Envelope, error) {
	given, asks := d.Header.Get("Authorization"), connectors.NoProof("")
	for _, w := range ways(secrets) {
		good, query := false, d.Query
		switch w.kind {
		case "basic":
			if good = equal(given, "Basic "+base64.StdEncoding.EncodeToString([]byte(w.rest))); given == "" {
				asks = challenge
			}
		case "bearer":
			good = equal(given, "Bearer "+w.rest)
		case "oauth2":
			var ended bool
			if good, ended = w.granted(given, d.ReceivedAt); ended || given == "" {
				asks = askToken
			}
		case "header":
			good = equal(d.Header.Get(w.name), w.key)
		case "hmac":
			good, query = signed(d.Header.Get(w.name), w.key, d.Body), nil // only the body is signed
		}
		if good {
			return envelope(d.Body, query)
		}
	}
	if asks != "" {
		return connectors.Envelope{}, asks
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
