package flow

import "slices"

// The states and reasons below are closed lists; the tables check them.

// States of a run.
const (
	Queued     = "QUEUED"
	Running    = "RUNNING"
	Waiting    = "WAITING"
	Cancelling = "CANCELLING"
	Cancelled  = "CANCELLED"
	Succeeded  = "SUCCEEDED"
	Failed     = "FAILED"
	Suppressed = "SUPPRESSED"
)

// States of a step beside Running, Waiting, Succeeded, Failed and Cancelled.
const (
	Pending = "PENDING"
	Adopted = "ADOPTED"
	Skipped = "SKIPPED"
)

// Why a run or a step is Waiting.
const (
	ForRetry      = "RETRY"      // a call failed in a way that may pass
	ForReauth     = "REAUTH"     // a connection's credentials do not work
	ForLane       = "LANE"       // an earlier run of the same record is not final
	ForDependency = "DEPENDENCY" // something else must happen first
	ForRate       = "RATE"       // the vendor's budget is used up for now
	ForPerson     = "PERSON"     // only a person can tell what is right
)

// States of an effect.
const (
	EffectPlanned   = "PLANNED"
	EffectSent      = "SENT"
	EffectConfirmed = "CONFIRMED"
	EffectRefused   = "REFUSED"
	EffectUnknown   = "UNKNOWN"
	EffectAbsent    = "ABSENT"
	EffectConflict  = "CONFLICT"
	EffectGivenUp   = "GIVEN_UP"
)

// Outcomes of an event at a link.
const (
	OutcomeRun       = "RUN"
	OutcomeFiltered  = "FILTERED"
	OutcomeIgnored   = "IGNORED"
	OutcomeDuplicate = "DUPLICATE"
	OutcomeHeld      = "HELD"
)

// Sources of an event.
const (
	FromWebhook  = "WEBHOOK"
	FromCatchUp  = "CATCH_UP"
	FromBaseline = "BASELINE" // it was there before we looked, and is not news
	FromHand     = "MANUAL"
	FromSchedule = "SCHEDULE"
)

// States of a connection, and of its webhook.
const (
	ConnPending     = "PENDING"
	ConnActive      = "ACTIVE"
	ConnNeedsReauth = "NEEDS_REAUTH"
	ConnError       = "ERROR"
	ConnDisabled    = "DISABLED"

	WebhookRegistered = "REGISTERED"
	WebhookManual     = "MANUAL"
	WebhookMissing    = "MISSING"
)

func final(state string) bool {
	return slices.Contains([]string{Cancelled, Succeeded, Failed, Suppressed}, state)
}

func stepFinal(state string) bool {
	return slices.Contains([]string{Succeeded, Adopted, Skipped, Failed, Cancelled}, state)
}
