package togai

import (
	"fmt"
	"strings"
	"testing"

	"tieline/connectors"
	"tieline/connectors/sim"
	"tieline/connectors/togai/togaisim"
)

// walk reads a trigger's list from a cursor to its end, and answers where the next walk begins.
func walk(t *testing.T, tr connectors.Trigger, c connectors.Conn, cursor string) (items []connectors.Item, next string, pages int) {
	t.Helper()
	for {
		p, err := tr.List(t.Context(), c, cursor)
		if err != nil {
			t.Fatal(err)
		}
		items, cursor, pages = append(items, p.Items...), p.Cursor, pages+1
		if !p.More {
			return items, cursor, pages
		}
	}
}

// happenings make each trigger's event. record is what the occurrence is about, key what tells it from others.
var happenings = map[string]struct {
	do     func(*testing.T, world) (record, key string)
	entity string
	parent string // the account, where it hangs below one
	says   string // in the payload
}{
	"price_plan.created": {func(t *testing.T, w world) (string, string) {
		id := post2(t, w, gold)
		return id, id
	}, "price_plan", "", "For large ones"},
	"price_plan.attached": {func(t *testing.T, w world) (string, string) {
		c, _ := connect(t, w.Sim)
		out, err := runAttachPricePlan(t.Context(), c, AttachPricePlanInput{AccountID: "acme", PricePlanID: w.plan})
		if err != nil {
			t.Fatal(err)
		}
		return w.plan, "acme:" + out.ScheduleID
	}, "price_plan", "", "49.00"},
	"invoice.generated": {func(t *testing.T, w world) (string, string) {
		id := invoiced(t, w, togaisim.NewInvoice{})
		return id, id
	}, "invoice", "acme", "10.50"},
	"invoice.updated": {func(t *testing.T, w world) (string, string) {
		c, _ := connect(t, w.Sim)
		if _, err := runRecordPayment(t.Context(), c, RecordPaymentInput{InvoiceID: w.invoice, Amount: "9.00", PaymentSource: stripe}); err != nil {
			t.Fatal(err)
		}
		return w.invoice, w.invoice + ":PARTIALLY_PAID:9"
	}, "invoice", "acme", "40.00"},
	"order.generated": {func(t *testing.T, w world) (string, string) {
		id := invoiced(t, w, togaisim.NewInvoice{Class: "ORDER", Type: "AD_HOC"})
		return id, id
	}, "invoice", "acme", "ORDER"},
	"pricing_cycle.started": {func(t *testing.T, w world) (string, string) {
		id := invoiced(t, w, togaisim.NewInvoice{Status: "DRAFT"})
		return id, id
	}, "invoice", "acme", "acme"},
	"pricing_cycle.ended": {func(t *testing.T, w world) (string, string) {
		id := invoiced(t, w, togaisim.NewInvoice{Status: "DRAFT"})
		if err := w.First().Finish(id); err != nil {
			t.Fatal(err)
		}
		return id, id
	}, "invoice", "acme", "acme"},
	"credit.granted": {func(t *testing.T, w world) (string, string) {
		c, _ := connect(t, w.Sim)
		out, err := runGrantCredit(t.Context(), c, GrantCreditInput{AccountID: "acme", ReferenceID: "cn_1", Amount: "12.345", Purpose: "Goodwill"})
		if err != nil {
			t.Fatal(err)
		}
		return out.CreditID, out.CreditID
	}, "credit", "acme", "12.345"},
	"purchase.created": {added("purchase", map[string]any{"accountId": "acme", "type": "PREPAID", "price": 20.25}), "purchase", "acme", "20.25"},
	"proposal.created": {added("proposal", map[string]any{"accountId": "acme", "type": "ASSOCIATION", "paymentMode": "PREPAID"}), "proposal", "acme", "PROPOSAL_ACTIVE"},
	"incident.generated": {added("incident", map[string]any{"alertId": "alert.1", "alertTemplateId": "wallet_low_balance", "reportData": map[string]any{"balance": 3}}),
		"incident", "", `"balance":3`},
	"report.generated": {added("report", map[string]any{"name": "Revenue"}), "report", "", "Revenue"},
}

func post2(t *testing.T, w world, in CreatePricePlanInput) string {
	t.Helper()
	c, _ := connect(t, w.Sim)
	out, err := runCreatePricePlan(t.Context(), c, in)
	if err != nil {
		t.Fatal(err)
	}
	return out.PricePlanID
}

func invoiced(t *testing.T, w world, in togaisim.NewInvoice) string {
	t.Helper()
	in.AccountID, in.Lines = "acme", []togaisim.Line{fee("10.50")}
	inv, err := w.Invoice(in)
	if err != nil {
		t.Fatal(err)
	}
	return inv.ID
}

func added(kind string, fields map[string]any) func(*testing.T, world) (string, string) {
	return func(_ *testing.T, w world) (string, string) {
		id := w.Add(kind, fields).ID
		return id, id
	}
}

// What a trigger hands to a flow is the record as it is, below the account it belongs to.
func TestEachTriggerSaysWhatHappened(t *testing.T) {
	t.Parallel()
	for key, x := range happenings {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			w, c := newWorld(t)
			tr, _ := c.App.Trigger(key)
			known := map[string]bool{}
			base, cursor, _ := walk(t, tr, c, "")
			for _, i := range base {
				known[i.DedupeKey] = true
			}
			record, occurrence := x.do(t, w)
			items, _, _ := walk(t, tr, c, cursor)
			for _, i := range items {
				if known[i.DedupeKey] {
					continue
				}
				o, err := tr.Decode(i.Body)
				if err != nil || !o.Thin || o.BusinessKey != occurrence {
					t.Fatalf("%+v, %v", o, err)
				}
				now, err := tr.Read(t.Context(), c, o)
				if err != nil || now.Record.ID != record || now.Record.Entity != x.entity {
					t.Fatalf("%+v, %v", now, err)
				}
				if x.parent != "" && (now.Parent == nil || *now.Parent != connectors.Subject{Entity: "account", ID: x.parent, Name: now.Parent.Name}) {
					t.Errorf("below %+v", now.Parent)
				}
				if raw := string(mustJSON(t, now.Payload)); !strings.Contains(raw, x.says) {
					t.Errorf("%s does not say %s", raw, x.says)
				}
			}
		})
	}
}

func TestWalksOfInvoices(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t)
	tr := invoiceGenerated()
	var old []string
	for i := range 130 { // made long ago, and drafts still
		in := togaisim.NewInvoice{Status: "DRAFT"}
		if i%2 == 0 {
			in.Status = "PAID"
		}
		if id := invoiced(t, w, in); in.Status == "DRAFT" {
			old = append(old, id)
		}
	}
	base, cursor, pages := walk(t, tr, c, "")
	if len(base) != 66 || pages != 2 || cursor != fromTop {
		t.Fatalf("%d invoices in %d pages, then %q", len(base), pages, cursor)
	}
	for range 60 {
		invoiced(t, w, togaisim.NewInvoice{})
	}
	if err := w.First().Finish(old[0]); err != nil {
		t.Fatal(err)
	}
	p, err := tr.List(t.Context(), c, cursor)
	if err != nil || p.Stop || !p.More {
		t.Fatalf("what is due has more pages, and news may be in any: %v %v %v", p.Stop, p.More, err)
	}
	items, _, _ := walk(t, tr, c, cursor)
	at := -1
	for i, item := range items {
		if item.DedupeKey == "invoice.generated:"+old[0] {
			at = i
		}
	}
	if at < 50 {
		t.Errorf("the old one is at %d of %d", at, len(items))
	}
	stale, err := tr.List(t.Context(), c, within+`{"DUE":"forgotten"}`)
	if err != nil || !stale.More || stale.Cursor != fromTop || len(stale.Items) != 0 {
		t.Errorf("a forgotten token: %+v, %v", stale, err)
	}
	w.Fault(sim.Fault{Path: "/invoices", Point: sim.Before, Status: 503})
	if _, err := tr.List(t.Context(), c, cursor); connectors.KindOf(err) != connectors.Unavailable {
		t.Errorf("%v", err)
	}
}

func TestWalkOverAccounts(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t)
	for i := range 45 {
		id := fmt.Sprintf("a%02d", i)
		if _, err := w.CreateAccount(map[string]any{"id": id, "name": "Account"}); err != nil {
			t.Fatal(err)
		}
		w.Add("purchase", map[string]any{"accountId": id, "type": "PREPAID"})
	}
	tr := purchaseCreated()
	items, cursor, pages := walk(t, tr, c, "")
	if len(items) != 45 || pages != 3 || cursor != fromTop {
		t.Fatalf("%d in %d pages, then %q", len(items), pages, cursor)
	}
	w.Fault(sim.Fault{Path: "/accounts/a44/purchases", Point: sim.Before, Status: 404}) // archived meanwhile
	if items, _, _ := walk(t, tr, c, fromTop); len(items) != 44 {
		t.Errorf("%d without the one that has gone", len(items))
	}
	w.Fault(sim.Fault{Path: "/accounts/a44/purchases", Point: sim.Before, Status: 403})
	if _, err := tr.List(t.Context(), c, fromTop); connectors.KindOf(err) != connectors.Forbidden {
		t.Errorf("%v", err)
	}
	if stale, err := tr.List(t.Context(), c, within+"forgotten"); err != nil || !stale.More || stale.Cursor != fromTop {
		t.Errorf("a forgotten token: %+v, %v", stale, err)
	}
}

func TestVersionsOfInvoices(t *testing.T) {
	t.Parallel()
	key := func(data string) string {
		t.Helper()
		e, err := envelope([]byte(`{"id":"event.1","type":"invoice.updated","data":` + data + `}`))
		if err != nil {
			t.Fatal(err)
		}
		return e.DedupeKey
	}
	for data, want := range map[string]string{
		`{"id":"inv","status":"DUE","paidAmount":0}`:                "invoice.updated:inv:DUE:0",
		`{"id":"inv","status":"PARTIALLY_PAID","paidAmount":1.50}`:  "invoice.updated:inv:PARTIALLY_PAID:1.5",
		`{"id":"inv","status":"PARTIALLY_PAID","paidAmount":15e-1}`: "invoice.updated:inv:PARTIALLY_PAID:1.5",
		`{"id":"inv"}`: "invoice.updated:inv:event.1", // says too little: every delivery is news
	} {
		if got := key(data); got != want {
			t.Errorf("%s: %s, want %s", data, got, want)
		}
	}
	a, _ := envelope([]byte(`{"type":"invoice.updated","data":{"id":"inv"},"createdAt":"2026-01-01T00:00:00Z"}`))
	b, _ := envelope([]byte(`{"type":"invoice.updated","data":{"id":"inv"},"createdAt":"2026-01-02T00:00:00Z"}`))
	if a.DedupeKey == b.DedupeKey {
		t.Errorf("two deliveries without an id are one: %s", a.DedupeKey)
	}
}

func FuzzDecoders(f *testing.F) {
	app := Connector()
	for _, tr := range app.Triggers {
		f.Add([]byte(`{"id":"event.1","type":"` + tr.Key + `","createdAt":"2026-01-01T00:00:00Z","data":{"id":"x","accountId":"a","ownerId":"a","totalAmount":1e3,"paidAmount":-0.5,` +
			`"status":"DUE","revenueInfo":{"type":"TOTAL_AMOUNT","value":3,"lineItems":[{"type":"SUB_CREDITS","value":1.25}]},"price":7,"creditAmount":0}}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = open(connectors.Delivery{Body: body}, nil)
		for _, tr := range app.Triggers {
			o, err := tr.Decode(body)
			if err != nil {
				continue
			}
			if o.Record.Entity != tr.Entity || !o.Thin || o.BusinessKey == "" {
				t.Errorf("%s: %+v", tr.Key, o)
			}
			if p := tr.Output.Validate(o.Payload); len(p) > 0 {
				for _, x := range p {
					if strings.Contains(x.Message, "decimal") {
						t.Errorf("%s: %v", tr.Key, p)
					}
				}
			}
		}
	})
}

func TestSweepsGoOn(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t, togaisim.WithExtraPage())
	for i := range 60 {
		w.Add("incident", map[string]any{"alertTemplateId": fmt.Sprint(i)})
	}
	for _, tr := range c.App.Triggers {
		if tr.List == nil || tr.Every <= 0 {
			t.Errorf("%s is not found by reading", tr.Key)
			continue
		}
		if _, next, _ := walk(t, tr, c, ""); next != fromTop {
			t.Errorf("%s goes on at %q", tr.Key, next)
		}
	}
}
