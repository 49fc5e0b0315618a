package zohobooks

import (
	"fmt"
	"testing"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/zohobooks/zohobookssim"
)

func TestConforms(t *testing.T) {
	t.Parallel()
	conntest.Suite[*zohobookssim.Sim]{
		App: Connector(),
		World: func(t *testing.T, o conntest.Options) (*zohobookssim.Sim, conntest.Site) {
			opts := []zohobookssim.Option{zohobookssim.WithOrganization(zohobookssim.Organization{Name: "Acme Books", Taxes: []zohobookssim.Tax{}, Ledger: []zohobookssim.Ledger{}})}
			if o.EmptyLastPage {
				opts = append(opts, zohobookssim.WithExtraPage())
			}
			s := zohobookssim.New(t, opts...)
			return s, site(t, s, filled(s))
		},
		Actions: tried(),
	}.Run(t)
}

func contactOf(t *testing.T, s *zohobookssim.Sim, number string) zohobookssim.Contact {
	t.Helper()
	return made[zohobookssim.Contact](t)(s.CreateContact(map[string]any{
		"contact_name": "Acme " + number, "contact_number": number, "contact_persons": []any{map[string]any{"last_name": "Acme", "email": number + "@acme.example", "is_primary_contact": true}},
	}))
}

func invoiceOf(t *testing.T, s *zohobookssim.Sim, customer, reference string) zohobookssim.Invoice {
	t.Helper()
	return made[zohobookssim.Invoice](t)(s.CreateInvoice(map[string]any{
		"customer_id": customer, "reference_number": reference, "line_items": []any{map[string]any{"name": "Gold", "rate": 49, "quantity": 1}},
	}))
}

func itemOf(t *testing.T, s *zohobookssim.Sim, name string) zohobookssim.Item {
	t.Helper()
	return made[zohobookssim.Item](t)(s.CreateItem(map[string]any{"name": name, "rate": 49}))
}

func tried() map[string]conntest.Action[*zohobookssim.Sim] {
	type (
		action = conntest.Action[*zohobookssim.Sim]
		choice = conntest.Choice[*zohobookssim.Sim]
		sim    = *zohobookssim.Sim
	)
	many := func(search string, one func(t *testing.T, s sim, i int)) choice {
		return choice{Page: perPage, Search: search, Many: func(t *testing.T, s sim, _ connectors.Conn, n int) {
			for i := range n {
				one(t, s, i)
			}
		}}
	}
	contacts := many("acme a-17", func(t *testing.T, s sim, i int) { contactOf(t, s, fmt.Sprint("A-", i)) })
	items := many("gold 17", func(t *testing.T, s sim, i int) { itemOf(t, s, fmt.Sprint("Gold ", i)) })
	taxes := many("tax 17", func(t *testing.T, s sim, i int) { s.AddTax(fmt.Sprint("Tax ", i), "8.25") })
	ledgers := func(kind string) choice {
		return many("account 17", func(t *testing.T, s sim, i int) { s.AddLedger(fmt.Sprint("Account ", i), kind) })
	}
	invoices := many("ref-17", func(t *testing.T, s sim, i int) {
		if i == 0 {
			contactOf(t, s, "A-1")
		}
		invoiceOf(t, s, s.Contacts()[0].ID, fmt.Sprint("ref-", i))
	})
	contact := func(t *testing.T, s sim, _ connectors.Conn) map[string]string {
		return map[string]string{string(sampleContact.ID): contactOf(t, s, "A-1").ID}
	}
	invoice := func(t *testing.T, s sim, _ connectors.Conn) map[string]string {
		return map[string]string{sampleInvoiceID: invoiceOf(t, s, contactOf(t, s, "A-1").ID, "ref").ID}
	}
	return map[string]action{
		"contact.create":    {},
		"contact.find":      {},
		"contact.get":       {Before: contact, Options: map[string]choice{"contact_id": contacts}},
		"contact.update":    {Before: contact, Options: map[string]choice{"contact_id": contacts}},
		"item.create":       {Options: map[string]choice{"account_id": ledgers("income"), "tax_id": taxes}},
		"invoice.create":    {Before: contact, Options: map[string]choice{"customer_id": contacts, "lines.item_id": items, "lines.tax_id": taxes}},
		"invoice.get":       {Before: invoice, Options: map[string]choice{"invoice_id": invoices}},
		"invoice.mark_sent": {Before: invoice, Options: map[string]choice{"invoice_id": invoices}},
		"invoice.email":     {Before: invoice, Options: map[string]choice{"invoice_id": invoices}},
		"payment.record":    {Before: invoice, Options: map[string]choice{"invoice_id": invoices, "account_id": ledgers("bank")}},
		"item.get": {Options: map[string]choice{"item_id": items}, Before: func(t *testing.T, s sim, _ connectors.Conn) map[string]string {
			return map[string]string{sampleItemID: itemOf(t, s, "Gold").ID}
		}},
	}
}
