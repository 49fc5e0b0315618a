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
		CreatedAt: f.CreatedAt, DeletedAt: moment(f.DeletedAt), Row: f,
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

// ReadDraft reads the draft of a flow that was never published, as its version 0. What has not the form of a flow yet is
// left out.
func ReadDraft(f db.Flow) *Version {
	out := &Version{FlowVersion: db.FlowVersion{OrgID: f.OrgID, FlowID: f.ID, Definition: f.Draft, CreatedAt: f.DraftedAt}}
	if json.Unmarshal(f.Draft, &out.Doc) != nil {
		out.Doc = flow.Definition{}
	}
	return out
}

// NewDraft shows a flow's draft; nil when it has none.
func NewDraft(f db.Flow) *FlowDraft {
	if f.Draft == nil {
		return nil
	}
	return &FlowDraft{ID: part("fdr", f.ID.String()), Revision: int32(f.DraftRevision), Document: f.Draft, UpdatedAt: f.DraftedAt, Row: f}
}

// NewVersion shows a published version.
func NewVersion(v db.FlowVersion) *FlowVersion {
	return &FlowVersion{ID: FlowVersionID.Of(v.ID), Number: int32(v.Number), CreatedAt: v.CreatedAt, Row: v}
}

// NewIssues shows what is wrong with a document.
func NewIssues(all flow.Issues) []*FlowProblem {
	out := make([]*FlowProblem, len(all))
	for i, x := range all {
		out[i] = &FlowProblem{
			Path: x.Path, Severity: ProblemSeverityError, Code: x.Code, Message: x.Message, Expression: text(x.Expression), Line: place(x.Line), Column: place(x.Column),
			Expected: text(x.Expected), Found: text(x.Found), Suggestion: text(x.Suggestion),
		}
		if out[i].Path == nil {
			out[i].Path = []string{}
		}
		if x.Warning {
			out[i].Severity = ProblemSeverityWarning
		}
	}
	return out
}

func place(n int) *int32 { return value(int32(n)) }

// NewScope shows what expressions can read.
func NewScope(s flow.Scope) *ExpressionScope {
	out := &ExpressionScope{Names: []*ScopeName{}, Functions: []*ScopeFunction{}}
	for _, n := range s.Names {
		out.Names = append(out.Names, &ScopeName{Name: n.Name, Type: n.Type, Description: n.Description, Optional: n.Optional})
	}
	for _, f := range s.Functions {
		out.Functions = append(out.Functions, &ScopeFunction{Name: f.Name, Signature: f.Signature, Description: f.Description})
	}
	return out
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
		out[i] = &FlowStep{ID: part("fst", v.FlowID.String(), s.Key), Key: s.Key, Action: a.Action(s.App, s.Action), Input: input, Condition: text(s.When), Record: record, ForEach: text(s.ForEach), OnError: StepOnErrorStop}
		if s.OnError == flow.GoOn {
			out[i].OnError = StepOnErrorContinue
		}
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
		ID: FlowLinkID.Of(l.ID), Name: l.Name, Enabled: l.Enabled, Params: l.Params, Filter: text(l.Filter), Redact: append([]string{}, l.Redact...), NextRunAt: moment(l.NextRunAt), LastEventAt: moment(l.LastEventAt),
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

// Moves shows which connections of a link change, and what that means.
func (a *Apps) Moves(link string, moves []flow.Moved) []*FlowLinkMove {
	out := make([]*FlowLinkMove, len(moves))
	for i, m := range moves {
		note := fmt.Sprintf("%q opens the same vendor account as %q: nothing is lost.", m.To.Name, m.From.Name)
		switch {
		case m.From.VendorAccount == nil:
			note = fmt.Sprintf("%q is used where nothing was before.", m.To.Name)
		case !m.Same():
			note = fmt.Sprintf("%q opens %s, %q opened %s. %d records are linked in the old account and not in the new one: steps will not find those there, and may make them anew. Runs that have not ended go on with the old one.",
				m.To.Name, m.To.VendorAccount.ExternalID, m.From.Name, m.From.VendorAccount.ExternalID, m.Missing)
		}
		out[i] = &FlowLinkMove{ID: part("mov", link, m.Role, m.To.ID.String()), Key: m.Role, SameVendorAccount: m.Same(), NotFound: whole(m.Missing), Note: note}
	}
	return out
}
