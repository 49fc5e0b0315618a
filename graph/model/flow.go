package model

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"tieline/db"
	"tieline/jobs/flow"
)

// NewFlow shows a flow.
func NewFlow(f db.Flow) *Flow {
	return &Flow{
		ID: FlowID.Of(f.ID), Key: f.Key, Name: f.Name, Description: f.Description, Kind: FlowKind(f.Kind), Direction: FlowDirection(f.Direction),
		CreatedAt: f.CreatedAt, Row: f,
	}
}

// Version is a published version of a flow, read.
type Version struct {
	db.FlowVersion
	Doc flow.Definition
}

// ReadVersion reads a version's document.
func ReadVersion(v db.FlowVersion) (*Version, error) {
	out := &Version{FlowVersion: v}
	if err := json.Unmarshal(v.Definition, &out.Doc); err != nil {
		return nil, fmt.Errorf("flow version %s: %w", v.ID, err)
	}
	return out, nil
}

// Steps shows a version's steps.
func (a *Apps) Steps(v *Version) ([]*FlowStep, error) {
	out := make([]*FlowStep, len(v.Doc.Steps))
	for i, s := range v.Doc.Steps {
		input, err := json.Marshal(s.Input)
		if err != nil {
			return nil, err
		}
		record, err := newStepRecord(v, s)
		if err != nil {
			return nil, err
		}
		out[i] = &FlowStep{ID: part("fst", v.FlowID.String(), s.Key), Key: s.Key, Action: a.Action(s.App, s.Action), Input: input, Condition: text(s.When), Record: record, ForEach: text(s.ForEach)}
	}
	return out, nil
}

func newStepRecord(v *Version, s flow.StepRef) (*StepRecord, error) {
	if s.Record == nil {
		return nil, nil
	}
	id, err := json.Marshal(s.Record.ID)
	return &StepRecord{ID: part("srd", v.FlowID.String(), s.Key), App: s.Record.App, Entity: s.Record.Entity, ExternalID: id}, err
}

// ParamsSchema is the JSON Schema of a version's parameters.
func (v *Version) ParamsSchema() (json.RawMessage, error) {
	properties := v.Doc.Params
	if properties == nil {
		properties = map[string]any{}
	}
	return json.Marshal(map[string]any{"type": "object", "properties": properties, "additionalProperties": false})
}

// NewFlowLink shows a flow link.
func NewFlowLink(l db.FlowLink) *FlowLink {
	return &FlowLink{
		ID: FlowLinkID.Of(l.ID), Name: l.Name, Enabled: l.Enabled, Params: l.Params, NextRunAt: moment(l.NextRunAt), LastEventAt: moment(l.LastEventAt),
		LastSuccessAt: moment(l.LastSuccessAt), FailingSince: moment(l.FailingSince), EnabledAt: moment(l.EnabledAt),
		CreatedAt: l.CreatedAt, UpdatedAt: l.UpdatedAt, DeletedAt: moment(l.DeletedAt), Row: l,
	}
}

// LinkSteps shows which connections a link's steps use, in the order of its flow.
func (a *Apps) LinkSteps(rows []db.FlowLinkStep, v *Version) []*FlowLinkStep {
	at := func(s *FlowLinkStep) int {
		i := slices.IndexFunc(v.Doc.Steps, func(d flow.StepRef) bool { return d.Key == s.Key })
		return (i + len(v.Doc.Steps) + 1) % (len(v.Doc.Steps) + 1) // one that the flow no longer has comes last
	}
	out := make([]*FlowLinkStep, len(rows))
	for i, r := range rows {
		out[i] = &FlowLinkStep{ID: part("lst", r.FlowLinkID.String(), r.Step), Key: r.Step, Row: r}
		if n := at(out[i]); n < len(v.Doc.Steps) {
			out[i].Action = a.Action(v.Doc.Steps[n].App, v.Doc.Steps[n].Action)
		}
	}
	slices.SortStableFunc(out, func(x, y *FlowLinkStep) int { return cmp.Compare(at(x), at(y)) })
	return out
}
