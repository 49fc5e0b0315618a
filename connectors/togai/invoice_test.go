package togai

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tieline/connectors/togai/togaisim"
)

func TestInvoiceLines(t *testing.T) {
	t.Parallel()
	line := func(typ, value string) togaisim.Line {
		return togaisim.Line{Description: typ, Type: typ, Value: togaisim.NewAmount(value)}
	}
	metered := line("USAGE_RATE_CARD_AMOUNT", "392.1")
	metered.LineItems = []togaisim.Line{line("USAGE_RATE_CARD_SLAB_AMOUNT", "300"), line("USAGE_RATE_CARD_SLAB_AMOUNT", "92.1")}
	for name, x := range map[string]struct {
		in   togaisim.NewInvoice
		want string
	}{
		"parts are not counted twice": {togaisim.NewInvoice{Lines: []togaisim.Line{metered, line("FIXED_FEE_RATE_CARD_AMOUNT", "589.84")}},
			"981.94 = 392.1 USAGE_RATE_CARD_AMOUNT + 589.84 FIXED_FEE_RATE_CARD_AMOUNT"},
		"tax and a discount that is not shown": {togaisim.NewInvoice{Lines: []togaisim.Line{line("FIXED_FEE_RATE_CARD_AMOUNT", "100.00"), line("TAX_AMOUNT", "8.10")}, Discount: togaisim.NewAmount("10.00")},
			"98.10 = 100.00 FIXED_FEE_RATE_CARD_AMOUNT + 8.10 TAX_AMOUNT + -10.00 ADJUSTMENT"},
		"negative and zero lines": {togaisim.NewInvoice{Lines: []togaisim.Line{line("MISCELLANEOUS_CHARGE", "-3.5"), line("CUSTOM_AMOUNT", "0"), line("TRUE_UP_AMOUNT", "10")}},
			"6.5 = -3.5 MISCELLANEOUS_CHARGE + 0 CUSTOM_AMOUNT + 10 TRUE_UP_AMOUNT"},
		"three decimals": {togaisim.NewInvoice{Lines: []togaisim.Line{line("CUSTOM_AMOUNT", "1.234"), line("CUSTOM_AMOUNT", "0.001")}}, "1.235 = 1.234 CUSTOM_AMOUNT + 0.001 CUSTOM_AMOUNT"},
		"none":           {togaisim.NewInvoice{}, "0 = "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, c := newWorld(t)
			x.in.AccountID = "acme"
			made, err := w.Invoice(x.in)
			if err != nil {
				t.Fatal(err)
			}
			inv, err := fetchInvoice(t.Context(), c, made.ID)
			if err != nil {
				t.Fatal(err)
			}
			p := inv.plain()
			var parts []string
			sum := number("0")
			for i, l := range p.Lines {
				parts, sum = append(parts, l.Amount+" "+l.Type), sum.plus(number(l.Amount))
				if l.Key != fmt.Sprint(i) {
					t.Errorf("line %d has the key %q", i, l.Key)
				}
			}
			if got := p.Total + " = " + strings.Join(parts, " + "); got != x.want {
				t.Errorf("%s, want %s", got, x.want)
			}
			if !sum.equal(number(p.Total)) {
				t.Errorf("the lines sum to %s of %s", sum, p.Total)
			}
			if p.Currency != "USD" || p.AccountID != "acme" || p.GroupID != "" || p.Number == "" || p.DueDate.Sub(p.InvoiceDate).Hours() != 14*24 {
				t.Errorf("%+v", p)
			}
			if !inv.TotalAmount.equal("0") && (p.Open != p.Total || p.Status != "DUE") || inv.TotalAmount.equal("0") && p.Status != "PAID" {
				t.Errorf("%s open, %s", p.Open, p.Status)
			}
		})
	}
}

// Credits lower the total whichever sign they are shown with, and a group's invoice is not an account's.
func TestInvoiceOfAGroup(t *testing.T) {
	t.Parallel()
	for _, credits := range []string{"5", "-5"} {
		var inv invoice
		err := json.Unmarshal([]byte(`{"id":"inv","ownerId":"grp","totalAmount":7.5,"paidAmount":0,"invoiceDetails":{"account":{"invoiceCurrency":"USD"},"invoiceGroup":{"id":"grp","invoiceCurrency":"EUR"}},
			"revenueInfo":{"type":"TOTAL_AMOUNT","value":7.5,"lineItems":[{"type":"SUB_CREDITS","value":`+credits+`},{"type":"CUSTOM_AMOUNT","value":12.50,"quantity":2,"valuePerQuantity":6.25}]}}`), &inv)
		if err != nil {
			t.Fatal(err)
		}
		p := inv.plain()
		if p.AccountID != "" || p.GroupID != "grp" || p.Currency != "EUR" || len(p.Lines) != 2 || p.Lines[0].Amount != "-5" || p.Lines[1].Quantity != "2" || p.Lines[1].UnitAmount != "6.25" {
			t.Errorf("%+v", p)
		}
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"0": "0", "49.00": "49.00", "8.8194e2": "881.94", "1E3": "1000", "-0.005": "-0.005", "null": "0", `"12.5"`: "12.5", "0.1": "0.1",
		"1e999999": "", "1e-999999": "", `"NaN"`: "", `"Infinity"`: "", "[]": "", "true": "", `""`: "", strings.Repeat("9", 100): "",
	} {
		var n number
		if err := json.Unmarshal([]byte(in), &n); (err != nil) != (want == "") || err == nil && n.text() != want {
			t.Errorf("%s: %q, %v", in, n, err)
		}
	}
	if got := number("0.1").plus("0.2"); got != "0.3" {
		t.Errorf("%s", got)
	}
	if raw, err := json.Marshal(map[string]number{"a": "49.00", "b": ""}); err != nil || string(raw) != `{"a":49.00,"b":0}` {
		t.Errorf("%s, %v", raw, err)
	}
	for _, text := range []string{"0", "-1", "x", ""} {
		if _, err := positive("amount", text); err == nil {
			t.Errorf("%q is above zero", text)
		}
	}
}
