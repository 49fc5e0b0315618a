package model

import (
	"encoding/json"
	"fmt"
	"time"

	"tieline/db"
	"tieline/jobs/flow"
)

// NewRun shows a run.
func NewRun(r db.Run) (*Run, error) {
	out := &Run{
		ID: RunID.Of(r.ID), Origin: EventSource(r.Source), Record: r.RecordID, Entity: r.Entity, RecordName: text(r.RecordName),
		State: RunState(r.State), WaitingReason: named[WaitingReason](r.WaitingReason), FailedItems: whole(r.FailedItems), Replay: whole(r.Replay), Version: whole(r.Version),
		CreatedAt: r.CreatedAt, StartedAt: moment(r.StartedAt), FinishedAt: moment(r.EndedAt), Row: r,
	}
	if r.State == flow.Waiting {
		out.WaitingUntil = moment(r.WakeAt)
		if r.WaitingReason == flow.ForRate {
			out.ExpectedStartAt = out.WaitingUntil
		}
	}
	if r.State == flow.Failed {
		out.Error = stepError(db.Step{RunID: r.ID, ErrorKind: r.ErrorKind, Error: r.Error})
	}
	var err error
	out.Progress, err = NewProgress(out.ID, r.Progress)
	return out, err
}

// NewProgress shows how far a run has come; nil for one that does not go over many records.
func NewProgress(run string, raw json.RawMessage) (*RunProgress, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	p := &RunProgress{ID: part("prg", run)}
	if err := json.Unmarshal(raw, p); err != nil {
		return nil, fmt.Errorf("progress of %s: %w", run, err)
	}
	return p, nil
}

// NewRunItem shows a record of a run over many.
func NewRunItem(x db.RunItem) *RunItem {
	return &RunItem{
		ID: part("itm", x.ID.String()), Record: x.Key, Entity: x.Entity, RecordName: text(x.Name), State: RunItemState(x.State),
		ErrorKind: named[ErrorKind](x.ErrorKind), Message: text(x.Message), VendorRequestID: text(x.RequestID), WaitingUntil: moment(x.DueAt),
		CreatedAt: x.CreatedAt, UpdatedAt: x.UpdatedAt, Row: x,
	}
}

// Step shows a step of a run.
func (a *Apps) Step(s db.Step) *RunStep {
	out := &RunStep{
		ID: part("stp", s.RunID.String(), s.Key), Key: s.Key, Action: a.Action(s.App, s.Action), State: StepState(s.State),
		WaitingReason: named[WaitingReason](s.WaitingReason), Reason: text(s.Reason), Input: s.Input, Output: s.Output, Redacted: s.Redacted,
		StartedAt: moment(s.StartedAt), FinishedAt: moment(s.EndedAt), Row: s,
	}
	if s.State == flow.Waiting {
		out.WaitingUntil = moment(s.WakeAt)
	}
	switch {
	case s.State == flow.Waiting && s.WaitingReason != flow.ForRetry && s.ErrorKind == "":
		out.Reason = text(s.Error) // the engine's own reason to wait is no failure
	case s.ErrorKind != "" || s.Error != "":
		out.Error = stepError(s)
	}
	return out
}

// stepError shows why a step failed. A fault of ours has no kind; to a caller we could not do it.
func stepError(s db.Step) *StepError {
	e := &StepError{Kind: ErrorKind(s.ErrorKind), Message: s.Error, Row: s}
	if s.ErrorKind == "" {
		e.Kind = ErrorKindUnavailable
	}
	return e
}

// NewEffect shows a write.
func NewEffect(e db.Effect) *Effect {
	return &Effect{
		ID: EffectID.Of(e.ID), Kind: EffectKind(e.Kind), Key: e.Key, State: EffectState(e.State), Generation: whole(e.Generation),
		ExternalID: text(e.ExternalID), SentAt: moment(e.SentAt), SendUntil: moment(e.SendUntil), CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt, Row: e,
	}
}

// NewEffectConflict shows both sides of a write that waits for a person, but for where the other is linked and seen.
func NewEffectConflict(c flow.Conflict) *EffectConflict {
	reason := c.Effect.Error
	if reason == "" {
		reason = "It is not known whether it happened."
	}
	return &EffectConflict{
		ID: part("cfl", c.Effect.ID.String()), Effect: NewEffect(c.Effect), Reason: reason, Request: c.Request, Entity: c.Effect.Entity,
		ExternalID: text(c.ExternalID), RecordName: text(c.Name), Record: c.Record, Missing: text(c.Missing),
	}
}

// NewAttempt shows a call.
func NewAttempt(a db.Attempt) *Attempt {
	said := a.Error
	if said == "" {
		said = a.Method + " " + a.Path
		if a.Status != 0 {
			said = fmt.Sprintf("%s: %d", said, a.Status)
		}
	}
	return &Attempt{
		ID: AttemptID.Of(a.ID), At: a.At, ErrorKind: named[ErrorKind](a.ErrorKind), Message: &said, VendorRequestID: text(a.RequestID),
		DurationMs: whole((time.Duration(a.TookUS) * time.Microsecond).Milliseconds()), Row: a,
	}
}
