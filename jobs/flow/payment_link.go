package flow

import (
	"cmp"
	"context"
	"slices"

	"tieline/db"
)

// PaymentLink is what a Togai account buys a price plan with, in the one vendor account that the link is in.
type PaymentLink struct {
	URL            string // for this account's people
	Link           db.Slot
	Product        *db.Slot
	Prices         []db.Slot // by role, their key
	PublishableKey string
}

// PaymentLink finds the link of an account, or else the one for anybody, in the mapping of a price plan. db.ErrNotFound when
// there is none; db.ErrConflict when several Togai accounts hold such a plan and none is named.
func (e *Engine) PaymentLink(ctx context.Context, org db.ID, account, plan string, togai db.ID) (PaymentLink, error) {
	m, err := db.MappingByRecord(ctx, e.DB, org, "togai", "price_plan", plan, togai)
	if err != nil {
		return PaymentLink{}, err
	}
	all, err := db.SlotsByMapping(ctx, e.DB, org, []db.ID{m.ID})
	if err != nil {
		return PaymentLink{}, err
	}
	slots := slices.DeleteFunc(all[m.ID], func(s db.Slot) bool { return s.ExternalID == "" })
	i := slices.IndexFunc(slots, func(s db.Slot) bool { return s.Entity == "payment_link" && s.Role == account })
	if i < 0 {
		i = slices.IndexFunc(slots, func(s db.Slot) bool { return s.Entity == "payment_link" && s.Role == "" })
	}
	if i < 0 {
		return PaymentLink{}, db.ErrNotFound
	}
	out := PaymentLink{Link: slots[i], URL: cmp.Or(slots[i].Attributes["share_url"], slots[i].Attributes["url"])}
	for _, s := range slots {
		switch {
		case s.VendorAccountID != out.Link.VendorAccountID:
		case s.Entity == "product":
			out.Product = &s
		case s.Entity == "price":
			out.Prices = append(out.Prices, s)
		}
	}
	out.PublishableKey, err = db.HintOf(ctx, e.DB, org, out.Link.VendorAccountID, "publishable_key")
	return out, err
}
