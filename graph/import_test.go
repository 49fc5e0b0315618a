package graph

import (
	"context"
	"testing"

	"tieline/db"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

// TestImport: a run over many records shows what it has come to, and what it left; the rest is mappings.
func TestImport(t *testing.T) {
	t.Parallel()
	s := newSite(t, openCounted(t), "Acme")
	togai := s.connect("togai", "Togai", map[string]string{"environment": "sandbox", "api_token": s.togai.Token(), "organization_id": "org_1"})
	stripe, clock := s.connectStripe("Stripe"), s.connect("scheduler", "By hand", map[string]string{"mode": "test"})
	_, err := s.togai.CreateAccount(map[string]any{"id": "twin", "name": "Twin", "primaryEmail": "twin@acme.test"})
	check(t, err)
	s.customer("Fresh", "fresh@acme.test")
	s.customer("Twin", "twin@acme.test")
	s.customer("Silent", "")
	s.customer("Silent too", "")
	var l db.FlowLink
	check(t, s.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		l, err = s.engine.CreateLink(ctx, tx, s.org, flow.LinkInput{FlowID: s.flowID("stripe.customers_import"), Name: "Import", Connections: map[string]db.ID{
			"trigger": clock.ID, "list": stripe.ID, "account": togai.ID, "setting": togai.ID, "note": stripe.ID,
		}})
		if err == nil {
			_, err = s.engine.TriggerNow(ctx, tx, s.org, l.ID, []byte(`{}`))
		}
		return err
	}))
	s.settle()
	var run db.Run
	check(t, s.db.NewSelect().Model(&run).Where("org_id = ?", s.org).Scan(t.Context()))
	s.at["run"] = model.RunID.Of(run.ID)
	s.golden(t, golden{name: "run_items", vars: vars("id", "$run")}, 3)
	s.golden(t, golden{name: "run_items.duplicates", vars: vars("id", "$run", "state", "POSSIBLE_DUPLICATE")}, 3)
	s.golden(t, golden{name: "retry_run.items", vars: input("id", "$run")}, 1)
}
