package stripesim

import (
	"maps"
	"strings"
)

// allItems is where a session keeps all that it sold; line_items shows the first few.
const allItems = "_line_items"

// lazy are the lists an object shows only when asked.
var lazy = map[string][]string{"checkout.session": {"line_items", allItems}, "payment_link": {"line_items"}, "price": {"tiers"}, "invoiceitem": {"line"}}

// kinds tells an id's kind by its prefix, for expanding a reference.
var kinds = map[string]string{"cus": "customer", "cs": "checkout.session", "prod": "product", "price": "price", "plink": "payment_link", "in": "invoice", "ii": "invoiceitem", "cn": "credit_note"}

// expand shapes an answer as the call's expand parameter wants it.
func (c *call) expand(out any) (any, error) {
	o, ok := out.(object)
	if !ok {
		return out, nil
	}
	var paths []string
	asked, _ := c.in["expand"].([]any)
	for _, p := range asked {
		paths = append(paths, p.(string))
	}
	return c.book.shape(o, paths)
}

func (b *book) shape(o object, paths []string) (object, error) {
	below := map[string][]string{}
	for _, p := range paths {
		head, rest, more := strings.Cut(p, ".")
		if _, ok := o[head]; !ok {
			return nil, invalid("", "expand", "This property cannot be expanded (%s).", p)
		}
		inner := below[head] // asked for, with or without something inside of it
		if more {
			inner = append(inner, rest)
		}
		below[head] = inner
	}
	out := maps.Clone(o)
	kind, _ := o["object"].(string)
	for _, name := range lazy[kind] {
		if _, asked := below[name]; !asked {
			delete(out, name)
		}
	}
	if data, ok := o["data"].([]object); ok {
		shaped := make([]object, len(data))
		for i, item := range data {
			var err error
			if shaped[i], err = b.shape(item, below["data"]); err != nil {
				return nil, err
			}
		}
		out["data"] = shaped
		delete(below, "data")
	}
	if kind == "price" && out["tiers"] == nil { // of prices without tiers there is nothing to show
		delete(out, "tiers")
		delete(below, "tiers")
	}
	for name, rest := range below {
		v := o[name]
		if id, ok := v.(string); ok {
			prefix, _, _ := strings.Cut(id, "_")
			kind := kinds[prefix]
			if name == "product" { // whose ids may be anything
				kind = name
			}
			v, _, _ = b.get(kind, id)
		}
		if v, ok := v.(object); ok && v != nil {
			inner, err := b.shape(v, rest)
			if err != nil {
				return nil, err
			}
			out[name] = inner
		}
	}
	return out, nil
}
