package zohobookssim

import (
	"fmt"
	"math/big"
	"strings"
)

// Amount is one in major units, kept exactly.
type Amount struct{ r *big.Rat }

func (a Amount) rat() *big.Rat {
	if a.r == nil {
		return new(big.Rat)
	}
	return a.r
}

// ParseAmount reads a decimal.
func ParseAmount(text string) (Amount, error) {
	r, ok := new(big.Rat).SetString(strings.TrimSpace(text))
	if !ok {
		return Amount{}, fmt.Errorf("%q is no amount", text)
	}
	return Amount{r}, nil
}

// UnmarshalJSON takes numbers and texts.
func (a *Amount) UnmarshalJSON(b []byte) (err error) {
	text := strings.Trim(string(b), `"`)
	if text == "" || text == "null" {
		*a = Amount{}
		return nil
	}
	*a, err = ParseAmount(text)
	return err
}

// MarshalJSON writes a number.
func (a Amount) MarshalJSON() ([]byte, error) {
	text := a.rat().FloatString(10)
	text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	if text == "" || text == "-" {
		text = "0"
	}
	return []byte(text), nil
}

// String is the amount without zeros at its end.
func (a Amount) String() string {
	b, _ := a.MarshalJSON()
	return string(b)
}

// at is the amount as a text with so many decimals.
func (a Amount) at(decimals int) string { return a.rat().FloatString(decimals) }

// rounded is to so many decimals, half away from zero.
func (a Amount) rounded(decimals int) Amount {
	r, _ := new(big.Rat).SetString(a.rat().FloatString(decimals))
	return Amount{r}
}

func (a Amount) plus(b Amount) Amount  { return Amount{new(big.Rat).Add(a.rat(), b.rat())} }
func (a Amount) minus(b Amount) Amount { return Amount{new(big.Rat).Sub(a.rat(), b.rat())} }
func (a Amount) times(b Amount) Amount { return Amount{new(big.Rat).Mul(a.rat(), b.rat())} }
func (a Amount) cmp(b Amount) int      { return a.rat().Cmp(b.rat()) }
func (a Amount) sign() int             { return a.rat().Sign() }

// per is a hundredth part of the product.
func (a Amount) per(percent Amount) Amount {
	return Amount{new(big.Rat).Quo(a.times(percent).rat(), big.NewRat(100, 1))}
}
