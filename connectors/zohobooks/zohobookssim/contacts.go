package zohobookssim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Contact is one as it is kept.
type Contact struct {
	ID        string            `json:"contact_id"`
	Org       string            `json:"organization_id"`
	Name      string            `json:"contact_name"`
	Number    string            `json:"contact_number"`
	Company   string            `json:"company_name"`
	SubType   string            `json:"customer_sub_type"`
	Currency  string            `json:"currency_code"`
	Notes     string            `json:"notes"`
	Status    string            `json:"status"`
	Persons   []Person          `json:"contact_persons"`
	Billing   map[string]any    `json:"billing_address"`
	Fields    map[string]string `json:"custom_fields"`
	Tax       map[string]any    `json:"tax"` // gst_treatment and others of the edition
	Terms     int               `json:"payment_terms"`
	CreatedAt time.Time         `json:"created_at"`
	UpdatedAt time.Time         `json:"updated_at"`
}

// Person is somebody at a contact.
type Person struct {
	ID      string `json:"contact_person_id"`
	First   string `json:"first_name"`
	Last    string `json:"last_name"`
	Email   string `json:"email"`
	Phone   string `json:"phone"`
	Primary bool   `json:"is_primary_contact"`
}

// Email is that of the primary person.
func (x Contact) Email() string {
	for _, p := range x.Persons {
		if p.Primary {
			return p.Email
		}
	}
	return ""
}

// editionFields are those that the organizations of an edition know.
var editionFields = map[string][]string{
	"us": {"tax_authority_id", "tax_exemption_id", "is_taxable"}, "uk": {"vat_treatment", "vat_reg_no"}, "in": {"gst_treatment", "gst_no", "place_of_contact", "place_of_supply"},
	"gcc": {"tax_treatment", "tax_reg_no", "place_of_contact", "place_of_supply"},
}

// taxFields reads those of the edition out of a body, and refuses those of others. Sim.mu is held.
func (c *call) taxFields(in map[string]any) (map[string]any, error) {
	out := map[string]any{}
	for edition, names := range editionFields {
		for _, n := range names {
			if v, given := in[n]; given && slices.Contains(editionFields[c.org.Edition], n) {
				out[n] = v
			} else if given && edition != c.org.Edition {
				return nil, refuse(http.StatusBadRequest, badValue, "Invalid value passed for %s", n)
			}
		}
	}
	return out, nil
}

// contact finds one of the organization. Sim.mu is held.
func (c *call) contact(id string) (*Contact, error) {
	i := slices.IndexFunc(c.sim.contacts, func(x *Contact) bool { return x.ID == id && x.Org == c.org.ID })
	if i < 0 {
		return nil, refuse(http.StatusNotFound, notThere, "Contact does not exist.")
	}
	return c.sim.contacts[i], nil
}

func contacts(s *Sim) {
	s.handle("POST", "/contacts", "contacts", func(c *call) (reply, error) {
		x := &Contact{Status: "active", CreatedAt: c.now, UpdatedAt: c.now, Org: c.org.ID}
		if err := c.fillContact(x); err != nil {
			return reply{}, err
		}
		x.ID = s.nextID()
		s.contacts = append(s.contacts, x)
		return reply{status: http.StatusCreated, message: "The contact has been created", fields: map[string]any{"contact": c.showContact(x)}}, nil
	})
	s.handle("GET", "/contacts", "contacts", func(c *call) (reply, error) {
		rows := []map[string]any{}
		for _, x := range slices.Backward(s.contacts) {
			if x.Org == c.org.ID && c.matches(x) {
				p := Person{}
				if i := slices.IndexFunc(x.Persons, func(p Person) bool { return p.Primary }); i >= 0 {
					p = x.Persons[i]
				}
				rows = append(rows, map[string]any{
					"contact_id": x.ID, "contact_name": x.Name, "company_name": x.Company, "contact_type": "customer", "status": x.Status, "currency_code": x.Currency,
					"first_name": p.First, "last_name": p.Last, "email": p.Email, "phone": p.Phone, "outstanding_receivable_amount": 0, "created_time": stamp(x.CreatedAt), "last_modified_time": stamp(x.UpdatedAt),
				})
			}
		}
		return c.listed("contacts", rows)
	})
	s.handle("GET", "/contacts/{}", "contacts", func(c *call) (reply, error) {
		x, err := c.contact(c.id)
		if err != nil {
			return reply{}, err
		}
		return reply{fields: map[string]any{"contact": c.showContact(x)}}, nil
	})
	s.handle("PUT", "/contacts/{}", "contacts", func(c *call) (reply, error) {
		x, err := c.contact(c.id)
		if err != nil {
			return reply{}, err
		}
		if err := c.fillContact(x); err != nil {
			return reply{}, err
		}
		x.UpdatedAt = c.now
		return reply{message: "Contact information has been saved.", fields: map[string]any{"contact": c.showContact(x)}}, nil
	})
}

// matches says whether a contact is what the query asks for. Sim.mu is held.
func (c *call) matches(x *Contact) bool {
	is := func(filter, value string) bool {
		want := c.query.Get(filter)
		return want == "" || strings.EqualFold(want, value)
	}
	text := strings.ToLower(c.query.Get("search_text"))
	shown := strings.ToLower(strings.Join([]string{x.Name, x.Company, x.Number, x.Email()}, "\n"))
	return is("contact_name", x.Name) && is("company_name", x.Company) && is("email", x.Email()) && is("contact_type", "customer") && strings.Contains(shown, text)
}

// fillContact puts what a body says into a contact; what is not given stays. Sim.mu is held.
func (c *call) fillContact(x *Contact) error {
	var in struct {
		Name     *string          `json:"contact_name"`
		Number   *string          `json:"contact_number"`
		Company  *string          `json:"company_name"`
		Type     string           `json:"contact_type"`
		SubType  *string          `json:"customer_sub_type"`
		Currency *string          `json:"currency_id"`
		Notes    *string          `json:"notes"`
		Terms    *int             `json:"payment_terms"`
		Billing  map[string]any   `json:"billing_address"`
		Persons  []Person         `json:"contact_persons"`
		Custom   []map[string]any `json:"custom_fields"`
	}
	var raw map[string]any
	if err := c.decode(&in); err != nil {
		return err
	}
	if err := c.decode(&raw); err != nil {
		return err
	}
	tax, err := c.taxFields(raw)
	if err != nil {
		return err
	}
	name := x.Name
	if in.Name != nil {
		name = strings.TrimSpace(*in.Name)
	}
	switch {
	case name == "" || len(name) > 200 || in.Name == nil: // PUT wants it again
		return refuse(http.StatusBadRequest, missingField, "Enter the contact name")
	case slices.ContainsFunc(c.sim.contacts, func(o *Contact) bool { return o != x && o.Org == c.org.ID && strings.EqualFold(o.Name, name) }):
		return refuse(http.StatusBadRequest, nameTaken, "The customer %q already exists. Please specify a different name.", name)
	case in.Type != "" && in.Type != "customer" && in.Type != "vendor":
		return refuse(http.StatusBadRequest, badValue, "Invalid value passed for contact_type")
	}
	for i, p := range in.Persons {
		if p.Email != "" && (!strings.Contains(p.Email, "@") || len(p.Email) > 100) || len(p.First) > 100 || len(p.Last) > 100 {
			return refuse(http.StatusBadRequest, badValue, "Invalid value passed for contact_persons[%d]", i)
		}
	}
	if in.Number != nil && *in.Number != "" && slices.ContainsFunc(c.sim.contacts, func(o *Contact) bool { return o != x && o.Org == c.org.ID && o.Number == *in.Number }) {
		return refuse(http.StatusBadRequest, taken, "The customer number %s is used already.", *in.Number)
	}
	currency, err := c.currency(deref(in.Currency))
	if err != nil {
		return err
	}
	if in.Custom != nil || x.Fields == nil {
		if x.Fields, err = c.custom("contact", in.Custom); err != nil {
			return err
		}
	}
	x.Name = name
	if in.Currency != nil || x.Currency == "" {
		x.Currency = currency.Code
	}
	set(&x.Number, in.Number)
	set(&x.Company, in.Company)
	set(&x.SubType, in.SubType)
	set(&x.Notes, in.Notes)
	if x.Number == "" && x.ID == "" {
		c.org.numbers["CUS"]++
		x.Number = fmt.Sprintf("CUS-%05d", c.org.numbers["CUS"])
	}
	if in.Terms != nil {
		x.Terms = *in.Terms
	}
	if in.Billing != nil {
		x.Billing = in.Billing
	}
	if in.Persons != nil {
		x.Persons = in.Persons
		for i := range x.Persons {
			x.Persons[i].ID = cmp.Or(x.Persons[i].ID, c.sim.nextID())
		}
		if !slices.ContainsFunc(x.Persons, func(p Person) bool { return p.Primary }) && len(x.Persons) > 0 {
			x.Persons[0].Primary = true
		}
	}
	x.Tax = tax
	return nil
}

func set(to *string, given *string) {
	if given != nil {
		*to = *given
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// showContact is a contact as GET has it. Sim.mu is held.
func (c *call) showContact(x *Contact) map[string]any {
	persons := []map[string]any{}
	primary := ""
	for _, p := range x.Persons {
		persons = append(persons, map[string]any{"contact_person_id": p.ID, "first_name": p.First, "last_name": p.Last, "email": p.Email, "phone": p.Phone, "is_primary_contact": p.Primary})
		if p.Primary {
			primary = p.ID
		}
	}
	currency := ""
	for _, y := range c.org.Currencies {
		if y.Code == x.Currency {
			currency = y.ID
		}
	}
	billing := x.Billing
	if billing == nil {
		billing = map[string]any{}
	}
	return map[string]any{
		"contact_id": x.ID, "contact_name": x.Name, "contact_number": x.Number, "company_name": x.Company, "contact_type": "customer", "customer_sub_type": cmp.Or(x.SubType, "business"),
		"currency_id": currency, "currency_code": x.Currency, "notes": x.Notes, "status": x.Status, "contact_persons": persons, "primary_contact_id": primary, "billing_address": billing,
		"custom_fields": c.org.shown("contact", x.Fields), "payment_terms": x.Terms, "outstanding_receivable_amount": 0, "unused_credits_receivable_amount": 0,
		"created_time": stamp(x.CreatedAt), "last_modified_time": stamp(x.UpdatedAt),
	}
}

// CreateContact makes a contact by hand, as a person does; body is that of POST /contacts.
func (s *Sim) CreateContact(body map[string]any) (Contact, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return Contact{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &call{sim: s, org: s.organizations[0], body: raw, now: s.Clock.Now().UTC()}
	x := &Contact{Status: "active", CreatedAt: c.now, UpdatedAt: c.now, Org: c.org.ID}
	if err := c.fillContact(x); err != nil {
		return Contact{}, err
	}
	x.ID = s.nextID()
	s.contacts = append(s.contacts, x)
	return *x, nil
}
