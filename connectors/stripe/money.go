package stripe

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/apd/v3"

	"tieline/connectors"
)

// Amounts of inputs and payloads are integers in the smallest unit that ISO 4217 gives a currency. Stripe's own smallest
// unit differs for these: it takes two decimals of currencies that have none (always 00), and none of the ariary.
// https://docs.stripe.com/currencies#special-cases
var wirePlaces = map[string]int32{"isk": 2, "ugx": 2, "mga": -2}

// tenths are currencies of three decimals, of which Stripe wants the last one to be 0.
// https://docs.stripe.com/currencies#three-decimal
var tenths = map[string]bool{"bhd": true, "jod": true, "kwd": true, "omr": true, "tnd": true}

// maxAmount is far above what Stripe takes, and far below where sums overflow.
const maxAmount = 99_999_999_999_999

// maxPlaces is how many decimals a unit price may have below Stripe's smallest unit. https://docs.stripe.com/api/prices
const maxPlaces = 12

// toWire is an amount as Stripe counts it. field names the input at fault.
func toWire(amount int64, currency, field string) (int64, error) {
	currency = strings.ToLower(currency)
	if amount > maxAmount || amount < -maxAmount {
		return 0, wrongInput(field, "is too large")
	}
	if tenths[currency] && amount%10 != 0 {
		return 0, wrongInput(field, fmt.Sprintf("has three decimals of %s, and Stripe takes two: its last digit must be 0", strings.ToUpper(currency)))
	}
	switch wirePlaces[currency] {
	case 2:
		return amount * 100, nil
	case -2:
		if amount%100 != 0 {
			return 0, wrongInput(field, fmt.Sprintf("has decimals of %s, and Stripe takes none of them", strings.ToUpper(currency)))
		}
		return amount / 100, nil
	}
	return amount, nil
}

// fromWire is Stripe's amount in the unit of ISO 4217.
func fromWire(amount int64, currency string) (int64, error) {
	if amount > maxAmount || amount < -maxAmount {
		return 0, fmt.Errorf("an amount of %d %s is too large", amount, currency)
	}
	switch wirePlaces[strings.ToLower(currency)] {
	case 2:
		if amount%100 != 0 {
			return 0, fmt.Errorf("an amount of %d %s is not a whole one", amount, currency)
		}
		return amount / 100, nil
	case -2:
		return amount * 100, nil
	}
	return amount, nil
}

// fromWires reads several amounts at once.
func fromWires(currency string, amounts ...*int64) error {
	for _, a := range amounts {
		n, err := fromWire(*a, currency)
		if err != nil {
			return err
		}
		*a = n
	}
	return nil
}

// decimalToWire is a unit price below the smallest unit, as Stripe counts it.
func decimalToWire(in *apd.Decimal, currency, field string) (string, error) {
	if in.Form != apd.Finite || in.Exponent > maxPlaces || in.Exponent < -40 || in.NumDigits() > 40 {
		return "", wrongInput(field, "is not an amount that Stripe takes")
	}
	if in.Negative && !in.IsZero() {
		return "", wrongInput(field, "is negative")
	}
	d := new(apd.Decimal).Set(in)
	d.Exponent += wirePlaces[strings.ToLower(currency)]
	if d.Reduce(d); d.Exponent < -maxPlaces {
		return "", wrongInput(field, fmt.Sprintf("has more than %d decimals", maxPlaces))
	}
	if d.IsZero() {
		return "0", nil
	}
	return d.Text('f'), nil
}

// wrongInput is a refusal of our own, before a call is made.
func wrongInput(field, what string) error {
	e := connectors.Errorf(connectors.Invalid, "%s %s", field, what)
	e.Field = field
	return e
}
