package expr

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// maxResult bounds what one expression may answer: bytes of text, and one for
// each value. CEL shares what it repeats, so small lists can unfold to huge ones.
const maxResult = 8 << 20

var errTooLarge = errors.New("its result is too large")

// adapter makes CEL values of JSON ones. All numbers are doubles, also those
// kept as json.Number, but for integers a double cannot hold: ids must survive.
type adapter struct{ types.Adapter }

func (a adapter) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case map[string]any:
		return types.NewStringInterfaceMap(a, v)
	case []any:
		return types.NewDynamicList(a, v)
	case json.Number:
		return number(v)
	case json.RawMessage:
		plain, err := decoded(v)
		if err != nil {
			return types.WrapErr(err)
		}
		return a.NativeToValue(plain)
	}
	return a.Adapter.NativeToValue(v)
}

func number(n json.Number) ref.Val {
	const exact = 1 << 53
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil && (i > exact || i < -exact) {
		return types.Int(i)
	}
	if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil && u > math.MaxInt64 {
		return types.Uint(u)
	}
	f, err := n.Float64()
	if err != nil {
		return types.NewErr("%.40q is not a number that can be worked with", n)
	}
	return types.Double(f)
}

// fromCEL makes JSON values of CEL ones.
func fromCEL(v ref.Val, budget *int) (any, error) {
	if *budget--; *budget < 0 {
		return nil, errTooLarge
	}
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		if v > math.MaxInt64 {
			return json.Number(strconv.FormatUint(uint64(v), 10)), nil
		}
		return int64(v), nil
	case types.Double:
		if f := float64(v); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f, nil
		}
		return nil, errors.New("its result is not a number JSON can hold")
	case types.String:
		return string(v), spend(budget, len(v))
	case *decimal:
		return v.String(), nil
	case types.Bytes:
		return base64.StdEncoding.EncodeToString(v), spend(budget, len(v))
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339Nano), nil
	case types.Duration:
		return fmt.Sprint(v.ConvertToType(types.StringType).Value()), nil
	case *types.Optional:
		if !v.HasValue() {
			return nil, nil
		}
		return fromCEL(v.GetValue(), budget)
	case traits.Mapper:
		return fromMap(v, budget)
	case traits.Lister:
		out := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			item, err := fromCEL(it.Next(), budget)
			if err != nil {
				return nil, err
			}
			out = append(out, item)
		}
		return out, nil
	case *types.Err:
		return nil, v
	case *types.Unknown: // in a list or a map
		return nil, ErrUnknown
	}
	return nil, fmt.Errorf("its result, of type %s, cannot be written as JSON", v.Type().TypeName())
}

func fromMap(m traits.Mapper, budget *int) (any, error) {
	out := map[string]any{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.ConvertToType(types.StringType).(types.String)
		if !ok {
			return nil, errors.New("a map in its result has a key that is not text")
		}
		item, err := fromCEL(m.Get(key), budget)
		if err != nil {
			return nil, err
		}
		out[string(name)] = item
		if err := spend(budget, len(name)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func spend(budget *int, n int) error {
	if *budget -= n; *budget < 0 {
		return errTooLarge
	}
	return nil
}

// stringify writes a rendered value into text: nothing for null, numbers
// without an exponent, lists and maps as JSON.
func stringify(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case map[string]any, []any:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(v) // what fromCEL made always encodes
		return strings.TrimSuffix(b.String(), "\n")
	}
	return fmt.Sprint(v)
}

// describe names the kind of a rendered value.
func describe(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case string:
		return "text"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return "a number"
}
