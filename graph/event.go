package graph

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/vikstrous/dataloadgen"

	"tieline/db"
	"tieline/graph/model"
)

var events = list[db.Event, model.Event]{"events", func(e *db.Event) db.ID { return e.ID }, sure(model.NewEvent)}

func (r *Resolvers) event(ctx context.Context, id db.ID) (*model.Event, error) {
	return one(ctx, r.load(ctx).events, id, sure(model.NewEvent))
}

func (r queryResolver) Events(ctx context.Context, filter *model.EventFilter, first *int32, after *string, last *int32, before *string) (*model.EventConnection, error) {
	f := db.EventFilter{Connection: model.ConnectionID.Narrow(given(filter).ConnectionID)}
	return events.page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.Event, error) {
		return db.EventsPage(ctx, r.DB, organization(ctx), f, w)
	})
}

func (r queryResolver) Event(ctx context.Context, id string) (*model.Event, error) {
	return r.event(ctx, model.EventID.Find(id))
}

func (r eventResolver) Connection(ctx context.Context, e *model.Event) (*model.AppInstance, error) {
	return r.connection(ctx, e.Row.ConnectionID)
}

func (r eventResolver) Trigger(ctx context.Context, e *model.Event) (*model.Trigger, error) {
	c, err := r.connection(ctx, e.Row.ConnectionID)
	if err != nil || c == nil {
		return nil, err
	}
	return r.apps.Trigger(c.App.Key, e.TriggerKey), nil
}

func (r eventResolver) Outcomes(ctx context.Context, e *model.Event) ([]*model.EventOutcome, error) {
	list, err := many(ctx, r.load(ctx).outcomes, e.Row.ID, sure(model.NewOutcome))
	if err == nil && len(list) == 0 && !e.Row.DispatchedAt.IsZero() {
		list = append(list, model.Unheard(e.Row))
	}
	return list, err
}

func (r eventResolver) Payload(ctx context.Context, e *model.Event) (json.RawMessage, error) {
	body, err := r.load(ctx).bodies.Load(ctx, db.BodyKey{Event: e.Row.ID, At: e.ReceivedAt})
	if errors.Is(err, dataloadgen.ErrNotFound) {
		return nil, nil
	}
	if err == nil && body.Raw == nil && body.Size > 0 {
		return nil, failf(TooLarge, "there is no room for this payload of %d bytes beside the others of this response, of up to %d MiB together; ask for fewer at a time, or for this one alone with event(id)", body.Size, bodyRoom>>20)
	}
	return model.Body(body.Raw), err
}

func (r outcomeResolver) FlowLink(ctx context.Context, o *model.EventOutcome) (*model.FlowLink, error) {
	return r.flowLink(ctx, o.Row.FlowLinkID)
}

func (r outcomeResolver) Run(ctx context.Context, o *model.EventOutcome) (*model.Run, error) {
	return r.run(ctx, o.Row.RunID)
}

func (r mutationResolver) ReleaseEvent(ctx context.Context, in model.ReleaseEventInput) (*model.ReleaseEventPayload, error) {
	event, problems, err := made(ctx, r.event)(r.do(ctx, model.EventID, in.ID, r.engine.Release))
	return &model.ReleaseEventPayload{Event: event, UserErrors: problems}, err
}
