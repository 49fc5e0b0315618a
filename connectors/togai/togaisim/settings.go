package togaisim

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EntitySetting is a setting inside of the customer or account that carries it.
type EntitySetting struct {
	ID        string `json:"id"`
	Value     string `json:"value"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	DataType  string `json:"dataType"`
}

// Setting as GET answers it.
type Setting struct {
	EntitySetting
	EntityType string `json:"entityType"`
	EntityID   string `json:"entityId"`

	UpdatedAt time.Time `json:"-"`
}

// Key is the id in a path: setting.USER.StripeCustomerId.ACCOUNT.acme.
func (s *Setting) Key() string {
	return strings.Join([]string{"setting", s.Namespace, s.ID, s.EntityType, s.EntityID}, ".")
}

func (s *Setting) id() string         { return s.Key() }
func (s *Setting) updated() time.Time { return s.UpdatedAt }
func (s *Setting) has(filter, value string) bool {
	return map[string]string{"entity_type": s.EntityType, "entity_id": s.EntityID, "setting_id": s.ID, "namespace": s.Namespace}[filter] == value
}

func settings(s *Sim) {
	s.handle("POST", "/settings", http.StatusCreated, (*call).createSetting)
	s.handle("GET", "/settings", http.StatusOK, func(c *call) (any, error) {
		names := filters(c.query) // any combination of these
		for _, n := range names {
			if err := among("filter", n, "entity_id", "entity_type", "namespace", "setting_id"); err != nil {
				return nil, err
			}
		}
		return list(c, c.org.settings, strings.Join(names, " "))
	})
	s.handle("GET", "/settings/{id}", http.StatusOK, func(c *call) (any, error) { return c.setting() })
	s.handle("PATCH", "/settings/{id}", http.StatusCreated, (*call).updateSetting) // 201, so the vendor's spec says
}

func (c *call) setting() (*Setting, error) {
	o, ok := c.org.settings[c.id]
	if !ok {
		return nil, missing("Setting", c.id)
	}
	return o, nil
}

func (c *call) createSetting() (any, error) {
	o := &Setting{UpdatedAt: c.now}
	if err := c.decode(o); err != nil {
		return nil, err
	}
	err := first(length("entityType", o.EntityType, 1, 255), length("entityId", o.EntityID, 1, 255), checkSettings([]EntitySetting{o.EntitySetting}), c.carries(o))
	if err != nil {
		return nil, err
	}
	if c.org.settings[o.Key()] != nil {
		return nil, bad("Setting %s already exists", o.Key())
	}
	c.org.settings[o.Key()] = o
	c.show(o)
	return o, nil
}

// carries checks the kinds of entity that live here; of the others any id is taken.
func (c *call) carries(o *Setting) error {
	_, customer := c.org.customers[o.EntityID]
	_, account := c.org.accounts[o.EntityID]
	_, invoice := c.org.invoices[o.EntityID]
	_, plan := c.org.plans[o.EntityID]
	if o.EntityType == "INVOICE" && !invoice || o.EntityType == "PRICE_PLAN" && !plan || o.EntityType == "CUSTOMER" && !customer || o.EntityType == "ACCOUNT" && !account {
		return bad("%s %s does not exist", o.EntityType, o.EntityID)
	}
	return nil
}

func (c *call) updateSetting() (any, error) {
	o, err := c.setting()
	if err != nil {
		return nil, err
	}
	var in struct {
		Name     *string `json:"name"`
		Value    *string `json:"value"`
		DataType *string `json:"dataType"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	changed := *o
	put(&changed.Name, in.Name)
	put(&changed.Value, in.Value)
	put(&changed.DataType, in.DataType)
	if err := checkSettings([]EntitySetting{changed.EntitySetting}); err != nil {
		return nil, err
	}
	*o, o.UpdatedAt = changed, c.now
	c.show(o)
	return o, nil
}

// show keeps an account's own copy of its settings, which its reads answer.
func (c *call) show(o *Setting) {
	a := c.org.accounts[o.EntityID]
	if o.EntityType != "ACCOUNT" || a == nil {
		return
	}
	a.Settings = slices.DeleteFunc(slices.Clone(a.Settings), func(s EntitySetting) bool { return s.Namespace == o.Namespace && s.ID == o.ID })
	a.Settings = append(a.Settings, o.EntitySetting)
}

func (c *call) addSettings(entityType, entityID string, in []EntitySetting) {
	for _, s := range in {
		o := &Setting{s, entityType, entityID, c.now}
		c.org.settings[o.Key()] = o
	}
}

func checkSettings(in []EntitySetting) error {
	if len(in) > 10 {
		return bad("settings must have at most 10 items")
	}
	for i, s := range in {
		at := "settings[" + strconv.Itoa(i) + "]."
		err := first(length(at+"id", s.ID, 1, 255), length(at+"value", s.Value, 1, 10_000), length(at+"namespace", s.Namespace, 1, 255),
			length(at+"name", s.Name, 1, 255), among(at+"dataType", s.DataType, "STRING", "NUMERIC", "JSON", "JSON_LOGIC"))
		if err != nil {
			return err
		}
	}
	return nil
}
