package sim

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// Control adds a call to the control API: its JSON body is In, its answer what act returns.
func Control[In any](c *Core, pattern string, act func(r *http.Request, in In) (any, error)) {
	c.control.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var in In
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		err := d.Decode(&in)
		var out any
		if err == nil || errors.Is(err, io.EOF) {
			out, err = act(r, in)
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			out = map[string]string{"error": err.Error()}
		}
		json.NewEncoder(w).Encode(out)
	})
}

// serveControl serves callers on this machine only.
func (c *Core) serveControl(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	if !net.ParseIP(host).IsLoopback() {
		http.NotFound(w, r)
		return
	}
	c.control.ServeHTTP(w, r)
}

type none struct{}

type faultBody struct {
	Method      string `json:"method,omitempty"`
	Path        string `json:"path,omitempty"`
	Point       Point  `json:"point"`
	Skip        int    `json:"skip,omitempty"`
	Count       int    `json:"count,omitempty"`
	Status      int    `json:"status,omitempty"`
	Code        string `json:"code,omitempty"`
	DelayMS     int64  `json:"delay_ms,omitempty"`
	RetryAfterS int64  `json:"retry_after_s,omitempty"`
	Fired       int    `json:"fired,omitempty"`
}

type dialBody struct {
	Pause        bool  `json:"pause"`
	Concurrent   bool  `json:"concurrent"`
	DelayMS      int64 `json:"delay_ms"`
	Drop         int   `json:"drop"`
	Duplicate    int   `json:"duplicate"`
	Reorder      int   `json:"reorder"`
	BadSignature int   `json:"bad_signature"`
	OldTime      int   `json:"old_time"`
	FutureTime   int   `json:"future_time"`
}

func (c *Core) routes() {
	Control(c, "POST /_sim/faults", func(_ *http.Request, in faultBody) (any, error) {
		return none{}, c.addFault(Fault{Method: in.Method, Path: in.Path, Point: in.Point, Skip: in.Skip, Count: in.Count, Status: in.Status,
			Code: in.Code, Delay: time.Duration(in.DelayMS) * time.Millisecond, RetryAfter: time.Duration(in.RetryAfterS) * time.Second})
	})
	Control(c, "GET /_sim/faults", func(*http.Request, none) (any, error) {
		out := []faultBody{}
		for _, f := range c.Faults() {
			out = append(out, faultBody{f.Method, f.Path, f.Point, f.Skip, f.Count, f.Status, f.Code, f.Delay.Milliseconds(), int64(f.RetryAfter.Seconds()), f.Fired})
		}
		return out, nil
	})
	Control(c, "DELETE /_sim/faults", func(*http.Request, none) (any, error) {
		c.ClearFaults()
		return none{}, nil
	})
	Control(c, "GET /_sim/requests", func(*http.Request, none) (any, error) { return c.Requests(), nil })
	Control(c, "GET /_sim/state", func(*http.Request, none) (any, error) { return c.cfg.State(), nil })
	Control(c, "POST /_sim/reset", func(*http.Request, none) (any, error) {
		c.Reset()
		return none{}, nil
	})
	Control(c, "POST /_sim/clock", func(_ *http.Request, in struct {
		AdvanceS int64 `json:"advance_s"`
	}) (any, error) {
		c.Clock.Advance(time.Duration(in.AdvanceS) * time.Second)
		return map[string]time.Time{"now": c.Clock.Now()}, nil
	})
	Control(c, "GET /_sim/deliveries", func(*http.Request, none) (any, error) { return c.Deliveries(), nil })
	Control(c, "POST /_sim/deliveries", func(_ *http.Request, in dialBody) (any, error) {
		c.Dial(Dials{in.Pause, in.Concurrent, time.Duration(in.DelayMS) * time.Millisecond, in.Drop, in.Duplicate, in.Reorder, in.BadSignature, in.OldTime, in.FutureTime})
		return none{}, nil
	})
}
