package db_test

import (
	"encoding/json"
	"testing"

	"tieline/db"
	"tieline/db/dbtest"
)

// TestJSONColumns: whatever a vendor's text holds comes back as it was, but for U+0000, which Postgres cannot keep.
func TestJSONColumns(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	for _, text := range []string{"plain", `it's "quoted"`, `back\slash`, `x\u0000y`, `\\u0000`, "a\x00b", "é😀\u2028", `'; drop table runs; --`} {
		raw, err := json.Marshal(map[string]string{"v": text})
		if err != nil {
			t.Fatal(err)
		}
		want := text
		if text == "a\x00b" {
			want = "a\uFFFDb"
		}
		var got map[string]string
		var back string
		if err := d.NewRaw("SELECT ?::text::jsonb", string(db.WithoutNUL(raw))).Scan(t.Context(), &back); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if err := json.Unmarshal([]byte(back), &got); err != nil || got["v"] != want {
			t.Errorf("%q came back as %q (%v)", text, got["v"], err)
		}
		o, err := db.CreateOrganization(t.Context(), d, "test")
		if err != nil {
			t.Fatal(err)
		}
		a, err := db.ClaimVendorAccount(t.Context(), d, db.VendorAccount{OrgID: o.OrgID, App: "stripe", ExternalID: "acct", Mode: "test"})
		if err != nil {
			t.Fatal(err)
		}
		m := db.Mapping{OrgID: o.OrgID, ID: db.NewID(), Entity: "customer"}
		if _, err := d.NewInsert().Model(&m).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		made, err := db.FillSlot(t.Context(), d, db.Slot{OrgID: o.OrgID, MappingID: m.ID, VendorAccountID: a.ID, Entity: "customer", ExternalID: "cus", Attributes: db.Texts{"v": text}})
		if err != nil || !made {
			t.Fatalf("%q: %v", text, err)
		}
		kept, err := db.SlotByExternalID(t.Context(), d, o.OrgID, a.ID, "customer", "cus")
		if err != nil || kept.Attributes["v"] != want {
			t.Errorf("%q is kept as %q (%v)", text, kept.Attributes["v"], err)
		}
	}
}
