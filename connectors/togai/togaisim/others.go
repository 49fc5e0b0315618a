package togaisim

import (
	"encoding/json"
	"maps"
	"net/http"
	"time"
)

// Other is a record that only Togai makes: a purchase, a proposal, an incident or a report. Its fields are the test's.
type Other struct {
	ID     string
	Kind   string // purchase, proposal, incident, report
	Fields map[string]any
	Made   time.Time
}

func (o *Other) id() string         { return o.ID }
func (o *Other) updated() time.Time { return o.Made }

// has takes a report for everybody's.
func (o *Other) has(filter, _ string) bool { return filter == "fetchFor" && o.Kind == "report" }

// MarshalJSON is the record as GET answers it.
func (o Other) MarshalJSON() ([]byte, error) { return json.Marshal(o.Fields) }

func (o *Other) body(without ...string) map[string]any {
	out := maps.Clone(o.Fields)
	for _, f := range without {
		delete(out, f)
	}
	return out
}

// told is the event of each kind.
var told = map[string]string{"purchase": "purchase.created", "proposal": "proposal.created", "incident": "incident.generated", "report": "report.generated"}

// Add makes a record of a kind, with an id, its times and a status where the fields have none, and tells the webhooks.
func (o *Organization) Add(kind string, fields map[string]any) Other {
	o.sim.mu.Lock()
	defer o.sim.mu.Unlock()
	c := &call{sim: o.sim, org: o, now: o.sim.Clock.Now().UTC()}
	status := map[string]string{"purchase": "SUCCESS", "proposal": "PROPOSAL_ACTIVE", "incident": "OPEN", "report": "COMPLETED"}[kind]
	made := &Other{ID: newID(kind), Kind: kind, Made: c.now, Fields: map[string]any{"status": status, "createdAt": c.now, "updatedAt": c.now}}
	maps.Copy(made.Fields, fields)
	made.Fields["id"] = made.ID
	o.others[made.ID] = made
	c.emit(told[kind], made.body())
	return *made
}

// Add makes one in the first organization.
func (s *Sim) Add(kind string, fields map[string]any) Other { return s.First().Add(kind, fields) }

func others(s *Sim) {
	for _, k := range []struct{ kind, list, of string }{{"incident", "/incidents", ""}, {"report", "/reports", ""}, {"purchase", "/accounts/{id}/purchases", "/purchases/{id}"}, {"proposal", "/accounts/{id}/purchase_proposals", "/purchase_proposals/{id}"}} {
		account := k.of != ""
		s.handle("GET", k.list, http.StatusOK, func(c *call) (any, error) {
			if account {
				if _, err := c.account(); err != nil {
					return nil, err
				}
			}
			if k.kind == "report" { // which alone are listed in pages
				return list(c, maps.Collect(func(yield func(string, *Other) bool) {
					for id, o := range c.org.others {
						if o.Kind == k.kind && !yield(id, o) {
							return
						}
					}
				}), "fetchFor")
			}
			rows := []map[string]any{}
			for _, o := range c.org.others {
				switch {
				case o.Kind != k.kind:
				case !account:
					rows = append(rows, o.body())
				case o.Fields["accountId"] == c.id:
					rows = append(rows, o.body("accountId")) // its list does not say whose they are
				}
			}
			return page[map[string]any]{Data: rows}, nil
		})
		of := k.of
		if k.kind == "incident" {
			of = "/incidents/{id}"
		}
		if of == "" {
			continue
		}
		s.handle("GET", of, http.StatusOK, func(c *call) (any, error) {
			o := c.org.others[c.id]
			if o == nil || o.Kind != k.kind {
				return nil, missing(k.kind, c.id)
			}
			return o.body(), nil
		})
	}
}
