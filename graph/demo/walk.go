package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The keys of the flows that the walk is about.
const (
	customersFan  = "stripe.customers_fan_out"
	accountsOut   = "stripe.accounts_out"
	pricePlansOut = "stripe.price_plans_out"
	checkoutIn    = "stripe.checkout_in"
	invoicesOut   = "stripe.invoices_out"
	invoicePaidIn = "stripe.invoice_paid_in"

	zuoraAccountsIn      = "zuora.accounts_in"
	zuoraAccountsOut     = "zuora.accounts_out"
	zuoraSubscriptionsIn = "zuora.subscriptions_in"

	booksAccountsOut = "zohobooks.accounts_out"
	booksInvoicesOut = "zohobooks.invoices_out"
)

// flows are those that the demo switches on.
var flows = []string{
	customersFan, accountsOut, pricePlansOut, checkoutIn, invoicesOut, invoicePaidIn, zuoraAccountsIn, zuoraAccountsOut, zuoraSubscriptionsIn, booksAccountsOut, booksInvoicesOut,
}

// update is a message of the feed.
type update struct {
	Change struct {
		State         string
		WaitingReason string
		Step          string
		StepState     string
	}
	Run *run
}

type run struct {
	ID         string
	Record     string
	RecordName string
	State      string
	Flow       struct{ Key string }
	Error      *struct{ Message string }
	Steps      []step
	Cause      *struct {
		ID, Key string
		Run     *struct{ ID string }
	}
}

type step struct {
	Key    string
	State  string
	Reason string
	Action *struct {
		Name string
		App  struct{ Name string }
	}
	Error *struct{ Message string }
}

// walk is one customer's way.
type walk struct {
	out   *Paper
	api   client
	feed  *feed
	stage Stage
	begun time.Time

	last    string // what was shown last
	account person // the one made in Togai, who goes through the guide
	id      string // its id there
}

// customerIn makes a customer in Stripe, as a person would, and waits for it in the three other apps.
func (w *walk) customerIn(ctx context.Context) error {
	who := person{"Ada Lovelace", unique("ada")}
	w.begin("A person makes a customer in Stripe")
	var made struct{ ID string }
	err := w.stage.Simulators.Stripe.call(ctx, "customers", map[string]any{
		"account": w.stage.Simulators.Stripe.Account, "params": map[string]any{"name": who.Name, "email": who.Email},
	}, &made)
	if err != nil {
		return err
	}
	w.say("Stripe", "customer "+made.ID, who.Name)
	if err := w.follow(ctx, made.ID, accountsOut, customersFan, zuoraAccountsOut, booksAccountsOut); err != nil { // the account in Togai has the customer's id
		return err
	}
	return w.conclude(ctx, who, "stripe", "customer", made.ID)
}

// accountOut makes an account in Togai and waits for it in the three other apps.
func (w *walk) accountOut(ctx context.Context) error {
	who := person{"Grace Hopper", unique("grace")}
	w.begin("A person makes an account in Togai")
	var made struct{ ID string }
	id, _, _ := strings.Cut(who.Email, "@")
	w.account, w.id = who, id
	err := w.stage.Simulators.Togai.call(ctx, "accounts", map[string]any{
		"organization": w.stage.Simulators.Togai.Account, "account": map[string]any{"id": id, "name": who.Name, "primaryEmail": who.Email},
	}, &made)
	if err != nil {
		return err
	}
	w.say("Togai", "account "+made.ID, who.Name)
	if err := w.follow(ctx, made.ID, customersFan, accountsOut, zuoraAccountsOut, booksAccountsOut); err != nil {
		return err
	}
	return w.conclude(ctx, who, "togai", "account", made.ID)
}

func (w *walk) begin(title string) {
	w.out.Title(title, "")
	w.begun = time.Now()
}

func (w *walk) say(who, what, note string) { w.out.Moment(time.Since(w.begun), who, what, note) }

// follow prints what happens to a record until its runs of some flows have succeeded, and the flow back, if one is named, has
// recognised the echo of what the first of them wrote.
func (w *walk) follow(ctx context.Context, record, back string, there ...string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var first, echo string // the runs' ids
	left, returned := slices.Clone(there), back == ""
	for len(left) > 0 || !returned {
		u, err := w.feed.next(ctx)
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("not within %s", patience)
			}
			return fmt.Errorf("waiting for %s of %s: %w", strings.Join(left, ", "), record, err)
		}
		r := u.Run
		switch {
		case r == nil:
			continue
		case slices.Contains(there, r.Flow.Key) && r.Record == record:
			if r.Flow.Key == there[0] {
				first = r.ID
			}
			if slices.Contains([]string{"SUCCEEDED", "SUPPRESSED"}, u.Change.State) {
				left = slices.DeleteFunc(left, func(key string) bool { return key == r.Flow.Key })
			}
		case r.Flow.Key == back && r.Cause != nil && r.Cause.Run != nil && r.Cause.Run.ID == first:
			if echo == "" {
				w.say(short(back), "hears of "+r.Record, "echo of "+r.Cause.ID+" by "+short(there[0]))
			}
			echo = r.ID
			returned = returned || slices.Contains([]string{"SUCCEEDED", "SUPPRESSED"}, u.Change.State)
		default: // somebody else's
			continue
		}
		w.show(u)
		switch u.Change.State {
		case "FAILED", "CANCELLED":
			why := ""
			if r.Error != nil {
				why = ": " + r.Error.Message
			}
			return fmt.Errorf("%s of %s is %s%s", short(r.Flow.Key), r.Record, u.Change.State, why)
		}
		if r.ID == echo && u.Change.State == "SUCCEEDED" && !slices.ContainsFunc(r.Steps, func(s step) bool { return s.State == "ADOPTED" }) {
			return fmt.Errorf("%s took our own write for news", short(back))
		}
	}
	return nil
}

// through waits until a flow's run about a record has succeeded, which it may have while something else was followed.
func (w *walk) through(ctx context.Context, flow, record string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var data struct{ Runs struct{ Nodes []run } }
		err := w.api.do(ctx, `{ runs(first: 50) { nodes { id record recordName state flow { key } error { message } } } }`, nil, &data)
		if err != nil {
			return err
		}
		for _, r := range data.Runs.Nodes {
			switch {
			case r.Flow.Key != flow || r.Record != record:
			case r.State == "SUCCEEDED":
				w.say(short(flow), "run succeeded", r.RecordName)
				return nil
			case r.Error != nil:
				return fmt.Errorf("%s of %s is %s: %s", short(flow), record, r.State, r.Error.Message)
			}
		}
		if _, err := w.feed.next(ctx); err != nil { // then it may be otherwise
			return fmt.Errorf("waiting for %s of %s: %w", flow, record, err)
		}
	}
}

// show prints one change.
func (w *walk) show(u update) {
	c, note := u.Change, ""
	now := strings.Join([]string{u.Run.ID, c.State, c.Step, c.StepState}, " ")
	if now == w.last { // a step of several writes tells of each
		return
	}
	w.last = now
	if c.Step == "" {
		if c.State == "WAITING" {
			note = "for " + strings.ToLower(c.WaitingReason)
		}
		w.say(short(u.Run.Flow.Key), "run "+strings.ToLower(c.State), note)
		return
	}
	for _, s := range u.Run.Steps {
		if s.Key != c.Step {
			continue
		}
		if s.Action != nil {
			note = s.Action.Name + " · " + s.Action.App.Name
		}
		switch {
		case c.StepState == "ADOPTED" && s.Reason != "":
			note = s.Reason
		case c.StepState == "FAILED" && s.Error != nil:
			note = s.Error.Message
		}
	}
	w.say(short(u.Run.Flow.Key), "  "+c.Step+" "+strings.ToLower(c.StepState), note)
}

// conclude shows the mapping, and counts what the vendors hold.
func (w *walk) conclude(ctx context.Context, who person, app, entity, id string) error {
	took := time.Since(w.begun)
	if err := w.mapped(ctx, app, entity, id); err != nil {
		return err
	}
	there, err := w.stage.everywhere(ctx, who)
	if err != nil {
		return err
	}
	for app, n := range there {
		if n != 1 {
			return fmt.Errorf("%s is there %d times in %s, instead of once in each app: %v", who.Name, n, app, there)
		}
	}
	w.out.Done("once in Stripe, Togai, Zuora and Zoho Books, linked", took)
	return nil
}

// mapped shows a record's ids everywhere, and those of the record it hangs below.
func (w *walk) mapped(ctx context.Context, app, entity, id string) error {
	type mapping struct {
		ID    string
		Slots []struct {
			VendorAccount struct{ App struct{ Name string } }
			Entity        string
			Role          string
			ExternalID    string
		}
	}
	var data struct {
		Mapping *struct {
			mapping
			Parent *mapping
		}
	}
	const fields = "id slots { vendorAccount { app { name } } entity role externalId }"
	err := w.api.do(ctx, `query($app: String!, $entity: String!, $id: String!) {
		mapping: mappingByExternalId(app: $app, entity: $entity, externalId: $id) { `+fields+` parent { `+fields+` } }
	}`, map[string]any{"app": app, "entity": entity, "id": id}, &data)
	if err != nil {
		return err
	}
	if data.Mapping == nil {
		return fmt.Errorf("%s %s has no mapping", entity, id)
	}
	w.out.Line("")
	all := []mapping{data.Mapping.mapping}
	if data.Mapping.Parent != nil {
		all = append(all, *data.Mapping.Parent)
	}
	for _, m := range all {
		for _, s := range m.Slots {
			w.out.Field(s.VendorAccount.App.Name, strings.TrimSpace(s.Entity+" "+s.ExternalID+"  "+s.Role))
		}
	}
	return nil
}

// short is a flow's key as people say it: customers in, accounts to zuora.
func short(key string) string {
	app, name, _ := strings.Cut(key, ".")
	if what, out := strings.CutSuffix(name, "s_out"); out && !strings.Contains(what, "fan") {
		return strings.ReplaceAll(what, "_", " ") + "s to " + strings.TrimPrefix(app, "zoho")
	}
	return strings.ReplaceAll(name, "_", " ")
}

// unique is an address that no earlier walk used.
func unique(name string) string {
	return name + "-" + strconv.FormatInt(time.Now().UnixMilli(), 36) + "@example.com"
}
