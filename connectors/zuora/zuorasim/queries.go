package zuorasim

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// queries are ZOQL, which works everywhere, and Object Query, which knows accounts here.
func queries(s *Sim) {
	type conf struct{ BatchSize int }
	s.handle("POST", "/v1/action/query", func(c *call) (any, error) {
		var in struct {
			QueryString string
			Conf        conf
		}
		if err := c.decode(&in); err != nil {
			return nil, err
		}
		rows, err := c.sim.zoql(in.QueryString)
		if err != nil {
			return nil, err
		}
		return c.stretch(rows, in.Conf.BatchSize), nil
	})
	s.handle("POST", "/v1/action/queryMore", func(c *call) (any, error) {
		var in struct {
			QueryLocator string
			Conf         conf
		}
		if err := c.decode(&in); err != nil {
			return nil, err
		}
		rows, ok := c.sim.cursors[in.QueryLocator]
		if !ok {
			return nil, refuse(400, badValue, "No such query locator.")
		}
		return c.stretch(rows, in.Conf.BatchSize), nil
	})
	s.handle("GET", "/object-query/accounts", func(c *call) (any, error) { return c.objects() })
}

func (c *call) stretch(rows []map[string]any, size int) any {
	if size <= 0 || size > 2000 {
		size = 2000
	}
	out := map[string]any{"size": len(rows), "done": true, "records": rows[:min(size, len(rows))]}
	if len(rows) > size || c.sim.extra && len(rows) == size {
		locator := newID()
		c.sim.cursors[locator] = rows[size:]
		out["done"], out["queryLocator"] = false, locator
	}
	return out
}

var (
	selects   = regexp.MustCompile(`^select ([A-Za-z, ]+) from ([A-Za-z]+)(?: where (.*))?$`)
	condition = regexp.MustCompile(`^([A-Za-z]+) (=|!=|>=|<=|>|<) (?:'((?:[^'\\]|\\.)*)'|(\d+))$`)
)

// zoql runs a query. s.mu is held.
func (s *Sim) zoql(text string) ([]map[string]any, error) {
	bad := refuse(400, badValue, "This query cannot be read: %s", text)
	m := selects.FindStringSubmatch(text)
	if m == nil {
		return nil, bad
	}
	var all []map[string]any
	switch m[2] {
	case "Account":
		for _, a := range s.accounts {
			all = append(all, a.fields())
		}
	case "Subscription":
		for _, x := range s.subs {
			all = append(all, x.fields())
		}
	case "Usage":
		for _, u := range s.usage {
			all = append(all, u.fields())
		}
	default:
		return nil, bad
	}
	out := []map[string]any{}
	for _, row := range all {
		holds := true
		for _, text := range strings.Split(m[3], " and ") {
			if text == "" {
				continue
			}
			w := condition.FindStringSubmatch(text)
			if w == nil {
				return nil, bad
			}
			v, there := row[w[1]]
			if !there {
				return nil, refuse(400, badValue, "There is no field %s.", w[1])
			}
			yes, err := compare(v, w[2], strings.NewReplacer(`\\`, `\`, `\'`, `'`).Replace(w[3])+w[4])
			if err != nil {
				return nil, bad
			}
			holds = holds && yes
		}
		if !holds {
			continue
		}
		picked := map[string]any{}
		for _, f := range strings.Split(m[1], ",") {
			f = strings.TrimSpace(f)
			switch v := row[f].(type) {
			case nil:
				return nil, refuse(400, badValue, "There is no field %s.", f)
			case time.Time:
				picked[f] = v.Format("2006-01-02T15:04:05.000-07:00")
			case string:
				if v != "" { // null fields are left out
					picked[f] = v
				}
			default:
				picked[f] = v
			}
		}
		out = append(out, picked)
	}
	return out, nil
}

func compare(v any, op, with string) (bool, error) {
	order := 0
	switch v := v.(type) {
	case time.Time:
		t, err := time.Parse(time.RFC3339, with)
		if err != nil {
			return false, err
		}
		order = v.Compare(t)
	case int:
		n, err := strconv.Atoi(with)
		if err != nil {
			return false, err
		}
		order = v - n
	default:
		order = strings.Compare(fmt.Sprint(v), with)
	}
	switch op {
	case "=":
		return order == 0, nil
	case "!=":
		return order != 0, nil
	case ">":
		return order > 0, nil
	case ">=":
		return order >= 0, nil
	case "<":
		return order < 0, nil
	}
	return order <= 0, nil
}

// objects is Object Query over accounts.
func (c *call) objects() (any, error) {
	size := 10
	if text := c.query.Get("pageSize"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 99 {
			return nil, refuse(400, badValue, "pageSize must be 1 to 99.")
		}
		size = n
	}
	rows := copied(c.sim.accounts)
	for _, f := range c.query["filter[]"] {
		name, rest, _ := strings.Cut(f, ".")
		op, value, ok := strings.Cut(rest, ":")
		if !ok {
			return nil, refuse(400, badValue, "The filter %s cannot be read.", f)
		}
		var bad error
		rows = slices.DeleteFunc(rows, func(a Account) bool {
			yes, err := filtered(a, name, op, value)
			if err != nil {
				bad = err
			}
			return !yes
		})
		if bad != nil {
			return nil, bad
		}
	}
	if c.query.Get("sort[]") == "name.ASC" {
		slices.SortStableFunc(rows, func(a, b Account) int { return strings.Compare(a.Name, b.Name) })
	}
	from := 0
	if text := c.query.Get("cursor"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n > len(rows) {
			return nil, refuse(400, badValue, "No such cursor.")
		}
		from = n
	}
	to := min(from+size, len(rows))
	data := []any{}
	for _, a := range rows[from:to] {
		data = append(data, map[string]any{"id": a.ID, "name": a.Name, "accountNumber": a.Number, "currency": a.Currency})
	}
	out := map[string]any{"data": data}
	if to < len(rows) || c.sim.extra && to-from == size {
		out["nextPage"] = strconv.Itoa(to)
	}
	return out, nil
}

func filtered(a Account, name, op, value string) (bool, error) {
	fields := map[string]any{"id": a.ID, "name": a.Name, "accountnumber": a.Number, "updateddate": a.UpdatedAt}
	v, ok := fields[name]
	if !ok {
		return false, refuse(400, badValue, "There is no filter %s.", name)
	}
	ops := map[string]string{"EQ": "=", "NE": "!=", "GT": ">", "GE": ">=", "LT": "<", "LE": "<="}
	switch {
	case ops[op] != "":
		yes, err := compare(v, ops[op], value)
		if err != nil {
			return false, refuse(400, badValue, "The filter's value %s cannot be read.", value)
		}
		return yes, nil
	case op == "SW":
		return strings.HasPrefix(fmt.Sprint(v), value), nil
	case op == "IN":
		return slices.Contains(strings.Split(strings.Trim(value, "[]"), ","), fmt.Sprint(v)), nil
	}
	return false, refuse(400, badValue, "There is no operator %s.", op)
}
