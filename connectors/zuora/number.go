package zuora

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// number is an amount or a quantity on the wire, kept as its plain digits. Zuora writes numbers, and texts in places.
type number string

// maxDigits bounds what a number may look like: an exponent far out would be written as so many digits.
const maxDigits = 40

func parseNumber(text string) (number, error) {
	d, _, err := apd.NewFromString(text)
	if err != nil || d.Form != apd.Finite || len(text) > 2*maxDigits || d.Exponent > maxDigits || d.Exponent < -maxDigits {
		return "", fmt.Errorf("%q is no amount", text[:min(len(text), 20)])
	}
	return number(d.Text('f')), nil
}

// UnmarshalJSON takes numbers and texts of digits; null and an empty text are none.
func (n *number) UnmarshalJSON(b []byte) (err error) {
	text := strings.Trim(string(b), `"`)
	if *n = ""; !bytes.Equal(b, []byte("null")) && text != "" {
		*n, err = parseNumber(text)
	}
	return err
}

// MarshalJSON writes the digits as a number.
func (n number) MarshalJSON() ([]byte, error) { return []byte(n.text()), nil }

func (n number) text() string { return cmp.Or(string(n), "0") }

func (n number) decimal() *apd.Decimal {
	d, _, err := apd.NewFromString(n.text())
	if err != nil {
		return new(apd.Decimal) // parseNumber lets nothing else in
	}
	return d
}

func (n number) sign() int { return n.decimal().Sign() }

func (n number) cmp(o number) int { return n.decimal().Cmp(o.decimal()) }

var exact = apd.BaseContext.WithPrecision(4 * maxDigits)

func (n number) plus(o number) number {
	var d apd.Decimal
	_, _ = exact.Add(&d, n.decimal(), o.decimal()) // the precision holds any two
	return number(d.Text('f'))
}

func (n number) minus(o number) number {
	var d apd.Decimal
	_, _ = exact.Sub(&d, n.decimal(), o.decimal())
	return number(d.Text('f'))
}

func (n number) times(o number) number {
	var d apd.Decimal
	_, _ = exact.Mul(&d, n.decimal(), o.decimal())
	return number(d.Text('f'))
}
