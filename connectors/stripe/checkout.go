package stripe

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// CheckoutCompleted is the payload of checkout.completed.
type CheckoutCompleted struct {
	EventID           string            `json:"event_id" doc:"Stripe's id of the event."`
	OccurredAt        time.Time         `json:"occurred_at" doc:"When it was paid."`
	Livemode          bool              `json:"livemode" doc:"False for test data."`
	SessionID         string            `json:"session_id" doc:"Stripe's id of the checkout." minLength:"1" example:"cs_test_a1b2c3"`
	Mode              string            `json:"mode" doc:"payment, subscription or setup."`
	PaymentStatus     string            `json:"payment_status" doc:"paid, or no_payment_required."`
	CustomerID        string            `json:"customer_id,omitempty" doc:"The customer that the checkout made or was for."`
	CustomerEmail     string            `json:"customer_email" doc:"What the buyer typed; empty when not known."`
	CustomerName      string            `json:"customer_name" doc:"What the buyer typed; empty when not known."`
	ClientReferenceID string            `json:"client_reference_id,omitempty" doc:"As it was in the link."`
	TogaiAccountID    string            `json:"togai_account_id,omitempty" doc:"The Togai account it is for: from the link's reference, else from the metadata."`
	TogaiPricePlanID  string            `json:"togai_price_plan_id,omitempty" doc:"The Togai price plan that was bought, from the metadata."`
	PaymentLinkID     string            `json:"payment_link_id,omitempty" doc:"The payment link it came from."`
	SubscriptionID    string            `json:"subscription_id,omitempty" doc:"The subscription it began."`
	InvoiceID         string            `json:"invoice_id,omitempty" doc:"The invoice it made."`
	PaymentIntentID   string            `json:"payment_intent_id,omitempty" doc:"The payment."`
	AmountSubtotal    int64             `json:"amount_subtotal" doc:"Before tax and discounts, in the currency's smallest unit (ISO 4217)."`
	AmountTotal       int64             `json:"amount_total" doc:"What was paid, in the currency's smallest unit (ISO 4217)."`
	Currency          string            `json:"currency,omitempty" doc:"ISO 4217 in lower case."`
	LineItems         []CheckoutLine    `json:"line_items" doc:"What was bought."`
	Metadata          map[string]string `json:"metadata" doc:"Notes at the session; those of its payment link are copied to it."`
}

// CheckoutLine is one thing bought.
type CheckoutLine struct {
	PriceID     string `json:"price_id" doc:"The price; empty when it was made up for this checkout."`
	ProductID   string `json:"product_id" doc:"The product of the price."`
	LookupKey   string `json:"lookup_key" doc:"The price's lookup key; empty when it has none."`
	Description string `json:"description" doc:"The product's name."`
	Quantity    int64  `json:"quantity" doc:"How many."`
	AmountTotal int64  `json:"amount_total" doc:"Of the line, in the currency's smallest unit (ISO 4217)."`
}

func checkoutCompleted() connectors.Trigger {
	events := []string{eventCheckout, eventCheckoutLate}
	return connectors.On("checkout.completed", "Checkout payment completed", decodeCheckout, listEvents(events...), CheckoutCompleted{
		EventID: "evt_1NG8Du2eZvKYlo2CUI79vXWy", OccurredAt: sampleTime, SessionID: "cs_test_a1MD8Fpu9jkXe8ZO", Mode: "subscription", PaymentStatus: "paid",
		CustomerID: "cus_NffrFeUfNV2Hib", CustomerEmail: "jenny@example.com", CustomerName: "Jenny Rosen", ClientReferenceID: "YWNtZQ",
		TogaiAccountID: "acme", TogaiPricePlanID: "gold", PaymentLinkID: "plink_1MoC3ULkdIwHu7ixZjtGpVl2", SubscriptionID: "sub_1MowQVLkdIwHu7ixeRlqHVzs",
		AmountSubtotal: 5000, AmountTotal: 5000, Currency: "usd",
		LineItems: []CheckoutLine{{PriceID: "price_1MoBy5LkdIwHu7ixZhnattbh", ProductID: "togai_pp_gold", LookupKey: "togai_pp_gold:base", Description: "Gold", Quantity: 1, AmountTotal: 5000}},
		Metadata:  map[string]string{metaPlan: "gold"},
	}, func(t *connectors.Trigger) {
		t.Description = "A buyer went through a checkout and it is paid, at once or after a delayed payment has arrived."
		t.Entity, t.Events, t.Read = "checkout_session", events, readCheckout
		t.Reach, t.Every, t.Calm = eventLife, time.Minute, 15*time.Minute
	}, connectors.ByHand(func(p CheckoutCompleted) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: "checkout_session", ID: p.SessionID}, At: p.OccurredAt, Mode: modeOf(p.Livemode)}
	}))
}

// unpaid says why a completed session is not news yet; empty when it is paid.
func unpaid(object json.RawMessage) string {
	var s struct {
		Status        string `json:"status"`
		PaymentStatus string `json:"payment_status"`
	}
	if json.Unmarshal(object, &s) != nil || s.Status == "" && s.PaymentStatus == "" {
		return "" // Decode says what is wrong with it
	}
	switch {
	case s.PaymentStatus == "unpaid":
		return "The buyer's payment is still on its way. Stripe tells when it has arrived."
	case s.Status != "" && s.Status != "complete":
		return "The checkout is not complete."
	}
	return ""
}

// decodeCheckout is always thin: what was bought is not in the event.
func decodeCheckout(body []byte) (connectors.Occurrence, error) {
	e, err := parse(body)
	if err != nil {
		return connectors.Occurrence{}, err
	}
	var s stripe.CheckoutSession
	if err := json.Unmarshal(e.Data.Object, &s); err != nil || s.ID == "" || s.Object != "checkout.session" {
		return connectors.Occurrence{}, fmt.Errorf("event %s names no checkout session: %w", e.ID, connectors.ErrMalformed)
	}
	p, err := CheckoutCompleted{EventID: e.ID, OccurredAt: e.at(), Livemode: e.mode() == connectors.Live}.with(&s)
	if err != nil {
		return connectors.Occurrence{}, fmt.Errorf("event %s: %w: %w", e.ID, err, connectors.ErrMalformed)
	}
	return connectors.Occurrence{
		Payload: p, Record: connectors.Subject{Entity: "checkout_session", ID: s.ID, Name: buyer(p)}, BusinessKey: s.ID, At: e.at(),
		// The session's metadata is its link's, the link's mark included, and buying is never an effect of ours.
		Cause: connectors.Cause{IdempotencyKey: e.idempotencyKey()}, Thin: true,
	}, nil
}

func buyer(p CheckoutCompleted) string {
	switch {
	case p.CustomerName != "":
		return p.CustomerName
	case p.CustomerEmail != "":
		return p.CustomerEmail
	}
	return p.SessionID
}

func (p CheckoutCompleted) with(s *stripe.CheckoutSession) (CheckoutCompleted, error) {
	p.SessionID, p.Mode, p.PaymentStatus, p.CustomerEmail = s.ID, string(s.Mode), string(s.PaymentStatus), s.CustomerEmail
	p.ClientReferenceID, p.Currency, p.AmountSubtotal, p.AmountTotal = s.ClientReferenceID, string(s.Currency), s.AmountSubtotal, s.AmountTotal
	p.Metadata, p.TogaiPricePlanID = notes(s.Metadata), s.Metadata[metaPlan]
	if p.TogaiAccountID = accountOf(s); p.TogaiAccountID == "" {
		p.TogaiAccountID = s.Metadata[metaAccount]
	}
	if d := s.CustomerDetails; d != nil {
		p.CustomerName = d.Name
		if d.Email != "" {
			p.CustomerEmail = d.Email
		}
	}
	if s.Customer != nil {
		p.CustomerID = s.Customer.ID
	}
	if s.PaymentLink != nil {
		p.PaymentLinkID = s.PaymentLink.ID
	}
	if s.Subscription != nil {
		p.SubscriptionID = s.Subscription.ID
	}
	if s.Invoice != nil {
		p.InvoiceID = s.Invoice.ID
	}
	if s.PaymentIntent != nil {
		p.PaymentIntentID = s.PaymentIntent.ID
	}
	if p.LineItems == nil {
		p.LineItems = []CheckoutLine{}
	}
	return p, fromWires(p.Currency, &p.AmountSubtotal, &p.AmountTotal)
}

// reference is an account id as a link's client_reference_id can carry it: other characters than these Stripe drops, with
// the whole id. Longer ones are left out. https://docs.stripe.com/payment-links/url-parameters
func reference(account string) string {
	const most = 150 // bytes, which make the 200 characters that Stripe takes
	if len(account) > most {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(account))
}

// accountOf reads it back, from sessions of our own links alone: what others put there may look like ours.
func accountOf(s *stripe.CheckoutSession) string {
	if s.Metadata[metaPlan] == "" {
		return ""
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s.ClientReferenceID)
	if err != nil || !utf8.Valid(raw) || strings.ContainsFunc(string(raw), unicode.IsControl) {
		return ""
	}
	return string(raw)
}

// readCheckout takes the session as it is now, with all that was bought.
func readCheckout(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (connectors.Occurrence, error) {
	p, ok := o.Payload.(CheckoutCompleted)
	if !ok {
		return o, fmt.Errorf("reading checkout session %s: the payload is a %T", o.Record.ID, o.Payload)
	}
	params := &stripe.CheckoutSessionParams{Params: read(ctx)}
	params.AddExpand("line_items")
	s, err := api(c).CheckoutSessions.Get(o.Record.ID, params)
	if err != nil {
		return o, fmt.Errorf("reading checkout session %s: %w", o.Record.ID, failed(c, err, false))
	}
	if s.ID == "" {
		return o, garbled(errNoID, false)
	}
	items, err := bought(ctx, c, s)
	if err != nil {
		return o, err
	}
	if p, err = p.with(s); err != nil {
		return o, fmt.Errorf("checkout session %s: %w", s.ID, err)
	}
	p.LineItems = []CheckoutLine{}
	for _, i := range items {
		line, err := checkoutLine(i, p.Currency)
		if err != nil {
			return o, fmt.Errorf("checkout session %s: %w", s.ID, err)
		}
		p.LineItems = append(p.LineItems, line)
	}
	o.Payload, o.Record.Name, o.Thin = p, buyer(p), false
	return o, nil
}

// bought are all lines: the session itself holds the first few only.
func bought(ctx context.Context, c connectors.Conn, s *stripe.CheckoutSession) ([]*stripe.LineItem, error) {
	if s.LineItems != nil && !s.LineItems.HasMore {
		return s.LineItems.Data, nil
	}
	var items []*stripe.LineItem
	it := api(c).CheckoutSessions.ListLineItems(&stripe.CheckoutSessionListLineItemsParams{ListParams: list(ctx), Session: stripe.String(s.ID)})
	for it.Next() {
		items = append(items, it.LineItem())
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("listing what checkout session %s sold: %w", s.ID, failed(c, err, false))
	}
	return items, nil
}

func checkoutLine(i *stripe.LineItem, currency string) (CheckoutLine, error) {
	line := CheckoutLine{Description: i.Description, Quantity: i.Quantity, AmountTotal: i.AmountTotal}
	if i.Price != nil {
		line.PriceID, line.LookupKey = i.Price.ID, i.Price.LookupKey
		if i.Price.Product != nil {
			line.ProductID = i.Price.Product.ID
		}
	}
	return line, fromWires(currency, &line.AmountTotal)
}
