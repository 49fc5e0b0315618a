package zuorasim

import (
	"encoding/json"
	"math/big"
	"strconv"
)

// Memo is a credit memo.
type Memo struct {
	ID        string      `json:"id"`
	Number    string      `json:"number"`
	AccountID string      `json:"account_id"`
	ChargeID  string      `json:"charge_id"`
	Amount    json.Number `json:"amount"`
	Status    string      `json:"status"`
	Comment   string      `json:"comment"`
	Text      string      `json:"text"`
}

// Memos returns a copy of all credit memos, oldest first.
func (s *Sim) Memos() []Memo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copied(s.memos)
}

func (m *Memo) wire() map[string]any {
	return map[string]any{
		"success": true, "id": m.ID, "number": m.Number, "accountId": m.AccountID, "status": m.Status, "amount": m.Amount, "unappliedAmount": m.Amount, "comment": m.Comment,
		"source": "AdhocFromPrpc", "sourceType": "Standalone",
	}
}

// since says whether the request's API version is this one or later. Dated versions follow the numbered ones.
func (c *call) since(n float64) bool {
	v, err := strconv.ParseFloat(c.version, 64)
	return c.version != "" && (err != nil || v >= n)
}

func creditMemos(s *Sim) {
	create := func(c *call) (any, error) {
		var in struct {
			AccountID, Comment string
			AutoPost           bool
			Charges            []map[string]any
		}
		if err := c.decode(&in); err != nil {
			return nil, err
		}
		a, err := c.sim.account(in.AccountID)
		if err != nil {
			return nil, err
		}
		charge, amount, text := "chargeId", "memoItemAmount", "comment"
		if c.since(224) {
			amount = "amount"
		}
		if c.since(257) {
			charge, text = "productRatePlanChargeId", "description"
		}
		if len(in.Charges) != 1 {
			return nil, refuse(400, noField, "A charge is needed.")
		}
		x := in.Charges[0]
		id, _ := x[charge].(string)
		value, ok := x[amount].(json.Number)
		if id == "" || !ok {
			return nil, refuse(400, noField, "%s and %s are needed in version %s.", charge, amount, c.version)
		}
		v, ok := new(big.Rat).SetString(value.String())
		if !ok || v.Sign() <= 0 || v.FloatString(2) != cents(value.String()) {
			return nil, refuse(400, badValue, "The amount has more decimals than the currency.")
		}
		m := &Memo{ID: newID(), Number: c.sim.number("CM"), AccountID: a.ID, ChargeID: id, Amount: json.Number(v.FloatString(2)), Status: "Draft", Comment: in.Comment}
		m.Text, _ = x[text].(string)
		if in.AutoPost {
			m.Status = "Posted"
		}
		c.sim.memos = append(c.sim.memos, m)
		return m.wire(), nil
	}
	list := func(c *call) (any, error) {
		var of []*Memo
		for _, m := range c.sim.memos {
			if m.AccountID == c.query.Get("accountId") {
				of = append(of, m)
			}
		}
		rows, next, err := paged(c, of)
		if err != nil {
			return nil, err
		}
		out := []any{}
		for _, m := range rows {
			out = append(out, m.wire())
		}
		return next.of(map[string]any{"creditmemos": out, "success": true}), nil
	}
	one := func(c *call) (any, error) {
		for _, m := range c.sim.memos {
			if m.ID == c.id || m.Number == c.id {
				return m.wire(), nil
			}
		}
		return nil, refuse(404, notThere, "Cannot find entity by key: '%s'.", c.id)
	}
	for _, path := range []string{"/v1/credit-memos", "/v1/creditmemos"} {
		s.handle("POST", path, create)
		s.handle("GET", path, list)
		s.handle("GET", path+"/{}", one)
	}
}

// cents writes a decimal with two places, if it has no more.
func cents(text string) string {
	v, ok := new(big.Rat).SetString(text)
	if !ok || !new(big.Rat).Mul(v, big.NewRat(100, 1)).IsInt() {
		return "no"
	}
	return v.FloatString(2)
}
