package togaisim

import (
	"errors"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// Amount is money or a quantity: a JSON number in major units.
type Amount struct{ apd.Decimal }

// NewAmount reads a decimal; it panics on another text, which is a mistake in a test.
func NewAmount(text string) Amount {
	var a Amount
	if _, _, err := a.SetString(text); err != nil {
		panic(err)
	}
	return a
}

// String is the plain decimal, without an exponent.
func (a Amount) String() string { return a.Text('f') }

// MarshalJSON writes a number.
func (a Amount) MarshalJSON() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalJSON reads a number, and nothing else.
func (a *Amount) UnmarshalJSON(b []byte) error {
	if strings.HasPrefix(string(b), `"`) {
		return errors.New("an amount must be a number")
	}
	_, _, err := a.SetString(string(b))
	return err
}

var exact = apd.BaseContext.WithPrecision(60)

func plus(a, b Amount) (sum Amount) {
	_, _ = exact.Add(&sum.Decimal, &a.Decimal, &b.Decimal) // sixty digits hold any amount here
	return sum
}

func (a Amount) cmp(b Amount) int { return a.Cmp(&b.Decimal) }
