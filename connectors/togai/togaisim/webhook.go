package togaisim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"tieline/connectors/sim"
)

// All that this file says about Togai's webhook is our stand-in: the vendor documents neither body nor signature.

// SignatureHeader is t=<unix>,v1=<hex>, where v1 is the HMAC-SHA256 of "<unix>.<body>" under the target's secret.
const SignatureHeader = "X-Togai-Signature"

// EventTypes are those a target can be told.
var EventTypes = []string{
	"account.created", "price_plan.created", "price_plan.attached", "proposal.created", "purchase.created", "invoice.generated", "invoice.updated",
	"order.generated", "credit.granted", "pricing_cycle.started", "pricing_cycle.ended", "incident.generated", "report.generated",
}

// Event is the body of a webhook; Data is the record as GET answers it.
type Event struct {
	ID             string    `json:"id"`
	Type           string    `json:"type"`
	CreatedAt      time.Time `json:"createdAt"`
	OrganizationID string    `json:"organizationId"`
	Data           any       `json:"data"`
}

// Target is a URL that a person entered in Togai's console.
type Target struct {
	URL    string   `json:"url"`
	Secret string   `json:"secret"`
	Types  []string `json:"types"` // empty: all
}

// Target adds one; without types it is told everything.
func (o *Organization) Target(url, secret string, types ...string) {
	o.sim.mu.Lock()
	defer o.sim.mu.Unlock()
	o.targets = append(o.targets, Target{url, secret, types})
}

// Target adds one to the first organization.
func (s *Sim) Target(url, secret string, types ...string) { s.First().Target(url, secret, types...) }

func (c *call) emit(typ string, data any) {
	id := newID("event")
	body, err := json.Marshal(Event{id, typ, c.now, c.org.ID, data})
	if err != nil {
		panic(err) // our own values
	}
	for _, t := range c.org.targets {
		if len(t.Types) > 0 && !slices.Contains(t.Types, typ) {
			continue
		}
		c.sim.Send(sim.Message{
			Event: id, Type: typ, URL: t.URL, Body: body, Header: http.Header{"Content-Type": {"application/json"}},
			Sign: func(at time.Time, body []byte) http.Header { return sign(t.Secret, at, body) },
		})
	}
}

func sign(secret string, at time.Time, body []byte) http.Header {
	t := strconv.FormatInt(at.Unix(), 10)
	h := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(h, "%s.%s", t, body)
	return http.Header{SignatureHeader: {"t=" + t + ",v1=" + hex.EncodeToString(h.Sum(nil))}}
}
