package togai

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"tieline/connectors"
)

// schedule is a price plan on an account for a time, as GET answers it.
type schedule struct {
	ID          string    `json:"id"`
	AccountID   string    `json:"accountId"`
	PricePlanID string    `json:"pricePlanId"`
	Plan        planInfo  `json:"pricePlanInfo"`
	StartDate   time.Time `json:"startDate"`
	EndDate     time.Time `json:"endDate"` // 9999-01-01 when it is open

	account account   // read apart
	plan    pricePlan // read apart
}

type planInfo struct {
	Name string `json:"name"`
}

// PricePlanAttached is a price plan that an account has got.
type PricePlanAttached struct {
	ScheduleID string    `json:"schedule_id" doc:"Togai's id of the plan's stay on the account." minLength:"1"`
	AccountID  string    `json:"account_id" doc:"The account." minLength:"1"`
	CustomerID string    `json:"customer_id" doc:"The account's customer."`
	Email      string    `json:"email" doc:"The account's e-mail address; empty when it has none."`
	Currency   string    `json:"currency" doc:"ISO 4217, of the account's invoices; empty when not set."`
	StartDate  time.Time `json:"start_date" doc:"From when it holds."`
	EndDate    time.Time `json:"end_date" doc:"Until when; the year 9999 when it is open."`
	Plan       PricePlan `json:"plan" doc:"The plan with its prices."`
}

func (s schedule) plain() PricePlanAttached {
	p := s.plan
	if p.ID == "" {
		p.ID, p.Name = s.PricePlanID, s.Plan.Name
	}
	return PricePlanAttached{s.ID, s.AccountID, s.account.CustomerID, s.account.PrimaryEmail, s.account.InvoiceCurrency, s.StartDate, s.EndDate, p.plain()}
}

func pricePlanAttached() connectors.Trigger {
	sample := schedule{
		ID: "sch.1zYnFJIWzUF.cUSf4", AccountID: "acme", StartDate: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), EndDate: open9999,
		account: account{CustomerID: "acme", PrimaryEmail: "billing@acme.example", InvoiceCurrency: "USD"}, plan: samplePlan,
	}
	list := perAccount("price_plan.attached", func(account string) (string, url.Values) {
		return path("v2", "accounts", account, "schedules")[1:], url.Values{"mode": {"ACTIVE"}}
	})
	return connectors.On("price_plan.attached", "Price plan attached", decodes(attachedOccurrence), list, sample.plain(), func(t *connectors.Trigger) {
		t.Description = "A price plan was attached to an account, to hold now or later."
		t.Entity, t.Events = "price_plan", []string{"price_plan.attached"}
		t.Read = rereads(fetchSchedule, attachedOccurrence)
		t.Every, t.Calm = time.Minute, 15*time.Minute
	}, connectors.ByHand(func(p PricePlanAttached) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: "price_plan", ID: p.Plan.PricePlanID, Name: p.Plan.Name}, Thin: true}
	}))
}

// attachedOccurrence is about the plan, so that what a flow makes of it is made once, however many accounts have it.
func attachedOccurrence(s schedule) connectors.Occurrence {
	return connectors.Occurrence{
		Payload: s.plain(), Record: connectors.Subject{Entity: "price_plan", ID: s.PricePlanID, Name: s.Plan.Name}, BusinessKey: s.AccountID + ":" + s.ID,
	}
}

func fetchSchedule(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (schedule, error) {
	known, _ := o.Payload.(PricePlanAttached)
	s, there, err := findSchedule(ctx, c, known.AccountID, "ACTIVE", func(s schedule) bool { return s.ID == known.ScheduleID })
	switch {
	case err != nil:
		return s, err
	case !there:
		return s, connectors.Errorf(connectors.NotFound, "schedule %s of account %s is not there any more", known.ScheduleID, known.AccountID)
	}
	if s.account, err = fetchAccount(ctx, c, s.AccountID); err != nil {
		return s, err
	}
	s.plan, err = fetchPricePlan(ctx, c, s.PricePlanID)
	return s, err
}

func findSchedule(ctx context.Context, c connectors.Conn, account, mode string, is func(schedule) bool) (schedule, bool, error) {
	for s, err := range all[schedule](ctx, c, path("v2", "accounts", account, "schedules")[1:], pageSize, url.Values{"mode": {mode}}) {
		if err != nil {
			return s, false, fmt.Errorf("reading the price plans of account %s: %w", account, err)
		}
		if s.AccountID = account; is(s) {
			return s, true, nil
		}
	}
	return schedule{}, false, nil
}

// open9999 is the end of what has none.
var open9999 = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// AttachPricePlanInput says which plan an account is to have.
type AttachPricePlanInput struct {
	AccountID   string `json:"account_id" minLength:"1" maxLength:"50" doc:"The account."`
	PricePlanID string `json:"price_plan_id" minLength:"1" maxLength:"50" doc:"Togai's id of the plan, which must be active."`
	From        string `json:"from,omitempty" format:"date" doc:"The first day it holds; tomorrow (UTC) if not given, as Togai refuses days that have passed."`
	Until       string `json:"until,omitempty" format:"date" doc:"The day it ends; open if not given."`
}

// AttachedPricePlan is what attaching leaves.
type AttachedPricePlan struct {
	AccountID   string `json:"account_id" doc:"The account."`
	PricePlanID string `json:"price_plan_id" doc:"The plan."`
	ScheduleID  string `json:"schedule_id" doc:"Togai's id of the plan's stay on the account; empty when it could not be told."`
	Attached    bool   `json:"attached" doc:"False when the account had the plan already."`
}

func attachPricePlan() connectors.Action {
	return connectors.Do("price_plan.attach", "Attach price plan to account", runAttachPricePlan, AttachPricePlanInput{AccountID: "acme", PricePlanID: samplePlan.ID}, func(a *connectors.Action) {
		a.Description, a.Entity = "Gives an account a price plan. What plan it has for these days is replaced.", "price_plan"
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts, "price_plan_id": offerPricePlans}
		a.Help = "An account that has the plan already is left as it is. Changes of the account's plans that somebody left unpublished in Togai must be published or discarded first."
	})
}

// live says whether a schedule gives the account what is wanted.
func (in AttachPricePlanInput) live(s schedule) bool {
	if s.PricePlanID != in.PricePlanID || !s.EndDate.After(time.Now()) {
		return false
	}
	until, _ := time.Parse(time.DateOnly, in.Until) // the schema has checked both
	if in.Until == "" {
		until = open9999
	}
	if in.From != "" {
		if from, _ := time.Parse(time.DateOnly, in.From); s.StartDate.After(from) || !s.EndDate.After(from) {
			return false
		}
	}
	return !s.EndDate.Before(until)
}

// edit is the body of POST /v2/accounts/{id}/edit_schedules.
type edit struct {
	Mode              string      `json:"mode"`
	EffectiveFrom     string      `json:"effectiveFrom"`
	EffectiveUntil    string      `json:"effectiveUntil"`
	AssociationConfig association `json:"associationConfig"`
}

type association struct {
	PricePlanID string `json:"pricePlanId"`
}

// runAttachPricePlan makes a draft and publishes it: two writes, each of which looks before it writes, so that neither
// does anything a second time. Publishing publishes all drafts of the account, so one that is not ours stops it.
func runAttachPricePlan(ctx context.Context, c connectors.Conn, in AttachPricePlanInput) (AttachedPricePlan, error) {
	out := AttachedPricePlan{AccountID: in.AccountID, PricePlanID: in.PricePlanID}
	name := in.PricePlanID + " " + in.From
	isLive := func(ctx context.Context) (connectors.Ref, bool, error) {
		s, there, err := findSchedule(ctx, c, in.AccountID, "ACTIVE", in.live)
		return connectors.Ref{ID: in.AccountID, Attributes: attributes(attrSchedule, s.ID)}, there, err
	}
	drafted := func(ctx context.Context) (connectors.Ref, bool, error) {
		if ref, there, err := isLive(ctx); there || err != nil {
			ref.Adopted = true
			return ref, there, err
		}
		return in.draft(ctx, c)
	}
	drafting, err := c.Effect(ctx, connectors.Set("account", in.AccountID, "draft "+name), func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		return drafted(ctx)
	}, func(ctx context.Context, _ string) (connectors.Ref, error) {
		if ref, there, err := drafted(ctx); there || err != nil {
			return ref, err
		}
		e := edit{"ASSOCIATE", in.From, in.Until, association{in.PricePlanID}}
		if e.EffectiveFrom == "" {
			e.EffectiveFrom = time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
		}
		if e.EffectiveUntil == "" {
			e.EffectiveUntil = open9999.Format(time.DateOnly)
		}
		_, err := call(ctx, c, http.MethodPost, path("v2", "accounts", in.AccountID, "edit_schedules"), map[string]any{"edits": []edit{e}}, nil)
		return connectors.Ref{ID: in.AccountID}, err
	})
	if err != nil {
		return out, fmt.Errorf("attaching price plan %s to account %s: %w", in.PricePlanID, in.AccountID, err)
	}
	if drafting.Adopted {
		out.ScheduleID = drafting.Attributes[attrSchedule]
		return out, nil
	}
	ref, err := c.Effect(ctx, connectors.Set("account", in.AccountID, "publish "+name), func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		return isLive(ctx)
	}, func(ctx context.Context, _ string) (connectors.Ref, error) {
		if ref, there, err := isLive(ctx); there || err != nil {
			return ref, err
		}
		switch _, there, err := in.draft(ctx, c); {
		case err != nil:
			return connectors.Ref{}, err
		case !there:
			return connectors.Ref{}, connectors.Errorf(connectors.Invalid, "the draft was discarded before it could be published")
		}
		var live page[schedule]
		if _, err := call(ctx, c, http.MethodPost, path("v2", "accounts", in.AccountID, "finalize_schedules"), struct{}{}, &live); err != nil {
			return connectors.Ref{}, err
		}
		ref := connectors.Ref{ID: in.AccountID}
		for _, s := range live.Data {
			if in.live(s) {
				ref.Attributes = attributes(attrSchedule, s.ID)
			}
		}
		return ref, nil
	})
	if err != nil {
		return out, fmt.Errorf("publishing price plan %s on account %s: %w", in.PricePlanID, in.AccountID, err)
	}
	out.ScheduleID, out.Attached = ref.Attributes[attrSchedule], true
	return out, nil
}

// attrSchedule is the schedule that attaching left.
const attrSchedule = "schedule_id"

// draft says whether the draft is there, and refuses where others are: a draft of the same plan and days is taken for
// ours, as publishing it does what is wanted.
func (in AttachPricePlanInput) draft(ctx context.Context, c connectors.Conn) (connectors.Ref, bool, error) {
	var ours schedule
	_, stranger, err := findSchedule(ctx, c, in.AccountID, "DRAFT", func(s schedule) bool {
		if in.live(s) {
			ours = s
			return false
		}
		return true
	})
	if err == nil && stranger {
		err = connectors.Errorf(connectors.Conflict, "account %s has changes of its price plans that nobody published; publish or discard them in Togai", in.AccountID)
	}
	return connectors.Ref{ID: in.AccountID, Attributes: attributes(attrSchedule, ours.ID)}, err == nil && ours.ID != "", err
}
