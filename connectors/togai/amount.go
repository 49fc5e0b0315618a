package togai

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// number is an amount or a quantity on the wire: a JSON number in major units, kept as its plain digits. Empty is none.
type number string

// maxDigits bounds what an amount may look like: an exponent far out would be written as so many digits.
const maxDigits = 40

// parseNumber reads a decimal and writes it without an exponent.
func parseNumber(text string) (number, error) {
	d, _, err := apd.NewFromString(text)
	if err != nil || d.Form != apd.Finite || len(text) > 2*maxDigits || d.Exponent > maxDigits || d.Exponent < -maxDigits {
		return "", fmt.Errorf("%q is no amount", text[:min(len(text), 20)])
	}
	return number(d.Text('f')), nil
}

// UnmarshalJSON takes numbers, and texts of digits should any come.
func (n *number) UnmarshalJSON(b []byte) (err error) {
	if *n = ""; !bytes.Equal(b, []byte("null")) {
		*n, err = parseNumber(strings.Trim(string(b), `"`))
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

// equal compares values: 1.50 is 1.5.
func (n number) equal(o number) bool { return n.decimal().Cmp(o.decimal()) == 0 }

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

// positive reads an amount of an input, which must be more than nothing.
func positive(field, text string) (number, error) {
	n, err := parseNumber(text)
	if err != nil || n.decimal().Sign() <= 0 {
		return "", wrong(field, "The "+strings.ReplaceAll(field, "_", " ")+" must be a decimal above zero, such as 19.90.")
	}
	return n, nil
}

// reduced is the shortest way to write an amount.
func reduced(text string) string {
	d := number(text).decimal()
	d.Reduce(d)
	return d.Text('f')
}
