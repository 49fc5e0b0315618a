package zuorasim

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"tieline/connectors/sim"
)

// EventTrigger is a custom event: when records of a kind are made.
type EventTrigger struct {
	ID        string `json:"id"`
	Active    bool   `json:"active"`
	Object    string `json:"baseObject"`
	Condition string `json:"condition"`
	Type      struct {
		Name        string `json:"name"`
		DisplayName string `json:"displayName"`
		Description string `json:"description"`
	} `json:"eventType"`
}

// Notification is what is told of an event, by a callout.
type Notification struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Event  string   `json:"eventTypeName"`
	Active bool     `json:"active"`
	Call   *Callout `json:"callout"`
}

// Callout is a call to a customer's URL. Exactly one of its ways to prove itself is used, if any.
type Callout struct {
	Name   string            `json:"name"`
	URL    string            `json:"calloutBaseurl"`
	Active bool              `json:"active"`
	Params map[string]string `json:"calloutParams"`
	Basic  bool              `json:"requiredAuth"`
	Auth   struct {
		Username   string `json:"username"`
		Password   string `json:"password,omitempty"`
		Preemptive bool   `json:"preemptive"`
	} `json:"calloutAuth"`

	Body       string            `json:"-"` // a custom body, with {{Account.Id}}
	Header     map[string]string `json:"-"`
	HMACHeader string            `json:"-"` // of a SHA-256 over the body
	HMACKey    string            `json:"-"`
	Base64     bool              `json:"-"`
	OAuth      *Provider         `json:"-"` // where it gets an access token
}

// Notify makes an event and a notification by hand, as a person does. kind is Account or Subscription.
func (s *Sim) Notify(kind string, c Callout) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &EventTrigger{ID: newID(), Active: true, Object: kind, Condition: "changeType == 'INSERT'"}
	if kind == "Subscription" {
		e.Condition += " && Subscription.Version == 1"
	}
	e.Type.Name = "ByHand" + newID()
	c.Active = true
	s.events = append(s.events, e)
	s.notes = append(s.notes, &Notification{newID(), "By hand", e.Type.Name, true, &c})
}

// RemoveEvents removes all custom events, as a person may.
func (s *Sim) RemoveEvents() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = nil
}

// Notifications returns a copy of all notifications.
func (s *Sim) Notifications() []Notification {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copied(s.notes)
}

var mergeField = regexp.MustCompile(`\{\{([\w.]+)\}\}`)

var eventName = regexp.MustCompile(`^[A-Za-z][\w-]*$`)

func notifications(s *Sim) {
	s.handle("GET", "/events/event-triggers", func(c *call) (any, error) { return window(c, c.sim.events) })
	s.handle("POST", "/events/event-triggers", func(c *call) (any, error) {
		e := &EventTrigger{ID: newID()}
		if err := c.decode(e); err != nil {
			return nil, err
		}
		twice := slices.ContainsFunc(c.sim.events, func(x *EventTrigger) bool { return x.Type.Name == e.Type.Name })
		if !eventName.MatchString(e.Type.Name) || e.Object == "" || e.Condition == "" || twice {
			return nil, refuse(400, badValue, "The event's name is used already or cannot be one.")
		}
		c.sim.events = append(c.sim.events, e)
		return e, nil
	})
	const definitions = "/notifications/notification-definitions"
	s.handle("GET", definitions, func(c *call) (any, error) { return window(c, c.sim.notes) })
	s.handle("POST", definitions, func(c *call) (any, error) {
		n := &Notification{ID: newID()}
		if err := c.decode(n); err != nil {
			return nil, err
		}
		if n.Name == "" || n.Call == nil || n.Call.Basic && n.Call.Auth.Password == "" || !slices.ContainsFunc(c.sim.events, func(e *EventTrigger) bool { return e.Type.Name == n.Event }) {
			return nil, refuse(400, badValue, "A required field is missing, or there is no such event.")
		}
		c.sim.notes = append(c.sim.notes, n)
		return n.shown(), nil
	})
	s.handle("GET", definitions+"/{}", func(c *call) (any, error) {
		for _, n := range c.sim.notes {
			if n.ID == c.id {
				return n.shown(), nil
			}
		}
		return nil, &Error{Status: 404, Code: "404", Message: "There is no such notification."}
	})
	s.handle("DELETE", definitions+"/{}", func(c *call) (any, error) {
		before := len(c.sim.notes)
		c.sim.notes = slices.DeleteFunc(c.sim.notes, func(n *Notification) bool { return n.ID == c.id })
		if len(c.sim.notes) == before {
			return nil, &Error{Status: 404, Code: "404", Message: "There is no such notification."}
		}
		return nil, nil
	})
}

// shown is without the password.
func (n *Notification) shown() Notification {
	out := *n
	call := *n.Call
	call.Auth.Password = ""
	out.Call = &call
	return out
}

// window is a list by start and limit.
func window[T any](c *call, rows []*T) (any, error) {
	start, _ := strconv.Atoi(c.query.Get("start"))
	limit, _ := strconv.Atoi(c.query.Get("limit"))
	if limit <= 0 {
		limit = 10
	}
	from := min(max(start, 0), len(rows))
	to := min(from+limit, len(rows))
	out := map[string]any{"data": append([]*T{}, rows[from:to]...)}
	if to < len(rows) {
		out["next"] = fmt.Sprintf("?start=%d&limit=%d", to, limit)
	}
	return out, nil
}

// tell calls out for a record that was made. more are the fields of its account. s.mu is held.
func (s *Sim) tell(kind string, fields, more map[string]any) {
	for _, n := range s.notes {
		i := slices.IndexFunc(s.events, func(e *EventTrigger) bool { return e.Type.Name == n.Event })
		if i < 0 || !n.Active || n.Call == nil || !n.Call.Active {
			continue
		}
		e := s.events[i]
		if !e.Active || e.Object != kind || kind == "Subscription" && strings.Contains(e.Condition, "Version == 1") && fields["Version"] != 1 {
			continue
		}
		s.send(*n.Call, kind, fields, more)
	}
}

func (s *Sim) send(c Callout, kind string, fields, more map[string]any) {
	value := func(field string) string {
		object, name, _ := strings.Cut(field, ".")
		of := fields
		if object != kind {
			of = more
		}
		if t, ok := of[name].(time.Time); ok {
			return t.Format("2006-01-02T15:04:05.000-07:00")
		}
		if of[name] == nil {
			return ""
		}
		return fmt.Sprint(of[name])
	}
	fill := func(text string) string {
		return mergeField.ReplaceAllStringFunc(text, func(f string) string { return value(strings.Trim(f, "{}")) })
	}
	body := []byte(fill(c.Body))
	if c.Body == "" && len(c.Params) > 0 {
		out := map[string]string{}
		for k, v := range c.Params {
			out[k] = value(strings.Trim(v, "<>"))
		}
		body, _ = json.Marshal(out) // texts
	}
	prove := func(_ time.Time, over []byte) http.Header {
		good := bytes.Equal(over, body) // else a dial wants it wrong
		h := http.Header{"Zuora-Request-Id": {newID()}}
		for k, v := range c.Header {
			h.Set(k, map[bool]string{true: v, false: "wrong"}[good])
		}
		if c.Basic {
			password := map[bool]string{true: c.Auth.Password, false: "wrong"}[good]
			h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.Auth.Username+":"+password)))
		}
		if c.HMACKey != "" {
			m := hmac.New(sha256.New, []byte(c.HMACKey))
			m.Write(over)
			sum := hex.EncodeToString(m.Sum(nil))
			if c.Base64 {
				sum = base64.StdEncoding.EncodeToString(m.Sum(nil))
			}
			h.Set(c.HMACHeader, sum)
		}
		if c.OAuth != nil {
			h.Set("Authorization", "Bearer "+map[bool]string{true: s.bearer(*c.OAuth), false: "wrong"}[good])
		}
		return h
	}
	m := sim.Message{Event: newID(), Type: kind, URL: fill(c.URL), Body: body, Header: http.Header{"Content-Type": {"application/json"}}, Sign: prove, Exactly: http.StatusOK}
	if c.Basic && !c.Auth.Preemptive {
		m.Challenge = prove
		m.Sign = func(time.Time, []byte) http.Header { return http.Header{"Zuora-Request-Id": {newID()}} }
	}
	if c.OAuth != nil { // a token that does not count any more is fetched anew
		m.Challenge = func(at time.Time, over []byte) http.Header {
			s.bearers.Delete(*c.OAuth)
			return prove(at, over)
		}
	}
	s.Send(m)
}
