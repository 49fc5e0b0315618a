package expr

import (
	"encoding/base64"
	"errors"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// Names with an @ cannot be written in an expression; macros put them there.
const (
	nowVar = "@now"
	envVar = "@env"
)

var envType = cel.OpaqueType("tieline.env")

// opaque makes a Go value pass through CEL untouched.
type opaque struct{}

func (opaque) ConvertToNative(reflect.Type) (any, error) { return nil, errors.ErrUnsupported }
func (opaque) ConvertToType(ref.Type) ref.Val            { return types.NoSuchOverloadErr() }
func (opaque) Equal(ref.Val) ref.Val                     { return types.False }
func (opaque) Type() ref.Type                            { return envType }
func (opaque) Value() any                                { return nil }

// library holds our functions: now, mapped, coalesce, fail, minor, minorDecimal,
// major, day, encode64url and decode64url, encodeURL, those of amounts, and bounds for those of CEL that could fill
// the memory, or take hours, before their cost is counted.
func library() cel.EnvOption {
	dyn, text, same := cel.DynType, cel.StringType, cel.TypeParamType("T")
	options := []cel.EnvOption{
		cel.Variable(nowVar, cel.TimestampType),
		cel.Variable(envVar, envType),
		cel.Macros(
			cel.GlobalVarArgMacro("now", expandNow),
			cel.GlobalVarArgMacro("mapped", expandMapped),
			cel.GlobalVarArgMacro("coalesce", expandCoalesce),
			cel.ReceiverMacro("replace", 2, flat("@replace")),
			cel.ReceiverMacro("replace", 3, flat("@replace")),
			cel.ReceiverMacro("join", 0, flat("@join")),
			cel.ReceiverMacro("join", 1, flat("@join")),
			cel.ReceiverMacro("format", 1, expandFormat),
			cel.ReceiverMacro("distinct", 0, boundTarget("distinct")),
			cel.ReceiverMacro("sort", 0, boundTarget("sort")),
			cel.ReceiverMacro("flatten", 0, boundTarget("flatten")),
			cel.ReceiverMacro("flatten", 1, boundTarget("flatten")),
			cel.GlobalMacro(operators.Equals, 2, boundArguments(operators.Equals)),
			cel.GlobalMacro(operators.NotEquals, 2, boundArguments(operators.NotEquals)),
			cel.GlobalMacro(operators.In, 2, boundArguments(operators.In)),
		),
		cel.Function("@mapped", cel.Overload("tieline_mapped", []*cel.Type{envType, dyn, text, text}, dyn, cel.FunctionBinding(mapped))),
		cel.Function("@present", cel.Overload("tieline_present", []*cel.Type{dyn}, cel.OptionalType(dyn), cel.OverloadIsNonStrict(), cel.UnaryBinding(present))),
		cel.Function("@last", cel.Overload("tieline_last", []*cel.Type{dyn}, dyn, cel.OverloadIsNonStrict(), cel.UnaryBinding(last))),
		cel.Function("minor", cel.Overload("tieline_minor", []*cel.Type{dyn, text}, cel.IntType, cel.BinaryBinding(minor))),
		cel.Function("minorDecimal", cel.Overload("tieline_minor_decimal", []*cel.Type{dyn, text}, decimalType, cel.BinaryBinding(minorDecimal))),
		cel.Function("major", cel.Overload("tieline_major", []*cel.Type{dyn, text}, decimalType, cel.BinaryBinding(major))),
		cel.Function("day",
			cel.Overload("tieline_day", []*cel.Type{cel.TimestampType}, text, cel.UnaryBinding(day)),
			cel.Overload("tieline_day_text", []*cel.Type{text}, text, cel.UnaryBinding(day))),
		cel.Function("encodeURL", cel.Overload("tieline_encode_url", []*cel.Type{text}, text, cel.UnaryBinding(encodeURL))),
		cel.Function("fail", cel.Overload("tieline_fail", []*cel.Type{text}, dyn, cel.UnaryBinding(fail))),
		cel.Function("encode64url",
			cel.Overload("tieline_encode64url", []*cel.Type{text}, text, cel.UnaryBinding(encode64url)),
			cel.Overload("tieline_encode64url_bytes", []*cel.Type{cel.BytesType}, text, cel.UnaryBinding(encode64url))),
		cel.Function("decode64url", cel.Overload("tieline_decode64url", []*cel.Type{text}, text, cel.UnaryBinding(decode64url))),
		cel.Function("@replace",
			cel.Overload("tieline_replace", []*cel.Type{text, text, text}, text, cel.FunctionBinding(replace)),
			cel.Overload("tieline_replace_n", []*cel.Type{text, text, text, cel.IntType}, text, cel.FunctionBinding(replace))),
		cel.Function("@join",
			cel.Overload("tieline_join", []*cel.Type{cel.ListType(dyn)}, text, cel.FunctionBinding(join)),
			cel.Overload("tieline_join_with", []*cel.Type{cel.ListType(dyn), text}, text, cel.FunctionBinding(join))),
		cel.Function("@bounded", cel.Overload("tieline_bounded", []*cel.Type{same}, same, cel.UnaryBinding(bounded))),
	}
	options = append(options, exactMoney()...)
	return func(e *cel.Env) (*cel.Env, error) {
		for _, option := range options {
			var err error
			if e, err = option(e); err != nil {
				return nil, err
			}
		}
		return e, nil
	}
}

// costs charges what CEL takes for free: joining lists shares them, so that
// forty doublings would make a list no machine can walk.
var costs = cel.CostTrackerOptions(
	interpreter.OverloadCostTracker(overloads.AddList, sizeCost),
	interpreter.OverloadCostTracker("tieline_bounded", walkCost),
	interpreter.OverloadCostTracker("tieline_replace", textCost),
	interpreter.OverloadCostTracker("tieline_replace_n", textCost),
	interpreter.OverloadCostTracker("tieline_join", textCost),
	interpreter.OverloadCostTracker("tieline_join_with", textCost),
)

func sizeCost(_ []ref.Val, result ref.Val) *uint64 {
	cost := uint64(1)
	if s, ok := result.(traits.Sizer); ok {
		cost += uint64(s.Size().(types.Int))
	}
	return &cost
}

func textCost(args []ref.Val, result ref.Val) *uint64 {
	cost := *sizeCost(args, result) / 10
	return &cost
}

func walkCost(args []ref.Val, _ ref.Val) *uint64 {
	budget := maxText
	_, _ = fromCEL(args[0], &budget)
	cost := uint64(1 + (maxText-budget)/10)
	return &cost
}

func expandNow(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	if len(args) > 0 {
		return nil, f.NewError(args[0].ID(), "write now() with nothing between the brackets")
	}
	return f.NewIdent(nowVar), nil
}

func expandMapped(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	if len(args) != 3 {
		return nil, f.NewError(0, "write mapped(id, entity, app), for instance mapped(trigger.id, 'customer', 'stripe')")
	}
	return f.NewCall("@mapped", slices.Insert(slices.Clone(args), 0, f.NewIdent(envVar))...), nil
}

// expandCoalesce makes coalesce(a, b, c) the optionals
// present(a).or(present(b)).orValue(last(c)), which look no further than needed.
func expandCoalesce(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	if len(args) == 0 {
		return nil, f.NewError(0, "coalesce needs something to choose from")
	}
	final := f.NewCall("@last", args[len(args)-1])
	if len(args) == 1 {
		return final, nil
	}
	chain := f.NewCall("@present", args[0])
	for _, arg := range args[1 : len(args)-1] {
		chain = f.NewMemberCall("or", chain, f.NewCall("@present", arg))
	}
	return f.NewMemberCall("orValue", chain, final), nil
}

func flat(function string) cel.MacroFactory {
	return func(f cel.MacroExprFactory, target ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
		return f.NewCall(function, slices.Insert(slices.Clone(args), 0, target)...), nil
	}
}

func expandFormat(f cel.MacroExprFactory, target ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	return f.NewMemberCall("format", target, f.NewCall("@bounded", args[0])), nil
}

func boundTarget(function string) cel.MacroFactory {
	return func(f cel.MacroExprFactory, target ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
		return f.NewMemberCall(function, f.NewCall("@bounded", target), args...), nil
	}
}

// boundArguments leaves out literals, which are what they are.
func boundArguments(function string) cel.MacroFactory {
	return func(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
		args = slices.Clone(args)
		for i, arg := range args {
			if arg.Kind() != ast.LiteralKind {
				args[i] = f.NewCall("@bounded", arg)
			}
		}
		return f.NewCall(function, args...), nil
	}
}

func mapped(args ...ref.Val) ref.Val {
	ev := args[0].(*evaluation)
	if o, ok := args[1].(*types.Optional); ok && o.HasValue() {
		args[1] = o.GetValue()
	}
	budget := maxResult
	id, err := fromCEL(args[1], &budget)
	switch {
	case err != nil:
		return types.WrapErr(err)
	case id == nil || id == "":
		return types.NullValue
	case ev.env.Mapped == nil:
		return types.NewErr("mapped() is not available here")
	}
	external, found, err := ev.env.Mapped(ev.ctx, stringify(id), string(args[2].(types.String)), string(args[3].(types.String)))
	switch {
	case err != nil:
		ev.failed = err
		return types.WrapErr(err)
	case !found:
		return types.NullValue
	}
	return types.String(external)
}

// fail ends the rendering with the flow's own sentence, for what it cannot bring over.
func fail(why ref.Val) ref.Val { return types.WrapErr(refusal(why.(types.String))) }

// present is optional.none() for null, missing and "".
func present(v ref.Val) ref.Val {
	if o, ok := v.(*types.Optional); ok && o.HasValue() {
		v = o.GetValue()
	}
	v = last(v)
	switch {
	case types.IsUnknownOrError(v):
		return v
	case v == types.NullValue || v == types.String(""):
		return types.OptionalNone
	}
	return types.OptionalOf(v)
}

// last is null for what is missing, else the value itself.
func last(v ref.Val) ref.Val {
	switch v := v.(type) {
	case *types.Err:
		if isMissing(v) {
			return types.NullValue
		}
	case *types.Optional:
		if !v.HasValue() {
			return types.NullValue
		}
		return v.GetValue()
	}
	return v
}

func encode64url(v ref.Val) ref.Val {
	if b, ok := v.(types.Bytes); ok {
		return types.String(base64.RawURLEncoding.EncodeToString(b))
	}
	return types.String(base64.RawURLEncoding.EncodeToString([]byte(v.(types.String))))
}

func decode64url(v ref.Val) ref.Val {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(string(v.(types.String)), "="))
	if err != nil || !utf8.Valid(b) {
		return types.NewErr("decode64url: this is not base64url text")
	}
	return types.String(b)
}

// encodeURL writes a text so that it can be a part of an address.
func encodeURL(v ref.Val) ref.Val { return types.String(url.QueryEscape(string(v.(types.String)))) }

// day is the date of a moment, in UTC: 2026-01-31.
func day(v ref.Val) ref.Val {
	if t, ok := v.(types.Timestamp); ok {
		return types.String(t.UTC().Format(time.DateOnly))
	}
	text := string(v.(types.String))
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return types.String(t.UTC().Format(time.DateOnly))
		}
	}
	return types.NewErr("day: %.40q is no date; write 2026-01-31 or 2026-01-31T12:00:00Z", text)
}

// maxText bounds, in bytes, the text one call may make.
const maxText = 1 << 20

func replace(args ...ref.Val) ref.Val {
	s, old, new := string(args[0].(types.String)), string(args[1].(types.String)), string(args[2].(types.String))
	n := strings.Count(s, old)
	if len(args) == 4 {
		if limit := int64(args[3].(types.Int)); limit >= 0 {
			n = int(min(int64(n), limit))
		}
	}
	if len(s)+n*(len(new)-len(old)) > maxText {
		return types.WrapErr(errTooLarge)
	}
	return types.String(strings.Replace(s, old, new, n))
}

func join(args ...ref.Val) ref.Val {
	separator := ""
	if len(args) == 2 {
		separator = string(args[1].(types.String))
	}
	var b strings.Builder
	for it := args[0].(traits.Lister).Iterator(); it.HasNext() == types.True; {
		item, ok := it.Next().(types.String)
		if !ok {
			return types.NewErr("join takes a list of text; turn its items into text with map(x, string(x))")
		}
		if b.Len()+len(item)+len(separator) > maxText {
			return types.WrapErr(errTooLarge)
		}
		b.WriteString(string(item))
		b.WriteString(separator)
	}
	return types.String(strings.TrimSuffix(b.String(), separator))
}

// bounded is its argument, unless that unfolds to more than a call may handle.
func bounded(v ref.Val) ref.Val {
	budget := maxText
	if _, err := fromCEL(v, &budget); errors.Is(err, errTooLarge) {
		return types.WrapErr(err)
	}
	return v
}
