package db_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"tieline/db"
)

// The pairs but the last are the TypeID specification's. https://github.com/jetify-com/typeid/tree/main/spec
func TestIDText(t *testing.T) {
	t.Parallel()
	for id, text := range map[string]string{
		"00000000-0000-0000-0000-000000000000": "00000000000000000000000000",
		"00000000-0000-0000-0000-000000000001": "00000000000000000000000001",
		"00000000-0000-0000-0000-000000000010": "0000000000000000000000000g",
		"00000000-0000-0000-0000-000000000020": "00000000000000000000000010",
		"ffffffff-ffff-ffff-ffff-ffffffffffff": "7zzzzzzzzzzzzzzzzzzzzzzzzz",
		"01890a5d-ac96-774b-bcce-b302099a8057": "01h455vb4pex5vsknk084sn02q",
	} {
		want := uuid.MustParse(id)
		if got := db.FormatID("run", want); got != "run_"+text {
			t.Errorf("%s is %s, want run_%s", id, got, text)
		}
		if got, err := db.ParseID("run", "run_"+text); err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", text, got, err, id)
		}
	}
}

func TestParseIDIsStrict(t *testing.T) {
	t.Parallel()
	const good = "01h455vb4pex5vsknk084sn02q"
	for name, s := range map[string]string{
		"empty": "", "no prefix": good, "other prefix": "flow_" + good, "prefix only": "run_", "short": "run_" + good[1:],
		"long": "run_" + good + "0", "upper case": "run_" + strings.ToUpper(good), "no such letter": "run_" + good[:25] + "l",
		"overflow": "run_8" + good[1:], "space": " run_" + good, "not ASCII": "run_" + good[:24] + "é",
	} {
		if id, err := db.ParseID("run", s); err != db.ErrBadID {
			t.Errorf("%s: %s, %v; want ErrBadID", name, id, err)
		}
	}
}

func TestNewIDsAscend(t *testing.T) {
	t.Parallel()
	var texts []string
	for range 10_000 {
		texts = append(texts, db.FormatID("run", db.NewID()))
	}
	if !slices.IsSorted(texts) || len(slices.Compact(texts)) != 10_000 {
		t.Error("ids repeat or go backwards")
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("run_01h455vb4pex5vsknk084sn02q")
	f.Add("run_7zzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Add("run_8zzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := db.ParseID("run", s); err == nil && db.FormatID("run", id) != s {
			t.Errorf("%q is read as %s, which is written %q", s, id, db.FormatID("run", id))
		}
	})
}

func FuzzFormatID(f *testing.F) {
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 32 {
			return
		}
		a, z := uuid.UUID(b[:16]), uuid.UUID(b[16:32])
		if back, err := db.ParseID("x", db.FormatID("x", a)); err != nil || back != a {
			t.Errorf("%s came back as %s (%v)", a, back, err)
		}
		if got, want := strings.Compare(db.FormatID("x", a), db.FormatID("x", z)), slices.Compare(a[:], z[:]); got != want {
			t.Errorf("text order of %s and %s is %d, want %d", a, z, got, want)
		}
	})
}
