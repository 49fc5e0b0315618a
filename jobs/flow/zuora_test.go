package flow_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/sim"
	"tieline/connectors/togai/togaisim"
	"tieline/connectors/zuora/zuorasim"
	"tieline/db"
	"tieline/jobs/flow"
)

// zuoraWorld is a world with a Zuora tenant, too, whose credits are added against a charge.
func zuoraWorld(t *testing.T) (*world, *zuorasim.Sim) {
	t.Helper()
	w := newWorld(t)
	s := zuorasim.New(t, zuorasim.WithBackoff(20*time.Millisecond, 50*time.Millisecond, 200*time.Millisecond))
	w.engine.URLs["zuora"] = s.URL
	id, secret := s.Client()
	charge := s.Product("Credits", map[string]any{"name": "Credit", "type": "OneTime", "model": "FlatFee"})[0]
	w.zuoraConn = w.connect("zuora", "Zuora", map[string]string{"endpoint": "https://rest.test.zuora.com", "client_id": id, "client_secret": secret, "charge_id": charge})
	return w, s
}

func (w *world) subscribe(s *zuorasim.Sim, account string, charges ...map[string]any) string {
	w.t.Helper()
	sub, err := s.Subscribe(zuorasim.NewSubscription{Account: account, Charges: charges})
	must(w.t, err)
	return sub.Number
}

func priced(name, kind, model string, more map[string]any) map[string]any {
	out := map[string]any{"name": name, "type": kind, "model": model, "billingTiming": "IN_ADVANCE", "billingPeriod": "Month"}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// TestZuoraAccounts: an account made on either side is on both, once, and the echo of each makes nothing.
func TestZuoraAccounts(t *testing.T) {
	t.Parallel()
	w, s := zuoraWorld(t)
	w.hears()
	w.link("zuora.accounts_in", map[string]any{"togaiIdField": "TogaiId__c"})
	w.link("zuora.accounts_out", nil)
	w.work()
	a, err := s.CreateAccount(map[string]any{"accountNumber": "Z-1", "name": "Zed"})
	must(t, err)
	w.settled(2)
	w.billed("acme", "USD")
	for _, r := range w.settled(4) {
		if r.State != flow.Succeeded && r.State != flow.Suppressed {
			w.dump()
			t.Fatalf("%s: %s", r.State, r.Error)
		}
	}
	if got := s.Accounts(); len(got) != 2 || got[0].Custom["TogaiId__c"] != "Z-1" || got[1].Number != "acme" || w.setting("account", "acme", "ZuoraAccountId") != got[1].ID {
		w.dump()
		t.Errorf("Zuora has %+v", got)
	}
	if got := w.togai.Accounts(); len(got) != 2 || w.setting("account", "Z-1", "ZuoraAccountId") != a.ID {
		t.Errorf("Togai has %+v", got)
	}
}

// callouts replaces the tenant's callouts by some that a person has set up, by the body for each kind of record. They send their
// credentials only when they are asked for them.
func (w *world) callouts(s *zuorasim.Sim, query string, bodies map[string]string) {
	w.t.Helper()
	row, err := db.GetConnection(w.t.Context(), w.db, w.org, w.zuoraConn.ID)
	must(w.t, err)
	secrets, err := w.engine.WebhookSecrets(row)
	must(w.t, err)
	url, err := w.engine.WebhookURL(row)
	must(w.t, err)
	s.RemoveEvents()
	for kind, body := range bodies {
		c := zuorasim.Callout{URL: url + query, Body: body, Basic: true}
		c.Auth.Username, c.Auth.Password, _ = strings.Cut(strings.TrimPrefix(secrets[0], "callout:basic:"), ":")
		s.Notify(kind, c)
	}
}

// TestZuoraByHand: callouts as the guide has people set them up say nothing but an id, in the body or the URL. A subscription
// may be named by the id of a version; what listing finds of it is the same one.
func TestZuoraByHand(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct{ query, account, subscription string }{
		"numbers": {"", `{"AccountId": "{{Account.Id}}"}`, `{"SubscriptionNumber": "{{Subscription.Name}}", "AccountId": "{{Account.Id}}"}`},
		"ids":     {"", `{"AccountId": "{{Account.Id}}"}`, `{"SubscriptionId": "{{Subscription.Id}}", "AccountId": "{{Account.Id}}"}`},
		"query":   {"?AccountId={{Account.Id}}", "", `{"SubscriptionId": "{{Subscription.Id}}"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, s := zuoraWorld(t)
			w.callouts(s, x.query, map[string]string{"Account": x.account, "Subscription": x.subscription})
			w.link("zuora.accounts_in", nil)
			w.link("zuora.subscriptions_in", nil)
			a, err := s.CreateAccount(map[string]any{"accountNumber": "Z-1", "name": "Zed"})
			must(t, err)
			number := w.subscribe(s, a.ID, priced("Base", "Recurring", "FlatFee", map[string]any{"price": 10}))
			must(t, s.Amend(number, func(x *zuorasim.Subscription) {
				x.Charges = []map[string]any{priced("Base", "Recurring", "FlatFee", map[string]any{"price": 15, "number": "C-X", "currency": "USD"})}
			}))
			must(t, s.Settle(t.Context()))
			w.work()
			w.settled(2)
			_, err = w.db.NewRaw("UPDATE cursors SET read_at = NULL WHERE connection_id = ?", w.zuoraConn.ID).Exec(t.Context())
			must(t, err)
			must(t, w.engine.Read(t.Context(), w.org, w.zuoraConn.ID, w))
			w.sure(w.settled(2), flow.Succeeded, flow.Succeeded)
			plans := w.togai.PricePlans()
			if len(w.togai.Accounts()) != 1 || len(plans) != 1 || len(w.togai.First().Schedules()) != 1 || !strings.Contains(fmt.Sprintf("%+v", plans), "15") {
				w.dump()
				t.Errorf("accounts %+v, price plans %+v", w.togai.Accounts(), plans)
			}
			if n := w.count("SELECT count(*) FROM mapping_slots WHERE entity = 'subscription' AND external_id = ?", number); n != 1 {
				t.Errorf("%d slots hold subscription %s", n, number)
			}
		})
	}
}

// TestZuoraUnknown: of a subscription that is named by an id that nobody knows, nothing is made, and the event says why. Where
// the credentials do not work, it waits for others.
func TestZuoraUnknown(t *testing.T) {
	t.Parallel()
	w, _ := zuoraWorld(t)
	w.link("zuora.subscriptions_in", nil)
	row, err := db.GetConnection(t.Context(), w.db, w.org, w.zuoraConn.ID)
	must(t, err)
	app, _ := w.engine.Apps.App("zuora")
	tell := func(body string) db.ID {
		t.Helper()
		env, err := app.Webhook.Open(connectors.Delivery{Header: http.Header{"X-A": {"b"}}, Body: []byte(body), ReceivedAt: time.Now()}, []string{"callout:header:X-A:b"})
		must(t, err)
		_, err = w.Take(t.Context(), row, flow.FromWebhook, []connectors.Item{{Envelope: env, Body: []byte(body)}})
		must(t, err)
		var id db.ID
		must(t, w.db.NewRaw("SELECT id FROM events ORDER BY id DESC LIMIT 1").Scan(t.Context(), &id))
		return id
	}
	gone := tell(`{"SubscriptionId": "s1"}`)
	must(t, w.engine.Dispatch(t.Context(), w.org, gone))
	e, err := db.GetEvent(t.Context(), w.db, w.org, gone)
	must(t, err)
	if e.DispatchedAt.IsZero() || !strings.Contains(e.Error, "subscription s1") || w.count("SELECT count(*) FROM runs") != 0 {
		t.Errorf("%+v", e)
	}
	_, err = w.db.NewRaw("UPDATE connections SET state = 'NEEDS_REAUTH' WHERE id = ?", row.ID).Exec(t.Context())
	must(t, err)
	waits := tell(`{"SubscriptionId": "s2"}`)
	if err := w.engine.Dispatch(t.Context(), w.org, waits); connectors.KindOf(err) != connectors.Unauthorized {
		t.Errorf("it is dispatched: %v", err)
	}
	if e, err = db.GetEvent(t.Context(), w.db, w.org, waits); err != nil || e.DueAt.IsZero() || e.Error != "" {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestZuoraEchoes: the callout of an account that we make comes before we know that we have made it, as the answer is lost. It
// is taken for what it is, and so is what reading finds.
func TestZuoraEchoes(t *testing.T) {
	t.Parallel()
	for _, point := range []sim.Point{"cut", "after_commit", "slow_after"} {
		for _, by := range []string{"callout", "reading", "a callout without notes"} {
			t.Run(string(point)+" by "+by, func(t *testing.T) {
				t.Parallel()
				w, s := zuoraWorld(t)
				w.within(hurried)
				w.hears()
				w.link("zuora.accounts_in", nil)
				w.link("zuora.accounts_out", nil)
				must(t, w.engine.Read(t.Context(), w.org, w.zuoraConn.ID, w)) // the baseline
				s.Fault(sim.Fault{Method: "POST", Path: "/v1/accounts", Point: point, Delay: 600 * time.Millisecond})
				switch by {
				case "reading":
					s.Dial(sim.Dials{Drop: 100})
				case "a callout without notes": // as people make them: it does not say whose doing the account is
					w.callouts(s, "", map[string]string{"Account": `{"AccountId": "{{Account.Id}}"}`})
				}
				w.work()
				w.billed("acme", "USD")
				if by == "reading" {
					w.until("the account", "SELECT count(*) = 1 FROM effects WHERE key LIKE 'create/%/account/' AND state <> 'PLANNED'")
					for len(s.Accounts()) == 0 {
						time.Sleep(5 * time.Millisecond) // what the vendor has is no row of ours
					}
					_, err := w.db.NewRaw("UPDATE cursors SET read_at = NULL WHERE connection_id = ?", w.zuoraConn.ID).Exec(t.Context())
					must(t, err)
					must(t, w.engine.Read(t.Context(), w.org, w.zuoraConn.ID, w))
				}
				states := map[string]int{}
				for _, r := range w.settled(2) {
					states[r.State]++
				}
				if len(s.Accounts()) != 1 || len(w.togai.Accounts()) != 1 || states[flow.Succeeded] != 1 || states[flow.Suppressed] != 1 {
					w.dump()
					t.Errorf("%d in Zuora, %d in Togai, runs %v", len(s.Accounts()), len(w.togai.Accounts()), states)
				}
			})
		}
	}
}

// TestZuoraInvoices: a Togai invoice is the same invoice in Zuora, to the cent, whatever goes wrong once.
func TestZuoraInvoices(t *testing.T) {
	t.Parallel()
	for _, write := range []string{"zuora /v1/accounts", "zuora /v1/invoices", "togai /settings"} {
		for _, f := range []sim.Fault{{Point: "cut"}, {Point: "after_commit", Status: 500}, {Point: "before", Status: 400}, {Point: "before", Status: 401}, {Point: "rate_limit"}} {
			t.Run(fmt.Sprintf("%s/%s %d", write, f.Point, f.Status), func(t *testing.T) {
				t.Parallel()
				w, s := zuoraWorld(t)
				app, path, _ := strings.Cut(write, " ")
				if app == "togai" && f.Status == 401 {
					return // a token that does not work is for a person
				}
				f.Method, f.Path = "POST", path
				dial := s.Fault
				if app == "togai" {
					dial = w.togai.Fault
				}
				w.hears()
				w.link("zuora.invoices_out", nil)
				dial(f)
				w.work()
				w.billed("acme", "USD")
				_, err := w.togai.Invoice(togaisim.NewInvoice{AccountID: "acme", Lines: []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", 49), line("TAX_AMOUNT", 9.31)}})
				must(t, err)
				w.mended(1)
				w.sure(w.settled(1), flow.Succeeded)
				got := s.Invoices()
				if len(got) != 1 || got[0].Amount != "58.31" || got[0].Status != "Posted" || len(got[0].Items) != 2 || len(s.Accounts()) != 1 {
					w.dump()
					t.Fatalf("Zuora has %+v", got)
				}
				if id := w.togai.Invoices()[0].ID; w.setting("invoice", id, "ZuoraInvoiceId") != got[0].ID {
					t.Errorf("the Togai invoice is not linked to %s", got[0].ID)
				}
			})
		}
	}
}

// TestZuoraSubscriptions: each kind of charge that a price plan can have, attached to the account that the subscription is of,
// although the account came after it.
func TestZuoraSubscriptions(t *testing.T) {
	t.Parallel()
	w, s := zuoraWorld(t)
	w.link("zuora.subscriptions_in", nil)
	w.link("zuora.accounts_in", nil)
	meter := w.togai.UsageMeter("API call")
	s.Dial(sim.Dials{Reorder: 2}) // the subscription's callout goes before the account's
	a, err := s.CreateAccount(map[string]any{"accountNumber": "Z-1", "name": "Zed"})
	must(t, err)
	tiers := []map[string]any{{"tier": 1, "startingUnit": 0, "endingUnit": 100, "price": 0.5, "priceFormat": "Per Unit"}, {"tier": 2, "startingUnit": 101, "price": 20, "priceFormat": "Flat Fee"}}
	number := w.subscribe(s, a.ID,
		priced("Base", "Recurring", "FlatFee", map[string]any{"price": "49.90"}),
		priced("Seats", "Recurring", "PerUnit", map[string]any{"price": 12.5, "quantity": 3}),
		priced("Storage", "Recurring", "Volume", map[string]any{"quantity": 120, "tiers": tiers}),
		priced("Setup", "OneTime", "FlatFee", map[string]any{"price": 99, "billingPeriod": nil}),
		priced("Calls", "Usage", "Tiered", map[string]any{"uom": "API call", "tiers": tiers, "billingTiming": "IN_ARREARS"}),
	)
	w.work()
	w.settled(2)
	w.sure(w.settled(2), flow.Succeeded, flow.Succeeded)
	plans := w.togai.PricePlans()
	if len(plans) != 1 || plans[0].Name != "Zuora "+number || len(w.togai.Accounts()) != 1 {
		w.dump()
		t.Fatalf("plans %+v", plans)
	}
	var read struct {
		Data []struct {
			Name            string
			BillableID      string
			Type            string
			RateCardDetails struct {
				FixedFeeRateCard struct {
					Type       string
					RateValues []struct{ Rate float64 }
				}
				UsageRateCard struct {
					RatePlan struct {
						PricingModel string
						Slabs        []struct {
							StartAfter float64
							PriceType  string
						}
					}
				}
			}
		}
	}
	w.console("GET", "/v2/price_plans/"+plans[0].ID+"/rate_cards", nil, &read)
	got := map[string]string{}
	for i, r := range read.Data {
		d := r.RateCardDetails
		if r.Type == "USAGE" {
			got[fmt.Sprint(i)] = fmt.Sprint(r.BillableID == meter.ID, d.UsageRateCard.RatePlan)
			continue
		}
		got[fmt.Sprint(i)] = fmt.Sprint(r.Type, d.FixedFeeRateCard.Type, d.FixedFeeRateCard.RateValues)
	}
	want := map[string]string{
		"0": "FIXED_FEERECURRING[{49.9}]", "1": "FIXED_FEERECURRING[{37.5}]", "2": "FIXED_FEERECURRING[{20}]", "3": "FIXED_FEEONE_TIME[{99}]",
		"4": "true {TIERED [{0 PER_UNIT} {100 FLAT}]}",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("rate cards %v, want %v", got, want)
	}
	if sch := w.togai.First().Schedules(); len(sch) != 1 || sch[0].AccountID != "Z-1" || sch[0].PricePlanID != plans[0].ID {
		t.Errorf("schedules %+v", sch)
	}
	if w.setting("price_plan", plans[0].ID, "ZuoraSubscriptionId") != number {
		t.Error("the plan does not name its subscription")
	}
}

// TestZuoraSubscriptionsThatChange: told twice it is one plan; amended in between it is the latest version that counts; one
// that is cancelled at once brings nothing; what a plan cannot express is refused in a sentence.
func TestZuoraSubscriptionsThatChange(t *testing.T) {
	t.Parallel()
	w, s := zuoraWorld(t)
	w.link("zuora.subscriptions_in", nil)
	a, err := s.CreateAccount(map[string]any{"accountNumber": "Z-1", "name": "Zed"})
	must(t, err)
	s.Dial(sim.Dials{Pause: true, Duplicate: 100})
	amended := w.subscribe(s, a.ID, priced("Base", "Recurring", "FlatFee", map[string]any{"price": 10}))
	must(t, s.Amend(amended, func(x *zuorasim.Subscription) {
		x.Charges = []map[string]any{priced("Base", "Recurring", "FlatFee", map[string]any{"price": 15, "number": "C-X", "currency": "USD"})}
	}))
	cancelled := w.subscribe(s, a.ID, priced("Base", "Recurring", "FlatFee", map[string]any{"price": 10}))
	must(t, s.CancelSubscription(cancelled))
	w.subscribe(s, a.ID, priced("Off", "Recurring", "DiscountPercentage", nil))
	w.subscribe(s, a.ID, priced("A", "Recurring", "FlatFee", map[string]any{"price": 1}), priced("B", "Recurring", "FlatFee", map[string]any{"price": 1, "billingPeriod": "Annual"}))
	s.Dial(sim.Dials{})
	w.work()
	w.settled(4)
	said := map[string]string{}
	for _, r := range w.settled(4) {
		said[r.RecordID] = r.State + " " + r.Error
	}
	want := []string{"SUCCEEDED ", "SUCCEEDED ", "FAILED Charge Off (C-", "FAILED The charges of subscription"}
	if len(said) != 4 {
		w.dump()
		t.Fatalf("runs %v", said)
	}
	for i, prefix := range want {
		if got := said[fmt.Sprintf("A-S%08d", i+1)]; !strings.HasPrefix(got, prefix) {
			t.Errorf("subscription %d: %q, want %q", i+1, got, prefix)
		}
	}
	plans := w.togai.PricePlans()
	if len(plans) != 1 || plans[0].Name != "Zuora "+amended {
		w.dump()
		t.Fatalf("plans %+v", plans)
	}
	if raw := fmt.Sprintf("%+v", plans); !strings.Contains(raw, "15") {
		t.Errorf("the plan has the old price: %s", raw)
	}
}

// TestWokenByAnotherRecord: a subscription's run waits for its account, another record than its own, which another run is at
// work on. Nobody looks again by the clock here: that the other run has made the account, or could not, wakes it.
func TestWokenByAnotherRecord(t *testing.T) {
	t.Parallel()
	for name, states := range map[string]map[string]string{
		"filled":   {"account": flow.Succeeded, "subscription": flow.Succeeded},
		"released": {"account": flow.Failed, "subscription": flow.Succeeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, s := zuoraWorld(t)
			w.within(deadline)
			w.engine.Timing.Retry, w.engine.Timing.RetryMax = time.Hour, time.Hour
			w.link("zuora.accounts_in", nil)
			w.link("zuora.subscriptions_in", nil)
			if name == "released" {
				w.togai.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: sim.Before, Status: 400})
			}
			var first sync.Once
			w.togai.OnRequest(func(stage, method, path string) {
				if stage == sim.Replying && method == "POST" && path == "/customers" {
					first.Do(func() {
						w.until("the subscription's run", "SELECT count(*) = 1 FROM runs WHERE entity = 'subscription' AND waiting_reason = 'DEPENDENCY' AND awaits <> mapping_id")
					})
				}
			})
			a, err := s.CreateAccount(map[string]any{"accountNumber": "Z-1", "name": "Zed"})
			must(t, err)
			w.work()
			w.until("the account's write", "SELECT count(*) = 1 FROM effects WHERE entity = 'customer' AND state = 'SENT'")
			w.subscribe(s, a.ID, priced("Base", "Recurring", "FlatFee", map[string]any{"price": 10}))
			for _, r := range w.settled(2) {
				if r.State != states[r.Entity] {
					t.Errorf("the run of the %s: %s %s", r.Entity, r.State, r.Error)
				}
			}
			if len(w.togai.Accounts()) != 1 || len(w.togai.First().Schedules()) != 1 || w.count("SELECT count(*) FROM runs WHERE awaits IS NOT NULL") != 0 {
				w.dump()
				t.Errorf("accounts %+v", w.togai.Accounts())
			}
		})
	}
}

// TestZuoraSubscriptionOfOurAccount: an account that we have made gets a subscription before we have learned that we made it, as
// the answer was lost and its callout does not come. The subscription is attached to the account it is of, and nothing is in the
// way of the write being settled.
func TestZuoraSubscriptionOfOurAccount(t *testing.T) {
	t.Parallel()
	w, s := zuoraWorld(t)
	w.hears()
	w.callouts(s, "", map[string]string{"Subscription": `{"SubscriptionNumber": "{{Subscription.Name}}", "AccountId": "{{Account.Id}}"}`})
	w.link("zuora.accounts_out", nil)
	w.link("zuora.subscriptions_in", nil)
	s.Fault(sim.Fault{Method: "POST", Path: "/v1/accounts", Point: sim.Cut})
	s.OnRequest(func(stage, method, path string) {
		if stage == sim.Replying && method == "POST" && path == "/v1/accounts" {
			w.subscribe(s, s.Accounts()[0].ID, priced("Base", "Recurring", "FlatFee", map[string]any{"price": 10}))
			w.until("a run that waits", "SELECT count(*) = 1 FROM runs WHERE entity = 'subscription' AND waiting_reason = 'DEPENDENCY'")
		}
	})
	w.within(deadline)
	w.work()
	w.billed("acme", "USD")
	w.sure(w.settled(2), flow.Succeeded, flow.Succeeded)
	if sch := w.togai.First().Schedules(); len(s.Accounts()) != 1 || len(w.togai.Accounts()) != 1 || len(sch) != 1 || sch[0].AccountID != "acme" {
		w.dump()
		t.Errorf("accounts %+v, schedules %+v", w.togai.Accounts(), sch)
	}
}

// TestZuoraSubscriptionFaults breaks each write: its answer is lost, or it is refused. There is one of everything in the end.
func TestZuoraSubscriptionFaults(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"/customers", "/addons", "/v2/price_plans", "/v2/price_plans/*/rate_cards", "/v2/price_plans/*/finalize", "/v2/accounts/*/edit_schedules", "/v2/accounts/*/finalize_schedules", "/settings",
	} {
		for _, f := range []sim.Fault{{Point: "cut"}, {Point: "after_commit", Status: 500}, {Point: "before", Status: 400}} {
			t.Run(path+"/"+string(f.Point), func(t *testing.T) {
				t.Parallel()
				w, s := zuoraWorld(t)
				f.Method, f.Path = "POST", path
				w.togai.Fault(f)
				w.link("zuora.subscriptions_in", nil)
				a, err := s.CreateAccount(map[string]any{"accountNumber": "Z-1", "name": "Zed"})
				must(t, err)
				w.subscribe(s, a.ID, priced("Base", "Recurring", "FlatFee", map[string]any{"price": 10}))
				w.work()
				w.mended(1)
				w.sure(w.settled(1), flow.Succeeded)
				plans, schedules := w.togai.PricePlans(), w.togai.First().Schedules()
				if len(plans) != 1 || len(w.togai.First().AddOns()) != 1 || len(w.togai.Accounts()) != 1 || len(schedules) != 1 || schedules[0].AccountID != "Z-1" {
					w.dump()
					t.Errorf("%d plans, %d schedules", len(plans), len(schedules))
				}
			})
		}
	}
}

// TestZuoraCredits: one credit memo for each credit, against the connection's charge.
func TestZuoraCredits(t *testing.T) {
	t.Parallel()
	for _, f := range []sim.Fault{{Point: "slow"}, {Point: "cut"}, {Point: "after_commit", Status: 500}, {Point: "cut_before"}, {Point: "before", Status: 200, Code: "53100061"}} {
		t.Run(fmt.Sprint(f.Point, f.Code), func(t *testing.T) {
			t.Parallel()
			w, s := zuoraWorld(t)
			w.within(hurried)
			f.Method, f.Path = http.MethodPost, "/v1/credit-memos"
			s.Fault(f)
			w.hears()
			w.link("zuora.credits_out", nil)
			w.work()
			w.billed("acme", "USD")
			w.console("POST", "/credits", map[string]any{"creditRequests": []any{map[string]any{
				"accountId": "acme", "purpose": "Goodwill 🙂", "effectiveFrom": "2026-01-01", "creditAmount": 25.5, "priority": 1, "idempotencyKey": "k1",
			}}}, nil)
			w.mended(1)
			w.sure(w.settled(1), flow.Succeeded)
			if got := s.Memos(); len(got) != 1 || got[0].Amount != "25.50" || got[0].Status != "Posted" || !strings.HasPrefix(got[0].Comment, "Goodwill") || got[0].Text != "Goodwill " {
				w.dump()
				t.Errorf("memos %+v", got)
			}
		})
	}
}

// TestZuoraUsage: the quantities, or the revenue, that an invoice bills are usage of the subscription that the meter names,
// each once; meters that name none are left out.
func TestZuoraUsage(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{"quantity": "[1500 7]", "revenue": "[30.25 3.5]"} {
		for _, point := range []sim.Point{"slow", "cut", "cut_before"} {
			t.Run(kind+"/"+string(point), func(t *testing.T) {
				t.Parallel()
				w, s := zuoraWorld(t)
				w.within(hurried)
				a, err := s.CreateAccount(map[string]any{"accountNumber": "Z-1", "name": "Zed"})
				must(t, err)
				number := w.subscribe(s, a.ID, priced("Calls", "Usage", "PerUnit", map[string]any{"uom": "Call", "price": 1}), priced("Gigabytes", "Usage", "PerUnit", map[string]any{"uom": "GB", "price": 1}))
				var named, other, free = w.togai.UsageMeter("Calls"), w.togai.UsageMeter("GB"), w.togai.UsageMeter("Free")
				for meter, charge := range map[string]string{named.ID: "C-00000002", other.ID: "C-00000003"} {
					for setting, value := range map[string]string{"ZuoraSubscriptionId": number, "ZuoraChargeId": charge} {
						w.console("POST", "/settings", map[string]any{"id": setting, "value": value, "entityType": "USAGE_METER", "entityId": meter, "namespace": "USER", "name": setting, "dataType": "STRING"}, nil)
					}
				}
				s.Fault(sim.Fault{Method: "POST", Path: "/v1/object/usage", Point: point, Skip: 1, Delay: 10 * time.Millisecond})
				w.hears()
				w.link("zuora.usage_"+kind+"_out", nil)
				w.work()
				w.billed("acme", "USD")
				lines := []togaisim.Line{usageLine(named.ID, 1500, 30.25), usageLine(other.ID, 7, 3.5), usageLine(free.ID, 1, 1)}
				_, err = w.togai.Invoice(togaisim.NewInvoice{AccountID: "acme", Lines: lines})
				must(t, err)
				w.mended(1)
				w.sure(w.settled(1), flow.Succeeded)
				var got []string
				for _, u := range s.Usage() {
					got = append(got, u.Quantity.String())
					if u.Subscription != number || u.AccountID != a.ID || (u.UOM == "Call") != (u.Charge == "C-00000002") {
						t.Errorf("%+v", u)
					}
				}
				if fmt.Sprint(got) != want {
					w.dump()
					t.Errorf("usage %v, want %s", got, want)
				}
			})
		}
	}
}

func usageLine(meter string, quantity, value float64) togaisim.Line {
	var l togaisim.Line
	raw, _ := json.Marshal(map[string]any{"id": meter, "description": "Usage", "type": "USAGE_RATE_CARD_AMOUNT", "quantity": quantity, "value": value})
	if err := json.Unmarshal(raw, &l); err != nil {
		panic(err) // our own values
	}
	return l
}

// TestZuoraTokens: one token serves all, in every process; one that is refused is replaced, and one process asks at a time.
func TestZuoraTokens(t *testing.T) {
	t.Parallel()
	w, s := zuoraWorld(t)
	ask := func(times int) {
		t.Helper()
		failed := make(chan error)
		for i := range times {
			e := w.engineWith(w.engine.Keys) // another process
			go func() {
				_, err := e.FieldOptions(t.Context(), w.org, w.zuoraConn.ID, flow.OptionQuery{Field: "charge_id", First: 1 + i%2})
				failed <- err
			}()
		}
		for range times {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
	}
	before := s.Tokens()
	ask(8)
	if n := s.Tokens() - before; n > 1 {
		t.Errorf("%d tokens were asked for", n)
	}
	s.Expire()
	before = s.Tokens()
	ask(8)
	if n := s.Tokens() - before; n != 1 {
		t.Errorf("%d tokens were asked for when one was refused", n)
	}
	// A process that dies while it asks holds the others up for no longer than its lease.
	s.Expire()
	_, err := w.db.NewRaw("UPDATE access_tokens SET good_until = '-infinity', lease_until = clock_timestamp() + interval '200 milliseconds', fence = fence + 1").Exec(t.Context())
	must(t, err)
	ask(3)
	if n := w.count("SELECT count(*) FROM access_tokens WHERE token IS NOT NULL AND good_until > now() + interval '50 minutes' AND lease_until = '-infinity'"); n != 1 {
		t.Errorf("%d rows hold a good token", n)
	}
	// Other credentials need another token; those that do not work any more are said so.
	s.Revoke(credsOf(t, w)["client_id"])
	if _, err := w.engine.FieldOptions(t.Context(), w.org, w.zuoraConn.ID, flow.OptionQuery{Field: "charge_id", First: 1}); err == nil || !strings.Contains(err.Error(), "not taken at this endpoint") {
		t.Errorf("revoked: %v", err)
	}
}

// credsOf are the client that the world's connection to Zuora has.
func credsOf(t *testing.T, w *world) map[string]string {
	t.Helper()
	row, err := db.GetConnection(t.Context(), w.db, w.org, w.zuoraConn.ID)
	must(t, err)
	return row.Hints
}
