// Package scheduler starts flows without a vendor: by hand, whenever somebody asks for it, and at the times of a schedule.
package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"tieline/connectors"
)

// The one field of the form. A flow link never mixes real data with play data, so its trigger has to be of either.
const mode = "mode"

// entity is what its triggers are about: no record, but a time at which a flow is started.
const entity = "occurrence"

// Connector describes the scheduler. It makes no calls.
func Connector() connectors.Connector {
	return connectors.Connector{
		Key: "scheduler", Name: "Scheduler", Category: "built-in",
		Description: "Starts flows on demand and at the times of a schedule.",
		Auth: []connectors.Field{
			{Key: mode, Label: "Mode", Help: "Which data its flows are about: live data, or that of test accounts and sandboxes. A flow link never mixes the two.",
				Choices: []connectors.Choice{{Value: string(connectors.Live), Label: "Live"}, {Value: string(connectors.Test), Label: "Test"}}},
		},
		Mode:     modeOf,
		Identify: identify,
		Triggers: []connectors.Trigger{onDemand(), onSchedule()},
		Records:  []connectors.Record{{Entity: entity, Name: "Occurrence"}},
	}
}

func modeOf(c connectors.Credentials) (connectors.Mode, error) {
	switch m := connectors.Mode(c[mode]); m {
	case connectors.Live, connectors.Test:
		return m, nil
	}
	e := connectors.Errorf(connectors.Invalid, "The mode must be live or test.")
	e.Field = mode
	return "", e
}

// identify answers what all connections of an organization and mode have in common: there is nothing behind them.
func identify(_ context.Context, c connectors.Conn) (connectors.Identity, error) {
	return connectors.Identity{AccountID: "scheduler", Name: "Scheduler", Mode: c.Mode}, nil
}

// Demand is the payload of run.requested: any object, {} included.
type Demand map[string]any

func onDemand() connectors.Trigger {
	return connectors.On("run.requested", "On demand", func([]byte) (connectors.Occurrence, error) {
		return connectors.Occurrence{}, fmt.Errorf("nothing but a person or a program asks for it: %w", connectors.ErrMalformed)
	}, nil, Demand{}, func(t *connectors.Trigger) {
		t.Description = "Somebody asked for it, with “Trigger now” or triggerFlow. The payload is an object of whatever the flow wants to know; {} is enough."
		t.Entity, t.Occasion = entity, true
	}, connectors.ByHand(func(Demand) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: entity}}
	}))
}

// Firing is the payload of schedule.fired.
type Firing struct {
	ScheduledAt *time.Time `json:"scheduled_at,omitempty" doc:"The time that the schedule names; left out when the flow was started by hand."`
	Cron        string     `json:"cron,omitempty" doc:"The schedule."`
	TimeZone    string     `json:"time_zone,omitempty" doc:"The time zone of the schedule."`
}

func onSchedule() connectors.Trigger {
	at := time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)
	return connectors.On("schedule.fired", "Schedule", decodeFiring, nil, Firing{ScheduledAt: &at, Cron: "0 6 1 * *", TimeZone: "Europe/Berlin"}, func(t *connectors.Trigger) {
		t.Description = "A time of the flow's schedule has come. The flow says which: its trigger has a schedule with cron and timeZone, fixed or taken from the flow link's parameters."
		t.Entity, t.Occasion = entity, true
		t.Tick = func(at time.Time, cron, zone string) any {
			return Firing{ScheduledAt: new(at.UTC()), Cron: cron, TimeZone: zone}
		}
	}, connectors.ByHand(func(Firing) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: entity}}
	}))
}

func decodeFiring(body []byte) (connectors.Occurrence, error) {
	var f Firing
	if err := json.Unmarshal(body, &f); err != nil || f.ScheduledAt == nil {
		return connectors.Occurrence{}, fmt.Errorf("it names no time: %w", connectors.ErrMalformed)
	}
	return connectors.Occurrence{Payload: f, Record: connectors.Subject{Entity: entity}, At: *f.ScheduledAt}, nil
}
