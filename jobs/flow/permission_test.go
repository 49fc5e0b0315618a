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

// TestCheckingSaysWhatItsLinksLack: whoever saves a flow is told which of its links could not do what it asks now, or not follow
// at all.
func TestCheckingSaysWhatItsLinksLack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	narrow := w.connect("stripe", "Narrow", map[string]string{"api_key": w.stripe.First().RestrictedKey("rak_checkout_session_read", "rak_invoiceitem_read")})
	var f db.Flow
	must(t, w.db.NewSelect().Model(&f).Where("org_id = ? AND key = ?", w.org, "stripe.customers_in").Scan(t.Context()))
	must(t, w.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := w.engine.CreateLink(ctx, tx, w.org, flow.LinkInput{FlowID: f.ID, Name: "small", Connections: map[string]db.ID{"trigger": narrow.ID, "account": w.togaiConn.ID, "note": narrow.ID}})
		return err
	}))
	v, err := db.NewestVersion(t.Context(), w.db, w.org, f.ID)
	must(t, err)
	more := strings.Replace(string(v.Definition), `"steps":`, `"steps":[{"key":"extra","name":"Extra","app":"togai","action":"account.get","input":{"account_id":"x"}}`, 1)
	if before, after, ok := strings.Cut(more, "}}"); ok {
		more = before + "}}," + strings.TrimPrefix(strings.TrimSpace(after), "[")
	}
	for doc, says := range map[string][]string{
		string(v.Definition): {flow.CodeForbidden, `"small"`, `"Narrow"`, "Checkout Sessions, read"},
		more:                 {flow.CodeLinks, `"small"`, "extra"},
	} {
		issues, err := w.engine.Check(t.Context(), w.db, w.org, f.ID, []byte(doc))
		must(t, err)
		if len(issues) != 1 || !issues[0].Warning {
			t.Fatalf("%+v\n%s", issues, doc)
		}
		for _, say := range says {
			if !strings.Contains(issues[0].Code+" "+issues[0].Message, say) {
				t.Errorf("%+v does not say %q", issues[0], say)
			}
		}
	}
}
