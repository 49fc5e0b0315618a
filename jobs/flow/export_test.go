package flow

import (
	"context"

	"tieline/connectors"
	"tieline/connectors/schema"
	"tieline/jobs/flow/expr"
)

// InLine is how many events wait to be dispatched and how many runs to be written, beside those at hand.
func (e *Engine) InLine() (events, pages int) { return e.events.Waiting(), e.pages.Waiting() }

// Examine says what is wrong with a document by itself.
func Examine(doc []byte, apps *connectors.Registry) Issues {
	_, issues := prepare(doc, apps)
	return issues
}

// Rendering is a flow made ready, to measure.
type Rendering struct{ p *plan }

// Ready makes a flow ready to run.
func Ready(doc []byte, apps *connectors.Registry) (Rendering, error) {
	p, err := prepared(doc, apps)
	return Rendering{p}, err
}

// Check renders and checks the input of every step.
func (r Rendering) Check(ctx context.Context, env expr.Env) error {
	for _, s := range r.p.steps {
		in, err := s.input.Render(ctx, env)
		if err != nil {
			return err
		}
		if bad := s.action.Input.Validate(in); len(bad) > 0 {
			return schema.Problems(bad)
		}
	}
	return nil
}

// Shipped are the documents of the shipped flows, by file name.
var Shipped = shipped

// Shown is what the history keeps of a payload.
var Shown = shown
