package expr

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/cockroachdb/apd/v3"
)

var decimalType = cel.ObjectType("decimal", traits.AdderType, traits.SubtractorType, traits.MultiplierType, traits.ComparerType, traits.NegatorType)

// decimal is an exact amount. It takes whole numbers and other decimals, never doubles: 0.1 + 0.2 is no 0.3 there.
type decimal struct{ d apd.Decimal }

var exact = apd.Context{Precision: 80, MaxExponent: 200, MinExponent: -200, Rounding: apd.RoundHalfEven,
	Traps: apd.DefaultTraps | apd.Inexact}

var errDecimal = errors.New("amounts are exact, and other numbers are not: write decimal('12.50') or a whole number")

// newDecimal reads an amount as JSON has it.
func newDecimal(text string) (*decimal, error) {
	v := &decimal{}
	_, _, err := v.d.SetString(strings.TrimSpace(text))
	// An exponent far out would have apd write as many digits.
	if err != nil || v.d.Form != apd.Finite || len(text) > 90 || v.d.Exponent > 40 || v.d.Exponent < -60 {
		return nil, fmt.Errorf("%.40q is not an amount", text)
	}
	return v, nil
}

// asDecimal is the amount that a value is, for what goes together with decimals.
func asDecimal(v ref.Val) (*decimal, error) {
	switch v := v.(type) {
	case *decimal:
		return v, nil
	case types.Int:
		return newDecimal(strconv.FormatInt(int64(v), 10))
	case types.Uint:
		return newDecimal(strconv.FormatUint(uint64(v), 10))
	}
	return nil, errDecimal
}

func (v *decimal) with(other ref.Val, do func(d, x, y *apd.Decimal) (apd.Condition, error)) ref.Val {
	o, err := asDecimal(other)
	if err != nil {
		return types.WrapErr(err)
	}
	out := &decimal{}
	if _, err := do(&out.d, &v.d, &o.d); err != nil {
		return types.WrapErr(errTooLarge)
	}
	return out
}

// Add, Subtract, Multiply and Negate implement CEL's operators; those that lose digits have functions of their own.
func (v *decimal) Add(other ref.Val) ref.Val      { return v.with(other, exact.Add) }
func (v *decimal) Subtract(other ref.Val) ref.Val { return v.with(other, exact.Sub) }
func (v *decimal) Multiply(other ref.Val) ref.Val { return v.with(other, exact.Mul) }
func (v *decimal) Negate() ref.Val {
	out := &decimal{}
	out.d.Neg(&v.d)
	return out
}

// Compare implements traits.Comparer.
func (v *decimal) Compare(other ref.Val) ref.Val {
	o, err := asDecimal(other)
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Int(v.d.Cmp(&o.d))
}

// Equal implements ref.Val: 1.5 is 1.50.
func (v *decimal) Equal(other ref.Val) ref.Val {
	o, err := asDecimal(other)
	return types.Bool(err == nil && v.d.Cmp(&o.d) == 0)
}

func (v *decimal) String() string { return v.d.Text('f') }

// ConvertToNative implements ref.Val.
func (v *decimal) ConvertToNative(t reflect.Type) (any, error) {
	if t.Kind() == reflect.String {
		return v.String(), nil
	}
	return nil, errors.ErrUnsupported
}

// ConvertToType implements ref.Val.
func (v *decimal) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.StringType:
		return types.String(v.String())
	case types.DoubleType:
		f, err := v.d.Float64()
		if err != nil {
			return types.WrapErr(err)
		}
		return types.Double(f)
	case types.IntType:
		n, err := v.d.Int64()
		if err != nil {
			return types.NewErr("%s is not a whole number", v)
		}
		return types.Int(n)
	case types.TypeType:
		return decimalType
	case decimalType:
		return v
	}
	return types.NewErr("an amount cannot be made a %s", t.TypeName())
}

// Type implements ref.Val.
func (v *decimal) Type() ref.Type { return decimalType }

// Value implements ref.Val.
func (v *decimal) Value() any { return v.String() }

var (
	_ traits.Adder      = (*decimal)(nil)
	_ traits.Subtractor = (*decimal)(nil)
	_ traits.Multiplier = (*decimal)(nil)
	_ traits.Negater    = (*decimal)(nil)
	_ traits.Comparer   = (*decimal)(nil)
)

// exactMoney are the operators and functions of amounts.
func exactMoney() []cel.EnvOption {
	d, whole, text := decimalType, cel.IntType, cel.StringType
	var options []cel.EnvOption
	for name, operator := range map[string]string{"add": operators.Add, "subtract": operators.Subtract, "multiply": operators.Multiply} {
		options = append(options, cel.Function(operator,
			cel.Overload(name+"_decimal", []*cel.Type{d, d}, d),
			cel.Overload(name+"_decimal_int64", []*cel.Type{d, whole}, d)))
	}
	for name, operator := range map[string]string{"less": operators.Less, "less_equals": operators.LessEquals, "greater": operators.Greater, "greater_equals": operators.GreaterEquals} {
		options = append(options, cel.Function(operator,
			cel.Overload(name+"_decimal", []*cel.Type{d, d}, cel.BoolType),
			cel.Overload(name+"_decimal_int64", []*cel.Type{d, whole}, cel.BoolType)))
	}
	convert := func(to ref.Type) func(ref.Val) ref.Val { return func(v ref.Val) ref.Val { return v.ConvertToType(to) } }
	return append(options,
		cel.Function(operators.Negate, cel.Overload("negate_decimal", []*cel.Type{d}, d)),
		cel.Function("string", cel.Overload("decimal_to_string", []*cel.Type{d}, text, cel.UnaryBinding(convert(types.StringType)))),
		cel.Function("double", cel.Overload("decimal_to_double", []*cel.Type{d}, cel.DoubleType, cel.UnaryBinding(convert(types.DoubleType)))),
		cel.Function("int", cel.Overload("decimal_to_int64", []*cel.Type{d}, whole, cel.UnaryBinding(convert(types.IntType)))),
		cel.Function("decimal",
			cel.Overload("string_to_decimal", []*cel.Type{text}, d, cel.UnaryBinding(toDecimal)),
			cel.Overload("int64_to_decimal", []*cel.Type{whole}, d, cel.UnaryBinding(toDecimal)),
			cel.Overload("decimal_to_decimal", []*cel.Type{d}, d, cel.UnaryBinding(toDecimal))),
		cel.Function("round", cel.MemberOverload("decimal_round", []*cel.Type{d, whole}, d, cel.BinaryBinding(round))),
		cel.Function("dividedBy",
			cel.MemberOverload("decimal_divided_by", []*cel.Type{d, d, whole}, d, cel.FunctionBinding(dividedBy)),
			cel.MemberOverload("decimal_divided_by_int64", []*cel.Type{d, whole, whole}, d, cel.FunctionBinding(dividedBy))),
	)
}

func toDecimal(v ref.Val) ref.Val {
	var out *decimal
	var err error
	if text, ok := v.(types.String); ok {
		out, err = newDecimal(string(text))
	} else {
		out, err = asDecimal(v)
	}
	if err != nil {
		return types.WrapErr(err)
	}
	return out
}

const mostPlaces = 30

// round keeps so many places, half to even, as banks do.
func round(v, places ref.Val) ref.Val { return rounded(&v.(*decimal).d, places) }

func rounded(d *apd.Decimal, places ref.Val) ref.Val {
	n := int64(places.(types.Int))
	if n < 0 || n > mostPlaces {
		return types.NewErr("places are a whole number from 0 to %d", mostPlaces)
	}
	c := exact
	c.Traps &^= apd.Inexact
	c.Traps &^= apd.Rounded
	out := &decimal{}
	if _, err := c.Quantize(&out.d, d, int32(-n)); err != nil {
		return types.WrapErr(errTooLarge)
	}
	return out
}

// dividedBy divides and keeps so many places.
func dividedBy(args ...ref.Val) ref.Val {
	by, err := asDecimal(args[1])
	if err != nil {
		return types.WrapErr(err)
	}
	if by.d.IsZero() {
		return types.NewErr("division by zero")
	}
	c := exact
	c.Traps &^= apd.Inexact
	c.Traps &^= apd.Rounded
	var q apd.Decimal
	if _, err := c.Quo(&q, &args[0].(*decimal).d, &by.d); err != nil {
		return types.WrapErr(errTooLarge)
	}
	return rounded(&q, args[2])
}
