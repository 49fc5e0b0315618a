package model

import (
	"encoding/json"
	"net/url"
	"strings"

	"tieline/connectors"
	"tieline/jobs/flow"
)

// Preview shows what a run would do.
func (a *Apps) Preview(p flow.Preview) (*FlowPreview, error) {
	out := &FlowPreview{Problems: NewIssues(p.Issues), Reason: p.Reason, Outcome: named[PreviewOutcome](p.Outcome), Steps: make([]*PreviewStep, len(p.Steps))}
	var err error
	if out.Outcome != nil {
		if out.Payload, err = json.Marshal(p.Payload); err != nil {
			return nil, err
		}
	}
	for i, s := range p.Steps {
		if out.Steps[i], err = a.previewStep(s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (a *Apps) previewStep(s flow.PreviewStep) (*PreviewStep, error) {
	out := &PreviewStep{
		ID: part("pvs", s.Key), Key: s.Key, Action: a.Action(s.App, s.Action), Outcome: PreviewStepOutcome(s.Outcome), Reason: s.Reason,
		UnknownInput: some(s.Unknown), UnknownOutput: some(s.OutputUnknown), Reads: []*PreviewRead{}, Writes: []*PreviewWrite{},
	}
	var err error
	for _, v := range []struct {
		value any
		to    *json.RawMessage
	}{{s.Input, &out.Input}, {s.Output, &out.Output}} {
		if v.value == nil {
			continue
		}
		if *v.to, err = json.Marshal(v.value); err != nil {
			return nil, err
		}
	}
	for _, c := range s.Reads {
		out.Reads = append(out.Reads, &PreviewRead{Method: c.Method, Path: c.Path, Status: int32(c.Status)})
	}
	for _, f := range s.Effects {
		out.Writes = append(out.Writes, &PreviewWrite{
			Kind: EffectKind(f.Kind), Entity: f.Entity, Sends: f.Sends, ExternalID: text(f.ExternalID), Reason: f.Reason, Request: newPreviewRequest(f.Request),
		})
	}
	return out, nil
}

func newPreviewRequest(r *connectors.Request) *PreviewRequest {
	if r == nil {
		return nil
	}
	out := &PreviewRequest{Method: r.Method, Path: r.Path}
	switch {
	case len(r.Body) == 0:
	case json.Valid(r.Body):
		out.Body = r.Body
	default:
		out.Body = form(string(r.Body))
	}
	return out
}

// form is the body of a form by its names.
func form(body string) json.RawMessage {
	fields := map[string]string{}
	for part := range strings.SplitSeq(body, "&") {
		name, value, _ := strings.Cut(part, "=")
		for _, s := range []*string{&name, &value} {
			if plain, err := url.QueryUnescape(*s); err == nil {
				*s = plain
			}
		}
		fields[name] = value
	}
	raw, _ := json.Marshal(fields) // texts always encode
	return raw
}

// some is a list that is never null.
func some(all []string) []string {
	if all == nil {
		return []string{}
	}
	return all
}
