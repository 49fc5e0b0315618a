package graph

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tieline/db"
	"tieline/db/dbtest"
	"tieline/graph/auth"
	"tieline/graph/generated"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

// doors sends two mutations through the door: one that works in a transaction, one that calls out first.
type doors struct {
	stub
	door   *Door
	calls  *atomic.Int32
	vendor *vendor
}

// vendor keeps callers waiting: each arrives, and leaves when told to.
type vendor struct{ arrived, leave chan struct{} }

type rootDoors struct {
	rootStub
	doors doors
}

func (r rootDoors) Mutation() generated.MutationResolver { return r.doors }

func (d doors) RevokeAPIToken(ctx context.Context, in model.RevokeAPITokenInput) (*model.RevokeAPITokenPayload, error) {
	done, err := d.door.Do(ctx, model.TokenID, func(ctx context.Context, tx db.Tx, v auth.Viewer) (db.ID, error) {
		d.calls.Add(1)
		id, err := model.TokenID.Parse(in.ID)
		if err != nil {
			return id, err
		}
		return id, db.RevokeToken(ctx, tx, v.Org, id)
	})
	return &model.RevokeAPITokenPayload{UserErrors: done.Problems}, err
}

func (d doors) CreateConnection(ctx context.Context, in model.CreateConnectionInput) (*model.CreateConnectionPayload, error) {
	done, err := d.door.Call(ctx, model.ConnectionID, func(ctx context.Context, v auth.Viewer, commit flow.Commit) error {
		d.calls.Add(1)
		if d.vendor != nil {
			d.vendor.arrived <- struct{}{}
			<-d.vendor.leave
		}
		if in.Name == "bad" {
			return flow.Problems{{Field: []string{"name"}, Code: flow.CodeTaken, Message: "Another one has this name."}}
		}
		return d.door.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error { return commit(ctx, tx, db.NewID()) })
	})
	out := &model.CreateConnectionPayload{UserErrors: done.Problems}
	if done.ID != (db.ID{}) {
		out.Connection = &model.AppInstance{ID: model.ConnectionID.Of(done.ID)}
	}
	return out, err
}

type doorTest struct {
	t     *testing.T
	url   string
	db    *db.DB
	org   db.ID
	token string // the admin's id
	as    string // and its Authorization line
	calls atomic.Int32
}

func newDoorTest(t *testing.T, v *vendor) *doorTest {
	t.Helper()
	d := &doorTest{t: t, db: dbtest.New(t)}
	org, err := db.CreateOrganization(t.Context(), d.db, "Acme")
	if err != nil {
		t.Fatal(err)
	}
	d.org = org.OrgID
	d.as, d.token = d.newToken()
	h, err := New(Config{
		Resolvers: rootDoors{doors: doors{door: NewDoor(d.db), calls: &d.calls, vendor: v}},
		Verifier:  auth.Tokens{DB: d.db, Log: slog.Default()}, Log: slog.Default(),
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	d.url = srv.URL
	return d
}

func (d *doorTest) newToken() (header, id string) {
	d.t.Helper()
	secret, row := auth.NewToken(d.org, "ops", []auth.Scope{auth.Admin}, time.Time{})
	if err := db.AddToken(d.t.Context(), d.db, row); err != nil {
		d.t.Fatal(err)
	}
	return "Authorization: Bearer " + secret, model.TokenID.Of(row.ID)
}

func (d *doorTest) revoke(id, key string) string { return d.revokeAs(d.as, id, key) }

func (d *doorTest) revokeAs(as, id, key string) string {
	d.t.Helper()
	return send(d.t, "POST", d.url, query(fmt.Sprintf(`mutation{revokeApiToken(input:{id:%q idempotencyKey:%q}){userErrors{code field}}}`, id, key)), as).Raw
}

func (d *doorTest) connect(name, secret, key string) string {
	d.t.Helper()
	return send(d.t, "POST", d.url, query(fmt.Sprintf(
		`mutation{createConnection(input:{app:"stripe" name:%q credentials:{api_key:%q} idempotencyKey:%q}){connection{id} userErrors{code field}}}`, name, secret, key)), d.as).Raw
}

func (d *doorTest) count(table string) (n int) {
	d.t.Helper()
	if err := d.db.NewRaw("SELECT count(*) FROM "+table).Scan(d.t.Context(), &n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

func TestARepeatDoesNothing(t *testing.T) {
	t.Parallel()
	d := newDoorTest(t, nil)
	_, other := d.newToken()
	_, third := d.newToken()
	first := d.revoke(other, "k1")
	if !strings.Contains(first, `"userErrors":[]`) {
		t.Fatal(first)
	}
	if again := d.revoke(other, "k1"); again != first || d.calls.Load() != 1 {
		t.Errorf("%s, worked %d times", again, d.calls.Load())
	}
	if r := d.revoke(third, "k1"); !strings.Contains(r, codeKeyReused) || !strings.Contains(r, `["idempotencyKey"]`) {
		t.Errorf("the same key with another input: %s", r)
	}
	if as, _ := d.newToken(); !strings.Contains(d.revokeAs(as, third, "k1"), `"userErrors":[]`) {
		t.Error("another token's key is another key")
	}
	if r := d.connect("a", "s", "k1"); !strings.Contains(r, `"id":"con_`) {
		t.Errorf("another field's key is another key: %s", r)
	}
	for range 2 {
		d.revoke(other, "")
	}
	if d.calls.Load() != 5 {
		t.Errorf("without a key every call works: %d", d.calls.Load())
	}
	if r := d.revoke(other, strings.Repeat("k", 256)); !strings.Contains(r, flow.CodeInvalid) {
		t.Errorf("a key that is too long: %s", r)
	}
	if n := d.count("audit_log"); n != 5 {
		t.Errorf("%d audit entries", n)
	}
}

func TestWhatDidNothingLeavesNothing(t *testing.T) {
	t.Parallel()
	d := newDoorTest(t, nil)
	for _, id := range []string{model.TokenID.Of(db.NewID()), "tok_nonsense", "run_" + strings.TrimPrefix(d.token, "tok_")} {
		if r := d.revoke(id, "k1"); !strings.Contains(r, `{"code":"NOT_FOUND","field":["id"]}`) {
			t.Errorf("%s: %s", id, r)
		}
	}
	if r := d.connect("bad", "s", "k1"); !strings.Contains(r, flow.CodeTaken) {
		t.Error(r)
	}
	if d.count("claims") != 0 || d.count("audit_log") != 0 {
		t.Error("a claim or an audit entry was left")
	}
	if r := d.connect("good", "s", "k1"); !strings.Contains(r, `"id":"con_`) {
		t.Errorf("the key is free for the corrected input: %s", r)
	}
}

func TestTwoAtOnceWorkOnce(t *testing.T) {
	t.Parallel()
	d := newDoorTest(t, nil)
	_, other := d.newToken()
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			if r := d.revoke(other, "k1"); !strings.Contains(r, `"userErrors":[]`) {
				t.Error(r)
			}
		})
	}
	all.Wait()
	if n := d.count("audit_log"); n != 1 {
		t.Errorf("done %d times", n)
	}
}

func TestACallInProgress(t *testing.T) {
	t.Parallel()
	v := &vendor{make(chan struct{}), make(chan struct{})}
	d := newDoorTest(t, v)
	answer := make(chan string)
	go func() { answer <- d.connect("a", "sk_test_hush", "k1") }()
	<-v.arrived
	v.leave <- struct{}{}
	first := <-answer
	if again := d.connect("a", "sk_test_hush", "k1"); again != first || d.calls.Load() != 1 {
		t.Errorf("%s, then %s", first, again)
	}
	go func() { answer <- d.connect("b", "sk_test_hush", "k2") }()
	<-v.arrived
	if r := d.connect("b", "sk_test_hush", "k2"); !strings.Contains(r, codeInProgress) {
		t.Errorf("while the first is with the vendor: %s", r)
	}
	// The lease of a caller that died ends: the next one takes over, and the first can no longer finish.
	if _, err := d.db.ExecContext(t.Context(), "UPDATE claims SET lease_until = now() - interval '1 second' WHERE done_at IS NULL"); err != nil {
		t.Fatal(err)
	}
	second := make(chan string)
	go func() { second <- d.connect("b", "sk_test_hush", "k2") }()
	<-v.arrived
	close(v.leave)
	results := <-answer + <-second
	if strings.Count(results, `"id":"con_`) != 1 || !strings.Contains(results, codeInProgress) {
		t.Errorf("one of the two must win: %s", results)
	}
	var kept string
	if err := d.db.NewRaw("SELECT string_agg(input::text || actor || request_id, ' ') FROM audit_log").Scan(t.Context(), &kept); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(kept, "hush") || !strings.Contains(kept, `"name": "a"`) || !strings.Contains(kept, "ops") || !strings.Contains(kept, "req_") {
		t.Errorf("audit log: %s", kept)
	}
}
