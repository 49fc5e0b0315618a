// Package demo is what dev tells: apps are connected, and a customer walks through them before one's eyes. It is a
// client like any other: it speaks GraphQL, and with the simulators as a person at the vendor would.
package demo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// patience is for each wait of the walk; what it waits for takes milliseconds.
const patience = 30 * time.Second

// Stage is where the demo plays. As JSON it is what scripts need to know of it.
type Stage struct {
	GraphQL       string `json:"graphql"`
	Subscriptions string `json:"subscriptions"`
	GraphiQL      string `json:"graphiql"`
	Token         string `json:"token"`
	Organization  string `json:"organization"`
	Simulators    struct {
		Stripe Simulator `json:"stripe"`
		Togai  Simulator `json:"togai"`
		Zuora  Simulator `json:"zuora"`

		ZohoBooks Simulator `json:"zohobooks"`
	} `json:"simulators"`
}

// Simulator is a stand-in for a vendor.
type Simulator struct {
	URL     string `json:"url"`
	Key     string `json:"key"`
	Client  string `json:"client,omitempty"` // whose secret the key is
	Account string `json:"-"`
}

// Tell connects the apps, links their flows, walks a customer through all of them each way, and then goes through what is sold
// and billed, and what comes from Zuora. Its error says what did not come as it should.
func Tell(ctx context.Context, out *Paper, stage Stage) error {
	api := client{stage.GraphQL, stage.Token}
	var conns map[string]connection
	if err := out.Step("Connections", func() (note string, err error) {
		conns, err = connect(ctx, api, stage)
		return "Stripe, Togai, Zuora and Zoho Books, test data", err
	}); err != nil {
		return err
	}
	if err := out.Step("Flows", func() (string, error) {
		return fmt.Sprintf("%d, all of the Stripe guide among them", len(flows)), link(ctx, api, conns)
	}); err != nil {
		return err
	}
	feed, err := api.follow(ctx, stage.Subscriptions)
	if err != nil {
		return fmt.Errorf("following the runs: %w", err)
	}
	defer feed.close()
	w := walk{out: out, api: api, feed: feed, stage: stage}
	if err := errors.Join(w.customerIn(ctx), w.accountOut(ctx)); err != nil {
		return err
	}
	if err := w.guide(ctx); err != nil {
		return err
	}
	return w.zuora(ctx)
}

// Invite says where to go on. file is where the stage was written to.
func Invite(out *Paper, stage Stage, file string) {
	out.Title("It stays up", "Ctrl-C ends it")
	out.Field("GraphiQL", stage.GraphiQL+"#token="+stage.Token)
	out.Field("GraphQL", stage.GraphQL)
	out.Field("Live", stage.Subscriptions)
	out.Field("Header", `{"Authorization": "Bearer `+stage.Token+`"}`)
	out.Field("Stripe", stage.Simulators.Stripe.URL+"/_sim/state")
	out.Field("Togai", stage.Simulators.Togai.URL+"/_sim/state")
	out.Field("Zuora", stage.Simulators.Zuora.URL+"/_sim/state")
	out.Field("Zoho Books", stage.Simulators.ZohoBooks.URL+"/_sim/state")
	out.Field("For scripts", file)
	out.Line("")
}
