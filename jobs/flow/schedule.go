package flow

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"tieline/db"
	"tieline/jobs/flow/expr"
)

// ScheduleRef says when a flow is started whose trigger is a schedule. Both parts may be fixed, or be taken from the flow
// link's parameters: {"cron": "{{ params.cron }}", "timeZone": "{{ params.timeZone }}"}.
type ScheduleRef struct {
	Cron     string `json:"cron" doc:"Five fields, minute to day of the week, or {{ params.… }}."`
	TimeZone string `json:"timeZone" doc:"A zone of the IANA list: Europe/Berlin, or {{ params.… }}."`
}

// schedule makes the schedule of a flow's trigger ready, and says what is wrong with it.
func (c *checking) schedule() {
	p := c.p
	s := p.Trigger.Schedule
	switch {
	case s == nil && p.trigger.Tick == nil:
	case s == nil:
		c.add(CodeRequired, "A schedule starts this flow, so its trigger says when: {\"cron\": …, \"timeZone\": …}.", "trigger", "schedule")
	case p.trigger.Tick == nil:
		c.add(CodeInvalid, "This trigger has no schedule; that of the app scheduler with the key schedule.fired has one.", "trigger", "schedule")
	default:
		p.cron = c.template(c.atTrigger, s.Cron, someText, "trigger", "schedule", "cron")
		p.zone = c.template(c.atTrigger, s.TimeZone, someText, "trigger", "schedule", "timeZone")
	}
}

// clock is the schedule of a link with these parameters, nil when its flow has none, or all that is wrong with it.
func (p *plan) clock(ctx context.Context, given map[string]any) (*clock, error) {
	if p.cron == nil || p.zone == nil {
		return nil, nil
	}
	c, bad := &clock{}, Problems{}
	env := expr.Env{Vars: map[string]any{"params": p.params(given)}}
	read := func(t *expr.Template, source string, read func(text string) error) error {
		v, err := t.Render(ctx, env)
		if err != nil {
			return err
		}
		text, _ := v.(string)
		if err := read(text); err != nil {
			bad = append(bad, problem(CodeInvalid, "The schedule does not work: "+err.Error()+closing(err), paramOf(source)...)...)
		}
		return nil
	}
	if err := cmp.Or(
		read(p.cron, p.Trigger.Schedule.Cron, func(text string) error {
			spec, err := readCron(text)
			if err == nil {
				c.cron, c.spec = text, *spec
			}
			return err
		}),
		read(p.zone, p.Trigger.Schedule.TimeZone, func(text string) (err error) {
			c.zone = text
			c.loc, err = readZone(text)
			return err
		}),
	); err != nil {
		return nil, err
	}
	return c, bad.or()
}

// closing ends a sentence that has no end yet.
func closing(err error) string {
	if s := err.Error(); s[len(s)-1] == '.' {
		return ""
	}
	return "."
}

var oneParam = regexp.MustCompile(`^\s*\{\{\s*params\.([A-Za-z0-9_]+)\s*\}\}\s*$`)

// paramOf is the parameter that a template takes its value from.
func paramOf(template string) []string {
	if m := oneParam.FindStringSubmatch(template); m != nil {
		return []string{"params", m[1]}
	}
	return []string{"params"}
}

// setClock notes when a link that was just switched on fires next. One that was on already keeps its time.
func (e *Engine) setClock(ctx context.Context, tx db.Tx, link *db.FlowLink) error {
	c, err := e.clockOf(ctx, tx, *link)
	if err != nil || c == nil {
		return err
	}
	now, err := db.Now(ctx, tx) // the sweeper goes by the database's time, too
	if err != nil {
		return err
	}
	return db.SetNextRun(ctx, tx, link, c.next(now))
}

func (e *Engine) clockOf(ctx context.Context, tx db.Tx, link db.FlowLink) (*clock, error) {
	version, err := db.LinkVersion(ctx, tx, link)
	if err != nil {
		return nil, err
	}
	p, err := e.plan(ctx, tx, link.OrgID, version.ID)
	if err != nil {
		return nil, err
	}
	var given map[string]any
	if err := json.Unmarshal(link.Params, &given); err != nil {
		return nil, err
	}
	return p.clock(ctx, given)
}

// Fire makes the events of schedules whose time has come, with the tasks to dispatch them, and answers how many links it
// looked at. Of several times that passed while nobody was there the latest is made up for, once. An occurrence is named
// after link and time, so it cannot come twice.
func (e *Engine) Fire(ctx context.Context, tx db.Tx, limit int) ([]Task, int, error) {
	links, now, err := db.DueLinks(ctx, tx, limit)
	if err != nil {
		return nil, 0, err
	}
	var tasks []Task
	for _, l := range links {
		c, err := e.clockOf(ctx, tx, l.FlowLink)
		if err != nil || c == nil { // of a flow that this process is too old for, or that has no schedule any more
			e.Log.ErrorContext(ctx, "a schedule cannot be read; it is looked at again in a minute", "org", l.OrgID, "link", l.ID, "error", err)
			if err := db.PutOff(ctx, tx, l.FlowLink, time.Minute); err != nil {
				return nil, 0, err
			}
			continue
		}
		at := c.latest(l.NextRunAt, now)
		id, err := e.fire(ctx, tx, l, c, at, now)
		if err != nil {
			return nil, 0, err
		}
		if id != (db.ID{}) {
			tasks = append(tasks, Task{Kind: Dispatch, Org: l.OrgID, ID: id})
		}
		if err := db.SetNextRun(ctx, tx, &l.FlowLink, c.next(at)); err != nil {
			return nil, 0, err
		}
	}
	return tasks, len(links), nil
}

// fire stores the event of one occurrence, unless it is there.
func (e *Engine) fire(ctx context.Context, tx db.Tx, l db.DueLink, c *clock, at, now time.Time) (db.ID, error) {
	app, _ := e.Apps.App(l.App)
	t, _ := app.Trigger(l.Trigger)
	body, err := json.Marshal(t.Tick(at, c.cron, c.zone))
	if err != nil {
		return db.ID{}, err
	}
	key := fmt.Sprintf("%s/%s", l.ID, at.UTC().Format(time.RFC3339))
	ev := db.Event{
		OrgID: l.OrgID, ID: db.NewID(), ConnectionID: l.TriggerConnectionID, FlowLinkID: l.ID, Trigger: l.Trigger, DedupeKey: "schedule:" + key,
		Source: FromSchedule, VendorType: l.Trigger, VendorAt: at, ReceivedAt: now, Entity: t.Entity, RecordID: key, RecordName: at.In(c.loc).Format(time.RFC3339),
		DueAt: now.Add(10 * time.Second),
	}
	made, err := db.AddEventOnce(ctx, tx, ev, body)
	if err != nil || !made {
		return db.ID{}, err
	}
	return ev.ID, nil
}
