package zohobooks

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// id is one of Zoho's, kept as its digits: they are texts, and greater than a double holds where they are not.
type id string

// UnmarshalJSON takes texts and whole numbers.
func (i *id) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if *i = ""; text != "" && text != "null" {
		if strings.Trim(text, "0123456789") != "" {
			return fmt.Errorf("%q is no id of Zoho's", text[:min(len(text), 20)])
		}
		*i = id(text)
	}
	return nil
}

// number is an amount, a rate or a quantity on the wire, kept as its plain digits. Zoho declares them integers, numbers and
// texts from field to field.
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
func (n number) MarshalJSON() ([]byte, error) { return json.RawMessage(n.text()), nil }

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

var exact = apd.BaseContext.WithPrecision(6 * maxDigits)

func (n number) with(o number, op func(d, x, y *apd.Decimal) (apd.Condition, error)) number {
	var d apd.Decimal
	_, _ = op(&d, n.decimal(), o.decimal()) // the precision holds any two
	return number(d.Text('f'))
}

func (n number) plus(o number) number  { return n.with(o, exact.Add) }
func (n number) minus(o number) number { return n.with(o, exact.Sub) }
func (n number) times(o number) number { return n.with(o, exact.Mul) }

// over is a quotient, far more exact than any amount.
func (n number) over(o number) number {
	if o.sign() == 0 {
		return "0"
	}
	return n.with(o, apd.BaseContext.WithPrecision(maxDigits).Quo)
}

// rounded is to so many decimals, half away from zero, as amounts are.
func (n number) rounded(decimals int) number {
	var d apd.Decimal
	ctx := exact.WithPrecision(6 * maxDigits)
	ctx.Rounding = apd.RoundHalfUp
	_, _ = ctx.Quantize(&d, n.decimal(), int32(-decimals))
	return number(d.Text('f'))
}

func (n number) abs() number {
	if n.sign() < 0 {
		return number("0").minus(n)
	}
	return n
}
