package stripesim

import (
	"fmt"
	"net/http"
	"strings"

	"tieline/connectors/sim"
)

// pages are what buyers see: a GET shows what a link sells or an invoice asks for, a POST buys or pays it, with what the
// link's address says of the buyer.
func (s *Sim) pages() {
	sim.Control(s.Core, "GET /_sim/pay/{id}", func(r *http.Request, _ struct{}) (any, error) {
		_, o, err := s.page(r.PathValue("id"))
		return o, err
	})
	sim.Control(s.Core, "POST /_sim/pay/{id}", func(r *http.Request, _ struct{}) (any, error) {
		a, o, err := s.page(r.PathValue("id"))
		switch {
		case err != nil:
			return nil, err
		case o["object"] == "invoice":
			return struct{}{}, a.PayHosted(o["id"].(string))
		}
		q := r.URL.Query()
		session := a.Complete(Checkout{Link: o["id"].(string), ClientReferenceID: q.Get("client_reference_id"), Email: q.Get("prefilled_email"), Name: q.Get("name")})
		if session == nil {
			return nil, fmt.Errorf("the link is not active any more")
		}
		return session, nil
	})
}

// page finds the link or the invoice of a page in test mode.
func (s *Sim) page(id string) (*Account, object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		if o, gone, ok := a.test.get("invoice", id); ok && !gone {
			return a, o, nil
		}
		for _, o := range a.test.table("payment_link").current() {
			if strings.HasSuffix(o["url"].(string), "/"+id) {
				return a, o, nil
			}
		}
	}
	return nil, nil, fmt.Errorf("no page %q", id)
}
