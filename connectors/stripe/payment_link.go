package stripe

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// CreatePaymentLinkInput is a link with which a Togai price plan can be bought.
type CreatePaymentLinkInput struct {
	LineItems                []LinkItem        `json:"line_items" minLength:"1" maxLength:"20" doc:"What it sells: licensed and one-time prices of one currency, and of one interval where they recur."`
	TogaiPricePlanID         string            `json:"togai_price_plan_id" minLength:"1" maxLength:"500" doc:"The Togai price plan that is bought; checkouts of the link tell it."`
	TogaiAccountID           string            `json:"togai_account_id,omitempty" maxLength:"500" doc:"The Togai account that buys; checkouts of the link tell it. Left out, the link is for anybody."`
	PrefilledEmail           string            `json:"prefilled_email,omitempty" maxLength:"512" doc:"The e-mail address that share_url fills in for the buyer."`
	AfterCompletionURL       string            `json:"after_completion_url,omitempty" maxLength:"2048" doc:"Where the buyer is sent afterwards; Stripe shows a page of its own when it is left out."`
	AllowPromotionCodes      *bool             `json:"allow_promotion_codes,omitempty" doc:"Whether the buyer may give a promotion code."`
	BillingAddressCollection string            `json:"billing_address_collection,omitempty" enum:"auto,required" doc:"Whether the buyer must give a billing address: where Stripe needs it (auto) or always (required)."`
	SingleUse                bool              `json:"single_use,omitempty" doc:"Whether the link works for one purchase only."`
	TrialPeriodDays          int64             `json:"trial_period_days,omitempty" min:"1" max:"730" doc:"Days before a subscription is billed first."`
	Metadata                 map[string]string `json:"metadata,omitempty" doc:"More notes, which checkouts of the link get too."`
}

// LinkItem is one thing that a link sells.
type LinkItem struct {
	PriceID  string `json:"price_id" minLength:"1" doc:"Stripe's id of the price."`
	Quantity int64  `json:"quantity,omitempty" min:"1" doc:"How many: 1 when left out."`
}

// PaymentLink is what payment_link.create leaves.
type PaymentLink struct {
	PaymentLinkID string `json:"payment_link_id" doc:"Stripe's id of the link."`
	URL           string `json:"url" doc:"The link itself."`
	ShareURL      string `json:"share_url" doc:"The link for this account and buyer: give this one to the customer."`
	Active        bool   `json:"active" doc:"Whether it can be used."`
}

func createPaymentLink() connectors.Action {
	return connectors.Do("payment_link.create", "Create payment link", runCreatePaymentLink, CreatePaymentLinkInput{
		LineItems: []LinkItem{{PriceID: "price_1MoBy5LkdIwHu7ixZhnattbh", Quantity: 1}}, TogaiPricePlanID: "gold", TogaiAccountID: "acme",
	}, func(a *connectors.Action) {
		a.Description = "Makes a link with which a Togai price plan can be bought."
		a.Options = map[string]connectors.Offer{"line_items.price_id": offerPrices}
		a.Help, a.Entity = "A link cannot sell metered prices. A subscription bought by it makes a new Stripe customer, also for an e-mail address that is known.", "payment_link"
	})
}

// Attributes of a payment link's Ref.
const (
	attrURL    = "url"
	attrShare  = "share_url"
	attrActive = "active"
	attrSells  = "sells"
)

func runCreatePaymentLink(ctx context.Context, c connectors.Conn, in CreatePaymentLinkInput) (PaymentLink, error) {
	if u, err := url.Parse(in.AfterCompletionURL); in.AfterCompletionURL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		return PaymentLink{}, wrongInput("after_completion_url", "is not an address of the web")
	}
	// One link for each account in the mapping of the plan, and one for anybody.
	ref, err := c.Effect(ctx, connectors.Create("payment_link", in.TogaiAccountID), in.probe(c), func(ctx context.Context, key string) (connectors.Ref, error) {
		recurring, err := in.sellable(ctx, c)
		if err != nil {
			return connectors.Ref{}, err
		}
		if !recurring && in.TrialPeriodDays > 0 {
			return connectors.Ref{}, wrongInput("trial_period_days", "needs a price that recurs")
		}
		l, err := api(c).PaymentLinks.New(in.params(ctx, key, recurring))
		if err != nil {
			return connectors.Ref{}, failed(c, err, true)
		}
		if l.ID == "" || l.URL == "" {
			return connectors.Ref{}, garbled(errNoID, true)
		}
		return in.ref(l), nil
	})
	if err != nil {
		return PaymentLink{}, fmt.Errorf("creating payment link: %w", err)
	}
	if had := ref.Attributes[attrSells]; had != "" && had != in.sells() {
		return PaymentLink{}, wrongInput("line_items", fmt.Sprintf("are not what payment link %s sells, which is there for this price plan already: remove it from the mapping to make a new one", ref.ID))
	}
	link := ref.Attributes[attrURL]
	return PaymentLink{PaymentLinkID: ref.ID, URL: link, ShareURL: in.share(link), Active: ref.Attributes[attrActive] != "false"}, nil
}

func (in CreatePaymentLinkInput) ref(l *stripe.PaymentLink) connectors.Ref {
	return connectors.Ref{ID: l.ID, Attributes: map[string]string{attrURL: l.URL, attrShare: in.share(l.URL), attrActive: fmt.Sprint(l.Active), attrSells: in.sells()}}
}

// sells says in one text what is sold, and to whose plan.
func (in CreatePaymentLinkInput) sells() string {
	parts := []string{in.TogaiPricePlanID}
	for _, i := range in.LineItems {
		parts = append(parts, fmt.Sprintf("%d×%s", max(i.Quantity, 1), i.PriceID))
	}
	return strings.Join(parts, " ")
}

// share is the link for one account: Stripe hands the reference on to the checkout.
func (in CreatePaymentLinkInput) share(link string) string {
	u, err := url.Parse(link)
	if err != nil || link == "" {
		return link
	}
	q := u.Query()
	if r := reference(in.TogaiAccountID); r != "" {
		q.Set("client_reference_id", r)
	}
	if in.PrefilledEmail != "" {
		q.Set("prefilled_email", in.PrefilledEmail)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// sellable says whether what is sold recurs, and refuses what Stripe cannot sell together, in plainer words than it does.
func (in CreatePaymentLinkInput) sellable(ctx context.Context, c connectors.Conn) (recurring bool, err error) {
	var currency stripe.Currency
	interval := ""
	for i, item := range in.LineItems {
		field := fmt.Sprintf("line_items[%d].price_id", i)
		p, err := api(c).Prices.Get(item.PriceID, &stripe.PriceParams{Params: read(ctx)})
		switch err = failed(c, err, false); {
		case missing(err):
			return false, wrongInput(field, "is no price of this Stripe account")
		case err != nil:
			return false, fmt.Errorf("reading price %s: %w", item.PriceID, err)
		case p.ID == "":
			return false, garbled(errNoID, false)
		case !p.Active:
			return false, wrongInput(field, "is archived, and a link cannot sell it")
		case currency != "" && p.Currency != currency:
			return false, wrongInput(field, fmt.Sprintf("is in %s, the prices before it in %s: a link has one currency", p.Currency, currency))
		}
		currency = p.Currency
		if p.Recurring == nil {
			continue
		}
		every := fmt.Sprintf("%d %s", p.Recurring.IntervalCount, p.Recurring.Interval)
		switch {
		case p.Recurring.UsageType == stripe.PriceRecurringUsageTypeMetered:
			return false, wrongInput(field, "is metered, and a link cannot sell it: sell a licensed price, of 0 if need be")
		case recurring && every != interval:
			return false, wrongInput(field, fmt.Sprintf("is billed every %s, a price before it every %s: a link has one interval", every, interval))
		}
		recurring, interval = true, every
	}
	return recurring, nil
}

func (in CreatePaymentLinkInput) ownMetadata() map[string]string {
	m := map[string]string{metaPlan: in.TogaiPricePlanID}
	if in.TogaiAccountID != "" {
		m[metaAccount] = in.TogaiAccountID
	}
	return m
}

func (in CreatePaymentLinkInput) params(ctx context.Context, key string, recurring bool) *stripe.PaymentLinkParams {
	p := &stripe.PaymentLinkParams{
		Params: write(ctx, key), AllowPromotionCodes: in.AllowPromotionCodes, BillingAddressCollection: given(in.BillingAddressCollection),
		Metadata: marked(in.Metadata, in.ownMetadata(), key),
	}
	for _, i := range in.LineItems {
		p.LineItems = append(p.LineItems, &stripe.PaymentLinkLineItemParams{Price: stripe.String(i.PriceID), Quantity: stripe.Int64(max(i.Quantity, 1))})
	}
	if in.AfterCompletionURL != "" {
		p.AfterCompletion = &stripe.PaymentLinkAfterCompletionParams{
			Type: stripe.String("redirect"), Redirect: &stripe.PaymentLinkAfterCompletionRedirectParams{URL: stripe.String(in.AfterCompletionURL)},
		}
	}
	if in.SingleUse {
		p.Restrictions = &stripe.PaymentLinkRestrictionsParams{CompletedSessions: &stripe.PaymentLinkRestrictionsCompletedSessionsParams{Limit: stripe.Int64(1)}}
	}
	if !recurring {
		p.CustomerCreation = stripe.String("always") // else a single payment leaves no customer to link; subscriptions always make one
		return p
	}
	p.SubscriptionData = &stripe.PaymentLinkSubscriptionDataParams{Metadata: in.ownMetadata()}
	if in.TrialPeriodDays > 0 {
		p.SubscriptionData.TrialPeriodDays = stripe.Int64(in.TrialPeriodDays)
	}
	return p
}

// probe looks through all links: Stripe neither searches them nor says when they were made.
func (in CreatePaymentLinkInput) probe(c connectors.Conn) connectors.Probe {
	return func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		it := api(c).PaymentLinks.List(&stripe.PaymentLinkListParams{ListParams: list(ctx)})
		for it.Next() {
			if l := it.PaymentLink(); l.Metadata[metaEffect] == key {
				return in.ref(l), true, nil
			}
		}
		if err := it.Err(); err != nil {
			return connectors.Ref{}, false, fmt.Errorf("listing payment links: %w", failed(c, err, false))
		}
		return connectors.Ref{}, false, nil
	}
}
