package flow_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"tieline/connectors/sim"
	"tieline/db"
	"tieline/jobs/flow"
)

// relinked changes mappings as a person does.
func (w *world) relinked(do func(ctx context.Context, tx db.Tx) error) error {
	return w.db.InTx(w.t.Context(), do)
}

func (w *world) place(conn db.Connection, entity string) db.SlotPlace {
	return db.SlotPlace{VendorAccountID: conn.VendorAccountID, Entity: entity}
}

// TestRepoint: after a person has said that the record is another one, runs write to that one, whatever an earlier write made.
func TestRepoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.link("stripe.customers_in", nil)
	w.work()
	w.person("Acme")
	r := w.settled(1)[0]
	w.account("other")
	must(t, w.relinked(func(ctx context.Context, tx db.Tx) error {
		got, err := w.engine.UpdateMapping(ctx, tx, w.org, r.MappingID, flow.MappingInput{Actor: "a person", Set: []flow.Placed{
			{SlotPlace: w.place(w.togaiConn, "customer"), ExternalID: "other"}, {SlotPlace: w.place(w.togaiConn, "account"), ExternalID: "other"},
		}})
		if got.Slots != 2 || got.Runs != 1 || got.OpenRuns != 0 || got.Effects != 2 {
			t.Errorf("it touches %+v", got)
		}
		return err
	}))
	w.replay(db.ReplayFilter{RunFilter: db.RunFilter{Link: l.ID}})
	again := w.settled(2)[1]
	if again.State != flow.Succeeded {
		w.dump()
		t.Fatalf("%s: %s", again.State, again.Error)
	}
	if n := w.togai.Count("POST", "/customers"); n != 1 {
		t.Errorf("%d customers were sent", n)
	}
	for _, c := range w.stripe.First().Customers() {
		if meta, _ := c["metadata"].(map[string]any); meta["togai_account_id"] != "other" {
			t.Errorf("Stripe's customer names %v", meta)
		}
	}
	if n := w.count("SELECT count(*) FROM mapping_slots WHERE entered_by = 'a person' AND effect_id IS NULL AND external_id = 'other'"); n != 2 {
		t.Errorf("%d ids were entered by a person", n)
	}
}

// TestLookUp: of records that a person is about to link, those that their apps do not have are named.
func TestLookUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made, err := w.stripe.First().CreateCustomer(map[string]any{"name": "Acme"})
	must(t, err)
	there := made["id"].(string)
	w.account("acme")
	at := func(conn db.Connection, entity, id string) flow.Placed {
		return flow.Placed{SlotPlace: w.place(conn, entity), ExternalID: id}
	}
	notes, err := w.engine.LookUp(t.Context(), w.org, []flow.Placed{
		at(w.stripeConn, "customer", there), at(w.stripeConn, "customer", "cus_none"), at(w.togaiConn, "account", "acme"), at(w.togaiConn, "account", "none"),
		at(w.togaiConn, "addon", "cannot be read"), {SlotPlace: db.SlotPlace{VendorAccountID: db.NewID(), Entity: "customer"}, ExternalID: "of no account"},
	})
	must(t, err)
	if want := []string{"Stripe has no customer cus_none.", "Togai has no account none."}; !slices.Equal(notes, want) {
		t.Errorf("%q, want %q", notes, want)
	}
	w.stripe.Fault(sim.Fault{Method: "GET", Path: "/v1/customers/*", Point: "before", Status: 503})
	notes, err = w.engine.LookUp(t.Context(), w.org, []flow.Placed{at(w.stripeConn, "customer", there)})
	must(t, err)
	if len(notes) != 1 || !strings.Contains(notes[0], "cannot be reached now") {
		t.Errorf("an app that does not answer: %q", notes)
	}
}

// TestMergeAndSplit: what is merged keeps how it came to be known, with its runs; what is split off is a record of its own, and is
// made by nobody's earlier write.
func TestMergeAndSplit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.link("stripe.customers_in", nil)
	w.work()
	w.person("Acme")
	r := w.settled(1)[0]
	var split db.Mapping
	must(t, w.relinked(func(ctx context.Context, tx db.Tx) (err error) {
		split, _, err = w.engine.SplitMapping(ctx, tx, w.org, r.MappingID, []db.SlotPlace{w.place(w.togaiConn, "customer"), w.place(w.togaiConn, "account")}, "Apart")
		return err
	}))
	if n := w.count("SELECT count(*) FROM effects WHERE kind = 'CREATE' AND run_id IS NOT NULL AND mapping_id = ? AND key LIKE 'create/' || mapping_id || '/%'", split.ID); n != 1 {
		w.dump()
		t.Error("the write that made them did not go with them")
	}
	clash := w.relinked(func(ctx context.Context, tx db.Tx) error {
		other, _, err := w.engine.CreateMapping(ctx, tx, w.org, flow.MappingInput{Entity: "customer", Set: []flow.Placed{{SlotPlace: w.place(w.stripeConn, "customer"), ExternalID: "cus_other"}}})
		must(t, err)
		_, err = w.engine.MergeMappings(ctx, tx, w.org, r.MappingID, other.ID)
		return err
	})
	if got := problemOf(clash); got != "otherId TAKEN" || !strings.Contains(clash.Error(), "cus_other") {
		t.Errorf("two records in one place: %v", clash)
	}
	// Two people merge the two, each into the other: one is heard.
	var both sync.WaitGroup
	errs := make([]error, 2)
	for i, pair := range [][2]db.ID{{r.MappingID, split.ID}, {split.ID, r.MappingID}} {
		both.Go(func() {
			errs[i] = w.relinked(func(ctx context.Context, tx db.Tx) error {
				_, err := w.engine.MergeMappings(ctx, tx, w.org, pair[0], pair[1])
				return err
			})
		})
	}
	both.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("%v, %v", errs[0], errs[1])
	}
	w.whole(1)
	for what, query := range map[string]string{
		"mappings beside the one":      "SELECT count(*) - 1 FROM mappings",
		"runs of no mapping":           "SELECT count(*) FROM runs r WHERE NOT EXISTS (SELECT FROM mappings m WHERE m.id = r.mapping_id)",
		"effects of no mapping":        "SELECT count(*) FROM effects e WHERE run_id IS NOT NULL AND NOT EXISTS (SELECT FROM mappings m WHERE m.id = e.mapping_id)",
		"made ids without their write": "SELECT count(*) FROM mapping_slots s JOIN connections c ON c.vendor_account_id = s.vendor_account_id WHERE c.app = 'togai' AND s.effect_id IS NULL",
	} {
		if n := w.count(query); n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
}

// TestMappingsInUse: what a run goes by is not taken away from under it.
func TestMappingsInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ef, _ := w.contested()
	for name, do := range map[string]func(ctx context.Context, tx db.Tx) error{
		"delete": func(ctx context.Context, tx db.Tx) error {
			_, err := w.engine.DeleteMapping(ctx, tx, w.org, ef.MappingID)
			return err
		},
		"split": func(ctx context.Context, tx db.Tx) error {
			_, _, err := w.engine.SplitMapping(ctx, tx, w.org, ef.MappingID, []db.SlotPlace{w.place(w.stripeConn, "customer")}, "")
			return err
		},
		"set": func(ctx context.Context, tx db.Tx) error {
			_, err := w.engine.UpdateMapping(ctx, tx, w.org, ef.MappingID, flow.MappingInput{Set: []flow.Placed{{SlotPlace: w.place(w.togaiConn, "customer"), ExternalID: "x"}}})
			return err
		},
	} {
		if err := w.relinked(do); !strings.HasSuffix(problemOf(err), flow.CodeInUse) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, w.resolve(ef, flow.ResolveInput{How: flow.ResolveGiveUp}))
	w.settled(1)
	must(t, w.relinked(func(ctx context.Context, tx db.Tx) error {
		_, err := w.engine.DeleteMapping(ctx, tx, w.org, ef.MappingID)
		return err
	}))
	if n := w.count("SELECT (SELECT count(*) FROM mappings) + (SELECT count(*) FROM mapping_slots) + (SELECT count(*) FROM runs WHERE mapping_id IS NOT NULL)"); n != 0 {
		t.Errorf("%d things are left of it", n)
	}
}
