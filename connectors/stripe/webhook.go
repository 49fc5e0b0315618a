package stripe

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v76/webhook"

	"tieline/connectors"
)

// tolerance is how far a delivery's time may lie from ours, either way. Stripe's libraries use the same, but bound the
// past only. https://docs.stripe.com/webhooks#verify-manually
const tolerance = 5 * time.Minute

// thinObject is what the v2 events say they are: they carry ids in place of records, and no trigger of ours uses them.
// https://docs.stripe.com/event-destinations#thin-events
const thinObject = "v2.core.event"

// The event types that our triggers use. A payment by a delayed method completes the checkout unpaid and is told later.
// invoice.payment_succeeded is none of them: it does not come when an invoice was paid elsewhere, and else says it twice.
const (
	eventCustomer     = "customer.created"
	eventCheckout     = "checkout.session.completed"
	eventCheckoutLate = "checkout.session.async_payment_succeeded"
	eventInvoicePaid  = "invoice.paid"
)

// triggerOf says which trigger an event type is for. The endpoint asks for exactly these types.
var triggerOf = map[string]string{
	eventCustomer: "customer.created", eventCheckout: "checkout.completed", eventCheckoutLate: "checkout.completed", eventInvoicePaid: "invoice.paid",
}

// event is what we read of one ourselves. created is a number, in thin events a text; request is an object, in versions
// before 2017 a text; neither must keep us from taking a delivery.
type event struct {
	ID         string          `json:"id"`
	Object     string          `json:"object"`
	Type       string          `json:"type"`
	Account    string          `json:"account"` // of a connected account that the event is about
	APIVersion string          `json:"api_version"`
	Created    json.RawMessage `json:"created"`
	Livemode   *bool           `json:"livemode"`
	Data       struct {
		Object json.RawMessage `json:"object"`
	} `json:"data"`
	Request json.RawMessage `json:"request"`
}

func parse(body []byte) (event, error) {
	var e event
	if err := json.Unmarshal(body, &e); err != nil || e.ID == "" || e.Type == "" {
		return event{}, connectors.ErrMalformed
	}
	return e, nil
}

func (e event) at() time.Time {
	var unix int64
	var text time.Time
	if json.Unmarshal(e.Created, &unix) == nil && unix > 0 {
		return time.Unix(unix, 0).UTC()
	}
	_ = json.Unmarshal(e.Created, &text) // zero when it is neither
	return text
}

func (e event) mode() connectors.Mode {
	switch {
	case e.Livemode == nil:
		return ""
	}
	return modeOf(*e.Livemode)
}

func modeOf(live bool) connectors.Mode {
	if live {
		return connectors.Live
	}
	return connectors.Test
}

// idempotencyKey is that of the call which caused the event; empty for what buyers and Stripe itself do.
func (e event) idempotencyKey() string {
	var r struct {
		Key string `json:"idempotency_key"`
	}
	_ = json.Unmarshal(e.Request, &r)
	return r.Key
}

// open verifies over the raw bytes. The body's API version does not matter here: an endpoint made by hand follows the
// account's default version, and a trigger reads the record again when it differs.
func open(d connectors.Delivery, secrets []string) (connectors.Envelope, error) {
	header := d.Header.Get("Stripe-Signature")
	for _, s := range secrets {
		if s = strings.TrimSpace(s); s == "" { // an empty key is one that anybody has
			continue
		}
		// Age is ours to check, against the time of arrival and in both directions.
		if err := webhook.ValidatePayloadIgnoringTolerance(d.Body, header, s); err != nil {
			continue
		}
		if err := checkAge(header, d.ReceivedAt); err != nil {
			return connectors.Envelope{}, err
		}
		return envelope(d.Body)
	}
	return connectors.Envelope{}, connectors.ErrBadSignature
}

// checkAge reads the time that was signed: the last one, as the library does.
func checkAge(header string, received time.Time) error {
	at, found := int64(0), false
	for part := range strings.SplitSeq(header, ",") {
		if v, ok := strings.CutPrefix(part, "t="); ok {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return connectors.ErrBadSignature
			}
			at, found = n, true
		}
	}
	switch age := received.Sub(time.Unix(at, 0)); {
	case !found:
		return connectors.ErrBadSignature
	case age > tolerance:
		return connectors.ErrTooOld
	case age < -tolerance:
		return connectors.ErrTooNew
	}
	return nil
}

// envelope is the same for a body that was delivered and one that was listed.
func envelope(body []byte) (connectors.Envelope, error) {
	e, err := parse(body)
	if err != nil || e.Object != "event" && e.Object != thinObject {
		return connectors.Envelope{}, connectors.ErrMalformed
	}
	out := connectors.Envelope{DedupeKey: e.ID, Type: e.Type, Mode: e.mode(), At: e.at()}
	switch {
	case e.Object == thinObject:
		out.Ignored = "It is a thin event, which carries no record. Send snapshot events to this endpoint."
	case e.Account != "":
		out.Ignored = "It is about a connected account of this one (Stripe Connect), whose records this connection cannot read. Connect that account with a key of its own."
	case triggerOf[e.Type] == "checkout.completed" && unpaid(e.Data.Object) != "":
		out.Ignored = unpaid(e.Data.Object)
	default:
		out.Trigger = triggerOf[e.Type]
	}
	return out, nil
}
