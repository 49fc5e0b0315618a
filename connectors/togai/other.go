package togai

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"tieline/connectors"
)

// purchase is a purchase or a proposal of one.
type purchase struct {
	ID          string    `json:"id"`
	AccountID   string    `json:"accountId"`
	Type        string    `json:"type"`
	Status      string    `json:"status"`
	PricePlanID string    `json:"pricePlanId"`
	Quantity    int       `json:"quantity"`
	Price       number    `json:"price"`
	Currency    string    `json:"invoiceCurrency"`
	InvoiceID   string    `json:"invoiceId"`
	CreatedAt   time.Time `json:"createdAt"`
	// IdempotencyKey is the caller's.
	IdempotencyKey string `json:"idempotencyKey"`
}

// Purchase is one as triggers show it.
type Purchase struct {
	PurchaseID  string    `json:"purchase_id" doc:"Togai's id of the purchase or proposal." minLength:"1"`
	AccountID   string    `json:"account_id" doc:"The account that buys."`
	Type        string    `json:"type" doc:"ENTITLEMENT_GRANT, ASSOCIATION, WALLET_TOPUP or PREPAID."`
	Status      string    `json:"status" doc:"SUCCESS, FAILURE, PENDING, IN_PROGRESS, or one that begins with PROPOSAL_."`
	PricePlanID string    `json:"price_plan_id" doc:"The plan that is bought; empty for a wallet."`
	Quantity    int       `json:"quantity" doc:"How many; zero when Togai does not tell."`
	Price       string    `json:"price" format:"decimal" doc:"In major units; zero when Togai does not tell."`
	Currency    string    `json:"currency" doc:"ISO 4217; empty when Togai does not tell."`
	InvoiceID   string    `json:"invoice_id" doc:"The order by which it is paid; empty when there is none."`
	CreatedAt   time.Time `json:"created_at" doc:"When it was made."`
}

func (p purchase) plain() Purchase {
	return Purchase{p.ID, p.AccountID, p.Type, p.Status, p.PricePlanID, p.Quantity, p.Price.text(), p.Currency, p.InvoiceID, p.CreatedAt}
}

var samplePurchase = purchase{ID: "purchase.1zYnFJIWzUF.cUSf4", AccountID: "acme", Type: "PREPAID", Status: "PENDING", PricePlanID: samplePlan.ID, Quantity: 1, Price: "49.00", Currency: "USD"}

// purchaseTrigger is what purchases and proposals have in common.
func purchaseTrigger(entity, name, description, list, one string) connectors.Trigger {
	of := func(p purchase) connectors.Occurrence {
		o := connectors.Occurrence{
			Payload: p.plain(), Record: connectors.Subject{Entity: entity, ID: p.ID}, BusinessKey: p.ID,
			Cause: connectors.Cause{IdempotencyKey: p.IdempotencyKey, Creation: true},
		}
		if p.AccountID != "" {
			o.Parent = &connectors.Subject{Entity: "account", ID: p.AccountID}
		}
		return o
	}
	event := entity + ".created"
	walk := perAccount(event, func(account string) (string, url.Values) { return path("accounts", account, list)[1:], nil })
	return connectors.On(event, name, decodes(of), walk, samplePurchase.plain(), func(t *connectors.Trigger) {
		t.Description, t.Entity, t.Events = description, entity, []string{event}
		t.Read = rereads(func(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (purchase, error) {
			return fetch[purchase](ctx, c, entity, one, o.Record.ID)
		}, of)
		t.Every, t.Calm = 15*time.Minute, time.Hour // each look costs a call for each account
	}, connectors.ByHand(func(p Purchase) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: entity, ID: p.PurchaseID}, Thin: true}
	}))
}

func purchaseCreated() connectors.Trigger {
	return purchaseTrigger("purchase", "Purchase created", "An account bought something that is paid before it is granted.", "purchases", "purchases")
}

func proposalCreated() connectors.Trigger {
	return purchaseTrigger("proposal", "Proposal created", "An account was proposed a purchase.", "purchase_proposals", "purchase_proposals")
}

// incident is an alert that went off.
type incident struct {
	ID         string          `json:"id"`
	AlertID    string          `json:"alertId"`
	TemplateID string          `json:"alertTemplateId"`
	Status     string          `json:"status"`
	ReportData json.RawMessage `json:"reportData"`
	CreatedAt  time.Time       `json:"createdAt"`
}

// Incident is one as triggers show it.
type Incident struct {
	IncidentID string          `json:"incident_id" doc:"Togai's id of the incident." minLength:"1"`
	AlertID    string          `json:"alert_id" doc:"The alert that went off."`
	Template   string          `json:"template" doc:"The alert's kind, such as wallet_low_balance."`
	Status     string          `json:"status" doc:"As Togai says it."`
	Report     json.RawMessage `json:"report" doc:"What it is about, in Togai's words."`
	CreatedAt  time.Time       `json:"created_at" doc:"When it went off."`
}

func (x incident) plain() Incident {
	if len(x.ReportData) == 0 {
		x.ReportData = json.RawMessage("{}")
	}
	return Incident{x.ID, x.AlertID, x.TemplateID, x.Status, x.ReportData, x.CreatedAt}
}

func incidentGenerated() connectors.Trigger {
	of := func(x incident) connectors.Occurrence {
		return connectors.Occurrence{Payload: x.plain(), Record: connectors.Subject{Entity: "incident", ID: x.ID, Name: x.TemplateID}, BusinessKey: x.ID}
	}
	sample := incident{ID: "incident.1zYnFJIWzUF.cUSf4", AlertID: "alert.1zYnFJIWzUF.cUSf4", TemplateID: "wallet_low_balance", Status: "OPEN"}
	l := listing{event: "incident.generated", list: "incidents"} // in no documented order, and no size can be asked for
	return connectors.On("incident.generated", "Incident generated", decodes(of), l.walk, sample.plain(), func(t *connectors.Trigger) {
		t.Description, t.Entity, t.Events = "An alert went off, such as a wallet's low balance.", "incident", []string{"incident.generated"}
		t.Read = rereads(func(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (incident, error) {
			return fetch[incident](ctx, c, "incident", "incidents", o.Record.ID)
		}, of)
		t.Every, t.Calm = 5*time.Minute, 30*time.Minute
	}, connectors.ByHand(func(x Incident) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: "incident", ID: x.IncidentID}, Thin: true}
	}))
}

// report is a report that was asked for.
type report struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	AccountID string    `json:"account_id"`
	Status    string    `json:"status"`
	FileID    string    `json:"fileId"`
	CreatedAt time.Time `json:"createdAt"`
}

// Report is one as triggers show it.
type Report struct {
	ReportID  string    `json:"report_id" doc:"Togai's id of the report." minLength:"1"`
	Name      string    `json:"name" doc:"Its name."`
	AccountID string    `json:"account_id" doc:"The account it is about; empty when it is about all."`
	Status    string    `json:"status" doc:"COMPLETED once it can be downloaded."`
	FileID    string    `json:"file_id" doc:"Togai's id of the file; empty when there is none."`
	CreatedAt time.Time `json:"created_at" doc:"When it was asked for."`
}

func (x report) plain() Report {
	return Report{x.ID, x.Name, x.AccountID, x.Status, x.FileID, x.CreatedAt}
}

func reportGenerated() connectors.Trigger {
	of := func(x report) connectors.Occurrence {
		return connectors.Occurrence{Payload: x.plain(), Record: connectors.Subject{Entity: "report", ID: x.ID, Name: x.Name}, BusinessKey: x.ID}
	}
	sample := report{ID: "report.1zYnFJIWzUF.cUSf4", Name: "Revenue", Status: "COMPLETED", FileID: "file.1zYnFJIWzUF.cUSf4"}
	everyones := url.Values{"fetchFor": {"ALL"}}
	l := listing{event: "report.generated", list: "reports", size: pageSize, filters: everyones, keep: func(raw json.RawMessage) bool {
		var x report
		return json.Unmarshal(raw, &x) == nil && x.Status == "COMPLETED"
	}}
	return connectors.On("report.generated", "Report generated", decodes(of), l.walk, sample.plain(), func(t *connectors.Trigger) {
		t.Description, t.Entity, t.Events = "A report is ready.", "report", []string{"report.generated"}
		t.Read = rereads(func(ctx context.Context, c connectors.Conn, o connectors.Occurrence) (report, error) {
			for x, err := range all[report](ctx, c, "reports", pageSize, everyones) { // one alone cannot be read
				if err != nil || x.ID == o.Record.ID {
					return x, err
				}
			}
			return report{}, connectors.Errorf(connectors.NotFound, "report %s is not there any more", o.Record.ID)
		}, of)
		t.Every, t.Calm = 5*time.Minute, 30*time.Minute
	}, connectors.ByHand(func(x Report) connectors.Occurrence {
		return connectors.Occurrence{Record: connectors.Subject{Entity: "report", ID: x.ReportID, Name: x.Name}, Thin: true}
	}))
}
