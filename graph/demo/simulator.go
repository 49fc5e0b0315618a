package demo

import (
	"context"
	"net/http"
)

// call acts as a person at the vendor, through the simulator's control API.
func (s Simulator) call(ctx context.Context, path string, in, out any) error {
	return post(ctx, s.URL+"/_sim/"+path, nil, in, out)
}

// state is all that the vendor holds, by account.
func (s Simulator) state(ctx context.Context, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/_sim/state", nil)
	if err != nil {
		return err
	}
	return send(req, out)
}

// person is somebody whom the demo makes up.
type person struct{ Name, Email string }

// stripeCustomers counts those with the person's e-mail address.
func (s Stage) stripeCustomers(ctx context.Context, who person) (n int, err error) {
	var state map[string]struct {
		Test struct {
			Customer []struct{ Email string }
		}
	}
	err = s.Simulators.Stripe.state(ctx, &state)
	for _, c := range state[s.Simulators.Stripe.Account].Test.Customer {
		if c.Email == who.Email {
			n++
		}
	}
	return n, err
}

// togaiAccounts counts those with the person's e-mail address.
func (s Stage) togaiAccounts(ctx context.Context, who person) (n int, err error) {
	var state map[string]struct {
		Accounts []struct{ PrimaryEmail string }
	}
	err = s.Simulators.Togai.state(ctx, &state)
	for _, a := range state[s.Simulators.Togai.Account].Accounts {
		if a.PrimaryEmail == who.Email {
			n++
		}
	}
	return n, err
}
