package zohobookssim

import (
	"net/http"

	"tieline/connectors/sim"
)

// control adds what a person does in Zoho to the control API.
func (s *Sim) control() {
	type none struct{}
	type body struct {
		Body map[string]any `json:"body"`
	}
	sim.Control(s.Core, "POST /_sim/clients", func(_ *http.Request, in struct {
		Redirects []string `json:"redirects"`
	}) (any, error) {
		id, secretOf := s.Client(in.Redirects...)
		return map[string]string{"client_id": id, "client_secret": secretOf}, nil
	})
	sim.Control(s.Core, "POST /_sim/codes", func(_ *http.Request, in struct {
		Client string   `json:"client"`
		Scopes []string `json:"scopes"`
	}) (any, error) {
		return map[string]string{"code": s.SelfClientCode(in.Client, in.Scopes...)}, nil
	})
	sim.Control(s.Core, "POST /_sim/tokens/expire", func(*http.Request, none) (any, error) {
		s.Expire()
		return none{}, nil
	})
	sim.Control(s.Core, "POST /_sim/tokens/revoke", func(*http.Request, none) (any, error) {
		s.Revoke()
		return none{}, nil
	})
	sim.Control(s.Core, "GET /_sim/organizations", func(*http.Request, none) (any, error) { return s.Organizations(), nil })
	sim.Control(s.Core, "POST /_sim/contacts", func(_ *http.Request, in body) (any, error) { return s.CreateContact(in.Body) })
	sim.Control(s.Core, "POST /_sim/items", func(_ *http.Request, in body) (any, error) { return s.CreateItem(in.Body) })
	sim.Control(s.Core, "POST /_sim/invoices", func(_ *http.Request, in body) (any, error) { return s.CreateInvoice(in.Body) })
}
