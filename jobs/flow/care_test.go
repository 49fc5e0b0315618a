package flow_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/sim"
	"tieline/db"
	"tieline/db/dbtest"
	"tieline/jobs/flow"
)

// atStripe makes a call as somebody at Stripe would: by hand, with a key of their own.
func (w *world) atStripe(method, path string, form url.Values) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.stripe.URL+path, strings.NewReader(form.Encode()))
	must(w.t, err)
	r.Header.Set("Authorization", "Bearer "+w.stripe.Key())
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(r)
	must(w.t, err)
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		w.t.Fatalf("%s %s: %s", method, path, res.Status)
	}
}

func (w *world) endpoints() []map[string]any { return w.stripe.First().All("webhook_endpoint") }

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	_, err := w.db.NewRaw(query, args...).Exec(w.t.Context())
	must(w.t, err)
}

// care looks after a connection as if that were due.
func (w *world) care(id db.ID) db.Connection {
	w.t.Helper()
	w.exec("UPDATE connections SET care_at = now() WHERE id = ?", id)
	must(w.t, w.engine.Care(w.t.Context(), w.org, id))
	c, err := db.AnyConnection(w.t.Context(), w.db, w.org, id)
	must(w.t, err)
	return c
}

func (w *world) update(id db.ID, in flow.ConnectionInput) (db.Connection, error) {
	return w.engine.UpdateConnection(w.t.Context(), w.org, id, in, uncommitted)
}

// delivers fails unless what happens at Stripe now arrives by webhook, believed.
func (w *world) delivers(why string) {
	w.t.Helper()
	before := w.count("SELECT count(*) FROM events WHERE source = 'WEBHOOK' AND connection_id = ?", w.stripeConn.ID)
	w.person("Somebody")
	must(w.t, w.stripe.Settle(w.t.Context()))
	if now := w.count("SELECT count(*) FROM events WHERE source = 'WEBHOOK' AND connection_id = ?", w.stripeConn.ID); now != before+1 {
		w.t.Errorf("%s: %d webhooks arrived, want one", why, now-before)
	}
}

func problemOf(err error) string {
	p, ok := errors.AsType[flow.Problems](err)
	if !ok {
		return ""
	}
	return strings.Join(p[0].Field, ".") + " " + p[0].Code
}

// TestEndpointIsRepaired whatever became of it at the vendor or here, by the care job and by a person's test alike.
func TestEndpointIsRepaired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec("UPDATE cursors SET asked_at = NULL") // which connecting has asked for
	first := func() string { return "/v1/webhook_endpoints/" + w.endpoints()[0]["id"].(string) }
	for name, damage := range map[string]func(){
		"nothing wrong": func() {},
		"deleted":       func() { w.atStripe("DELETE", first(), nil) },
		"switched off":  func() { w.atStripe("POST", first(), url.Values{"disabled": {"true"}}) },
		"other events":  func() { w.atStripe("POST", first(), url.Values{"enabled_events[0]": {"charge.failed"}}) },
		"another path":  func() { w.atStripe("POST", first(), url.Values{"url": {w.hooks.URL + "/elsewhere"}}) },
		"secret lost":   func() { w.exec("UPDATE connections SET webhook_secrets = NULL WHERE id = ?", w.stripeConn.ID) },
		"never learnt of": func() {
			w.exec("UPDATE connections SET webhook_id = '', webhook_state = 'MISSING' WHERE id = ?", w.stripeConn.ID)
		},
		"another's secret": func() {
			for range 2 { // the one we hold is the oldest, and forgotten
				_, err := w.stripe.RollSecret(w.endpoints()[0]["id"].(string))
				must(t, err)
			}
			w.exec("UPDATE connections SET webhook_refused = ?, webhook_made_at = now() - interval '2 hours' WHERE id = ?", db.BadSignatures, w.stripeConn.ID)
		},
	} {
		for by, repair := range map[string]func() db.Connection{
			"care": func() db.Connection { return w.care(w.stripeConn.ID) },
			"test": func() db.Connection {
				c, err := w.engine.TestConnection(t.Context(), w.org, w.stripeConn.ID, uncommitted)
				must(t, err)
				return c
			},
		} {
			was := w.endpoints()[0]["id"]
			damage()
			c := repair()
			if got := w.endpoints(); len(got) != 1 || c.WebhookState != flow.WebhookRegistered || c.WebhookID != got[0]["id"] || c.WebhookRefused != 0 || time.Until(c.CareAt) < time.Minute {
				t.Errorf("%s, %s: %d endpoints, %s %q, next look %s", name, by, len(got), c.WebhookState, c.WebhookError, c.CareAt)
			}
			if kept := w.endpoints()[0]["id"] == was; kept != (name == "nothing wrong") {
				t.Errorf("%s, %s: kept %v", name, by, kept)
			}
			w.delivers(name + ", " + by)
			if n := w.count("SELECT count(*) FROM cursors WHERE connection_id = ? AND asked_at IS NOT NULL", w.stripeConn.ID); (n > 0) == (name == "nothing wrong") {
				t.Errorf("%s, %s: a reading was asked for %d times", name, by, n)
			}
			w.exec("UPDATE cursors SET asked_at = NULL")
		}
	}
}

// TestForgeriesMakeNoEndpoints: whoever knows the address cannot have endpoints made over and over.
func TestForgeriesMakeNoEndpoints(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	was := w.endpoints()[0]["id"]
	must(t, db.CountForged(t.Context(), w.db, w.org, w.stripeConn.ID, db.BadSignatures-1, "bad"))
	soon := "SELECT count(*) FROM connections WHERE id = ? AND care_at <= clock_timestamp()"
	if w.count(soon, w.stripeConn.ID) != 0 {
		t.Error("a look is due after a few bad signatures")
	}
	must(t, db.CountForged(t.Context(), w.db, w.org, w.stripeConn.ID, 1, "bad"))
	if w.count(soon, w.stripeConn.ID) != 1 {
		t.Error("no look is due after many bad signatures")
	}
	if c := w.care(w.stripeConn.ID); c.WebhookID != was {
		t.Error("an endpoint that was made just now was made anew")
	}
	w.exec("UPDATE connections SET webhook_refused = 1")
	if c, err := w.engine.TestConnection(t.Context(), w.org, w.stripeConn.ID, uncommitted); err != nil || c.WebhookID == was || c.WebhookRefused != 0 {
		t.Errorf("a person's test keeps an endpoint whose signatures do not match (%v)", err)
	}
}

// TestPastedSecrets: of two that follow each other both are taken for a day; a webhook that we registered takes none.
func TestPastedSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two, none := "whsec_number_one", "whsec_number_two", ""
	for _, secret := range []*string{&one, &none} {
		if _, err := w.update(w.stripeConn.ID, flow.ConnectionInput{WebhookSecret: secret}); problemOf(err) != "webhookSecret WRONG_STATE" {
			t.Errorf("%q for a registered webhook: %v", *secret, err)
		}
	}
	w.delivers("after a refused secret")
	if _, err := w.update(w.togaiConn.ID, flow.ConnectionInput{WebhookSecret: &one}); problemOf(err) != "webhookSecret INVALID" {
		t.Errorf("for a vendor that signs nothing: %v", err)
	}
	name := "By hand"
	in := flow.ConnectionInput{App: "stripe", Name: &name, Credentials: map[string]string{"api_key": w.stripe.Key()}}
	for _, bad := range []string{"sk_test_123456789", "whsec_", "whsec_with a blank in it", "whsec_two\nlines"} {
		in.WebhookSecret = &bad
		if _, err := w.engine.Connect(t.Context(), w.org, in, uncommitted); problemOf(err) != "webhookSecret INVALID" {
			t.Errorf("%q: %v", bad, err)
		}
	}
	in.WebhookSecret = &one
	c, err := w.engine.Connect(t.Context(), w.org, in, uncommitted)
	must(t, err)
	if c = w.care(c.ID); c.WebhookState != flow.WebhookManual || len(w.endpoints()) != 1 {
		t.Errorf("%s with %d endpoints, want the user to look after it", c.WebhookState, len(w.endpoints()))
	}
	for range 2 { // the second time changes nothing
		c, err = w.update(c.ID, flow.ConnectionInput{WebhookSecret: &two})
		must(t, err)
	}
	if got, err := w.engine.WebhookSecrets(c); err != nil || !slices.Equal(got, []string{two, one}) || time.Until(c.WebhookOldUntil).Round(time.Hour) != 24*time.Hour {
		t.Errorf("%q until %s, %v", got, c.WebhookOldUntil, err)
	}
	c.WebhookOldUntil = time.Now().Add(-time.Second)
	if got, err := w.engine.WebhookSecrets(c); err != nil || !slices.Equal(got, []string{two}) {
		t.Errorf("a day later %q, %v", got, err)
	}
	if _, err := w.update(c.ID, flow.ConnectionInput{RotateSecret: true}); problemOf(err) != "rotateWebhookSecret WRONG_STATE" {
		t.Errorf("rotating what the user looks after: %v", err)
	}
	if c, err = w.update(c.ID, flow.ConnectionInput{WebhookSecret: &none}); err != nil || c.WebhookState != flow.WebhookRegistered || len(w.endpoints()) != 2 {
		t.Errorf("given back: %s %v", c.WebhookState, err)
	}
}

// TestSecretIsRotated: deliveries signed with the old secret are taken while the new endpoint is made and afterwards.
func TestSecretIsRotated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hurried)
	var both []map[string]any
	w.stripe.OnRequest(func(stage, method, path string) {
		if stage == "committed" && method == "POST" && path == "/v1/webhook_endpoints" {
			both = w.endpoints()
		}
	})
	old, err := w.engine.WebhookSecrets(w.stripeConn)
	must(t, err)
	c, err := w.update(w.stripeConn.ID, flow.ConnectionInput{RotateSecret: true})
	must(t, err)
	now, err := w.engine.WebhookSecrets(c)
	if err != nil || len(now) != 2 || now[1] != old[0] || now[0] == old[0] {
		t.Errorf("%d secrets (%v), want a new one and the old one", len(now), err)
	}
	if left := w.endpoints(); len(both) != 2 || len(left) != 1 || left[0]["id"] != c.WebhookID || c.WebhookID == w.stripeConn.WebhookID || c.WebhookState != flow.WebhookRegistered {
		t.Errorf("%d endpoints on the way and %d left, %s", len(both), len(left), c.WebhookState)
	}
	w.delivers("after the rotation")
	w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/webhook_endpoints", Point: sim.Before, Status: 400})
	if _, err := w.update(c.ID, flow.ConnectionInput{RotateSecret: true}); problemOf(err) != "rotateWebhookSecret INVALID" {
		t.Errorf("refused by the vendor: %v", err)
	}
	w.delivers("after a rotation that failed")
	w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/webhook_endpoints", Point: sim.Cut})
	if _, err := w.update(c.ID, flow.ConnectionInput{RotateSecret: true}); problemOf(err) != " VENDOR_UNAVAILABLE" {
		t.Errorf("cut: %v", err)
	}
	w.until("the call to be over", "SELECT bool_and(send_until < clock_timestamp() - interval '1 second') FROM effects WHERE run_id IS NULL")
	if c = w.care(c.ID); len(w.endpoints()) != 1 || w.count("SELECT count(*) FROM effects WHERE run_id IS NULL AND state IN ('SENT', 'UNKNOWN')") != 0 {
		t.Errorf("%d endpoints after a rotation that was cut", len(w.endpoints()))
	}
	w.delivers("after a rotation that was cut")
	if _, err := w.update(c.ID, flow.ConnectionInput{RotateSecret: true}); err != nil {
		t.Error(err)
	}
	w.delivers("after one more rotation")
}

// TestRegisteringIsCut: a connection whose endpoint was made without our hearing of it gets one, and leaves none.
func TestRegisteringIsCut(t *testing.T) {
	t.Parallel()
	for _, point := range []sim.Point{sim.Cut, sim.CutBefore, sim.AfterCommit} {
		w := newWorld(t, hurried)
		cut := func(name string) db.Connection {
			w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/webhook_endpoints", Point: point})
			c := w.connect("stripe", name, map[string]string{"api_key": w.stripe.Key()})
			if state, why := w.engine.WebhookStanding(c); state != flow.WebhookMissing || why == "" || strings.Contains(why, "http") {
				t.Errorf("%s: %s %q", point, state, why)
			}
			return c
		}
		deleted, cared := cut("Deleted"), cut("Cared for")
		_, err := w.engine.DeleteConnection(t.Context(), w.org, deleted.ID, uncommitted)
		must(t, err)
		w.until("the calls to be over", "SELECT bool_and(send_until < clock_timestamp() - interval '1 second') FROM effects WHERE run_id IS NULL")
		if c := w.care(deleted.ID); c.Credentials != nil || !c.CareAt.IsZero() {
			t.Errorf("%s: a deleted connection keeps its credentials", point)
		}
		cared = w.care(cared.ID)
		if cared.WebhookState != flow.WebhookRegistered || len(w.endpoints()) != 2 {
			t.Errorf("%s: %s %q, %d endpoints of 2 connections", point, cared.WebhookState, cared.WebhookError, len(w.endpoints()))
		}
		if n := w.count("SELECT count(*) FROM effects WHERE run_id IS NULL AND state NOT IN ('CONFIRMED', 'GIVEN_UP', 'REFUSED')"); n != 0 {
			w.dump()
			t.Errorf("%s: of %d effects nobody knows what became", point, n)
		}
	}
}

// TestDeletedWhileTheVendorIsAway: the endpoint goes later, and the credentials with it, or after a day.
func TestDeletedWhileTheVendorIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lost := w.connect("stripe", "Lost", map[string]string{"api_key": w.stripe.Key()})
	w.stripe.Fault(sim.Fault{Method: "GET", Path: "/v1/webhook_endpoints", Point: sim.Before, Status: 503, Count: -1})
	for _, c := range []db.Connection{w.stripeConn, lost} {
		_, err := w.engine.DeleteConnection(t.Context(), w.org, c.ID, uncommitted)
		must(t, err)
	}
	if c := w.care(w.stripeConn.ID); len(w.endpoints()) != 2 || c.Credentials == nil || c.WebhookSecrets != nil || time.Until(c.CareAt) < time.Second {
		t.Errorf("%d endpoints, next look %s", len(w.endpoints()), c.CareAt)
	}
	w.exec("UPDATE connections SET deleted_at = now() - interval '25 hours' WHERE id = ?", lost.ID)
	if c := w.care(lost.ID); c.Credentials != nil || !c.CareAt.IsZero() {
		t.Error("the credentials of a deleted connection are kept for ever")
	}
	w.stripe.ClearFaults()
	if c := w.care(w.stripeConn.ID); len(w.endpoints()) != 1 || c.Credentials != nil || !c.CareAt.IsZero() {
		t.Errorf("%d endpoints are left of the one that was given up, next look %s", len(w.endpoints()), c.CareAt)
	}
}

// TestStagingCopy: a copy of the database at another address has an endpoint of its own, and leaves ours alone.
func TestStagingCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	production := w.endpoints()[0]
	staging := w.engineWith(w.engine.Keys)
	staging.PublicURL = "http://staging.test"
	c, err := staging.TestConnection(t.Context(), w.org, w.stripeConn.ID, uncommitted)
	must(t, err)
	if all := w.endpoints(); len(all) != 2 || all[0]["id"] != production["id"] || all[0]["status"] != "enabled" || all[1]["id"] != c.WebhookID || !strings.HasPrefix(all[1]["url"].(string), "http://staging.test/") {
		t.Fatalf("%v", all)
	}
	_, err = staging.DeleteConnection(t.Context(), w.org, c.ID, uncommitted)
	must(t, err)
	if all := w.endpoints(); len(all) != 1 || all[0]["id"] != production["id"] {
		t.Errorf("left %v, want production's", all)
	}
}

// TestNoPublicAddress: what a user is told, and that it heals when the address is known.
func TestNoPublicAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	public := w.engine.PublicURL
	w.engine.PublicURL = ""
	stands := func(c db.Connection, state, says string) {
		t.Helper()
		got, why := w.engine.WebhookStanding(c)
		if got != state || !strings.Contains(why, says) || (says == "") != (why == "") {
			t.Errorf("%s: %s %q, want %s %q", c.Name, got, why, state, says)
		}
	}
	c := w.connect("stripe", "No address", map[string]string{"api_key": w.stripe.Key()})
	stands(c, flow.WebhookMissing, "webhook.path")
	stands(w.togaiConn, flow.WebhookMissing, "TIELINE_PUBLIC_URL")
	name, secret := "By hand", "whsec_12345678"
	hand, err := w.engine.Connect(t.Context(), w.org, flow.ConnectionInput{App: "stripe", Name: &name, Credentials: map[string]string{"api_key": w.stripe.Key()}, WebhookSecret: &secret}, uncommitted)
	must(t, err)
	stands(hand, flow.WebhookManual, "") // what there was to do is done
	if path, err := w.engine.WebhookPath(c); err != nil || !strings.HasPrefix(path, "/webhooks/stripe/") {
		t.Errorf("path %q %v", path, err)
	}
	c = w.care(c.ID)
	w.engine.PublicURL = public
	stands(c, flow.WebhookMissing, "not registered yet")
	must(t, db.AskAll(t.Context(), w.db)) // as a process does that starts
	must(t, w.engine.Care(t.Context(), w.org, c.ID))
	c, err = db.GetConnection(t.Context(), w.db, w.org, c.ID)
	must(t, err)
	stands(c, flow.WebhookRegistered, "")
	stands(hand, flow.WebhookManual, "")
	stands(w.togaiConn, flow.WebhookManual, "")
	if c := w.care(w.togaiConn.ID); !c.CareAt.IsZero() { // as the migration leaves it
		t.Errorf("a vendor without an API for webhooks is looked at, next %s", c.CareAt)
	}
}

// TestCareWhenTheVendorIsAway: an endpoint that cannot be looked at is not taken for gone, and a refused key parks.
func TestCareWhenTheVendorIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stripe.Fault(sim.Fault{Method: "GET", Path: "/v1/webhook_endpoints", Point: sim.Before, Status: 503})
	c := w.care(w.stripeConn.ID)
	if state, why := w.engine.WebhookStanding(c); state != flow.WebhookRegistered || why == "" || time.Until(c.CareAt) > time.Minute {
		t.Errorf("%s %q, next look %s", state, why, c.CareAt)
	}
	if c = w.care(c.ID); c.WebhookError != "" {
		t.Errorf("still said: %s", c.WebhookError)
	}
	ctx, stop := context.WithCancel(t.Context())
	w.stripe.OnRequest(func(stage, method, path string) { stop() })
	w.stripe.Fault(sim.Fault{Method: "GET", Path: "/v1/webhook_endpoints", Point: sim.Hang})
	w.exec("UPDATE connections SET care_at = now() WHERE id = ?", c.ID)
	must(t, w.engine.Care(ctx, w.org, c.ID))
	w.stripe.OnRequest(func(string, string, string) {})
	if c, err := db.GetConnection(t.Context(), w.db, w.org, c.ID); err != nil || c.WebhookError != "" || time.Until(c.CareAt) > time.Minute || !c.CareLease.IsZero() {
		t.Errorf("a process that stopped left %q, next look %s (%v)", c.WebhookError, c.CareAt, err)
	}
	w.stripe.Fault(sim.Fault{Method: "GET", Path: "/v1/webhook_endpoints", Point: sim.Before, Status: 401})
	if c = w.care(c.ID); c.State != flow.ConnNeedsReauth {
		t.Errorf("%s after a refused key", c.State)
	}
}

// TestReadingTakesTurns: a walk goes on where the last job left it, finds all there is, and what was asked for meanwhile
// is read by a walk of its own.
func TestReadingTakesTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dbtest.Listen(t, w.db, w.org)
	w.exec("DELETE FROM cursors WHERE trigger <> 'customer.created'") // one is enough to see
	w.exec("UPDATE connections SET webhook_state = 'MANUAL' WHERE id = ?", w.stripeConn.ID)
	w.atStripe("DELETE", "/v1/webhook_endpoints/"+w.endpoints()[0]["id"].(string), nil)
	read := func() (due, walking, asked bool) {
		t.Helper()
		must(t, w.engine.Read(t.Context(), w.org, w.stripeConn.ID, w))
		must(t, w.db.NewRaw("SELECT due_at <= clock_timestamp(), walk <> '', asked_at IS NOT NULL FROM cursors WHERE connection_id = ?", w.stripeConn.ID).Scan(t.Context(), &due, &walking, &asked))
		return due, walking, asked
	}
	if due, walking, _ := read(); due || walking {
		t.Fatal("the baseline is not done")
	}
	for range 250 {
		w.person("Somebody")
	}
	w.engine.Timing.Turn = time.Nanosecond
	must(t, db.AskReading(t.Context(), w.db, w.org, w.stripeConn.ID))
	if due, walking, asked := read(); !due || !walking || asked {
		t.Errorf("after a turn: due %v, walking %v, asked %v", due, walking, asked)
	}
	if n := w.count("SELECT count(*) FROM events"); n != 100 {
		t.Errorf("%d events after the first turn, want a page", n)
	}
	w.person("A late one") // the walk has passed it by
	must(t, db.AskReading(t.Context(), w.db, w.org, w.stripeConn.ID))
	turns := 1
	for due := true; due && turns < 20; turns++ {
		due, _, _ = read()
	}
	if n := w.count("SELECT count(*) FROM events"); n != 251 || turns < 5 {
		t.Errorf("%d events after %d turns, want 251", n, turns)
	}
	// Asked for within a walk, too.
	w.engine.Timing.Turn = time.Minute
	must(t, db.AskReading(t.Context(), w.db, w.org, w.stripeConn.ID))
	w.stripe.OnRequest(func(stage, method, path string) {
		if stage == "answered" || path != "/v1/events" {
			return
		}
		must(t, db.AskReading(context.WithoutCancel(t.Context()), w.db, w.org, w.stripeConn.ID))
	})
	if due, _, asked := read(); !due || !asked {
		t.Error("what was asked for during a walk is forgotten")
	}
}

// TestReadingWaitsForTheBudget without a worker, and keeps its place in the queue.
func TestReadingWaitsForTheBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dbtest.Listen(t, w.db, w.org)
	w.exec("DELETE FROM cursors WHERE trigger <> 'customer.created'") // one is enough to see
	read := func() (due time.Duration) {
		t.Helper()
		must(t, db.AskReading(t.Context(), w.db, w.org, w.stripeConn.ID))
		must(t, w.engine.Read(t.Context(), w.org, w.stripeConn.ID, w))
		var at time.Time
		must(t, w.db.NewRaw("SELECT due_at FROM cursors WHERE connection_id = ?", w.stripeConn.ID).Scan(t.Context(), &at))
		return time.Until(at).Round(time.Minute)
	}
	read()
	calls := w.stripe.Count("GET", "/v1/events")
	w.person("Somebody")
	w.exec("UPDATE buckets SET tat = now() + interval '1 second', line = now() + interval '1 hour'")
	for range 2 {
		if due := read(); due != time.Hour || w.stripe.Count("GET", "/v1/events") != calls {
			t.Errorf("due in %s after %d calls, want an hour and none", due, w.stripe.Count("GET", "/v1/events")-calls)
		}
	}
	w.exec("UPDATE buckets SET tat = now() + interval '1 second', line = now() + interval '2 hours'")
	w.exec("UPDATE cursors SET reserved_at = now()") // its hour has come
	if due := read(); due != time.Minute || w.stripe.Count("GET", "/v1/events") != calls+1 || w.count("SELECT count(*) FROM events") != 1 {
		t.Errorf("due in %s after %d calls", due, w.stripe.Count("GET", "/v1/events")-calls)
	}
	began := time.Now()
	if w.care(w.stripeConn.ID); time.Since(began) > 10*time.Second {
		t.Error("looking at an endpoint waits for the runs of hours")
	}
}

// TestSecretGivenAfterACut: the endpoint that we made without hearing of it does not stay beside the user's own.
func TestSecretGivenAfterACut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hurried)
	w.stripe.Fault(sim.Fault{Method: "POST", Path: "/v1/webhook_endpoints", Point: sim.Cut})
	c := w.connect("stripe", "Cut", map[string]string{"api_key": w.stripe.Key()})
	secret := "whsec_of_my_own"
	_, err := w.update(c.ID, flow.ConnectionInput{WebhookSecret: &secret})
	must(t, err)
	w.until("the call to be over", "SELECT bool_and(send_until < clock_timestamp() - interval '1 second') FROM effects WHERE run_id IS NULL")
	c = w.care(c.ID)
	if n := w.count("SELECT count(*) FROM effects WHERE run_id IS NULL AND state IN ('SENT', 'UNKNOWN')"); n != 0 || len(w.endpoints()) != 1 || c.WebhookState != flow.WebhookManual {
		t.Errorf("%s, %d endpoints, %d effects of which nobody knows", c.WebhookState, len(w.endpoints()), n)
	}
}

// TestPace: the vendor is asked often until a webhook has arrived and while there is none, and soon after a failure.
func TestPace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dbtest.Listen(t, w.db, w.org)
	w.exec("DELETE FROM cursors WHERE trigger <> 'customer.created'") // one is enough to see
	app, _ := w.engine.Apps.App("stripe")
	every, calm := app.Triggers[0].Every, app.Triggers[0].Calm
	next := func() time.Duration {
		t.Helper()
		must(t, db.AskReading(t.Context(), w.db, w.org, w.stripeConn.ID))
		if err := w.engine.Read(t.Context(), w.org, w.stripeConn.ID, w); err != nil && connectors.KindOf(err) == "" {
			t.Fatal(err)
		}
		var due time.Time
		must(t, w.db.NewRaw("SELECT due_at FROM cursors WHERE connection_id = ?", w.stripeConn.ID).Scan(t.Context(), &due))
		return time.Until(due).Round(5 * time.Second)
	}
	if got := next(); got != every || every > time.Minute {
		t.Errorf("before any webhook every %s", got)
	}
	w.exec("UPDATE connections SET webhook_seen_at = now() WHERE id = ?", w.stripeConn.ID)
	if got := next(); got != calm {
		t.Errorf("after a webhook every %s, want %s", got, calm)
	}
	w.stripe.Fault(sim.Fault{Method: "GET", Path: "/v1/events", Point: sim.Before, Status: 500})
	if got := next(); got != 30*time.Second {
		t.Errorf("after a failure %s", got)
	}
	w.exec("UPDATE connections SET webhook_state = 'MISSING' WHERE id = ?", w.stripeConn.ID)
	if got := next(); got != every {
		t.Errorf("without an endpoint every %s", got)
	}
	w.exec("UPDATE connections SET webhook_state = 'REGISTERED' WHERE id = ?", w.stripeConn.ID)
	w.stripe.Dial(sim.Dials{Drop: 1})
	w.person("Nobody told us")
	next()
	if n := w.count("SELECT count(*) FROM connections WHERE id = ? AND care_at <= clock_timestamp()", w.stripeConn.ID); n != 1 {
		t.Error("an event that no webhook brought raises no doubt in the endpoint")
	}
}

// TestMissedBehindKnown: what no webhook brought is found behind a page of what webhooks have brought since the last walk.
func TestMissedBehindKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.accounts_out", nil)
	w.hooks.Close()
	read := func() {
		t.Helper()
		must(t, db.AskReading(t.Context(), w.db, w.org, w.togaiConn.ID))
		must(t, w.engine.Read(t.Context(), w.org, w.togaiConn.ID, w))
	}
	w.account("before")
	read()
	w.exec("UPDATE cursors SET read_at = read_at - interval '1 minute'")
	w.exec("UPDATE events SET received_at = received_at - interval '1 minute'")
	w.account("missed")
	for i := range 150 {
		id := fmt.Sprintf("known-%d", i)
		w.account(id)
		w.exec(`INSERT INTO events (org_id, id, connection_id, trigger, dedupe_key, source, vendor_at, received_at)
			SELECT org_id, ?, connection_id, trigger, replace(dedupe_key, 'before', ?), 'WEBHOOK', now(), now() FROM events WHERE dedupe_key LIKE '%before%'`, db.NewID(), id)
	}
	if n := w.count("SELECT count(*) FROM events"); n != 151 {
		t.Fatalf("%d events are known", n)
	}
	read()
	if n := w.count("SELECT count(*) FROM events WHERE dedupe_key LIKE '%missed%'"); n != 1 {
		t.Error("what was missed is not found")
	}
	calls := w.togai.Count("GET", "/accounts")
	w.exec("UPDATE cursors SET read_at = now() + interval '1 minute'")
	if read(); w.togai.Count("GET", "/accounts") != calls+1 {
		t.Error("a list without news is read beyond its first page")
	}
}
