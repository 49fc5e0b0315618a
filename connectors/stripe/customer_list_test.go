package stripe

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tieline/connectors"
)

func TestListCustomers(t *testing.T) {
	t.Parallel()
	s, a, c, _ := opened(t)
	var ids []string
	for i := range 25 {
		if i == 20 {
			s.Clock.Advance(time.Hour)
		}
		ids = append(ids, makes(t, a, map[string]any{"name": fmt.Sprint("n", i), "email": fmt.Sprint(i%5, "@acme.test"), "metadata": map[string]any{"i": fmt.Sprint(i)}}))
	}
	slices.Reverse(ids)
	cut := time.Now().Add(30 * time.Minute)
	for name, x := range map[string]struct {
		in       ListCustomersInput
		want     []string
		complete bool
		calls    int
	}{
		"all":         {ListCustomersInput{}, ids, true, 1},
		"small pages": {ListCustomersInput{PageSize: 10}, ids, true, 3},
		"some":        {ListCustomersInput{PageSize: 4, Max: 6}, ids[:6], false, 2},
		"as many":     {ListCustomersInput{Max: 25}, ids, true, 1},
		"go on":       {ListCustomersInput{StartingAfter: ids[19], Max: 10}, ids[20:], true, 1},
		"by e-mail":   {ListCustomersInput{Email: "0@acme.test"}, []string{ids[4], ids[9], ids[14], ids[19], ids[24]}, true, 1},
		"other case":  {ListCustomersInput{Email: "0@Acme.test"}, nil, true, 1},
		"made after":  {ListCustomersInput{CreatedAfter: &cut}, ids[:5], true, 1},
		"made before": {ListCustomersInput{CreatedBefore: &cut}, ids[5:], true, 1},
	} {
		before := s.Count("GET", "/v1/customers")
		out, err := runListCustomers(t.Context(), c, x.in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		for _, cus := range out.Customers {
			got = append(got, cus.CustomerID)
		}
		last := ""
		if len(x.want) > 0 {
			last = x.want[len(x.want)-1]
		}
		if !slices.Equal(got, x.want) || out.Count != len(got) || out.Complete != x.complete || out.LastID != last || s.Count("GET", "/v1/customers")-before != x.calls {
			t.Errorf("%s: %+v", name, out)
		}
	}
	out, _ := runListCustomers(t.Context(), c, ListCustomersInput{Max: 1})
	if one := out.Customers[0]; one.Name != "n24" || one.Email != "4@acme.test" || one.Metadata["i"] != "24" || one.Created.Before(sampleTime) {
		t.Errorf("%+v", one)
	}
	if _, err := runListCustomers(t.Context(), c, ListCustomersInput{StartingAfter: "cus_none"}); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("a cursor that is gone: %v", err)
	}
}
