package togaisim

import (
	"cmp"
	"net/http"
	"time"
)

// AddOn as GET answers it.
type AddOn struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Type         string    `json:"type"`
	BillableName string    `json:"billableName,omitempty"`
	DisplayName  string    `json:"displayName"`
	Status       string    `json:"status"`
	CreatedAt    time.Time `json:"createdAt"`
}

func (o *AddOn) id() string                    { return o.ID }
func (o *AddOn) updated() time.Time            { return o.CreatedAt }
func (o *AddOn) has(filter, value string) bool { return filter == "status" && o.Status == value }

// AddOns returns a copy of all add-ons, by id.
func (o *Organization) AddOns() []AddOn {
	return snapshot(o, func() map[string]*AddOn { return o.addOns })
}

// AddOns returns the first organization's add-ons.
func (s *Sim) AddOns() []AddOn { return s.First().AddOns() }

// addOns lets a name be used twice: that Togai refuses it is not documented.
func addOns(s *Sim) {
	s.handle("POST", "/addons", http.StatusOK, func(c *call) (any, error) {
		var in struct {
			Name         string `json:"name"`
			Type         string `json:"type"`
			BillableName string `json:"billableName"`
		}
		if err := c.decode(&in); err != nil {
			return nil, err
		}
		if err := first(length("name", in.Name, 1, 255), among("type", in.Type, "LICENSE", "FIXED_FEE", "CREDIT_GRANT", "NAMED_LICENSE"), length("billableName", in.BillableName, 0, 255)); err != nil {
			return nil, err
		}
		o := &AddOn{newID("addon"), in.Name, in.Type, in.BillableName, cmp.Or(in.BillableName, in.Name), "ACTIVE", c.now}
		c.org.addOns[o.ID] = o
		return o, nil
	})
	s.handle("GET", "/addons", http.StatusOK, func(c *call) (any, error) { return list(c, c.org.addOns, "status") })
}
