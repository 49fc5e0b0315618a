package togaisim

import (
	"net/http"
	"time"
)

// UsageMeter as GET answers it.
type UsageMeter struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	DisplayName string    `json:"displayName"`
	Type        string    `json:"type"`
	Aggregation string    `json:"aggregation"`
	Status      string    `json:"status"`
	CreatedAt   time.Time `json:"createdAt"`
	UpdatedAt   time.Time `json:"updatedAt"`
}

func (o *UsageMeter) id() string         { return o.ID }
func (o *UsageMeter) updated() time.Time { return o.UpdatedAt }
func (o *UsageMeter) has(filter, value string) bool {
	return map[string]string{"status": o.Status, "aggregations": o.Aggregation}[filter] == value
}

// UsageMeter makes an active one, as a person in Togai's console.
func (o *Organization) UsageMeter(name string) UsageMeter {
	o.sim.mu.Lock()
	defer o.sim.mu.Unlock()
	now := o.sim.Clock.Now().UTC()
	m := &UsageMeter{newID("um"), name, name, "COUNTER", "SUM", "ACTIVE", now, now}
	o.meters[m.ID] = m
	return *m
}

// UsageMeter makes one in the first organization.
func (s *Sim) UsageMeter(name string) UsageMeter { return s.First().UsageMeter(name) }

func usageMeters(s *Sim) {
	s.handle("GET", "/usage_meters", http.StatusOK, func(c *call) (any, error) {
		return list(c, c.org.meters, "status", "aggregations", "aggregations status")
	})
}
