package graph

import (
	"context"
	"errors"

	"github.com/vikstrous/dataloadgen"

	"tieline/db"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

func (r stepResolver) Connection(ctx context.Context, s *model.RunStep) (*model.AppInstance, error) {
	return r.connection(ctx, s.Row.ConnectionID)
}

func (r stepResolver) Attempts(ctx context.Context, s *model.RunStep) ([]*model.Attempt, error) {
	rows, err := r.attempts(ctx, s.Row)
	if err != nil {
		return nil, err
	}
	return all(rows, sure(model.NewAttempt))
}

func (r stepResolver) Effects(ctx context.Context, s *model.RunStep) ([]*model.Effect, error) {
	rows, err := r.load(ctx).runEffects.Load(ctx, s.Row.RunID)
	if err != nil && !errors.Is(err, dataloadgen.ErrNotFound) {
		return nil, err
	}
	var own []db.Effect
	for _, e := range rows {
		if e.Step == s.Key {
			own = append(own, e)
		}
	}
	return all(own, sure(model.NewEffect))
}

// attempts are the calls made for a step, oldest first. They are read for the whole run.
func (r *Resolvers) attempts(ctx context.Context, s db.Step) (own []db.Attempt, err error) {
	rows, err := r.load(ctx).runAttempts.Load(ctx, s.RunID)
	if err != nil && !errors.Is(err, dataloadgen.ErrNotFound) {
		return nil, err
	}
	for _, a := range rows {
		if a.Step == s.Key {
			own = append(own, a)
		}
	}
	return own, nil
}

// LogURL is by the vendor account of the connection that the call was made through.
func (r attemptResolver) LogURL(ctx context.Context, a *model.Attempt) (*string, error) {
	if a.VendorRequestID == nil {
		return nil, nil
	}
	return one(ctx, r.load(ctx).connections, a.Row.ConnectionID, func(c db.Connection) (*string, error) {
		return r.apps.LogURL(c, *a.VendorRequestID), nil
	})
}

// VendorRequestID is that of the step's last call that failed. A run's error is that of its first failed step.
func (r stepErrorResolver) VendorRequestID(ctx context.Context, e *model.StepError) (*string, error) {
	of := e.Row
	if of.Key == "" {
		steps, err := r.load(ctx).steps.Load(ctx, of.RunID)
		if err != nil && !errors.Is(err, dataloadgen.ErrNotFound) {
			return nil, err
		}
		for _, s := range steps {
			if s.State == flow.Failed {
				of = s
				break
			}
		}
	}
	calls, err := r.attempts(ctx, of)
	for i := len(calls) - 1; i >= 0 && err == nil; i-- {
		if calls[i].ErrorKind != "" && calls[i].RequestID != "" {
			return &calls[i].RequestID, nil
		}
	}
	return nil, err
}
