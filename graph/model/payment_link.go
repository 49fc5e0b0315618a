package model

import "tieline/jobs/flow"

// NewPaymentLink shows a payment link.
func NewPaymentLink(l flow.PaymentLink) (*PaymentLink, error) {
	link, err := NewSlot(l.Link)
	if err != nil {
		return nil, err
	}
	out := &PaymentLink{ID: part("pln", l.Link.MappingID.String(), link.ID), URL: l.URL, Link: link, Prices: make([]*MappingSlot, len(l.Prices)), PublishableKey: text(l.PublishableKey)}
	for i, p := range l.Prices {
		if out.Prices[i], err = NewSlot(p); err != nil {
			return nil, err
		}
	}
	if l.Product != nil {
		out.Product, err = NewSlot(*l.Product)
	}
	return out, err
}
