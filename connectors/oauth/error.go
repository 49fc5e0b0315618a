package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// Reason sorts what went wrong by what to do next.
type Reason string

// The reasons.
const (
	Dead    Reason = "DEAD"    // the code or the refresh token is taken no more: a person must authorize anew
	Refused Reason = "REFUSED" // the client, or what it asks for, is not taken: a person must mend that
	Slow    Reason = "SLOW"    // too many requests; nothing was done
	Away    Reason = "AWAY"    // the vendor could not; nothing was done
	Lost    Reason = "LOST"    // no answer came, or none that can be read: it may have been done
)

// Error is what came instead of a grant. Its text holds nothing that was sent.
type Error struct {
	Reason     Reason
	Status     int           // HTTP status; zero when no answer came
	Code       string        // of RFC 6749, or the vendor's own; empty when it is no word
	RetryAfter time.Duration // the vendor's wish; zero when it has none
}

func (e *Error) Error() string {
	switch {
	case e.Code != "":
		return fmt.Sprintf("the authorization server answers %q", e.Code)
	case e.Reason == Lost:
		return "the answer of the authorization server did not come, or cannot be read"
	case e.Status != 0:
		return fmt.Sprintf("the authorization server answers with status %d", e.Status)
	}
	return "the authorization server cannot be reached"
}

// word is what error codes look like. What does not may hold anything, also what was sent.
var word = regexp.MustCompile(`^[A-Za-z][A-Za-z_ -]{0,39}$`)

// refusal reads what went wrong. left tells that a byte may have reached the vendor.
func (c Client) refusal(err error, left bool) error {
	said, answered := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case answered:
		return c.answer(said)
	case left:
		return &Error{Reason: Lost}
	}
	return &Error{Reason: Away}
}

func (c Client) answer(said *oauth2.RetrieveError) error {
	e := &Error{Reason: Refused, Status: said.Response.StatusCode}
	if word.MatchString(said.ErrorCode) {
		e.Code = said.ErrorCode
	}
	if s, err := strconv.Atoi(said.Response.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	switch {
	case e.Status == http.StatusTooManyRequests || said.ErrorCode == "slow_down",
		c.Slow != "" && strings.Contains(strings.ToLower(said.ErrorDescription), strings.ToLower(c.Slow)):
		e.Reason = Slow
	case said.ErrorCode == "invalid_grant" || slices.Contains(c.Dead, said.ErrorCode):
		e.Reason = Dead
	case e.Status >= 500 || said.ErrorCode == "server_error" || said.ErrorCode == "temporarily_unavailable":
		e.Reason = Away
	case said.ErrorCode == "" && (e.Status < 400 || e.Status == http.StatusNotFound || e.Status == http.StatusRequestTimeout):
		e.Reason = Away // this is no authorization server, or not now
	}
	return e
}
