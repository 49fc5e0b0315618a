package flow

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"tieline/db"
)

// Explanation is how a record came to be known here: from the slot that holds it back to whoever is behind it.
type Explanation struct {
	Slot db.Slot
	Said string     // all of it, in words
	Who  []db.Audit // what people did that led to it, oldest first
}

// ExplainQuery says which record is meant. What is empty does not narrow.
type ExplainQuery struct {
	ExternalID, App, Entity string
	Account                 db.ID
}

const (
	explainSlots  = 10  // records of one id, in several accounts and kinds
	explainAudits = 200 // entries about what led to them
)

// explaining are the rows that explanations are told from.
type explaining struct {
	e        *Engine
	accounts map[db.ID]db.VendorAccount
	events   map[db.ID]db.Event
	runs     map[db.ID]db.Run
	flows    map[db.ID]db.Flow
	versions map[db.ID]int
	links    map[db.ID]db.FlowLink
	audits   []db.Audit
}

// Explain tells of all records of an id how they came to be known, in as many statements whatever their number is.
func (e *Engine) Explain(ctx context.Context, org db.ID, q ExplainQuery) ([]Explanation, error) {
	slots, err := db.SlotsByID(ctx, e.DB, org, q.ExternalID, q.App, q.Entity, q.Account, explainSlots)
	if err != nil || len(slots) == 0 {
		return nil, err
	}
	x := explaining{e: e}
	var accounts, events, runs []db.ID
	for _, s := range slots {
		accounts, events, runs = append(accounts, s.VendorAccountID), append(events, s.EventID), append(runs, s.RunID)
	}
	if x.accounts, err = db.VendorAccountsOf(ctx, e.DB, org, accounts); err != nil {
		return nil, err
	}
	if x.events, err = db.EventsOf(ctx, e.DB, org, events); err != nil {
		return nil, err
	}
	if x.runs, err = db.RunsOf(ctx, e.DB, org, runs); err != nil {
		return nil, err
	}
	var flows, versions, links []db.ID
	for _, r := range x.runs {
		flows, versions, links = append(flows, r.FlowID), append(versions, r.FlowVersionID), append(links, r.FlowLinkID)
	}
	if len(flows) > 0 {
		if x.flows, err = db.FlowsOf(ctx, e.DB, org, flows); err != nil {
			return nil, err
		}
		if x.versions, err = db.VersionNumbersOf(ctx, e.DB, org, versions); err != nil {
			return nil, err
		}
		if x.links, err = db.FlowLinksOf(ctx, e.DB, org, links); err != nil {
			return nil, err
		}
	}
	var objects []string
	for _, s := range slots {
		for id := range x.about(s) {
			objects = append(objects, id)
		}
	}
	if x.audits, err = db.AuditsAbout(ctx, e.DB, org, objects, explainAudits); err != nil {
		return nil, err
	}
	out := make([]Explanation, len(slots))
	for i, s := range slots {
		out[i] = Explanation{Slot: s, Said: x.said(s), Who: x.who(s)}
	}
	return out, nil
}

// about are the objects that led to a slot, by their ids as callers have them, and until when what was done to them counts.
func (x *explaining) about(s db.Slot) map[string]time.Time {
	until := s.FilledAt
	if until.IsZero() {
		until = s.ClaimedAt
	}
	out := map[string]time.Time{db.FormatID("map", s.MappingID): {}}
	for kind, id := range map[string]db.ID{"evt": s.EventID, "run": s.RunID, "eff": s.EffectID} {
		if id != (db.ID{}) {
			out[db.FormatID(kind, id)] = time.Time{}
		}
	}
	if r, ok := x.runs[s.RunID]; ok {
		out[db.FormatID("link", r.FlowLinkID)], out[db.FormatID("flow", r.FlowID)] = until, until
	}
	return out
}

// who is what people did about those objects: to a link and a flow the last of each kind before the record was known.
func (x *explaining) who(s db.Slot) (out []db.Audit) {
	about, seen := x.about(s), map[string]bool{}
	for _, a := range x.audits { // newest first
		until, ok := about[a.ObjectID]
		if !ok || !until.IsZero() && (a.At.After(until) || seen[a.Field+a.ObjectID]) {
			continue
		}
		seen[a.Field+a.ObjectID] = true
		out = append(out, a)
	}
	slices.Reverse(out)
	return out
}

// said tells it in words.
func (x *explaining) said(s db.Slot) string {
	account := x.accounts[s.VendorAccountID]
	app, _ := x.e.Apps.App(account.App)
	text := fmt.Sprintf("%s %s of %s (%s, %s)", strings.ReplaceAll(s.Entity, "_", " "), s.ExternalID, app.Name, account.ExternalID, account.Mode)
	r, run := x.runs[s.RunID]
	switch {
	case s.EnteredBy != "":
		text += fmt.Sprintf(" was entered by %s.", s.EnteredBy)
	case run:
		did := "found"
		if s.EffectID != (db.ID{}) {
			did = "made"
		}
		text += fmt.Sprintf(" was %s by the step %s of version %d of the flow %s, linked as “%s”.", did, s.Step, x.versions[r.FlowVersionID], x.flows[r.FlowID].Key, x.links[r.FlowLinkID].Name)
	case s.RunID != (db.ID{}):
		text += " was made or found by a run that is older than runs are kept."
	default:
		text += " was learned of by an event."
	}
	ev, ok := x.events[s.EventID]
	if !ok {
		return text
	}
	switch ev.Source {
	case FromHand:
		return text + " Somebody started that by hand."
	case FromSchedule:
		return text + " A schedule started that."
	}
	of := ""
	if ev.RecordID != "" {
		of = fmt.Sprintf(" of %s %s", ev.Entity, ev.RecordID)
	}
	return text + fmt.Sprintf(" The event was %s%s.", ev.Trigger, of)
}
