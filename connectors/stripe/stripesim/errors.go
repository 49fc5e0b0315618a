package stripesim

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"tieline/connectors/sim"
)

// Error is Stripe's error object with its status.
type Error struct {
	Status  int    `json:"-"`
	Type    string `json:"type"`
	Code    string `json:"code,omitempty"`
	Param   string `json:"param,omitempty"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

func invalid(code, param, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: code, Param: param, Message: fmt.Sprintf(format, args...)}
}

// missing is a 404 in the path and a 400 in a parameter.
func missing(kind, param, id string) *Error {
	return &Error{Status: http.StatusNotFound, Code: "resource_missing", Param: param, Message: fmt.Sprintf("No such %s: '%s'", kind, id)}
}

func failed(e *Error) sim.Answer {
	out := *e
	if out.Status == http.StatusTooManyRequests {
		out.Code = cmp.Or(out.Code, "rate_limit")
	}
	if out.Type == "" {
		out.Type = "invalid_request_error"
		if out.Status >= 500 {
			out.Type = "api_error"
		}
	}
	out.Message = cmp.Or(out.Message, http.StatusText(out.Status))
	a := render(out.Status, map[string]any{"error": out})
	switch {
	case out.Status != http.StatusTooManyRequests:
	case out.Code == "lock_timeout":
		a.Header.Set("Stripe-Rate-Limited-Reason", "resource-specific")
	case strings.HasPrefix(out.Code, "endpoint-"): // not a code of Stripe's: a fault's way to name the reason
		a.Header.Set("Stripe-Rate-Limited-Reason", out.Code)
	default:
		a.Header.Set("Stripe-Rate-Limited-Reason", "global-rate")
	}
	return a
}
