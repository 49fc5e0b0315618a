package flow_test

import (
	"slices"
	"strings"
	"testing"

	"tieline/db"
	"tieline/jobs/flow"
)

// TestRefreshOnce: whatever number of processes finds a token to have ended, one asks for another, and it is for all.
func TestRefreshOnce(t *testing.T) {
	t.Parallel()
	for _, rotates := range []bool{false, true} {
		w, k := consentWorld(t)
		k.rotates = rotates
		w.letIn(db.ID{}, "Books")
		for want := 1; want <= 2; want++ {
			if want == 1 {
				k.expire(w.stripe) // the vendor refuses it
			} else {
				w.exec("UPDATE access_tokens SET good_until = now()") // its time is up
			}
			w.use(16)
			if n := k.refreshes(); n != want {
				t.Errorf("rotating %v: %d refreshes, want %d", rotates, n, want)
			}
		}
	}
}

// TestRefreshThatTakesTooLong: a process that stands still while it asks, and whose turn another has taken, loses nothing:
// what the vendor gave it is kept, and what the other was refused for is no reason to stop.
func TestRefreshThatTakesTooLong(t *testing.T) {
	t.Parallel()
	w, k := consentWorld(t)
	k.rotates = true
	w.letIn(db.ID{}, "Books")
	first, second, done := make(chan struct{}), make(chan struct{}), make(chan error)
	var n int
	k.arrived = func(string) {
		k.mu.Lock()
		n++
		turn := n
		k.mu.Unlock()
		switch turn {
		case 1: // goes on when the other one has arrived, too
			close(first)
			<-second
		case 2: // goes on when the first is done
			close(second)
			w.until("a token", "SELECT count(*) = 1 FROM access_tokens WHERE good_until > now()")
		}
	}
	w.exec("UPDATE access_tokens SET good_until = now()")
	go func() { done <- w.uses() }()
	<-first
	w.exec("UPDATE access_tokens SET lease_until = now()") // as if it had run out
	go func() { done <- w.uses() }()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	k.arrived = nil
	w.exec("UPDATE access_tokens SET good_until = now()")
	w.use(1)
	if c := w.conn(); c.State != flow.ConnActive {
		t.Errorf("%s: %s", c.State, c.StateReason)
	}
}

// TestLostRefresh: an answer that is lost says nothing of the grant; only where the vendor has taken back the old refresh token
// by then must a person come again.
func TestLostRefresh(t *testing.T) {
	t.Parallel()
	for _, rotates := range []bool{false, true} {
		w, k := consentWorld(t)
		k.rotates = rotates
		c := w.letIn(db.ID{}, "Books")
		w.link("stripe.accounts_out", nil)
		w.exec("UPDATE access_tokens SET good_until = now()")
		k.lose = 1
		w.work()
		w.account("acme")
		w.read()
		if rotates {
			w.until("a parked run", "SELECT count(*) = 1 FROM runs WHERE waiting_reason = 'REAUTH'")
			w.letIn(c.ID, "")
		}
		if r := w.settled(1)[0]; r.State != flow.Succeeded {
			t.Errorf("rotating %v: %s: %s", rotates, r.State, r.Error)
		}
		if n := k.refreshes(); n != 2 {
			t.Errorf("rotating %v: %d refreshes", rotates, n)
		}
		w.whole(1)
	}
}

// TestRevokedGrant: runs wait while nobody lets us in, whoever comes with another account is turned away, and after the
// repair they go on in their order.
func TestRevokedGrant(t *testing.T) {
	t.Parallel()
	w, k := consentWorld(t)
	customer := w.person("Acme") // before there is an endpoint, so that nothing is told of it
	c := w.letIn(db.ID{}, "Books")
	link := w.link("stripe.customers_in", nil)
	k.forget(w.stripe)
	w.work()
	for range 3 { // of one record, so one after the other
		w.byHand(link.ID, customer)
	}
	w.until("a parked run", "SELECT count(*) = 1 FROM runs WHERE waiting_reason = 'REAUTH'")
	if c := w.conn(); c.State != flow.ConnNeedsReauth || !strings.Contains(c.StateReason, "authorizeConnection") {
		t.Errorf("%s: %s", c.State, c.StateReason)
	}
	first, other := k.signedIn, w.stripe.Account()
	k.signedIn = other
	v, err := w.ends(w.begins(w.authorize(c.ID, "")))
	if p := codesOf(err); !slices.Equal(p, []string{"credentials " + flow.CodeOtherAccount}) || !strings.Contains(err.Error(), first.ID) || !strings.Contains(err.Error(), other.ID) {
		t.Errorf("another account: %v", err)
	}
	if len(k.revoked) != 1 || v.ReturnURL == "" || w.conn().State != flow.ConnNeedsReauth {
		t.Errorf("%d grants given back, back to %q, %s", len(k.revoked), v.ReturnURL, w.conn().State)
	}
	k.signedIn = first
	w.letIn(c.ID, "")
	for _, r := range w.settled(3) {
		if r.State != flow.Succeeded {
			w.dump()
			t.Errorf("%s: %s", r.State, r.Error)
		}
	}
	var order []db.ID
	must(t, w.db.NewRaw("SELECT id FROM runs ORDER BY ended_at").Scan(t.Context(), &order))
	if !slices.IsSortedFunc(order, func(a, b db.ID) int { return strings.Compare(a.String(), b.String()) }) {
		t.Errorf("they ended in the order %v", order)
	}
	if n := w.count("SELECT count(*) FROM connections WHERE state = 'ACTIVE' AND id = ?", c.ID); n != 1 {
		t.Error("the connection is not active")
	}
	// Authorized again without need, the grant before is given back.
	before := len(k.revoked)
	w.letIn(c.ID, "")
	w.use(1)
	if len(k.revoked) != before+1 {
		t.Errorf("%d grants given back", len(k.revoked)-before)
	}
}
