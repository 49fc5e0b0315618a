package togai

import (
	"context"
	"time"

	"tieline/connectors"
)

// That a pricing cycle is what a STANDARD invoice bills is read off its life: Togai keeps one as a DRAFT for the length of
// the account's cycle. No call lists cycles, so this is how they are found; a webhook may say it otherwise.

// PricingCycle is one of an account's, as triggers show it.
type PricingCycle struct {
	AccountID   string    `json:"account_id" doc:"The account."`
	CustomerID  string    `json:"customer_id" doc:"The account's customer."`
	PricePlanID string    `json:"price_plan_id" doc:"The plan it has."`
	InvoiceID   string    `json:"invoice_id" doc:"The invoice that bills the cycle." minLength:"1"`
	Start       time.Time `json:"start" doc:"The cycle's beginning."`
	End         time.Time `json:"end" doc:"The cycle's end."`
}

func (inv invoice) cycle() PricingCycle {
	return PricingCycle{inv.OwnerID, inv.CustomerID, inv.PricePlanID, inv.ID, inv.StartDate, inv.EndDate}
}

func (inv invoice) isCycle() bool { return inv.Class == "INVOICE" && inv.Type == "STANDARD" }

func cycleTrigger(event, name, description string, statuses []string, keep func(invoice) bool) connectors.Trigger {
	of := func(inv invoice) connectors.Occurrence {
		o := connectors.Occurrence{Payload: inv.cycle(), Record: connectors.Subject{Entity: "invoice", ID: inv.ID}, BusinessKey: inv.ID}
		if inv.OwnerID != "" {
			o.Parent = &connectors.Subject{Entity: "account", ID: inv.OwnerID}
		}
		return o
	}
	return connectors.On(event, name, decodes(of), abreast(event, statuses, keep), sampleInvoice.cycle(), func(t *connectors.Trigger) {
		t.Description, t.Entity, t.Events = description, "invoice", []string{event}
		t.Read = rereads(func(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (invoice, error) {
			return fetchInvoice(ctx, c, o.Record.ID)
		}, of)
		t.Every, t.Calm = 15*time.Minute, 30*time.Minute
	}, connectors.ByHand(func(p PricingCycle) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: "invoice", ID: p.InvoiceID}, Thin: true}
	}))
}

func cycleStarted() connectors.Trigger {
	return cycleTrigger("pricing_cycle.started", "Pricing cycle started", "An account's pricing cycle began: its next invoice is being drafted.", []string{"DRAFT"}, invoice.isCycle)
}

func cycleEnded() connectors.Trigger {
	return cycleTrigger("pricing_cycle.ended", "Pricing cycle ended", "An account's pricing cycle ended. Its invoice may be a draft still, while usage may come in late.",
		[]string{"DRAFT", "DUE", "PARTIALLY_PAID", "PAID"}, func(inv invoice) bool { return inv.isCycle() && !inv.EndDate.After(time.Now()) })
}
