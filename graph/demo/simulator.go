package demo

import (
	"context"
	"encoding/json"
	"errors"
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

// stripeState is what the demo looks at in Stripe.
type stripeState struct {
	Customer []struct{ Email string }
	Invoice  []struct {
		ID       string
		Total    int64
		Metadata map[string]string
	}
	PaymentLink []struct{ ID, URL string } `json:"payment_link"`
	Mail        []struct{ Invoice, To string }
}

func (s Stage) stripeState(ctx context.Context) (stripeState, error) {
	var state map[string]struct{ Test stripeState }
	err := s.Simulators.Stripe.state(ctx, &state)
	return state[s.Simulators.Stripe.Account].Test, err
}

// mails are the addresses that an invoice was mailed to.
func (s stripeState) mails(invoice string) (to []string) {
	for _, m := range s.Mail {
		if m.Invoice == invoice {
			to = append(to, m.To)
		}
	}
	return to
}

// togaiState is what the demo looks at in Togai.
type togaiState struct {
	Accounts  []struct{ PrimaryEmail string }
	Invoices  []struct{ OwnerID, Status string }
	Payments  []struct{ AccountID string }
	Schedules []struct{ AccountID, PricePlanID string }
}

func (s Stage) togaiState(ctx context.Context) (togaiState, error) {
	var state map[string]togaiState
	err := s.Simulators.Togai.state(ctx, &state)
	return state[s.Simulators.Togai.Account], err
}

// everywhere counts by app who has the person's e-mail address.
func (s Stage) everywhere(ctx context.Context, who person) (map[string]int, error) {
	n := map[string]int{"Stripe": 0, "Togai": 0, "Zuora": 0, "Zoho Books": 0}
	stripe, errStripe := s.stripeState(ctx)
	for _, c := range stripe.Customer {
		if c.Email == who.Email {
			n["Stripe"]++
		}
	}
	togai, errTogai := s.togaiState(ctx)
	for _, a := range togai.Accounts {
		if a.PrimaryEmail == who.Email {
			n["Togai"]++
		}
	}
	var zuora struct {
		Accounts []struct {
			BillTo struct{ WorkEmail string } `json:"bill_to"`
		}
	}
	errZuora := s.Simulators.Zuora.state(ctx, &zuora)
	for _, a := range zuora.Accounts {
		if a.BillTo.WorkEmail == who.Email {
			n["Zuora"]++
		}
	}
	books, errBooks := s.booksState(ctx)
	for _, c := range books.Contacts {
		if len(c.Persons) > 0 && c.Persons[0].Email == who.Email {
			n["Zoho Books"]++
		}
	}
	return n, errors.Join(errStripe, errTogai, errZuora, errBooks)
}

// booksState is what the demo looks at in Zoho Books.
type booksState struct {
	Contacts []struct {
		Persons []struct{ Email string } `json:"contact_persons"`
	}
	Invoices []struct {
		Number    string `json:"invoice_number"`
		Reference string `json:"reference_number"`
		Status    string
		Total     json.Number
	}
}

func (s Stage) booksState(ctx context.Context) (out booksState, err error) {
	return out, s.Simulators.ZohoBooks.state(ctx, &out)
}

// togaiBilling is the status of an account's invoice, and how many payments it has made.
func (s Stage) togaiBilling(ctx context.Context, account string) (status string, payments int, err error) {
	state, err := s.togaiState(ctx)
	for _, i := range state.Invoices {
		if i.OwnerID == account {
			status = i.Status
		}
	}
	for _, p := range state.Payments {
		if p.AccountID == account {
			payments++
		}
	}
	return status, payments, err
}
