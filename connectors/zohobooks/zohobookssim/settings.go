package zohobookssim

import (
	"net/http"
	"slices"
	"strings"
)

// Organization is one, with what is set up in it. What is empty is chosen.
type Organization struct {
	ID       string `json:"organization_id"`
	Name     string `json:"name"`
	Edition  string `json:"edition"` // us, uk, in or gcc: which tax fields there are, and whether a tax is compulsory
	Currency string `json:"currency_code"`
	Inactive bool   `json:"-"`
	Active   bool   `json:"is_org_active"`

	Currencies []Currency `json:"currencies"`
	Taxes      []Tax      `json:"taxes"`
	Ledger     []Ledger   `json:"ledger"`
	Fields     []Field    `json:"fields"`
	numbers    map[string]int
}

// Currency is one that may be used.
type Currency struct {
	ID       string `json:"currency_id"`
	Code     string `json:"currency_code"`
	Decimals int    `json:"price_precision"`
}

// Tax is one that may be charged.
type Tax struct {
	ID      string `json:"tax_id"`
	Name    string `json:"tax_name"`
	Percent Amount `json:"tax_percentage"`
	Type    string `json:"tax_type"` // tax, or tax_group
}

// Ledger is an account of the chart of accounts.
type Ledger struct {
	ID   string `json:"account_id"`
	Name string `json:"account_name"`
	Type string `json:"account_type"`
}

// Field is a custom field.
type Field struct {
	ID      string   `json:"field_id"`
	Entity  string   `json:"entity"` // contact, item, invoice or customer_payment
	APIName string   `json:"api_name"`
	Label   string   `json:"label"`
	Type    string   `json:"data_type"`
	Values  []string `json:"values,omitempty"`
	Needed  bool     `json:"is_mandatory"`
}

// open fills in what an organization lacks. Nobody else has s yet.
func (s *Sim) open(o *Organization) {
	o.Active, o.numbers = !o.Inactive, map[string]int{}
	if o.ID == "" {
		o.ID = s.nextID()
	}
	if o.Edition == "" {
		o.Edition = "us"
	}
	if o.Currency == "" {
		o.Currency = map[string]string{"us": "USD", "uk": "GBP", "in": "INR", "gcc": "AED"}[o.Edition]
	}
	for _, code := range []string{o.Currency, "USD", "EUR", "JPY", "KWD"} {
		if !slices.ContainsFunc(o.Currencies, func(c Currency) bool { return c.Code == code }) {
			o.Currencies = append(o.Currencies, Currency{s.nextID(), code, decimals(code)})
		}
	}
	if o.Taxes == nil {
		o.Taxes = map[string][]Tax{
			"us": {{Name: "Sales Tax", Percent: percent("8.25"), Type: "tax"}}, "uk": {{Name: "Standard Rate", Percent: percent("20"), Type: "tax"}, {Name: "Zero Rate", Percent: percent("0"), Type: "tax"}},
			"in": {{Name: "GST18", Percent: percent("18"), Type: "tax_group"}, {Name: "IGST18", Percent: percent("18"), Type: "tax"}}, "gcc": {{Name: "VAT", Percent: percent("5"), Type: "tax"}},
		}[o.Edition]
	}
	for i := range o.Taxes {
		if o.Taxes[i].ID == "" {
			o.Taxes[i].ID = s.nextID()
		}
	}
	if o.Ledger == nil {
		o.Ledger = []Ledger{{Name: "Sales", Type: "income"}, {Name: "Undeposited Funds", Type: "cash"}, {Name: "Bank", Type: "bank"}}
	}
	for i := range o.Ledger {
		o.Ledger[i].ID = s.nextID()
	}
	for i := range o.Fields {
		o.Fields[i].ID = s.nextID()
	}
}

func decimals(currency string) int {
	switch currency {
	case "JPY", "KRW", "VND":
		return 0
	case "KWD", "BHD", "OMR":
		return 3
	}
	return 2
}

func percent(text string) Amount {
	a, err := ParseAmount(text)
	if err != nil {
		panic(err) // our own
	}
	return a
}

// Organization returns the first one.
func (s *Sim) Organization() Organization {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.organizations[0]
}

// Organizations returns all of them.
func (s *Sim) Organizations() []Organization {
	return all(s, func() []*Organization { return s.organizations })
}

// currency finds one by id; without an id the organization's own. Sim.mu is held.
func (c *call) currency(id string) (Currency, error) {
	for _, x := range c.org.Currencies {
		if x.ID == id || id == "" && x.Code == c.org.Currency {
			return x, nil
		}
	}
	return Currency{}, refuse(http.StatusBadRequest, badValue, "Invalid value passed for currency_id")
}

// tax finds one by id; none for none. Sim.mu is held.
func (c *call) tax(id string) (Tax, error) {
	for _, x := range c.org.Taxes {
		if x.ID == id {
			return x, nil
		}
	}
	if id == "" {
		return Tax{}, nil
	}
	return Tax{}, refuse(http.StatusBadRequest, badValue, "Invalid value passed for tax_id")
}

// custom reads custom fields of a body, each named in one of Zoho's ways. Sim.mu is held.
func (c *call) custom(entity string, given []map[string]any) (map[string]string, error) {
	out := map[string]string{}
	for _, g := range given {
		value, _ := g["value"].(string)
		i := slices.IndexFunc(c.org.Fields, func(f Field) bool {
			return f.Entity == entity && (f.ID == g["customfield_id"] || f.APIName == g["api_name"] || f.Label == g["label"])
		})
		if i < 0 {
			return nil, refuse(http.StatusBadRequest, badValue, "Invalid value passed for customfield_id")
		}
		if f := c.org.Fields[i]; len(f.Values) > 0 && value != "" && !slices.Contains(f.Values, value) {
			return nil, refuse(http.StatusBadRequest, badValue, "Invalid value passed for %s", f.Label)
		}
		out[c.org.Fields[i].APIName] = value
	}
	for _, f := range c.org.Fields {
		if f.Entity == entity && f.Needed && out[f.APIName] == "" {
			return nil, refuse(http.StatusBadRequest, missingField, "Enter the value for %s", f.Label)
		}
	}
	return out, nil
}

// shown are custom fields as answers have them.
func (o *Organization) shown(entity string, values map[string]string) []map[string]any {
	out := []map[string]any{}
	for i, f := range o.Fields {
		if v, ok := values[f.APIName]; ok && f.Entity == entity {
			out = append(out, map[string]any{"customfield_id": f.ID, "api_name": f.APIName, "label": f.Label, "index": i + 1, "value": v})
		}
	}
	return out
}

func settings(s *Sim) {
	s.handle("GET", "/organizations", "settings", func(c *call) (reply, error) {
		rows := []map[string]any{}
		for i, o := range s.organizations {
			rows = append(rows, map[string]any{
				"organization_id": o.ID, "name": o.Name, "is_default_org": i == 0, "is_org_active": o.Active, "currency_code": o.Currency, "time_zone": "Asia/Calcutta",
				"plan_name": "PREMIUM", "price_precision": decimals(o.Currency),
			})
		}
		return reply{fields: map[string]any{"organizations": rows}}, nil
	})
	s.handle("GET", "/settings/currencies", "settings", func(c *call) (reply, error) {
		rows := []map[string]any{}
		for _, x := range c.org.Currencies {
			rows = append(rows, map[string]any{"currency_id": x.ID, "currency_code": x.Code, "currency_name": x.Code, "price_precision": x.Decimals, "is_base_currency": x.Code == c.org.Currency, "exchange_rate": 1})
		}
		return c.listed("currencies", rows)
	})
	s.handle("POST", "/settings/currencies", "settings", func(c *call) (reply, error) {
		var in struct {
			Code   string `json:"currency_code"`
			Format string `json:"currency_format"`
		}
		if err := c.decode(&in); err != nil {
			return reply{}, err
		}
		switch {
		case len(in.Code) != 3 || in.Format == "":
			return reply{}, refuse(http.StatusBadRequest, missingField, "Invalid value passed for currency_code")
		case slices.ContainsFunc(c.org.Currencies, func(x Currency) bool { return x.Code == in.Code }):
			return reply{}, refuse(http.StatusBadRequest, taken, "The currency %s is there already.", in.Code)
		}
		x := Currency{s.nextID(), in.Code, decimals(in.Code)}
		c.org.Currencies = append(c.org.Currencies, x)
		return reply{status: http.StatusCreated, message: "The currency has been added.", fields: map[string]any{"currency": map[string]any{
			"currency_id": x.ID, "currency_code": x.Code, "price_precision": x.Decimals, "is_base_currency": false,
		}}}, nil
	})
	s.handle("GET", "/settings/taxes", "settings", func(c *call) (reply, error) {
		rows := []map[string]any{}
		for _, x := range c.org.Taxes {
			rows = append(rows, map[string]any{"tax_id": x.ID, "tax_name": x.Name, "tax_percentage": x.Percent, "tax_type": x.Type})
		}
		return c.listed("taxes", rows)
	})
	s.handle("GET", "/chartofaccounts", "accountants", func(c *call) (reply, error) {
		rows := []map[string]any{}
		for _, x := range c.org.Ledger {
			if text := c.query.Get("search_text"); text == "" || strings.Contains(strings.ToLower(x.Name), strings.ToLower(text)) {
				rows = append(rows, map[string]any{"account_id": x.ID, "account_name": x.Name, "account_type": x.Type, "is_active": true})
			}
		}
		return c.listed("chartofaccounts", rows)
	})
	s.handle("GET", "/settings/fields", "settings", func(c *call) (reply, error) {
		rows := []map[string]any{}
		for _, f := range c.org.Fields {
			if f.Entity != c.query.Get("entity") {
				continue
			}
			values := []map[string]any{}
			for _, v := range f.Values {
				values = append(values, map[string]any{"name": v, "is_active": true})
			}
			rows = append(rows, map[string]any{
				"field_id": f.ID, "api_name": f.APIName, "label": f.Label, "data_type": f.Type, "is_custom_field": true, "is_active": true, "is_mandatory": f.Needed, "values": values,
			})
		}
		return reply{fields: map[string]any{"fields": rows}}, nil
	})
}

// AddTax sets up one more tax in the first organization, and answers its id.
func (s *Sim) AddTax(name, rate string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.organizations[0]
	o.Taxes = append(slices.Clone(o.Taxes), Tax{s.nextID(), name, percent(rate), "tax"})
	return o.Taxes[len(o.Taxes)-1].ID
}

// AddLedger sets up one more account in the first organization's chart, and answers its id.
func (s *Sim) AddLedger(name, kind string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.organizations[0]
	o.Ledger = append(slices.Clone(o.Ledger), Ledger{s.nextID(), name, kind})
	return o.Ledger[len(o.Ledger)-1].ID
}
