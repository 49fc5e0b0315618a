package zuora

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"tieline/connectors"
)

// account as GET answers it.
type account struct {
	BasicInfo struct {
		ID            string                     `json:"id"`
		Name          string                     `json:"name"`
		AccountNumber string                     `json:"accountNumber"`
		Status        string                     `json:"status"`
		CrmID         string                     `json:"crmId"`
		Notes         string                     `json:"notes"`
		Custom        map[string]json.RawMessage `json:"-"` // those whose names end in __c
	} `json:"basicInfo"`
	Billing struct {
		Currency     string `json:"currency"`
		PaymentTerm  string `json:"paymentTerm"`
		BillCycleDay any    `json:"billCycleDay"`
	} `json:"billingAndPayment"`
	BillTo contact `json:"billToContact"`
}

// UnmarshalJSON also keeps the custom fields.
func (a *account) UnmarshalJSON(b []byte) error {
	type plain account
	if err := json.Unmarshal(b, (*plain)(a)); err != nil {
		return err
	}
	var groups struct {
		BasicInfo map[string]json.RawMessage `json:"basicInfo"`
	}
	if err := json.Unmarshal(b, &groups); err != nil {
		return err
	}
	a.BasicInfo.Custom = map[string]json.RawMessage{}
	for k, v := range groups.BasicInfo {
		if strings.HasSuffix(k, "__c") {
			a.BasicInfo.Custom[k] = v
		}
	}
	return nil
}

// contact on the wire.
type contact struct {
	FirstName string `json:"firstName,omitempty"`
	LastName  string `json:"lastName,omitempty"`
	WorkEmail string `json:"workEmail,omitempty"`
	WorkPhone string `json:"workPhone,omitempty"`
	Address1  string `json:"address1,omitempty"`
	Address2  string `json:"address2,omitempty"`
	City      string `json:"city,omitempty"`
	State     string `json:"state,omitempty"`
	ZipCode   string `json:"zipCode,omitempty"`
	Country   string `json:"country,omitempty"`
}

// Address is a postal address; what is not known is empty.
type Address struct {
	Line1      string `json:"line1" doc:"Street and number." required:"false"`
	Line2      string `json:"line2" doc:"Flat, floor, building." required:"false"`
	City       string `json:"city" doc:"City or town." required:"false"`
	State      string `json:"state" doc:"State or province, its name or code." required:"false"`
	PostalCode string `json:"postal_code" doc:"Postal code." required:"false"`
	Country    string `json:"country" doc:"Its name, or two letters of ISO 3166, to write; Zuora answers the name." required:"false"`
}

// Account is one as triggers and actions show it. Texts that Zuora does not know are empty, never left out.
type Account struct {
	AccountID     string            `json:"account_id" doc:"Zuora's id of the account." minLength:"1"`
	AccountNumber string            `json:"account_number" doc:"As people know it."`
	Name          string            `json:"name" doc:"Its name."`
	Status        string            `json:"status" doc:"Active, Draft or Canceled."`
	Currency      string            `json:"currency" doc:"ISO 4217."`
	CrmID         string            `json:"crm_id" doc:"Its id in a CRM; empty when not known."`
	Notes         string            `json:"notes" doc:"Notes kept at the account."`
	PaymentTerm   string            `json:"payment_term" doc:"When its invoices are due."`
	FirstName     string            `json:"first_name" doc:"Of the contact that is billed."`
	LastName      string            `json:"last_name" doc:"Of the contact that is billed."`
	Email         string            `json:"email" doc:"Of the contact that is billed; empty when not known."`
	Phone         string            `json:"phone" doc:"Of the contact that is billed; empty when not known."`
	Address       Address           `json:"address" doc:"Of the contact that is billed; its parts are empty when not known."`
	CustomFields  map[string]string `json:"custom_fields" doc:"Those that the tenant has added, by name; they end in __c."`
}

func (a account) plain() Account {
	b, x := a.BasicInfo, a.BillTo
	out := Account{
		AccountID: b.ID, AccountNumber: b.AccountNumber, Name: b.Name, Status: b.Status, Currency: a.Billing.Currency, CrmID: b.CrmID, Notes: withoutMark(b.Notes),
		PaymentTerm: a.Billing.PaymentTerm, FirstName: x.FirstName, LastName: x.LastName, Email: x.WorkEmail, Phone: x.WorkPhone,
		Address: Address{x.Address1, x.Address2, x.City, x.State, x.ZipCode, x.Country}, CustomFields: map[string]string{},
	}
	for k, v := range b.Custom {
		out.CustomFields[k] = custom(v)
	}
	return out
}

// custom is a custom field as a text.
func custom(v json.RawMessage) string {
	var text string
	if json.Unmarshal(v, &text) == nil {
		return text
	}
	return strings.TrimSpace(string(v))
}

// What we make carries our key where Zuora keeps notes: it names no cause of an event, and a number alone does not say who
// chose it.
var markOf = regexp.MustCompile(`\s*\[(tl_[A-Za-z0-9_]+)\]$`)

func marked(text, key string) string { return strings.TrimSpace(text + " [" + key + "]") }

func markIn(text string) string {
	if m := markOf.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

func withoutMark(text string) string { return markOf.ReplaceAllString(text, "") }

var sampleAccount = func() account {
	var a account
	a.BasicInfo.ID, a.BasicInfo.Name, a.BasicInfo.AccountNumber, a.BasicInfo.Status = "2c92a0fb7f3b2d7a017f3f4a5b6c7d8e", "Acme Inc.", "A00000001", "Active"
	a.Billing.Currency, a.BillTo = "USD", contact{FirstName: "Ada", LastName: "Acme", WorkEmail: "billing@acme.example", Country: "United States"}
	return a
}()

func accountCreated() connectors.Trigger {
	return connectors.On("account.created", "Account created", decodeAccount, listAccounts, sampleAccount.plain(), func(t *connectors.Trigger) {
		t.Description = "An account was made in Zuora, by hand or through the API."
		t.Entity, t.Events = "account", []string{"account.created"}
		t.Read = readAccount
		t.Every, t.Calm = time.Minute, 15*time.Minute
	}, connectors.ByHand(func(a Account) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: "account", ID: a.AccountID, Name: a.Name}, Thin: true}
	}))
}

// decodeAccount is always thin: a callout says no more than which account it is. One that was set up without the notes does
// not say either whether we have made it.
func decodeAccount(body []byte) (connectors.Occurrence, error) {
	b, err := parse(body, nil)
	if err != nil || b.account == "" || b.trigger() != "account.created" {
		return connectors.Occurrence{}, fmt.Errorf("the event names no account: %w", connectors.ErrMalformed)
	}
	return connectors.Occurrence{
		Payload: Account{AccountID: b.account}, Record: connectors.Subject{Entity: "account", ID: b.account}, BusinessKey: b.account, At: b.at, Thin: true,
		Cause: connectors.Cause{Mark: markIn(b.notes), Creation: true}, Vague: !b.noted,
	}, nil
}

// readAccount takes everything from the account as it is, but for the time.
func readAccount(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (connectors.Occurrence, error) {
	a, err := fetchAccount(ctx, c, o.Record.ID)
	if err != nil {
		return o, err
	}
	o.Payload, o.Record.Name, o.Cause.Mark, o.Thin, o.Vague = a.plain(), a.BasicInfo.Name, markIn(a.BasicInfo.Notes), false, false
	return o, nil
}

func fetchAccount(ctx context.Context, c connectors.Conn, key string) (account, error) {
	var a account
	if _, err := get(ctx, c, path("v1", "accounts", key), &a); err != nil {
		return a, fmt.Errorf("reading account %s: %w", key, err)
	}
	if a.BasicInfo.ID == "" {
		return a, garbled(http.StatusOK, false)
	}
	return a, nil
}

// foundAccount is one row of a query.
type foundAccount struct {
	ID            string `json:"Id"`
	Name          string `json:"Name"`
	AccountNumber string `json:"AccountNumber"`
	Notes         string `json:"Notes"`
	CreatedDate   string `json:"CreatedDate"`
}

func listAccounts(ctx context.Context, c connectors.Conn, cursor string) (connectors.Page, error) {
	return walk(ctx, c, "account.created", "select Id, Name, AccountNumber, Notes, CreatedDate from Account where CreatedDate >= ", cursor, func(a foundAccount) body {
		return body{account: a.ID, notes: a.Notes, noted: true, created: a.CreatedDate}
	})
}

// GetAccountInput names an account.
type GetAccountInput struct {
	AccountID string `json:"account_id" minLength:"1" maxLength:"64" doc:"The account's id or number."`
}

func getAccount() connectors.Action {
	return connectors.Do("account.get", "Get account", func(ctx context.Context, c connectors.Conn, in GetAccountInput) (Account, error) {
		a, err := fetchAccount(ctx, c, in.AccountID)
		return a.plain(), err
	}, GetAccountInput{AccountID: sampleAccount.BasicInfo.ID}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Reads one account; a missing one is an error.", "account", true
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts}
		a.Help = "It answers the account as Zuora has it now, with the contact that is billed."
	})
}
