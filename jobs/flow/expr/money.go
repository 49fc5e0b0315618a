package expr

import (
	"fmt"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/cockroachdb/apd/v3"
)

// decimals lists the currencies that do not have two, by ISO 4217. Where a
// vendor differs (Stripe's UGX), its connector corrects.
// https://www.six-group.com/en/products-services/financial-information/data-standards.html
var decimals = map[string]int32{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0,
	"UGX": 0, "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
	"CLF": 4, "UYW": 4,
}

// minor is an amount in major units as an integer of minor ones: 12.5 USD → 1250.
func minor(amount, currency ref.Val) ref.Val {
	d, places, err := money("minor", amount, currency)
	if err != nil {
		return types.WrapErr(err)
	}
	d.Exponent += places
	n, err := d.Int64()
	if err != nil {
		return types.NewErr("minor: %s %s is not a whole number of the currency's smallest unit", plain(amount), plain(currency))
	}
	return types.Int(n)
}

// minorDecimal is an amount in major units as one in minor units that need not be whole, such as a price for one of many:
// 0.0005 USD → "0.05".
func minorDecimal(amount, currency ref.Val) ref.Val {
	d, places, err := money("minorDecimal", amount, currency)
	if err != nil {
		return types.WrapErr(err)
	}
	if d.Exponent += places; d.Exponent < 0 || d.IsZero() {
		d.Reduce(d)
	}
	return &decimal{*d}
}

// major is an integer of minor units as a decimal of major ones: 1250 USD → "12.50".
func major(units, currency ref.Val) ref.Val {
	d, places, err := money("major", units, currency)
	if err != nil {
		return types.WrapErr(err)
	}
	n, err := d.Int64()
	if err != nil {
		return types.NewErr("major: %s is not a whole number of minor units", plain(units))
	}
	return &decimal{*apd.New(n, -places)}
}

func money(function string, amount, currency ref.Val) (*apd.Decimal, int32, error) {
	code := strings.ToUpper(string(currency.(types.String)))
	if len(code) != 3 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return nil, 0, fmt.Errorf("%s: %.20q is not a currency code", function, code)
	}
	places, ok := decimals[code]
	if !ok {
		places = 2
	}
	text := plain(amount)
	d, _, err := apd.NewFromString(text)
	// An exponent far out would have apd write as many digits.
	if err != nil || d.Form != apd.Finite || len(text) > 60 || d.Exponent > 30 || d.Exponent < -60 {
		return nil, 0, fmt.Errorf("%s: %.40q is not an amount", function, text)
	}
	return d, places, nil
}

// plain writes a number so that it reads back exactly, and without an exponent.
func plain(v ref.Val) string {
	switch v := v.(type) {
	case types.String:
		return strings.TrimSpace(string(v))
	case types.Double:
		return strconv.FormatFloat(float64(v), 'f', -1, 64)
	case types.Int, types.Uint:
		return fmt.Sprint(v.Value())
	case *decimal:
		return v.String()
	}
	return v.Type().TypeName()
}
