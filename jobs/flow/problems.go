package flow

import (
	"strings"

	"tieline/connectors/schema"
)

// Problem is one thing wrong with what was asked: which input, why, and the way out.
type Problem struct {
	Field   []string // path into the input; empty when no field is at fault
	Code    string   // of the closed list below
	Message string   // a plain sentence
}

// Codes of problems.
const (
	CodeRequired     = "REQUIRED"
	CodeInvalid      = "INVALID"
	CodeUnknownField = "UNKNOWN_FIELD"
	CodeNotFound     = "NOT_FOUND"
	CodeTaken        = "TAKEN"
	CodeUnauthorized = "UNAUTHORIZED"  // the vendor refuses the credentials
	CodeForbidden    = "FORBIDDEN"     // the vendor lacks a right
	CodeModeMismatch = "MODE_MISMATCH" // test and live would meet
	CodeOtherAccount = "OTHER_ACCOUNT" // new credentials open another vendor account
	CodeInUse        = "IN_USE"
	CodeState        = "WRONG_STATE"
	CodeUnavailable  = "VENDOR_UNAVAILABLE"

	// Of authorizations alone: a person reads them on a page.
	CodeExpired      = "EXPIRED"       // its time is up, or there is none
	CodeEnded        = "ENDED"         // a browser has come back before
	CodeOtherBrowser = "OTHER_BROWSER" // it was begun in another one
	CodeDeclined     = "DECLINED"      // the person said no
)

// Problems are all that is wrong. As an error they refuse a request; nothing was changed.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, x := range p {
		lines[i] = strings.Join(x.Field, ".") + ": " + x.Message
	}
	return strings.Join(lines, "; ")
}

func problem(code, message string, field ...string) Problems {
	return Problems{{Field: field, Code: code, Message: message}}
}

// or gives the problems as an error, or nil when there are none.
func (p Problems) or() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// misfits says what of an input does not fit its schema.
func misfits(found []schema.Problem, field ...string) Problems {
	codes := map[string]string{"REQUIRED": CodeRequired, "UNKNOWN": CodeUnknownField}
	var bad Problems
	for _, x := range found {
		code := codes[x.Code]
		if code == "" {
			code = CodeInvalid
		}
		bad = append(bad, problem(code, x.Message, append(field[:len(field):len(field)], x.Path...)...)...)
	}
	return bad
}
