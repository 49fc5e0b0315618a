package flow_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tieline/db"
	"tieline/jobs/flow"
)

// monthly makes a customer in Togai for each time of its schedule.
const monthly = `{
	"key": "test.monthly", "name": "Monthly", "trigger": {"app": "scheduler", "key": "schedule.fired", "schedule": {"cron": "{{ params.cron }}", "timeZone": "{{ params.timeZone }}"}},
	"params": {"cron": {"type": "string", "default": "0 6 1 * *"}, "timeZone": {"type": "string", "default": "UTC"}},
	"steps": [{"key": "make", "name": "Make", "app": "togai", "action": "customer.create", "input": {
		"id": "{{ 'at-' + coalesce(trigger.scheduled_at, 'hand').replace(':', '-') }}", "name": "Made by the clock", "email": "clock@acme.test"}}]
}`

// custom makes a flow and a link of it, which is not switched on.
func (w *world) custom(definition string, params map[string]any, conns map[string]db.ID) (db.FlowLink, error) {
	w.t.Helper()
	var d flow.Definition
	must(w.t, json.Unmarshal([]byte(definition), &d))
	must(w.t, db.ShipFlow(w.t.Context(), w.db, db.Flow{OrgID: w.org, Key: d.Key, Kind: "CUSTOM", Direction: "INBOUND", Name: d.Name}, json.RawMessage(definition), []byte(definition)))
	var f db.Flow
	must(w.t, w.db.NewSelect().Model(&f).Where("org_id = ? AND key = ?", w.org, d.Key).Scan(w.t.Context()))
	var l db.FlowLink
	err := w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		l, err = w.engine.CreateLink(ctx, tx, w.org, flow.LinkInput{FlowID: f.ID, Name: d.Key, Params: params, Connections: conns})
		return err
	})
	return l, err
}

func (w *world) enable(id db.ID) db.FlowLink {
	w.t.Helper()
	l, err := w.engine.EnableLink(w.t.Context(), w.org, id, w, uncommitted)
	must(w.t, err)
	return l
}

// fire is one look of a sweeper.
func (w *world) fire() (tasks []flow.Task) {
	w.t.Helper()
	must(w.t, w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		tasks, _, err = w.engine.Fire(ctx, tx, 100)
		return err
	}))
	return tasks
}

func (w *world) trigger(link db.ID, payload string) db.Event {
	w.t.Helper()
	var ev db.Event
	must(w.t, w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		ev, err = w.engine.TriggerNow(ctx, tx, w.org, link, []byte(payload))
		return err
	}))
	return ev
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clock := w.connect("scheduler", "Clock", map[string]string{"mode": "test"})
	l, err := w.custom(monthly, map[string]any{"cron": "0 * * * *"}, map[string]db.ID{"trigger": clock.ID, "make": w.togaiConn.ID})
	must(t, err)
	if l.NextRunAt != (time.Time{}) {
		t.Errorf("it is off, and fires at %s", l.NextRunAt)
	}
	before := time.Now()
	l = w.enable(l.ID)
	if hour := before.UTC().Truncate(time.Hour).Add(time.Hour); !l.NextRunAt.Equal(hour) && !l.NextRunAt.Equal(hour.Add(time.Hour)) {
		t.Errorf("it fires at %s", l.NextRunAt)
	}
	if tasks := w.fire(); len(tasks) > 0 {
		t.Errorf("it fired before its time: %v", tasks)
	}
	missed := before.UTC().Truncate(time.Hour).Add(-50 * time.Hour)
	_, err = w.db.NewRaw("UPDATE flow_links SET next_run_at = ?0, schedule_due_at = ?0", missed).Exec(t.Context())
	must(t, err)
	if tasks := w.fire(); len(tasks) != 1 || tasks[0].Kind != flow.Dispatch {
		t.Fatalf("of all that were missed came %v", tasks)
	}
	if tasks := w.fire(); len(tasks) > 0 {
		t.Errorf("it fired again: %v", tasks)
	}
	// A process whose row is older than what has happened makes nothing twice.
	_, err = w.db.NewRaw("UPDATE flow_links SET schedule_due_at = ?0, next_run_at = ?0", before.UTC().Truncate(time.Hour)).Exec(t.Context())
	must(t, err)
	if tasks := w.fire(); len(tasks) > 0 && before.Truncate(time.Hour).Equal(time.Now().Truncate(time.Hour)) {
		t.Errorf("the same occurrence again: %v", tasks)
	}
	w.work()
	run := w.settled(1)[0]
	if run.State != flow.Succeeded || run.Source != flow.FromSchedule || run.Lane != "occurrence" || run.MappingID == (db.ID{}) || !run.VendorAt.After(missed.Add(40*time.Hour)) {
		t.Errorf("%+v", run)
	}
	w.trigger(l.ID, `{}`)
	if runs := w.settled(2); runs[1].State != flow.Succeeded || runs[1].MappingID == run.MappingID {
		t.Errorf("by hand: %+v", runs[1])
	}
	if n := w.togai.Count("POST", "/customers"); n != 2 {
		t.Errorf("%d customers were made", n)
	}
	must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if _, err := w.engine.DisableLink(ctx, tx, w.org, l.ID); err != nil {
			return err
		}
		off, err := db.GetFlowLink(ctx, tx, w.org, l.ID)
		if err == nil && (!off.NextRunAt.IsZero() || !off.ScheduleDueAt.IsZero()) {
			t.Errorf("it is off, and fires at %s", off.NextRunAt)
		}
		return err
	}))
}

// TestScheduleByManySweepers: whoever looks, an occurrence comes once.
func TestScheduleByManySweepers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clock := w.connect("scheduler", "Clock", map[string]string{"mode": "test"})
	const links = 20
	for i := range links {
		l, err := w.custom(strings.ReplaceAll(monthly, "test.monthly", "test.monthly"+string(rune('a'+i))), nil, map[string]db.ID{"trigger": clock.ID, "make": w.togaiConn.ID})
		must(t, err)
		w.enable(l.ID)
	}
	_, err := w.db.NewRaw("UPDATE flow_links SET schedule_due_at = '2026-11-01T06:00:00Z', next_run_at = '2026-11-01T06:00:00Z'").Exec(t.Context())
	must(t, err)
	found := make(chan []flow.Task, 3)
	for range 3 {
		go func() { found <- w.fire() }()
	}
	var all []flow.Task
	for range 3 {
		all = append(all, <-found...)
	}
	all = append(all, w.fire()...) // those that were skipped while another had them in hand
	if len(all) != links {
		t.Errorf("%d of %d fired", len(all), links)
	}
	var events int
	must(t, w.db.NewRaw("SELECT count(*) FROM events WHERE source = 'SCHEDULE'").Scan(t.Context(), &events))
	if events != links {
		t.Errorf("%d events", events)
	}
}

func TestScheduleThatDoesNotWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clock := w.connect("scheduler", "Clock", map[string]string{"mode": "test"})
	conns := map[string]db.ID{"trigger": clock.ID, "make": w.togaiConn.ID}
	for name, x := range map[string]struct {
		params map[string]any
		field  []string
		says   string
	}{
		"cron": {map[string]any{"cron": "0 6 * *"}, []string{"params", "cron"}, "Five fields are needed"},
		"zone": {map[string]any{"timeZone": "Berlin"}, []string{"params", "timeZone"}, "Europe/Berlin"},
	} {
		_, err := w.custom(monthly, x.params, conns)
		bad, ok := errors.AsType[flow.Problems](err)
		if !ok || len(bad) != 1 || !slices.Equal(bad[0].Field, x.field) || bad[0].Code != flow.CodeInvalid || !strings.Contains(bad[0].Message, x.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.custom(monthly, map[string]any{"cron": "x", "timeZone": "y"}, conns); len(err.(flow.Problems)) != 2 {
		t.Errorf("both: %v", err)
	}
	live := w.connect("scheduler", "Live clock", map[string]string{"mode": "live"})
	_, err := w.custom(monthly, nil, map[string]db.ID{"trigger": live.ID, "make": w.togaiConn.ID})
	if bad, ok := errors.AsType[flow.Problems](err); !ok || bad[0].Code != flow.CodeModeMismatch {
		t.Errorf("live clock, test data: %v", err)
	}
	for _, broken := range []string{
		strings.Replace(monthly, `, "schedule": {"cron": "{{ params.cron }}", "timeZone": "{{ params.timeZone }}"}`, "", 1),
		strings.Replace(monthly, "schedule.fired", "run.requested", 1),
	} {
		_, err := w.custom(strings.Replace(broken, "test.monthly", "test.broken", 1), nil, conns)
		bad, ok := errors.AsType[flow.Problems](err)
		if !ok || !slices.Equal(bad[0].Field, []string{"trigger", "schedule"}) {
			t.Errorf("%v", err)
		}
	}
}
