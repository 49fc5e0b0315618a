package model

import (
	"testing"

	"tieline/connectors"
	"tieline/db"
	"tieline/jobs/flow"
)

func TestWhyAStepWaits(t *testing.T) {
	t.Parallel()
	apps := NewApps(&connectors.Registry{}, "")
	for name, c := range map[string]struct {
		row    db.Step
		reason string
		kind   ErrorKind
	}{
		"for another run": {db.Step{State: flow.Waiting, WaitingReason: flow.ForDependency, Error: "another run is at work"}, "another run is at work", ""},
		"for a retry":     {db.Step{State: flow.Waiting, WaitingReason: flow.ForRetry, Error: "an error on our side"}, "", ErrorKindUnavailable},
		"for a person":    {db.Step{State: flow.Waiting, WaitingReason: flow.ForPerson, ErrorKind: "CONFLICT", Error: "two are there"}, "", ErrorKindConflict},
		"not: it failed":  {db.Step{State: flow.Failed, ErrorKind: "INVALID", Error: "no"}, "", ErrorKindInvalid},
		"not: it is done": {db.Step{State: flow.Succeeded}, "", ""},
	} {
		s := apps.Step(c.row)
		if (s.Reason == nil) != (c.reason == "") || s.Reason != nil && *s.Reason != c.reason {
			t.Errorf("%s: reason %v", name, s.Reason)
		}
		if (s.Error == nil) != (c.kind == "") || s.Error != nil && s.Error.Kind != c.kind {
			t.Errorf("%s: error %v", name, s.Error)
		}
	}
}
