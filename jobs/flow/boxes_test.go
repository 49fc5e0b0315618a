package flow_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"tieline/connectors/sim"
	"tieline/db"
	"tieline/db/seal"
	"tieline/jobs/flow"
)

func keysOf(t *testing.T, settings ...string) *seal.Keys {
	t.Helper()
	k, err := seal.Parse(strings.Join(settings, ","))
	must(t, err)
	return k
}

// TestCheckKeys: keys that do not open what is stored are found before anything needs them.
func TestCheckKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, w.engine.CheckKeys(t.Context()))
	id, other := w.engine.Keys.First(), seal.Generate()
	_, material, _ := strings.Cut(other, ":")
	for name, c := range map[string]struct {
		keys *seal.Keys
		want string
	}{
		"another key":               {keysOf(t, other), "the key " + id + " has sealed"},
		"another key under this id": {keysOf(t, id+":"+material), "the key " + id + " is another one"},
	} {
		e := w.engineWith(c.keys)
		if err := e.CheckKeys(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), material) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// One broken box is no wrong key, and nobody needs those of a deleted connection.
	_, err := w.db.NewRaw("UPDATE connections SET credentials = overlay(credentials PLACING '\\x00' FROM 40) WHERE id = ?", w.togaiConn.ID).Exec(t.Context())
	must(t, err)
	must(t, w.engine.CheckKeys(t.Context()))
	_, err = w.db.NewRaw("UPDATE connections SET deleted_at = now()").Exec(t.Context())
	must(t, err)
	must(t, w.engineWith(keysOf(t, other)).CheckKeys(t.Context()))
}

// engineWith is another process of the world, with other keys.
func (w *world) engineWith(k *seal.Keys) *flow.Engine {
	return &flow.Engine{DB: w.db, Apps: w.engine.Apps, Keys: k, Queue: nothing{}, Log: w.engine.Log, URLs: w.engine.URLs, Logins: w.engine.Logins, PublicURL: w.engine.PublicURL, Base: w.engine.Base, Timing: w.engine.Timing}
}

// TestRotateKeys beside processes that seal with the old key first, and with the new one: nothing of theirs is lost, and in
// the end nothing needs the old key.
func TestRotateKeys(t *testing.T) {
	t.Parallel()
	const each, rounds = 15, 6
	w := newWorld(t, hurried)
	newer := seal.Generate()
	w.link("stripe.customers_in", nil)
	w.togai.Fault(sim.Fault{Method: "POST", Path: "/customers", Point: sim.Before, Count: -1})
	run := w.queued()
	w.activate(t.Context(), run.ID)
	if n := w.count("SELECT count(*) FROM effects WHERE request IS NOT NULL AND run_id = ?", run.ID); n != 1 {
		t.Fatalf("%d requests are kept of a call that nobody answered", n)
	}
	early, late := w.engineWith(keysOf(t, w.keys, newer)), w.engineWith(keysOf(t, newer, w.keys))
	var writers sync.WaitGroup
	begun := make(chan struct{}, 2)
	secrets := map[db.ID]*string{}
	engines := []*flow.Engine{early, late}
	mine := make([][]db.ID, len(engines))
	for n, e := range engines {
		for i := range each {
			name, byHand := fmt.Sprintf("%s %d", e.Keys.First(), i), "whsec_by_hand_0"
			made, err := w.engine.Connect(t.Context(), w.org, flow.ConnectionInput{App: "stripe", Name: &name, Credentials: map[string]string{"api_key": w.stripe.Key()}, WebhookSecret: &byHand}, uncommitted)
			must(t, err)
			mine[n], secrets[made.ID] = append(mine[n], made.ID), new(string)
		}
	}
	for n, e := range engines {
		writers.Go(func() {
			for i := range rounds * each {
				at := secrets[mine[n][i%each]]
				*at = fmt.Sprintf("whsec_%08d", i)
				if _, err := e.UpdateConnection(t.Context(), w.org, mine[n][i%each], flow.ConnectionInput{WebhookSecret: at}, uncommitted); err != nil {
					t.Error(err)
				}
				if i == 0 {
					begun <- struct{}{}
				}
			}
		})
	}
	<-begun
	<-begun
	ended := make(chan struct{})
	go func() { writers.Wait(); close(ended) }()
	var during flow.Rotation
	for busy := true; busy; {
		select {
		case <-ended:
			busy = false
		default:
		}
		r, _ := late.RotateKeys(t.Context(), func(flow.Rotation) {}) // which says so when it cannot keep up with the early process
		during.Sealed, during.Changed = during.Sealed+r.Sealed, during.Changed+r.Changed
	}
	told := 0
	r, err := late.RotateKeys(t.Context(), func(flow.Rotation) { told++ })
	if err != nil || r != (flow.Rotation{}) || told != 0 {
		t.Errorf("once more: %+v, %v, told %d times", r, err, told)
	}
	t.Logf("beside the writers: %+v", during)
	alone := w.engineWith(keysOf(t, newer))
	must(t, alone.CheckKeys(t.Context()))
	for id, want := range secrets {
		row, err := db.GetConnection(t.Context(), w.db, w.org, id)
		must(t, err)
		if got, err := alone.WebhookSecrets(row); err != nil || len(got) == 0 || got[0] != *want {
			t.Errorf("%s has %v (%v), and %s was written last", row.Name, got, err, *want)
		}
		if _, err := alone.WebhookURL(row); err != nil {
			t.Error(err)
		}
		if _, err := alone.TestConnection(t.Context(), w.org, id, uncommitted); err != nil {
			t.Errorf("its credentials: %v", err)
		}
	}
	w.togai.ClearFaults()
	w.engine = alone
	w.work()
	if got := w.settled(1)[0]; got.State != flow.Succeeded {
		t.Errorf("the run that waited is %s: %s", got.State, got.Error)
	}
}

// TestRotateKeysTellsWhatIsBroken and goes on with the rest.
func TestRotateKeysTellsWhatIsBroken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.db.NewRaw("UPDATE connections SET webhook_token = '\\x00' WHERE id = ?", w.togaiConn.ID).Exec(t.Context())
	must(t, err)
	fresh := w.engineWith(keysOf(t, seal.Generate()))
	r, err := fresh.RotateKeys(t.Context(), func(flow.Rotation) {})
	if err != nil || r.Sealed != 0 || r.Broken != w.count("SELECT count(credentials) + count(webhook_token) + count(webhook_secrets) FROM connections") {
		t.Errorf("with a key that opens nothing: %+v, %v", r, err)
	}
}

// TestRotateKeysOvertaken: what somebody wrote between the look at a box and its return stays.
func TestRotateKeysOvertaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	newer := seal.Generate()
	late := w.engineWith(keysOf(t, newer, w.keys))
	rows := []db.ID{w.stripeConn.ID, w.togaiConn.ID} // in the order of their ids, as rotation goes
	tx, err := w.db.Pool.Begin(t.Context())
	must(t, err)
	defer tx.Rollback(t.Context())
	_, err = tx.Exec(t.Context(), "SELECT 1 FROM connections WHERE id = $1 FOR UPDATE", rows[0])
	must(t, err)
	type ended struct {
		flow.Rotation
		err error
	}
	done := make(chan ended, 1)
	go func() {
		r, err := late.RotateKeys(t.Context(), func(flow.Rotation) {})
		done <- ended{r, err}
	}()
	w.until("the rotation to wait", "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'UPDATE \"connections\"%'")
	_, err = w.engine.UpdateConnection(t.Context(), w.org, rows[1], flow.ConnectionInput{Credentials: map[string]string{"api_token": w.togai.Token()}}, uncommitted)
	must(t, err)
	var written []byte
	must(t, w.db.NewRaw("SELECT credentials FROM connections WHERE id = ?", rows[1]).Scan(t.Context(), &written))
	must(t, tx.Commit(t.Context()))
	got := <-done
	if got.err != nil || got.Changed == 0 {
		t.Errorf("%+v", got)
	}
	if _, err := w.engineWith(keysOf(t, newer)).TestConnection(t.Context(), w.org, rows[1], uncommitted); err != nil {
		t.Error(err)
	}
	if id := seal.KeyID(written); id != w.engine.Keys.First() {
		t.Errorf("the writer sealed with %s", id)
	}
}
