package flow_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"tieline/connectors/sim"
	"tieline/db"
	"tieline/jobs/flow"
)

// define stores a flow of the organization's own.
func (w *world) define(doc string) (key string) {
	w.t.Helper()
	var d flow.Definition
	must(w.t, json.Unmarshal([]byte(doc), &d))
	hash := sha256.Sum256([]byte(doc))
	must(w.t, w.db.InTx(w.t.Context(), func(ctx context.Context, tx db.Tx) error {
		return db.ShipFlow(ctx, tx, db.Flow{OrgID: w.org, Key: d.Key, Kind: "CUSTOM", Direction: "INBOUND", Name: d.Name}, json.RawMessage(doc), hash[:])
	}))
	return d.Key
}

// fanOut writes to Stripe first and to Togai then, where neither reads anything of the other, and the last step reads the
// first.
func fanOut(onError, more string) string {
	return strings.NewReplacer("ON_ERROR", onError, "MORE", more).Replace(`{
	"key": "test.fan_out", "name": "Fan out", "trigger": {"app": "stripe", "key": "customer.created"},
	"params": {"customer": {"type": "string"}},
	"steps": [
		{"key": "note", "name": "Note", "app": "stripe", "action": "customer.update", "onError": "ON_ERROR" MORE,
			"input": {"customer_id": "{{ coalesce(params.customer, trigger.customer_id) }}", "metadata": {"seen": "yes"}}},
		{"key": "account", "name": "Account", "app": "togai", "action": "customer.create",
			"input": {"id": "{{ trigger.customer_id }}", "name": "{{ trigger.name }}", "email": "{{ trigger.email }}"}},
		{"key": "setting", "name": "Setting", "app": "togai", "action": "setting.set",
			"input": {"entity": "account", "entity_id": "{{ trigger.customer_id }}", "setting": "stripe_customer_id", "value": "{{ steps.note.customer_id }}"}}
	]}`)
}

// steps are the states of the steps of the only run.
func (w *world) steps() map[string]string {
	w.t.Helper()
	var rows []db.Step
	must(w.t, w.db.NewSelect().Model(&rows).OrderExpr("position").Scan(w.t.Context()))
	out := map[string]string{}
	for _, s := range rows {
		out[s.Key] = s.State
	}
	return out
}

func (w *world) stand(want map[string]string) {
	w.t.Helper()
	if got := w.steps(); !maps.Equal(got, want) {
		w.dump()
		w.t.Errorf("steps %v, want %v", got, want)
	}
}

// TestGoesOnBesideWhatWaits: with onError continue a step that cannot get through keeps only those waiting that read it.
func TestGoesOnBesideWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link(w.define(fanOut("continue", "")), nil)
	w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/customers/*", Point: "before", Status: 503, Count: -1})
	w.work()
	w.person("Acme")
	w.until("a run that waits beside a step that is through", `SELECT count(*) = 1 FROM runs r JOIN steps n ON n.run_id = r.id AND n.key = 'note' JOIN steps a ON a.run_id = r.id AND a.key = 'account'
		WHERE r.state = 'WAITING' AND r.waiting_reason = 'RETRY' AND n.state = 'WAITING' AND abs(extract(epoch FROM n.wake_at - r.wake_at)) < 0.1 AND a.state = 'SUCCEEDED'`)
	w.stand(map[string]string{"note": flow.Waiting, "account": flow.Succeeded, "setting": flow.Pending})
	w.stripe.ClearFaults()
	if r := w.settled(1)[0]; r.State != flow.Succeeded {
		t.Errorf("%s: %s", r.State, r.Error)
	}
	w.stand(map[string]string{"note": flow.Succeeded, "account": flow.Succeeded, "setting": flow.Succeeded})
	if n := w.togai.Count("POST", "/customers"); n != 1 {
		t.Errorf("the customer was sent %d times", n)
	}
}

// TestGoesOnAfterWhatFailed: the run fails when all is said and done, and retrying it does what failed, alone.
func TestGoesOnAfterWhatFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link(w.define(fanOut("continue", "")), map[string]any{"customer": "cus_missing"})
	w.work()
	w.person("Acme")
	r := w.settled(1)[0]
	w.stand(map[string]string{"note": flow.Failed, "account": flow.Succeeded, "setting": flow.Cancelled})
	if r.State != flow.Failed || !strings.Contains(r.Error, "cus_missing") {
		t.Errorf("%s: %s", r.State, r.Error)
	}
	if n := w.count("SELECT count(*) FROM steps WHERE key = 'setting' AND reason LIKE '%\"note\"%'"); n != 1 {
		t.Error("the step that reads it does not say why it was not begun")
	}
	w.exec("UPDATE flow_links SET params = '{}' WHERE id = ?", l.ID)
	must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error { _, err := w.engine.Retry(ctx, tx, w.org, r.ID); return err }))
	if r := w.settled(1)[0]; r.State != flow.Succeeded {
		t.Errorf("%s: %s", r.State, r.Error)
	}
	w.stand(map[string]string{"note": flow.Succeeded, "account": flow.Succeeded, "setting": flow.Succeeded})
	if n := w.togai.Count("POST", "/customers"); n != 1 {
		t.Errorf("the customer was sent %d times", n)
	}
}

// TestStops: without continue nothing is begun after what failed.
func TestStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link(w.define(fanOut("stop", "")), map[string]any{"customer": "cus_missing"})
	w.work()
	w.person("Acme")
	if r := w.settled(1)[0]; r.State != flow.Failed {
		t.Errorf("%s: %s", r.State, r.Error)
	}
	w.stand(map[string]string{"note": flow.Failed, "account": flow.Cancelled, "setting": flow.Cancelled})
	if n := w.togai.Count("POST", "/customers"); n != 0 {
		t.Errorf("the customer was sent %d times", n)
	}
}

// TestRetryPolicy: a step is tried again as often as it says, and no oftener.
func TestRetryPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link(w.define(strings.NewReplacer(`"app": "stripe", "action": "customer.update"`, `"app": "togai", "action": "account.get"`,
		`{"customer_id": "{{ coalesce(params.customer, trigger.customer_id) }}", "metadata": {"seen": "yes"}}`, `{"account_id": "acme"}`, "steps.note.customer_id", "steps.note.account_id").
		Replace(fanOut("continue", `, "retry": {"tries": 2, "pause": 0.02, "longest": 0.05}`))), nil)
	w.togai.Fault(sim.Fault{Method: "GET", Path: "/accounts/*", Point: "before", Status: 503, Count: -1})
	w.work()
	w.person("Acme")
	w.settled(1)
	w.stand(map[string]string{"note": flow.Failed, "account": flow.Succeeded, "setting": flow.Cancelled})
	if n := w.togai.Count("GET", "/accounts/*"); n != 3 {
		t.Errorf("tried %d times, want 3: once, and twice again", n)
	}
}

// TestParkedBeside: refused credentials park what needs them, and the repair wakes it although the run waits for something
// else as well.
func TestParkedBeside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link(w.define(strings.Replace(fanOut("continue", ""), `"key": "account",`, `"key": "account", "onError": "continue",`, 1)), nil)
	w.engine.Timing.Retry, w.engine.Timing.RetryMax = deadline, deadline
	token := w.togai.Token()
	_, err := w.engine.UpdateConnection(t.Context(), w.org, w.togaiConn.ID, flow.ConnectionInput{Credentials: map[string]string{"api_token": token}}, uncommitted)
	must(t, err)
	w.togai.Revoke(token)
	w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/customers/*", Point: "before", Status: 503, Count: -1})
	w.work()
	w.person("Acme")
	w.until("a run that waits for two things", `SELECT count(*) = 1 FROM runs r JOIN steps a ON a.run_id = r.id AND a.key = 'account'
		WHERE r.state = 'WAITING' AND r.waiting_reason = 'RETRY' AND a.waiting_reason = 'REAUTH'`)
	if c, err := db.GetConnection(t.Context(), w.db, w.org, w.togaiConn.ID); err != nil || c.State != flow.ConnNeedsReauth {
		t.Errorf("the connection is %s, %v", c.State, err)
	}
	_, err = w.engine.UpdateConnection(t.Context(), w.org, w.togaiConn.ID, flow.ConnectionInput{Credentials: map[string]string{"api_token": w.togai.Token()}}, uncommitted)
	must(t, err)
	w.until("the parked step to be through", "SELECT count(*) = 1 FROM steps WHERE key = 'account' AND state = 'SUCCEEDED'")
	w.stand(map[string]string{"note": flow.Waiting, "account": flow.Succeeded, "setting": flow.Pending})
}
