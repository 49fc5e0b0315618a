package zohobooks

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"tieline/connectors"
)

// contact as GET answers it. In lists it is flat, with the primary person's parts and without the rest.
type contact struct {
	ID       id       `json:"contact_id"`
	Name     string   `json:"contact_name"`
	Number   string   `json:"contact_number"`
	Company  string   `json:"company_name"`
	Status   string   `json:"status"`
	Currency string   `json:"currency_code"`
	Terms    int      `json:"payment_terms"`
	Notes    string   `json:"notes"`
	Email    string   `json:"email"` // in lists
	Persons  []person `json:"contact_persons"`
	Billing  address  `json:"billing_address"`
	Custom   []custom `json:"custom_fields"`
}

// person is somebody at a contact; the e-mail address is theirs, not the contact's.
type person struct {
	ID      id     `json:"contact_person_id,omitempty"`
	First   string `json:"first_name,omitempty"`
	Last    string `json:"last_name,omitempty"`
	Email   string `json:"email,omitempty"`
	Phone   string `json:"phone,omitempty"`
	Primary bool   `json:"is_primary_contact"`
}

// address on the wire.
type address struct {
	Address string `json:"address,omitempty"`
	Street2 string `json:"street2,omitempty"`
	City    string `json:"city,omitempty"`
	State   string `json:"state,omitempty"`
	Zip     string `json:"zip,omitempty"`
	Country string `json:"country,omitempty"`
}

// Address is a postal address; what is not known is empty.
type Address struct {
	Line1      string `json:"line1" doc:"Street and number." required:"false"`
	Line2      string `json:"line2" doc:"Flat, floor, building." required:"false"`
	City       string `json:"city" doc:"City or town." required:"false"`
	State      string `json:"state" doc:"State or province." required:"false"`
	PostalCode string `json:"postal_code" doc:"Postal code." required:"false"`
	Country    string `json:"country" doc:"As Zoho Books writes it; it takes codes and names." required:"false"`
}

func (a Address) wire() address {
	return address{a.Line1, a.Line2, a.City, a.State, a.PostalCode, a.Country}
}

// Contact is one as actions show it. Texts that Zoho Books does not know are empty, never left out.
type Contact struct {
	ContactID     string            `json:"contact_id" doc:"Zoho Books' id of the contact."`
	ContactNumber string            `json:"contact_number" doc:"Its number, such as its id elsewhere."`
	Name          string            `json:"name" doc:"Its name, which no other contact has."`
	Company       string            `json:"company" doc:"The company's name; empty when not known."`
	Status        string            `json:"status" doc:"active or inactive."`
	Currency      string            `json:"currency" doc:"ISO 4217."`
	FirstName     string            `json:"first_name" doc:"Of the primary contact person."`
	LastName      string            `json:"last_name" doc:"Of the primary contact person."`
	Email         string            `json:"email" doc:"Of the primary contact person; empty when not known."`
	Phone         string            `json:"phone" doc:"Of the primary contact person; empty when not known."`
	PaymentTerms  int               `json:"payment_terms" doc:"Days until its invoices are due."`
	Notes         string            `json:"notes" doc:"Notes kept at the contact."`
	Address       Address           `json:"address" doc:"Where it is billed; its parts are empty when not known."`
	CustomFields  map[string]string `json:"custom_fields" doc:"Fields that the organization has added, by API name."`
}

// primary is the primary contact person; empty when there is none.
func (x contact) primary() person {
	for _, p := range x.Persons {
		if p.Primary {
			return p
		}
	}
	return person{Email: x.Email}
}

func (x contact) plain() Contact {
	p, a := x.primary(), x.Billing
	return Contact{
		ContactID: string(x.ID), ContactNumber: x.Number, Name: x.Name, Company: x.Company, Status: x.Status, Currency: x.Currency, FirstName: p.First, LastName: p.Last, Email: p.Email,
		Phone: p.Phone, PaymentTerms: x.Terms, Notes: withoutMark(x.Notes), Address: Address{a.Address, a.Street2, a.City, a.State, a.Zip, a.Country}, CustomFields: values(x.Custom),
	}
}

// What we make carries our key where Zoho Books keeps notes for its users alone: it takes no idempotency key, and a name or
// number alone does not say who chose it.
var markOf = regexp.MustCompile(`\s*\[(tl_[A-Za-z0-9_]+)\]$`)

func marked(text, key string) string { return strings.TrimSpace(text + " [" + key + "]") }

func markIn(text string) string {
	if m := markOf.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

func withoutMark(text string) string { return markOf.ReplaceAllString(text, "") }

func fetchContact(ctx context.Context, c connectors.Conn, key string) (contact, error) {
	var out struct {
		Contact contact `json:"contact"`
	}
	if err := get(ctx, c, path("contacts", key), nil, &out); err != nil {
		return contact{}, fmt.Errorf("reading contact %s: %w", key, err)
	}
	if out.Contact.ID == "" {
		return contact{}, garbled(http.StatusOK, false)
	}
	return out.Contact, nil
}

var sampleContact = contact{ID: "18446744000000117", Name: "Acme Inc.", Number: "acme", Currency: "USD", Status: "active"}

// GetContactInput names a contact.
type GetContactInput struct {
	ContactID string `json:"contact_id" pattern:"^[0-9]{1,30}$" doc:"Zoho Books' id of the contact."`
}

func getContact() connectors.Action {
	return connectors.Do("contact.get", "Get contact", func(ctx context.Context, c connectors.Conn, in GetContactInput) (Contact, error) {
		x, err := fetchContact(ctx, c, in.ContactID)
		return x.plain(), err
	}, GetContactInput{ContactID: string(sampleContact.ID)}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Reads one contact with its primary contact person; a missing one is an error.", "contact", true
		a.Options = map[string]connectors.Offer{"contact_id": offerContacts}
		a.Help = "It answers the contact as Zoho Books has it now."
	})
}

// FindContactInput says which contact is looked for, by one thing alone.
type FindContactInput struct {
	Name          string `json:"name,omitempty" maxLength:"200" doc:"Its exact name."`
	Email         string `json:"email,omitempty" maxLength:"100" doc:"The e-mail address of its primary contact person."`
	ContactNumber string `json:"contact_number,omitempty" maxLength:"100" doc:"Its number."`
}

// FoundContact is what was found.
type FoundContact struct {
	Found     bool   `json:"found" doc:"Whether there is such a contact."`
	ContactID string `json:"contact_id" doc:"Of the contact that was found, the newest of several; empty when there is none."`
	Name      string `json:"name" doc:"Its name; empty when there is none."`
	Matches   int    `json:"matches" doc:"How many there are."`
}

func findContact() connectors.Action {
	return connectors.Do("contact.find", "Find contact", runFindContact, FindContactInput{Email: "billing@acme.example"}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Looks for a contact by its name, e-mail address or number; none is no error.", "contact", true
		a.Help = "Give one of the three. By number, the first twenty that Zoho Books' search finds are looked at."
	})
}

func runFindContact(ctx context.Context, c connectors.Conn, in FindContactInput) (FoundContact, error) {
	given := 0
	for _, v := range []string{in.Name, in.Email, in.ContactNumber} {
		if v != "" {
			given++
		}
	}
	if given != 1 {
		return FoundContact{}, wrong("name", "Give exactly one of name, email and contact_number.")
	}
	out := FoundContact{}
	took := func(x contact) (bool, error) {
		if out.Matches++; !out.Found {
			out.Found, out.ContactID, out.Name = true, string(x.ID), x.Name
		}
		return false, nil
	}
	var err error
	if in.ContactNumber != "" {
		err = byNumber(ctx, c, in.ContactNumber, took)
	} else {
		query := url.Values{"contact_type": {"customer"}}
		optional(query, "contact_name", in.Name, "email", in.Email)
		err = each(ctx, c, "/contacts", query, func(x contact) (bool, error) {
			if in.Name != "" && !strings.EqualFold(x.Name, in.Name) || in.Email != "" && !strings.EqualFold(x.Email, in.Email) {
				return false, nil
			}
			return took(x)
		}, "contacts")
	}
	if err != nil {
		return FoundContact{}, fmt.Errorf("looking for a contact: %w", err)
	}
	return out, nil
}

// most is how many contacts are read for one number: a short one is found in many e-mail addresses and telephone numbers, and
// a minute has few calls.
const most = 20

// byNumber goes through the contacts of a number. Lists do not show it and have no filter for it, so what a search for it
// finds is read, as far as that goes.
func byNumber(ctx context.Context, c connectors.Conn, number string, do func(contact) (bool, error)) error {
	read := 0
	return each(ctx, c, "/contacts", url.Values{"contact_type": {"customer"}, "search_text": {cut(number, 100)}}, func(row contact) (bool, error) {
		if read++; read > most {
			return true, nil
		}
		x, err := fetchContact(ctx, c, string(row.ID))
		switch {
		case missing(err):
			return false, nil
		case err != nil:
			return false, err
		case x.Number != number:
			return false, nil
		}
		return do(x)
	}, "contacts")
}

// optional adds texts that are not empty.
func optional(out url.Values, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out.Set(pairs[i], pairs[i+1])
		}
	}
}

// given adds texts that are not empty to a body.
func given(out map[string]any, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out[pairs[i]] = pairs[i+1]
		}
	}
}

// cut bounds a text in characters.
func cut(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n])
	}
	return text
}
