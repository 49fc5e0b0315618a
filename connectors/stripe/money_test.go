package stripe

import (
	"math/big"
	"strings"
	"testing"

	"github.com/cockroachdb/apd/v3"
)

func TestToWire(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		currency     string
		amount, wire int64
		refused      bool
	}{
		{"usd", 1250, 1250, false}, {"USD", -1, -1, false}, {"jpy", 7, 7, false}, {"kwd", 1230, 1230, false}, {"kwd", 1234, 0, true}, {"TND", -15, 0, true},
		{"ugx", 500, 50000, false}, {"isk", -3, -300, false}, {"mga", 1200, 12, false}, {"mga", 1250, 0, true},
		{"usd", maxAmount + 1, 0, true}, {"usd", -maxAmount - 1, 0, true},
	} {
		got, err := toWire(x.amount, x.currency, "lines[0].amount")
		if got != x.wire && !x.refused || (err != nil) != x.refused {
			t.Errorf("%d %s: %d, %v", x.amount, x.currency, got, err)
		}
		if e := vendorError(err); x.refused && (e == nil || e.Field != "lines[0].amount") {
			t.Errorf("%d %s: %+v", x.amount, x.currency, err)
		}
	}
	if _, err := fromWire(50001, "ugx"); err == nil {
		t.Error("half a shilling")
	}
}

var currencies = []string{"usd", "jpy", "kwd", "ugx", "isk", "mga", "bhd", "eur"}

// Whatever amount Stripe is told, it is told back, and never more than once as much.
func FuzzMoney(f *testing.F) {
	for i, n := range []int64{0, 1, -1, 10, 99, -12340, maxAmount, -maxAmount, 1 << 62} {
		f.Add(n, uint8(i))
	}
	f.Fuzz(func(t *testing.T, n int64, which uint8) {
		currency := currencies[int(which)%len(currencies)]
		wire, err := toWire(n, currency, "amount")
		if err != nil {
			return
		}
		back, err := fromWire(wire, currency)
		if n <= maxAmount/100 && n >= -maxAmount/100 && (err != nil || back != n) {
			t.Errorf("%d %s is %d in Stripe, and %d, %v again", n, currency, wire, back, err)
		}
		if (wire < 0) != (n < 0) && wire != 0 {
			t.Errorf("%d %s turned round: %d", n, currency, wire)
		}
	})
}

// A unit price is the same number in Stripe, digit by digit.
func FuzzDecimals(f *testing.F) {
	for i, s := range []string{"0", "0.0000125", "1000.50", "12", "1e3", "0.000000000001", "-0", "99999999999999999999.5", "NaN", "1E-13"} {
		f.Add(s, uint8(i))
	}
	f.Fuzz(func(t *testing.T, s string, which uint8) {
		d, _, err := apd.NewFromString(s)
		if err != nil || len(s) > 60 {
			return
		}
		currency := currencies[int(which)%len(currencies)]
		was := d.Text('G')
		got, err := decimalToWire(d, currency, "unit_amount")
		if d.Text('G') != was {
			t.Errorf("%s was changed to %s", was, d.Text('G'))
		}
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(d.Text('f'))
		have, ok2 := new(big.Rat).SetString(got)
		if !ok || !ok2 || strings.ContainsAny(got, "eE-") {
			t.Fatalf("%s %s is %q in Stripe", s, currency, got)
		}
		switch wirePlaces[currency] {
		case 2:
			want.Mul(want, big.NewRat(100, 1))
		case -2:
			want.Mul(want, big.NewRat(1, 100))
		}
		if want.Cmp(have) != 0 {
			t.Errorf("%s %s is %s in Stripe", s, currency, got)
		}
		if _, places, _ := strings.Cut(got, "."); len(places) > maxPlaces || reduced(got) != got {
			t.Errorf("%s %s is %s in Stripe, in another form than Stripe has it", s, currency, got)
		}
	})
}
