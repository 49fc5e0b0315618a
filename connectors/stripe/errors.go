package stripe

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	stripe "github.com/stripe/stripe-go/v76"

	"tieline/connectors"
)

// failed says what an error of stripe-go means. write tells whether the call would have changed something.
//
// It goes by status and code: the library knows four types of error only, and Stripe words most refusals as
// invalid_request_error. https://docs.stripe.com/api/errors
func failed(c connectors.Conn, err error, write bool) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*stripe.Error](err); ok {
		return refused(c, e, write)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err // the transport has said it already; what net/http adds is the URL, which may name a person
	}
	return garbled(err, write)
}

func refused(c connectors.Conn, e *stripe.Error, write bool) error {
	out := &connectors.Error{
		Kind: connectors.KindOfStatus(e.HTTPStatusCode, write), Status: e.HTTPStatusCode,
		Code: string(e.Code), Field: e.Param, RequestID: e.RequestID,
	}
	said := c.Hide(e.Msg)
	switch {
	case e.Type == stripe.ErrorTypeIdempotency && e.HTTPStatusCode == http.StatusBadRequest:
		said = "a bug in Tieline: one idempotency key was used for two different requests: " + said
	case e.HTTPStatusCode == http.StatusConflict:
		out.Kind = connectors.Busy // the same key is still in flight, or another call holds the record
	case e.DeclineCode != "":
		out.Code = string(e.DeclineCode)
	}
	if e.LastResponse != nil {
		out.Replayed = e.LastResponse.Header.Get("Idempotent-Replayed") == "true"
		if n, err := strconv.Atoi(e.LastResponse.Header.Get("Retry-After")); err == nil && n > 0 {
			out.RetryAfter = time.Duration(n) * time.Second
		}
		switch why := e.LastResponse.Header.Get("Stripe-Rate-Limited-Reason"); { // https://docs.stripe.com/rate-limits
		case strings.HasPrefix(why, "endpoint-"), why == "resource-specific":
			out.Narrow = true
		}
	}
	if said == "" {
		said = http.StatusText(e.HTTPStatusCode)
	}
	out.Err = fmt.Errorf("Stripe: %s", said)
	return out
}

var errNoID = errors.New("no id")

// garbled is for answers that are not Stripe's JSON: a proxy's page, half an answer. The library keeps of the status
// only the text "response status: 502", and of the body a sample that is not ours to show.
func garbled(err error, write bool) error {
	out := &connectors.Error{Kind: connectors.Unavailable, Err: errors.New("Stripe: the answer cannot be read")}
	if _, rest, ok := strings.Cut(err.Error(), "response status: "); ok {
		digits, _, _ := strings.Cut(rest, ",")
		out.Status, _ = strconv.Atoi(digits)
	}
	if out.Status != 0 {
		out.Err = fmt.Errorf("Stripe: it answered %d, and not as its API does", out.Status)
	}
	if write {
		out.Kind = connectors.OutcomeUnknown
	}
	if out.Status == http.StatusTooManyRequests {
		out.Kind = connectors.RateLimited
	}
	return out
}

// missing tells that a record is not there.
func missing(err error) bool { return connectors.KindOf(err) == connectors.NotFound }

// codeOf is Stripe's own code of a refusal.
func codeOf(err error) string {
	if e, ok := errors.AsType[*connectors.Error](err); ok {
		return e.Code
	}
	return ""
}
