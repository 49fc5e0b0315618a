package model

import (
	"tieline/db"
	"tieline/jobs/flow"
)

// AttentionItemConnection is a page of what waits for a person, with how much there is.
type AttentionItemConnection struct {
	Page[AttentionItem]
	Counts []*AttentionCount
}

// cures say by kind which mutation clears what waits, and how.
var cures = map[string]struct{ mutation, help string }{
	db.AttentionConflict:   {"resolveEffect", "Look at both sides with effectConflict, then decide: adopt what is there, send it again, or give it up."},
	db.AttentionPerson:     {"retryRun", "Clear what the reason names, for instance by linking the right record with updateMapping; then retryRun looks again. cancelRun ends it instead."},
	db.AttentionConnection: {"updateConnection", "Give it credentials that work; runs that wait for them go on. If the vendor has mended it, testConnection is enough."},
	db.AttentionWebhook:    {"testConnection", "testConnection registers it again where the vendor lets us. Else set it up at the vendor, as the app's webhookHelp says, and give its secret with updateConnection."},
	db.AttentionHeld:       {"releaseEvent", "See to the flow that the reason names, then let the event go."},
	db.AttentionDuplicate:  {"createMapping", "If the two are one, link them: createMapping, or updateMapping where one of them has a mapping. If not, triggerFlow brings this one over alone."},
	db.AttentionFailing:    {"retryRun", "See why its last run failed, mend that and retry the run. The flow link is well again once a run of it succeeds; disableFlowLink switches it off."},
}

// NewAttention shows something that waits for a person.
func NewAttention(a db.Attention) *AttentionItem {
	cure := cures[a.Kind]
	reason := a.Reason
	switch {
	case reason != "":
	case a.Kind == db.AttentionFailing:
		reason = "Its runs fail, one after another."
	case a.Kind == db.AttentionWebhook:
		reason = "It has no webhook."
	default:
		reason = "It waits for a person."
	}
	return &AttentionItem{
		ID: part("atn", a.Kind, a.ID.String()), Kind: AttentionKind(a.Kind), Since: a.At, Reason: reason, Mutation: cure.mutation, Help: cure.help,
		Record: text(a.Record), Row: a,
	}
}

// NewAttentionCounts shows how much waits of each kind.
func NewAttentionCounts(counts map[string]int) []*AttentionCount {
	out := make([]*AttentionCount, len(AllAttentionKind))
	for i, kind := range AllAttentionKind {
		out[i] = &AttentionCount{ID: part("atc", string(kind)), Kind: kind, Count: whole(counts[string(kind)])}
	}
	return out
}

// NewExplanation shows how a record came to be known.
func NewExplanation(x flow.Explanation) (*Explanation, error) {
	slot, err := NewSlot(x.Slot)
	if err != nil {
		return nil, err
	}
	out := &Explanation{ID: part("xpl", slot.ID), Text: x.Said, Slot: slot, Who: make([]*ExplanationAct, len(x.Who)), Row: x.Slot}
	for i, a := range x.Who {
		out.Who[i] = &ExplanationAct{ID: part("xac", slot.ID, a.ID.String()), Field: a.Field, ObjectID: text(a.ObjectID), Actor: a.Actor, At: a.At}
	}
	return out, nil
}
