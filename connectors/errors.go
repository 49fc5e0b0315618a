package connectors

import (
	"errors"
	"fmt"
	"time"
)

// Kind sorts a vendor's refusals by what to do next. The list is closed.
type Kind string

// The kinds.
const (
	Unauthorized   Kind = "UNAUTHORIZED"    // the credentials do not work: a person must mend the connection
	Forbidden      Kind = "FORBIDDEN"       // they work, but lack a right
	NotFound       Kind = "NOT_FOUND"       // the record is not there
	Invalid        Kind = "INVALID"         // the vendor refuses the input; sending it again changes nothing
	Conflict       Kind = "CONFLICT"        // something is there already that may or may not be ours
	RateLimited    Kind = "RATE_LIMITED"    // too many calls; nothing was done
	Unavailable    Kind = "UNAVAILABLE"     // the vendor could not; nothing was done
	OutcomeUnknown Kind = "OUTCOME_UNKNOWN" // it may or may not have been done
	Busy           Kind = "BUSY"            // the same call is still being worked on, or another holds the record
)

// Error is a vendor's refusal, or the transport's.
type Error struct {
	Kind       Kind
	RetryAfter time.Duration // the vendor's wish; zero when it has none
	Narrow     bool          // of RateLimited: only calls like this one are meant, not all of the account
	Status     int           // HTTP status; zero when none came
	Code       string        // the vendor's own code: "resource_missing"
	Field      string        // the input at fault, in the vendor's words
	RequestID  string        // the vendor's id of the call
	Replayed   bool          // the answer was an old one, repeated for our idempotency key
	Err        error         // what a person should read; never holds a secret
}

func (e *Error) Error() string {
	if e.Code != "" {
		return fmt.Sprintf("%v (%s)", e.Err, e.Code)
	}
	return e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of a kind.
func Errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Err: fmt.Errorf(format, args...)}
}

// KindOf is the kind of err, or empty when no connector said one.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}

// KindOfStatus sorts an HTTP status where the vendor's body says nothing better. write tells whether the call would
// have changed something: then a server's failure leaves the outcome open.
func KindOfStatus(status int, write bool) Kind {
	switch {
	case status == 401:
		return Unauthorized
	case status == 403:
		return Forbidden
	case status == 404 || status == 410:
		return NotFound
	case status == 409:
		return Conflict
	case status == 423 || status == 425:
		return Busy
	case status == 429:
		return RateLimited
	case status >= 500 && write:
		return OutcomeUnknown
	case status >= 500:
		return Unavailable
	}
	return Invalid
}

// What is wrong with a delivery.
var (
	ErrBadSignature = errors.New("the signature does not match the body")
	ErrTooOld       = errors.New("the delivery's time lies too far in the past")
	ErrTooNew       = errors.New("the delivery's time lies in the future")
	ErrMalformed    = errors.New("the body is not what this app sends")
)

// NoProof is wrong with a delivery that carries no credentials yet, or ones that have ended, where the vendor sends them when
// it is asked: by this value of WWW-Authenticate.
type NoProof string

func (NoProof) Error() string { return "the delivery carries no credentials that count now" }

// ErrWriteOutsideEffect is the transport's answer to a write that no effect has journaled.
var ErrWriteOutsideEffect = errors.New("a write was attempted outside of an effect")
