package flow_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"tieline/db"
	"tieline/jobs/flow"
)

// A link whose credentials lack a right is not enabled: what is said names the right, who needs it, and the way out. Once it
// was granted at the vendor, enabling works, without a test in between.
func TestEnablingSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := w.stripe.First().RestrictedKey("rak_checkout_session_read", "rak_invoiceitem_read")
	narrow := w.connect("stripe", "Narrow", map[string]string{"api_key": key})
	var f db.Flow
	must(t, w.db.NewSelect().Model(&f).Where("org_id = ? AND key = ?", w.org, "stripe.customers_in").Scan(t.Context()))
	var l db.FlowLink
	must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		l, err = w.engine.CreateLink(ctx, tx, w.org, flow.LinkInput{FlowID: f.ID, Name: "narrow", Connections: map[string]db.ID{"trigger": narrow.ID, "account": w.togaiConn.ID, "note": narrow.ID}})
		return err
	}))
	_, err := w.engine.EnableLink(t.Context(), w.org, l.ID, w, uncommitted)
	bad, ok := errors.AsType[flow.Problems](err)
	if !ok || len(bad) != 1 || bad[0].Code != flow.CodeForbidden {
		t.Fatalf("a right is missing: %v", err)
	}
	for _, says := range []string{`"Narrow"`, "Checkout Sessions, read", "checkout_sessions:read", "trigger (customer.created)", "Edit the key"} {
		if !strings.Contains(bad[0].Message, says) {
			t.Errorf("%q does not say %q", bad[0].Message, says)
		}
	}
	if l, err = db.GetFlowLink(t.Context(), w.db, w.org, l.ID); err != nil || l.Enabled {
		t.Errorf("enabled %v, %v", l.Enabled, err)
	}
	w.stripe.Allow(key)
	if l, err = w.engine.EnableLink(t.Context(), w.org, l.ID, w, uncommitted); err != nil || !l.Enabled {
		t.Errorf("granted meanwhile: %v", err)
	}
}
