package auth

import (
	"fmt"
	"slices"
	"strings"
)

// Scope is what a token may do. The names are stored and are those of the schema.
type Scope string

// The scopes. They do not include each other, except that Admin includes all.
const (
	Read    Scope = "READ"
	Write   Scope = "WRITE"
	Trigger Scope = "TRIGGER"
	Admin   Scope = "ADMIN"
)

var scopes = []Scope{Read, Write, Trigger, Admin}

// ParseScopes reads names in any case, separated by commas: "read,trigger".
func ParseScopes(list string) ([]Scope, error) {
	var out []Scope
	for name := range strings.SplitSeq(list, ",") {
		s := Scope(strings.ToUpper(strings.TrimSpace(name)))
		if !slices.Contains(scopes, s) {
			return nil, fmt.Errorf("unknown scope %q: use read, write, trigger or admin", name)
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out, nil
}
