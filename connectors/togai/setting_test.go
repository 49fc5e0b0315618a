package togai

import (
	"net/http"
	"sync"
	"testing"

	"tieline/connectors"
	"tieline/connectors/conntest"
	"tieline/connectors/sim"
)

// TestSettingWrittenByTwoAtOnce: both see that there is none, and Togai refuses the second.
func TestSettingWrittenByTwoAtOnce(t *testing.T) {
	t.Parallel()
	for name, values := range map[string][2]string{"the same": {"cus_1", "cus_1"}, "another": {"cus_1", "cus_2"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c, _ := opened(t)
			post(t, c, "/customers", `{"id":"acme","name":"Acme","primaryEmail":"a@b.test","address":{}}`)
			at := GetSettingInput{"customer", "acme", "stripe_customer_id"}
			both := meeting(2)
			s.OnRequest(func(stage, method, path string) {
				if stage == sim.Arrived && method == http.MethodPost && path == "/settings" {
					both()
				}
			})
			var outs [2]SetSettingOutput
			var errs [2]error
			var journals [2]*conntest.Journal
			var writers sync.WaitGroup
			for i, v := range values {
				c, j := connect(t, s)
				journals[i] = j
				writers.Go(func() { outs[i], errs[i] = runSetSetting(t.Context(), c, SetSettingInput{at, v}) })
			}
			writers.Wait()
			last, adopted := values[0], 0
			for i, v := range values {
				if errs[i] != nil || outs[i].Value != v {
					t.Errorf("%s: %+v, %v", v, outs[i], errs[i])
				}
				for _, e := range journals[i].Effects() {
					if e.Ref.Adopted {
						adopted++
					}
					if e.Request.Method == http.MethodPatch {
						last = v
					}
				}
			}
			got, there, err := at.fetch(t.Context(), c)
			if err != nil || !there || got.Value != last {
				t.Errorf("left is %q (%v), want %q", got.Value, err, last)
			}
			want := map[string]int{"the same": 0, "another": 1}[name]
			if n := s.Count("PATCH", ""); n != want || adopted != 1-want {
				t.Errorf("%d PATCHes, %d adopted", n, adopted)
			}
		})
	}
}

// TestSettingRefused: a refusal that is not about a setting in its place is told as it is, and nothing is repeated.
func TestSettingRefused(t *testing.T) {
	t.Parallel()
	s, c, _ := opened(t)
	post(t, c, "/customers", `{"id":"acme","name":"Acme","primaryEmail":"a@b.test","address":{}}`)
	s.Fault(sim.Fault{Method: http.MethodPost, Path: "/settings", Point: sim.Before, Status: http.StatusBadRequest, Count: -1})
	_, err := runSetSetting(t.Context(), c, SetSettingInput{GetSettingInput{"customer", "acme", "stripe_customer_id"}, "cus_1"})
	if n := s.Count("POST", "/settings"); connectors.KindOf(err) != connectors.Invalid || n != 1 {
		t.Errorf("%v after %d calls", err, n)
	}
}

// meeting lets n callers go on once all are there; later ones pass.
func meeting(n int) func() {
	var mu sync.Mutex
	open := make(chan struct{})
	return func() {
		mu.Lock()
		if n--; n == 0 {
			close(open)
		}
		mu.Unlock()
		<-open
	}
}

func TestSettingOfAnInvoice(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t)
	in := SetSettingInput{GetSettingInput{"invoice", w.invoice, "stripe_invoice_id"}, "in_1"}
	if out, err := runSetSetting(t.Context(), c, in); err != nil || out.SettingID != "setting.USER.StripeInvoiceId.INVOICE."+w.invoice {
		t.Errorf("%+v, %v", out, err)
	}
	if got, there, err := in.fetch(t.Context(), c); err != nil || !there || got.Value != "in_1" {
		t.Errorf("%+v, %v", got, err)
	}
	in.EntityID = "inv.gone"
	if _, err := runSetSetting(t.Context(), c, in); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("of none: %v", err)
	}
}
